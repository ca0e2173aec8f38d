"""Attribution of one outcome's evidence: refits, numbers, verdicts, and a page; resumable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.app.exports import VARIANT_FOLDER
from lndbayes.app.main_fit import main_fit
from lndbayes.base.errors import DataError, Problem, UsageError
from lndbayes.base.vocabulary import VariantName
from lndbayes.data.evaluation import EvaluationData
from lndbayes.estimands.effects import pooled_effect, site_effects
from lndbayes.estimands.predictors import untreated_level
from lndbayes.estimands.summaries import summarise
from lndbayes.estimands.treated import treated_sites
from lndbayes.evidence.attribution.cut import cut_fault, full_cut
from lndbayes.evidence.attribution.measures import FULL_COLUMNS, measures
from lndbayes.evidence.attribution.page import attribution_page
from lndbayes.evidence.attribution.refits import CUT, EFFORT, attribution_refits, present
from lndbayes.evidence.attribution.verdicts import verdicts_table
from lndbayes.evidence.refits import run_refits
from lndbayes.evidence.sensitivity import VARIANTS, run_variants
from lndbayes.files.lock import alone
from lndbayes.files.places import require_run
from lndbayes.files.provenance import record_product
from lndbayes.files.writing import write_bytes, write_table
from lndbayes.fitting.metadata import metadata
from lndbayes.fitting.prepared import PreparedOutcome, prepare_outcome
from lndbayes.model.shown import own_treated
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["Attribution", "attribute_evidence", "borrowed_folds"]

#: Folder of a run that holds the refits.
FOLDER = "ledger"
#: Folds of sites whose own evidence is hidden together, unless asked otherwise.
FOLDS = 3

_VARIANTS = tuple(v for v in VARIANTS if v.name in (VariantName.BIAS_ON, VariantName.RAMP_HIDDEN))


@dataclass(frozen=True)
class Attribution:
    """What an attribution found.

    Attributes
    ----------
    full, verdicts : pandas.DataFrame
        ``ledger_full.csv`` and ``ledger_verdicts.csv``.
    page : str
        ``ledger.md``.
    """

    full: pd.DataFrame
    verdicts: pd.DataFrame
    page: str


@alone("out")
def attribute_evidence(
    spec: ModelSpec,
    data: EvaluationData,
    out: str | Path,
    *,
    folds: int | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Attribution:
    """Attribute the baselines and the pooled effect of one outcome to its sources of evidence.

    Parameters
    ----------
    spec : ModelSpec
        The spec.
    data : EvaluationData
        The data.
    out : str or Path
        Run directory: its fit and sensitivity refits are reused if their inputs are unchanged,
        and made and kept otherwise.
    folds : int, optional
        Folds of sites for the borrowed prior; default 3, or a fold a site where they are fewer.
    workers, scheduler
        See `lndbayes.fitting.parallel.run_tasks`.
    say : callable, optional
        Receives a line for each finished refit.

    Returns
    -------
    Attribution
        Also written to ``ledger_full.csv``, ``ledger_verdicts.csv`` and ``ledger.md``.

    Raises
    ------
    UsageError
        If the outcome is measured only among people whom the service helps to choose, or no
        source speaks of its untreated state.
    DataError
        If the data cannot carry the model, there are more folds than sites with a treated cell of
        their own, or `out` is something else than a run directory.
    """
    out = Path(out)
    outcome = _accepted(spec, data, out, folds)
    main = main_fit(outcome, out, workers, say)
    channels = present(spec, data, main)
    if not channels:
        rule = "no source speaks of the untreated state: there is nothing to attribute"
        raise UsageError(Problem("spec", rule, column="baseline.channels"))
    members = borrowed_folds(main, folds or FOLDS)
    pool: dict[str, Any] = {"workers": workers, "scheduler": scheduler, "say": say}
    jobs, name = [(spec, data, main)], spec.outcome.name
    variants = run_variants(jobs, out / VARIANT_FOLDER, variants=_VARIANTS, **pool)[name]
    wanted = attribution_refits(channels, members)
    refits = run_refits(jobs, wanted, out / FOLDER, effort=EFFORT, **pool)[name]
    full = measures(spec, main, refits, variants, channels, members)
    full = pd.concat([full, cut_rows(spec, main, refits[CUT])], ignore_index=True)
    verdicts = verdicts_table(full, *_means(spec, main), link=spec.family.link)
    divergent = {n: int(kept.attrs["divergences"]) for n, kept in refits.items()}
    page = attribution_page(spec, data, full, verdicts, len(members), divergent)
    write_table(full, out / "ledger_full.csv")
    write_table(verdicts, out / "ledger_verdicts.csv")
    write_bytes(page.encode(), out / "ledger.md")
    record_product(out, "ledger", {name: metadata(main).key})
    return Attribution(full, verdicts, page)


def _accepted(
    spec: ModelSpec, data: EvaluationData, out: Path, folds: int | None
) -> PreparedOutcome:
    """Prepare the outcome; everything that can be said against the work is said before any."""
    if spec.outcome.selected:
        rule = "is true: no effect is reported, so there is none to attribute; see the bounds"
        raise UsageError(Problem("spec", rule, column="outcome.selected"))
    outcome = prepare_outcome(spec, data)
    design = outcome.design
    treated = own_treated(design["event_time"], design["site_weight"] > 0).any(axis=1).sum()
    if folds is not None and not 1 <= folds <= treated:
        rule = f"must lie between 1 and the number of sites with a treated cell, {treated}"
        raise DataError(Problem("--folds", rule, value=str(folds)))
    require_run(out)
    return outcome


def borrowed_folds(main: xr.DataTree, folds: int) -> list[list[str]]:
    """Deal the treated sites over folds in the order of their go-live, so that each has all waves.

    Parameters
    ----------
    main : xarray.DataTree
        A fit.
    folds : int
        How many, at most one a site.

    Returns
    -------
    list of list of str
        Labels of the sites of each fold; sites without a treated cell of their own are in none,
        since without their untreated months nothing of them is left.
    """
    data = main["constant_data"].to_dataset()
    event = data["event_time"].to_numpy()
    treated = np.flatnonzero(treated_sites(main))
    order = treated[np.argsort(-event[treated, 0], kind="stable")]
    count = min(folds, len(order))
    labels = data["site"].to_numpy()
    return [[str(labels[s]) for s in order[k::count]] for k in range(count)]


def cut_rows(spec: ModelSpec, main: xr.DataTree, baselines: xr.Dataset) -> pd.DataFrame:
    """Rows of the full cut beside those of the joint fit, in the columns of `measures`.

    Where the two would not be comparable the cut's rows have no value and say why.
    """
    fault = cut_fault(spec, main)
    cut = None if fault else full_cut(spec, main, baselines).set_index("quantity").to_dict("index")
    posterior = main["posterior"].to_dataset()
    joint = {
        "pooled": pooled_effect(main, "link", spec.effect.window),
        "spread": posterior["site_effect_sd"],
        "ramp_months": posterior["ramp_months"],
    }
    warning = "a cut reads errors of the baseline as differences between sites: a stress test"
    rows = []
    for quantity, draws in joint.items():
        whole = summarise(draws, mcse=False).iloc[0]
        apart = (np.nan, np.nan, f"not told: {fault}")
        if cut is not None:
            row = cut[quantity]
            apart = (
                float(row["mean"]),
                float(row["sd"]),
                f"{warning}; {row['baselines']:.0f} baselines",
            )
        for name, (mean, sd, note) in {
            "joint": (whole["mean"], whole["sd"], ""),
            "cut": apart,
        }.items():
            rows.append((f"{name}_mean", quantity, mean, note))
            rows.append((f"{name}_sd", quantity, sd, note))
    table = pd.DataFrame(rows, columns=["quantity", "item", "value", "note"])
    table = table.assign(outcome=spec.outcome.name, of="outcome", site="", tier="", mcse=np.nan)
    return table[list(FULL_COLUMNS)]


def _means(spec: ModelSpec, main: xr.DataTree) -> tuple[dict[str, float], dict[str, float]]:
    """Mean effect and untreated level by site, the pooled ones under the empty name."""
    found = []
    for whole, by_site in (
        (
            pooled_effect(main, "link", spec.effect.window),
            site_effects(main, "link", spec.effect.window, withheld=False),
        ),
        (untreated_level(main).mean("site"), untreated_level(main)),
    ):
        table = summarise(by_site, mcse=False)
        means = dict(zip(table["site"].astype(str), table["mean"].astype(float), strict=True))
        found.append(means | {"": float(summarise(whole, mcse=False)["mean"].iloc[0])})
    return found[0], found[1]
