"""What an evaluation directory holds, in words for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lndbayes.base.names import PERIOD_MONTHS
from lndbayes.data.bands import band_levels, order_bands
from lndbayes.data.evaluation import EvaluationData
from lndbayes.data.schema import EVIDENCE, STATUS, TABLES
from lndbayes.data.tables import month_number, month_text

__all__ = ["describe"]


def describe(data: EvaluationData, bands: Mapping[str, Sequence[str]] | None = None) -> str:
    """Say what was found.

    Parameters
    ----------
    data : EvaluationData
        The evaluation data.
    bands : mapping of str to sequence of str, optional
        Order of an outcome's bands where a spec declares it.

    Returns
    -------
    str
        Several lines, without a line break at the end: the period, sites by wave, each outcome with
        its cells by status, the sites without an untreated period and the order of its bands, mix,
        referrals, covariates, evidence, and what was ignored or set aside.
    """
    months = data.ds["month"].to_numpy()
    kind = "synthetic data" if data.synthetic else "real data"
    lines = [
        f"{data.name}: {kind}, disclosure preset {data.disclosure}",
        f"{_number(len(months), data.period)}, {months[0]} to {months[-1]}",
        *_waves(data),
    ]
    for outcome in data.ds["outcome"].to_numpy():
        lines += _outcome(data, str(outcome))
        lines += _bands(data, str(outcome), (bands or {}).get(str(outcome), ()))
    lines += [*_activity(data), *_evidence(data)]
    said = {table.file for table in TABLES}
    lines += [f"{subject}: {note}" for subject, note in data.notes.items() if subject not in said]
    return "\n".join([*lines, f"content hash {data.hash}"])


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _waves(data: EvaluationData) -> list[str]:
    ds = data.ds
    wave, go_live = ds["wave"].to_numpy(), ds["go_live"].to_numpy()
    start = month_number(str(ds["month"].to_numpy()[0]))
    lines = [_number(len(wave), "site")]
    for number in np.unique(wave):
        own = go_live[wave == number]
        treated = start + own[~np.isnan(own)] * PERIOD_MONTHS[data.period]
        parts = []
        if treated.size:
            first, last = month_text(int(treated.min())), month_text(int(treated.max()))
            parts.append(f"go-live {first}" + ("" if first == last else f" to {last}"))
        if never := own.size - treated.size:
            parts.append(f"{never} never live")
        name = f"wave {number}" if number else "in no wave"
        lines.append(f"  {name}: {_number(own.size, 'site')}, {', '.join(parts)}")
    return lines


def _outcome(data: EvaluationData, outcome: str) -> list[str]:
    """Cells by status, and the sites whose own data say nothing about the untreated state."""
    ds = data.ds.sel(outcome=outcome)
    status, go_live = ds["status"].to_numpy(), ds["go_live"].to_numpy()
    rows = int((data.outcomes["outcome"] == outcome).sum())
    cells = [f"{int((status == code).sum()):,} {name}" for name, code in STATUS.items()]
    index = np.arange(status.shape[1])
    untreated = ~(index >= go_live[:, None])  # NaN, never live, compares as untreated
    told = (status >= STATUS["observed"]) & (status < STATUS["missing"])
    lines = [
        f"outcome {outcome}: {_number(rows, 'row')}",
        f"  of {status.size:,} site-{data.period}s: {', '.join(cells)}, "
        f"{int((status < 0).sum()):,} without a row",
    ]
    without = told.any(axis=1) & ~(told & untreated).any(axis=1)
    names = ", ".join(str(site) for site in ds["site"].to_numpy()[without])
    lines.append(f"  sites without an untreated {data.period}: {names or 'none'}")
    coverage = ds["coverage"].to_numpy()[told]
    if less := int((coverage < 1).sum()):
        told_of = _number(less, f"site-{data.period}")
        lines.append(f"  coverage below 1 in {told_of}, the least {coverage.min():.3g}")
    return lines


def _bands(data: EvaluationData, outcome: str, declared: Sequence[str]) -> list[str]:
    """Bands of an outcome in the order that a model takes them in."""
    rows = data.outcomes
    labels = band_levels(
        str(c) for c in rows.loc[rows["outcome"] == outcome, "category"].unique() if c
    )
    if not labels:
        return []
    found = order_bands(labels, declared)
    if found.problem:
        return [f"  order of the bands unknown, declare it in the spec: {found.problem}"]
    source = "as the spec declares" if found.declared else "by the numbers in their labels"
    lines = [f"  bands, lowest first, {source}: {', '.join(found.labels)}"]
    lines += [f"  no band between {one} and {other}" for one, other in found.gaps]
    if absent := [label for label in found.labels if label not in labels]:
        lines.append(f"  bands without a row: {', '.join(absent)}")
    return lines


def _activity(data: EvaluationData) -> list[str]:
    """Mix, referrals and covariates."""
    ds = data.ds
    lines = ["mix: absent, so no moderation by mix"]
    months = ds["mix_months"].to_numpy()
    known = months[months > 0]
    if known.size:
        lines = [
            f"mix: {_number(ds.sizes['intervention'], 'intervention')} at "
            f"{_number(known.size, 'site')}, {known.min()} to {known.max()} {data.period}s a site"
        ]
    referrals = ds["referrals"].to_numpy()
    cells = int(np.isfinite(referrals).sum())
    lines.append(f"referrals: {cells:,} site-{data.period}s" if cells else "referrals: absent")
    names = ", ".join(str(name) for name in sorted(data.covariates["name"].unique()))
    lines += [f"covariates: {names}"] if names else []
    return lines


def _evidence(data: EvaluationData) -> list[str]:
    return [f"evidence, {name}: {data.notes[table.file]}" for name, table in EVIDENCE.items()]
