"""A synthetic evaluation and its extracts in one directory, replaced together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from lndbayes.files.whole import replaced_directory
from lndbayes.synthetic.extracts.write import check_target, write_extract_files
from lndbayes.synthetic.write import check_evaluation_target, write_evaluation_files

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
    check_evaluation_target(evaluation, target, beside=FOLDER)
    check_target(target / FOLDER)
    with replaced_directory(target) as fresh:
        write_evaluation_files(evaluation, fresh)
        inner = fresh / FOLDER
        inner.mkdir()
        write_extract_files(extracts, inner, "parquet")
    return target
