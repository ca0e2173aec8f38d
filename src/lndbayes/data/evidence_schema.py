"""What every table of evidence on the untreated state must be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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

__all__ = ["ELICITED", "EVIDENCE", "HISTORY", "NATIONAL", "PROXY", "QUANTITIES", "RETROSPECTIVE"]

#: Quantities an expert may be asked for.
QUANTITIES: Final = ("pre_go_live_rate",)

_KNOWN_OUTCOME = Column(name="outcome", kind="name", meaning="an outcome of `outcomes.csv`")

RETROSPECTIVE: Final = Table(
    file="evidence/retrospective.csv",
    what="one row per outcome, site and month of records recovered for part of the cases",
    measured=True,
    key=("outcome", "site", "month"),
    columns=(
        _KNOWN_OUTCOME,
        SITE_COLUMN,
        MONTH_COLUMN,
        EXPOSURE_COLUMN,
        COUNT_COLUMN,
        *MOMENT_COLUMNS,
        number(
            "coverage_mean",
            "share, 0 to 1",
            "share of the cases that the records hold",
            low=0,
            low_open=True,
            high=1,
        ),
        number(
            "coverage_sd",
            "share, 0 to 1",
            "standard deviation of that share; 0 where it is known",
            low=0,
        ),
    ),
    examples=example_rows(
        "outcome,site,month,exposure,count,coverage_mean,coverage_sd",
        "custody,S01,2013-10,27,5,0.6,0.1",
    ),
)

NATIONAL: Final = Table(
    file="evidence/national.csv",
    what="one row per outcome and span of a national series",
    key=("outcome", "month", "months", "source"),
    columns=(
        _KNOWN_OUTCOME,
        Column(
            name="month",
            kind="month",
            meaning="first month of the span; may lie outside the evaluated months",
        ),
        whole(
            "months",
            "months",
            "length of the span, such as 1, 3 or 12; whole periods",
            low=1,
            high=1200,
        ),
        number(
            "rate",
            "events per unit of exposure",
            "national rate over the span",
            low=0,
            low_open=True,
        ),
        number("se", "events per unit of exposure", "its standard error", low=0, low_open=True),
        SOURCE_COLUMN,
    ),
    examples=example_rows(
        "outcome,month,months,rate,se,source", "custody,2013-01,3,0.121,0.003,national statistics"
    ),
)

PROXY: Final = Table(
    file="evidence/proxy.csv",
    what="one row per outcome, site, month and source of a related series before go-live",
    key=("outcome", "site", "month", "source"),
    columns=(
        _KNOWN_OUTCOME,
        SITE_COLUMN,
        Column(name="month", kind="month", meaning="first month of a period before go-live"),
        number("exposure", EXPOSURE_COLUMN.unit, EXPOSURE_COLUMN.meaning, low=0),
        whole("count", "events", "events of the related series among the exposure", low=0),
        SOURCE_COLUMN,
    ),
    examples=example_rows(
        "outcome,site,month,exposure,count,source", "custody,S02,2013-11,210,24,court returns"
    ),
)

HISTORY: Final = Table(
    file="evidence/history.csv",
    what="one row per outcome, site, month before referral and calendar month",
    key=("outcome", "site", "months_from_referral", "calendar_month"),
    columns=(
        _KNOWN_OUTCOME,
        SITE_COLUMN,
        whole(
            "months_from_referral",
            "months",
            "months from the persons' referral, negative as it is before",
            low=-1200,
            high=0,
            high_open=True,
        ),
        Column(
            name="calendar_month",
            kind="month",
            meaning="first month of the period, before the site's go-live",
        ),
        whole("persons", "persons", "persons followed", low=1),
        whole("count", "events", "events among these persons in that month", low=0),
    ),
    examples=example_rows(
        "outcome,site,months_from_referral,calendar_month,persons,count",
        "custody,S02,-18,2014-02,64,7",
    ),
)

_QUANTILE = "events per unit of exposure"
ELICITED: Final = Table(
    file="evidence/elicited.csv",
    what="one row per outcome, site, quantity and expert",
    key=("outcome", "site", "quantity", "who"),
    columns=(
        _KNOWN_OUTCOME,
        Column(name="site", kind="text", empty="all sites", meaning=SITE_COLUMN.meaning),
        Column(
            name="quantity",
            kind="choice",
            choices=QUANTITIES,
            meaning="`pre_go_live_rate`: mean rate in the 12 months before the first go-live",
        ),
        *(
            number(
                f"q{percent}",
                _QUANTILE,
                f"{int(percent)}% quantile of the judgement",
                low=0,
                low_open=True,
            )
            for percent in ("05", "50", "95")
        ),
        Column(name="who", kind="text", free=True, meaning="who judged, and when"),
    ),
    examples=example_rows(
        "outcome,site,quantity,q05,q50,q95,who",
        'custody,,pre_go_live_rate,0.08,0.12,0.18,"panel of six, 2013"',
    ),
)

EVIDENCE: Final[Mapping[str, Table]] = {
    "retrospective": RETROSPECTIVE,
    "national": NATIONAL,
    "proxy": PROXY,
    "history": HISTORY,
    "elicited": ELICITED,
}
