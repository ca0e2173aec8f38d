"""Quantile functions against SciPy, and staged draws against every way they can fall."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from lndbayes.synthetic.counts import (
    closing_counts,
    dispersion,
    negative_binomial_quantile,
    stage_shares,
    staged_counts,
)
from lndbayes.synthetic.surface import expit

#: Offsets from the values of the distribution function, where a quantile jumps.
_SHIFT = 1e-9


@pytest.mark.parametrize("mean", [0.02, 0.9, 17.0, 260.0, 2500.0])
@pytest.mark.parametrize("size", [0.3, 6.0, 150.0])
def test_negative_binomial_quantile_is_scipys(mean, size):
    law = stats.nbinom(size, size / (size + mean))
    uniform = np.concatenate([np.linspace(0, 0.9995, 700), [0.99999, 1 - 1e-9]])
    found = negative_binomial_quantile(
        uniform, np.full(uniform.shape, mean), np.full(uniform.shape, size)
    )
    # Smallest count whose distribution function reaches the number, to SciPy's own rounding.
    assert (law.cdf(found) >= uniform - _SHIFT).all()
    assert (law.cdf(found - 1) < uniform + _SHIFT).all()
    sure = uniform < 0.999
    np.testing.assert_array_equal(found[sure][1:], law.ppf(uniform[sure][1:]))


def test_negative_binomial_moments():
    # A midpoint rule over the uniform numbers is the law itself; its tail is cut at 1/80,000.
    uniform = ((np.arange(40_000) + 0.5) / 40_000).reshape(200, 200)
    mean, size = np.full(uniform.shape, 30.0), np.full(uniform.shape, 8.0)
    drawn = negative_binomial_quantile(uniform, mean, size)
    assert drawn.shape == uniform.shape
    assert drawn.mean() == pytest.approx(30.0, rel=1e-3)
    assert drawn.var() == pytest.approx(30.0 + 30.0**2 / 8.0, rel=5e-3)


def test_negative_binomial_without_a_mean_and_with_a_number_next_to_one():
    uniform = np.array([0.0, 0.5, np.nextafter(1.0, 0.0)])
    none = negative_binomial_quantile(uniform, np.zeros(3), np.ones(3))
    np.testing.assert_array_equal(none, 0)
    some = negative_binomial_quantile(uniform, np.full(3, 40.0), np.full(3, 20.0))
    assert some[0] == 0
    assert 40 < some[2] < 400  # it ends, though the sum may never reach the number


def test_counts_rise_with_the_mean(rng):
    uniform = rng.random(500)
    means = [np.full(500, m) for m in (3.0, 3.3, 5.0)]
    low, middle, high = (negative_binomial_quantile(uniform, m, np.full(500, 4.0)) for m in means)
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert (middle > low).any()


def test_dispersion_adds_the_variances_of_persons_and_cells(rng):
    """Oracle: a cell's rate times the mean of its persons' rates, by simulation."""
    size = dispersion(np.array([50]), 0.4, 60.0)[0]
    assert 1 / size == pytest.approx(1 / 20 + 1 / 60)
    persons = rng.gamma(0.4, 1 / 0.4, (40_000, 50)).mean(axis=1)
    cells = rng.gamma(60.0, 1 / 60.0, 40_000)
    relative = (persons * cells).var()
    # The product of the two relative variances, 1/1200, is what the sum leaves out.
    assert relative == pytest.approx(1 / size + 1 / 1200, rel=0.05)


def _beta_binomial(n, eta, phi):
    p = float(expit(np.array(eta)))
    return stats.betabinom(n, p * phi, (1 - p) * phi)


def test_staged_counts_have_the_probabilities_of_every_path():
    """Oracle: all ways in which four events can fall into three bands, stage by stage."""
    total, logits, phi = 4, (0.4, -0.7), 9.0
    exact = {}
    for second, third in product(range(5), repeat=2):
        if third <= second:
            p = _beta_binomial(total, logits[0], phi).pmf(second)
            p *= _beta_binomial(second, logits[1], phi).pmf(third) if second else float(third == 0)
            exact[(total - second, second - third, third)] = p
    assert sum(exact.values()) == pytest.approx(1)
    side = 400
    grid = (np.arange(side) + 0.5) / side
    uniform = np.stack(np.meshgrid(grid, grid, indexing="ij"))
    full = np.full((side, side), 1.0)
    bands = staged_counts(uniform, np.full((side, side), total), [a * full for a in logits], phi)
    assert (bands.sum(axis=0) == total).all()
    paths, number = np.unique(bands.reshape(3, -1), axis=1, return_counts=True)
    found = {tuple(path): k / side**2 for path, k in zip(paths.T.tolist(), number, strict=True)}
    assert set(found) <= set(exact)
    for path, p in exact.items():
        # Each stage's number is off by at most one cell of the grid at either end.
        assert found.get(path, 0.0) == pytest.approx(p, abs=3 / side)


def test_shares_of_bands_are_products_of_their_stages():
    logits = [np.array([0.2, -1.0]), np.array([-0.4, 0.3]), np.array([1.1, 0.0])]
    up = [1 / (1 + np.exp(-x)) for x in logits]
    by_hand = [1 - up[0], up[0] * (1 - up[1]), up[0] * up[1] * (1 - up[2]), up[0] * up[1] * up[2]]
    np.testing.assert_allclose(stage_shares(logits), by_hand)
    np.testing.assert_allclose(np.sum(by_hand, axis=0), 1.0)


def test_no_events_have_no_bands(rng):
    total = np.zeros((3, 4), dtype=np.int64)
    bands = staged_counts(rng.random((2, 3, 4)), total, [np.zeros((3, 4))] * 2, 10.0)
    assert bands.shape == (3, 3, 4)
    assert not bands.any()


def test_closings_have_the_hazards_of_those_at_risk(rng):
    sites, months, phi = 400, 6, 1e6
    cases = np.full((sites, months), 200)
    eta = np.full((sites, months), -0.3)
    constants = (0.0, -0.5, 0.4)
    followed = np.array([3, 3, 3, 3, 2, 1])
    uniform = rng.random((3, sites, months))
    closed, still_open = closing_counts(uniform, cases, [a + eta for a in constants], followed, phi)
    np.testing.assert_array_equal(closed.sum(axis=0) + still_open.sum(axis=0), cases)
    assert not still_open[:, :, :4].any()
    assert not still_open[[0, 1, 3], :, 4].any()
    assert not still_open[[0, 2, 3], :, 5].any()
    assert not closed[2:, :, 4].any()  # nothing is known beyond the follow-up
    left = float(cases[:, :4].sum())
    for j, a in enumerate(constants):
        hazard = 1 - np.exp(-np.exp(a - 0.3))
        share = closed[j, :, :4].sum() / left
        assert share == pytest.approx(hazard, abs=5 * np.sqrt(hazard * (1 - hazard) / left))
        left -= closed[j, :, :4].sum()
    # A month whose follow-up ends in the third bin has the same first two hazards: no bias.
    first = closed[0, :, 4].sum() / cases[:, 4].sum()
    assert first == pytest.approx(1 - np.exp(-np.exp(-0.3)), abs=0.01)
