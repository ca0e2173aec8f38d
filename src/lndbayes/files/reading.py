"""Reading of files that somebody else wrote: what is not a plain file of text is told, not met.

A pipe would be waited for without end, a folder or a link to nothing taken for an absent file, and
settings that are nested a thousand deep would exhaust the stack.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lndbayes.base.errors import Code, Problem

__all__ = [
    "Unreadable",
    "parse_json",
    "read_bytes",
    "read_json",
    "read_text",
    "read_toml",
    "there_is",
    "why_no_file",
    "why_no_folder",
]

#: Most bytes of a file of settings: a larger one is another file.
_MOST_SETTINGS: Final = 4 << 20
#: Most bytes of a JSON file that a run writes about itself.
_MOST_JSON: Final = 256 << 20
#: Levels of tables and arrays in settings; ours have four.
_DEEPEST: Final = 32

_UTF8: Final = "must be UTF-8 text"
_UTF8_CSV: Final = f"{_UTF8} (in a spreadsheet, save as 'CSV UTF-8')"
_DEEP: Final = f"must not be nested deeper than {_DEEPEST} levels"


class Unreadable(Exception):
    """A file that cannot be read as what it should be.

    Parameters
    ----------
    rule : str
        What it must be, or why it cannot be read.
    row : int, optional
        Line, where one can be told.
    value : str, optional
        What stands there.
    code : Code
        What kind of rule is broken.
    """

    def __init__(
        self,
        rule: str,
        row: int | None = None,
        value: str | None = None,
        code: Code = Code.UNREADABLE_FILE,
    ) -> None:
        super().__init__(rule)
        self.rule, self.row, self.value, self.code = rule, row, value, code

    def problem(self, file: str) -> Problem:
        """Tell it as a problem of a file."""
        return Problem(file, self.rule, self.row, None, self.value, self.code)


def there_is(path: Path) -> bool:
    """Whether anything lies at a path, be it a link to nothing."""
    return os.path.lexists(path)


def why_no_file(path: Path) -> str:
    """Why a path cannot be read as a file; empty if it can."""
    return _why_not(path, stat.S_ISREG, "a directory, not a file")


def why_no_folder(path: Path) -> str:
    """Why a path cannot be listed as a folder; empty if it can."""
    return _why_not(path, stat.S_ISDIR, "a file, not a directory")


def _why_not(path: Path, fits: Callable[[int], bool], other: str) -> str:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if path.is_symlink():
            return "cannot be read: it is a link to something that is not there"
        return f"cannot be read: {error.strerror}"
    except OSError as error:
        # a loop of links, a name too long, a folder above that is a file or is closed to us
        return f"cannot be read: {error.strerror}"
    if not fits(mode):
        plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
        return f"cannot be read: it is {other if plain else 'a pipe, a socket or a device'}"
    if not os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
        return "cannot be read: Permission denied"
    return ""


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Read a plain file.

    Parameters
    ----------
    path : Path
        The file.
    most : int, optional
        Bytes beyond which it is not read.

    Returns
    -------
    bytes

    Raises
    ------
    Unreadable
        If it is no plain file, cannot be opened, or is larger.
    """
    if why := why_no_file(path):
        raise Unreadable(why)
    try:
        if most is not None and path.stat().st_size > most:
            raise Unreadable(f"cannot be read: it is larger than {most >> 20} MB")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error


def read_text(path: Path, most: int | None = None) -> str:
    """Read a plain file of UTF-8 text, with or without a byte order mark.

    Raises
    ------
    Unreadable
        See `read_bytes`; also if it is not UTF-8, with the line of the first byte that is not.
    """
    content = read_bytes(path, most)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        rule = _UTF8_CSV if path.suffix == ".csv" else _UTF8
        value = repr(content[error.start : error.start + 1])
        raise Unreadable(rule, line, value, Code.NOT_UTF8) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    Unreadable
        See `read_text`; also if it is not valid TOML or is nested too deeply.
    """
    text = read_text(path, _MOST_SETTINGS)
    try:
        found = tomllib.loads(text)
    except RecursionError as error:
        raise Unreadable(_DEEP) from error
    except ValueError as error:  # not TOML, or a number of thousands of digits
        at = re.search(r"at line (\d+)", str(error))
        rule = f"is not valid TOML, in which texts stand in quotes: {error}"
        raise Unreadable(rule, int(at[1]) if at else None, code=Code.NOT_TOML) from error
    if _too_deep(found):
        raise Unreadable(_DEEP)
    if _too_long(found):
        rule = "is not valid TOML: a whole number must fit into 64 bits"
        raise Unreadable(rule, code=Code.NOT_TOML)
    return found


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    Unreadable
        See `read_text` and `parse_json`.
    """
    return parse_json(read_text(path, _MOST_JSON))


def parse_json(text: str) -> Any:
    """Parse JSON.

    Raises
    ------
    Unreadable
        If it is not valid JSON or is nested too deeply.
    """
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise Unreadable(_DEEP) from error
    except ValueError as error:
        raise Unreadable(f"is not valid JSON: {error}", code=Code.NOT_JSON) from error
    if _too_deep(found):
        raise Unreadable(_DEEP)
    return found


def _too_deep(value: object) -> bool:
    """Whether tables and arrays are nested beyond what any later step may recurse into."""
    level: list[object] = [value]
    for _ in range(_DEEPEST + 1):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _too_long(value: object) -> bool:
    """Whether a whole number is longer than TOML has them."""
    if isinstance(value, int):
        return not -(2**63) <= value < 2**63
    return any(_too_long(inner) for inner in _inside(value))


def _inside(value: object) -> Sequence[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else ()
