"""Extracts on disk: read back, replaced as a whole, the committed set, the document."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from lndbayes.app.cli import main
from lndbayes.base.errors import DataError, UsageError
from lndbayes.synthetic import simulate, write_evaluation
from lndbayes.synthetic.extracts import (
    SOURCES,
    ExtractWorld,
    RateLaw,
    SourceLaw,
    simulate_extracts,
    write_extracts,
)

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "data" / "extracts"
DOCUMENT = ROOT / "docs" / "extracts.md"
EVALUATION = simulate(35)
TABLES = ("persons", "referrals", *SOURCES)


@pytest.fixture(scope="module")
def sim():
    return simulate_extracts(
        EVALUATION.frames["sites.csv"], "2011-04", "2019-03", seed=35, persons_scale=0.005
    )


def read(path):
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    with duckdb.connect() as connection:
        return connection.execute("SELECT * FROM read_parquet(?)", [str(path)]).df()


def as_text(frame):
    """Every value as text and absent ones as empty text: the same whatever the file's types."""
    columns = {}
    for name, values in frame.items():
        text = (
            values.dt.strftime("%Y-%m-%d")
            if values.dtype.kind == "M"
            else values.astype("Int64").astype("string")
            if values.dtype.kind in "iuf"
            else values.astype("string")
        )
        columns[name] = text.fillna("").astype(object)
    return pd.DataFrame(columns)


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_what_is_written_reads_back(sim, tmp_path, form):
    out = write_extracts(sim, tmp_path / "x", form=form)
    expected = {f"{n}.{form}" for n in TABLES} | {"sites.csv", "sources.csv"}
    assert {p.name for p in out.iterdir()} == expected | {"extracts.toml", "truth.json"}
    for name in TABLES:
        back = read(out / f"{name}.{form}")
        pd.testing.assert_frame_equal(as_text(back), as_text(sim.frames[name]), check_exact=True)
    settings = tomllib.loads((out / "extracts.toml").read_text(encoding="utf-8"))
    assert settings == sim.settings
    assert settings["extract_date"] == "2019-03-31"
    truth = json.loads((out / "truth.json").read_text(encoding="utf-8"))
    assert truth["events"] == sim.truth["events"]
    assert set(truth["outcomes"]) == set(sim.truth["outcomes"])


def test_parquet_holds_dates_and_text(sim, tmp_path):
    out = write_extracts(sim, tmp_path / "x")
    with duckdb.connect() as connection:
        rows = connection.execute(
            "DESCRIBE SELECT * FROM read_parquet(?)", [str(out / "persons.parquet")]
        ).fetchall()
    types = {name: kind for name, kind, *_ in rows}
    assert {types[n] for n in ("birth_date", "death_date", "contact_date")} == {"DATE"}
    assert types["study_id"] == types["site"] == "VARCHAR"
    assert types["consented"] == "BIGINT"


def test_the_same_extracts_give_the_same_bytes(sim, tmp_path):
    one, two = (write_extracts(sim, tmp_path / name) for name in ("a", "b"))
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes(), path.name


def test_only_earlier_synthetic_extracts_are_replaced(sim, tmp_path):
    out = write_extracts(sim, tmp_path / "x", form="csv")
    write_extracts(sim, out)
    assert not (out / "persons.csv").exists()
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match=r"notes\.txt"):
        write_extracts(sim, out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "persons.csv").write_text("study_id\n", encoding="utf-8")
    with pytest.raises(DataError, match="must be empty or hold earlier synthetic extracts"):
        write_extracts(sim, tmp_path / "other")
    with pytest.raises(UsageError, match="parquet, csv"):
        write_extracts(sim, tmp_path / "y", form="xlsx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "x"]


def test_the_command_writes_an_evaluation_with_its_extracts_and_again(tmp_path):
    out = tmp_path / "world"
    command = ["simulate", str(out), "--seed", "36", "--sites", "3", "--quiet"]
    assert main([*command, "--extracts", "--persons-scale", "0.01"]) == 0
    held = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert "extracts/persons.parquet" in held
    assert held["sites.csv"] == held["extracts/sites.csv"]
    assert main([*command, "--extracts", "--persons-scale", "0.01"]) == 0
    assert held == {
        p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()
    }
    # the evaluation itself is what the command writes without extracts
    write_evaluation(simulate(36, sites=3), tmp_path / "plain")
    for path in (tmp_path / "plain").rglob("*.csv"):
        assert held[path.relative_to(tmp_path / "plain").as_posix()] == path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plain", "world"]


def test_the_command_refuses_what_it_cannot_do_and_leaves_all_as_it_was(tmp_path, capsys):
    out = tmp_path / "world"
    base = ["simulate", str(out), "--seed", "1", "--sites", "2"]
    assert main([*base, "--persons-scale", "1"]) == 2
    assert "--extracts" in capsys.readouterr().err
    assert main([*base, "--extracts", "--persons-scale", "-1"]) == 2
    assert "persons_scale" in capsys.readouterr().err
    assert not out.exists()
    assert main([*base, "--extracts", "--persons-scale", "0.01"]) == 0
    before = (out / "extracts" / "truth.json").read_bytes()
    (out / "mine.txt").write_text("mine", encoding="utf-8")
    assert main([*base, "--extracts", "--persons-scale", "0.02"]) == 2
    assert (out / "extracts" / "truth.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["world"]


def test_the_committed_extracts_are_what_their_seed_gives():
    settings = tomllib.loads((COMMITTED / "extracts.toml").read_text(encoding="utf-8"))
    truth = json.loads((COMMITTED / "truth.json").read_text(encoding="utf-8"))
    sites = pd.read_csv(COMMITTED / "sites.csv")
    again = simulate_extracts(
        sites,
        settings["first_month"],
        settings["last_month"],
        seed=truth["seed"],
        world=truth["world"],
        persons_scale=truth["persons_scale"],
    )
    assert truth["seed"] == 20140401
    assert settings == again.settings
    for name in TABLES:
        held = read(COMMITTED / f"{name}.parquet")
        pd.testing.assert_frame_equal(as_text(held), as_text(again.frames[name]), check_exact=True)
    sources = read(COMMITTED / "sources.csv")
    assert sources["source"].to_list() == again.frames["sources"]["source"].to_list()
    assert truth["events"] == again.truth["events"]
    assert sum(p.stat().st_size for p in COMMITTED.iterdir()) < 3e6


def shown(value):
    values = value if isinstance(value, tuple) else (value,)
    return ", ".join(v if isinstance(v, str) else f"{v:.10g}" for v in values) or "-"


def table(heading):
    section = DOCUMENT.read_text(encoding="utf-8").split(f"### {heading}\n")[1].split("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return cells[0], cells[2:]


def test_every_parameter_is_documented_with_its_value_and_origin():
    world = ExtractWorld()
    _, rows = table("Persons, effects and courses")
    plain = {
        field.name: shown(getattr(world, field.name))
        for field in fields(world)
        if not isinstance(getattr(world, field.name), RateLaw | SourceLaw)
    }
    assert {name.strip("`"): value for name, value, _ in rows} == plain
    assert [name.strip("`") for name, _, _ in rows] == list(plain)
    for name, _, origin in rows:
        assert re.search(r"assumption|RAND|russellwebster|england\.nhs\.uk", origin), name


@pytest.mark.parametrize(
    ("heading", "kind"), [("Rates", RateLaw), ("Sources and their losses", SourceLaw)]
)
def test_the_laws_are_documented_with_their_values(heading, kind):
    world = ExtractWorld()
    laws = {
        f.name: getattr(world, f.name)
        for f in fields(world)
        if isinstance(getattr(world, f.name), kind)
    }
    header, rows = table(heading)
    names = [field.name for field in fields(kind)]
    assert [cell.strip("`") for cell in header[1:]] == names
    assert [row[0].strip("`") for row in rows] == list(laws)
    for row in rows:
        law = laws[row[0].strip("`")]
        assert row[1:] == [shown(getattr(law, name)) or "-" for name in names], row[0]


def test_the_document_names_every_column_of_every_table(sim):
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, frame in sim.frames.items():
        section = text.split(f"### `{name}`\n")[1].split("\n#")[0]
        header = section.split("```text\n")[1].splitlines()[0]
        assert header == ",".join(frame.columns), name
