"""The joint model on a run directory: stored fits in, draws and tables out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import xarray as xr

from lndbayes.app.runs import Progress, read_manifest
from lndbayes.base.errors import DataError, Problem
from lndbayes.data.problems import hint
from lndbayes.evidence.assumption import ASSUMPTION, label_assumption
from lndbayes.files.lock import alone
from lndbayes.files.provenance import evaluated, input_problems, record_product
from lndbayes.files.reading import there_is
from lndbayes.files.writing import write_dataset, write_table
from lndbayes.fitting.fit import load_fit
from lndbayes.fitting.fit_shape import require_shape
from lndbayes.fitting.metadata import metadata
from lndbayes.second_stage.joint.outcomes import (
    comparison_table,
    correlation_table,
    joint_effects,
    joint_table,
    sampling_problems,
)
from lndbayes.spec.model_spec import stored_spec

__all__ = ["joint_run"]

#: Statement that goes with every correlation.
NOTE = (
    "A correlation whose interval is about its prior's was not learnt: the sites are too few or "
    "their effects too uncertain to say."
)


@alone("run")
def joint_run(
    run: str | Path, outcomes: Sequence[str] | None, *, factors: int = 1, say: Progress
) -> list[str]:
    """Fit the joint model to a run's outcomes and write its draws and tables.

    Writes ``joint.nc``, ``joint.csv``, ``joint_correlation.csv`` and ``joint_comparison.csv``.

    Parameters
    ----------
    run : str or Path
        Run directory.
    outcomes : sequence of str, optional
        Only these, in this order; default all, by name.
    factors : int
        Factors that outcomes share.
    say : callable
        Receives progress.

    Returns
    -------
    list of str
        What the chains did not settle; the files are written all the same, with the same words in
        the attributes of ``joint.nc``.

    Raises
    ------
    DataError
        If an outcome has no stored fit, fits are of different data or are not what the run wrote,
        or see `lndbayes.second_stage.joint.outcomes.joint_effects`.
    """
    run = Path(run)
    fits = _stored(run, outcomes)
    windows = {
        name: stored_spec(str(fit.attrs.get("spec_text")), source=f"fits/{name}.nc").effect.window
        for name, fit in fits.items()
    }
    seed = _seed(fits)
    say(f"joint model of {len(fits)} outcomes: {', '.join(fits)}")
    ds = joint_effects(fits, factors=factors, windows=windows, seed=seed)
    problems = sampling_problems(ds)
    say("predicting left-out sites with and without factors")
    compared = comparison_table(fits, factors=factors, windows=windows, seed=seed)
    ds.attrs |= {
        "sampling": "; ".join(problems) or "settled",
        "note": NOTE,
        "fit_keys": " ".join(metadata(fit).key for fit in fits.values()),
    }
    tables = {
        "joint": _labelled(joint_table(ds)),
        "joint_correlation": correlation_table(ds),
        "joint_comparison": compared,
    }
    write_dataset(ds, run / "joint.nc")
    for name, table in tables.items():
        write_table(table, run / f"{name}.csv")
    record_product(run, "joint", {name: metadata(fit).key for name, fit in fits.items()})
    last = compared.iloc[-1]
    say(
        f"prediction of left-out sites: {last['verdict']} (difference {last['difference']:.1f}, "
        f"standard error {last['se']:.1f})"
    )
    say(NOTE)
    return problems


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    """Say of every site's effect whether it rests on assumption only."""
    return table.assign(**{ASSUMPTION: [label_assumption(str(t)) for t in table["tier"]]})


def _stored(run: Path, outcomes: Sequence[str] | None) -> dict[str, xr.DataTree]:
    found = {path.stem: path for path in sorted((run / "fits").glob("*.nc"))}
    if not found:
        raise DataError(Problem(str(run / "fits"), "holds no stored fit"))
    manifest = read_manifest(run) if there_is(run / "manifest.json") else {}
    names = evaluated(manifest, found) if outcomes is None else list(dict.fromkeys(outcomes))
    known = ", ".join(found)
    absent = [
        Problem("--outcomes", f"no stored fit; there are {known}{hint(name, found)}", value=name)
        for name in names
        if name not in found
    ]
    if absent:
        raise DataError(absent)
    if problems := input_problems(run, manifest, names, fits_only=True):
        raise DataError(problems)
    fits = {name: require_shape(load_fit(found[name]), f"fits/{name}.nc") for name in names}
    data = {name: str(fit.attrs.get("data_hash")) for name, fit in fits.items()}
    rule = "is a fit to other data than the one before it: evaluate these outcomes together again"
    if len(set(data.values())) > 1:
        first = data[names[0]]
        raise DataError([Problem(f"fits/{n}.nc", rule) for n in names if data[n] != first])
    return fits


def _seed(fits: dict[str, xr.DataTree]) -> int:
    """A seed that the fits determine, so that a run gives the same numbers again."""
    digest = hashlib.sha256("/".join(str(metadata(fit).seed) for fit in fits.values()).encode())
    return int.from_bytes(digest.digest()[:4])
