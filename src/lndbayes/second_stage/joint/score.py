"""Whether letting site effects correlate across outcomes predicts better than separate outcomes.

Each cell (outcome, site) is predicted from all other folds' cells: the score is the log density of
its estimate, under the first stage's Gaussian likelihood, given the estimates that were kept. Both
models are fitted to the same cells with the same priors of the means and the same prior mean of a
site effect's variance; they differ in the factors alone.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from lndbayes.second_stage.joint.model import JointDraws, JointPrior, evidence_from, log_integral
from lndbayes.second_stage.joint.sampler import sample_joint
from lndbayes.second_stage.likelihood import drop_sites

__all__ = ["cell_scores", "clustered_se", "fold_of_cells", "verdict"]

BETTER, SAME, WORSE = "joint better", "no difference", "joint worse"


def fold_of_cells(usable: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal the cells of each outcome to folds, in random order, as evenly as can be.

    Parameters
    ----------
    usable : ndarray of bool, shape (K, S)
        Cells with an estimate of their own.
    folds : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int, shape (K, S)
        Fold, or -1 where not usable.
    """
    out = np.full(usable.shape, -1)
    for k, row in enumerate(usable):
        sites = rng.permutation(np.flatnonzero(row))
        out[k, sites] = (np.arange(len(sites)) + rng.integers(folds)) % folds
    return out


def cell_scores(
    information: np.ndarray,
    vector: np.ndarray,
    prior: JointPrior,
    fold: np.ndarray,
    *,
    chains: int,
    tune: int,
    draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Log predictive density of every cell that is in a fold.

    Parameters
    ----------
    information : ndarray, shape (K, S, S)
    vector : ndarray, shape (K, S)
    prior : JointPrior
    fold : ndarray of int, shape (K, S)
        From `fold_of_cells`.
    chains, tune, draws : int
        See `lndbayes.second_stage.joint.sampler.sample_joint`; one set of chains a fold.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (K, S)
        NaN where a cell is in no fold.

    Raises
    ------
    ValueError
        If a score is not finite.
    """
    folds = int(fold.max()) + 1
    kept = [
        [
            drop_sites(information[k], vector[k], np.flatnonzero(fold[k] == f))
            for k in range(len(fold))
        ]
        for f in range(folds)
    ]
    data = evidence_from(
        np.array([[one[0] for one in row] for row in kept]),
        np.array([[one[1] for one in row] for row in kept]),
    )
    drawn, _ = sample_joint(
        data, prior, chains=chains, tune=tune, draws=draws, rng=rng, effects=False
    )
    out = np.full(fold.shape, np.nan)
    for f in range(folds):
        of_fold = _of_set(drawn, f)
        for k, s in np.argwhere(fold == f):
            held = np.flatnonzero(fold[k] == f)
            more = drop_sites(information[k], vector[k], held[held != s])
            out[k, s] = _cell_score(more, kept[f][k], s, k, of_fold)
    if not np.isfinite(out[fold >= 0]).all():
        raise ValueError("a score is not finite")
    return out


def _of_set(drawn: JointDraws, f: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres and deviation sds of one data set's draws, (N, K, S) and (N, K)."""
    one = JointDraws(*(getattr(drawn, name)[f] for name in JointDraws.__dataclass_fields__))
    centre, sd = one.centre, one.deviation_sd
    return centre.reshape(-1, *centre.shape[2:]), sd.reshape(-1, sd.shape[-1])


def _cell_score(
    more: tuple[np.ndarray, np.ndarray],
    less: tuple[np.ndarray, np.ndarray],
    site: int,
    outcome: int,
    drawn: tuple[np.ndarray, np.ndarray],
) -> float:
    """Log of the mean over draws of p(estimate of the site | estimates kept, parameters).

    With deviations integrated out: the density at the centre, corrected by the ratio of the two
    likelihoods' integrals over the deviations.
    """
    centre, sd = drawn[0][:, outcome], drawn[1][:, outcome, None]
    own = more[0][site, site]
    miss = (more[1][site] - centre @ more[0][site]) / own
    log_density = 0.5 * np.log(own / (2 * np.pi)) - 0.5 * own * miss**2
    for sign, (information, vector) in ((1, more), (-1, less)):
        values, axes = np.linalg.eigh(information)
        values = np.maximum(values, 0.0)
        left = ((vector - centre @ information) @ axes) ** 2
        log_density = log_density + sign * log_integral(sd**2, values, left)
    return float(logsumexp(log_density) - np.log(len(log_density)))


def clustered_se(difference: np.ndarray) -> float:
    """Standard error of the sum of cell differences, sites being what is independent.

    Parameters
    ----------
    difference : ndarray, shape (K, S)
        NaN where a cell was not scored; a site with no cell scored does not count.

    Returns
    -------
    float
        NaN with fewer than two sites.
    """
    scored = np.isfinite(difference)
    by_site = np.where(scored, difference, 0.0).sum(axis=0)[scored.any(axis=0)]
    if len(by_site) < 2:
        return float("nan")
    return float(np.sqrt(len(by_site)) * by_site.std(ddof=1))


def verdict(difference: float, se: float) -> str:
    """Say which model predicts better, if the difference is more than two standard errors.

    Anything that is not finite raises ``ValueError``: no verdict is better than a default one.
    """
    if not (np.isfinite(difference) and np.isfinite(se)):
        raise ValueError("a score is not finite")
    if abs(difference) <= 2 * se:
        return SAME
    return BETTER if difference > 0 else WORSE
