"""What every table of the extracts must be, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from lndbayes.base.errors import Code

__all__ = [
    "EVENTS",
    "KIND_CODES",
    "KIND_RULES",
    "PERSONS",
    "REFERRALS",
    "SOURCES",
    "Field",
    "Shape",
]

Kind = Literal["text", "date", "flag", "integer"]

#: What a filled cell must be.
KIND_RULES: Final[Mapping[str, str]] = {
    "text": "must be text that is not empty",
    "date": "must be a date written YYYY-MM-DD",
    "flag": "must be 0 or 1",
    "integer": "must be a whole number",
}
KIND_CODES: Final[Mapping[str, Code]] = {
    "text": Code.MISSING_VALUE,
    "date": Code.BAD_FORMAT,
    "flag": Code.BAD_CHOICE,
    "integer": Code.NOT_WHOLE,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One column of one extract.

    Attributes
    ----------
    name : str
        Column name in the file.
    kind : {"text", "date", "flag", "integer"}
        How a cell is read.
    needed : bool
        Whether every row must have a value.
    """

    name: str
    kind: Kind
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Shape:
    """One table of the extracts.

    Attributes
    ----------
    name : str
        Table name: the file's stem, or the folder of its Parquet parts.
    fields : tuple of Field
        Columns.
    kinds : tuple of str
        Vocabulary of the column `kind`; empty where the table has none.
    """

    name: str
    fields: tuple[Field, ...]
    kinds: tuple[str, ...] = ()


_ID, _SITE, _DATE = Field("study_id", "text"), Field("site", "text"), Field("date", "date")
_KIND, _REFERRAL = Field("kind", "text"), Field("referral_id", "text", needed=False)

#: Match flags are added for the sources in use.
PERSONS: Final = Shape(
    "persons",
    (
        _ID,
        _SITE,
        Field("birth_date", "date"),
        Field("death_date", "date", needed=False),
        Field("contact_date", "date"),
        *(
            Field(name, "flag")
            for name in ("consented", "mental_health", "drug_alcohol", "other_need")
        ),
    ),
)

REFERRALS: Final = Shape("referrals", (_ID, _SITE, _DATE, Field("intervention", "text")))

SOURCES: Final = Shape(
    "sources",
    tuple(
        Field(name, "text")
        for name in ("source", "first_month", "last_month", "seam", "reporting_delay_months")
    ),
)

#: Event tables, by the name of their source.
EVENTS: Final[Mapping[str, Shape]] = {
    shape.name: shape
    for shape in (
        Shape("hes_ae", (_ID, _DATE, Field("attendance_id", "text"))),
        Shape("mhsds", (_ID, _DATE, _KIND, _REFERRAL), ("referral", "attendance")),
        Shape("iapt", (_ID, _DATE, _KIND, _REFERRAL), ("referral", "attendance")),
        Shape(
            "ndtms",
            (_ID, _DATE, _KIND, _REFERRAL, Field("score", "integer", needed=False)),
            ("referral", "attendance", "top_start", "top_review"),
        ),
        Shape(
            "pnc",
            (
                _ID,
                _DATE,
                Field("case_id", "text"),
                _KIND,
                Field("custody_days", "integer", needed=False),
            ),
            ("offence", "disposal"),
        ),
        Shape("hmcts", (_ID, _DATE, Field("case_id", "text"), Field("completed", "flag"))),
    )
}
