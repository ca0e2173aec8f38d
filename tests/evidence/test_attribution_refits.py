"""The ledger's refits: which there are, and what each changes."""

from __future__ import annotations

import dataclasses

import pytest
import xarray as xr

from lndbayes.app.attribution import borrowed_folds
from lndbayes.data.evaluation import read_evaluation
from lndbayes.estimands.effects import site_effects
from lndbayes.evidence.attribution.refits import (
    CUT,
    EFFORT,
    SOFT,
    attribution_refits,
    borrowed_name,
    present,
    subset_name,
)
from lndbayes.evidence.attribution.shares import subsets
from lndbayes.evidence.kept import Keep
from lndbayes.evidence.refits import Pilot, Refit, run_refits
from lndbayes.fitting.fit import fit
from lndbayes.spec.model_spec import CHANNELS, ModelSpec, load_spec, with_changes
from lndbayes.synthetic import WORLDS, simulate, write_evaluation
from small import MODELS, fake_fit

FOLDS = [["S01", "S03"], ["S02"]]


def changed(spec: ModelSpec, refit: Refit) -> ModelSpec:
    return with_changes(spec, {**EFFORT.settings, **refit.changes})


def test_every_subset_but_the_whole_is_a_refit(spec) -> None:
    found = {refit.name: refit for refit in attribution_refits(CHANNELS, FOLDS)}
    names = {subset_name(s) for s in subsets(CHANNELS)[:-1]}
    assert set(found) == names | {CUT, SOFT, borrowed_name(0), borrowed_name(1)}
    assert len(names) == 31
    assert subset_name(frozenset(CHANNELS)) not in found
    for name, refit in found.items():
        used = changed(spec, refit)
        on = {c for c in CHANNELS if getattr(used.baseline.channels, c)}
        if name in names:
            assert name == subset_name(frozenset(on))
            assert (refit.pilot is Pilot.ALONE) == ("not_yet_treated" not in on)
            assert refit.sites == ()
        else:
            assert on == set(CHANNELS)
            assert refit.pilot is Pilot.ALONE
        assert refit.hide_treated is (name == CUT)
        assert refit.keep is (Keep.BASELINES if name == CUT else None)
        spread = used.priors["site_effect_sd"]
        assert (spread != spec.priors["site_effect_sd"]) == (name == SOFT)
        assert used.sampling.seed == spec.sampling.seed
        assert (used.sampling.chains, used.sampling.draws) == (2, 400)
    assert [found[borrowed_name(k)].sites for k in range(2)] == [("S01", "S03"), ("S02",)]


def test_each_is_made(spec, data, fits, main, tmp_path) -> None:
    wanted = attribution_refits(CHANNELS[:1], FOLDS)
    found = run_refits([(spec, data, main)], wanted, tmp_path, effort=EFFORT)["custody"]
    assert list(found) == [CUT, SOFT, "only_nothing", borrowed_name(0), borrowed_name(1)]
    assert len(fits.calls) == len(found)
    assert {p.name for p in tmp_path.iterdir()} == {f"custody-{name}.nc" for name in found}
    # other sites in a fold: that refit alone is made again
    again = attribution_refits(CHANNELS[:1], [FOLDS[0], ["S04"]])
    run_refits([(spec, data, main)], again, tmp_path, effort=EFFORT)
    assert len(fits.calls) == len(found) + 1


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
    soft = next(r for r in attribution_refits(CHANNELS, []) if r.name == SOFT)
    alone = with_changes(spec, dict(soft.changes))
    apart = fit(alone, data, cores=1, predictive=False)
    deviations = [
        (t["posterior"]["site_deviation"] * t["posterior"]["site_effect_sd"]).std(("chain", "draw"))
        for t in (main, apart)
    ]
    assert (deviations[1] > 2 * deviations[0]).all()
    assert float(apart["posterior"]["site_effect_sd"].mean()) == pytest.approx(1, abs=0.05)
    effects = [site_effects(t, withheld=False).std(("chain", "draw")) for t in (main, apart)]
    assert effects[1].mean() > effects[0].mean()
