"""Numbers at the edge of what is accepted: densities stay finite, and so do draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from family_cases import family_spec, family_tables
from model_cases import Tables, read_tables, tiny_tables

from lndbayes.families import FAMILIES
from lndbayes.model.compiled import log_density
from lndbayes.model.design import build_design
from lndbayes.model.kernel import kernel_data
from lndbayes.model.layout import size
from lndbayes.model.predictive import dispersion, draw_counts, prior_draws
from lndbayes.model.start import start_point
from lndbayes.model.surface import linear_predictors
from lndbayes.spec import ModelSpec, with_changes

LARGEST, SMALLEST = 1e10, 1e-9


def finite(spec: ModelSpec, tables: Tables, folder) -> None:
    design = build_design(spec, read_tables(tables, folder))
    for name, value in design.arrays.items():
        assert np.isfinite(value).all(), name
    gradient = np.empty(size(design))
    assert np.isfinite(log_density(start_point(spec, design), gradient, kernel_data(spec, design)))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_largest_exposure_is_finite(family, tmp_path):
    def large(frame: pd.DataFrame) -> pd.DataFrame:
        columns = {"exposure": int(LARGEST)}
        if FAMILIES[family].shift:
            columns["count"] = int(LARGEST)
        return frame.assign(**columns)

    finite(family_spec(family), family_tables(family).change("outcomes.csv", large), tmp_path)


def test_the_smallest_exposure_and_the_largest_count_are_finite(tmp_path):
    def steep(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(exposure=SMALLEST, count=int(LARGEST))

    tables = family_tables("negative_binomial").change("outcomes.csv", steep)
    finite(family_spec("negative_binomial"), tables, tmp_path)


@pytest.mark.parametrize("bias", [1e-6, 0.4, 20.0])
def test_evidence_as_exact_as_it_may_be_is_finite(bias, tmp_path):
    """A standard error of 1e-12 was no positive definite matrix."""
    tables = tiny_tables()
    tables = tables.change(
        "evidence/national.csv", lambda frame: frame.assign(se=1e-5 * frame["rate"] * (1 + 1e-9))
    )
    tables = tables.change(
        "evidence/elicited.csv",
        lambda frame: frame.assign(q50=frame["q05"] * 1.0005, q95=frame["q05"] * 1.001001),
    )
    scales = ("national_offset_sd", "elicited_bias_sd")
    spec = family_spec("beta_binomial")
    finite(with_changes(spec, {f"baseline.{name}": bias for name in scales}), tables, tmp_path)


def test_evidence_that_says_nothing_is_finite(tmp_path):
    tables = tiny_tables().change("evidence/national.csv", lambda frame: frame.assign(se=LARGEST))
    finite(family_spec("beta_binomial"), tables, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_of_the_widest_priors_are_finite(family, tmp_path):
    spec = family_spec(family)
    wide = {"dist": "Normal", "mu": 0.0, "sigma": 46.0}
    slots = {f"priors.{name}": wide for name in ("effect_mean", "predecessor_effect")}
    spec = with_changes(spec, slots | {"sensitivity.wave_sd": 20.0, "sensitivity.drift_sd": 20.0})
    design = build_design(spec, read_tables(family_tables(family), tmp_path))
    values = prior_draws(spec, design, 200, seed=3)
    for name, value in values.items():
        assert np.isfinite(value).all(), name
    _, eta1 = linear_predictors(values, design)
    assert np.isfinite(eta1).all()
    rng = np.random.default_rng(3)
    spread = dispersion(values, spec.family)
    drawn = draw_counts(eta1, spread, design["exposure"], design["coverage"], spec.family, rng)
    assert np.isfinite(drawn[..., design["exposure"] > 0]).all()
