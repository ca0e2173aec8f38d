"""Files of draws: written whole or not at all, sealed by their content, read with care.

A seal is a digest over every group, dim, value and attribute of what is stored, kept beside them as
an attribute. Draws or settings that were edited afterwards no longer fit their seal and are not
read. It tells accident and good faith, not forgery: who edits can also seal anew.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import netCDF4
import numpy as np
import xarray as xr

from lndbayes.base.errors import DataError, MachineError, Problem
from lndbayes.files.whole import replace_file

__all__ = [
    "SEAL",
    "Damaged",
    "content_digest",
    "file_attributes",
    "file_hash",
    "read_group",
    "read_netcdf",
    "read_netcdf_tree",
    "sealed",
    "stored_under",
    "write_netcdf",
    "write_whole",
]

#: Attribute that holds the seal.
SEAL: Final = "seal"

#: A file may declare this many times its own size, and this many bytes more: files of this package
#: are not compressed, and a variable that was declared and never written takes no room on a disk.
_SWELL, _SPARE = 8, 1 << 26
#: Bytes that a text counts for; its length is not declared.
_TEXT = 16

#: What says that the machine gave out; any other error is of the place, which a user can choose.
_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENFILE})


#: What netCDF4 and xarray raise on a damaged file, depending on where in it the damage is.
_DAMAGE = (
    OSError,  # the file cannot be opened as HDF5
    RuntimeError,  # the C library failed: "NetCDF: HDF error"
    AttributeError,  # netCDF4: an attribute that is listed cannot be read
    KeyError,  # a variable names a dim or a coordinate that is not there
    ValueError,  # texts, sizes or times that cannot be decoded
    TypeError,  # an attribute of another kind than the conventions give it
    IndexError,  # an attribute that holds nothing
    OverflowError,  # a size beyond any
    MemoryError,  # a size beyond this machine's
)


class Damaged(ValueError):
    """A file is not what was written; the text says why."""


def content_digest(stored: xr.DataTree | xr.Dataset) -> str:
    """SHA-256 over all that is stored but the seal itself.

    The same before writing and after reading: neither the order of variables, nor the place of
    bytes, nor which NaN a number is counts.

    Parameters
    ----------
    stored : xarray.DataTree or xarray.Dataset
        Any dims, numbers and text.
    """
    digest = hashlib.sha256()
    for path, group in sorted(_groups(stored), key=lambda item: item[0]):
        digest.update(repr((path, _plain(group.attrs))).encode())
        for name in sorted(map(str, group.variables)):
            variable = group.variables[name]
            head = (name, variable.dims, variable.shape, _plain(variable.attrs))
            digest.update(repr(head).encode())
            digest.update(_bytes(variable.to_numpy()))
    return digest.hexdigest()


def _groups(stored: xr.DataTree | xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    if isinstance(stored, xr.Dataset):
        yield "/", stored
        return
    for node in stored.subtree:
        yield node.path, node.to_dataset(inherit=False)


def _plain(attributes: Any) -> list[tuple[str, str, Any]]:
    """Attributes as they are both in memory and in a file, which has no Python numbers."""
    found = []
    for name, value in attributes.items():
        if name != SEAL:
            array = np.asarray(value)
            found.append((str(name), array.dtype.kind, array.ravel().tolist()))
    return sorted(found, key=lambda item: item[0])


def _bytes(values: np.ndarray) -> bytes | memoryview:
    if values.dtype.kind not in "biuf":
        return repr([str(value) for value in values.ravel()]).encode()
    if values.dtype.kind == "f" and np.isnan(values).any():
        values = np.where(np.isnan(values), np.array(np.nan, values.dtype), values)
    whole = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    return whole.dtype.str.encode() + whole.tobytes()


def sealed(stored: xr.DataTree | xr.Dataset) -> xr.DataTree | xr.Dataset:
    """Return a shallow copy that carries its seal.

    Raises
    ------
    Damaged
        If it carries one already that is not its own.
    """
    found = content_digest(stored)
    if stored.attrs.get(SEAL, found) != found:
        rule = f"was changed since it was read; remove its attributes {SEAL!r} and 'fit_key' first"
        raise Damaged(rule)
    copy = stored.copy(deep=False)
    copy.attrs = {**stored.attrs, SEAL: found}
    return copy


def _check_seal(stored: xr.DataTree | xr.Dataset) -> None:
    seal = stored.attrs.get(SEAL)
    if seal is None:
        raise Damaged("lacks a seal: written by an earlier version, or by something else")
    if not isinstance(seal, str) or seal != content_digest(stored):
        raise Damaged("holds other content than was stored: it was changed afterwards")


# --- writing --------------------------------------------------------------------------------------


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all, and tell a user what went wrong.

    Parameters
    ----------
    path, write
        See `lndbayes.files.whole.replace_file`.

    Raises
    ------
    MachineError
        If the disk is full or fails; an earlier file stays.
    DataError
        If nothing may be written there.
    """
    try:
        replace_file(path, write)
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno not in _MACHINE:
            raise DataError(Problem(str(path), f"cannot be written: {why}")) from error
        rule = f"could not be written: {why}; what was finished is kept, the same command continues"
        raise MachineError(Problem(str(path), rule)) from error


def write_netcdf(stored: xr.DataTree | xr.Dataset, path: Path) -> None:
    """Write NetCDF with its seal; see `write_whole` and `sealed`."""
    whole = sealed(stored)
    needed = sum(group.nbytes for _, group in _groups(stored))

    def write(part: Path) -> None:
        try:
            whole.to_netcdf(part, engine="netcdf4", mode="w")
        except RuntimeError as error:
            # the library tells a full disk as "NetCDF: HDF error" and no more
            free = shutil.disk_usage(part.parent).free
            full = "no space left on the disk" if free < needed else "disk or quota full?"
            raise OSError(errno.EIO, f"{full} ({error})") from error

    write_whole(path, write)


# --- reading --------------------------------------------------------------------------------------


def read_netcdf(path: Path) -> xr.Dataset:
    """Read a sealed file of one group into memory, its seal taken off.

    Raises
    ------
    Damaged
        If it is unreadable, declares more than such a file can hold, or does not fit its seal.
    """
    found: xr.Dataset = _read(path, xr.open_dataset)
    del found.attrs[SEAL]
    return found


def read_netcdf_tree(path: Path) -> xr.DataTree:
    """Read a sealed file of several groups into memory; see `read_netcdf`.

    The seal stays, so that a tree that is changed and written again is told from the one stored.
    """
    found: xr.DataTree = _read(path, xr.open_datatree)
    return found


def stored_under(key: str, path: Path) -> xr.Dataset | None:
    """Return a stored result if it is whole and was made from the same inputs, else None.

    Parameters
    ----------
    key : str
        What it must hold as its attribute ``key``.
    path : Path
        Where it would be.
    """
    if not path.is_file():
        return None
    try:
        found = read_netcdf(path)
    except Damaged:
        # a damaged or edited file is no finished result: it is made again
        return None
    return found if str(found.attrs.get("key")) == key else None


def read_group(
    path: Path, group: str, variables: Collection[str]
) -> tuple[dict[str, Any], xr.Dataset]:
    """Read the root's attributes and some variables of one group, which no seal is compared with.

    Parameters
    ----------
    path : Path
        A file of several groups.
    group : str
        Which one.
    variables : collection of str
        Those that are there are read.

    Raises
    ------
    Damaged
        If they are not readable, or the file declares more than such a file can hold.
    """
    with _told(path):
        with xr.open_dataset(path, engine="netcdf4") as root:
            attributes = dict(root.attrs)
        with xr.open_dataset(path, group=group, engine="netcdf4") as stored:
            chosen = [name for name in variables if name in stored]
            return attributes, stored[chosen].load()


def file_attributes(path: Path) -> dict[str, Any]:
    """Read the root's attributes alone, which no seal is compared with.

    Raises
    ------
    Damaged
        If they are not readable.
    """
    with _told(path), netCDF4.Dataset(path) as file:
        return {name: file.getncattr(name) for name in file.ncattrs()}


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read(path: Path, opens: Callable[..., Any]) -> Any:
    with _told(path), opens(path, engine="netcdf4") as stored:
        loaded = stored.load()
    _check_seal(loaded)
    return loaded


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in one line whatever the libraries meet in a file; nothing else belongs in the block."""
    try:
        _check_size(path)
        yield
    except Damaged:
        raise
    except _DAMAGE as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise Damaged(f"cannot be read: {lines[0]}") from error


def _check_size(path: Path) -> None:
    """Refuse a file that declares arrays of which it can hold but the declaration."""
    with netCDF4.Dataset(path) as file:
        declared = sum(_declared(group) for group in _all_groups(file))
    if declared > _SWELL * path.stat().st_size + _SPARE:
        raise Damaged(f"declares {declared / 1e9:.1f} GB, more than its size can hold")


def _all_groups(group: Any) -> Iterator[Any]:
    yield group
    for child in group.groups.values():
        yield from _all_groups(child)


def _declared(group: Any) -> int:
    total = 0
    for variable in group.variables.values():
        size = 1
        for length in variable.shape:
            size *= int(length)
        total += size * int(getattr(variable.dtype, "itemsize", _TEXT))
    return total
