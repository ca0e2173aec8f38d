"""What must not matter to the density: coordinates, labels, and the order of anything."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lndbayes.density.arguments import kernel_data
from lndbayes.fitting.compiled import log_density
from lndbayes.model.design import Design, build_design
from lndbayes.model.layout import constrain, size, unconstrain
from lndbayes.model.mask import without_treated
from lndbayes.spec.model_spec import ModelSpec, with_changes
from model_cases import Tables, read_tables, tiny_tables

RTOL = 1e-11

BIASES = {
    "sensitivity.shared_bias_sd": 0.15,
    "sensitivity.drift_sd": 0.05,
    "sensitivity.go_live_step_sd": 0.1,
}


@pytest.fixture(scope="module")
def biased(spec) -> ModelSpec:
    return with_changes(spec, BIASES)


@pytest.fixture(scope="module")
def design(biased, tiny) -> Design:
    return build_design(biased, tiny)


@pytest.fixture
def values(design, rng) -> dict[str, np.ndarray]:
    return constrain(rng.normal(0, 0.5, size(design)), design)


def density_at(spec: ModelSpec, design: Design, values: dict[str, np.ndarray]) -> float:
    """Joint density of the variables themselves, wherever the vector has put them."""
    x = unconstrain(values, design)
    return log_density(x, np.empty_like(x), kernel_data(spec, design))


def test_anchor_only_chooses_coordinates(biased, design, values, rng):
    weight = rng.dirichlet(np.ones(20), size=4)
    expected = density_at(biased, design, values)
    moved = design.replace(site_weight=weight)
    assert density_at(biased, moved, values) == pytest.approx(expected, rel=RTOL)
    loose = design.replace(site_weight=np.zeros_like(weight))
    assert density_at(biased, loose, values) == pytest.approx(expected, rel=RTOL)


def test_stored_exposure_out_of_the_likelihood_is_not_in_the_density(biased, design, values):
    expected = density_at(biased, design, values)
    other = design.replace(
        exposure_all=design["exposure_all"] + 5,
        exposure_exact=design["exposure_exact"] + 5,
        count_exact=design["count_exact"] + 1,
        referrals=design["referrals"] + 3,
    )
    assert density_at(biased, other, values) == expected


def renamed(tables: Tables, column: str, names: dict[str, str]) -> Tables:
    frames = {
        file: frame.assign(**{column: frame[column].map(lambda name: names.get(name, name))})
        if column in frame
        else frame
        for file, frame in tables.frames.items()
    }
    return Tables(tables.settings, frames)


def test_names_of_sites_do_not_matter(biased, design, values, tmp_path):
    """Sites are ordered by name; a new order is the same model with its site axis permuted."""
    names = {"T1": "Z", "T2": "Y", "T3": "A", "T4": "B"}
    other = build_design(biased, read_tables(renamed(tiny_tables(), "site", names), tmp_path))
    order = [2, 3, 1, 0]  # A, B, Y, Z
    assert other.coords["site"] == ["A", "B", "Y", "Z"]
    moved = dict(values)
    for name in ("site_drift", "site_deviation", "site_level", "mix_share", "site_effect"):
        moved[name] = values[name][order]
    moved["site_curve"] = values["site_curve"][:, order]
    # retrospective records are of T1 and T3, now Z and A
    moved["retrospective_site_bias"] = values["retrospective_site_bias"][::-1]
    expected = density_at(biased, design, values)
    assert density_at(biased, other, moved) == pytest.approx(expected, rel=RTOL)


def test_names_of_interventions_do_not_matter(biased, design, values, tmp_path):
    names = {"advice": "third", "liaison": "first", "outreach": "second"}
    other = build_design(
        biased, read_tables(renamed(tiny_tables(), "intervention", names), tmp_path)
    )
    order = [1, 2, 0]
    moved = values | {
        "mix_share": values["mix_share"][:, order],
        "mix_effect": values["mix_effect"][order],
    }
    expected = density_at(biased, design, values)
    assert density_at(biased, other, moved) == pytest.approx(expected, rel=RTOL)


def test_calendar_does_not_matter_beyond_its_seasons(biased, design, values, tmp_path):
    """Four whole years later: the same density."""

    def later(frame: pd.DataFrame) -> pd.DataFrame:
        columns = [c for c in ("month", "go_live", "calendar_month") if c in frame]
        shift = {
            c: frame[c].map(lambda m: str(pd.Period(m, "M") + 48) if m else "") for c in columns
        }
        return frame.assign(**shift)

    tables = tiny_tables()
    settings = tables.settings | {"first_month": "2017-01", "last_month": "2018-08"}
    frames = {file: later(frame) for file, frame in tables.frames.items()}
    other = build_design(biased, read_tables(Tables(settings, frames), tmp_path))
    expected = density_at(biased, design, values)
    assert density_at(biased, other, values) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(("name", "scale"), [("go_live_step", 0.1), ("drift", 0.05)])
def test_untreated_months_teach_nothing_of_what_begins_with_the_service(
    biased, design, values, name, scale
):
    """With the treated months hidden only the prior sees a step or a drift after go-live."""
    moved = values | {name: values[name] + 0.3}
    assert density_at(biased, design, moved) != pytest.approx(density_at(biased, design, values))
    hidden = without_treated(design)
    gap = density_at(biased, hidden, moved) - density_at(biased, hidden, values)
    prior = stats.norm(0, scale).logpdf
    assert gap == pytest.approx(prior(moved[name]) - prior(values[name]), rel=1e-9)
