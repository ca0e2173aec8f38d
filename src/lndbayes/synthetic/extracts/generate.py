"""One call from a seed and a table of sites to person-level extracts with their truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lndbayes.base.errors import Problem, SpecError
from lndbayes.synthetic.extracts.contacts import draw_contacts
from lndbayes.synthetic.extracts.health import draw_health
from lndbayes.synthetic.extracts.justice import draw_cases, hearings, police_records
from lndbayes.synthetic.extracts.people import (
    NEVER,
    Calendar,
    Rollout,
    draw_people,
    month_index,
    streams,
)
from lndbayes.synthetic.extracts.rates import draw_truths
from lndbayes.synthetic.extracts.recording import last_month, record
from lndbayes.synthetic.extracts.truth import describe_truth
from lndbayes.synthetic.extracts.world import EXTRACT_WORLDS, NEEDS, SOURCES, ExtractWorld

if TYPE_CHECKING:
    from lndbayes.synthetic.extracts.people import People

__all__ = ["DEFAULT_SCALE", "SimulatedExtracts", "simulate_extracts"]

#: About 3,000 persons at 27 sites over 96 months.
DEFAULT_SCALE = 0.03


@dataclass(frozen=True, slots=True)
class SimulatedExtracts:
    """Person-level extracts in memory.

    Attributes
    ----------
    frames : dict of str to pandas.DataFrame
        The extracts by table name, as documented in ``docs/extracts.md``.
    complete : dict of str to pandas.DataFrame
        By source, every event before any loss: ``person`` (row of ``persons``), ``day`` (since
        1970-01-01), ``treated`` and ``untreated`` (whether it happens with and without the
        service), and what the table adds.
    settings : dict of str to Any
        Content of ``extracts.toml``.
    truth : dict of str to Any
        Content of ``truth.json``.
    """

    frames: dict[str, pd.DataFrame]
    complete: dict[str, pd.DataFrame]
    settings: dict[str, Any]
    truth: dict[str, Any]


def simulate_extracts(
    sites: pd.DataFrame,
    first_month: str,
    last_month: str,
    *,
    seed: int,
    world: str | ExtractWorld = "effect",
    persons_scale: float = DEFAULT_SCALE,
) -> SimulatedExtracts:
    """Simulate the person-level sources of an evaluation whose truth is known.

    Parameters
    ----------
    sites : pandas.DataFrame
        The evaluation's table of sites (``sites.csv``): at least ``site``, ``go_live``,
        ``population``.
    first_month, last_month : str
        Grid, ``YYYY-MM``.
    seed : int
        Zero or positive. The same arguments give the same extracts.
    world : str or ExtractWorld
        A name in :data:`lndbayes.synthetic.extracts.EXTRACT_WORLDS`, or the parameters themselves.
    persons_scale : float
        Size: at 1, one eligible person a month per 10,000 residents.

    Returns
    -------
    SimulatedExtracts
        Tables, complete events, settings and truth.

    Raises
    ------
    SpecError
        If the world, the seed or the scale is not usable.

    Notes
    -----
    Worlds that differ in effects alone share persons, untreated lives and losses of persons; lives
    with and without the service share their random numbers, so that without an effect they are the
    same lives.
    """
    name, law = _resolve(seed, world, persons_scale)
    rngs = streams(seed)
    calendar = Calendar.of(first_month, last_month)
    rollout = Rollout(
        site=tuple(sites["site"]),
        go_live=np.array([month_index(first_month, m) for m in sites["go_live"]]),
        size=persons_scale * sites["population"].to_numpy(float) / law.residents_per_person,
    )
    people = draw_people(law, rollout, calendar, rngs)
    truths = draw_truths(law, rollout, calendar, rngs)
    complete = draw_health(law, people, calendar, truths, rngs)
    cases = draw_cases(law, people, calendar, truths, rngs)
    complete["pnc"] = police_records(people, cases)
    complete["hmcts"] = hearings(people, cases, rngs["court"])
    contacts = draw_contacts(law, rollout, people, calendar, truths, rngs["referrals"])
    frames = {
        "sites": sites,
        "sources": _sources(law, calendar),
        "persons": _persons(people, rollout),
        "referrals": _referrals(people, rollout, contacts),
    }
    losses = {}
    chances = dict(zip(SOURCES, rngs["recording"].spawn(len(SOURCES)), strict=True))
    for source in SOURCES:
        rows = complete[source]
        kept, losses[source] = record(
            source, law.source(source), rows, people, calendar, chances[source]
        )
        frames[source] = _TABLES[source](_published(rows, kept, people))
    settings = _settings(calendar, name, seed, len(rollout.site))
    truth = {
        "world": name,
        "seed": seed,
        "persons_scale": persons_scale,
        **describe_truth(law, rollout, people, calendar, truths, complete, cases, losses, frames),
    }
    return SimulatedExtracts(frames, complete, settings, truth)


def _resolve(seed: int, world: str | ExtractWorld, scale: float) -> tuple[str, ExtractWorld]:
    problems = []
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        rule = "must be a whole number, zero or positive"
        problems.append(Problem("extracts", rule, column="seed", value=str(seed)))
    if not (np.isfinite(scale) and 0 < scale <= 100):
        rule = "must be above 0 and at most 100"
        problems.append(Problem("extracts", rule, column="persons_scale", value=str(scale)))
    if isinstance(world, str) and world not in EXTRACT_WORLDS:
        rule = f"must be one of {', '.join(EXTRACT_WORLDS)}"
        problems.append(Problem("extracts", rule, column="world", value=world))
    if problems:
        raise SpecError(problems)
    return (world, EXTRACT_WORLDS[world]) if isinstance(world, str) else ("custom", world)


def _settings(calendar: Calendar, world: str, seed: int, sites: int) -> dict[str, Any]:
    return {
        "name": f"Synthetic extracts at {sites} fictional sites",
        "first_month": calendar.month[0],
        "last_month": calendar.month[-1],
        "extract_date": str(np.datetime64(calendar.extract, "D")),
        "synthetic": True,
        "disclosure": "none",
        "notes": f"Simulated (world {world}, seed {seed}). Persons and places are fictional.",
    }


def _sources(law: ExtractWorld, calendar: Calendar) -> pd.DataFrame:
    rows = [
        (
            name,
            max(law.source(name).first_month, calendar.month[0]),
            last_month(law.source(name), calendar),
            ";".join(law.source(name).seams),
            law.source(name).delay_months or np.nan,
        )
        for name in SOURCES
    ]
    columns = ["source", "first_month", "last_month", "seam", "reporting_delay_months"]
    return pd.DataFrame(rows, columns=columns)


def _date(day: Any) -> Any:
    """Days since 1970-01-01 as dates; missing where it never happens."""
    days = np.asarray(day, dtype=np.int64)
    dates = np.where(days == NEVER, 0, days).astype("datetime64[D]")
    return pd.Series(dates.astype("datetime64[s]")).where(days != NEVER)


def _persons(people: People, rollout: Rollout) -> pd.DataFrame:
    flags = {need: people.needs[:, k].astype(np.int64) for k, need in enumerate(NEEDS)}
    matched = {
        f"matched_{source}": people.matched[:, k].astype(np.int64)
        for k, source in enumerate(SOURCES)
    }
    return pd.DataFrame(
        {
            "study_id": people.study_id.astype(object),
            "site": np.array(rollout.site, dtype=object)[people.site],
            "birth_date": _date(people.birth),
            "death_date": _date(people.death),
            "contact_date": _date(people.contact),
            "consented": people.consented.astype(np.int64),
            **flags,
            **matched,
        }
    )


def _referrals(people: People, rollout: Rollout, contacts: pd.DataFrame) -> pd.DataFrame:
    rows = contacts.sort_values(["person", "day"], kind="stable")
    person = rows["person"].to_numpy()
    return pd.DataFrame(
        {
            "study_id": people.study_id[person].astype(object),
            "site": np.array(rollout.site, dtype=object)[people.site[person]],
            "date": _date(rows["day"]),
            "intervention": rows["intervention"].to_numpy(),
        }
    )


def _published(rows: pd.DataFrame, kept: np.ndarray, people: People) -> pd.DataFrame:
    """Rows of an extract in order of person and date; the index still names the complete row."""
    rows = rows[kept].sort_values(["person", "day"], kind="stable")
    person = rows["person"].to_numpy()
    ids, dates = people.study_id[person].astype(object), _date(rows["day"])
    return rows.assign(study_id=ids, date=dates.to_numpy())


def _numbered(letter: str, number: Any) -> Any:
    return np.char.mod(f"{letter}%07d", np.asarray(number, dtype=np.int64)).astype(object)


def _ae(rows: pd.DataFrame) -> pd.DataFrame:
    ids = _numbered("A", np.arange(1, len(rows) + 1))
    return rows[["study_id", "date"]].assign(attendance_id=ids).reset_index(drop=True)


def _by_referral(letter: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Number the referrals in order; every other row carries its referral's number."""
    kind = rows["kind"].to_numpy()
    referral = pd.Series(-1, index=rows.index)
    is_first = kind == "referral"
    referral[is_first] = np.arange(1, is_first.sum() + 1)
    owner = rows["parent"].to_numpy()
    # a review's parent is its start, whose parent is the referral
    review = kind == "top_review"
    owner = np.where(review, rows["parent"].reindex(owner).to_numpy(), owner)
    number = np.where(is_first, referral.to_numpy(), referral.reindex(owner).to_numpy())
    frame = rows[["study_id", "date", "kind"]].assign(referral_id=_numbered(letter, number))
    if "score" in rows:
        frame["score"] = rows["score"].astype("Int64").where(rows["score"] >= 0)
    return frame.reset_index(drop=True)


def _pnc(rows: pd.DataFrame) -> pd.DataFrame:
    days = rows["custody_days"].astype("Int64").where(rows["custody_days"] >= 0)
    frame = rows[["study_id", "date"]].assign(
        case_id=_numbered("C", rows["case"] + 1), kind=rows["kind"], custody_days=days
    )
    return frame.reset_index(drop=True)


def _hmcts(rows: pd.DataFrame) -> pd.DataFrame:
    frame = rows[["study_id", "date"]].assign(
        case_id=_numbered("C", rows["case"] + 1), completed=rows["completed"]
    )
    return frame.reset_index(drop=True)


_TABLES = {
    "hes_ae": _ae,
    "mhsds": lambda rows: _by_referral("M", rows),
    "iapt": lambda rows: _by_referral("T", rows),
    "ndtms": lambda rows: _by_referral("D", rows),
    "pnc": _pnc,
    "hmcts": _hmcts,
}
