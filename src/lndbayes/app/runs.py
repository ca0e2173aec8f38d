"""A run directory: stored fits, exports made from them, and the manifest that ties them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from lndbayes.base.errors import DataError, Problem
from lndbayes.evidence.placebo import PLACEBO, placebo_fault
from lndbayes.evidence.refits import Refit
from lndbayes.evidence.sensitivity import VARIANTS
from lndbayes.files.provenance import evaluated
from lndbayes.files.reading import Unreadable, read_json, there_is
from lndbayes.files.writing import read_dataset
from lndbayes.fitting.fit import load_fit
from lndbayes.fitting.fit_shape import require_shape
from lndbayes.fitting.metadata import metadata
from lndbayes.spec.model_spec import ModelSpec

__all__ = [
    "FITTING",
    "VARIANT_FOLDER",
    "Progress",
    "Steps",
    "read_manifest",
    "stored_outcomes",
    "stored_placebo",
    "stored_variants",
]

#: Folder of a run that holds the sensitivity refits.
VARIANT_FOLDER = "sensitivity"

#: Beginnings of the names of steps that fit, which a report on stored draws tells again.
FITTING = ("fit", "sensitivity", "placebo")

#: Receives a line of progress.
Progress = Callable[[str], None]


@dataclass
class Steps:
    """Wall and CPU seconds of each step, in order."""

    done: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a block."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.done.append(
            {
                "step": name,
                "wall_seconds": round(time.perf_counter() - wall, 2),
                "cpu_seconds": round(time.process_time() - cpu, 2),
            }
        )


def read_manifest(run: Path) -> dict[str, Any]:
    """Read the manifest of a run.

    Raises
    ------
    DataError
        If the directory is not a run.
    """
    path = run / "manifest.json"
    if not there_is(path):
        rule = "is absent: this is not a run directory"
        if there_is(run / "fits"):
            rule = "is absent: only `lndbayes evaluate` that has ended writes it, so run that first"
        raise DataError(Problem(str(path), rule))
    try:
        manifest = read_json(path)
    except Unreadable as error:
        raise DataError(error.problem(str(path))) from error
    if not isinstance(manifest, dict):
        raise DataError(Problem(str(path), "must hold one JSON object"))
    return manifest


def stored_outcomes(run: Path, manifest: Mapping[str, Any]) -> dict[str, xr.DataTree]:
    """Load the stored fits of a run, by outcome.

    Parameters
    ----------
    run : Path
        Run directory.
    manifest : mapping of str to object
        Its manifest, which names the outcomes.

    Raises
    ------
    DataError
        If there is none.
    FitError
        See `lndbayes.fitting.fit.load_fit` and `lndbayes.fitting.fit_shape.require_shape`.
    """
    paths = {path.stem: path for path in sorted((run / "fits").glob("*.nc"))}
    names = evaluated(manifest, paths)
    if not names:
        raise DataError(Problem(str(run / "fits"), "holds no stored fit"))
    return {name: require_shape(load_fit(paths[name]), f"fits/{name}.nc") for name in names}


def stored_variants(
    run: Path, name: str, fit_key: str, refits: Sequence[Refit] = VARIANTS
) -> dict[str, xr.Dataset]:
    """Load the sensitivity refits of an outcome.

    Parameters
    ----------
    run : Path
        Run directory.
    name : str
        The outcome.
    fit_key : str
        Of its main fit.
    refits : sequence of Refit
        Which.

    Raises
    ------
    DataError
        If one is absent, damaged, edited, or a refit of another fit.
    """
    variants: dict[str, xr.Dataset] = {}
    problems = []
    for variant in refits:
        path = run / VARIANT_FOLDER / f"{name}-{variant.name}.nc"
        if not path.is_file():
            rule = "a sensitivity refit is absent: run the evaluation again to complete the run"
            problems.append(Problem(f"{VARIANT_FOLDER}/{path.name}", rule))
            continue
        variants[variant.name] = read_dataset(path)
        if not str(variants[variant.name].attrs.get("key")).endswith(fit_key):
            rule = "is a refit of other inputs: run the evaluation again to complete the run"
            problems.append(Problem(f"{VARIANT_FOLDER}/{path.name}", rule))
    if problems:
        raise DataError(problems)
    return variants


def stored_placebo(run: Path, spec: ModelSpec, fit: xr.DataTree) -> xr.Dataset | None:
    """Load an outcome's refit with moved go-lives; None where its data do not allow one.

    Parameters
    ----------
    run : Path
        Run directory.
    spec : ModelSpec
        The outcome's spec.
    fit : xarray.DataTree
        Its main fit.

    Raises
    ------
    DataError
        See `stored_variants`.
    """
    if placebo_fault(spec, fit):
        return None
    name, key = spec.outcome.name, metadata(fit).key
    return stored_variants(run, name, key, [PLACEBO])[PLACEBO.name]
