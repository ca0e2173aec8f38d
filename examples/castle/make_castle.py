"""Make an evaluation directory of the castle-doctrine panel (Cheng and Hoekstra 2013).

The data file comes with the package ``causaldata`` (``pip install causaldata --no-deps``), which is
not imported: it needs packages that reading one file does not. It holds, for 50 states and the
years 2000 to 2010, rates of seven offences per 100,000 persons in single precision, and each
state's mean population, but neither yearly populations nor counts.

Both follow from the rates. All seven are counts over one population, so a number of homicides gives
the population, and the population must turn the six other rates into whole numbers. One number of
homicides does, in every state and year but one, where half as many people again do too.
Populations found so have the stated means to seven digits, which nothing in the search forces.

Usage: ``python examples/castle/make_castle.py OUT``
"""

from __future__ import annotations

import argparse
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
import pandas as pd

RATES = ("homicide", "robbery", "assault", "burglary", "larceny", "motor", "murder")
PER = 100_000
#: Relative error of a number in single precision, and room for a chain of three such roundings.
SINGLE = 2.0**-24
ROUNDINGS = 3
#: How far a year's population may lie from the state's mean.
GROWTH = (0.7, 1.4)
#: How far means of the populations found may lie from the stated ones.
AGREEMENT = 1e-6

# states in alphabetical order with the District of Columbia, which the panel leaves out, as 9
STATES = (
    "Alabama, Alaska, Arizona, Arkansas, California, Colorado, Connecticut, Delaware,"
    " District of Columbia, Florida, Georgia, Hawaii, Idaho, Illinois, Indiana, Iowa, Kansas,"
    " Kentucky, Louisiana, Maine, Maryland, Massachusetts, Michigan, Minnesota, Mississippi,"
    " Missouri, Montana, Nebraska, Nevada, New Hampshire, New Jersey, New Mexico, New York,"
    " North Carolina, North Dakota, Ohio, Oklahoma, Oregon, Pennsylvania, Rhode Island, South"
    " Carolina, South Dakota, Tennessee, Texas, Utah, Vermont, Virginia, Washington, West"
    " Virginia, Wisconsin, Wyoming"
)

EVALUATION = """\
name = "Castle doctrine in the states of the USA, 2000 to 2010"
period = "year"
first_month = "2000-01"
last_month = "2010-01"
synthetic = false
disclosure = "none"
notes = "FBI Uniform Crime Reports as used by Cheng and Hoekstra (2013), from causaldata."
"""


def read_panel() -> pd.DataFrame:
    """Read the package's data file."""
    try:
        found = [f for f in files("causaldata") or () if f.name == "castle.dta"]
    except PackageNotFoundError:
        raise SystemExit("needs the package causaldata: pip install causaldata --no-deps") from None
    if not found:
        raise SystemExit("the installed causaldata has no file castle.dta")
    columns = ["sid", "year", "post", "popwt", *RATES]
    return pd.read_stata(str(found[0].locate()))[columns].astype(float)


def populations(rates: np.ndarray, mean: float) -> np.ndarray:
    """All populations near `mean` that make whole counts of every rate.

    Parameters
    ----------
    rates : ndarray
        Events per 100,000 persons, the first that of the rarest events; each above 0.
    mean : float
        The state's mean population.

    Returns
    -------
    ndarray
        One population for each number of the rarest events that fits; not rounded.
    """
    low, high = (factor * mean * rates[0] / PER for factor in GROWTH)
    events = np.arange(max(int(low), 1), int(high) + 2)
    people = events * PER / rates[0]
    counts = people[:, None] * rates[None, 1:] / PER
    off = np.abs(counts - np.round(counts))
    return people[(off <= ROUNDINGS * SINGLE * counts + 1e-4).all(axis=1)]


def recover(panel: pd.DataFrame) -> pd.DataFrame:
    """Add ``population`` and ``count`` of homicides to the panel, or say why it cannot be done."""
    parts = []
    for state, rows in panel.groupby("sid"):
        mean = rows["popwt"].iloc[0]
        options = [populations(row, mean) for row in rows[list(RATES)].to_numpy()]
        if min(map(len, options)) == 0:
            raise SystemExit(f"state {state:.0f}: no population makes whole counts of its rates")
        sure = np.mean([found[0] for found in options if len(found) == 1])
        people = np.array([found[np.abs(found - sure).argmin()] for found in options])
        if abs(people.mean() / mean - 1) > AGREEMENT:
            raise SystemExit(
                f"state {state:.0f}: populations have mean {people.mean():.0f}, "
                f"not the stated {mean:.0f}"
            )
        parts.append(rows.assign(population=np.round(people)))
    table = pd.concat(parts, ignore_index=True)
    count = np.round(table["homicide"] * table["population"] / PER)
    return table.assign(count=count.astype(int), population=table["population"].astype(int))


def sites(panel: pd.DataFrame) -> pd.DataFrame:
    """One row a state; it goes live in the year in which its law came into force.

    The panel's indicator is 1 from the first full year with the law on, so that year is the one
    before. Waves are years of adoption; states without a law are one wave more.
    """
    full = panel[panel["post"] == 1].groupby("sid")["year"].min()
    adopted = (full - 1).reindex(sorted(panel["sid"].unique()))
    years = sorted(adopted.dropna().unique())
    wave = [years.index(y) + 1 if y == y else len(years) + 1 for y in adopted]
    return pd.DataFrame(
        {
            "site": [_name(s) for s in adopted.index],
            "label": "",
            "region": "",
            "wave": wave,
            "go_live": ["" if y != y else f"{y:.0f}-01" for y in adopted],
            "population": panel.groupby("sid")["population"].mean().round().astype(int).to_numpy(),
            "predecessor": "",
        }
    )


def outcomes(panel: pd.DataFrame) -> pd.DataFrame:
    """One row a state and year: homicides among the population."""
    return pd.DataFrame(
        {
            "outcome": "homicide",
            "site": [_name(s) for s in panel["sid"]],
            "month": [f"{year:.0f}-01" for year in panel["year"]],
            "source": "FBI Uniform Crime Reports",
            "exposure": panel["population"],
            "count": panel["count"],
            "status": "observed",
        }
    )


def _name(state: float) -> str:
    return STATES.split(", ")[int(state) - 1]


def write(panel: pd.DataFrame, out: Path) -> None:
    """Write the directory."""
    out.mkdir(parents=True, exist_ok=True)
    sites(panel).to_csv(out / "sites.csv", index=False, lineterminator="\n")
    outcomes(panel).to_csv(out / "outcomes.csv", index=False, lineterminator="\n")
    (out / "evaluation.toml").write_text(EVALUATION, encoding="utf-8")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="make the castle-doctrine evaluation directory")
    parser.add_argument("out", type=Path, metavar="OUT")
    write(recover(read_panel()), parser.parse_args().out)


if __name__ == "__main__":
    main()
