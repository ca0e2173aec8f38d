"""The joint model's parts: likelihoods, prior, parameters, and deviations integrated out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = [
    "TINY",
    "Evidence",
    "JointDraws",
    "JointPrior",
    "draw_prior",
    "effects_given",
    "evidence_from",
    "log_integral",
]

#: A scale never reaches zero exactly, where its logarithm has no value (share of its prior scale).
TINY = 1e-10


@dataclass(frozen=True, slots=True)
class Evidence:
    """Gaussian likelihoods of K outcomes' site effects, each in its own eigenvectors.

    Attributes
    ----------
    values : ndarray, shape (F, 1, K, S)
        Eigenvalues of the information; F data sets, broadcast over chains.
    axes : ndarray, shape (F, 1, K, S, S)
        Eigenvectors, in columns.
    rotated : ndarray, shape (F, 1, K, S)
        Information vector in the eigenvectors.
    """

    values: np.ndarray
    axes: np.ndarray
    rotated: np.ndarray

    def turn(self, x: np.ndarray) -> np.ndarray:
        """Coordinates of (F, C, K, S) vectors in the eigenvectors."""
        return np.matmul(np.swapaxes(self.axes, -1, -2), x[..., None])[..., 0]


@dataclass(frozen=True, slots=True)
class JointPrior:
    """Prior of K outcomes with R factors.

    Attributes
    ----------
    mean, mean_sd : ndarray, shape (K,)
        Normal prior of each outcome's mean effect, in the outcome's unit.
    spread : ndarray, shape (K,)
        Root mean square of the differences between sites that the prior expects, in the unit.
    factors : int
        R; 0 for separate outcomes.
    """

    mean: np.ndarray
    mean_sd: np.ndarray
    spread: np.ndarray
    factors: int

    @property
    def deviation_scale(self) -> float:
        """Half-normal scale of ``deviation_sd / spread``.

        Half the expected variance is the factors' and half is not; with no factor it is all here.
        Either way the prior mean of a site effect's variance is ``spread ** 2``.
        """
        return 1.0 if self.factors == 0 else float(np.sqrt(0.5))

    @property
    def loading_scale(self) -> float:
        """Half-normal scale of the loadings' common scale."""
        return float(np.sqrt(0.5 / max(self.factors, 1)))


@dataclass(frozen=True, slots=True)
class JointDraws:
    """Parameters, with leading dims (F, C) for a state and (F, C, draw) for draws.

    Attributes
    ----------
    mean, deviation_sd : ndarray, shape (..., K)
    loadings : ndarray, shape (..., K, R)
    scores : ndarray, shape (..., S, R)
    loading_scale : ndarray, shape (...,)
    """

    mean: np.ndarray
    loadings: np.ndarray
    scores: np.ndarray
    deviation_sd: np.ndarray
    loading_scale: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        """Sum of mean and factors, shape (..., K, S)."""
        return np.asarray(self.mean[..., None] + self.loadings @ np.swapaxes(self.scores, -1, -2))


def evidence_from(information: np.ndarray, vector: np.ndarray) -> Evidence:
    """Eigen-decompose likelihoods.

    Parameters
    ----------
    information : ndarray, shape (F, K, S, S)
        Symmetric, with no negative eigenvalue but for rounding.
    vector : ndarray, shape (F, K, S)

    Returns
    -------
    Evidence

    Raises
    ------
    ValueError
        If anything is not finite, or an eigenvalue is negative beyond rounding.
    """
    if not (np.isfinite(information).all() and np.isfinite(vector).all()):
        raise ValueError("information and vector must be finite")
    values, axes = np.linalg.eigh(information)
    if (values < -1e-8 * np.maximum(values[..., -1:], 1e-300)).any():
        raise ValueError("information must have no negative eigenvalue")
    values = np.maximum(values, 0.0)
    rotated = np.matmul(np.swapaxes(axes, -1, -2), vector[..., None])[..., 0]
    return Evidence(values[:, None], axes[:, None], rotated[:, None])


def draw_prior(
    prior: JointPrior, shape: tuple[int, ...], sites: int, rng: np.random.Generator
) -> JointDraws:
    """Draw parameters from the prior.

    Parameters
    ----------
    prior : JointPrior
    shape : tuple of int
        Leading dims.
    sites : int
        S.
    rng : numpy.random.Generator

    Returns
    -------
    JointDraws
    """
    outcomes, factors = len(prior.mean), prior.factors
    scale = prior.loading_scale * np.abs(rng.normal(size=shape))
    loadings = rng.normal(size=(*shape, outcomes, factors))
    return JointDraws(
        mean=prior.mean + prior.mean_sd * rng.normal(size=(*shape, outcomes)),
        loadings=loadings * prior.spread[:, None] * scale[..., None, None],
        scores=rng.normal(size=(*shape, sites, factors)),
        deviation_sd=prior.spread
        * prior.deviation_scale
        * np.maximum(np.abs(rng.normal(size=(*shape, outcomes))), TINY),
        loading_scale=np.maximum(scale, TINY),
    )


def log_integral(variance: np.ndarray, values: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Log of the likelihood with deviations integrated out, less that with deviations zero.

    Parameters
    ----------
    variance : ndarray, shape (..., 1)
        Variance of the deviations.
    values : ndarray, shape (..., S)
        Eigenvalues of the information.
    left : ndarray, shape (..., S)
        Squares of the vector less information times centre, in the eigenvectors.

    Returns
    -------
    ndarray, shape (...,)
    """
    inflated = 1 + variance * values
    return np.asarray((variance * left / inflated - np.log(inflated)).sum(axis=-1) / 2)


def effects_given(state: JointDraws, data: Evidence, rng: np.random.Generator) -> np.ndarray:
    """Draw site effects given the parameters.

    Parameters
    ----------
    state : JointDraws, leading dims (F, C)
    data : Evidence
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (F, C, K, S)
    """
    centre, sd = state.centre, state.deviation_sd[..., None]
    inflated = 1 + sd**2 * data.values
    left = data.rotated - data.values * data.turn(centre)
    standard = sd * left / inflated + rng.normal(size=left.shape) / np.sqrt(inflated)
    return np.asarray(centre + sd * (data.axes @ standard[..., None])[..., 0])
