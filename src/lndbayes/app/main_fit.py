"""The fit that refits are compared with: read from a run, or made and kept there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import xarray as xr

from lndbayes.base.errors import DataError, Problem
from lndbayes.fitting.fit import fit_prepared, save_fit, stored_fit
from lndbayes.fitting.prepared import PreparedOutcome

__all__ = ["main_fit"]


def main_fit(
    outcome: PreparedOutcome, out: Path, workers: int, say: Callable[[str], None] | None
) -> xr.DataTree:
    """Read an outcome's main fit from a run directory, or make it and keep it there.

    Parameters
    ----------
    outcome : PreparedOutcome
        Whose.
    out : Path
        Run directory.
    workers : int
        Chains at the same time.
    say : callable, optional
        Receives a line on what is done.

    Raises
    ------
    DataError
        If the directory holds a fit of this outcome to other inputs.
    """
    spec = outcome.spec
    path = out / "fits" / f"{spec.outcome.name}.nc"
    tree = stored_fit(path, outcome.key)
    if tree is not None:
        if say:
            say(f"{spec.outcome.name}: finished fit reused, its inputs are unchanged")
        return tree
    if path.is_file():
        rule = "is a fit to other inputs: choose another run directory, or evaluate this one again"
        raise DataError(Problem(str(path), rule))
    if say:
        say(f"{spec.outcome.name}: sampling {spec.sampling.chains} chains")
    tree = fit_prepared(outcome, cores=min(workers, os.cpu_count() or 1))
    save_fit(tree, path)
    return tree
