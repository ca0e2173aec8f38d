"""Writing: the same bytes, all or nothing, and never over somebody else's files."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lndbayes.base.errors import DataError
from lndbayes.synthetic import simulate, write_evaluation


@pytest.fixture(scope="module")
def sim():
    return simulate(20140401)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def test_two_runs_write_the_same_bytes(tmp_path, sim):
    write_evaluation(sim, tmp_path / "one")
    write_evaluation(simulate(20140401), tmp_path / "two")
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one == two
    assert set(one) == {*sim.frames, "evaluation.toml", "truth.json"}
    assert not any(b"\r" in text for text in one.values())
    assert all(text.endswith(b"\n") for text in one.values())
    assert len(one["outcomes.csv"]) < 3_600_000
    assert len(one["truth.json"]) < 300_000
    assert sum(map(len, one.values())) < 4_000_000


def test_what_is_written_is_what_was_drawn(tmp_path, sim):
    folder = write_evaluation(sim, tmp_path / "deep" / "er")
    for name, frame in sim.frames.items():
        read = pd.read_csv(folder / name, low_memory=False)
        assert list(read.columns) == list(frame.columns)
        for column in frame:
            if pd.api.types.is_numeric_dtype(frame[column]):
                np.testing.assert_allclose(read[column], frame[column], rtol=1e-11)
            else:
                assert read[column].fillna("").tolist() == frame[column].tolist()
    assert tomllib.loads((folder / "evaluation.toml").read_text()) == sim.evaluation
    truth = json.loads((folder / "truth.json").read_text())
    assert truth["axes"] == sim.truth["axes"]
    np.testing.assert_allclose(truth["baseline"]["eta0"], sim.truth["baseline"]["eta0"], rtol=1e-8)
    assert truth["world_parameters"] == sim.truth["world_parameters"]
    assert truth["parameters"]["national_curve"] is None


def test_whole_numbers_are_written_without_a_point(tmp_path, sim):
    folder = write_evaluation(sim, tmp_path / "out")
    row = (folder / "outcomes.csv").read_text().splitlines()[1]
    count = sim.frames["outcomes.csv"].loc[0, "count"]
    exposure = sim.frames["outcomes.csv"].loc[0, "exposure"]
    assert row == f"custody,S01,2014-04,pnc,{exposure},{count},observed,,,1 up to 3 months,"


def test_an_earlier_simulation_and_an_empty_directory_are_replaced(tmp_path, sim):
    out = tmp_path / "out"
    (out / "evidence").mkdir(parents=True)
    write_evaluation(simulate(5, sites=3), out)
    write_evaluation(sim, out)
    assert len(pd.read_csv(out / "sites.csv")) == 27
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("notes.txt", "mine", "must be empty or hold an earlier simulation"),
        ("evaluation.toml", "synthetic = false\n", "must be empty or hold an earlier simulation"),
        ("evaluation.toml", "synthetic = 'true'\n", "must be empty or hold an earlier simulation"),
        ("evaluation.toml", "not toml", "must be empty or hold an earlier simulation"),
    ],
)
def test_other_peoples_directories_are_left_alone(tmp_path, sim, name, text, words):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text(text)
    with pytest.raises(DataError, match=words):
        write_evaluation(sim, out)
    assert contents(tmp_path) == {f"out/{name}": text.encode()}


def test_files_added_to_a_simulation_are_not_lost(tmp_path, sim):
    out = write_evaluation(simulate(5, sites=3), tmp_path / "out")
    (out / "evidence" / "proxy.csv").write_text("mine\n")
    before = contents(tmp_path)
    with pytest.raises(DataError, match=r"proxy\.csv"):
        write_evaluation(sim, out)
    assert contents(tmp_path) == before


def test_a_file_in_the_way_is_refused(tmp_path, sim):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DataError, match="must be a directory"):
        write_evaluation(sim, tmp_path / "out")


def test_a_failed_move_brings_the_earlier_directory_back(tmp_path, sim, monkeypatch):
    out = write_evaluation(simulate(5, sites=3), tmp_path / "out")
    before, rename = contents(tmp_path), Path.rename

    def failing(self, target):
        if self.name == "new":
            raise OSError("disk full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="disk full"):
        write_evaluation(sim, out)
    assert contents(tmp_path) == before


def test_a_failed_write_leaves_nothing(tmp_path, sim, monkeypatch):
    def failing(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", failing)
    with pytest.raises(OSError, match="disk full"):
        write_evaluation(sim, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_truth_refuses_numbers_that_are_not_finite(tmp_path, sim):
    broken = replace(sim, truth={**sim.truth, "pooled": {"plateau": float("nan")}})
    with pytest.raises(ValueError, match="nan"):
        write_evaluation(broken, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
