"""Placebo go-lives of one outcome, into a run directory; resumable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from lndbayes.app.exports import VARIANT_FOLDER
from lndbayes.app.main_fit import main_fit
from lndbayes.base.names import CI_PROB
from lndbayes.checks.result import Status
from lndbayes.data.evaluation import EvaluationData
from lndbayes.evidence.placebo import PlaceboResult, placebo_result, placebo_table, run_placebos
from lndbayes.files.lock import alone
from lndbayes.files.places import make_run, require_run
from lndbayes.files.provenance import note_outputs
from lndbayes.files.writing import write_table
from lndbayes.fitting.prepared import prepare_outcome
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["TABLE", "placebo_run", "placebo_words"]

#: Table of a run that holds the placebos of its outcomes.
TABLE = "placebo.csv"


@alone("out")
def placebo_run(
    spec: ModelSpec,
    data: EvaluationData,
    out: str | Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    say: Callable[[str], None] | None = None,
) -> PlaceboResult:
    """Fit one outcome with moved go-lives and write what is found beside other outcomes'.

    Parameters
    ----------
    spec : ModelSpec
        The spec.
    data : EvaluationData
        The data.
    out : str or Path
        Run directory: its fit and refit are reused if their inputs are unchanged, and made and
        kept otherwise.
    workers, scheduler
        See `lndbayes.fitting.parallel.run_tasks`.
    say : callable, optional
        Receives a line for what is finished.

    Returns
    -------
    PlaceboResult
        Also this outcome's rows of ``placebo.csv``.

    Raises
    ------
    DataError
        If the data cannot carry the model, or `out` is something else than a run directory.
    """
    out, name = Path(out), spec.outcome.name
    outcome = prepare_outcome(spec, data)
    require_run(out)
    make_run(out)
    main = main_fit(outcome, out, workers, say)
    folder = out / VARIANT_FOLDER
    made = run_placebos([(spec, data, main)], folder, workers=workers, scheduler=scheduler, say=say)
    result = placebo_result(spec, main, made.get(name))
    table, path = placebo_table(result), out / TABLE
    if path.is_file():
        others = pd.read_csv(path, keep_default_na=False)
        table = pd.concat([others[others["outcome"] != name], table], ignore_index=True)
    write_table(table, path)
    refits = [f"{VARIANT_FOLDER}/{file.name}" for file in folder.glob(f"{name}-placebo.nc")]
    note_outputs(out, [TABLE, f"fits/{name}.nc", *refits])
    return result


def placebo_words(result: PlaceboResult) -> list[str]:
    """What a placebo result says, in lines for a terminal; ratios, and sds on the link scale."""
    if result.status is Status.NOT_RUN:
        return [f"{result.outcome}: not run: {result.reason}"]
    lines = [
        f"{site['site']}: {_ratio(site['median'], site['lower'], site['upper'])}"
        for site in result.sites.to_dict("records")
    ]
    held, count = int(result.sites["holds_zero"].sum()), len(result.sites)
    tail = (1 - CI_PROB) / 2
    low, middle, high = np.quantile(result.pooled, (tail, 0.5, 1 - tail))
    return [
        *lines,
        f"pooled placebo effect: {_ratio(middle, low, high)}; should be 1",
        f"intervals of sites that hold 1: {held} of {count}",
        f"sd over sites: {result.observed_sd:.3f} seen, {result.noise_sd:.3f} from noise alone, "
        f"{result.spread:.3f} ({result.spread_lower:.3f} to {result.spread_upper:.3f}) beyond it",
        f"largest placebo effect beyond noise: {result.largest:.3f} "
        f"({result.largest_lower:.3f} to {result.largest_upper:.3f})",
    ]


def _ratio(middle: float, low: float, high: float) -> str:
    return f"{np.exp(middle):.2f} ({np.exp(low):.2f} to {np.exp(high):.2f})"
