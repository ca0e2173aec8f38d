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
    example_rows,
    number,
    whole,
)
from lndbayes.data.evidence_schema import EVIDENCE

__all__ = [
    "CONTINUOUS",
    "COVARIATES",
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
    extensible=True,
    key=("site",),
    columns=(
        Column(name="site", kind="text", meaning="identifier that the other tables use"),
        Column(
            name="label", kind="text", free=True, empty="the identifier", meaning="name in figures"
        ),
        Column(name="region", kind="text", free=True, empty="not stated", meaning="region"),
        whole(
            "wave",
            "",
            "wave of the roll-out",
            low=1,
            empty="in no wave: only at a site that never goes live",
        ),
        Column(
            name="go_live",
            kind="month",
            empty="never went live",
            meaning="first month with the service; may lie outside the evaluated months: after the "
            "last it counts as none",
        ),
        number(
            "population",
            "persons",
            "persons in the area served",
            low=0,
            low_open=True,
            empty="unknown",
        ),
        number(
            "predecessor",
            "share, 0 to 1",
            "how much of a similar service existed before",
            low=0,
            high=1,
            empty="unknown",
        ),
    ),
    examples=example_rows(
        "site,label,region,wave,go_live,population,predecessor",
        "S01,Northtown,North,1,2014-04,412000,0.25",
        "S02,Southport Area,South,2,2015-04,,",
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
        whole(
            "count_low",
            "events",
            "smallest count a suppressed or rounded cell can have",
            low=0,
            empty="the count is exact or missing",
            needed=False,
        ),
        whole(
            "count_high",
            "events",
            "largest count a suppressed or rounded cell can have",
            low=0,
            empty="the count is exact or missing",
            needed=False,
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
        number(
            "coverage",
            "share, 0 to 1",
            "share of the events that the source holds; the same in all rows of a month",
            low=0,
            low_open=True,
            high=1,
            empty="all events: 1",
            needed=False,
        ),
    ),
    examples=(
        *example_rows(
            "outcome,site,month,source,exposure,count,status",
            "custody,S01,2014-04,pnc,45,6,observed",
        ),
        *example_rows(
            "outcome,site,month,source,exposure,status,count_low,count_high",
            "custody,S02,2014-04,pnc,38,suppressed,1,7",
        ),
        *example_rows(
            "outcome,site,month,source,n,mean,sd,status",
            "wellbeing,S01,2014-04,ndtms,31,9.4,4.1,observed",
        ),
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
        whole(
            "contacts",
            "contacts",
            "contacts of that kind; no row at a site with other rows means none",
            low=0,
        ),
    ),
    examples=example_rows(
        "site,month,intervention,contacts", "S01,2014-04,assessment,52", "S02,,assessment,871"
    ),
)

REFERRALS: Final = Table(
    file="referrals.csv",
    what="one row per site and month",
    key=("site", "month"),
    columns=(
        SITE_COLUMN,
        MONTH_COLUMN,
        whole("referrals", "referrals", "persons referred to the service", low=0),
    ),
    examples=example_rows("site,month,referrals", "S01,2014-04,61"),
)

COVARIATES: Final = Table(
    file="covariates.csv",
    what="one row per site, month and covariate",
    key=("site", "month", "name"),
    columns=(
        SITE_COLUMN,
        MONTH_COLUMN,
        Column(name="name", kind="name", meaning="covariate, your own name for it"),
        Column(
            name="value",
            kind="number",
            unit="unit of the covariate",
            empty="not known, as without a row",
            meaning="its value at that site in that period",
        ),
    ),
    examples=(
        {"site": "S01", "month": "2014-04", "name": "unemployment", "value": "7.2"},
        {"site": "S02", "month": "2014-04", "name": "unemployment", "value": "5.9"},
    ),
)

#: What an assembly of extracts says of their rows. It belongs to no result: the report shows it.
QUALITY: Final = Table(
    file="data_quality.csv",
    what="one row per table of the extracts and reason",
    key=("table", "reason"),
    columns=(
        Column(name="table", kind="text", meaning="table of the extracts"),
        Column(name="reason", kind="text", meaning="read, kept, or why rows were dropped"),
        whole("rows", "rows", "how many", low=0, empty="-"),
        whole("persons", "persons", "whose", low=0, empty="-"),
    ),
)

TABLES: Final = (SITES, OUTCOMES, MIX, REFERRALS, COVARIATES, *EVIDENCE.values())
