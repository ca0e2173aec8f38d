"""Assembly of extracts: every table equals the plain reference on random extracts."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from lndbayes.data.evaluation import read_evaluation
from lndbayes.extracts import assemble
from lndbayes.extracts.cells import OUTCOMES
from small import load

extracts = load("extracts/extracts.py")
reference = load("extracts/reference.py")

STRATA = ("none", "one", "several")


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / name, dtype=str, keep_default_na=False)


@pytest.fixture(scope="module", params=[1, 2, 3])
def case(request, tmp_path_factory):
    """Extracts, what was made of them without and with strata, and the reference."""
    root = tmp_path_factory.mktemp("assemble")
    tables = extracts.made(request.param)
    folder = extracts.write(root / "extracts", tables)
    if request.param == 2:  # the same rows in other clothes
        for name in ("sites", "sources", "persons", "referrals", "pnc", "hmcts"):
            extracts.to_parquet(folder, name)
        for name in ("hes_ae", "ndtms"):
            extracts.to_parquet(folder, name, parts=3)
    assemble(folder, root / "plain", threads=1)
    assemble(folder, root / "strata", strata=True, threads=2, memory="200MB")
    assert sorted(p.name for p in root.iterdir()) == ["extracts", "plain", "strata"]
    return root, reference.Reference(tables, extracts.SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.name)
@pytest.mark.parametrize("strata", [False, True], ids=["plain", "strata"])
def test_cells_are_the_reference_s(case, outcome, strata) -> None:
    root, plain = case
    rows = table(root / ("strata" if strata else "plain"), "outcomes.csv")
    rows = rows[rows["outcome"] == outcome.name]
    exposure, count = plain.cells(outcome.name)
    if not strata:
        exposure, count = _without_strata(exposure), _without_strata(count)
    live = {key[:2] for key, amount in exposure.items() if amount}
    expected = {
        (*key, level, category): (exposure[(*key, level)], count[(*key, level, category)])
        for key in live
        for level in (STRATA if strata else ("",))
        for category in (outcome.categories or ("",))
    }
    levels = rows["stratum"] if strata else [""] * len(rows)
    keys = zip(rows["site"], rows["month"], levels, rows["category"], strict=True)
    cells = zip(rows["exposure"].astype(int), rows["count"].astype(int), strict=True)
    assert dict(zip(keys, cells, strict=True)) == expected
    assert len(rows) == len(expected)
    assert sum(count.values()) == rows["count"].astype(int).sum() > 0
    assert set(rows["source"]) == {outcome.source}
    assert set(rows["status"]) == {"observed"}


def _without_strata(counter: Counter) -> Counter:
    found: Counter = Counter()
    for (site, month, _, *category), amount in counter.items():
        found[(site, month, "", *category)] += amount
    return found


def test_coverage_is_the_delay_s(case) -> None:
    root, plain = case
    rows = table(root / "plain", "outcomes.csv")
    assert any(row["reporting_delay_months"] for row in plain.sources.values())
    # a late disposal or review is missing from the exposure too: of what is exposed nothing is
    together = rows["outcome"].isin(["custody", "wellbeing"])
    assert set(rows.loc[together, "coverage"].astype(float)) == {1.0}
    rows = rows[~together]
    for source, month, told in set(
        zip(rows["source"], rows["month"], rows["coverage"], strict=True)
    ):
        share = plain.coverage(source, pd.Period(month, "M"))
        assert math.isclose(float(told), share, rel_tol=1e-12)
        assert 0.5 <= share <= 1


@pytest.mark.parametrize("outcome", ["ae_attendances", "mh_referrals", "offending"])
def test_history_is_the_reference_s(case, outcome) -> None:
    root, plain = case
    rows = table(root / "plain", "evidence/history.csv")
    rows = rows[rows["outcome"] == outcome]
    persons, events = plain.history(outcome)
    months = rows["months_from_referral"].astype(int)
    keys = list(zip(rows["site"], months, rows["calendar_month"], strict=True))
    assert dict(zip(keys, rows["persons"].astype(int), strict=True)) == persons
    assert dict(zip(keys, rows["count"].astype(int), strict=True)) == events
    assert sum(events.values()) > 0


def test_mix_and_referrals_are_the_reference_s(case) -> None:
    root, plain = case
    rows = table(root / "plain", "mix.csv")
    keys = zip(rows["site"], rows["month"], rows["intervention"], strict=True)
    assert dict(zip(keys, rows["contacts"].astype(int), strict=True)) == plain.mix()
    rows = table(root / "plain", "referrals.csv")
    keys = zip(rows["site"], rows["month"], strict=True)
    assert dict(zip(keys, rows["referrals"].astype(int), strict=True)) == plain.referrals()


@pytest.mark.slow
def test_every_dropped_row_has_one_reason(case) -> None:
    root, plain = case
    rows = table(root / "plain", "data_quality.csv")
    keys = list(zip(rows["table"], rows["reason"], strict=True))
    assert len(keys) == len(set(keys))
    persons = dict(zip(keys, rows["persons"].astype(int), strict=True))
    assert persons == plain.quality_persons()
    counts = dict(zip(keys, rows["rows"].astype(int), strict=True))
    assert any(persons[key] < counts[key] for key in keys)
    read = {name: counts.pop((name, "read")) for name in rows["table"].unique()}
    assert counts == plain.quality()
    for name, total in read.items():
        assert total == sum(count for (table_, _), count in counts.items() if table_ == name)
        expected = len(plain.persons if name == "persons" else plain.rows[name])
        assert total == expected
    reasons = {reason for _, reason in counts}
    assert {"not consented", "unmatched", "outside coverage", "outside follow-up"} < reasons
    assert {"not at liberty", "follow-up not complete"} < reasons
    assert (rows["persons"].astype(int) <= rows["rows"].astype(int)).all()


def test_the_reader_has_nothing_to_say(case) -> None:
    root, _ = case
    for name in ("plain", "strata"):
        data = read_evaluation(root / name)
        notes = dict(data.notes)
        assert "files not read" not in notes
        read = notes.pop("outcomes.csv, columns not read", "coverage")
        assert read == "coverage"
        assert not any("columns not read" in subject for subject in notes)
    assert set(data.ds["outcome"].to_numpy()) == {outcome.name for outcome in OUTCOMES}


def test_strata_add_up(case) -> None:
    root, _ = case
    key = ["outcome", "site", "month", "category"]
    plain, split = (table(root / name, "outcomes.csv") for name in ("plain", "strata"))
    for frame in (plain, split):
        frame[["exposure", "count"]] = frame[["exposure", "count"]].astype(int)
    summed = split.groupby(key)[["exposure", "count"]].sum()
    pd.testing.assert_frame_equal(
        summed, plain.set_index(key)[["exposure", "count"]].sort_index(), check_like=True
    )


def test_the_order_of_rows_changes_nothing(tmp_path) -> None:
    tables = extracts.made(4, persons=60)
    first = assemble(extracts.write(tmp_path / "one", tables), tmp_path / "a", threads=1)
    other = {
        name: frame if name in ("sites", "sources") else frame.sample(frac=1, random_state=9)
        for name, frame in tables.items()
    }
    second = assemble(extracts.write(tmp_path / "two", other), tmp_path / "b", threads=2)
    for path in sorted(first.rglob("*.*")):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path.name
    # again, over what is there
    before = {p: p.read_bytes() for p in first.rglob("*.*")}
    assemble(tmp_path / "one", first)
    assert {p: p.read_bytes() for p in first.rglob("*.*")} == before


def test_outcomes_that_nobody_has_are_left_out(tmp_path) -> None:
    tables = extracts.made(8, persons=40)
    kinds = tables["ndtms"]["kind"]
    tables["ndtms"] = tables["ndtms"][~kinds.isin(["top_start", "attendance"])]
    tables["pnc"] = tables["pnc"][tables["pnc"]["kind"] == "offence"]
    tables["persons"]["matched_iapt"] = "0"
    # nobody was with the service before the last day
    tables["referrals"] = tables["referrals"].iloc[:1].assign(study_id="P0000", date="2013-01-01")
    tables["persons"].loc[tables["persons"]["study_id"] == "P0000", "death_date"] = ""
    out = assemble(extracts.write(tmp_path / "extracts", tables), tmp_path / "out")
    found = set(read_evaluation(out).ds["outcome"].to_numpy())
    without = {"wellbeing", "custody", "iapt_referrals", "iapt_attendances"}
    assert found == {outcome.name for outcome in OUTCOMES} - without
    assert not (out / "evidence" / "history.csv").exists()


def test_evidence_is_copied_and_a_source_may_be_absent(tmp_path) -> None:
    tables = extracts.made(5, persons=60)
    del tables["hmcts"]
    tables["sources"] = tables["sources"].query("source != 'hmcts'")
    tables["sources"] = tables["sources"].assign(reporting_delay_months="")
    tables["persons"] = tables["persons"].drop(columns="matched_hmcts")
    folder = extracts.write(tmp_path / "extracts", tables)
    (folder / "evidence").mkdir()
    text = "outcome,month,months,rate,se,source\nmh_referrals,2012-01,12,0.04,0.001,national\n"
    (folder / "evidence" / "national.csv").write_text(text, encoding="utf-8")
    out = assemble(folder, tmp_path / "out")
    assert (out / "evidence" / "national.csv").read_text(encoding="utf-8") == text
    data = read_evaluation(out)
    assert len(data.evidence["national"]) == 1
    assert "court_duration" not in data.ds["outcome"].to_numpy()
    assert "coverage" not in table(out, "outcomes.csv").columns
    assert "seam 2014-09, seam 2016-01" in data.notes["evaluation.toml"]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["hes_2018", "ons_srs"])
@pytest.mark.parametrize("strata", [False, True])
def test_presets_withhold_small_counts(tmp_path, preset, strata) -> None:
    tables = extracts.made(6, persons=200)
    folder = extracts.write(tmp_path / "extracts", tables)
    exact = table(assemble(folder, tmp_path / "exact", strata=strata), "outcomes.csv")
    extracts.write(folder, tables, {"disclosure": preset})
    out = assemble(folder, tmp_path / "out", strata=strata)
    told = table(out, "outcomes.csv")
    assert read_evaluation(out).disclosure == preset
    assert not (out / "evidence" / "history.csv").exists()
    count = exact["count"].astype(int)
    small = count.between(1, 7) if preset == "hes_2018" else count < 10
    assert small.any()
    assert (told.loc[small, "count"] == "").all()
    assert set(told.loc[small, "status"]) == {"suppressed", "missing"}
    ranged = told["count_low"] != ""
    low, high = (told.loc[ranged, name].astype(int) for name in ("count_low", "count_high"))
    assert ((low <= count[ranged]) & (count[ranged] <= high)).all()
    shown = told["status"] == "observed"
    assert (told.loc[shown, "count"].astype(int) == count[shown]).all()
    if preset == "hes_2018":
        assert (count[shown] == 0).all()
    # where categories add up to the exposure, none is left that the others would tell
    parts = told[told["outcome"].isin(["wellbeing", "court_duration"])]
    assert "suppressed" not in set(parts["status"])
