"""Stored fits of several outcomes as likelihoods of their site effects, on common axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from lndbayes.base.errors import DataError, Problem
from lndbayes.base.names import SAMPLE_DIMS, SITE
from lndbayes.estimands.deviations import site_deviations
from lndbayes.estimands.effects import mean_effect, site_effects
from lndbayes.estimands.reported import prior_as_posterior
from lndbayes.estimands.treated import Window
from lndbayes.second_stage.joint.model import JointPrior
from lndbayes.second_stage.likelihood import FLOOR, SiteLikelihood, remove_prior

__all__ = ["Stage", "build_stage", "effect_likelihood", "effect_prior"]

#: Likelihood with its sites; mean, sd and spread of the prior.
_Told = tuple[tuple[SiteLikelihood, list[str]], tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class Stage:
    """What fits say of site effects, on common axes.

    Attributes
    ----------
    outcomes : list of str
        Length K.
    sites : list of str
        Every site of any outcome, length S.
    information : ndarray, shape (K, S, S)
        Zero where an outcome has no such site.
    vector : ndarray, shape (K, S)
    prior : JointPrior
    present : ndarray of bool, shape (K, S)
        Whether the outcome has the site.
    usable : ndarray of bool, shape (K, S)
        Whether the outcome has evidence on the site's effect.
    shift, width : ndarray, shape (K, S)
        See `lndbayes.second_stage.likelihood.SiteLikelihood`; NaN where an outcome has no such
        site.
    floored : ndarray of int, shape (K,)
        Directions without information.
    """

    outcomes: list[str]
    sites: list[str]
    information: np.ndarray
    vector: np.ndarray
    prior: JointPrior
    present: np.ndarray
    usable: np.ndarray
    shift: np.ndarray
    width: np.ndarray
    floored: np.ndarray


def effect_likelihood(
    fit: xr.DataTree, window: Window | None = None
) -> tuple[SiteLikelihood, list[str]]:
    """What a fit's data say of its site effects, without the fit's own pooling.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit with `site_effect`, `site_deviation` and `site_effect_sd`.
    window : tuple of int, optional
        Event months; default the window of the fit's spec.

    Returns
    -------
    likelihood : SiteLikelihood
        Of the mean effect over the window, link scale.
    sites : list of str
        Its sites: those with a treated cell of their own.

    Raises
    ------
    DataError
        If a variable is absent, a draw is not finite, or there are too few draws.
    """
    effects = site_effects(fit, "link", window, withheld=False).stack(sample=SAMPLE_DIMS)
    posterior = fit["posterior"]
    absent = [n for n in ("site_deviation", "site_effect_sd") if n not in posterior]
    if absent:
        raise DataError(_problem(fit, f"has no {' and no '.join(absent)}: fit it again"))
    deviations, sd = site_deviations(fit, window)
    sites = [str(site) for site in effects[SITE].to_numpy()]
    try:
        likelihood = remove_prior(
            effects.transpose("sample", SITE).to_numpy(),
            deviations.stack(sample=SAMPLE_DIMS).transpose("sample", SITE).to_numpy(),
            sd.to_numpy().ravel(),
        )
    except ValueError as error:
        raise DataError(_problem(fit, str(error))) from error
    return likelihood, sites


def _problem(fit: xr.DataTree, rule: str) -> Problem:
    return Problem(f"fits/{fit.attrs.get('outcome', '?')}.nc", rule)


def effect_prior(fit: xr.DataTree, window: Window | None = None) -> tuple[float, float, float]:
    """Mean and sd of the mean effect and rms spread of site effects about it, in the fit's prior.

    The second stage takes its scales from each outcome's own spec, so that an outcome in log odds
    and one in days are treated alike.

    Returns
    -------
    tuple of float
        Mean, sd, spread; link scale, averaged over the window.

    Raises
    ------
    DataError
        If the fit has no prior draws or they do not vary.
    """
    if "prior" not in fit.children:
        raise DataError(_problem(fit, "has no prior draws: fit it again"))
    tree = prior_as_posterior(fit)
    centre = mean_effect(tree, window)
    sites = site_effects(tree, "link", window, withheld=False)
    spread = float(np.sqrt((((sites - centre).to_numpy()) ** 2).mean()))
    values = centre.to_numpy().ravel()
    found = float(values.mean()), float(values.std(ddof=1)), spread
    if not (np.isfinite(found).all() and found[1] > 0 and spread > 0):
        raise DataError(_problem(fit, "has prior draws of effects that do not vary"))
    return found


def build_stage(
    fits: Mapping[str, xr.DataTree], windows: Mapping[str, Window], factors: int
) -> Stage:
    """Take the prior out of every fit and put what is left on common axes.

    Parameters
    ----------
    fits : mapping of str to xarray.DataTree
    windows : mapping of str to tuple of int
        Event months by outcome.
    factors : int

    Returns
    -------
    Stage

    Raises
    ------
    DataError
        All problems of all outcomes: see `effect_likelihood` and `effect_prior`; too few outcomes
        for the factors; fewer than 3 sites with evidence in an outcome.
    """
    outcomes = list(fits)
    if factors < 1 or len(outcomes) < factors + 1:
        rule = f"{factors} factors need at least {max(factors, 1) + 1} outcomes and 1 factor"
        raise DataError(Problem("--factors", f"{rule}; there are {len(outcomes)} outcomes"))
    told: dict[str, _Told] = {}
    problems: list[Problem] = []
    for name, fit in fits.items():
        try:
            told[name] = (effect_likelihood(fit, windows[name]), effect_prior(fit, windows[name]))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    sites = list(dict.fromkeys(site for (_, own), _ in told.values() for site in own))
    shape = (len(outcomes), len(sites))
    information, vector = np.zeros((*shape, len(sites))), np.zeros(shape)
    present, usable = np.zeros(shape, bool), np.zeros(shape, bool)
    shift, width = np.full(shape, np.nan), np.full(shape, np.nan)
    for k, ((likelihood, own), (_, _, spread)) in enumerate(told.values()):
        at = [sites.index(site) for site in own]
        information[k][np.ix_(at, at)] = likelihood.information
        vector[k, at] = likelihood.vector
        present[k, at] = True
        shift[k, at], width[k, at] = likelihood.shift, likelihood.width
        # alone among its outcome's sites it must say more than the floor
        usable[k, at] = np.diag(likelihood.information) > 100 * FLOOR / spread**2
    few = [f"fits/{name}.nc" for name, row in zip(outcomes, usable, strict=True) if row.sum() < 3]
    if few:
        rule = "fewer than 3 sites have evidence of their own: leave the outcome out"
        raise DataError([Problem(file, rule) for file in few])
    scales = np.array([own for _, own in told.values()])
    prior = JointPrior(scales[:, 0], scales[:, 1], scales[:, 2], factors)
    floored = np.array([likelihood.floored for (likelihood, _), _ in told.values()])
    return Stage(
        outcomes, sites, information, vector, prior, present, usable, shift, width, floored
    )
