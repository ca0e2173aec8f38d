"""Metrics found from draws: what they take off, and that they are bijections."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lndbayes.model.metric import Bends, Metric, without_bends
from lndbayes.model.metric_draws import metric_from
from lndbayes.model.metric_parts import MetricParts, Run
from lndbayes.model.site_law import SiteLaw, within_groups


def test_metric_of_draws_has_their_covariance_in_its_parts(rng):
    """Two shared coordinates, two groups of two, one more: what the parts should reproduce."""
    size = 7
    shared = np.array([[2.0, 0.0], [1.2, 0.5]])
    loads = rng.normal(0, 0.7, (5, 2))
    noise = np.zeros((5, 5))
    noise[0, 0] = noise[4, 4] = 0.8
    noise[1, 1], noise[2, 1], noise[2, 2] = 1.0, 0.9, 0.3  # coordinates 3 and 4 are a group
    noise[3, 3] = 1.5
    factor = np.zeros((size, size))
    factor[:2, :2] = shared
    factor[2:, :2] = loads
    factor[2:, 2:] = noise
    draws = 200_000
    x = 3.0 + rng.normal(size=(2, draws // 2, size)) @ factor.T
    found = metric_from(x, MetricParts(2, ((3, 4),)))
    whole = np.diag(found.scale)
    whole[:, :2] += found.factor
    whole[3:5, 3:5] += found.local[0]
    # sampling error of a covariance of this many draws; the shrinkage is 1e-5
    np.testing.assert_allclose(whole @ whole.T, factor @ factor.T, atol=0.05)
    np.testing.assert_allclose(found.mean, 3.0, atol=0.05)
    assert (np.triu(found.factor[:2], 1) == 0).all()
    np.testing.assert_allclose(found.to_x(np.eye(size)), found.mean + whole.T, rtol=1e-12)


def test_groups_of_any_coordinates_take_off_their_correlations(rng):
    """Groups need not be runs, nor of one length: draws come back as standard normal ones."""
    groups = ((1, 5, 2), (6, 3))
    whole = np.diag(rng.uniform(0.5, 2.0, 7))
    whole[5, 1], whole[2, 1], whole[2, 5], whole[3, 6], whole[4, 0] = 1.3, -0.8, 0.7, 1.9, 0.6
    draws = 200_000
    x = rng.normal(size=(1, draws, 7)) @ whole.T
    found = metric_from(x, MetricParts(1, groups))
    linear = (found.to_x(np.eye(7)) - found.mean).T
    np.testing.assert_allclose(linear @ linear.T, whole @ whole.T, atol=0.05)
    # to the order of a group's members, one factor is a triangular one
    assert linear[2, 5] == pytest.approx(0.7, abs=0.05)
    assert linear[5, 2] == 0


def test_metric_of_fewer_draws_than_coordinates_is_still_one(rng):
    """And of a coordinate that never moved."""
    x = np.concatenate([rng.normal(size=(1, 4, 30)), np.ones((1, 4, 1))], axis=-1)
    groups = tuple(range(15, 20)), tuple(range(20, 24))
    found = metric_from(x, MetricParts(12, groups, (np.arange(15, 25, 5), np.arange(25, 31))))
    for part in (found.scale, found.factor, found.local):
        assert np.isfinite(part).all()
    assert (np.diag(found.factor) > 0).all()
    within = np.einsum("bii->bi", found.local)
    np.testing.assert_array_equal(within > 0, [[True] * 5, [True] * 4 + [False]])
    np.testing.assert_array_equal(found.members[1], [20, 21, 22, 23, -1])
    in_parts = [*range(12), *range(15, 24)]
    assert (found.scale[in_parts] == 0).all()
    assert (np.delete(found.scale, in_parts) > 0).all()


def test_bends_are_undone_and_know_their_jacobian(rng):
    """Against the determinant of finite differences."""
    e = np.array([0.7, -0.9])
    shape = np.column_stack([[0.3, -1.0], [0.5, 1.4], np.cosh(e), np.sinh(e)])
    runs = np.array([[0, 2, 4, 2], [1, 4, 7, -1]])
    found = Bends(np.array([0, 1]), shape, runs, rng.normal(size=5), rng.exponential(3.0, 5))
    w = rng.normal(size=(20, 8))
    x = found.bend(w)
    again, jacobian = found.straighten(x)
    np.testing.assert_allclose(again, w, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(x[:, 7], w[:, 7])
    step = 1e-5 * np.eye(8)
    for point, value in zip(w, jacobian, strict=True):
        slopes = (found.bend(point + step) - found.bend(point - step)) / 2e-5
        assert np.linalg.slogdet(slopes)[1] == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("e", [-0.8, 0.4])
def test_a_skewed_scale_becomes_normal(rng, e):
    """Draws of the sinh-arcsinh law itself; and of a log scale with an exponential posterior."""
    u = rng.normal(size=(2, 20_000))
    known = 3.0 + 0.7 * (u * np.cosh(e) + np.sqrt(1 + u**2) * np.sinh(e))
    x = np.stack([known, np.log(rng.exponential(size=u.shape)), u], axis=-1)
    bends = metric_from(x, MetricParts(3, scales=(0, 1, 2))).bends
    w, _ = bends.straighten(x.reshape(-1, 3))
    np.testing.assert_array_equal(bends.skewed[:2], [0, 1])
    # 40,000 draws: skewness and kurtosis are known to 0.012 and 0.025
    assert stats.skew(w[:, 0]) == pytest.approx(0, abs=0.05)
    assert stats.kurtosis(w[:, 0]) == pytest.approx(0, abs=0.1)
    # a law of another kind is only brought nearer: its tail is longer than this family's
    assert abs(stats.skew(w[:, 1])) < 0.5
    assert stats.skew(x[..., 1].ravel()) < -1
    # what is normal already stays as it is, but for the draws' own noise
    np.testing.assert_allclose(w[:, 2], u.ravel(), atol=0.2)


def test_scales_that_never_moved_are_not_bent():
    """As those of a chain that is stuck: no skewness, and no warning."""
    for value in (0.25, -2.0940179):
        found = metric_from(np.full((1, 50, 4), value), MetricParts(4, scales=(0, 1, 2, 3)))
        assert found.bends.skewed.size == 0
        np.testing.assert_allclose(found.mean, value, rtol=1e-12)


def test_skewness_that_is_noise_bends_nothing(rng):
    x = rng.normal(size=(2, 30, 4))
    assert len(metric_from(x, MetricParts(4, scales=(0, 1, 2, 3))).bends.skewed) < 2


def test_coordinates_of_a_scale_lose_its_hold_on_their_spread(rng):
    """Normal data of known precision on products of a scale and standard normals.

    Given the scale s the posterior variance is 1 / (1 + s^2 information), a closed form.
    """
    count, information = 12, np.geomspace(0.05, 30, 12)
    log_scale = rng.normal(-0.2, 0.8, (2, 20_000))
    spread = 1 / np.sqrt(1 + np.exp(2 * log_scale)[..., None] * information)
    z = spread * rng.normal(size=(*log_scale.shape, count))
    x = np.concatenate([log_scale[..., None], z], axis=-1)
    parts = MetricParts(1, scales=(0,), runs=(Run(0, 1, 1 + count),))
    bends = metric_from(x, parts).bends
    np.testing.assert_allclose(bends.information, information, rtol=0.1, atol=0.02)
    w, _ = bends.straighten(x.reshape(-1, 1 + count))
    before, after = (
        np.corrcoef(log_scale.ravel(), (values**2).sum(axis=1))[0, 1]
        for values in (z.reshape(-1, count), w[:, 1:])
    )
    assert before < -0.5
    assert abs(after) < 0.05


def test_shares_lose_the_hold_of_their_concentration(rng):
    """Log shares of a Dirichlet-multinomial count of n vary with ``1 / n + 1 / v``."""
    log_v, n = rng.normal(4.0, 0.6, (2, 10_000)), np.array([30.0, 300.0, 0.0])
    spread = np.sqrt(1 / np.exp(log_v)[..., None] + 1 / np.maximum(n, 1e-9) * (n > 0))
    spread[..., n == 0] = 1.3  # nothing recorded: the prior's spread, whatever v
    x = np.array([0.4, -1.0, 0.2]) + spread * rng.normal(size=(*log_v.shape, 3))
    x = np.concatenate([log_v[..., None], x], axis=-1)
    bends = metric_from(x, MetricParts(1, scales=(0,), runs=(Run(0, 1, 4, -1, n),))).bends
    w, _ = bends.straighten(x.reshape(-1, 4))
    for i in range(1, 4):
        assert abs(np.corrcoef(log_v.ravel(), w[:, i] ** 2)[0, 1]) < 0.03
    assert np.corrcoef(log_v.ravel(), (x[..., 2].ravel() + 1.0) ** 2)[0, 1] < -0.1
    np.testing.assert_allclose(bends.middle, [0.4, -1.0, 0.2], atol=0.05)


def test_coordinates_without_information_keep_their_prior(rng):
    """As far from their scale as under the prior: nothing is bent."""
    x = np.concatenate([rng.normal(size=(2, 300, 1)), 1.1 * rng.normal(size=(2, 300, 6))], axis=-1)
    bends = metric_from(x, MetricParts(1, runs=(Run(0, 1, 7),))).bends
    np.testing.assert_allclose(bends.information, 0, atol=1e-6)


def test_linear_coordinates_agree_with_bent_ones_in_the_middle(rng):
    """Same point and same slopes there, but for what a scalar does to the coordinates it rules."""
    log_scale = np.log(rng.gamma(2.0, size=(2, 500)))
    z = rng.normal(size=(2, 500, 6)) / np.sqrt(1 + 3 * np.exp(2 * log_scale))[..., None]
    other = rng.normal(size=(2, 500, 1)) + log_scale[..., None]
    x = np.concatenate([log_scale[..., None], z, other], axis=-1)
    parts = MetricParts(1, ((1, 2), (3, 4), (5, 6)), scales=(0,), runs=(Run(0, 1, 7),))
    found = metric_from(x, parts)
    assert len(found.bends.skewed) == 1
    assert found.bends.information.min() > 1
    plain = without_bends(found)
    assert not len(plain.bends.runs)
    zero, step = np.zeros(8), 1e-6 * np.eye(8)
    np.testing.assert_allclose(plain.to_x(zero), found.to_x(zero), rtol=1e-12)
    slopes = [(m.to_x(step) - m.to_x(-step)).T / 2e-6 for m in (plain, found)]
    np.testing.assert_allclose(slopes[0][0], slopes[1][0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(slopes[0][7], slopes[1][7], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(slopes[0][1:7, 1:], slopes[1][1:7, 1:], rtol=1e-6, atol=1e-9)
