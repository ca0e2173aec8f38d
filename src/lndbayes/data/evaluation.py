"""The evaluation data: one frozen object that every later step reads.

`read_evaluation` reads a directory, checks everything in it and reports all problems at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.choices import one_of
from lndbayes.data.columns import Table
from lndbayes.data.facts import FILE, Facts, read_facts
from lndbayes.data.panel import build_dataset
from lndbayes.data.problems import data_error, nearest
from lndbayes.data.rules import check_tables
from lndbayes.data.schema import EVIDENCE, QUALITY, TABLES
from lndbayes.data.tables import Parsed, empty_frame, read_table
from lndbayes.errors import Problem
from lndbayes.files import there_is, why_no_folder

__all__ = ["EvaluationData", "check_evaluation", "read_evaluation", "with_rows_of"]


class _Guarded:
    """A field that hands out copies, so that no caller can change what others read.

    Pandas copies lazily and a shallow Dataset copy shares its read-only arrays: both are cheap.
    """

    def __init__(self, slot: str) -> None:
        self.slot = slot

    def __get__(self, instance: object, owner: type) -> Any:
        return self if instance is None else _copied(getattr(instance, self.slot))

    def __set__(self, instance: object, value: Any) -> None:
        object.__setattr__(instance, self.slot, _stored(value))


def _guard[C: type](owner: C) -> C:
    # attached after the dataclass is made, which would else take the descriptors for defaults
    for name in ("ds", "outcomes", "evidence", "notes"):
        setattr(owner, name, _Guarded(f"_{name}"))
    return owner


def _stored(value: Any) -> Any:
    """Return what is kept: mappings as plain dicts (which pickle), none of it the caller's."""
    if isinstance(value, Mapping) and not isinstance(value, xr.Dataset):
        return {key: _stored(item) for key, item in value.items()}
    return _copied(value)


def _copied(value: Any) -> Any:
    if isinstance(value, pd.DataFrame | xr.Dataset):
        return value.copy(deep=False)
    if isinstance(value, Mapping):
        return MappingProxyType({key: _copied(item) for key, item in value.items()})
    return value


@_guard
@dataclass(frozen=True, eq=False)
class EvaluationData:
    """Everything an evaluation directory says, checked.

    Frames and the Dataset are handed out as copies and the Dataset's arrays are read-only.

    Attributes
    ----------
    name : str
        Name of the evaluation.
    period : {"month", "quarter", "year"}
        Length of a period.
    synthetic : bool
        Whether the data are simulated.
    disclosure : str
        Name of a disclosure preset, or `none`.
    path : str
        The directory as it was given.
    hash : str
        SHA-256 (hex) of the content: independent of the order of rows and columns, of how a number
        is written, and of `name` and `notes`, which no result depends on.
    ds : xarray.Dataset
        Coords `site`, `month` (every period, `YYYY-MM`), `outcome`, `intervention`; see
        `lndbayes.data.panel.build_dataset`. NaN where absent; units in attributes.
    outcomes : pandas.DataFrame
        The outcomes table, all columns of the contract (text empty and numbers NaN where absent),
        with `month_index` (int, periods since the first) and `row` (line in the file).
    evidence : mapping of str to pandas.DataFrame
        `retrospective`, `national`, `proxy`, `history`, `elicited`: all columns of the contract,
        `row`, and where there is a month `month_index` (of the first month of a national row, of
        the calendar month of a history row). Without rows where absent.
    notes : mapping of str to str
        What was found, absent, ignored or set aside, by file or subject.
    """

    name: str
    period: str
    synthetic: bool
    disclosure: str
    path: str
    hash: str
    ds: xr.Dataset
    outcomes: pd.DataFrame
    evidence: Mapping[str, pd.DataFrame]
    notes: Mapping[str, str]


def read_evaluation(path: str | Path) -> EvaluationData:
    """Read and check an evaluation directory.

    Parameters
    ----------
    path : str or Path
        The directory; `docs/data-contract.md` says what it holds.

    Returns
    -------
    EvaluationData
        Frozen.

    Raises
    ------
    DataError
        If anything breaks the contract: all problems at once, each with file, row, column, value
        and rule.
    """
    facts, tables, notes = _checked(path)
    frames = {name: _canonical(name, tables, facts) for name in _STEMS}
    ds, panel_notes = build_dataset(frames, facts)
    if facts.notes:
        notes[FILE] = facts.notes
    return EvaluationData(
        name=facts.name,
        period=facts.period,
        synthetic=facts.synthetic,
        disclosure=facts.disclosure,
        path=str(path),
        hash=_content_hash(facts, frames),
        ds=ds,
        outcomes=frames["outcomes"],
        evidence={name: frames[name] for name in EVIDENCE},
        notes=notes | panel_notes,
    )


def check_evaluation(path: str | Path) -> None:
    """Check an evaluation directory and keep nothing of it: half the time of `read_evaluation`.

    Parameters
    ----------
    path : str or Path
        The directory.

    Raises
    ------
    DataError
        See `read_evaluation`.
    """
    _checked(path)


def with_rows_of(data: EvaluationData, outcome: str) -> EvaluationData:
    """Leave out the rows of other outcomes, so that little travels to another process.

    Parameters
    ----------
    data : EvaluationData
        The evaluation data.
    outcome : str
        Whose rows of ``outcomes`` to keep.

    Returns
    -------
    EvaluationData
        Of the same hash: to a fit of this outcome it is the same data.

    Raises
    ------
    ValueError
        If there is no such outcome.
    """
    one_of("outcome", outcome, [str(x) for x in data.ds["outcome"].to_numpy()])
    rows = data.outcomes
    return replace(data, outcomes=rows[rows["outcome"] == outcome].reset_index(drop=True))


def _checked(path: str | Path) -> tuple[Facts, dict[str, Parsed], dict[str, str]]:
    root = Path(path)
    if not there_is(root):
        raise data_error([Problem(str(path), "there is no such directory")])
    if why := why_no_folder(root):
        raise data_error([Problem(str(path), why)])
    facts, problems = read_facts(root)
    tables, notes, table_problems = _read_tables(root)
    problems += table_problems + check_tables(tables, facts)
    if problems or facts is None:
        raise data_error(problems)
    return facts, tables, notes


#: Folder of the tables of evidence.
_EVIDENCE: Final = "evidence"

#: Files that somebody may take for a table.
_TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx")

#: Files that belong to a directory and that no table is read from.
_UNREAD: Final = frozenset({FILE, "truth.json", QUALITY.file})

#: Tables by the stem of their file name, which names them in code.
_STEMS: Final[Mapping[str, Table]] = {Path(table.file).stem: table for table in TABLES}


def _read_tables(root: Path) -> tuple[dict[str, Parsed], dict[str, str], list[Problem]]:
    tables: dict[str, Parsed] = {}
    notes: dict[str, str] = {}
    present, problems = _found(root)
    problems += _check_files(present)
    for stem, table in _STEMS.items():
        if table.file not in present:
            notes[table.file] = "absent"
            continue
        parsed, found = read_table(root, table)
        problems += found
        if parsed is None:
            continue
        if rows := len(parsed.frame):
            tables[stem] = parsed
            notes[table.file] = f"{rows:,} row{'' if rows == 1 else 's'}"
        else:
            notes[table.file] = "header only: taken as absent"
        if parsed.ignored:
            notes[f"{table.file}, columns not read"] = ", ".join(parsed.ignored)
    if QUALITY.file in present:
        # the report copies it: what it cannot show is told here, not after the fits
        problems += read_table(root, QUALITY)[1]
    known = {table.file for table in TABLES} | _UNREAD
    if others := sorted(present - known):
        notes["files not read"] = ", ".join(others)
    return tables, notes, problems


def _found(root: Path) -> tuple[set[str], list[Problem]]:
    """Files of the directory and of its evidence, by path inside it, and folders to be told of.

    What has the name of a table is among them whatever it is: a folder or a pipe called `mix.csv`
    is a mistake to be told when it is read, not a table that is absent.
    """
    problems = []
    entries = [path for path in sorted(root.iterdir()) if not path.name.startswith(".")]
    evidence = root / _EVIDENCE
    if there_is(evidence):
        if why := why_no_folder(evidence):
            problems.append(Problem(_EVIDENCE, why))
        else:
            entries += [path for path in sorted(evidence.iterdir()) if path.name[0] != "."]
    else:
        rule = f"is not a folder of the contract and would be left out (is it {_EVIDENCE!r}?)"
        folders = [path.name for path in entries if path.is_dir()]
        problems += [Problem(name, rule) for name in folders if nearest(name, [_EVIDENCE])]
    named = {table.file for table in TABLES} | _UNREAD
    present = {path.relative_to(root).as_posix() for path in entries if not path.is_dir()}
    present |= {name for name in named if there_is(root / name)}
    return present - {_EVIDENCE}, problems


def _check_files(present: set[str]) -> list[Problem]:
    """Check that needed files exist and that no known one has another name or place."""
    absent = {table.file for table in TABLES} - present
    problems = [
        Problem(table.file, "the file is missing")
        for table in TABLES
        if table.needed and table.file in absent
    ]
    names = {Path(file).name: file for file in absent}
    for file in sorted(present - {table.file for table in TABLES}):
        near = nearest(Path(file).name, names)
        if near and Path(file).suffix.lower() in _TABLE_SUFFIXES:
            rule = f"is not a file of the contract and would be left out (is it {names[near]}?)"
            problems.append(Problem(file, rule))
    return problems


def _canonical(name: str, tables: Mapping[str, Parsed], facts: Facts) -> pd.DataFrame:
    """Put rows in the order of their key, and add the month's index."""
    table = _STEMS[name]
    frame = tables[name].frame if name in tables else empty_frame(table)
    frame = frame.sort_values(list(table.key), kind="stable", ignore_index=True)
    whole = [c.name for c in table.columns if c.kind == "integer" and not c.empty]
    frame = frame.astype(dict.fromkeys(whole, np.int64))
    month = "calendar_month" if "calendar_month" in frame else "month"
    if month not in frame or name == "mix":
        return frame
    index = {text: int(facts.index(text)) for text in frame[month].unique()}
    values = np.array([index[text] for text in frame[month]], dtype=np.int64)
    return frame.assign(month_index=values)


def _content_hash(facts: Facts, frames: Mapping[str, pd.DataFrame]) -> str:
    """Hash one line per row, fields in the contract's order, rows in that of their key."""
    digest = hashlib.sha256()
    head = (facts.period, facts.months[0], facts.months[-1], facts.synthetic, facts.disclosure)
    digest.update(repr(head).encode())
    for name, frame in frames.items():
        digest.update(f"\n[{name}]\n".encode())
        columns = [_canonical_texts(frame[column]) for column in _STEMS[name].names]
        lines = ("\x1f".join(cells) for cells in zip(*columns, strict=True))
        digest.update("\x1e".join(lines).encode())
    return digest.hexdigest()


def _canonical_texts(values: pd.Series) -> list[str]:
    if values.dtype.kind not in "if":
        return list(values.tolist())
    codes, distinct = pd.factorize(values.to_numpy(float))
    texts = np.array([*(repr(float(value)) for value in distinct), ""], dtype=object)
    return list(texts[codes])
