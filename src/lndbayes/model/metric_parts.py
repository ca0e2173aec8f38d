"""Which coordinates of the parameter vector vary together: what a metric is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lndbayes.model.design import Design
from lndbayes.model.layout import REAL, SCALARS, Block, layout

__all__ = ["MetricParts", "Run", "metric_parts"]

#: Scales, and the block of standard normal coordinates that each multiplies.
_MULTIPLIED: Mapping[str, str] = {
    "mix_effect_sd": "mix_effect",
    "site_drift_sd": "site_drift",
    "site_curve_sd": "site_curve",
    "site_effect_sd": "site_deviation",
    "stage_site_sd": "stage_site",
    "retrospective_bias_sd": "retrospective_site_bias",
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
        a Dirichlet-multinomial law: their variance goes with ``1 + information / v``.
    information : ndarray or None
        One for each coordinate; None: to be found from draws.
    """

    scalar: int
    first: int
    last: int
    rate: int = 2
    information: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class MetricParts:
    """What is correlated with what: for `lndbayes.model.metric.metric_from`.

    Attributes
    ----------
    shared : int
        How many of the first coordinates all sites share.
    groups : tuple of tuple of int
        Disjoint sets of coordinates that are correlated within: all of one site, but for the shares
        of its interventions, which sum to one and are a set of their own.
    alike : tuple of ndarray of int
        Sets of coordinates that mean the same at different sites, so that their regressions on
        what is shared are alike.
    scales : tuple of int
        Positive scalars, stored as logarithms, whose posterior may be far from normal.
    runs : tuple of Run
        Coordinates whose spread follows a scalar.
    """

    shared: int
    groups: tuple[tuple[int, ...], ...] = ()
    alike: tuple[np.ndarray, ...] = ()
    scales: tuple[int, ...] = ()
    runs: tuple[Run, ...] = ()


def metric_parts(design: Design) -> MetricParts:
    """Say which coordinates are correlated, from the model's structure."""
    blocks = layout(design)
    alike = []
    names = ("site_drift", "site_curve", "mix_share", "site_deviation", "stage_site", "site_level")
    for name in names:
        block = blocks[name]
        index = np.arange(block.start, block.stop).reshape(block.shape)
        if name == "mix_share":
            alike += list(index.T)
        else:
            alike += list(np.atleast_2d(index))
    shares = blocks["mix_share"]
    kinds = shares.shape[1]
    positive = tuple(range(len(REAL), len(SCALARS)))
    runs = [
        Run(SCALARS.index(scale), blocks[name].start, blocks[name].stop)
        for scale, name in _MULTIPLIED.items()
    ]
    recorded = np.repeat(design["mix_count"].sum(axis=1), kinds).astype(float)
    at = SCALARS.index("mix_concentration")
    runs.append(Run(at, shares.start, shares.stop, rate=-1, information=recorded))
    some = tuple(run for run in runs if run.last > run.first)
    groups = _of_one_site(design, blocks)
    return MetricParts(blocks["site_drift"].start, groups, tuple(alike), positive, some)


def _of_one_site(design: Design, blocks: Mapping[str, Block]) -> tuple[tuple[int, ...], ...]:
    """Sets of coordinates that are correlated within one site.

    Of numbers that sum to zero over sites, the coordinate in a site's place is nearly that site's.
    """
    sites = list(design.coords["site"])
    own: list[list[int]] = [[] for _ in sites]
    for name in ("site_drift", "site_curve", "site_deviation", "site_level"):
        block = blocks[name]
        for row in np.atleast_2d(np.arange(block.start, block.stop).reshape(block.shape)):
            for site, place in enumerate(row.tolist()):
                own[site].append(place)
    for name, dim in (
        ("stage_site", "site_of_stage"),
        ("retrospective_site_bias", "retrospective_site"),
    ):
        for i, label in enumerate(design.coords[dim]):
            own[sites.index(label)].append(blocks[name].start + i)
    shares = blocks["mix_share"]
    mixes = np.arange(shares.start, shares.stop).reshape(shares.shape).tolist()
    return tuple(tuple(group) for group in (*own, *mixes) if group)
