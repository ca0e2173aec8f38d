"""Inputs that are not plain files, and settings that nobody wrote by hand."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lndbayes.app.cli import main
from lndbayes.files.reading import (
    Unreadable,
    parse_json,
    read_text,
    read_toml,
    why_no_file,
    why_no_folder,
)
from small import MODELS, load

directory = load("data/conftest.py")


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def loop(path: Path) -> None:
    path.symlink_to(path.name)


KINDS: tuple[Callable[[Path], None], ...] = (folder, pipe, unix_socket, device, dangling, loop)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_what_is_no_plain_file_is_not_opened(make, tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    make(path)
    assert why_no_file(path).startswith("cannot be read: ")
    with pytest.raises(Unreadable, match="cannot be read"):
        read_text(path)
    assert (why_no_folder(path) == "") == (make is folder)


def test_what_is_closed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one.csv"
    path.write_text("a\n", encoding="utf-8")
    assert why_no_file(path) == why_no_folder(tmp_path) == ""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert why_no_file(path) == why_no_folder(tmp_path) == "cannot be read: Permission denied"
    assert why_no_file(path / "below").startswith("cannot be read: ")
    assert why_no_file(tmp_path / ("x" * 300)).startswith("cannot be read: ")


#: Place in the evaluation directory or the models folder: what stands there is not a plain file.
PLACES = ("data/mix.csv", "data/sites.csv", "data/evaluation.toml", "data/evidence/national.csv")
PLACES += ("models/costs.toml", "models/custody.toml", "models/other.toml")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("make", [folder, pipe, dangling], ids=lambda make: make.__name__)
@pytest.mark.parametrize("place", PLACES)
def test_no_input_is_taken_for_absent(place, make, tmp_path, capsys) -> None:
    tiny = directory.Directory(tmp_path / "data")
    tiny.write()
    models = tmp_path / "models"
    models.mkdir()
    for name in ("custody.toml", "costs.toml"):
        (models / name).write_bytes((MODELS / name).read_bytes())
    path = tmp_path / place
    path.unlink(missing_ok=True)
    make(path)
    assert main(["validate", str(tmp_path / "data"), "--models", str(models)]) == 2
    told = capsys.readouterr().err
    assert f"{path.name}: cannot be read" in told
    assert "Traceback" not in told


def test_evidence_that_is_no_folder_is_not_no_evidence(tmp_path, capsys) -> None:
    tiny = directory.Directory(tmp_path / "data")
    tiny.write()
    evidence = tmp_path / "data" / "evidence"
    evidence.rename(tmp_path / "data" / "evidnce")
    assert main(["validate", str(tmp_path / "data")]) == 2
    assert "evidnce: is not a folder of the contract" in capsys.readouterr().err
    for make in (dangling, loop, pipe):
        make(evidence)
        assert main(["validate", str(tmp_path / "data")]) == 2
        assert "evidence: cannot be read" in capsys.readouterr().err
        evidence.unlink()
    evidence.write_text("retrospective", encoding="utf-8")
    assert main(["validate", str(tmp_path / "data")]) == 2
    assert "evidence: cannot be read: it is a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = " + "[" * 5000 + "]" * 5000, "nested"),
        ("a = " + "[" * 40 + "]" * 40, "nested"),
        (".".join(["a"] * 900) + " = 1", "nested"),
        ("a = " + "9" * 10_000, "not valid TOML"),
        ("a = " + "{b = " * 3000 + "1" + "}" * 3000, "nested"),
        ("a = [\n1,\n", "not valid TOML"),
        ("a = [[9223372036854775808]]", "64 bits"),
        ("a = '" + "x" * (5 << 20) + "'", "larger than 4 MB"),
    ],
    ids=["arrays", "forty", "dotted", "digits", "tables", "cut", "bits", "huge"],
)
def test_settings_that_would_exhaust_the_reader(text, told, tmp_path, capsys) -> None:
    path = tmp_path / "one.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Unreadable, match=told):
        read_toml(path)
    tiny = directory.Directory(tmp_path / "data")
    tiny.write()
    for command in (["priors", str(path), "--data", str(tmp_path / "data")], ["validate", "DIR"]):
        if command[0] == "validate":
            (tmp_path / "data" / "evaluation.toml").write_text(text, encoding="utf-8")
            command = ["validate", str(tmp_path / "data")]
        assert main(command) == 2
        assert told in capsys.readouterr().err


def test_settings_as_deep_as_ours_are_read(tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    path.write_bytes(b"\xef\xbb\xbfa.b.c.d.e = [[1, 2], [3]]\n")
    assert read_toml(path) == {"a": {"b": {"c": {"d": {"e": [[1, 2], [3]]}}}}}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "[" * 40 + "]" * 40, "{", ""])
def test_json_that_is_none_or_too_deep_is_told(text: str) -> None:
    with pytest.raises(Unreadable, match=r"nested|not valid JSON"):
        parse_json(text)
