"""Untreated surface: the basis, the formula term by term, and the law of the other curves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lndbayes.synthetic import World, plain, rw2_basis, simulate
from lndbayes.synthetic.layout import draw_layout, streams
from lndbayes.synthetic.surface import draw_surface, expit, logit

#: A world without anything but the level, to switch one term on at a time.
FLAT = World(
    site_level_sd=0.0,
    site_drift_sd=0.0,
    site_curve_sd=0.0,
    national_slope=0.0,
    national_curve_sd=0.0,
    season=(0.0, 0.0, 0.0, 0.0),
    shock_sd=0.0,
)


def eta0(world, seed=1, sites=27):
    rngs = streams(seed)
    return draw_surface(world, draw_layout(world, sites, rngs), rngs).eta0


def second_differences(months):
    return np.diff(np.eye(months), 2, axis=0)


def test_basis_is_orthogonal_to_level_and_trend_with_unit_mean_variance():
    for months, columns in ((96, 8), (96, 4), (40, 3)):
        basis = rw2_basis(months, columns)
        time = np.arange(months) - (months - 1) / 2
        assert basis.shape == (months, columns)
        np.testing.assert_allclose(basis.sum(axis=0), 0, atol=1e-9)
        np.testing.assert_allclose(time @ basis, 0, atol=1e-7)
        assert (basis**2).sum(axis=1).mean() == pytest.approx(1.0, abs=1e-12)
        assert (basis[-1] > 0).all()


def test_basis_holds_the_smoothest_eigenvectors():
    structure = second_differences(96).T @ second_differences(96)
    values, vectors = np.linalg.eigh(structure)
    basis = rw2_basis(96, 8)
    direct = vectors[:, 2:10] / np.sqrt(values[2:10])
    direct *= np.sign(direct[-1]) / np.sqrt((direct**2).sum() / 96)
    np.testing.assert_allclose(basis, direct, atol=1e-7)


def test_full_basis_has_the_covariance_of_the_intrinsic_walk():
    # All T - 2 columns give the generalised inverse of the structure matrix, up to the scaling.
    # Dense and without a rank threshold: fill the null space, invert, take it out again.
    months = 30
    basis = rw2_basis(months, months - 2)
    null, _ = np.linalg.qr(np.column_stack([np.ones(months), np.arange(months)]))
    structure = second_differences(months).T @ second_differences(months)
    covariance = np.linalg.inv(structure + null @ null.T) - null @ null.T
    np.testing.assert_allclose(
        basis @ basis.T, covariance / np.diag(covariance).mean(), rtol=1e-6, atol=1e-9
    )
    truncated = np.linalg.pinv(structure, rcond=1e-10, hermitian=True)
    np.testing.assert_allclose(covariance, truncated, atol=1e-6)


def test_expit_and_logit_at_the_ends():
    x = np.array([-800.0, -30.0, 0.0, 2.0, 800.0])
    np.testing.assert_allclose(
        expit(x), [0.0, 9.357622968839299e-14, 0.5, 0.8807970779778823, 1.0], rtol=1e-12
    )
    np.testing.assert_allclose(logit(expit(x[1:4])), x[1:4], atol=1e-12)


def test_plain_surface_is_the_formula():
    world = replace(
        plain(World()), drift=0.3, season=(0.05, 0.03, -0.02, 0.04), national_slope=-0.2
    )
    truth = simulate(7, world).truth
    p, go_live = truth["parameters"], truth["sites"]["go_live"]
    wide, narrow = rw2_basis(96, 8), rw2_basis(96, 4)
    expected = np.empty((27, 96))
    for s in range(27):
        for t in range(96):
            time, year = (t - 47.5) / 24, 2 * np.pi * t / 12
            expected[s, t] = (
                p["site_level"][s]
                + (p["site_drift"][s] - 0.2) * time
                + sum(wide[t, k] * p["national_curve"][k] for k in range(8))
                + sum(narrow[t, k] * p["site_curve"][k][s] for k in range(4))
                + 0.05 * np.cos(year)
                + 0.03 * np.sin(year)
                - 0.02 * np.cos(2 * year)
                + 0.04 * np.sin(2 * year)
                + 0.3 * max(t - go_live[s], 0) / 12
            )
    np.testing.assert_allclose(truth["baseline"]["eta0"], expected, atol=1e-10)
    np.testing.assert_allclose(np.sum(p["site_drift"]), 0, atol=1e-12)
    np.testing.assert_allclose(np.sum(p["site_curve"], axis=1), 0, atol=1e-12)
    assert abs(np.mean(p["site_level"]) + 2.0) > 1e-6  # levels are not zero-sum


def test_laws_of_levels_and_drifts():
    world = replace(FLAT, site_level_sd=0.3)
    levels = eta0(world, sites=300)[:, 0]
    # Five standard errors of a mean (.3/sqrt 300) and of a standard deviation (.3/sqrt 600).
    assert levels.mean() == pytest.approx(-2.0, abs=5 * 0.3 / np.sqrt(300))
    assert levels.std() == pytest.approx(0.3, abs=5 * 0.3 / np.sqrt(600))
    drifting = eta0(replace(FLAT, site_drift_sd=0.06), sites=300)
    per_two_years = drifting[:, 24] - drifting[:, 0]
    assert per_two_years.sum() == pytest.approx(0, abs=1e-10)
    assert per_two_years.std() == pytest.approx(0.06, abs=5 * 0.06 / np.sqrt(600))


@pytest.mark.parametrize("smooth", ["walk", "rw2"])
@pytest.mark.parametrize("which", ["national_curve_sd", "site_curve_sd"])
def test_curves_have_no_trend_and_the_stated_scale(which, smooth):
    world = replace(FLAT, smooth=smooth, **{which: 0.1})
    curves = np.array([eta0(world, seed, sites=8)[2] + 2.0 for seed in range(300)])
    np.testing.assert_allclose(curves.sum(axis=1), 0, atol=1e-8)
    np.testing.assert_allclose(curves @ (np.arange(96) - 47.5), 0, atol=1e-6)
    # Site curves are zero-sum over the eight sites, which takes an eighth of their variance.
    expected = 0.01 * (7 / 8 if which == "site_curve_sd" else 1.0)
    per_draw = (curves**2).mean(axis=1)
    assert per_draw.mean() == pytest.approx(expected, abs=5 * per_draw.std() / np.sqrt(300))


@pytest.mark.parametrize(
    ("which", "columns", "share"), [("national_curve_sd", 8, 0.0005), ("site_curve_sd", 4, 0.002)]
)
def test_curves_of_a_walk_world_leave_the_fitted_basis(which, columns, share):
    basis = rw2_basis(96, columns)
    for smooth, outside in (("walk", True), ("rw2", False)):
        curve = eta0(replace(FLAT, smooth=smooth, **{which: 0.1}))[4] + 2.0
        residual = curve - basis @ np.linalg.lstsq(basis, curve, rcond=None)[0]
        assert ((residual**2).sum() > share * (curve**2).sum()) == outside


def test_shocks_are_stationary_and_autocorrelated():
    shock = eta0(replace(FLAT, shock_sd=0.04, shock_autocorrelation=0.5), sites=300) + 2.0
    # Five standard errors: 300 independent sites, of which forty months are worth twenty-four.
    assert shock[:, 0].std() == pytest.approx(0.04, abs=5 * 0.04 / np.sqrt(2 * 300))
    assert shock[:, -40:].std() == pytest.approx(0.04, abs=5 * 0.04 / np.sqrt(2 * 300 * 24))
    lagged = np.corrcoef(shock[:, :-1].ravel(), shock[:, 1:].ravel())[0, 1]
    assert lagged == pytest.approx(0.5, abs=0.03)
