"""A synthetic evaluation and its extracts in one directory, replaced together."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lndbayes.synthetic.extracts.write import check_target, write_extracts
from lndbayes.synthetic.write import write_evaluation

if TYPE_CHECKING:
    import os

    from lndbayes.synthetic.extracts.generate import SimulatedExtracts
    from lndbayes.synthetic.generate import SimulatedEvaluation

__all__ = ["FOLDER", "write_both"]

#: Where the extracts lie in the evaluation directory.
FOLDER: Final = "extracts"


def write_both(
    evaluation: SimulatedEvaluation, extracts: SimulatedExtracts, out: str | os.PathLike[str]
) -> Path:
    """Write a synthetic evaluation with its extracts in ``extracts/``.

    Parameters
    ----------
    evaluation : SimulatedEvaluation
        From :func:`lndbayes.synthetic.simulate`.
    extracts : SimulatedExtracts
        From :func:`lndbayes.synthetic.extracts.simulate_extracts`.
    out : str or path
        Directory to write; an earlier simulation in it, extracts included, is replaced.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    DataError
        If ``out`` holds anything that a simulation did not write. Nothing is touched then.
    """
    target = Path(out).resolve()
    inner = target / FOLDER
    check_target(inner)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        fresh, stale = staging / "new", staging / "old"
        write_extracts(extracts, fresh)
        if inner.exists():
            inner.rename(stale)
        try:
            write_evaluation(evaluation, target)
        except BaseException:
            if stale.exists():
                stale.rename(inner)
            raise
        fresh.rename(inner)
    finally:
        shutil.rmtree(staging)
    return target
