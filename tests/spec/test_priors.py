"""Priors as values, and the table of the ranges they imply, against numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import expit

from lndbayes.base.errors import SpecError
from lndbayes.base.names import CI_PROB
from lndbayes.model.layout import SCALARS, inactive
from lndbayes.spec.families import FAMILIES
from lndbayes.spec.model_spec import CHANNELS, load_spec, parse_spec, with_changes
from lndbayes.spec.prior_table import prior_table
from lndbayes.spec.priors import DISTRIBUTIONS, SLOTS, PriorDistribution, required_slots
from small import raw_of

CUSTODY = Path(__file__).parents[2] / "models" / "custody.toml"

#: Standard normal quantile at .95, to the digits of printed tables.
Z95 = 1.6448536269514722

EXAMPLES = {
    "Normal": {"mu": 0.3, "sigma": 0.5},
    "StudentT": {"nu": 5.0, "mu": -0.3, "sigma": 0.5},
    "HalfNormal": {"sigma": 0.5},
    "Exponential": {"scale": 0.06},
    "Gamma": {"alpha": 2.0, "beta": 10.0},
    "LogNormal": {"mu": 1.386, "sigma": 0.5},
}


@pytest.fixture(scope="module")
def spec():
    return load_spec(CUSTODY)


@pytest.fixture(scope="module")
def table(spec):
    return prior_table(spec).set_index("slot")


def prior(dist: str) -> PriorDistribution:
    return PriorDistribution.parse({"dist": dist, **EXAMPLES[dist]}, DISTRIBUTIONS[dist][0])


# ---- the distributions


def density_by_hand(dist: str, x: np.ndarray) -> np.ndarray:
    """Textbook densities, in PyMC's parameters."""
    p = EXAMPLES[dist]
    match dist:
        case "Normal":
            z = (x - p["mu"]) / p["sigma"]
            return np.exp(-(z**2) / 2) / (p["sigma"] * np.sqrt(2 * np.pi))
        case "StudentT":
            z, nu = (x - p["mu"]) / p["sigma"], p["nu"]
            norm = math.gamma((nu + 1) / 2) / (
                math.gamma(nu / 2) * np.sqrt(nu * np.pi) * p["sigma"]
            )
            return norm * (1 + z**2 / nu) ** (-(nu + 1) / 2)
        case "HalfNormal":
            s = p["sigma"]
            return np.sqrt(2 / np.pi) / s * np.exp(-(x**2) / (2 * s**2))
        case "Exponential":
            return np.exp(-x / p["scale"]) / p["scale"]
        case "Gamma":
            a, b = p["alpha"], p["beta"]
            return b**a * x ** (a - 1) * np.exp(-b * x) / math.gamma(a)
        case _:
            z = (np.log(x) - p["mu"]) / p["sigma"]
            return np.exp(-(z**2) / 2) / (x * p["sigma"] * np.sqrt(2 * np.pi))


@pytest.mark.parametrize("dist", EXAMPLES)
def test_frozen_distribution_has_the_textbook_density(dist):
    law = prior(dist).frozen()
    x = law.ppf(np.linspace(0.01, 0.99, 25))
    np.testing.assert_allclose(law.pdf(x), density_by_hand(dist, x), rtol=1e-12)
    low, high = (-np.inf if DISTRIBUTIONS[dist][0] == "real" else 0.0), np.inf
    assert integrate.quad(law.pdf, low, high)[0] == pytest.approx(1.0, abs=1e-6)


def test_means_are_what_the_parameters_say():
    assert prior("Exponential").frozen().mean() == pytest.approx(0.06)
    assert prior("Gamma").frozen().mean() == pytest.approx(0.2)
    assert prior("LogNormal").frozen().median() == pytest.approx(math.exp(1.386))
    assert prior("HalfNormal").frozen().mean() == pytest.approx(0.5 * math.sqrt(2 / math.pi))
    assert prior("StudentT").frozen().median() == pytest.approx(-0.3)


def test_a_dirichlet_is_not_a_distribution_of_one_number():
    shares = PriorDistribution.parse({"dist": "Dirichlet", "concentration": 1.5}, "simplex")
    with pytest.raises(ValueError, match="not univariate"):
        shares.frozen()


@pytest.mark.parametrize("dist", [*EXAMPLES, "Dirichlet"])
def test_a_prior_round_trips_through_its_table(dist):
    raw = {"dist": dist, **EXAMPLES.get(dist, {"concentration": 1.5})}
    support = DISTRIBUTIONS[dist][0]
    parsed = PriorDistribution.parse(raw, support)
    assert parsed.as_toml() == raw
    assert PriorDistribution.parse(parsed.as_toml(), support) == parsed
    assert PriorDistribution.parse(parsed, support) == parsed
    backwards = PriorDistribution.parse(dict(reversed(raw.items())), support)
    assert backwards == parsed
    assert hash(backwards) == hash(parsed)


def test_a_prior_reads_by_name_prints_briefly_and_is_frozen():
    value = prior("StudentT")
    assert value["sigma"] == 0.5
    assert str(value) == "StudentT(nu=5, mu=-0.3, sigma=0.5)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.dist = "Normal"


# ---- the slots


def test_slots_are_the_parameters_that_have_a_prior_in_the_spec():
    """The vector's scalars less the multipliers of fixed scales; season, shares, later stages."""
    fixed = {"shared_bias", "drift", "go_live_step", "pulse"}
    vectors = {"season", "mix_share", "stage_level"}
    further = {"national_walk_sd"}
    assert set(SLOTS) == (set(SCALARS) - fixed) | vectors | further
    switches = [(p, w) for p in (False, True) for w in (False, True)]
    asked = [required_slots(f, pulse=p, walk=w) for f in FAMILIES for p, w in switches]
    assert set().union(*asked) == set(SLOTS)
    for slots in asked:
        assert list(slots) == [slot for slot in SLOTS if slot in slots]  # in one order


def test_the_shipped_spec_has_the_slots_that_every_family_has():
    everywhere = set(SLOTS) - {
        *("person_dispersion", "stage_level", "stage_site_sd", "stage_effect", "pulse_months"),
        "national_walk_sd",
    }
    assert set(required_slots("beta_binomial", pulse=False)) == everywhere
    shared = set.intersection(*(set(required_slots(f, pulse=False)) for f in FAMILIES))
    assert shared == everywhere


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scalar_without_a_slot_is_idle(family):
    """And none with one: what is not reported is what has no prior of the spec's."""
    for pulse in (False, True):
        raw = raw_of(family, 0.3 if pulse else 0.0)
        idle = set(inactive(parse_spec(raw, source="x")))
        slots = set(required_slots(family, pulse=pulse))
        fixed = {"shared_bias", "drift", "go_live_step", "pulse"}
        assert idle == set(SCALARS) - slots - fixed


def test_slots_of_one_number_say_so():
    assert SLOTS["season"].dims == ("harmonic",)
    assert SLOTS["mix_share"].dims == ("site", "intervention")
    assert SLOTS["stage_level"].dims == ("stage",)
    vectors = ("season", "mix_share", "stage_level")
    assert all(SLOTS[s].dims == () for s in SLOTS if s not in vectors)
    assert {slot.channel for slot in SLOTS.values()} - {None} <= set(CHANNELS)


@pytest.mark.parametrize("name", SLOTS)
def test_maps_to_units_rise(name):
    """Quantiles of the parameter are quantiles in the unit only if the map is monotone."""
    x = np.linspace(0.01, 0.99, 50)
    assert (np.diff(SLOTS[name].to_unit(x)) > 0).all()


# ---- the table


def test_table_has_one_row_a_slot_then_one_a_fixed_scale(spec):
    table = prior_table(spec)
    slots = required_slots("ordered_bands", pulse=False)
    fixed = ["national_offset", "elicited_bias", "wave_effect", "shared_bias", "drift"]
    rows = table["slot"].tolist()
    assert rows[: len(slots)] == list(slots)
    assert sorted(rows[len(slots) :]) == sorted(
        [*fixed, "go_live_step", "pulse", "drift_adoption", "level_adoption"]
    )
    assert table.columns.tolist() == [
        "slot",
        "distribution",
        "dims",
        "unit",
        "lower",
        "median",
        "upper",
        "ci_prob",
        "note",
    ]
    assert (table["ci_prob"] == CI_PROB).all()
    assert table[["lower", "median", "upper"]].notna().all(axis=None)
    assert (table["lower"] <= table["median"]).all()
    assert (table["median"] <= table["upper"]).all()
    assert table["note"].str.len().min() > 5


def assert_row(table, slot: str, lower: float, median: float, upper: float) -> None:
    found = table.loc[slot, ["lower", "median", "upper"]].astype(float)
    np.testing.assert_allclose(found, [lower, median, upper], rtol=1e-6)


def test_normal_priors_are_odds_ratios(table):
    """exp(mu -+ z sigma): the effect, 0.44 to 2.28."""
    assert_row(table, "effect_mean", math.exp(-Z95 * 0.5), 1.0, math.exp(Z95 * 0.5))
    assert table.loc["effect_mean", "lower"] == pytest.approx(0.4394, abs=1e-4)
    assert_row(table, "national_slope", math.exp(-Z95 * 0.2), 1.0, math.exp(Z95 * 0.2))
    assert_row(table, "season", math.exp(-Z95 * 0.08), 1.0, math.exp(Z95 * 0.08))
    assert table.loc["season", "dims"] == "harmonic"


def test_baseline_level_is_a_rate(table):
    assert_row(table, "baseline_level", *(expit(-2.0 + z * 0.7) for z in (-Z95, 0.0, Z95)))
    assert table.loc["baseline_level", "median"] == pytest.approx(0.1192, abs=1e-4)
    assert table.loc["baseline_level", "unit"] == "rate"


def test_log_normal_priors_keep_their_own_unit(table):
    assert_row(table, "ramp_months", *(4 * math.exp(z * 0.5) for z in (-Z95, 0.0, Z95)))
    assert_row(table, "concentration", *(150 * math.exp(z * 0.7) for z in (-Z95, 0.0, Z95)))
    assert_row(table, "mix_concentration", *(300 * math.exp(z * 0.5) for z in (-Z95, 0.0, Z95)))
    assert table.loc["ramp_months", "unit"] == "months"


def test_exponential_prior_by_its_closed_quantiles(table):
    """-scale log(1 - q), as an odds ratio."""
    quantiles = (-0.06 * math.log(1 - q) for q in (0.05, 0.5, 0.95))
    assert_row(table, "site_drift_sd", *(math.exp(q) for q in quantiles))


def test_half_normal_prior_by_normal_quantiles(table):
    """|z| is below the normal's (1 + q) / 2 quantile with probability q."""
    quantiles = (0.5 * stats.norm.ppf((1 + q) / 2) for q in (0.05, 0.5, 0.95))
    assert_row(table, "site_level_sd", *(math.exp(q) for q in quantiles))


def test_gamma_prior_of_shape_two_by_its_closed_distribution(table):
    """P(X < x) = 1 - (1 + b x) exp(-b x)."""
    for column, q in (("lower", 0.05), ("median", 0.5), ("upper", 0.95)):
        x = math.log(table.loc["site_effect_sd", column])
        assert 1 - (1 + 10 * x) * math.exp(-10 * x) == pytest.approx(q, abs=1e-9)


@pytest.mark.parametrize("interventions", [2, 3, 5])
def test_share_has_the_beta_law_of_one_part_of_a_dirichlet(spec, interventions):
    table = prior_table(spec, interventions=interventions).set_index("slot")
    rest = 1.5 * (interventions - 1)
    for column, q in (("lower", 0.05), ("median", 0.5), ("upper", 0.95)):
        value = table.loc["mix_share", column]
        below = integrate.quad(lambda p: stats.beta(1.5, rest).pdf(p), 0, value)[0]
        assert below == pytest.approx(q, abs=1e-6)
    assert table.loc["mix_share", "unit"] == "share"
    assert table.loc["mix_share", "dims"] == "site, intervention"


def test_two_equal_parts_have_a_median_of_one_half(spec):
    table = prior_table(spec, interventions=2).set_index("slot")
    assert table.loc["mix_share", "median"] == pytest.approx(0.5)


def test_fixed_scales_are_odds_ratios_or_off(table):
    assert_row(table, "national_offset", math.exp(-Z95 * 0.4), 1.0, math.exp(Z95 * 0.4))
    assert_row(table, "elicited_bias", math.exp(-Z95 * 0.15), 1.0, math.exp(Z95 * 0.15))
    assert_row(table, "wave_effect", math.exp(-Z95 * 0.2), 1.0, math.exp(Z95 * 0.2))
    assert table.loc["wave_effect", "distribution"] == "Normal(mu=0, sigma=0.2), sigma fixed"
    for name in ("shared_bias", "drift", "go_live_step", "pulse"):
        assert_row(table, name, 1.0, 1.0, 1.0)
        assert table.loc[name, "distribution"] == "off (0)"


@pytest.mark.parametrize(("name", "sd"), [("national_offset", 0.4), ("elicited_bias", 0.15)])
def test_ranges_of_biases_have_their_outlying_part(spec, name, sd):
    """Nine of ten draws of the mixture lie between them, and they are told as what they are."""
    on = with_changes(spec, {"baseline.contamination": 0.2, "baseline.contamination_ratio": 4.0})
    row = prior_table(on).set_index("slot").loc[name]
    low, high = np.log(row[["lower", "upper"]].to_numpy(float)) / sd
    inside = 0.8 * np.diff(stats.norm.cdf([low, high])) + 0.2 * np.diff(
        stats.norm.cdf(np.array([low, high]) / 4)
    )
    assert inside[0] == pytest.approx(0.9, abs=1e-8)
    assert low == pytest.approx(-high, abs=1e-8)
    assert row["distribution"].count("Normal") == 2


def test_the_walks_scale_is_there_where_the_walk_is(spec):
    walk = {"dist": "LogNormal", "mu": -3.0, "sigma": 0.4}
    on = with_changes(spec, {"baseline.national_walk": 5, "priors.national_walk_sd": walk})
    assert "national_walk_sd" in prior_table(on)["slot"].tolist()
    assert "national_walk_sd" not in prior_table(spec)["slot"].tolist()
    assert with_changes(on, {"baseline.national_walk": 0}) == spec
    # a scale without a walk would be taken for one that is on
    with pytest.raises(SpecError, match="with these switches"):
        with_changes(spec, {"priors.national_walk_sd": walk})
    with pytest.raises(SpecError, match="missing prior slot"):
        with_changes(spec, {"baseline.national_walk": 5})


def test_a_bias_that_is_switched_on_is_in_the_table(spec):
    changed = with_changes(spec, {"sensitivity.go_live_step_sd": 0.1})
    table = prior_table(changed).set_index("slot")
    assert_row(table, "go_live_step", math.exp(-Z95 * 0.1), 1.0, math.exp(Z95 * 0.1))


@pytest.mark.parametrize(
    ("family", "ratio"),
    [
        ("beta_binomial", "odds ratio"),
        ("ordered_bands", "odds ratio"),
        ("negative_binomial", "rate ratio"),
        ("negative_binomial_from_one", "rate ratio"),
        ("duration_hazard", "hazard ratio"),
        ("ordered_change", "odds ratio"),
    ],
)
def test_ratios_have_the_name_of_the_familys_link(family, ratio):
    spec = parse_spec(raw_of(family, 0.3), source="x")
    table = prior_table(spec).set_index("slot")
    assert table.loc[["effect_mean", "season", "pulse", "drift"], "unit"].tolist() == [ratio] * 4
    assert table.loc["mix_effect_sd", "unit"] == f"ratio of {ratio}s, one sd"
    others = {"odds", "rate", "hazard"} - {ratio.split()[0]}
    assert not any(f"{word} ratio" in unit for word in others for unit in table["unit"])


def test_levels_are_on_the_familys_natural_scale():
    """exp for a rate; 1 - exp(-exp) for a hazard; the first three numbers as for odds."""
    level = [-2.0 + z * 0.7 for z in (-Z95, 0.0, Z95)]
    stage = [-0.3 + z * 1.1 for z in (-Z95, 0.0, Z95)]
    natural = {
        "ordered_bands": expit,
        "negative_binomial": math.exp,
        "duration_hazard": lambda x: 1 - math.exp(-math.exp(x)),
    }
    for family, inverse in natural.items():
        table = prior_table(parse_spec(raw_of(family), source="x")).set_index("slot")
        assert_row(table, "baseline_level", *(inverse(x) for x in level))
        if "stage_level" in table.index:
            assert_row(table, "stage_level", *(inverse(x) for x in stage))


def test_seams_are_in_the_table_where_there_are_any(spec):
    assert "seam" not in prior_table(spec)["slot"].tolist()
    changed = with_changes(spec, {"baseline.seams": ["2015-04", "2016-01"]})
    table = prior_table(changed).set_index("slot")
    assert_row(table, "seam", math.exp(-Z95 * 0.15), 1.0, math.exp(Z95 * 0.15))
    assert table.loc["seam", "dims"] == "seam_month"
    assert "2015-04, 2016-01" in table.loc["seam", "note"]


def test_interval_is_the_one_that_is_asked_for(spec):
    table = prior_table(spec, ci_prob=0.5).set_index("slot")
    z = 0.6744897501960817
    assert_row(table, "effect_mean", math.exp(-z * 0.5), 1.0, math.exp(z * 0.5))
    assert (table["ci_prob"] == 0.5).all()


@pytest.mark.parametrize(
    ("channel", "slots"),
    [
        ("retrospective", {"retrospective_bias", "retrospective_bias_sd"}),
        ("history", {"history_selection", "crisis_dip", "crisis_recovery_months"}),
    ],
)
def test_a_channel_that_is_off_is_noted_where_it_matters(spec, channel, slots):
    off = with_changes(spec, {f"baseline.channels.{channel}": False})
    table = prior_table(off).set_index("slot")
    noted = table["note"].str.contains(f"{channel} is switched off")
    assert set(table.index[noted]) == slots
    assert not prior_table(spec)["note"].str.contains("switched off").any()


def test_distribution_is_printed_with_its_parameters(table):
    assert table.loc["site_effect_sd", "distribution"] == "Gamma(alpha=2, beta=10)"
    assert table.loc["ramp_months", "distribution"] == "LogNormal(mu=1.386, sigma=0.5)"
