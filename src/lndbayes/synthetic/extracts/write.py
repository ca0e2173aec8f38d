"""Write person-level extracts to a directory, whole or not at all."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lndbayes.base.errors import DataError, Problem, UsageError
from lndbayes.files.reading import Unreadable, read_toml
from lndbayes.synthetic.extracts.world import SOURCES

if TYPE_CHECKING:
    import os

    import pandas as pd

    from lndbayes.synthetic.extracts.generate import SimulatedExtracts

__all__ = ["FORMATS", "check_target", "write_extracts"]

FORMATS: Final = ("parquet", "csv")

_SETTINGS: Final = "extracts.toml"
_TRUTH: Final = "truth.json"
#: Small tables that a person reads and edits stay text.
_ALWAYS_TEXT: Final = ("sites", "sources")
_TABLES: Final = (*_ALWAYS_TEXT, "persons", "referrals", *SOURCES)
#: Exponentials differ in their last bits between processors; this hides it.
_TRUTH_DIGITS: Final = 7


def write_extracts(
    sim: SimulatedExtracts, out: str | os.PathLike[str], *, form: str = "parquet"
) -> Path:
    """Write extracts as a directory that ``lndbayes assemble`` reads.

    Parameters
    ----------
    sim : SimulatedExtracts
        From :func:`lndbayes.synthetic.extracts.simulate_extracts`.
    out : str or path
        Directory to write; replaced as a whole when it is empty or holds earlier synthetic
        extracts and nothing else.
    form : str
        ``parquet`` or ``csv``; sites and sources are CSV in either case.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    DataError
        If ``out`` is a file, or holds anything that a simulation did not write. Nothing is
        touched then.
    UsageError
        If ``form`` is neither.
    """
    if form not in FORMATS:
        message = f"the format of extracts must be one of {', '.join(FORMATS)}, not {form!r}"
        raise UsageError(message)
    target = Path(out).resolve()
    check_target(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        fresh, stale = staging / "new", staging / "old"
        fresh.mkdir()
        _write_files(sim, fresh, form)
        if target.exists():
            target.rename(stale)
        try:
            fresh.rename(target)
        except OSError:
            if stale.exists():
                stale.rename(target)
            raise
    finally:
        shutil.rmtree(staging)
    return target


def check_target(target: Path) -> None:
    """Refuse to replace what a simulation of extracts did not write.

    Parameters
    ----------
    target : Path
        Directory to be written.

    Raises
    ------
    DataError
        If it is a file or a directory with anything else in it.
    """
    if not target.exists():
        return
    if not target.is_dir():
        raise DataError(Problem(str(target), "must be a directory, or not exist yet"))
    held = {path.name for path in target.iterdir()}
    if not held:
        return
    if not _synthetic(target / _SETTINGS):
        rule = "must be empty or hold earlier synthetic extracts (extracts.toml, synthetic = true)"
        raise DataError(Problem(str(target), rule))
    known = {f"{name}.{form}" for name in _TABLES for form in FORMATS} | {_SETTINGS, _TRUTH}
    foreign = sorted(held - known)
    if foreign:
        rule = "is not written by a simulation; move it away before the extracts are replaced"
        raise DataError([Problem(f"{target}/{name}", rule) for name in foreign])


def _synthetic(settings: Path) -> bool:
    try:
        return read_toml(settings).get("synthetic") is True
    except Unreadable:
        return False


def _write_files(sim: SimulatedExtracts, folder: Path, form: str) -> None:
    for name, frame in sim.frames.items():
        if form == "csv" or name in _ALWAYS_TEXT:
            frame.to_csv(
                folder / f"{name}.csv",
                index=False,
                date_format="%Y-%m-%d",
                float_format="%.12g",
                lineterminator="\n",
            )
        else:
            _write_parquet(frame, folder / f"{name}.parquet")
    # a JSON string or boolean is also a TOML one
    lines = [f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in sim.settings.items()]
    (folder / _SETTINGS).write_bytes("".join(lines).encode())
    (folder / _TRUTH).write_bytes((json.dumps(_rounded(sim.truth)) + "\n").encode())


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write one table by DuckDB, on one thread so that the rows keep their order and groups."""
    import duckdb

    columns = ", ".join(
        f'CAST("{name}" AS DATE) AS "{name}"' if dtype.kind == "M" else f'"{name}"'
        for name, dtype in frame.dtypes.items()
    )
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("rows", frame)
        place = str(path).replace("'", "''")
        connection.execute(
            f"COPY (SELECT {columns} FROM rows) TO '{place}' (FORMAT parquet, COMPRESSION zstd)"
        )


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            message = f"truth holds {value}, which JSON has no word for"
            raise ValueError(message)
        return float(f"{value:.{_TRUTH_DIGITS}g}")
    return value
