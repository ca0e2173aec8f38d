"""How a command ends: its exit status, and what is said on stderr whatever happens in it.

What a user can mend is told in full and ends with 2. Anything else ends with 70: one line says what
it was and where the log is, and the traceback, which may quote data, goes to that log alone.
"""

from __future__ import annotations

import io
import os
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TextIO

from lndbayes.base.errors import LndbayesError
from lndbayes.files.places import LOG, is_run

__all__ = ["BAD_INPUT", "CLOSED_PIPE", "INTERRUPTED", "UNEXPECTED", "ended"]

BAD_INPUT: Final = 2
UNEXPECTED: Final = 70
INTERRUPTED: Final = 130
#: Whoever read the output has gone, as `head` does: the status a shell gives for SIGPIPE.
CLOSED_PIPE: Final = 141

#: Problems that are printed of a very long list.
_SHOWN: Final = 50

#: Signals that end a command as an interruption from the keyboard does.
_SIGNALS: Final = ("SIGTERM", "SIGHUP")


def ended(command: Callable[[], int], run: Path | None, arguments: Sequence[str]) -> int:
    """Run a command to its end.

    Parameters
    ----------
    command : callable
        Returns an exit status.
    run : Path or None
        Its run directory, for the log.
    arguments : sequence of str
        What it was called with, for the log.

    Returns
    -------
    int
        The command's own status, or 2 bad input, 70 unexpected, 130 interrupted, 141 closed pipe.
    """
    # a name that the terminal's encoding lacks must not end the command
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _interrupting():
            status = command()
            if sys.stdout is not None:
                sys.stdout.flush()
            return status
    except LndbayesError as error:
        _tell(_message(error))
        if error.exit_code == UNEXPECTED:
            _tell(_where(_log(error, run, arguments)))
        return error.exit_code
    except KeyboardInterrupt:
        _tell("interrupted: finished fits are kept; the same command continues")
        return INTERRUPTED
    except Exception as error:  # the last place: nothing is hidden, it is logged and ends with 70
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            return CLOSED_PIPE
        _tell(f"lndbayes: {_what(error)}; {_where(_log(error, run, arguments))}")
        return UNEXPECTED


def _message(error: LndbayesError) -> str:
    """All problems, the first lines of a very long list, and how many there are."""
    if not error.problems:
        return f"lndbayes: {error}"
    count = len(error.problems)
    lines = [f"lndbayes: {count} problem{'s' if count > 1 else ''}"]
    lines += [f"  {problem}" for problem in error.problems[:_SHOWN]]
    if count > _SHOWN:
        lines.append(f"  and {count - _SHOWN} more")
    return "\n".join(lines)


def _what(error: Exception) -> str:
    """What happened, without a value of the data: texts of errors may quote them."""
    if isinstance(error, MemoryError):
        return "out of memory (fewer --jobs need less); finished fits are kept"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}; finished fits are kept, and the same command continues"
    return f"unexpected error ({type(error).__name__}); finished fits are kept"


def _where(log: Path | None) -> str:
    return "no log could be written" if log is None else f"the details are in {log}"


def _tell(text: str) -> None:
    """Say something on stderr, if anybody is there."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


@contextmanager
def _interrupting() -> Iterator[None]:
    """Take a request to end for an interruption, so that work is left as Ctrl-C leaves it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = {}
    for number in (getattr(signal, name, None) for name in _SIGNALS):
        # one that is ignored, as by nohup, stays ignored
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log(error: Exception, run: Path | None, arguments: Sequence[str]) -> Path | None:
    """Write the traceback where its owner alone can read it; None where nothing can be written."""
    head = f"{time.strftime('%Y-%m-%d %H:%M:%S')} lndbayes {' '.join(arguments)}\n"
    content = (head + "".join(traceback.format_exception(error)) + "\n").encode(
        "utf-8", "backslashreplace"
    )
    if run is not None and is_run(run):
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
            return _written(os.open(run / LOG, flags, 0o600), run / LOG, content)
    with suppress(OSError):
        handle, name = tempfile.mkstemp(prefix="lndbayes-", suffix=".log")
        return _written(handle, Path(name), content)
    return None


def _written(handle: int, path: Path, content: bytes) -> Path:
    with os.fdopen(handle, "ab") as file:
        file.write(content)
    return path


def _reader_is_gone() -> bool:
    """Whether nobody reads what this process prints; then nothing more is, even at exit."""
    gone = [stream for stream in (sys.stdout, sys.stderr) if _is_broken(stream)]
    for stream in gone:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    return bool(gone)


def _is_broken(stream: TextIO | None) -> bool:
    try:
        number = stream.fileno() if stream is not None else -1
    except (OSError, ValueError):
        return False  # not a file of the system's
    if number < 0 or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))
