"""The PyMC model's structure: dims, labels, and the four quantities kept apart."""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytest

from lndbayes import build_model
from lndbayes.base.errors import DataError
from lndbayes.model.build import model_from_design
from lndbayes.model.design import build_design
from lndbayes.model.layout import size
from lndbayes.spec.model_spec import with_changes
from model_cases import read_tables, tiny_tables

pytestmark = pytest.mark.xdist_group("pymc")

SITE_VECTORS = (
    "site_deviation",
    "site_effect",
    "site_level",
    "site_level_observed",
    "site_drift",
    "predecessor",
    "wave_index",
)


@pytest.fixture(scope="module")
def models(full_model, bare_model) -> dict[str, pm.Model]:
    return {"everything": full_model.model, "bare": bare_model.model}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["everything", "bare"])
def test_every_variable_that_is_not_a_scalar_has_dims(models, name):
    model = models[name]
    for variable in model.named_vars.values():
        dims = model.named_vars_to_dims.get(variable.name, ())
        assert len(dims) == variable.ndim, variable.name
        assert set(dims) <= set(model.coords), variable.name


def test_dims_are_what_the_names_say(models):
    dims = models["everything"].named_vars_to_dims
    for name in SITE_VECTORS:
        assert tuple(dims[name]) == ("site",), name
    for name in ("eta0", "eta1", "mu", "y", "exposure", "count", "event_time", "site_weight"):
        assert tuple(dims[name]) == ("site", "month"), name
    for name in ("mix_share", "mix", "mix_count"):
        assert tuple(dims[name]) == ("site", "intervention"), name
    assert tuple(dims["site_curve"]) == ("basis_site", "site")
    assert tuple(dims["national_curve"]) == ("basis_national",)
    assert tuple(dims["season"]) == ("harmonic",)
    assert tuple(dims["wave_effect"]) == ("wave",)
    assert tuple(dims["retrospective_site_bias"]) == ("retrospective_site",)
    for channel in ("retrospective", "history", "national", "elicited"):
        assert tuple(dims[f"y_{channel}"]) == (f"{channel}_row",)


def test_shapes_are_those_of_the_labels(full_model):
    """Read from evaluated variables, not from what is declared."""
    model, design = full_model.model, full_model.load(full_model.design)
    for name, value in full_model.variables(np.zeros(size(design))).items():
        dims = model.named_vars_to_dims.get(name, ())
        assert np.shape(value) == tuple(len(design.coords[dim]) for dim in dims), name


def test_labels_are_the_datas_own(full_model, plain_world):
    coords, ds = full_model.model.coords, plain_world.data.ds
    for dim in ("site", "month", "intervention"):
        assert list(coords[dim]) == ds[dim].values.tolist()
    assert list(coords["wave"]) == [1, 2, 3]
    covered = set(plain_world.data.evidence["retrospective"]["site"])
    assert list(coords["retrospective_site"]) == [s for s in ds["site"].values if s in covered]


def test_every_input_is_shared_data(models, full_model):
    model = models["everything"]
    assert {v.name for v in model.data_vars} == set(full_model.design.arrays)


def test_linear_predictors_expectation_and_outcome_are_four_variables(models):
    for model in models.values():
        deterministic = {v.name for v in model.deterministics}
        assert {"eta0", "eta1", "mu"} <= deterministic
        assert "y" in {v.name for v in model.observed_RVs}


def test_only_channels_with_rows_are_in_the_model(models):
    panel = {"y", "mix"}
    channels = {"y_retrospective", "y_history", "y_national", "y_elicited"}
    assert {v.name for v in models["everything"].observed_RVs} == panel | channels
    assert {v.name for v in models["bare"].observed_RVs} == {"y"}
    free = {v.name for v in models["bare"].free_RVs}
    assert not free & {"mix_share", "mix_effect_z", "wave_effect_z", "retrospective_site_bias_z"}


def test_a_channel_that_is_switched_off_stays_in_the_graph(spec, tiny):
    """Switches act through arrays: the model that is compiled is the same."""
    off = with_changes(
        spec,
        {
            f"baseline.channels.{c}": False
            for c in ("retrospective", "national", "history", "elicited")
        },
    )
    on, without = (build_model(s, tiny) for s in (spec, off))
    assert [v.name for v in on.basic_RVs] == [v.name for v in without.basic_RVs]
    assert on.coords.keys() == without.coords.keys()


def test_build_model_is_the_model_of_the_design(spec, tiny):
    direct, staged = build_model(spec, tiny), model_from_design(spec, build_design(spec, tiny))
    assert [v.name for v in direct.unobserved_RVs] == [v.name for v in staged.unobserved_RVs]
    assert isinstance(direct, pm.Model)


def test_priors_are_those_of_the_spec(spec, other_spec, tiny):
    """By family, from the graph: a slot's distribution is the random variable's."""
    for changed in (spec, other_spec):
        model = build_model(changed, tiny)
        for slot, prior in changed.priors.items():
            operator = type(model[slot].owner.op).__name__
            assert operator.removesuffix("RV") == prior.dist, slot


def test_data_that_cannot_carry_the_model_are_refused(spec, tiny):
    other = with_changes(spec, {"outcome.name": "hearings"})
    with pytest.raises(DataError, match="hearings"):
        build_model(other, tiny)


def test_a_quarterly_evaluation_builds(spec, tmp_path):
    data = read_tables(tiny_tables(step=3, go_live=(6, 6, 9, None)), tmp_path)
    model = build_model(spec, data)
    assert len(model.coords["harmonic"]) == 3
    assert model["half_period"].get_value() == 1.5
