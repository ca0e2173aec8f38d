"""Characters that no text may hold: not seen by a reader, and refused by XML."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from lndbayes.base.errors import Code, Problem

__all__ = ["text_problems", "unseen", "unwritable"]

#: Unicode categories of characters that have no place in a name: controls, marks of direction and
#: joining, surrogates, private and unassigned ones, breaks of lines.
_UNSEEN: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
#: Those that XML, and so a Word document or a workbook, cannot hold, and other controls. A free
#: text may join letters, write from right to left or use a character newer than this Python.
_UNWRITABLE: Final = frozenset(("Cc", "Cs"))
_NO_CHARACTERS: Final = frozenset("\ufffe\uffff")
_BREAKS: Final = frozenset("\t\n\r")


def _rule(character: str) -> str:
    return f"must not hold a character that is not seen (U+{ord(character):04X})"


def unseen(text: str) -> str:
    """Say what is wrong with the characters of a name.

    Returns
    -------
    str
        A rule that is broken; empty if none is.
    """
    for character in text:
        if unicodedata.category(character) in _UNSEEN or (character.isspace() and character != " "):
            return _rule(character)
    return ""


def unwritable(text: str, *, lines: bool = False) -> str:
    """Say what is wrong with the characters of a free text.

    Parameters
    ----------
    text : str
        The text.
    lines : bool
        Whether it may run over several lines and hold tabs.

    Returns
    -------
    str
        A rule that is broken; empty if none is.
    """
    for character in text:
        if lines and character in _BREAKS:
            continue
        if unicodedata.category(character) in _UNWRITABLE or character in _NO_CHARACTERS:
            return _rule(character)
    return ""


def text_problems(raw: Mapping[str, Any], file: str, *, lines: Sequence[str] = ()) -> list[Problem]:
    """Check every key and every text of settings, however deep.

    Parameters
    ----------
    raw : mapping
        Settings as read from TOML or JSON.
    file : str
        Where they stand, for messages.
    lines : sequence of str
        Keys whose texts may run over several lines.

    Returns
    -------
    list of Problem
    """
    return [
        Problem(file, rule, column=where, value=text, code=Code.UNSEEN_CHARACTER)
        for where, text, key in _texts(raw, "", "")
        if (rule := unwritable(text, lines=key in lines))
    ]


def _texts(value: Any, where: str, key: str) -> Iterator[tuple[str, str, str]]:
    """Place, text and nearest key of every key and text."""
    if isinstance(value, str):
        yield where, value, key
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            here = f"{where}.{name}" if where else str(name)
            yield here, str(name), ""
            yield from _texts(inner, here, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, where, key)
