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
        Column(
            name="coverage_mean",
            kind="number",
            low=0,
            low_open=True,
            high=1,
            unit="share, 0 to 1",
            meaning="share of the cases that the records hold",
        ),
        Column(
            name="coverage_sd",
            kind="number",
            low=0,
            unit="share, 0 to 1",
            meaning="standard deviation of that share; 0 where it is known",
        ),
    ),
    examples=(
        {
            "outcome": "custody",
            "site": "S01",
            "month": "2013-10",
            "exposure": "27",
            "count": "5",
            "coverage_mean": "0.6",
            "coverage_sd": "0.1",
        },
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
        Column(
            name="months",
            kind="integer",
            low=1,
            high=1200,
            unit="months",
            meaning="length of the span, such as 1, 3 or 12; whole periods",
        ),
        Column(
            name="rate",
            kind="number",
            low=0,
            low_open=True,
            unit="events per unit of exposure",
            meaning="national rate over the span",
        ),
        Column(
            name="se",
            kind="number",
            low=0,
            low_open=True,
            unit="events per unit of exposure",
            meaning="its standard error",
        ),
        SOURCE_COLUMN,
    ),
    examples=(
        {
            "outcome": "custody",
            "month": "2013-01",
            "months": "3",
            "rate": "0.121",
            "se": "0.003",
            "source": "national statistics",
        },
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
        Column(
            name="exposure",
            kind="number",
            low=0,
            unit=EXPOSURE_COLUMN.unit,
            meaning=EXPOSURE_COLUMN.meaning,
        ),
        Column(
            name="count",
            kind="integer",
            low=0,
            unit="events",
            meaning="events of the related series among the exposure",
        ),
        SOURCE_COLUMN,
    ),
    examples=(
        {
            "outcome": "custody",
            "site": "S02",
            "month": "2013-11",
            "exposure": "210",
            "count": "24",
            "source": "court returns",
        },
    ),
)

HISTORY: Final = Table(
    file="evidence/history.csv",
    what="one row per outcome, site, month before referral and calendar month",
    key=("outcome", "site", "months_from_referral", "calendar_month"),
    columns=(
        _KNOWN_OUTCOME,
        SITE_COLUMN,
        Column(
            name="months_from_referral",
            kind="integer",
            low=-1200,
            high=0,
            high_open=True,
            unit="months",
            meaning="months from the persons' referral, negative as it is before",
        ),
        Column(
            name="calendar_month",
            kind="month",
            meaning="first month of the period, before the site's go-live",
        ),
        Column(name="persons", kind="integer", low=1, unit="persons", meaning="persons followed"),
        Column(
            name="count",
            kind="integer",
            low=0,
            unit="events",
            meaning="events among these persons in that month",
        ),
    ),
    examples=(
        {
            "outcome": "custody",
            "site": "S02",
            "months_from_referral": "-18",
            "calendar_month": "2014-02",
            "persons": "64",
            "count": "7",
        },
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
            Column(
                name=f"q{percent}",
                kind="number",
                low=0,
                low_open=True,
                unit=_QUANTILE,
                meaning=f"{int(percent)}% quantile of the judgement",
            )
            for percent in ("05", "50", "95")
        ),
        Column(name="who", kind="text", free=True, meaning="who judged, and when"),
    ),
    examples=(
        {
            "outcome": "custody",
            "site": "",
            "quantity": "pre_go_live_rate",
            "q05": "0.08",
            "q50": "0.12",
            "q95": "0.18",
            "who": "panel of six, 2013",
        },
    ),
)

EVIDENCE: Final[Mapping[str, Table]] = {
    "retrospective": RETROSPECTIVE,
    "national": NATIONAL,
    "proxy": PROXY,
    "history": HISTORY,
    "elicited": ELICITED,
}
