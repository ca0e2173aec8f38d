"""Arithmetic of the linear terms on arrays: bases, scales, and what a term adds to predictors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from lndbayes.spec.linear import (
    LINEAR,
    Enters,
    FixedScale,
    LearnedScale,
    LinearBlock,
    entering,
)

__all__ = [
    "DERIVED",
    "Arrays",
    "basis",
    "columns_of",
    "fixed_scale",
    "is_on",
    "mean_part",
    "month_part",
    "scale",
    "site_effect_part",
    "site_month_part",
]


class Arrays(Protocol):
    """Named arrays: a `Design`, or a dict of a fit's ``constant_data``."""

    def __getitem__(self, name: str, /) -> np.ndarray:
        """Return the array of that name."""


#: Bases that follow from other arrays, which so stay true when these are replaced. They are of
#: operators alone, for arrays of NumPy's as for variables of a graph.
DERIVED: Mapping[str, Callable[[Any], Any]] = {
    "early_level": lambda X: X["earliness"][:, None] + np.float64(0.0) * X["time"],
    "early_time": lambda X: X["earliness"][:, None] * X["time"],
    "live": lambda X: (X["event_time"] >= 0) * np.float64(1.0),
    "years_live": lambda X: X["event_time"] * (X["event_time"] >= 0) / np.float64(12.0),
}


def basis(block: LinearBlock, arrays: Any) -> Any:
    """A term's basis, with the dims that its row says.

    Parameters
    ----------
    block : LinearBlock
        The term; with a basis.
    arrays : Arrays, or mapping of str to graph variables
        The design's arrays.
    """
    name = str(block.basis)
    return DERIVED[name](arrays) if name in DERIVED else arrays[name]


def is_on(block: LinearBlock, values: Mapping[str, np.ndarray]) -> bool:
    """Whether draws have a term: a stored fit holds nothing of one without coefficients."""
    found = values.get(block.name)
    if found is None or not np.size(found):
        return False
    # a multiplier of a scale of 0 is stored as zeros
    return not isinstance(block.prior, FixedScale) or bool(np.any(found))


def fixed_scale(block: LinearBlock, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of coefficients as far as they are numbers and no parameters; else 0 and 1."""
    if not isinstance(block.prior, FixedScale):
        return np.zeros(()), np.ones(())
    mean = arrays[block.prior.mean] if block.prior.mean is not None else np.zeros(())
    return np.asarray(mean), np.asarray(arrays[block.prior.array])


def scale(block: LinearBlock, values: Mapping[str, Any], arrays: Arrays) -> np.ndarray:
    """What multiplies a term's coordinates, with dims of its coefficients appended.

    Parameters
    ----------
    block : LinearBlock
        The term.
    values : mapping of str to ndarray
        Constrained scalars, with any leading sample dims.
    arrays : Arrays
        The design.
    """
    if isinstance(block.prior, LearnedScale) and not block.prior.centred:
        own = np.asarray(values[block.prior.slot])
        return own[(..., *(None for _ in block.variable_dims))]
    sd = fixed_scale(block, arrays)[1]
    return sd[..., None] if sd.ndim and block.per_site else sd


def columns_of(block: LinearBlock, arrays: Arrays) -> np.ndarray:
    """Basis with a last dim of columns, also where there is one only."""
    found = np.asarray(basis(block, arrays))
    return found if block.dims else found[..., None]


def _coefficients(block: LinearBlock, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Coefficients, shape (..., K), or (..., K, S) where sites have their own."""
    found = np.asarray(values[block.name])
    if block.dims:
        return found
    return found[..., None, :] if block.per_site else found[..., None]


def month_part(values: Mapping[str, np.ndarray], arrays: Arrays) -> np.ndarray:
    """What all sites' untreated predictors share, shape (..., T)."""
    total = np.zeros(())
    for block in entering(Enters.UNTREATED):
        if block.over == ("month",) and not block.per_site and is_on(block, values):
            total = total + _coefficients(block, values) @ columns_of(block, arrays).T
    return total


def site_month_part(values: Mapping[str, np.ndarray], arrays: Arrays, enters: Enters) -> np.ndarray:
    """What terms that differ between sites add to a surface, shape (..., S, T)."""
    total = np.zeros(())
    for block in entering(enters):
        if not is_on(block, values):
            continue
        coefficients, columns = _coefficients(block, values), columns_of(block, arrays)
        if block.per_site:
            total = total + np.swapaxes(coefficients, -1, -2) @ columns.T
        elif block.over == ("site", "month"):
            total = total + np.tensordot(coefficients, columns, axes=(-1, -1))
    return total


def site_effect_part(values: Mapping[str, np.ndarray], arrays: Arrays) -> np.ndarray:
    """Sum of the terms of the site effects, shape (..., S)."""
    total = np.zeros(())
    for block in entering(Enters.SITE_EFFECT):
        if not is_on(block, values):
            continue
        if block.membership:
            total = total + np.asarray(values[block.name])[..., basis(block, arrays)]
        elif block.per_site:
            total = total + np.asarray(values[block.name])
        else:
            total = total + _coefficients(block, values) @ columns_of(block, arrays).T
    return total


def mean_part(values: Mapping[str, np.ndarray], arrays: Arrays, weight: np.ndarray) -> np.ndarray:
    """Weighted means over months of all that terms add to a site's treated predictor.

    Parameters
    ----------
    values, arrays
        Constrained variables with any leading sample dims, and the design.
    weight : ndarray, shape (S, T)
        Weights of the months of each site.

    Returns
    -------
    ndarray, shape (..., S)
        Without the site effect, which builds up.
    """
    total = month_part(values, arrays) @ weight.T
    for block in LINEAR:
        if block.enters is Enters.SITE_EFFECT or not is_on(block, values):
            continue
        coefficients, columns = _coefficients(block, values), columns_of(block, arrays)
        if block.per_site:
            total = total + np.einsum("...ks,sk->...s", coefficients, weight @ columns)
        elif block.over == ("site", "month"):
            means = np.einsum("st,stk->sk", weight, columns)
            total = total + coefficients @ means.T
    return total
