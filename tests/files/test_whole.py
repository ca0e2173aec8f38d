"""Directories put in place whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from lndbayes.base.errors import DataError
from lndbayes.files.whole import files_within, replaced_directory


def held(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.csv").write_text("earlier")
    return tmp_path / "out"


def test_a_finished_directory_takes_the_place_of_the_earlier(tmp_path: Path, earlier) -> None:
    with replaced_directory(earlier) as fresh:
        (fresh / "b.csv").write_text("new")
        fresh.with_name("spill").mkdir()
        assert held(earlier) == {"a.csv": "earlier"}
    assert held(tmp_path) == {"out/b.csv": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_is_not_finished_leaves_no_trace(tmp_path: Path, error) -> None:
    target = tmp_path / "a" / "b" / "out"
    with pytest.raises(error), replaced_directory(target) as fresh:
        (fresh / "b.csv").write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("moves", [1, 2])
def test_an_interrupted_move_brings_the_earlier_back(
    tmp_path: Path, earlier, monkeypatch, error, moves
) -> None:
    """Whether it is stopped before or after the earlier directory was moved aside."""
    rename, left = Path.rename, [moves]

    def stopped(self: Path, target: Path) -> Path:
        left[0] -= 1
        if not left[0]:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(error), replaced_directory(earlier) as fresh:
        (fresh / "b.csv").write_text("new")
    assert held(tmp_path) == {"out/a.csv": "earlier"}


def test_links_and_files_count_and_empty_folders_do_not(tmp_path: Path) -> None:
    assert files_within(tmp_path / "absent") == set()
    (tmp_path / "one" / "empty").mkdir(parents=True)
    (tmp_path / "one" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "one")
    assert files_within(tmp_path) == {"one/file", "link"}
    with pytest.raises(DataError, match="must be a directory"):
        files_within(tmp_path / "one" / "file")
