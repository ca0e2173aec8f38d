"""One writer at a time: a process claims the directory that it writes to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import wraps
from inspect import signature
from pathlib import Path

from lndbayes.base.errors import Problem, UsageError

try:
    import fcntl
except ImportError:  # pragma: no cover - a system without it
    fcntl = None  # type: ignore[assignment]  # a module's name that stands for its absence

__all__ = ["alone", "alone_in", "claim"]

_OPEN: ContextVar[ExitStack | None] = ContextVar("_OPEN", default=None)
_HELD: set[str] = set()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes of this package out of a directory that is written to.

    Where it is there, it is claimed at once; where it is not, when `claim` is called for it.

    Parameters
    ----------
    folder : Path
        The directory.

    Raises
    ------
    UsageError
        If another process writes to it.
    """
    with ExitStack() as stack:
        token = _OPEN.set(stack)
        try:
            # a name too long is no folder either: whoever is to write there refuses it
            if os.path.isdir(folder):
                claim(folder)
            yield
        finally:
            _OPEN.reset(token)


def alone[**P, R](parameter: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Run a function within `alone_in` of the directory that one of its arguments names.

    Parameters
    ----------
    parameter : str
        The argument, or with a dot an attribute of it.
    """
    name, _, attribute = parameter.partition(".")

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        bind = signature(function).bind

        @wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            given = bind(*args, **kwargs).arguments[name]
            with alone_in(Path(getattr(given, attribute) if attribute else given)):
                return function(*args, **kwargs)

        return called

    return decorated


def claim(folder: Path) -> None:
    """Claim a directory until the innermost `alone_in` ends, and tidy up after killed processes.

    Without an `alone_in`, or where the file system knows no locks, nothing is claimed.

    Raises
    ------
    UsageError
        If another process holds it.
    """
    stack, name = _OPEN.get(), os.path.realpath(folder)
    if stack is None or fcntl is None or name in _HELD:
        return
    handle = os.open(folder, os.O_RDONLY)
    stack.callback(os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        rule = "is being written by another process: wait for it, or choose another directory"
        raise UsageError(Problem(str(folder), rule)) from error
    except OSError:
        return
    _HELD.add(name)
    stack.callback(_HELD.discard, name)
    # a command line that is not to fit anything waits for no library
    from lndbayes.files.whole import clean_parts

    for below in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        clean_parts(below)
