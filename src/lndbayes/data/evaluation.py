"""The evaluation data: one frozen object that every later step reads.

`read_evaluation` reads a directory, checks everything in it and reports all problems at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.choices import one_of, pair_of
from lndbayes.base.errors import Code, Problem
from lndbayes.base.names import MONTH, OUTCOME, PERIOD_MONTHS, SITE
from lndbayes.data.columns import Table
from lndbayes.data.content import content_hash
from lndbayes.data.facts import FILE, Facts, read_facts
from lndbayes.data.guarded import guarded
from lndbayes.data.panel import build_dataset
from lndbayes.data.problems import data_error, nearest
from lndbayes.data.rules import check_tables
from lndbayes.data.schema import COVARIATES, EVIDENCE, QUALITY, TABLES
from lndbayes.data.tables import Parsed, columns_as_written, empty_frame, read_table
from lndbayes.files.reading import there_is, why_no_folder

__all__ = ["EvaluationData", "check_evaluation", "read_evaluation", "with_rows_of"]


@guarded("ds", "outcomes", "evidence", "notes", "covariates", "site_columns")
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
        SHA-256 (hex) of the content, computed from it: independent of the order of rows and
        columns, of how a number is written, and of `name`, `path` and `notes`, which no result
        depends on.
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
    covariates : pandas.DataFrame
        The covariates table, with `month_index` and `row`.
    site_columns : pandas.DataFrame
        Columns of `sites.csv` as written, further ones too, by `site` and `row`; not in `hash`.
    """

    name: str
    period: str
    synthetic: bool
    disclosure: str
    path: str
    ds: xr.Dataset
    outcomes: pd.DataFrame
    evidence: Mapping[str, pd.DataFrame]
    notes: Mapping[str, str]
    covariates: pd.DataFrame = field(default_factory=partial(empty_frame, COVARIATES, True))
    site_columns: pd.DataFrame = field(default_factory=columns_as_written)

    def __post_init__(self) -> None:
        ds, rows = self.ds, self.outcomes
        labels = {"site": SITE, "outcome": OUTCOME}
        strange = [
            column
            for column, dim in labels.items()
            if not set(rows[column]) <= {str(x) for x in ds[dim].to_numpy()}
        ]
        strange += [] if rows["month_index"].between(0, ds.sizes[MONTH] - 1).all() else ["month"]
        if strange:
            told = f"ds and outcomes do not have the same {' and '.join(strange)}"
            raise ValueError(f"{told}: sel() chooses from both")

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of the content."""
        tables = {"outcomes": self.outcomes, **self.evidence}
        if len(self.covariates):
            tables["covariates"] = self.covariates
        parts = {name: frame[list(_STEMS[name].names)] for name, frame in tables.items()}
        return content_hash((self.period, self.synthetic, self.disclosure), self.ds, parts)

    def sel(
        self, *, sites: Iterable[str] | None = None, months: tuple[str, str] | None = None
    ) -> EvaluationData:
        """Choose sites and months, everywhere alike: Dataset, tables, evidence and hash.

        Parameters
        ----------
        sites : iterable of str, optional
            Sites to keep; default all. Their order stays that of the data.
        months : tuple of str, optional
            First and last period to keep, ``YYYY-MM``; default all.

        Returns
        -------
        EvaluationData
            The mix of a site stays that of the whole period, since contacts are not kept by month.
            Judgements are about the 12 months before the first go-live: those on all sites
            together are left out where sites are, and all of them where the first go-live is
            another or none of those months is kept, as the notes say.

        Raises
        ------
        ValueError
            If a site or month does not exist, or nothing is chosen.
        """
        return _selected(self, sites, months)


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
        ds=ds,
        outcomes=frames["outcomes"],
        evidence={name: frames[name] for name in EVIDENCE},
        notes=notes | panel_notes,
        covariates=frames["covariates"],
        site_columns=columns_as_written(tables["sites"]),
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
    light = replace(data, outcomes=rows[rows["outcome"] == outcome].reset_index(drop=True))
    # of a fit's inputs nothing has gone: it stays the same data by name
    light.__dict__["hash"] = data.hash
    return light


def _selected(
    data: EvaluationData, sites: Iterable[str] | None, months: tuple[str, str] | None
) -> EvaluationData:
    ds = data.ds
    there, grid = ([str(x) for x in ds[dim].to_numpy()] for dim in (SITE, MONTH))
    if isinstance(sites, str):
        raise TypeError(f"sites must be a list of sites, got {sites!r}")
    asked = there if sites is None else list(sites)
    first, last = (grid[0], grid[-1]) if months is None else pair_of("months", months, str)
    for name, wanted, known in (("sites", asked, there), ("months", (first, last), grid)):
        for label in wanted:
            one_of(name, label, known)
    kept, start, stop = [s for s in there if s in set(asked)], grid.index(first), grid.index(last)
    if not kept or stop < start:
        raise ValueError("at least one site and one period must be chosen")
    chosen = ds.sel({SITE: kept}).isel({MONTH: slice(start, stop + 1)})
    chosen["go_live"] = (chosen["go_live"] - start).assign_attrs(ds["go_live"].attrs)

    def part(frame: pd.DataFrame, *, spans: bool = False) -> pd.DataFrame:
        if SITE in frame:
            frame = frame[frame[SITE].isin([*kept, ""])]
        if "month_index" in frame:
            at = frame["month_index"]
            # what lies outside the grid, or spans months of it, is left to the model as it was
            stays = at.between(start, stop) | ~at.between(0, len(grid) - 1) | spans
            frame = frame.assign(month_index=at - start)[stays]
        return frame.reset_index(drop=True)

    evidence = {k: part(v, spans=k == "national") for k, v in data.evidence.items()}
    notes = dict(data.notes)
    if kept != there or first != grid[0] or last != grid[-1]:
        notes["selected"] = f"{len(kept)} of {len(there)} sites, {first} to {last}"
    judged = evidence["elicited"]
    same = chosen["go_live"].min() + start == ds["go_live"].min()
    if kept != there:
        judged = judged[judged[SITE] != ""] if same else judged.iloc[:0]
    if "selected" in notes and not _reaches(chosen, 12 // PERIOD_MONTHS[data.period]):
        judged = judged.iloc[:0]
    if gone := len(data.evidence["elicited"]) - len(judged):
        notes["judgements left out"] = (
            f"{gone} of {len(data.evidence['elicited'])}: they are about other sites, another "
            "first go-live, or months that are not kept"
        )
    evidence["elicited"] = judged.reset_index(drop=True)
    for name, rows in evidence.items():
        if len(rows) < (before := len(data.evidence[name])):
            notes[EVIDENCE[name].file] = f"{len(rows):,} of {before:,} rows, those on what was kept"
    for variable in chosen.variables.values():
        variable.values.setflags(write=False)
    columns = data.site_columns
    return replace(
        data,
        ds=chosen,
        outcomes=part(data.outcomes),
        evidence=evidence,
        notes=notes,
        covariates=part(data.covariates),
        site_columns=columns[columns.index.isin(kept, level=SITE)],
    )


def _reaches(ds: xr.Dataset, periods: int) -> bool:
    """Whether any of the periods before the first go-live, which judgements are of, is held."""
    size = ds.sizes[MONTH]
    first = float(np.nan_to_num(ds["go_live"].min(), nan=size))
    return 0 < first < size + periods


def _checked(path: str | Path) -> tuple[Facts, dict[str, Parsed], dict[str, str]]:
    root = Path(path)
    if not there_is(root):
        raise data_error([Problem(str(path), "there is no such directory", code=Code.MISSING_FILE)])
    if why := why_no_folder(root):
        raise data_error([Problem(str(path), why, code=Code.UNREADABLE_FILE)])
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
            told = "read where a spec names them" if table.extensible else "not read"
            notes[f"{table.file}, columns {told}"] = ", ".join(parsed.ignored)
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
            problems.append(Problem(_EVIDENCE, why, code=Code.UNREADABLE_FILE))
        else:
            entries += [path for path in sorted(evidence.iterdir()) if path.name[0] != "."]
    else:
        rule = f"is not a folder of the contract and would be left out (is it {_EVIDENCE!r}?)"
        folders = [path.name for path in entries if path.is_dir()]
        like = [name for name in folders if nearest(name, [_EVIDENCE])]
        problems += [Problem(name, rule, code=Code.MISNAMED_FILE) for name in like]
    named = {table.file for table in TABLES} | _UNREAD
    present = {path.relative_to(root).as_posix() for path in entries if not path.is_dir()}
    present |= {name for name in named if there_is(root / name)}
    return present - {_EVIDENCE}, problems


def _check_files(present: set[str]) -> list[Problem]:
    """Check that needed files exist and that no known one has another name or place."""
    absent = {table.file for table in TABLES} - present
    problems = [
        Problem(table.file, "the file is missing", code=Code.MISSING_FILE)
        for table in TABLES
        if table.needed and table.file in absent
    ]
    names = {Path(file).name: file for file in absent}
    for file in sorted(present - {table.file for table in TABLES}):
        near = nearest(Path(file).name, names)
        if near and Path(file).suffix.lower() in _TABLE_SUFFIXES:
            rule = f"is not a file of the contract and would be left out (is it {names[near]}?)"
            problems.append(Problem(file, rule, code=Code.MISNAMED_FILE))
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
