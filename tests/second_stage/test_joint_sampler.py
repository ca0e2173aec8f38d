"""The joint model's sampler and likelihoods against closed forms, brute force and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, multivariate_normal

from lndbayes.second_stage.joint.model import (
    JointDraws,
    JointPrior,
    draw_prior,
    effects_given,
    evidence_from,
    log_integral,
)
from lndbayes.second_stage.joint.outcomes import correlations
from lndbayes.second_stage.joint.sampler import sample_joint, sweep
from lndbayes.second_stage.joint.score import cell_scores, clustered_se, fold_of_cells, verdict
from lndbayes.second_stage.likelihood import drop_sites, remove_prior


def random_covariance(rng: np.random.Generator, size: int) -> np.ndarray:
    root = rng.normal(size=(size, size))
    return 0.04 * (root @ root.T / size + np.eye(size))


def hierarchical_posterior(
    covariance: np.ndarray, estimate: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exact draws of a normal hierarchy: sd ~ Gamma(2, 10) by a fine grid, mean ~ N(0, 0.5^2)."""
    size = len(estimate)
    grid = np.linspace(0.002, 1.2, 600)
    log_p = [
        multivariate_normal.logpdf(
            estimate, np.zeros(size), covariance + g**2 * np.eye(size) + 0.25
        )
        + np.log(g)
        - 10 * g
        for g in grid
    ]
    p = np.exp(log_p - np.max(log_p))
    sd = rng.choice(grid, size=draws, p=p / p.sum())
    information = np.linalg.inv(covariance)
    effects, deviations = np.empty((draws, size)), np.empty((draws, size))
    for i, s in enumerate(sd):
        marginal = np.linalg.inv(covariance + s**2 * np.eye(size))
        precision = marginal.sum() + 4
        mean = (marginal @ estimate).sum() / precision + rng.normal() / np.sqrt(precision)
        inner = information + np.eye(size) / s**2
        centre = np.linalg.solve(inner, information @ estimate + mean / s**2)
        root = np.linalg.cholesky(inner)
        effects[i] = centre + np.linalg.solve(root.T, rng.normal(size=size))
        deviations[i] = effects[i] - mean
    return effects, deviations, sd


def test_the_prior_comes_out_of_a_conjugate_hierarchy() -> None:
    rng = np.random.default_rng(4)
    covariance = random_covariance(rng, 6)
    estimate = rng.normal(-0.3, 0.3, 6)
    found = remove_prior(*hierarchical_posterior(covariance, estimate, 20_000, rng))
    information = np.linalg.inv(covariance)
    sds = np.sqrt(np.diag(covariance))
    assert found.floored == 0
    # 20,000 draws: an entry of a covariance is right to about 1.4% of the product of the sds
    back = np.linalg.inv(found.information)
    assert np.abs(back - covariance).max() < 0.1 * sds.max() ** 2
    assert np.abs((back @ found.vector - estimate) / sds).max() < 0.1
    whitened = np.linalg.cholesky(covariance).T @ (found.information - information)
    whitened = whitened @ np.linalg.cholesky(covariance)
    assert np.abs(np.linalg.eigvalsh((whitened + whitened.T) / 2)).max() < 0.15
    assert np.abs(found.shift).max() < 0.02
    np.testing.assert_allclose(found.width, 1, atol=0.02)


def test_with_fixed_hyperparameters_precisions_are_subtracted() -> None:
    rng = np.random.default_rng(5)
    effects = rng.multivariate_normal(np.zeros(4), random_covariance(rng, 4), size=500)
    effects *= 0.5
    sd = np.full(500, 0.3)
    found = remove_prior(effects, effects - 0.1, sd)
    covariance = np.cov(effects.T, bias=True)
    expected = np.linalg.inv(covariance) - np.eye(4) / 0.09
    np.testing.assert_allclose(found.information, expected, rtol=1e-8, atol=1e-8)
    vector = np.linalg.solve(covariance, effects.mean(axis=0)) - 0.1 / 0.09
    np.testing.assert_allclose(found.vector, vector, rtol=1e-8, atol=1e-8)


def test_a_posterior_that_is_its_prior_carries_no_information() -> None:
    rng = np.random.default_rng(6)
    sd = rng.gamma(2, 0.1, 20_000)
    mean = rng.normal(0, 0.5, 20_000)
    deviations = sd[:, None] * rng.normal(size=(20_000, 3))
    found = remove_prior(mean[:, None] + deviations, deviations, sd)
    # in units of the prior's information, 1 / 0.06
    assert np.abs(found.information).max() * 0.06 < 0.05


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nan", "not finite"),
        ("zero", "above 0"),
        ("few", "too few for 3 sites"),
        ("same", "do not vary"),
    ],
)
def test_draws_that_cannot_be_used_are_refused(fault: str, message: str) -> None:
    rng = np.random.default_rng(7)
    effects, sd = rng.normal(size=(100, 3)), np.full(100, 0.5)
    if fault == "nan":
        effects[3, 1] = np.nan
    if fault == "zero":
        sd[2] = 0
    if fault == "few":
        effects, sd = effects[:29], sd[:29]
    if fault == "same":
        effects[:, 1] = effects[:, 0]
    with pytest.raises(ValueError, match=message):
        remove_prior(effects, effects, sd)


def test_sites_taken_out_leave_the_others_marginal_likelihood() -> None:
    rng = np.random.default_rng(8)
    covariance, estimate = random_covariance(rng, 5), rng.normal(size=5)
    information = np.linalg.inv(covariance)
    left, rest = drop_sites(information, information @ estimate, np.array([1, 3]))
    kept = [0, 2, 4]
    marginal = np.linalg.inv(covariance[np.ix_(kept, kept)])
    np.testing.assert_allclose(left[np.ix_(kept, kept)], marginal, rtol=1e-10)
    np.testing.assert_allclose(rest[kept], marginal @ estimate[kept], rtol=1e-10)
    assert (left[[1, 3]] == 0).all()
    assert (rest[[1, 3]] == 0).all()


def test_deviations_integrated_out_is_the_marginal_density() -> None:
    rng = np.random.default_rng(9)
    covariance, estimate, centre = random_covariance(rng, 4), rng.normal(size=4), rng.normal(size=4)
    data = evidence_from(
        np.linalg.inv(covariance)[None, None], np.linalg.solve(covariance, estimate)[None, None]
    )
    left = (data.rotated - data.values * data.turn(centre[None, None, None])) ** 2
    found = log_integral(np.array([[[[0.09]]]]), data.values, left).item()
    wide = multivariate_normal.logpdf(estimate, centre, covariance + 0.09 * np.eye(4))
    assert found == pytest.approx(wide - multivariate_normal.logpdf(estimate, centre, covariance))


def test_effects_given_parameters_are_conjugate() -> None:
    rng = np.random.default_rng(10)
    covariance, estimate = random_covariance(rng, 3), rng.normal(size=3)
    data = evidence_from(
        np.linalg.inv(covariance)[None, None], np.linalg.solve(covariance, estimate)[None, None]
    )
    n = 40_000
    state = JointDraws(
        np.full((1, n, 1), 0.2), np.full((1, n, 1, 1), 0.5),
        np.broadcast_to(np.array([0.1, -1.0, 2.0])[:, None], (1, n, 3, 1)),
        np.full((1, n, 1), 0.25), np.ones((1, n)),
    )  # fmt: skip
    drawn = effects_given(state, data, rng)[0, :, 0]
    precision = np.linalg.inv(covariance) + np.eye(3) / 0.0625
    centre = 0.2 + 0.5 * np.array([0.1, -1.0, 2.0])
    mean = np.linalg.solve(precision, np.linalg.solve(covariance, estimate) + centre / 0.0625)
    expected = np.linalg.inv(precision)
    error = (drawn.mean(axis=0) - mean) / np.sqrt(np.diag(expected) / n)
    assert np.abs(error).max() < 4
    np.testing.assert_allclose(np.cov(drawn.T), expected, atol=0.03 * expected.max())


@pytest.mark.parametrize("factors", [0, 1, 2])
def test_sweeps_leave_the_joint_distribution_of_parameters_and_data_as_it_is(factors: int) -> None:
    """Geweke (2004): data drawn anew before each sweep, parameters must keep their prior."""
    rng = np.random.default_rng(11 + factors)
    outcomes, sites, chains, sweeps = 3, 4, 400, 120
    prior = JointPrior(
        np.array([0.1, -0.4, 3.0]), np.array([0.5, 0.3, 2.0]), np.array([0.25, 0.5, 4.0]), factors
    )
    covariance = np.stack([random_covariance(rng, sites) * s for s in (1.0, 4.0, 300.0)])
    information, root = np.linalg.inv(covariance), np.linalg.cholesky(covariance)
    state = draw_prior(prior, (chains, 1), sites, rng)
    seen = []
    for _ in range(sweeps):
        noise = state.deviation_sd[..., None] * rng.normal(size=(chains, 1, outcomes, sites))
        theta = (state.centre + noise)[:, 0]
        estimate = theta + (root @ rng.normal(size=(chains, outcomes, sites, 1)))[..., 0]
        vector = (information @ estimate[..., None])[..., 0]
        data = evidence_from(np.broadcast_to(information, (chains, *information.shape)), vector)
        state = sweep(state, data, prior, rng)
        seen.append(_statistics(state, prior)[:, 0])
    # a chain's mean over its sweeps is one independent number, whatever the autocorrelation
    by_chain = np.mean(seen, axis=0)
    fresh = _statistics(draw_prior(prior, (1, 200_000), sites, rng), prior)[0]
    error = by_chain.std(axis=0, ddof=1) ** 2 / chains + fresh.std(axis=0, ddof=1) ** 2 / 200_000
    z = (by_chain.mean(axis=0) - fresh.mean(axis=0)) / np.sqrt(error)
    assert np.isfinite(z).all()
    # the largest of some 20 standard normals is above 4 once in 800 runs
    assert np.abs(z).max() < 4


def _statistics(state: JointDraws, prior: JointPrior) -> np.ndarray:
    """Location, scale and cross terms of every kind of parameter, all bounded in variance."""
    mean = (state.mean - prior.mean) / prior.mean_sd
    sd = state.deviation_sd / prior.spread
    parts = [mean, mean**2, sd, sd**2]
    if prior.factors:
        line = np.tanh(state.loadings / prior.spread[:, None])
        parts += [line.mean(axis=-1), (line**2).mean(axis=-1)]
        parts += [state.loading_scale[..., None], (state.scores**2).mean(axis=(-1, -2))[..., None]]
        parts += [state.scores.mean(axis=(-1, -2))[..., None]]
        parts += [correlations(state)[..., 0, 1:]]
    return np.concatenate(parts, axis=-1)


def simulated(
    rng: np.random.Generator, prior: JointPrior, sets: int, sites: int, noise: float
) -> tuple[JointDraws, np.ndarray, np.ndarray, np.ndarray]:
    """Parameters from the prior, site effects, and estimates with an error common to sites."""
    state = draw_prior(prior, (sets, 1), sites, rng)
    outcomes = len(prior.mean)
    effects = state.centre + state.deviation_sd[..., None] * rng.normal(
        size=(sets, 1, outcomes, sites)
    )
    covariance = noise**2 * (np.eye(sites) + 0.25)
    error = np.linalg.cholesky(covariance) @ rng.normal(size=(sets, outcomes, sites, 1))
    information = np.broadcast_to(np.linalg.inv(covariance), (sets, outcomes, sites, sites))
    vector = (information @ (effects[:, 0][..., None] + error))[..., 0]
    return state, effects[:, 0], information, vector


def test_intervals_cover_what_was_simulated() -> None:
    rng = np.random.default_rng(12)
    prior = JointPrior(np.zeros(4), np.full(4, 0.5), np.full(4, 0.25), 1)
    sets = 60
    truth, effects, information, vector = simulated(rng, prior, sets, 15, 0.15)
    drawn, found = sample_joint(
        evidence_from(information, vector), prior, chains=2, tune=300, draws=700, rng=rng
    )
    assert found is not None
    for values, true in (
        (correlations(drawn)[..., 0, 1], correlations(truth)[:, 0, 0, 1]),
        (correlations(drawn)[..., 2, 3], correlations(truth)[:, 0, 2, 3]),
        (drawn.deviation_sd[..., 1], truth.deviation_sd[:, 0, 1]),
        (drawn.mean[..., 0], truth.mean[:, 0, 0]),
        (found[..., 0, 3], effects[:, 0, 3]),
    ):
        low, high = np.quantile(values.reshape(sets, -1), (0.05, 0.95), axis=1)
        covered = int(((low <= true) & (true <= high)).sum())
        # a 90% interval that covers 90% is outside these bounds once in 1000 runs
        assert binom.ppf(0.0005, sets, 0.9) <= covered <= binom.ppf(0.9995, sets, 0.9)


def test_a_common_factor_is_found_and_independence_is_not_called_correlation() -> None:
    rng = np.random.default_rng(13)
    sets, outcomes, sites = 50, 4, 27
    prior = JointPrior(np.zeros(outcomes), np.full(outcomes, 0.5), np.full(outcomes, 0.25), 1)
    score = rng.normal(size=(sets, 1, sites))
    noise = rng.normal(size=(2, sets, outcomes, sites))
    sign = np.array([1.0, 1.0, -1.0, 1.0])[:, None]
    claimed = {}
    for name, effects in (
        ("factor", 0.23 * sign * score + 0.1 * noise[0]),
        ("independent", 0.25 * noise[0]),
    ):
        estimate = effects - 0.3 + 0.1 * noise[1]
        information = np.broadcast_to(100 * np.eye(sites), (sets, outcomes, sites, sites))
        drawn, _ = sample_joint(
            evidence_from(information, 100 * estimate), prior,
            chains=2, tune=300, draws=500, rng=rng, effects=False,
        )  # fmt: skip
        values = correlations(drawn).reshape(sets, -1, outcomes, outcomes)
        low, high = np.quantile(values, (0.05, 0.95), axis=1)
        claimed[name] = (low > 0, high < 0)
    positive, negative = claimed["factor"]
    assert positive[:, 0, 1].mean() > 0.95
    assert negative[:, 0, 2].mean() > 0.95
    positive, negative = claimed["independent"]
    upper = np.triu_indices(outcomes, 1)
    wrong = (positive | negative)[:, upper[0], upper[1]]
    # at most the nominal 10% of pairs; pairs of one data set are not independent, data sets are
    assert wrong.mean() < 0.1
    assert wrong.any(axis=1).sum() <= binom.ppf(0.999, sets, 0.3)


def test_scores_are_the_leave_out_densities_of_a_normal_model() -> None:
    """With scales held near known values, the score of a cell has a closed form."""
    rng = np.random.default_rng(14)
    sites = 6
    covariance = random_covariance(rng, sites)
    estimate = rng.normal(size=sites) * 0.2
    information = np.linalg.inv(covariance)
    # a spread this small makes deviations nothing: the mean alone, normal and known
    prior = JointPrior(np.array([0.1]), np.array([0.4]), np.array([1e-6]), 0)
    fold = np.array([[0, 1, 0, 1, 0, 1]])
    found = cell_scores(
        information[None], (information @ estimate)[None], prior, fold,
        chains=4, tune=50, draws=4000, rng=rng,
    )  # fmt: skip
    marginal = covariance + 0.16
    for s in range(sites):
        kept = np.flatnonzero(fold[0] != fold[0, s])
        pull = np.linalg.solve(marginal[np.ix_(kept, kept)], marginal[kept, s])
        mean = 0.1 + pull @ (estimate[kept] - 0.1)
        variance = marginal[s, s] - pull @ marginal[kept, s]
        expected = -0.5 * np.log(2 * np.pi * variance) - 0.5 * (estimate[s] - mean) ** 2 / variance
        assert found[0, s] == pytest.approx(expected, abs=0.03)


def test_scores_prefer_the_joint_model_when_there_is_a_factor_and_only_then() -> None:
    rng = np.random.default_rng(15)
    outcomes, sites = 5, 27
    noise = rng.normal(size=(2, outcomes, sites))
    information = np.broadcast_to(np.eye(sites) * 100, (outcomes, sites, sites))
    told = []
    for effects in (0.25 * rng.normal(size=sites) + 0.05 * noise[0], 0.25 * noise[0]):
        vector = 100 * (effects + 0.1 * noise[1])
        fold = fold_of_cells(np.ones((outcomes, sites), bool), 5, rng)
        joint, apart = (
            cell_scores(
                information, vector,
                JointPrior(np.zeros(5), np.full(5, 0.5), np.full(5, 0.25), factors), fold,
                chains=2, tune=300, draws=500, rng=rng,
            )
            for factors in (1, 0)
        )  # fmt: skip
        told.append(verdict(float((joint - apart).sum()), clustered_se(joint - apart)))
    assert told == ["joint better", "no difference"]


def test_folds_deal_every_usable_cell_once_and_evenly() -> None:
    usable = np.ones((3, 11), bool)
    usable[1, :4] = False
    fold = fold_of_cells(usable, 4, np.random.default_rng(1))
    assert ((fold >= 0) == usable).all()
    for row in fold:
        counts = np.bincount(row[row >= 0], minlength=4)
        assert counts.max() - counts.min() <= 1


def test_verdicts_need_two_standard_errors_and_finite_numbers() -> None:
    assert verdict(2.1, 1.0) == "joint better"
    assert verdict(-2.1, 1.0) == "joint worse"
    assert verdict(2.0, 1.0) == "no difference"
    for bad in ((np.nan, 1.0), (1.0, np.nan), (np.inf, 1.0)):
        with pytest.raises(ValueError, match="not finite"):
            verdict(*bad)
    difference = np.array([[1.0, 2.0, np.nan], [0.0, 1.0, np.nan]])
    assert clustered_se(difference) == pytest.approx(np.sqrt(2) * np.std([1, 3], ddof=1))
