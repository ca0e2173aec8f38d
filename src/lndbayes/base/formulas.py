"""Texts that a spreadsheet would run: refused as names, neutralised where they are free.

A program that opens a CSV takes a cell for a formula if it begins with one of a few marks, whoever
wrote it and whether or not it is quoted. Identifiers join tables, so they may not begin so at all.
A free text gets an apostrophe before it, which spreadsheets take for "this is text".
"""

from __future__ import annotations

import re
from typing import Final

import pandas as pd

__all__ = ["NOT_A_FORMULA", "neutral", "neutral_table", "plain", "runs"]

#: Rule for names.
NOT_A_FORMULA: Final = "must not begin with =, +, - or @: a spreadsheet would run it as a formula"

#: Marks, the full-width ones too; a tab or a return before them is dropped by some programs.
_MARKS: Final = tuple("=+-@\uff1d\uff0b\uff0d\uff20\t\r")
_NUMBER: Final = r"[+-]?(?:[0-9][0-9,]*(?:\.[0-9]*)?|\.[0-9]+|inf)(?:e[+-]?[0-9]+)?%?"
#: Numbers, ranges of numbers, or a lone sign, which stand for nothing but themselves.
_WORDS: Final = "to|up to|or|and|and under|to under"
#: A band of a score: numbers with words between and around them, which no cell name or call is.
_BAND: Final = rf"(?:(?:[+-] ?)?(?:under|over|above|below) )?{_NUMBER}(?: (?:{_WORDS}) {_NUMBER})*"
_END: Final = r"(?: (?:or|and) (?:less|fewer|lower|under|below|more|higher|over|above|up))?"
_HARMLESS: Final = re.compile(
    rf"{_NUMBER}(?: ?(?:to|/|;|,|-|\u2013) ?{_NUMBER})*|[+-]|{_BAND}{_END}(?: ?> ?{_BAND}{_END})*"
)


def runs(text: str) -> bool:
    """Whether a spreadsheet may take a cell for a formula; a negative number is none."""
    return text.startswith(_MARKS) and not _HARMLESS.fullmatch(text)


def neutral(text: str) -> str:
    """Text as it may stand in a CSV."""
    return f"'{text}" if runs(text) else text


def plain(text: str) -> str:
    """Text as it was before `neutral`."""
    return text[1:] if text.startswith("'") and runs(text[1:]) else text


def neutral_table(table: pd.DataFrame) -> pd.DataFrame:
    """Table with every text neutralised; numbers stay numbers."""
    changed = {
        name: table[name].map(lambda cell: neutral(cell) if isinstance(cell, str) else cell)
        for name in table.columns
        if not pd.api.types.is_numeric_dtype(table[name])
        and any(isinstance(cell, str) and runs(cell) for cell in table[name].unique())
    }
    return table.assign(**changed) if changed else table
