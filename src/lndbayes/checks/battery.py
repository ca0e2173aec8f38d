"""The whole battery, in order: the fit as such, the sampler, the predictions, the prior."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

import xarray as xr

from lndbayes.base.names import CHAIN, DRAW
from lndbayes.checks import verdicts, verdicts_model, verdicts_sites
from lndbayes.checks.convergence import elements, reported_elements, sampler_numbers
from lndbayes.checks.counts import impossible_counts
from lndbayes.checks.influence import pareto_k
from lndbayes.checks.predictive import discrepancies, site_rates
from lndbayes.checks.prior import pooled_rates, prior_changes, rate_ratios, sd_ratios
from lndbayes.checks.replication import replication
from lndbayes.checks.result import CheckResult, Status, not_run
from lndbayes.checks.sites import exposure_breaks, exposure_ratios, site_discrepancies, site_levels
from lndbayes.checks.structure import broken_groups, non_finite
from lndbayes.checks.thresholds import Thresholds, thresholds_from
from lndbayes.spec.families import FAMILIES

__all__ = ["CHECKS", "run_checks"]

_ELEMENTS = (
    "stuck_chains",
    "identical_chains",
    "rhat",
    "ess_bulk",
    "ess_tail",
    "rhat_reported",
    "ess_reported",
    "mcse_reported",
)
_SAMPLER = ("divergences", "tree_depth", "energy")
_PREDICTIVE = (
    "predictive_draws",
    "site_rates",
    "worst_site_rate",
    "wave_rates",
    "overdispersion",
    "autocorrelation_1",
    "autocorrelation_year",
    "variance_ratio",
    "max_change",
    "rate_before",
    "rate_after",
    "event_curve",
    "site_correlation",
    "worst_site_year",
    "zero_run",
)
_EXPOSURE = ("exposure_ratios", "exposure_breaks")

#: Every check, in the order of the results; each has a section in ``docs/checks.md``.
CHECKS = (
    "groups",
    "finite",
    "possible_counts",
    "chains",
    *_ELEMENTS,
    *_SAMPLER,
    *_PREDICTIVE,
    "site_levels",
    *_EXPOSURE,
    "prior_rate",
    "prior_change",
    "prior_effect",
    "prior_dominance",
    "pareto_k",
)


def run_checks(
    fit: xr.DataTree,
    *,
    thresholds: Thresholds | None = None,
    reported: Mapping[str, xr.DataArray] | None = None,
) -> list[CheckResult]:
    """Run every check on one fit.

    Parameters
    ----------
    fit : xr.DataTree
        Groups ``posterior``, ``sample_stats``, ``prior``, ``prior_predictive``,
        ``posterior_predictive`` (``y`` and, for the residual checks, the rate ``mu``),
        ``log_likelihood``, ``observed_data``, ``constant_data``; root attributes ``outcome``,
        ``family`` and, where elements are constant by construction, ``fixed_variables`` (JSON
        list of variable names or element labels).
    thresholds : Thresholds, optional
        Where the lines are; default those of the fit's own spec.
    reported : mapping of str to xr.DataArray, dims (chain, draw, ...), optional
        Published quantities computed from the draws. They and the headline posterior variables
        must meet the stricter limits of ``rhat_reported``, ``ess_reported``, ``mcse_reported``.

    Returns
    -------
    list of CheckResult
        One for each name in `CHECKS`, in that order, whatever the fit: a check that needs
        something the fit lacks is NOT RUN, and the lack itself is a FAIL of ``groups`` or
        ``finite``.
    """
    if thresholds is None:
        # a fit that holds no spec is judged by the defaults
        spec = json.loads(str(fit.attrs.get("spec_text", "{}")))
        thresholds = thresholds_from(spec.get("checks", {}))
    outcome = str(fit.attrs.get("outcome", ""))
    family = str(fit.attrs.get("family", ""))
    broken = broken_groups(fit)
    bad_values = non_finite(fit, broken)
    spoilt = {item.group for item in bad_values}
    results = [verdicts.groups(outcome, broken), verdicts.finite(outcome, bad_values)]
    results += _counts(outcome, fit, broken, family)
    # Chain statistics name the elements that are not finite, so they need the groups only; all
    # else would be arithmetic on NaN.
    results += _posterior(outcome, fit, broken, thresholds, reported or {})
    unusable = set(broken) | spoilt
    results += _sampler(outcome, fit, unusable, thresholds)
    results += _predictive(outcome, fit, unusable, family, thresholds)
    results += _sites(outcome, fit, unusable, thresholds)
    results += _prior(outcome, fit, unusable, family, thresholds)
    results += _influence(outcome, fit, unusable, thresholds)
    return results


def _missing(
    outcome: str, checks: Collection[str], needs: Collection[str], unusable: Collection[str]
) -> list[CheckResult]:
    """NOT RUN for each check if a group it needs is unusable, else nothing."""
    lacking = [group for group in needs if group in unusable]
    if not lacking:
        return []
    reason = f"{', '.join(lacking)} absent or unusable"
    return [not_run(outcome, check, reason) for check in checks]


def _posterior(
    outcome: str,
    fit: xr.DataTree,
    broken: Collection[str],
    thresholds: Thresholds,
    reported: Mapping[str, xr.DataArray],
) -> list[CheckResult]:
    skipped = _missing(outcome, ("chains", *_ELEMENTS), ("posterior",), broken)
    if skipped:
        return skipped
    sizes = fit["posterior"].to_dataset().sizes
    table = elements(fit)
    return [
        verdicts.chains(outcome, sizes[CHAIN], sizes[DRAW], thresholds),
        verdicts.stuck_chains(outcome, table),
        verdicts.identical_chains(outcome, table),
        *verdicts.element_checks(outcome, table, thresholds),
        *verdicts.reported_checks(outcome, reported_elements(fit, reported), thresholds),
    ]


def _sampler(
    outcome: str, fit: xr.DataTree, unusable: Collection[str], thresholds: Thresholds
) -> list[CheckResult]:
    skipped = _missing(outcome, _SAMPLER, ("sample_stats",), unusable)
    if skipped:
        return skipped
    stats = fit["sample_stats"].to_dataset()
    numbers = sampler_numbers(stats, depth_limit=thresholds.tree_depth_limit)
    judges = (verdicts.divergences, verdicts.tree_depth, verdicts.energy)
    return [judge(outcome, numbers, thresholds) for judge in judges]


def _predictive(
    outcome: str,
    fit: xr.DataTree,
    unusable: Collection[str],
    family: str,
    thresholds: Thresholds,
) -> list[CheckResult]:
    needs = ("posterior_predictive", "observed_data", "constant_data")
    skipped = _missing(outcome, _PREDICTIVE, needs, unusable)
    if skipped:
        return skipped
    if family not in FAMILIES:
        reason = f"the family {family!r} has no counts over an exposure"
        return [not_run(outcome, check, reason) for check in _PREDICTIVE]
    data = replication(fit, most=thresholds.replicates_max)
    draws = verdicts_model.predictive_draws(outcome, data.replicated, thresholds)
    if draws.status is Status.FAIL:
        rest = [c for c in _PREDICTIVE if c != draws.check]
        return [draws, *(not_run(outcome, c, "no usable replicated panels") for c in rest)]
    rates = site_rates(data, prob=thresholds.site_interval_prob)
    return [
        draws,
        verdicts_model.site_coverage(outcome, rates, thresholds),
        *(
            verdicts_model.discrepancy(outcome, d, thresholds)
            for d in (*discrepancies(data, thresholds), *site_discrepancies(data, thresholds))
        ),
    ]


def _counts(
    outcome: str, fit: xr.DataTree, broken: Collection[str], family: str
) -> list[CheckResult]:
    needs = ("observed_data", "constant_data")
    if family not in FAMILIES and not {*needs} & {*broken}:
        reason = f"whether counts of the family {family!r} are bounded by the exposure is not known"
        return [not_run(outcome, "possible_counts", reason)]
    return _missing(outcome, ("possible_counts",), needs, broken) or [
        verdicts_sites.possible_counts(outcome, impossible_counts(fit))
    ]


def _sites(
    outcome: str, fit: xr.DataTree, unusable: Collection[str], thresholds: Thresholds
) -> list[CheckResult]:
    level = _missing(outcome, ("site_levels",), ("posterior",), unusable) or [
        verdicts_sites.levels(outcome, site_levels(fit), thresholds)
    ]
    exposure = _missing(outcome, _EXPOSURE, ("constant_data",), unusable) or [
        verdicts_sites.ratios(outcome, check, found(fit), thresholds)
        for check, found in zip(_EXPOSURE, (exposure_ratios, exposure_breaks), strict=True)
    ]
    return level + exposure


def _prior(
    outcome: str,
    fit: xr.DataTree,
    unusable: Collection[str],
    family: str,
    thresholds: Thresholds,
) -> list[CheckResult]:
    predictive = ("prior_rate", "prior_change")
    results = _missing(outcome, predictive, ("prior_predictive", "constant_data"), unusable)
    if not results and family not in FAMILIES:
        reason = f"the family {family!r} has no counts over an exposure"
        results = [not_run(outcome, check, reason) for check in predictive]
    if not results:
        results = [
            verdicts_model.prior_rate(outcome, pooled_rates(fit), thresholds),
            verdicts_model.prior_change(outcome, prior_changes(fit), thresholds),
        ]
    effect = _missing(outcome, ("prior_effect",), ("prior",), unusable)
    if not effect and family not in FAMILIES:
        effect = [not_run(outcome, "prior_effect", f"no rate ratio for {family!r}")]
    if not effect:
        ratios = rate_ratios(fit["prior"].to_dataset(), FAMILIES[family].link)
        effect = [verdicts_model.prior_effect(outcome, ratios, thresholds)]
    dominance = _missing(outcome, ("prior_dominance",), ("prior", "posterior"), unusable)
    if not dominance:
        dominance = [
            verdicts_model.prior_dominance(outcome, sd_ratios(fit), "effect_mean", thresholds)
        ]
    return results + effect + dominance


def _influence(
    outcome: str, fit: xr.DataTree, unusable: Collection[str], thresholds: Thresholds
) -> list[CheckResult]:
    skipped = _missing(outcome, ("pareto_k",), ("log_likelihood",), unusable)
    if skipped:
        return skipped
    array = fit["log_likelihood"].to_dataset()["y"]
    return [
        verdicts_model.pareto(outcome, pareto_k(array, most=thresholds.pareto_draws), thresholds)
    ]
