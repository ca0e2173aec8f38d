"""Coordinates found from draws: what they remove, and that they are bijections."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lndbayes.coordinates import from_draws, site_gaussian_draws
from lndbayes.coordinates.from_draws import _within, coordinates_from
from lndbayes.coordinates.groups import CoordinateGroups, Run
from lndbayes.coordinates.residual_scaling import with_residual_scaling
from lndbayes.coordinates.shrinkage import regressions
from lndbayes.coordinates.site_gaussian import SiteGaussian, within_groups
from lndbayes.coordinates.site_gaussian_draws import (
    Curvature,
    _at_typical_scales,
    _signs,
    conjugate_gradients,
    curvature_at,
)
from lndbayes.coordinates.transform import Coordinates, NonlinearMap, linearised


def of_normal(covariance, mean=0.0):
    """Gradient of a normal's log density, as the sampler's density gives it."""
    precision = np.linalg.inv(covariance)

    def gradient(x, out):
        out[:] = precision @ (mean - x)
        return 0.0

    return gradient


@pytest.fixture(autouse=True)
def _every_draw(monkeypatch):
    """Many draws take the place of a wide tolerance; a fit's own coordinates are made of fewer."""
    monkeypatch.setattr(from_draws, "_MOST_DRAWS", 10**6)
    monkeypatch.setattr(site_gaussian_draws, "_SOME_DRAWS", 10**6)


def never(x, out):
    raise AssertionError("no groups: no curvature is asked for")


def test_coordinates_of_draws_have_their_covariance_in_its_parts(rng):
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
    gradient = of_normal(factor @ factor.T, 3.0)
    found = coordinates_from(x, CoordinateGroups(2, np.array([[3, 4]])), gradient)
    whole = np.diag(found.scale)
    whole[:, :2] += found.factor
    whole[3:5, 3:5] += found.local[0]
    # sampling error of a covariance of this many draws; the shrinkage is 1e-5
    np.testing.assert_allclose(whole @ whole.T, factor @ factor.T, atol=0.05)
    np.testing.assert_allclose(found.mean, 3.0, atol=0.05)
    assert (np.triu(found.factor[:2], 1) == 0).all()
    np.testing.assert_allclose(found.to_x(np.eye(size)), found.mean + whole.T, rtol=1e-12)


def test_groups_of_any_coordinates_take_off_their_correlations(rng):
    """Groups need not be runs: draws come back as standard normal ones."""
    correlated = np.array([[1, 5, 2], [6, 3, 4]])
    whole = np.diag(rng.uniform(0.5, 2.0, 7))
    whole[5, 1], whole[2, 1], whole[2, 5], whole[3, 6], whole[4, 0] = 1.3, -0.8, 0.7, 1.9, 0.6
    draws = 200_000
    x = rng.normal(size=(1, draws, 7)) @ whole.T
    found = coordinates_from(x, CoordinateGroups(1, correlated), of_normal(whole @ whole.T))
    linear = (found.to_x(np.eye(7)) - found.mean).T
    np.testing.assert_allclose(linear @ linear.T, whole @ whole.T, atol=0.05)
    # to the order of a group's members, one factor is a triangular one
    assert linear[2, 5] == pytest.approx(0.7, abs=0.05)
    assert linear[5, 2] == 0


def test_fewer_draws_than_coordinates_are_enough(rng):
    """And of a coordinate that never moved."""
    x = np.concatenate([rng.normal(size=(1, 4, 30)), np.ones((1, 4, 1))], axis=-1)
    correlated = np.arange(15, 23).reshape(2, 4)
    found = coordinates_from(x, CoordinateGroups(12, correlated), of_normal(np.eye(31)))
    for part in (found.scale, found.factor, found.local):
        assert np.isfinite(part).all()
    assert (np.diag(found.factor) > 0).all()
    assert (np.einsum("bii->bi", found.local) > 0).all()
    np.testing.assert_array_equal(found.members, correlated)
    in_parts = [*range(12), *range(15, 23)]
    assert (found.scale[in_parts] == 0).all()
    assert (np.delete(found.scale, in_parts) > 0).all()


def test_the_nonlinear_map_is_undone_and_knows_its_jacobian(rng):
    """Against the determinant of finite differences."""
    e = np.array([0.7, -0.9])
    shape = np.column_stack([[0.3, -1.0], [0.5, 1.4], np.cosh(e), np.sinh(e)])
    runs = np.array([[0, 2, 4, 2], [1, 4, 7, -1]])
    found = NonlinearMap(np.array([0, 1]), shape, runs, rng.normal(size=5), rng.exponential(3.0, 5))
    w = rng.normal(size=(20, 8))
    x = found.forward(w)
    again, jacobian = found.inverse(x)
    np.testing.assert_allclose(again, w, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(x[:, 7], w[:, 7])
    step = 1e-5 * np.eye(8)
    for point, value in zip(w, jacobian, strict=True):
        slopes = (found.forward(point + step) - found.forward(point - step)) / 2e-5
        assert np.linalg.slogdet(slopes)[1] == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("e", [-0.8, 0.4])
def test_a_skewed_scale_becomes_normal(rng, e):
    """Sinh-arcsinh draws themselves; and those of a log scale with an exponential posterior."""
    u = rng.normal(size=(2, 20_000))
    known = 3.0 + 0.7 * (u * np.cosh(e) + np.sqrt(1 + u**2) * np.sinh(e))
    x = np.stack([known, np.log(rng.exponential(size=u.shape)), u], axis=-1)
    nonlinear = coordinates_from(x, CoordinateGroups(3, scales=(0, 1, 2)), never).nonlinear
    w, _ = nonlinear.inverse(x.reshape(-1, 3))
    np.testing.assert_array_equal(nonlinear.skewed[:2], [0, 1])
    # 40,000 draws: skewness and kurtosis are known to 0.012 and 0.025
    assert stats.skew(w[:, 0]) == pytest.approx(0, abs=0.05)
    assert stats.kurtosis(w[:, 0]) == pytest.approx(0, abs=0.1)
    # a distribution of another kind is only brought nearer: its tail is longer than this family's
    assert abs(stats.skew(w[:, 1])) < 0.5
    assert stats.skew(x[..., 1].ravel()) < -1
    # what is normal already stays as it is, but for the draws' own noise
    np.testing.assert_allclose(w[:, 2], u.ravel(), atol=0.2)


def test_scales_that_never_moved_are_not_mapped():
    """As those of a chain that is stuck: no skewness, and no warning."""
    for value in (0.25, -2.0940179):
        found = coordinates_from(
            np.full((1, 50, 4), value), CoordinateGroups(4, scales=(0, 1, 2, 3)), never
        )
        assert found.nonlinear.skewed.size == 0
        np.testing.assert_allclose(found.mean, value, rtol=1e-12)


def test_skewness_that_is_noise_changes_nothing(rng):
    x = rng.normal(size=(2, 30, 4))
    assert (
        len(coordinates_from(x, CoordinateGroups(4, scales=(0, 1, 2, 3)), never).nonlinear.skewed)
        < 2
    )


def test_coordinates_of_a_scale_lose_its_hold_on_their_spread(rng):
    """Normal data of known precision on products of a scale and standard normals.

    Given the scale s the posterior variance is 1 / (1 + s^2 information), a closed form.
    """
    count, information = 12, np.geomspace(0.05, 30, 12)
    log_scale = rng.normal(-0.2, 0.8, (2, 20_000))
    spread = 1 / np.sqrt(1 + np.exp(2 * log_scale)[..., None] * information)
    z = spread * rng.normal(size=(*log_scale.shape, count))
    x = np.concatenate([log_scale[..., None], z], axis=-1)
    groups = CoordinateGroups(1, scales=(0,), runs=(Run(0, 1, 1 + count),))
    nonlinear = coordinates_from(x, groups, never).nonlinear
    np.testing.assert_allclose(nonlinear.information, information, rtol=0.1, atol=0.02)
    w, _ = nonlinear.inverse(x.reshape(-1, 1 + count))
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
    groups = CoordinateGroups(1, scales=(0,), runs=(Run(0, 1, 4, -1, n),))
    nonlinear = coordinates_from(x, groups, never).nonlinear
    w, _ = nonlinear.inverse(x.reshape(-1, 4))
    for i in range(1, 4):
        assert abs(np.corrcoef(log_v.ravel(), w[:, i] ** 2)[0, 1]) < 0.03
    assert np.corrcoef(log_v.ravel(), (x[..., 2].ravel() + 1.0) ** 2)[0, 1] < -0.1
    np.testing.assert_allclose(nonlinear.middle, [0.4, -1.0, 0.2], atol=0.05)


def test_coordinates_without_information_keep_their_prior(rng):
    """As far from their scale as under the prior: the map leaves them."""
    x = np.concatenate([rng.normal(size=(2, 300, 1)), 1.1 * rng.normal(size=(2, 300, 6))], axis=-1)
    nonlinear = coordinates_from(x, CoordinateGroups(1, runs=(Run(0, 1, 7),)), never).nonlinear
    np.testing.assert_allclose(nonlinear.information, 0, atol=1e-6)


def test_linear_coordinates_agree_with_nonlinear_ones_at_the_centre(rng):
    """Same point and same slopes there, but for what a scalar does to the coordinates it rules."""
    log_scale = np.log(rng.gamma(2.0, size=(2, 500)))
    z = rng.normal(size=(2, 500, 6)) / np.sqrt(1 + 3 * np.exp(2 * log_scale))[..., None]
    other = rng.normal(size=(2, 500, 1)) + log_scale[..., None]
    x = np.concatenate([log_scale[..., None], z, other], axis=-1)
    correlated = np.arange(1, 7).reshape(3, 2)
    groups = CoordinateGroups(1, correlated, scales=(0,), runs=(Run(0, 1, 7),))
    found = coordinates_from(x, groups, of_normal(np.eye(8)))
    assert len(found.nonlinear.skewed) == 1
    assert found.nonlinear.information.min() > 1
    plain = linearised(found)
    assert not len(plain.nonlinear.runs)
    zero, step = np.zeros(8), 1e-6 * np.eye(8)
    np.testing.assert_allclose(plain.to_x(zero), found.to_x(zero), rtol=1e-12)
    slopes = [(m.to_x(step) - m.to_x(-step)).T / 2e-6 for m in (plain, found)]
    np.testing.assert_allclose(slopes[0][0], slopes[1][0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(slopes[0][7], slopes[1][7], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(slopes[0][1:7, 1:], slopes[1][1:7, 1:], rtol=1e-6, atol=1e-9)


def a_site_gaussian(rng, sites=5, kinds=3, scalars=(0, 1, -1), shared_scalars=(-1, -1, -1, 2)):
    """Scalars and what is shared, then coordinates of sites by kind; the last site lacks one."""
    members = len(shared_scalars) + np.arange(sites * kinds).reshape(kinds, sites).T
    members[-1, 1] = -1
    is_one = members >= 0
    root = rng.normal(size=(sites, kinds, kinds))
    root[-1, 1] = 0.0
    score = rng.normal(size=(sites, kinds)) * is_one
    score_slope = rng.normal(size=(sites, kinds, len(shared_scalars))) * is_one[..., None]
    information = root @ root.swapaxes(1, 2)
    return SiteGaussian(
        members, np.array(scalars), information, score, score_slope, np.array(shared_scalars)
    )


def test_a_sites_gaussian_is_a_normal_prior_times_a_normal_likelihood(rng):
    """Mean and covariance in closed form, at several points."""
    gaussian = a_site_gaussian(rng)
    nonlinear = NonlinearMap(gaussian=gaussian)
    for _ in range(3):
        w = rng.normal(size=19)
        x = nonlinear.forward(w)
        np.testing.assert_array_equal(x[:4], w[:4])
        v = np.diag([np.exp(w[0]), np.exp(w[1]), 1.0])
        # one shared coordinate has another for its scale
        shared = np.array([w[0], w[1], w[2], w[3] * np.exp(w[2])])
        turn, follows = gaussian.factors(x)
        for site in range(5):
            is_one = gaussian.members[site] >= 0
            at = gaussian.members[site][is_one]
            precision = np.diag([1.0, 1.0, 0.0]) + v @ gaussian.information[site] @ v
            score = v @ (gaussian.score[site] + gaussian.score_slope[site] @ shared)
            mean = np.linalg.solve(precision, score)
            own = np.where(is_one, w[gaussian.members[site]], 0.0)
            np.testing.assert_allclose(x[at], (mean + turn[site] @ own)[is_one], rtol=1e-9)
            np.testing.assert_allclose(turn[site] @ turn[site].T @ precision, np.eye(3), atol=1e-9)
            # what no scale of a site's is in moves the score only
            for j in (2, 3):
                step = 1e-6 * np.eye(19)[j]
                slope = (nonlinear.forward(w + step) - nonlinear.forward(w - step))[at] / 2e-6
                np.testing.assert_allclose(follows[site][is_one, j], slope, rtol=1e-5, atol=1e-7)


def test_a_sites_gaussian_is_undone_and_knows_its_jacobian(rng):
    nonlinear = NonlinearMap(gaussian=a_site_gaussian(rng))
    w, step = rng.normal(size=(4, 19)), 1e-5 * np.eye(19)
    x = nonlinear.forward(w)
    # the second kind's place of the last site stays what it was
    np.testing.assert_array_equal(x[:, 13], w[:, 13])
    again, jacobian = nonlinear.inverse(x)
    np.testing.assert_allclose(again, w, rtol=1e-9, atol=1e-10)
    for i in range(4):
        slopes = (nonlinear.forward(w[i] + step) - nonlinear.forward(w[i] - step)) / 2e-5
        assert np.linalg.slogdet(slopes)[1] == pytest.approx(jacobian[i], abs=1e-7)


def a_mixed_site_gaussian(rng, sites=4, mixed=3, kinds=2):
    """Log scale of the deviation, effects and their log scale, shares, then sites by kind."""
    first = 2 + mixed - 1
    last = first + sites * (mixed - 1)
    members = last + np.arange(sites * kinds).reshape(kinds, sites).T
    root = rng.normal(size=(sites, kinds, kinds))
    information = root @ root.swapaxes(1, 2) + np.eye(kinds)
    score, score_slope = rng.normal(size=(sites, kinds)), np.zeros((sites, kinds, first))
    reference_mix = rng.dirichlet(np.ones(mixed), sites)
    gaussian = SiteGaussian(
        *(
            members,
            np.array([-1, 0]),
            information,
            score,
            score_slope,
            np.full(first, -1),
            reference_mix,
        ),
        np.array([first, 2, 1, 1]),
    )
    return gaussian, slice(first, last), last + sites * kinds


def a_mixed_density(gaussian, x):
    """Log prior and likelihood of sites' coordinates, written out, at points of shape (..., D)."""
    sites, mixed = gaussian.reference_mix.shape
    first, at, scale, kind = gaussian.mix_at
    logits = x[..., first : first + sites * (mixed - 1)].reshape(*x.shape[:-1], sites, -1)
    weights = np.exp(np.concatenate([logits, -logits.sum(-1, keepdims=True)], -1))
    shares = weights / weights.sum(-1, keepdims=True)
    z = x[..., at : at + mixed - 1]
    # an orthonormal basis of what sums to zero, in PyMC's own order
    eye = np.eye(mixed - 1)
    basis = np.vstack([eye - 1 / (mixed + np.sqrt(mixed)), np.full(mixed - 1, -(mixed**-0.5))])
    np.testing.assert_allclose(basis.T @ basis, eye, atol=1e-12)
    effects = np.exp(x[..., scale, None]) * (z @ basis.T)
    own = x[..., gaussian.members]
    known = own * np.array([1.0, 0.0]) + np.exp(x[..., 0, None, None]) * own * np.array([0.0, 1.0])
    shift = np.einsum("...sm,...m->...s", shares - gaussian.reference_mix, effects)
    known[..., kind] += shift
    value = np.einsum("sk,...sk->...", gaussian.score, known)
    value -= 0.5 * np.einsum("...sk,skl,...sl->...", known, gaussian.information, known)
    return value - 0.5 * (own[..., kind] ** 2).sum(axis=(-1))


def test_a_site_follows_its_mix(rng):
    """In coordinates w a site is standard normal whatever shares and effects are."""
    gaussian, _, size = a_mixed_site_gaussian(rng)
    nonlinear = NonlinearMap(gaussian=gaussian)
    others = rng.normal(size=(40, size))
    values = []
    for w in (np.zeros(8), rng.normal(size=8), 3.0 * rng.normal(size=8)):
        at = others.copy()
        at[:, gaussian.members.T.ravel()] = w
        x = nonlinear.forward(at)
        again, jacobian = nonlinear.inverse(x)
        np.testing.assert_allclose(again, at, rtol=1e-9, atol=1e-9)
        values.append(a_mixed_density(gaussian, x) + jacobian + 0.5 * w @ w)
    assert np.ptp(values[0]) > 1
    for value in values[1:]:
        np.testing.assert_allclose(value, values[0], rtol=1e-9, atol=1e-9)


def test_what_follows_shares_is_no_longer_known_of_them(rng):
    """Second derivatives in shares, sites' x held against sites' w held, where nothing is left
    over for the curvature of the shares themselves."""
    gaussian, shares, size = a_mixed_site_gaussian(rng)
    gaussian = replace(gaussian, score=np.zeros_like(gaussian.score))
    nonlinear = NonlinearMap(gaussian=gaussian)
    x = rng.normal(size=size)
    x[gaussian.members] = 0.0
    gaussian.reference_mix[:] = gaussian.shares(x)
    w, _ = nonlinear.inverse(x)
    np.testing.assert_allclose(w[gaussian.members], 0.0, atol=1e-12)
    step, at = 1e-3, np.arange(shares.start, shares.stop)

    def second(density, point):
        moved = step * np.eye(size)[at]
        pairs = moved[:, None] + moved, moved[:, None] - moved
        both, apart = (density(point + pair) + density(point - pair) for pair in pairs)
        return -(both - apart) / (4 * step**2)

    def in_w(point):
        x = nonlinear.forward(point)
        return a_mixed_density(gaussian, x) + nonlinear.inverse(x)[1]

    taken = second(lambda point: a_mixed_density(gaussian, point), x) - second(in_w, w)
    blocks = taken.reshape(4, 2, 4, 2)
    own = np.stack([blocks[i, :, i] for i in range(4)])
    np.testing.assert_allclose(gaussian.explained_curvature(x), own, rtol=1e-4, atol=1e-6)
    assert np.abs(own).max() > 0.01
    # and sites do not follow each other's
    np.testing.assert_allclose(np.abs(blocks).sum(), np.abs(own).sum(), rtol=1e-4, atol=1e-6)


def test_coordinates_of_shares_have_what_following_leaves_of_their_curvature(rng):
    """A normal density whose curvature in shares is what sites take off, and a known rest."""
    gaussian, shares, size = a_mixed_site_gaussian(rng)
    x = rng.normal(size=size)
    root = rng.normal(size=(4, 2, 2))
    rest = root @ root.swapaxes(1, 2) + 0.5 * np.eye(2)
    members = np.arange(shares.start, shares.stop).reshape(4, 2)
    precision = np.eye(size)
    for at, block in zip(members, gaussian.explained_curvature(x) + rest, strict=True):
        precision[np.ix_(at, at)] = block
    curvature = Curvature(
        of_normal(np.linalg.inv(precision), x), np.tile(x, (32, 1)), np.full(size, 1e-3)
    )
    local = _within(curvature, NonlinearMap(gaussian=gaussian), members, np.ones(size))
    np.testing.assert_allclose(local @ local.swapaxes(1, 2), np.linalg.inv(rest), rtol=1e-6)
    assert np.abs(gaussian.explained_curvature(x)).max() > 0.1


@pytest.mark.parametrize("size", [2, 10, 60])
def test_steep_directions_are_shortened_to_their_length(rng, size):
    """A normal with some eigenvalues far above 1: found, and 1 afterwards; others left."""
    turn = np.linalg.qr(rng.normal(size=(size, size)))[0]
    values = np.ones(size)
    values[: min(6, size)] = [900.0, 5.0, 30.0, 3.0, 2.0, 0.1][: min(6, size)]
    precision = (turn * values) @ turn.T
    mean, scale = rng.normal(size=size), rng.uniform(0.5, 2.0, size)
    x = mean + scale * rng.normal(size=(2, 50, size))

    def gradient(y, out):
        out[:] = -precision @ y

    found = with_residual_scaling(Coordinates.diagonal(mean, scale), x, gradient)
    steep = values > 4
    assert len(found.residual_scaling) == steep.sum()
    np.testing.assert_allclose(
        found.residual_scaling, np.sort(values[steep])[::-1] ** -0.5, rtol=1e-3
    )
    near = turn[:, steep] @ turn[:, steep].T
    np.testing.assert_allclose(found.directions.T @ found.directions, near, atol=1e-2)
    # as the sampler sees it
    inside = (found.to_x(np.eye(size)) - found.to_x(np.zeros(size))) / scale
    np.testing.assert_allclose(
        np.linalg.eigvalsh(inside @ precision @ inside.T),
        np.sort(np.where(steep, 1.0, values)),
        rtol=1e-2,
    )


def test_steep_directions_are_those_of_the_mean_over_draws(rng):
    """Curvature ``3 y^2`` of each coordinate, at the draws that are looked at."""
    x = np.abs(rng.normal(2.0, 0.5, size=(1, 16, 20))) * np.r_[np.full(14, 3.0), np.full(6, 0.1)]

    def gradient(y, out):
        out[:] = -(y**3)

    found = with_residual_scaling(Coordinates.diagonal(np.zeros(20), np.ones(20)), x, gradient)
    mean = 3 * (x[0] ** 2).mean(axis=0)
    assert len(found.residual_scaling) == 12
    np.testing.assert_allclose(found.residual_scaling, np.sort(mean)[::-1][:12] ** -0.5, rtol=1e-3)
    assert (np.sort(np.abs(found.directions), axis=1)[:, -1] > 0.99).all()


def test_linear_coordinates_of_a_site_gaussian_have_its_covariance(rng):
    """Where no scale multiplies, the map is linear itself."""
    gaussian = a_site_gaussian(rng, scalars=(-1, -1, -1), shared_scalars=(-1, -1, -1))
    gaussian.information[-1, 1, 1] = 1.0
    factor = np.vstack([np.diag([0.5, 1.2, 0.8]), rng.normal(0, 0.4, (15, 3))])
    scale = np.r_[np.zeros(3), rng.uniform(0.5, 1.5, 15)]
    nothing = np.zeros((0, 0, 0)), np.zeros((0, 0), dtype=np.int64)
    curved = Coordinates(
        rng.normal(size=18), scale, factor, *nothing, NonlinearMap(gaussian=gaussian)
    )
    plain = linearised(curved)
    assert not plain.nonlinear.gaussian.members.size
    zero, one = np.zeros(18), np.eye(18)
    np.testing.assert_allclose(plain.to_x(zero), curved.to_x(zero), rtol=1e-10)
    wide = [(m.to_x(one) - m.to_x(zero)).T for m in (plain, curved)]
    np.testing.assert_allclose(wide[0] @ wide[0].T, wide[1] @ wide[1].T, atol=1e-10)


def test_curvature_within_groups_is_that_of_the_density(rng):
    """Exact for a quadratic: what couples groups cancels over the signs of so many points."""
    root = rng.normal(size=(7, 7))
    precision = root @ root.T + np.eye(7)
    members = np.array([[0, 4], [2, -1], [5, 1]])
    apart = np.zeros_like(precision)
    for group in members:
        at = np.ix_(group[group >= 0], group[group >= 0])
        apart[at] = precision[at]
    apart[3, 3] = apart[6, 6] = 1.0

    expected = np.stack([[[precision[a, b] for b in g] for a in g] for g in members])
    expected *= (members >= 0)[:, :, None] & (members >= 0)[:, None, :]
    at, step = rng.normal(size=7), np.full(7, 1e-4)
    alone = within_groups(of_normal(np.linalg.inv(apart)), at, members, step, np.ones((3, 2)))
    np.testing.assert_allclose(alone, expected, atol=1e-7)
    whole = curvature_at(rng.normal(size=(50, 7)), of_normal(np.linalg.inv(precision)))
    found = whole.within(members)
    assert np.abs(found[0] - expected).max() > 0.1
    np.testing.assert_allclose(found.mean(axis=0), expected, atol=1e-5)


def test_curvature_within_as_many_sites_as_the_national_model_has_is_exact(rng):
    members = np.arange(54).reshape(27, 2)
    root = rng.normal(size=(54, 60))
    precision = root @ root.T / 60
    curvature = curvature_at(rng.normal(size=(64, 54)), of_normal(np.linalg.inv(precision)))
    expected = precision[members[:, :, None], members[:, None, :]]
    np.testing.assert_allclose(curvature.within(members).mean(axis=0), expected, atol=1e-6)


def test_curvature_is_that_at_the_points_themselves(rng):
    """Of a density whose curvature changes by its own size in a standard deviation."""

    def gradient(point, out):
        out[:] = -np.exp(point)

    draws = rng.normal(size=(64, 6))
    curvature = curvature_at(draws, gradient)
    members = np.arange(6).reshape(3, 2)
    expected = np.exp(curvature.points)[:, members]
    found = np.diagonal(curvature.within(members), axis1=2, axis2=3)
    np.testing.assert_allclose(found, expected, rtol=3e-5)
    along = curvature.product_at(draws[0])(np.eye(6))
    np.testing.assert_allclose(np.diag(along), np.exp(draws[0]), rtol=3e-5)


@pytest.mark.parametrize("groups", [1, 27, 32, 100])
def test_signs_of_so_many_groups_cancel(groups):
    signs = _signs(32, groups)
    assert (np.abs(signs) == 1).all()
    outer = np.abs(signs.T @ signs) - 32 * np.eye(groups)
    near = np.abs(np.subtract.outer(np.arange(groups), np.arange(groups))) < 32
    assert (outer[near] == 0).all()


def test_products_are_kept_where_scales_become_typical(rng):
    groups = CoordinateGroups(
        3, sites=np.array([[3, 5], [4, -1]]), scalars=np.array([0, -1]), runs=(Run(1, 2, 3),)
    )
    points, typical = rng.normal(size=(7, 6)), np.array([0.2, -0.4, 9.0, 9.0, 9.0, 9.0])
    found = _at_typical_scales(points, typical, groups)
    np.testing.assert_array_equal(found[:, :2], np.tile(typical[:2], (7, 1)))
    for at, scale in ((3, 0), (4, 0), (2, 1)):
        outer = [x[:, at] * np.exp(x[:, scale]) for x in (points, found)]
        np.testing.assert_allclose(outer[0], outer[1], rtol=1e-12)
    np.testing.assert_array_equal(found[:, 5], points[:, 5])


def test_curvature_along_a_direction_is_its_product(rng):
    root = rng.normal(size=(5, 5))
    precision = root @ root.T
    draws = rng.normal(size=(50, 5))
    directions = np.vstack([rng.normal(size=(3, 5)), np.zeros(5), 1e4 * np.eye(5)[:1]])
    product = curvature_at(draws, of_normal(np.linalg.inv(precision))).product_at(draws[0])
    np.testing.assert_allclose(product(directions), directions @ precision, rtol=1e-5, atol=1e-6)


def test_conjugate_gradients_stop_when_they_are_near_enough(rng):
    """By what is left in the units of the blocks; and not before."""
    near = np.tile(np.eye(2), (40, 1, 1))
    whole = np.diag(np.geomspace(0.5, 8.0, 80))
    b = rng.normal(size=(3, 40, 2))
    found = conjugate_gradients(lambda v: (v.reshape(len(v), -1) @ whole).reshape(v.shape), near, b)
    left = np.linalg.norm(found.reshape(3, -1) @ whole - b.reshape(3, -1), axis=1)
    assert (left < 0.001 * np.linalg.norm(b.reshape(3, -1), axis=1)).all()
    assert (left > 1e-6).all()


def test_conjugate_gradients_solve_what_blocks_alone_would_not(rng):
    """Against a direct solution; blocks are taken for a start, and couple through their sum."""
    sites, kinds = 6, 3
    root = rng.normal(size=(sites, kinds, kinds))
    near = root @ root.swapaxes(1, 2) + np.eye(kinds)
    whole = np.zeros((sites * kinds, sites * kinds))
    for site in range(sites):
        at = slice(site * kinds, (site + 1) * kinds)
        whole[at, at] = near[site]
    one = np.tile([1.0, -2.0, 0.5], sites)
    whole += 4.0 * np.outer(one, one)
    asked = []

    def curvature(direction):
        asked.append(len(direction))
        return (direction.reshape(len(direction), -1) @ whole).reshape(direction.shape)

    b = rng.normal(size=(4, sites, kinds))
    b[2] = 0.0
    found = conjugate_gradients(curvature, near, b)
    expected = np.linalg.solve(whole, b.reshape(4, -1).T).T.reshape(b.shape)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    # one direction beyond the blocks: two steps
    assert asked == [4, 4]
    alone = np.einsum("sij,ksj->ksi", np.linalg.inv(near), b)
    assert np.abs(alone - expected).max() > 0.1
    # where the density curves the wrong way nothing is followed
    nothing = conjugate_gradients(lambda direction: -direction, near, b)
    np.testing.assert_array_equal(nothing, 0.0)


def test_a_site_gaussian_stays_one_where_the_likelihood_curves_the_wrong_way(rng):
    """As in a tail: no information is less than none."""
    members = 1 + np.arange(8).reshape(2, 4).T
    x = rng.normal(size=(2, 300, 9))

    def gradient(point, out):
        out[:] = 3.0 * point

    groups = CoordinateGroups(1, sites=members, scalars=np.array([0, -1]))
    found = coordinates_from(x, groups, gradient)
    gaussian = found.nonlinear.gaussian
    assert (np.linalg.eigvalsh(gaussian.information) >= 0).all()
    assert (gaussian.information[:, 1, 1] > 0).all()
    assert np.isfinite(found.to_x(rng.normal(size=9))).all()
    # and where the draws never moved a coordinate of a site keeps some of its spread
    stuck = coordinates_from(np.ones((1, 40, 9)), groups, of_normal(np.eye(9)))
    assert (stuck.scale[members] >= 0.2).all()


def test_regressions_keep_what_halves_agree_about(rng):
    """Coefficients that are noise go to their mean; coefficients that differ stay."""
    n, alike = 400, 200
    whitened = rng.normal(size=(n, 2))
    # a slow chain: five rows are worth one, and a number of draws would not tell
    times = 5
    true = np.column_stack([np.full(alike, 0.4), rng.normal(0, 0.5, alike)])
    z = np.hstack([whitened, whitened @ true.T + rng.normal(size=(n, alike))])
    groups = CoordinateGroups(2, np.arange(2, 2 + alike)[:, None])
    found = regressions(np.repeat(z, times, axis=0), np.repeat(whitened, times, axis=0), groups)
    plain = (z[:, 2:].T @ whitened) / n
    # a coefficient has a standard error of 0.05
    assert plain[:, 0].std() > 0.04
    assert found[:, 0].std() < 0.025
    np.testing.assert_allclose(found[:, 0], 0.4, atol=0.2)
    assert found[:, 1].std() == pytest.approx(0.5, rel=0.15)
