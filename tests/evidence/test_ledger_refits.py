"""The ledger's refits: which there are, what each changes, when it is made again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from lndbayes.app.attribution import borrowed_folds
from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.estimands.effects import site_effects
from lndbayes.estimands.predictors import untreated_predictor
from lndbayes.evidence.attribution import refits as ledger_refits
from lndbayes.evidence.attribution.refits import (
    BASELINES,
    CUT,
    SOFT,
    borrowed_name,
    present,
    run_refits,
    subset_name,
    untreated_cells,
    without_own_rows,
)
from lndbayes.evidence.attribution.shares import subsets
from lndbayes.fitting.fit import fit
from lndbayes.spec.model_spec import CHANNELS, ModelSpec, load_spec, with_changes
from lndbayes.synthetic import WORLDS, simulate, write_evaluation
from small import MODELS, fake_fit

FOLDS = [["S01", "S03"], ["S02"]]


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return load_spec(MODELS / "custody.toml")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> EvaluationData:
    folder = tmp_path_factory.mktemp("ledger") / "data"
    return read_evaluation(write_evaluation(simulate(5, "effect", 4), folder))


class Fits:
    """Takes the place of `fit` and remembers how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[ModelSpec, EvaluationData, dict[str, Any]]] = []

    def __call__(self, spec: ModelSpec, data: EvaluationData, **options: Any) -> xr.DataTree:
        self.calls.append((spec, data, options))
        tree = fake_fit((12, 20, None), months=48, draws=60, seed=len(self.calls))
        diverging = np.zeros((2, 60), bool)
        diverging[1, :3] = True
        tree["sample_stats"] = xr.DataTree(
            xr.Dataset({"diverging": (("chain", "draw"), diverging)})
        )
        return tree


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Fits:
    fake = Fits()
    monkeypatch.setattr(ledger_refits, "fit", fake)
    monkeypatch.setattr(ledger_refits, "metric_of", lambda tree: "metric of the main fit")
    # the fake's sites, which are not those of the data
    treated = np.array([True, True, False])
    monkeypatch.setattr(ledger_refits, "sites_of", lambda spec, data: treated)
    return fake


@pytest.fixture
def main() -> xr.DataTree:
    tree = fake_fit()
    tree.attrs["fit_key"] = "main"
    return tree


def made(spec, data, main, folder: Path, channels=CHANNELS, folds=FOLDS) -> dict[str, xr.Dataset]:
    return run_refits(spec, data, main, ledger_refits.ledger_refits(channels, folds), folder)


def test_every_subset_but_the_whole_is_a_refit(spec, data, fits, main, tmp_path) -> None:
    found = made(spec, data, main, tmp_path)
    names = {subset_name(s) for s in subsets(CHANNELS)[:-1]}
    assert set(found) == names | {CUT, SOFT, borrowed_name(0), borrowed_name(1)}
    assert len(names) == 31
    assert subset_name(frozenset(CHANNELS)) not in found
    for (used, _, options), name in zip(fits.calls, found, strict=True):
        on = {c for c in CHANNELS if getattr(used.baseline.channels, c)}
        if name in names:
            assert name == subset_name(frozenset(on))
            assert (options["metric"] is None) == ("not_yet_treated" not in on)
            assert options["hidden"] is None
        else:
            assert on == set(CHANNELS)
            assert options["metric"] is None
        assert options["hide_treated"] is (name == CUT)
        spread = used.priors["site_effect_sd"]
        assert (spread != spec.priors["site_effect_sd"]) == (name == SOFT)
        assert options["cores"] == 1
        assert used.sampling.seed == spec.sampling.seed
        assert (used.sampling.chains, used.sampling.draws) == (2, 400)


def test_what_is_kept(spec, data, fits, main, tmp_path) -> None:
    found = made(spec, data, main, tmp_path, channels=CHANNELS[:1], folds=[])
    assert list(found) == [CUT, SOFT, "only_nothing"]
    usual = {"pooled", "level", "pooled_ess", "level_ess"}
    assert set(found["only_nothing"].data_vars) == usual
    cut = found[CUT]
    assert set(cut.data_vars) == usual | {"eta0", "overdispersion"}
    assert cut.sizes["baseline"] == BASELINES
    assert cut.attrs["divergences"] == 3
    # a baseline and its dispersion are of one draw
    tree = fake_fit((12, 20, None), months=48, draws=60, seed=1)
    dispersion = tree["posterior"]["overdispersion"].to_numpy().ravel()
    draw = int(np.flatnonzero(dispersion == float(cut["overdispersion"][17]))[0])
    eta0 = untreated_predictor(tree).to_numpy().reshape(-1, 3, 48)
    np.testing.assert_array_equal(cut["eta0"][17], eta0[draw])


def test_own_evidence_is_hidden_and_no_one_elses(spec, data, fits, main, tmp_path) -> None:
    made(spec, data, main, tmp_path, channels=CHANNELS[:1])
    (_, less, options) = fits.calls[3]
    ds = data.ds
    for site in ds["site"].to_numpy():
        mask = options["hidden"].sel(site=site).to_numpy()
        go_live = float(ds["go_live"].sel(site=site))
        wanted = np.arange(ds.sizes["month"]) < go_live
        np.testing.assert_array_equal(mask, wanted & (site in FOLDS[0]))
    for name in ("retrospective", "history"):
        before, after = data.evidence[name], less.evidence[name]
        assert set(after["site"]) == set(before["site"]) - set(FOLDS[0])
        assert len(after) == (~before["site"].isin(FOLDS[0])).sum()
    for name in ("national", "elicited"):
        assert len(less.evidence[name]) == len(data.evidence[name])
    # another content has another hash, and the same sites the same one
    assert less.hash == without_own_rows(data, ["S03", "S01"]).hash
    assert len({less.hash, data.hash, without_own_rows(data, ["S02"]).hash}) == 3


def test_a_site_without_go_live_is_untreated_throughout(data) -> None:
    ds = data.ds.copy(deep=True)
    ds["go_live"] = ds["go_live"].where(np.arange(4) != 1)
    never = dataclasses.replace(data, ds=ds)
    mask = untreated_cells(never, [str(ds["site"].to_numpy()[1])])
    assert mask.isel(site=1).all()
    assert not mask.isel(site=[0, 2, 3]).any()


def test_an_absent_source_changes_nothing(spec, data, fits, main, tmp_path) -> None:
    less = dict(data.evidence)
    less["history"] = less["history"].iloc[:0]
    without = dataclasses.replace(data, evidence=less)
    data_all, data_less = (present(spec, d, main) for d in (data, without))
    assert data_all == list(CHANNELS)
    assert data_less == [c for c in CHANNELS if c != "history"]
    # whether the spec then asks for it or not
    off = with_changes(spec, {"baseline.channels.history": False})
    assert present(off, without, main) == present(off, data, main) == data_less


def test_a_panel_without_untreated_cells_is_no_source(spec, data, main) -> None:
    constants = main["constant_data"].to_dataset()
    before = ~(constants["event_time"] >= 0)
    constants["site_weight"] = constants["site_weight"].where(~before, 0.0)
    main["constant_data"] = xr.DataTree(constants)
    assert "not_yet_treated" not in present(spec, data, main)


def test_refits_are_read_if_nothing_has_changed(spec, data, fits, main, tmp_path) -> None:
    first = made(spec, data, main, tmp_path, channels=CHANNELS[:2])
    count = len(fits.calls)
    again = made(spec, data, main, tmp_path, channels=CHANNELS[:2])
    assert len(fits.calls) == count
    for name, kept in first.items():
        xr.testing.assert_identical(again[name], kept)
    # other sites in a fold: that refit alone is made again
    made(spec, data, main, tmp_path, channels=CHANNELS[:2], folds=[FOLDS[0], ["S04"]])
    assert len(fits.calls) == count + 1
    # another main fit: every refit, since it decided where they start
    main.attrs["fit_key"] = "another"
    made(spec, data, main, tmp_path, channels=CHANNELS[:2], folds=[FOLDS[0], ["S04"]])
    assert len(fits.calls) == 2 * count + 1


def test_what_was_finished_is_kept(spec, data, fits, main, tmp_path, monkeypatch) -> None:
    def stopped(*args: Any, **options: Any) -> xr.DataTree:
        if len(fits.calls) == 2:
            raise KeyboardInterrupt
        return fits(*args, **options)

    monkeypatch.setattr(ledger_refits, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        made(spec, data, main, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    (damaged := next(tmp_path.glob("*untreated_only.nc"))).write_bytes(b"damage")
    monkeypatch.setattr(ledger_refits, "fit", fits)
    found = made(spec, data, main, tmp_path)
    # the damaged one is made again, the other is read
    assert len(fits.calls) == 2 + len(found) - 1
    assert damaged.stat().st_size > 100


def test_folds_have_every_treated_site_once_and_early_and_late_ones_each() -> None:
    main = fake_fit((12, 6, None, 8, 10), months=24)
    folds = borrowed_folds(main, 2)
    # in the order of go-live B, D, E, A, dealt in turn
    assert folds == [["B", "E"], ["D", "A"]]
    assert borrowed_folds(main, 9) == [["B"], ["D"], ["E"], ["A"]]


@pytest.mark.slow
def test_under_the_soft_cut_a_sites_effect_is_its_own(tmp_path) -> None:
    """Pooling takes sites' effects towards each other, this does not."""
    world = dataclasses.replace(WORLDS["effect"], site_effect_sd=0.0)
    folder = write_evaluation(simulate(5, world, 6), tmp_path / "data")
    few = {"sampling.chains": 2, "sampling.tune": 150, "sampling.draws": 300}
    spec = with_changes(load_spec(MODELS / "custody.toml"), few)
    data = read_evaluation(folder)
    main = fit(spec, data, cores=1, predictive=False)
    soft = next(r for r in ledger_refits.ledger_refits(CHANNELS, []) if r.name == SOFT)
    changed = with_changes(spec, dict(soft.changes))
    apart = fit(changed, data, cores=1, predictive=False)
    deviations = [
        (t["posterior"]["site_deviation"] * t["posterior"]["site_effect_sd"]).std(("chain", "draw"))
        for t in (main, apart)
    ]
    assert (deviations[1] > 2 * deviations[0]).all()
    assert float(apart["posterior"]["site_effect_sd"].mean()) == pytest.approx(1, abs=0.05)
    effects = [site_effects(t, withheld=False).std(("chain", "draw")) for t in (main, apart)]
    assert effects[1].mean() > effects[0].mean()
