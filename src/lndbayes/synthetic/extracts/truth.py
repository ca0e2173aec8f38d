"""What the simulation knows and the extracts do not say."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lndbayes.base.names import EFFECT_WINDOW
from lndbayes.synthetic.extracts.rates import OUTCOMES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from lndbayes.synthetic.extracts.people import Calendar, People, Rollout
    from lndbayes.synthetic.extracts.rates import Truths
    from lndbayes.synthetic.extracts.world import ExtractWorld

__all__ = ["describe_truth"]

LINKS: Final = {
    **dict.fromkeys(OUTCOMES, "log"),
    "offending": "logit",
    "custody": "logit",
    "court_duration": "cloglog",
    "wellbeing": "logit",
}
#: Outcomes that count rows of a source: source and kind of row.
_ROWS: Final = {
    "ae_attendances": ("hes_ae", "attendance"),
    "mh_referrals": ("mhsds", "referral"),
    "iapt_referrals": ("iapt", "referral"),
    "drug_alcohol_referrals": ("ndtms", "referral"),
    "offending": ("pnc", "offence"),
}
_FOLLOW_UP: Final = 12


def describe_truth(
    world: ExtractWorld,
    rollout: Rollout,
    people: People,
    calendar: Calendar,
    truths: Truths,
    complete: dict[str, pd.DataFrame],
    cases: pd.DataFrame,
    losses: dict[str, dict[str, int]],
    frames: dict[str, pd.DataFrame],
) -> dict[str, Any]:
    """Put together the content of ``truth.json``.

    Parameters
    ----------
    world : ExtractWorld
        Parameters.
    rollout, people, calendar, truths
        What was drawn.
    complete : dict of str to pandas.DataFrame
        Events before any loss, by source.
    cases : pandas.DataFrame
        Court cases.
    losses : dict of str to dict
        Lost rows by source and reason.
    frames : dict of str to pandas.DataFrame
        The extracts.

    Returns
    -------
    dict of str to Any
        Plain numbers, lists and dictionaries.
    """
    live = _live_follow_up(rollout, people, calendar)
    return {
        "axes": {
            "site": list(rollout.site),
            "month": list(calendar.month),
            "intervention": list(world.interventions),
        },
        "window": list(EFFECT_WINDOW),
        "parameters": asdict(world),
        "outcomes": {
            name: {
                "link": LINKS[name],
                "plateau": truths.effect[name].plateau.tolist(),
                "window_effect": truths.effect[name].window.tolist(),
                "untreated": truths.eta0[name].tolist(),
            }
            for name in OUTCOMES
        },
        "mix_share": truths.share.tolist(),
        "reach": truths.reach.tolist(),
        "follow_up_from_go_live": {
            "person_months": _person_months(rollout, people, calendar).tolist(),
            **{name: _rows(name, complete, people, rollout, live) for name in _ROWS},
            "custody": _custody(cases, people, rollout, live),
        },
        "events": {
            source: {
                "untreated": int(rows["untreated"].sum()),
                "treated": int(rows["treated"].sum()),
                "lost": losses[source],
                "published": len(frames[source]),
            }
            for source, rows in complete.items()
        },
        "persons": {
            "all": int(people.site.size),
            "consented": int(people.consented.sum()),
            "dead_at_extract": int((people.death <= calendar.extract).sum()),
        },
    }


def _live_follow_up(rollout: Rollout, people: People, calendar: Calendar) -> Any:
    """Give a test of rows: in the 12 months from contact, from the site's go-live on, in the grid.

    A row after death has both flags off, so that it counts nowhere.
    """

    def inside(person: NDArray[np.int64], day: NDArray[np.int64]) -> NDArray[np.bool_]:
        month = calendar.index(day)
        since = month - people.contact_month[person]
        followed = (since >= 0) & (since < _FOLLOW_UP) & (month < len(calendar.month))
        return followed & (month >= rollout.go_live[people.site[person]])

    return inside


def _person_months(rollout: Rollout, people: People, calendar: Calendar) -> NDArray[np.int64]:
    """Months of follow-up from go-live on, by site; the month of death is the last."""
    start = np.maximum(people.contact_month, rollout.go_live[people.site])
    death = calendar.index(np.minimum(people.death, calendar.extract))
    end = np.minimum(people.contact_month + _FOLLOW_UP, death + 1)
    months = np.maximum(end - start, 0)
    return np.bincount(people.site, months, len(rollout.site)).astype(np.int64)


def _rows(
    outcome: str,
    complete: dict[str, pd.DataFrame],
    people: People,
    rollout: Rollout,
    live: Any,
) -> dict[str, list[int]]:
    source, kind = _ROWS[outcome]
    rows = complete[source]
    rows = rows[rows["kind"] == kind]
    person = rows["person"].to_numpy()
    counted = live(person, rows["day"].to_numpy())
    site = people.site[person]
    return {
        life: np.bincount(site, counted & rows[life].to_numpy(), len(rollout.site))
        .astype(int)
        .tolist()
        for life in ("untreated", "treated")
    }


def _custody(
    cases: pd.DataFrame, people: People, rollout: Rollout, live: Any
) -> dict[str, list[float]]:
    """Disposals by site: their number, and the custodial ones expected and realised."""
    person = cases["person"].to_numpy()
    sites = len(rollout.site)
    alive = cases["end"].to_numpy() <= people.death[person]
    counted = live(person, cases["end"].to_numpy()) & alive
    found: dict[str, list[float]] = {}
    for life, days in (("untreated", "custody_days_untreated"), ("treated", "custody_days")):
        happens = counted & cases[life].to_numpy()
        site = people.site[person[happens]]
        parts = {
            f"disposals_{life}": np.ones(site.size),
            f"expected_{life}": cases[f"{life}_probability"].to_numpy()[happens],
            f"custodial_{life}": (cases[days].to_numpy() > 0)[happens],
        }
        for name, value in parts.items():
            found[name] = np.bincount(site, value, sites).tolist()
    return found
