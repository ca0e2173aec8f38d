"""Specs that come with the package, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lndbayes.base.errors import UsageError
from lndbayes.data.problems import hint
from lndbayes.files.reading import there_is

__all__ = ["COSTS_FILE", "shipped_specs", "spec_path"]

#: The costs, which lie in a folder of specs and are none.
COSTS_FILE: Final = "costs.toml"

#: A wheel holds a copy of the repository's ``models``; a checkout, editable or not, holds the
#: folder itself.
_PLACES: Final = (Path(__file__).with_name("shipped_specs"), Path(__file__).parents[3] / "models")


def shipped_specs() -> dict[str, Path]:
    """Return the files of the shipped specs by outcome, in the order of their names.

    Raises
    ------
    UsageError
        If this installation holds none.
    """
    folder = next((place for place in _PLACES if place.is_dir()), None)
    if folder is None:
        raise UsageError("this installation of lndbayes holds no shipped specs")
    return {path.stem: path for path in sorted(folder.glob("*.toml")) if path.name != COSTS_FILE}


def spec_path(spec: str) -> Path:
    """Find a spec by the name of a shipped one, or by its path.

    Parameters
    ----------
    spec : str
        A name of `shipped_specs`, or a path.

    Returns
    -------
    Path
        Whether it can be read is not looked at.

    Raises
    ------
    UsageError
        If it is neither; says what is shipped, with the nearest name.
    """
    shipped = shipped_specs()
    if spec in shipped:
        return shipped[spec]
    path = Path(spec)
    if path.suffix or len(path.parts) > 1 or there_is(path):
        return path
    listed = ", ".join(shipped)
    raise UsageError(f"{spec!r} is no file and no shipped spec{hint(spec, shipped)}: {listed}")
