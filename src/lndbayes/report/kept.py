"""Tables that a report reads and its exports do not write: looked at before anything is done."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from lndbayes.base.errors import Problem
from lndbayes.files.reading import there_is
from lndbayes.report.run import read_table

__all__ = ["kept_problems"]

#: Written by other commands, or come with the data.
_KEPT: Final = ("data_quality.csv", "joint_correlation.csv", "backtest_summary.csv")


def kept_problems(run: Path, fresh: Collection[str] = ()) -> list[Problem]:
    """Tell what is wrong with tables that a report of this run would show as they are.

    Parameters
    ----------
    run : Path
        Run directory, which need not be there.
    fresh : collection of str
        Tables that are written anew.
    """
    return [
        problem
        for name in _KEPT
        if name not in fresh and there_is(run / name)
        for problem in read_table(run / name)[1]
    ]
