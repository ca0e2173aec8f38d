"""The untreated surface: what the custody rate would have been without the service, on logits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lndbayes.synthetic.layout import Layout
    from lndbayes.synthetic.world import World

__all__ = ["Surface", "draw_surface", "expit", "logit", "rw2_basis"]

NATIONAL_COLUMNS: Final = 8

#: Cycles over the whole period of the site curves in a ``walk`` world; not whole numbers, so that
#: no cosine basis holds them exactly.
_CYCLES: Final = (0.75, 1.5, 2.25)


@dataclass(frozen=True, slots=True)
class Surface:
    """One draw of the untreated surface.

    Attributes
    ----------
    eta0 : ndarray of float
        Dims (site, month). Logit of the untreated rate.
    level, drift : ndarray of float
        Dims (site). Level (including the common one) and zero-sum drift per 24 months.
    national_curve, site_curve : ndarray of float or None
        Dims (basis) and (basis, site): coefficients in a ``rw2`` world, otherwise None.
    """

    eta0: NDArray[np.float64]
    level: NDArray[np.float64]
    drift: NDArray[np.float64]
    national_curve: NDArray[np.float64] | None
    site_curve: NDArray[np.float64] | None


def expit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn logits into probabilities, without overflow at either end.

    Parameters
    ----------
    x : ndarray of float
        Any shape.

    Returns
    -------
    ndarray of float
        Same shape, between 0 and 1.
    """
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn probabilities into logits.

    Parameters
    ----------
    p : ndarray of float
        Any shape, strictly between 0 and 1.

    Returns
    -------
    ndarray of float
        Same shape.
    """
    return np.log(p) - np.log1p(-p)


@cache
def rw2_basis(months: int, columns: int, order: int = 2) -> NDArray[np.float64]:
    """Low-rank basis of a second-order random walk.

    The smoothest directions of the intrinsic walk: right singular vectors of the second-difference
    matrix with the smallest non-zero singular values, each divided by its singular value, or with
    `order` 1 by its root. They are orthogonal to a constant and to a straight line.

    Parameters
    ----------
    months : int
        Length of the grid.
    columns : int
        Number of basis columns, at most ``months - 2``.

    Returns
    -------
    ndarray of float
        Dims (month, basis). With unit normal coefficients the marginal variance averages one over
        months. The last element of each column is positive. Read-only.

    Notes
    -----
    Scaling after Sørbye and Rue (2014), *Spatial Statistics* 8, 39-51.
    """
    difference = np.zeros((months - 2, months))
    row = np.arange(months - 2)
    for offset, weight in enumerate((1.0, -2.0, 1.0)):
        difference[row, row + offset] = weight
    _, singular, right = np.linalg.svd(difference, full_matrices=False)
    smoothest = slice(None, -columns - 1, -1)
    basis: NDArray[np.float64] = right[smoothest].T / singular[smoothest] ** (order / 2)
    return _unit_scaled(basis * np.sign(basis[-1]))


def _unit_scaled(basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale a basis so that its marginal variance averages one over months."""
    scaled = basis / float(np.sqrt(np.sum(basis**2) / basis.shape[0]))
    scaled.setflags(write=False)  # bases are cached: a caller must not change the next one's
    return scaled


def _detrended(basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Project a basis off the constant and the straight line, then scale it."""
    months = basis.shape[0]
    centred = np.arange(months) - (months - 1) / 2
    flat = basis - basis.mean(axis=0)
    flat = flat - np.outer(centred, centred @ flat / (centred @ centred))
    return _unit_scaled(flat)


@cache
def _walk_basis(months: int) -> NDArray[np.float64]:
    """All paths of a second-order random walk: twice-cumulated unit innovations."""
    return _detrended(np.cumsum(np.cumsum(np.eye(months), axis=0), axis=0))


@cache
def _cosine_basis(months: int) -> NDArray[np.float64]:
    """Slow waves with random phase, slower ones larger."""
    angle = 2 * np.pi * np.arange(months)[:, None] * np.array(_CYCLES) / months
    return _detrended(np.hstack([np.cos(angle), np.sin(angle)]) / np.tile(_CYCLES, 2))


@cache
def _modes(months: int, columns: int) -> NDArray[np.float64]:
    """Slowest directions of a centred first-order random walk: its own singular vectors."""
    walk = np.cumsum(np.eye(months)[:, 1:], axis=0)
    left, singular, _ = np.linalg.svd(walk - walk.mean(axis=0), full_matrices=False)
    basis: NDArray[np.float64] = left[:, :columns] * singular[:columns]
    basis = basis * np.sign(basis[0])
    basis.setflags(write=False)
    return basis


def _walk(world: World, rng: np.random.Generator) -> NDArray[np.float64]:
    """National random walk, dims (month); nothing is drawn where there is none."""
    if not (world.national_walk_sd and world.walk_columns):
        return np.zeros(world.months)
    modes = _modes(world.months, world.walk_columns)
    return np.asarray(world.national_walk_sd * (modes @ rng.normal(size=modes.shape[1])))


def _season(world: World) -> NDArray[np.float64]:
    month = np.arange(world.months)
    angles = [2 * np.pi * h * month / 12 for h in (1, 2)]
    waves = np.stack([f(a) for a in angles for f in (np.cos, np.sin)], axis=1)
    season: NDArray[np.float64] = waves @ np.array(world.season)
    return season


def _shocks(world: World, sites: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Stationary AR(1) disturbances of each site, dims (site, month)."""
    rho = world.shock_autocorrelation
    shock = rng.normal(size=(sites, world.months))
    for t in range(1, world.months):
        shock[:, t] = rho * shock[:, t - 1] + np.sqrt(1 - rho**2) * shock[:, t]
    return world.shock_sd * shock


def _zero_sum(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre over sites, the last axis."""
    return z - z.mean(axis=-1, keepdims=True)


def _earliness(layout: Layout) -> NDArray[np.float64]:
    """Standardised go-live, earliest highest; dims (site)."""
    late = layout.go_live.astype(float)
    spread = late.std()
    return (late.mean() - late) / (spread if spread > 0 else 1.0)


def draw_surface(world: World, layout: Layout, rngs: Mapping[str, np.random.Generator]) -> Surface:
    """Draw the untreated surface of all sites.

    Parameters
    ----------
    world : World
        Parameters.
    layout : Layout
        Sites, months and go-lives.
    rngs : mapping of str to numpy.random.Generator
        From :func:`lndbayes.synthetic.layout.streams`.

    Returns
    -------
    Surface
        Surface and the coefficients it was built from.
    """
    sites, months = len(layout.site), world.months
    time = (np.arange(months) - (months - 1) / 2) / 24
    low_rank = world.smooth == "rw2"
    wide = rw2_basis(months, NATIONAL_COLUMNS) if low_rank else _walk_basis(months)
    own = rw2_basis(months, world.site_columns, world.site_order)
    narrow = own if low_rank else _cosine_basis(months)

    level = world.baseline_level + world.site_level_sd * rngs["site_level"].normal(size=sites)
    level = level + world.adoption_level * _earliness(layout)
    drift = world.site_drift_sd * _zero_sum(rngs["site_drift"].normal(size=sites))
    drift = drift + world.adoption_trend * _earliness(layout)
    steps = rngs["national_curve"].normal(size=(wide.shape[1],))
    national = world.national_curve_sd * steps
    # Drawn site by site, so that the first sites keep their curves when sites are added.
    waves = rngs["site_curve"].normal(size=(sites, narrow.shape[1])).T
    curve = world.site_curve_sd * _zero_sum(waves)

    common = world.national_slope * time + wide @ national + _season(world)
    common = common + _walk(world, rngs["national_curve"])
    after = world.drift * np.maximum(layout.event_time, 0) / 12
    eta0 = level[:, None] + np.outer(drift, time) + common + (narrow @ curve).T + after
    eta0 = eta0 + _shocks(world, sites, rngs["shock"])
    if world.national_shock:
        second = layout.go_live[layout.wave > 1].min()
        eta0 = eta0 + world.national_shock * (np.arange(months) >= second)
    return Surface(
        eta0=eta0,
        level=level,
        drift=drift,
        national_curve=national if low_rank else None,
        site_curve=curve if low_rank else None,
    )
