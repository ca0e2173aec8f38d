"""The evaluation directory, written beside its place and moved there whole."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from lndbayes.base.errors import Code, DataError, Problem
from lndbayes.data.problems import nearest
from lndbayes.files.reading import there_is, why_no_file, why_no_folder
from lndbayes.files.whole import files_within
from lndbayes.files.writing import flat_toml

__all__ = ["EVIDENCE", "QUALITY", "refuse_foreign", "write_settings", "write_tables"]

#: Evidence that is copied as it is.
EVIDENCE: Final = tuple(
    f"evidence/{name}.csv" for name in ("national", "retrospective", "proxy", "elicited")
)

QUALITY: Final = "data_quality.csv"

_MADE: Final = frozenset(
    {"evaluation.toml", "sites.csv", "outcomes.csv", "mix.csv", "referrals.csv", QUALITY}
    | {"evidence/history.csv", *EVIDENCE}
)


def refuse_foreign(target: Path) -> None:
    """Refuse to replace a directory that an earlier assembly did not write.

    Raises
    ------
    DataError
        If `target` is a file, or holds anything else. Nothing is touched.
    """
    held = files_within(target)
    foreign = sorted(held - _MADE)
    if foreign or (held and QUALITY not in held):
        rule = "must be empty or hold an earlier assembly and nothing else"
        told = [Problem(f"{target}/{name}", rule) for name in foreign[:20]]
        raise DataError(told or [Problem(str(target), rule)])


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write tables as CSV, by path inside the folder; empty where a number is not known."""
    for name, table in tables.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False, lineterminator="\n")


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write `evaluation.toml`."""
    (folder / "evaluation.toml").write_bytes(flat_toml(settings).encode())


def copy_evidence(extracts: Path, folder: Path) -> list[Problem]:
    """Copy the evidence that does not come from persons; tell of files that are not it."""
    source = extracts / "evidence"
    if not there_is(source):
        rule = "is not a folder of the extracts and would be left out (is it 'evidence'?)"
        folders = [path.name for path in sorted(extracts.iterdir()) if path.is_dir()]
        like = [name for name in folders if nearest(name, ["evidence"])]
        return [Problem(name, rule, code=Code.MISNAMED_FILE) for name in like]
    if why := why_no_folder(source):
        return [Problem("evidence", why, code=Code.UNREADABLE_FILE)]
    problems = []
    for path in sorted(source.iterdir()):
        name = f"evidence/{path.name}"
        if path.name.startswith("."):
            continue
        if name == "evidence/history.csv":
            rule = "must not be there: it is made from the extracts"
            problems.append(Problem(name, rule, code=Code.CONTRADICTION))
        elif name in EVIDENCE and (why := why_no_file(path)):
            problems.append(Problem(name, why, code=Code.UNREADABLE_FILE))
        elif name not in EVIDENCE:
            rule = f"must be one of {', '.join(EVIDENCE)}"
            problems.append(Problem(name, rule, code=Code.MISNAMED_FILE))
        else:
            (folder / "evidence").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
    return problems
