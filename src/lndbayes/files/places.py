"""Where a command may write: checked before anything is fitted, written only afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from lndbayes.base.errors import DataError, Problem
from lndbayes.files.lock import claim
from lndbayes.files.reading import there_is, why_no_folder

__all__ = ["LOG", "is_run", "make_run", "require_directory", "require_run", "run_problems"]

#: What the commands put into a run directory first: any of them tells that it is one.
_MARKS: Final = ("manifest.json", "fits", "folds", "replicates", "strata")
_FOLDERS: Final = (*_MARKS[1:], "sensitivity", "ledger", "figures")

#: Log of unexpected errors in a run directory: no output of the run.
LOG: Final = "error.log"

#: What file managers put into every folder that is looked at.
_LEFT_BEHIND: Final = frozenset({"Thumbs.db", "desktop.ini"})
#: Endings of the files that a run holds.
_OURS: Final = frozenset({".csv", ".docx", ".html", ".json", ".md", ".nc", ".png", ".svg", ".xlsx"})


def is_run(path: Path) -> bool:
    """Whether a directory is a run directory."""
    return why_no_folder(path) == "" and any(there_is(path / name) for name in _MARKS)


def run_problems(out: Path, inputs: Iterable[Path] = ()) -> list[Problem]:
    """Tell what keeps a run from being written, without writing.

    Parameters
    ----------
    out : Path
        The run directory, which need not be there.
    inputs : iterable of Path
        Directories that are read: a run inside one of them would become part of it.

    Returns
    -------
    list of Problem
    """
    where = str(out)
    for folder in inputs:
        if _inside(out, folder):
            rule = f"must not lie in {folder}, which is read: a run has a directory of its own"
            return [Problem(where, rule)]
    if not there_is(out):
        return _parent_problems(out)
    if why := why_no_folder(out):
        if out.is_file():
            why = "is a file; the run directory must be a folder"
        return [Problem(where, why)]
    entries = [path for path in out.iterdir() if not _hidden(path)]
    if entries and not is_run(out):
        return [Problem(where, "is not empty and not a run directory")]
    problems = [
        Problem(str(out / name), "must be a folder of the run and is none")
        for name in _FOLDERS
        if there_is(out / name) and why_no_folder(out / name)
    ]
    folders = [out / name for name in _FOLDERS if (out / name).is_dir()]
    listed = [*entries, *(path for folder in folders for path in folder.iterdir())]
    problems += [
        Problem(str(path), "must be a file of the run, which is written anew, and is none")
        for path in sorted(listed)
        if path.suffix in _OURS and not path.is_file()
    ]
    problems += [
        Problem(str(folder), "cannot be written to")
        for folder in (out, *folders)
        if not os.access(folder, os.W_OK | os.X_OK)
    ]
    return problems


def _hidden(path: Path) -> bool:
    """Whether a file or folder is one that programs leave behind, and no content of a folder."""
    return path.name.startswith(".") or path.name in _LEFT_BEHIND


def require_run(out: Path) -> None:
    """Refuse a place in which no run can be written.

    Raises
    ------
    DataError
        See `run_problems`.
    """
    if problems := run_problems(out):
        raise DataError(problems)


def require_directory(out: Path) -> None:
    """Refuse a place in which no directory can be made or replaced.

    Raises
    ------
    DataError
        If it is something else, or what is above it cannot be written to.
    """
    if there_is(out) and (why := why_no_folder(out)):
        if out.is_file():
            why = "must be a directory, or not exist yet"
        raise DataError(Problem(str(out), why))
    if problems := _parent_problems(out):
        raise DataError(problems)


def make_run(out: Path, folder: str = "fits") -> None:
    """Make a run directory with one of its folders.

    Raises
    ------
    DataError
        If it cannot be made.
    UsageError
        If another process writes to it.
    """
    try:
        (out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(Problem(str(out), f"cannot be made: {error.strerror}")) from error
    claim(out)


def _parent_problems(out: Path) -> list[Problem]:
    """Tell what keeps a directory that is not there from being made."""
    above = out.absolute().parent
    while not there_is(above):
        above = above.parent
    why = why_no_folder(above)
    if not why and not os.access(above, os.W_OK | os.X_OK):
        why = "Permission denied"
    names = [len(os.fsencode(part)) for part in out.absolute().parts]
    if not why and (max(names) > _LONGEST or sum(names) + len(names) > _LONGEST_PATH):
        why = "a name in it is too long"
    return [Problem(str(out), f"cannot be made: {above}: {why}")] if why else []


#: Bytes of a file name that every file system takes.
_LONGEST: Final = 255
#: Bytes of a path that leave room, in the 4096 that a system takes, for the files of a run.
_LONGEST_PATH: Final = 3500


def _inside(path: Path, folder: Path) -> bool:
    inner, outer = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    return inner == outer or outer in inner.parents
