"""Effects by stratum of need: partially pooled, compared, and weighted together.

A fit of each stratum says what its data say of its effect, once the fit's own prior is taken out
(`lndbayes.second_stage.likelihood`). These estimates are pooled by
`lndbayes.second_stage.strata.pool`; every sum and difference is made within a draw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.errors import DataError, Problem, SpecError
from lndbayes.base.names import CI_PROB, SAMPLE_DIMS
from lndbayes.base.vocabulary import Tier
from lndbayes.estimands.deviations import ramp_mean
from lndbayes.estimands.effects import pooled_effect
from lndbayes.estimands.identification import site_tiers
from lndbayes.estimands.summaries import summarise
from lndbayes.estimands.treated import treated_sites
from lndbayes.model.shown import live_cells
from lndbayes.second_stage.joint.stage import effect_prior
from lndbayes.second_stage.likelihood import SiteLikelihood, remove_prior
from lndbayes.second_stage.strata.pool import CHAINS, DRAWS, pool_strata
from lndbayes.spec.model_spec import ModelSpec

__all__ = [
    "ALL",
    "DIFFERENCE",
    "STRATA_COLUMNS",
    "effect_mean_prior",
    "strata_effects",
    "strata_table",
    "stratum_likelihood",
    "treated_exposure",
]

#: Scale of the half-normal prior of s, in prior sds of the mean effect over the window. A service
#: that helps is expected to help most strata: with a half, the prior sd of the difference of two
#: strata is on average 0.56 of the prior sd of the effect itself, and s can be zero.
SPREAD = 0.5

#: Labels of rows that are no stratum.
ALL, ALL_REFERRALS, DIFFERENCE = "all", "all by referrals", "several - none"

STRATA_COLUMNS = (
    "outcome",
    "stratum",
    "separate_mean",
    "separate_sd",
    "mean",
    "sd",
    "lower",
    "median",
    "upper",
    "ci_prob",
    "p_below_zero",
    "weight",
    "tiers",
    "unit",
    "note",
)
_PANEL = "evidence of the panel alone: no other is by stratum"
_SHARED = "errors of strata taken as independent: what moved all strata of a site or month counts "
_NOTES = {
    ALL: f"weights: shares of treated exposure; {_SHARED}as chance here and makes this too narrow",
    ALL_REFERRALS: f"weights: shares of referrals; {_SHARED}as chance and makes this too narrow",
    DIFFERENCE: f"{_SHARED}as chance here and makes this too wide",
}


def effect_mean_prior(spec: ModelSpec) -> tuple[float, float]:
    """Mean and sd of the spec's prior of the mean plateau.

    Raises
    ------
    SpecError
        If it is not normal: then what a fit's own prior said cannot be taken out.
    """
    prior = spec.priors["effect_mean"]
    if prior.dist != "Normal":
        rule = "must be Normal for effects by stratum, which take it out of the fits again"
        raise SpecError(Problem("spec", rule, column="priors.effect_mean", value=prior.dist))
    return prior["mu"], prior["sigma"]


def stratum_likelihood(
    fit: xr.DataTree, prior: tuple[float, float], window: tuple[int, int]
) -> SiteLikelihood:
    """What a stratum's data say of its effect, without the fit's prior of the mean effect.

    The effect is the mean over the stratum's sites and the window (`effects.pooled_effect`). Given
    the ramp, the pulse and the sites' deviations, its prior is that of the mean effect, normal with
    known mean and sd draw by draw: what `remove_prior` asks for.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    prior : tuple of float
        Mean and sd of `effect_mean` in the fit's spec.
    window : tuple of int
        Event months.

    Returns
    -------
    SiteLikelihood
        Of one number, link scale.

    Raises
    ------
    DataError
        If a draw is not finite, draws are too few or do not vary.
    """
    posterior = fit["posterior"].to_dataset()
    ramp = ramp_mean(fit, window).transpose(*SAMPLE_DIMS).to_numpy()
    gap = posterior["effect_mean"].transpose(*SAMPLE_DIMS).to_numpy() - prior[0]
    effect = pooled_effect(fit, "link", window).transpose(*SAMPLE_DIMS).to_numpy()
    try:
        return remove_prior(
            effect.reshape(-1, 1), (gap * ramp).reshape(-1, 1), prior[1] * ramp.ravel()
        )
    except ValueError as error:
        stratum = str(fit.attrs.get("stratum", "?"))
        raise DataError(Problem(f"stratum {stratum}", str(error))) from error


def treated_exposure(fit: xr.DataTree) -> float:
    """Exposure from go-live on of the sites with an effect of their own, in the outcome's unit."""
    data = fit["constant_data"].to_dataset()
    live = live_cells(data["event_time"].to_numpy()) & treated_sites(fit)[:, None]
    return float((data["exposure_all"].to_numpy() * live).sum())


def strata_effects(
    fits: Mapping[str, xr.DataTree],
    spec: ModelSpec,
    *,
    referrals: Mapping[str, float] | None = None,
    seed: int,
) -> xr.Dataset:
    """Pool the strata's effects and weight them together.

    Parameters
    ----------
    fits : mapping of str to xarray.DataTree
        By stratum, at least two, all of one spec but for seeds, with prior draws.
    spec : ModelSpec
        Window and prior of the mean effect.
    referrals : mapping of str to float, optional
        Referrals of every stratum, for a second weighting.
    seed : int
        Of the draws.

    Returns
    -------
    xarray.Dataset
        ``effect`` and ``separate`` (chain, draw, stratum): pooled, and as fitted, which has the
        sample dims ``chain_fit``, ``draw_fit``; ``common``, ``spread``, ``all``, and where asked
        for or there are such strata ``all_referrals``, ``difference`` (chain, draw);
        ``separate_all``, ``separate_difference`` likewise; ``weight``, ``estimate``, ``error``,
        ``floored``, ``gaussian_shift``, ``gaussian_width`` (stratum), see
        `lndbayes.second_stage.likelihood.SiteLikelihood`. Link scale.

    Raises
    ------
    DataError, SpecError
        See `stratum_likelihood`, `effect_mean_prior` and
        `lndbayes.second_stage.joint.stage.effect_prior`.
    """
    window, labels = spec.effect.window, list(fits)
    if len(labels) < 2:
        raise DataError(Problem("outcomes.csv", "two strata are needed", column="stratum"))
    told = [stratum_likelihood(fit, effect_mean_prior(spec), window) for fit in fits.values()]
    error = np.array([1 / np.sqrt(one.information[0, 0]) for one in told])
    estimate = np.array([one.vector[0] for one in told]) * error**2
    own = np.array([effect_prior(fit, window)[:2] for fit in fits.values()])
    prior = float(own[:, 0].mean()), float(np.sqrt((own[:, 1] ** 2).mean()))
    pooled = pool_strata(estimate, error, prior, SPREAD * prior[1], seed=seed)
    separate = xr.concat(
        [pooled_effect(fit, "link", window).reset_coords(drop=True) for fit in fits.values()],
        dim=pd.Index(labels, name="stratum"),
    ).transpose(*SAMPLE_DIMS, "stratum")
    exposure = np.array([treated_exposure(fit) for fit in fits.values()])
    coords = {"chain": np.arange(CHAINS), "draw": np.arange(DRAWS), "stratum": labels}
    ds = xr.Dataset(
        {
            "effect": ((*SAMPLE_DIMS, "stratum"), pooled.effect),
            "common": (SAMPLE_DIMS, pooled.common),
            "spread": (SAMPLE_DIMS, pooled.spread),
            "separate": (("chain_fit", "draw_fit", "stratum"), separate.to_numpy()),
            "weight": ("stratum", exposure / exposure.sum()),
            "estimate": ("stratum", estimate),
            "error": ("stratum", error),
            "floored": ("stratum", np.array([one.floored for one in told])),
            "gaussian_shift": ("stratum", np.array([one.shift[0] for one in told])),
            "gaussian_width": ("stratum", np.array([one.width[0] for one in told])),
        },
        coords=coords,
    )
    first = next(iter(fits.values()))
    ds.attrs = {
        "outcome": spec.outcome.name, "unit": separate.attrs["unit"], "window": list(window),
        "prior_mean": prior[0], "prior_sd": prior[1], "spread_scale": SPREAD * prior[1],
        "seed": seed, "synthetic": int(first.attrs["synthetic"]),
    }  # fmt: skip
    return _combined(ds, referrals)


def _combined(ds: xr.Dataset, referrals: Mapping[str, float] | None) -> xr.Dataset:
    """Add weighted sums over strata and the difference, each within the draw."""
    for name, prefix in (("effect", ""), ("separate", "separate_")):
        draws = ds[name]
        ds[f"{prefix}all"] = (draws * ds["weight"]).sum("stratum")
        if {"several", "none"} <= {str(label) for label in ds["stratum"].to_numpy()}:
            several, none = (draws.sel(stratum=k, drop=True) for k in ("several", "none"))
            ds[f"{prefix}difference"] = several - none
        if referrals is not None:
            counts = np.array([referrals[str(k)] for k in ds["stratum"].to_numpy()], dtype=float)
            ds["referral_weight"] = ("stratum", counts / counts.sum())
            ds[f"{prefix}all_referrals"] = (draws * ds["referral_weight"]).sum("stratum")
    return ds


def strata_table(
    ds: xr.Dataset,
    fits: Mapping[str, xr.DataTree],
    absent: Mapping[str, str],
    *,
    ci_prob: float = CI_PROB,
) -> pd.DataFrame:
    """Tabulate the strata, their weighted sum and the difference of several and no needs.

    Parameters
    ----------
    ds : xarray.Dataset
        From `strata_effects`.
    fits : mapping of str to xarray.DataTree
        The same as there, for the tiers.
    absent : mapping of str to str
        Strata without an effect, with the reason.
    ci_prob : float
        Probability of the intervals.

    Returns
    -------
    pandas.DataFrame
        `STRATA_COLUMNS`. A row without numbers for a stratum that is absent.
    """
    rows = []
    for label in sorted({*fits, *absent}):
        row = {"stratum": label, "note": absent.get(label, _PANEL), "weight": np.nan}
        if label in fits:
            at = ds.sel(stratum=label, drop=True)
            row |= _numbers(at["effect"], at["separate"], ci_prob)
            row |= {"weight": float(at["weight"]), "tiers": _tiers(fits[label], ds.attrs["window"])}
            if int(at["floored"]):
                row["note"] = f"no information of its own: the other strata's effect; {_PANEL}"
        rows.append(row)
    out = "".join(f"; without {label}: {reason}" for label, reason in absent.items())
    for label, name in ((ALL, "all"), (ALL_REFERRALS, "all_referrals"), (DIFFERENCE, "difference")):
        if name in ds:
            numbers = _numbers(ds[name], ds[f"separate_{name}"], ci_prob)
            whole = np.nan if label == DIFFERENCE else 1.0
            note = _NOTES[label] + (out if label != DIFFERENCE else "")
            rows.append({"stratum": label, "note": note, "weight": whole, **numbers})
        elif label == DIFFERENCE:
            note = "needs an effect of the stratum several and of the stratum none"
            rows.append({"stratum": label, "note": note})
    table = pd.DataFrame(rows).reindex(columns=list(STRATA_COLUMNS))
    table = table.assign(outcome=ds.attrs["outcome"], unit=ds.attrs["unit"], ci_prob=ci_prob)
    return table.assign(tiers=table["tiers"].fillna(""))


def _numbers(effect: xr.DataArray, separate: xr.DataArray, ci_prob: float) -> dict[str, float]:
    found = summarise(effect, ci_prob=ci_prob, mcse=False).iloc[0]
    plain = separate.rename(chain_fit="chain", draw_fit="draw")
    own = summarise(plain, ci_prob=ci_prob, mcse=False).iloc[0]
    numbers = {str(name): float(value) for name, value in found.items()}
    return {**numbers, "separate_mean": float(own["mean"]), "separate_sd": float(own["sd"])}


def _tiers(fit: xr.DataTree, window: list[int]) -> str:
    """Sites of each tier, those that go live: such as ``A 3, B 4``."""
    counts = Counter(str(t) for t in site_tiers(fit, (window[0], window[1])).to_numpy())
    return ", ".join(f"{tier} {n}" for tier, n in sorted(counts.items()) if tier != Tier.NO_EFFECT)
