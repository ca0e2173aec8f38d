"""Effects by stratum, from a spec and a stratified evaluation to tables and draws."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from lndbayes.app.runs import Progress
from lndbayes.base.errors import DataError, Problem, SpecError, UsageError
from lndbayes.checks.fit_checks import check_fit
from lndbayes.checks.result import CheckResult, Status, checks_table, overall
from lndbayes.data.evaluation import EvaluationData
from lndbayes.data.strata import by_stratum
from lndbayes.evidence.assumption import ASSUMPTION, label_assumption
from lndbayes.files.lock import alone
from lndbayes.files.places import make_run, require_run
from lndbayes.files.provenance import record_product
from lndbayes.files.writing import write_dataset, write_table
from lndbayes.fitting.fit import fit_key, load_fit
from lndbayes.fitting.metadata import metadata
from lndbayes.fitting.parallel import FitJob, fit_many
from lndbayes.model.design import build_design
from lndbayes.model.shown import own_treated
from lndbayes.model.support import lacking
from lndbayes.second_stage.strata.effects import (
    ALL,
    ALL_REFERRALS,
    DIFFERENCE,
    effect_mean_prior,
    strata_effects,
    strata_table,
)
from lndbayes.spec.model_spec import ModelSpec, with_changes

__all__ = ["strata_run"]

#: Folder of a run that holds the strata's fits.
FOLDER = "strata"

#: Evidence that is not by stratum.
_CHANNELS = ("retrospective", "national", "history", "elicited")


@alone("out")
def strata_run(
    spec: ModelSpec,
    data: EvaluationData,
    out: str | Path,
    *,
    referrals: Mapping[str, float] | None = None,
    jobs: int = 1,
    say: Progress,
) -> Status:
    """Fit every stratum, pool their effects and write ``strata.csv`` and ``strata.nc``.

    Fits are kept in ``strata/`` and reused if their inputs are unchanged; what the check battery
    says of them is in ``strata_checks.csv``.

    Parameters
    ----------
    spec : ModelSpec
        The outcome's spec; evidence channels other than the panel are switched off.
    data : EvaluationData
        An evaluation whose outcome is by stratum.
    out : str or Path
        Run directory.
    referrals : mapping of str to float, optional
        Referrals of every stratum, for a second weighting.
    jobs : int
        Strata fitted at the same time.
    say : callable
        Receives progress.

    Returns
    -------
    Status
        Worst status of the checks of all fits.

    Raises
    ------
    DataError, SpecError, UsageError
        Before anything is written: no strata, a stratum that the family cannot use, fewer than two
        strata that can carry an effect, a spec without an effect to report, or referrals of other
        strata.
    """
    out = Path(out)
    panel = _panel_spec(spec)
    parts = by_stratum(data, spec.outcome.name)
    _check_labels(parts, referrals)
    absent = {k: why for k, part in parts.items() if (why := _too_little(panel, part))}
    present = [label for label in parts if label not in absent]
    for label, reason in absent.items():
        say(f"stratum {label}: no effect, {reason}")
    if len(present) < 2:
        told = "; ".join(f"{label}: {reason}" for label, reason in absent.items())
        rule = f"fewer than two strata can carry an effect ({told or 'there is one stratum'})"
        raise DataError(Problem("outcomes.csv", rule, column="stratum"))
    require_run(out)
    make_run(out, FOLDER)
    say(f"{spec.outcome.name} by stratum: panel evidence alone, since no other is by stratum")
    tasks = {
        # chains of their own: a common seed would tie the strata's Monte Carlo errors
        label: FitJob(with_changes(panel, {"sampling.seed": panel.sampling.seed + k}), parts[label])
        for k, label in enumerate(parts)
        if label in present
    }
    files = {label: f"{spec.outcome.name}-{quote(label, safe=' ')}" for label in present}
    paths = fit_many(
        {files[k]: job for k, job in tasks.items()}, out / FOLDER, workers=jobs, say=say
    )
    fits = {label: load_fit(paths[files[label]]) for label in present}
    checks = {label: check_fit(tasks[label].spec, fit) for label, fit in fits.items()}
    ds = strata_effects(fits, spec, referrals=referrals, seed=spec.sampling.seed)
    ds.attrs |= {
        "data_hash": data.hash,
        "spec_hash": spec.hash,
        "fit_keys": " ".join(metadata(fit).key for fit in fits.values()),
        "absent": "; ".join(f"{label}: {reason}" for label, reason in absent.items()),
        "evidence": "panel alone",
    }
    status = overall([one for found in checks.values() for one in found])
    table = _labelled(strata_table(ds, fits, absent), ds.attrs["prior_sd"])
    table = table.assign(check_status=status.value)
    write_dataset(ds, out / "strata.nc")
    write_table(table, out / "strata.csv")
    _write_checks(checks, out)
    record_product(out, "strata", {spec.outcome.name: fit_key(spec, data)})
    say(f"wrote {out / 'strata.csv'}")
    return status


def _labelled(table: pd.DataFrame, prior_sd: float) -> pd.DataFrame:
    """Say of every effect whether it rests on assumption only; a row without numbers says nothing.

    The difference of two strata has another prior than their effects: it is labelled if either is.
    """
    why = [
        label_assumption(sd_ratio=float(sd) / prior_sd) if np.isfinite(sd) else ""
        for sd in table["sd"]
    ]
    table = table.assign(**{ASSUMPTION: why})
    parts = table.loc[table["stratum"].isin(["several", "none"]), ["stratum", ASSUMPTION]]
    told = "; ".join(f"{label}: {text}" for label, text in parts.to_numpy() if text)
    return table.assign(
        **{ASSUMPTION: table[ASSUMPTION].where(table["stratum"] != DIFFERENCE, told)}
    )


def _write_checks(checks: Mapping[str, list[CheckResult]], out: Path) -> None:
    rows = [(label, result) for label, found in checks.items() for result in found]
    table = checks_table([result for _, result in rows])
    table.insert(1, "stratum", [label for label, _ in rows])
    write_table(table, out / "strata_checks.csv")


def _panel_spec(spec: ModelSpec) -> ModelSpec:
    effect_mean_prior(spec)
    if spec.outcome.selected:
        rule = "no effect is reported of an outcome measured among people the service helps choose"
        raise SpecError(Problem("spec", rule, column="outcome.selected", value="true"))
    return with_changes(spec, {f"baseline.channels.{name}": False for name in _CHANNELS})


def _check_labels(parts: Mapping[str, object], referrals: Mapping[str, float] | None) -> None:
    taken = [label for label in parts if label in (ALL, ALL_REFERRALS, DIFFERENCE)]
    if taken:
        rule = "is the name of a row of the results: give the stratum another"
        raise DataError([Problem("outcomes.csv", rule, None, "stratum", k) for k in taken])
    if referrals is not None and set(referrals) != set(parts):
        rule = f"must give a number for exactly these strata: {', '.join(parts)}"
        raise UsageError(Problem("--referrals", rule, value=", ".join(referrals)))


def _too_little(spec: ModelSpec, part: EvaluationData) -> str:
    """Why a stratum cannot carry an effect; empty if it can."""
    design = build_design(spec, part)
    usable, event = design["site_weight"] > 0, design["event_time"]
    absent = [
        name
        for name, cells in {
            "untreated": usable & (event < 0),
            "treated": own_treated(event, usable),
        }.items()
        if not cells.any()
    ]
    if not absent:
        return "; ".join(problem.rule for problem in lacking(spec, part, design))
    exposure = np.nansum(part.ds["exposure"].to_numpy())
    return f"no {' and no '.join(absent)} cell with data (exposure {exposure:g} in all)"
