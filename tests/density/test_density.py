"""The compiled density against PyMC's joint log density and its automatic gradient."""

from __future__ import annotations

import numpy as np
import pytest

from lndbayes.data.evaluation import EvaluationData
from lndbayes.density.arguments import kernel_data
from lndbayes.fitting.compiled import log_density
from lndbayes.fitting.start import start_point
from lndbayes.model.design import Design, build_design
from lndbayes.model.layout import constrain, inactive, size
from lndbayes.model.mask import without_treated
from lndbayes.model.surface import linear_predictors
from lndbayes.spec.model_spec import CHANNELS, ModelSpec, with_changes
from model_cases import Compiled, read_tables, tiny_tables, with_model

pytestmark = [pytest.mark.xdist_group("pymc"), pytest.mark.slow]

# Two orders of summation over 2,000 cells: rounding leaves 1e-13 of a sum of terms of both signs.
VALUE_RTOL = 1e-11
GRADIENT_RTOL = 1e-9

BIASES = {
    "sensitivity.shared_bias_sd": 0.15,
    "sensitivity.drift_sd": 0.05,
    "sensitivity.go_live_step_sd": 0.1,
}
ALL_OFF = {f"baseline.channels.{channel}": False for channel in CHANNELS}
SWITCHES = {
    "everything on": {},
    "every channel off": ALL_OFF,
    **{f"{channel} off": {f"baseline.channels.{channel}": False} for channel in CHANNELS},
    "biases on": BIASES,
    "biases on, channels off": BIASES | ALL_OFF,
    "one bias each": {"sensitivity.drift_sd": 0.05},
    "step alone": {"sensitivity.go_live_step_sd": 0.1},
    "ramp hidden": {"effect.hide_first_months": 15},
    "no transition": {"effect.transition": (0, -1)},
    "waves alike": {"sensitivity.wave_sd": 0.0},
    "loose common errors": {"baseline.national_offset_sd": 2.0, "baseline.elicited_bias_sd": 1.0},
}


def kernel(spec: ModelSpec, design: Design, x: np.ndarray) -> tuple[float, np.ndarray]:
    gradient = np.full(size(design), np.nan)
    value = log_density(x, gradient, kernel_data(spec, design))
    return value, gradient


def points(spec: ModelSpec, design: Design, rng: np.random.Generator) -> list[np.ndarray]:
    """Near the start, where chains begin; and far from it, where they may stray."""
    start = start_point(spec, design)
    return [start + rng.normal(0, scale, size(design)) for scale in (0.2, 0.8)]


def assert_same(spec: ModelSpec, design: Design, reference: Compiled, x: np.ndarray) -> None:
    value, gradient = kernel(spec, design, x)
    expected, expected_gradient = reference.density(x)
    assert np.isfinite(expected)
    assert value == pytest.approx(expected, rel=VALUE_RTOL)
    assert np.isfinite(expected_gradient).all()
    error = np.abs(gradient - expected_gradient)
    scale = np.abs(expected_gradient) + 1e-4 * np.linalg.norm(expected_gradient)
    assert (error / scale).max() < GRADIENT_RTOL


@pytest.mark.parametrize("case", SWITCHES)
def test_density_and_gradient_are_pymcs(full_model, spec, plain_world, rng, case):
    """One compiled graph serves every switch: only arrays change."""
    changed = with_changes(spec, SWITCHES[case])
    design = full_model.load(build_design(changed, plain_world.data))
    for x in points(changed, design, rng):
        assert_same(changed, design, full_model, x)


def test_density_and_gradient_are_pymcs_with_the_treated_months_hidden(
    full_model, spec, plain_world, rng
):
    design = full_model.load(without_treated(plain_world.design))
    for x in points(spec, design, rng):
        assert_same(spec, design, full_model, x)


def test_density_and_gradient_are_pymcs_on_new_data_of_the_same_shape(
    full_model, spec, plain_world, rng
):
    old = plain_world.design
    exposure = np.where(
        rng.random(old["exposure"].shape) < 0.7, rng.integers(0, 60, old["exposure"].shape), 0
    )
    count = rng.binomial(exposure, rng.uniform(0, 1, exposure.shape))  # all and none among them
    assert ((count == exposure) & (exposure > 8)).any()
    design = full_model.load(
        old.replace(
            exposure=exposure.astype(float),
            count=count.astype(float),
            count_high=count.astype(float),
        )
    )
    for x in points(spec, design, rng):
        assert_same(spec, design, full_model, x)


def test_density_and_gradient_are_pymcs_with_evidence_on_any_cell(
    full_model, spec, plain_world, rng
):
    """On treated months too, where the untreated surface and the treated one part."""
    changed = with_changes(spec, BIASES)
    design = build_design(changed, plain_world.data)
    moved = {}
    for name in ("retrospective_at", "history_at"):
        moved[name] = design[name].copy()
        moved[name][:, 0] = rng.integers(0, 27, len(moved[name]))
        moved[name][:, 1] = rng.integers(0, 96, len(moved[name]))
    design = full_model.load(design.replace(**moved))
    for x in points(changed, design, rng):
        assert_same(changed, design, full_model, x)


def test_density_and_gradient_are_pymcs_with_other_families_and_nothing_to_moderate(
    bare_model, other_spec, rng
):
    """One intervention, one wave, no evidence; a second family of prior at every slot."""
    assert len(bare_model.design.coords["intervention"]) == 1
    assert len(bare_model.design.coords["wave"]) == 1
    for x in points(other_spec, bare_model.design, rng):
        assert_same(other_spec, bare_model.design, bare_model, x)


def test_density_and_gradient_are_pymcs_for_one_site(spec, rng, tmp_path):
    """Nothing to pool over: no drift, no smooth departure, no wave, as zero-sum terms must be."""
    tables = tiny_tables(go_live=(8,), waves=(1,), evidence=False)
    tables = tables.change("mix.csv", lambda frame: frame.assign(site="T1").iloc[:0])
    design = build_design(spec, read_tables(tables, tmp_path))
    model = with_model(spec, design)
    assert not [name for name in model.variables(np.zeros(size(design))) if "site_drift_z" in name]
    for x in points(spec, design, rng):
        assert_same(spec, design, model, x)
    np.testing.assert_array_equal(constrain(x, design)["site_drift"], [0.0])


@pytest.mark.parametrize("change", [{}, BIASES])
def test_every_variable_and_surface_is_pymcs(full_model, spec, plain_world, rng, change):
    changed = with_changes(spec, change)
    design = full_model.load(build_design(changed, plain_world.data))
    x = points(changed, design, rng)[1]
    ours = constrain(x, design)
    theirs = full_model.variables(x)
    eta0, eta1 = linear_predictors(ours, design)
    ours |= {"eta0": eta0, "eta1": eta1, "mu": 1 / (1 + np.exp(-eta1))}
    idle = {*inactive(changed), "seam", "stage_level", "stage_site"}
    ours = {name: value for name, value in ours.items() if name not in idle}
    assert set(ours) <= set(theirs)
    # PyMC's others are the coordinates that its variables are made of
    assert all(name.endswith(("_z", "_observed")) for name in set(theirs) - set(ours))
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-10, atol=1e-12, err_msg=name)


def test_unused_variables_of_a_bare_model_stay_at_what_they_mean(bare_model, rng):
    x = rng.normal(0, 0.5, size(bare_model.design))
    ours, theirs = constrain(x, bare_model.design), bare_model.variables(x)
    assert "mix_share" not in theirs
    assert "wave_effect_z" not in theirs
    np.testing.assert_array_equal(ours["mix_share"], 1.0)
    np.testing.assert_array_equal(ours["mix_effect"], [0.0])
    np.testing.assert_array_equal(ours["wave_effect"], [0.0])
    np.testing.assert_allclose(ours["site_effect"], theirs["site_effect"], rtol=1e-12)


@pytest.mark.parametrize(
    "change",
    [{}, {"effect.hide_first_months": 6}, *({f"baseline.channels.{c}": False} for c in CHANNELS)],
    ids=str,
)
def test_gradient_is_the_derivative_of_the_value_in_every_coordinate(
    spec, tiny: EvaluationData, rng, change
):
    """Central differences: for shapes that no graph is compiled for."""
    changed = with_changes(spec, BIASES | change)
    design = build_design(changed, tiny)
    data = kernel_data(changed, design)
    x = start_point(changed, design) + rng.normal(0, 0.3, size(design))
    gradient, scratch = np.empty(size(design)), np.empty(size(design))
    log_density(x, gradient, data)
    step = 1e-5
    for i in range(size(design)):
        ahead, behind = x.copy(), x.copy()
        ahead[i] += step
        behind[i] -= step
        slope = (log_density(ahead, scratch, data) - log_density(behind, scratch, data)) / (
            2 * step
        )
        # rounding of a value near -1,000 over the step, and the step squared
        assert gradient[i] == pytest.approx(slope, rel=1e-5, abs=2e-6)


def test_density_does_not_change_its_arguments(spec, plain_world, rng):
    data = kernel_data(spec, plain_world.design)
    before = {name: np.array(value, copy=True) for name, value in vars(data).items()}
    x = points(spec, plain_world.design, rng)[0]
    kept = x.copy()
    first = log_density(x, np.empty_like(x), data)
    assert log_density(x, np.full_like(x, np.nan), data) == first
    np.testing.assert_array_equal(x, kept)
    for name, old in before.items():
        np.testing.assert_array_equal(old, getattr(data, name))
