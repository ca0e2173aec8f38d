"""Sections on effects and on the mix of interventions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from lndbayes.base.names import words
from lndbayes.base.vocabulary import Tier
from lndbayes.report.blocks import (
    Block,
    Group,
    Paragraph,
    Picture,
    Section,
    Table,
    Terms,
    not_available,
)
from lndbayes.report.figures import caterpillar, mix_contrasts
from lndbayes.report.lookup import (
    Row,
    assumption,
    benefit_probability,
    effect_rows,
    good_direction,
    only,
    overview_row,
    parts,
    ratio_name,
    withheld,
)
from lndbayes.report.pictures import picture_of
from lndbayes.report.prose import ESTIMANDS, MIX_WARNING, TIERS
from lndbayes.report.rounding import ABSENT, headed, number, percent, probability, ratio, show
from lndbayes.report.run import Run

__all__ = ["effects_section", "mix_section"]

_NO_INTERVAL = "no interval (tier D)"
#: Beside what rests on assumption only; a note under the table says what it means.
_MARK = " \N{DAGGER}"


def effects_section(run: Run, outcome: str) -> Section:
    """Pooled estimands, the caterpillar plot, and every site's effect with its tier."""
    if why := withheld(run, outcome):
        return Section(f"effects-{outcome}", "Effects", (Paragraph(f"{why}.", style="warning"),))
    pooled = only(run, outcome, "pooled", "link")
    blocks: list[Block] = [_estimands(run, outcome)] if pooled is not None else []
    averted = only(run, outcome, "events_averted", "natural")
    if averted is not None:
        n = show(*parts(averted))
        blocks.append(
            Paragraph(
                f"Events averted in the months observed, all sites: {n.point} {averted['unit']} "
                f"({percent(averted['ci_prob'])} interval {n.interval}; sd {n.sd}). "
                "This counts what happened in months with the service, given each month's cases."
            )
        )
    sites = effect_rows(run, outcome, "site", "link")
    blocks.append(Terms(TIERS))
    if sites.empty or pooled is None:
        why = "effects.csv has no rows for single sites, or no numbers for the pooled effect"
        blocks.append(Paragraph(f"No site effects are shown: {why}."))
    else:
        blocks += [*_caterpillars(sites, pd.Series(dict(pooled))), _sites(run, outcome)]
    return Section(f"effects-{outcome}", "Effects", tuple(blocks))


def _note(row: Row | None) -> str:
    text = str(row.get("note", "")) if row else ""
    return f"Pooled: {text}." if text else ""


def _natural_note(run: Run, outcome: str) -> str:
    row = overview_row(run, outcome)
    return f" Natural scale: {row['note']}." if row and row["note"] else ""


def _estimands(run: Run, outcome: str) -> Table:
    direction = good_direction(run, outcome)
    what = "a fall" if direction is None else "benefit"
    rows, unit, natural_unit, ci = [], "", "", math.nan
    for estimand, name in ESTIMANDS.items():
        link = only(run, outcome, estimand, "link")
        if link is None:
            continue
        unit, ci = str(link["unit"]), float(link["ci_prob"])
        shown = show(*parts(link))
        mark = _MARK if assumption(link) else ""
        cells = [f"{name}{mark}", f"{shown.point} ({shown.interval})"]
        if ratio_name(unit):
            r = ratio(*parts(link))
            cells.append(f"{r.point} ({r.interval})")
        natural = only(run, outcome, estimand, "natural")
        if natural is None:
            cells.append(ABSENT)
        else:
            natural_unit = str(natural["unit"])
            n = show(*parts(natural))
            cells.append(f"{n.point} ({n.interval})")
        _, p = benefit_probability(link, direction)
        rows.append((*cells, probability(p, short=True)))
    ratio_head = headed(ratio_name(unit) or "")
    pooled = only(run, outcome, "pooled", "link")
    window = str(pooled["window"]).replace("-", " to ") if pooled else "?"
    columns = ("Estimand", headed(unit), *((ratio_head,) if ratio_head else ()))
    return Table(
        caption=f"Effect over months {window} after go-live: median ({percent(ci)} interval)",
        columns=(*columns, headed(natural_unit) or "Natural scale", f"Probability of {what}"),
        groups=(Group("", tuple(rows)),),
        numeric=frozenset(range(1, len(columns) + 2)),
        note="The first row is the headline. The others answer other questions: what the same "
        "sites did weighted by their caseload, what sites like these would do, and what one more "
        f"site may see. {_note(pooled)}{_natural_note(run, outcome)}{_marked(rows, 0)}",
    )


def _caterpillars(sites: pd.DataFrame, pooled: Any) -> list[Picture]:
    unit = str(pooled["unit"])
    figures = caterpillar(sites, pooled, unit, ratio_name(unit))
    drawn = sites[(sites["identified"] != Tier.D) & sites["median"].notna()]
    below, above = int((drawn["upper"] < 0).sum()), int((drawn["lower"] > 0).sum())
    unshown = len(sites) - len(drawn)
    ci = percent(pooled["ci_prob"])
    counts = (
        f"Of {len(drawn)} sites with an interval, {below} lie wholly below no effect, {above} "
        f"wholly above it and {len(drawn) - below - above} include it."
    )
    if unshown:
        counts += f" {unshown} more are listed without an interval (tier D, or no numbers)."
    caption = (
        f"Site effects with {ci} intervals, sorted; the letter in brackets is the tier, which the "
        f"mark repeats (A disc, B square, C open triangle). {counts} Sites are drawn towards the "
        "pooled effect where they say little themselves."
    )
    pictures = []
    for i, figure in enumerate(figures, start=1):
        part = f" Part {i} of {len(figures)}." if len(figures) > 1 else ""
        pictures.append(
            picture_of(
                figure,
                alt=f"Dots with {ci} intervals, one row a site, largest fall first.{part} {counts}",
                caption=f"{caption}{part}",
            )
        )
    return pictures


def _sites(run: Run, outcome: str) -> Table:
    link = effect_rows(run, outcome, "site", "link")
    natural = effect_rows(run, outcome, "site", "natural").set_index("site")
    averted = effect_rows(run, outcome, "events_averted", "natural").set_index("site")
    unit, ci = str(link["unit"].iloc[0]), float(link["ci_prob"].dropna().iloc[0])
    name = ratio_name(unit)
    direction = good_direction(run, outcome)
    rows = []
    for row in link.sort_values("site", kind="stable").to_dict("records"):
        site = str(row["site"])
        shown = (ratio if name else show)(*parts(row))
        why = _NO_INTERVAL if row["identified"] == Tier.D else ABSENT
        absent = shown.interval == ABSENT
        cells = [site, (str(row["identified"]) or ABSENT) + (_MARK if assumption(row) else "")]
        cells.append(why if absent else f"{shown.point} ({shown.interval})")
        for other in (natural, averted):
            cells.append(_pair(other, site))
        _, p = benefit_probability(row, direction)
        cells += [probability(p, short=True), number(row["leverage_level_bias"], 2)]
        rows.append(tuple(cells))
    what = "a fall" if direction is None else "benefit"
    units = [str(f["unit"].iloc[0]) if len(f) else "" for f in (natural, averted)]
    return Table(
        caption=f"Effect at each site: median ({percent(ci)} interval)",
        columns=(
            "Site",
            "Tier",
            headed(name or unit),
            headed(units[0]) or "Natural scale",
            f"{headed(units[1])} averted" if units[1] else "Events averted",
            f"Probability of {what}",
            "Leverage",
        ),
        groups=(Group("", tuple(rows)),),
        numeric=frozenset({2, 3, 4, 5, 6}),
        note=f"Leverage: by how many {unit} the site's effect moves if all reconstructed evidence "
        f"is off by one unit of {unit}; near 1, the effect is only as good as that evidence."
        f"{_marked(rows, 1)}",
    )


def _marked(rows: Sequence[Sequence[str]], column: int) -> str:
    if not any(row[column].endswith(_MARK) for row in rows):
        return ""
    return (
        f"{_MARK} Rests on assumption only, since most of what the prior left open is still open, "
        "or a site has no evidence of its own; the reason is in effects.csv (rests_on_assumption)."
    )


def _pair(frame: pd.DataFrame, site: str) -> str:
    if site not in frame.index:
        return ABSENT
    shown = show(*parts(frame.loc[[site]].to_dict("records")[0]))
    return ABSENT if shown.interval == ABSENT else f"{shown.point} ({shown.interval})"


def mix_section(run: Run, outcome: str) -> Section:
    """Contrasts between interventions, with the warning of what they are not.

    Returns
    -------
    Section
        The section; one sentence where the run has no mix.
    """
    title, id_ = "Mix of interventions", f"mix-{outcome}"
    moves = effect_rows(run, outcome, "substitution", "link")
    alone = effect_rows(run, outcome, "intervention", "link")
    frames = [f[f["median"].notna()] for f in (alone, moves)]
    if all(f.empty for f in frames):
        why = "effects.csv has no rows by intervention: the data have no mix, or one intervention"
        return not_available(id_, title, why)
    unit = str(pd.concat(frames)["unit"].iloc[0])
    ci = percent(float(pd.concat(frames)["ci_prob"].iloc[0]))
    clear = int(((frames[1]["lower"] > 0) | (frames[1]["upper"] < 0)).sum())
    found = (
        f"{clear} of {len(frames[1])} contrasts have a {ci} interval that leaves out no difference."
    )
    picture = picture_of(
        mix_contrasts(frames[0], frames[1], unit),
        alt=f"Dots with {ci} intervals. Above: difference in effect by pair of interventions. "
        f"Below: more of one intervention. {found}",
        caption=f"Effect modification by mix, medians with {ci} intervals. {found}",
    )
    warning = Paragraph(MIX_WARNING, style="warning", label="Not the effect of receiving one.")
    return Section(id_, title, (warning, picture, _contrasts(run, outcome, unit, ci)))


def _contrasts(run: Run, outcome: str, unit: str, ci: str) -> Table:
    titles = {
        "substitution": "10 percentage points of contacts move from the first to the second",
        "intervention": "10 percentage points more, taken from all others in proportion",
    }
    groups = []
    for estimand, title in titles.items():
        rows = []
        for row in effect_rows(run, outcome, estimand, "link").to_dict("records"):
            mix = " \N{RIGHTWARDS ARROW} ".join(map(words, str(row["intervention"]).split(" -> ")))
            shown = show(*parts(row))
            below = probability(float(row["p_below_zero"]), short=True)
            rows.append((mix, shown.point, shown.interval, below))
        if rows:
            groups.append(Group(title, tuple(rows)))
    return Table(
        caption=f"Difference in a site's effect by its mix ({unit})",
        columns=("Intervention", "Median", f"{ci} interval", "Probability of a larger fall"),
        groups=tuple(groups),
        numeric=frozenset({1, 2, 3}),
        note="Below zero: with such a mix the service lowers the outcome more, or raises it less.",
    )
