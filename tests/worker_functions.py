"""Functions that tests hand to workers, which import them by name.

A worker finds this file by a name that no package has. For `tests.test_many` it would look into a
package `tests` of site-packages, which some installed distributions bring along: a folder without
`__init__.py` comes after any such package, whatever the order of the path.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import xarray as xr

from lndbayes.base.errors import FitError, Problem
from lndbayes.estimands.effects import pooled_effect

__all__ = ["die", "fail", "note", "pooled_only"]


def note(folder: str, index: int, seconds: float) -> int:
    """Take some time, and leave a line for each start and each end."""
    with (Path(folder) / "starts").open("a") as handle:
        handle.write(f"{index} {os.getpid()}\n")
    time.sleep(seconds)
    with (Path(folder) / "ends").open("a") as handle:
        handle.write(f"{index} {os.getpid()}\n")
    return index * index


def fail(index: int) -> int:
    """Fail in the third task, with a problem that has its parts."""
    if index == 2:
        raise FitError(Problem("a.csv", "must not be two", value="2"))
    return index


def die(folder: str) -> None:
    """Be killed, some time after another task has ended."""
    while not (Path(folder) / "ends").is_file():
        time.sleep(0.05)
    time.sleep(2)
    os.kill(os.getpid(), signal.SIGKILL)


def pooled_only(tree: xr.DataTree) -> xr.DataTree:
    """Keep the pooled effect's draws of a fit."""
    kept = xr.Dataset({"pooled": pooled_effect(tree)})
    return xr.DataTree.from_dict({"/posterior": kept})
