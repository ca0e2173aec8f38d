"""Replicated data against the compiled density: the score of a true law has mean zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from family_cases import family_spec, family_tables
from lndbayes.density.arguments import kernel_data
from lndbayes.fitting.compiled import log_density
from lndbayes.fitting.start import start_point
from lndbayes.model.design import Design, build_design
from lndbayes.model.layout import constrain, size
from lndbayes.model.replicate import replicate_data
from lndbayes.spec.model_spec import ModelSpec, with_changes
from model_cases import read_tables

pytestmark = pytest.mark.slow

REPLICATES = 400
CASES: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "shares, coverage": ("beta_binomial", {}, {"coverage": True}),
    "bands, coverage": ("ordered_bands", {}, {"coverage": True}),
    "counts, coverage, pulse and seams": (
        "negative_binomial",
        {"pulse_sd": 0.5, "seams": ("2013-05", "2014-02")},
        {"coverage": True},
    ),
    "from one": ("negative_binomial_from_one", {}, {}),
    "hazard": ("duration_hazard", {}, {}),
    "hazard, coverage": ("duration_hazard", {}, {"coverage": True}),
    "change": ("ordered_change", {}, {}),
}


@pytest.fixture(params=CASES)
def case(request, tmp_path) -> tuple[ModelSpec, Design]:
    family, settings, cells = CASES[request.param]
    spec = family_spec(family, **settings)
    scales = {f"sensitivity.{name}": 0.1 for name in ("shared_bias_sd", "drift_sd")}
    spec = with_changes(spec, scales | {"sensitivity.go_live_step_sd": 0.1})
    return spec, build_design(spec, read_tables(family_tables(family, **cells), tmp_path))


def silent(design: Design) -> Design:
    """The same without anything observed: its density is the prior's."""
    names = [n for n in design.arrays if n.endswith(("exposure", "_count")) or n == "count"]
    gone = {name: np.zeros_like(design[name]) for name in (*names, "count_high")}
    chols = {n: 1e9 * np.eye(len(a)) for n, a in design.arrays.items() if n.endswith("_chol")}
    return design.replace(**gone, **chols)


def gradient(x: np.ndarray, spec: ModelSpec, design: Design) -> np.ndarray:
    out = np.empty(len(x))
    assert np.isfinite(log_density(x, out, kernel_data(spec, design)))
    return out


def test_the_mean_score_of_replicates_is_zero(case, rng):
    """E[d log p(data | x) / dx] = 0 at the x that made the data, for every coordinate.

    A law drawn from other than the density's moves some mean by far more than its error.
    """
    spec, design = case
    x = start_point(spec, design) + rng.normal(0, 0.3, size(design))
    values = constrain(x[None, None], design)
    # coordinates of one design, so that x means the same in all
    held = {"site_weight": design["site_weight"]}
    prior = gradient(x, spec, silent(design))
    scores = np.array(
        [
            gradient(x, spec, replicate_data(values, design, spec, rng).replace(**held)) - prior
            for _ in range(REPLICATES)
        ]
    )
    informed = scores.std(axis=0) > 0
    # the others are parameters this family lacks, and levels that data reach through sites only
    assert informed.mean() > 0.75
    error = scores[:, informed].std(axis=0, ddof=1) / np.sqrt(REPLICATES)
    z = scores[:, informed].mean(axis=0) / error
    # the largest of 100 standard normals is beyond 4.5 once in 1,500 times; seeds are fixed
    assert np.abs(z).max() < 4.5
    assert np.mean(z**2) < 2.0


def test_a_replicate_keeps_the_layout(case, rng):
    spec, design = case
    x = start_point(spec, design) + rng.normal(0, 0.3, size(design))
    drawn = replicate_data(constrain(x[None, None], design), design, spec, rng)
    kept = ("exposure", "coverage", "event_time", "mix_centre", "retrospective_exposure")
    for name in kept:
        np.testing.assert_array_equal(drawn[name], design[name])
    assert (drawn["count"] != design["count"]).any()
    assert not drawn["count"][design["exposure"] == 0].any()
    np.testing.assert_array_equal(drawn["count"], drawn["count_high"])
    np.testing.assert_array_equal(drawn["mix_count"].sum(axis=1), design["mix_count"].sum(axis=1))
    assert (drawn["stage_count"] <= drawn["stage_exposure"]).all()
    if spec.likelihood.family == "ordered_bands":
        np.testing.assert_array_equal(drawn["stage_exposure"][..., 0], drawn["count"])
    if spec.likelihood.family == "duration_hazard":
        left = drawn["exposure"] - drawn["count"]
        # of cells with missed ends the first bin alone is used
        whole = design["coverage"] == 1
        assert (drawn["stage_exposure"][..., 0] <= left).all()
        assert drawn["stage_exposure"][..., 0].sum() == pytest.approx(
            left[whole].sum()
            * design["stage_exposure"][..., 0].sum()
            / (design["exposure"] - design["count"])[whole].sum(),
            rel=0.1,
        )


def test_a_channel_that_is_off_keeps_what_it_has(rng, tmp_path):
    off = {"retrospective": False, "national": False, "history": False, "elicited": False}
    spec = family_spec("beta_binomial", channels=off)
    design = build_design(spec, read_tables(family_tables("beta_binomial"), tmp_path))
    x = start_point(spec, design)
    drawn = replicate_data(constrain(x[None, None], design), design, spec, rng)
    for name in ("retrospective_count", "history_count", "national_logit", "elicited_logit"):
        np.testing.assert_array_equal(drawn[name], design[name])
