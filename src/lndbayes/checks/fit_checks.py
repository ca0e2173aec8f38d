"""The battery on a fit and on everything the effects table reports of it."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from lndbayes.base.vocabulary import Estimand
from lndbayes.checks.battery import run_checks
from lndbayes.checks.result import CheckResult
from lndbayes.checks.thresholds import thresholds_from
from lndbayes.estimands.reported import reported_draws
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["check_fit"]


def check_fit(
    spec: ModelSpec, tree: xr.DataTree, reported: Mapping[Estimand, xr.DataArray] | None = None
) -> list[CheckResult]:
    """Run the battery on a fit and on everything the effects table reports of it.

    Parameters
    ----------
    spec : ModelSpec
        Gives window and thresholds.
    tree : xr.DataTree
        A fit of it.
    reported : mapping of Estimand to xr.DataArray, optional
        As `lndbayes.estimands.reported.reported_draws` gives; made here if it is left out.

    Returns
    -------
    list of CheckResult
        In the order of the battery.
    """
    if reported is None:
        reported = reported_draws(tree, spec.effect.window)
    finite: dict[str, xr.DataArray] = {
        k: v for k, v in reported.items() if k is not Estimand.SITE_NATURAL
    }
    return run_checks(tree, thresholds=thresholds_from(spec.checks), reported=finite)
