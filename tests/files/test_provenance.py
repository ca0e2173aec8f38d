"""What the files of a run were made from: compared before they are read, dropped when outdated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lndbayes.base.errors import UsageError
from lndbayes.files.lock import alone, alone_in, claim
from lndbayes.files.provenance import (
    PRODUCTS,
    RECORD,
    changed_files,
    drop_outdated,
    evaluated,
    hashes_of,
    input_problems,
    record_product,
)
from lndbayes.files.storage import file_hash
from lndbayes.fitting.fit import SCHEMA, save_fit
from small import fake_fit

READ = ("data_quality.csv", "joint_correlation.csv", "backtest_summary.csv")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two outcomes, with a fit that an earlier run left."""
    out = tmp_path / "run"
    for name, data in (("custody", "now"), ("hearings", "now"), ("gone", "before")):
        tree = fake_fit(draws=2)
        tree.attrs |= {"schema": SCHEMA, "fit_key": f"key of {name}", "data_hash": data}
        save_fit(tree, out / "fits" / f"{name}.nc")
    for name in ("sensitivity/custody-bias_on.nc", "savings.nc", "effects.csv", *READ):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(f"{name} as written", encoding="utf-8")
    files = [p for p in out.rglob("*") if p.is_file() and p.stem != "gone"]
    outputs = {p.relative_to(out).as_posix(): file_hash(p) for p in files}
    write_manifest(out, {"seeds": {"custody": 1, "hearings": 2}, "outputs": outputs})
    return out


def write_manifest(run: Path, manifest: dict[str, Any]) -> None:
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def manifest(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "manifest.json").read_text(encoding="utf-8")))


def problems(run: Path, **options: bool) -> list[str]:
    found = input_problems(run, manifest(run), manifest(run)["seeds"], **options)
    return [problem.file for problem in found]


INPUTS = ("fits/custody.nc", "fits/hearings.nc", "sensitivity/custody-bias_on.nc", "savings.nc")


@pytest.mark.parametrize("name", [*INPUTS, *READ])
def test_an_edited_input_is_told(run: Path, name: str) -> None:
    assert problems(run) == []
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert problems(run) == [name]
    (run / name).unlink()
    (run / name).mkdir()
    assert problems(run) == [name]


def test_all_are_told_at_once(run: Path) -> None:
    (run / "fits" / "custody.nc").write_bytes(b"")
    (run / "sensitivity" / "custody-bias_on.nc").unlink()
    (run / "savings.nc").write_text("dearer", encoding="utf-8")
    assert sorted(problems(run)) == ["fits/custody.nc", *sorted(INPUTS[2:])][::1]
    assert "savings.nc" not in problems(run, savings=False), "savings are priced anew"
    (run / "joint_correlation.csv").write_text("edited", encoding="utf-8")
    assert problems(run, fits_only=True) == ["fits/custody.nc"]


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_that_is_gone_is_told(run: Path, name: str) -> None:
    (run / name).unlink()
    assert problems(run) == [name]


def test_a_fit_that_was_put_there_is_told(run: Path) -> None:
    told = manifest(run)
    del told["outputs"]["fits/hearings.nc"]
    write_manifest(run, told)
    assert problems(run) == ["fits/hearings.nc"]


def test_what_is_written_anew_is_no_input(run: Path) -> None:
    (run / "effects.csv").write_text("edited", encoding="utf-8")
    assert problems(run) == []
    assert [p.file for p in changed_files(run, manifest(run), ["effects.csv"])] == ["effects.csv"]


def test_fits_of_an_earlier_run_are_not_part_of_this_one(run: Path) -> None:
    stored = ["custody", "gone", "hearings"]
    assert evaluated(manifest(run), stored) == ["custody", "hearings"]
    assert evaluated({}, stored) == stored
    assert evaluated({"seeds": "?"}, stored) == stored
    assert hashes_of({"outputs": ["?"]}) == {}


# --- products -------------------------------------------------------------------------------------


def make(run: Path, product: str, made_from: dict[str, str]) -> None:
    for name in PRODUCTS[product]:
        (run / name).write_text(f"made from {made_from}", encoding="utf-8")
    record_product(run, product, made_from)


def there(run: Path) -> set[str]:
    return {k for k, files in PRODUCTS.items() if any((run / name).exists() for name in files)}


def test_a_product_is_listed_in_the_manifest_and_told_if_edited(run: Path) -> None:
    make(run, "joint", {"custody": "key of custody"})
    assert problems(run) == [], "made anew by its own command"
    assert manifest(run)["outputs"]["joint.csv"] == file_hash(run / "joint.csv")
    (run / "joint_correlation.csv").write_text("edited", encoding="utf-8")
    assert problems(run) == ["joint_correlation.csv"]


def test_products_of_other_fits_are_removed(run: Path) -> None:
    said: list[str] = []
    make(run, "joint", {"custody": "key of custody", "hearings": "key of hearings"})
    make(run, "backtest", {"custody": "key of custody"})
    make(run, "ledger", {"custody": "key before"})
    make(run, "strata", {"gone": "key of gone"})
    drop_outdated(run, "now", said.append)
    assert there(run) == {"joint", "backtest"}
    assert len(said) == 2
    drop_outdated(run, "now", said.append)
    assert len(said) == 2
    drop_outdated(run, "other data", said.append)
    assert there(run) == set()
    assert json.loads((run / RECORD).read_text(encoding="utf-8")) == {}


@pytest.mark.parametrize("record", [None, "", "[]", '{"joint": 1}'])
def test_what_nobody_knows_the_origin_of_is_not_shown(run: Path, record: str | None) -> None:
    make(run, "joint", {"custody": "key of custody"})
    (run / RECORD).unlink()
    if record is not None:
        (run / RECORD).write_text(record, encoding="utf-8")
    drop_outdated(run, "now", lambda line: None)
    assert there(run) == set()
    assert (run / "joint.of-unknown-inputs.csv").is_file(), (
        "set aside: it may be somebody's only copy"
    )


def test_a_back_test_may_be_copied_with_the_file_that_tells_of_it(run: Path) -> None:
    for key, shown in (("key of custody", {"backtest"}), ("key of another", set())):
        (run / "backtest_summary.csv").write_text("summary", encoding="utf-8")
        told = json.dumps({"made_from": {"custody": key}})
        (run / "backtest.json").write_text(told, encoding="utf-8")
        (run / RECORD).unlink(missing_ok=True)
        drop_outdated(run, "now", lambda line: None)
        assert there(run) == shown


def test_a_run_without_a_manifest_has_its_record(run: Path) -> None:
    (run / "manifest.json").unlink()
    make(run, "joint", {"custody": "key of custody"})
    assert not (run / "manifest.json").exists()
    drop_outdated(run, "now", lambda line: None)
    assert "joint" in there(run)


# --- one writer -----------------------------------------------------------------------------------

#: Holds a directory until its input ends.
HOLDS = """
import sys
from pathlib import Path
from lndbayes.files.lock import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_write_to_one_run(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    pipe = subprocess.PIPE

    @alone("out")
    def work(name: str, out: Path) -> str:
        # within one process it may be claimed again
        with alone_in(out):
            return name

    (tmp_path / ".a.nc.elsewhere.1.part").touch()
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="is being written by another process"):
            work("a", out=tmp_path)
        assert work("a", tmp_path / "not there") == "a"
        # a directory that is made on the way is claimed then
        with pytest.raises(UsageError, match="another process"), alone_in(tmp_path / "made"):
            (tmp_path / "made").symlink_to(tmp_path)
            claim(tmp_path / "made")
        assert other.stdin is not None
        other.stdin.close()
        other.wait()
    assert work("a", tmp_path) == "a"
