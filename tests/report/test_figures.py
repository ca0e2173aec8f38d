"""What the figures draw, read back from their axes."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.image import imread

from lndbayes.report.figures import (
    PANELS_PER_PAGE,
    baseline_panels,
    caterpillar,
    mix_contrasts,
    savings_histogram,
    sensitivity,
    shorten,
    to_svg,
)
from lndbayes.report.lookup import effect_rows, only
from lndbayes.report.pictures import picture_of
from lndbayes.report.run import Run, read_run


@pytest.fixture(scope="session")
def run(shared_run: Path) -> Run:
    return read_run(shared_run)


def intervals(ax) -> list[tuple[float, float, float]]:
    """Horizontal lines of two points: (y, from, to)."""
    lines = [(line.get_xdata(), line.get_ydata()) for line in ax.lines]
    return [(y[0], x[0], x[1]) for x, y in lines if len(x) == 2 and y[0] == y[1]]


def test_caterpillar_sorts_and_leaves_tier_d_bare(run: Run) -> None:
    sites = effect_rows(run, "custody", "site", "link")
    filled = sites.assign(
        median=sites["median"].fillna(9.0),
        lower=sites["lower"].fillna(8.0),
        upper=sites["upper"].fillna(10.0),
    )
    pooled = pd.Series(dict(only(run, "custody", "pooled", "link") or {}))
    (figure,) = caterpillar(filled, pooled, "log odds", "odds ratio")
    ax, top = figure.axes
    drawn = intervals(ax)
    identified = filled[filled["identified"] != "D"].sort_values("median")
    assert [(lo, hi) for _, lo, hi in drawn] == list(
        zip(identified["lower"], identified["upper"], strict=True)
    )
    assert ax.get_xlim()[1] < 8.0  # the axis does not make room for what is not drawn
    texts = [t.get_text() for t in ax.texts]
    assert texts == ["no interval: no evidence of its own"] * 2
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels[-2:] == ["S01  [D]", "S02  [D]"]
    for tick, text in zip(top.get_xticks(), top.get_xticklabels(), strict=True):
        assert math.exp(tick) == pytest.approx(float(text.get_text()))


def test_caterpillar_of_many_sites_is_split_with_one_axis(run: Run) -> None:
    sites = effect_rows(run, "custody", "site", "link")
    many = pd.concat([sites.assign(site=sites["site"] + f"-{i}") for i in range(8)])
    pooled = pd.Series(dict(only(run, "custody", "pooled", "link") or {}))
    figures = caterpillar(many, pooled, "log odds", None)
    assert len(figures) == 3
    assert sum(len(f.axes[0].get_yticks()) for f in figures) == 72
    assert len({f.axes[0].get_xlim() for f in figures}) == 1
    assert all(f.get_size_inches()[1] < 10 for f in figures)  # fits an A4 page unscaled


def test_baseline_dots_never_mix_months_before_and_after_go_live() -> None:
    months = [str(m) for m in pd.period_range("2014-01", periods=90, freq="M")]
    start = 31
    observed = np.where(np.arange(90) < start, 0.2, 0.1)
    frame = pd.DataFrame({"site": "x", "month": months, "observed": observed})
    frame = frame.assign(mean=0.15, lower=0.1, upper=0.2)
    exposure = pd.DataFrame([np.linspace(10, 50, 90)], index=["x"], columns=months)
    figure = baseline_panels(frame, ["x"], {"x": "A"}, {"x": float(start)}, exposure, share=True)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    when = np.concatenate([d.get_xdata() for d in dots])
    rate = np.concatenate([d.get_ydata() for d in dots])
    assert len(when) == 31  # ceil(31/3) + ceil(59/3): blocks are counted from go-live
    np.testing.assert_allclose(rate, np.where(when < start, 0.2, 0.1))
    found = [c for c in figure.axes[0].collections if isinstance(c, PolyCollection)]
    (band,) = (c for c in found if c.get_zorder() == 1)  # below the line, above the shade
    top, bottom = band.get_paths()[0].vertices[:, 1].max(), band.get_paths()[0].vertices[:, 1].min()
    assert (bottom, top) == (0.1, 0.2)


def test_baseline_dots_are_weighted_by_exposure() -> None:
    months = [str(m) for m in pd.period_range("2014-01", periods=80, freq="M")]
    observed = np.tile([0.0, 1.0], 40)
    frame = pd.DataFrame({"site": "x", "month": months, "observed": observed})
    frame = frame.assign(mean=0.5, lower=0.4, upper=0.6)
    exposure = pd.DataFrame([np.tile([30.0, 10.0], 40)], index=["x"], columns=months)
    figure = baseline_panels(frame, ["x"], {}, {"x": math.nan}, exposure, share=True)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    rate = np.concatenate([d.get_ydata() for d in dots])
    np.testing.assert_allclose(rate, 10 / 40)


@pytest.mark.parametrize("n", [1, 5, PANELS_PER_PAGE])
def test_baseline_page_fits_a4_and_names_every_site(n: int) -> None:
    months = [str(m) for m in pd.period_range("2014-01", periods=24, freq="M")]
    sites = [f"s{i}" for i in range(n)]
    frame = pd.DataFrame({"site": np.repeat(sites, 24), "month": months * n, "observed": np.nan})
    frame = frame.assign(mean=0.15, lower=0.1, upper=0.2)
    figure = baseline_panels(frame, sites, {}, {}, pd.DataFrame(), share=False)
    titles = [t for t in figure.axes[0].texts if "tier" in t.get_text()]
    assert [t.get_text() for t in titles] == [f"{s} · tier ?" for s in sites]
    assert len({t.get_position() for t in titles}) == n
    assert figure.get_size_inches()[1] < 9.6
    to_svg(figure)


def test_sensitivity_draws_each_refit_and_its_share_of_the_prior(run: Run) -> None:
    assert run.sensitivity is not None
    figure = sensitivity(run.sensitivity, "log odds")
    ax = figure.axes[0]
    expected = list(zip(run.sensitivity["lower"], run.sensitivity["upper"], strict=True))
    assert [(lo, hi) for _, lo, hi in intervals(ax)] == expected
    shares = [t.get_text() for t in ax.texts if t.get_text().endswith("%")]
    assert shares == [f"{100 * s / 0.5:.0f}%" for s in run.sensitivity["sd"]]


def test_mix_has_a_panel_for_each_kind_of_row(run: Run) -> None:
    alone = effect_rows(run, "custody", "intervention", "link")
    moves = effect_rows(run, "custody", "substitution", "link")
    figure = mix_contrasts(alone, moves, "log odds")
    assert [len(intervals(ax)) for ax in figure.axes] == [len(moves), len(alone)] == [10, 5]
    assert len(mix_contrasts(alone, moves.iloc[:0], "log odds").axes) == 1


def test_no_label_is_cut_off_in_the_pixels(run: Run) -> None:
    # the longest pair of the shipped interventions, which hinting made too wide for its margin
    moves = effect_rows(run, "custody", "substitution", "link").iloc[:2]
    moves = moves.assign(intervention="primary_care_referral -> specialist_mh_referral")
    figure = mix_contrasts(moves.iloc[:0], moves, "log odds")
    png = picture_of(figure, alt="", caption="").png
    dark = imread(io.BytesIO(png))[..., :3].min(axis=-1) < 0.98
    assert dark.any()
    assert not dark[:, :4].any()


def test_histogram_leaves_out_extreme_draws_and_marks_the_published_range() -> None:
    draws = np.append(np.random.default_rng(1).normal(5e6, 1e6, 4000), [-9e8, 9e8])
    figure = savings_histogram(draws, 5e6, 3.4e6, 6.6e6, (13.1e6, 41.5e6))
    ax = figure.axes[0]
    low, high = ax.get_xlim()
    assert low > -5
    assert 41.5 < high < 50
    texts = [t.get_text() for t in ax.texts]
    assert texts == ["interval of this evaluation", "published range (outside comparison)"]


def test_shorten() -> None:
    assert shorten("plain") == "plain"
    assert shorten("abcdefgh", 5) == "abcd…"
    assert shorten("a\n b\t c") == "a b c"
    assert shorten("x日") == "x\N{REPLACEMENT CHARACTER}"
