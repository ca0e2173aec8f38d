"""Tiers and the identified share on designs made so that each answer can be read off."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import xarray as xr

from lndbayes.estimands.identification import TIERS, identified_share, site_tiers
from small import fake_fit

MONTHS = 48
NEVER = None


def design(go_live: list[float | None], mask: np.ndarray | None = None, **more: Any) -> xr.DataTree:
    """A fit whose likelihood has the cells of `mask`, all of them by default."""
    months = more.pop("months", MONTHS)
    period = more.pop("period", "month")
    shape = (len(go_live), months)
    exposure = np.full(shape, 30.0) * (np.ones(shape) if mask is None else mask)
    return fake_fit(go_live, months=months, period=period, constants={"exposure": exposure, **more})


def tiers(fit: xr.DataTree, window: tuple[int, int] = (7, 18)) -> str:
    found = site_tiers(fit, window)
    assert found.dims == ("site",)
    assert list(found["site"].values) == list(fit["posterior"]["site"].values)
    return "".join(found.values)


def without(cells: dict[int, Any], sites: int, months: int = MONTHS) -> np.ndarray:
    """All cells but those named: site to months."""
    mask = np.ones((sites, months), bool)
    for site, gone in cells.items():
        mask[site, gone] = False
    return mask


def test_every_tier_has_its_words() -> None:
    assert list(TIERS) == ["A", "B", "C", "D"]
    assert len(set(TIERS.values())) == 4


def test_a_year_of_own_months_and_a_comparison_throughout_the_window() -> None:
    assert tiers(design([12, NEVER])) == "A-"
    assert tiers(design([11, NEVER])) == "B-"


def test_without_untreated_sites_in_the_window_the_trend_is_the_models() -> None:
    # site 1's window is months 19 to 30; the other goes live in month 31 or 30
    assert tiers(design([12, 31]))[0] == "A"
    assert tiers(design([12, 30]))[0] == "B"
    # nobody is untreated after the last go-live
    assert tiers(design([12, 20, 29])) == "BBB"


def test_the_window_decides() -> None:
    fit = design([12, 26])
    assert tiers(fit, (0, 13))[0] == "A"
    assert tiers(fit, (0, 14))[0] == "B"


def test_a_window_that_no_data_show_has_no_tiers() -> None:
    with pytest.raises(ValueError, match="0 to 17"):
        tiers(design([30, NEVER]))


def test_the_window_is_the_specs() -> None:
    fit = design([12, 26])
    fit.attrs["spec_text"] = '{"effect": {"window": [0, 13]}}'
    assert "".join(site_tiers(fit).values) == "AB"


def test_a_window_that_the_data_cut_short_is_not_compared_throughout() -> None:
    # go-live in month 29: event month 18 is month 47, the last
    assert tiers(design([29, NEVER]))[0] == "A"
    assert tiers(design([30, 12, NEVER]))[0] == "B"
    assert tiers(design([45, 12, NEVER]))[0] == "B"


def test_masked_months_are_no_evidence() -> None:
    # months 0 and 1 of site 1 are masked: 10 of its own remain of 12
    assert tiers(design([12, NEVER], without({0: [0, 1]}, 2)))[0] == "B"
    assert tiers(design([14, NEVER], without({0: [0, 1]}, 2)))[0] == "A"
    # masked treated months change nothing, as long as one is left
    assert tiers(design([12, 12, NEVER], without({0: slice(12, 47)}, 3))) == "AA-"
    assert tiers(design([12, 12, NEVER], without({0: slice(12, None)}, 3))) == "-A-"
    # the only comparison site lacks one month of the window, or one beside it
    assert tiers(design([12, NEVER], without({1: 25}, 2)))[0] == "B"
    assert tiers(design([12, NEVER], without({1: 31}, 2)))[0] == "A"
    # two that take turns do compare throughout
    turns = without({1: range(0, 48, 2), 2: range(1, 48, 2)}, 3)
    assert tiers(design([12, NEVER, NEVER], turns)) == "A--"


@pytest.mark.parametrize("channel", ["retrospective", "history"])
def test_own_records_or_history_make_the_difference_between_c_and_d(channel) -> None:
    rows = {f"{channel}_at": np.array([[0, 3, 0]]), f"{channel}_exposure": np.array([30.0])}
    fit = design([0, -3, NEVER], **rows)
    assert tiers(fit) == "CD-"
    # switched off, a channel has exposure 0 in every row
    off = design([0, -3, NEVER], **{**rows, f"{channel}_exposure": np.zeros(1)})
    assert tiers(off) == "DD-"
    # where own months exist, they say more than records do
    assert tiers(design([5, 0, NEVER], **rows)) == "BD-"


def test_the_not_yet_treated_channel_switched_off_takes_all_own_months() -> None:
    mask = np.array([[m >= 12 for m in range(MONTHS)], [False] * MONTHS])
    rows = {"history_at": np.array([[0, 3, 0]]), "history_exposure": np.array([30.0])}
    assert tiers(design([12, NEVER], mask, **rows)) == "C-"


@pytest.mark.parametrize(
    ("period", "go_live", "tier"),
    [("quarter", 4, "A"), ("quarter", 3, "B"), ("year", 1, "A"), ("quarter", 0, "D")],
)
def test_a_year_is_a_year_in_any_period(period, go_live, tier) -> None:
    assert tiers(design([go_live, NEVER], months=16, period=period)) == f"{tier}-"


def test_the_identified_share_by_brute_force(rng) -> None:
    for _ in range(20):
        go_live = [None if g > 12 else float(g) for g in rng.integers(-2, 16, 5)]
        mask = rng.random((5, 14)) < rng.random((5, 1))
        exposure_all = rng.integers(0, 50, (5, 14)).astype(float)
        fit = fake_fit(
            go_live,
            months=14,
            constants={"exposure": 30.0 * mask, "exposure_all": exposure_all},
        )
        total = covered = 0.0
        for s, t in product(range(5), range(14)):
            start = go_live[s]
            if start is None or t < start:
                continue
            if not any(mask[s, u] and u >= start for u in range(14)):
                continue  # no treated cell of its own
            total += exposure_all[s, t]
            own = any(mask[s, u] and u < start for u in range(14))
            other = any(
                mask[r, t] and (g is None or t < g)
                for r, g in enumerate(go_live)  # s itself is treated in t
            )
            covered += exposure_all[s, t] * (own and other)
        wanted = (
            pytest.approx(covered / total, abs=1e-14)
            if total
            else pytest.approx(np.nan, nan_ok=True)
        )
        assert identified_share(fit) == wanted


def test_the_identified_share_at_its_ends() -> None:
    assert identified_share(design([12, NEVER])) == 1.0
    assert identified_share(design([0, NEVER])) == 0.0
    assert identified_share(design([12, 12])) == 0.0
    assert np.isnan(identified_share(design([NEVER, NEVER])))
    # site 1: 36 treated months, 12 of them before the other goes live; the other has 24, none
    even = design([12, 24], exposure_all=10.0)
    assert identified_share(even) == pytest.approx(12 / 60)
