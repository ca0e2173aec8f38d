"""Numbers at the edge of what is accepted: densities stay finite, and so do draws."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from family_cases import family_spec, family_tables
from lndbayes.base.errors import DataError, SpecError
from lndbayes.data.schema import TABLES
from lndbayes.density.arguments import kernel_data
from lndbayes.fitting.compiled import log_density
from lndbayes.fitting.start import start_point
from lndbayes.model.design import build_design
from lndbayes.model.layout import size
from lndbayes.model.predictive import dispersion, draw_counts, prior_draws
from lndbayes.model.surface import linear_predictors
from lndbayes.spec.families import FAMILIES
from lndbayes.spec.model_spec import ModelSpec, parse_spec, with_changes
from model_cases import Tables, read_tables, tiny_tables

pytestmark = pytest.mark.slow

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


VALUES = ("1e300", "1e-300", "-0.0", "1e10", "1e-9")
COLUMNS = [
    (table.file, column.name)
    for table in TABLES
    for column in table.columns
    if column.kind in ("integer", "number")
]


@pytest.mark.parametrize(("file", "column"), COLUMNS)
def test_any_number_is_refused_where_it_stands_or_finite(file, column, tmp_path):
    """In a family without trials, where nothing else bounds an exposure or a count."""
    tables = family_tables("negative_binomial")
    if file not in tables.frames or column not in tables.frames[file]:
        pytest.skip("a column that these tables do not use")
    spec = family_spec("negative_binomial")
    for number, value in enumerate(VALUES):

        def put(frame: pd.DataFrame, value: str = value) -> pd.DataFrame:
            frame = frame.astype({column: object})
            frame.loc[frame.index[-1], column] = value
            return frame

        folder = tmp_path / str(number)
        try:
            finite(spec, tables.change(file, put), folder)
        except DataError as error:
            for problem in error.problems:
                assert problem.file == file
                assert problem.column
                assert problem.rule
            assert any(problem.row for problem in error.problems)


def numbers(node: dict, path: str = "") -> list[str]:
    """Dotted path of every number of a spec."""
    found = []
    for key, value in node.items():
        dotted = f"{path}.{key}".lstrip(".")
        if isinstance(value, dict):
            found += numbers(value, dotted)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append(dotted)
    return found


@pytest.mark.parametrize("family", ["negative_binomial", "ordered_bands"])
def test_any_number_of_a_spec_is_refused_at_its_key_or_finite(family, tmp_path):
    spec = family_spec(family, pulse_sd=0.3, seams=("2013-05",))
    data = read_tables(family_tables(family), tmp_path)
    raw = spec.model_dump(mode="python")
    raw["priors"] = {slot: prior.as_toml() for slot, prior in spec.priors.items()}
    keys = numbers(raw)
    assert len(keys) > 50
    for key in keys:
        for value in (1e300, 1e-300, -0.0, -1e300, 10**30):
            *parents, leaf = key.split(".")
            changed = json.loads(json.dumps(raw))
            node = changed
            for parent in parents:
                node = node[parent]
            node[leaf] = value
            try:
                told = parse_spec(changed, source="x")
            except SpecError as error:
                wanted = ".".join(key.split(".")[:2])
                assert all(
                    p.column in (wanted, key, "priors.pulse_months", "sampling")
                    for p in error.problems
                ), (key, value)
                continue
            design = build_design(told, data)
            gradient, x = np.empty(size(design)), start_point(told, design)
            assert np.isfinite(log_density(x, gradient, kernel_data(told, design))), (key, value)
            assert np.isfinite(gradient).all(), (key, value)
            drawn = prior_draws(told, design, 20, seed=3)
            assert all(np.isfinite(v).all() for v in drawn.values()), (key, value)
