"""Labels that a reader cannot tell apart."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from lndbayes.base.characters import unseen
from lndbayes.base.errors import Code, Problem
from lndbayes.data.schema import OUTCOMES
from lndbayes.data.tables import Parsed

__all__ = ["check_labels", "look_alikes"]

#: Letters of the Cyrillic and Greek alphabets that look like Latin ones, by what they look like.
_LOOKS = {
    **dict(
        zip(
            "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425",
            "ABEKMHOPCTYX",
            strict=True,
        )
    ),
    **dict(
        zip(
            "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455",
            "aeopcyxijs",
            strict=True,
        )
    ),
    **dict(zip("\u0405\u0406\u0408", "SIJ", strict=True)),
    **dict(
        zip(
            "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",
            "ABEZHIKMNOPTYX",
            strict=True,
        )
    ),
    **dict(zip("\u03bf\u03bd\u03b9", "ovi", strict=True)),
}
_ALIKE = str.maketrans(_LOOKS)


def look_alikes(labels: Iterable[str]) -> dict[str, str]:
    """Find labels that look like another one.

    Parameters
    ----------
    labels : iterable of str
        Labels, in their order.

    Returns
    -------
    dict of str to str
        The label that came first, by every later one that is written with other characters and
        looks the same: composed or not, in full or half width, with letters of another alphabet.
    """
    first: dict[str, str] = {}
    found = {}
    for label in dict.fromkeys(labels):
        seen = unicodedata.normalize("NFKC", label).translate(_ALIKE)
        known = first.setdefault(" ".join(seen.split()), label)
        if known != label:
            found[label] = known
    return found


#: Columns whose labels name something by being the same text in several rows or tables.
_LABELS = ("site", "stratum", "category", "intervention")


def check_labels(parsed: Parsed) -> list[Problem]:
    """Check that labels which look the same are the same, and that all of a label is seen."""
    problems = _same_but_for_case(parsed)
    for column in _LABELS:
        if column not in parsed.frame:
            continue
        faults = {label: rule for label in set(parsed.frame[column]) if (rule := unseen(label))}
        broken = parsed.frame[column].isin(faults).to_numpy(bool)
        rules = [faults[label] for label in parsed.frame.loc[broken, column]]
        problems += parsed.problems(broken, column, rules, Code.UNSEEN_CHARACTER)
        found = look_alikes(parsed.frame[column].tolist())
        broken = parsed.frame[column].isin(found).to_numpy(bool)
        rules = [
            f"must not look like a label that has other characters ({found[label]!a})"
            for label in parsed.frame.loc[broken, column]
        ]
        problems += parsed.problems(broken, column, rules, Code.LOOKS_ALIKE)
    return problems


def _same_but_for_case(parsed: Parsed) -> list[Problem]:
    """Rows of an outcome whose name differs from an earlier one by case only: both name files."""
    if parsed.table.file != OUTCOMES.file:
        return []
    first: dict[str, str] = {}
    names = parsed.frame["outcome"]
    found = {
        name: first[name.casefold()]
        for name in dict.fromkeys(names)
        if first.setdefault(name.casefold(), name) != name
    }
    broken = names.isin(found).to_numpy(bool)
    rules = [
        f"must not differ from another outcome by case only ({found[name]!r})"
        for name in names[broken]
    ]
    return parsed.problems(broken, "outcome", rules, Code.LOOKS_ALIKE)
