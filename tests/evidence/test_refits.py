"""Refits: what each changes and keeps, when it is made again, which are made once for several."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from lndbayes.data.evaluation import EvaluationData
from lndbayes.estimands.effects import pooled_effect, site_effects
from lndbayes.estimands.predictors import predictors, untreated_level, untreated_predictor
from lndbayes.evidence import refits
from lndbayes.evidence.kept import BASELINES, Keep, effective, kept_draws
from lndbayes.evidence.refits import (
    BASE,
    Effort,
    Pilot,
    Refit,
    duplicate_refits,
    run_refits,
    untreated_cells,
    without_own_rows,
)
from lndbayes.spec.model_spec import ModelSpec, with_changes
from small import fake_fit

SHORT = {"sampling.chains": 2, "sampling.draws": 60}
WITHOUT = Refit("no_history", "without histories", {"baseline.channels.history": False})
BIASED = Refit(
    "biased",
    "biases let in",
    {"sensitivity.shared_bias_sd": 0.2, "sensitivity.drift_sd": 0.1},
    keep=Keep.BIASES,
)
FOLD = Refit("fold", "without own evidence", sites=("S01", "S03"), pilot=Pilot.ALONE)


def one(
    spec: ModelSpec,
    data: EvaluationData,
    main: xr.DataTree,
    folder: Path,
    refit: Refit = WITHOUT,
    fewest: float = 0,
) -> xr.Dataset:
    """One refit of one outcome."""
    found = run_refits([(spec, data, main)], [refit], folder, effort=Effort(SHORT, fewest))
    return found["custody"][refit.name]


def test_what_a_refit_changes_and_keeps(spec, data, fits, main, tmp_path) -> None:
    kept = one(spec, data, main, tmp_path)
    ((used, _, options),) = fits.calls
    assert used == with_changes(spec, {**SHORT, **WITHOUT.changes})
    assert options["cores"] == 1
    assert options["predictive"] is options["hide_treated"] is options["needs_pilot"] is False
    assert options["hidden"] is None
    np.testing.assert_array_equal(options["coordinates"].factor, np.eye(3)[:, :1])
    tree = fits.tree(1)
    np.testing.assert_array_equal(kept["pooled"], pooled_effect(tree, "link", (7, 18)))
    np.testing.assert_array_equal(kept["level"], untreated_level(tree))
    assert set(kept.data_vars) == {"pooled", "level", "pooled_ess", "level_ess"}
    assert kept.attrs["divergences"] == 3


@pytest.mark.parametrize(
    ("pilot", "coordinates", "needs_pilot"),
    [(Pilot.NONE, True, False), (Pilot.FROM_MAIN, True, True), (Pilot.ALONE, False, True)],
)
def test_where_coordinates_come_from(
    spec, data, fits, main, tmp_path, pilot, coordinates, needs_pilot
):
    one(spec, data, main, tmp_path, dataclasses.replace(WITHOUT, pilot=pilot))
    ((_, _, options),) = fits.calls
    assert (options["coordinates"] is not None, options["needs_pilot"]) == (
        coordinates,
        needs_pilot,
    )


@pytest.mark.parametrize(("fewest", "tries"), [(0, 1), (1e9, 2)])
def test_a_refit_with_few_effective_draws_is_tried_once_more(
    spec, data, fits, main, tmp_path, fewest, tries
) -> None:
    """With another seed, and the better of the two is kept."""
    kept = one(spec, data, main, tmp_path, fewest=fewest)
    seeds = [used.sampling.seed for used, *_ in fits.calls]
    assert seeds == [spec.sampling.seed + k for k in range(tries)]
    trees = [fits.tree(1 + k) for k in range(tries)]
    found = [float(effective(kept_draws(tree, (7, 18)))["pooled_ess"]) for tree in trees]
    assert float(kept["pooled_ess"]) == pytest.approx(max(found))
    best = pooled_effect(trees[int(np.argmax(found))], "link", (7, 18))
    np.testing.assert_array_equal(kept["pooled"], best)


def test_leverages_are_kept_where_biases_are(spec, data, fits, main, tmp_path) -> None:
    kept = one(spec, data, main, tmp_path, BIASED)
    tree = fits.tree(1)
    bias, drift = (tree["posterior"][k].to_numpy().ravel() for k in ("shared_bias", "drift"))
    terms = np.column_stack([bias, drift, np.ones(120)])
    sites = site_effects(tree, withheld=False).to_numpy().reshape(120, 2)
    (wanted_bias, wanted_drift, _), *_ = np.linalg.lstsq(terms, sites)
    assert list(kept["treated_site"].values) == ["A", "B"]
    np.testing.assert_allclose(kept["site_leverage_level_bias"], wanted_bias, rtol=1e-10)
    np.testing.assert_allclose(kept["site_leverage_drift"], wanted_drift, rtol=1e-10)
    # regression is linear: the pooled effect is the sites' mean, and so is its leverage
    assert float(kept["leverage_level_bias"]) == pytest.approx(wanted_bias.mean(), rel=1e-10)
    assert float(kept["leverage_drift"]) == pytest.approx(wanted_drift.mean(), rel=1e-10)


def test_baselines_are_kept_whole(spec, data, fits, main, tmp_path) -> None:
    refit = Refit("cut", "no treated month", hide_treated=True, keep=Keep.BASELINES)
    kept = one(spec, data, main, tmp_path, refit)
    ((_, _, options),) = fits.calls
    assert options["hide_treated"] is True
    assert kept.sizes["baseline"] == BASELINES
    # a baseline and its dispersion are of one draw
    tree = fits.tree(1)
    dispersion = tree["posterior"]["concentration"].to_numpy().ravel()
    draw = int(np.flatnonzero(dispersion == float(kept["concentration"][17]))[0])
    eta0 = untreated_predictor(tree).to_numpy().reshape(-1, 3, 48)
    np.testing.assert_array_equal(kept["eta0"][17], eta0[draw])


def test_own_evidence_is_hidden_and_no_one_elses(spec, data, fits, main, tmp_path) -> None:
    one(spec, data, main, tmp_path, FOLD)
    ((_, less, options),) = fits.calls
    ds = data.ds
    for site in ds["site"].to_numpy():
        mask = options["hidden"].sel(site=site).to_numpy()
        go_live = float(ds["go_live"].sel(site=site))
        wanted = np.arange(ds.sizes["month"]) < go_live
        np.testing.assert_array_equal(mask, wanted & (site in FOLD.sites))
    for name in ("retrospective", "history"):
        before, after = data.evidence[name], less.evidence[name]
        assert set(after["site"]) == set(before["site"]) - set(FOLD.sites)
        assert len(after) == (~before["site"].isin(FOLD.sites)).sum()
    for name in ("national", "elicited"):
        assert len(less.evidence[name]) == len(data.evidence[name])
    # another content has another hash, and the same sites the same one
    hashes = [without_own_rows(data, names).hash for names in (["S03", "S01"], FOLD.sites, ["S02"])]
    assert hashes[0] == hashes[1]
    assert len({*hashes, data.hash}) == 3


def test_a_site_without_go_live_is_untreated_throughout(data) -> None:
    ds = data.ds.copy(deep=True)
    ds["go_live"] = ds["go_live"].where(np.arange(4) != 1)
    never = dataclasses.replace(data, ds=ds)
    mask = untreated_cells(never, [str(ds["site"].to_numpy()[1])])
    assert mask.isel(site=1).all()
    assert not mask.isel(site=[0, 2, 3]).any()


def test_a_refit_is_read_if_nothing_it_depends_on_has_changed(
    spec, data, fits, main, tmp_path
) -> None:
    first = one(spec, data, main, tmp_path, BIASED)
    again = one(spec, data, main, tmp_path, BIASED)
    xr.testing.assert_identical(again, first)
    # thresholds of checks judge and do not change anything
    one(with_changes(spec, {"checks": {"rhat": 1.5}}), data, main, tmp_path, BIASED)
    assert len(fits.calls) == 1


@pytest.mark.parametrize("what", ["data", "prior", "seed", "window", "main", "refit", "pilot"])
def test_a_refit_is_made_again_if_something_has_changed(
    spec, data, fits, main, tmp_path, what
) -> None:
    before, refit = one(spec, data, main, tmp_path), WITHOUT
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
    if what == "refit":
        refit = dataclasses.replace(refit, changes={"baseline.channels.national": False})
    if what == "pilot":
        refit = dataclasses.replace(refit, pilot=Pilot.ALONE)
    after = one(spec, data, main, tmp_path, refit)
    assert len(fits.calls) == 2
    assert not np.array_equal(after["pooled"], before["pooled"])
    (file,) = tmp_path.iterdir()
    with xr.open_dataset(file, engine="netcdf4") as stored:
        np.testing.assert_array_equal(stored["pooled"], after["pooled"])


def test_other_sites_are_another_refit_though_no_row_is_theirs(
    spec, data, fits, main, tmp_path
) -> None:
    """Without records or histories only the hidden cells differ, which the data's hash ignores."""
    evidence = {name: table.iloc[:0] for name, table in data.evidence.items()}
    bare = dataclasses.replace(data, evidence=evidence)
    one(spec, bare, main, tmp_path, FOLD)
    one(spec, bare, main, tmp_path, dataclasses.replace(FOLD, sites=("S02",)))
    masks = [options["hidden"] for _, _, options in fits.calls]
    assert len(masks) == 2
    assert not masks[0].equals(masks[1])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_damaged_refit_is_made_again(spec, data, fits, main, tmp_path, share) -> None:
    one(spec, data, main, tmp_path)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    one(spec, data, main, tmp_path)
    assert len(fits.calls) == 2


def test_what_was_finished_is_kept(spec, data, fits, main, tmp_path, monkeypatch) -> None:
    def stopped(*args: Any, **options: Any) -> xr.DataTree:
        if len(fits.calls) == 1:
            raise KeyboardInterrupt
        return fits(*args, **options)

    several, folder = [WITHOUT, BIASED, FOLD], tmp_path / "run" / "refits"
    job, effort = [(spec, data, main)], Effort(SHORT)
    monkeypatch.setattr(refits, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_refits(job, several, folder, effort=effort)
    # the one with a pilot is the longest, and so the first
    assert [p.name for p in folder.iterdir()] == ["custody-fold.nc"]
    monkeypatch.setattr(refits, "fit", fits)
    said: list[str] = []
    found = run_refits(job, several, folder, effort=effort, say=said.append)["custody"]
    assert list(found) == ["no_history", "biased", "fold"]
    assert len(fits.calls) == 3
    assert [line.split(":")[0] for line in said] == [
        "finished refits reused",
        "refit 1 of 2 finished, custody",
        "refit 2 of 2 finished, custody",
    ]


def test_refits_that_the_data_make_the_same_are_made_once(spec, data, fits, main, tmp_path) -> None:
    evidence = {**data.evidence, "history": data.evidence["history"].iloc[:0]}
    less = dataclasses.replace(data, evidence=evidence)
    changes = {"baseline.channels.national": False}
    national = Refit("no_national", "without the national series", changes)
    both = Refit("neither", "without either", {**changes, **WITHOUT.changes})
    several = [WITHOUT, national, both, FOLD]
    assert duplicate_refits(spec, data, several) == {}
    assert duplicate_refits(spec, less, several) == {"no_history": BASE, "neither": "no_national"}
    effort = Effort(SHORT)
    found = run_refits([(spec, less, main)], several, tmp_path, effort=effort)["custody"]
    assert len(fits.calls) == 2
    np.testing.assert_array_equal(found["no_history"]["pooled"], pooled_effect(main, "link"))
    xr.testing.assert_equal(found["neither"], found["no_national"])
    told = {name: kept.attrs.get("same_as") for name, kept in found.items()}
    assert told == {
        "no_history": BASE,
        "no_national": None,
        "neither": "no_national",
        "fold": None,
    }
    # and they are read again like the others
    run_refits([(spec, less, main)], several, tmp_path, effort=effort)
    assert len(fits.calls) == 2


def test_a_copy_of_the_main_fit_keeps_what_the_refit_would(spec, data, fits, main, tmp_path):
    """A spec that lets biases in already: their draws are the main fit's."""
    biased = with_changes(spec, dict(BIASED.changes))
    kept = one(biased, data, main, tmp_path, BIASED)
    assert fits.calls == []
    assert kept.attrs["same_as"] == BASE
    assert {"shared_bias", "drift", "leverage_drift", "pooled_ess"} <= set(kept.data_vars)


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
