"""Several outcomes at once: site effects that may correlate across outcomes through few factors.

A second stage on stored fits. Each outcome's mean effect stays its own: outcomes differ in scale,
sign and mechanism, so that means are never pooled. What the outcomes share are the sites: a site
whose effect is above the mean in one outcome may be above it in another.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.names import CI_PROB, OUTCOME, SAMPLE_DIMS, SITE
from lndbayes.base.vocabulary import Tier
from lndbayes.estimands.effects import site_effects, unit_of
from lndbayes.estimands.identification import site_tiers
from lndbayes.estimands.summaries import summarise
from lndbayes.estimands.treated import Window, fit_window
from lndbayes.fitting.chain_statistics import chain_statistics
from lndbayes.second_stage.joint.model import JointDraws, JointPrior, draw_prior, evidence_from
from lndbayes.second_stage.joint.sampler import sample_joint
from lndbayes.second_stage.joint.score import cell_scores, clustered_se, fold_of_cells, verdict
from lndbayes.second_stage.joint.stage import build_stage

__all__ = [
    "COMPARISON_COLUMNS",
    "CORRELATION_COLUMNS",
    "JOINT_COLUMNS",
    "comparison_table",
    "correlation_table",
    "joint_effects",
    "joint_table",
    "sampling_problems",
]

JOINT_COLUMNS = (
    "outcome", "site", "tier", "unit", "separate_mean", "separate_sd", "unlinked_mean",
    "unlinked_sd", "mean", "sd", "lower", "upper", "ci_prob", "mcse",
)  # fmt: skip
CORRELATION_COLUMNS = (
    "outcome_1", "outcome_2", "mean", "lower", "upper", "prior_lower", "prior_upper", "ci_prob",
)  # fmt: skip
COMPARISON_COLUMNS = (
    "outcome", "cells", "score_joint", "score_separate", "difference", "se", "verdict",
)  # fmt: skip

OTHER = "outcome_other"
_RHAT, _ESS = 1.01, 400
_PRIOR_DRAWS = 100_000


def joint_effects(
    fits: Mapping[str, xr.DataTree],
    *,
    factors: int = 1,
    windows: Mapping[str, Window] | None = None,
    chains: int = 4,
    tune: int = 500,
    draws: int = 1500,
    seed: int,
) -> xr.Dataset:
    """Draw from the joint model of the site effects of several outcomes.

    Parameters
    ----------
    fits : mapping of str to xarray.DataTree
        Stored fits by outcome.
    factors : int
        Factors that outcomes share; at least one outcome more than factors.
    windows : mapping of str to tuple of int, optional
        Event months by outcome; default the window of each fit's spec.
    chains, tune, draws : int
        Chains, sweeps thrown away and sweeps kept.
    seed : int
        Fixes every random number.

    Returns
    -------
    xarray.Dataset
        ``effect`` (chain, draw, outcome, site), link scale, NaN where the outcome has no such site;
        ``mean`` and ``deviation_sd`` (chain, draw, outcome); ``loading`` (chain, draw, outcome,
        factor), rotated so that the first outcomes' loadings are triangular with a positive
        diagonal; ``score`` (chain, draw, site, factor); ``correlation`` (chain, draw, outcome,
        outcome_other) of site effects in the population of sites; ``unlinked_effect``, as
        ``effect``, of the same second stage with no factor; ``separate`` (outcome, site,
        statistic) mean and sd of the fit's own draws; ``tier`` (outcome, site); ``gaussian_shift``
        and ``gaussian_width`` (outcome, site), ``floored`` (outcome), see
        `lndbayes.second_stage.likelihood.SiteLikelihood`.

    Raises
    ------
    DataError
        See `effect_likelihood`; or too few outcomes for the factors.
    """
    windows = windows or {name: fit_window(fit) for name, fit in fits.items()}
    stage = build_stage(fits, windows, factors)
    data = evidence_from(stage.information[None], stage.vector[None])
    rng = np.random.default_rng([seed, 44])
    drawn, effects = sample_joint(data, stage.prior, chains=chains, tune=tune, draws=draws, rng=rng)
    apart = unlinked(stage.prior)
    _, alone = sample_joint(data, apart, chains=chains, tune=tune, draws=draws, rng=rng)
    if effects is None or alone is None:
        raise ValueError("no site effects were drawn")
    loadings, scores = _rotated(drawn.loadings[0], drawn.scores[0])
    by = (*SAMPLE_DIMS, OUTCOME)
    ds = xr.Dataset(
        {
            "effect": ((*by, SITE), np.where(stage.present, effects[0], np.nan)),
            "unlinked_effect": ((*by, SITE), np.where(stage.present, alone[0], np.nan)),
            "gaussian_shift": ((OUTCOME, SITE), stage.shift),
            "gaussian_width": ((OUTCOME, SITE), stage.width),
            "floored": ((OUTCOME,), stage.floored),
            "mean": (by, drawn.mean[0]),
            "deviation_sd": (by, drawn.deviation_sd[0]),
            "loading": ((*by, "factor"), loadings),
            "score": ((*SAMPLE_DIMS, SITE, "factor"), scores),
            "correlation": ((*by, OTHER), correlations(drawn)[0]),
        },
        coords={
            "chain": np.arange(chains), "draw": np.arange(draws), OUTCOME: stage.outcomes,
            OTHER: stage.outcomes, SITE: stage.sites, "factor": np.arange(1, factors + 1),
        },
        attrs={"factors": factors, "seed": seed},
    )  # fmt: skip
    return ds.assign(
        separate=_separate(fits, windows, ds), tier=_tiers(fits, windows, ds), unit=_units(fits)
    )


def unlinked(prior: JointPrior) -> JointPrior:
    """Prior of the same second stage with no factor: outcomes by themselves."""
    return JointPrior(prior.mean, prior.mean_sd, prior.spread, 0)


def correlations(drawn: JointDraws) -> np.ndarray:
    """Correlation across outcomes of a site's effects, shape (..., K, K)."""
    shared = drawn.loadings @ np.swapaxes(drawn.loadings, -1, -2)
    variance = np.diagonal(shared, axis1=-2, axis2=-1) + drawn.deviation_sd**2
    out = shared / np.sqrt(variance[..., :, None] * variance[..., None, :])
    here = np.arange(out.shape[-1])
    out[..., here, here] = 1.0
    return np.asarray(out)


def _rotated(loadings: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn factors, draw by draw, to triangular leading loadings with a positive diagonal.

    The prior and the likelihood are the same for every rotation of the factors: this fixes one.
    """
    top = np.swapaxes(loadings[..., : loadings.shape[-1], :], -1, -2)
    turn, corner = np.linalg.qr(top)
    sign = np.where(np.diagonal(corner, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    turn = turn * sign[..., None, :]
    return loadings @ turn, scores @ turn


def _separate(
    fits: Mapping[str, xr.DataTree], windows: Mapping[str, Window], ds: xr.Dataset
) -> xr.DataArray:
    rows = []
    for name, fit in fits.items():
        table = summarise(
            site_effects(fit, "link", windows[name], withheld=False), mcse=False
        ).set_index(SITE)
        rows.append(table.reindex(ds[SITE].to_numpy())[["mean", "sd"]].to_numpy())
    return xr.DataArray(
        np.array(rows), dims=(OUTCOME, SITE, "statistic"), coords={"statistic": ["mean", "sd"]}
    )


def _tiers(
    fits: Mapping[str, xr.DataTree], windows: Mapping[str, Window], ds: xr.Dataset
) -> xr.DataArray:
    rows = [
        site_tiers(fit, windows[name])
        .to_series()
        .reindex(ds[SITE].to_numpy())
        .fillna(Tier.NO_EFFECT)
        for name, fit in fits.items()
    ]
    return xr.DataArray(np.array(rows, dtype=str), dims=(OUTCOME, SITE))


def _units(fits: Mapping[str, xr.DataTree]) -> xr.DataArray:
    return xr.DataArray([unit_of(fit) for fit in fits.values()], dims=OUTCOME)


def sampling_problems(ds: xr.Dataset) -> list[str]:
    """Say which quantities the chains do not settle; anything not finite is one of them.

    Parameters
    ----------
    ds : xarray.Dataset
        From `joint_effects`.

    Returns
    -------
    list of str
        Empty if every R-hat is at most 1.01 and every effective sample size at least 400.
    """
    found = []
    present = np.isfinite(ds["separate"].to_numpy()[..., 0])
    upper = np.triu_indices(ds.sizes[OUTCOME], 1)
    for name, values in (
        ("effect", ds["effect"].to_numpy()[..., present]),
        ("unlinked_effect", ds["unlinked_effect"].to_numpy()[..., present]),
        ("mean", ds["mean"].to_numpy()),
        ("deviation_sd", ds["deviation_sd"].to_numpy()),
        ("correlation", ds["correlation"].to_numpy()[..., upper[0], upper[1]]),
    ):
        told = chain_statistics(np.moveaxis(values, -1, 0))
        good = (told.rhat <= _RHAT) & (told.ess_bulk >= _ESS) & (told.ess_tail >= _ESS)
        if not good.all():
            found.append(
                f"{name}: {(~good).sum()} of {good.size} outside R-hat {_RHAT} and ESS {_ESS}"
            )
    return found


def joint_table(ds: xr.Dataset, ci_prob: float = CI_PROB) -> pd.DataFrame:
    """Site effects in the fits by themselves and in the joint model.

    Parameters
    ----------
    ds : xarray.Dataset
        From `joint_effects`.
    ci_prob : float
        Probability of the equal-tailed interval.

    Returns
    -------
    pandas.DataFrame
        Columns `JOINT_COLUMNS`; one row for each site that an outcome has. ``separate`` is the
        stored fit; ``unlinked`` is the second stage with no factor, which unlike the fit knows no
        mix and no wave: what the links between outcomes do is ``mean`` and ``sd`` beside it. Sites
        of tier D keep their row and lose its numbers.
    """
    table = summarise(ds["effect"], ci_prob=ci_prob)
    separate = ds["separate"].transpose(OUTCOME, SITE, "statistic").to_numpy()
    table["separate_mean"], table["separate_sd"] = separate.reshape(-1, 2).T
    alone = summarise(ds["unlinked_effect"], ci_prob=ci_prob, mcse=False)
    table["unlinked_mean"], table["unlinked_sd"] = alone["mean"], alone["sd"]
    table["tier"] = ds["tier"].transpose(OUTCOME, SITE).to_numpy().ravel()
    table["unit"] = np.repeat(ds["unit"].to_numpy(), ds.sizes[SITE])
    table = table[table["tier"] != Tier.NO_EFFECT].reset_index(drop=True)
    numbers = [c for c in JOINT_COLUMNS if c not in ("outcome", "site", "tier", "unit")]
    table.loc[table["tier"] == Tier.D, numbers] = np.nan
    return table[list(JOINT_COLUMNS)]


def correlation_table(ds: xr.Dataset, ci_prob: float = CI_PROB) -> pd.DataFrame:
    """Correlation of site effects between each two outcomes, with what the prior said before.

    Parameters
    ----------
    ds : xarray.Dataset
        From `joint_effects`.
    ci_prob : float
        Probability of the equal-tailed intervals.

    Returns
    -------
    pandas.DataFrame
        Columns `CORRELATION_COLUMNS`, each pair once. Where the interval is about the prior's, the
        sites taught nothing of that pair.
    """
    names = [str(x) for x in ds[OUTCOME].to_numpy()]
    table = summarise(ds["correlation"], ci_prob=ci_prob, mcse=False)
    table = table.rename(columns={OUTCOME: "outcome_1", OTHER: "outcome_2"})
    place = {name: i for i, name in enumerate(names)}
    table = table[table["outcome_1"].map(place) < table["outcome_2"].map(place)]
    low, high = prior_interval(int(ds.attrs["factors"]), ci_prob)
    table = table.assign(prior_lower=low, prior_upper=high)
    return table.reset_index(drop=True)[list(CORRELATION_COLUMNS)]


def prior_interval(factors: int, ci_prob: float = CI_PROB) -> tuple[float, float]:
    """Equal-tailed prior interval of a correlation: the same for every pair, whatever the unit."""
    prior = JointPrior(np.zeros(2), np.ones(2), np.ones(2), factors)
    drawn = draw_prior(prior, (1, _PRIOR_DRAWS), 1, np.random.default_rng(44))
    values = xr.DataArray(correlations(drawn)[..., 0, 1], dims=SAMPLE_DIMS)
    row = summarise(values, ci_prob=ci_prob, mcse=False).iloc[0]
    return float(row["lower"]), float(row["upper"])


def comparison_table(
    fits: Mapping[str, xr.DataTree],
    *,
    factors: int = 1,
    windows: Mapping[str, Window] | None = None,
    folds: int = 10,
    chains: int = 2,
    tune: int = 300,
    draws: int = 500,
    seed: int,
) -> pd.DataFrame:
    """Compare the joint model with separate outcomes by prediction of cells left out.

    Parameters
    ----------
    fits, factors, windows, chains, tune, draws, seed
        See `joint_effects`; chains for each fold.
    folds : int
        Parts that the cells (outcome, site) are dealt to.

    Returns
    -------
    pandas.DataFrame
        Columns `COMPARISON_COLUMNS`; a row for each outcome and one for ``all``. Scores are sums of
        log predictive densities; ``difference`` is joint less separate, ``se`` its standard error
        with sites as what is independent.
    """
    windows = windows or {name: fit_window(fit) for name, fit in fits.items()}
    stage = build_stage(fits, windows, factors)
    rng = np.random.default_rng([seed, 64])
    fold = fold_of_cells(stage.usable, folds, rng)
    apart = unlinked(stage.prior)
    joint, separate = (
        cell_scores(
            stage.information, stage.vector, prior, fold,
            chains=chains, tune=tune, draws=draws, rng=rng,
        )
        for prior in (stage.prior, apart)
    )  # fmt: skip
    rows = [
        _comparison(name, joint[k : k + 1], separate[k : k + 1])
        for k, name in enumerate(stage.outcomes)
    ]
    return pd.DataFrame([*rows, _comparison("all", joint, separate)], columns=COMPARISON_COLUMNS)


def _comparison(name: str, joint: np.ndarray, separate: np.ndarray) -> tuple[object, ...]:
    difference = joint - separate
    scored = np.isfinite(difference)
    total, se = float(difference[scored].sum()), clustered_se(difference)
    return (
        name, int(scored.sum()), float(joint[scored].sum()), float(separate[scored].sum()),
        total, se, verdict(total, se),
    )  # fmt: skip
