"""Linear predictors and counts against the simulator, which shares no code with the model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from lndbayes.model.layout import constrain, site_effect, unconstrain
from lndbayes.model.predictive import draw_counts
from lndbayes.model.surface import linear_predictors, untreated
from lndbayes.spec.families import FAMILIES
from lndbayes.synthetic import beta_binomial_quantile
from model_cases import Simulated, simulated

STRESSED = {"drift": 0.07, "go_live_step": -0.11, "shared_bias": 0.2}

WORLDS = {
    "plain": {},
    "stressed": STRESSED,
    "strong effects": {"effect_mean": -1.2, "site_effect_sd": 0.5, "predecessor_effect": 0.8},
    "seasons at both speeds": {"season": (0.1, -0.2, 0.15, 0.05)},
}


@pytest.fixture(scope="module", params=WORLDS)
def world(request, tmp_path_factory) -> Simulated:
    return simulated(4, tmp_path_factory.mktemp("world") / "data", **WORLDS[request.param])


@pytest.mark.slow
def test_plateaus_are_the_simulators(world):
    found = site_effect(world.truth, world.design)[0, 0]
    np.testing.assert_allclose(found, world.raw["sites"]["plateau"], atol=1e-9)
    np.testing.assert_allclose(found, world.truth["site_effect"][0, 0], atol=1e-9)


def test_untreated_surface_is_the_simulators(world):
    eta0, _ = linear_predictors(world.truth, world.design)
    np.testing.assert_allclose(eta0[0, 0], world.raw["baseline"]["eta0"], atol=1e-9)
    np.testing.assert_array_equal(eta0, untreated(world.truth, world.design))


def test_effect_of_every_month_is_the_simulators(world):
    """From the truth's own plateau, ramp and go-live, site by site."""
    eta0, eta1 = linear_predictors(world.truth, world.design)
    sites, step = world.raw["sites"], world.truth["go_live_step"][0, 0]
    months = np.arange(eta0.shape[-1])
    for s, go_live in enumerate(sites["go_live"]):
        elapsed = months - go_live + 0.5
        built = 1 - np.exp(-elapsed / sites["ramp_months"][s])
        expected = np.where(elapsed > 0, built * sites["plateau"][s] + step, 0.0)
        np.testing.assert_allclose((eta1 - eta0)[0, 0, s], expected, atol=1e-9)


def test_service_alone_leaves_out_the_step_of_the_records(world):
    eta0, recorded = linear_predictors(world.truth, world.design)
    same, service = linear_predictors(world.truth, world.design, recorded=False)
    np.testing.assert_array_equal(same, eta0)
    after = world.design["event_time"] >= 0
    step = float(world.truth["go_live_step"][0, 0])
    np.testing.assert_allclose((recorded - service)[0, 0][after], step, atol=1e-12)
    assert (recorded == service)[0, 0][~after].all()


def test_truth_is_a_point_of_the_parameter_vector(plain_world):
    """The simulated levels are not anchored: reading them back undoes it."""
    values = {name: value[0, 0] for name, value in plain_world.truth.items()}
    values["mix_effect_sd"] = np.array(0.25)  # the world has effects and no scale of them
    again = constrain(unconstrain(values, plain_world.design), plain_world.design)
    for name, value in values.items():
        if name in again:
            np.testing.assert_allclose(again[name], value, atol=1e-8, err_msg=name)


def test_draws_do_not_mix(plain_world, rng):
    """Draw by draw equals all at once, and no array of the caller changes."""
    truth = plain_world.truth
    names = ("site_level", "site_effect", "season", "national_slope", "ramp_months")
    many = {
        name: np.repeat(value, 3, axis=1)
        * (1 + 0.1 * rng.random((1, 3) + (1,) * (value.ndim - 2)) if name in names else 1.0)
        for name, value in truth.items()
    }
    kept = {name: value.copy() for name, value in many.items()}
    together = linear_predictors(many, plain_world.design)
    for i in range(3):
        one = {name: value[:, i : i + 1] for name, value in many.items()}
        for all_at_once, alone in zip(
            together, linear_predictors(one, plain_world.design), strict=True
        ):
            np.testing.assert_allclose(all_at_once[:, i], alone[:, 0], rtol=1e-13)
    for name, value in kept.items():
        np.testing.assert_array_equal(many[name], value)


REPLICATES = 4000
LAW = FAMILIES["beta_binomial"]


def test_replicated_counts_have_the_beta_binomials_moments(plain_world):
    """Given the truth: mean and variance in every cell, over many replicates."""
    truth, design = plain_world.truth, plain_world.design
    few = slice(30, 60)
    _, eta1 = linear_predictors(truth, design)
    n = design["exposure"][:4, few]
    eta = np.broadcast_to(eta1[0, 0, :4, few], (REPLICATES, *n.shape))
    phi = np.full(REPLICATES, truth["concentration"][0, 0])
    counts = draw_counts(eta, (phi,), n, np.ones(n.shape), LAW, np.random.default_rng(1))
    assert (np.isnan(counts) == (n == 0)).all()
    used = n > 0
    mu = expit(eta[0][used])
    law = stats.betabinom(n[used].astype(int), mu * phi[0], (1 - mu) * phi[0])
    found = counts[:, used]
    # about 110 cells: 4.5 standard errors are passed by chance once in 1,300 runs
    z = (found.mean(axis=0) - law.mean()) / np.sqrt(law.var() / REPLICATES)
    assert np.abs(z).max() < 4.5
    assert abs(z.mean()) < 4 / np.sqrt(len(z))
    assert z.std() == pytest.approx(1.0, abs=0.25)
    # the variance's own error, from the fourth moment; its mean over cells is much tighter
    kurtosis = law.stats(moments="k")
    error = law.var() * np.sqrt((kurtosis + 2) / REPLICATES)
    assert np.abs((found.var(axis=0) - law.var()) / error).max() < 5.0
    assert (found.var(axis=0) / law.var()).mean() == pytest.approx(1.0, abs=0.02)


def test_replicated_counts_have_the_law_of_the_simulators_counts(plain_world):
    """Two samplers, one law: beta then binomial here, inversion there; a chi-squared test."""
    design, truth = plain_world.design, plain_world.truth
    _, eta1 = linear_predictors(truth, design)
    phi = float(truth["concentration"][0, 0])
    rng = np.random.default_rng(2)
    site, month = np.argwhere(design["exposure"] > 30)[[5, 400, 900]].T
    for s, t in zip(site, month, strict=True):
        n, eta = int(design["exposure"][s, t]), eta1[0, 0, s, t]
        trials = np.full((1, 1), float(n))
        ours = draw_counts(
            np.full((REPLICATES, 1, 1), eta),
            (np.full(REPLICATES, phi),),
            trials,
            np.ones((1, 1)),
            LAW,
            rng,
        ).ravel()
        theirs = beta_binomial_quantile(
            rng.random(REPLICATES),
            np.full(REPLICATES, n),
            np.full(REPLICATES, expit(eta)),
            phi,
        )
        top = int(np.quantile(theirs, 0.98))
        table = [
            np.bincount(np.minimum(c.astype(int), top), minlength=top + 1) for c in (ours, theirs)
        ]
        table = np.array(table)[:, np.sum(table, axis=0) > 10]
        assert stats.chi2_contingency(table).pvalue > 1e-4


@pytest.mark.slow
def test_simulated_panel_fits_its_own_truth(tmp_path):
    """Counts of several seeds, standardised at the model's predictor: mean 0, variance 1."""
    scores = []
    for seed in (21, 22, 23):
        sim = simulated(seed, tmp_path / str(seed), **STRESSED)
        _, eta1 = linear_predictors(sim.truth, sim.design)
        n, y = sim.design["exposure_exact"], sim.design["count_exact"]
        mu, phi = expit(eta1[0, 0]), float(sim.truth["concentration"][0, 0])
        law = stats.betabinom(n.astype(int), mu * phi, (1 - mu) * phi)
        used = n > 0
        z = ((y - law.mean()) / np.where(used, law.std(), 1.0))[used]
        after = (sim.design["event_time"] >= 0)[used]
        scores.append((z, after))
    z, after = (np.concatenate(parts) for parts in zip(*scores, strict=True))
    assert len(z) > 4000
    for part in (z[after], z[~after]):
        assert abs(part.mean()) < 4 / np.sqrt(len(part))
    # the variance of a square of a skewed count is near 2.5: four standard errors
    assert z.var() == pytest.approx(1.0, abs=4 * np.sqrt(2.5 / len(z)))


def test_counts_cannot_exceed_trials_and_empty_cells_give_nothing():
    eta = np.array([[[40.0, -40.0, 0.0, 3.0]]])
    exposure = np.array([[5.0, 5.0, 0.0, 7.0]])
    counts = draw_counts(
        eta,
        (np.array([150.0]),),
        exposure,
        np.ones(exposure.shape),
        LAW,
        np.random.default_rng(1),
    )
    assert counts[0, 0, 0] == 5
    assert counts[0, 0, 1] == 0
    assert np.isnan(counts[0, 0, 2])
    assert 0 <= counts[0, 0, 3] <= 7
