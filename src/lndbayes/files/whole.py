"""Files and directories put in place whole or not at all: the only code that moves one into place.

What is written stands beside its place until it is finished, so that a move is a rename.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lndbayes.base.errors import DataError, Problem

__all__ = ["clean_parts", "files_within", "replace_file", "replaced_directory"]

#: Seconds after which a half-written file of another machine is taken as left behind.
_LEFT_BEHIND = 86_400


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there.

    Its mode follows the process's umask.

    Parameters
    ----------
    path : Path
        Where to; parent folders are made.
    write : callable
        Writes to the path that it is given.

    Raises
    ------
    OSError
        If the disk or the place refuses; an earlier file stays.
    """
    part = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def replaced_directory(target: Path) -> Iterator[Path]:
    """Give an empty folder beside a directory, which takes its place when the block is through.

    Parameters
    ----------
    target : Path
        Where to; parent folders are made, and go again if the block raises.

    Yields
    ------
    Path
        The folder; whatever the block puts beside it is removed.

    Raises
    ------
    OSError
        If the disk or the place refuses; what was there stays.
    """
    missing = [parent for parent in target.parents if not parent.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    fresh, stale = staging / "new", staging / "old"
    try:
        fresh.mkdir()
        yield fresh
        try:
            if target.exists():
                target.rename(stale)
            fresh.rename(target)
        except BaseException:
            if stale.exists():
                stale.rename(target)
            raise
    except BaseException:
        shutil.rmtree(staging)
        for parent in missing:  # those made above, the innermost first
            parent.rmdir()
        raise
    shutil.rmtree(staging)


def files_within(target: Path) -> set[str]:
    """Paths of all files and links in a directory that is to be replaced; empty if there is none.

    Raises
    ------
    DataError
        If it is a file.
    """
    if not target.exists():
        return set()
    if not target.is_dir():
        raise DataError(Problem(str(target), "must be a directory, or not exist yet"))
    return {
        path.relative_to(target).as_posix()
        for path in target.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def _host() -> str:
    return socket.gethostname().replace(".", "-").replace("/", "-") or "here"


def clean_parts(folder: Path) -> list[Path]:
    """Remove half-written files that a killed process left in a folder.

    Those of a process that lives, on this machine, stay; so do young ones of another machine, which
    may live.

    Parameters
    ----------
    folder : Path
        Not its subfolders.

    Returns
    -------
    list of Path
        What was removed.
    """
    removed = []
    for path in folder.glob(".*.part") if folder.is_dir() else ():
        *_, host, process, _ = ("", "", *path.name.split("."))
        here = host == _host() and process.isdigit()
        if not (_lives(int(process)) if here else _young(path)):
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def _lives(process: int) -> bool:
    if process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # another user's
    return True


def _young(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < _LEFT_BEHIND
    except FileNotFoundError:
        return True
