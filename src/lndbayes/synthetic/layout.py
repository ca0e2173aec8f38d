"""What is known before any outcome: sites, go-lives, sizes, exposures, gaps; and random streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lndbayes.synthetic.world import World

__all__ = [
    "FIRST_MONTH",
    "Layout",
    "draw_gaps",
    "draw_layout",
    "go_lives",
    "named_streams",
    "retrospective_pattern",
    "streams",
]

FIRST_MONTH: Final = "2011-04"

#: Sites of the rollout that every other number of sites is proportional to.
REFERENCE_SITES: Final = 27
_WAVE_SITES: Final = (10, 13, 4)
#: Go-live in months after the start of the panel, per wave.
_WAVE_MONTHS: Final = (
    (0,) * 10,
    tuple(12 + m for m in (0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 6, 6, 6)),
    (27, 33, 39, 48),
)
_RETROSPECTIVE: Final = (0, 2, 3, 5, 6, 8, 9, 11, 14, 17, 20)

#: One random stream each, so that a change to one leaves the numbers of the others as they were.
#: The order is part of the data: append, never insert.
_STREAMS: Final = (
    "size",
    "exposure",
    "missing",
    "predecessor",
    "mix_share",
    "mix_total",
    "mix_count",
    "mix_month",
    "referrals",
    "site_deviation",
    "ramp",
    "site_level",
    "site_drift",
    "site_curve",
    "national_curve",
    "shock",
    "outcome",
    "coverage",
    "retrospective_bias",
    "retrospective",
    "national",
    "history",
    "elicited",
    "new_site",
    "band",
    "band_site",
)

_MINERALS: Final = (
    "Agate",
    "Amber",
    "Azurite",
    "Beryl",
    "Calcite",
    "Citrine",
    "Cobalt",
    "Corundum",
    "Feldspar",
    "Fluorite",
    "Galena",
    "Garnet",
    "Gypsum",
    "Hematite",
    "Jasper",
    "Kyanite",
    "Lapis",
    "Malachite",
    "Marcasite",
    "Mica",
    "Obsidian",
    "Olivine",
    "Onyx",
    "Opal",
    "Peridot",
    "Pyrite",
    "Quartz",
    "Spinel",
    "Topaz",
    "Zircon",
)
_LANDFORMS: Final = (
    "Vale",
    "Reach",
    "Downs",
    "Fells",
    "Levels",
    "Marsh",
    "Ridge",
    "Shore",
    "Weald",
    "Wolds",
)
_REGIONS: Final = ("Emberland", "Fenmark", "Galeholm", "Highreach", "Isleward")

#: Residents per eligible person a month: fictional, and only a weight.
_POPULATION_PER_SIZE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Layout:
    """Sites and months of one synthetic evaluation.

    Attributes
    ----------
    site, label, region : tuple of str
        Length site.
    month : tuple of str
        ``YYYY-MM`` labels of the grid, length month.
    go_live, wave, population : ndarray of int
        Dims (site). Month index, 1 to 3, residents.
    event_time : ndarray of int
        Dims (site, month). Months since go-live.
    size : ndarray of float
        Dims (site). Expected eligible persons a month.
    exposure : ndarray of int
        Dims (site, month). Eligible persons brought to court, also before the panel starts.
    published : ndarray of bool
        Dims (site, month). Whether the outcome has a row.
    predecessor : ndarray of float
        Dims (site). NaN where unknown.
    retrospective : ndarray of int
        Index of the sites with retrospective records.
    """

    site: tuple[str, ...]
    label: tuple[str, ...]
    region: tuple[str, ...]
    month: tuple[str, ...]
    go_live: NDArray[np.int64]
    wave: NDArray[np.int64]
    population: NDArray[np.int64]
    event_time: NDArray[np.int64]
    size: NDArray[np.float64]
    exposure: NDArray[np.int64]
    published: NDArray[np.bool_]
    predecessor: NDArray[np.float64]
    retrospective: NDArray[np.int64]


def streams(seed: int) -> dict[str, np.random.Generator]:
    """Give every component of the simulation a random stream of its own.

    Parameters
    ----------
    seed : int
        Zero or positive.

    Returns
    -------
    dict of str to numpy.random.Generator
        Keyed by component.
    """
    return named_streams(np.random.SeedSequence(seed), _STREAMS)


def named_streams(
    sequence: np.random.SeedSequence, names: Sequence[str]
) -> dict[str, np.random.Generator]:
    """Spawn one random stream for each name, in order."""
    children = sequence.spawn(len(names))
    return {name: np.random.default_rng(child) for name, child in zip(names, children, strict=True)}


def go_lives(sites: int, panel_start: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lay the rollout pattern over any number of sites.

    Parameters
    ----------
    sites : int
        Number of sites.
    panel_start : int
        Month index of the first wave's go-live.

    Returns
    -------
    go_live : ndarray of int
        Dims (site). Month index.
    wave : ndarray of int
        Dims (site). 1 to 3, in order.
    """
    # Largest remainders in whole numbers: no rounding rule of floats decides a wave.
    base = [sites * k // REFERENCE_SITES for k in _WAVE_SITES]
    remainder = [sites * k % REFERENCE_SITES for k in _WAVE_SITES]
    # Ties go to the larger wave, so that two sites make waves 1 and 2.
    order = sorted(range(3), key=lambda w: (-remainder[w], -_WAVE_SITES[w]))
    for w in order[: sites - sum(base)]:
        base[w] += 1
    months = [
        panel_start + pattern[(2 * i + 1) * len(pattern) // (2 * k)]
        for k, pattern in zip(base, _WAVE_MONTHS, strict=True)
        for i in range(k)
    ]
    return np.array(months), np.repeat([1, 2, 3], base)


def retrospective_pattern(sites: int, per_reference: int) -> NDArray[np.int64]:
    """Choose the sites that kept retrospective records.

    Parameters
    ----------
    sites : int
        Number of sites.
    per_reference : int
        Number out of 27 sites.

    Returns
    -------
    ndarray of int
        Site indices.
    """
    if per_reference == len(_RETROSPECTIVE):
        chosen = set(_RETROSPECTIVE)
    else:
        chosen = {
            (2 * i + 1) * REFERENCE_SITES // (2 * per_reference) for i in range(per_reference)
        }
    twin = (2 * np.arange(sites) + 1) * REFERENCE_SITES // (2 * sites)
    return np.flatnonzero(np.isin(twin, sorted(chosen)))


def draw_gaps(world: World, start: int, sites: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Say which outcome rows exist: gaps at random, and some missing years.

    Parameters
    ----------
    world : World
        Parameters.
    start : int
        Month index from which there are rows.
    sites : int
        Number of sites.
    rng : numpy.random.Generator
        Its own stream.

    Returns
    -------
    ndarray of bool
        Dims (site, month).
    """
    present = rng.random((sites, world.months)) >= world.missing_share
    gaps = min(_scaled(world.missing_year_sites, sites), sites)
    chosen = rng.choice(sites, size=gaps, replace=False)
    begins = rng.integers(start, world.months - 12, size=gaps, endpoint=True)
    for s, begin in zip(chosen, begins, strict=True):
        present[s, begin : begin + 12] = False
    present[:, :start] = False
    return present


def _predecessor(world: World, sites: int, rng: np.random.Generator) -> NDArray[np.float64]:
    # Two digits, as a desk review would write it, and the truth uses what is published.
    share = np.round(rng.beta(*world.predecessor_law, size=sites), 2)
    unknown = min(_scaled(world.predecessor_unknown, sites), sites - 1)
    share[rng.choice(sites, size=unknown, replace=False)] = np.nan
    return share


def _scaled(per_reference: int, sites: int) -> int:
    return (2 * per_reference * sites + REFERENCE_SITES) // (2 * REFERENCE_SITES)


def draw_layout(world: World, sites: int, rngs: Mapping[str, np.random.Generator]) -> Layout:
    """Draw sizes, exposures, gaps and predecessors.

    Parameters
    ----------
    world : World
        Parameters.
    sites : int
        Number of sites, 2 to 300.
    rngs : mapping of str to numpy.random.Generator
        From :func:`streams`.

    Returns
    -------
    Layout
        Everything that precedes contacts and outcomes.
    """
    go_live, wave = go_lives(sites, world.panel_start)
    months = pd.period_range(FIRST_MONTH, periods=world.months, freq="M")
    size = np.exp(rngs["size"].normal(np.log(world.size_median), world.size_log_sd, sites))
    size = size.clip(*world.size_limits)
    exposure = rngs["exposure"].poisson(size[:, None], (sites, world.months)).clip(min=1)
    width = max(2, len(str(sites)))
    i = range(sites)
    landform = [_LANDFORMS[(k // len(_MINERALS) + k) % len(_LANDFORMS)] for k in i]
    return Layout(
        site=tuple(f"S{k + 1:0{width}d}" for k in i),
        label=tuple(f"{_MINERALS[k % len(_MINERALS)]} {landform[k]}" for k in i),
        region=tuple(_REGIONS[k % len(_REGIONS)] for k in i),
        month=tuple(str(m) for m in months),
        go_live=go_live,
        wave=wave,
        population=np.rint(size * _POPULATION_PER_SIZE).astype(np.int64),
        event_time=np.arange(world.months)[None, :] - go_live[:, None],
        size=size,
        exposure=exposure,
        published=draw_gaps(world, world.panel_start, sites, rngs["missing"]),
        predecessor=_predecessor(world, sites, rngs["predecessor"]),
        retrospective=retrospective_pattern(sites, world.retrospective_sites),
    )
