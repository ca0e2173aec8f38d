"""Write a synthetic evaluation to a directory, whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lndbayes.base.errors import DataError, Problem
from lndbayes.files.reading import Unreadable, read_toml
from lndbayes.files.whole import files_within, replaced_directory
from lndbayes.files.writing import flat_toml

if TYPE_CHECKING:
    import os

    from lndbayes.synthetic.generate import SimulatedEvaluation

__all__ = [
    "SETTINGS",
    "TRUTH",
    "check_evaluation_target",
    "refuse_unless_synthetic",
    "write_evaluation",
    "write_evaluation_files",
]

SETTINGS: Final = "evaluation.toml"
TRUTH: Final = "truth.json"

#: Digits in tables, and in the truth. The truth has thousands of numbers that went through
#: exponentials, whose last bits differ between processors; nine digits hide that.
_TABLE_FORMAT: Final = "%.12g"
_TRUTH_DIGITS: Final = 9


def write_evaluation(sim: SimulatedEvaluation, out: str | os.PathLike[str]) -> Path:
    """Write a synthetic evaluation as a directory of the data contract.

    Parameters
    ----------
    sim : SimulatedEvaluation
        From :func:`lndbayes.synthetic.simulate`.
    out : str or path
        Directory to write. It is replaced as a whole when it is empty or holds an earlier
        simulation and nothing else.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    DataError
        If ``out`` is a file, or holds anything that a simulation did not write. Nothing is
        touched then.

    Notes
    -----
    The same simulation gives the same bytes: fixed number format, line feeds, fixed order.
    """
    target = Path(out).resolve()
    check_evaluation_target(sim, target)
    with replaced_directory(target) as fresh:
        write_evaluation_files(sim, fresh)
    return target


def check_evaluation_target(
    sim: SimulatedEvaluation, target: Path, *, beside: str | None = None
) -> None:
    """Refuse to replace what a simulation did not write.

    Parameters
    ----------
    sim : SimulatedEvaluation
        What is to be written.
    target : Path
        Directory to be written.
    beside : str, optional
        Folder in it that is judged elsewhere.

    Raises
    ------
    DataError
        If it is a file or a directory with anything else in it.
    """
    held = files_within(target)
    if beside is not None:
        held = {name for name in held if not name.startswith(f"{beside}/")}
    refuse_unless_synthetic(
        target,
        held,
        known={*sim.frames, SETTINGS, TRUTH},
        settings=SETTINGS,
        what="an earlier simulation",
        replaced="directory is",
    )


def refuse_unless_synthetic(
    target: Path, held: set[str], *, known: set[str], settings: str, what: str, replaced: str
) -> None:
    """Refuse to replace a directory that no simulation wrote, or that holds other files besides.

    Raises
    ------
    DataError
        With every foreign file.
    """
    if not held:
        return
    try:
        synthetic = read_toml(target / settings).get("synthetic") is True
    except Unreadable:
        synthetic = False
    if not synthetic:
        rule = f"must be empty or hold {what} ({settings} with synthetic = true)"
        raise DataError(Problem(str(target), rule))
    rule = f"is not written by a simulation; move it away before the {replaced} replaced"
    if foreign := sorted(held - known):
        raise DataError([Problem(f"{target}/{name}", rule) for name in foreign])


def write_evaluation_files(sim: SimulatedEvaluation, folder: Path) -> None:
    """Write the files of a synthetic evaluation into an empty folder."""
    for name, frame in sim.frames.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = frame.to_csv(index=False, float_format=_TABLE_FORMAT, lineterminator="\n")
        _write(path, text)
    _write(folder / SETTINGS, flat_toml(sim.evaluation))
    _write(folder / TRUTH, _json(sim.truth) + "\n")


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _json(value: Any, indent: int = 0) -> str:
    """Render nested values with one line per list of numbers."""
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        items = [f"{pad}{json.dumps(k)}: {_json(v, indent + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    if isinstance(value, list) and any(isinstance(v, list) for v in value):
        return "[\n" + ",\n".join(pad + _json(v, indent + 1) for v in value) + "\n" + pad[:-1] + "]"
    if isinstance(value, list):
        return "[" + ", ".join(_json(v) for v in value) + "]"
    if isinstance(value, float):
        if not math.isfinite(value):
            message = f"truth holds {value}, which JSON has no word for"
            raise ValueError(message)
        return json.dumps(float(f"{value:.{_TRUTH_DIGITS}g}"))
    return json.dumps(value, ensure_ascii=False)
