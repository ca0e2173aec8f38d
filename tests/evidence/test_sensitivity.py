"""Sensitivity refits: what each changes, how it is made, and their table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from lndbayes.evidence.refits import Pilot
from lndbayes.evidence.sensitivity import VARIANTS, run_variants, sensitivity_table
from lndbayes.spec.model_spec import CHANNELS, ModelSpec, with_changes

RECONSTRUCTED = {"retrospective", "national", "history", "elicited"}
BY_NAME = {variant.name: variant for variant in VARIANTS}


def changed_keys(one: ModelSpec, other: ModelSpec) -> dict[str, Any]:
    """Dotted keys whose values differ, with those of `other`."""
    found = {}

    def walk(a: Any, b: Any, path: str) -> None:
        if isinstance(a, dict):
            for key in a:
                walk(a[key], b[key], f"{path}.{key}" if path else key)
        elif a != b:
            found[path] = b

    walk(one.model_dump(), other.model_dump(), "")
    return found


@pytest.mark.parametrize(
    ("name", "off", "more"),
    [
        *((f"no_{channel}", {channel}, {}) for channel in CHANNELS),
        ("panel_only", RECONSTRUCTED, {}),
        ("ramp_hidden", set(), {"effect.hide_first_months": 15}),
        ("all_off", set(CHANNELS), {}),
        ("all_off_ramp_hidden", set(CHANNELS), {"effect.hide_first_months": 15}),
        ("untreated_only", set(), {}),
        (
            "bias_on",
            set(),
            {"sensitivity.shared_bias_sd": 0.15, "sensitivity.drift_sd": 0.05},
        ),
    ],
)
def test_a_variant_changes_what_its_name_says(spec, name, off, more) -> None:
    changed = with_changes(spec, BY_NAME[name].changes)
    wanted: dict[str, Any] = {f"baseline.channels.{channel}": False for channel in off}
    found = changed_keys(spec, changed)
    assert {k: v for k, v in found.items() if not k.startswith("sampling.")} == wanted | more
    # how to sample is a refit's own business, but not with what seed
    assert "sampling.seed" not in found


def test_variants_have_names_and_words_of_their_own() -> None:
    assert len(BY_NAME) == len({v.label for v in VARIANTS}) == len(VARIANTS)


def test_how_variants_are_made(spec, data, fits, main, tmp_path) -> None:
    found = run_variants([(spec, data, main)], tmp_path)["custody"]
    assert list(found) == list(BY_NAME)
    # far from the main fit, its coordinates are only where a pilot starts
    far = [v.name for v in VARIANTS if v.pilot is Pilot.FROM_MAIN]
    assert far == ["no_not_yet_treated", "all_off", "all_off_ramp_hidden", "untreated_only"]
    # those that take long are made first; few draws are tried again, once
    own = [options["needs_pilot"] for _, _, options in fits.calls]
    assert own == sorted(own, reverse=True)
    assert sum(own) in range(len(far), 2 * len(far) + 1)
    assert all(options["coordinates"] is not None for _, _, options in fits.calls)
    assert {v.name for v in VARIANTS if v.hide_treated} == {"untreated_only"}
    assert any(options["hide_treated"] for _, _, options in fits.calls)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        f"custody-{variant.name}.nc" for variant in VARIANTS
    )
    assert {"leverage_level_bias", "shared_bias", "drift"} <= set(found["bias_on"].data_vars)


def test_the_table_by_hand() -> None:
    def kept(values: list[float], **attrs: Any) -> xr.Dataset:
        draws = np.array([values])
        coords = {"chain": [0], "draw": range(4)}
        return xr.Dataset({"pooled": (("chain", "draw"), draws)}, coords, attrs)

    # sds with 4 - 1 in the denominator: sqrt(4 * 0.01 / 3), and twice that
    base = kept([-0.4, -0.2, -0.4, -0.2])
    wide = kept([-0.3, 0.1, -0.3, 0.1], divergences=2)
    table = sensitivity_table("custody", base, {"no_history": wide}, prior_sd=0.5)
    assert list(table["variant"]) == ["base", "no_history"]
    assert table["label"][1] == BY_NAME["no_history"].label
    sd = np.sqrt(0.04 / 3)
    assert table["mean"].to_list() == pytest.approx([-0.3, -0.1])
    assert table["sd"].to_list() == pytest.approx([sd, 2 * sd])
    assert table["sd_ratio"].to_list() == pytest.approx([2 * sd, 4 * sd])
    assert table["sd_ratio_base"].to_list() == pytest.approx([1, 2])
    assert table["shift"].to_list() == pytest.approx([0, 0.2 / sd])
    assert table["note"].to_list() == ["", "2 divergent transitions"]
    assert set(table["prior_sd"]) == {0.5}
    columns = "mean sd lower median upper ci_prob prior_sd sd_ratio sd_ratio_base shift note"
    assert list(table.columns) == ["outcome", "variant", "label", *columns.split()]
