"""What is said against a run before it is begun: names, costs, places; the same by all commands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from lndbayes.app.cli import main
from lndbayes.data.evaluation import read_evaluation
from lndbayes.data.schema import QUALITY
from lndbayes.money.costs import load_costs
from lndbayes.money.pricing import line_problems, outcomes_beside, pricing_notes
from small import MODELS, write_small

COSTS = MODELS / "costs.toml"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepare")
    write_small(root, sites=4, draws=50, tune=50, chains=2)
    return root


@pytest.fixture
def small(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `data` and `models` of its own, on which nothing may be fitted."""

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("something was fitted")

    for name in ("lndbayes.app.evaluate", "lndbayes.fitting.fit"):
        monkeypatch.setattr(import_module(name), "fit_prepared", refuse)
    monkeypatch.setattr(import_module("lndbayes.fitting.parallel"), "fit", refuse)
    return shutil.copytree(made, tmp_path / "small")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def told(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Assert that a command is refused and leaves the folder as it is; return what it says."""
    before = {p: p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert {p: p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))} == before
    return printed.err


def both(small: Path) -> tuple[list[str], list[str]]:
    inputs = [str(small / "data"), "--models", str(small / "models")]
    return ["validate", *inputs], ["evaluate", *inputs, "--out", str(small / "run")]


def covariates(small: Path, months: int = 10**6, **named: list[str]) -> None:
    """Declare covariates, and write unemployment for the first months."""
    lines = [f"{kind} = {names}\n{kind}_sd = 0.1" for kind, names in named.items()]
    edit(small / "models/custody.toml", "[checks]", "\n".join(["[covariates]", *lines, "[checks]"]))
    data = read_evaluation(small / "data")
    rows = [
        f"{site},{month},unemployment,{5 + (3 * s + t) % 7}"
        for s, site in enumerate(data.ds["site"].values)
        for t, month in enumerate(data.ds["month"].values[:months])
    ]
    text = "\n".join(["site,month,name,value", *rows, ""])
    (small / "data/covariates.csv").write_text(text, encoding="utf-8")


# --- what validate accepts evaluate fits, and the other way round -------------------------------

WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "cost line": (
        lambda s: edit(s / "models/costs.toml", 'outcome = "custody"', 'outcome = "custodi"'),
        "lines.prison_places.outcome, value 'custodi': must be an outcome of the data or of a "
        "spec: this line would price nothing (did you mean 'custody'?)",
    ),
    "cost line on referrals": (
        lambda s: edit(s / "models/costs.toml", 'quantity = "averted"', 'quantity = "referrals"'),
        "lines.prison_places.quantity",
    ),
    "costs by another name": (
        lambda s: (s / "models/costs.toml").rename(s / "models/cost.tml"),
        "cost.tml: would be left out (is it costs.toml?)",
    ),
    "given": (
        lambda s: edit(
            s / "models/custody.toml", 'exposure_outcome = ""', 'exposure_outcome = "custodi"'
        ),
        "outcome.exposure_outcome, value 'custodi': must be an outcome of the data or of a spec, "
        "or empty (did you mean 'custody'?)",
    ),
    "threshold": (
        lambda s: edit(s / "models/custody.toml", "[checks]", "[checks]\nrhat_mx = 1.01"),
        "did you mean 'rhat_max'?",
    ),
    "quality without a column": (
        lambda s: (s / "data/data_quality.csv").write_text("table,why\npersons,read\n"),
        "data_quality.csv, row 1, column reason: the column is missing",
    ),
    "quality in another encoding": (
        lambda s: (s / "data/data_quality.csv").write_bytes(
            b"table,reason,rows,persons\ncaf\xe9,read,1,1\n"
        ),
        "data_quality.csv, row 2, value \"b'\\\\xe9'\": must be UTF-8 text",
    ),
    "quality in words": (
        lambda s: (s / "data/data_quality.csv").write_text(
            "table,reason,rows,persons\npersons,read,many,1\n"
        ),
        "data_quality.csv, row 2, column rows, value 'many'",
    ),
    "covariates": (
        lambda s: covariates(s, baseline=["employment"]),
        "custody.toml, column covariates.baseline, value 'employment': must be a covariate of "
        "covariates.csv; there are unemployment (did you mean 'unemployment'?)",
    ),
    "a covariate with gaps": (
        lambda s: covariates(s, baseline=["unemployment"], months=5),
        "covariates.csv, column value: unemployment: a covariate needs a value for every site",
    ),
    "a window beyond the data": (
        lambda s: edit(s / "models/custody.toml", "window = [7, 18]", "window = [90, 95]"),
        "90 to 95 months after go-live",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_validate_and_evaluate_say_the_same(name, small, capsys) -> None:
    spoil, rule = WRONG[name]
    spoil(small)
    first, second = (told(command, small, capsys) for command in both(small))
    assert first == second
    assert rule in first


def test_validate_says_what_is_adjusted_for_and_what_to_mind(small, capsys) -> None:
    covariates(small, baseline=["unemployment"])
    assert main(both(small)[0]) == 0
    printed = capsys.readouterr().out
    assert "note: the untreated custody is adjusted for unemployment" in printed
    assert "values after go-live of treated sites are used" in printed
    assert "\ncovariates: unemployment\n" in printed


def test_problems_of_every_file_are_told_at_once(small, capsys) -> None:
    for name in ("cost line", "threshold", "quality in words"):
        WRONG[name][0](small)
    edit(small / "data/sites.csv", "S01,", "S01,,")
    out = str(small / "data" / "run")
    arguments = [*both(small)[1][:-1], out, "--outcomes", "custody"]
    message = told(arguments, small, capsys)
    for rule in ("rhat_mx", "data_quality.csv, row 2", "sites.csv, row 2", "must not lie in"):
        assert rule in message


def test_an_outcome_that_is_asked_for_by_another_name_is_suggested(small, capsys) -> None:
    message = told([*both(small)[1], "--outcomes", "custdy"], small, capsys)
    assert "value 'custdy': no spec for this outcome; there are custody" in message
    assert "did you mean 'custody'?" in message


# --- places and schedulers ------------------------------------------------------------------------


WITH_SPEC = ("fit", "backtest", "ledger", "tipping", "placebo")


def commands_with_out(small: Path) -> list[list[str]]:
    spec, data = str(small / "models/custody.toml"), str(small / "data")
    with_spec = [[name, spec, "--data", data] for name in WITH_SPEC]
    calibrate = ["calibrate", spec, "--replicates", "1", "--data", data]
    return [both(small)[1][:-2], *with_spec, calibrate, ["strata", spec, "--data", data]]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(8))
def test_no_command_begins_in_a_place_that_will_not_do(number, small, capsys) -> None:
    arguments = commands_with_out(small)[number]
    foreign, file = small / "foreign", small / "file"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine", encoding="utf-8")
    file.write_text("mine", encoding="utf-8")
    (small / "damaged" / "fits").mkdir(parents=True)
    (small / "damaged" / "effects.csv").mkdir()
    places = {
        str(foreign): "not a run directory",
        str(file): "is a file",
        str(file / "run"): "cannot be made",
        str(small / "data" / "run"): "must not lie in",
        str(small / "damaged"): "must be a file of the run",
    }
    for place, rule in places.items():
        assert rule in told([*arguments, "--out", place], small, capsys), arguments[0]


@pytest.mark.parametrize("command", ["evaluate", "calibrate", "backtest", "ledger"])
def test_a_scheduler_that_does_not_answer_is_told_first(
    command, small, monkeypatch, capsys
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(import_module("lndbayes.fitting.parallel"), "PATIENCE", 1)
    (arguments,) = (a for a in commands_with_out(small) if a[0] == command)
    address = ["--scheduler", "tcp://127.0.0.1:9"]
    message = told([*arguments, "--out", str(small / "run"), *address], small, capsys)
    assert "no Dask scheduler answers" in message


def test_places_of_data_that_will_not_do(small, capsys) -> None:
    (small / "file").write_text("mine", encoding="utf-8")
    (small / "link").symlink_to("nowhere")
    (small / "extracts").mkdir()
    for place in ("file", "file/below", "link"):
        out = str(small / place)
        told(["simulate", out, "--seed", "1"], small, capsys)
        told(["assemble", str(small / "extracts"), "--out", out], small, capsys)


def test_a_table_that_the_report_could_not_show_is_told_first(small, capsys) -> None:
    run = small / "run"
    (run / "fits").mkdir(parents=True)
    (run / "joint_correlation.csv").write_text("outcome_1\nx\n", encoding="utf-8")
    assert "joint_correlation.csv, column outcome_2" in told(both(small)[1], small, capsys)


def test_what_tips_is_asked_before_anything_is_fitted(small, capsys) -> None:
    spec = small / "models/custody.toml"
    edit(spec, 'good_direction = "lower"', 'good_direction = "none"')
    arguments = ["tipping", str(spec), "--data", str(small / "data"), "--out", str(small / "run")]
    assert "good direction" in told(arguments, small, capsys)


def test_evidence_that_a_spec_leaves_out_is_said(small, capsys) -> None:
    """Off is a template's default: rows that were gathered must not be dropped without a word."""
    assert main(both(small)[0]) == 0
    assert "left out" not in capsys.readouterr().out
    for channel in ("retrospective", "national", "history", "elicited"):
        edit(small / "models/custody.toml", f"\n{channel} = true", f"\n{channel} = false")
        rows = (small / "data" / "evidence" / f"{channel}.csv").read_text(encoding="utf-8")
        assert main(both(small)[0]) == 0
        count = f"{rows.count('custody,'):,} rows of custody in evidence/{channel}.csv are left out"
        assert f"note: {count}: baseline.channels.{channel} is off" in capsys.readouterr().out


# --- costs ----------------------------------------------------------------------------------------


def test_costs_are_optional_and_that_is_said(small, capsys) -> None:
    (small / "models" / "costs.toml").unlink()
    assert main(both(small)[0]) == 0
    assert "note: no saving is stated: no costs were given" in capsys.readouterr().out


def test_lines_that_price_nothing_here_are_said_and_unknown_ones_refused() -> None:
    costs = load_costs(COSTS)
    lines = {line.name for line in costs.lines}
    assert {line.outcome for line in costs.lines} == {"custody"}
    assert line_problems(costs, ["hearings", "custody"], "costs.toml") == []
    assert len(line_problems(costs, ["hearings", "custodi"], "costs.toml")) == len(lines)
    assert pricing_notes(costs, ["custody"]) == []
    (without,) = pricing_notes(costs, ["custody", "hearings"])
    assert without == "outcomes that no line prices: hearings"
    no_saving, idle = pricing_notes(costs, ["hearings"])
    assert "no saving is stated" in no_saving
    assert all(name in idle for name in lines)


def test_outcomes_beside_a_file_are_those_of_the_specs_that_can_be_read(tmp_path) -> None:
    shutil.copy(MODELS / "hearings.toml", tmp_path)
    shutil.copy(COSTS, tmp_path)
    (tmp_path / "broken.toml").write_text("[outcome\n", encoding="utf-8")
    (tmp_path / "other.toml").write_text("outcome = 3\n", encoding="utf-8")
    assert outcomes_beside(tmp_path / "costs.toml") == ["hearings"]


def test_shipped_costs_are_of_shipped_outcomes() -> None:
    assert line_problems(load_costs(COSTS), outcomes_beside(COSTS), "costs.toml") == []


def test_a_calibration_needs_a_line_of_its_outcome(small, tmp_path, capsys) -> None:
    costs = small / "models" / "costs.toml"
    shutil.copy(MODELS / "hearings.toml", small / "models")
    edit_all = costs.read_text(encoding="utf-8").replace('"custody"', '"hearings"')
    costs.write_text(edit_all, encoding="utf-8")
    (calibrate,) = (one for one in commands_with_out(small) if one[0] == "calibrate")
    arguments = [*calibrate, "--costs", str(costs), "--out", str(small / "run")]
    assert "no line prices custody" in told(arguments, small, capsys)


def test_quality_of_an_assembly_is_what_the_schema_says() -> None:
    assert QUALITY.names == ("table", "reason", "rows", "persons")


def test_a_set_aside_outcome_is_said(small, capsys) -> None:
    shutil.copy(MODELS / "hearings.toml", small / "models")
    assert main(both(small)[0]) == 0
    assert "note: the spec of hearings finds no rows of it" in capsys.readouterr().out
    (small / "models" / "custody.toml").unlink()
    rule = "holds none of the outcomes that have a spec (hearings)"
    assert rule in told(both(small)[0], small, capsys)
