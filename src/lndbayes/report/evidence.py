"""Sections on the baseline: what it looks like and what it rests on."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from lndbayes.base.vocabulary import VariantName
from lndbayes.report.blocks import Block, Group, Paragraph, Picture, Section, Table, not_available
from lndbayes.report.figures import PANELS_PER_PAGE, baseline_panels, sensitivity
from lndbayes.report.fit_facts import FitFacts
from lndbayes.report.lookup import PRIOR_DOMINATED, Row, effect_rows, only, quoted
from lndbayes.report.pictures import picture_of
from lndbayes.report.rounding import ABSENT, decimals, number, percent, show
from lndbayes.report.run import Run

__all__ = ["baseline_section", "rests_on_section"]

#: Refits without any evidence on the untreated state, in the order in which they are discussed.
_NOTHING_LEFT = (VariantName.ALL_OFF, VariantName.ALL_OFF_RAMP_HIDDEN)
#: From this share of the prior's sd on, most of the prior is said to be left.
PRIOR_LEFT = 0.5
#: What a fit tells of its cells.
_CELLS = ("exposure", "used", "low", "high")
_SHARE_FAMILIES = ("log odds", "log hazard")


def baseline_section(run: Run, outcome: str) -> Section:
    """Small multiples of the reconstructed baseline with what was observed.

    Returns
    -------
    Section
        One figure a page of sites, with a sentence that says what they show.
    """
    id_, title = f"baseline-{outcome}", "Baseline"
    frame = _baseline(run, outcome)
    if frame.empty:
        why = run.missing.get("baseline.csv", f"baseline.csv has no rows for {outcome}")
        return not_available(id_, title, why)
    design = run.fit_facts.get(outcome)
    go_live = dict(design.go_live) if design else {}
    exposure = design.exposure if design else pd.DataFrame()
    months = sorted(frame["month"].unique())
    if design and design.months and months and design.months[0] != months[0]:
        # go-live counts from the first month of the fit's grid, the figure from that of the table
        shift = design.months.index(months[0]) if months[0] in design.months else math.nan
        go_live = {site: value - shift for site, value in go_live.items()}
    sites = sorted(frame["site"].unique(), key=lambda s: (_start(go_live, s), s))
    effects = effect_rows(run, outcome, "site", "link")
    tiers = dict(zip(effects["site"], effects["identified"], strict=True))
    units = effect_rows(run, outcome, "pooled", "link")["unit"]
    share = bool(units.isin(_SHARE_FAMILIES).any())
    counted, per = _per(run, outcome, share=share)
    blocks: list[Block] = []
    if design is not None:
        blocks.append(Paragraph(_findings(frame, sites, go_live, design)))
    else:
        missing = run.missing.get(f"fits/{outcome}.nc", "the fit is not there")
        blocks.append(Paragraph(f"Go-live and the number of cases are not shown: {missing}."))
    pages = [sites[i : i + PANELS_PER_PAGE] for i in range(0, len(sites), PANELS_PER_PAGE)]
    for i, page in enumerate(pages, start=1):
        figure = baseline_panels(frame, page, tiers, go_live, exposure, share=share, per=per)
        part = f" (part {i} of {len(pages)})" if len(pages) > 1 else ""
        blocks.append(
            picture_of(
                figure,
                pixels=len(run.outcomes) > 1,
                alt=f"One panel a site{part}, in order of go-live: a band for the reconstructed "
                f"baseline over {months[0]} to {months[-1]}, dots for what was observed, a line "
                "at go-live. The text above says what it shows.",
                caption=f"Reconstructed baseline and observations{part}. The band is the interval "
                "of the expected rate without the service, before and after go-live; dots scatter "
                "around it by chance as well, the more the fewer cases they stand for. All "
                f"panels share their axes{counted}; a few extreme dots may lie outside.",
            )
        )
    return Section(id_, title, tuple(blocks))


def _per(run: Run, outcome: str, *, share: bool) -> tuple[str, float]:
    """Words for the vertical axis, and the units of exposure to which its rates are printed."""
    units = effect_rows(run, outcome, "pooled", "natural")["unit"]
    unit = str(units.iloc[0]) if len(units) else ""
    if share or not unit.startswith("per 100 "):
        return "", 1.0
    return f" (events {unit})", 100.0


def _baseline(run: Run, outcome: str) -> pd.DataFrame:
    if run.baseline is None:
        return pd.DataFrame()
    return run.baseline[run.baseline["outcome"] == outcome]


def _start(go_live: dict[str, float], site: str) -> float:
    start = go_live.get(site, math.nan)
    return start if math.isfinite(start) else math.inf


def _findings(
    frame: pd.DataFrame, sites: list[str], go_live: dict[str, float], design: FitFacts
) -> str:
    """What the panels show, of cells that can be compared; withheld ones are no observed zeros."""
    months = sorted(frame["month"].unique())
    mean = frame.pivot(index="site", columns="month", values="mean").reindex(index=sites)
    told = {name: getattr(design, name).reindex(index=sites, columns=months) for name in _CELLS}
    since = np.arange(len(months)) - np.array([[_start(go_live, s)] for s in sites])
    before = (told["exposure"].notna().to_numpy() & (since < 0)).any(axis=1)
    after = told["used"].notna().to_numpy() & (since >= 0)
    text = (
        f"At {int((~before).sum())} of {len(sites)} sites nothing was observed before go-live: "
        "there the baseline is entirely reconstructed from other evidence. "
    )
    if not after.any():
        return text + "No month after go-live can be compared with the baseline."
    expected = (mean * told["used"]).to_numpy()
    low, high = (
        np.where(after, told[name].to_numpy() - expected, 0.0).sum(axis=1)
        for name in ("low", "high")
    )
    treated = after.any(axis=1)
    below, above = int((treated & (high < 0)).sum()), int((treated & (low > 0)).sum())
    # a sum of exact counts that is just what was expected is on neither side
    decided = below + above + int((treated & (low == 0) & (high == 0)).sum())
    # the transition is observed and drawn too: both numbers are of all cells, used or not
    observed = told["exposure"].notna().to_numpy()
    dots = frame.pivot(index="site", columns="month", values="observed")
    withheld = observed & dots.reindex(index=sites, columns=months).isna().to_numpy()
    if withheld.any():
        text += _withheld(int(withheld.sum()), int(observed.sum()))
    if not decided:
        return text + (
            "After go-live, withheld or rounded counts leave open at every site whether the total "
            "lies below or above the reconstructed baseline."
        )
    text += (
        f"After go-live, the total of what was observed lies below the reconstructed baseline at "
        f"{below} of {decided} sites, and above it at {above}."
    )
    if undecided := int(treated.sum()) - decided:
        text += f" At {undecided} more, withheld or rounded counts leave it open."
    return text


def _withheld(withheld: int, observed: int) -> str:
    return (
        f"The dots are exact counts only: {withheld} of {observed} observed "
        "months are withheld or rounded and are not drawn, so that the dots are no fair sample of "
        "all months. "
    )


def rests_on_section(run: Run, outcome: str) -> Section:
    """Sensitivity to each source of evidence, the ramp leak, leverages, and the ledger."""
    blocks: list[Block] = []
    pooled = only(run, outcome, "pooled", "link")
    frame = pd.DataFrame()
    if run.sensitivity is not None:
        frame = run.sensitivity[run.sensitivity["outcome"] == outcome]
    if frame.empty:
        why = run.missing.get("sensitivity.csv", f"sensitivity.csv has no rows for {outcome}")
        blocks.append(Paragraph(f"Refits without single sources are not available: {why}."))
    else:
        unit = str(pooled["unit"]) if pooled else "link scale"
        blocks += [Paragraph(text) for text in _refits(frame)]
        blocks += [_sensitivity_picture(frame, unit), _sensitivity_table(frame, unit)]
    blocks += _leverages(pooled)
    blocks += _ledger(run, outcome)
    return Section(f"rests-{outcome}", "What the baseline rests on", tuple(blocks))


def _variant(frame: pd.DataFrame, name: str) -> Row | None:
    row = frame[(frame["variant"] == name) & frame["sd"].notna()]
    return row.to_dict("records")[0] if len(row) else None


def _refits(frame: pd.DataFrame) -> list[str]:
    base = _variant(frame, "base")
    if base is None:
        return ["sensitivity.csv has no base row: the refits cannot be compared with it."]
    texts = []
    single = frame[frame["variant"].str.startswith("no_") & frame["median"].notna()]
    if len(single):
        moved = (single["median"] - base["median"]).abs()
        at = single.loc[moved.idxmax()]
        places = decimals(base["median"], base["sd"])
        texts.append(
            f"Leaving out one source of evidence at a time moves the pooled effect most for "
            f"{quoted(at['label'])}: from "
            f"{number(base['median'], places)} to {number(at['median'], places)}, which is "
            f"{number(float(moved.max()) / base['sd'], 1)} of its standard deviations."
        )
    leak = _variant(frame, VariantName.RAMP_HIDDEN)
    if leak is not None:
        texts.append(
            f"Ramp leak ({leak['label']}): the standard deviation of the pooled effect becomes "
            f"{number(leak['sd'] / base['sd'], 1)} times what it was. Precision that goes with "
            "those months comes partly from the assumed shape of the ramp inside treated series, "
            "not from a comparison with untreated months."
        )
    texts += [_all_off(v) for n in _NOTHING_LEFT if (v := _variant(frame, n)) is not None]
    return texts


def _all_off(off: Row) -> str:
    if not off["prior_sd"] > 0:
        return f"{_capital(off['label'])}: the prior's standard deviation is not stated."
    share = off["sd"] / off["prior_sd"]
    shown = show(off["sd"], math.nan, math.nan, off["sd"])
    prior = show(off["prior_sd"], math.nan, math.nan, off["sd"])
    if share >= PRIOR_DOMINATED:
        judged = "close to the prior, as it should be when nothing is left to learn from"
    elif share >= PRIOR_LEFT:
        judged = "most of the prior's width; what narrows it is the model's structure, not evidence"
    else:
        judged = (
            "much narrower than the prior, although no evidence on the untreated state is used: "
            "that precision comes from the model's structure alone"
        )
    return (
        f"{_capital(off['label'])}: the standard deviation is {shown.point}, {percent(share)} of "
        f"the prior's {prior.point}, {judged}."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sensitivity_picture(frame: pd.DataFrame, unit: str) -> Picture:
    ci = percent(float(frame["ci_prob"].dropna().iloc[0]))
    shown = frame[frame["median"].notna()]
    shown = shown.assign(label=shown["label"].map(_capital))
    return picture_of(
        sensitivity(shown, unit),
        alt=f"Dots with {ci} intervals of the pooled effect, one row a refit; the table below "
        "holds the numbers.",
        caption=f"Pooled effect under refits, with {ci} intervals. At the right, its standard "
        "deviation as a share of the prior's: near 100%, nothing was learned.",
    )


def _sensitivity_table(frame: pd.DataFrame, unit: str) -> Table:
    rows = []
    for row in frame.to_dict("records"):
        shown = show(row["median"], row["lower"], row["upper"], row["sd"])
        share = percent(row["sd"] / row["prior_sd"]) if row["prior_sd"] > 0 else ABSENT
        label = _capital(str(row["label"]) or str(row["variant"]).replace("_", " "))
        rows.append((label, shown.point, shown.interval, shown.sd, share, str(row["note"])))
    ci = percent(float(frame["ci_prob"].dropna().iloc[0]))
    noted = any(r[-1] for r in rows)
    kept = rows if noted else [r[:-1] for r in rows]
    columns = ("Refit", "Median", f"{ci} interval", "Sd", "Sd over prior's", "Note")
    return Table(
        caption=f"Pooled effect under refits ({unit})",
        columns=columns if noted else columns[:-1],
        groups=(Group("", tuple(kept)),),
        numeric=frozenset({1, 2, 3, 4}),
    )


def _leverages(pooled: Row | None) -> list[Block]:
    if pooled is None:
        return []
    texts = []
    unit = pooled["unit"]
    conditions = {
        "leverage_level_bias": f"all reconstructed evidence were too high by 0.1 {unit}",
        "leverage_drift": f"the untreated outcome drifted upwards by 0.1 {unit} a year after "
        "go-live, beyond what the model allows for",
    }
    for column, condition in conditions.items():
        value = 0.1 * float(pooled[column])
        if math.isfinite(value):
            moved = number(value, decimals(value, pooled["sd"]) + 1)
            sign = "" if value < 0 else "+"
            texts.append(f"If {condition}, the pooled effect would move by {sign}{moved} {unit}.")
    if not texts:
        return [Paragraph("Leverages are not available: effects.csv holds none.")]
    texts.append(
        "A step in recording or case-mix at go-live moves it one for one, with the sign reversed."
    )
    return [Paragraph(" ".join(texts), label="Leverage.")]


def _ledger(run: Run, outcome: str) -> list[Block]:
    if run.ledger is None:
        return [Paragraph(f"The ledger by site is not available: {run.missing['ledger.csv']}.")]
    frame = run.ledger[run.ledger["outcome"] == outcome]
    if frame.empty or frame["contribution"].isna().all():
        return [Paragraph(f"The ledger by site is not available: no shares for {outcome}.")]
    channels = list(dict.fromkeys(frame["channel"]))
    rows = []
    for site, part in frame.groupby("site", sort=True):
        shares = dict(zip(part["channel"], part["contribution"], strict=True))
        first = part.iloc[0]
        cells = [percent(float(shares.get(c, math.nan))) for c in channels]
        cells += [percent(float(first[c])) for c in ("prior_share", "feedback_share")]
        rows.append((str(site) or "All sites", str(first["tier"]), *cells))
    names = [c.replace("_", " ").capitalize() for c in channels]
    return [
        Table(
            caption="What each site's baseline rests on: share of its precision",
            columns=("Site", "Tier", *names, "Prior", "Feedback"),
            groups=(Group("", tuple(rows)),),
            numeric=frozenset(range(2, len(names) + 4)),
            note="Feedback: how much of the baseline's precision comes from the site's own treated "
            "months, through the assumption that its effect is like the others'.",
        )
    ]
