"""Offences, court cases, hearings and disposals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lndbayes.synthetic.extracts.rates import draw_events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lndbayes.synthetic.extracts.people import Calendar, People
    from lndbayes.synthetic.extracts.rates import Truths
    from lndbayes.synthetic.extracts.world import ExtractWorld

__all__ = ["BAND_DAYS", "draw_cases", "hearings", "police_records"]

#: First day of each band of sentence length, and one past the longest sentence.
BAND_DAYS: Final = (7, 92, 183, 366, 1461)


def draw_cases(
    world: ExtractWorld,
    people: People,
    calendar: Calendar,
    truths: Truths,
    rngs: Mapping[str, np.random.Generator],
) -> pd.DataFrame:
    """Draw the persons' court cases, one offence each.

    Parameters
    ----------
    world, people, calendar, truths, rngs
        See :func:`lndbayes.synthetic.extracts.health.draw_health`.

    Returns
    -------
    pandas.DataFrame
        In order of person and offence: ``person``, ``day`` (of the offence), ``first`` and ``end``
        (days of the first hearing and of the disposal), ``middle`` (hearings between them),
        ``custody_days`` and ``custody_days_untreated``, ``treated`` and ``untreated``. Nobody
        offends while in custody, taken as half the sentence from disposal on.
    """
    name = "offending"
    contrast = truths.effect[name].contrast
    further = draw_events(
        world, world.offending, people, calendar, truths.eta0[name], contrast, rngs[name]
    ).assign(wait=world.charge_days, origin=lambda f: f["day"])
    cases = pd.concat([further, _index_cases(world, people, rngs["index"])], ignore_index=True)
    cases = cases.sort_values(["person", "day"], kind="stable", ignore_index=True)
    rng = rngs["court"]
    wait = np.floor(rng.exponential(size=len(cases)) * cases["wait"]).astype(np.int64)
    cases["first"] = cases["origin"] + wait + 1
    _add_course(world, people, calendar, truths, cases, rng)
    _add_sentence(world, people, calendar, truths, cases, rngs["custody"])
    for flag, days in (("treated", "custody_days"), ("untreated", "custody_days_untreated")):
        cases[flag] &= _at_liberty(cases, cases[flag].to_numpy(), cases[days].to_numpy())
    return cases.drop(columns=["wait", "origin"])


def _index_cases(world: ExtractWorld, people: People, rng: np.random.Generator) -> pd.DataFrame:
    """Cases that the contacts with police custody or court lead to."""
    size = people.contact.size
    uniform = rng.random(size)
    before = np.floor(rng.exponential(4.0, size)).astype(np.int64)
    frame = pd.DataFrame(
        {
            "person": np.arange(size),
            "day": people.contact - before,
            "treated": True,
            "untreated": True,
            "wait": world.index_charge_days,
            "origin": people.contact,
        }
    )
    return frame[uniform < world.index_case]


def _cell(
    people: People, calendar: Calendar, cases: pd.DataFrame, day: str
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]:
    """Site and month of a case on one of its days, and whether contact came before."""
    person = cases["person"].to_numpy()
    month = calendar.index(cases[day].to_numpy())
    reached = month >= people.contact_month[person]
    return (people.site[person], month.clip(0, len(calendar.month) - 1)), reached


def _add_course(
    world: ExtractWorld,
    people: People,
    calendar: Calendar,
    truths: Truths,
    cases: pd.DataFrame,
    rng: np.random.Generator,
) -> None:
    """Length of each case and its hearings, which the service leaves as they are."""
    cell, _ = _cell(people, calendar, cases, "first")
    level = np.log(-np.log1p(-world.ended_at_first))
    at_once = -np.expm1(-np.exp(level + truths.eta0["court_duration"][cell]))
    ends = rng.random(len(cases)) < at_once
    spread = np.exp(world.duration_log_sd * rng.normal(size=len(cases)))
    length = np.where(ends, 0, 1 + np.floor(world.duration_days * spread)).astype(np.int64)
    cases["end"] = cases["first"] + length
    mean = world.further_hearings * np.exp(truths.eta0["hearings"][cell])
    # a hearing between the first and the last needs a day between them
    cases["middle"] = np.where(length > 1, rng.poisson(mean), 0)


def _add_sentence(
    world: ExtractWorld,
    people: People,
    calendar: Calendar,
    truths: Truths,
    cases: pd.DataFrame,
    rng: np.random.Generator,
) -> None:
    """Sentence of each case with and without the service, from the same random numbers."""
    cell, reached = _cell(people, calendar, cases, "end")
    deviation = truths.eta0["custody"][cell]
    severity = world.custody_severity * people.severity[cases["person"]]
    contrast = np.where(reached, truths.effect["custody"].contrast[cell], 0.0)
    uniform = rng.random((len(cases), 5))
    for column, effect in (("custody_days", contrast), ("custody_days_untreated", 0 * contrast)):
        custody = uniform[:, 0] < _expit(world.custody_level + deviation + severity + effect)
        band = np.zeros(len(cases), dtype=np.int64)
        for k, logit in enumerate(world.band_logits):
            longer = logit + world.band_loading * deviation + world.band_lengthening * effect
            band += (band == k) & (uniform[:, 1 + k] < _expit(longer))
        edge = np.array(BAND_DAYS)
        days = edge[band] + np.floor(uniform[:, 4] * (edge[band + 1] - edge[band]))
        cases[column] = np.where(custody, days, 0).astype(np.int64)
    cases["untreated_probability"] = _expit(world.custody_level + deviation + severity)
    cases["treated_probability"] = _expit(world.custody_level + deviation + severity + contrast)


def _expit(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _at_liberty(
    cases: pd.DataFrame, happens: NDArray[np.bool_], days: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Cases whose offence is outside every term that the person serves.

    A case that cannot happen brings no term, so the rule is applied until nothing changes. Only
    terms of earlier offences reach a case, so that it ends: after as many rounds as a person has
    cases in a chain.
    """
    columns = cases[["person", "day"]].assign(case=np.arange(len(cases)))
    terms = columns.assign(begin=cases["end"], until=cases["end"] + days / 2)[days > 0]
    pairs = terms[["person", "case", "begin", "until"]].merge(
        columns, on="person", suffixes=("_term", "")
    )
    covered = pairs[(pairs["day"] >= pairs["begin"]) & (pairs["day"] <= pairs["until"])]
    term, case = covered["case_term"].to_numpy(), covered["case"].to_numpy()
    free = np.ones(len(cases), dtype=bool)
    while True:
        served = happens[term] & free[term]
        now = np.ones(len(cases), dtype=bool)
        now[case[served]] = False
        if np.array_equal(now, free):
            return free
        free = now


def police_records(people: People, cases: pd.DataFrame) -> pd.DataFrame:
    """Lay out the police table: an offence row and, for who lives to see it, a disposal row.

    Parameters
    ----------
    people : People
        Persons.
    cases : pandas.DataFrame
        From :func:`draw_cases`.

    Returns
    -------
    pandas.DataFrame
        Complete table ``pnc``, with ``case`` and ``custody_days`` (-1 for offences).
    """
    common = cases[["person", "treated", "untreated"]].assign(case=np.arange(len(cases)))
    offences = common.assign(day=cases["day"], kind="offence", custody_days=-1)
    offences["custody_days_untreated"] = -1
    disposals = common.assign(
        day=cases["end"],
        kind="disposal",
        custody_days=cases["custody_days"],
        custody_days_untreated=cases["custody_days_untreated"],
    )
    rows = pd.concat([offences, disposals], ignore_index=True).assign(parent=-1)
    return _alive(people, rows)


def hearings(people: People, cases: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Lay out the court table: first, further and last hearing of each case.

    Parameters
    ----------
    people : People
        Persons.
    cases : pandas.DataFrame
        From :func:`draw_cases`.
    rng : numpy.random.Generator
        Days of the hearings between the first and the last.

    Returns
    -------
    pandas.DataFrame
        Complete table ``hmcts``, with ``case`` and ``completed``. A case whose first hearing is not
        recorded has no row at all.
    """
    common = cases[["person", "treated", "untreated"]].assign(case=np.arange(len(cases)))
    length = (cases["end"] - cases["first"]).to_numpy()
    first = common.assign(day=cases["first"], completed=(length == 0).astype(np.int64), parent=-1)
    case = np.repeat(np.arange(len(cases)), cases["middle"])
    within = 1 + np.floor(rng.random(case.size) * (length[case] - 1)).astype(np.int64)
    middle = common.iloc[case].assign(
        day=cases["first"].to_numpy()[case] + within, completed=0, parent=case
    )
    # a case is heard once a day
    middle = middle.drop_duplicates(["case", "day"])
    last = common.assign(day=cases["end"], completed=1, parent=common["case"])[length > 0]
    return _alive(people, pd.concat([first, middle, last], ignore_index=True), firsts=len(cases))


def _alive(people: People, rows: pd.DataFrame, firsts: int = 0) -> pd.DataFrame:
    """Drop rows after death; the first ones stay in place, as parents point to them."""
    alive = rows["day"].to_numpy() <= people.death[rows["person"]]
    head = np.arange(len(rows)) < firsts
    rows["treated"] &= alive
    rows["untreated"] &= alive
    return rows[alive | head].reset_index(drop=True)
