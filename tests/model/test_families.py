"""Every family's density against PyMC's, scipy's and the sum over what a cell can stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy import stats

from family_cases import family_spec, family_tables
from lndbayes.density.arguments import kernel_data
from lndbayes.fitting.compiled import log_density
from lndbayes.fitting.start import start_point
from lndbayes.model.course import pulse
from lndbayes.model.design import build_design
from lndbayes.model.layout import SCALARS, constrain, size, unconstrain
from lndbayes.model.predictive import (
    cell_log_likelihood,
    complete_counts,
    dispersion,
    draw_counts,
    draw_stages,
)
from lndbayes.model.surface import linear_predictors, stage_predictors
from lndbayes.spec.families import forward, inverse, slope
from model_cases import read_tables, tiny_tables, with_model

pytestmark = [pytest.mark.xdist_group("pymc"), pytest.mark.slow]

CASES: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "beta-binomial, intervals": ("beta_binomial", {}, {"ranged": True}),
    "beta-binomial, coverage": ("beta_binomial", {}, {"coverage": True}),
    "bands": ("ordered_bands", {}, {}),
    "bands, coverage": ("ordered_bands", {}, {"coverage": True}),
    "counts": ("negative_binomial", {}, {}),
    "counts, intervals, coverage": (
        "negative_binomial",
        {},
        {"ranged": True, "coverage": True},
    ),
    "counts, pulse and seams": (
        "negative_binomial",
        {"pulse_sd": 0.5, "seams": ("2013-05", "2014-02")},
        {},
    ),
    "from one": ("negative_binomial_from_one", {}, {}),
    "hazard": ("duration_hazard", {}, {}),
    "hazard, coverage": ("duration_hazard", {}, {"coverage": True}),
    "change": ("ordered_change", {}, {}),
}


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    family, settings, cells = CASES[request.param]
    spec = family_spec(family, **settings)
    return spec, build_design(spec, read_tables(family_tables(family, **cells), tmp_path))


def point(spec, design, rng, scale=0.3):
    return start_point(spec, design) + rng.normal(0, scale, size(design))


def test_density_and_gradient_are_pymcs(case, rng):
    spec, design = case
    model = with_model(spec, design)
    for scale in (0.2, 0.5):
        x = point(spec, design, rng, scale)
        gradient = np.full(size(design), np.nan)
        value = log_density(x, gradient, kernel_data(spec, design))
        expected, expected_gradient = model.density(x)
        assert value == pytest.approx(expected, rel=1e-11)
        error = np.abs(gradient - expected_gradient)
        within = np.abs(expected_gradient) + 1e-4 * np.linalg.norm(expected_gradient)
        assert (error / within).max() < 1e-8


def test_gradient_is_the_derivative_of_the_value(case, rng):
    spec, design = case
    data = kernel_data(spec, design)
    x = point(spec, design, rng)
    gradient, scratch = np.empty(size(design)), np.empty(size(design))
    log_density(x, gradient, data)
    for i in range(size(design)):
        ahead, behind = x.copy(), x.copy()
        ahead[i] += 1e-5
        behind[i] -= 1e-5
        found = (log_density(ahead, scratch, data) - log_density(behind, scratch, data)) / 2e-5
        assert gradient[i] == pytest.approx(found, rel=2e-5, abs=1e-5)


def scipy_cell(family, n, y, held, eta, phi, r):
    """Log probability of one first-stage count."""
    if family.link == "log":
        mean, size_ = n * held * np.exp(eta), 1 / (1 / (n * r) + 1 / phi)
        return stats.nbinom(size_, size_ / (size_ + mean)).logpmf(y)
    p = held * inverse(family.link, eta)
    return stats.betabinom(n, p * phi, (1 - p) * phi).logpmf(y)


def test_cells_are_scipys_and_intervals_the_sum_over_their_counts(case, rng):
    """The likelihood's share of the density, cell by cell, with nothing of ours but the surface."""
    spec, design = case
    values = {k: v[None, None] for k, v in constrain(point(spec, design, rng), design).items()}
    found = cell_log_likelihood(values, design, spec.family)[0, 0]
    _, eta1 = linear_predictors(values, design)
    f = (
        stage_predictors(values, design, eta1, free_stage_effect=spec.family.free_stage_effect)
        if (spec.family.staged)
        else None
    )
    phi = float(values["concentration"].item())
    r = float(values["person_dispersion"].item())
    expected = []
    for s, t in zip(*np.nonzero(design["site_weight"]), strict=True):
        total = 0.0
        if n := design["exposure"][s, t]:
            counts = np.arange(design["count"][s, t], design["count_high"][s, t] + 1)
            held = design["coverage"][s, t]
            each = scipy_cell(spec.family, n, counts, held, eta1[0, 0, s, t], phi, r)
            total += np.log(np.exp(each).sum())
        for j in range(design["stage_exposure"].shape[-1]):
            if n := design["stage_exposure"][s, t, j]:
                p = inverse(spec.family.link, f[0, 0, s, t, j])
                law = stats.betabinom(n, p * phi, (1 - p) * phi)
                total += law.logpmf(design["stage_count"][s, t, j])
        expected.append(total)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_cells_without_events_are_certain_where_the_mean_is_no_double_any_more(rng, tmp_path):
    """A density that was not a number there counted as a divergence."""
    off = dict.fromkeys(("not_yet_treated", "retrospective", "national", "history"), False)
    spec = family_spec("negative_binomial", channels=off | {"elicited": False})
    tables = family_tables("negative_binomial")
    # a channel that is off is one of sd 1,000, and a national rate of 0 would be impossible
    for name in ("national", "elicited"):
        tables.frames.pop(f"evidence/{name}.csv")
    design = build_design(spec, read_tables(tables, tmp_path))
    nothing = np.zeros_like(design["count"])
    data = kernel_data(spec, design.replace(count=nothing, count_high=nothing))
    drawn = constrain(point(spec, design, rng), design)
    values, gradient = [], np.empty(size(design))
    for level in (-600.0, -720.0, -900.0):
        lower = {"site_level": drawn["site_level"] + level - drawn["baseline_level"]}
        x = unconstrain(drawn | lower | {"baseline_level": np.array(level)}, design)
        values.append(log_density(x, gradient, data))
        assert np.isfinite(gradient).all()
    prior = stats.norm(-1.0, 0.7).logpdf([-600.0, -720.0, -900.0])
    np.testing.assert_allclose(np.diff(values), np.diff(prior), rtol=1e-12)


@pytest.mark.parametrize("cores", [1, 3])
def test_each_draw_has_its_own_log_likelihood_however_many_there_are(case, rng, cores):
    """More draws than are worked on at once, and a last part that is shorter than the others."""
    spec, design = case
    x = np.stack([[point(spec, design, rng) for _ in range(230)] for _ in range(2)])
    values = constrain(x, design)
    found = cell_log_likelihood(values, design, spec.family, cores=cores)
    assert found.shape[:2] == (2, 230)
    for chain, draw in ((0, 0), (1, 99), (0, 100), (1, 199), (1, 229)):
        one = {k: v[chain : chain + 1, draw : draw + 1] for k, v in values.items()}
        alone = cell_log_likelihood(one, design, spec.family)[0, 0]
        np.testing.assert_allclose(found[chain, draw], alone, rtol=1e-12, atol=1e-12)


def test_a_cell_known_as_an_interval_of_one_count_is_the_exact_cell(rng, tmp_path):
    for family in ("beta_binomial", "negative_binomial"):
        spec = family_spec(family)
        design = build_design(spec, read_tables(family_tables(family), tmp_path / family))
        x, gradient = point(spec, design, rng), np.empty(size(design))
        exact = log_density(x, gradient, kernel_data(spec, design))
        # all counts from 0 up are certain, so that such a cell carries nothing
        n = design["exposure"]
        which = np.zeros(n.shape, dtype=bool)
        which[0, 5] = which[2, 9] = True
        top = n if family == "beta_binomial" else np.full(n.shape, 4000.0)
        wide = design.replace(
            count=np.where(which, 0, design["count"]),
            count_high=np.where(which, top, design["count_high"]),
        )
        bare = design.replace(
            exposure=np.where(which, 0, n),
            count=np.where(which, 0, design["count"]),
            count_high=np.where(which, 0, design["count_high"]),
        )
        values = [log_density(x, gradient, kernel_data(spec, d)) for d in (wide, bare)]
        assert values[0] == pytest.approx(values[1], abs=1e-7)
        assert values[0] != pytest.approx(exact, abs=1e-3)


def test_stages_of_bands_multiply_to_a_distribution(rng, tmp_path):
    """Over all ways in which five persons can fall into none and three bands, to one."""
    spec = family_spec("ordered_bands")
    design = build_design(spec, read_tables(family_tables("ordered_bands"), tmp_path))
    values = {k: v[None, None] for k, v in constrain(point(spec, design, rng), design).items()}
    s, t, n = 1, 3, 5
    total = 0.0
    for a in range(n + 1):
        for b in range(n + 1 - a):
            for c in range(n + 1 - a - b):
                exposure, count = np.zeros((4, 20)), np.zeros((4, 20))
                exposure[s, t], count[s, t] = n, a + b + c
                later, going = np.zeros((4, 20, 2)), np.zeros((4, 20, 2))
                later[s, t], going[s, t] = (a + b + c, b + c), (b + c, c)
                weight = (exposure > 0).astype(float)
                cell = design.replace(
                    exposure=exposure,
                    count=count,
                    count_high=count,
                    stage_exposure=later,
                    stage_count=going,
                    site_weight=weight,
                )
                # as many orders of persons as the multinomial coefficient says are in it already
                total += np.exp(cell_log_likelihood(values, cell, spec.family).item())
    assert total == pytest.approx(1.0, rel=1e-12)


def test_open_cases_are_at_risk_in_earlier_bins_only(tmp_path):
    tables = family_tables("duration_hazard")
    spec = family_spec("duration_hazard")
    design = build_design(spec, read_tables(tables, tmp_path))
    frame = tables.frames["outcomes.csv"]
    cell = frame[(frame["site"] == "T2") & (frame["month"] == "2013-04")].set_index("category")
    first, month, left = (cell["count"][k] for k in ("1 first", "2 month", "2 month open"))
    n = cell["exposure"].iloc[0]
    assert design["exposure"][1, 3] == n
    assert design["count"][1, 3] == first
    assert design["stage_exposure"][1, 3].tolist() == [n - first - left]
    assert design["stage_count"][1, 3].tolist() == [month]


def test_draws_have_the_moments_of_the_law(rng, tmp_path):
    """20,000 draws of each cell: means within five standard errors, variances within a tenth."""
    for family in ("negative_binomial", "duration_hazard", "beta_binomial"):
        spec = family_spec(family)
        data = read_tables(
            family_tables(family, coverage=family != "duration_hazard"), tmp_path / family
        )
        design = build_design(spec, data)
        one = {
            k: v[None, None] for k, v in constrain(point(spec, design, rng, 0.1), design).items()
        }
        values = {k: np.repeat(v, 20_000, axis=1) for k, v in one.items()}
        _, eta1 = linear_predictors(one, design)
        many = np.repeat(eta1, 20_000, axis=1)
        law = spec.family
        y = draw_counts(
            many, dispersion(values, law), design["exposure"], design["coverage"], law, rng
        )[0]
        n, held = design["exposure"], design["coverage"]
        phi = one["concentration"].item()
        if law.link == "log":
            mean = n * held * np.exp(eta1[0, 0])
            size_ = 1 / (1 / np.where(n > 0, n * one["person_dispersion"].item(), 1) + 1 / phi)
            variance = mean + mean**2 / size_
        else:
            p = held * inverse(law.link, eta1[0, 0])
            mean, variance = n * p, n * p * (1 - p) * (1 + (n - 1) / (phi + 1))
        used = n > 0
        z = (y.mean(axis=0) - mean)[used] / np.sqrt(variance[used] / 20_000)
        assert np.abs(z).max() < 5
        np.testing.assert_allclose(y.var(axis=0)[used], variance[used], rtol=0.1)
        if law.staged:
            later = draw_stages({k: v[:, :50] for k, v in values.items()}, design, law, rng)
            assert (np.nan_to_num(later) <= design["stage_exposure"]).all()


def test_suppressed_cells_are_completed_within_their_bounds_by_their_law(rng, tmp_path):
    spec = family_spec("negative_binomial")
    design = build_design(
        spec, read_tables(family_tables("negative_binomial", ranged=True), tmp_path)
    )
    values = {k: v[None, None] for k, v in constrain(point(spec, design, rng, 0.1), design).items()}
    ranged = design["count_high"] > design["count"]
    draws = np.array(
        [complete_counts(values, design, spec.family, rng)[ranged] for _ in range(800)]
    )
    low, high = design["count"][ranged], design["count_high"][ranged]
    assert ((draws >= low) & (draws <= high)).all()
    _, eta1 = linear_predictors(values, design)
    phi, r = values["concentration"].item(), values["person_dispersion"].item()
    n, eta = design["exposure"][ranged], eta1[0, 0][ranged]
    for i in range(0, len(low), 5):
        k = np.arange(low[i], high[i] + 1)
        p = np.exp(scipy_cell(spec.family, n[i], k, 1.0, eta[i], phi, r))
        mean = (k * p).sum() / p.sum()
        sd = np.sqrt(((k - mean) ** 2 * p).sum() / p.sum())
        assert abs(draws[:, i].mean() - mean) < 5 * sd / np.sqrt(800)


def test_idle_scalars_are_standard_normal_and_touch_nothing(rng, tmp_path):
    spec = family_spec("beta_binomial")
    design = build_design(spec, read_tables(tiny_tables(), tmp_path))
    data = kernel_data(spec, design)
    x, gradient = point(spec, design, rng), np.empty(size(design))
    base = log_density(x, gradient, data)
    for name in ("person_dispersion", "pulse_months", "stage_site_sd", "stage_effect", "pulse"):
        moved = x.copy()
        i = SCALARS.index(name)
        moved[i] += 0.7
        other = np.empty_like(gradient)
        value = log_density(moved, other, data)
        assert value - base == pytest.approx(0.5 * (x[i] ** 2 - moved[i] ** 2), abs=1e-9)
        rest = np.arange(len(x)) != i
        np.testing.assert_allclose(gradient[rest], other[rest], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("link", ["logit", "log", "cloglog"])
def test_links_are_inverses_and_their_slopes_derivatives(link):
    rate = np.array([0.03, 0.2, 0.55, 0.97])
    np.testing.assert_allclose(inverse(link, forward(link, rate)), rate, rtol=1e-13)
    h = 1e-7
    found = (forward(link, rate + h) - forward(link, rate - h)) / (2 * h)
    np.testing.assert_allclose(slope(link, rate), found, rtol=1e-6)


def test_pulse_is_highest_at_its_month_and_zero_before_go_live():
    e = np.array([-3, -1, 0, 1, 2, 3, 40])
    shape = pulse(e, np.array(1.5), 0.5)
    assert shape[:2].tolist() == [0, 0]
    assert shape[3] == 1.0  # u = 1 + 1/2
    assert shape.argmax() == 3
    assert shape[-1] < 1e-9
