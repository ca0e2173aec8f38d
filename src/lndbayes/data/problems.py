"""Collecting problems and telling them: all are kept, and a readable number is printed."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence

from lndbayes.base.errors import DataError, Problem

__all__ = ["PER_FILE", "PER_KIND", "data_error", "hint", "nearest"]

#: Most lines printed per file, and most of one kind (same file, column and rule) among them.
PER_FILE = 50
PER_KIND = 10


def nearest(value: str, known: Iterable[str]) -> str | None:
    """Return the known name that `value` looks most like, whatever its case, or None."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(value.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def hint(value: str, known: Iterable[str]) -> str:
    """Return ` (did you mean ...?)` for the nearest known name, or nothing.

    Hints stand in parentheses at the end of a rule: the same rule with another hint is the same
    kind of problem.
    """
    near = nearest(value, known)
    if near is None:
        return ""
    # names that look the same differ in what cannot be seen: how an accent is written, say
    alike = unicodedata.normalize("NFKC", near) == unicodedata.normalize("NFKC", value)
    return f" (did you mean {near!a}, not {value!a}?)" if alike else f" (did you mean {near!r}?)"


def data_error(problems: Sequence[Problem]) -> DataError:
    """Build the error that holds every problem and prints a readable number of them.

    Parameters
    ----------
    problems : sequence of Problem
        At least one.

    Returns
    -------
    DataError
        `.problems` holds all, ordered by file and row; `str()` shows at most `PER_KIND` of a kind
        and `PER_FILE` of a file, and counts the rest.
    """
    files = list(dict.fromkeys(problem.file for problem in problems))
    ordered = [
        problem
        for file in files
        for problem in sorted((p for p in problems if p.file == file), key=lambda p: p.row or 0)
    ]
    error = DataError(ordered)
    lines = [f"{len(ordered)} problem{'s' if len(ordered) > 1 else ''} in the evaluation data"]
    for file in files:
        lines += _lines([problem for problem in ordered if problem.file == file])
    error.args = ("\n".join(lines),)
    return error


def _lines(problems: Sequence[Problem]) -> list[str]:
    kinds: dict[tuple[str | None, str], list[Problem]] = {}
    for problem in problems:
        kinds.setdefault((problem.column, problem.rule.split(" (")[0]), []).append(problem)
    lines: list[str] = []
    shown = untold = 0
    for same in kinds.values():
        take = min(len(same), PER_KIND, PER_FILE - shown)
        lines += [str(problem) for problem in same[:take]]
        shown += take
        if take == 0:
            untold += len(same)
        elif len(same) > take:
            column = f", column {same[0].column}" if same[0].column else ""
            lines.append(f"{same[0].file}{column}: and {len(same) - take} more of the same kind")
    if untold:
        lines.append(f"{problems[0].file}: and {untold} more problems of other kinds")
    return lines
