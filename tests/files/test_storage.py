"""Files of draws: sealed by content, whole or not at all, and never trusted."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from lndbayes.base.errors import DataError, FitError
from lndbayes.files.storage import (
    SEAL,
    Damaged,
    content_digest,
    read_netcdf,
    stored_under,
    write_netcdf,
    write_whole,
)
from lndbayes.files.whole import clean_parts
from lndbayes.fitting.fit import SCHEMA, load_fit, save_fit, stored_fit
from lndbayes.fitting.fit_shape import require_shape, shape_problems
from small import fake_fit


@pytest.fixture
def fit() -> xr.DataTree:
    tree = fake_fit(draws=5)
    tree.attrs |= {"schema": SCHEMA, "fit_key": "key", "spec_text": '{"window": [7, 18]}'}
    return tree


@pytest.fixture
def file(fit: xr.DataTree, tmp_path: Path) -> Path:
    return save_fit(fit, tmp_path / "custody.nc")


# --- the seal -------------------------------------------------------------------------------------


def test_a_file_keeps_the_digest_of_what_was_written(tmp_path: Path) -> None:
    numbers = np.array([np.nan, -0.0, 1.5])
    other_nan = np.array([0x7FF8_0000_0000_0001], dtype=np.uint64).view(float)[0]
    stored = xr.Dataset(
        {
            "float": ("x", numbers),
            "single": ("x", numbers.astype(np.float32)),
            "count": ("x", np.array([1, 2, 3])),
            "flag": ("x", np.array([True, False, True])),
            "none": ("nothing", np.zeros(0)),
            "scalar": ((), 2.5),
        },
        coords={"x": ["a", "é", ""], "wave": ("w", [1, 2])},
        attrs={"text": "", "number": 3, "share": 0.5, "several": [1, 2], "ess": np.nan},
    )
    write_netcdf(stored, tmp_path / "a.nc")
    found = read_netcdf(tmp_path / "a.nc")
    assert content_digest(found) == content_digest(stored)
    assert SEAL not in found.attrs
    turned = xr.Dataset(dict(reversed([*stored.data_vars.items()])), stored.coords, stored.attrs)
    turned["float"] = ("x", np.array([other_nan, -0.0, 1.5]))
    assert content_digest(turned) == content_digest(stored)


CHANGES: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "a digit": lambda ds: ds.assign(a=ds["a"] + 1e-15),
    "a sign": lambda ds: ds.assign(a=-ds["a"]),
    "a number gone": lambda ds: ds.assign(a=ds["a"].where(ds["x"] > 0)),
    "precision": lambda ds: ds.assign(a=ds["a"].astype(np.float32)),
    "order": lambda ds: ds.isel(x=slice(None, None, -1)),
    "a label": lambda ds: ds.assign_coords(x=[0, 1, 3]),
    "a name": lambda ds: ds.rename(a="b"),
    "a dim": lambda ds: ds.drop_vars("x").rename(x="y"),
    "a variable less": lambda ds: ds.drop_vars("a"),
    "a variable more": lambda ds: ds.assign(b=1.0),
    "an attribute": lambda ds: ds.assign_attrs(spec="other"),
    "an attribute's kind": lambda ds: ds.assign_attrs(seed="1"),
    "a unit": lambda ds: ds.assign(a=ds["a"].assign_attrs(unit="months")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_breaks_the_seal(tmp_path: Path, change) -> None:
    first = xr.Dataset({"a": ("x", [0.5, 1.0, 2.0])}, {"x": [0, 1, 2]}, {"spec": "one", "seed": 1})
    write_netcdf(first.assign_attrs(key="k"), tmp_path / "a.nc")
    assert stored_under("k", tmp_path / "a.nc") is not None
    assert stored_under("other", tmp_path / "a.nc") is None
    assert stored_under("k", tmp_path / "b.nc") is None
    with xr.open_dataset(tmp_path / "a.nc", engine="netcdf4") as ds:
        edited = change(ds.load())
    edited.to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    with pytest.raises(Damaged, match="changed afterwards"):
        read_netcdf(tmp_path / "a.nc")
    assert stored_under("k", tmp_path / "a.nc") is None, "an edited result is not reused"


def edit(path: Path, change: Callable[[netCDF4.Dataset], None]) -> None:
    with netCDF4.Dataset(path, "a") as file:
        change(file)


def test_edited_draws_and_an_edited_window_are_no_finished_fit(file: Path) -> None:
    assert stored_fit(file, "key") is not None
    whole = file.read_bytes()

    def draws(nc: netCDF4.Dataset) -> None:
        nc["posterior"]["site_effect"][0, 0, 0] += 1e-6

    def window(nc: netCDF4.Dataset) -> None:
        nc.setncattr("spec_text", nc.spec_text.replace("18", "12"))

    for change in (draws, window):
        file.write_bytes(whole)
        edit(file, change)
        assert stored_fit(file, "key") is None
        with pytest.raises(FitError, match=r"custody\.nc: .*changed afterwards"):
            load_fit(file)


def test_a_tree_that_was_read_and_changed_is_not_stored_as_the_fit(file: Path) -> None:
    tree = load_fit(file)
    save_fit(tree, file)
    tree["posterior"]["effect_mean"][:] = -1.0
    before = file.read_bytes()
    with pytest.raises(FitError, match="changed since it was read"):
        save_fit(tree, file)
    assert file.read_bytes() == before
    for name in (SEAL, "fit_key"):
        del tree.attrs[name]
    save_fit(tree, file)
    assert stored_fit(file, "key") is None


# --- hostile files --------------------------------------------------------------------------------


def damages(path: Path) -> dict[str, Callable[[netCDF4.Dataset], None]]:
    """Each group renamed, each variable renamed, each attribute of another kind."""
    found: dict[str, Callable[[netCDF4.Dataset], None]] = {}
    with netCDF4.Dataset(path) as file:
        for name, group in file.groups.items():
            found[f"group {name}"] = lambda nc, g=name: nc.renameGroup(g, "other")
            for variable in list(group.variables)[::2]:
                found[f"variable {name}/{variable}"] = lambda nc, g=name, v=variable: nc[
                    g
                ].renameVariable(v, "other")
            for dim in group.dimensions:
                if dim not in group.variables:
                    found[f"dim {name}/{dim}"] = lambda nc, g=name, d=dim: nc[g].renameDimension(
                        d, "other"
                    )
        for name in file.ncattrs():
            found[f"attribute {name} is numbers"] = lambda nc, a=name: nc.setncattr(a, [1.5, 2.5])
            found[f"attribute {name} is text"] = lambda nc, a=name: nc.setncattr(a, "{")
            found[f"no attribute {name}"] = lambda nc, a=name: nc.delncattr(a)
    return found


def test_whatever_is_damaged_in_a_fit_is_told_in_a_line(file: Path) -> None:
    whole, tried = file.read_bytes(), damages(file)
    assert len(tried) > 60
    for name, damage in tried.items():
        file.write_bytes(whole)
        edit(file, damage)
        with pytest.raises(FitError) as caught:
            load_fit(file)
        assert str(caught.value).startswith(str(file)), name
        assert "\n" not in str(caught.value), name


@pytest.mark.parametrize("group", ["", "posterior"])
@pytest.mark.parametrize("coordinate", [True, False])
def test_what_a_file_declares_and_cannot_hold_is_not_read(file: Path, group, coordinate) -> None:
    """A variable of 32 GB that was never written takes a few bytes of the disk."""

    def declare(nc: netCDF4.Dataset) -> None:
        at = nc[group] if group else nc
        at.createDimension("huge", 4_000_000_000)
        at.createVariable(
            "huge" if coordinate else "filled", "f8", ("huge",), chunksizes=(1 << 16,)
        )

    edit(file, declare)
    assert file.stat().st_size < 2_000_000
    start = time.monotonic()
    with pytest.raises(FitError, match=r"declares 32\.0 GB, more than its size can hold"):
        load_fit(file)
    assert time.monotonic() - start < 20


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o007])
def test_files_follow_the_umask(fit: xr.DataTree, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        save_fit(fit, tmp_path / "fits" / "a.nc")
        write_whole(tmp_path / "b.csv", lambda part: part.write_text("x"))
    finally:
        os.umask(before)
    for name in ("fits/a.nc", "b.csv"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~umask


#: Writes a fit with less room for a file than it needs, as a full disk has.
FULL = """
import resource, signal, sys
import numpy as np, xarray as xr
from pathlib import Path
from lndbayes.base.errors import MachineError
from lndbayes.files.storage import write_netcdf
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_netcdf(xr.Dataset({"a": ("x", np.arange(1e6))}), Path(sys.argv[1]))
except MachineError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_a_full_disk_is_told_and_leaves_the_earlier_file(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    path = tmp_path / "custody.nc"
    path.write_bytes(b"earlier")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 70, done.stderr
    assert done.stdout.startswith(f"{path}: could not be written: ")
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert path.read_bytes() == b"earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["custody.nc"]


def test_a_place_that_may_not_be_written_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.csv", Path("/proc/a.csv")):
        with pytest.raises(DataError, match=r"a\.csv: cannot be written"):
            write_whole(path, lambda part: part.write_text("x"))
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(DataError, match=r"a\.csv: cannot be written"):
        write_whole(tmp_path / "a.csv", lambda part: part.write_text("x"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "file"]


def test_half_written_files_of_the_dead_are_removed(tmp_path: Path, monkeypatch) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    monkeypatch.setattr(socket, "gethostname", lambda: "this.host")
    living = [
        f".a.nc.this-host.{os.getpid()}.part",
        f".a.nc.this-host.{os.getppid()}.part",
        f".a.nc.elsewhere.{dead.pid}.part",
        "a.nc",
        "my.part",
    ]
    for name in (*living, f".a.nc.this-host.{dead.pid}.part", ".b.nc.elsewhere.1.part"):
        (tmp_path / name).touch()
    old = time.time() - 2 * 86_400
    os.utime(tmp_path / ".b.nc.elsewhere.1.part", (old, old))
    clean_parts(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == set(living)
    assert clean_parts(tmp_path / "absent") == []


# --- whole files that are no fits -----------------------------------------------------------------


def fit_with(**attributes: object) -> xr.DataTree:
    tree = fake_fit(draws=3)
    tree.attrs |= {"fit_key": "key", "spec_text": "{}", **attributes}
    return tree


def spoilt(group: str, change: Callable[[xr.Dataset], xr.Dataset]) -> xr.DataTree:
    tree = fit_with()
    groups = {f"/{name}": node.to_dataset() for name, node in tree.children.items()}
    groups[f"/{group}"] = change(groups[f"/{group}"])
    other = xr.DataTree.from_dict(groups)
    other.attrs = dict(tree.attrs)
    return other


GROUPS = ("posterior", "prior", "constant_data")
HOSTILE: dict[str, tuple[xr.DataTree, str]] = {
    **{
        f"no group {name}": (fit_with().filter(lambda node, n=name: node.name != n), "the groups")
        for name in GROUPS
    },
    **{
        f"attribute {name} is {value!r}": (fit_with(**{name: value}), f"its attribute {name}")
        for name in ("outcome", "family", "link", "unit", "period", "fit_key", "spec_text")
        for value in ("", 1.5, [1, 2])
    },
    "seed is text": (fit_with(seed="3"), "its attribute seed"),
    "seed is below 0": (fit_with(seed=-3), "its attribute seed"),
    "no numbers": (
        spoilt("posterior", lambda ds: ds.assign(effect_mean=ds["effect_mean"].astype(str))),
        "posterior/effect_mean must hold numbers",
    ),
    "not a number": (
        spoilt(
            "posterior", lambda ds: ds.assign(site_level=ds["site_level"].where(ds["draw"] > 0))
        ),
        "posterior/site_level must hold finite numbers",
    ),
    "infinite": (
        spoilt("prior", lambda ds: ds.assign(drift=ds["drift"] + np.inf)),
        "prior/drift must hold finite numbers",
    ),
    "dims in another order": (
        spoilt("posterior", lambda ds: ds.assign(site_effect=ds["site_effect"].T)),
        "posterior/site_effect must have the dims chain, draw, site",
    ),
    "a dim renamed": (
        spoilt("posterior", lambda ds: ds.drop_vars("site").rename(site="place")),
        "posterior/site_effect must have the dims",
    ),
    "no parameter": (spoilt("prior", lambda ds: ds.drop_vars("ramp_months")), "ramp_months"),
    "a variable gone": (spoilt("prior", lambda ds: ds.drop_vars("drift")), "the same variables"),
    "other sites": (
        spoilt("posterior", lambda ds: ds.assign_coords(site=["A", "B", "Z"])),
        "the same sites",
    ),
    "no event time": (spoilt("constant_data", lambda ds: ds.drop_vars("event_time")), "event_time"),
    "cells turned": (
        spoilt("constant_data", lambda ds: ds.assign(exposure=ds["exposure"].T)),
        "constant_data/exposure must hold numbers with the dims site, month",
    ),
    "no months": (spoilt("constant_data", lambda ds: ds.drop_vars("month")), "the months"),
}


def test_a_fit_has_the_shape_that_is_read() -> None:
    assert shape_problems(fit_with(), "fits/custody.nc") == []


@pytest.mark.parametrize(("tree", "told"), HOSTILE.values(), ids=HOSTILE)
def test_a_whole_file_that_is_no_fit_is_told_in_a_line(tree: xr.DataTree, told: str) -> None:
    """As somebody may hand over who also sealed it."""
    (problem,) = shape_problems(tree, "fits/custody.nc")
    assert told in problem.rule
    assert "\n" not in str(problem)
    with pytest.raises(FitError):
        require_shape(tree, "fits/custody.nc")
