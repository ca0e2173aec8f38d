"""Names that specs no longer use, each with the one that took its place."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from lndbayes.base.errors import Code, Problem

__all__ = ["RENAMED", "new_name", "told", "under_new_names"]

#: Old dotted key of a section, a value or a prior slot -> the new one.
RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "outcome.given": "outcome.exposure_outcome",
        "outcome.margin": "outcome.margin_per_1000",
        "priors.overdispersion": "priors.concentration",
    }
)

#: What else is new about a key: its value is no longer what it was under the old name.
_MEANING: Final[Mapping[str, str]] = MappingProxyType(
    {"outcome.margin": "in events per 1,000 exposed and no longer on the link scale"}
)


def new_name(dotted: str) -> str | None:
    """Return what a dotted key is called now, or None if it never had another name.

    What lies below a renamed key, such as a parameter of a prior, moves with it.
    """
    for old, new in RENAMED.items():
        if dotted == old or dotted.startswith(f"{old}."):
            return new + dotted.removeprefix(old)
    return None


def told(dotted: str) -> str | None:
    """Say what a dotted key is called now, and what its value means; None as `new_name`."""
    if (new := new_name(dotted)) is None:
        return None
    meaning = _MEANING.get(dotted)
    return f"is now called {new}" + (f", {meaning}" if meaning else "")


def under_new_names(raw: Mapping[str, Any], source: str) -> tuple[Mapping[str, Any], list[Problem]]:
    """Give values under old names their new ones, and tell each.

    Parameters
    ----------
    raw : mapping
        A spec as parsed; left as it is.
    source : str
        Where it stands, for messages.

    Returns
    -------
    mapping
        The spec in which the rest can be checked: nothing is missed or unknown because of its old
        name. A value takes the place of one that stands under the new name, which may be a
        template's; a section is laid over it.
    list of Problem
        One for each old name.
    """
    renamed: dict[str, Any] | None = None
    problems = []
    for old, new in RENAMED.items():
        *parents, leaf = old.split(".")
        node = _table(raw, parents)
        if node is None or leaf not in node:
            continue
        rule = told(old)
        problems.append(Problem(source, str(rule), column=old, code=Code.RENAMED_KEY))
        renamed = copy.deepcopy(dict(raw)) if renamed is None else renamed
        value = _table(renamed, parents).pop(leaf)
        *parents, leaf = new.split(".")
        if (place := _table(renamed, parents)) is not None:
            below = place.get(leaf)
            section = isinstance(value, Mapping) and parents != ["priors"]
            both = section and isinstance(below, Mapping)
            place[leaf] = {**below, **value} if both else value
    return raw if renamed is None else renamed, problems


def _table(raw: Any, keys: list[str]) -> Any:
    """Return the table below some keys, or None where there is none."""
    for key in keys:
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw if isinstance(raw, Mapping) else None
