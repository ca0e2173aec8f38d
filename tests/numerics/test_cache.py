"""Compiled code between processes: where it is kept, and that nothing damaged is ever run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lndbayes.numerics import compile_cache as cache
from lndbayes.numerics.compile_cache import FOLDER, Compiled, cache_folder
from small import ROOT

#: No folder can be made below it, by whatever user.
NOWHERE = "/proc/nonexistent"


@pytest.fixture
def compiled(tmp_path: Path) -> Compiled:
    return Compiled(tmp_path / "code", "density", b"source")


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut in its head": lambda content: content[:40],
    "cut": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "a bit of the head": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "a bit of the digest": lambda content: content[:30] + bytes([content[30] ^ 1]) + content[31:],
    "a bit of the code": lambda content: content[:-9] + bytes([content[-9] ^ 64]) + content[-8:],
    "another format": lambda content: content[60:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_code_is_as_good_as_none(compiled, damage) -> None:
    compiled.save("key", ["machine code"] * 50)
    assert compiled.load("key") == ["machine code"] * 50
    path = compiled.path("key")
    path.write_bytes(damage(path.read_bytes()))
    assert compiled.load("key") is None
    compiled.save("key", ["anew"])
    assert compiled.load("key") == ["anew"]


def test_code_is_read_under_its_own_key_and_source_only(compiled) -> None:
    compiled.save("one", [1])
    assert compiled.load("two") is None
    compiled.path("one").rename(compiled.path("two"))
    assert compiled.load("two") is None, "another key's code in its place is not run"
    compiled.save("one", [1])
    assert Compiled(compiled.folder, "density", b"edited").load("one") is None
    compiled.flush()
    assert compiled.load("one") is None


def test_old_code_does_not_pile_up(compiled) -> None:
    for key in range(20):
        compiled.save(key, [key])
        os.utime(compiled.path(key), (key, key))
    assert 2 <= len(list(compiled.folder.iterdir())) < 20
    assert compiled.load(19) == [19]
    assert compiled.load(0) is None


def test_a_disk_that_refuses_costs_no_more_than_time(tmp_path) -> None:
    lost = Compiled(Path(NOWHERE), "density", b"source")
    with pytest.warns(RuntimeWarning, match="compiled code is not kept"):
        lost.save("key", [1])
    assert lost.load("key") is None
    taken = Compiled(tmp_path, "density", b"source")
    taken.path("key").mkdir()
    assert taken.load("key") is None
    with pytest.warns(RuntimeWarning, match="compiled code is not kept"):
        taken.save("key", [1])
    assert [p.name for p in tmp_path.iterdir()] == [taken.path("key").name]


# --- where it is kept -----------------------------------------------------------------------------


@pytest.fixture
def secure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Neither package nor home can be written; the folder for temporary files can."""
    monkeypatch.setattr(cache, "__file__", f"{NOWHERE}/model/cache.py")
    monkeypatch.setattr(cache.config, "CACHE_DIR", "")
    monkeypatch.setenv("HOME", NOWHERE)
    for name in (FOLDER, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    cache_folder.cache_clear()
    yield monkeypatch
    cache_folder.cache_clear()


def test_the_first_folder_that_can_be_written(secure, tmp_path) -> None:
    private = tmp_path / f"lndbayes-{os.getuid()}"
    assert cache_folder() == private
    assert private.stat().st_mode & 0o777 == 0o700
    found = []
    for name in ("home", "beside", "numba", "given"):
        place = tmp_path / name
        if name == "home":
            secure.setenv("XDG_CACHE_HOME", str(place))
        elif name == "beside":
            secure.setattr(cache, "__file__", str(place / "cache.py"))
        elif name == "numba":
            secure.setattr(cache.config, "CACHE_DIR", str(place))
        else:
            secure.setenv(FOLDER, str(place))
        cache_folder.cache_clear()
        found.append(cache_folder())
    below = ("home/lndbayes", "beside/__pycache__", "numba/lndbayes", "given/lndbayes")
    assert found == [tmp_path / name for name in below]
    secure.setenv(FOLDER, NOWHERE)
    cache_folder.cache_clear()
    with pytest.warns(RuntimeWarning, match=f"{FOLDER} names {NOWHERE}, which cannot be written"):
        assert cache_folder() == tmp_path / "numba/lndbayes"


@pytest.mark.parametrize("spoil", ["open to others", "a link", "a file", "another's"])
def test_a_folder_others_could_write_is_not_run_from(secure, tmp_path, spoil) -> None:
    private = tmp_path / f"lndbayes-{os.getuid()}"
    if spoil == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        private.symlink_to(tmp_path / "elsewhere")
    elif spoil == "a file":
        private.touch()
    else:
        private.mkdir(mode=0o700)
    if spoil == "open to others":
        private.chmod(0o770)
    if spoil == "another's":
        mine = os.getuid()
        secure.setattr(cache.os, "getuid", lambda: mine + 1)
        (tmp_path / f"lndbayes-{mine + 1}").mkdir(mode=0o700)
    with pytest.warns(RuntimeWarning, match=rf"compiles the density anew.*{FOLDER} may name one"):
        assert cache_folder() is None


#: Compiles next to nothing where package and home cannot be written; prints the cache's hits.
PROBES = """
import sys, warnings
from lndbayes.numerics import compile_cache as cache
cache.__file__ = "/proc/nonexistent/model/cache.py"
if sys.argv[1:]:
    cache._private = lambda folder: False
from lndbayes.fitting.c_functions import entry, prepare
if sys.argv[1:]:
    import lndbayes.fitting.c_functions as module
    module.subprocess = None
    prepare(["ranged"])
probe = entry("probe")
print(probe.cache_hits, probe.ctypes(5) > 5, cache.cache_folder())
"""


def probe(tmp_path: Path, *arguments: str) -> list[str]:
    environment = {k: v for k, v in os.environ.items() if k not in (FOLDER, "NUMBA_CACHE_DIR")}
    environment |= {"HOME": NOWHERE, "XDG_CACHE_HOME": NOWHERE, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-W", "default", "-c", PROBES, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [*done.stdout.split(), done.stderr]


@pytest.mark.slow
def test_nothing_needs_to_be_writable_and_damage_is_mended(tmp_path: Path) -> None:
    folder = tmp_path / f"lndbayes-{os.getuid()}"
    assert probe(tmp_path)[:3] == ["0", "True", str(folder)]
    (file,) = folder.glob("*probe*.code")
    content = bytearray(file.read_bytes())
    for at in range(100, len(content), 7):
        content[at] ^= 255
    file.write_bytes(content)
    assert probe(tmp_path)[0] == "0", "flipped machine code is not run but made again"
    assert probe(tmp_path)[0] == "1"


@pytest.mark.slow
def test_without_any_folder_code_is_compiled_in_every_process(tmp_path: Path) -> None:
    hits, right, folder, told = probe(tmp_path, "none")
    assert (hits, right, folder) == ("0", "True", "None")
    assert "every process compiles the density anew" in told


#: Validates where neither package nor home can be written; prints its status and what it imported.
VALIDATES = """
import sys
from lndbayes.app.cli import main
status = main(["validate", *sys.argv[1:]])
print(status, [name for name in ("numba", "nutpie", "pymc") if name in sys.modules])
"""


@pytest.mark.slow
@pytest.mark.parametrize("models", [True, False])
def test_a_check_of_data_needs_no_compiler(models: bool) -> None:
    data = [str(ROOT / "data" / "synthetic")]
    arguments = [*data, "--models", str(ROOT / "models")] if models else data
    environment = os.environ | {"HOME": NOWHERE, "XDG_CACHE_HOME": NOWHERE}
    command = [sys.executable, "-c", VALIDATES, *arguments]
    printed = subprocess.check_output(command, env=environment, text=True)
    assert printed.splitlines()[-1] == "0 []"
