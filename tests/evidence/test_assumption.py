"""Labels of what rests on assumption only: each row judged by what it rests on itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from lndbayes.base.vocabulary import Estimand
from lndbayes.estimands.mix_effects import mix_is_told
from lndbayes.evidence.assumption import (
    ASSUMPTION,
    effect_labels,
    prior_sd_ratios,
    savings_labels,
    site_labels,
)
from small import fake_fit


def draws(sd: float, *names: str, dim: str = "intervention") -> xr.DataArray:
    """Four draws with exactly this standard deviation, for each name."""
    values = sd * np.array([[1.0, -1.0], [1.0, -1.0]])
    if not names:
        return xr.DataArray(values, dims=("chain", "draw"))
    scale = np.arange(1, len(names) + 1.0)
    return xr.DataArray(
        values[..., None] * scale, dims=("chain", "draw", dim), coords={dim: list(names)}
    )


def test_ratios_are_of_standard_deviations_item_by_item() -> None:
    posterior = {
        Estimand.POOLED_LINK: draws(0.2),
        Estimand.INTERVENTION: draws(0.3, "advice", "detention"),
        Estimand.COURSE: draws(0.1, "0-5", "6-11", dim="window"),
        Estimand.SITE_LINK: draws(0.1, "S01", dim="site"),
        Estimand.POOLED_NATURAL: draws(0.1),
    }
    prior = {
        Estimand.POOLED_LINK: draws(0.5),
        Estimand.INTERVENTION: draws(0.3, "advice", "detention").where(
            xr.DataArray([True, False], dims="intervention"), 0.0
        ),
        Estimand.COURSE: draws(0.4, "0-5", "6-11", dim="window"),
        Estimand.SITE_LINK: draws(0.1, "S01", dim="site"),
    }
    found = prior_sd_ratios(posterior, prior)
    assert set(found) == {
        ("pooled", "", ""),
        ("intervention", "advice", ""),
        ("intervention", "detention", ""),
        ("course", "", "0-5"),
        ("course", "", "6-11"),
    }
    assert found["pooled", "", ""] == pytest.approx(0.4)
    assert found["intervention", "advice", ""] == pytest.approx(1.0)
    # a prior without spread: not computed, and so a reason of its own
    assert np.isnan(found["intervention", "detention", ""])
    assert found["course", "", "6-11"] == pytest.approx(0.25)


LEDGER = pd.DataFrame(
    {
        "site": ["S01", "S01", "S02", "S02", "S03", "S03"],
        "tier": ["D", "D", "C", "C", "A", "A"],
        "prior_share": [0.1, 0.1, 0.7, 0.7, 0.02, 0.02],
        "channel": ["national", "history"] * 3,
    }
)
ROWS = [
    ("pooled", "", "", "7-18"),
    ("new_site", "", "", "7-18"),
    ("intervention", "", "advice", "7-18"),
    ("course", "", "", "0-5"),
    ("course", "", "", "6-11"),
    ("events_averted", "", "", "observed months"),
    ("events_averted_band", "", "", "observed months"),
    *(("site", site, "", "7-18") for site in ("S01", "S02", "S03")),
    *(("events_averted", site, "", "observed months") for site in ("S01", "S02", "S03")),
]
EFFECTS = pd.DataFrame(ROWS, columns=["estimand", "site", "intervention", "window"])
RATIOS = {
    ("pooled", "", ""): 0.2,
    ("new_site", "", ""): 0.95,
    ("intervention", "advice", ""): 0.97,
    ("course", "", "0-5"): 0.2,
    ("course", "", "6-11"): 0.99,
}


def test_each_row_of_effects_is_judged_by_what_it_rests_on() -> None:
    told = list(effect_labels(EFFECTS, LEDGER, RATIOS))
    sites = ["tier D", "70% of the prior's variance", ""]
    wanted = ["", "95%", "97%", "", "99%", "", "", *sites, *sites]
    for row, label, part in zip(ROWS, told, wanted, strict=True):
        assert (part in label) if part else label == "", row


def test_a_mix_that_no_two_sites_differ_in_marks_its_rows_only() -> None:
    told = effect_labels(EFFECTS, LEDGER, RATIOS, mix_told=False)
    plain = effect_labels(EFFECTS, LEDGER, RATIOS)
    of_mix = EFFECTS["estimand"] == "intervention"
    assert (told[of_mix] != plain[of_mix]).all()
    assert told[of_mix].str.contains("different known mixes").all()
    assert (told[~of_mix] == plain[~of_mix]).all()


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ([[5, 5, 5], [1, 2, 3], [9, 9, 9]], True),
        ([[5, 5, 5], [10, 10, 10], [1, 2, 3]], False),  # the third never goes live
        ([[5, 5, 5], [0, 0, 0], [1, 2, 3]], False),  # unknown
        ([[0, 0, 0], [0, 0, 0], [1, 2, 3]], False),
    ],
)
def test_a_mix_is_told_by_two_effects_of_different_mixes(
    counts: list[list[int]], told: bool
) -> None:
    assert mix_is_told(fake_fit(constants={"mix_count": np.array(counts)})) is told


def test_a_pooled_effect_that_is_the_priors_marks_the_events_averted() -> None:
    told = effect_labels(EFFECTS, LEDGER, RATIOS | {("pooled", "", ""): 0.96})
    everywhere = told[(EFFECTS["site"] == "") & EFFECTS["estimand"].str.startswith("events")]
    assert len(everywhere) == 2
    assert everywhere.str.contains("96%").all()


def test_what_cannot_be_computed_is_labelled() -> None:
    told = effect_labels(EFFECTS, LEDGER, RATIOS | {("pooled", "", ""): np.nan})
    assert "could not be computed" in told.iloc[0]
    shares = LEDGER.assign(prior_share=np.nan)
    assert all("could not be computed" in why for why in site_labels(shares).values())


def test_a_saving_rests_on_what_its_events_rest_on_and_a_sum_on_all_of_them() -> None:
    def labelled(pooled: str, site: str) -> pd.DataFrame:
        rows = [("events_averted", "", pooled), ("events_averted", "S01", site)]
        return pd.DataFrame(
            [*rows, ("pooled", "", "of another row")], columns=["estimand", "site", ASSUMPTION]
        )

    effects = {"custody": labelled("", "tier D"), "ae": labelled("weak", "")}
    effects["unpriced"] = labelled("not priced", "not priced")
    table = pd.DataFrame(
        [(o, s) for s in ("", "S01") for o in ("custody", "ae", "all")],
        columns=["outcome", "site"],
    )
    told = list(savings_labels(table, effects))
    assert told == ["", "weak", "ae: weak", "tier D", "", "custody: tier D"]
