"""The main job on a small evaluation: files, reuse, interruption, marks, and repricing."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import lndbayes.app.evaluate
import lndbayes.evidence.refits
from lndbayes.app.cli import main
from lndbayes.fitting.fit import load_fit
from lndbayes.money.savings import total_saving
from small import complete

ROOT = Path(__file__).parents[2]
FILES = (
    "effects.csv",
    "baseline.csv",
    "ledger.csv",
    "savings.csv",
    "savings.nc",
    "checks.csv",
    "priors.csv",
    "sensitivity.csv",
    "report.html",
    "manifest.json",
    "fits/custody.nc",
)


def spec_with(models: Path, **settings: float) -> None:
    """Change numbers of the copied custody spec."""
    path = models / "custody.toml"
    lines = path.read_text(encoding="utf-8").splitlines()
    for key, value in settings.items():
        (at,) = [i for i, line in enumerate(lines) if line.startswith(f"{key} = ")]
        lines[at] = f"{key} = {value}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(base: Path, *extra: str) -> int:
    """Evaluate the small data into ``base/run``."""
    arguments = ["evaluate", str(base / "data"), "--models", str(base / "models")]
    return main([*arguments, "--out", str(base / "run"), "--quiet", *extra])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six sites, short chains, evaluated once."""
    folder = tmp_path_factory.mktemp("small")
    assert main(["simulate", str(folder / "data"), "--seed", "3", "--sites", "6", "--quiet"]) == 0
    # the first site, treated from its first observed month, loses its records: tier D
    records = folder / "data" / "evidence" / "retrospective.csv"
    lines = records.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if ",S01," not in line]
    assert len(kept) < len(lines)
    records.write_text("\n".join(kept) + "\n", encoding="utf-8")
    # custody alone: several outcomes have tests of their own
    (folder / "models").mkdir()
    (folder / "models" / "custody.toml").write_text(complete("custody"), encoding="utf-8")
    shutil.copy(ROOT / "models" / "costs.toml", folder / "models")
    spec_with(folder / "models", draws=250, tune=300, chains=4)
    assert run(folder) in (0, 1)
    return folder


def test_every_file_is_there_and_hashed(base: Path) -> None:
    out = base / "run"
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    for name in FILES:
        assert (out / name).is_file()
        if name != "manifest.json":
            digest = hashlib.sha256((out / name).read_bytes()).hexdigest()
            assert manifest["outputs"][name] == digest
    source = (base / "data" / "outcomes.csv").read_bytes()
    assert manifest["inputs"]["outcomes.csv"] == hashlib.sha256(source).hexdigest()
    assert not [p for p in out.rglob("*") if p.name.endswith(".part")]
    steps = {s["step"] for s in manifest["steps"]}
    assert {"fits", "sensitivity", "report"} <= steps
    assert all(s["wall_seconds"] >= 0 for s in manifest["steps"])


def test_tables_agree_with_the_stored_draws(base: Path) -> None:
    out = base / "run"
    effects = pd.read_csv(out / "effects.csv", keep_default_na=False, na_values=[""])
    row = effects[(effects["estimand"] == "pooled") & (effects["scale"] == "link")].iloc[0]
    tree = load_fit(out / "fits" / "custody.nc")
    posterior = tree["posterior"]
    # window mean of the ramp, months 7 to 18, times the mean over sites
    months = posterior["ramp_months"].to_numpy()[..., None]
    ramp = (1 - np.exp(-(np.arange(7, 19) + 0.5) / months)).mean(axis=-1)
    draws = ramp * posterior["site_effect"].to_numpy().mean(axis=-1)
    assert row["mean"] == pytest.approx(draws.mean(), rel=1e-9)
    assert row["lower"] == pytest.approx(np.quantile(draws, 0.05), rel=1e-9)
    assert row["p_below_zero"] == pytest.approx((draws < 0).mean())
    table = pd.read_csv(out / "savings.csv")
    total = table[
        (table["level"] == "total")
        & (table["outcome"] == "all")
        & (table["line"] == "all")
        & (table["payer"] == "all")
        & (table["scenario"] == "direct")
    ].iloc[0]
    with xr.open_dataset(out / "savings.nc", engine="netcdf4") as money:
        net = total_saving(money.load()).sel(scenario="direct")
    assert total["mean"] == pytest.approx(float(net.mean()), rel=1e-9)


def test_no_interval_without_own_evidence(base: Path) -> None:
    effects = pd.read_csv(base / "run" / "effects.csv")
    sites = effects[effects["site"].notna()]
    assert set(sites["identified"]) <= set("ABCD")
    numbers = ["mean", "sd", "lower", "median", "upper", "mcse", "p_below_zero"]
    weak = sites["identified"] == "D"
    assert weak.any(), "the small world needs a site without own evidence"
    assert sites.loc[weak, numbers].isna().all().all()
    assert sites.loc[~weak & (sites["scale"] == "link"), numbers].notna().all().all()


def test_a_second_run_reuses_every_fit(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(lndbayes.app.evaluate, "fit_prepared", refuse)
    monkeypatch.setattr(lndbayes.evidence.refits, "fit", refuse)
    before = (base / "run" / "effects.csv").read_bytes()
    assert run(base) in (0, 1)
    assert (base / "run" / "effects.csv").read_bytes() == before
    for command in ("report", "check"):
        assert main([command, str(base / "run"), "--quiet"]) in (0, 1)
        assert (base / "run" / "effects.csv").read_bytes() == before


def test_dearer_places_save_more(base: Path, tmp_path: Path) -> None:
    text = (base / "models" / "costs.toml").read_text(encoding="utf-8")
    assert "24664" in text or "24_664" in text
    dear = tmp_path / "dear.toml"
    dear.write_text(text.replace("24664", "49328").replace("24_664", "49_328"), encoding="utf-8")
    copy = tmp_path / "run"
    shutil.copytree(base / "run", copy)

    def prison() -> xr.DataArray:
        with xr.open_dataset(copy / "savings.nc", engine="netcdf4") as ds:
            saving = ds["saving"].load().sel(scenario="direct")
        return saving.sum(["outcome", "payer"])

    before = prison()
    assert main(["savings", str(copy), "--costs", str(dear), "--quiet"]) in (0, 1)
    after = prison()
    lines = [str(x) for x in before["line"].to_numpy()]
    doubled = [np.allclose(after.sel(line=x), 2 * before.sel(line=x), rtol=1e-12) for x in lines]
    same = [np.allclose(after.sel(line=x), before.sel(line=x), rtol=1e-12) for x in lines]
    assert sum(doubled) == 1
    assert sum(same) == len(lines) - 1


def test_a_failed_check_marks_every_export(base: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(base, work)
    path = work / "models" / "custody.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "ess_min = 1000000\n", encoding="utf-8")
    # a threshold judges a fit and does not change it: nothing is fitted again
    stamp = (work / "run" / "fits" / "custody.nc").stat().st_mtime_ns
    assert run(work) == 1
    assert (work / "run" / "fits" / "custody.nc").stat().st_mtime_ns == stamp
    for name in ("effects", "baseline", "ledger", "savings", "sensitivity"):
        table = pd.read_csv(work / "run" / f"{name}.csv")
        assert set(table["check_status"]) == {"FAIL"}
    assert "NOT FOR USE" in (work / "run" / "report.html").read_text(encoding="utf-8")


def test_interruption_keeps_the_finished_fit(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    shutil.copytree(base / "data", work / "data")
    shutil.copytree(base / "models", work / "models")
    real = lndbayes.evidence.refits.make_refit
    calls = []

    def stop(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(lndbayes.evidence.refits, "make_refit", stop)
    # in this process, where the fit can be stopped
    assert run(work, "--jobs", "1") == 130
    assert "finished fits are kept" in capsys.readouterr().err
    kept = work / "run" / "fits" / "custody.nc"
    assert kept.is_file()
    assert not (work / "run" / "effects.csv").exists()
    first = load_fit(kept)
    # the same seed and inputs gave the same draws as the run that was not interrupted
    whole = load_fit(base / "run" / "fits" / "custody.nc")
    xr.testing.assert_equal(first["posterior"].to_dataset(), whole["posterior"].to_dataset())
    monkeypatch.setattr(lndbayes.evidence.refits, "make_refit", real)
    stamp = kept.stat().st_mtime_ns
    assert run(work) in (0, 1)
    assert kept.stat().st_mtime_ns == stamp
    assert (work / "run" / "report.html").is_file()


def test_changed_data_are_fitted_again(base: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(base, work)
    path = work / "data" / "outcomes.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    header = lines[0].split(",")
    at = header.index("count")
    cells = lines[1].split(",")
    cells[at] = str(int(cells[at]) + 1)
    lines[1] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    fits = ["fit", str(work / "models" / "custody.toml"), "--data", str(work / "data")]
    before = load_fit(work / "run" / "fits" / "custody.nc").attrs["fit_key"]
    assert main([*fits, "--out", str(work / "run"), "--quiet"]) in (0, 1)
    assert load_fit(work / "run" / "fits" / "custody.nc").attrs["fit_key"] != before


def test_what_rests_on_assumption_only_says_so_in_every_export(base: Path) -> None:
    read = {
        name: pd.read_csv(base / "run" / f"{name}.csv", keep_default_na=False)
        for name in ("effects", "baseline", "overview", "savings", "ledger")
    }
    sites = read["ledger"].drop_duplicates("site").set_index("site")
    weak = set(sites.index[(sites["tier"] == "D") | (sites["prior_share"].astype(float) > 0.5)])
    assert weak, "the small world needs a site without own evidence"
    assert weak < set(sites.index)
    for name in ("effects", "baseline", "savings"):
        rows = read[name][read[name]["site"] != ""]
        marked = rows["rests_on_assumption"] != ""
        assert (marked == rows["site"].isin(weak)).all(), name
    (pooled,) = read["overview"]["rests_on_assumption"]
    ratio = float(read["overview"]["sd_over_prior_sd"].iloc[0])
    assert (pooled != "") == (ratio > 0.9)
    for name in ("before_after", "tipping"):
        told = pd.read_csv(base / "run" / f"{name}.csv", keep_default_na=False)
        assert set(told["rests_on_assumption"]) == {pooled}
    refits = pd.read_csv(base / "run" / "sensitivity.csv", keep_default_na=False)
    weak = refits["sd_ratio"].astype(float) > 0.9
    assert weak.any()
    assert not weak.all()
    assert ((refits["rests_on_assumption"] != "") == weak).all()
    one = read["effects"]["estimand"] == "pooled"
    assert set(read["effects"].loc[one, "rests_on_assumption"]) == {pooled}
