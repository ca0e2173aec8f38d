"""The parameter vector: every number has one place, and reading it back gives the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from family_cases import family_spec, family_tables
from lndbayes.coordinates.groups import coordinate_groups
from lndbayes.model.course import RAMP, ramp, shape_means
from lndbayes.model.design import build_design
from lndbayes.model.layout import (
    POSITIVE,
    REAL,
    SCALARS,
    constrain,
    layout,
    site_effect,
    size,
    unconstrain,
)
from lndbayes.model.surface import linear_predictors
from lndbayes.spec.model_spec import with_changes
from model_cases import read_tables, tiny_tables

BIASES = {
    "sensitivity.shared_bias_sd": 0.15,
    "sensitivity.drift_sd": 0.05,
    "sensitivity.go_live_step_sd": 0.1,
}


@pytest.fixture(scope="module")
def design(spec, tiny):
    return build_design(with_changes(spec, BIASES), tiny)


@pytest.fixture
def x(design, rng):
    """Draws with two leading dims."""
    return rng.normal(0, 0.7, size=(2, 5, size(design)))


@pytest.fixture(params=["custody", "pulse and seams", "ordered bands"])
def any_design(request, spec, tiny, tmp_path):
    """Designs that between them have every block and every multiplier of the vector."""
    if request.param == "custody":
        return build_design(with_changes(spec, BIASES), tiny)
    if request.param == "pulse and seams":
        raw = family_spec("beta_binomial", pulse_sd=0.3, seams=("2013-05", "2014-02"))
        return build_design(with_changes(raw, BIASES), tiny)
    raw = with_changes(family_spec("ordered_bands", pulse_sd=0.3), BIASES)
    return build_design(raw, read_tables(family_tables("ordered_bands"), tmp_path))


def zero_sum_map(design, name):
    """Matrix from a block's coordinates to the variable, by differences from the origin.

    Found through `constrain`, with the scale of the variable at 1.
    """
    block = layout(design)[name]
    scale = {"site_drift": "site_drift_sd", "mix_effect": "mix_effect_sd"}.get(name)
    origin = np.zeros(size(design))
    assert scale is None or origin[SCALARS.index(scale)] == 0.0  # exp(0) = 1
    columns = []
    for i in range(block.start, block.stop):
        moved = origin.copy()
        moved[i] = 1.0
        columns.append(constrain(moved, design)[name] - constrain(origin, design)[name])
    return np.stack(columns, axis=1)


def test_blocks_are_disjoint_and_fill_the_vector(design):
    covered = np.zeros(size(design), dtype=int)
    covered[: len(SCALARS)] += 1
    for block in layout(design).values():
        assert block.stop - block.start == int(np.prod(block.shape))
        covered[block.start : block.stop] += 1
    np.testing.assert_array_equal(covered, 1)
    assert SCALARS == REAL + POSITIVE
    assert len(set(SCALARS)) == len(SCALARS)


def test_size_is_the_number_of_free_parameters(design):
    sites, mix, waves, national, own, harmonics, covered = 4, 3, 2, 8, 4, 4, 2
    scalars = 12 + 14  # on the whole line, and positive: every family's vector has all of them
    free = scalars + national + harmonics + (sites - 1) * (1 + own) + sites * (mix - 1) + (mix - 1)
    assert size(design) == free + sites + (waves - 1) + sites + covered


def test_blocks_of_seams_and_stages_have_their_own_places(any_design, design):
    """A seam adds its coordinate, a later stage its own and the sites' levels, no more."""
    stages = len(any_design.coords["stage"])
    own = len(any_design.coords["site"]) if stages else 0
    extra = len(any_design.coords["seam_month"]) + stages + own
    assert size(any_design) == size(design) + extra
    blocks = layout(any_design)
    assert blocks["seam"].shape == (len(any_design.coords["seam_month"]),)
    assert blocks["stage_level"].shape == (stages,)
    assert blocks["stage_site"].shape == (own,)


def test_groups_of_coordinates_hold_what_is_one_sites(any_design, rng):
    """Moving a member moves its own site most; each site's coordinates are in one set or two."""
    groups, blocks = coordinate_groups(any_design), layout(any_design)
    sites, kinds = blocks["mix_share"].shape
    assert groups.correlated.shape == (sites, kinds)
    assert len(groups.sites) == sites
    members = [place for place in (*groups.correlated.ravel(), *groups.sites.ravel()) if place >= 0]
    assert sorted(members) == list(range(groups.shared, size(any_design)))
    assert blocks["wave_effect"].stop == groups.shared
    point = rng.normal(0, 0.5, size(any_design))
    before = constrain(point, any_design)
    for table in (groups.correlated, groups.sites):
        for site, place in np.argwhere(table >= 0):
            name, change = moved_by(table[site, place], point, before, any_design)
            axis = 0 if name == "mix_share" else -1
            most = int(
                np.moveaxis(change, axis, -1).reshape(-1, change.shape[axis]).max(0).argmax()
            )
            dim = {"stage_site": "site_of_stage", "retrospective_site_bias": "retrospective_site"}
            label = any_design.coords["site"][site]
            assert any_design.coords[dim.get(name, "site")][most] == label, name


def moved_by(place, point, before, design):
    """Block of a coordinate, and how far moving it moves that block's variable."""
    moved = point.copy()
    moved[place] += 0.3
    (name,) = (k for k, b in layout(design).items() if b.start <= place < b.stop)
    return name, np.abs(constrain(moved, design)[name] - before[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "name"),
    [
        ("site_drift_sd", "site_drift"),
        ("site_curve_sd", "site_curve"),
        ("site_effect_sd", "site_deviation"),
        ("stage_site_sd", "stage_site"),
        ("retrospective_bias_sd", "retrospective_site_bias"),
    ],
)
def test_scalars_of_the_groups_multiply_their_kind(any_design, rng, scale, name):
    """Twice the scale is twice the variable, whose place the table names."""
    groups, block = coordinate_groups(any_design), layout(any_design)[name]
    own = groups.sites[:, groups.scalars == SCALARS.index(scale)]
    assert sorted(own[own >= 0]) == list(range(block.start, block.stop))
    level = layout(any_design)["site_level"]
    unscaled = groups.sites[:, groups.scalars == -1]
    assert unscaled.ravel().tolist() == list(range(level.start, level.stop))


def test_round_trip_of_a_point(any_design, rng):
    for point in rng.normal(0, 0.7, size=(10, size(any_design))):
        again = unconstrain(constrain(point, any_design), any_design)
        # the height of a pulse that is switched off has nothing to read back
        if any_design["pulse_sd"] == 0:
            again[SCALARS.index("pulse")] = point[SCALARS.index("pulse")]
        np.testing.assert_allclose(again, point, atol=1e-10)


def test_round_trip_of_the_values(any_design, rng):
    design = any_design
    values = constrain(rng.normal(0, 0.7, size=size(design)), design)
    again = constrain(unconstrain(values, design), design)
    for name, value in values.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-10, atol=1e-12, err_msg=name)


def test_round_trip_with_scales_at_zero(spec, tiny, rng):
    """What a scale of 0 switches off has nothing to read back; the rest does."""
    off = build_design(with_changes(spec, {"sensitivity.wave_sd": 0.0}), tiny)
    x = rng.normal(size=size(off))
    values = constrain(x, off)
    for name in ("shared_bias", "drift", "go_live_step", "pulse"):
        assert values[name] == 0.0
    np.testing.assert_array_equal(values["wave_effect"], 0.0)
    again = constrain(unconstrain(values, off), off)
    for name, value in values.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("case", [{"interventions": ("all",)}, {"waves": (1, 1, 1, 1)}])
def test_round_trip_without_moderation(spec, tmp_path, rng, case):
    design = build_design(spec, read_tables(tiny_tables(**case), tmp_path))
    x = rng.normal(size=size(design))
    x[[SCALARS.index(k) for k in ("shared_bias", "drift", "go_live_step", "pulse")]] = 0.0
    np.testing.assert_allclose(unconstrain(constrain(x, design), design), x, atol=1e-10)


def test_leading_dims_are_kept_and_draws_are_independent(design, x):
    many = constrain(x, design)
    one = constrain(x[1, 3], design)
    assert {name: value[1, 3].shape for name, value in many.items()} == {
        name: value.shape for name, value in one.items()
    }
    for name, value in one.items():
        np.testing.assert_allclose(many[name][1, 3], value, rtol=1e-12, atol=1e-14, err_msg=name)


def test_positive_scalars_are_exponentials_and_real_ones_are_themselves(design, x):
    values = constrain(x, design)
    for i, name in enumerate(POSITIVE):
        np.testing.assert_array_equal(values[name], np.exp(x[..., len(REAL) + i]))
    for name in ("effect_mean", "predecessor_effect", "retrospective_bias", "history_selection"):
        np.testing.assert_array_equal(values[name], x[..., REAL.index(name)])
    for name in ("stage_effect",):
        np.testing.assert_array_equal(values[name], x[..., REAL.index(name)])
    assert (values["pulse"] == 0).all()
    for name, scale in (("shared_bias", 0.15), ("drift", 0.05), ("go_live_step", 0.1)):
        np.testing.assert_allclose(values[name], scale * x[..., REAL.index(name)])


def test_zero_sum_vectors_sum_to_zero(design, x):
    values = constrain(x, design)
    for name in ("site_drift", "site_curve", "mix_effect", "wave_effect"):
        np.testing.assert_allclose(values[name].sum(axis=-1), 0, atol=1e-12)
        assert np.abs(values[name]).max() > 0.01


@pytest.mark.parametrize("name", ["site_drift", "mix_effect"])
def test_standard_normal_coordinates_give_the_covariance_of_centred_normals(design, name):
    """V V' = I - 1/n: the covariance of n standard normals less their mean; and V'V = I."""
    v = zero_sum_map(design, name)
    n = len(v)
    np.testing.assert_allclose(v @ v.T, np.eye(n) - 1 / n, atol=1e-12)
    np.testing.assert_allclose(v.T @ v, np.eye(n - 1), atol=1e-12)


def test_wave_effects_have_their_fixed_scale(design):
    v = zero_sum_map(design, "wave_effect")
    np.testing.assert_allclose(v @ v.T, 0.2**2 * (np.eye(2) - 1 / 2), atol=1e-12)


def test_shares_are_a_point_of_the_simplex_with_the_stated_volume(design, x):
    """The density's Jacobian is kinds times the product of shares: by differences, here."""
    values = constrain(x, design)
    np.testing.assert_allclose(values["mix_share"].sum(axis=-1), 1, rtol=1e-14)
    assert (values["mix_share"] > 0).all()
    block, step, point = layout(design)["mix_share"], 1e-6, x[0, 0]
    jacobian = np.empty((2, 2))
    for j in range(2):  # the first site's two free coordinates
        ahead, behind = point.copy(), point.copy()
        ahead[block.start + j] += step
        behind[block.start + j] -= step
        gap = constrain(ahead, design)["mix_share"] - constrain(behind, design)["mix_share"]
        jacobian[:, j] = gap[0, :2] / (2 * step)
    share = values["mix_share"][0, 0, 0]
    assert abs(np.linalg.det(jacobian)) == pytest.approx(3 * share.prod(), rel=1e-7)


def test_shares_are_the_softmax_of_coordinates_that_sum_to_zero(design, x):
    block = layout(design)["mix_share"]
    raw = x[0, 0, block.start : block.stop].reshape(4, 2)
    weight = np.exp(np.column_stack([raw, -raw.sum(axis=1)]))
    share = constrain(x, design)["mix_share"][0, 0]
    np.testing.assert_allclose(share, weight / weight.sum(axis=1, keepdims=True), rtol=1e-12)


def test_shares_do_not_overflow(design):
    x = np.zeros(size(design))
    block = layout(design)["mix_share"]
    x[block.start : block.stop] = [800.0, 0.0] * 4
    share = constrain(x, design)["mix_share"]
    np.testing.assert_array_equal(share, [[1.0, 0.0, 0.0]] * 4)


def test_map_to_the_site_level_has_unit_jacobian(design, x):
    """The anchor changes no density: |d values / d coordinates| = 1, the rest held fixed."""
    point, step = x[0, 0], 1e-6
    names = ("site_level",)
    block = layout(design)["site_level"]
    index = list(range(block.start, block.stop))
    others = [i for i in range(size(design)) if i not in index]

    def read(at):
        values = constrain(at, design)
        return np.concatenate([np.ravel(values[name]) for name in names])

    columns = []
    for i in index:
        ahead, behind = point.copy(), point.copy()
        ahead[i] += step
        behind[i] -= step
        columns.append((read(ahead) - read(behind)) / (2 * step))
    assert np.linalg.det(np.stack(columns, axis=1)) == pytest.approx(1.0, abs=1e-6)
    # and nothing else depends on these coordinates
    elsewhere = point.copy()
    elsewhere[index] += 1.0
    now, then = constrain(elsewhere, design), constrain(point, design)
    for name in set(now) - set(names):
        np.testing.assert_array_equal(now[name], then[name], err_msg=name)
    assert len(others) + len(index) == size(design)


def test_site_effect_is_the_sum_of_its_parts(design, tiny, x):
    values = constrain(x, design)
    contacts = np.nan_to_num(tiny.ds["mix"].values)
    pooled = contacts.sum(axis=0) / contacts.sum()
    before = tiny.ds["predecessor"].values
    centred = np.nan_to_num(before - np.nanmean(before))
    for at in np.ndindex(2, 5):
        for s, wave in enumerate((0, 0, 1, 1)):
            expected = (
                values["effect_mean"][at]
                + (values["mix_share"][at][s] - pooled) @ values["mix_effect"][at]
                + values["wave_effect"][at][wave]
                + values["predecessor_effect"][at] * centred[s]
                + values["site_deviation"][at][s]
            )
            assert values["site_effect"][at][s] == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(site_effect(values, design), values["site_effect"])


def test_stored_site_level_is_the_mean_treated_predictor_of_observed_cells(any_design, rng):
    design = any_design
    x = rng.normal(0, 0.7, size=(2, 5, size(design)))
    values = constrain(x, design)
    _, eta1 = linear_predictors(values, design)
    n = design["exposure"] + design["stage_exposure"].sum(axis=-1)
    block = layout(design)["site_level"]
    for s in range(len(n)):
        mean = (eta1[..., s, :] * n[s]).sum(axis=-1) / n[s].sum()
        np.testing.assert_allclose(mean, x[..., block.start + s], atol=1e-10)


def test_site_without_cells_in_the_likelihood_has_its_level_unanchored(design, x):
    exposure = design["exposure"].copy()
    exposure[1] = 0.0
    weight = design["site_weight"].copy()
    weight[1] = 0.0
    empty = design.replace(exposure=exposure, site_weight=weight)
    block = layout(design)["site_level"]
    values = constrain(x, empty)
    np.testing.assert_allclose(values["site_level"][..., 1], x[..., block.start + 1], atol=1e-12)


def test_ramp_in_closed_form():
    """A month's effect is that at its middle: nothing before go-live, half a month in at once."""
    event = np.array([-100_000, -3, -1, 0, 1, 7, 60])
    months = np.array([[2.0], [4.0]])
    found = ramp(event, months, 0.5)
    assert (found[:, :3] == 0).all()
    elapsed = np.array([0.5, 1.5, 7.5, 60.5])
    np.testing.assert_allclose(found[:, 3:], 1 - np.exp(-elapsed / months), rtol=1e-13)
    # 63.2% of the plateau after one time constant
    assert ramp(np.array([4]), np.array([4.5]), 0.5)[0] == pytest.approx(1 - np.exp(-1))


def test_ramp_of_a_very_slow_build_up_keeps_its_digits():
    assert ramp(np.array([0]), np.array([1e12]), 0.5)[0] == pytest.approx(5e-13, rel=1e-12)


def test_ramp_means_by_brute_force(rng):
    event = np.array([[-3, -2, -1, 0, 1, 2], [0, 1, 2, 3, 4, 5], [-100_000] * 6])
    weight = rng.dirichlet(np.ones(6), size=3)
    months = rng.uniform(1, 9, size=(2, 4))
    found = shape_means(RAMP, months, weight, event, 1.5)
    assert found.shape == (2, 4, 3)
    for c, d in np.ndindex(2, 4):
        for s in range(3):
            expected = sum(
                w * (0 if e < 0 else 1 - np.exp(-(e + 1.5) / months[c, d]))
                for w, e in zip(weight[s], event[s], strict=True)
            )
            assert found[c, d, s] == pytest.approx(expected, abs=1e-14)
