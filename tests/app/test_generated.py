"""Whole evaluations that nobody thought of: taken and finished with finite numbers, or refused.

Twenty of them here; `make release-check` tries hundreds.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings

import generated_run
from generated import CHOICES, FLAWS, Recipe, plain, recipes, sampled, told, write
from generated_run import faults_of, judged, not_finite, refused, try_many
from lndbayes.app.cli import main
from lndbayes.spec.families import FAMILIES


@pytest.mark.slow
# an example that fails is told by its choices; to shrink one takes as many evaluations again
@settings(max_examples=20, phases=(Phase.explicit, Phase.generate))
@given(recipes())
def test_a_generated_evaluation_is_finished_or_refused(recipe: Recipe) -> None:
    assert not faults_of(recipe, report=recipe.seed % 4 == 0), told(recipe)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_plain_choices_are_valid(family, tmp_path) -> None:
    data, models = write(plain(family), tmp_path)
    assert main(["validate", str(data), "--models", str(models)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_alone_is_refused_and_leaves_nothing(flaw, tmp_path) -> None:
    evidence = dict.fromkeys(("retrospective", "national", "history", "elicited"), "usual")
    # a family that reads every column; nothing is fitted even if a flaw should pass
    recipe = plain("ordered_bands", **evidence, flaw=flaw)
    assert judged(recipe, tmp_path / "one", fits=False) == ("refused", [])


def test_an_example_of_a_number_is_always_the_same() -> None:
    assert sampled(7) == sampled(7)
    assert len({told(sampled(i)) for i in range(50)}) == 50
    # every choice comes up, and none is all there is
    many = [asdict(sampled(i)) for i in range(2000)]
    for name, values in CHOICES.items():
        assert {row[name] for row in many} == set(values), name
    assert {row["flaw"] for row in many} == {"none", *FLAWS}


@pytest.mark.parametrize("cell", ["inf", "-inf", "NaN", "Infinity"])
def test_a_number_that_is_none_is_found_wherever_it_is(cell, tmp_path) -> None:
    (tmp_path / "a.csv").write_text(f"site,mean\ninfirmary,{cell}\n", encoding="utf-8")
    (tmp_path / "b.html").write_text(f"<p>information <b>{cell}</b> to 3</p>", encoding="utf-8")
    (tmp_path / "c.json").write_text('{"a": NaN}', encoding="utf-8")
    assert [line.split(":")[0] for line in not_finite(tmp_path)] == ["a.csv", "b.html", "c.json"]
    (tmp_path / "a.csv").write_text("site,mean\ninfirmary,\nNantes,2\n", encoding="utf-8")
    (tmp_path / "b.html").write_text("<p>Nantes, information</p>", encoding="utf-8")
    (tmp_path / "c.json").write_text('{"a": null}', encoding="utf-8")
    assert not_finite(tmp_path) == []


def test_what_is_told_apart() -> None:
    said = "lndbayes: 2 problems\n  a.csv, row 2: must be so\n  b.csv: is absent\n"
    assert refused(said) == {"a.csv, row 2: must be so", "b.csv: is absent"}


@pytest.mark.parametrize(
    ("status", "files", "fault"),
    [
        ((0, 70), False, "evaluate ended with 70"),
        ((2, 0), False, "evaluate ended with 0"),
        ((2, 2), True, "files after a refusal"),
        ((1, 1), False, "validate ended with 1"),
    ],
)
def test_every_kind_of_fault_is_told(tmp_path, monkeypatch, status, files, fault) -> None:
    def run(arguments: list[str]) -> tuple[int, str]:
        if files and arguments[0] == "evaluate":
            (tmp_path / "one" / "run").mkdir()
        return status[arguments[0] == "evaluate"], "a.csv: must be so\n"

    monkeypatch.setattr(generated_run, "_run", run)
    (found,) = judged(plain("beta_binomial"), tmp_path / "one")[1]
    assert found.startswith(fault)


def test_many_go_on_where_they_stopped(tmp_path, monkeypatch, capsys) -> None:
    tried: list[int] = []

    def judge(recipe: Recipe, root: Path, *, fits: bool) -> tuple[str, list[str]]:
        tried.append(recipe.seed)
        return "taken", ["a fault: here"] if recipe.seed == 2 else []

    monkeypatch.setattr(generated_run, "judged", judge)
    lines = str(tmp_path / "runs" / "lines.jsonl")
    assert try_many(["--first", "0", "--count", "2", "--lines", lines]) == 0
    assert try_many(["--first", "0", "--count", "4", "--lines", lines]) == 1
    assert tried == [0, 1, 2, 3]
    printed = capsys.readouterr().out
    assert "2 examples: {'taken': 2}; faults: none" in printed
    assert "4 examples: {'taken': 4}; faults: {'a fault': 1}" in printed
