"""Which coordinates of the parameter vector vary together: the structure of `Coordinates`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lndbayes.model.design import Design
from lndbayes.model.layout import REAL, SCALARS, Block, layout, scalar_places
from lndbayes.spec.linear import LINEAR, LearnedScale, LinearBlock

__all__ = ["CoordinateGroups", "Run", "coordinate_groups"]

#: Blocks of one coordinate or more for each site beside those of linear terms, and the scale that
#: multiplies them, if one does.
_OF_SITES: Mapping[str, str | None] = {
    "site_level": None,
    "stage_site": "stage_site_sd",
    "retrospective_site_bias": "retrospective_bias_sd",
}
#: Blocks that only some sites have, and which.
_OF_SOME: Mapping[str, str] = {
    "stage_site": "site_of_stage",
    "retrospective_site_bias": "retrospective_site",
}


@dataclass(frozen=True, slots=True)
class Run:
    """Coordinates whose posterior spread follows a positive scalar v of the vector.

    Attributes
    ----------
    scalar : int
        Place of log v.
    first, last : int
        First coordinate, and one past the last.
    rate : int
        2 where v multiplies the coordinates, which are standard normal under the prior: what is
        left of their variance is ``1 / (1 + v^2 information)``. -1 where v is the concentration of
        a Dirichlet-multinomial: their variance goes with ``1 + information / v``.
    information : ndarray or None
        One for each coordinate; None: to be found from draws.
    """

    scalar: int
    first: int
    last: int
    rate: int = 2
    information: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class CoordinateGroups:
    """Which coordinates are correlated with which: for `coordinates_from`.

    Attributes
    ----------
    shared : int
        How many of the first coordinates all sites share.
    correlated : ndarray of int, shape (G, m)
        Disjoint sets of coordinates that are correlated within: the shares of a site's
        interventions, which sum to one. A place in one means the same as in another, so that their
        regressions on what is shared are alike.
    sites : ndarray of int, shape (S, m)
        Each site's other coordinates by kind, -1 where it has none.
    scalars : ndarray of int, shape (m,)
        Place of the logarithm of the scale that multiplies each kind of them; -1 where none does.
    scales : tuple of int
        Positive scalars, stored as logarithms, whose posterior may be far from normal.
    runs : tuple of Run
        Coordinates whose spread follows a scalar.
    mix_at : ndarray of int, shape (4,) or (0,)
        First coordinate of shares and of effects of interventions, place of these effects' log
        scale, and which kind is the deviation: see `SiteGaussian`.
    """

    shared: int
    correlated: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    sites: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    scalars: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    scales: tuple[int, ...] = ()
    runs: tuple[Run, ...] = ()
    mix_at: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def shared_scalars(self) -> np.ndarray:
        """Place of the log scale that multiplies each shared coordinate; -1 where none does."""
        out = np.full(self.shared, -1, dtype=np.int64)
        for run in self.runs:
            if run.rate == 2 and run.last <= self.shared:
                out[run.first : run.last] = run.scalar
        return out


def coordinate_groups(design: Design) -> CoordinateGroups:
    """Say which coordinates are correlated, from the model's structure."""
    blocks = layout(design)
    shares = blocks["mix_share"]
    kinds = shares.shape[1]
    places = scalar_places(design)
    positive = tuple(place for name, place in places.items() if name not in REAL)
    effects = blocks["mix_effect"]
    runs = [Run(SCALARS.index("mix_effect_sd"), effects.start, effects.stop)]
    for term in LINEAR:
        learned, block = _multiplier(term), blocks.get(term.name)
        if learned and block is not None and not term.per_site and block.stop > block.start:
            runs.append(Run(places[learned], block.start, block.stop))
    recorded = np.repeat(design["mix_count"].sum(axis=1), kinds).astype(float)
    concentration = SCALARS.index("mix_concentration")
    runs.append(Run(concentration, shares.start, shares.stop, rate=-1, information=recorded))
    some = tuple(run for run in runs if run.last > run.first)
    mixes = np.arange(shares.start, shares.stop).reshape(shares.shape)
    sites, scalars = _of_sites(design, blocks)
    kind = scalars.tolist().index(SCALARS.index("site_effect_sd"))
    at = np.array([shares.start, effects.start, SCALARS.index("mix_effect_sd"), kind])
    at = at if kinds > 1 else at[:0]
    return CoordinateGroups(blocks["site_drift"].start, mixes, sites, scalars, positive, some, at)


def _multiplier(term: LinearBlock) -> str | None:
    """Name of the parameter that multiplies a term's coordinates, if one does."""
    prior = term.prior
    return prior.slot if isinstance(prior, LearnedScale) and not prior.centred else None


def _of_sites(design: Design, blocks: Mapping[str, Block]) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of each site by kind, and the place of each kind's log scale.

    Of numbers that sum to zero over sites, the coordinate in a site's place is nearly that site's.
    """
    labels = list(design.coords["site"])
    columns, scalars = [], []
    kinds = {term.name: _multiplier(term) for term in LINEAR if term.per_site}
    places = scalar_places(design)
    for name, scale in {**kinds, **_OF_SITES}.items():
        block = blocks[name]
        some = design.coords[_OF_SOME[name]] if name in _OF_SOME else labels
        for row in np.atleast_2d(np.arange(block.start, block.stop).reshape(block.shape)):
            column = np.full(len(labels), -1, dtype=np.int64)
            # the last of numbers that sum to zero has no coordinate
            for label, place in zip(some, row.tolist(), strict=False):
                column[labels.index(label)] = place
            columns.append(column)
            scalars.append(-1 if scale is None else places[scale])
    return np.stack(columns, axis=1), np.array(scalars, dtype=np.int64)
