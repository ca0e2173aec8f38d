"""How long an assembly takes and how much memory it needs.

Makes random extracts with ten million event rows as Parquet, runs the command in a process of its
own and writes docs/assembly-timings.md.

    python benchmarks/bench_assemble.py [--rows 10000000] [--threads 2] [--memory 1GB]
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

ROOT = Path(__file__).parents[1]
SOURCES = ("hes_ae", "mhsds", "iapt", "ndtms", "pnc", "hmcts")
#: Share of the event rows in each table.
SHARES = {"hes_ae": 0.35, "mhsds": 0.25, "iapt": 0.1, "ndtms": 0.1, "pnc": 0.12, "hmcts": 0.08}
SITES, ROWS_A_PERSON = 27, 12
START, DAYS = "2011-04-01", 2922  # to 2019-03-31

SETTINGS = """\
name = "Random extracts"
first_month = "2011-04"
last_month = "2019-03"
extract_date = "2019-06-30"
synthetic = true
disclosure = "none"
"""


def uniform(salt: str, low: int, high: int) -> str:
    """SQL of a whole number from `low` to `high`, random by row number `i` and the same each time.

    Parameters
    ----------
    salt : str
        Another column, another salt.
    low, high : int
        Bounds, both included.
    """
    return f"CAST({low} + hash(i, '{salt}') % {high - low + 1} AS INTEGER)"


def persons_query(persons: int) -> str:
    """SQL of the persons."""
    flags = ", ".join(
        f"CAST({uniform(name, 0, 99)} < {share} AS INTEGER) AS {name}"
        for name, share in (
            ("consented", 90),
            ("mental_health", 70),
            ("drug_alcohol", 50),
            ("other_need", 60),
            *((f"matched_{source}", 90) for source in SOURCES),
        )
    )
    contact = uniform("contact", 0, DAYS - 1)
    death = f"CASE WHEN {uniform('dies', 0, 99)} < 2 THEN DATE '2019-04-01' END"
    return f"""
        SELECT 'P' || lpad(CAST(i AS VARCHAR), 9, '0') AS study_id,
               'S' || lpad(CAST({uniform("site", 1, SITES)} AS VARCHAR), 2, '0') AS site,
               DATE '1950-01-01' + {uniform("birth", 0, 15000)} AS birth_date,
               {death} AS death_date, DATE '{START}' + {contact} AS contact_date, {flags}
        FROM range({persons}) t(i)"""


def _who(table: str, persons: int) -> str:
    """Person of an event, and a day from 300 before the person's contact to 600 after."""
    number = f"CAST(hash(i, '{table} person') % {persons} AS BIGINT)"
    contact = f"CAST(hash({number}, 'contact') % {DAYS} AS INTEGER)"
    day = f"least(greatest({contact} + {uniform(table + ' day', -300, 600)}, 0), {DAYS - 1})"
    return f"'P' || lpad(CAST({number} AS VARCHAR), 9, '0') AS study_id, {day} AS day"


def events_query(table: str, rows: int, persons: int) -> str:
    """SQL of one source's events, in the columns of the extracts and without broken rules."""
    made = f"SELECT i, {_who(table, persons)} FROM range({rows}) t(i)"
    date = f"DATE '{START}' + day AS date"
    if table == "hes_ae":
        return f"SELECT study_id, {date}, 'A' || i AS attendance_id FROM ({made})"
    if table in ("pnc", "hmcts"):
        own = {
            "pnc": f"""CASE WHEN i % 3 = 0 THEN 'disposal' ELSE 'offence' END AS kind,
                CASE WHEN i % 3 = 0 THEN greatest({uniform("days", -1500, 400)}, 0)
                END AS custody_days""",
            "hmcts": "0 AS completed",
        }[table]
        if table == "pnc":
            return f"SELECT study_id, {date}, 'C' || i AS case_id, {own} FROM ({made})"
        # three hearings a case, the last of which ends it
        made = f"SELECT i, {_who(table, persons)} FROM range({rows // 3}) t(i)"
        return f"""
            SELECT study_id, DATE '{START}' + day + 20 * k AS date,
                   'C' || i AS case_id, CAST(k = 2 AS INTEGER) AS completed
            FROM ({made}), (SELECT CAST(range AS INTEGER) AS k FROM range(3)) h
            WHERE day + 20 * k < {DAYS}"""
    # a referral and three attendances
    made = f"SELECT i, {_who(table, persons)} FROM range({rows // 4}) t(i)"
    score = ", NULL::INTEGER AS score" if table == "ndtms" else ""
    query = f"""
        SELECT study_id, DATE '{START}' + least(day + 25 * k, {DAYS - 1}) AS date,
               CASE WHEN k = 0 THEN 'referral' ELSE 'attendance' END AS kind,
               'R' || i AS referral_id {score}
        FROM ({made}), (SELECT CAST(range AS INTEGER) AS k FROM range(4)) h"""
    if table != "ndtms":
        return query
    # a start of treatment with its review, for every fourth referral
    return f"""{query} UNION ALL
        SELECT study_id, DATE '{START}' + least(day + 90 * k, {DAYS - 1}),
               CASE WHEN k = 0 THEN 'top_start' ELSE 'top_review' END, NULL,
               CAST(hash(i, k) % 21 AS INTEGER)
        FROM ({made}), (SELECT CAST(range AS INTEGER) AS k FROM range(2)) h WHERE i % 4 = 0"""


def make(folder: Path, rows: int) -> dict[str, int]:
    """Write the extracts; returns rows by table."""
    persons = rows // ROWS_A_PERSON
    (folder / "extracts.toml").write_text(SETTINGS, encoding="utf-8")
    header = "site,label,region,wave,go_live,population,predecessor\n"
    sites = [
        f"S{n:02d},Site {n},North,{1 + (n > 10)},{'2014-04' if n <= 10 else '2015-04'},,\n"
        for n in range(1, SITES + 1)
    ]
    (folder / "sites.csv").write_text(header + "".join(sites), encoding="utf-8")
    header = "source,first_month,last_month,seam,reporting_delay_months\n"
    lines = [f"{source},2012-04,2019-03,,\n" for source in SOURCES]
    (folder / "sources.csv").write_text(header + "".join(lines), encoding="utf-8")
    referral = f"""SELECT study_id, 'S' || lpad(CAST({uniform("s", 1, SITES)} AS VARCHAR), 2, '0')
        AS site, DATE '{START}' + day AS date, 'kind ' || i % 6 AS intervention
        FROM (SELECT i, {_who("referrals", persons)} FROM range({persons}) t(i))"""
    queries = {
        "persons": persons_query(persons),
        "referrals": referral,
        **{name: events_query(name, int(rows * share), persons) for name, share in SHARES.items()},
    }
    with duckdb.connect(config={"threads": 2}) as connection:
        for name, query in queries.items():
            connection.execute(f"COPY ({query}) TO '{folder / name}.parquet'")
        return {
            name: connection.execute(f"SELECT count(*) FROM '{folder / name}.parquet'").fetchall()[
                0
            ][0]
            for name in queries
        }


def measure(extracts: Path, out: Path, threads: int, memory: str) -> tuple[float, float, float]:
    """Wall and CPU seconds and peak resident memory (MB) of the command in its own process."""
    command = [sys.executable, "-m", "lndbayes", "assemble", str(extracts), "--out", str(out)]
    command += ["--threads", str(threads), "--memory", memory]
    started = time.perf_counter()
    child = subprocess.Popen(command)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"the command ended with {child.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Make, run, report."""
    parser = argparse.ArgumentParser(description="Time an assembly.")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--write", action="store_true", help="write docs/assembly-timings.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        extracts = Path(name) / "extracts"
        extracts.mkdir()
        counts = make(extracts, options.rows)
        seconds, cpu, peak = measure(extracts, Path(name) / "out", options.threads, options.memory)
    events = sum(counts[source] for source in SOURCES)
    print(f"{events:,} event rows: {seconds:.1f} s, CPU {cpu:.1f} s, {peak:,.0f} MB at most")
    if options.write:
        text = report(counts, (seconds, cpu, peak), options)
        (ROOT / "docs" / "assembly-timings.md").write_text(text, encoding="utf-8")


def report(
    counts: dict[str, int], measured: tuple[float, float, float], options: argparse.Namespace
) -> str:
    """Render the page."""
    seconds, cpu, peak = measured
    events = sum(counts[source] for source in SOURCES)
    load = os.getloadavg()[0]
    rows = "".join(f"| `{name}` | {count:,} |\n" for name, count in counts.items())
    return f"""# How long an assembly takes

Written by `benchmarks/bench_assemble.py`, from one run on random extracts in Parquet.

`lndbayes assemble` with `--threads {options.threads} --memory {options.memory}`, from start to end
of its process, reading, checking, counting and reading back included:

| event rows | wall seconds | CPU seconds | peak memory, MB |
|---|---|---|---|
| {events:,} | {seconds:.1f} | {cpu:.1f} | {peak:,.0f} |

The machine's load average at the end was {load:.1f} on {os.cpu_count()} processors; where it is
above their number, other work inflated the wall seconds.

`--memory` bounds the tables; the process also holds its libraries, the files being read and the
cells. DuckDB {duckdb.__version__}, Python {platform.python_version()}.

| table | rows |
|---|---|
{rows}"""


if __name__ == "__main__":
    main()
