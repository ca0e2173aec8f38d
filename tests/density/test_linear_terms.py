"""Linear terms of every kind that a row can ask for: one row each, and all that reads it agrees.

The rows are made up; PyMC's density and gradient, the predictors and the vector's way back and
forth are what they are held to. Without columns a row leaves every number as it is.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lndbayes.coordinates.groups import coordinate_groups
from lndbayes.density.arguments import kernel_data
from lndbayes.fitting.compiled import log_density
from lndbayes.fitting.start import start_point
from lndbayes.model.design import Design, build_design
from lndbayes.model.layout import SCALARS, constrain, layout, scalar_places, size, unconstrain
from lndbayes.model.predictive import prior_draws
from lndbayes.model.surface import linear_predictors
from lndbayes.spec.linear import (
    LINEAR,
    Enters,
    FixedScale,
    LearnedScale,
    LinearBlock,
    OwnPrior,
)
from lndbayes.spec.model_spec import with_changes
from lndbayes.spec.priors import PriorDistribution
from model_cases import with_model

pytestmark = [pytest.mark.xdist_group("pymc"), pytest.mark.slow]

MONTH, CELL, SITE = ("month",), ("site", "month"), ("site",)


def row(name: str, enters: Enters, prior: Any, basis: str | None, over: Any, **more: Any) -> Any:
    dims = more.pop("dims", (f"{name}_column",))
    return LinearBlock(name, enters, prior, basis, over, dims, f"a made-up {name}", **more)


#: One of each kind: over months, over sites and months in either surface, of the site effect, and
#: of each site; with scales that are learned, shared, fixed or a slot's, and with means.
ROWS = (
    row("walk", Enters.UNTREATED, LearnedScale("walk_sd"), "walk_basis", MONTH),
    row("regressor", Enters.UNTREATED, OwnPrior("regressor"), "regressor_basis", CELL),
    row(
        *("known", Enters.UNTREATED, FixedScale("made.known_sd", "known_mean")),
        *("known_basis", CELL),
    ),
    row("level", Enters.UNTREATED, FixedScale("made.level_sd"), "level_basis", CELL, dims=()),
    row("recording", Enters.RECORDS, LearnedScale("recording_sd"), "recording_basis", CELL),
    row("moderator", Enters.SITE_EFFECT, FixedScale("made.moderator_sd"), "moderator_basis", SITE),
    row(
        *("group", Enters.SITE_EFFECT, LearnedScale("walk_sd"), "group_index", SITE),
        zero_sum=True,
        membership=True,
    ),
    row("bend", Enters.UNTREATED, LearnedScale("bend_sd"), "bend_basis", MONTH, per_site=True),
    row(
        *("turn", Enters.UNTREATED, FixedScale("made.turn_sd"), "turn_basis", MONTH),
        per_site=True,
        zero_sum=True,
    ),
)
PRIORS = {
    "walk_sd": {"dist": "HalfNormal", "sigma": 0.3},
    "recording_sd": {"dist": "Gamma", "alpha": 2.0, "beta": 10.0},
    "bend_sd": {"dist": "Exponential", "scale": 0.2},
}
COLUMNS = {"walk": 3, "regressor": 2, "known": 2, "recording": 2, "moderator": 2}
COLUMNS |= {"group": 3, "bend": 2, "turn": 2}


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the made-up rows into the table, among the model's own."""
    table = (*ROWS[:4], *LINEAR, *ROWS[4:])
    for module in list(sys.modules.values()):
        if getattr(module, "LINEAR", None) is LINEAR and module.__name__.startswith("lndbayes"):
            monkeypatch.setattr(module, "LINEAR", table)


def rough(spec: Any) -> Any:
    """A spec with every term of the model's own that may be off."""
    changes = {"drift_adoption_sd": 0.1, "level_adoption_sd": 0.3, "national_walk": 5}
    changes |= {"site_curve_order": 1, "contamination": 0.2}
    walk = {"dist": "LogNormal", "mu": -3.0, "sigma": 0.4}
    return with_changes(
        spec, {f"baseline.{k}": v for k, v in changes.items()} | {"priors.national_walk_sd": walk}
    )


@pytest.fixture
def with_rows(spec, rows) -> Any:
    """The spec with their priors, and with every term of the model's own that is off by default."""
    spec = rough(spec)
    made = {name: PriorDistribution.parse(p, "positive") for name, p in PRIORS.items()}
    made["regressor"] = PriorDistribution.parse({"dist": "Normal", "mu": 0.1, "sigma": 0.4}, "real")
    parts = {name: getattr(spec, name) for name in type(spec).model_fields}
    parts["priors"] = {**spec.priors, **made}
    return SimpleNamespace(**parts, family=spec.family)


def filled(design: Design, columns: dict[str, int], level_sd: float = 0.2) -> Design:
    """A design with the rows' arrays."""
    rng = np.random.default_rng(5)
    sites, months = design["event_time"].shape
    shapes = {"month": months, "site": sites}
    live = design["event_time"] >= 0
    arrays, dims, coords = {}, {}, {}
    for block in ROWS:
        of = columns.get(block.name, 1)
        label = (*block.over, *block.dims)
        if block.dims:
            coords[block.dims[0]] = list(range(of))
        shape = (*(shapes[d] for d in block.over), *((of,) if block.dims else ()))
        basis = rng.normal(size=shape)
        if block.enters is Enters.RECORDS:
            basis *= live[..., None]
        if block.membership:
            basis, label = rng.integers(0, max(of, 1), sites), ("site",)
        arrays[str(block.basis)], dims[str(block.basis)] = basis, label
    for name, of in (("known_sd", "known"), ("known_mean", "known"), ("moderator_sd", "moderator")):
        arrays[name] = rng.uniform(0.1, 0.5, columns[of])
        dims[name] = (f"{of}_column",)
    arrays |= {"level_sd": np.array(level_sd), "turn_sd": rng.uniform(0.1, 0.3, columns["turn"])}
    dims |= {"level_sd": (), "turn_sd": ("turn_column",)}
    return Design({**design.coords, **coords}, {**design.arrays, **arrays}, {**design.dims, **dims})


def density(spec: Any, design: Design, x: np.ndarray) -> tuple[float, np.ndarray]:
    gradient = np.full(len(x), np.nan)
    return log_density(x, gradient, kernel_data(spec, design)), gradient


def test_density_and_gradient_are_pymcs(with_rows, tiny, rng) -> None:
    design = filled(build_design_plain(with_rows, tiny), COLUMNS)
    model = with_model(with_rows, design)
    x = start_point(with_rows, design) + rng.normal(0, 0.3, size(design))
    value, gradient = density(with_rows, design, x)
    expected, expected_gradient = model.density(x)
    assert value == pytest.approx(expected, rel=1e-11)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-8, atol=1e-8)
    ours, theirs = constrain(x, design), model.variables(x)
    eta0, eta1 = linear_predictors(ours, design)
    for name, found in {**ours, "eta0": eta0, "eta1": eta1}.items():
        if name in theirs:
            np.testing.assert_allclose(found, theirs[name], rtol=1e-9, atol=1e-10, err_msg=name)
    assert {
        "drift_adoption",
        "level_adoption",
        "national_walk",
        *(block.name for block in ROWS),
    } <= set(theirs)


def build_design_plain(spec: Any, data: Any) -> Design:
    """The design of the spec as it was: the rows' arrays come after."""
    plain = {name: getattr(spec, name) for name in vars(spec) if name != "family"}
    plain["priors"] = {k: v for k, v in spec.priors.items() if k not in (*PRIORS, "regressor")}
    from lndbayes.spec.model_spec import ModelSpec

    return build_design(ModelSpec(**plain), data)


def test_gradient_is_the_derivative_of_the_value(with_rows, tiny, rng) -> None:
    design = filled(build_design_plain(with_rows, tiny), COLUMNS)
    x = start_point(with_rows, design) + rng.normal(0, 0.3, size(design))
    _, gradient = density(with_rows, design, x)
    names = {*(block.name for block in ROWS), *PRIORS}
    places = [i for name in names for i in range(*span(name, design))]
    assert len(places) == 31
    for i in places:
        step = 1e-5 * np.eye(len(x))[i]
        ends = [density(with_rows, design, x + sign * step)[0] for sign in (1, -1)]
        assert gradient[i] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=2e-6)


def span(name: str, design: Design) -> tuple[int, int]:
    block = layout(design)[name]
    return block.start, block.stop


def test_points_go_to_values_and_back(with_rows, tiny, rng) -> None:
    design = filled(build_design_plain(with_rows, tiny), COLUMNS)
    x = rng.normal(0, 0.5, size(design))
    again = unconstrain(constrain(x, design), design)
    off = [SCALARS.index(k) for k in ("shared_bias", "drift", "go_live_step", "pulse")]
    again[off] = x[off]
    np.testing.assert_allclose(again, x, atol=1e-10)


def test_prior_draws_have_the_rows_means_and_scales(with_rows, tiny) -> None:
    design = filled(build_design_plain(with_rows, tiny), COLUMNS)
    drawn = {k: v[0] for k, v in prior_draws(with_rows, design, 4000, 3).items()}
    moments = {
        "regressor": (0.1, 0.4),
        "known": (design["known_mean"], design["known_sd"]),
        "level": (0.0, 0.2),
        "moderator": (0.0, design["moderator_sd"]),
        "walk": (0.0, 0.3),
    }
    for name, (mean, sd) in moments.items():
        np.testing.assert_allclose(drawn[name].mean(axis=0), mean, atol=0.05, err_msg=name)
        spread = drawn[name].std(axis=0)
        np.testing.assert_allclose(spread, sd + np.zeros(spread.shape), rtol=0.1, err_msg=name)
    np.testing.assert_allclose(drawn["turn"].sum(axis=-1), 0, atol=1e-12)
    assert drawn["walk_sd"].min() > 0


def test_scales_are_among_what_coordinates_follow(with_rows, tiny) -> None:
    design = filled(build_design_plain(with_rows, tiny), COLUMNS)
    parts, places = coordinate_groups(design), scalar_places(design)
    assert set(places) - set(SCALARS) == {*PRIORS, "national_walk_sd"}
    assert {places[name] for name in PRIORS} <= set(parts.scales)
    walk, bend = layout(design)["walk"], layout(design)["bend"]
    assert (places["walk_sd"], walk.start, walk.stop) in {
        (run.scalar, run.first, run.last) for run in parts.runs
    }
    own = parts.sites[:, parts.scalars == places["bend_sd"]]
    assert sorted(own.ravel()) == list(range(bend.start, bend.stop))
    assert parts.shared > walk.stop


def test_rows_without_columns_change_no_number(spec, tiny, rng, request) -> None:
    """Bit for bit: the same vector, the same density and gradient, the same draws of the prior."""
    design = build_design(spec, tiny)
    x = start_point(spec, design) + rng.normal(0, 0.3, size(design))
    before, drawn = density(spec, design, x), prior_draws(spec, design, 5, 1)
    request.getfixturevalue("rows")
    empty = filled(design, dict.fromkeys(COLUMNS, 0), level_sd=0.0)
    assert size(empty) == len(x)
    after = density(spec, empty, x)
    assert after[0] == before[0]
    np.testing.assert_array_equal(after[1], before[1])
    again = prior_draws(spec, empty, 5, 1)
    for name, value in drawn.items():
        np.testing.assert_array_equal(again[name], value)
    assert set(again) == set(drawn)


def test_untreated_trends_may_go_along_with_an_early_start(spec, tiny, rng) -> None:
    """`site_drift[s] += drift_adoption * earliness[s]`, where never is 0; off, it is not there."""
    off = build_design(spec, tiny)
    on_spec = with_changes(spec, {"baseline.drift_adoption_sd": 0.1})
    on = build_design(on_spec, tiny)
    early, live = on["earliness"], on["event_time"][:, -1] >= 0
    assert early[live].mean() == pytest.approx(0) and early[live].std() == pytest.approx(1)
    assert (early[~live] == 0).all() and early[0] > early[2]
    assert size(on) == size(off) + 1
    x, place = rng.normal(0, 0.3, size(on)), layout(on)["drift_adoption"].start
    without = np.delete(x, place)
    assert "drift_adoption" not in constrain(without, off)
    with_it, plain = constrain(x, on), constrain(without, off)
    assert with_it["drift_adoption"] == pytest.approx(0.1 * x[place])
    gap = (linear_predictors(with_it, on)[0] - with_it["site_level"][:, None]) - (
        linear_predictors(plain, off)[0] - plain["site_level"][:, None]
    )
    expected = with_it["drift_adoption"] * early[:, None] * on["time"]
    np.testing.assert_allclose(gap, expected, atol=1e-12)
    _, gradient = density(on_spec, on, x)
    step = 1e-5 * np.eye(len(x))[place]
    ends = [density(on_spec, on, x + sign * step)[0] for sign in (1, -1)]
    assert gradient[place] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)
    # a coordinate at 0 adds its prior alone, so that the switch moves nothing else
    x[place] = 0.0
    alone = density(on_spec, on, x)[0] + 0.5 * np.log(2 * np.pi)
    assert alone == pytest.approx(density(spec, off, without)[0], rel=1e-13)
    assert with_changes(on_spec, {"baseline.drift_adoption_sd": 0.0}).hash == spec.hash


@pytest.mark.parametrize(
    "change",
    [
        {"dims": ("a", "b")},
        {"enters": Enters.SITE_EFFECT},
        {"enters": Enters.RECORDS},
        {"per_site": True, "basis": None},
        {"per_site": True, "prior": OwnPrior("slot")},
        {"zero_sum": True, "prior": OwnPrior("slot")},
        {"zero_sum": True, "prior": LearnedScale("slot", centred=True)},
        {"membership": True},
    ],
)
def test_a_row_that_nothing_could_follow_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="walk"):
        replace(ROWS[0], **change)
