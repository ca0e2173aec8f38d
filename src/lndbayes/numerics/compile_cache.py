"""Compiled code kept between processes, where there is room for it, and read only if it is whole.

Numba's own cache asks for a folder that can be written and raises where there is none; it unpickles
and runs whatever it finds there, so that a flipped byte ends in a traceback or in a crash. Here
every file begins with a digest of its key and its code: what does not fit it is compiled anew.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import llvmlite
import numba
from numba import njit
from numba.core import config
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    NullCache,
    _CacheLocator,
    _SourceFileBackedLocatorMixin,
)
from numba.core.ccallback import CFunc
from numba.core.serialize import dumps

from lndbayes.files.whole import replace_file

__all__ = ["FOLDER", "Compiled", "cache_folder", "cached_cfunc", "cached_njit"]

#: Environment variable that names a folder for compiled code.
FOLDER: Final = "LNDBAYES_CACHE_DIR"

_HEAD: Final = b"lndbayes compiled code 1\n"
#: Files kept of a function: one a machine and signature, and those of a few earlier sources.
_KEPT: Final = 8


def cached_cfunc(signature: Any, **options: Any) -> Callable[[Any], Any]:
    """Compile a C function, or read it from the cache: as ``numba.cfunc(..., cache=True)``.

    Parameters
    ----------
    signature : numba signature
        Of the function.
    **options
        Of the compiler.
    """

    def compiled(function: Any) -> Any:
        made: Any = CFunc(function, (signature.args, signature.return_type), {}, options)
        made._cache = _cache_of(function)
        made.compile()
        return made

    return compiled


def cached_njit(**options: Any) -> Callable[[Any], Any]:
    """Compile a function when it is called, or read it: as ``numba.njit(cache=True)``."""

    def compiled(function: Any) -> Any:
        made = njit(**options)(function)
        made._cache = _cache_of(function)
        return made

    return compiled


@cache
def cache_folder() -> Path | None:
    """Return the folder for compiled code: the first that can be written, None where none can.

    That which `FOLDER` or Numba's ``NUMBA_CACHE_DIR`` names; beside the source; the user's folder
    for caches; one in the machine's folder for temporary files that is this user's alone.
    """
    named = os.environ.get(FOLDER)
    for folder in _candidates():
        if _writable(folder):
            if named and Path(named) not in folder.parents:
                rule = f"{FOLDER} names {named}, which cannot be written: {folder} is used"
                warnings.warn(rule, RuntimeWarning, stacklevel=2)
            return folder
    warnings.warn(
        "no folder for compiled code can be written: every process compiles the density anew, "
        f"about a minute; {FOLDER} may name one",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def _candidates() -> Iterator[Path]:
    for named in (os.environ.get(FOLDER), vars(config).get("CACHE_DIR")):
        if named:
            yield Path(named) / "lndbayes"
    yield Path(__file__).parent / "__pycache__"
    with suppress(RuntimeError):  # there may be no home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lndbayes"
    try:
        private = Path(tempfile.gettempdir()) / f"lndbayes-{os.getuid()}"
    except OSError:
        return  # no folder for temporary files either
    # compiled code is run: whoever could write here could run anything in this user's name
    if _private(private):
        yield private


def _private(folder: Path) -> bool:
    """Whether a folder is, or was just made, this user's alone."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return mine and not stat.S_IMODE(found.st_mode) & 0o077


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


class Compiled:
    """Compiled code of one function in files, a file a key.

    Takes the place of Numba's index and data files: an index names files by number, and two
    processes that compile at once can give one number to two codes.

    Parameters
    ----------
    folder : Path
        Where.
    name : str
        Begins the names of its files.
    stamp : bytes
        Of the source.
    """

    def __init__(self, folder: Path, name: str, stamp: bytes) -> None:
        self.folder, self.name, self.stamp = folder, name, stamp

    def path(self, key: Any) -> Path:
        """File of a key."""
        return self.folder / f"{self.name}-{self._key(key).hex()[:16]}.code"

    def load(self, key: Any) -> Any | None:
        """Return what was saved, or None if it is absent, damaged or another key's."""
        try:
            content = self.path(key).read_bytes()
        except OSError:
            return None
        head, data = content[: len(_HEAD) + 32], content[len(_HEAD) + 32 :]
        return pickle.loads(data) if head == self._head(key, data) else None

    def save(self, key: Any, made: Any) -> None:
        """Write code; where the disk refuses, this process does without."""
        data = dumps(made)
        path = self.path(key)
        try:
            replace_file(path, lambda part: part.write_bytes(self._head(key, data) + data))
            self._forget()
        except OSError as error:
            warnings.warn(f"compiled code is not kept: {error}", RuntimeWarning, stacklevel=2)

    def flush(self) -> None:
        """Remove all files of the function."""
        for path in self.folder.glob(f"{self.name}-*.code"):
            path.unlink(missing_ok=True)

    def _key(self, key: Any) -> bytes:
        text = f"{numba.__version__} {llvmlite.__version__} {self.stamp!r} {key!r}"
        return hashlib.sha256(text.encode()).digest()

    def _head(self, key: Any, data: bytes) -> bytes:
        return _HEAD + hashlib.sha256(self._key(key) + data).digest()

    def _forget(self) -> None:
        files = self.folder.glob(f"{self.name}-*.code")
        for path in sorted(files, key=lambda file: file.stat().st_mtime)[:-_KEPT]:
            path.unlink(missing_ok=True)


class _Place(_SourceFileBackedLocatorMixin, _CacheLocator):
    """Tells Numba the folder, and by the mixin the digest of a function's own file."""

    def __init__(self, function: Any, file: str) -> None:
        self._py_file, self._lineno = file, function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(cache_folder())


class _Impl(CompileResultCacheImpl):
    _locator_classes = [_Place]  # noqa: RUF012 - as its base has it


class _Checked(FunctionCache):
    """Numba's cache of one function, with files of ours."""

    _impl_class = _Impl

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = Compiled(Path(self._cache_path), self._impl.filename_base, stamp)


def _cache_of(function: Any) -> Any:
    return NullCache() if cache_folder() is None else _Checked(function)
