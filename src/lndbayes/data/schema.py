"""What every table of an evaluation directory must be, as data: columns, types, bounds, units.

The reader, the validator's messages and the test of `docs/data-contract.md` all use these tables,
so that a rule is written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lndbayes.base.names import DISCLOSURES
from lndbayes.data.columns import (
    COUNT_COLUMN,
    EXPOSURE_COLUMN,
    MOMENT_COLUMNS,
    MONTH_COLUMN,
    SITE_COLUMN,
    SOURCE_COLUMN,
    Column,
    Table,
)
from lndbayes.data.evidence_schema import EVIDENCE

__all__ = [
    "CONTINUOUS",
    "EVIDENCE",
    "FACTS",
    "MIX",
    "OUTCOMES",
    "QUALITY",
    "REFERRALS",
    "SITES",
    "STATUS",
    "TABLES",
]

#: Code of every status in `EvaluationData.ds["status"]`; -1 is a cell without a row.
STATUS: Final[Mapping[str, int]] = {"observed": 0, "suppressed": 1, "rounded": 2, "missing": 3}

#: Columns that together describe a continuous outcome.
CONTINUOUS: Final = tuple(column.name for column in MOMENT_COLUMNS)

_OUTCOME = Column(name="outcome", kind="name", meaning="outcome, your own name for it")

#: Keys of `evaluation.toml`: whether it is needed, its type, what it must be.
FACTS: Final[Mapping[str, tuple[bool, type, str]]] = {
    "name": (True, str, "must be a text that is not empty"),
    "period": (False, str, "must be month, quarter or year"),
    "first_month": (True, str, 'must be a month in quotes written "YYYY-MM", such as "2014-04"'),
    "last_month": (True, str, 'must be a month in quotes written "YYYY-MM", such as "2014-04"'),
    "synthetic": (True, bool, "must be true or false, without quotes"),
    "disclosure": (
        True,
        str,
        f"must be the name of a disclosure preset: {', '.join(DISCLOSURES)}",
    ),
    "notes": (False, object, "may be anything"),
}

SITES: Final = Table(
    file="sites.csv",
    what="one row per site",
    needed=True,
    key=("site",),
    columns=(
        Column(name="site", kind="text", meaning="identifier that the other tables use"),
        Column(
            name="label", kind="text", free=True, empty="the identifier", meaning="name in figures"
        ),
        Column(name="region", kind="text", free=True, empty="not stated", meaning="region"),
        Column(
            name="wave",
            kind="integer",
            low=1,
            empty="in no wave: only at a site that never goes live",
            meaning="wave of the roll-out",
        ),
        Column(
            name="go_live",
            kind="month",
            empty="never went live",
            meaning="first month with the service; may lie outside the evaluated months: after the "
            "last it counts as none",
        ),
        Column(
            name="population",
            kind="number",
            low=0,
            low_open=True,
            unit="persons",
            empty="unknown",
            meaning="persons in the area served",
        ),
        Column(
            name="predecessor",
            kind="number",
            low=0,
            high=1,
            unit="share, 0 to 1",
            empty="unknown",
            meaning="how much of a similar service existed before",
        ),
    ),
    examples=(
        {
            "site": "S01",
            "label": "Northtown",
            "region": "North",
            "wave": "1",
            "go_live": "2014-04",
            "population": "412000",
            "predecessor": "0.25",
        },
        {
            "site": "S02",
            "label": "Southport Area",
            "region": "South",
            "wave": "2",
            "go_live": "2015-04",
            "population": "",
            "predecessor": "",
        },
    ),
)

OUTCOMES: Final = Table(
    file="outcomes.csv",
    what="one row per outcome, site and month (and stratum, and category, where used)",
    needed=True,
    measured=True,
    key=("outcome", "site", "month", "stratum", "category"),
    columns=(
        _OUTCOME,
        SITE_COLUMN,
        MONTH_COLUMN,
        SOURCE_COLUMN,
        EXPOSURE_COLUMN,
        COUNT_COLUMN,
        *MOMENT_COLUMNS,
        Column(
            name="status",
            kind="choice",
            choices=tuple(STATUS),
            meaning="whether the value is exact, withheld, rounded, or was not collected",
        ),
        Column(
            name="count_low",
            kind="integer",
            low=0,
            unit="events",
            empty="the count is exact or missing",
            needed=False,
            meaning="smallest count a suppressed or rounded cell can have",
        ),
        Column(
            name="count_high",
            kind="integer",
            low=0,
            unit="events",
            empty="the count is exact or missing",
            needed=False,
            meaning="largest count a suppressed or rounded cell can have",
        ),
        Column(
            name="stratum",
            kind="text",
            empty="not stratified",
            needed=False,
            meaning="part of the exposure; parts do not overlap and are added up",
        ),
        Column(
            name="category",
            kind="text",
            empty="no bands",
            needed=False,
            meaning="ordered band of the event, such as sentence length; bands share one exposure",
        ),
        Column(
            name="coverage",
            kind="number",
            low=0,
            low_open=True,
            high=1,
            unit="share, 0 to 1",
            empty="all events: 1",
            needed=False,
            meaning="share of the events that the source holds; the same in all rows of a month",
        ),
    ),
    examples=(
        {
            "outcome": "custody",
            "site": "S01",
            "month": "2014-04",
            "source": "pnc",
            "exposure": "45",
            "count": "6",
            "status": "observed",
        },
        {
            "outcome": "custody",
            "site": "S02",
            "month": "2014-04",
            "source": "pnc",
            "exposure": "38",
            "status": "suppressed",
            "count_low": "1",
            "count_high": "7",
        },
        {
            "outcome": "wellbeing",
            "site": "S01",
            "month": "2014-04",
            "source": "ndtms",
            "n": "31",
            "mean": "9.4",
            "sd": "4.1",
            "status": "observed",
        },
    ),
)

MIX: Final = Table(
    file="mix.csv",
    what="one row per site, month and intervention",
    key=("site", "month", "intervention"),
    columns=(
        SITE_COLUMN,
        Column(name="month", kind="month", empty="the whole period", meaning=MONTH_COLUMN.meaning),
        Column(name="intervention", kind="text", meaning="intervention, your own name for it"),
        Column(
            name="contacts",
            kind="integer",
            low=0,
            unit="contacts",
            meaning="contacts of that kind; no row at a site with other rows means none",
        ),
    ),
    examples=(
        {"site": "S01", "month": "2014-04", "intervention": "assessment", "contacts": "52"},
        {"site": "S02", "month": "", "intervention": "assessment", "contacts": "871"},
    ),
)

REFERRALS: Final = Table(
    file="referrals.csv",
    what="one row per site and month",
    key=("site", "month"),
    columns=(
        SITE_COLUMN,
        MONTH_COLUMN,
        Column(
            name="referrals",
            kind="integer",
            low=0,
            unit="referrals",
            meaning="persons referred to the service",
        ),
    ),
    examples=({"site": "S01", "month": "2014-04", "referrals": "61"},),
)

#: What an assembly of extracts says of their rows. It belongs to no result: the report shows it.
QUALITY: Final = Table(
    file="data_quality.csv",
    what="one row per table of the extracts and reason",
    key=("table", "reason"),
    columns=(
        Column(name="table", kind="text", meaning="table of the extracts"),
        Column(name="reason", kind="text", meaning="read, kept, or why rows were dropped"),
        Column(name="rows", kind="integer", low=0, unit="rows", empty="-", meaning="how many"),
        Column(name="persons", kind="integer", low=0, unit="persons", empty="-", meaning="whose"),
    ),
)

TABLES: Final = (SITES, OUTCOMES, MIX, REFERRALS, *EVIDENCE.values())
