"""What a back-test writes: tables, a figure and a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lndbayes.checks.result import CheckResult, checks_table
from lndbayes.files.writing import write_bytes, write_json, write_table
from lndbayes.report.figures.backtest import pit_panels
from lndbayes.report.figures.style import to_png, to_svg

__all__ = ["backtest_page", "write_backtest"]


def write_backtest(
    folder: Path,
    cells: pd.DataFrame,
    sites: pd.DataFrame,
    summary: pd.DataFrame,
    checks: Sequence[CheckResult],
    facts: Mapping[str, Any],
) -> None:
    """Write tables, figure, page and facts, each file whole or not at all.

    Parameters
    ----------
    folder : Path
        Where to.
    cells, sites, summary : pandas.DataFrame
        Scores by cell and by site, and their averages.
    checks : sequence of CheckResult
        Verdicts.
    facts : mapping of str to object
        Inputs, versions, times.
    """
    write_table(cells, folder / "backtest.csv")
    write_table(sites, folder / "backtest_sites.csv")
    write_table(summary, folder / "backtest_summary.csv")
    write_table(checks_table(checks), folder / "backtest_checks.csv")
    write_json(facts, folder / "backtest.json")
    figure = pit_panels(cells, summary)
    texts = {"backtest.svg": to_svg(figure), "backtest.md": backtest_page(summary, checks, facts)}
    for name, text in texts.items():
        write_bytes(text.encode("utf-8"), folder / name)
    write_bytes(to_png(figure), folder / "backtest.png")


_COLUMNS = {
    "method": "method",
    "channels": "evidence",
    "wave": "wave",
    "cells": "cells",
    "coverage_50": "50% cover",
    "coverage_90": "90% cover",
    "expected_90": "expected",
    "crps": "CRPS",
    "crps_excess": "over the model's",
    "crps_excess_se": "its s.e.",
    "bias": "bias",
    "site_coverage_90": "sites' 90% cover",
    "site_crps": "sites' CRPS",
    "mcse": "MC error of CRPS",
}


def backtest_page(
    summary: pd.DataFrame, checks: Sequence[CheckResult], facts: Mapping[str, Any]
) -> str:
    """Tell a back-test in a page of Markdown; see `write_backtest`."""
    folds = facts["folds"]
    made = "Simulated data. " if facts["synthetic"] else ""
    lines = [
        f"# Back-test of {facts['outcome']}: {facts['data']}",
        "",
        f"{made}{sum(map(len, folds))} sites in {len(folds)} folds; all their months before go-live"
        " were hidden, and reconstructed from the rest. Coverage is of predictive intervals of the"
        " observed rate; *expected* is what the method's own law gives to its 90% interval, more"
        " than 90% where few counts are possible. Comparators use the panel alone.",
        "",
        f"Verdict: **{facts['status']}**.",
        "",
        "| check | status | what was found |",
        "|---|---|---|",
    ]
    lines += [f"| {c.check} | {c.status} | {c.message} |" for c in checks]
    lines += ["", f"| {' | '.join(_COLUMNS.values())} |", f"|{'---|' * len(_COLUMNS)}"]
    for _, row in summary.iterrows():
        lines.append(f"| {' | '.join(_cell(name, row[name]) for name in _COLUMNS)} |")
    return "\n".join(lines) + "\n"


def _cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value.replace("_", " ")
    if name == "cells":
        return f"{value:.0f}"
    if not np.isfinite(value):
        return "-"
    if name.startswith(("coverage", "expected", "site_coverage")):
        return f"{100 * value:.1f}%"
    return f"{value:.3g}"
