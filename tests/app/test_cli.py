"""The command line: what each command says and writes, and where; bad usage that writes nothing.

Broken data, specs and costs, one by one: `test_bad_input.py`.
"""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from joblib.externals.loky import process_executor

import lndbayes.app.evaluate
from lndbayes.app import progress
from lndbayes.app.cli import main
from lndbayes.fitting.fit import SCHEMA, load_fit, save_fit
from small import MODELS, fake_fit, load, set_keys, write_small

directory = load("data/conftest.py")

SITES = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli")
    write_small(root, sites=SITES, draws=50, tune=50, chains=2)
    return root


@pytest.fixture
def small(made: Path, tmp_path: Path) -> Path:
    """A folder with `data` and `models` of its own."""
    return shutil.copytree(made, tmp_path / "small")


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file's time and content."""
    return {
        p.relative_to(folder).as_posix(): (p.stat().st_mtime_ns, p.read_bytes())
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], folder: Path, *told: str
) -> str:
    """Assert that a command ends with 2, one message on stderr and nothing else; return it."""
    before, names = snapshot(folder), sorted(folder.rglob("*"))
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    for text in told:
        assert text in printed.err
    assert "Traceback" not in printed.err
    assert snapshot(folder) == before
    assert sorted(folder.rglob("*")) == names
    return printed.err


# --- help and usage -------------------------------------------------------------------------------

COMMANDS = (
    "simulate",
    "assemble",
    "validate",
    "priors",
    "fit",
    "evaluate",
    "calibrate",
    "backtest",
    "tipping",
    "placebo",
    "attribution",
    "check",
    "savings",
    "joint",
    "strata",
    "report",
)


#: A command by the name that it had.
OLD_NAME = "ledger"


@pytest.mark.parametrize("command", ["", *COMMANDS, OLD_NAME])
def test_help_is_given_and_ends_well(command, capsys) -> None:
    assert main([command, "--help"] if command else ["--help"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("usage: lndbayes")
    assert printed.err == ""
    if not command:
        assert all(f"  {name} " in printed.out for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["validate"], "DIR"),
        (["priors", "custody.toml"], "--data"),
        (["fit", "custody.toml", "--data", "data"], "--out"),
        (["evaluate", "data", "--models", "m", "--out", "x", "--jobs", "2.5"], "whole number"),
        (["evaluate", "data", "--models", "m", "--out", "x", "--outcomes", " , "], "one outcome"),
        (["simulate", "x", "--seed", "1", "--sites", "0"], "at least 1"),
        (["simulate", "x", "--seed", "one"], "'one' must be a whole number of at least 0"),
        (["report"], "RUN"),
        (["report", "a", "b"], "unrecognized arguments: b"),
        (["check", "a", "--costs", "b"], "--costs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_says_which_argument_is_wrong(arguments, told, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(capsys, arguments, tmp_path, told)
    assert message.startswith("usage: lndbayes")


# --- simulate, validate, priors -------------------------------------------------------------------


def test_simulate_writes_what_validate_reads(tmp_path, capsys) -> None:
    out = tmp_path / "new" / "data"
    assert main(["simulate", str(out), "--seed", "5", "--sites", str(SITES)]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"wrote {out}\n")
    truth = json.loads((out / "truth.json").read_text(encoding="utf-8"))
    assert truth["seed"] == 5
    assert main(["validate", str(out), "--quiet"]) == 0
    found = capsys.readouterr().out
    assert f"{SITES} sites" in found
    assert "outcome custody" in found
    before = snapshot(tmp_path)
    # the same seed, the same bytes; --quiet says nothing
    assert main(["simulate", str(out), "--seed", "5", "--sites", str(SITES), "--quiet"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert {k: v for k, (_, v) in snapshot(tmp_path).items()} == {
        k: v for k, (_, v) in before.items()
    }


@pytest.mark.parametrize("world", ["null", "harm"])
def test_simulate_knows_other_worlds(world, tmp_path) -> None:
    out = tmp_path / world
    arguments = ["simulate", str(out), "--seed", "5", "--world", world, "--sites", "3", "--quiet"]
    assert main(arguments) == 0
    assert json.loads((out / "truth.json").read_text(encoding="utf-8"))["world"] == world


def test_simulate_keeps_what_is_not_its_own(tmp_path, capsys) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "one.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for name, told in (("thesis", "earlier simulation"), ("file", "must be a directory")):
        refused(capsys, ["simulate", str(tmp_path / name), "--seed", "1"], tmp_path, told)


def test_validate_with_models_reads_both(small, capsys) -> None:
    arguments = ["validate", str(small / "data"), "--models", str(small / "models")]
    before = snapshot(small)
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "content hash" in printed.out
    assert snapshot(small) == before
    set_keys(small / "models" / "custody.toml", chains=0)
    refused(capsys, arguments, small, "custody.toml, column sampling.chains", "'0'")


def test_priors_prints_the_table_and_what_it_predicts(small, capsys) -> None:
    spec = str(small / "models" / "custody.toml")
    before = snapshot(small)
    assert main(["priors", spec, "--data", str(small / "data")]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    head, _, tail = printed.out.partition("prior predictive, 5%, 50% and 95% points:")
    # a row for every slot, with the distribution as the spec gives it
    assert "effect_mean" in head
    assert "crisis_recovery_months" in head
    rows = dict(line.strip().rsplit(": ", 1) for line in tail.strip().splitlines())
    assert len(rows) == 4
    for name, text in rows.items():
        low, middle, high = (float(x) for x in text.split(", "))
        assert low < middle < high, name
    (effect,) = (v for k, v in rows.items() if k.startswith("effect in event months 7 to 18"))
    low, _, high = (float(x) for x in effect.split(", "))
    # Normal(0, 0.5) on the log odds ratio, times a ramp of about 0.9, and the sites' spread
    assert 0.3 < low < 0.6
    assert 1.6 < high < 3.3
    assert snapshot(small) == before


# --- bad data through every command that reads them -----------------------------------------------

#: Table, line to change, column, value: one of each table, besides those of `test_bad_input.py`.
WRONG = {
    "sites.csv": ({"site": "A02"}, "population", "many"),
    "outcomes.csv": ({"outcome": "wellbeing", "month": "2014-02"}, "sd", "-1"),
    "mix.csv": ({"site": "A02"}, "intervention", ""),
    "referrals.csv": ({"site": "A02"}, "month", "2014-1"),
    "evidence/retrospective.csv": ({"month": "2014-02"}, "coverage_sd", "2"),
    "evidence/national.csv": ({"month": "2014-01"}, "months", "0"),
    "evidence/proxy.csv": ({"month": "2014-02"}, "exposure", ""),
    "evidence/history.csv": ({"months_from_referral": "-6"}, "persons", "0"),
    "evidence/elicited.csv": ({"site": "A01"}, "who", ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("file", WRONG)
def test_every_command_refuses_bad_data_alike(file, tmp_path, capsys) -> None:
    tiny = directory.Directory(tmp_path / "tiny")
    where, column, value = WRONG[file]
    line = tiny.set(file, where, **{column: value})
    data, spec, out = str(tiny.write()), str(MODELS / "custody.toml"), str(tmp_path / "run")
    place = f"{file}, row {line}, column {column}, value {value!r}: must"
    told = {
        refused(capsys, arguments, tmp_path, "1 problem", place)
        for arguments in (
            ["validate", data],
            ["evaluate", data, "--models", str(MODELS), "--out", out],
            ["fit", spec, "--data", data, "--out", out],
            ["priors", spec, "--data", data],
        )
    }
    assert len(told) == 1


def test_cells_that_the_family_cannot_use_are_told_before_anything_is_fitted(
    tmp_path, capsys
) -> None:
    # the tiny evaluation is valid, with a suppressed and a rounded cell of custody
    data = str(directory.Directory(tmp_path / "tiny").write())
    assert main(["validate", data]) == 0
    capsys.readouterr()
    arguments = ["evaluate", data, "--models", str(MODELS), "--out", str(tmp_path / "run")]
    arguments += ["--outcomes", "custody"]
    told = ("2 problems", "needs exact counts", "site A03, month 2014-03", "month 2014-04")
    refused(capsys, arguments, tmp_path, *told)


def test_a_site_must_have_been_live_long_enough(small, capsys) -> None:
    set_keys(small / "models" / "custody.toml", window="[90, 95]")
    arguments = ["evaluate", str(small / "data"), "--models", str(small / "models")]
    told = ("sites.csv, column go_live", "90 to 95 months after go-live", "custody")
    refused(capsys, [*arguments, "--out", str(small / "run")], small, *told)
    arguments = ["fit", str(small / "models" / "custody.toml"), "--data", str(small / "data")]
    refused(capsys, [*arguments, "--out", str(small / "run")], small, *told)


def test_problems_of_all_specs_are_told_together(small, capsys) -> None:
    models = small / "models"
    other = (models / "custody.toml").read_text(encoding="utf-8")
    (models / "b.toml").write_text(other.replace('"custody"', '"Custody"'), encoding="utf-8")
    (models / "c.toml").write_text(other.replace("seed = ", "sead = "), encoding="utf-8")
    (models / "d.toml").write_text(other, encoding="utf-8")
    arguments = ["evaluate", str(small / "data"), "--models", str(models)]
    told = (
        "custody.toml, column outcome.name, value 'custody': must not differ from 'Custody'",
        "c.toml, column sampling.sead",
        "did you mean 'seed'?",
        "c.toml, column sampling.seed: missing key",
        "d.toml, column outcome.name: a second spec for outcome 'custody'",
        "4 problems",
    )
    refused(capsys, [*arguments, "--out", str(small / "run")], small, *told)


#: What is wrong with a costs file: text before, text after, what must be told.
COSTS = [
    ('known = "published"', 'known = "rumour"', ("rumour",)),
    ('dist = "Uniform", low = 1400.0', 'dist = "Uniform", low = 9400.0', ("alternative_cost",)),
    ('outcome = "custody"', 'outcome = ""', ("outcome",)),
    ("sign = 1\n", "sign = 2\n", ("sign", "2")),
    ('"place_cost", "place_mix"]', '"place_cots", "place_mix"]', ("place_cots",)),
    ('price_year = "2016/17"   ', 'price_year = "1816/17"   ', ("1816/17",)),
    ("[meta]", "[meta", ("TOML",)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after", "told"), COSTS, ids=[c[1] for c in COSTS])
def test_broken_costs_are_refused(before, after, told, small, capsys) -> None:
    path = small / "models" / "costs.toml"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    models = str(small / "models")
    arguments = ["evaluate", str(small / "data"), "--models", models, "--out", str(small / "run")]
    refused(capsys, arguments, small, "costs.toml", *told)
    refused(capsys, ["validate", str(small / "data"), "--models", models], small, *told)


# --- places ---------------------------------------------------------------------------------------


#: Arguments, with P for the test's folder, and what must be told.
PLACES = [
    ("evaluate P/file --models P/models --out P/run", "file"),
    ("evaluate P/none --models P/models --out P/run", "there is no such directory"),
    ("evaluate P/empty --models P/models --out P/run", "evaluation.toml"),
    ("evaluate P/data --models P/file --out P/run", "no such folder of model specs"),
    ("evaluate P/data --models P/empty --out P/run", "holds no model spec"),
    ("evaluate P/data --models P/models --out P/file", "must be a folder"),
    ("evaluate P/data --models P/models --out P/file/run", "cannot be made"),
    ("evaluate P/data --models P/models --out P/data", "must not lie in"),
    ("evaluate P/data --models P/models --out P/run --outcomes custody,x", "value 'x': no spec"),
    ("validate P/none", "there is no such directory"),
    ("validate P/file", "file"),
    ("validate P/data --models P/none", "no such folder of model specs"),
    ("priors P/none.toml --data P/data", "none.toml: cannot be read"),
    ("priors P/empty --data P/data", "cannot be read"),
    ("priors P/models/costs.toml --data P/data", "costs.toml, column outcome"),
    ("fit P/none.toml --data P/data --out P/run", "none.toml: cannot be read"),
    ("fit P/models/custody.toml --data P/data --out P/file", "must be a folder"),
    ("report P/none", "not a run directory"),
    ("check P/file", "not a run directory"),
    ("savings P/data --costs P/none.toml", "none.toml: cannot be read"),
    ("savings P/data --costs P/models/costs.toml", "not a run directory"),
    ("savings P/data --costs P/models/custody.toml", "custody.toml, column factors"),
]


@pytest.mark.parametrize(("command", "told"), PLACES, ids=[place[0] for place in PLACES])
def test_places_that_are_not_what_they_should_be(command, told, small, capsys) -> None:
    (small / "file").write_text("something", encoding="utf-8")
    (small / "empty").mkdir()
    arguments = [word.replace("P/", f"{small}/") for word in command.split()]
    refused(capsys, arguments, small, told)


def run_folder(small: Path, manifest: str = "{}") -> Path:
    """A run directory with a stored fit and nothing else."""
    run = small / "run"
    tree = fake_fit()
    tree.attrs |= {"schema": SCHEMA, "fit_key": "key"}
    save_fit(tree, run / "fits" / "custody.nc")
    (run / "manifest.json").write_text(manifest, encoding="utf-8")
    return run


@pytest.mark.parametrize("command", ["report", "check", "savings"])
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda run: (run / "manifest.json").write_text("{", encoding="utf-8"), "valid JSON"),
        (lambda run: (run / "manifest.json").write_text("[]", encoding="utf-8"), "one JSON object"),
        (lambda run: (run / "manifest.json").unlink(), "run that first"),
        (lambda run: (run / "fits" / "custody.nc").unlink(), "holds no stored fit"),
        (lambda run: (run / "fits" / "custody.nc").write_bytes(b"x"), "not a readable fit"),
    ],
    ids=["manifest cut", "manifest a list", "no manifest", "no fit", "fit damaged"],
)
def test_an_incomplete_run_is_told_what_it_lacks(command, spoil, told, small, capsys) -> None:
    run = run_folder(small)
    spoil(run)
    more = ["--costs", str(small / "models" / "costs.toml")] if command == "savings" else []
    refused(capsys, [command, str(run), *more], small, told)


# --- fit ------------------------------------------------------------------------------------------


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count fits."""
    calls: list[str] = []
    real = lndbayes.app.evaluate.fit_prepared

    def counted(outcome: Any, **options: Any) -> Any:
        calls.append(outcome.spec.outcome.name)
        return real(outcome, **options)

    monkeypatch.setattr(lndbayes.app.evaluate, "fit_prepared", counted)
    return calls


@pytest.mark.slow
def test_fit_makes_and_checks_one_outcome_once(small, fitted, capsys) -> None:
    spec, run = small / "models" / "custody.toml", small / "run"
    arguments = ["fit", str(spec), "--data", str(small / "data"), "--out", str(run)]
    # 50 draws a chain cannot meet any limit of the sampler's checks
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"custody: FAIL, written to {run}" in printed.err
    files = sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file())
    assert files == ["checks.csv", "fits/custody.nc"]
    assert load_fit(run / "fits" / "custody.nc").attrs["outcome"] == "custody"
    before = (run / "fits" / "custody.nc").stat().st_mtime_ns
    assert main([*arguments, "--quiet", "--jobs", "1"]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert (run / "fits" / "custody.nc").stat().st_mtime_ns == before
    assert fitted == ["custody"]
    # a damaged file is no finished fit
    (run / "fits" / "custody.nc").write_bytes(b"cut")
    assert main([*arguments, "--quiet"]) == 1
    assert fitted == ["custody", "custody"]
    assert load_fit(run / "fits" / "custody.nc").attrs["outcome"] == "custody"


def test_the_bar_counts_all_chains_and_ends(monkeypatch) -> None:
    stopped = []
    monkeypatch.setattr(progress.Progress, "start", lambda self: None)
    monkeypatch.setattr(progress.Progress, "stop", lambda self: stopped.append(self))
    kept = []
    monkeypatch.setattr(progress.atexit, "register", kept.append)
    receive = progress.chain_progress("custody")

    def chains(*finished: int) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(total_draws=10, finished_draws=n, divergences=n // 5) for n in finished
        ]

    receive(chains(10, 4))
    assert stopped == []
    receive(chains(10, 10))
    (bar,) = stopped
    (task,) = bar.tasks
    assert (task.completed, task.total, task.fields["bad"]) == (20, 20, 4)
    # an interrupted fit is never at its end: the bar is stopped with the process
    assert [function.__self__ for function in kept] == [bar]


def test_a_worker_that_was_replaced_is_no_news(monkeypatch) -> None:
    said = "A worker stopped while some jobs were given to the executor."
    # the words are joblib's own: a release that says it otherwise turns this red
    assert said[:32] in inspect.getsource(process_executor)

    def run(options: SimpleNamespace) -> int:
        warnings.warn(said, UserWarning, stacklevel=1)
        return 0

    parsed = SimpleNamespace(run=run)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", lambda self, arguments: parsed)
    assert main(["anything"]) == 0
