"""The page of the attribution: one table and plain words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lndbayes.data.evaluation import EvaluationData
from lndbayes.estimands.identification import TIERS
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["attribution_page"]

#: Conflict beyond which a page speaks of one.
_CONFLICT = 2.0
_LABELS = {
    "not_yet_treated": "untreated months",
    "retrospective": "retrospective records",
    "national": "the national series",
    "history": "persons' own history",
    "elicited": "elicited judgement",
}


def attribution_page(
    spec: ModelSpec,
    data: EvaluationData,
    full: pd.DataFrame,
    verdicts: pd.DataFrame,
    folds: int,
    divergent: Mapping[str, int],
) -> str:
    """Write the page.

    Parameters
    ----------
    spec, data
        The outcome's spec and data.
    full, verdicts : pandas.DataFrame
        Tables of the attribution.
    folds : int
        Refits that the borrowed prior took.
    divergent : mapping of str to int
        Divergent transitions by refit.

    Returns
    -------
    str
        Markdown.
    """
    lines = [f"# What each baseline rests on: {spec.outcome.label}", ""]
    if data.synthetic:
        lines += ["**Synthetic data: nothing here is about a real service.**", ""]
    lines += [
        "Gains are in log precision over the prior (0.69 halves the variance), shared out over the",
        "sources by their Shapley values. `ledger_full.csv` has every number with its Monte Carlo",
        "error; docs/attribution.md defines them.",
        "",
        *_table(verdicts),
        "",
        *_labelled(verdicts),
        *_sources(full),
        *_cut(full),
        *_soft_cut(full),
        f"The borrowed prior takes {folds} refits, one for each fold of sites whose own evidence",
        "is hidden together. Without the fold's other sites there is less to borrow from, so",
        "`contraction_borrowed` is a little too high.",
    ]
    if bad := {name: count for name, count in divergent.items() if count}:
        told = ", ".join(f"{name} {count}" for name, count in bad.items())
        lines += ["", f"Refits with divergent transitions, to be read with care: {told}."]
    tiers = ", ".join(f"{tier}: {words}" for tier, words in TIERS.items())
    return "\n".join([*lines, "", f"Tiers. {tiers}.", ""])


def _table(verdicts: pd.DataFrame) -> list[str]:
    heads = ["site", "tier", "untreated months", "records, histories", "national, judgement"]
    heads += ["treated outcomes", "prior left", "feedback", "verdict"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in verdicts.to_dict("records"):
        gains = [
            f"{row[f'gain_{name}']:.2f}"
            for name in (
                "untreated_months",
                "records_and_histories",
                "national_and_judgement",
                "treated_outcomes",
            )
        ]
        left = 1 - row["contraction_prior"]
        feedback = "" if not np.isfinite(row["feedback_share"]) else f"{row['feedback_share']:.0%}"
        name = row["site"] or "pooled effect"
        cells = [name, row["tier"], *gains, f"{left:.0%}", feedback, row["verdict"]]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _labelled(verdicts: pd.DataFrame) -> list[str]:
    named = [site or "the pooled effect" for site in verdicts["site"][verdicts["assumption_only"]]]
    if not named:
        return ["No conclusion rests on assumption only.", ""]
    return [f"Resting on assumption only: {', '.join(named)}.", ""]


def _sources(full: pd.DataFrame) -> list[str]:
    """Conflicts between sources, and biases that the data did not teach."""
    lines = []
    z = full[full["quantity"].str.startswith("conflict_z")]
    far = z[~(z["value"].abs() <= _CONFLICT)]
    for row in far.to_dict("records"):
        lone = row["quantity"].endswith("_alone")
        what = "by itself" if lone else "with the untreated months"
        lines.append(
            f"{_LABELS[row['item']].capitalize()}, {what}, puts the level {row['value']:+.1f} "
            "standard deviations from where the other evidence does."
        )
    if not lines:
        lines.append(f"No source contradicts the rest by more than {_CONFLICT:g} sds.")
    ratio = full[full["quantity"] == "bias_sd_ratio"]
    names = ratio["item"][ratio["note"] == "not learned"].to_list()
    if names:
        lines.append(f"Not learned, so what was assumed of it stands: {', '.join(names)}.")
    return [*lines, ""]


def _soft_cut(full: pd.DataFrame) -> list[str]:
    pooled = full[full["of"] == "pooled"].set_index("quantity")["value"]
    levels = full[(full["quantity"] == "soft_cut_shift") & (full["of"] == "site")]
    moved = levels[levels["value"].abs() > 1]
    told = f"{len(moved)} of {len(levels)} baselines by more than one"
    if len(moved):
        told += f" ({', '.join(moved['site'])})"
    work = "does the work" if abs(pooled["soft_cut_shift"]) > 1 else "does not do the work"
    return [
        "Soft cut, each site's effect free of the others', so that treated months speak of a",
        "baseline through smoothness and the common build-up only: pooled effect",
        f"{pooled['soft_cut_mean']:.2f} (sd {pooled['soft_cut_sd']:.2f}), which is",
        f"{abs(pooled['soft_cut_shift']):.1f} of the joint model's sds away; {told}.",
        f"For the pooled effect, that effects are alike {work}.",
        "",
    ]


def _cut(full: pd.DataFrame) -> list[str]:
    rows = full[full["of"] == "outcome"].set_index(["quantity", "item"])
    value = rows["value"]
    if pd.isna(value["cut_mean", "pooled"]):
        return [f"Full cut, {rows['note']['cut_mean', 'pooled']!s}.", ""]
    told = [
        f"{value[f'{name}_mean', 'pooled']:.2f} (sd {value[f'{name}_sd', 'pooled']:.2f})"
        for name in ("joint", "cut")
    ]
    spread = [value[f"{name}_mean", "spread"] for name in ("joint", "cut")]
    return [
        f"Full cut, a stress test: pooled effect {told[1]} where the joint model has {told[0]};",
        f"spread of sites {spread[1]:.2f} against {spread[0]:.2f}. A cut reads errors of the",
        "baseline as differences between sites, so its wider answer is no better answer.",
        "",
    ]
