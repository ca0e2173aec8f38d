"""The source text that a number comes from: part of every key under which results are reused.

Versions of packages do not tell an edited density from the one before the edit. A key that holds
the text of a module, and of every module of this package that it imports, does.
"""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

__all__ = ["source_files", "source_hash", "versions"]

_PACKAGES: Final = ("lndbayes", "pymc", "nutpie", "numba", "numpy", "scipy", "xarray", "pandas")

_ROOT: Final = Path(__file__).parents[1]
_PACKAGE: Final = _ROOT.name
_IMPORT: Final = re.compile(
    rf"^[ \t]*(?:from ({_PACKAGE}[\w.]*) import (\([^)]*\)|[^\n]*)|import ({_PACKAGE}[\w.]*))", re.M
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that make the numbers."""
    return {"python": platform.python_version(), **{p: version(p) for p in _PACKAGES}}


@cache
def source_hash(module: str) -> str:
    """Identify the text of a module and of all modules of this package that it rests on.

    Found once in a process. The same for an editable installation and a wheel: neither the place
    of a file, nor its times, nor its line endings count.

    Parameters
    ----------
    module : str
        Dotted name; a module outside the package must have been imported, or have no file, and
        then counts by its name.

    Returns
    -------
    str
        SHA-256.
    """
    digest = hashlib.sha256()
    for name, path in sorted(source_files(module).items()):
        text = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{name} {len(text)}\n".encode() + text)
    return digest.hexdigest()


def source_files(module: str) -> dict[str, Path]:
    """Files of a module and of all modules of this package that it imports, at whatever depth.

    Parameters
    ----------
    module : str
        See `source_hash`.

    Returns
    -------
    dict of str to Path
        By dotted name. The package's own ``__init__`` is not among them: it only hands out names.
    """
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if name in found or path is None:
            continue
        found[name] = path
        # numbers that a module keeps beside itself are its text too
        if (beside := path.with_suffix(".toml")).is_file():
            found[f"{name}.toml"] = beside
        waiting += _imported(path)
    return found


@cache
def _imported(path: Path) -> tuple[str, ...]:
    """Modules that a file may import: what is no module has no file and falls away."""
    names = []
    for start, words, whole in _imports(path):
        names += [whole or start, *(f"{start}.{word}" for word in words)]
        if start == _PACKAGE:
            names += [_public()[word] for word in words if word in _public()]
    return tuple(names)


def _imports(path: Path) -> list[tuple[str, list[str], str]]:
    text = path.read_text(encoding="utf-8")
    return [
        (start, re.findall(r"(?:^|[(,])\s*(\w+)", re.sub(r"#[^\n]*", "", chosen)), whole)
        for start, chosen, whole in _IMPORT.findall(text)
    ]


@cache
def _public() -> dict[str, str]:
    """Home of every name that the package itself hands out."""
    return {word: start for start, words, _ in _imports(_ROOT / "__init__.py") for word in words}


def _file_of(name: str) -> Path | None:
    first, *rest = name.split(".")
    if first == _PACKAGE:
        base = _ROOT.joinpath(*rest)
        places = (base.with_suffix(".py"), base / "__init__.py") if rest else ()
        return next((place for place in places if place.is_file()), None)
    file = getattr(sys.modules.get(name), "__file__", None)
    return Path(file) if file and file.endswith(".py") and Path(file).is_file() else None
