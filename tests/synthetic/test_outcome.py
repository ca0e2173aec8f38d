"""The beta-binomial sampler against scipy and against its own moments."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import betabinom

from lndbayes.synthetic import beta_binomial_quantile
from lndbayes.synthetic.families import Cells, draw_counts
from lndbayes.synthetic.outcomes import OTHERS


@pytest.mark.parametrize("concentration", [0.7, 20.0, 150.0, 1e5])
def test_quantiles_equal_scipys(concentration):
    uniform, trials, rate = (
        grid.ravel()
        for grid in np.meshgrid(
            np.linspace(0.0005, 0.9995, 41), np.array([1, 7, 45, 180]), np.array([0.003, 0.12, 0.9])
        )
    )
    ours = beta_binomial_quantile(uniform, trials, rate, concentration)
    theirs = betabinom.ppf(uniform, trials, rate * concentration, (1 - rate) * concentration)
    np.testing.assert_array_equal(ours, theirs)


def test_moments_are_the_beta_binomials():
    # Midpoints of 200,000 equal slices of (0, 1) integrate the quantile function; its steps make
    # an error of at most one slice a count, far below the tolerance.
    uniform = (np.arange(200_000) + 0.5) / 200_000
    n, p, phi = 45, 0.12, 150.0
    drawn = beta_binomial_quantile(
        uniform, np.full(uniform.size, n), np.full(uniform.size, p), phi
    ).astype(float)
    assert drawn.mean() == pytest.approx(n * p, rel=1e-4)
    assert drawn.var() == pytest.approx(n * p * (1 - p) * (n + phi) / (1 + phi), rel=1e-3)


def test_a_higher_rate_never_gives_fewer_events():
    uniform = np.random.default_rng(1).random((1, 500)).repeat(30, axis=0)
    rate = np.linspace(0.01, 0.6, 30)[:, None] * np.ones((1, 500))
    counts = beta_binomial_quantile(uniform, np.full(rate.shape, 60), rate, 80.0)
    assert (np.diff(counts, axis=0) >= 0).all()


def test_a_count_never_exceeds_its_trials():
    trials = np.array([[1, 3], [12, 200]])
    almost_one = np.full(trials.shape, np.nextafter(1.0, 0.0))
    counts = beta_binomial_quantile(almost_one, trials, np.full(trials.shape, 0.4), 1e9)
    assert (counts <= trials).all()
    assert (counts >= 0).all()


@pytest.mark.parametrize("name", ["offending", "ae_attendances", "wellbeing", "court_duration"])
def test_a_source_that_holds_half_holds_half_of_the_events(name):
    """And where nobody says how a missing record looks, none is made up."""
    shape = (40, 30)
    rngs = {k: np.random.default_rng(4) for k in ("outcome", "start", "newcomers")}
    rngs |= {k: np.random.default_rng(5) for k in ("newcomer_start", "newcomer_outcome")}

    def drawn(share: float) -> np.ndarray:
        eta, n = np.full(shape, -1.0), np.full(shape, 200)
        cells = Cells(n, n, eta, eta, np.full(shape[1], share), np.zeros(shape))
        return draw_counts(OTHERS[name], cells, rngs).count

    if name in ("wellbeing", "court_duration"):
        assert drawn(1.0).sum() > 0
        with pytest.raises(ValueError, match="no law of records that are missing"):
            drawn(0.5)
        return
    assert drawn(0.5).sum() / drawn(1.0).sum() == pytest.approx(0.5, abs=0.02)
