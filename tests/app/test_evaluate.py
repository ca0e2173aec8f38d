"""A run directory over its life: the manifest, new thresholds, new costs, interruption, damage.

Numbers of the exports against the draws, and the reuse of fits: `test_run.py`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import lndbayes.app.evaluate
import lndbayes.app.exports
import lndbayes.checks.fit_checks
import lndbayes.evidence.refits
import lndbayes.evidence.sensitivity
from lndbayes.app.cli import main
from lndbayes.checks.result import CheckResult
from lndbayes.data.evaluation import read_evaluation
from lndbayes.evidence.sensitivity import VARIANTS
from lndbayes.files.provenance import record_product
from lndbayes.files.storage import SEAL, read_netcdf, write_netcdf
from lndbayes.fitting.fit import load_fit
from lndbayes.fitting.parallel import Task
from lndbayes.fitting.prepared import prepare_outcome
from lndbayes.spec.model_spec import load_spec, with_changes
from small import MODELS, set_checks, write_small

pytestmark = pytest.mark.slow

#: A range of rates that every prior meets, and one that none does: verdicts without any luck.
LAX = {"prior_rate_low": 0.0, "prior_rate_high": 1.0}
STRICT = {"prior_rate_low": 0.9, "prior_rate_high": 0.95}
#: Checks of the sampler: chains as short as those here cannot meet them (see `tests/checks`).
OF_THE_SAMPLER = ("rhat", "ess", "mcse", "divergences", "tree_depth", "energy")
TABLES = ("effects", "baseline", "ledger", "savings", "sensitivity", "priors")


def command(root: Path) -> list[str]:
    arguments = ["evaluate", str(root / "data"), "--models", str(root / "models")]
    return [*arguments, "--out", str(root / "run"), "--jobs", "1"]


@pytest.fixture(scope="module", autouse=True)
def short_refits() -> Iterator[None]:
    """Refits of a length that serves to see where they go, not what they say."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in (("tune", 50), ("draws", 50), ("chains", 1)):
            patch.setitem(lndbayes.evidence.sensitivity._SHORT, f"sampling.{key}", value)
        yield


@pytest.fixture(scope="module", autouse=True)
def lasting_checks() -> Iterator[None]:
    """All checks but those of the sampler."""
    real = lndbayes.checks.fit_checks.run_checks

    def run_checks(*args: Any, **options: Any) -> list[CheckResult]:
        return [r for r in real(*args, **options) if not r.check.startswith(OF_THE_SAMPLER)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lndbayes.checks.fit_checks, "run_checks", run_checks)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, models and a finished run, for reading only."""
    root = tmp_path_factory.mktemp("evaluate")
    write_small(root, sites=3, draws=100, tune=100, chains=2, seed=1)
    set_checks(root / "models" / "custody.toml", **LAX)
    # never read: were it, nothing here would pass
    (root / "data" / "truth.json").write_bytes(b"\x00 not JSON")
    (root / "status").write_text(str(main(command(root))), encoding="utf-8")
    return root


@pytest.fixture
def work(done: Path, tmp_path: Path) -> Path:
    """A copy to work on; times of files are kept."""
    return shutil.copytree(done, tmp_path / "work")


@pytest.fixture
def no_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(lndbayes.app.evaluate, "fit_prepared", refuse)
    monkeypatch.setattr(lndbayes.evidence.refits, "fit", refuse)


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the page out where it is not looked at: it takes most of the time."""
    monkeypatch.setattr(
        lndbayes.app.exports, "write_report", lambda run: (run / "report.html").write_text("page")
    )


def manifest(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / "run" / "manifest.json").read_text(encoding="utf-8")))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stamps(root: Path) -> dict[str, int]:
    """Times of everything that sampling made."""
    paths = [*(root / "run" / "fits").iterdir(), *(root / "run" / "sensitivity").iterdir()]
    return {p.name: p.stat().st_mtime_ns for p in paths}


def tables(root: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((root / "run").glob("*.csv"))}


def marks(root: Path) -> set[str]:
    """What the exports say of the checks."""
    found: set[str] = set()
    for name in TABLES:
        found |= set(pd.read_csv(root / "run" / f"{name}.csv")["check_status"])
    return found


# --- a finished run -------------------------------------------------------------------------------


def test_a_run_that_no_check_fails_ends_well(done) -> None:
    assert (done / "status").read_text() == "0"
    assert manifest(done)["status"] == "REVIEW"
    assert marks(done) == {"REVIEW"}


def test_the_manifest_names_every_file_with_its_hash(done) -> None:
    told = manifest(done)
    held = {
        p.relative_to(done / "run").as_posix(): sha256(p)
        for p in (done / "run").rglob("*")
        if p.is_file() and p.name != "manifest.json"
    }
    assert told["outputs"] == held
    assert {f"sensitivity/custody-{v.name}.nc" for v in VARIANTS} < held.keys()
    inputs = {
        p.relative_to(done / "data").as_posix(): sha256(p)
        for p in (done / "data").rglob("*")
        if p.is_file() and p.name != "truth.json"
    }
    inputs |= {f"models/{p.name}": sha256(p) for p in (done / "models").iterdir()}
    assert told["inputs"] == inputs


def test_the_manifest_says_how_the_run_was_made(done) -> None:
    told = manifest(done)
    assert told["command_line"] == " ".join(["lndbayes", *command(done)])
    assert told["seeds"] == {"custody": 1}
    assert told["thresholds"] == {"custody": LAX}
    assert told["synthetic"] is True
    assert told["data_hash"] == load_fit(done / "run" / "fits" / "custody.nc").attrs["data_hash"]
    version = ".".join(str(part) for part in sys.version_info[:3])
    assert told["versions"]["python"] == version
    steps = [step["step"] for step in told["steps"]]
    assert steps == [
        "read and check",
        "fits",
        "sensitivity",
        "placebo",
        "checks",
        "tables",
        "savings",
        "report",
    ]
    assert all(step["cpu_seconds"] >= 0 and step["wall_seconds"] >= 0 for step in told["steps"])
    assert "evidence/proxy.csv: absent" in told["data_notes"]


def test_savings_columns_are_those_of_the_contract_in_its_order(done) -> None:
    names = "level site outcome line payer cashable mean sd lower median upper ci_prob p_positive"
    wanted = [*names.split(), "price_year"]
    columns = list(pd.read_csv(done / "run" / "savings.csv", nrows=1).columns)
    assert [c for c in columns if c in wanted] == wanted
    checks = list(pd.read_csv(done / "run" / "checks.csv", nrows=1).columns)
    assert checks == ["outcome", "check", "status", "value", "threshold", "message"]
    with xr.open_dataset(done / "run" / "savings.nc", engine="netcdf4") as money:
        dims = money["saving"].dims
    assert dims[:5] == ("chain", "draw", "site", "outcome", "payer")


def test_nothing_goes_to_stdout(work, no_fits, no_page, capsys) -> None:
    assert main([*command(work), "--outcomes", "custody"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "finished fit reused" in printed.err
    assert f"finished refits reused: {len(VARIANTS)}" in printed.err
    assert f"refit {len(VARIANTS)} of" not in printed.err
    assert printed.err.endswith("checks: REVIEW\n")


# --- again ----------------------------------------------------------------------------------------


def test_the_truth_changes_nothing(work, done, no_fits, no_page, capsys) -> None:
    (work / "data" / "truth.json").unlink()
    before = stamps(work)
    assert main([*command(work), "--quiet"]) == 0
    assert stamps(work) == before == stamps(done)
    assert tables(work) == tables(done)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_exports_come_back_from_stored_draws_alone(work, done, no_fits, monkeypatch) -> None:
    shutil.rmtree(work / "data")
    shutil.rmtree(work / "models")
    for path in (*(work / "run").glob("*.csv"), work / "run" / "report.html"):
        path.unlink()
    assert main(["report", str(work / "run"), "--quiet"]) == 0
    assert tables(work) == tables(done)
    assert stamps(work) == stamps(done)
    page = (work / "run" / "report.html").read_text(encoding="utf-8")
    assert "FOR REVIEW" in page
    assert "SYNTHETIC" in page
    told, before = manifest(work), manifest(done)
    same = ("inputs", "data_hash", "seeds", "command_line", "thresholds", "synthetic")
    assert {k: told[k] for k in same} == {k: before[k] for k in same}
    assert told["outputs"]["effects.csv"] == sha256(work / "run" / "effects.csv")
    fitted = [s for s in before["steps"] if s["step"].startswith(("fit", "sensitivity", "placebo"))]
    assert told["steps"][:3] == fitted
    # so does the other command, and neither adds to what the manifest tells
    (work / "run" / "effects.csv").unlink()
    monkeypatch.setattr(lndbayes.app.exports, "write_report", lambda run: None)
    assert main(["check", str(work / "run"), "--quiet"]) == 0
    assert tables(work) == tables(done)
    assert [s["step"] for s in manifest(work)["steps"]] == [s["step"] for s in told["steps"]]


def test_new_thresholds_judge_the_same_draws_and_are_remembered(
    work, done, no_fits, no_page, capsys
) -> None:
    spec = work / "models" / "custody.toml"
    set_checks(spec, **STRICT)
    assert main(command(work)) == 1
    assert "a check says FAIL" in capsys.readouterr().err
    assert stamps(work) == stamps(done), "thresholds judge a fit and do not change it"
    assert marks(work) == {"FAIL"}
    assert manifest(work)["status"] == "FAIL"
    checks = pd.read_csv(work / "run" / "checks.csv").set_index("check")
    assert checks["status"].eq("FAIL").sum() == 1
    assert checks.loc["prior_rate", "status"] == "FAIL"
    # the stored fit was made under the old lines; commands on the run go by the new ones
    assert main(["check", str(work / "run"), "--quiet"]) == 1
    assert "a check says FAIL" in capsys.readouterr().err, "told even when quiet"
    assert marks(work) == {"FAIL"}
    set_checks(spec, **LAX)
    assert main([*command(work), "--quiet"]) == 0
    assert tables(work) == tables(done)


def test_changed_data_are_fitted_again_with_every_refit(work, monkeypatch) -> None:
    path = work / "data" / "outcomes.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    at = lines[0].split(",").index("count")
    # a month well after go-live: one in the transition would not be in the likelihood
    cells = lines[30].split(",")
    cells[at] = str(int(cells[at]) + 1)
    lines[30] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lndbayes.evidence.refits, "fit", interrupted)
    fit = work / "run" / "fits" / "custody.nc"
    before = load_fit(fit)
    assert main([*command(work), "--quiet"]) == 130, "the first refit is not reused"
    after = load_fit(fit)
    assert after.attrs["data_hash"] != before.attrs["data_hash"]
    # the run is now of two minds, and says so rather than mix them
    assert main(["report", str(work / "run"), "--quiet"]) == 2


# --- interruption ---------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_where_it_stopped(
    work, done, monkeypatch, no_page, capsys
) -> None:
    whole = tables(done)
    refits = {f"custody-{variant.name}.nc": variant for variant in VARIANTS}
    # these data have no retrospective records: without them is the main fit, not a refit
    fitted = [name for name in refits if name != "custody-no_retrospective.nc"]
    for name in ("manifest.json", *TABLES, *fitted[:3]):
        path = work / "run" / ("sensitivity" if name in refits else "") / name
        path.with_suffix(path.suffix or ".csv").unlink()
    real, calls = lndbayes.evidence.refits.make_refit, []

    def third_stops(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(lndbayes.evidence.refits, "make_refit", third_stops)
    assert main(command(work)) == 130
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("interrupted: finished fits are kept; the same command continues\n")
    kept = stamps(work)
    assert kept.keys() == {"custody.nc", *refits} - {fitted[2]}
    assert kept["custody.nc"] == stamps(done)["custody.nc"]
    assert not (work / "run" / "effects.csv").exists()
    # it is no run yet for the commands that read one
    assert main(["report", str(work / "run")]) == 2
    assert "run that first" in capsys.readouterr().err

    monkeypatch.setattr(lndbayes.evidence.refits, "make_refit", real)
    monkeypatch.setattr(lndbayes.app.evaluate, "fit_prepared", None)
    assert main([*command(work), "--quiet"]) == 0
    after = stamps(work)
    assert {name: after[name] for name in kept} == kept
    # the same seeds: what was sampled in two sittings is what one would have given
    assert tables(work) == whole


def test_interrupted_exports_leave_whole_files(work, done, monkeypatch, no_fits) -> None:
    def interrupted(run: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lndbayes.app.exports, "write_report", interrupted)
    assert main([*command(work), "--quiet"]) == 130
    assert tables(work) == tables(done)
    assert [p for p in (work / "run").rglob("*") if p.name.endswith(".part")] == []


# --- money ----------------------------------------------------------------------------------------


def totals(root: Path) -> pd.Series:
    table = pd.read_csv(root / "run" / "savings.csv")
    total = table[(table["level"] == "total") & (table["scenario"] == "direct")]
    return total.set_index(["outcome", "line", "payer"])["mean"]


def test_other_costs_reprice_the_same_draws(work, done, no_fits, no_page) -> None:
    text = (work / "models" / "costs.toml").read_text(encoding="utf-8")
    old = "low = 1400.0, high = 4200.0"
    assert text.count(old) == 1
    dear = work / "dear.toml"
    dear.write_text(text.replace(old, "low = 2800.0, high = 8400.0"), encoding="utf-8")
    before = totals(work)
    assert main(["savings", str(work / "run"), "--costs", str(dear), "--quiet"]) == 0
    after = totals(work)
    orders = ("custody", "alternative_sentence", "HMPPS")
    assert after[orders] == pytest.approx(2 * before[orders], rel=1e-12)
    net = ("all", "all", "all")
    assert after[net] == pytest.approx(before[net] + before[orders], rel=1e-9)
    rest = [k for k in before.index if k[1] in ("prison_places", "productivity")]
    np.testing.assert_array_equal(after[rest], before[rest])
    assert stamps(work) == stamps(done)
    # the manifest tells which costs the money comes from, also after a report
    told = manifest(work)["inputs"]
    assert told["costs/dear.toml"] == sha256(dear)
    assert "models/costs.toml" not in told
    assert main(["report", str(work / "run"), "--quiet"]) == 0
    np.testing.assert_array_equal(totals(work), after)
    assert manifest(work)["inputs"] == told


def test_costs_of_other_outcomes_state_no_saving_and_that_is_said(work, no_fits, capsys) -> None:
    costs = work / "models" / "costs.toml"
    text = costs.read_text(encoding="utf-8").replace('outcome = "custody"', 'outcome = "hearings"')
    costs.write_text(text, encoding="utf-8")
    # of the folder, and not of this run
    shutil.copy(MODELS / "hearings.toml", work / "models")
    assert main([*command(work), "--outcomes", "custody"]) == 0
    assert not (work / "run" / "savings.csv").exists()
    assert not (work / "run" / "savings.nc").exists()
    assert (work / "run" / "effects.csv").is_file()
    told = manifest(work)["savings_notes"]
    assert told[0].startswith("no saving is stated: no line of the costs prices an outcome")
    assert "prison_places (hearings)" in told[1]
    printed = capsys.readouterr().err
    assert all(f"note: {note}" in printed for note in told)
    page = (work / "run" / "report.html").read_text(encoding="utf-8")
    assert "No saving is stated: no line of the costs prices an outcome of this run" in page
    before = tables(work)
    assert main(["savings", str(work / "run"), "--costs", str(costs), "--quiet"]) == 2
    assert "no line prices an outcome of this run" in capsys.readouterr().err
    costs.write_text(text.replace('"hearings"', '"custodi"', 1), encoding="utf-8")
    assert main(["savings", str(work / "run"), "--costs", str(costs), "--quiet"]) == 2
    assert "did you mean 'custody'?" in capsys.readouterr().err
    assert tables(work) == before


def test_without_costs_no_saving_is_stated(work, no_fits, no_page) -> None:
    assert (work / "run" / "savings.csv").is_file()
    (work / "models" / "costs.toml").unlink()
    assert main([*command(work), "--quiet"]) == 0
    # not those of the run before
    assert not (work / "run" / "savings.csv").exists()
    assert not (work / "run" / "savings.nc").exists()
    assert manifest(work)["savings_notes"] == ["no saving is stated: no costs were given"]


# --- damage ---------------------------------------------------------------------------------------

LOST = f"custody-{VARIANTS[2].name}.nc"


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (f"sensitivity/{LOST}", f"sensitivity/{LOST}: is damaged"),
        ("savings.nc", "savings.nc: is damaged"),
    ],
)
def test_damaged_draws_are_told(work, no_fits, capsys, file, told) -> None:
    path = work / "run" / file
    path.write_bytes(path.read_bytes()[:1000])
    assert main(["report", str(work / "run"), "--quiet"]) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert "run the evaluation again" in printed.err


def test_an_absent_refit_is_told(work, no_fits, capsys) -> None:
    (work / "run" / "sensitivity" / LOST).unlink()
    before = tables(work)
    assert main(["report", str(work / "run"), "--quiet"]) == 2
    assert f"sensitivity/{LOST}: is absent" in capsys.readouterr().err
    assert tables(work) == before


def test_refits_of_another_fit_are_not_mixed_in(work, no_fits, capsys) -> None:
    # as after an interruption: the main fit is new, the refits are those of the one before
    path = work / "run" / "fits" / "custody.nc"
    tree = load_fit(path)
    tree.attrs["fit_key"] = "0" * 64
    del tree.attrs[SEAL]
    lndbayes.app.evaluate.save_fit(tree, path)
    told = manifest(work)
    told["outputs"]["fits/custody.nc"] = sha256(path)
    (work / "run" / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    before = tables(work)
    assert main(["check", str(work / "run"), "--quiet"]) == 2
    printed = capsys.readouterr()
    assert f"{len(VARIANTS)} problems" in printed.err
    assert "is a refit of other inputs" in printed.err
    assert tables(work) == before


FIT, REFIT = "fits/custody.nc", f"sensitivity/{LOST}"
#: What each command reads of a run.
READS = [
    *[(name, file) for name in ("report", "check") for file in (FIT, REFIT, "savings.nc")],
    *[("savings", FIT), ("savings", REFIT), ("joint", FIT)],
]


@pytest.mark.parametrize(("name", "file"), READS, ids=[" ".join(pair) for pair in READS])
def test_edited_draws_are_refused_and_nothing_is_written(work, no_fits, capsys, name, file) -> None:
    """Even where whoever edits them seals them anew."""
    path = work / "run" / file
    if file.startswith("fits"):
        tree = load_fit(path)
        tree["posterior"]["site_effect"][:] += 0.1
        del tree.attrs[SEAL]
        lndbayes.app.evaluate.save_fit(tree, path)
    else:
        write_netcdf(read_netcdf(path) * 1.5, path)
    arguments = [name, str(work / "run"), "--quiet"]
    if name == "savings":
        arguments += ["--costs", str(work / "models" / "costs.toml")]
    before = {p: p.stat().st_mtime_ns for p in (work / "run").rglob("*")}
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert f"{file}: is damaged or was edited" in told
    assert {p: p.stat().st_mtime_ns for p in (work / "run").rglob("*")} == before


def test_edited_draws_are_fitted_again(work, monkeypatch) -> None:
    path = work / "run" / "fits" / "custody.nc"
    with netCDF4.Dataset(path, "a") as file:
        file["posterior"]["site_effect"][0, 0, 0] += 0.1

    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lndbayes.app.evaluate, "fit_prepared", interrupted)
    assert main([*command(work), "--quiet"]) == 130


def test_nothing_of_earlier_inputs_stays(work, no_fits, no_page) -> None:
    """Tables and products of a run on other data are not shown beside the new ones."""
    run = work / "run"
    for name in ("joint.csv", "strata.csv", "bounds.csv"):
        (run / name).write_text("outcome\n", encoding="utf-8")
    columns = "outcome_1,outcome_2,mean,lower,upper,prior_lower,prior_upper,ci_prob"
    (run / "joint_correlation.csv").write_text(f"{columns}\n", encoding="utf-8")
    key = str(load_fit(run / FIT).attrs["fit_key"])
    record_product(run, "ledger", {"custody": key})
    (run / "ledger.md").write_text("page", encoding="utf-8")
    assert main([*command(work), "--quiet"]) in (0, 1)
    left = {p.name for p in run.iterdir()}
    assert not left & {"joint.csv", "joint_correlation.csv", "strata.csv", "bounds.csv"}
    assert "ledger.md" in left


def test_the_longest_fit_goes_first(done, tmp_path, monkeypatch) -> None:
    """Two workers with one long fit left at the end are one worker."""
    data = read_evaluation(done / "data")
    spec = load_spec(done / "models" / "custody.toml")
    outcomes = {
        f"fit {draws}": prepare_outcome(with_changes(spec, {"sampling.draws": draws}), data)
        for draws in (60, 400, 100)
    }
    order: list[str] = []
    trees = {name: xr.DataTree() for name in outcomes}

    def run_tasks(tasks: Sequence[Task], finished: Any, **_: object) -> None:
        for task in tasks:
            order.append(task.name)
            finished(task.name, trees[task.name])

    monkeypatch.setattr(lndbayes.app.evaluate, "run_tasks", run_tasks)
    monkeypatch.setattr(lndbayes.app.evaluate, "save_fit", lambda tree, path: None)
    pool = lndbayes.app.evaluate.Pool(2, None)
    found = lndbayes.app.evaluate._fits(outcomes, tmp_path, pool, lambda line: None, None)
    assert order == ["fit 400", "fit 100", "fit 60"]
    # and comes back in the order that was asked for
    assert list(found) == list(outcomes)
