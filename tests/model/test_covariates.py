"""Covariates: standardised, missing values by rule, refused with all problems, and terms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from lndbayes.base.errors import Code, DataError, Problem
from lndbayes.data.evaluation import EvaluationData
from lndbayes.density.arguments import kernel_data
from lndbayes.estimands.covariates import covariates_table
from lndbayes.fitting.compiled import log_density
from lndbayes.fitting.fit import fit_key
from lndbayes.fitting.start import start_point
from lndbayes.fitting.trees import draws_tree
from lndbayes.model.covariate_notes import covariate_notes, shift_at_go_live, shift_by_chance
from lndbayes.model.design import Design, build_design
from lndbayes.model.layout import constrain, layout, size
from lndbayes.model.predictive import prior_draws
from lndbayes.model.surface import linear_predictors
from lndbayes.spec.model_spec import ModelSpec, with_changes
from lndbayes.spec.prior_table import prior_table
from model_cases import month, read_tables, tiny_tables, with_model

#: The tiny evaluation's sites and periods; the last site never goes live.
SITES, PERIODS, GO_LIVE = 4, 20, (8, 8, 13, None)
NEED = (1.5, 2.5, 7.0, 40.0)
BOTH = {
    "covariates.effect": ["need"],
    "covariates.effect_sd": 0.2,
    "covariates.baseline": ["jobs", "crime"],
    "covariates.baseline_sd": 0.1,
}
JOBS = {"covariates.baseline": ["jobs"], "covariates.baseline_sd": 0.1}


def monthly(values: dict[str, np.ndarray]) -> pd.DataFrame:
    """Rows of `covariates.csv`, without those that are NaN."""
    rows = [
        (f"T{s + 1}", month("2013-01", t), name, float(x[s, t]))
        for name, x in values.items()
        for s, t in np.ndindex(x.shape)
        if np.isfinite(x[s, t])
    ]
    return pd.DataFrame(rows, columns=["site", "month", "name", "value"])


def numbers(seed: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(mean, sd, (SITES, PERIODS))
        for name, mean, sd in (("jobs", 7.0, 2.0), ("crime", 90.0, 30.0))
    }


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., EvaluationData]:
    """The tiny evaluation with covariates of months and columns of sites."""

    def data(
        values: dict[str, np.ndarray] | None = None, columns: dict[str, Any] | None = None
    ) -> EvaluationData:
        tables = tiny_tables()
        tables.frames["covariates.csv"] = monthly(numbers() if values is None else values)
        own = {"need": NEED} if columns is None else columns
        sites = tables.frames["sites.csv"].assign(**{k: list(v) for k, v in own.items()})
        tables.frames["sites.csv"] = sites
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return read_tables(tables, folder)

    return data


def refused(spec: ModelSpec, data: EvaluationData) -> tuple[Problem, ...]:
    with pytest.raises(DataError) as caught:
        build_design(spec, data)
    return caught.value.problems


def density(spec: ModelSpec, design: Design, x: np.ndarray) -> tuple[float, np.ndarray]:
    gradient = np.full(len(x), np.nan)
    return log_density(x, gradient, kernel_data(spec, design)), gradient


def point(spec: ModelSpec, design: Design) -> np.ndarray:
    return start_point(spec, design) + np.random.default_rng(2).normal(0, 0.3, size(design))


# --- arrays ----------------------------------------------------------------------------------


def test_covariates_have_mean_0_and_sd_1(spec, read) -> None:
    design = build_design(with_changes(spec, BOTH), read())
    assert design["covariates"].shape == (SITES, PERIODS, 2)
    np.testing.assert_allclose(design["covariates"].mean(axis=(0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose(design["covariates"].std(axis=(0, 1)), 1)
    sds = [x.std() for x in numbers().values()]
    np.testing.assert_allclose(design["covariate_unit"], sds, rtol=1e-9)
    # modifiers over the sites that go live: the fourth, far away, never does
    live = np.array(NEED[:3])
    expected = [*((live - live.mean()) / live.std()), 0.0]
    np.testing.assert_allclose(design["modifiers"][:, 0], expected)
    assert design["modifier_unit"] == pytest.approx(live.std())
    assert design.coords["covariate"] == ["jobs", "crime"]
    assert design.coords["modifier"] == ["need"]


def test_another_unit_is_the_same_model(spec, read) -> None:
    named = with_changes(spec, BOTH)
    one = build_design(named, read())
    moved = {k: 10 * v + 3 for k, v in numbers().items()}
    other = build_design(named, read(moved, {"need": [10 * x + 3 for x in NEED]}))
    for name in ("covariates", "modifiers"):
        np.testing.assert_allclose(other[name], one[name], atol=1e-9)
    for name in ("covariate_unit", "modifier_unit"):
        np.testing.assert_allclose(other[name], 10 * one[name], rtol=1e-9)
    x = point(named, one)
    (a, by_a), (b, by_b) = (density(named, design, x) for design in (one, other))
    assert a == pytest.approx(b, abs=1e-8)
    np.testing.assert_allclose(by_a, by_b, rtol=1e-7, atol=1e-7)


def test_what_no_spec_names_changes_nothing(spec, read, tiny) -> None:
    with_tables, without = build_design(spec, read()), build_design(spec, tiny)
    assert size(with_tables) == size(without)
    assert with_tables["covariates"].shape == (SITES, PERIODS, 0)
    x = point(spec, without)
    (a, by_a), (b, by_b) = (density(spec, design, x) for design in (with_tables, without))
    assert a == b
    np.testing.assert_array_equal(by_a, by_b)
    slots = set(prior_table(spec)["slot"])
    assert not slots & {"covariate_effect", "modifier_effect"}
    assert covariate_notes(spec, read()) == []


def test_a_fit_is_stored_under_the_columns_that_its_spec_names(spec, read) -> None:
    named = with_changes(spec, BOTH)
    columns = {"need": NEED, "other": (1, 2, 3, 4)}
    first = fit_key(named, read(columns=columns))
    assert fit_key(named, read(columns={**columns, "other": (4, 3, 2, 1)})) == first
    assert fit_key(named, read(columns={**columns, "need": (1.5, 2.5, 7.5, 40)})) != first
    # as written otherwise, the same number
    assert fit_key(named, read(columns={**columns, "need": ("1.50", 2.5, 7, 40)})) == first


# --- values that are not known -----------------------------------------------------------------


def gaps() -> np.ndarray:
    x = numbers()["jobs"]
    x[0, 5:7] = np.nan
    x[2, -1] = np.nan
    return x


def test_the_mean_stands_for_what_is_not_known(spec, read) -> None:
    design = build_design(with_changes(spec, {**JOBS, "covariates.missing": "mean"}),
                          read({"jobs": gaps()}))  # fmt: skip
    x = gaps()
    expected = np.where(np.isnan(x), 0.0, (x - np.nanmean(x)) / np.nanstd(x))
    np.testing.assert_allclose(design["covariates"][..., 0], expected, atol=1e-9)


def test_a_value_is_carried_forward_within_its_site(spec, read) -> None:
    x = gaps()
    design = build_design(
        with_changes(spec, {**JOBS, "covariates.missing": "carry_forward"}), read({"jobs": x})
    )
    filled = pd.DataFrame(x.T).ffill().to_numpy().T
    expected = (filled - np.nanmean(x)) / np.nanstd(x)
    np.testing.assert_allclose(design["covariates"][..., 0], expected, atol=1e-9)


def test_values_after_go_live_can_be_held(spec, read) -> None:
    held = with_changes(spec, {**JOBS, "covariates.after_go_live": "held"})
    x = numbers()["jobs"]
    design = build_design(held, read({"jobs": x}))
    live = design["event_time"] >= 0
    before = np.where(live, np.nan, x)
    expected = (pd.DataFrame(before.T).ffill().to_numpy().T - np.nanmean(before)) / before[
        ~live
    ].std()
    np.testing.assert_allclose(design["covariates"][..., 0], expected, atol=1e-9)
    # what treated sites had after go-live is not read at all
    other = build_design(held, read({"jobs": np.where(live, 1000.0, x)}))
    np.testing.assert_array_equal(other["covariates"], design["covariates"])
    # nor is it needed
    fewer = build_design(held, read({"jobs": before}))
    np.testing.assert_array_equal(fewer["covariates"], design["covariates"])


@pytest.mark.parametrize("rule", ["refuse", "carry_forward"])
def test_what_is_not_known_is_refused_without_a_rule(spec, read, rule) -> None:
    x = numbers()["jobs"]
    x[1, 0:2] = np.nan
    x[3, 4] = np.nan
    changes = {**JOBS, "covariates.missing": rule}
    (problem,) = refused(with_changes(spec, changes), read({"jobs": x}))
    assert (problem.file, problem.code) == ("covariates.csv", Code.MISSING_VALUE)
    unknown = {"refuse": 3, "carry_forward": 2}[rule]
    assert f"{unknown} of 80 are not known (the first: T2 2013-01)" in problem.rule


def test_a_modifier_is_needed_at_sites_that_go_live(spec, read) -> None:
    effect = {k: v for k, v in BOTH.items() if "effect" in k}
    named = with_changes(spec, effect)
    build_design(named, read(columns={"need": (1.5, 2.5, 7, "")}))
    data = read(columns={"need": (1.5, "", 7, 4)})
    (problem,) = refused(named, data)
    assert (problem.file, problem.column, problem.code) == (
        "sites.csv",
        "need",
        Code.MISSING_VALUE,
    )
    assert "(T2)" in problem.rule
    (problem,) = refused(with_changes(named, {"covariates.missing": "carry_forward"}), data)
    assert problem.code == Code.MISSING_VALUE
    design = build_design(with_changes(named, {"covariates.missing": "mean"}), data)
    np.testing.assert_allclose(design["modifiers"][:, 0], [-1, 0, 1, 0])


def test_everything_is_said_at_once(spec, read) -> None:
    names = {
        "effect": ["ned", "wave", "region", "remark", "flat", "jobs", "half"],
        "baseline": ["job", "need", "still"],
    }
    changes = {f"covariates.{k}": v for k, v in names.items()}
    changes |= {"covariates.effect_sd": 0.2, "covariates.baseline_sd": 0.2}
    still = np.full((SITES, PERIODS), 3.0)
    columns = {
        **{"need": NEED, "remark": "abcd", "flat": (2, 2, 2, 5)},
        "half": (1, "two", 3, "NaN"),
    }
    problems = refused(with_changes(spec, changes), read(numbers() | {"still": still}, columns))
    assert [(p.file, p.column, p.value, p.row, p.code) for p in problems] == [
        ("custody.toml", "covariates.effect", "ned", None, Code.UNKNOWN_NAME),
        ("custody.toml", "covariates.effect", "wave", None, Code.UNKNOWN_NAME),
        ("custody.toml", "covariates.effect", "region", None, Code.UNKNOWN_NAME),
        ("sites.csv", "remark", None, None, Code.NOT_A_NUMBER),
        ("sites.csv", "flat", None, None, Code.CONTRADICTION),
        ("custody.toml", "covariates.effect", "jobs", None, Code.UNKNOWN_NAME),
        ("sites.csv", "half", "two", 3, Code.NOT_A_NUMBER),
        ("sites.csv", "half", "NaN", 5, Code.NOT_A_NUMBER),
        ("custody.toml", "covariates.baseline", "job", None, Code.UNKNOWN_NAME),
        ("custody.toml", "covariates.baseline", "need", None, Code.UNKNOWN_NAME),
        ("covariates.csv", "value", None, None, Code.CONTRADICTION),
    ]
    assert "(did you mean 'need'?)" in problems[0].rule
    assert "(did you mean 'jobs'?)" in problems[8].rule


def test_a_table_that_is_absent_holds_no_covariate(spec, tiny) -> None:
    (problem,) = refused(with_changes(spec, JOBS), tiny)
    assert problem.code == Code.UNKNOWN_NAME
    assert "covariates.csv, which is absent" in problem.rule


# --- terms ---------------------------------------------------------------------------------------


def test_coefficients_move_the_surface_and_the_effects_by_their_covariates(spec, read) -> None:
    named = with_changes(spec, BOTH)
    design = build_design(named, read())
    blocks, x = layout(design), point(named, design)
    zero = x.copy()
    for name in ("covariate_effect", "modifier_effect"):
        zero[blocks[name].start : blocks[name].stop] = 0.0
    with_terms, without = constrain(x, design), constrain(zero, design)
    by_site = design["modifiers"] @ with_terms["modifier_effect"]
    gone = with_terms["site_effect"] - without["site_effect"]
    np.testing.assert_allclose(gone, by_site, atol=1e-12)
    # the site's level is anchored at its observed mean, so the levels move against the terms
    levels = (with_terms["site_level"] - without["site_level"])[:, None]
    (a0, a1), (b0, b1) = (linear_predictors(v, design) for v in (with_terms, without))
    surface = design["covariates"] @ with_terms["covariate_effect"]
    np.testing.assert_allclose(a0 - b0 - levels, surface, atol=1e-12)
    weight = design["site_weight"]
    np.testing.assert_allclose((weight * (a1 - b1)).sum(axis=1), 0, atol=1e-12)


def test_coefficients_are_drawn_from_their_prior(spec, read) -> None:
    named = with_changes(spec, BOTH)
    draws = prior_draws(named, build_design(named, read()), 4000, 1)
    for name, sd in (("covariate_effect", 0.1), ("modifier_effect", 0.2)):
        # relative sd of a sample sd of 4000 draws: 1 in 89
        assert draws[name].std() == pytest.approx(sd, rel=6 / 89)
    rows = prior_table(named).set_index("slot")
    assert rows.loc["covariate_effect", "upper"] == pytest.approx(np.exp(1.6448536 * 0.1))
    assert rows.loc["modifier_effect", "dims"] == "modifier"


def test_the_table_is_of_the_draws(spec, read) -> None:
    named = with_changes(spec, BOTH)
    design = build_design(named, read())
    values = prior_draws(named, design, 500, 1)
    tree = draws_tree(values, named, design)
    table = covariates_table(tree)
    link = table[table["scale"] == "link"].set_index("covariate")
    assert link.index.tolist() == ["jobs", "crime", "need"]
    draws = values["covariate_effect"][0, :, 1]
    assert link.loc["crime", "mean"] == pytest.approx(draws.mean())
    assert link.loc["crime", "one_sd"] == pytest.approx(numbers()["crime"].std())
    assert link["prior_sd"].tolist() == [0.1, 0.1, 0.2]
    ratio = table[table["scale"] == "ratio"].set_index("covariate")
    assert ratio.loc["crime", "median"] == pytest.approx(np.median(np.exp(draws)))
    assert ratio["unit"].unique().tolist() == ["odds ratio per sd"]
    tree.attrs["selected"] = 1
    assert "need" not in covariates_table(tree)["covariate"].tolist()
    plain = build_design(spec, read())
    assert covariates_table(draws_tree(prior_draws(spec, plain, 50, 1), spec, plain)).empty


@pytest.mark.xdist_group("pymc")
@pytest.mark.slow
def test_density_and_gradient_are_pymcs(spec, read) -> None:
    named = with_changes(spec, BOTH)
    design = build_design(named, read())
    x = point(named, design)
    value, gradient = density(named, design, x)
    expected, expected_gradient = with_model(named, design).density(x)
    assert value == pytest.approx(expected, rel=1e-11)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-8, atol=1e-8)


# --- what may be a bad control -------------------------------------------------------------------


EVENT = np.arange(PERIODS) - np.array([[10**6 if g is None else g] for g in GO_LIVE])


def test_a_shift_is_what_site_and_month_do_not_explain() -> None:
    rng = np.random.default_rng(3)
    common = rng.normal(size=(SITES, 1)) + np.cumsum(rng.normal(size=PERIODS))
    assert shift_at_go_live(common, EVENT) == pytest.approx(0, abs=1e-9)
    jump = np.array([[0.5], [1.0], [3.0], [7.0]]) * (EVENT >= 0)
    assert shift_at_go_live(common + jump, EVENT) == pytest.approx(1.5)
    # all live at once: no untreated site in those months
    assert np.isnan(shift_at_go_live(common, np.tile(np.arange(PERIODS) - 8, (SITES, 1))))


def test_chance_is_how_often_go_lives_at_random_do_as_much() -> None:
    rng = np.random.default_rng(8)
    start = np.repeat([6, 9, 12, 15], 3)
    event = np.arange(PERIODS) - start[:, None]
    noise = rng.normal(size=(12, PERIODS)) + np.linspace(0, 4, PERIODS)
    assert shift_by_chance(noise + 2.0 * (event >= 0), event, 1) == pytest.approx(0.005)
    # p values of nothing are uniform: their mean over 40 has an sd of 0.05
    chances = [shift_by_chance(rng.normal(size=(12, PERIODS)), event, seed) for seed in range(40)]
    assert 0.3 < np.mean(chances) < 0.7


def test_notes_warn_of_a_covariate_that_moves_with_go_live(spec, tmp_path) -> None:
    tables = tiny_tables(go_live=(5, 7, 9, 11, 13, None), waves=(1, 1, 2, 2, 3, 3))
    starts = np.array([5, 7, 9, 11, 13, 10**6])
    live = np.arange(PERIODS) >= starts[:, None]
    rng = np.random.default_rng(1)
    calm = rng.normal(size=live.shape)
    tables.frames["covariates.csv"] = monthly({"calm": calm, "moved": 0.3 * calm + 2.0 * live})
    data = read_tables(tables, tmp_path)
    names = {"covariates.baseline": ["calm", "moved"], "covariates.baseline_sd": 0.1}
    notes = covariate_notes(with_changes(spec, names), data)
    assert [note for note in notes if note.startswith("WARNING")] == [notes[2]]
    assert "moved moved by" in notes[2]
    assert all("values after go-live of treated sites are used" in notes[i] for i in (0, 1))
    held = covariate_notes(with_changes(spec, {**names, "covariates.after_go_live": "held"}), data)
    assert len(held) == 2
    assert all("is held" in note for note in held)


def test_coordinates_of_draws_are_named(spec, read) -> None:
    named = with_changes(spec, BOTH)
    design = build_design(named, read())
    posterior = draws_tree(prior_draws(named, design, 10, 1), named, design)["posterior"]
    assert isinstance(posterior["covariate_effect"], xr.DataArray)
    assert posterior["covariate_effect"].dims == ("chain", "draw", "covariate")
    assert posterior["modifier"].values.tolist() == ["need"]
