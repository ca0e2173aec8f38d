"""Numbers of the attribution: what each site's baseline and the pooled effect rest on.

Shares are of the log precision (minus the log variance) of draws that a main fit and its refits
left; `docs/attribution.md` defines each quantity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.vocabulary import VariantName
from lndbayes.estimands.identification import site_tiers
from lndbayes.estimands.reported import prior_as_posterior
from lndbayes.estimands.summaries import summarise
from lndbayes.evidence.attribution.refits import CUT, SOFT, borrowed_name, subset_name
from lndbayes.evidence.attribution.shares import shapley, subsets
from lndbayes.evidence.kept import effective, kept_draws
from lndbayes.evidence.part_densities import outlying_probability
from lndbayes.evidence.sensitivity import VARIANTS
from lndbayes.spec.model_spec import CHANNELS, ModelSpec

__all__ = ["FULL_COLUMNS", "NOT_LEARNED", "POOLED", "TREATED", "conflicts", "measures"]

FULL_COLUMNS = ("outcome", "of", "site", "tier", "quantity", "item", "value", "mcse", "note")

#: Row of the pooled effect among those of the sites.
POOLED = "pooled effect"
#: What is left when every source is off: treated outcomes, read through the assumed build-up.
TREATED = "treated_outcomes"
#: A bias whose posterior sd is above this share of its prior's has not been learned.
NOT_LEARNED = 0.9

#: Biases of each source that are in the posterior; others are integrated out.
_BIASES = {
    "retrospective": ("retrospective_bias", "retrospective_bias_sd"),
    "history": ("history_selection", "crisis_dip", "crisis_recovery_months"),
}

_BIAS_ON = next(variant for variant in VARIANTS if variant.name == VariantName.BIAS_ON)

Row = tuple[str, str, str, float, float, str]


def measures(
    spec: ModelSpec,
    main: xr.DataTree,
    refits: Mapping[str, xr.Dataset],
    variants: Mapping[str, xr.Dataset],
    channels: Sequence[str],
    folds: Sequence[Sequence[str]],
) -> pd.DataFrame:
    """All numbers of the attribution but those of the cut, in long form.

    Parameters
    ----------
    spec : ModelSpec
        The outcome's spec.
    main : xarray.DataTree
        Its fit, with the prior.
    refits : mapping of str to xarray.Dataset
        From `lndbayes.evidence.refits.run_refits`.
    variants : mapping of str to xarray.Dataset
        ``bias_on`` and ``ramp_hidden`` of `lndbayes.evidence.sensitivity.run_variants`.
    channels : sequence of str
        Sources that are present.
    folds : sequence of sequence of str
        Sites whose own evidence was hidden together.

    Returns
    -------
    pandas.DataFrame
        Columns `FULL_COLUMNS`; ``of`` is pooled, site or outcome, ``item`` a source or a bias.
    """
    base = kept_draws(main, spec.effect.window)
    base = base.assign(effective(base))
    prior = kept_draws(prior_as_posterior(main), spec.effect.window)
    rows = [
        *_shares(base, prior, refits, channels),
        *_contractions(base, prior, refits, folds),
        *_feedback(base, refits[CUT]),
        *_soft_cut(base, refits[SOFT]),
        *_leverages(variants[VariantName.BIAS_ON]),
        *_leak(base, variants[VariantName.RAMP_HIDDEN]),
        *[("", "conflict_z" + end, c, z, np.nan, "") for end, c, z in _all_z(main, base, refits)],
        *_biases(spec, main, variants[VariantName.BIAS_ON], channels),
        *_outlying(spec, main),
    ]
    tiers = site_tiers(main, spec.effect.window).to_series()
    table = pd.DataFrame(rows, columns=["site", *FULL_COLUMNS[4:]])
    table["of"] = np.select([table["site"] == POOLED, table["site"] != ""], ["pooled", "site"], "")
    table["of"] = table["of"].replace("", "outcome")
    table["tier"] = table["site"].map(tiers).fillna("")
    table["site"] = table["site"].replace(POOLED, "")
    table["outcome"] = spec.outcome.name
    return table[list(FULL_COLUMNS)]


def _moments(kept: xr.Dataset) -> pd.DataFrame:
    """Mean, sd and effective draws of the pooled effect and of each site's level."""
    table = pd.concat(
        [summarise(kept[name], mcse=False) for name in ("pooled", "level")], ignore_index=True
    )
    table.index = pd.Index([POOLED, *kept["level"]["site"].to_numpy()])
    found = table[["mean", "sd"]].astype(float)
    if "pooled_ess" in kept:
        ess = [float(kept["pooled_ess"]), *kept["level_ess"].to_numpy()]
        found["ess"] = np.asarray(ess, dtype=float)
    return found


def _log_precision(kept: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Log precisions, and the Monte Carlo variance of each: that of a normal's log variance."""
    table = _moments(kept)
    return -2 * np.log(table["sd"].to_numpy()), 2 / table["ess"].to_numpy()


def _shares(
    base: xr.Dataset,
    prior: xr.Dataset,
    refits: Mapping[str, xr.Dataset],
    channels: Sequence[str],
) -> list[Row]:
    found = {s: _log_precision(refits[subset_name(s)]) for s in subsets(channels)[:-1]}
    whole = frozenset(channels)
    found[whole] = _log_precision(base)
    values = {s: value for s, (value, _) in found.items()}
    variances = {s: noise for s, (_, noise) in found.items()}
    gains, errors = shapley(channels, values, variances)
    total = values[whole] - values[frozenset()]
    # a total within its own Monte Carlo error has no shares
    doubtful = total <= 2 * np.sqrt(variances[whole] + variances[frozenset()])
    share = np.where(doubtful, np.nan, gains / np.where(doubtful, 1.0, total))
    before = _moments(prior)["sd"].to_numpy()
    rest = values[frozenset()] + 2 * np.log(before)
    labels = _moments(base).index
    rows: list[Row] = []
    for k, site in enumerate(labels):
        note = "the sources together add no more than Monte Carlo error" if doubtful[k] else ""
        for c, channel in enumerate(channels):
            rows.append((site, "log_precision_gain", channel, gains[c, k], errors[c, k], ""))
            scale = np.nan if doubtful[k] else errors[c, k] / total[k]
            rows.append((site, "shapley_share", channel, share[c, k], scale, note))
        error = float(np.sqrt(variances[frozenset()][k] + 2 / prior.sizes["draw"]))
        rows.append((site, "log_precision_gain", TREATED, rest[k], error, ""))
    return rows


def _contractions(
    base: xr.Dataset,
    prior: xr.Dataset,
    refits: Mapping[str, xr.Dataset],
    folds: Sequence[Sequence[str]],
) -> list[Row]:
    now, before = _moments(base)["sd"], _moments(prior)["sd"]
    rows: list[Row] = [
        (site, "contraction_prior", "", 1 - (now[site] / before[site]) ** 2, np.nan, "")
        for site in now.index
    ]
    for k, sites in enumerate(folds):
        without = _moments(refits[borrowed_name(k)])["sd"]
        note = f"own evidence of {len(sites)} sites hidden together"
        rows += [
            (site, "contraction_borrowed", "", 1 - (now[site] / without[site]) ** 2, np.nan, note)
            for site in sites
        ]
    return rows


def _feedback(base: xr.Dataset, alone: xr.Dataset) -> list[Row]:
    now, other = _moments(base).drop(index=POOLED), _moments(alone).drop(index=POOLED)
    share = 1 - (now["sd"] / other["sd"]) ** 2
    shift = (now["mean"] - other["mean"]) / other["sd"]
    rows: list[Row] = []
    for name, values in (("feedback_share", share), ("feedback_shift", shift)):
        rows += [(str(site), name, "", float(v), np.nan, "") for site, v in values.items()]
    return rows


def _soft_cut(base: xr.Dataset, apart: xr.Dataset) -> list[Row]:
    """Pooled effect and levels when no site's effect speaks of another's, beside the joint fit."""
    now, other = _moments(base), _moments(apart)
    shift = (now["mean"] - other["mean"]) / now["sd"]
    pooled = other.loc[POOLED, ["mean", "sd"]].to_numpy(float)
    rows: list[Row] = [
        (POOLED, f"soft_cut_{name}", "", float(value), np.nan, "")
        for name, value in zip(("mean", "sd"), pooled, strict=True)
    ]
    for site, value in shift.items():
        note = "that effects are alike does the work" if abs(value) > 1 else ""
        rows.append((str(site), "soft_cut_shift", "", float(value), np.nan, note))
    return rows


def _leverages(kept: xr.Dataset) -> list[Row]:
    rows: list[Row] = []
    for name in ("leverage_level_bias", "leverage_drift"):
        rows.append((POOLED, name, "", float(kept[name]), np.nan, ""))
        by_site = kept[f"site_{name}"].to_series()
        rows += [(str(site), name, "", float(v), np.nan, "") for site, v in by_site.items()]
    return rows


def _leak(base: xr.Dataset, hidden: xr.Dataset) -> list[Row]:
    ratio = _moments(hidden)["sd"] / _moments(base)["sd"]
    return [(str(site), "ramp_leak_ratio", "", v, np.nan, "") for site, v in ratio.items()]


def _spoken_of(main: xr.DataTree) -> dict[str, np.ndarray]:
    """Positions of the sites that each source speaks about."""
    data = main["constant_data"].to_dataset()
    every = np.arange(data.sizes["site"])
    clean = (data["site_weight"] > 0) & ~(data["event_time"] >= 0)
    found = {"not_yet_treated": np.flatnonzero(clean.to_numpy().any(axis=1)), "national": every}
    for channel in ("retrospective", "history"):
        if f"{channel}_at" in data:
            used = data[f"{channel}_exposure"].to_numpy() > 0
            found[channel] = np.unique(data[f"{channel}_at"].to_numpy()[used, 0])
    if "elicited_weight" in data:
        found["elicited"] = np.flatnonzero(data["elicited_weight"].to_numpy().any(axis=0))
    return found


def conflicts(
    alone: xr.Dataset, rest: xr.Dataset, sites: np.ndarray | Sequence[int]
) -> tuple[float, float]:
    """Difference of the mean level over some sites between two refits, and z.

    Parameters
    ----------
    alone, rest : xarray.Dataset
        With ``level`` (chain, draw, site).
    sites : sequence of int
        Positions of the sites.

    Returns
    -------
    difference, z : float
        z is the difference over the root of the sum of the variances: exact for independent
        estimates, too near 0 where both share evidence.
    """
    found = [
        summarise(kept["level"].isel(site=sites).mean("site"), mcse=False).iloc[0]
        for kept in (alone, rest)
    ]
    difference = float(found[0]["mean"] - found[1]["mean"])
    return difference, difference / float(np.hypot(found[0]["sd"], found[1]["sd"]))


def _all_z(
    main: xr.DataTree, base: xr.Dataset, refits: Mapping[str, xr.Dataset]
) -> list[tuple[str, str, float]]:
    """Conflict of each source with the rest: with the panel beside it, and by itself."""
    speaks = _spoken_of(main)
    channels = [c for c in CHANNELS if subset_name(frozenset({c})) in refits]
    names = {s: refits.get(subset_name(s)) for s in subsets(channels)}
    names[frozenset(channels)] = base
    out = []
    for channel in channels:
        rest = names[frozenset(channels) - {channel}]
        for end, chosen in (("", {channel, "not_yet_treated"}), ("_alone", {channel})):
            one = names.get(frozenset(chosen) & frozenset(channels))
            if one is None or rest is None or len(channels) < 2:
                continue
            out.append((end, channel, conflicts(one, rest, speaks[channel])[1]))
    return out


def _outlying(spec: ModelSpec, main: xr.DataTree) -> list[Row]:
    """Probability that a source's common bias is an outlying one."""
    share = spec.baseline.contamination
    note = f"{share:g} before the data"
    found = outlying_probability(main, spec)
    return [("", "outlying_probability", c, p, np.nan, note) for c, p in found.items()]


def _biases(
    spec: ModelSpec, main: xr.DataTree, kept: xr.Dataset, channels: Sequence[str]
) -> list[Row]:
    """Posterior of each bias against its prior."""
    posterior = main["posterior"].to_dataset()
    found = []
    for channel, names in _BIASES.items():
        for name in names if channel in channels else ():
            law = spec.priors[name].frozen()
            low, middle, high = law.ppf([0.05, 0.5, 0.95])
            mean, sd = float(law.mean()), float(law.std())
            # a Student t of two degrees of freedom or fewer has no sd: what a normal's range would
            if not np.isfinite(sd):
                mean, sd = float(middle), float(high - low) / (2 * 1.6448536269514722)
            found.append((name, posterior[name], mean, sd))
    for name in ("shared_bias", "drift"):
        # let in by that refit only, with the scale that it states
        scale = float(_BIAS_ON.changes[f"sensitivity.{name}_sd"])
        found.append((name, kept[name], 0.0, scale))
    rows: list[Row] = []
    for name, draws, mean, sd in found:
        row = summarise(draws, mcse=False).iloc[0]
        ratio = float(row["sd"]) / sd
        note = "" if ratio <= NOT_LEARNED else "not learned"
        rows.append(("", "bias_shift", name, (float(row["mean"]) - mean) / sd, np.nan, note))
        rows.append(("", "bias_sd_ratio", name, ratio, np.nan, note))
    return rows
