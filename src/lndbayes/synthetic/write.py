"""Write a synthetic evaluation to a directory, whole or not at all."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lndbayes.base.errors import DataError, Problem
from lndbayes.files.reading import Unreadable, read_toml

if TYPE_CHECKING:
    import os

    from lndbayes.synthetic.generate import SimulatedEvaluation

__all__ = ["write_evaluation"]

_SETTINGS: Final = "evaluation.toml"
_TRUTH: Final = "truth.json"

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
    _refuse_foreign(target, {*sim.frames, _SETTINGS, _TRUTH})
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        fresh, stale = staging / "new", staging / "old"
        _write_files(sim, fresh)
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


def _refuse_foreign(target: Path, known: set[str]) -> None:
    """Refuse to replace what a simulation did not write."""
    where = str(target)
    if not target.exists():
        return
    if not target.is_dir():
        raise DataError(Problem(where, "must be a directory, or not exist yet"))
    held = {
        p.relative_to(target).as_posix()
        for p in target.rglob("*")
        if p.is_symlink() or not p.is_dir()
    }
    if not held:
        return
    settings = target / _SETTINGS
    if not _synthetic(settings):
        rule = "must be empty or hold an earlier simulation (evaluation.toml with synthetic = true)"
        raise DataError(Problem(where, rule))
    foreign = sorted(held - known)
    if foreign:
        rule = "is not written by a simulation; move it away before the directory is replaced"
        raise DataError([Problem(f"{where}/{name}", rule) for name in foreign])


def _synthetic(settings: Path) -> bool:
    try:
        return read_toml(settings).get("synthetic") is True
    except Unreadable:
        return False


def _write_files(sim: SimulatedEvaluation, folder: Path) -> None:
    folder.mkdir()
    for name, frame in sim.frames.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = frame.to_csv(index=False, float_format=_TABLE_FORMAT, lineterminator="\n")
        _write(path, text)
    _write(folder / _SETTINGS, _toml(sim.evaluation))
    _write(folder / _TRUTH, _json(sim.truth) + "\n")


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _toml(settings: dict[str, Any]) -> str:
    """Render a flat table: a JSON string or boolean is also a TOML one."""
    return "".join(f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in settings.items())


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
