"""Pairs of inputs that hold the same information give the same answer.

Everything that a fit's draws depend on is in the design and the spec: where those are equal, so is
every number after them. Where a pair's designs differ by what should not matter, draws and
estimands are compared themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from generated import OUTCOME, Made, made_from, plain, write_made
from lndbayes import events_averted, new_site_effect, pooled_effect
from lndbayes.checks.battery import run_checks
from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.estimands.regression_to_mean import before_after_table
from lndbayes.estimands.reported import baseline_table, effects_table
from lndbayes.fitting.fit import fit
from lndbayes.model.design import Design, build_design
from lndbayes.spec.families import FAMILIES
from lndbayes.spec.model_spec import ModelSpec, load_spec

OUT = "outcomes.csv"
Change = Callable[[Made], Made]


def made(family: str, **changes: Any) -> Made:
    """A small evaluation with every kind of evidence."""
    evidence = dict.fromkeys(("retrospective", "national", "history", "elicited"), "usual")
    return made_from(plain(family, go_live="one never", **evidence | changes))


def read(made: Made, root: Path, files: str = "plain") -> tuple[ModelSpec, EvaluationData]:
    data, models = write_made(made, root, files)
    return load_spec(models / f"{OUTCOME}.toml"), read_evaluation(data)


def designed(made: Made, root: Path, files: str = "plain") -> Design:
    return build_design(*read(made, root, files))


def same(one: Design, other: Design) -> None:
    """Every array, to the last bit."""
    assert one.arrays.keys() == other.arrays.keys()
    for name, value in one.arrays.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name, strict=True)
    assert one.dims == other.dims


def on(file: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    def changed(made: Made) -> Made:
        return replace(made, frames=made.frames | {file: change(made.frames[file])})

    return changed


def everywhere(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    def changed(made: Made) -> Made:
        return replace(made, frames={k: change(frame) for k, frame in made.frames.items()})

    return changed


def facts(**changes: Any) -> Change:
    def changed(made: Made) -> Made:
        return replace(made, facts=made.facts | changes)

    return changed


def renamed(column: str, new: Callable[[str], str]) -> Change:
    """Give other names, in the same order."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        if column not in frame:
            return frame
        return frame.assign(**{column: [new(name) if name else "" for name in frame[column]]})

    return everywhere(change)


def shuffled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sample(frac=1.0, random_state=4)


def told_missing(frame: pd.DataFrame) -> pd.DataFrame:
    gone = _some_cells(frame)
    numbers = [c for c in ("count", "count_low", "count_high") if c in frame]
    return frame.assign(
        status=frame["status"].mask(gone, "missing"),
        **{c: frame[c].mask(gone, np.nan) for c in numbers},
    )


def left_out(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[~_some_cells(frame)]


def _some_cells(frame: pd.DataFrame) -> pd.Series:
    return frame.groupby(["site", "month"], sort=False).ngroup() % 7 == 2


def zero_width(frame: pd.DataFrame) -> pd.DataFrame:
    some = _some_cells(frame)
    return frame.assign(
        status=frame["status"].mask(some, "suppressed"),
        count_low=frame["count"].where(some),
        count_high=frame["count"].where(some),
        count=frame["count"].mask(some, np.nan),
    )


def contacts_by_month(frame: pd.DataFrame) -> pd.DataFrame:
    """The same contacts, told for two months in the place of the whole period."""
    first = frame.assign(month="2013-05", contacts=frame["contacts"] // 2)
    rest = frame.assign(month="2013-06", contacts=frame["contacts"] - first["contacts"])
    return pd.concat([first, rest])


def none_of_a_kind(frame: pd.DataFrame) -> pd.DataFrame:
    """A site without contacts of a kind: a row of 0, or no row."""
    last = (frame["site"] == "S01") & (frame["intervention"] == "outreach")
    return frame.assign(contacts=frame["contacts"].mask(last, 0))


def with_proxies(made: Made) -> Made:
    """Add rows that no channel reads."""
    rows = made.frames["evidence/retrospective.csv"][["outcome", "site", "month"]]
    proxies = rows.assign(exposure=50, count=20, source="related")
    return replace(made, frames=made.frames | {"evidence/proxy.csv": proxies})


CHANGES: dict[str, Change] = {
    "rows shuffled": everywhere(shuffled),
    "sites renamed": renamed("site", lambda name: name.replace("S", "Area no ")),
    "interventions renamed": renamed("intervention", lambda name: f"{name} (new)"),
    "sources renamed": renamed("source", lambda name: "another"),
    "labels and regions": on(
        "sites.csv", lambda f: f.assign(label=f["label"] + "!", region="South")
    ),
    "waves numbered otherwise": on("sites.csv", lambda f: f.assign(wave=10 * f["wave"] + 3)),
    "populations in thousands": on(
        "sites.csv", lambda f: f.assign(population=f["population"] / 1024)
    ),
    "name and notes": facts(name="Another name", notes="with a note"),
    "contacts by month": on("mix.csv", contacts_by_month),
    "coverage written out": on(OUT, lambda f: f.assign(coverage=1)),
    "one stratum": on(OUT, lambda f: f.assign(stratum="everybody")),
    "proxies": with_proxies,
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("changed", CHANGES)
def test_what_holds_the_same_information_is_the_same_design(family, changed, tmp_path) -> None:
    base = made(family)
    same(designed(base, tmp_path / "a"), designed(CHANGES[changed](base), tmp_path / "b"))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("files", ["as exported", "columns turned"])
def test_how_files_are_written_is_the_same_data(family, files, tmp_path) -> None:
    """With a byte order mark and CRLF; with columns in another order and numbers written 12.0."""
    base = made(family)
    (spec, data), (_, other) = (
        read(base, tmp_path / "a"), read(base, tmp_path / "b", files)
    )  # fmt: skip
    assert other.hash == data.hash
    same(build_design(spec, data), build_design(spec, other))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_month_is_one_without_a_row(family, tmp_path) -> None:
    base = made(family)
    one, other = (
        designed(on(OUT, change)(base), tmp_path / change.__name__)
        for change in (told_missing, left_out)
    )
    same(one, other)
    assert (one["exposure"] > 0).sum() < (designed(base, tmp_path / "all")["exposure"] > 0).sum()


@pytest.mark.parametrize("family", [f for f, facts in FAMILIES.items() if facts.intervals])
def test_an_exact_count_is_an_interval_of_width_zero(family, tmp_path) -> None:
    base = made(family)
    same(designed(base, tmp_path / "a"), designed(on(OUT, zero_width)(base), tmp_path / "b"))


@pytest.mark.parametrize("family", FAMILIES)
def test_no_contacts_are_no_row(family, tmp_path) -> None:
    zero = on("mix.csv", none_of_a_kind)(made(family))
    gone = on("mix.csv", lambda f: f[f["contacts"] > 0])(zero)
    same(designed(zero, tmp_path / "a"), designed(gone, tmp_path / "b"))


@pytest.mark.parametrize("family", ["beta_binomial", "negative_binomial"])
def test_strata_are_their_sum(family, tmp_path) -> None:
    base = made(family, strata="two")
    cell = ["outcome", "site", "month"]
    rows = base.frames[OUT]
    whole = rows.drop_duplicates(cell).reset_index(drop=True).assign(stratum="")
    for column in ("exposure", "count"):
        whole[column] = rows.groupby(cell, sort=False)[column].sum().to_numpy()
    added = replace(base, frames=base.frames | {OUT: whole})
    same(designed(base, tmp_path / "a"), designed(added, tmp_path / "b"))


def banded(made: Made, names: dict[str, str]) -> Made:
    return on(OUT, lambda f: f.assign(category=[names[b] for b in f["category"]]))(made)


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("ordered_bands", ["0-30 days", "31-180 days", "181 days and more"]),
        ("ordered_bands", ["8 days", "16 days", "100 days"]),
        ("duration_hazard", ["0-30 days", "31-90 days", "31-90 days open", "181+ days"]),
    ],
)
def test_bands_are_in_the_order_of_their_numbers(family, names, tmp_path) -> None:
    """As text 181 comes before 31, and 100 and 16 before 8."""
    base = made(family)
    old = list(dict.fromkeys(base.frames[OUT]["category"]))
    new = [*names, "181+ days open"][: len(old)]
    renamed = banded(base, dict(zip(old, new, strict=True)))
    same(designed(base, tmp_path / "a"), designed(renamed, tmp_path / "b"))


# --- a site that does not go live within the evaluated months -------------------------------------


def never_or_later(family: str) -> tuple[Made, Made]:
    """The last site never goes live, or long after the last month."""
    never = made(family)
    go_live = never.frames["sites.csv"]["go_live"].replace("", "2030-01")
    return never, on("sites.csv", lambda f: f.assign(go_live=go_live))(never)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_go_live_after_the_last_month_has_the_cells_of_none(family, tmp_path) -> None:
    one, other = (designed(x, tmp_path / str(i)) for i, x in enumerate(never_or_later(family)))
    same(one, other)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[ModelSpec, xr.DataTree]]:
    fits = []
    for changed in never_or_later("beta_binomial"):
        spec, data = read(changed, tmp_path_factory.mktemp("twin"))
        fits.append((spec, fit(spec, data, cores=1)))
    return fits


@pytest.mark.slow
def test_a_go_live_after_the_last_month_has_the_draws_of_none(pair) -> None:
    (_, never), (_, later) = pair
    for group in ("posterior", "prior", "posterior_predictive", "log_likelihood"):
        xr.testing.assert_identical(later[group].to_dataset(), never[group].to_dataset())


@pytest.mark.slow
@pytest.mark.parametrize("table", [effects_table, before_after_table, baseline_table])
def test_a_go_live_after_the_last_month_has_the_tables_of_none(pair, table) -> None:
    one, other = (table(tree, spec.effect.window) for spec, tree in pair)
    assert len(one)
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("estimand", [pooled_effect, new_site_effect, events_averted])
def test_a_go_live_after_the_last_month_has_the_answers_of_none(pair, estimand) -> None:
    one, other = (estimand(tree) for _, tree in pair)
    np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_go_live_after_the_last_month_has_the_checks_of_none(pair) -> None:
    first, second = (run_checks(tree) for _, tree in pair)
    assert [repr(r) for r in first] == [repr(r) for r in second]
