"""Read a run directory for reporting: tables as written, design facts and savings draws.

Nothing is computed here but types. Everything wrong is reported at once; a missing optional file
is remembered with the reason, so that its section can say why it is empty.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.errors import DataError, Problem
from lndbayes.base.formulas import plain
from lndbayes.base.vocabulary import EffectVerdict, Tier
from lndbayes.files.provenance import changed_files
from lndbayes.files.reading import Unreadable, read_json, read_text, there_is
from lndbayes.files.storage import Damaged, read_netcdf
from lndbayes.report.fit_facts import FitFacts, read_fit_facts

__all__ = ["COLUMNS", "STATUSES", "Run", "read_run", "read_table"]

STATUSES = ("FAIL", "REVIEW", "NOT RUN", "PASS")

_SUMMARY = ("mean", "sd", "lower", "median", "upper", "ci_prob")
_COMPARED = tuple(
    f"{name}_{number}"
    for name in ("imputation", "group_time")
    for number in ("ratio", "lower", "upper", "share")
)
#: Per file: text columns, number columns. Further columns are kept as text.
COLUMNS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "effects.csv": (
        ("outcome", "estimand", "site", "intervention", "scale", "unit", "window", "identified"),
        (*_SUMMARY, "p_below_zero", "mcse", "leverage_level_bias", "leverage_drift"),
    ),
    "checks.csv": (("outcome", "check", "status", "value", "threshold", "message"), ()),
    "baseline.csv": (("outcome", "site", "month"), ("mean", "lower", "upper", "observed")),
    "ledger.csv": (
        ("outcome", "site", "tier", "channel"),
        (
            *("contribution", "shift_if_removed", "prior_share", "feedback_share"),
            *("leverage_level_bias", "leverage_drift"),
        ),
    ),
    "savings.csv": (
        ("level", "site", "outcome", "line", "payer", "cashable", "price_year"),
        (*_SUMMARY, "p_positive", "mcse"),
    ),
    "priors.csv": (
        ("slot", "distribution", "dims", "unit", "note"),
        ("lower", "median", "upper", "ci_prob"),
    ),
    "sensitivity.csv": (
        ("outcome", "variant", "label", "note"),
        (*_SUMMARY, "prior_sd", "sd_ratio"),
    ),
    "overview.csv": (
        ("outcome", "label", "family", "scale", "good_direction", "verdict", "note"),
        (
            *("median", "lower", "upper", "ci_prob", "p_below_zero", "p_within_margin"),
            *("margin_low", "margin_high", "identified_share", "sd_over_prior_sd"),
            *("margin_per_1000", "untreated_rate", "tipping_bias", "bias_tolerance"),
            *("build_up_share", "build_up_shift", "build_up_chance"),
            *_COMPARED,
            *(f"tier_{tier}" for tier in "abcd"),
        ),
    ),
    "before_after.csv": (("outcome", "part", "unit", "window", "note"), _SUMMARY),
    "covariate_effects.csv": (
        ("outcome", "covariate", "enters", "scale", "unit", "note"),
        (*_SUMMARY, "p_below_zero", "mcse", "one_sd", "prior_sd"),
    ),
    "event_study.csv": (
        ("outcome", "scale"),
        (
            *("event_month", "ratio", "lower", "upper", "ci_prob", "cells", "sites"),
            *("model_median", "model_lower", "model_upper"),
        ),
    ),
    "bounds.csv": (("outcome", "given", "quantity", "unit", "bound", "window", "note"), _SUMMARY),
    "tipping.csv": (
        ("outcome", "bias", "unit", "method", "message"),
        ("threshold", "value", "percent", "pareto_k"),
    ),
    "placebo.csv": (
        ("outcome", "quantity", "site", "go_live", "scale", "holds_zero", "status", "note"),
        ("months_before", "months_after", "median", "lower", "upper", "sd", "ci_prob"),
    ),
    "powerscale.csv": (
        ("outcome", "term", "kind", "status", "message"),
        ("sensitivity", "pareto_k"),
    ),
    "data_quality.csv": (("table", "reason"), ("rows", "persons")),
    "joint_correlation.csv": (
        ("outcome_1", "outcome_2"),
        ("mean", "lower", "upper", "prior_lower", "prior_upper", "ci_prob"),
    ),
    "backtest_summary.csv": (
        ("method", "channels", "wave"),
        ("sites", "cells", "coverage_50", "coverage_90", "expected_90", "mean_observed", "bias"),
    ),
}
_REQUIRED = ("effects.csv", "checks.csv", "manifest.json")
#: Files whose absence is no news: most models have no covariates, and not all data a comparison.
_UNSAID = frozenset({"covariate_effects.csv", "event_study.csv"})
#: Number columns that may be absent altogether: they are then read as unknown.
_MAY_LACK = frozenset(
    {
        *("leverage_level_bias", "leverage_drift", "mcse"),
        *("margin_per_1000", "untreated_rate", "tipping_bias", "bias_tolerance"),
        *("build_up_share", "build_up_shift", "build_up_chance"),
        *_COMPARED,
    }
)


@dataclass(frozen=True, slots=True)
class Run:
    """A run directory as read.

    Attributes
    ----------
    path : Path
        The directory.
    effects, checks : pd.DataFrame
        Required tables of the run, columns as in `docs/data-contract.md`. Numbers of single sites
        in tier D are NaN in `effects`, whatever the file says: they must not reach a page.
    manifest : Mapping
        ``manifest.json``.
    baseline, ledger, savings, priors, sensitivity, overview, before_after, covariate_effects, \
    event_study, bounds, tipping, placebo, powerscale, data_quality, joint_correlation, \
    backtest_summary : \
    pd.DataFrame or None
        Optional tables; None where the file is absent.
    money : xr.Dataset or None
        ``savings.nc`` as `lndbayes.money.savings.savings` made it.
    fit_facts : Mapping of str to FitFacts
        Outcome to facts of its fit; an outcome whose fit is absent is not in it.
    missing : Mapping of str to str
        File to the reason why nothing could be read from it.
    """

    path: Path
    effects: pd.DataFrame
    checks: pd.DataFrame
    manifest: Mapping[str, Any]
    baseline: pd.DataFrame | None = None
    ledger: pd.DataFrame | None = None
    savings: pd.DataFrame | None = None
    priors: pd.DataFrame | None = None
    sensitivity: pd.DataFrame | None = None
    overview: pd.DataFrame | None = None
    before_after: pd.DataFrame | None = None
    covariate_effects: pd.DataFrame | None = None
    event_study: pd.DataFrame | None = None
    bounds: pd.DataFrame | None = None
    tipping: pd.DataFrame | None = None
    placebo: pd.DataFrame | None = None
    powerscale: pd.DataFrame | None = None
    data_quality: pd.DataFrame | None = None
    joint_correlation: pd.DataFrame | None = None
    backtest_summary: pd.DataFrame | None = None
    money: xr.Dataset | None = None
    fit_facts: Mapping[str, FitFacts] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def selected(self) -> frozenset[str]:
        """Outcomes measured only among people whom the service helps to choose."""
        found = {o for o, d in self.fit_facts.items() if int(d.attrs.get("selected", 0))}
        if self.overview is not None:
            told = self.overview
            found |= set(told.loc[told["verdict"] == EffectVerdict.NOT_IDENTIFIED, "outcome"])
        return frozenset(found)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Outcomes with effects, in the order in which they were written."""
        return tuple(dict.fromkeys(self.effects["outcome"]))


def read_run(path: Path) -> Run:
    """Read a run directory.

    Parameters
    ----------
    path : Path
        A run directory as `docs/data-contract.md` describes it.

    Returns
    -------
    Run
        Tables with numbers as float64 (NaN where empty) and text as str (empty where empty).

    Raises
    ------
    DataError
        A required file is absent, or a file is unreadable, lacks a column, holds a value that is
        no number or is not what the manifest lists; all such problems at once.
    """
    if not path.is_dir():
        raise DataError(Problem(str(path), "the run directory must exist"))
    problems = [
        Problem(name, "is required to write a report and is not in the run directory")
        for name in _REQUIRED
        if not there_is(path / name)
    ]
    frames: dict[str, pd.DataFrame] = {}
    missing: dict[str, str] = {}
    for name in COLUMNS:
        if there_is(path / name):
            frame, found = read_table(path / name)
            problems += found
            frames[name.removesuffix(".csv")] = frame
        elif name not in _REQUIRED and name not in _UNSAID:
            missing[name] = f"{name} is not in the run directory"
    manifest = _read_manifest(path / "manifest.json", problems)
    problems += changed_files(path, manifest, [*COLUMNS, "savings.nc"])
    if problems:
        raise DataError(problems)
    run = Run(
        path=path,
        effects=_without_tier_d(frames["effects"]),
        checks=frames["checks"],
        manifest=manifest,
        baseline=frames.get("baseline"),
        ledger=frames.get("ledger"),
        savings=frames.get("savings"),
        priors=frames.get("priors"),
        sensitivity=frames.get("sensitivity"),
        overview=frames.get("overview"),
        before_after=frames.get("before_after"),
        covariate_effects=frames.get("covariate_effects"),
        event_study=frames.get("event_study"),
        bounds=frames.get("bounds"),
        tipping=frames.get("tipping"),
        placebo=frames.get("placebo"),
        powerscale=frames.get("powerscale"),
        data_quality=frames.get("data_quality"),
        joint_correlation=frames.get("joint_correlation"),
        backtest_summary=frames.get("backtest_summary"),
    )
    problems = list(_broken_rules(run))
    if problems:
        raise DataError(problems)
    fit_facts: dict[str, FitFacts] = {}
    for outcome in run.outcomes:
        stored = path / "fits" / f"{outcome}.nc"
        if stored.is_file():
            fit_facts[outcome] = read_fit_facts(stored)
        else:
            missing[f"fits/{outcome}.nc"] = f"fits/{outcome}.nc is not in the run directory"
    draws = None
    if (path / "savings.nc").is_file():
        draws = _read_draws(path / "savings.nc")
    else:
        missing["savings.nc"] = "savings.nc is not in the run directory"
    return _without_selected(replace(run, fit_facts=fit_facts, money=draws, missing=missing))


def _without_selected(run: Run) -> Run:
    """Take off every number on the effect on a selected outcome, whatever the files say."""
    if not run.selected:
        return run
    numbers = [c for c in COLUMNS["effects.csv"][1] if c != "ci_prob"]
    chosen = run.effects["outcome"].isin(run.selected)
    effects = run.effects.assign(**{c: run.effects[c].mask(chosen) for c in numbers})
    tables = {name: getattr(run, name) for name in ("sensitivity", "before_after", "tipping")}
    kept = {
        name: table[~table["outcome"].isin(run.selected)]
        for name, table in tables.items()
        if table is not None
    }
    return replace(run, effects=effects, **kept)


def read_table(path: Path) -> tuple[pd.DataFrame, list[Problem]]:
    """Read one table of a run; without rows where it has problems."""
    texts, numbers = COLUMNS[path.name]
    try:
        rows = list(csv.reader(io.StringIO(read_text(path), newline=""), strict=True))
    except Unreadable as error:
        return pd.DataFrame(), [error.problem(path.name)]
    except csv.Error as error:
        return pd.DataFrame(), [Problem(path.name, f"must be readable as UTF-8 CSV: {error}")]
    if not rows:
        return pd.DataFrame(), [Problem(path.name, "must have a header line")]
    header, body = rows[0], rows[1:]
    problems = [
        Problem(path.name, "the column is required and is not in the file", column=name)
        for name in (*texts, *numbers)
        if name not in header and name not in _MAY_LACK
    ]
    problems += [
        Problem(path.name, f"must have {len(header)} values, has {len(row)}", row=i)
        for i, row in enumerate(body, start=2)
        if len(row) != len(header)
    ]
    if problems:
        return pd.DataFrame(), problems
    columns: dict[str, object] = {}
    for j, name in enumerate(header):
        values = [row[j] for row in body]
        if name in numbers:
            columns[name] = _to_numbers(values, path.name, name, problems)
        else:
            columns[name] = pd.array(list(map(plain, values)), dtype="str")
    for name in set(numbers) - set(header):
        columns[name] = np.full(len(body), np.nan)
    return pd.DataFrame(columns), problems


def _to_numbers(
    values: list[str], file: str, column: str, problems: list[Problem]
) -> np.ndarray[Any, Any]:
    out = np.full(len(values), np.nan)
    for i, text in enumerate(values):
        if text.strip() == "":
            continue
        try:
            out[i] = float(text)
        except ValueError:
            problems.append(
                Problem(file, "must be a number or empty", row=i + 2, column=column, value=text)
            )
    return out


def _without_tier_d(effects: pd.DataFrame) -> pd.DataFrame:
    numbers = [c for c in COLUMNS["effects.csv"][1] if c != "ci_prob"]
    unshown = (effects["identified"] == Tier.D) & (effects["site"] != "")
    return effects.assign(**{c: effects[c].mask(unshown) for c in numbers})


def _read_manifest(path: Path, problems: list[Problem]) -> Mapping[str, Any]:
    if not there_is(path):
        return {}
    try:
        manifest = read_json(path)
    except Unreadable as error:
        problems.append(error.problem(path.name))
        return {}
    if not isinstance(manifest, dict):
        problems.append(Problem(path.name, "must hold one JSON object"))
        return {}
    return manifest


def _broken_rules(run: Run) -> Iterator[Problem]:
    effects, checks = run.effects, run.checks
    if effects.empty:
        yield Problem("effects.csv", "must have at least one row")
    for outcome in run.outcomes:
        pooled = effects[
            (effects["outcome"] == outcome)
            & (effects["estimand"] == "pooled")
            & (effects["scale"] == "link")
        ]
        if len(pooled) != 1:
            rule = f"must have exactly one pooled row on the link scale, has {len(pooled)}"
            yield Problem("effects.csv", rule, column="outcome", value=outcome)
    for i, status in enumerate(checks["status"]):
        if status not in STATUSES:
            rule = f"must be one of {', '.join(STATUSES)}"
            yield Problem("checks.csv", rule, row=i + 2, column="status", value=status)


def _read_draws(path: Path) -> xr.Dataset:
    try:
        draws = read_netcdf(path)
    except Damaged as error:
        raise DataError(Problem(path.name, f"must be readable savings: {error}")) from error
    if "saving" not in draws:
        raise DataError(Problem(path.name, "must hold the variable saving"))
    return draws
