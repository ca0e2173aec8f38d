"""Prior draws against the closed form of every prior."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from family_cases import family_spec, family_tables
from lndbayes.model.design import build_design
from lndbayes.model.layout import SCALARS, constrain, unconstrain
from lndbayes.model.predictive import prior_draws
from lndbayes.spec.model_spec import with_changes
from model_by_hand import POSITIVE_SLOTS, REAL_SLOTS, scipy_prior
from model_cases import read_tables
from small import EXTRA

DRAWS = 20_000

#: Two-sided, per test; some 60 tests: chance alone fails one in 1,600 seeds, and the seed is fixed.
P_LOW = 1e-5

#: Correlations of 20,000 independent pairs have a standard error of 1/141.
FAR = 4.5 / np.sqrt(DRAWS)

BIASES = {
    "sensitivity.shared_bias_sd": 0.15,
    "sensitivity.drift_sd": 0.05,
    "sensitivity.go_live_step_sd": 0.1,
}


@pytest.fixture(scope="module", params=["shipped priors", "other priors"])
def drawn(request, spec, other_spec, tiny):
    """Spec, design and draws of the tiny evaluation; the fixtures' scales of bias above zero."""
    base = spec if request.param == "shipped priors" else other_spec
    changed = with_changes(base, BIASES)
    design = build_design(changed, tiny)
    return changed, design, prior_draws(changed, design, DRAWS, 5)


def assert_law(values: np.ndarray, law) -> None:
    assert np.isfinite(values).all()
    assert stats.kstest(values, law.cdf).pvalue > P_LOW


def assert_covariance(values: np.ndarray, expected: np.ndarray) -> None:
    """Within 5 standard errors of a normal sample's covariance."""
    found = np.cov(values, rowvar=False)
    scale = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / len(values))
    assert (np.abs(found - expected) < 5 * scale).all()


@pytest.mark.parametrize("slot", [*REAL_SLOTS, *POSITIVE_SLOTS])
def test_scalars_have_the_law_of_their_slot(drawn, slot):
    spec, _, draws = drawn
    prior = spec.priors[slot]
    law = scipy_prior(prior.dist, dict(prior.parameters))
    values = draws[slot][0]
    assert values.shape == (DRAWS,)
    assert_law(values, law)
    if np.isfinite(law.stats(moments="k")):
        error = np.sqrt((law.stats(moments="k") + 2) / (4 * DRAWS))
        assert values.mean() == pytest.approx(law.mean(), abs=5 * law.std() / np.sqrt(DRAWS))
        assert values.std() == pytest.approx(law.std(), rel=5 * error)


def test_fixed_scales_are_those_of_the_spec(drawn):
    _, _, draws = drawn
    for name, sd in (("shared_bias", 0.15), ("drift", 0.05), ("go_live_step", 0.1)):
        assert_law(draws[name][0] / sd, stats.norm)


@pytest.mark.slow
def test_priors_of_one_family_or_of_the_pulse_have_the_law_of_their_slot(tmp_path):
    """And the pulse and the seams that of their fixed scales."""
    banded = family_spec("ordered_bands", pulse_sd=0.5, seams=("2013-05", "2014-02"))
    counts = family_spec("negative_binomial")
    seen = {}
    for family, spec in (("ordered_bands", banded), ("negative_binomial", counts)):
        data = read_tables(family_tables(family), tmp_path / family)
        draws = prior_draws(spec, build_design(spec, data), DRAWS, 6)
        seen |= {name: draws[name][0] for name in EXTRA if name in spec.priors}
        if spec is banded:
            assert_law(draws["pulse"][0] / 0.5, stats.norm)
            assert draws["seam"][0].shape == (DRAWS, 2)
            assert_covariance(draws["seam"][0], spec.baseline.seam_sd**2 * np.eye(2))
    assert set(seen) == set(EXTRA)
    assert seen["stage_level"].shape == (DRAWS, 2)
    for name, values in seen.items():
        prior = dict(EXTRA[name])
        law = scipy_prior(prior.pop("dist"), prior)
        for column in values.reshape(DRAWS, -1).T:
            assert_law(column, law)
    assert abs(np.corrcoef(seen["stage_level"], rowvar=False)[0, 1]) < FAR


def test_terms_of_scale_zero_are_zero(spec, tiny):
    off = with_changes(spec, {"sensitivity.wave_sd": 0.0})
    draws = prior_draws(off, build_design(off, tiny), 50, 1)
    for name in ("shared_bias", "drift", "go_live_step", "pulse", "wave_effect"):
        assert (draws[name] == 0).all()


def test_zero_sum_vectors_have_the_covariance_of_centred_normals(drawn):
    spec, _, draws = drawn
    for name, scale in (("site_drift", "site_drift_sd"), ("mix_effect", "mix_effect_sd")):
        z = draws[name][0] / draws[scale][0][:, None]
        n = z.shape[1]
        assert_covariance(z, np.eye(n) - 1 / n)
        np.testing.assert_allclose(z.sum(axis=1), 0, atol=1e-9)
    z = draws["site_curve"][0] / draws["site_curve_sd"][0][:, None, None]
    assert_covariance(z.reshape(DRAWS, -1), np.kron(np.eye(4), np.eye(4) - 1 / 4))
    waves = draws["wave_effect"][0]
    assert_covariance(waves, spec.sensitivity.wave_sd**2 * (np.eye(2) - 1 / 2))


def test_vectors_are_standard_normal_on_their_scale(drawn):
    spec, _, draws = drawn
    season = spec.priors["season"]
    standard = {
        "national_curve": draws["national_curve"][0] / draws["national_curve_sd"][0][:, None],
        "season": (draws["season"][0] - season["mu"]) / season["sigma"],
        "site_deviation": draws["site_deviation"][0] / draws["site_effect_sd"][0][:, None],
        "site_level": (draws["site_level"][0] - draws["baseline_level"][0][:, None])
        / draws["site_level_sd"][0][:, None],
        "retrospective_site_bias": (
            draws["retrospective_site_bias"][0] - draws["retrospective_bias"][0][:, None]
        )
        / draws["retrospective_bias_sd"][0][:, None],
    }
    for name, z in standard.items():
        assert_covariance(z, np.eye(z.shape[1]))
        for column in z.T:
            assert stats.kstest(column, stats.norm.cdf).pvalue > P_LOW, name


def test_shares_are_dirichlet(drawn):
    spec, _, draws = drawn
    share = draws["mix_share"][0]
    kinds, a = share.shape[-1], spec.priors["mix_share"]["concentration"]
    for s in range(share.shape[1]):
        for m in range(kinds):
            assert_law(share[:, s, m], stats.beta(a, a * (kinds - 1)))
        assert_covariance(share[:, s], stats.dirichlet(np.full(kinds, a)).cov())
    np.testing.assert_allclose(share.sum(axis=-1), 1, rtol=1e-12)
    assert np.abs(np.corrcoef(share[:, 0, 0], share[:, 1, 0])[0, 1]) < FAR


def test_parameters_are_independent_a_priori(drawn):
    _, _, draws = drawn
    effect = draws["site_effect"][0].mean(axis=1)
    others = [
        draws["baseline_level"][0],
        draws["national_slope"][0],
        *draws["national_curve"][0].T,
        *(draws["site_level"][0] - draws["baseline_level"][0][:, None]).T,
        draws["ramp_months"][0],
        draws["site_drift"][0][:, 0],
    ]
    ranks = stats.rankdata(effect)
    for other in others:
        assert abs(np.corrcoef(ranks, stats.rankdata(other))[0, 1]) < FAR


@pytest.mark.slow
def test_scalars_are_drawn_independently_of_each_other(drawn):
    _, _, draws = drawn
    assert (draws["pulse"] == 0).all()  # its scale is 0 here
    ranks = np.array([stats.rankdata(draws[name][0]) for name in SCALARS if name != "pulse"])
    off_diagonal = np.corrcoef(ranks) - np.eye(len(SCALARS) - 1)
    assert np.abs(off_diagonal).max() < FAR + 1 / np.sqrt(DRAWS)  # the largest of 300


def test_draws_are_consistent_with_the_parameter_vector(drawn):
    """A draw is a point: reading it through the vector gives it back, site effects included."""
    _, design, draws = drawn
    for i in range(0, DRAWS, 4001):
        values = {name: value[0, i] for name, value in draws.items()}
        again = constrain(unconstrain(values, design), design)
        for name, value in values.items():
            np.testing.assert_allclose(again[name], value, rtol=1e-8, atol=1e-8, err_msg=name)


def test_seed_fixes_the_draws(spec, tiny):
    design = build_design(spec, tiny)
    first, same, other = (prior_draws(spec, design, 20, seed) for seed in (1, 1, 2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, same[name])
    assert (first["effect_mean"] != other["effect_mean"]).all()
    assert (first["site_level"] != other["site_level"]).all()


def test_without_moderation_shares_are_one(other_spec, bare):
    draws = prior_draws(other_spec, build_design(other_spec, bare), 20, 1)
    assert (draws["mix_share"] == 1).all()
    assert (draws["mix_effect"] == 0).all()
    assert (draws["wave_effect"] == 0).all()
    assert draws["retrospective_site_bias"].shape == (1, 20, 0)
