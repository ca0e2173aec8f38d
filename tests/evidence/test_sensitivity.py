"""Sensitivity refits: what each changes, what is kept of it, when it is made again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pytest
import xarray as xr

from lndbayes.coordinates.transform import Metric
from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.estimands.effects import pooled_effect, site_effects
from lndbayes.estimands.predictors import predictors
from lndbayes.evidence import sensitivity
from lndbayes.evidence.sensitivity import (
    VARIANTS,
    Variant,
    kept_draws,
    run_variants,
    sensitivity_table,
    untreated_level,
)
from lndbayes.fitting.sampler import stored_metric
from lndbayes.spec.model_spec import CHANNELS, ModelSpec, load_spec, with_changes
from lndbayes.synthetic import simulate, write_evaluation
from small import MODELS, fake_fit

RECONSTRUCTED = {"retrospective", "national", "history", "elicited"}
BY_NAME = {variant.name: variant for variant in VARIANTS}


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return load_spec(MODELS / "custody.toml")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> EvaluationData:
    folder = tmp_path_factory.mktemp("sensitivity") / "data"
    return read_evaluation(write_evaluation(simulate(5, "effect", 4), folder))


class Fits:
    """Takes the place of `fit` and remembers how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[ModelSpec, dict[str, Any]]] = []

    def __call__(self, spec: ModelSpec, data: EvaluationData, **options: Any) -> xr.DataTree:
        self.calls.append((spec, options))
        tree = fake_fit((12, 20, None), months=48, draws=10, seed=len(self.calls))
        diverging = np.zeros((2, 10), bool)
        diverging[1, [2, 5, 7]] = True
        tree["sample_stats"] = xr.DataTree(
            xr.Dataset({"diverging": (("chain", "draw"), diverging)})
        )
        return tree


def run_variant(
    spec: ModelSpec, data: EvaluationData, variant: Variant, folder: Path, *, main: xr.DataTree
) -> xr.Dataset:
    """One variant of one outcome."""
    kept = run_variants([(spec, data, main)], folder, variants=[variant])
    return kept["custody"][variant.name]


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Fits:
    fake = Fits()
    monkeypatch.setattr(sensitivity, "fit", fake)
    # twenty draws are few, and would always be tried again
    monkeypatch.setattr(sensitivity, "_FEWEST", 0)
    # the fake's sites, which are not those of the data
    treated = np.array([True, True, False])
    monkeypatch.setattr(sensitivity, "sites_of", lambda spec, data: treated)
    return fake


@pytest.fixture
def main() -> xr.DataTree:
    tree = fake_fit()
    tree.attrs["fit_key"] = "main"
    constants = tree["constant_data"].to_dataset()
    nothing = np.zeros((0, 0, 0)), np.zeros((0, 0), dtype=np.int64)
    scale = np.array([0.0, 1.0, 1.0])
    constants = constants.merge(
        stored_metric(Metric(np.zeros(3), scale, np.eye(3)[:, :1], *nothing))
    )
    tree["constant_data"] = xr.DataTree(constants)
    return tree


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


def test_what_a_refit_keeps(spec, data, fits, main, tmp_path) -> None:
    kept = run_variant(spec, data, BY_NAME["no_national"], tmp_path, main=main)
    ((used, options),) = fits.calls
    assert changed_keys(spec, used).keys() - {f"sampling.{k}" for k in dir(spec.sampling)} == {
        "baseline.channels.national"
    }
    assert used.sampling.seed == spec.sampling.seed
    assert options["cores"] == 1
    assert options["predictive"] is False
    assert options["hide_treated"] is False
    np.testing.assert_array_equal(options["metric"].factor, np.eye(3)[:, :1])
    tree = fake_fit((12, 20, None), months=48, draws=10, seed=1)
    np.testing.assert_array_equal(kept["pooled"], pooled_effect(tree, "link", (7, 18)))
    np.testing.assert_array_equal(kept["level"], untreated_level(tree))
    assert set(kept.data_vars) == {"pooled", "level"}
    assert kept.attrs["divergences"] == 3


@pytest.mark.parametrize(("limit", "tries"), [(0, 1), (1e9, 2)])
def test_a_refit_with_few_effective_draws_is_tried_once_more(
    spec, data, fits, main, monkeypatch, tmp_path, limit, tries
) -> None:
    """With another seed, and the better of the two is kept."""
    monkeypatch.setattr(sensitivity, "_FEWEST", limit)
    kept = run_variant(spec, data, BY_NAME["no_national"], tmp_path, main=main)
    seeds = [used.sampling.seed for used, _ in fits.calls]
    assert seeds == [spec.sampling.seed + k for k in range(tries)]
    trees = [fake_fit((12, 20, None), months=48, draws=10, seed=1 + k) for k in range(tries)]
    found = [az.ess(kept_draws(tree, (7, 18))[["pooled"]])["pooled"].item() for tree in trees]
    assert kept.attrs["ess"] == pytest.approx(max(found))
    best = pooled_effect(trees[int(np.argmax(found))], "link", (7, 18))
    np.testing.assert_array_equal(kept["pooled"], best)


def test_only_the_variant_of_that_name_hides_treated_months(spec, data, fits, main, tmp_path):
    for variant in VARIANTS:
        run_variant(spec, data, variant, tmp_path, main=main)
    # far from the main fit, its coordinates are only where a pilot starts
    assert all(o["metric"] is not None for _, o in fits.calls)
    own = {v.name for v, (_, o) in zip(VARIANTS, fits.calls, strict=True) if o["far"]}
    assert own == {
        "no_not_yet_treated",
        "all_off",
        "all_off_ramp_hidden",
        "untreated_only",
    }
    hidden = {v.name for v, (_, o) in zip(VARIANTS, fits.calls, strict=True) if o["hide_treated"]}
    assert hidden == {"untreated_only"}
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        f"custody-{variant.name}.nc" for variant in VARIANTS
    )


def test_the_refit_with_biases_keeps_leverages(spec, data, fits, main, tmp_path) -> None:
    kept = run_variant(spec, data, BY_NAME["bias_on"], tmp_path, main=main)
    tree = fake_fit((12, 20, None), months=48, draws=10, seed=1)
    bias, drift = (tree["posterior"][k].to_numpy().ravel() for k in ("shared_bias", "drift"))
    terms = np.column_stack([bias, drift, np.ones(20)])
    sites = site_effects(tree, withheld=False).to_numpy().reshape(20, 2)
    (wanted_bias, wanted_drift, _), *_ = np.linalg.lstsq(terms, sites)
    assert list(kept["treated_site"].values) == ["A", "B"]
    np.testing.assert_allclose(kept["site_leverage_level_bias"], wanted_bias, rtol=1e-10)
    np.testing.assert_allclose(kept["site_leverage_drift"], wanted_drift, rtol=1e-10)
    # regression is linear: the pooled effect is the sites' mean, and so is its leverage
    assert float(kept["leverage_level_bias"]) == pytest.approx(wanted_bias.mean(), rel=1e-10)
    assert float(kept["leverage_drift"]) == pytest.approx(wanted_drift.mean(), rel=1e-10)


def test_a_refit_is_read_if_nothing_it_depends_on_has_changed(
    spec, data, fits, main, tmp_path
) -> None:
    variant = BY_NAME["bias_on"]
    first = run_variant(spec, data, variant, tmp_path, main=main)
    again = run_variant(spec, data, variant, tmp_path, main=main)
    xr.testing.assert_identical(again, first)
    # thresholds of checks judge and do not change anything
    run_variant(with_changes(spec, {"checks": {"rhat": 1.5}}), data, variant, tmp_path, main=main)
    assert len(fits.calls) == 1


@pytest.mark.parametrize("what", ["data", "prior", "seed", "window", "main", "variant"])
def test_a_refit_is_made_again_if_something_has_changed(
    spec, data, fits, main, tmp_path, what
) -> None:
    variant = BY_NAME["no_history"]
    before = run_variant(spec, data, variant, tmp_path, main=main)
    if what == "data":
        data = dataclasses.replace(data, disclosure="another")
    if what == "prior":
        spec = with_changes(
            spec, {"priors.effect_mean": {"dist": "Normal", "mu": 0.0, "sigma": 0.4}}
        )
    if what == "seed":
        spec = with_changes(spec, {"sampling.seed": 1})
    if what == "window":
        spec = with_changes(spec, {"effect.window": [3, 9]})
    if what == "main":
        main.attrs["fit_key"] = "another"
    if what == "variant":
        variant = dataclasses.replace(variant, changes=BY_NAME["no_national"].changes)
    after = run_variant(spec, data, variant, tmp_path, main=main)
    assert len(fits.calls) == 2
    assert not np.array_equal(after["pooled"], before["pooled"])
    (file,) = tmp_path.iterdir()
    with xr.open_dataset(file, engine="netcdf4") as stored:
        np.testing.assert_array_equal(stored["pooled"], after["pooled"])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_damaged_refit_is_made_again(spec, data, fits, main, tmp_path, share) -> None:
    variant = BY_NAME["no_history"]
    run_variant(spec, data, variant, tmp_path, main=main)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    run_variant(spec, data, variant, tmp_path, main=main)
    assert len(fits.calls) == 2


def test_a_refit_that_is_interrupted_leaves_no_file(spec, data, main, monkeypatch, tmp_path):
    def interrupted(*args: Any, **options: Any) -> xr.DataTree:
        raise KeyboardInterrupt

    monkeypatch.setattr(sensitivity, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_variant(spec, data, VARIANTS[0], tmp_path / "sensitivity", main=main)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    ("go_live", "period", "months"),
    [
        ((15, 20, None), "month", range(3, 15)),
        ((5, 20, None), "month", range(5)),
        ((0, 20, None), "month", range(1)),
        ((-4, 20, None), "month", range(1)),
        ((9, 7, None), "quarter", range(3, 7)),
        ((None, None, None), "month", range(18, 30)),
    ],
)
def test_the_untreated_level_is_that_of_the_year_before_the_first_go_live(
    go_live, period, months
) -> None:
    fit = fake_fit(go_live, months=30, period=period)
    found = untreated_level(fit)
    assert found.dims == ("chain", "draw", "site")
    eta0 = predictors(fit)["eta0"].to_numpy()
    wanted = sum(eta0[..., t] for t in months) / len(months)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)


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


def test_kept_draws_use_the_given_window() -> None:
    fit = fake_fit()
    kept = kept_draws(fit, (2, 5))
    np.testing.assert_array_equal(kept["pooled"], pooled_effect(fit, "link", (2, 5)))
    assert not np.array_equal(kept["pooled"], pooled_effect(fit))


def test_a_refit_that_hides_treated_cells_is_still_about_the_main_fits_sites() -> None:
    fit = fake_fit()
    hidden = fake_fit(constants={"exposure": np.where(np.arange(26) < 6, 30.0, 0.0)})
    kept = kept_draws(hidden, (7, 18), np.array([True, True, False]))
    np.testing.assert_array_equal(kept["pooled"], pooled_effect(fit))


def test_folders_are_made(spec, data, fits, main, tmp_path: Path) -> None:
    run_variant(spec, data, VARIANTS[0], tmp_path / "run" / "sensitivity", main=main)
    names = [p.name for p in (tmp_path / "run" / "sensitivity").iterdir()]
    assert names == [f"custody-{VARIANTS[0].name}.nc"]
