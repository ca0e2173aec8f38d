"""Person-level extracts to an evaluation directory: from opening files to moving it in place."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from lndbayes.base.errors import Code, DataError, Problem, UsageError
from lndbayes.data.evaluation import check_evaluation
from lndbayes.data.schema import SITES
from lndbayes.data.tables import month_number, month_text, read_table
from lndbayes.extracts.activity import (
    HISTORY,
    history_of,
    make_first_referrals,
    mix_of,
    referrals_of,
)
from lndbayes.extracts.cells import OUTCOMES, Outcome, cells_of
from lndbayes.extracts.disclosure import PRESETS, Preset, disclose_cells, disclose_counts
from lndbayes.extracts.follow import judge
from lndbayes.extracts.load import load_events, load_persons
from lndbayes.extracts.quality import quality_table
from lndbayes.extracts.read import Extract, open_extract, reading_problem
from lndbayes.extracts.rules import check_events, check_persons, check_referrals, in_order
from lndbayes.extracts.settings import Settings, Source, parse_sources, read_settings
from lndbayes.extracts.shape import EVENTS, PERSONS, REFERRALS, SOURCES, Field, Shape
from lndbayes.extracts.write import (
    QUALITY,
    copy_evidence,
    refuse_foreign,
    write_settings,
    write_tables,
)
from lndbayes.files.places import require_directory
from lndbayes.files.reading import there_is, why_no_folder
from lndbayes.files.whole import replaced_directory

__all__ = ["assemble"]

Say = Callable[[str], None]

_MEMORY = re.compile(r"[0-9]+(\.[0-9]+)? ?([KMGT]i?)?B", re.IGNORECASE)
_STRATA = ("none", "one", "several")
#: Later than any month: a site without go-live.
_NEVER = 12 * 10_000


def assemble(
    extracts: str | Path,
    out: str | Path,
    *,
    strata: bool = False,
    memory: str = "1GB",
    threads: int | None = None,
    say: Say = lambda message: None,
) -> Path:
    """Count person-level extracts into an evaluation directory.

    Parameters
    ----------
    extracts : str or Path
        The extracts; `docs/assembly.md` says what they hold.
    out : str or Path
        Directory to write. It is replaced as a whole when it is empty or holds an earlier assembly.
    strata : bool
        Whether cells are split by the number of the persons' needs: none, one, several.
    memory : str
        Most memory for tables, such as `1GB`; what does not fit goes to disk, beside `out`.
    threads : int, optional
        Threads; default one per processor.
    say : callable
        Receives a line of progress.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    DataError
        If anything in the extracts breaks a rule: all problems at once, before anything is written.
    UsageError
        If `memory` is not an amount, or is not enough.
    """
    root, target = Path(extracts), Path(out).resolve()
    if not there_is(root):
        raise DataError(
            Problem(str(extracts), "there is no such directory", code=Code.MISSING_FILE)
        )
    if why := why_no_folder(root):
        raise DataError(Problem(str(extracts), why, code=Code.UNREADABLE_FILE))
    if not _MEMORY.fullmatch(memory):
        raise UsageError(f"memory must be an amount such as 1GB, not {memory!r}")
    require_directory(target)
    refuse_foreign(target)
    with replaced_directory(target) as fresh:
        _work(root, fresh, strata, (memory, threads), say)
    say(f"wrote {out}")
    return target


def _work(root: Path, fresh: Path, strata: bool, limits: tuple[str, int | None], say: Say) -> None:
    memory, threads = limits
    config: dict[str, Any] = {
        "memory_limit": memory,
        "temp_directory": str(fresh.with_name("spill")),
        # rows are put in order where they are written
        "preserve_insertion_order": False,
        # nothing is fetched: the extracts lie in closed environments
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    if threads is not None:
        config["threads"] = threads
    # tables are in memory up to its limit, and beyond it in the temporary directory: a database
    # file would be compressed and written out even where all of it fits
    with duckdb.connect(config=config) as connection:
        try:
            settings, sources = _load(connection, root, fresh, strata, say)
            for source in sources.values():
                say(f"{source.name}: who is followed")
                judge(connection, source)
            say("counting cells")
            tables = _tables(connection, settings, sources, strata)
        except duckdb.OutOfMemoryException as error:
            raise UsageError(f"{memory} of memory is not enough for these extracts") from error
    write_tables(fresh, tables)
    write_settings(fresh, _evaluation(settings, sources))
    say("checking what was made")
    check_evaluation(fresh)


def _load(
    connection: duckdb.DuckDBPyConnection, root: Path, fresh: Path, strata: bool, say: Say
) -> tuple[Settings, dict[str, Source]]:
    """Read and check everything.

    Raises
    ------
    DataError
        With every problem.
    """
    settings, problems = read_settings(root)
    problems += _load_sites(connection, root, fresh)
    problems += copy_evidence(root, fresh)
    sources, used, found = _load_sources(connection, root, settings)
    problems += found
    flags = tuple(Field(f"matched_{name}", "flag") for name in used)
    persons_shape = replace(PERSONS, fields=(*PERSONS.fields, *flags))
    opened: dict[str, Extract] = {}
    for shape in (persons_shape, REFERRALS, *(EVENTS[name] for name in used)):
        extract, found = open_extract(connection, root, shape)
        problems += found
        if extract is not None:
            opened[shape.name] = extract
    if settings is not None and "persons" in opened:
        problems += _load_rows(connection, opened, settings, strata, say)
    if problems or settings is None:
        raise DataError(in_order(problems))
    return settings, sources


def _load_rows(
    connection: duckdb.DuckDBPyConnection,
    opened: Mapping[str, Extract],
    settings: Settings,
    strata: bool,
    say: Say,
) -> list[Problem]:
    """Read and check the rows of every table that could be opened."""
    say("persons: reading")
    problems = load_persons(connection, opened["persons"], strata=strata)
    if problems:
        return problems
    problems += check_persons(connection, opened["persons"], settings)
    for name, extract in opened.items():
        if name == "persons":
            continue
        say(f"{name}: reading and checking")
        found = load_events(connection, extract)
        if not found:
            check = check_referrals if name == "referrals" else check_events
            found = check(connection, extract, settings)
        problems += found
    return problems


def _text_rows(
    connection: duckdb.DuckDBPyConnection, extract: Extract
) -> tuple[list[list[str]], list[Problem]]:
    """Rows of a small table as text, in the order of its columns."""
    columns = ", ".join(
        f"coalesce(CAST(\"{field.name}\" AS VARCHAR), '')" for field in extract.shape.fields
    )
    connection.execute("SET preserve_insertion_order = true")
    try:
        rows = connection.execute(f"SELECT {columns} FROM {extract.scan}").fetchall()
    except duckdb.Error as error:
        return [], [reading_problem(extract, error)]
    finally:
        connection.execute("SET preserve_insertion_order = false")
    return [[str(cell) for cell in row] for row in rows], []


def _load_sites(connection: duckdb.DuckDBPyConnection, root: Path, fresh: Path) -> list[Problem]:
    """Write `sites.csv` as it is, and make the table `sites`."""
    connection.execute("CREATE TABLE sites (number INTEGER, site VARCHAR, go_live INTEGER)")
    shape = Shape("sites", tuple(Field(column.name, "text") for column in SITES.columns))
    extract, problems = open_extract(connection, root, shape)
    if extract is None:
        return problems
    path = fresh / SITES.file
    if extract.path.suffix == ".csv":
        shutil.copyfile(extract.path, path)
    else:
        rows, problems = _text_rows(connection, extract)
        with path.open("w", encoding="utf-8", newline="") as handle:
            csv.writer(handle, lineterminator="\n").writerows([SITES.names, *rows])
    parsed, found = read_table(fresh, SITES)
    if parsed is not None and parsed.frame.empty and not found:
        found = [Problem(extract.file, "the table is empty: it has no rows", code=Code.EMPTY_FILE)]
    if parsed is not None:
        frame = parsed.frame
        months = [month_number(text) if text else _NEVER for text in frame["go_live"]]
        for row in zip(range(len(frame)), frame["site"].tolist(), months, strict=True):
            connection.execute("INSERT INTO sites VALUES (?, ?, ?)", row)
    return problems + found


def _load_sources(
    connection: duckdb.DuckDBPyConnection, root: Path, settings: Settings | None
) -> tuple[dict[str, Source], list[str], list[Problem]]:
    """Sources, names of the event tables to read, and problems."""
    present = [
        name
        for name in EVENTS
        if any(there_is(root / f"{name}{suffix}") for suffix in (".csv", ".parquet", ""))
    ]
    extract, problems = open_extract(connection, root, SOURCES)
    if extract is None or settings is None:
        return {}, present, problems
    rows, found = _text_rows(connection, extract)
    if found:
        return {}, present, found
    if not rows:
        return (
            {},
            present,
            [Problem(extract.file, "the table is empty: it has no rows", code=Code.EMPTY_FILE)],
        )
    sources, problems = parse_sources(extract.file, rows, settings)
    written = {row[0] for row in rows}
    rule = "there is a table of this source, which is not listed"
    for name in present:
        if name not in written:
            where = extract.file, rule, None, "source", name
            problems.append(Problem(*where, Code.MISSING_ROW))
    return sources, [name for name in EVENTS if name in written or name in present], problems


def _tables(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    sources: Mapping[str, Source],
    strata: bool,
) -> dict[str, pd.DataFrame]:
    """Every table of the evaluation directory."""
    preset = PRESETS[settings.disclosure]
    levels = _STRATA if strata else ("",)
    cells = [
        _named(cells_of(connection, outcome, sources[outcome.source], levels), outcome, sources)
        for outcome in OUTCOMES
        if outcome.source in sources
    ]
    make_first_referrals(connection)
    tables = {
        "outcomes.csv": _outcomes(pd.concat(cells, ignore_index=True), preset, strata),
        "mix.csv": _mix(mix_of(connection), preset),
        "referrals.csv": _referrals(referrals_of(connection), preset),
        QUALITY: quality_table(connection, sources),
    }
    history = [
        history_of(connection, outcome, sources[name]).assign(outcome=outcome)
        for outcome, name in HISTORY.items()
        if name in sources
    ]
    # its columns have no room for what was withheld
    if settings.disclosure == "none" and history:
        table = pd.concat(history, ignore_index=True)
        table["calendar_month"] = table["m"].pipe(_month_texts)
        columns = "outcome", "site", "months_from_referral", "calendar_month", "persons", "count"
        tables["evidence/history.csv"] = table[list(columns)]
    return {name: table for name, table in tables.items() if len(table)}


def _month_texts(months: pd.Series) -> pd.Series:
    """Months as texts: each of the few is written once."""
    return months.map({month: month_text(month) for month in months.unique()})


def _named(cells: pd.DataFrame, outcome: Outcome, sources: Mapping[str, Source]) -> pd.DataFrame:
    source = sources[outcome.source]
    coverage = {month: source.coverage(month) for month in range(source.first, source.last + 1)}
    return cells.assign(
        outcome=outcome.name,
        source=outcome.source,
        month=cells["m"].pipe(_month_texts),
        coverage=1.0 if outcome.together else cells["m"].map(coverage),
        trials=outcome.trials,
        at_least_one=outcome.at_least_one,
        parts=outcome.parts,
    )


def _outcomes(cells: pd.DataFrame, preset: Preset, strata: bool) -> pd.DataFrame:
    cells = disclose_cells(cells, preset)
    columns = ["outcome", "site", "month", "source", "exposure", "count", "status"]
    columns += ["count_low", "count_high"]
    columns += ["stratum"] if strata else []
    columns += ["category"] if (cells["category"] != "").any() else []
    columns += ["coverage"] if (cells["coverage"] != 1).any() else []
    return cells[columns]


def _mix(mix: pd.DataFrame, preset: Preset) -> pd.DataFrame:
    """Contacts by month; for the whole period where small numbers are withheld."""
    mix = mix.assign(month=mix["m"].pipe(_month_texts))
    columns = ["site", "month", "intervention", "contacts"]
    if preset == PRESETS["none"]:
        return mix[columns]
    whole = mix.groupby(["site", "intervention"], sort=False, as_index=False)["contacts"].sum()
    shown, withheld = disclose_counts(whole["contacts"].to_numpy(), preset)
    return whole.assign(month="", contacts=shown)[~withheld][columns]


def _referrals(referrals: pd.DataFrame, preset: Preset) -> pd.DataFrame:
    shown, withheld = disclose_counts(referrals["referrals"].to_numpy(), preset)
    table = referrals.assign(month=referrals["m"].pipe(_month_texts), referrals=shown)
    return table[~withheld][["site", "month", "referrals"]]


def _evaluation(settings: Settings, sources: Mapping[str, Source]) -> dict[str, Any]:
    told = []
    for source in sources.values():
        text = f"{source.name} {month_text(source.first)} to {month_text(source.counted)}"
        told.append(text + "".join(f", seam {month}" for month in source.seams))
    made = f"Assembled from person-level extracts of {settings.extract_date}: {'; '.join(told)}."
    return {
        "name": settings.name,
        "period": "month",
        "first_month": month_text(settings.first),
        "last_month": month_text(settings.last),
        "synthetic": settings.synthetic,
        "disclosure": settings.disclosure,
        "notes": f"{settings.notes} {made}".strip(),
    }
