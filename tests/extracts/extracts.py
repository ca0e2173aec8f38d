"""Small random extracts in which every rule of who counts is met."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

SOURCES = ("hes_ae", "mhsds", "iapt", "ndtms", "pnc", "hmcts")
FIRST, LAST = "2013-01", "2016-06"
SITES = ("A1", "B'2", "Ç3")
START, END = pd.Timestamp("2013-01-01"), pd.Timestamp("2016-06-30")

SETTINGS = {
    "name": "Small",
    "first_month": FIRST,
    "last_month": LAST,
    "extract_date": "2016-08-15",
    "synthetic": True,
    "disclosure": "none",
}


def made(seed: int, persons: int = 120) -> dict[str, pd.DataFrame]:
    """Tables of valid extracts by name, every cell as text."""
    rng = np.random.default_rng(seed)
    people = _persons(rng, persons)
    events: dict[str, list[dict[str, object]]] = {name: [] for name in ("referrals", *SOURCES)}
    for person in people:
        for name in events:
            events[name] += _events(rng, name, person)
    tables = {"sites": _sites(), "sources": _sources(rng), "persons": pd.DataFrame(people)}
    for name, rows in events.items():
        table = pd.DataFrame(rows).sample(frac=1, random_state=seed).reset_index(drop=True)
        tables[name] = table
    return {name: table.map(_text).astype(str) for name, table in tables.items()}


def _text(value: object) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y-%m-%d")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _sites() -> pd.DataFrame:
    rows = [
        ("Ç3", "Third", "North", 2, "2015-02", "", ""),
        ("A1", "First", "North", 1, "2014-04", 1000, 0.5),
        ("B'2", "", "South", 3, "", "", 0),
    ]
    names = ("site", "label", "region", "wave", "go_live", "population", "predecessor")
    return pd.DataFrame(rows, columns=names)


def _sources(rng: np.random.Generator) -> pd.DataFrame:
    """Each source covers another part of the grid; some reach beyond it."""
    first = ("2012-05", "2013-03", "2013-01", "2013-04", "2013-02", "2013-05")
    last = ("2016-06", "2016-03", "2019-01", "2016-05", "2016-06", "2016-04")
    seam = ("2014-02", "2014-09;2016-01", "", "", "", "")
    delay = rng.choice(["", "1.5", "4"], size=6)
    return pd.DataFrame(
        {
            "source": SOURCES,
            "first_month": first,
            "last_month": last,
            "seam": seam,
            "reporting_delay_months": delay,
        }
    )


def _day(rng: np.random.Generator, low: pd.Timestamp, high: pd.Timestamp) -> pd.Timestamp:
    """A day; often the first or the last of a month, where months meet."""
    low, high = max(low, START), min(high, END)
    day = low + pd.Timedelta(days=int(rng.integers((high - low).days + 1)))
    edge = rng.random()
    if edge < 0.15:
        day = day.replace(day=1)
    elif edge < 0.3:
        day = day + pd.offsets.MonthEnd(0)
    return min(max(day, low), high)


def _persons(rng: np.random.Generator, count: int) -> list[dict[str, object]]:
    people = []
    for number in range(count):
        contact = _day(rng, START, END)
        dies = rng.random() < 0.25
        death = _day(rng, contact, contact + pd.Timedelta(days=400)) if dies else None
        flags = {
            name: int(rng.random() < 0.5)
            for name in ("mental_health", "drug_alcohol", "other_need")
        }
        people.append(
            {
                "study_id": f"P{number:04d}",
                "site": str(rng.choice(SITES)),
                "birth_date": pd.Timestamp("1960-05-17") + pd.Timedelta(days=int(number)),
                "death_date": death,
                "contact_date": contact,
                "consented": int(rng.random() < 0.85),
                **flags,
                **{f"matched_{name}": int(rng.random() < 0.85) for name in SOURCES},
            }
        )
    return people


def _events(
    rng: np.random.Generator, name: str, person: dict[str, object]
) -> list[dict[str, object]]:
    contact = pd.Timestamp(person["contact_date"])
    end = END if person["death_date"] is None else pd.Timestamp(person["death_date"])
    who = {"study_id": person["study_id"]}

    def near() -> pd.Timestamp:
        """In the window, mostly; also before and after it."""
        wide = pd.Timedelta(days=500)
        return _day(rng, contact - wide, min(end, contact + wide))

    if name == "referrals":
        rows = []
        for _ in range(rng.integers(0, 4)):
            site = person["site"] if rng.random() < 0.9 else str(rng.choice(SITES))
            kind = str(rng.choice(["advice", "liaison", "brief, other"]))
            day = near() if rng.random() < 0.5 else _day(rng, contact, end)
            rows.append(who | {"site": site, "date": day, "intervention": kind})
        return rows
    if name == "hes_ae":
        rows = [who | {"date": near()} for _ in range(rng.integers(0, 8))]
        return [
            row | {"attendance_id": f"{person['study_id']}-{number}"}
            for number, row in enumerate(rows)
        ]
    if name == "pnc":
        return _police(rng, who, near, end)
    if name == "hmcts":
        return _court(rng, who, near, end)
    return _pathway(rng, who, near, end, scored=name == "ndtms")


def _pathway(rng, who, near, end, *, scored):
    rows = []
    for number in range(rng.integers(0, 4)):
        key = {"referral_id": f"{who['study_id']}/{number}"}
        referred = near()
        rows.append(who | {"date": referred, "kind": "referral"} | key)
        for _ in range(rng.integers(0, 4)):
            days = int(rng.choice([0, 1, 30, 90, 181, 182, 183, 300]))
            day = referred + pd.Timedelta(days=days)
            if day <= end:
                rows.append(who | {"date": day, "kind": "attendance"} | key)
                if rng.random() < 0.2:  # two on one day are two
                    rows.append(dict(rows[-1]))
    if not scored:
        return rows
    rows = [row | {"score": None} for row in rows]
    for _ in range(rng.integers(0, 3)):
        start, top = near(), {"referral_id": None}
        first = int(rng.integers(21))
        rows.append(who | {"date": start, "kind": "top_start", "score": first} | top)
        for _ in range(rng.integers(0, 4)):
            days = int(rng.choice([-20, 5, 27, 28, 29, 100, 182, 183]))
            day = start + pd.Timedelta(days=days)
            if START <= day <= end:
                score = int(rng.integers(21))
                rows.append(who | {"date": day, "kind": "top_review", "score": score} | top)
    return rows


def _police(rng, who, near, end):
    rows, seen = [], set()
    for number in range(rng.integers(0, 5)):
        case = {"case_id": f"C{number % 3}"}  # the same number for many persons
        for kind in ("offence", "offence", "disposal"):
            day = near()
            if (number % 3, kind, day) in seen:
                continue
            seen.add((number % 3, kind, day))
            days = None
            if kind == "disposal":
                days = int(rng.choice([0, 0, 1, 2, 61, 91, 92, 182, 183, 365, 366, 2000]))
            rows.append(who | {"date": day} | case | {"kind": kind, "custody_days": days})
    return rows


def _court(rng, who, near, end):
    rows = []
    for number in range(rng.integers(0, 4)):
        first = near()
        days = sorted(
            {0, *rng.choice([1, 29, 30, 31, 90, 91, 180, 181, 182, 183, 250], size=rng.integers(4))}
        )
        heard = [first + pd.Timedelta(days=int(day)) for day in days]
        heard = [day for day in heard if day <= end]
        closed = rng.random() < 0.6
        for index, day in enumerate(heard):
            done = int(closed and index == len(heard) - 1)
            rows.append(who | {"date": day, "case_id": f"H{number}", "completed": done})
    return rows


def write(folder: Path, tables: dict[str, pd.DataFrame], settings: dict | None = None) -> Path:
    """Write extracts as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    lines = []
    for key, value in {**SETTINGS, **(settings or {})}.items():
        text = str(value).lower() if isinstance(value, bool) else f'"{value}"'
        lines.append(f"{key} = {text}\n")
    (folder / "extracts.toml").write_text("".join(lines), encoding="utf-8")
    return folder


def to_parquet(folder: Path, name: str, parts: int = 1) -> None:
    """Replace a CSV by Parquet with types of its own: one file, or a folder of parts."""
    source = folder / f"{name}.csv"
    columns = ", ".join(
        f"CAST({column} AS {_type(column)}) AS {column}" for column in pd.read_csv(source, nrows=0)
    )
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE TABLE t AS SELECT {columns}, row_number() OVER () AS line "
            f"FROM read_csv('{source}', all_varchar = true)"
        )
        if parts == 1:
            query = "SELECT * EXCLUDE (line) FROM t ORDER BY line"
            connection.execute(f"COPY ({query}) TO '{folder / name}.parquet'")
        else:
            (folder / name).mkdir()
        for part in range(parts if parts > 1 else 0):
            query = f"SELECT * EXCLUDE (line) FROM t WHERE line % {parts} = {part} ORDER BY line"
            connection.execute(f"COPY ({query}) TO '{folder / name}/part-{part}.parquet'")
    source.unlink()


def _type(column: str) -> str:
    if column == "date" or column.endswith("_date"):
        return "DATE"
    if column in ("score", "custody_days"):
        return "DOUBLE"  # as pandas writes whole numbers with gaps
    flags = ("consented", "mental_health", "drug_alcohol", "other_need", "completed")
    return "BOOLEAN" if column.startswith("matched_") else "TINYINT" if column in flags else "TEXT"
