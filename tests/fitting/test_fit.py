"""A fit: its groups and provenance, kept whole or not at all, reused for the same inputs only."""

from __future__ import annotations

import csv
import gc
import json
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arviz
import numpy as np
import pytest
import xarray as xr

from lndbayes.base.errors import FitError, MachineError
from lndbayes.checks.battery import run_checks
from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.files.storage import SEAL
from lndbayes.fitting import prepared
from lndbayes.fitting.fit import (
    SCHEMA,
    coordinates_of,
    fit,
    fit_key,
    load_fit,
    save_fit,
    stored_fit,
    versions,
)
from lndbayes.fitting.sampler import find_coordinates, stored_coordinates
from lndbayes.model.design import build_design
from lndbayes.model.layout import REAL, size
from lndbayes.spec.model_spec import ModelSpec, load_spec, parse_spec, with_changes
from small import fake_fit, write_small

pytestmark = pytest.mark.slow

SITES = 4
CHAINS, DRAWS = 2, 60


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("fit")
    return write_small(root, sites=SITES, chains=CHAINS, tune=80, draws=DRAWS)


@pytest.fixture(scope="module")
def spec(folders: tuple[Path, Path]) -> ModelSpec:
    return load_spec(folders[1] / "custody.toml")


@pytest.fixture(scope="module")
def data(folders: tuple[Path, Path]) -> EvaluationData:
    return read_evaluation(folders[0])


@pytest.fixture(scope="module")
def made(spec: ModelSpec, data: EvaluationData) -> xr.DataTree:
    return fit(spec, data, cores=1)


@pytest.fixture(scope="module")
def file(made: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_fit(made, tmp_path_factory.mktemp("stored") / "fits" / "custody.nc")


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the same kind that is quickly read: a hand-made fit."""
    tree = fake_fit(draws=200)
    tree.attrs |= {"schema": SCHEMA, "fit_key": "key"}
    return save_fit(tree, tmp_path_factory.mktemp("light") / "custody.nc")


# --- what a fit holds -----------------------------------------------------------------------------

SCALARS = (
    "effect_mean baseline_level national_slope national_curve_sd site_level_sd site_drift_sd "
    "site_curve_sd mix_effect_sd site_effect_sd ramp_months concentration mix_concentration "
    "retrospective_bias retrospective_bias_sd crisis_dip crisis_recovery_months "
    "history_selection predecessor_effect shared_bias drift go_live_step pulse "
    "stage_site_sd stage_effect"
)
VECTORS = {
    "national_curve": ("basis_national",),
    "season": ("harmonic",),
    "site_level": ("site",),
    "site_drift": ("site",),
    "site_curve": ("basis_site", "site"),
    "mix_share": ("site", "intervention"),
    "mix_effect": ("intervention",),
    "site_deviation": ("site",),
    "stage_level": ("stage",),
    "stage_site": ("site",),
    "wave_effect": ("wave",),
    "site_effect": ("site",),
    "retrospective_site_bias": ("retrospective_site",),
}


def test_groups_are_those_of_the_contract(made) -> None:
    assert list(made.children) == [
        "posterior",
        "sample_stats",
        "prior",
        "prior_predictive",
        "posterior_predictive",
        "log_likelihood",
        "observed_data",
        "constant_data",
    ]


@pytest.mark.parametrize("group", ["posterior", "prior"])
def test_every_variable_is_labelled(made, group) -> None:
    ds = made[group].to_dataset()
    wanted = {name: ("chain", "draw") for name in SCALARS.split()}
    wanted |= {name: ("chain", "draw", *dims) for name, dims in VECTORS.items()}
    assert {str(k): v.dims for k, v in ds.data_vars.items()} == wanted
    assert {str(v.dtype) for v in ds.data_vars.values()} == {"float64"}
    assert set(ds.coords) == set(ds.dims), "every dim has its labels"
    shape = (CHAINS, DRAWS) if group == "posterior" else (1, 1000)
    assert (ds.sizes["chain"], ds.sizes["draw"]) == shape
    assert all(np.isfinite(v.to_numpy()).all() for v in ds.data_vars.values())


def test_labels_are_the_datas(made, data) -> None:
    posterior = made["posterior"].to_dataset()
    for dim in ("site", "intervention"):
        assert list(posterior[dim].values) == list(data.ds[dim].values)
    assert list(posterior["wave"].values) == sorted(set(data.ds["wave"].values))
    assert list(made["observed_data"]["month"].values) == list(data.ds["month"].values)


def test_statistics_of_the_sampler(made) -> None:
    stats = made["sample_stats"].to_dataset()
    assert set(stats.data_vars) == {"diverging", "energy", "depth", "n_steps", "step_size", "lp"}
    assert stats["diverging"].dtype == bool
    assert stats.sizes == {"chain": CHAINS, "draw": DRAWS}


def test_cells_of_the_likelihood_agree_across_groups(made, data) -> None:
    exposure = made["constant_data"]["exposure"].to_numpy()
    used = exposure > 0
    assert 0 < used.sum() < used.size
    observed = made["observed_data"]["y"].to_numpy()
    np.testing.assert_array_equal(np.isnan(observed), ~used)
    counts = data.ds.sel(outcome="custody")["count"].to_numpy()
    np.testing.assert_array_equal(observed[used], counts[used])
    for group in ("prior_predictive", "posterior_predictive"):
        y = made[group]["y"]
        assert y.dims == ("chain", "draw", "site", "month")
        assert y.dtype == np.float32
        np.testing.assert_array_equal(np.isnan(y.values), np.broadcast_to(~used, y.shape))
        inside = y.values[..., used]
        assert (inside == np.round(inside)).all()
        assert ((inside >= 0) & (inside <= exposure[used])).all()
    log_likelihood = made["log_likelihood"]["y"]
    assert log_likelihood.dims == ("chain", "draw", "cell")
    assert log_likelihood.shape == (CHAINS, DRAWS, used.sum())
    site, month = np.nonzero(used)
    assert list(log_likelihood["cell_site"].values) == list(data.ds["site"].values[site])
    assert list(log_likelihood["cell_month"].values) == list(data.ds["month"].values[month])


def test_predicted_counts_are_about_exposure_times_rate(made) -> None:
    exposure = made["constant_data"]["exposure"].to_numpy()
    y, mu = (made["posterior_predictive"][k].to_numpy() for k in ("y", "mu"))
    used = exposure > 0
    z = y[..., used] / exposure[used] - mu[..., used]
    # a mean over some 30 000 cell draws; one cell's sd is below 0.25 at 20 trials or more
    assert abs(z.mean()) < 5 * 0.25 / np.sqrt(z.size)


def test_event_time_is_nan_for_a_site_that_never_goes_live(spec, data) -> None:
    go_live = data.ds["go_live"].to_numpy().copy()
    go_live[-1] = np.nan
    changed = EvaluationData(
        **{
            **{name: getattr(data, name) for name in data.__dataclass_fields__},
            "ds": data.ds.assign(go_live=("site", go_live)),
        }
    )
    short = with_changes(spec, {"sampling.draws": 50, "sampling.tune": 50, "sampling.chains": 1})
    event = fit(short, changed, cores=1, predictive=False)["constant_data"]["event_time"]
    assert np.isnan(event.values[-1]).all()
    index = np.arange(event.sizes["month"])
    np.testing.assert_array_equal(event.values[:-1], index - go_live[:-1, None])


def test_provenance_is_in_the_root_attributes(made, spec, data) -> None:
    attrs = made.attrs
    assert parse_spec(json.loads(attrs["spec_text"]), source="stored") == spec
    assert (attrs["spec_hash"], attrs["data_hash"]) == (spec.hash, data.hash)
    assert (attrs["seed"], attrs["outcome"], attrs["family"]) == (
        spec.sampling.seed,
        "custody",
        "ordered_bands",
    )
    assert (attrs["unit"], attrs["good_direction"]) == ("custodial sentences", "lower")
    assert (attrs["synthetic"], attrs["period"]) == (1, "month")
    assert json.loads(attrs["versions"]) == versions()
    assert set(json.loads(attrs["wall_seconds"])) == {
        "design",
        "pilot",
        "sampling",
        "predictive",
    }
    fixed = {"shared_bias", "drift", "go_live_step", "pulse"}
    assert set(json.loads(attrs["fixed_variables"])) == fixed
    assert (attrs["link"], attrs["exposure_outcome"], attrs["selected"]) == ("logit", "", 0)


def test_fixed_variables_are_those_that_do_not_vary(made) -> None:
    posterior = made["posterior"].to_dataset()
    constant = {str(k) for k, v in posterior.data_vars.items() if float(np.ptp(v.to_numpy())) == 0}
    assert constant == set(json.loads(made.attrs["fixed_variables"]))


def test_a_refit_without_predictions_has_the_same_draws(made, spec, data) -> None:
    short = fit(spec, data, cores=1, predictive=False)
    assert set(short.children) == {"posterior", "sample_stats", "observed_data", "constant_data"}
    xr.testing.assert_identical(short["posterior"].to_dataset(), made["posterior"].to_dataset())


def test_hidden_treated_months_are_out_of_the_likelihood(spec, data) -> None:
    hidden = fit(spec, data, cores=1, predictive=False, hide_treated=True)["constant_data"]
    event, exposure = hidden["event_time"].to_numpy(), hidden["exposure"].to_numpy()
    assert (exposure[event >= 0] == 0).all()
    assert exposure[event < 0].sum() > 0
    assert hidden["exposure_all"].to_numpy()[event >= 0].sum() > 0


# --- other tools read it --------------------------------------------------------------------------


def test_arviz_reads_it(made) -> None:
    names = ["effect_mean", "site_effect"]
    for function in (arviz.rhat, arviz.ess):
        found = function(made, var_names=names)
        # rank-normalised R-hat and bulk ESS need no more than the draws and their dims
        values = found["posterior"] if "posterior" in getattr(found, "children", {}) else found
        assert values["site_effect"].shape == (SITES,)
        assert np.isfinite(values["site_effect"].to_numpy()).all()
    table = arviz.summary(made, var_names=names, round_to="none")
    assert len(table) == 1 + SITES
    mean = float(made["posterior"]["effect_mean"].mean())
    assert float(table.loc["effect_mean", "mean"]) == pytest.approx(mean, rel=1e-6)
    with warnings.catch_warnings():
        # 120 draws are too few for a good tail fit in every cell
        warnings.simplefilter("ignore")
        loo = arviz.loo(made)
    assert loo.n_data_points == made["log_likelihood"].sizes["cell"]
    assert loo.n_samples == CHAINS * DRAWS
    assert np.isfinite(loo.elpd)


def test_the_checks_find_every_group_usable(made) -> None:
    results = {r.check: str(r.status) for r in run_checks(made)}
    assert (results["groups"], results["finite"]) == ("PASS", "PASS")


# --- seeds ----------------------------------------------------------------------------------------


def test_the_seed_fixes_every_draw_whatever_the_cores(made, spec, data) -> None:
    again = fit(spec, data, cores=2)
    for name in made.children:
        xr.testing.assert_identical(again[name].to_dataset(), made[name].to_dataset())


def test_another_seed_gives_other_draws(made, spec, data) -> None:
    other = fit(with_changes(spec, {"sampling.seed": 7}), data, cores=1)
    for group, name in (
        ("posterior", "effect_mean"),
        ("prior", "effect_mean"),
        ("posterior_predictive", "y"),
        ("prior_predictive", "y"),
    ):
        assert not np.array_equal(
            other[group][name].to_numpy(), made[group][name].to_numpy(), equal_nan=True
        )


def test_the_metric_of_a_fit_is_what_its_chains_moved_in(made, spec, data) -> None:
    """Found by the pilot, it lies about the draws; handed from another fit, it stays that one."""
    coordinates = coordinates_of(made)
    design = build_design(spec, data)
    assert coordinates.mean.shape == (size(design),)
    assert coordinates.scale.shape == coordinates.mean.shape
    # scalars come first, and these are unconstrained as they are; pilot and chains as short as
    # these have some 20 effective draws: means and sds known to a quarter of an sd, and a fifth
    for name in ("effect_mean", "baseline_level"):
        at, draws = REAL.index(name), made["posterior"][name].to_numpy()
        assert coordinates.mean[at] == pytest.approx(draws.mean(), abs=2 * draws.std())
        ratio = np.linalg.norm(coordinates.factor[at]) / draws.std()
        assert 1 / 3 < ratio < 3
    quick = with_changes(spec, {"sampling.draws": 50, "sampling.tune": 50, "sampling.seed": 99})
    kept = stored_coordinates(
        coordinates_of(fit(quick, data, predictive=False, coordinates=coordinates))
    )
    xr.testing.assert_identical(kept, stored_coordinates(coordinates))


@pytest.mark.parametrize(("needs_pilot", "pilots"), [(False, 0), (True, 1)])
def test_the_metric_of_a_far_fit_is_only_where_a_pilot_starts(
    made, spec, data, monkeypatch, needs_pilot, pilots
) -> None:
    starts = []

    def watched(spec, design, **options):
        starts.append(options["start"])
        return find_coordinates(spec, design, **options)

    # the package's `fit` is the function, not the module
    monkeypatch.setattr(sys.modules["lndbayes.fitting.fit"], "find_coordinates", watched)
    coordinates = coordinates_of(made)
    quick = with_changes(spec, {"sampling.draws": 50, "sampling.tune": 50})
    fit(quick, data, predictive=False, coordinates=coordinates, needs_pilot=needs_pilot)
    assert len(starts) == pilots
    assert all(start is coordinates for start in starts)


# --- interruption ---------------------------------------------------------------------------------


def test_an_interrupt_amid_sampling_leaves_no_fit(spec, data) -> None:
    # The sampler's own answer to an interrupt is the draws so far, as if they were all.
    endless = with_changes(spec, {"sampling.draws": 100_000})
    seen = []

    def interrupt(chains: Any) -> None:
        seen.append(sum(chain.finished_draws for chain in chains))
        if seen[-1] > 100 and seen.count(-1) == 0:
            seen.append(-1)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(endless, data, cores=1, callback=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert -1 in seen


# --- stored fits ----------------------------------------------------------------------------------


def test_a_stored_fit_reads_back_as_it_was(made, file) -> None:
    loaded = load_fit(file)
    assert list(loaded.children) == list(made.children)
    for name in made.children:
        one, other = made[name].to_dataset(), loaded[name].to_dataset()
        xr.testing.assert_equal(other, one)
        assert {k: v.dtype.kind for k, v in other.data_vars.items()} == {
            k: v.dtype.kind for k, v in one.data_vars.items()
        }
    assert {k: v for k, v in loaded.attrs.items() if k != SEAL} == dict(made.attrs)


def test_saving_leaves_one_readable_file(file) -> None:
    assert [p.name for p in file.parent.iterdir()] == ["custody.nc"]


def test_a_failed_write_keeps_the_earlier_file(made, file, tmp_path, monkeypatch) -> None:
    target = tmp_path / "custody.nc"
    target.write_bytes(file.read_bytes())

    def full(self: xr.DataTree, path: Path, **options: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", full)
    with pytest.raises(MachineError, match=r"custody\.nc: could not be written: No space left"):
        save_fit(made, target)
    assert target.read_bytes() == file.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["custody.nc"]


def test_reading_says_what_is_wrong(tmp_path) -> None:
    with pytest.raises(FitError, match=r"none\.nc: no stored fit"):
        load_fit(tmp_path / "none.nc")
    with pytest.raises(FitError, match="no stored fit"):
        load_fit(tmp_path)
    (tmp_path / "text.nc").write_text("not a fit\n")
    with pytest.raises(FitError, match=r"text\.nc: is not a readable fit"):
        load_fit(tmp_path / "text.nc")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.3, 0.6, 0.95, 0.9999])
def test_a_truncated_fit_is_an_error_and_no_finished_fit(light, tmp_path, share) -> None:
    assert stored_fit(light, "key") is not None
    content = light.read_bytes()
    cut = tmp_path / "custody.nc"
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FitError, match="is not a readable fit"):
        load_fit(cut)
    assert stored_fit(cut, "key") is None


@pytest.mark.parametrize("at", ["posterior", "fit_key", "site_effect", "FRHP", "BTHD"])
def test_damage_amid_a_fit_is_told_as_such(light, tmp_path, at) -> None:
    content = light.read_bytes()
    start = content.index(at.encode())
    spoilt = tmp_path / "custody.nc"
    spoilt.write_bytes(content[:start] + bytes(32) + content[start + 32 :])
    with pytest.raises(FitError, match="is not a readable fit"):
        load_fit(spoilt)
    gc.collect()


@pytest.mark.parametrize("schema", [0, None])
def test_a_fit_of_another_schema_is_not_read(light, tmp_path, schema) -> None:
    old = load_fit(light)
    old.attrs = {k: v for k, v in old.attrs.items() if k not in ("schema", SEAL)}
    if schema is not None:
        old.attrs["schema"] = schema
    path = save_fit(old, tmp_path / "old.nc")
    with pytest.raises(FitError, match=f"was not written with schema {SCHEMA}"):
        load_fit(path)
    assert stored_fit(path, "key") is None


def test_a_stored_fit_is_reused_for_its_key_only(made, file, spec, data) -> None:
    key = fit_key(spec, data)
    found = stored_fit(file, key)
    assert found is not None
    xr.testing.assert_equal(found["posterior"].to_dataset(), made["posterior"].to_dataset())
    assert stored_fit(file, key[::-1]) is None
    assert stored_fit(file.with_name("other.nc"), key) is None


# --- the key --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling.seed": 1},
        {"sampling.draws": 61},
        {"effect.window": [6, 18]},
        {"baseline.channels.history": False},
        {"sensitivity.wave_sd": 0.1},
        {"priors.effect_mean": {"dist": "Normal", "mu": 0.0, "sigma": 0.4}},
        {"outcome.event": "sentences"},
    ],
)
def test_the_key_changes_with_the_spec(spec, data, changes) -> None:
    assert fit_key(with_changes(spec, changes), data) != fit_key(spec, data)


def test_the_key_does_not_change_with_thresholds(spec, data) -> None:
    judged = with_changes(spec, {"checks": {"rhat": 1.5}})
    assert judged.hash != spec.hash
    assert fit_key(judged, data) == fit_key(spec, data)


def test_the_key_changes_with_the_packages(spec, data, monkeypatch) -> None:
    before = fit_key(spec, data)
    monkeypatch.setattr(prepared, "versions", lambda: {**versions(), "numpy": "0"})
    assert fit_key(spec, data) != before


def test_the_key_changes_with_the_source_of_a_fit(spec, data, monkeypatch) -> None:
    before = fit_key(spec, data)
    monkeypatch.setattr(prepared, "source_hash", lambda name: f"{name} after an edit")
    assert fit_key(spec, data) != before


def edited(folder: Path, target: Path, file: str, change: Callable[[list[list[str]]], None]) -> str:
    """Key of the data with one table changed."""
    shutil.copytree(folder, target)
    with (target / file).open(newline="", encoding="utf-8") as handle:
        rows = list(csv.reader(handle))
    change(rows)
    with (target / file).open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows(rows)
    return read_evaluation(target).hash


def test_the_key_changes_with_one_count(folders, data, tmp_path) -> None:
    def one_more(rows: list[list[str]]) -> None:
        row = rows[10]
        column = rows[0].index("count")
        row[column] = str(int(row[column]) + 1)

    assert edited(folders[0], tmp_path / "data", "outcomes.csv", one_more) != data.hash


def test_the_key_does_not_change_with_the_order_of_rows_or_columns(folders, data, tmp_path) -> None:
    def turned(rows: list[list[str]]) -> None:
        rows[1:] = rows[:0:-1]
        for row in rows:
            row.reverse()

    for i, file in enumerate(("outcomes.csv", "mix.csv", "evidence/history.csv")):
        assert edited(folders[0], tmp_path / f"data{i}", file, turned) == data.hash


def test_the_key_does_not_change_with_the_truth_or_the_place(folders, data, tmp_path) -> None:
    moved = shutil.copytree(folders[0], tmp_path / "elsewhere")
    (moved / "truth.json").write_bytes(b"\x00 not JSON")
    assert read_evaluation(moved).hash == data.hash
