"""Linear terms as arguments of the compiled density, which loops over them and names none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from lndbayes.density.argument_fields import Style
from lndbayes.model.blocks import basis, columns_of, fixed_scale
from lndbayes.model.design import Design
from lndbayes.model.layout import REAL, layout, scalar_places
from lndbayes.spec.linear import (
    LINEAR,
    Enters,
    FixedScale,
    LearnedScale,
    LinearBlock,
    OwnPrior,
)
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["linear_arguments"]

_BASES: Final = ("month_basis", "untreated_basis", "records_basis", "effect_basis")


def linear_arguments(spec: ModelSpec, design: Design) -> dict[str, np.ndarray]:
    """Pack the linear terms.

    Parameters
    ----------
    spec : ModelSpec
        Gives the priors.
    design : Design
        Gives the rest.

    Returns
    -------
    dict of str to ndarray
        Fields ``term`` to ``own_basis`` of `lndbayes.density.argument_fields.Arguments`. A term
        without columns has no row, and neither has a single coefficient whose fixed scale is 0.
    """
    shared = {name: [b for b in LINEAR if _basis_of(b) == name] for name in _BASES}
    rows, fixed = [], [np.zeros((0, 2))]
    found: dict[str, list[np.ndarray]] = {name: [] for name in _BASES}
    numbers = {name: i for i, name in enumerate(scalar_places(design))}
    at = 0
    for name, terms in shared.items():
        for term in terms:
            columns = _flat(term, design)
            count = len(columns)
            if not count:
                continue
            mean, sd = _fixed(term, spec, design, count)
            if not term.dims and not sd.any():
                continue
            rows.append(_row(term, design, numbers, at, count))
            fixed.append(np.column_stack([mean, sd]))
            found[name].append(columns.reshape(-1, columns.shape[-1]))
            at += count
    sites, months = design["event_time"].shape
    arrays = {
        name: np.vstack([np.zeros((0, sites if name == "effect_basis" else months)), *parts])
        for name, parts in found.items()
    }
    return {
        "term": np.array(rows, dtype=np.int64).reshape(-1, 5),
        "coefficient": np.vstack(fixed),
        **{name: np.ascontiguousarray(array) for name, array in arrays.items()},
        **_own(design, numbers),
    }


def _basis_of(term: LinearBlock) -> str:
    """Field that holds a shared term's basis; empty for what each site has of its own."""
    if term.per_site:
        return ""
    if term.enters is Enters.SITE_EFFECT:
        return "effect_basis"
    if term.enters is Enters.RECORDS:
        return "records_basis"
    return "month_basis" if term.over == ("month",) else "untreated_basis"


def _flat(term: LinearBlock, design: Design) -> np.ndarray:
    """Basis of a shared term, columns first: shape (K, T), (K, S, T) or (K, S)."""
    if term.membership:
        index = np.asarray(basis(term, design))
        kinds = len(design.coords[term.dims[0]])
        return (index == np.arange(kinds)[:, None]).astype(float)
    return np.ascontiguousarray(np.moveaxis(columns_of(term, design), -1, 0), dtype=float)


def _fixed(
    term: LinearBlock, spec: ModelSpec, design: Design, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fixed mean and sd of each coefficient."""
    mean, sd = fixed_scale(term, design)
    if isinstance(term.prior, OwnPrior) and term.name not in REAL:
        prior = spec.priors[term.prior.slot]
        mean, sd = np.asarray(prior["mu"]), np.asarray(prior["sigma"])
    return np.broadcast_to(mean, count), np.broadcast_to(sd, count)


def _row(
    term: LinearBlock, design: Design, numbers: Mapping[str, int], at: int, count: int
) -> tuple[int, ...]:
    if term.name in REAL:
        return Style.SCALAR, numbers[term.name], at, count, -1
    first = layout(design)[term.name].start
    if term.zero_sum:
        return Style.ZERO_SUM, first, at, count, _scale(term, numbers)
    centred = isinstance(term.prior, OwnPrior) or (
        isinstance(term.prior, LearnedScale) and term.prior.centred
    )
    return Style.CENTRED if centred else Style.SCALED, first, at, count, _scale(term, numbers)


def _scale(term: LinearBlock, numbers: Mapping[str, int]) -> int:
    """Number of the scalar that multiplies a term's coefficients; -1 where none does."""
    return numbers.get(term.prior.slot, -1) if isinstance(term.prior, LearnedScale) else -1


def _own(design: Design, numbers: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Coefficients that each site has: of the untreated surface first, then of the site effect."""
    rows, sds = [], []
    bases = [np.zeros((0, design["event_time"].shape[1]))]
    blocks, sites = layout(design), len(design.coords["site"])
    own = [term for term in LINEAR if term.per_site]
    for term in sorted(own, key=lambda term: term.enters is Enters.SITE_EFFECT):
        columns = columns_of(term, design).T if term.basis is not None else np.zeros((1, 0))
        if term.basis is not None:
            bases.append(columns)
        sd = fixed_scale(term, design)[1] if isinstance(term.prior, FixedScale) else np.ones(())
        length = sites - 1 if term.zero_sum else sites
        for k in range(len(columns)):
            first = blocks[term.name].start + k * length
            rows.append((first, _scale(term, numbers), int(term.zero_sum)))
        sds.append(np.broadcast_to(sd, len(columns)))
    return {
        "own": np.array(rows, dtype=np.int64).reshape(-1, 3),
        "own_sd": np.ascontiguousarray(np.concatenate([np.zeros(0), *sds])),
        "own_basis": np.ascontiguousarray(np.vstack(bases)),
    }
