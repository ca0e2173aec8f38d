"""Numbers of the ledger from draws with known variances, in closed form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from lndbayes.evidence.attribution import measures as attribution_measures
from lndbayes.evidence.attribution.measures import POOLED, TREATED, conflicts
from lndbayes.evidence.attribution.refits import borrowed_name, subset_name
from lndbayes.evidence.attribution.shares import subsets
from lndbayes.spec.model_spec import load_spec, with_changes
from small import MODELS, fake_fit

DRAWS = 50


def exact(mean: float, sd: float) -> np.ndarray:
    """Draws with exactly this mean and sd, shape (2, DRAWS)."""
    z = stats.norm.ppf((np.arange(2 * DRAWS) + 0.5) / (2 * DRAWS))
    return (mean + sd * z / z.std(ddof=1)).reshape(2, DRAWS)


def kept(
    pooled: tuple[float, float], levels: Mapping[str, tuple[float, float]], ess: float = 400.0
) -> xr.Dataset:
    level = np.stack([exact(*law) for law in levels.values()], axis=-1)
    return xr.Dataset(
        {
            "pooled": (("chain", "draw"), exact(*pooled)),
            "level": (("chain", "draw", "site"), level),
            "pooled_ess": ess,
            "level_ess": ("site", np.full(len(levels), ess)),
        },
        coords={"chain": [0, 1], "draw": np.arange(DRAWS), "site": list(levels)},
    )


def with_precision(value: float) -> tuple[float, float]:
    return (0.0, float(value) ** -0.5)


CHANNELS = ["not_yet_treated", "retrospective", "national"]
ADDS = {"A": (16.0, 4.0, 0.0), "B": (0.0, 6.0, 6.0)}


def of_subset(chosen: frozenset[str]) -> xr.Dataset:
    """Gaussian toy: prior precision 1, treated outcomes add 2, each source its own."""
    levels = {
        site: with_precision(3 + sum(a for c, a in zip(CHANNELS, adds, strict=True) if c in chosen))
        for site, adds in ADDS.items()
    }
    return kept(with_precision(3 + 5 * ("not_yet_treated" in chosen)), levels)


@pytest.fixture
def rows() -> dict[tuple[str, str, str], tuple[float, float, str]]:
    refits = {subset_name(s): of_subset(s) for s in subsets(CHANNELS)[:-1]}
    prior = kept(with_precision(1), {"A": with_precision(1), "B": with_precision(1)})
    found = attribution_measures._shares(of_subset(frozenset(CHANNELS)), prior, refits, CHANNELS)
    return {(site, quantity, item): rest for site, quantity, item, *rest in found}


def test_shares_in_the_gaussian_toy(rows) -> None:
    # A: two sources that speak, in closed form the mean over both orders
    first = (np.log(19 / 3) + np.log(23 / 7)) / 2
    assert rows["A", "log_precision_gain", "not_yet_treated"][0] == pytest.approx(first)
    assert rows["A", "log_precision_gain", "national"][0] == pytest.approx(0, abs=1e-12)
    assert rows["A", "shapley_share", "not_yet_treated"][0] == pytest.approx(first / np.log(23 / 3))
    # B: two equal sources share evenly, the third has nothing
    for source in ("retrospective", "national"):
        assert rows["B", "shapley_share", source][0] == pytest.approx(0.5)
    assert rows[POOLED, "shapley_share", "not_yet_treated"][0] == pytest.approx(1)


@pytest.mark.parametrize(("site", "total"), [("A", 23), ("B", 15), (POOLED, 8)])
def test_gains_sum_to_the_whole_way_from_the_prior(rows, site, total) -> None:
    gains = [v[0] for k, v in rows.items() if k[:2] == (site, "log_precision_gain")]
    assert sum(gains) == pytest.approx(np.log(total))
    assert rows[site, "log_precision_gain", TREATED][0] == pytest.approx(np.log(3))


def test_a_total_within_its_own_error_has_no_shares() -> None:
    same = {subset_name(s): of_subset(frozenset()) for s in subsets(CHANNELS)[:-1]}
    prior = kept((0, 1), {"A": (0, 1), "B": (0, 1)})
    found = attribution_measures._shares(of_subset(frozenset()), prior, same, CHANNELS)
    share = [row for row in found if row[1] == "shapley_share"]
    assert share
    assert all(np.isnan(row[3]) and "Monte Carlo" in row[5] for row in share)


def test_contractions_and_feedback_by_hand() -> None:
    base = kept((-0.3, 0.1), {"A": (-1.0, 0.2), "B": (-1.5, 0.3)})
    prior = kept((0.0, 0.5), {"A": (-2.0, 1.0), "B": (-2.0, 1.0)})
    borrowed = {
        borrowed_name(0): kept((0, 1), {"A": (0, 0.4), "B": (0, 9.0)}),
        borrowed_name(1): kept((0, 1), {"A": (0, 9.0), "B": (0, 0.3)}),
    }
    found = attribution_measures._contractions(base, prior, borrowed, [["A"], ["B"]])
    values = {(row[0], row[1]): row[3] for row in found}
    assert values[POOLED, "contraction_prior"] == pytest.approx(1 - 0.04)
    assert values["A", "contraction_prior"] == pytest.approx(1 - 0.04)
    assert values["A", "contraction_borrowed"] == pytest.approx(0.75)
    assert values["B", "contraction_borrowed"] == pytest.approx(0, abs=1e-12)
    alone = kept((0, 1), {"A": (-0.6, 0.4), "B": (-1.5, 0.3)})
    values = {(row[0], row[1]): row[3] for row in attribution_measures._feedback(base, alone)}
    assert values["A", "feedback_share"] == pytest.approx(0.75)
    assert values["A", "feedback_shift"] == pytest.approx(-1.0)
    assert (POOLED, "feedback_share") not in values
    soft = kept((-0.5, 0.3), {"A": (-0.95, 0.9), "B": (-1.0, 0.3)})
    rows = {
        (row[0], row[1]): (row[3], row[5]) for row in attribution_measures._soft_cut(base, soft)
    }
    assert rows[POOLED, "soft_cut_mean"][0] == pytest.approx(-0.5)
    assert rows[POOLED, "soft_cut_sd"][0] == pytest.approx(0.3)
    work = "that effects are alike does the work"
    assert rows[POOLED, "soft_cut_shift"] == (pytest.approx(2.0), work)
    assert rows["A", "soft_cut_shift"] == (pytest.approx(-0.25), "")
    assert rows["B", "soft_cut_shift"] == (pytest.approx(-0.5 / 0.3), work)
    leak = {row[0]: row[3] for row in attribution_measures._leak(base, alone)}
    assert leak["A"] == pytest.approx(2)
    assert leak[POOLED] == pytest.approx(10)


def test_conflict_by_hand() -> None:
    one = kept((0, 1), {"A": (-1.0, 0.3), "B": (5.0, 1.0)})
    rest = kept((0, 1), {"A": (-2.0, 0.4), "B": (0.0, 1.0)})
    difference, z = conflicts(one, rest, [0])
    assert (difference, z) == (pytest.approx(1.0), pytest.approx(2.0))
    # over both sites: these draws move together, so their sd is the mean of the sds
    difference, z = conflicts(one, rest, [0, 1])
    assert difference == pytest.approx(3.0)
    assert z == pytest.approx(3.0 / np.hypot(0.65, 0.7))
    # of a source with itself there is none
    assert conflicts(one, one, [0, 1]) == (0.0, 0.0)


def test_conflicts_use_the_right_refits_and_sites() -> None:
    # the records alone say -1 of site A, the rest -2; site B, of which they say nothing, differs
    main = fake_fit((6, 10), months=24)
    data = main["constant_data"].to_dataset()
    data["retrospective_exposure"][:] = 5
    main["constant_data"] = xr.DataTree(data)
    channels = ["not_yet_treated", "retrospective"]

    def level(a: float, b: float = 0.0) -> xr.Dataset:
        return kept((0, 1), {"A": (a, 0.3), "B": (b, 0.4)})

    refits = {
        subset_name(frozenset()): level(9.0),
        subset_name(frozenset({"retrospective"})): level(-1.0, 7.0),
        subset_name(frozenset({"not_yet_treated"})): level(-2.0),
    }
    assert set(refits) == {subset_name(s) for s in subsets(channels)[:-1]}
    found = {(c, end): z for end, c, z in attribution_measures._all_z(main, level(-1.4), refits)}
    both = np.hypot(0.3, 0.3)
    assert found["retrospective", "_alone"] == pytest.approx(1.0 / both)
    # with the panel beside it, it is the whole
    assert found["retrospective", ""] == pytest.approx(0.6 / both)
    # the panel speaks of both sites
    assert found["not_yet_treated", ""] == pytest.approx((-1.0 - 3.0) / np.hypot(0.35, 0.35))


def test_biases_against_their_priors() -> None:
    spec = load_spec(MODELS / "custody.toml")
    main = fake_fit()
    law = spec.priors["crisis_dip"].frozen()
    values = {
        "retrospective_bias": exact(0.15, 0.03),
        "retrospective_bias_sd": exact(0.1, 0.01),
        "history_selection": exact(0.0, 0.249),
        "crisis_dip": exact(float(law.mean()), 0.5 * float(law.std())),
        "crisis_recovery_months": exact(12, 1),
    }
    dims = ("chain", "draw")
    main["posterior"] = xr.DataTree(xr.Dataset({k: (dims, v) for k, v in values.items()}))
    bias_on = xr.Dataset(
        {"shared_bias": (dims, exact(0.0, 0.145)), "drift": (dims, exact(0.05, 0.02))}
    )
    channels = ["retrospective", "history"]
    found = {
        (quantity, item): (value, note)
        for _, quantity, item, value, _, note in attribution_measures._biases(
            spec, main, bias_on, channels
        )
    }
    assert found["bias_shift", "retrospective_bias"][0] == pytest.approx(1.0)
    assert found["bias_sd_ratio", "retrospective_bias"] == (pytest.approx(0.2), "")
    assert found["bias_sd_ratio", "history_selection"] == (pytest.approx(0.996), "not learned")
    assert found["bias_sd_ratio", "crisis_dip"] == (pytest.approx(0.5), "")
    assert found["bias_sd_ratio", "shared_bias"] == (pytest.approx(0.145 / 0.15), "not learned")
    assert found["bias_shift", "drift"][0] == pytest.approx(1.0)
    # of a source that is absent nothing is said
    without = attribution_measures._biases(spec, main, bias_on, ["history"])
    assert "retrospective_bias" not in {row[2] for row in without}


def test_a_prior_without_an_sd_is_measured_by_its_range() -> None:
    flat = {"dist": "StudentT", "nu": 2.0, "mu": 0.1, "sigma": 0.1}
    spec = with_changes(load_spec(MODELS / "custody.toml"), {"priors.history_selection": flat})
    main, dims = fake_fit(), ("chain", "draw")
    reach = 0.1 * stats.t(2).ppf(0.95) / stats.norm.ppf(0.95)
    draws = exact(0.1 + reach, 0.5 * reach)
    names = ("history_selection", "crisis_dip", "crisis_recovery_months")
    main["posterior"] = xr.DataTree(xr.Dataset({name: (dims, draws) for name in names}))
    biases = xr.Dataset({name: (dims, draws) for name in ("shared_bias", "drift")})
    found = {
        row[1]: row[3]
        for row in attribution_measures._biases(spec, main, biases, ["history"])
        if row[2] == "history_selection"
    }
    assert found["bias_shift"] == pytest.approx(1.0)
    assert found["bias_sd_ratio"] == pytest.approx(0.5)
