"""The bases over time: direct properties, and the simulator's own construction."""

from __future__ import annotations

import numpy as np
import pytest

from lndbayes.model.basis import harmonics, scaled_time, smooth_basis, walk_basis
from lndbayes.synthetic import rw2_basis as simulators_basis


@pytest.mark.parametrize(("length", "rank"), [(96, 8), (96, 4), (20, 8), (12, 10), (5, 3), (3, 1)])
def test_basis_is_the_simulators(length, rank):
    """The one by eigenvectors, the other by singular values; errors grow with the condition."""
    ours, theirs = smooth_basis(length, rank, 2), simulators_basis(length, rank)
    np.testing.assert_allclose(ours, theirs, atol=1e-6 * np.abs(theirs).max())


@pytest.mark.parametrize(("length", "rank"), [(96, 8), (96, 1), (30, 28), (7, 4)])
def test_basis_is_orthogonal_to_level_and_slope_and_has_unit_mean_variance(length, rank):
    basis = smooth_basis(length, rank, 2)
    assert basis.shape == (length, rank)
    largest = np.abs(basis).max()
    np.testing.assert_allclose(basis.sum(axis=0), 0, atol=1e-8 * largest * length)
    slope = np.arange(length) - (length - 1) / 2
    np.testing.assert_allclose(slope @ basis, 0, atol=1e-8 * largest * length**2)
    assert (basis**2).sum(axis=1).mean() == pytest.approx(1.0, abs=1e-12)
    assert (basis[-1] > 0).all()


def test_basis_spans_the_smoothest_directions():
    """The walk's energy of a column with unit coefficient is the same for all: N(0, 1) each."""
    basis = smooth_basis(48, 6, 2)
    energy = (np.diff(basis, 2, axis=0) ** 2).sum(axis=0)
    np.testing.assert_allclose(energy, energy[0], rtol=1e-8)
    # Rayleigh quotients rise: each next column is rougher, and none is smoother outside the span
    quotient = energy / (basis**2).sum(axis=0)
    assert (np.diff(quotient) > 0).all()
    every = np.linalg.eigvalsh(np.diff(np.eye(48), 2, axis=0).T @ np.diff(np.eye(48), 2, axis=0))
    np.testing.assert_allclose(quotient, every[2:8], rtol=1e-6)


@pytest.mark.parametrize(("length", "columns"), [(6, 4), (4, 2), (3, 1), (2, 0), (1, 0)])
def test_basis_of_a_short_grid_has_as_many_columns_as_there_are(length, columns):
    assert smooth_basis(length, 8, 2).shape == (length, columns)


def test_time_is_centred_and_counts_two_years():
    time = scaled_time(np.arange(25.0))
    np.testing.assert_allclose(time, (np.arange(25) - 12) / 24)
    quarters = scaled_time(np.arange(9.0) * 3)
    assert quarters[-1] - quarters[0] == pytest.approx(1.0)
    assert quarters.mean() == pytest.approx(0.0)


@pytest.mark.parametrize(("step", "columns"), [(1, 4), (3, 3), (12, 0)])
def test_harmonics_repeat_every_year_and_are_linearly_independent(step, columns):
    times = np.arange(0, 48, step, dtype=float)
    basis = harmonics(times, step)
    assert basis.shape == (len(times), columns)
    per_year = 12 // step
    np.testing.assert_allclose(basis[per_year:], basis[:-per_year], atol=1e-12)
    if columns:
        np.testing.assert_allclose(basis[:per_year].sum(axis=0), 0, atol=1e-12)
        assert np.linalg.matrix_rank(basis[:per_year]) == columns


def test_first_harmonic_is_one_wave_a_year():
    basis = harmonics(np.arange(12.0), 1)
    np.testing.assert_allclose(basis[:, 0], np.cos(np.pi * np.arange(12) / 6), atol=1e-12)
    np.testing.assert_allclose(basis[:, 1], np.sin(np.pi * np.arange(12) / 6), atol=1e-12)
    np.testing.assert_allclose(basis[:, 2], np.cos(np.pi * np.arange(12) / 3), atol=1e-12)
    np.testing.assert_allclose(basis[:, 3], np.sin(np.pi * np.arange(12) / 3), atol=1e-12)


@pytest.mark.parametrize("length", [5, 40, 96])
def test_first_order_functions_fall_as_one_over_k(length):
    """The directions are the second-order walk's; the root of their sds is what is left."""
    second, first = smooth_basis(length, 6, 2), smooth_basis(length, 6, 1)
    sds, roots = (np.sqrt((basis**2).sum(axis=0)) for basis in (second, first))
    np.testing.assert_allclose(roots / roots[0], np.sqrt(sds / sds[0]), rtol=1e-8)
    np.testing.assert_allclose(first / roots, second / sds, atol=1e-8)
    assert (first**2).sum(axis=1).mean() == pytest.approx(1.0, abs=1e-12)


def test_first_order_variances_are_those_of_long_series():
    """About 51, 25, 14 and 8 in a hundred, in the place of 85, 11, 3 and 1."""
    share = (smooth_basis(96, 8, 1) ** 2).sum(axis=0) / 96
    assert share[:4] == pytest.approx([0.55, 0.20, 0.10, 0.06], abs=0.03)


@pytest.mark.parametrize("months", [1, 3])
@pytest.mark.parametrize("length", [2, 13, 60])
def test_all_modes_of_the_walk_are_the_walk_less_its_mean(length, months):
    basis = walk_basis(length, length - 1, months)
    walk = np.cumsum(np.eye(length)[:, 1:], axis=0) * np.sqrt(months)
    centred = walk - walk.mean(axis=0)
    np.testing.assert_allclose(basis @ basis.T, centred @ centred.T, atol=1e-9 * length)
    # fewer modes are the first of these, and more than there are do not exist
    np.testing.assert_array_equal(walk_basis(length, 1, months), basis[:, :1])
    assert walk_basis(length, 500, months).shape == (length, length - 1)
    assert walk_basis(length, 0, months).shape == (length, 0)
