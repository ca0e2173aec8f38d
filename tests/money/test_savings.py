from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from lndbayes.base.errors import DataError
from lndbayes.money.costs import Costs, load_costs, parse_costs
from lndbayes.money.savings import net_saving, on_common_sites, savings, total_saving
from lndbayes.money.tables import INTERACTIONS, SAVINGS_COLUMNS, explain_total, savings_table

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "costs.toml"
SITES = ["ash", "birch", "cedar"]


def factor(value: dict[str, Any] | float, unit: str) -> dict[str, Any]:
    return {
        "label": "a factor",
        "value": value if isinstance(value, dict) else {"dist": "Fixed", "value": value},
        "unit": unit,
        "price_year": "2016/17" if "£" in unit else "none",
        "known": "assumption",
        "source": "made up for a test",
        "shared": True,
    }


def line(name: str, factors: list[str], **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "label": name,
        "outcome": "custody",
        "payer": "HMPPS",
        "cashable": True,
        "sign": 1,
        "formula": "product",
        "quantity": "averted",
        "factors": factors,
        "description": "made up for a test",
    } | changes


def lognormal(median: float, log_sd: float) -> dict[str, Any]:
    return {
        "dist": "LogNormal",
        "median": median,
        "q95": median * math.exp(1.6448536269514722 * log_sd),
    }


def raw_costs() -> dict[str, Any]:
    """The custody chain with every factor fixed: 0.25 years, £20,000 or £40,000 a place-year,
    £1,000 for the sentence given instead, probability 0.2 of work at £10,000 a year."""
    scenarios = {
        name: {
            "label": name,
            "description": name,
            "factors": {"place": factor(price, "£ per place-year")},
        }
        for name, price in (("direct", 20_000.0), ("overall", 40_000.0))
    }
    return {
        "meta": {"name": "test", "price_year": "2016/17", "headline_scenario": "direct"},
        "deflator": {"source": "test", "index": {"2016/17": 100.0}},
        "payers": {"HMPPS": "prisons", "society": "everyone"},
        "factors": {
            "years": factor(0.25, "years"),
            "order": factor(1000.0, "£ per sentence"),
            "work": factor(0.2, "probability"),
            "output": factor(10_000.0, "£ per year"),
        },
        "scenarios": scenarios,
        "lines": [
            line("prison", ["years", "place"]),
            line("instead", ["order"], sign=-1),
            line("output", ["years", "work", "output"], payer="society", cashable=False),
        ],
        "comparison": {"label": "x", "low": 1.0, "high": 2.0, "source": "x", "note": "x"},
    }


def costs_from(raw: dict[str, Any]) -> Costs:
    return parse_costs(copy.deepcopy(raw), source="test.toml")


def uncertain() -> dict[str, Any]:
    raw = raw_costs()
    raw["factors"]["years"] = factor(lognormal(0.25, 0.5), "years")
    raw["factors"]["order"] = factor({"dist": "Uniform", "low": 500, "high": 1500}, "£ per case")
    raw["factors"]["work"] = factor({"dist": "Beta", "alpha": 4, "beta": 16}, "probability")
    for scenario, price in (("direct", 20_000.0), ("overall", 40_000.0)):
        raw["scenarios"][scenario]["factors"]["place"] = factor(lognormal(price, 0.1), "£ per year")
    return raw


def draws(values: Any, sites: list[str] = SITES) -> xr.DataArray:
    """Label an array of shape (chain, draw, site)."""
    values = np.asarray(values, dtype=float)
    chains, per_chain, _ = values.shape
    return xr.DataArray(
        values,
        dims=("chain", "draw", "site"),
        coords={"chain": np.arange(chains), "draw": np.arange(per_chain), "site": sites},
    )


def random_draws(seed: int = 1, chains: int = 2, per_chain: int = 60) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    return draws(rng.normal(20, 15, (chains, per_chain, len(SITES))))


# --- by hand ------------------------------------------------------------------------------------


def test_hand_calculation() -> None:
    # Site ash: 8 sentences averted; birch: none; cedar: 2 more sentences than without (-2).
    averted = draws(np.tile([8.0, 0.0, -2.0], (1, 3, 1)))
    ds = savings({"custody": averted}, costs_from(raw_costs()), seed=0)
    ash = ds["saving"].sel(chain=0, draw=0, site="ash", outcome="custody")
    # prison: 8 x 0.25 x 20,000 = 40,000 (direct), 8 x 0.25 x 40,000 = 80,000 (overall)
    prison = ash.sel(line="prison", payer="HMPPS")
    assert prison.sel(scenario="direct").item() == 40_000
    assert prison.sel(scenario="overall").item() == 80_000
    # instead: -8 x 1,000
    assert ash.sel(line="instead", payer="HMPPS", scenario="direct").item() == -8_000
    # output: 8 x 0.25 x 0.2 x 10,000 = 4,000, for society and nobody else
    assert ash.sel(line="output", payer="society", scenario="direct").item() == 4_000
    assert (ash.sel(line="output", payer="HMPPS") == 0).all()
    assert (ash.sel(line=["prison", "instead"], payer="society") == 0).all()
    # net of ash: 40,000 - 8,000 + 4,000; cedar is -2/8 of it; together 36,000 - 9,000
    net = net_saving(ds).sel(chain=0, draw=0, scenario="direct")
    np.testing.assert_array_equal(net.sel(site=SITES), [36_000, 0, -9_000])
    assert (total_saving(ds).sel(scenario="direct") == 27_000).all()
    # cashable leaves output out: 6 x (0.25 x 20,000 - 1,000) = 24,000; overall 6 x 9,000 = 54,000
    cashable = total_saving(ds, line="all cashable")
    assert (cashable.sel(scenario="direct") == 24_000).all()
    assert (cashable.sel(scenario="overall") == 54_000).all()


def test_shipped_chain_at_fixed_values() -> None:
    shipped = load_costs(SHIPPED).model_dump(mode="json")
    fixed = {
        "time_served": 0.2,
        "place_mix": 1.0,
        "alternative_cost": 2800.0,
        "p_employed": 0.17,
        "hours_per_year": 1500.0,
        "hourly_output": 7.2,
    }
    for name, value in fixed.items():
        shipped["factors"][name]["value"] = {"dist": "Fixed", "value": value}
    for scenario, value in (("direct", 24_664.0), ("overall", 38_042.0)):
        place = shipped["scenarios"][scenario]["factors"]["place_cost"]
        place["value"] = {"dist": "Fixed", "value": value}
    averted = draws(np.full((1, 2, 3), 100 / 3))
    ds = savings({"custody": averted}, parse_costs(shipped, source="x"), seed=0)
    # 100 x 0.2 x 24,664 = 493,280; 100 x 2,800 = 280,000; 100 x 0.2 x 0.17 x 1,500 x 7.2 = 36,720
    np.testing.assert_allclose(total_saving(ds).sel(scenario="direct"), 250_000)
    # 100 x 0.2 x 38,042 = 760,840
    np.testing.assert_allclose(total_saving(ds).sel(scenario="overall"), 517_560)
    np.testing.assert_allclose(total_saving(ds, line="productivity"), 36_720)


def test_shape_types_and_provenance() -> None:
    ds = savings({"custody": random_draws()}, costs_from(uncertain()), seed=4)
    dims = ("chain", "draw", "site", "outcome", "payer", "line", "scenario")
    assert ds["saving"].dims == dims
    assert ds["saving"].dtype == np.float64
    assert dict(zip(ds["line"].values, ds["cashable"].values, strict=True)) == {
        "prison": True,
        "instead": True,
        "output": False,
    }
    assert ds["factor_years"].dims == ("chain", "draw")
    assert ds["factor_place"].dims == ("chain", "draw", "scenario")
    assert ds.attrs["price_year"] == "2016/17"
    assert ds.attrs["sign"].startswith("positive = less is spent")
    assert ds.attrs["headline_scenario"] == "direct"
    assert (ds.attrs["not_priced"], ds.attrs["lines_left_out"]) == ("", "")


# --- metamorphic --------------------------------------------------------------------------------


def test_nothing_averted_nothing_saved() -> None:
    ds = savings({"custody": draws(np.zeros((2, 10, 3)))}, costs_from(uncertain()), seed=1)
    assert (ds["saving"] == 0).all()
    assert (total_saving(ds) == 0).all()
    table = savings_table(ds)
    assert (table["p_positive"] == 0).all()
    assert (table[["mean", "sd", "lower", "upper"]] == 0).all(axis=None)
    with pytest.raises(DataError, match="does not vary"):
        explain_total(ds)


@pytest.mark.parametrize(("name", "touched"), [("order", "instead"), ("place", "prison")])
def test_doubling_a_unit_cost_doubles_its_line_draw_by_draw(name: str, touched: str) -> None:
    raw = uncertain()
    doubled = copy.deepcopy(raw)
    places = [doubled["factors"]] + [s["factors"] for s in doubled["scenarios"].values()]
    for factors in places:
        if name in factors:
            for key, value in factors[name]["value"].items():
                if key != "dist":
                    factors[name]["value"][key] = 2 * value
    averted = {"custody": random_draws()}
    before = savings(averted, costs_from(raw), seed=7)["saving"]
    after = savings(averted, costs_from(doubled), seed=7)["saving"]
    np.testing.assert_allclose(after.sel(line=touched), 2 * before.sel(line=touched), rtol=1e-12)
    others = [x for x in ("prison", "instead", "output") if x != touched]
    xr.testing.assert_identical(after.sel(line=others), before.sel(line=others))


def test_permuting_sites_permutes_savings() -> None:
    averted = random_draws()
    costs = costs_from(uncertain())
    straight = savings({"custody": averted}, costs, seed=3)
    permuted = savings({"custody": averted.isel(site=[2, 0, 1])}, costs, seed=3)
    assert list(permuted["site"].values) == ["cedar", "ash", "birch"]
    xr.testing.assert_identical(permuted["saving"].sel(site=SITES), straight["saving"])


def test_order_of_dims_does_not_matter() -> None:
    averted = random_draws()
    costs = costs_from(uncertain())
    turned = savings({"custody": averted.transpose("site", "draw", "chain")}, costs, seed=3)
    xr.testing.assert_identical(turned, savings({"custody": averted}, costs, seed=3))


def test_total_is_the_sum_of_sites_draw_by_draw() -> None:
    ds = savings({"custody": random_draws()}, costs_from(uncertain()), seed=2)
    net = net_saving(ds)
    by_hand = sum(net.sel(site=site).values for site in SITES)
    np.testing.assert_allclose(total_saving(ds).values, by_hand, rtol=1e-12)
    lines = sum(net_saving(ds, line=x).values for x in ("prison", "instead", "output"))
    np.testing.assert_allclose(net.values, lines, rtol=1e-9, atol=1e-6)
    table = savings_table(ds)
    row = table[(table.level == "total") & (table.line == "all") & (table.payer == "all")]
    row = row[(row.outcome == "all") & (row.scenario == "overall")].iloc[0]
    totals = by_hand[:, :, 1].ravel()
    assert row["mean"] == pytest.approx(totals.mean())
    assert (row["lower"], row["upper"]) == pytest.approx(np.quantile(totals, [0.05, 0.95]))


def test_adding_site_limits_would_be_wrong() -> None:
    ds = savings({"custody": random_draws()}, costs_from(uncertain()), seed=2)
    table = savings_table(ds)
    picked = table[(table.line == "all") & (table.payer == "all") & (table.outcome == "all")]
    picked = picked[picked.scenario == "direct"]
    added = picked[picked.level == "site"]["upper"].sum()
    assert added > 1.05 * picked[picked.level == "total"]["upper"].item()


def test_same_seed_same_savings() -> None:
    averted = {"custody": random_draws()}
    costs = costs_from(uncertain())
    xr.testing.assert_identical(savings(averted, costs, seed=9), savings(averted, costs, seed=9))
    other = savings(averted, costs, seed=10)
    assert (other["saving"] != savings(averted, costs, seed=9)["saving"]).any()


def test_factor_draws_do_not_depend_on_what_is_averted() -> None:
    costs = costs_from(uncertain())
    one = savings({"custody": random_draws(1)}, costs, seed=9)
    two = savings({"custody": random_draws(2)}, costs, seed=9)
    xr.testing.assert_identical(one["factor_years"], two["factor_years"])


def test_one_unit_cost_is_shared_by_all_sites() -> None:
    # The same events averted in every site and draw: all variation is the costs', so sites are
    # perfectly correlated and the sd of the total is the sum of theirs (not root-sum-of-squares).
    ds = savings({"custody": draws(np.full((2, 200, 3), 5.0))}, costs_from(uncertain()), seed=5)
    net = net_saving(ds).sel(scenario="direct").stack(sample=("chain", "draw"))
    np.testing.assert_allclose(np.corrcoef(net.values), 1.0)
    assert total_saving(ds).sel(scenario="direct").std().item() == pytest.approx(
        3 * net.isel(site=0).std().item()
    )


def test_scenarios_differ_only_by_their_price() -> None:
    ds = savings({"custody": random_draws()}, costs_from(uncertain()), seed=5)
    prison = ds["saving"].sel(line="prison", payer="HMPPS", outcome="custody")
    np.testing.assert_allclose(prison.sel(scenario="overall"), 2 * prison.sel(scenario="direct"))
    rest = ds["saving"].sel(line=["instead", "output"])
    np.testing.assert_array_equal(rest.sel(scenario="overall"), rest.sel(scenario="direct"))


# --- pairing ------------------------------------------------------------------------------------


def two_outcomes() -> Costs:
    raw = uncertain()
    raw["payers"]["NHS"] = "health"
    raw["factors"]["visit"] = factor(150.0, "£ per visit")
    raw["lines"].append(line("visits", ["visit"], outcome="ae", payer="NHS"))
    return costs_from(raw)


def test_outcomes_are_priced_draw_by_draw() -> None:
    custody, ae = random_draws(1), random_draws(2)
    ds = savings({"custody": custody, "ae": ae}, two_outcomes(), seed=1)
    visits = ds["saving"].sel(line="visits", payer="NHS", outcome="ae", scenario="direct")
    np.testing.assert_allclose(visits, 150 * ae)
    assert (ds["saving"].sel(line="visits", outcome="custody") == 0).all()
    alone = savings({"custody": custody}, two_outcomes(), seed=1)
    np.testing.assert_allclose(
        total_saving(ds), total_saving(alone) + 150 * ae.sum("site"), rtol=1e-12
    )
    assert alone.attrs["lines_left_out"] == "visits"
    stacked = xr.concat([custody, ae], dim="outcome").assign_coords(outcome=["custody", "ae"])
    xr.testing.assert_identical(savings(stacked, two_outcomes(), seed=1), ds)


def test_sites_of_outcomes_are_matched_by_name() -> None:
    custody, ae = random_draws(1), random_draws(2)
    straight = savings({"custody": custody, "ae": ae}, two_outcomes(), seed=1)
    turned = savings({"custody": custody, "ae": ae.isel(site=[2, 0, 1])}, two_outcomes(), seed=1)
    xr.testing.assert_identical(turned, straight)


def test_labels_that_describe_one_outcome_do_not_get_in_the_way() -> None:
    custody = random_draws(1).assign_coords(tier=("site", ["A", "B", "C"]), window="7-18")
    ae = random_draws(2).assign_coords(tier=("site", ["B", "B", "A"]))
    plain = savings({"custody": random_draws(1), "ae": random_draws(2)}, two_outcomes(), seed=1)
    xr.testing.assert_identical(
        savings({"custody": custody, "ae": ae}, two_outcomes(), seed=1), plain
    )


def test_stored_factor_draws_are_those_the_savings_were_made_of() -> None:
    ds = savings({"custody": random_draws()}, costs_from(uncertain()), seed=6)
    averted = ds["averted"].sel(outcome="custody")
    rebuilt = {
        ("prison", "HMPPS"): averted * ds["factor_years"] * ds["factor_place"],
        ("instead", "HMPPS"): -averted * ds["factor_order"],
        ("output", "society"): averted
        * ds["factor_years"]
        * ds["factor_work"]
        * ds["factor_output"],
    }
    for (name, payer), money in rebuilt.items():
        stored = ds["saving"].sel(line=name, payer=payer, outcome="custody")
        expected = money.broadcast_like(stored).transpose(*stored.dims)
        np.testing.assert_allclose(stored.values, expected.values, rtol=1e-12)


def test_shuffled_pairing_is_refused() -> None:
    custody, ae = random_draws(1), random_draws(2)
    order = np.random.default_rng(0).permutation(ae.sizes["draw"])
    with pytest.raises(DataError, match="outcome 'ae': draws differ from those of 'custody'"):
        savings({"custody": custody, "ae": ae.isel(draw=order)}, two_outcomes(), seed=1)


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda x: x.isel(draw=slice(0, 50)), "draws differ"),
        (lambda x: x.assign_coords(chain=[1, 2]), "draws differ"),
        (lambda x: x.drop_vars("draw"), "needs labels"),
        (lambda x: x.isel(site=[0, 1]), "sites differ"),
        (lambda x: x.assign_coords(site=["ash", "ash", "cedar"]), "has a label twice"),
        (lambda x: x.assign_coords(draw=np.zeros(60, int)), "has a label twice"),
        (lambda x: x.where(x.site != "birch"), "120 values are not finite"),
        (lambda x: x.where(x.draw != 3, np.inf), "6 values are not finite"),
        (lambda x: x.mean("site"), "must be chain, draw and site"),
        (lambda x: x.expand_dims(month=[1]), "must be chain, draw and site"),
    ],
)
def test_draws_that_cannot_be_paired_are_refused(spoil: Any, rule: str) -> None:
    good = random_draws(1)
    with pytest.raises(DataError, match=rule):
        savings({"custody": good, "ae": spoil(random_draws(2))}, two_outcomes(), seed=1)


def test_all_faults_are_reported_and_name_the_site() -> None:
    bad = random_draws(2)
    bad = bad.where(bad.site != "birch").isel(draw=slice(0, 50))
    with pytest.raises(DataError) as caught:
        savings({"custody": random_draws(1), "ae": bad}, two_outcomes(), seed=1)
    text = str(caught.value)
    assert "birch" in text
    assert "not paired draw by draw" in text


def test_what_is_not_priced_is_named_and_nothing_priced_is_refused() -> None:
    averted = {"custody": random_draws(1), "offending": random_draws(2)}
    ds = savings(averted, costs_from(uncertain()), seed=1)
    assert ds.attrs["not_priced"] == "offending"
    assert list(ds["outcome"].values) == ["custody"]
    with pytest.raises(DataError, match="no line of the costs prices it"):
        savings({"offending": random_draws(2)}, costs_from(uncertain()), seed=1)
    with pytest.raises(DataError, match="at least one outcome"):
        savings({}, costs_from(uncertain()), seed=1)
    with pytest.raises(DataError, match="mapping of outcome"):
        savings(random_draws(1), costs_from(uncertain()), seed=1)


# --- referrals ----------------------------------------------------------------------------------


def with_service_cost() -> Costs:
    raw = uncertain()
    raw["payers"]["NHS"] = "health"
    raw["factors"]["service"] = factor(300.0, "£ per referral")
    raw["lines"].append(
        line("service", ["service"], payer="NHS", sign=-1, quantity="referrals", cashable=True)
    )
    return costs_from(raw)


def test_lines_by_referral() -> None:
    counts = xr.DataArray([10, 30, 20], dims="site", coords={"site": ["birch", "cedar", "ash"]})
    ds = savings({"custody": random_draws()}, with_service_cost(), seed=1, referrals=counts)
    service = ds["saving"].sel(line="service", payer="NHS", outcome="custody")
    # ash 20 x 300, birch 10 x 300, cedar 30 x 300: matched by name, the same in every draw
    for site, pounds in (("ash", -6000), ("birch", -3000), ("cedar", -9000)):
        assert (service.sel(site=site) == pounds).all()
    shares = explain_total(ds).set_index("factor")["share"]
    assert shares["referrals"] == 0.0


@pytest.mark.parametrize(
    ("referrals", "rule"),
    [
        (None, "needed by these lines"),
        (xr.DataArray([1.0, 2.0], dims="site", coords={"site": ["ash", "oak"]}), "sites differ"),
        (xr.DataArray([1.0, np.nan, 1.0], dims="site", coords={"site": SITES}), "finite"),
        (xr.DataArray([1.0, -1.0, 1.0], dims="site", coords={"site": SITES}), "not negative"),
        (xr.DataArray(np.ones((3, 2)), dims=("site", "month"), coords={"site": SITES}), "dims"),
        (random_draws().clip(0).isel(draw=slice(None, None, -1)), "not paired"),
    ],
)
def test_wrong_referrals_are_refused(referrals: xr.DataArray | None, rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        savings({"custody": random_draws()}, with_service_cost(), seed=1, referrals=referrals)


# --- tables -------------------------------------------------------------------------------------


def test_table_has_the_promised_columns_and_rows() -> None:
    ds = savings({"custody": random_draws(1), "ae": random_draws(2)}, two_outcomes(), seed=1)
    table = savings_table(ds, ci_prob=0.8)
    assert tuple(table.columns) == SAVINGS_COLUMNS
    assert (table["ci_prob"] == 0.8).all()
    assert (table["price_year"] == "2016/17").all()
    assert set(table["level"]) == {"site", "total"}
    assert set(table.loc[table.level == "site", "site"]) == set(SITES)
    assert (table.loc[table.level == "total", "site"] == "").all()
    key = ["level", "site", "outcome", "line", "payer", "scenario"]
    assert not table.duplicated(key).any()
    assert not table.isna().any(axis=None)
    top = table[(table.level == "total") & (table.scenario == "direct")]
    rows = set(zip(top["outcome"], top["line"], top["payer"], top["cashable"], strict=True))
    assert rows == {
        ("custody", "prison", "HMPPS", True),
        ("custody", "instead", "HMPPS", True),
        ("custody", "output", "society", False),
        ("ae", "visits", "NHS", True),
        ("custody", "all", "HMPPS", True),
        ("custody", "all", "society", False),
        ("custody", "all", "all", False),
        ("custody", "all cashable", "all", True),
        ("ae", "all", "NHS", True),
        ("ae", "all", "all", True),
        ("ae", "all cashable", "all", True),
        ("all", "all", "HMPPS", True),
        ("all", "all", "society", False),
        ("all", "all", "NHS", True),
        ("all", "all", "all", False),
        ("all", "all cashable", "all", True),
    }


def test_every_table_row_is_the_summary_of_its_own_draws() -> None:
    ds = savings({"custody": random_draws(1), "ae": random_draws(2)}, two_outcomes(), seed=1)
    for row in savings_table(ds).itertuples():
        net = net_saving(ds, line=row.line, payer=row.payer, outcome=row.outcome)
        net = net.sel(scenario=row.scenario)
        values = (net.sum("site") if row.level == "total" else net.sel(site=row.site)).values
        assert row.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-6)
        assert row.median == pytest.approx(np.median(values), rel=1e-9, abs=1e-6)
        assert row.p_positive == pytest.approx((values > 0).mean())


def test_file_gives_the_same_table_back(tmp_path: Path) -> None:
    ds = savings({"custody": random_draws()}, costs_from(uncertain()), seed=1)
    ds.to_netcdf(tmp_path / "savings.nc", engine="netcdf4")
    back = xr.load_dataset(tmp_path / "savings.nc", engine="netcdf4")
    assert savings_table(back).equals(savings_table(ds))
    assert explain_total(back).equals(explain_total(ds))
    assert back.attrs == ds.attrs


def test_unknown_names_are_refused() -> None:
    ds = savings({"custody": random_draws()}, costs_from(uncertain()), seed=1)
    with pytest.raises(KeyError, match="no line 'prisn'"):
        net_saving(ds, line="prisn")
    with pytest.raises(KeyError, match="no payer 'NHS'"):
        total_saving(ds, payer="NHS")
    with pytest.raises(DataError, match="no such scenario"):
        explain_total(ds, scenario="marginal")


# --- closed forms -------------------------------------------------------------------------------


def only_prison(log_sd_years: float, log_sd_place: float) -> Costs:
    """One line, averted x years x place, so that lognormal inputs give a lognormal saving."""
    raw = raw_costs()
    raw["factors"] = {"years": factor(lognormal(0.25, log_sd_years), "years")}
    for scenario in raw["scenarios"].values():
        scenario["factors"]["place"] = factor(lognormal(20_000.0, log_sd_place), "£ per year")
    raw["lines"] = raw["lines"][:1]
    return costs_from(raw)


def lognormal_averted(log_sd: float, seed: int, per_chain: int = 5000) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    return draws(100 * np.exp(log_sd * rng.normal(size=(4, per_chain, 1))), ["ash"])


@pytest.mark.parametrize("ci_prob", [0.5, 0.9])
def test_interval_of_the_total_is_calibrated_in_closed_form(ci_prob: float) -> None:
    sds = (0.3, 0.4, 0.2)
    ds = savings(
        {"custody": lognormal_averted(sds[0], seed=8)}, only_prison(sds[1], sds[2]), seed=8
    )
    table = savings_table(ds, ci_prob=ci_prob)
    row = table[(table.level == "total") & (table.line == "all") & (table.payer == "all")].iloc[0]
    # A product of lognormals is lognormal: median 100 x 0.25 x 20,000, log variance the sum.
    log_sd = math.sqrt(sum(s**2 for s in sds))
    truth = stats.lognorm(s=log_sd, scale=500_000)
    assert row["median"] == pytest.approx(500_000, rel=4 * 1.2533 * log_sd / math.sqrt(20_000))
    covered = truth.cdf(row["upper"]) - truth.cdf(row["lower"])
    # sd of the probability between two sample quantiles of 20,000 independent draws, 4 of them
    assert covered == pytest.approx(ci_prob, abs=4 * math.sqrt(ci_prob * (1 - ci_prob) / 20_000))


def test_interval_is_wider_with_uncertain_costs() -> None:
    averted = {"custody": lognormal_averted(0.3, seed=8)}
    widths = []
    for years, place in ((1e-6, 1e-6), (0.4, 1e-6), (0.4, 0.2)):
        table = savings_table(savings(averted, only_prison(years, place), seed=8))
        row = table[(table.level == "total") & (table.line == "prison")].iloc[0]
        widths.append(math.log(row["upper"] / row["lower"]))
    # On the log scale the 90% width is 2 x 1.645 x sqrt(sum of log variances).
    expected = [2 * 1.644854 * math.sqrt(v) for v in (0.09, 0.09 + 0.16, 0.09 + 0.16 + 0.04)]
    np.testing.assert_allclose(widths, expected, rtol=0.04)
    assert widths[0] < widths[1] < widths[2]


def test_explanation_matches_the_product_of_lognormals() -> None:
    sds = {"averted: custody": 0.3, "years": 0.4, "place": 0.2}
    ds = savings({"custody": lognormal_averted(0.3, seed=3)}, only_prison(0.4, 0.2), seed=3)
    table = explain_total(ds)
    shares = table.set_index("factor")["share"]
    # Var(E[S|X]) / Var(S) = (exp(s^2) - 1) / (prod exp(s_j^2) - 1) for a product of lognormals
    total = math.exp(sum(s**2 for s in sds.values())) - 1
    expected = {name: (math.exp(s**2) - 1) / total for name, s in sds.items()}
    for name, share in expected.items():
        # The sd of a squared correlation r^2 is near 2r(1 - r^2)/sqrt(n) <= .0055; lognormal tails
        # make it about twice that.
        assert shares[name] == pytest.approx(share, abs=0.03), name
    assert shares[INTERACTIONS] == pytest.approx(1 - sum(expected.values()), abs=0.03)
    assert table["share"].sum() == pytest.approx(1.0)
    assert table["factor"].iloc[0] == "years"
    assert table["factor"].iloc[-1] == INTERACTIONS


def test_explanation_of_a_difference() -> None:
    # S = A (Y c - K), Y and K uncertain, A fixed at 100, c = 20,000, Y uniform on (0.1, 0.4),
    # K uniform on (0, 3000): Var(Yc) = (0.3 c)^2/12 = 3e6, Var(K) = 3000^2/12 = 7.5e5, so the
    # shares are 0.8 and 0.2 and nothing interacts.
    raw = raw_costs()
    raw["factors"] = {
        "years": factor({"dist": "Uniform", "low": 0.1, "high": 0.4}, "years"),
        "order": factor({"dist": "Uniform", "low": 0.0, "high": 3000.0}, "£ per sentence"),
    }
    raw["lines"] = raw["lines"][:2]
    averted = {"custody": draws(np.full((4, 5000, 1), 100.0), ["ash"])}
    shares = explain_total(savings(averted, costs_from(raw), seed=1)).set_index("factor")["share"]
    assert shares["years"] == pytest.approx(0.8, abs=0.02)
    assert shares["order"] == pytest.approx(0.2, abs=0.02)
    assert shares["averted: custody"] == 0.0
    assert shares["place"] == 0.0
    assert shares[INTERACTIONS] == pytest.approx(0.0, abs=0.02)
    # Doubling the place price quadruples Var(Yc): shares 12 / 12.75 and 0.75 / 12.75
    ds = savings(averted, costs_from(raw), seed=1)
    overall = explain_total(ds, scenario="overall").set_index("factor")["share"]
    assert overall["years"] == pytest.approx(12 / 12.75, abs=0.02)
    only = explain_total(ds, line="instead")
    assert list(only["factor"]) == ["order", "averted: custody", INTERACTIONS]
    assert only["share"].iloc[0] == pytest.approx(1.0)


def test_outcomes_with_effects_at_other_sites_are_summed_where_they_have_one() -> None:
    """A site without an effect of its own in one outcome keeps the other's saving, and no more."""
    one, two = (
        xr.DataArray(
            np.full((1, 3, 2), value),
            dims=("chain", "draw", "site"),
            coords={"chain": [0], "draw": [0, 1, 2], "site": sites},
        )
        for value, sites in ((2.0, ["A", "B"]), (5.0, ["B", "C"]))
    )
    found = on_common_sites({"one": one, "two": two})
    for name, wanted in {"one": [2, 2, 0], "two": [0, 5, 5]}.items():
        assert list(found[name]["site"].values) == ["A", "B", "C"]
        np.testing.assert_array_equal(found[name].isel(chain=0, draw=1), wanted)
