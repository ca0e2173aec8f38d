"""Templates under an outcome's file: what a spec file leaves out, in one place and by one rule.

The file stands over the template of its family, and that over the template of all families, key by
key; a list is replaced whole, and so is a prior slot. What no template has stays missing.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from lndbayes.files.reading import read_toml
from lndbayes.spec.families import FAMILIES

__all__ = ["COMMON", "Origin", "Resolved", "resolve", "template"]

#: Name of the template of all families; the others are named after their family.
COMMON: Final = "common"
_FOLDER: Final = Path(__file__).with_name("templates")

type _Path = tuple[str, ...]


class Origin(StrEnum):
    """Where a value of a spec stands."""

    FILE = "file"
    FAMILY = "family template"
    COMMON = "common template"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A spec file over its templates; not yet checked.

    Attributes
    ----------
    values : dict
        Sections, as `parse_spec` takes them.
    origins : mapping of tuple of str to Origin
        Where each value stands, by its keys from the section down; a prior slot is one value.
    """

    values: dict[str, Any]
    origins: Mapping[_Path, Origin]


@functools.cache
def template(name: str) -> Mapping[str, Any]:
    """Read a template.

    Parameters
    ----------
    name : str
        `COMMON`, or a key of `lndbayes.spec.families.FAMILIES`.

    Returns
    -------
    mapping
        Its sections; shared, so not to be changed.
    """
    return read_toml(_FOLDER / f"{name}.toml")


def resolve(raw: Mapping[str, Any]) -> Resolved:
    """Lay a spec file over its templates.

    Parameters
    ----------
    raw : mapping
        The file as parsed; left as it is. Where its family cannot be read, which `parse_spec`
        tells, only the template of all families is under it.

    Returns
    -------
    Resolved
    """
    layers = {Origin.COMMON: template(COMMON)}
    section = raw.get("likelihood")
    family = section.get("family") if isinstance(section, Mapping) else None
    if isinstance(family, str) and family in FAMILIES:
        layers[Origin.FAMILY] = template(family)
    layers[Origin.FILE] = raw
    values: dict[str, Any] = {}
    origins: dict[_Path, Origin] = {}
    for origin, layer in layers.items():
        _lay_over(values, layer, (), origin, origins)
    return Resolved(values, origins)


def _lay_over(
    below: dict[str, Any],
    above: Mapping[str, Any],
    path: _Path,
    origin: Origin,
    origins: dict[_Path, Origin],
) -> None:
    for key, value in above.items():
        here = (*path, key)
        if isinstance(value, Mapping) and path != ("priors",):
            if not isinstance(below.get(key), dict):
                below[key] = {}
            _lay_over(below[key], value, here, origin, origins)
        else:
            below[key] = copy.deepcopy(value)
            origins[here] = origin
