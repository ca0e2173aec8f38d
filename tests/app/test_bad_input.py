"""Bad input at the command line: exit code 2, one clear message on stderr, no file written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lndbayes.app.cli import main
from lndbayes.files.places import run_problems
from lndbayes.spec.families import FAMILIES
from small import complete

ROOT = Path(__file__).parents[2]
Spoil = Callable[[Path, Path], None]


def edit(name: str, old: str, new: str, *, models: bool = False) -> Spoil:
    """Replace the first occurrence of a text in a file, which must hold it."""

    def spoil(data: Path, specs: Path) -> None:
        path = (specs if models else data) / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{name} no longer holds {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return spoil


def append(name: str, line: str) -> Spoil:
    """Add a line to a table."""

    def spoil(data: Path, specs: Path) -> None:
        path = data / name
        path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")

    return spoil


def cell(name: str, row: int, column: str, value: str) -> Spoil:
    """Overwrite one cell; `row` as an editor counts lines."""

    def spoil(data: Path, specs: Path) -> None:
        path = data / name
        lines = path.read_text(encoding="utf-8").splitlines()
        at = lines[0].split(",").index(column)
        cells = lines[row - 1].split(",")
        cells[at] = value
        lines[row - 1] = ",".join(cells)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    return spoil


def write(name: str, content: bytes, *, models: bool = False) -> Spoil:
    """Overwrite a whole file."""

    def spoil(data: Path, specs: Path) -> None:
        ((specs if models else data) / name).write_bytes(content)

    return spoil


def remove(name: str, *, models: bool = False) -> Spoil:
    """Delete a file."""

    def spoil(data: Path, specs: Path) -> None:
        ((specs if models else data) / name).unlink()

    return spoil


#: name, how the input is spoilt, texts that the message must hold
CASES: list[tuple[str, Spoil, tuple[str, ...]]] = [
    ("no sites table", remove("sites.csv"), ("sites.csv",)),
    ("no outcomes table", remove("outcomes.csv"), ("outcomes.csv",)),
    ("no settings", remove("evaluation.toml"), ("evaluation.toml",)),
    ("empty table", write("outcomes.csv", b""), ("outcomes.csv",)),
    (
        "not UTF-8",
        write("sites.csv", "site,label\nS1,caf\xe9".encode("latin-1")),
        ("sites.csv", "UTF-8"),
    ),
    (
        "unknown setting",
        edit("evaluation.toml", "first_month", "frist_month"),
        ("evaluation.toml", "frist_month", "first_month"),
    ),
    (
        "months the wrong way round",
        edit("evaluation.toml", "2011-04", "2020-04"),
        ("evaluation.toml", "first_month"),
    ),
    (
        "month in words",
        cell("outcomes.csv", 2, "month", "Apr-14"),
        ("outcomes.csv, row 2, column month", "'Apr-14'", "YYYY-MM"),
    ),
    (
        "month outside the range",
        cell("outcomes.csv", 3, "month", "2031-01"),
        ("outcomes.csv, row 3, column month", "'2031-01'"),
    ),
    (
        "unknown site",
        cell("outcomes.csv", 4, "site", "S99"),
        ("outcomes.csv, row 4, column site", "'S99'"),
    ),
    (
        "negative exposure",
        cell("outcomes.csv", 5, "exposure", "-4"),
        ("outcomes.csv, row 5, column exposure", "'-4'"),
    ),
    (
        "half an event",
        cell("outcomes.csv", 6, "count", "2.5"),
        ("outcomes.csv, row 6, column count", "'2.5'", "whole"),
    ),
    (
        "more events than trials",
        cell("outcomes.csv", 7, "count", "9999"),
        ("outcomes.csv, row 7", "count"),
    ),
    (
        "unknown status",
        cell("outcomes.csv", 8, "status", "ok"),
        ("outcomes.csv, row 8, column status", "'ok'"),
    ),
    (
        "the same cell twice",
        append("outcomes.csv", "custody,S01,2014-04,pnc,50,5,observed"),
        ("outcomes.csv",),
    ),
    (
        "column misspelt",
        edit("outcomes.csv", "exposure", "exposrue"),
        ("outcomes.csv", "exposure", "exposrue"),
    ),
    (
        "site twice",
        edit("sites.csv", "S02,", "S01,"),
        ("sites.csv", "site", "S01"),
    ),
    ("wave zero", cell("sites.csv", 2, "wave", "0"), ("sites.csv, row 2, column wave", "'0'")),
    (
        "go-live as a date",
        cell("sites.csv", 3, "go_live", "2014-04-01"),
        ("sites.csv, row 3, column go_live", "'2014-04-01'"),
    ),
    (
        "predecessor in per cent",
        cell("sites.csv", 4, "predecessor", "25"),
        ("sites.csv, row 4, column predecessor", "'25'"),
    ),
    (
        "negative contacts",
        cell("mix.csv", 2, "contacts", "-1"),
        ("mix.csv, row 2, column contacts", "'-1'"),
    ),
    (
        "negative referrals",
        cell("referrals.csv", 2, "referrals", "-1"),
        ("referrals.csv, row 2, column referrals", "'-1'"),
    ),
    (
        "coverage above one",
        cell("evidence/retrospective.csv", 2, "coverage_mean", "1.4"),
        ("evidence/retrospective.csv, row 2, column coverage_mean", "'1.4'"),
    ),
    (
        "national standard error of zero",
        cell("evidence/national.csv", 2, "se", "0"),
        ("evidence/national.csv, row 2, column se", "'0'"),
    ),
    (
        "history after go-live",
        cell("evidence/history.csv", 2, "calendar_month", "2019-01"),
        ("evidence/history.csv, row 2, column calendar_month", "'2019-01'", "go-live"),
    ),
    (
        "history after referral",
        cell("evidence/history.csv", 2, "months_from_referral", "6"),
        ("evidence/history.csv, row 2, column months_from_referral", "'6'"),
    ),
    (
        "quantiles out of order",
        cell("evidence/elicited.csv", 2, "q05", "0.99"),
        ("evidence/elicited.csv, row 2",),
    ),
    (
        "another outcome only",
        lambda data, specs: (
            [
                path.write_text(path.read_text("utf-8").replace("custody", "imprisonment"), "utf-8")
                for path in [data / "outcomes.csv", *(data / "evidence").glob("*.csv")]
            ]
            and None
        ),
        ("outcomes.csv", "custody"),
    ),
    ("no specs", remove("custody.toml", models=True), ("models", "no model spec")),
    (
        "a cost line of no outcome",
        edit("costs.toml", 'outcome = "custody"', 'outcome = "custodi"', models=True),
        ("costs.toml, column lines.prison_places.outcome", "did you mean 'custody'"),
    ),
    (
        "spec that is no TOML",
        write("custody.toml", b"[outcome\nname =", models=True),
        ("custody.toml", "TOML"),
    ),
    (
        "unknown key of a spec",
        edit("custody.toml", "wave_sd", "wave_sdd", models=True),
        ("custody.toml", "wave_sdd", "wave_sd"),
    ),
    (
        "unknown prior slot",
        edit("custody.toml", "site_effect_sd =", "site_efect_sd =", models=True),
        ("custody.toml", "priors.site_efect_sd", "did you mean 'site_effect_sd'"),
    ),
    (
        "negative prior scale",
        edit("custody.toml", "mu = 0.0, sigma = 0.5", "mu = 0.0, sigma = -0.5", models=True),
        ("custody.toml", "priors.effect_mean", "sigma must be above 0"),
    ),
    (
        "unknown check",
        edit("custody.toml", "prior_rate_low", "prior_rate_lo", models=True),
        ("custody.toml", "prior_rate_lo"),
    ),
    (
        "unknown key of the costs",
        edit("costs.toml", "[meta]", "[meta]\nprice_yaer = 1", models=True),
        ("costs.toml", "price_yaer"),
    ),
]


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    """Copies of the shipped data and specs."""
    data, specs = tmp_path / "data", tmp_path / "models"
    shutil.copytree(ROOT / "data" / "synthetic", data)
    specs.mkdir()
    (specs / "custody.toml").write_text(complete("custody"), encoding="utf-8")
    shutil.copyfile(ROOT / "models" / "costs.toml", specs / "costs.toml")
    return data, specs


def test_there_are_thirty_kinds() -> None:
    assert len({name for name, _, _ in CASES}) == len(CASES) >= 30


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "told"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_evaluate_refuses(
    spoil: Spoil,
    told: tuple[str, ...],
    inputs: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, specs = inputs
    spoil(data, specs)
    before = sorted(p for p in tmp_path.rglob("*"))
    out = tmp_path / "results"
    status = main(["evaluate", str(data), "--models", str(specs), "--out", str(out)])
    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    for text in told:
        assert text in printed.err
    assert "Traceback" not in printed.err
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_all_problems_are_told_at_once(
    inputs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, specs = inputs
    cell("outcomes.csv", 2, "status", "ok")(data, specs)
    cell("sites.csv", 3, "wave", "0")(data, specs)
    cell("evidence/national.csv", 2, "se", "0")(data, specs)
    assert main(["validate", str(data)]) == 2
    told = capsys.readouterr().err
    assert "3 problems" in told
    for place in ("outcomes.csv, row 2", "sites.csv, row 3", "evidence/national.csv, row 2"):
        assert place in told


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["evalute"],
        ["evaluate"],
        ["evaluate", "data", "--models", "models"],
        ["evaluate", "data", "--models", "models", "--out", "x", "--jobs", "0"],
        ["evaluate", "data", "--models", "models", "--out", "x", "--unknown"],
        ["simulate", "x"],
        ["simulate", "x", "--seed", "-1"],
        ["simulate", "x", "--seed", "1", "--world", "other"],
        ["savings", "x"],
    ],
    ids=lambda a: " ".join(a) or "nothing",
)
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "usage" in printed.err


@pytest.mark.slow
def test_places_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, models = str(ROOT / "data" / "synthetic"), str(ROOT / "models")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine", encoding="utf-8")
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(ROOT / "models" / "custody.toml", alone)
    cases = {
        "there is no such directory": ["evaluate", str(tmp_path / "none"), "--models", models],
        "no such folder": ["evaluate", data, "--models", str(tmp_path / "none")],
        "no spec for this outcome": [
            "evaluate",
            data,
            "--models",
            str(alone),
            "--outcomes",
            "hearings",
        ],
    }
    for told, arguments in cases.items():
        assert main([*arguments, "--out", str(tmp_path / "results")]) == 2
        assert told in capsys.readouterr().err
        assert not (tmp_path / "results").exists()
    for place, told in ((foreign, "not a run directory"), (file, "is a file")):
        assert main(["evaluate", data, "--models", models, "--out", str(place)]) == 2
        assert told in capsys.readouterr().err
    assert [p.name for p in foreign.iterdir()] == ["thesis.txt"]
    for command in (["report", str(foreign)], ["check", str(foreign)]):
        assert main(command) == 2
        assert "not a run directory" in capsys.readouterr().err
    assert [p.name for p in foreign.iterdir()] == ["thesis.txt"]


def spoilt_settings(name: str, key: str, text: str, *, models: bool = False) -> Spoil:
    """Give a key of a TOML file a text, wherever its first place is."""

    def spoil(data: Path, specs: Path) -> None:
        path = (specs if models else data) / name
        lines = path.read_text(encoding="utf-8").splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{key} = "))
        lines[at] = f'{key} = "{text}"'
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    return spoil


#: Every place of a free text that a report or a workbook shows.
FREE_TEXTS: list[tuple[Spoil, str]] = [
    *(
        (spoilt_settings("custody.toml", key, "a\\u0001b", models=True), f"outcome.{key}")
        for key in ("label", "event", "trials")
    ),
    *(
        (spoilt_settings("costs.toml", key, "a\\u000bb", models=True), key)
        for key in ("name", "label", "description", "source", "note")
    ),
    *((spoilt_settings("evaluation.toml", key, "a\\u0002b"), key) for key in ("name", "notes")),
    *((cell("sites.csv", 2, column, "a\x0bb"), column) for column in ("label", "region")),
    (cell("outcomes.csv", 2, "source", "p\x02nc"), "source"),
    (cell("evidence/elicited.csv", 2, "who", "a\ufffeb"), "who"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "place"), FREE_TEXTS)
def test_no_text_holds_what_a_document_cannot(
    spoil: Spoil, place: str, inputs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, specs = inputs
    spoil(data, specs)
    assert main(["validate", str(data), "--models", str(specs)]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if "not seen" in line]
    assert len(told) == 1, told
    assert place in told[0]


def spec_of(specs: Path, name: str, *, given: str = "", **changes: str) -> None:
    """Write another spec after that of custody."""
    lines = (specs / "custody.toml").read_text(encoding="utf-8").splitlines()
    for key, value in ({"name": f'"{name}"', "exposure_outcome": f'"{given}"'} | changes).items():
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{key} = "))
        lines[at] = f"{key} = {value}"
    (specs / f"{name}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


#: What each outcome is counted out of, other changes, and the outcomes that are refused.
CONTRADICTIONS: list[tuple[dict[str, str], dict[str, str], set[str]]] = [
    ({"custody": "custody"}, {}, {"custody"}),
    ({"custody": ""}, {"selected": "true"}, {"custody"}),
    ({"custody": "a", "a": "custody"}, {}, {"custody", "a"}),
    ({"custody": "a", "a": "b", "b": "a"}, {}, {"a", "b"}),
    ({"custody": "a", "a": "b", "b": ""}, {}, set()),
]


@pytest.mark.slow
@pytest.mark.parametrize(("given", "changes", "refused"), CONTRADICTIONS)
def test_what_an_outcome_is_counted_out_of_must_make_sense(
    given: dict[str, str],
    changes: dict[str, str],
    refused: set[str],
    inputs: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, specs = inputs
    for name, other in given.items():
        spec_of(specs, name, given=other, **changes)
    assert main(["validate", str(data), "--models", str(specs)]) == (2 if refused else 0)
    told = [
        line
        for line in capsys.readouterr().err.splitlines()
        if "exposure_outcome must" in line or "outcome.exposure_outcome" in line
    ]
    assert {line.strip().split(".toml")[0] for line in told} == refused


def test_what_is_not_a_count_of_events_is_no_exposure() -> None:
    """Closed: rate and shift times exposure is the number of events in these families alone."""
    counts = {name for name, family in FAMILIES.items() if family.counts}
    assert FAMILIES.keys() - counts == {"duration_hazard", "ordered_change"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["drug-use", "Crime", "A-2_b"])
def test_an_outcome_of_the_data_can_be_evaluated(
    name: str, inputs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The contract and the specs take the same names."""
    data, specs = inputs
    for path in (data / "outcomes.csv", *(data / "evidence").glob("*.csv"), *specs.glob("*.toml")):
        text = path.read_text(encoding="utf-8")
        path.write_text(
            text.replace("custody,", f"{name},").replace('"custody"', f'"{name}"'), encoding="utf-8"
        )
    assert main(["validate", str(data), "--models", str(specs)]) == 0
    told = capsys.readouterr().out
    assert f"outcome {name}:" in told
    assert f"outcome {name} has no spec" not in told


@pytest.mark.slow
@pytest.mark.parametrize("out", ["a" * 256, "/".join(["b" * 200] * 20)])
def test_a_place_with_too_long_a_name_is_refused_by_every_command_that_writes(
    out: str, inputs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, specs = inputs
    where = str(tmp_path / out)
    spec = [str(specs / "custody.toml"), "--data", str(data)]
    commands = [
        ["evaluate", str(data), "--models", str(specs), "--out", where],
        *(
            [name, *spec, "--out", where]
            for name in ("fit", "tipping", "placebo", "backtest", "ledger")
        ),
        ["calibrate", spec[0], "--replicates", "1", "--out", where],
        ["simulate", where, "--seed", "1"],
        ["assemble", str(data), "--out", where],
    ]
    before = sorted(tmp_path.rglob("*"))
    for command in commands:
        assert main(command) == 2, command[0]
        assert "too long" in capsys.readouterr().err, command[0]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "name", [".gitkeep", ".gitignore", ".DS_Store", "Thumbs.db", ".ipynb_checkpoints/x.csv"]
)
def test_what_programs_leave_behind_makes_no_folder_foreign(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("", encoding="utf-8")
    assert run_problems(tmp_path) == []
    (tmp_path / "thesis.txt").write_text("", encoding="utf-8")
    assert len(run_problems(tmp_path)) == 1


def test_good_input_passes_and_writes_nothing(
    inputs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, specs = inputs
    # a truth nobody may read
    (data / "truth.json").write_text(json.dumps({"broken": True})[:-3], encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    assert main(["validate", str(data), "--models", str(specs)]) == 0
    assert "custody" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before
