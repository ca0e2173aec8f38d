"""What comparison alone says, in the report: words, and a figure on a ratio axis."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lndbayes.report.comparison import comparison_section
from lndbayes.report.figures.event_study import event_study
from lndbayes.report.page import outcome_sections
from lndbayes.report.run import Run, read_run


def overview(**more: object) -> pd.DataFrame:
    row: dict[str, object] = {"outcome": "custody", "label": "Custody", "scale": "odds ratio"}
    row |= {"verdict": "lowers", "good_direction": "lower", "note": "", "ci_prob": 0.9}
    row |= {"median": 0.72, "lower": 0.64, "upper": 0.81, "identified_share": 0.4}
    row |= {"lower_bias_allowed": 0.6, "upper_bias_allowed": 0.9, "sd_over_prior_sd": 0.2}
    row |= {f"tier_{t}": 2.0 for t in "abcd"}
    row |= {"imputation_ratio": 0.67, "imputation_lower": 0.45, "imputation_upper": 0.99}
    row |= {"group_time_ratio": 0.66, "group_time_lower": 0.41, "group_time_upper": 1.05}
    row |= {"imputation_share": 0.38, "group_time_share": 0.37, "compared_note": ""}
    return pd.DataFrame([row | more])


def study() -> pd.DataFrame:
    month = np.r_[-12:-3, 2:25]
    ratio = np.where(month < 0, 1.0, 0.7) * np.exp(0.1 * np.cos(month))
    table = pd.DataFrame({"outcome": "custody", "event_month": month, "scale": "odds ratio"})
    table = table.assign(ratio=ratio, lower=ratio / 1.5, upper=ratio * 1.5, ci_prob=0.9)
    table = table.assign(cells=8, sites=np.where(month > 18, 3, 8))
    model = pd.Series(np.where(month < 0, math.nan, 0.72))
    table = table.assign(model_median=model, model_lower=0.9 * model, model_upper=1.1 * model)
    # a month with sites of no use, and one whose interval spans four hundred times
    table.loc[table["event_month"] == 24, ["ratio", "lower", "upper"]] = math.nan
    table.loc[table["event_month"] == 22, ["lower", "upper"]] = [0.03, 15.0]
    return table


@pytest.fixture
def run(shared_run: Path) -> Run:
    return replace(read_run(shared_run), overview=overview(), event_study=study())


def words(run: Run) -> str:
    section = comparison_section(run, "custody")
    assert section is not None
    return str(section.blocks[0].text)


def test_both_estimates_stand_beside_the_models_with_what_they_cover(run: Run) -> None:
    said = words(run)
    assert "imputation 0.67 (0.45 to 0.99) on 38% of the cells" in said
    assert "group-time effects 0.66 (0.41 to 1.05) on 37%" in said
    assert "the model's is 0.72 (0.64 to 0.81)" in said
    [one] = [s for s in outcome_sections(run, "custody") if s.id == "comparison-custody"]
    assert [b.kind for b in one.blocks] == ["paragraph", "picture"]


def test_where_nothing_is_compared_the_reason_stands_and_no_number(run: Run) -> None:
    none = {f"{k}_{x}": math.nan for k in ("imputation", "group_time") for x in ("ratio", "lower")}
    row = overview(**none, compared_note="no site has an untreated month")
    bare = replace(run, overview=row, event_study=None)
    assert words(bare) == (
        "Comparison with untreated sites and months gives no estimate: "
        "no site has an untreated month."
    )
    assert [b.kind for b in comparison_section(bare, "custody").blocks] == ["paragraph"]


def test_a_selected_outcome_and_an_older_run_have_no_such_section(run: Run) -> None:
    selected = overview(verdict="not identified")
    assert comparison_section(replace(run, overview=selected), "custody") is None
    older = overview().drop(columns="compared_note")
    assert comparison_section(replace(run, overview=older), "custody") is None


def test_the_figure_has_every_point_the_course_and_a_ratio_axis() -> None:
    table = study()
    [axes] = event_study(table).axes
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    dots = [np.asarray(c.get_offsets(), float) for c in axes.collections]
    points = np.vstack([d for d in dots if len(d) > 1])
    drawn = table[table["ratio"].notna()]
    assert points == pytest.approx(drawn[["event_month", "ratio"]].to_numpy())
    assert low < drawn["ratio"].min() < drawn["ratio"].max() < high < 5
    [course] = [line for line in axes.lines if len(line.get_xdata()) > 2]
    assert np.min(course.get_xdata()) == 2
    assert {t.get_text() for t in axes.get_yticklabels()} >= {"0.7", "1"}
