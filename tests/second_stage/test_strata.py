"""Effects by stratum: what is split, what a fit is taken to say, what is found, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from lndbayes.app import strata as runs
from lndbayes.app.cli import main
from lndbayes.base.errors import DataError, SpecError
from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.data.strata import by_stratum
from lndbayes.estimands.effects import pooled_effect
from lndbayes.evidence.assumption import ASSUMPTION
from lndbayes.files.writing import read_dataset
from lndbayes.fitting import parallel as many
from lndbayes.fitting.fit import load_fit
from lndbayes.second_stage.strata.effects import (
    DIFFERENCE,
    STRATA_COLUMNS,
    strata_effects,
    strata_table,
    stratum_likelihood,
)
from lndbayes.spec.model_spec import ModelSpec, load_spec, with_changes
from lndbayes.synthetic import World, simulate, write_evaluation
from lndbayes.synthetic.generate import SimulatedEvaluation
from small import MODELS, complete, fake_fit, set_keys

SITES = 6
#: True plateaus at the mean mix, by number of needs.
TRUTH = {"none": 0.2, "one": -0.4, "several": -1.0}
SHARES = (0.3, 0.3, 0.4)


def stratified(seed: int = 5) -> SimulatedEvaluation:
    """Custody in three strata whose effects differ, each an exchangeable part of the persons.

    Worlds of one seed differ in the effect alone. Exposure is dealt to the strata; of the persons
    of each world, a stratum has a random part of so many, and so a hypergeometric part of each
    band: beta-binomial again, with the same rates and dispersion.
    """
    rng = np.random.default_rng(seed)
    worlds = {
        name: simulate(seed, World(effect_mean=mean), SITES, outcomes=("custody",))
        for name, mean in TRUTH.items()
    }
    base = worlds["none"]
    cell = ["site", "month"]
    frames = []
    exposure = base.frames["outcomes.csv"].groupby(cell)["exposure"].first().astype(int)
    dealt = rng.multinomial(exposure.to_numpy(), SHARES)
    for k, (name, world) in enumerate(worlds.items()):
        rows = world.frames["outcomes.csv"]
        counts = rows.pivot(index=cell, columns="category", values="count").astype(int)
        assert counts.index.equals(exposure.index)
        colours = np.column_stack([counts, exposure.to_numpy() - counts.sum(axis=1)])
        part = np.array(
            [
                rng.multivariate_hypergeometric(c, n)
                for c, n in zip(colours, dealt[:, k], strict=True)
            ]
        )
        own = counts.copy()
        own.loc[:, :] = part[:, :-1]
        long = own.stack().rename("count").reset_index()
        size = pd.Series(dealt[:, k], index=exposure.index, name="exposure").reset_index()
        long = long.merge(size, on=cell)
        frames.append(long.assign(outcome="custody", source="pnc", status="observed", stratum=name))
    frame = pd.concat(frames, ignore_index=True)
    others = {n: f for n, f in base.frames.items() if n != "outcomes.csv"}
    return SimulatedEvaluation({**others, "outcomes.csv": frame}, base.evaluation, base.truth)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("strata")
    write_evaluation(stratified(), root / "data")
    (root / "custody.toml").write_text(complete("custody"), encoding="utf-8")
    set_keys(root / "custody.toml", chains=2, draws=300, tune=150)
    return root


@pytest.fixture(scope="module")
def data(folder: Path) -> EvaluationData:
    return read_evaluation(folder / "data")


@pytest.fixture(scope="module")
def spec(folder: Path) -> ModelSpec:
    return load_spec(folder / "custody.toml")


# --- splitting ------------------------------------------------------------------------------------


def test_strata_put_together_again_are_the_whole(data) -> None:
    parts = by_stratum(data, "custody")
    assert list(parts) == ["none", "one", "several"]
    whole = data.ds.sel(outcome=["custody"])
    for name in ("exposure", "count"):
        total = sum(part.ds[name] for part in parts.values())
        np.testing.assert_array_equal(total, whole[name])
        assert np.isfinite(whole[name]).any()
    key = ["outcome", "site", "month", "stratum", "category"]
    rows = pd.concat([part.outcomes for part in parts.values()])
    rows = rows.sort_values(key, ignore_index=True)
    pd.testing.assert_frame_equal(rows, data.outcomes)
    for part in parts.values():
        for name in ("mix", "referrals", "go_live", "wave", "label"):
            xr.testing.assert_identical(part.ds[name], data.ds[name])
        assert (part.ds["status"] == whole["status"]).all()
        assert part.ds["exposure"].attrs == whole["exposure"].attrs


def test_a_part_is_frozen_and_has_panel_evidence_alone(data) -> None:
    assert sum(map(len, data.evidence.values())) > 0
    part = by_stratum(data, "custody")["one"]
    assert sum(map(len, part.evidence.values())) == 0
    assert part.evidence.keys() == data.evidence.keys()
    assert "left out" in part.notes["evidence beside the panel"]
    with pytest.raises(ValueError, match="read-only"):
        part.ds["count"].to_numpy()[0, 0, 0] = 1
    with pytest.raises(AttributeError):
        part.name = "x"
    before = part.outcomes["count"].sum()
    mine = part.outcomes
    mine.loc[0, "count"] = 99
    assert part.outcomes["count"].sum() == before


def changed(folder: Path, root: Path, edit) -> EvaluationData:
    """Read the data again with `edit` done to its outcomes."""
    shutil.copytree(folder / "data", root)
    path = root / "outcomes.csv"
    edit(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)
    return read_evaluation(root)


def test_a_hash_depends_on_the_stratum_and_on_nothing_else(data, folder, tmp_path) -> None:
    hashes = {k: part.hash for k, part in by_stratum(data, "custody").items()}
    assert len({*hashes.values(), data.hash}) == 4
    turned = changed(folder, tmp_path / "turned", lambda f: f.sample(frac=1, random_state=1))
    assert {k: part.hash for k, part in by_stratum(turned, "custody").items()} == hashes

    def more(frame: pd.DataFrame) -> pd.DataFrame:
        at = frame.index[(frame["stratum"] == "one") & (frame["count"] == "0")][0]
        frame.loc[at, "count"] = "1"
        return frame

    other = {
        k: part.hash
        for k, part in by_stratum(changed(folder, tmp_path / "more", more), "custody").items()
    }
    assert {k for k in hashes if hashes[k] != other[k]} == {"one"}


def test_a_stratum_missing_from_a_cell_spoils_the_whole_and_not_the_other_strata(
    folder, tmp_path
) -> None:
    def without(frame: pd.DataFrame) -> pd.DataFrame:
        gone = (frame["stratum"] == "one") & (frame["site"] == "S02") & (frame["month"] > "2017")
        assert gone.any()
        return frame[~gone]

    less = changed(folder, tmp_path / "less", without)
    parts = by_stratum(less, "custody")
    cell = {"outcome": "custody", "site": "S02", "month": "2017-06"}
    assert np.isnan(less.ds["exposure"].sel(cell))
    assert np.isfinite(parts["none"].ds["exposure"].sel(cell))
    assert np.isnan(parts["one"].ds["exposure"].sel(cell))
    assert parts["one"].ds["status"].sel(cell) == -1


# --- what a fit says of its stratum ---------------------------------------------------------------


def exact_fit(
    mean: float, noise: float = 0.3, seed: int = 1, draws: int = 4000
) -> tuple[xr.DataTree, float]:
    """A fit whose posterior is exact: equally precise normal estimates at eight sites, spread 0.2.

    The sites' mean is then normal about the true mean of their effects with sd noise / sqrt(8),
    whatever the spread: that is the likelihood. Returned with its estimate.
    """
    rng = np.random.default_rng(seed)
    starts = (14, 2, 16, 1, 18, 3, 14, 0, None)
    fit = fake_fit(starts, months=40, chains=2, draws=draws, seed=seed)
    estimate = mean + 0.2 * rng.normal(size=8) + noise * rng.normal(size=8)
    spread, prior_sd = 0.2, 0.5
    # mean of the mean, and of each site given it
    precision = 1 / prior_sd**2 + 8 / (noise**2 + spread**2)
    middle = 8 * estimate.mean() / (noise**2 + spread**2) / precision
    centre = middle + rng.normal(size=(2, draws)) / np.sqrt(precision)
    kept = spread**2 / (spread**2 + noise**2)
    effect = (1 - kept) * centre[..., None] + kept * estimate
    effect = effect + np.sqrt(kept) * noise * rng.normal(size=effect.shape)
    ninth = centre[..., None] + spread * rng.normal(size=(2, draws, 1))
    posterior = (
        fit["posterior"]
        .to_dataset()
        .assign(
            effect_mean=(("chain", "draw"), centre),
            site_effect=(("chain", "draw", "site"), np.concatenate([effect, ninth], axis=-1)),
            # over before the window: the window's mean is the effect itself
            ramp_months=(("chain", "draw"), np.full((2, draws), 0.01)),
        )
    )
    prior = fit["prior"].to_dataset()
    shape = tuple(prior.sizes[d] for d in ("chain", "draw"))
    drawn = prior_sd * rng.normal(size=shape)
    prior = prior.assign(
        effect_mean=(("chain", "draw"), drawn),
        site_effect=(("chain", "draw", "site"), drawn[..., None] + rng.normal(0, 0.2, (*shape, 9))),
        ramp_months=(("chain", "draw"), np.full(shape, 0.01)),
    )
    groups = {"/posterior": posterior, "/prior": prior}
    groups["/constant_data"] = fit["constant_data"].to_dataset()
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = dict(fit.attrs)
    return tree, float(estimate.mean())


def test_the_likelihood_is_the_one_the_fit_was_made_with() -> None:
    fit, estimate = exact_fit(-0.4)
    found = stratum_likelihood(fit, (0.0, 0.5), (7, 18))
    sd = 0.3 / np.sqrt(8)
    # 8000 independent draws: information to 1.6%, three of its standard errors
    assert found.information[0, 0] == pytest.approx(1 / sd**2, rel=0.05)
    assert found.vector[0] / found.information[0, 0] == pytest.approx(estimate, abs=0.06 * sd)
    # not the posterior taken as data
    posterior = pooled_effect(fit)
    assert float(posterior.std()) < 0.99 * sd


def test_a_pulse_moves_the_estimate_and_leaves_the_information() -> None:
    fit, _ = exact_fit(-0.4)
    plain = stratum_likelihood(fit, (0.0, 0.5), (7, 18))
    posterior = fit["posterior"].to_dataset()
    passing = posterior.assign(
        pulse=xr.full_like(posterior["effect_mean"], 3.0),
        pulse_months=xr.full_like(posterior["effect_mean"], 4.0),
    )
    groups = {"/posterior": passing, "/constant_data": fit["constant_data"].to_dataset()}
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = dict(fit.attrs)
    shift = float((pooled_effect(tree) - pooled_effect(fit)).mean())
    assert shift > 0.1
    found = stratum_likelihood(tree, (0.0, 0.5), (7, 18))
    assert found.information[0, 0] == pytest.approx(plain.information[0, 0], rel=1e-6)
    moved = found.vector[0] / found.information[0, 0]
    assert moved - plain.vector[0] / plain.information[0, 0] == pytest.approx(shift, rel=1e-6)


def test_the_table_is_made_of_sums_within_draws(spec) -> None:
    fits = {k: exact_fit(m, seed=i)[0] for i, (k, m) in enumerate(TRUTH.items(), 1)}
    referrals = {"none": 1.0, "one": 1.0, "several": 2.0}
    ds = strata_effects(fits, spec, referrals=referrals, seed=3)
    table = strata_table(ds, fits, {"unknown": "no treated cell"}).set_index("stratum")
    assert [*table.reset_index().columns] == [
        "stratum", *(c for c in STRATA_COLUMNS if c != "stratum"),
    ]  # fmt: skip
    assert list(table.index) == [
        "none", "one", "several", "unknown", "all", "all by referrals", "several - none",
    ]  # fmt: skip
    effect = ds["effect"].to_numpy()
    total = effect @ np.array([0.25, 0.25, 0.5])
    assert table.loc["all by referrals", "mean"] == pytest.approx(total.mean())
    assert table.loc["all by referrals", "lower"] == pytest.approx(np.quantile(total, 0.05))
    gap = effect[..., 2] - effect[..., 0]
    assert table.loc["several - none", "sd"] == pytest.approx(gap.std(ddof=1))
    assert table.loc["several - none", "p_below_zero"] == pytest.approx((gap < 0).mean())
    assert table.loc["all", "mean"] == pytest.approx((effect @ ds["weight"].to_numpy()).mean())
    exposure = [
        float(f["constant_data"]["exposure_all"].where(f["constant_data"]["event_time"] >= 0).sum())
        for f in fits.values()
    ]
    np.testing.assert_allclose(table["weight"].iloc[:3], np.array(exposure) / sum(exposure))
    own = pooled_effect(fits["one"])
    assert table.loc["one", "separate_mean"] == pytest.approx(float(own.mean()))
    # pooling draws the strata together and makes none less certain than alone
    means = table["mean"].iloc[:3]
    assert np.ptp(means) < np.ptp(ds["estimate"].to_numpy())
    absent = table.loc["unknown"]
    assert absent["note"] == "no treated cell"
    assert np.isnan(absent["mean"]) and np.isnan(absent["weight"])
    assert "without unknown: no treated cell" in table.loc["all", "note"]
    some = {k: fits[k] for k in ("none", "one")}
    two = strata_table(strata_effects(some, spec, seed=3), some, {}).set_index("stratum")
    assert list(two.index) == ["none", "one", "all", "several - none"]
    assert np.isnan(two.loc["several - none", "mean"])
    assert "needs an effect of the stratum several" in two.loc["several - none", "note"]


def test_strata_alike_in_data_are_alike_in_answer_and_share_strength(spec) -> None:
    fits = {k: exact_fit(-0.4, seed=7)[0] for k in TRUTH}
    ds = strata_effects(fits, spec, seed=3)
    means = ds["effect"].mean(("chain", "draw")).to_numpy()
    np.testing.assert_allclose(means, means[0], atol=0.01)
    assert (ds["effect"].std(("chain", "draw")) < 0.95 * ds["error"]).all()


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    out = folder / "run"
    arguments = ["strata", str(folder / "custody.toml"), "--data", str(folder / "data")]
    # so few draws do not satisfy the battery: 0 or 1, and the files are written all the same
    assert main([*arguments, "--out", str(out), "--quiet"]) in (0, 1)
    return out


@pytest.mark.slow
def test_the_order_of_the_strata_is_recovered(run) -> None:
    table = pd.read_csv(run / "strata.csv").set_index("stratum")
    assert list(table.index) == ["none", "one", "several", "all", "several - none"]
    means = table["mean"]
    assert means["none"] > means["one"] > means["several"]
    # months 7 to 18 have about 0.95 of the plateau; six sites' own deviations and mix move each
    # world alike, by 0.1 or so, beside sds of about 0.15
    for name, plateau in TRUTH.items():
        assert abs(means[name] - 0.95 * plateau) < 4 * table.loc[name, "sd"] + 0.1
    assert table.loc["several - none", "p_below_zero"] > 0.95
    assert means["several"] < means["all"] < means["none"]
    assert table["weight"].iloc[:3].sum() == pytest.approx(1)
    np.testing.assert_allclose(table["weight"].iloc[:3], SHARES, atol=0.03)
    assert (table["ci_prob"] == 0.9).all()
    # the two sites of the first wave have no untreated month of their own
    assert table.loc["one", "tiers"].endswith("D 2")
    assert (table["check_status"].isin(["PASS", "REVIEW", "FAIL"])).all()


def test_a_stratum_that_its_prior_holds_up_is_labelled_and_so_is_the_difference() -> None:
    rows = {"none": 0.1, "one": 0.95, "several": 0.97, "absent": np.nan, DIFFERENCE: 0.2}
    table = pd.DataFrame({"stratum": list(rows), "sd": [0.5 * x for x in rows.values()]})
    why = runs._labelled(table, 0.5).set_index("stratum")[ASSUMPTION]
    assert why["none"] == ""
    assert why["absent"] == ""
    assert why["one"] == "the posterior sd is 95% of the prior's"
    assert why[DIFFERENCE] == "several: the posterior sd is 97% of the prior's"


@pytest.mark.slow
def test_what_is_stored_is_what_is_tabled(run) -> None:
    ds, table = read_dataset(run / "strata.nc"), pd.read_csv(run / "strata.csv")
    assert ds["effect"].dims == ("chain", "draw", "stratum")
    np.testing.assert_allclose(
        ds["effect"].mean(("chain", "draw")), table["mean"].iloc[:3], rtol=1e-6
    )
    assert ds.attrs["evidence"] == "panel alone"
    checks = pd.read_csv(run / "strata_checks.csv")
    assert set(checks["stratum"]) == set(TRUTH)
    seeds = {load_fit(p).attrs["seed"] for p in (run / "strata").glob("*.nc")}
    assert len(seeds) == 3


@pytest.mark.slow
def test_finished_strata_are_not_fitted_again(run, folder, data, spec, monkeypatch) -> None:
    monkeypatch.setattr(many, "fit", None)
    first = (run / "strata.csv").read_bytes()
    runs.strata_run(spec, data, run, say=lambda _: None)
    assert (run / "strata.csv").read_bytes() == first
    fit = load_fit(run / "strata" / "custody-none.nc")
    assert fit.attrs["spec_text"] == runs._panel_spec(spec).canonical()
    assert fit.attrs["data_hash"] == by_stratum(data, "custody")["none"].hash


def test_a_stratum_with_too_little_is_told(data, spec, folder, tmp_path) -> None:
    def late(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[(frame["stratum"] != "several") | (frame["month"] >= "2018-01")]

    parts = by_stratum(changed(folder, tmp_path / "late", late), "custody")
    told = {k: runs._too_little(runs._panel_spec(spec), part) for k, part in parts.items()}
    assert told["none"] == told["one"] == ""
    assert "no untreated cell with data (exposure " in told["several"]


# --- what is refused ------------------------------------------------------------------------------


def refused(capsys, arguments: list[str], out: Path, *texts: str) -> None:
    assert main(["strata", *arguments, "--out", str(out)]) == 2
    printed = capsys.readouterr()
    for text in texts:
        assert text in printed.err
    assert "Traceback" not in printed.err
    assert not out.exists()


def test_an_evaluation_without_strata_is_refused(folder, tmp_path, capsys) -> None:
    write_evaluation(simulate(5, "effect", SITES, outcomes=("custody",)), tmp_path / "plain")
    arguments = [str(folder / "custody.toml"), "--data", str(tmp_path / "plain")]
    told = "outcomes.csv, column stratum: outcome custody is not stratified"
    refused(capsys, arguments, tmp_path / "run", told, "lndbayes assemble --strata")


def test_an_outcome_that_is_not_there_is_refused(folder, tmp_path, capsys) -> None:
    arguments = [str(MODELS / "offending.toml"), "--data", str(folder / "data")]
    told = "column outcome, value 'offending': has no rows of this outcome"
    refused(capsys, arguments, tmp_path / "run", told)


def test_a_month_that_is_not_split_is_refused(folder, tmp_path) -> None:
    def some(frame: pd.DataFrame) -> pd.DataFrame:
        cell = (frame["site"] == "S02") & (frame["month"] == "2017-06")
        frame.loc[cell & (frame["stratum"] == "one"), "stratum"] = ""
        return frame[~cell | (frame["stratum"] == "")]

    mixed = changed(folder, tmp_path / "mixed", some)
    with pytest.raises(DataError, match="must not be empty where other months") as caught:
        by_stratum(mixed, "custody")
    assert len(caught.value.problems) == 4


def test_one_stratum_is_refused(folder, tmp_path, capsys) -> None:
    changed(folder, tmp_path / "one", lambda f: f[f["stratum"] == "one"])
    arguments = [str(folder / "custody.toml"), "--data", str(tmp_path / "one")]
    refused(capsys, arguments, tmp_path / "run", "fewer than two strata can carry an effect")


def test_referrals_must_be_of_the_strata(folder, tmp_path, capsys) -> None:
    arguments = [str(folder / "custody.toml"), "--data", str(folder / "data"), "--referrals"]
    told = "must give a number for exactly these strata: none, one, several"
    refused(capsys, [*arguments, "none=1,one=2"], tmp_path / "run", told)
    for text in ("none", "none=x", "none=0,one=1", "none=nan", "=1", "none=1,none=2"):
        refused(capsys, [*arguments, text], tmp_path / "run", "must be numbers above 0 by name")


def test_a_label_that_is_a_row_of_the_results_is_refused(folder, tmp_path, capsys) -> None:
    changed(
        folder, tmp_path / "all", lambda f: f.assign(stratum=f["stratum"].replace("one", "all"))
    )
    arguments = [str(folder / "custody.toml"), "--data", str(tmp_path / "all")]
    refused(capsys, arguments, tmp_path / "run", "value 'all': is the name of a row of the results")


def test_specs_without_an_effect_to_report_or_to_take_out_are_refused(data, spec) -> None:
    selected = with_changes(
        spec, {"outcome.selected": True, "outcome.exposure_outcome": "referrals"}
    )
    with pytest.raises(SpecError, match="no effect is reported"):
        runs.strata_run(selected, data, "nowhere", say=print)
    other = {"dist": "StudentT", "nu": 3.0, "mu": 0.0, "sigma": 0.5}
    with pytest.raises(SpecError, match="must be Normal"):
        runs.strata_run(with_changes(spec, {"priors.effect_mean": other}), data, "no", say=print)


def test_what_is_no_run_directory_is_left_alone(folder, tmp_path, capsys) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    arguments = [str(folder / "custody.toml"), "--data", str(folder / "data"), "--out"]
    assert main(["strata", *arguments, str(tmp_path)]) == 2
    assert "not empty and not a run directory" in capsys.readouterr().err
    assert main(["strata", *arguments, str(tmp_path / "notes.txt")]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
