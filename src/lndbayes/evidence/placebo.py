"""Placebo go-lives: what the model finds where nothing happened.

At sites with at least 24 untreated months the go-live is moved 12 months earlier, every month with
the service is left out, and the model is fitted again. The effect over months 7 to 12 after the
moved go-live is zero in truth; what is found is error. `lndbayes.evidence.moved` says how the data
change. Everything that the main fit knows of the untreated state stays on, since it is that
estimate which is judged; only two things are changed in the spec:

* each site's effect is free of the others' (a prior sd of one on the link scale), so that each
  site's own error is seen and not that of a site drawn towards the rest;
* no drift after go-live is allowed for, since a drift is what is to be seen.

How far sites differ beyond their own errors is a random-effects sd
(`lndbayes.evidence.random_effects`), and what it leaves of each site after its error is taken off
makes the pooled placebo effect and the largest one. These are to be read beside ``drift_sd`` of the
spec. They do not set it: a prior made of the data that it is used with would use these twice.

The idea of judging an estimate by what it finds before anything happened, and of a bias by how it
compares with the largest violation seen there: Rambachan, Roth (2023). A more credible approach to
parallel trends. Review of Economic Studies 90(5), 2555-2591.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.names import CI_PROB, SAMPLE_DIMS
from lndbayes.base.vocabulary import PlaceboRow
from lndbayes.checks.result import Status
from lndbayes.estimands.summaries import summarise
from lndbayes.evidence.kept import Keep
from lndbayes.evidence.moved import UNTREATED_MONTHS, movable_sites
from lndbayes.evidence.random_effects import Spread, between_sites, error_covariance
from lndbayes.evidence.refits import Job, Pilot, Refit, run_refits
from lndbayes.evidence.sensitivity import effort
from lndbayes.fitting.chain_statistics import ess_mean
from lndbayes.fitting.metadata import metadata
from lndbayes.spec.families import LOG_RATIO, RATIO
from lndbayes.spec.model_spec import ModelSpec

__all__ = [
    "FEWEST_SITES",
    "PLACEBO",
    "PLACEBO_COLUMNS",
    "PLACEBO_WINDOW",
    "PlaceboResult",
    "placebo_fault",
    "placebo_result",
    "placebo_table",
    "run_placebos",
]

#: Fewest sites with a moved go-live: two differ by one number, which shows no spread.
FEWEST_SITES: Final = 3
#: Months by which go-lives are moved, and event months after the moved one that are looked at.
_EARLIER = 12
PLACEBO_WINDOW: Final = (7, 12)

PLACEBO: Final = Refit(
    "placebo",
    f"go-lives moved {_EARLIER} months earlier, no month with the service",
    {
        "effect.window": PLACEBO_WINDOW,
        "sensitivity.drift_sd": 0.0,
        # known, not learned: nothing of one site's error is taken to be another's
        "priors.site_effect_sd": {"dist": "LogNormal", "mu": 0.0, "sigma": 0.05},
        "sampling.target_accept": 0.8,
        "sampling.tune": 200,
    },
    months_earlier=_EARLIER,
    pilot=Pilot.ALONE,
    keep=Keep.SITES,
)

PLACEBO_COLUMNS: Final = (
    "outcome",
    "quantity",
    "site",
    "go_live",
    "months_before",
    "months_after",
    "scale",
    "median",
    "lower",
    "upper",
    "sd",
    "ci_prob",
    "holds_zero",
    "status",
    "note",
)


@dataclass(frozen=True)
class PlaceboResult:
    """What placebo go-lives show of one outcome; numbers are NaN where they were not run.

    Attributes
    ----------
    outcome : str
        Name of the outcome.
    link : str
        Link of its family: numbers are on its scale.
    status : Status
        PASS where both the interval of the pooled effect and that of `spread` reach zero, REVIEW
        where one does not, NOT RUN.
    reason : str
        Why not run, or why to review.
    sites : pandas.DataFrame
        One row a site: site, go_live (the moved one), months_before, months_after (untreated
        months of its own in the likelihood), mean, sd, lower, median, upper, holds_zero (bool).
    pooled : xarray.DataArray
        Dims (chain, draw): draws of the mean over these sites, partially pooled; empty where not
        run.
    spread, spread_lower, spread_upper : float
        Sd of the sites' placebo effects beyond their errors, with its interval.
    observed_sd, noise_sd : float
        Sd of the sites' estimates as seen, and what errors alone would give.
    largest, largest_lower, largest_upper : float
        Largest absolute placebo effect of a site, its error taken off: median and interval over
        draws. It is not zero where sites are few and uncertain: what they cannot rule out counts.
    ci_prob : float
        Probability of the intervals.
    """

    outcome: str
    link: str
    status: Status
    reason: str
    sites: pd.DataFrame
    pooled: xr.DataArray
    spread: float = np.nan
    spread_lower: float = np.nan
    spread_upper: float = np.nan
    observed_sd: float = np.nan
    noise_sd: float = np.nan
    largest: float = np.nan
    largest_lower: float = np.nan
    largest_upper: float = np.nan
    ci_prob: float = CI_PROB


def placebo_fault(spec: ModelSpec, main: xr.DataTree) -> str:
    """Say why an outcome has no placebo go-lives; empty if it has.

    Parameters
    ----------
    spec : ModelSpec
        Its spec.
    main : xarray.DataTree
        Its fit.
    """
    if spec.outcome.selected:
        return "no effect is reported of an outcome measured among selected people"
    data = main["constant_data"].to_dataset()
    event = data["event_time"].transpose("site", "month").to_numpy()
    used = data["site_weight"].transpose("site", "month").to_numpy() > 0
    count = int(movable_sites(spec, event, used, metadata(main).step, _EARLIER).sum())
    if count >= FEWEST_SITES:
        return ""
    are = "site has" if count == 1 else "sites have"
    return (
        f"{count} {are} {UNTREATED_MONTHS} untreated months or more before a go-live in the data, "
        f"and a month to look at after the moved one; {FEWEST_SITES} are needed"
    )


def run_placebos(
    jobs: Sequence[Job],
    folder: Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, xr.Dataset]:
    """Fit every outcome that allows it with moved go-lives; resumable.

    Parameters
    ----------
    jobs, folder, workers, scheduler, say
        See `lndbayes.evidence.refits.run_refits`.

    Returns
    -------
    dict of str to xarray.Dataset
        By outcome, those without a `placebo_fault` only: what `placebo_result` takes.
    """
    able = [job for job in jobs if not placebo_fault(job[0], job[2])]
    pool: dict[str, Any] = {"workers": workers, "scheduler": scheduler, "say": say}
    made = run_refits(able, [PLACEBO], folder, effort=effort(), **pool)
    return {name: refits[PLACEBO.name] for name, refits in made.items()}


def placebo_result(
    spec: ModelSpec, main: xr.DataTree, kept: xr.Dataset | None, *, ci_prob: float = CI_PROB
) -> PlaceboResult:
    """Tell what an outcome's placebo go-lives show.

    Parameters
    ----------
    spec : ModelSpec
        The outcome's spec.
    main : xarray.DataTree
        Its fit.
    kept : xarray.Dataset or None
        From `run_placebos`; None where there is none.
    ci_prob : float
        Probability of the intervals.

    Raises
    ------
    ValueError
        If a refit is missing that the data allow.
    """
    name, link = spec.outcome.name, spec.family.link
    if fault := placebo_fault(spec, main):
        none = xr.DataArray(np.zeros((0, 0)), dims=SAMPLE_DIMS)
        sites = pd.DataFrame(columns=list(_SITE_COLUMNS))
        return PlaceboResult(name, link, Status.NOT_RUN, fault, sites, none, ci_prob=ci_prob)
    if kept is None:
        raise ValueError(f"{name} has placebo go-lives, and no refit is given")
    effect = kept["effect"].transpose(*SAMPLE_DIMS, "effect_site")
    found = _spread(effect.to_numpy(), spec.sampling.seed, ci_prob)
    pooled = xr.DataArray(found.sites.mean(axis=1)[None], dims=SAMPLE_DIMS)
    tails = np.array([(1 - ci_prob) / 2, 0.5, (1 + ci_prob) / 2])
    low, largest, high = np.quantile(np.abs(found.sites).max(axis=1), tails)
    ends = np.quantile(pooled.to_numpy(), tails[[0, 2]])
    reasons = []
    if not ends[0] <= 0 <= ends[1]:
        reasons.append("the pooled placebo effect is not zero")
    if found.lower > 0:
        reasons.append("sites differ beyond noise")
    return PlaceboResult(
        outcome=name,
        link=link,
        status=Status.REVIEW if reasons else Status.PASS,
        reason="; ".join(reasons),
        sites=_sites(kept, effect, ci_prob),
        pooled=pooled,
        spread=found.tau,
        spread_lower=found.lower,
        spread_upper=found.upper,
        observed_sd=found.observed,
        noise_sd=found.noise,
        largest=float(largest),
        largest_lower=float(low),
        largest_upper=float(high),
        ci_prob=ci_prob,
    )


def _spread(draws: np.ndarray, seed: int, ci_prob: float) -> Spread:
    flat = draws.reshape(-1, draws.shape[-1])
    effective = float(ess_mean(np.moveaxis(draws, -1, 0)).min())
    covariance = error_covariance(flat, effective)
    return between_sites(flat.mean(axis=0), covariance, seed=seed, ci_prob=ci_prob)


_NUMBERS = ("mean", "sd", "lower", "median", "upper")
_SITE_COLUMNS = ("site", "go_live", "months_before", "months_after", *_NUMBERS, "holds_zero")


def _sites(kept: xr.Dataset, effect: xr.DataArray, ci_prob: float) -> pd.DataFrame:
    table = summarise(effect, ci_prob=ci_prob, mcse=False).rename(columns={"effect_site": "site"})
    for name in ("go_live", "months_before", "months_after"):
        table[name] = kept[name].to_numpy()
    table["holds_zero"] = (table["lower"] <= 0) & (table["upper"] >= 0)
    return table[list(_SITE_COLUMNS)]


def placebo_table(result: PlaceboResult) -> pd.DataFrame:
    """Rows of ``placebo.csv`` on one outcome.

    Parameters
    ----------
    result : PlaceboResult
        Of one outcome.

    Returns
    -------
    pandas.DataFrame
        Columns `PLACEBO_COLUMNS`; ``quantity`` is a `PlaceboRow`. Effects of sites and the pooled
        one are ratios (``scale`` says of what) with ``sd`` on the link scale; standard deviations
        and the largest effect are on the link scale. One row without numbers where not run.
    """
    told = {"outcome": result.outcome, "status": str(result.status), "note": result.reason}
    if result.status is Status.NOT_RUN:
        row = {**told, "quantity": PlaceboRow.POOLED, "ci_prob": result.ci_prob}
        return pd.DataFrame([row], columns=list(PLACEBO_COLUMNS))
    ratio = {"scale": RATIO[result.link]}
    rows = []
    one = summarise(result.pooled, ci_prob=result.ci_prob, mcse=False).iloc[0]
    holds = bool(one["lower"] <= 0 <= one["upper"])
    rows.append({"quantity": PlaceboRow.POOLED, **ratio, **_as_ratio(one), "holds_zero": holds})
    for site in result.sites.to_dict("records"):
        named = {str(name): value for name, value in site.items()}
        rows.append({**named, "quantity": PlaceboRow.SITE, **ratio, **_as_ratio(site)})
    for quantity, numbers in {
        PlaceboRow.OBSERVED: (result.observed_sd, np.nan, np.nan),
        PlaceboRow.NOISE: (result.noise_sd, np.nan, np.nan),
        PlaceboRow.SPREAD: (result.spread, result.spread_lower, result.spread_upper),
        PlaceboRow.LARGEST: (result.largest, result.largest_lower, result.largest_upper),
    }.items():
        ends = dict(zip(("median", "lower", "upper"), numbers, strict=True))
        rows.append({"quantity": quantity, "scale": LOG_RATIO[result.link], **ends})
    table = pd.DataFrame(rows).assign(**told, ci_prob=result.ci_prob)
    return table[list(PLACEBO_COLUMNS)]


def _as_ratio(row: Mapping[Hashable, Any] | pd.Series) -> dict[str, float]:
    ends = {k: float(np.exp(row[k])) for k in ("median", "lower", "upper")}
    return {**ends, "sd": float(row["sd"])}
