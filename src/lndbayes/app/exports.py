"""Exports of a run, made from stored draws alone: tables, savings, report and manifest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from lndbayes.app.outcome_tables import Outcome, exposure_fit, outcome_tables
from lndbayes.app.runs import (
    FITTING,
    VARIANT_FOLDER,
    Progress,
    Steps,
    read_manifest,
    stored_outcomes,
    stored_placebo,
    stored_variants,
)
from lndbayes.base.errors import DataError
from lndbayes.base.vocabulary import Estimand, Tier
from lndbayes.checks.fit_checks import check_fit
from lndbayes.checks.result import (
    CheckResult,
    Status,
    checks_table,
    overall,
)
from lndbayes.estimands.identification import site_tiers
from lndbayes.estimands.reported import (
    blank_tier_d,
    reported_draws,
)
from lndbayes.evidence.assumption import (
    ASSUMPTION,
    savings_labels,
)
from lndbayes.files.lock import alone
from lndbayes.files.places import run_problems
from lndbayes.files.provenance import (
    drop_outdated,
    file_hashes,
    input_problems,
    outcomes_of,
    require_hashes,
)
from lndbayes.files.storage import file_hash
from lndbayes.files.writing import read_dataset, write_dataset, write_json, write_table
from lndbayes.fitting.fit import versions
from lndbayes.fitting.metadata import metadata
from lndbayes.money.costs import Costs, load_costs
from lndbayes.money.pricing import drop_savings, pricing_of
from lndbayes.money.rules import ALL
from lndbayes.money.savings import on_common_sites, savings
from lndbayes.money.tables import savings_table
from lndbayes.report import REPORTS, write_report
from lndbayes.report.kept import kept_problems
from lndbayes.spec.model_spec import stored_spec, with_changes

__all__ = [
    "VARIANT_FOLDER",
    "Outcome",
    "exposure_fit",
    "finish",
    "recompute_savings",
    "report_run",
    "with_checks",
    "write_exports",
]


#: Tables that some outcomes have and others have not.
_TABLES = frozenset(
    {
        *("before_after", "bounds", "covariate_effects", "event_study", "ledger", "overview"),
        *("powerscale", "sensitivity", "tipping"),
    }
)


def write_exports(
    out: Path, done: Mapping[str, Outcome], costs: Costs | None, steps: Steps, say: Progress
) -> None:
    """Write every table; each row says what the checks said of its outcome.

    Parameters
    ----------
    out : Path
        Run directory.
    done : mapping of str to Outcome
        What was fitted.
    costs : Costs or None
        None leaves the stored savings draws as they are.
    steps : Steps
        Receives the times.
    say : callable
        Receives messages.
    """
    tables: dict[str, list[pd.DataFrame]] = {}

    def made(name: str) -> dict[str, pd.DataFrame]:
        found = outcome_tables(done[name], exposure_fit(done[name].spec, done))
        say(f"{name}: tables")
        return found

    with steps.step("tables"), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for outcome, found in zip(done.values(), pool.map(made, done), strict=True):
            mark = overall(outcome.checks).value
            for key, table in found.items():
                if len(table):
                    tables.setdefault(key, []).append(table.assign(check_status=mark))
    for key in _TABLES - set(tables):
        # a table of an earlier run on other data
        (out / f"{key}.csv").unlink(missing_ok=True)
    for key, parts in tables.items():
        write_table(pd.concat(parts, ignore_index=True), out / f"{key}.csv")
    results = [check for outcome in done.values() for check in outcome.checks]
    write_table(checks_table(results), out / "checks.csv")
    with steps.step("savings"):
        if costs is not None:
            _price(out, done, costs)
        labelled = {str(t["outcome"].iloc[0]): t for t in tables.get("effects", ())}
        _export_savings(out, done, labelled, overall(results).value)


def _price(out: Path, done: Mapping[str, Outcome], costs: Costs) -> None:
    """Write the savings draws; remove earlier ones where the costs price none of the outcomes."""
    priced = {line.outcome for line in costs.lines}
    averted = {
        k: outcome.reported[Estimand.EVENTS_AVERTED_SITE]
        for k, outcome in done.items()
        if k in priced
    }
    if not averted:
        drop_savings(out)
        return
    first = next(iter(averted))
    ds = savings(on_common_sites(averted), costs, seed=metadata(done[first].fit).seed)
    write_dataset(ds, out / "savings.nc")


def _export_savings(
    out: Path, done: Mapping[str, Outcome], effects: Mapping[str, pd.DataFrame], mark: str
) -> None:
    """Tabulate the stored savings draws, without numbers where a site's tier forbids them."""
    if not (out / "savings.nc").is_file():
        return
    table = savings_table(read_dataset(out / "savings.nc"))
    unidentified = {
        (site, name)
        for name, outcome in done.items()
        for site, tier in site_tiers(outcome.fit, outcome.spec.effect.window).to_series().items()
        if tier in (Tier.D, Tier.NO_EFFECT)
    }
    # what sums several outcomes at a site rests on the weakest of them
    unidentified |= {(site, ALL) for site, _ in unidentified}
    tier = [
        Tier.D if row in unidentified else ""
        for row in zip(table["site"], table["outcome"], strict=True)
    ]
    table = blank_tier_d(table, pd.Series(tier, index=table.index))
    why = savings_labels(table, {k: t for k, t in effects.items() if ASSUMPTION in t})
    write_table(table.assign(check_status=mark, **{ASSUMPTION: why}), out / "savings.csv")


def finish(
    out: Path,
    facts: Mapping[str, Any],
    steps: Steps,
    checks: Sequence[CheckResult],
    say: Progress,
) -> Status:
    """Write report and manifest; the manifest is written twice, since the report quotes it."""
    status = overall(checks)
    drop_outdated(out, str(facts.get("data_hash")), say)
    manifest = {**facts, "status": status.value, "versions": versions(), "steps": steps.done}
    hashes = file_hashes(out, but=REPORTS)
    write_json({**manifest, "outputs": hashes}, out / "manifest.json")
    say("report")
    with steps.step("report"):
        write_report(out)
    outputs = {**hashes, **file_hashes(out, but=hashes)}
    whole = {**manifest, "steps": steps.done, "outputs": dict(sorted(outputs.items()))}
    write_json(whole, out / "manifest.json")
    return status


def _stored(run: Path, manifest: Mapping[str, Any], steps: Steps) -> dict[str, Outcome]:
    """Everything a run's exports need, from its stored draws; fits nothing."""
    done = {}
    thresholds = manifest.get("thresholds", {})
    with steps.step("read stored fits"):
        for name, tree in stored_outcomes(run, manifest).items():
            spec = stored_spec(str(tree.attrs.get("spec_text")), source=f"fits/{name}.nc")
            if name in thresholds:
                spec = with_changes(spec, {"checks": thresholds[name]})
            variants: dict[str, xr.Dataset] = {}
            if not spec.outcome.selected:
                variants = stored_variants(run, name, metadata(tree).key)
            placebo = stored_placebo(run, spec, tree)
            done[name] = Outcome(spec, tree, variants, [], placebo=placebo)
    return with_checks(done)


def with_checks(done: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """Run the battery on every outcome; some report products with another's fit."""

    def checked(o: Outcome) -> Outcome:
        # of a selected outcome no product with another's rate is reported
        exposures = None if o.spec.outcome.selected else exposure_fit(o.spec, done)
        reported = reported_draws(o.fit, o.spec.effect.window, exposures)
        return replace(o, checks=check_fit(o.spec, o.fit, reported), reported=reported)

    # threads: the arithmetic waits for no interpreter, and fits need not travel
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip(done, pool.map(checked, done.values()), strict=True))


@alone("run")
def report_run(
    run: str | Path,
    *,
    costs: Costs | None = None,
    costs_file: str | Path | None = None,
    say: Progress,
) -> Status:
    """Check stored fits again and rewrite all exports and the report; fits nothing.

    Parameters
    ----------
    run : str or Path
        Run directory.
    costs : Costs, optional
        New costs; without them the stored savings draws stay as they are.
    costs_file : str or Path, optional
        Where they come from, for the manifest.
    say : callable
        Receives messages.

    Returns
    -------
    Status
        Worst status of the checks.

    Raises
    ------
    DataError, FitError
        If the directory is not a complete run, or a file that is read is not what the run wrote.
    """
    run, steps = Path(run), Steps()
    manifest = read_manifest(run)
    problems = [*run_problems(run), *kept_problems(run)]
    problems += input_problems(run, manifest, outcomes_of(manifest), savings=costs is None)
    if problems:
        raise DataError(problems)
    done = _stored(run, manifest, steps)
    require_hashes(manifest)
    if costs is not None:
        known = [*done, *map(str, manifest.get("outcomes_known", ()))]
        notes = pricing_of(costs, Path(costs_file or "costs"), known, list(done), say)
        manifest = {**manifest, "savings_notes": notes}
    write_exports(run, done, costs, steps, say)
    results = [check for outcome in done.values() for check in outcome.checks]
    facts = {k: v for k, v in manifest.items() if k not in ("status", "versions", "outputs")}
    earlier = [s for s in facts.pop("steps", []) if s["step"].startswith(FITTING)]
    steps.done = [*earlier, *steps.done]
    if costs_file is not None:
        kept = {
            name: digest
            for name, digest in facts.get("inputs", {}).items()
            if name != "models/costs.toml" and not name.startswith("costs/")
        }
        name = f"costs/{Path(costs_file).name}"
        facts["inputs"] = {**kept, name: file_hash(Path(costs_file))}
    return finish(run, facts, steps, results, say)


def recompute_savings(run: str | Path, costs_file: str | Path, *, say: Progress) -> Status:
    """Price the stored draws with another costs file; fits nothing.

    Parameters
    ----------
    run : str or Path
        Run directory.
    costs_file : str or Path
        A costs file.
    say : callable
        Receives messages.

    Returns
    -------
    Status
        Worst status of the checks.
    """
    return report_run(run, costs=load_costs(costs_file), costs_file=costs_file, say=say)
