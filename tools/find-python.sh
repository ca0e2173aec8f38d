#!/bin/sh
# Print the first Python of at least 3.12 that really runs and can make a virtual environment.
#
# A name on PATH proves nothing: pyenv's shims exist for every version it holds and fail when run, and
# some distributions ship a python3 that cannot make an environment. So each candidate is run.
# PYTHON=... in the environment is used and nothing else is tried. Exit 2 when there is none.
set -u

tried=""
# The ABI flags end in t on a free-threaded build.
say_version='import sys; print("%d.%d.%d" % sys.version_info[:3] + getattr(sys, "abiflags", ""))'

# Say whether $1 will do; if not, add why to the list of what was tried.
will_do() {
    version=$("$1" -c "$say_version" 2>/dev/null) || version=""
    case $version in
        *t) why="is $version, a free-threaded build, which Numba does not support" ;;
        3.1[2-9].* | 3.[2-9][0-9].*)
            "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 && return 0
            why="is $version but lacks ensurepip or venv (a package such as python3-venv brings them)"
            ;;
        [0-9]*) why="is $version" ;;
        *) why="does not run" ;;
    esac
    tried="$tried
  $1: $why"
    return 1
}

take() {
    will_do "$1" || return 0
    printf '%s\n' "$1"
    exit 0
}

fail() {
    printf '%s\n' "$1" "Tried:$tried" \
        "Install Python 3.13 or 3.12, or say where one is: make PYTHON=/path/to/python3.13" >&2
    exit 2
}

if [ -n "${PYTHON:-}" ]; then
    take "$PYTHON"
    fail "lndbayes needs Python 3.12 or newer; PYTHON=$PYTHON will not do."
fi

# 3.13 and 3.12 first: those are the versions that the pinned packages are tested on.
for name in python3.13 python3.12 python3.14 python3; do
    if path=$(command -v "$name" 2>/dev/null); then
        take "$path"
    else
        tried="$tried
  $name: not on PATH"
    fi
done

# pyenv's own installations, which need not be on PATH: the same order, the newest patch of each first.
versions="${PYENV_ROOT:-${HOME:-}/.pyenv}/versions"
for series in 3.13 3.12 3.14 '3.1[5-9]'; do
    patches=$(
        for path in "$versions"/$series.*/bin/python; do
            [ -e "$path" ] || continue
            patch=${path%/bin/python}
            printf '%s\n' "${patch##*/}"
        done | sort -t . -k 2,2nr -k 3,3nr
    )
    for patch in $patches; do
        take "$versions/$patch/bin/python"
    done
done
[ -d "$versions" ] || tried="$tried
  $versions: no such directory"

fail "lndbayes needs Python 3.12 or newer, and found none."
