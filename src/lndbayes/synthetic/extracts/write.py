"""Write person-level extracts to a directory, whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lndbayes.base.errors import UsageError
from lndbayes.files.whole import files_within, replaced_directory
from lndbayes.files.writing import flat_toml
from lndbayes.synthetic.extracts.world import SOURCES
from lndbayes.synthetic.write import TRUTH, refuse_unless_synthetic

if TYPE_CHECKING:
    import os

    import pandas as pd

    from lndbayes.synthetic.extracts.generate import SimulatedExtracts

__all__ = ["FORMATS", "check_target", "write_extract_files", "write_extracts"]

FORMATS: Final = ("parquet", "csv")

_SETTINGS: Final = "extracts.toml"
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
    check_form(form)
    target = Path(out).resolve()
    check_target(target)
    with replaced_directory(target) as fresh:
        write_extract_files(sim, fresh, form)
    return target


def check_form(form: str) -> None:
    """Refuse a format that is none of `FORMATS`."""
    if form not in FORMATS:
        message = f"the format of extracts must be one of {', '.join(FORMATS)}, not {form!r}"
        raise UsageError(message)


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
    known = {f"{name}.{form}" for name in _TABLES for form in FORMATS} | {_SETTINGS, TRUTH}
    refuse_unless_synthetic(
        target,
        files_within(target),
        known=known,
        settings=_SETTINGS,
        what="earlier synthetic extracts",
        replaced="extracts are",
    )


def write_extract_files(sim: SimulatedExtracts, folder: Path, form: str) -> None:
    """Write the files of synthetic extracts into an empty folder."""
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
    (folder / _SETTINGS).write_bytes(flat_toml(sim.settings).encode())
    (folder / TRUTH).write_bytes((json.dumps(_rounded(sim.truth)) + "\n").encode())


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
