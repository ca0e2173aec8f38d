"""What the reader makes of good data: the labelled cube, the evidence, the notes and the hash."""

from __future__ import annotations

import dataclasses
import pickle
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from lndbayes.base.errors import DataError
from lndbayes.data.describe import describe
from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.data.schema import EVIDENCE, OUTCOMES, STATUS, TABLES
from lndbayes.data.trials import check_trials
from lndbayes.model.support import supported_design
from lndbayes.spec.model_spec import load_spec

OUT = "outcomes.csv"
CELLS = ["exposure", "count", "count_low", "count_high", "n", "mean", "sd", "status"]


def cell(data: EvaluationData, outcome: str, site: str, month: str) -> dict[str, float]:
    """All numbers of one cell."""
    here = data.ds[CELLS].sel(outcome=outcome, site=site, month=month)
    return {name: float(here[name]) for name in CELLS}


def known(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if not np.isnan(value)}


def test_coordinates_hold_every_site_month_outcome_and_intervention(tiny):
    ds = read_evaluation(tiny.write()).ds
    assert list(ds["site"].values) == ["A01", "A02", "A03", "A04", "A05", "A06"]
    assert list(ds["month"].values) == [f"2014-{m:02d}" for m in range(1, 13)]
    assert list(ds["outcome"].values) == ["attendances", "custody", "sentence", "wellbeing"]
    assert list(ds["intervention"].values) == ["assessment", "outreach", "support"]
    assert all("units" in ds[name].attrs for name in ds.data_vars if ds[name].dtype == float)


def test_single_rows_keep_their_numbers(tiny):
    data = read_evaluation(tiny.write())
    for row in tiny.tables[OUT]:
        if row["outcome"] == "custody" and row["status"] == "observed":
            found = known(cell(data, "custody", row["site"], row["month"]))
            wanted = {"exposure": float(row["exposure"]), "count": float(row["count"]), "status": 0}
            assert found == wanted


def test_withheld_rounded_missing_and_absent_cells_stay_what_they_are(tiny):
    data = read_evaluation(tiny.write())
    found = {
        month: known(cell(data, "custody", "A03", month))
        for month in ("2014-03", "2014-04", "2014-05", "2014-06")
    }
    # months 3 to 6 of the third site: exposure 40 + 2 + month - 1
    assert found["2014-03"] == {"exposure": 44, "count_low": 1, "count_high": 7, "status": 1}
    rounded = {"exposure": 45, "count": 10, "count_low": 8, "count_high": 12, "status": 2}
    assert found["2014-04"] == rounded
    assert found["2014-05"] == {"status": 3}
    assert found["2014-06"] == {"status": -1}


def test_a_placeholder_in_a_suppressed_cell_is_not_a_count(tiny):
    tiny.set(OUT, {"site": "A03", "month": "2014-03"}, count="5")
    data = read_evaluation(tiny.write())
    assert np.isnan(cell(data, "custody", "A03", "2014-03")["count"])
    assert 5.0 in set(data.outcomes.query("site == 'A03' and month == '2014-03'")["count"])


def test_exact_bounds_may_stand_beside_an_observed_count(tiny):
    tiny.set(OUT, {"site": "A01", "month": "2014-02"}, count="1", count_low="1", count_high="1")
    found = known(cell(read_evaluation(tiny.write()), "custody", "A01", "2014-02"))
    assert found == {"exposure": 41, "count": 1, "status": 0}


def test_a_missing_row_may_keep_its_exposure(tiny):
    tiny.set(OUT, {"site": "A03", "month": "2014-05"}, exposure="46")
    found = known(cell(read_evaluation(tiny.write()), "custody", "A03", "2014-05"))
    assert found == {"exposure": 46, "status": 3}


def test_strata_add_up_in_exposure_and_count(tiny):
    data = read_evaluation(tiny.write())
    rows = data.outcomes.query("outcome == 'attendances'")
    wanted = rows.groupby("month")[["exposure", "count"]].sum()
    assert wanted.loc["2014-02"].tolist() == [203.0, 62.0]  # 2 x 101.5, 2 x 31
    for month, sums in wanted.iterrows():
        found = known(cell(data, "attendances", "A02", month))
        assert found == {"exposure": sums["exposure"], "count": sums["count"], "status": 0}


def test_bands_share_the_exposure_and_add_up_in_count(tiny):
    data = read_evaluation(tiny.write())
    # month 2: bands of 5 and 4 among the same 50
    found = known(cell(data, "sentence", "A02", "2014-02"))
    assert found == {"exposure": 50, "count": 9, "status": 0}


def test_bands_within_strata(tiny):
    rows = [row for row in tiny.tables[OUT] if row["outcome"] == "sentence"]
    for row in rows:
        row["stratum"] = "f"
        tiny.tables[OUT].append(row | {"stratum": "m", "exposure": "70", "count": "11"})
    found = known(cell(read_evaluation(tiny.write()), "sentence", "A02", "2014-03"))
    assert found == {"exposure": 120, "count": 6 + 5 + 22, "status": 0}


def test_pooled_moments_are_those_of_all_measurements_together(tiny, rng):
    """Oracle: the measurements themselves, thrown together before taking mean and sd."""
    parts = [rng.normal(9, 4, size=7), rng.normal(12, 2, size=31), rng.normal(5, 1, size=2)]
    where = {"outcome": "wellbeing", "month": "2014-02", "stratum": "f"}
    line = tiny.line(OUT, **where)
    for row in [r for r in tiny.tables[OUT] if r["outcome"] == "wellbeing"]:
        if row["stratum"] == "f":
            tiny.tables[OUT].append(row | {"stratum": "x"})
    for stratum, part in zip("fmx", parts, strict=True):
        values = {"n": len(part), "mean": part.mean(), "sd": part.std(ddof=1)}
        values = {name: repr(float(value)) for name, value in values.items()}
        line = tiny.set(OUT, where | {"stratum": stratum}, **values)
    assert line
    found = cell(read_evaluation(tiny.write()), "wellbeing", "A01", "2014-02")
    together = np.concatenate(parts)
    assert found["n"] == 40
    np.testing.assert_allclose(found["mean"], together.mean(), rtol=1e-13)
    np.testing.assert_allclose(found["sd"], together.std(ddof=1), rtol=1e-13)


def test_one_measurement_has_no_sd_and_adds_none(tiny):
    """Values 4 | 6, 8: together mean 6 and sd 2."""
    where = {"outcome": "wellbeing", "month": "2014-02"}
    tiny.set(OUT, where | {"stratum": "f"}, n="1", mean="4", sd="")
    tiny.set(OUT, where | {"stratum": "m"}, n="2", mean="7", sd=repr(2**0.5))
    found = cell(read_evaluation(tiny.write()), "wellbeing", "A01", "2014-02")
    assert (found["n"], found["mean"]) == (3, 6)
    np.testing.assert_allclose(found["sd"], 2.0, rtol=1e-15)


def test_two_single_measurements_have_the_sd_between_them(tiny):
    """Values 4 and 10: mean 7, sd sqrt(18)."""
    where = {"outcome": "wellbeing", "month": "2014-02"}
    tiny.set(OUT, where | {"stratum": "f"}, n="1", mean="4", sd="")
    tiny.set(OUT, where | {"stratum": "m"}, n="1", mean="10", sd="")
    found = cell(read_evaluation(tiny.write()), "wellbeing", "A01", "2014-02")
    assert (found["n"], found["mean"]) == (2, 7)
    np.testing.assert_allclose(found["sd"], 18**0.5, rtol=1e-15)


def test_a_sum_is_as_good_as_its_worst_part(tiny):
    where = {"outcome": "attendances", "stratum": "f"}
    bounds = {"count": "", "count_low": "1", "count_high": "7"}
    tiny.set(OUT, where | {"month": "2014-01"}, status="suppressed", **bounds)
    near = {"count": "30", "count_low": "28", "count_high": "32"}
    tiny.set(OUT, where | {"month": "2014-02"}, status="rounded", **near)
    tiny.set(OUT, where | {"month": "2014-03"}, status="missing", count="")
    data = read_evaluation(tiny.write())
    found = [known(cell(data, "attendances", "A02", f"2014-0{m}")) for m in (1, 2, 3)]
    # the other stratum has 30, 31 and 32 events in 100.5, 101.5 and 102.5 months
    assert found[0] == {"exposure": 201, "count_low": 31, "count_high": 37, "status": 1}
    assert found[1] == {
        "exposure": 203, "count": 61, "count_low": 59, "count_high": 63, "status": 2,
    }  # fmt: skip
    assert found[2] == {"exposure": 205, "status": 3}


def test_a_suppressed_part_outweighs_a_rounded_one(tiny):
    where = {"outcome": "attendances", "month": "2014-01"}
    bounds = {"count": "", "count_low": "1", "count_high": "7"}
    tiny.set(OUT, where | {"stratum": "f"}, status="suppressed", **bounds)
    near = {"count": "30", "count_low": "28", "count_high": "32"}
    tiny.set(OUT, where | {"stratum": "m"}, status="rounded", **near)
    found = known(cell(read_evaluation(tiny.write()), "attendances", "A02", "2014-01"))
    assert found == {"exposure": 201, "count_low": 29, "count_high": 39, "status": 1}


def test_a_stratum_without_a_row_is_not_zero(tiny):
    line = tiny.line(OUT, outcome="attendances", month="2014-02", stratum="f")
    del tiny.tables[OUT][line - 2]
    data = read_evaluation(tiny.write())
    assert known(cell(data, "attendances", "A02", "2014-02")) == {"status": 3}
    assert cell(data, "attendances", "A02", "2014-03")["count"] == 64
    assert data.notes["strata"].endswith("a stratum that the site reports in other months: 1")


def test_sites_and_go_live(tiny):
    tiny.set("sites.csv", {"site": "A05"}, go_live="2013-10", label="")
    tiny.set("sites.csv", {"site": "A04"}, go_live="2016-02")
    ds = read_evaluation(tiny.write()).ds
    np.testing.assert_array_equal(ds["go_live"], [0, 0, 6, 25, -3, np.nan])
    np.testing.assert_array_equal(ds["wave"], [1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(ds["population"], [100e3, 101e3, 102e3, 103e3, 104e3, np.nan])
    np.testing.assert_array_equal(ds["predecessor"], [0.25, 0.25, 0.25, 0.25, np.nan, 0.25])
    assert list(ds["label"].values[3:]) == ["Area A04", "A05", "Area A06"]
    assert list(ds["region"].values[[0, 5]]) == ["North", "South"]


def test_mix_sums_contacts_and_says_over_how_many_months(tiny):
    ds = read_evaluation(tiny.write()).ds
    # two months of 5 s + 1 assessments and 5 s + 2 outreach; the fifth site by whole period
    np.testing.assert_array_equal(
        ds["mix"],
        [[2, 4, 0], [12, 14, 0], [22, 24, 0], [32, 34, 0], [90, 0, 10], [np.nan] * 3],
    )
    np.testing.assert_array_equal(ds["mix_months"], [2, 2, 2, 2, 12, 0])


def test_referrals(tiny):
    ds = read_evaluation(tiny.write()).ds
    assert float(ds["referrals"].sel(site="A02", month="2014-05")) == 12
    assert ds["referrals"].notnull().sum() == 24


def test_evidence_has_every_column_and_the_months_index(tiny):
    evidence = read_evaluation(tiny.write()).evidence
    assert list(evidence) == ["retrospective", "national", "proxy", "history", "elicited"]
    for name, frame in evidence.items():
        assert set(EVIDENCE[name].names) | {"row"} <= set(frame.columns)
    assert list(evidence["retrospective"]["month_index"]) == [0, 1, 2]
    assert list(evidence["national"]["month_index"]) == [-3, 0, 3]
    assert list(evidence["history"]["months_from_referral"]) == [-12, -6]
    assert list(evidence["history"]["month_index"]) == [0, 5]
    assert list(evidence["elicited"]["site"]) == ["", "A01"]
    assert evidence["retrospective"]["n"].isna().all()
    assert "month_index" not in evidence["elicited"]


@pytest.mark.parametrize("left", ["absent", "header only: taken as absent"])
def test_optional_files_may_be_absent_and_a_header_alone_is_absent(tiny, left):
    path = tiny.write()
    for table in TABLES[2:]:
        file = path / table.file
        header = file.read_text().split("\n")[0]
        file.unlink() if left == "absent" else file.write_text(header)
    data = read_evaluation(path)
    for name, frame in data.evidence.items():
        assert frame.empty
        assert set(EVIDENCE[name].names) | {"row"} <= set(frame.columns)
        assert data.notes[EVIDENCE[name].file] == left
    assert data.ds.sizes["intervention"] == 0
    assert data.ds["mix"].shape == (6, 0)
    assert data.ds["mix_months"].sum() == 0
    assert data.ds["referrals"].isnull().all()
    assert data.notes["mix.csv"] == data.notes["referrals.csv"] == left


def test_an_absent_file_and_a_header_alone_have_the_same_hash(tiny):
    path = tiny.write()
    (path / "mix.csv").write_text("site,month,intervention,contacts\n")
    before = read_evaluation(path).hash
    (path / "mix.csv").unlink()
    assert read_evaluation(path).hash == before


def test_quarters(tiny):
    tiny.toml = tiny.toml.replace('"month"', '"quarter"').replace("2014-12", "2014-10")
    tiny.tables = {
        "sites.csv": [row | {"go_live": "2014-07"} for row in tiny.tables["sites.csv"]],
        OUT: [
            {"outcome": "custody", "site": "A01", "month": month, "source": "pnc"}
            | {"exposure": "90", "count": "9", "status": "observed"}
            for month in ("2014-01", "2014-10")
        ],
    }
    data = read_evaluation(tiny.write())
    assert list(data.ds["month"].values) == ["2014-01", "2014-04", "2014-07", "2014-10"]
    assert list(data.outcomes["month_index"]) == [0, 3]
    np.testing.assert_array_equal(data.ds["go_live"], [2.0] * 6)
    assert data.period == "quarter"
    assert "4 quarters, 2014-01 to 2014-10" in describe(data)


def shuffled(text: str, seed: int) -> str:
    """Rows and columns of a CSV text in another order."""
    mixed = random.Random(seed)
    header, *rows = [line.split(",") for line in text.splitlines()]
    order = mixed.sample(range(len(header)), len(header))
    rows = mixed.sample(rows, len(rows))
    return "\n".join(",".join(row[i] for i in order) for row in [header, *rows]) + "\n"


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_rows_and_columns_changes_nothing(tiny, seed):
    path = tiny.write()
    before = read_evaluation(path)
    for table in TABLES:
        file = path / table.file
        text = shuffled(file.read_text(), seed)
        assert text != file.read_text()
        file.write_text(text)
    after = read_evaluation(path)
    assert after.hash == before.hash
    xr.testing.assert_identical(after.ds, before.ds)
    columns = [*OUTCOMES.names, "month_index"]
    pd.testing.assert_frame_equal(after.outcomes[columns], before.outcomes[columns])


def test_how_a_file_is_written_changes_nothing(tiny):
    path = tiny.write()
    before = read_evaluation(path)
    toml = tiny.toml.replace("Tiny evaluation", "Another name").replace("made for", "kept for")
    (path / "evaluation.toml").write_text("\ufeff" + toml, encoding="utf-8")
    (path / "truth.json").write_text("not even JSON")
    sites = path / "sites.csv"
    sites.write_bytes(b"\xef\xbb\xbf" + sites.read_bytes().replace(b"\n", b"\r\n"))
    out = path / OUT
    header, *lines = out.read_text().replace(",41,", ", 41.0,").splitlines()
    lines = [f"{header},remark", *(f'{line},"a, b"' for line in lines), "," * 14]
    out.write_text("\n".join(lines))
    after = read_evaluation(path)
    assert after.hash == before.hash
    assert after.notes["outcomes.csv, columns not read"] == "remark"
    assert after.name == "Another name"
    assert after.notes["evaluation.toml"] == "kept for tests"
    xr.testing.assert_equal(after.ds, before.ds)


#: One value of every column that a result may depend on, changed to another valid one.
CHANGES = [
    ("sites.csv", {"site": "A05"}, {"label": "Other"}),
    ("sites.csv", {"site": "A05"}, {"region": "East"}),
    ("sites.csv", {"site": "A05"}, {"wave": "4"}),
    ("sites.csv", {"site": "A05"}, {"go_live": "2014-11"}),
    ("sites.csv", {"site": "A05"}, {"go_live": ""}),
    ("sites.csv", {"site": "A05"}, {"population": "1"}),
    ("sites.csv", {"site": "A05"}, {"predecessor": "0"}),
    (OUT, {"site": "A01", "month": "2014-02"}, {"count": "0"}),
    (OUT, {"site": "A01", "month": "2014-02"}, {"exposure": "41.0000001"}),
    (OUT, {"site": "A01", "month": "2014-02"}, {"source": "hmcts"}),
    (OUT, {"site": "A01", "month": "2014-02"}, {"stratum": "all"}),
    (OUT, {"site": "A01", "month": "2014-02"}, {"category": "any"}),
    (OUT, {"site": "A01", "month": "2014-02"}, {"coverage": "0.9"}),
    (OUT, {"status": "suppressed"}, {"count_low": "2"}),
    (OUT, {"status": "suppressed"}, {"count_high": "6"}),
    (OUT, {"status": "suppressed"}, {"status": "rounded"}),
    (OUT, {"outcome": "wellbeing"}, {"n": "21"}),
    (OUT, {"outcome": "wellbeing"}, {"mean": "9.250001"}),
    (OUT, {"outcome": "wellbeing"}, {"sd": "4.500001"}),
    ("mix.csv", {}, {"contacts": "2"}),
    ("mix.csv", {}, {"intervention": "other"}),
    ("mix.csv", {}, {"month": "2014-09"}),
    ("referrals.csv", {}, {"referrals": "13"}),
    ("covariates.csv", {}, {"value": "6"}),
    ("covariates.csv", {}, {"value": ""}),
    ("covariates.csv", {}, {"name": "deprivation"}),
    ("evidence/retrospective.csv", {}, {"coverage_mean": "0.61"}),
    ("evidence/retrospective.csv", {}, {"coverage_sd": "0"}),
    ("evidence/retrospective.csv", {}, {"count": "5"}),
    ("evidence/national.csv", {}, {"rate": "0.13"}),
    ("evidence/national.csv", {}, {"se": "0.005"}),
    ("evidence/national.csv", {}, {"months": "2"}),
    ("evidence/proxy.csv", {}, {"count": "22"}),
    ("evidence/proxy.csv", {}, {"exposure": "201"}),
    ("evidence/history.csv", {}, {"months_from_referral": "-7"}),
    ("evidence/history.csv", {}, {"persons": "61"}),
    ("evidence/history.csv", {}, {"calendar_month": "2014-05"}),
    ("evidence/elicited.csv", {}, {"q05": "0.07"}),
    ("evidence/elicited.csv", {}, {"q95": "0.21"}),
    ("evidence/elicited.csv", {}, {"who": "others"}),
    ("evidence/elicited.csv", {"site": ""}, {"site": "A02"}),
]  # fmt: skip


@pytest.mark.slow
def test_every_change_of_a_value_changes_the_hash(tiny):
    path = tiny.write()
    hashes = {read_evaluation(path).hash}
    for file, where, values in CHANGES:
        line = tiny.line(file, **where)
        kept = dict(tiny.tables[file][line - 2])
        tiny.set(file, line, **values)
        hashes.add(read_evaluation(tiny.write()).hash)
        tiny.tables[file][line - 2] = kept
    for before, after in (("2014-12", "2015-01"), ("= true", "= false"), ('"none"', '"hes_2018"')):
        (path / "evaluation.toml").write_text(tiny.toml.replace(before, after))
        hashes.add(read_evaluation(path).hash)
    assert len(hashes) == 1 + len(CHANGES) + 3


def test_moving_a_value_to_the_next_column_changes_the_hash(tiny):
    """Columns are hashed by place: an empty one does not vanish."""
    path = tiny.write()
    before = read_evaluation(path).hash
    tiny.set("sites.csv", {"site": "A05"}, label="", region="Area A05")
    first = read_evaluation(tiny.write()).hash
    tiny.set("sites.csv", {"site": "A05"}, label="Area A05", region="")
    assert len({before, first, read_evaluation(tiny.write()).hash}) == 3


def test_columns_of_sites_that_a_spec_may_name_are_kept_as_written(tiny):
    path = tiny.write()
    before = read_evaluation(path)
    for s, row in enumerate(tiny.tables["sites.csv"]):
        row |= {"need": f"{s}.50", "remark": "x"}
    tiny.tables["sites.csv"].reverse()
    after = read_evaluation(tiny.write())
    subject = "sites.csv, columns read where a spec names them"
    assert after.notes[subject] == "need, remark"
    assert after.hash == before.hash
    assert after.site_columns["need"].tolist() == [f"{s}.50" for s in range(6)]
    lines = after.site_columns.index.get_level_values("row").tolist()
    assert lines == [tiny.line("sites.csv", site=site) for site in after.ds["site"].values]
    assert after.sel(sites=["A03"]).site_columns["need"].tolist() == ["2.50"]


def test_a_table_of_covariates_without_rows_changes_no_hash(tiny):
    del tiny.tables["covariates.csv"]
    before = read_evaluation(tiny.write())
    (tiny.path / "covariates.csv").write_text("site,month,name,value\n")
    after = read_evaluation(tiny.path)
    assert len(before.covariates) == len(after.covariates) == 0
    assert after.hash == before.hash


def test_covariates_are_chosen_with_sites_and_months(tiny):
    data = read_evaluation(tiny.write())
    part = data.sel(sites=["A02", "A05"], months=("2014-03", "2014-04")).covariates
    assert part["site"].tolist() == ["A02", "A02", "A05", "A05"]
    assert part["month_index"].tolist() == [0, 1, 0, 1]


def test_nothing_a_caller_does_changes_the_data(tiny):
    data = read_evaluation(tiny.write())
    whole = pickle.dumps([data.ds, data.outcomes, dict(data.evidence), dict(data.notes)])
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.ds = None
    with pytest.raises(ValueError, match="read-only"):
        data.ds["count"].values[0, 0, 0] = 1.0
    with pytest.raises(ValueError, match="Assignment destination"):
        data.ds["count"][0, 0, 0] = 1.0
    data.ds["site"].values[0] = "X"  # a copy: xarray keeps labels in an immutable index
    with pytest.raises(TypeError):
        data.evidence["national"] = pd.DataFrame()
    with pytest.raises(TypeError):
        data.notes["sites.csv"] = "none"
    ds = data.ds
    ds["count"] = ds["count"] * 0
    ds.attrs["name"] = "other"
    data.ds["exposure"].attrs["units"] = "other"
    outcomes = data.outcomes
    outcomes.loc[0, "count"] = 99.0
    del outcomes["site"]
    national = data.evidence["national"]
    national.loc[0, "rate"] = 0.5
    assert pickle.dumps([data.ds, data.outcomes, dict(data.evidence), dict(data.notes)]) == whole


def test_the_data_travel_to_other_processes_and_can_be_varied(tiny):
    data = read_evaluation(tiny.write())
    there = pickle.loads(pickle.dumps(data))
    xr.testing.assert_identical(there.ds, data.ds)
    pd.testing.assert_frame_equal(there.evidence["history"], data.evidence["history"])
    assert there.hash == data.hash
    with pytest.raises(ValueError, match=r"same site: sel\(\)"):
        dataclasses.replace(data, ds=data.ds.isel(site=[0, 1]))
    with pytest.raises(ValueError, match="same month"):
        dataclasses.replace(data, ds=data.ds.isel(month=slice(3)))


def test_the_hash_is_of_what_is_there(tiny):
    """Whatever is replaced, the hash is another; put back, it is the first again."""
    data = read_evaluation(tiny.write())
    ds = data.ds.copy(deep=True)
    ds["exposure"] = ds["exposure"].fillna(0) + 1
    rows = data.outcomes
    rows.loc[0, "exposure"] += 1
    evidence = dict(data.evidence)
    evidence["national"] = evidence["national"].iloc[:-1]
    changed = [
        dataclasses.replace(data, **change)
        for change in (
            {"ds": ds},
            {"outcomes": rows},
            {"evidence": evidence},
            {"synthetic": not data.synthetic},
        )
    ]
    assert len({data.hash, *(one.hash for one in changed)}) == 5
    assert dataclasses.replace(changed[0], ds=data.ds).hash == data.hash
    assert dataclasses.replace(data, name="x", notes={}).hash == data.hash


def test_chosen_sites_and_months_are_the_directory_that_holds_them_alone(tiny):
    """Dataset, rows, evidence and hash as if the rest had never been written."""
    data = read_evaluation(tiny.write())
    names = [str(x) for x in data.ds["site"].values]
    grid = [str(x) for x in data.ds["month"].values]
    one = data.sel(sites=[names[2], names[0]], months=(grid[2], grid[-2]))
    assert list(one.ds["site"].values) == [names[0], names[2]]
    assert list(one.ds["month"].values) == grid[2:-1]
    assert set(one.outcomes["site"]) <= {names[0], names[2]}
    wanted = data.outcomes[
        data.outcomes["site"].isin(one.ds["site"].values) & data.outcomes["month"].isin(grid[2:-1])
    ]
    assert one.outcomes["row"].tolist() == wanted["row"].tolist()
    assert [grid[2:-1][i] for i in one.outcomes["month_index"]] == one.outcomes["month"].tolist()
    np.testing.assert_array_equal(
        one.ds["count"], data.ds["count"].sel(site=one.ds["site"], month=one.ds["month"])
    )
    np.testing.assert_array_equal(
        one.ds["go_live"] + 2, data.ds["go_live"].sel(site=one.ds["site"])
    )
    assert set(one.evidence["retrospective"]["site"]) <= {names[0], names[2]}
    assert one.hash == data.sel(months=(grid[2], grid[-2])).sel(sites=[names[0], names[2]]).hash
    assert data.sel().hash == data.hash
    assert one.hash != data.hash
    for wrong in ({"sites": ["A99"]}, {"sites": []}, {"months": (grid[3], grid[2])}):
        with pytest.raises(ValueError, match=r"must be"):
            data.sel(**wrong)


def test_judgements_on_other_sites_or_months_do_not_travel(tiny):
    data = read_evaluation(tiny.write())
    names = [str(x) for x in data.ds["site"].values]
    assert len(data.evidence["elicited"])
    fewer = data.sel(sites=names[:-1])
    assert "" not in set(fewer.evidence["elicited"]["site"])
    late = [n for n, g in zip(names, data.ds["go_live"].values, strict=True) if g > 0]
    assert len(data.sel(sites=late).evidence["elicited"]) == 0


def test_notes_say_what_was_found_and_left_out(tiny):
    tiny.tables[OUT] = [row for row in tiny.tables[OUT] if row["site"] != "A06"]
    path = tiny.write()
    (path / "readme.md").write_text("x")
    (path / ".hidden").write_text("x")
    (path / "evidence" / "history.csv").unlink()
    notes = read_evaluation(path).notes
    assert notes["sites.csv"] == "6 rows"
    assert notes["evidence/history.csv"] == "absent"
    assert notes["files not read"] == "readme.md"
    assert notes["sites without outcome rows"] == "A06"
    assert notes["sites without mix rows"] == "A06"
    assert notes["sites without referrals"] == "A03, A04, A05, A06"


def test_activity_without_the_service_and_a_mix_without_a_comparison_are_told(tiny):
    sites = {row["site"]: row for row in tiny.tables["sites.csv"]}
    kinds = ("assessment", "outreach")

    def notes(mix, go_live):
        for site, row in sites.items():
            row |= {"go_live": go_live.get(site, ""), "wave": "1" if site in go_live else ""}
        common = {"month": "2014-06"}
        tiny.tables["mix.csv"] = [
            common | {"site": site, "intervention": kind, "contacts": str(n)}
            for site, counts in mix.items()
            for kind, n in zip(kinds, counts, strict=True)
        ]
        tiny.tables["referrals.csv"] = [common | {"site": s, "referrals": "3"} for s in mix]
        return read_evaluation(tiny.write()).notes

    told, alone = "before go-live or at sites that never go live", "mix without a comparison"
    tiny.keep("mix.csv", "referrals.csv")
    fine = notes({"A01": (1, 2), "A02": (2, 1)}, {"A01": "2014-06", "A02": "2014-05"})
    assert not [key for key in fine if told in key or key == alone]
    for go_live in ({"A01": "2014-05"}, {"A01": "2014-05", "A02": "2014-07"}):
        found = notes({"A01": (1, 2), "A02": (2, 1)}, go_live)
        assert found[f"contacts {told}"] == found[f"referrals {told}"] == "A02"
        assert (alone in found) == (len(go_live) == 1)
    same = notes({"A01": (1, 2), "A02": (2, 4)}, {"A01": "2014-05", "A02": "2014-05"})
    assert alone in same


def test_long_numbers_are_set_apart_by_thousands():
    shipped = Path(__file__).parents[2] / "data" / "synthetic"
    rows = len((shipped / "outcomes.csv").read_text(encoding="utf-8").splitlines()) - 1
    data = read_evaluation(shipped)
    assert rows > 1000
    assert data.notes["outcomes.csv"] == f"{rows:,} rows"
    cells = data.ds.sizes["site"] * data.ds.sizes["month"]
    assert cells > 1000
    assert f"  of {cells:,} site-months: " in describe(data)


def test_description(tiny):
    path = tiny.write()
    (path / "evidence" / "proxy.csv").unlink()
    data = read_evaluation(path)
    assert describe(data).splitlines() == [
        "Tiny evaluation: synthetic data, disclosure preset none",
        "12 months, 2014-01 to 2014-12",
        "6 sites",
        "  wave 1: 2 sites, go-live 2014-01",
        "  wave 2: 2 sites, go-live 2014-07",
        "  wave 3: 2 sites, go-live 2014-12, 1 never live",
        "outcome attendances: 6 rows",
        "  of 72 site-months: 3 observed, 0 suppressed, 0 rounded, 0 missing, 69 without a row",
        "  sites without an untreated month: A02",
        "outcome custody: 71 rows",
        "  of 72 site-months: 68 observed, 1 suppressed, 1 rounded, 1 missing, 1 without a row",
        "  sites without an untreated month: A01, A02",
        "outcome sentence: 6 rows",
        "  of 72 site-months: 3 observed, 0 suppressed, 0 rounded, 0 missing, 69 without a row",
        "  sites without an untreated month: A02",
        "  bands, lowest first, by the numbers in their labels: 1 up to 3 months, 2 over 3 months",
        "outcome wellbeing: 6 rows",
        "  of 72 site-months: 3 observed, 0 suppressed, 0 rounded, 0 missing, 69 without a row",
        "  sites without an untreated month: A01",
        "mix: 3 interventions at 5 sites, 2 to 12 months a site",
        "referrals: 24 site-months",
        "covariates: unemployment",
        "evidence, retrospective: 3 rows",
        "evidence, national: 3 rows",
        "evidence, proxy: absent",
        "evidence, history: 2 rows",
        "evidence, elicited: 2 rows",
        "evaluation.toml: made for tests",
        "sites without mix rows: A06",
        "sites without referrals: A03, A04, A05, A06",
        f"content hash {data.hash}",
    ]


def test_a_site_whose_only_untreated_row_is_missing_has_no_untreated_month(tiny):
    tiny.set("sites.csv", {"site": "A01"}, go_live="2014-02")
    where = {"outcome": "custody", "site": "A01", "month": "2014-01"}
    assert "custody: 71 rows" in describe(read_evaluation(tiny.write()))
    line = "  sites without an untreated month: "
    assert [x for x in describe(read_evaluation(tiny.path)).splitlines() if line in x][1] == (
        f"{line}A02"
    )
    tiny.set(OUT, where, status="missing", count="")
    assert [x for x in describe(read_evaluation(tiny.write())).splitlines() if line in x][1] == (
        f"{line}A01, A02"
    )


def test_trials_pass_where_they_are_trials(tiny):
    data = read_evaluation(tiny.write())
    check_trials(data, "custody")
    check_trials(data, "sentence")


#: One value that no number of trials can go with: file, row, change, column told, value, rule.
NO_TRIALS = [
    (OUT, {"site": "A01"}, {"exposure": "40.5"}, "exposure", "40.5", "whole number"),
    (OUT, {"site": "A01"}, {"count": "41"}, "count", "41", "must not exceed exposure"),
    (OUT, {"status": "suppressed"}, {"exposure": "44.5"}, "exposure", "44.5", "whole number"),
    (OUT, {"status": "rounded"}, {"exposure": "7"}, "count", "8", "must not exceed exposure"),
    ("evidence/retrospective.csv", {}, {"count": "31"}, "count", "31", "not exceed exposure"),
    ("evidence/proxy.csv", {}, {"count": "201"}, "count", "201", "must not exceed exposure"),
    ("evidence/history.csv", {}, {"count": "61"}, "count", "61", "must not exceed persons"),
    ("evidence/national.csv", {}, {"rate": "1"}, "rate", "1", "must be below 1"),
    ("evidence/elicited.csv", {}, {"q95": "1.5"}, "q95", "1.5", "must be below 1"),
]  # fmt: skip


@pytest.mark.parametrize("case", NO_TRIALS, ids=[f"{c[0]} {c[3]} {c[4]}" for c in NO_TRIALS])
def test_trials_are_refused_where_they_cannot_be(tiny, case):
    file, where, values, column, value, rule = case
    line = tiny.set(file, where, **values)
    data = read_evaluation(tiny.write())
    with pytest.raises(DataError) as caught:
        check_trials(data, "custody")
    (problem,) = caught.value.problems
    assert (problem.file, problem.row) == (file, line)
    assert (problem.column, problem.value) == (column, value)
    assert rule in problem.rule
    check_trials(data, "sentence")


def test_bands_together_may_not_exceed_the_trials(tiny):
    where = {"outcome": "sentence", "month": "2014-02"}
    line = tiny.set(OUT, where | {"category": "1 up to 3 months"}, count="47")
    tiny.set(OUT, where | {"category": "2 over 3 months"}, count="4")
    data = read_evaluation(tiny.write())
    with pytest.raises(DataError) as caught:
        check_trials(data, "sentence")
    assert [(p.row, p.value) for p in caught.value.problems] == [(line, "51"), (line + 1, "51")]


def test_trials_need_an_outcome_of_counts(tiny):
    data = read_evaluation(tiny.write())
    with pytest.raises(DataError, match="the outcome is continuous: it has no trials"):
        check_trials(data, "wellbeing")
    with pytest.raises(DataError, match="'nothing': there are no rows for the outcome"):
        check_trials(data, "nothing")


def test_status_codes_are_those_of_the_dataset(tiny):
    ds = read_evaluation(tiny.write()).ds
    assert ds["status"].dtype == np.int8
    assert STATUS == {"observed": 0, "suppressed": 1, "rounded": 2, "missing": 3}
    assert ds["status"].attrs["codes"] == (
        "-1 no row, 0 observed, 1 suppressed, 2 rounded, 3 missing"
    )


def test_coverage_is_one_where_not_given(tiny):
    lines = [
        tiny.set(OUT, {"outcome": "sentence", "month": "2014-02", "category": band}, coverage="0.8")
        for band in ("1 up to 3 months", "2 over 3 months")
    ]
    assert len(set(lines)) == 2
    coverage = read_evaluation(tiny.write()).ds["coverage"]
    assert coverage.dims == ("outcome", "site", "month")
    assert float(coverage.sel(outcome="sentence", site="A02", month="2014-02")) == 0.8
    assert int((coverage != 1).sum()) == 1


def test_a_site_that_never_goes_live_needs_no_wave(tiny):
    tiny.set("sites.csv", {"site": "A06"}, wave="")
    data = read_evaluation(tiny.write())
    assert int(data.ds["wave"].sel(site="A06")) == 0
    assert "  in no wave: 1 site, 1 never live" in describe(data).splitlines()


def test_coverage_below_one_is_described(tiny):
    tiny.set("outcomes.csv", {"outcome": "custody", "site": "A02"}, coverage="0.625")
    said = describe(read_evaluation(tiny.write())).splitlines()
    assert "  coverage below 1 in 1 site-month, the least 0.625" in said


def test_judgements_on_months_that_are_not_kept_are_left_out_and_counted():
    """The README's selection with the README's spec is one that a model can be built on."""
    root = Path(__file__).resolve().parents[2]
    data = read_evaluation(root / "data" / "synthetic")
    some = data.sel(sites=["S01", "S15", "S20"], months=("2014-04", "2016-03"))
    assert some.evidence["elicited"].empty
    assert "judgements left out" in some.notes
    supported_design(load_spec(root / "models" / "custody.toml"), some)
    assert len(data.sel().evidence["elicited"]) == len(data.evidence["elicited"])
    # what is told of the evidence is told of what is left of it
    for name, rows in some.evidence.items():
        assert some.notes[f"evidence/{name}.csv"].startswith((f"{len(rows):,} ", "absent")), name
    for wrong in ({"sites": "S01"}, {"months": "2014-04"}, {"months": ("2014-04",)}):
        with pytest.raises(TypeError):
            data.sel(**wrong)
