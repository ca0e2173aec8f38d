"""Whether a stored fit has what is read of it: a file may be whole and still be no fit of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from numbers import Integral
from typing import Any, Final

import numpy as np
import xarray as xr

from lndbayes.base.errors import FitError, Problem
from lndbayes.base.names import PERIOD_MONTHS, SAMPLE_DIMS
from lndbayes.fitting.trees import DIMS
from lndbayes.spec.families import FAMILIES

__all__ = ["require_shape", "shape_problems"]

_CELL: Final = ("site", "month")
#: Constants that every reader of a fit needs, with their dims.
_CONSTANTS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("event_time", "exposure", "exposure_all", "exposure_exact"), _CELL),
    **dict.fromkeys(("count_exact", "coverage", "site_weight", "referrals"), _CELL),
    "time": ("month",),
    "national_functions": ("month", "basis_national"),
    "harmonics": ("month", "harmonic"),
    "half_period": (),
    "mix_centre": ("intervention",),
}
#: Parameters that every model has.
_PARAMETERS: Final = ("effect_mean", "site_effect", "site_level", "ramp_months", "site_effect_sd")


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


_ATTRIBUTES: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "outcome": (_text, "a name"),
    "unit": (_text, "a text"),
    "fit_key": (_text, "a text"),
    "spec_text": (_text, "a text"),
    "family": (lambda value: _text(value) and value in FAMILIES, "a family"),
    "period": (lambda value: _text(value) and value in PERIOD_MONTHS, "a period"),
    "seed": (lambda value: isinstance(value, Integral) and int(value) >= 0, "a whole number"),
}


def shape_problems(tree: xr.DataTree, file: str) -> list[Problem]:
    """Tell what of a fit's groups, dims, numbers and attributes is not as readers need it.

    Parameters
    ----------
    tree : xarray.DataTree
        A fit as it was read.
    file : str
        Its place, for messages.

    Returns
    -------
    list of Problem
        Of a file, one for all that is wrong in it; empty for a fit.
    """
    found = [*_attribute_faults({str(name): value for name, value in tree.attrs.items()})]
    groups = {
        name: tree[name].to_dataset()
        for name in ("posterior", "prior", "constant_data")
        if name in tree.children
    }
    if len(groups) < 3:
        found.append("must have the groups posterior, prior and constant_data")
    else:
        found += _draw_faults(groups["posterior"], "posterior", groups["constant_data"])
        found += _draw_faults(groups["prior"], "prior", groups["constant_data"])
        found += _constant_faults(groups["constant_data"])
        if set(groups["posterior"].data_vars) != set(groups["prior"].data_vars):
            found.append("posterior and prior must hold the same variables")
    return [Problem(file, f"is no fit that can be read: {'; '.join(found)}")] if found else []


def require_shape(tree: xr.DataTree, file: str) -> xr.DataTree:
    """Return a fit that can be read.

    Raises
    ------
    FitError
        See `shape_problems`.
    """
    if problems := shape_problems(tree, file):
        raise FitError(problems)
    return tree


def _attribute_faults(attributes: Mapping[str, Any]) -> Iterator[str]:
    for name, (right, what) in _ATTRIBUTES.items():
        if not right(attributes.get(name)):
            yield f"its attribute {name} must be {what}"
    family = FAMILIES.get(str(attributes.get("family")))
    if family is not None and not np.array_equal(attributes.get("link", ""), family.link):
        yield f"its attribute link must be {family.link}"


def _draw_faults(draws: xr.Dataset, group: str, constants: xr.Dataset) -> Iterator[str]:
    absent = [name for name in _PARAMETERS if name not in draws.data_vars]
    if absent:
        yield f"{group} must hold {', '.join(absent)}"
    for name, variable in draws.data_vars.items():
        expected = (*SAMPLE_DIMS, *DIMS.get(str(name), ()))
        if variable.dims != expected:
            yield f"{group}/{name} must have the dims {', '.join(expected)}"
        elif variable.dtype.kind not in "fiu" or not variable.size:
            yield f"{group}/{name} must hold numbers"
        elif not np.isfinite(variable.to_numpy()).all():
            yield f"{group}/{name} must hold finite numbers"
    labels = [ds.get_index("site").tolist() for ds in (draws, constants) if "site" in ds.coords]
    if len(labels) < 2 or labels[0] != labels[1]:
        yield f"{group} and constant_data must name the same sites"


def _constant_faults(constants: xr.Dataset) -> Iterator[str]:
    for name, dims in _CONSTANTS.items():
        if name not in constants.data_vars:
            yield f"constant_data must hold {name}"
        elif constants[name].dims != dims or constants[name].dtype.kind not in "fiu":
            told = ", ".join(dims) or "none"
            yield f"constant_data/{name} must hold numbers with the dims {told}"
    if "month" not in constants.coords:
        yield "constant_data must name the months"
