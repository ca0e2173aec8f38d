"""Chain statistics against ArviZ, quantity by quantity, and against what is known exactly."""

from __future__ import annotations

import arviz_stats
import numpy as np
import pytest
import xarray as xr
from arviz_stats.base import array_stats

from lndbayes.fitting.chain_statistics import TAIL_PROBS, chain_statistics, ess_mean

# The same sums in another order: only rounding may differ.
RTOL = 1e-9


def ar(rng: np.random.Generator, shape: tuple[int, int, int], rho: float) -> np.ndarray:
    x = rng.normal(size=shape)
    for t in range(1, shape[2]):
        x[:, :, t] = rho * x[:, :, t - 1] + np.sqrt(1 - rho**2) * x[:, :, t]
    return x


KINDS = {
    "independent": lambda r, s: r.normal(size=s),
    "slow": lambda r, s: ar(r, s, 0.95),
    "antithetic": lambda r, s: ar(r, s, -0.6),
    "ties": lambda r, s: np.round(r.normal(size=s)),
    "apart": lambda r, s: r.normal(size=s) + 0.3 * np.arange(s[1])[:, None],
    "heavy": lambda r, s: r.standard_cauchy(size=s),
    "tiny": lambda r, s: 1e-9 * r.normal(size=s),
}
# Even and odd numbers of draws, the fewest that have an answer, one chain.
SHAPES = [(20, 4, 500), (20, 4, 501), (20, 2, 50), (20, 1, 40), (20, 3, 4), (20, 4, 5), (20, 2, 9)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_arviz(rng, kind, shape):
    x = KINDS[kind](rng, shape)
    ours = chain_statistics(x)
    if shape[1] > 1:
        np.testing.assert_allclose(ours.rhat, array_stats.rhat(x), rtol=RTOL)
    else:
        assert np.isnan(ours.rhat).all()
    np.testing.assert_allclose(ours.ess_bulk, array_stats.ess(x), rtol=RTOL)
    tail = array_stats.ess(x, method="tail", prob=TAIL_PROBS)
    np.testing.assert_allclose(ours.ess_tail, tail, rtol=RTOL)
    np.testing.assert_allclose(ess_mean(x), array_stats.ess(x, method="mean"), rtol=RTOL)


def test_equals_the_labelled_functions_of_arviz(rng):
    x = ar(rng, (5, 4, 200), 0.5)
    labelled = xr.DataArray(x, dims=("site", "chain", "draw"))
    ours = chain_statistics(x)
    np.testing.assert_allclose(ours.rhat, arviz_stats.rhat(labelled).values, rtol=RTOL)
    np.testing.assert_allclose(
        ours.ess_tail,
        arviz_stats.ess(labelled, method="tail", prob=TAIL_PROBS).values,
        rtol=RTOL,
    )


def test_more_quantities_than_a_block(rng):
    x = rng.normal(size=(300, 2, 20))
    whole = chain_statistics(x)
    one_by_one = [chain_statistics(x[i : i + 1]).rhat[0] for i in range(300)]
    np.testing.assert_array_equal(whole.rhat, one_by_one)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_draw_spoils_its_quantity_and_no_other(rng, bad):
    x = rng.normal(size=(3, 4, 100))
    clean = chain_statistics(x)
    x[1, 2, 50] = bad
    ours = chain_statistics(x)
    for name in ("rhat", "ess_bulk", "ess_tail"):
        now, before = getattr(ours, name), getattr(clean, name)
        assert np.isnan(now[1])
        np.testing.assert_array_equal(now[[0, 2]], before[[0, 2]])
    assert np.isnan(ess_mean(x)[1])


def test_a_constant_has_no_rhat(rng):
    x = rng.normal(size=(2, 4, 100))
    x[0] = 3.0
    assert np.isnan(chain_statistics(x).rhat[0])
    assert ess_mean(x)[0] == 400


def test_a_stuck_chain_shows_in_rhat(rng):
    x = rng.normal(size=(1, 4, 500))
    x[0, 2] = x[0, 2, 0] + 1.0
    assert chain_statistics(x).rhat[0] > 1.2


def test_ess_of_independent_draws_is_their_number(rng):
    ess = chain_statistics(rng.normal(size=(200, 4, 1000))).ess_bulk
    # Each estimate is good to some 5%, their mean to less than 1%.
    assert ess.mean() == pytest.approx(4000, rel=0.02)


def test_ess_of_an_ar1_chain_is_its_known_value(rng):
    rho = 0.8
    ess = ess_mean(ar(rng, (100, 4, 5000), rho))
    assert ess.mean() == pytest.approx(20000 * (1 - rho) / (1 + rho), rel=0.03)


def test_too_few_draws_and_a_wrong_shape(rng):
    assert np.isnan(chain_statistics(rng.normal(size=(2, 4, 3))).ess_bulk).all()
    assert chain_statistics(np.empty((0, 4, 10))).rhat.shape == (0,)
    with pytest.raises(ValueError, match="quantity, chain, draw"):
        chain_statistics(rng.normal(size=(4, 100)))
