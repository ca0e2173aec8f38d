"""Exported tables: contract columns, numbers of the right draws, blanks where tier D forbids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from lndbayes.app.exports import Outcome, write_exports
from lndbayes.app.runs import Steps
from lndbayes.base.vocabulary import Estimand
from lndbayes.checks.result import CheckResult, Status
from lndbayes.estimands import effects as estimands
from lndbayes.estimands.averted import events_averted
from lndbayes.estimands.reported import (
    EFFECT_COLUMNS,
    baseline_table,
    blank_tier_d,
    effects_table,
    prior_as_posterior,
    reported_draws,
)
from lndbayes.estimands.summaries import SUMMARY_COLUMNS, summarise
from lndbayes.evidence.attribution.tables import LEDGER_COLUMNS, ledger_table
from lndbayes.money.costs import load_costs
from lndbayes.money.savings import savings
from lndbayes.money.tables import savings_table
from lndbayes.spec.model_spec import CHANNELS, load_spec
from small import MODELS, fake_fit

WINDOW = (7, 18)
#: Of the run directory's contract, in its order; further columns may follow.
CONTRACT = {
    "effects": "outcome estimand site intervention scale unit mean sd lower median upper ci_prob "
    "p_below_zero mcse window identified",
    "baseline": "outcome site month mean lower upper observed",
    "ledger": "outcome site tier channel contribution shift_if_removed prior_share feedback_share "
    "leverage_level_bias leverage_drift",
}
NUMBERS = [c for c in SUMMARY_COLUMNS if c != "ci_prob"]


def four_tiers(**more: Any) -> xr.DataTree:
    """Sites A to D of those tiers, and E that never goes live."""
    rows = {"history_at": np.array([[2, 3, 0]]), "history_exposure": np.array([30.0])}
    constants = {**rows, **more.pop("constants", {})}
    return fake_fit((12, 5, 0, 0, None), months=48, draws=20, constants=constants, **more)


def bias_on(sites: list[str]) -> xr.Dataset:
    """Leverages as the refit with biases keeps them; the position in `sites` is in the value."""
    at = np.arange(1.0, len(sites) + 1)
    return xr.Dataset(
        {
            "leverage_level_bias": 0.25,
            "leverage_drift": -0.5,
            "site_leverage_level_bias": ("treated_site", at),
            "site_leverage_drift": ("treated_site", -at),
        },
        coords={"treated_site": sites},
    )


def select(table: pd.DataFrame, **where: str) -> pd.DataFrame:
    for column, value in where.items():
        table = table[table[column] == value]
    return table


def test_columns_are_those_of_the_contract_in_its_order() -> None:
    fit = four_tiers()
    tables = {"effects": effects_table(fit, WINDOW), "baseline": baseline_table(fit, WINDOW)}
    for name, table in tables.items():
        wanted = CONTRACT[name].split()
        assert list(table.columns)[: len(wanted)] == wanted
    assert tuple(tables["effects"].columns) == EFFECT_COLUMNS
    assert list(LEDGER_COLUMNS) == CONTRACT["ledger"].split()


def test_every_estimand_is_there_once_with_its_sites() -> None:
    table = effects_table(four_tiers(interventions=("a", "b", "c")), WINDOW)
    rows = table.groupby(["estimand", "scale"], sort=False).size().to_dict()
    assert rows == {
        ("pooled", "link"): 1,
        ("pooled", "natural"): 1,
        ("pooled_superpopulation", "link"): 1,
        ("new_site", "link"): 1,
        ("plateau", "link"): 1,
        ("site", "link"): 4,
        ("site", "natural"): 4,
        ("events_averted", "natural"): 5,
        ("course", "link"): 6,
        ("pooled_referral_weighted", "link"): 1,
        ("intervention", "link"): 3,
        ("substitution", "link"): 3,
    }
    assert list(select(table, estimand="events_averted")["site"]) == ["", *"ABCD"]
    assert list(select(table, estimand="site", scale="link")["site"]) == list("ABCD")
    assert list(select(table, estimand="intervention")["intervention"]) == ["a", "b", "c"]
    assert not table[["site", "intervention", "unit", "window"]].isna().any(axis=None)
    assert set(table["outcome"]) == {"custody"}
    assert set(table["ci_prob"]) == {0.9}


def test_the_numbers_are_those_of_the_draws() -> None:
    fit = four_tiers()
    table = effects_table(fit, WINDOW)

    def check(row: pd.Series, draws: np.ndarray) -> None:
        flat = np.ravel(draws)
        lower, median, upper = np.quantile(flat, (0.05, 0.5, 0.95))
        wanted = [flat.mean(), flat.std(ddof=1), lower, median, upper, (flat < 0).mean()]
        columns = ["mean", "sd", "lower", "median", "upper", "p_below_zero"]
        np.testing.assert_allclose(row[columns].to_numpy(float), wanted, rtol=1e-10, atol=1e-14)

    def one(**where: str) -> pd.Series:
        found = select(table, **where)
        assert len(found) == 1
        return found.iloc[0]

    averted = events_averted(fit).to_numpy()
    check(one(estimand="events_averted", site="A"), averted[..., 0])
    # the sum is of draws, of all sites, those without an interval of their own among them
    check(one(estimand="events_averted", site=""), averted.sum(axis=-1))
    natural = estimands.site_effects(fit, "natural", WINDOW, withheld=False).to_numpy()
    check(one(estimand="site", scale="natural", site="C"), 100 * natural[..., 2])
    check(one(estimand="pooled", scale="natural"), 100 * natural.mean(axis=-1))
    link = estimands.site_effects(fit, "link", WINDOW, withheld=False).to_numpy()
    check(one(estimand="pooled", scale="link"), link.mean(axis=-1))
    plateau = estimands.plateau_effects(fit).to_numpy()
    check(one(estimand="plateau"), plateau.mean(axis=-1))


def test_units_and_windows_say_what_a_number_is() -> None:
    table = effects_table(four_tiers(), (3, 9))
    units = table.groupby(["estimand", "scale"])["unit"].unique().to_dict()
    assert list(units["site", "natural"]) == ["percentage points"]
    assert list(units["pooled", "link"]) == ["log odds"]
    assert list(units["events_averted", "natural"]) == ["custodial sentences"]
    assert list(units["substitution", "link"]) == ["log odds per 10 percentage points"]
    averted = table["estimand"] == "events_averted"
    assert set(table.loc[averted, "window"]) == {"observed months"}
    course = table["estimand"] == "course"
    assert set(table.loc[~averted & ~course, "window"]) == {"3-9"}


def test_sites_of_tier_d_keep_their_row_and_lose_its_numbers() -> None:
    table = effects_table(four_tiers(), WINDOW, bias_on(list("ABCD")))
    by_site = table[table["site"] != ""]
    assert dict(zip(by_site["site"], by_site["identified"], strict=True)) == {s: s for s in "ABCD"}
    lost = by_site[by_site["site"] == "D"]
    assert len(lost) == 3
    assert lost[NUMBERS].isna().all(axis=None)
    assert all("tier D" in note for note in lost["note"])
    rest = table[table["site"] != "D"]
    assert rest[NUMBERS].notna().all(axis=None)
    # together the sites are an estimate, and say what it rests on
    pooled = select(table, estimand="pooled")
    assert set(pooled["identified"]) == {""}
    assert all("sites by tier: 1 A, 1 B, 1 C, 1 D" in note for note in pooled["note"])


def test_a_site_that_is_live_without_a_usable_treated_cell_has_a_row_that_says_so() -> None:
    """Live in the last month, and that masked: no number, no tier, and no other row differs."""
    exposure = np.full((3, 48), 30.0)
    exposure[2, 47] = 0.0
    constants = {"exposure": exposure, "exposure_all": 30.0, "referrals": 2.0}
    late, never = (
        effects_table(fake_fit((12, 20, g), months=48, draws=20, constants=constants), WINDOW)
        for g in (47, None)
    )
    own = late["site"] == "C"
    assert list(late.loc[own, "estimand"]) == ["site", "site", "events_averted"]
    assert set(late.loc[own, "identified"]) == {"-"}
    assert late.loc[own, NUMBERS].isna().all(axis=None)
    assert late.loc[own, "note"].str.contains("no treated cell of its own").all()
    pd.testing.assert_frame_equal(late[~own].reset_index(drop=True), never)


def test_the_pooled_note_tells_the_identified_share() -> None:
    # D's and C's 48 treated months, A's 36 and B's 43, all with exposure 10: A and B are compared
    fit = four_tiers(constants={"exposure_all": 10.0})
    (note, _) = select(effects_table(fit, WINDOW), estimand="pooled")["note"]
    assert f"{(36 + 43) / (36 + 43 + 48 + 48):.0%} of treated exposure is identified" in note
    assert "45%" in note


def test_leverages_go_to_the_right_rows() -> None:
    order = ["C", "A", "D", "B"]
    table = effects_table(four_tiers(), WINDOW, bias_on(order))
    sites = select(table, estimand="site", scale="link").set_index("site")
    assert sites["leverage_level_bias"].to_dict() == {"A": 2.0, "B": 4.0, "C": 1.0, "D": 3.0}
    assert sites["leverage_drift"].to_dict() == {"A": -2.0, "B": -4.0, "C": -1.0, "D": -3.0}
    pooled = select(table, estimand="pooled", scale="link").iloc[0]
    assert (pooled["leverage_level_bias"], pooled["leverage_drift"]) == (0.25, -0.5)
    others = ~table["estimand"].isin(["site", "pooled"]) | (table["scale"] != "link")
    assert table.loc[others, ["leverage_level_bias", "leverage_drift"]].isna().all(axis=None)
    without = effects_table(four_tiers(), WINDOW)
    assert without[["leverage_level_bias", "leverage_drift"]].isna().all(axis=None)


def test_what_the_data_lack_is_left_out() -> None:
    plain = four_tiers(
        interventions=("all",), posterior={"mix_effect": 0.0}, constants={"referrals": 0.0}
    )
    keys = {key.split("/")[0] for key in reported_draws(plain, WINDOW)}
    assert keys.isdisjoint({"intervention", "substitution", "pooled_referral_weighted"})
    # referrals of a site that never goes live weigh no effect
    only_untreated = np.array([[0.0], [0.0], [0.0], [0.0], [9.0]])
    fit = four_tiers(constants={"referrals": only_untreated})
    assert Estimand.POOLED_REFERRAL_WEIGHTED not in reported_draws(fit, WINDOW)
    assert Estimand.POOLED_REFERRAL_WEIGHTED in reported_draws(four_tiers(), WINDOW)


def test_the_baseline_has_every_month_and_the_observed_rate_beside_it() -> None:
    exposure = np.full((2, 4), 40.0)
    exposure[1, 2] = 0.0
    count = np.array([[4.0, 8.0, 0.0, 40.0], [1.0, 2.0, 0.0, 6.0]])
    constants = {
        "exposure_all": exposure,
        "exposure_exact": exposure,
        "count_exact": count,
        "exposure": exposure,
        # a source that holds half of the events of one cell: twice as many happened
        "coverage": np.array([[1.0, 0.5, 1.0, 1.0], [1.0, 1.0, 0.5, 1.0]]),
    }
    fit = fake_fit((1, None), months=4, draws=30, constants=constants)
    table = baseline_table(fit, (0, 1))
    assert list(table["site"]) == ["A"] * 4 + ["B"] * 4
    assert list(table["month"]) == ["2014-01", "2014-02", "2014-03", "2014-04"] * 2
    observed = [0.1, 0.4, 0.0, 1.0, 0.025, 0.05, np.nan, 0.15]
    np.testing.assert_allclose(table["observed"], observed, rtol=1e-14)
    rates = estimands.baseline_rates(fit).to_numpy().reshape(60, 8)
    np.testing.assert_allclose(table["mean"], rates.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(table["upper"], np.quantile(rates, 0.95, axis=0), rtol=1e-12)
    assert list(table["identified"]) == ["B"] * 4 + ["-"] * 4


def test_tiers_are_those_of_the_specs_window_in_every_table() -> None:
    # 48 months: event month 18 of site A is month 30, event month 40 is beyond the data
    fit = four_tiers()
    for window, tier in (((7, 18), "A"), ((7, 40), "B")):
        effects = effects_table(fit, window)
        baseline = baseline_table(fit, window)
        ledger = ledger_table(fit, window, *ledger_input(list("ABCDE")))
        assert set(select(effects, site="A")["identified"]) == {tier}
        assert set(select(baseline, site="A")["identified"]) == {tier}
        assert set(select(ledger, site="A")["tier"]) == {tier}


PATTERN = np.array([[1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, 1.0, -1.0]])


def kept(
    sites: list[str], variance: float | list[float], pooled: float = 0.0, sd: float = 1.0
) -> xr.Dataset:
    """Kept draws whose levels have this variance up to a factor that all share."""
    scale = np.sqrt(np.broadcast_to(variance, len(sites)))
    level = 5.0 + PATTERN[..., None] * scale
    # the pattern's own sd has 8 - 1 in the denominator
    draws = pooled + sd * PATTERN / np.sqrt(8 / 7)
    sample = {"chain": [0, 1], "draw": range(4)}
    return xr.Dataset(
        {"pooled": (("chain", "draw"), draws), "level": (("chain", "draw", "site"), level)},
        coords={**sample, "site": sites},
    )


def ledger_input(sites: list[str]) -> tuple[xr.Dataset, dict[str, xr.Dataset]]:
    treated = sites[:-1]
    removed = {
        # base variance 1: removing a channel leaves 4 (three quarters lost) at A, 1.25 at B, and
        # a little less than 1, which is Monte Carlo error, elsewhere
        "no_not_yet_treated": kept(sites, [4, 1.25, *[0.97] * (len(sites) - 2)], pooled=-0.1),
        "no_retrospective": kept(sites, 2.0, pooled=-0.4),
        "no_national": kept(sites, 1.0),
        "no_history": kept(sites, 10.0),
        "no_elicited": kept(sites, 1.0),
        "untreated_only": kept(sites, [2, 5, *[0.9] * (len(sites) - 2)]),
        "bias_on": kept(sites, 1.0).merge(bias_on(treated[::-1])),
    }
    return kept(sites, 1.0, pooled=-0.3, sd=0.2), removed


def test_the_ledger_by_hand() -> None:
    fit = four_tiers()
    # a prior in which nothing but the level varies, with variance 16 at A and 8 elsewhere
    prior = fit["prior"].to_dataset().isel(draw=slice(0, 8))
    prior = prior.map(lambda v: v * 0.0)
    prior["ramp_months"] += 1.0
    scale = np.sqrt([16.0, 8.0, 8.0, 8.0, 8.0])
    prior["site_level"] = prior["site_level"] + PATTERN.reshape(1, 8, 1) * scale
    fit["prior"] = xr.DataTree(prior)
    table = ledger_table(fit, WINDOW, *ledger_input(list("ABCDE")))
    assert list(table.columns) == CONTRACT["ledger"].split()
    assert len(table) == 5 * 5
    assert list(table["channel"].unique()) == list(CHANNELS)
    assert list(select(table, channel="history")["tier"]) == ["A", "B", "C", "D", "-"]

    def column(name: str, channel: str) -> list[float]:
        return select(table, channel=channel)[name].to_list()

    # 1 - 1/4, 1 - 1/1.25, and 0 where the variance did not rise
    wanted = [0.75, 0.2, 0, 0, 0]
    assert column("contribution", "not_yet_treated") == pytest.approx(wanted, abs=1e-12)
    assert column("contribution", "retrospective") == pytest.approx([0.5] * 5)
    assert column("contribution", "history") == pytest.approx([0.9] * 5)
    # the pooled mean moves from -0.3 to -0.1 and to -0.4, its sd is 0.2
    assert column("shift_if_removed", "not_yet_treated") == pytest.approx([1.0] * 5)
    assert column("shift_if_removed", "retrospective") == pytest.approx([-0.5] * 5)
    for channel in CHANNELS:
        # posterior variance 1 of 16 and 8; of 2 and 5 and of less than 1 without treated outcomes
        assert column("prior_share", channel) == pytest.approx([1 / 16] + [1 / 8] * 4)
        assert column("feedback_share", channel) == pytest.approx([0.5, 0.8, 0, 0, 0], abs=1e-12)
        # leverages were kept in the order D, C, B, A; E never goes live
        levels = column("leverage_level_bias", channel)
        assert levels == pytest.approx([4.0, 3.0, 2.0, 1.0, np.nan], nan_ok=True)
        drifts = column("leverage_drift", channel)
        assert drifts == pytest.approx([-4.0, -3.0, -2.0, -1.0, np.nan], nan_ok=True)


def test_the_prior_takes_the_posteriors_place() -> None:
    fit = four_tiers()
    tree = prior_as_posterior(fit)
    xr.testing.assert_identical(tree["posterior"].to_dataset(), fit["prior"].to_dataset())
    assert tree.attrs == fit.attrs
    assert estimands.pooled_effect(tree).sizes == {"chain": 1, "draw": 80}
    assert estimands.pooled_effect(fit).sizes == {"chain": 2, "draw": 20}


def test_blanking_leaves_the_given_table_and_the_pooled_rows_alone() -> None:
    table = pd.DataFrame({"site": ["A", "", "B"], "mean": [1.0, 2.0, 3.0], "p_positive": 0.5})
    before = table.copy()
    blank = blank_tier_d(table, pd.Series(["D", "D", "A"]))
    pd.testing.assert_frame_equal(table, before)
    assert blank["mean"].isna().to_list() == [True, False, False]
    assert blank["p_positive"].isna().to_list() == [True, False, False]


@pytest.fixture
def two_outcomes(tmp_path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Savings of two outcomes with other tiers at the same sites: the CSV, and the plain table."""
    text = (MODELS / "costs.toml").read_text(encoding="utf-8")
    place, other = text.index("[[lines]]"), text.index('name = "alternative_sentence"')
    one = text[other : text.index("[[lines]]", other)]
    more = one.replace('"alternative_sentence"', '"orders_again"').replace('"custody"', '"orders"')
    costs_file = tmp_path / "costs.toml"
    costs_file.write_text(f"{text[:place]}[[lines]]\n{more}{text[place:]}", encoding="utf-8")
    costs = load_costs(costs_file)
    spec = load_spec(MODELS / "custody.toml")
    custody = four_tiers()
    crisis = {"crisis_dip": 0.1, "crisis_recovery_months": 2.0, "history_selection": 0.0}
    orders = four_tiers(seed=4, constants={"history_at": np.array([[3, 3, 0]])})
    for fit in (custody, orders):
        draws = fit["posterior"].to_dataset()
        like = 0 * draws["effect_mean"]
        fit["posterior"] = xr.DataTree(draws.assign({k: like + v for k, v in crisis.items()}))
    orders.attrs["outcome"] = "orders"
    outcomes = {}
    for fit in (custody, orders):
        name = fit.attrs["outcome"]
        variants = ledger_input(list("ABCDE"))[1]
        biases = {k: 0 * variants["bias_on"]["pooled"] for k in ("shared_bias", "drift")}
        variants["bias_on"] = variants["bias_on"].assign(biases)
        status = Status.PASS if name == "custody" else Status.REVIEW
        checks = [CheckResult(name, "rhat", status, 1.0, "", "")]
        reported = reported_draws(fit, spec.effect.window)
        outcomes[name] = Outcome(spec, fit, variants, checks, reported)
    write_exports(tmp_path, outcomes, costs, Steps(), lambda message: None)
    averted = {k: events_averted(o.fit) for k, o in outcomes.items()}
    plain = savings_table(savings(averted, costs, seed=3))
    return pd.read_csv(tmp_path / "savings.csv", keep_default_na=False, na_values={}), plain


def test_savings_of_tier_d_are_blank_for_its_outcome_and_what_sums_it(two_outcomes) -> None:
    table, plain = two_outcomes
    assert len(table) == len(plain)
    blank = table["mean"].astype(str) == ""
    # custody has C of tier C and D of tier D, orders the other way round
    wanted = [
        (site == "D" and outcome in ("custody", "all"))
        or (site == "C" and outcome in ("orders", "all"))
        for site, outcome in zip(plain["site"], plain["outcome"], strict=True)
    ]
    assert blank.to_list() == wanted
    assert 0 < sum(wanted) < len(wanted)
    assert (table.loc[blank, ["sd", "lower", "upper", "p_positive"]].astype(str) == "").all(
        axis=None
    )
    rest = table.loc[~blank, "mean"].astype(float)
    np.testing.assert_allclose(rest, plain.loc[~blank, "mean"], rtol=1e-12)
    assert not blank[table["level"] == "total"].any()


def test_savings_rows_are_those_of_summed_draws(two_outcomes) -> None:
    table, _ = two_outcomes
    total = select(table, level="total", scenario="direct").set_index(["outcome", "line", "payer"])
    means = total["mean"].astype(float)
    # the mean of a sum is the sum of means; single lines of one outcome add up to its net
    for outcome in ("custody", "orders"):
        lines = [k for k in means.index if k[0] == outcome and k[1] not in ("all", "all cashable")]
        assert means[lines].sum() == pytest.approx(means[outcome, "all", "all"], rel=1e-9)
    nets = means["custody", "all", "all"] + means["orders", "all", "all"]
    assert nets == pytest.approx(means["all", "all", "all"], rel=1e-9)


def test_the_summary_and_the_table_have_one_interval() -> None:
    fit = four_tiers()
    table = effects_table(fit, WINDOW, ci_prob=0.5)
    row = select(table, estimand="pooled", scale="link").iloc[0]
    alone = summarise(estimands.pooled_effect(fit, "link", WINDOW), ci_prob=0.5).iloc[0]
    assert row["ci_prob"] == 0.5
    assert (row["lower"], row["upper"]) == (alone["lower"], alone["upper"])


@pytest.mark.usefixtures("two_outcomes")
def test_rows_carry_the_verdict_of_their_own_outcome(tmp_path) -> None:
    """Tables are made side by side: an outcome's rows must not get another's mark."""
    for name in ("effects", "baseline", "ledger"):
        table = pd.read_csv(tmp_path / f"{name}.csv", keep_default_na=False)
        found = table.groupby("outcome")["check_status"].unique().map(list).to_dict()
        assert found == {"custody": ["PASS"], "orders": ["REVIEW"]}, name
