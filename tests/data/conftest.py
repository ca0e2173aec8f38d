"""A tiny valid evaluation directory, and a way to spoil it at a known line."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from lndbayes.base.errors import DataError, Problem
from lndbayes.data.evaluation import read_evaluation

MONTHS = [f"2014-{month:02d}" for month in range(1, 13)]
SITES = [f"A{number:02d}" for number in range(1, 7)]
#: By site; the last never goes live, the first two have no month before go-live.
GO_LIVE = ["2014-01", "2014-01", "2014-07", "2014-07", "2014-12", ""]

TOML = """\
name = "Tiny evaluation"
period = "month"
first_month = "2014-01"
last_month = "2014-12"
synthetic = true
disclosure = "none"
notes = "made for tests"
"""


def outcome_rows() -> list[dict[str, str]]:
    """Counts at all sites, a continuous outcome, one with strata and one with bands."""
    rows = []
    for s, site in enumerate(SITES):
        for m, month in enumerate(MONTHS):
            row = {"outcome": "custody", "site": site, "month": month, "source": "pnc"}
            row |= {
                "exposure": str(40 + s + m),
                "count": str((3 * s + m) % 7),
                "status": "observed",
            }
            rows.append(row)
    withheld = rows[26]  # A03, 2014-03
    withheld |= {"count": "", "status": "suppressed", "count_low": "1", "count_high": "7"}
    rounded = rows[27]  # A03, 2014-04
    rounded |= {"count": "10", "status": "rounded", "count_low": "8", "count_high": "12"}
    rows[28] |= {"exposure": "", "count": "", "status": "missing"}  # A03, 2014-05
    del rows[29]  # A03, 2014-06: no row
    for m, month in enumerate(MONTHS[:3]):
        for sex, mean in (("f", 9.25), ("m", 8.5)):
            row = {"outcome": "wellbeing", "site": "A01", "month": month, "source": "ndtms"}
            row |= {"n": str(20 + m), "mean": str(mean + m), "sd": "4.5", "status": "observed"}
            rows.append(row | {"stratum": sex})
            row = {"outcome": "attendances", "site": "A02", "month": month, "source": "hes"}
            row |= {"exposure": str(100.5 + m), "count": str(30 + m), "status": "observed"}
            rows.append(row | {"stratum": sex})
        for b, band in enumerate(("1 up to 3 months", "2 over 3 months")):
            row = {"outcome": "sentence", "site": "A02", "month": month, "source": "pnc"}
            row |= {"exposure": "50", "count": str(4 - b + m), "status": "observed"}
            rows.append(row | {"category": band})
    return rows


def tables() -> dict[str, list[dict[str, str]]]:
    """Rows of every table of the tiny evaluation."""
    sites = [
        {
            "site": site,
            "label": f"Area {site}",
            "region": "North" if s < 3 else "South",
            "wave": str(s // 2 + 1),
            "go_live": go_live,
            "population": "" if s == 5 else str(100_000 + 1000 * s),
            "predecessor": "" if s == 4 else "0.25",
        }
        for s, (site, go_live) in enumerate(zip(SITES, GO_LIVE, strict=True))
    ]
    mix = [
        {"site": site, "month": month, "intervention": kind, "contacts": str(5 * s + k)}
        for s, site in enumerate(SITES[:4])
        for month in MONTHS[6:8]
        for k, kind in enumerate(("assessment", "outreach"), start=1)
    ]
    mix += [
        {"site": "A05", "month": "", "intervention": kind, "contacts": contacts}
        for kind, contacts in (("assessment", "90"), ("support", "10"))
    ]
    common = {"outcome": "custody", "site": "A03"}
    return {
        "sites.csv": sites,
        "outcomes.csv": outcome_rows(),
        "mix.csv": mix,
        "referrals.csv": [
            {"site": site, "month": month, "referrals": "12"}
            for site in SITES[:2]
            for month in MONTHS
        ],
        "covariates.csv": [
            {"site": site, "month": month, "name": "unemployment", "value": f"{5 + s - m / 4:g}"}
            for s, site in enumerate(SITES)
            for m, month in enumerate(MONTHS)
        ],
        "evidence/retrospective.csv": [
            common
            | {"month": month, "exposure": "30", "count": "4"}
            | {"coverage_mean": "0.6", "coverage_sd": "0.1"}
            for month in MONTHS[:3]
        ],
        "evidence/national.csv": [
            {"outcome": "custody", "month": month, "months": "3", "rate": "0.12", "se": "0.004"}
            | {"source": "national series"}
            for month in ("2013-10", "2014-01", "2014-04")
        ],
        "evidence/proxy.csv": [
            common | {"month": month, "exposure": "200", "count": "21", "source": "courts"}
            for month in MONTHS[:3]
        ],
        "evidence/history.csv": [
            common
            | {"months_from_referral": str(-lag), "calendar_month": month}
            | {"persons": "60", "count": "7"}
            for lag, month in ((6, "2014-06"), (12, "2014-01"))
        ],
        "evidence/elicited.csv": [
            {"outcome": "custody", "site": site, "quantity": "pre_go_live_rate"}
            | {"q05": "0.08", "q50": "0.12", "q95": "0.2", "who": "panel"}
            for site in ("", "A01")
        ],
    }


def csv_text(rows: Iterable[Mapping[str, str]]) -> str:
    """Rows as CSV with every column that any row has."""
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


class Directory:
    """An evaluation directory on disk, and changes to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.toml = TOML
        self.tables = tables()

    def write(self) -> Path:
        (self.path / "evidence").mkdir(parents=True, exist_ok=True)
        (self.path / "evaluation.toml").write_text(self.toml, encoding="utf-8")
        for file, rows in self.tables.items():
            (self.path / file).write_text(csv_text(rows), encoding="utf-8")
        return self.path

    def line(self, file: str, **where: str) -> int:
        """Line of the first row that has these values; the header is line 1."""
        for line, row in enumerate(self.tables[file], start=2):
            if all(row.get(name, "") == value for name, value in where.items()):
                return line
        raise LookupError(f"{file} has no row with {where}")

    def set(self, file: str, where: Mapping[str, str] | int, **values: str) -> int:
        """Change a row of a table and return its line."""
        line = where if isinstance(where, int) else self.line(file, **where)
        self.tables[file][line - 2] |= values
        return line

    def add(self, file: str, like: int, **values: str) -> int:
        """Add a row like the one at a line, with other values, and return its line."""
        self.tables[file].append(self.tables[file][like - 2] | values)
        return len(self.tables[file]) + 1

    def keep(self, *files: str) -> None:
        """Leave out all tables but these and the two that are needed."""
        wanted = {"sites.csv", "outcomes.csv", *files}
        self.tables = {file: rows for file, rows in self.tables.items() if file in wanted}

    def text(self, file: str, change: Callable[[str], str]) -> None:
        """Write the directory and then change one file's text."""
        path = self.write() / file
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")

    def problems(self) -> tuple[Problem, ...]:
        """Problems of the directory as it is on disk; fails where there are none."""
        with pytest.raises(DataError) as caught:
            read_evaluation(self.path)
        assert caught.value.problems
        return caught.value.problems


@pytest.fixture
def tiny(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "tiny")
