"""What the sources hold of the persons' lives: coverage, losses, ids, order of events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lndbayes.synthetic import simulate
from lndbayes.synthetic.extracts import LOSSES, SOURCES, ExtractWorld, SourceLaw, simulate_extracts

GRID = ("2011-04", "2019-03")
EXTRACT = np.datetime64("2019-03-31", "D")
SITES = simulate(31).frames["sites.csv"]
Z = 4.5
FIRST_MONTH = {
    **dict.fromkeys(("hes_ae", "mhsds", "iapt"), "2012-04"),
    **dict.fromkeys(("ndtms", "pnc"), "2013-04"),
    "hmcts": "2014-04",
}


@pytest.fixture(scope="module")
def sim():
    return simulate_extracts(SITES, *GRID, seed=32, persons_scale=0.3)


def eligible(sim, source):
    """Rows that happened to persons whom the source's owner links."""
    rows, persons = sim.complete[source], sim.frames["persons"]
    linked = (persons["consented"] == 1) & (persons[f"matched_{source}"] == 1)
    return rows[rows["treated"].to_numpy() & linked.to_numpy()[rows["person"]]]


def days(text):
    return (np.asarray(text, dtype="datetime64[D]")).astype(int)


@pytest.mark.parametrize("source", SOURCES)
def test_rows_lie_in_the_coverage_that_sources_states(sim, source):
    table = sim.frames["sources"].set_index("source").loc[source]
    assert table["first_month"] == FIRST_MONTH[source]
    assert table["last_month"] == "2019-03"
    month = sim.frames[source]["date"].dt.strftime("%Y-%m")
    assert month.min() == table["first_month"]
    assert month.max() <= table["last_month"]


@pytest.mark.parametrize("source", [*SOURCES, "referrals"])
def test_no_event_before_birth_or_after_death_or_the_extract(sim, source):
    persons = sim.frames["persons"].set_index("study_id")
    rows = sim.frames[source]
    who = persons.loc[rows["study_id"]]
    assert (rows["date"].to_numpy() > who["birth_date"].to_numpy()).all()
    died = who["death_date"].notna().to_numpy()
    assert died.sum() > 50
    assert (rows["date"].to_numpy() <= who["death_date"].to_numpy())[died].all()
    assert rows["date"].max() <= pd.Timestamp(EXTRACT)
    if source != "referrals":
        assert (who["consented"] == 1).all()
        assert (who[f"matched_{source}"] == 1).all()


def test_persons_are_adults_alive_at_contact(sim):
    persons = sim.frames["persons"]
    assert persons["study_id"].is_unique
    age = (persons["contact_date"] - persons["birth_date"]).dt.days / 365.25
    assert age.between(18, 76).all()
    assert (
        persons["death_date"].dropna() > persons["contact_date"][persons["death_date"].notna()]
    ).all()


def test_the_service_sees_persons_from_go_live_on(sim):
    referrals = sim.frames["referrals"]
    live = pd.to_datetime(SITES.set_index("site")["go_live"] + "-01")
    assert (referrals["date"].to_numpy() >= live.loc[referrals["site"]].to_numpy()).all()
    assert set(referrals["site"]) <= set(SITES["site"])
    assert referrals["intervention"].nunique() == 5


def test_ids_are_unique_and_lead_to_their_referral(sim):
    assert sim.frames["hes_ae"]["attendance_id"].is_unique
    for source in ("mhsds", "iapt", "ndtms"):
        rows = sim.frames[source]
        first = rows[rows["kind"] == "referral"].set_index("referral_id")
        assert first.index.is_unique
        rest = rows[rows["kind"] != "referral"]
        owner = first.loc[rest["referral_id"]]
        assert (owner["study_id"].to_numpy() == rest["study_id"].to_numpy()).all()
        assert (owner["date"].to_numpy() < rest["date"].to_numpy()).all()
        wait = (rest["date"].to_numpy() - owner["date"].to_numpy())[rest["kind"] == "attendance"]
        late = (wait > np.timedelta64(182, "D")).mean()
        assert 0.03 < late < 0.1, source  # exp(-182 / 70) = 0.07, less at the end of the grid


def test_top_rows_carry_scores_and_a_review_has_its_start(sim):
    rows = sim.frames["ndtms"]
    top = rows["kind"].isin(["top_start", "top_review"])
    assert rows.loc[top, "score"].between(0, 20).all()
    assert rows.loc[~top, "score"].isna().all()
    starts = rows[rows["kind"] == "top_start"].set_index("referral_id")["date"]
    reviews = rows[rows["kind"] == "top_review"]
    gap = (reviews["date"].to_numpy() - starts.loc[reviews["referral_id"]].to_numpy()).astype(
        "timedelta64[D]"
    )
    assert gap.min() >= np.timedelta64(14, "D")
    assert gap.max() < np.timedelta64(210, "D")


def test_hearings_end_once_and_are_open_at_the_extract(sim):
    rows = sim.frames["hmcts"]
    by_case = rows.groupby("case_id")
    ended = by_case["completed"].sum()
    assert ended.max() == 1
    last = by_case["date"].max()
    done = rows[rows["completed"] == 1].set_index("case_id")["date"]
    assert (done == last.loc[done.index]).all()
    open_cases = ended.index[ended == 0]
    young = by_case["date"].min().loc[open_cases] > pd.Timestamp(EXTRACT) - pd.Timedelta(365, "D")
    # the others are those of persons who died
    assert young.sum() > 20
    assert by_case["study_id"].nunique().max() == 1


def test_only_disposals_carry_a_sentence(sim):
    rows = sim.frames["pnc"]
    assert rows.loc[rows["kind"] == "offence", "custody_days"].isna().all()
    sentence = rows.loc[rows["kind"] == "disposal", "custody_days"]
    assert sentence.notna().all()
    assert ((sentence == 0) | sentence.between(7, 1460)).all()
    assert set(rows["kind"]) == {"offence", "disposal"}


@pytest.mark.parametrize("source", ["hes_ae", "mhsds", "iapt"])
def test_recording_steps_at_the_seams(sim, source):
    law = ExtractWorld().source(source)
    kind = "attendance" if source == "hes_ae" else "referral"
    complete = eligible(sim, source)
    complete = complete.loc[complete["kind"] == kind, "day"].to_numpy()
    rows = sim.frames[source]
    held = days((rows if source == "hes_ae" else rows[rows["kind"] == kind])["date"].to_numpy())
    edges = days([f"{m}-01" for m in (law.first_month, *law.seams, "2019-04")])
    for share, start, stop in zip(law.recorded, edges, edges[1:], strict=False):
        size = ((complete >= start) & (complete < stop)).sum()
        count = ((held >= start) & (held < stop)).sum()
        assert size > 300
        assert abs(count - size * share) <= Z * np.sqrt(size * share * (1 - share)), (share, start)


def test_reports_to_ndtms_come_late_by_the_law_of_delay(sim):
    law = ExtractWorld().ndtms
    complete = eligible(sim, "ndtms")
    complete = complete.loc[complete["kind"] == "referral", "day"].to_numpy()
    rows = sim.frames["ndtms"]
    held = days(rows.loc[rows["kind"] == "referral", "date"].to_numpy())
    assert sim.frames["sources"].set_index("source").loc["ndtms", "reporting_delay_months"] == 2.5
    last = int(EXTRACT.astype(int))
    for start, stop in ((0, 31), (31, 90), (90, 180), (180, 1000)):
        age = last - complete[(complete > last - stop) & (complete <= last - start)]
        chance = law.recorded[0] * -np.expm1(-age / (law.delay_months * 365.25 / 12))
        count = ((held > last - stop) & (held <= last - start)).sum()
        assert age.size > 50
        assert abs(count - chance.sum()) <= Z * np.sqrt((chance * (1 - chance)).sum()), start


def test_the_monthly_coverage_of_the_delay_law_is_what_a_reader_of_the_extracts_assumes():
    # 1 - exp(-(k + 0.5) / mean), k whole months between the cell's month and the extract's
    law = SourceLaw("2013-04", recorded=(1.0,), delay_months=2.5)
    world = replace(ExtractWorld(), ndtms=law)
    sim = simulate_extracts(SITES, *GRID, seed=33, world=world, persons_scale=0.3)
    complete = eligible(sim, "ndtms")
    complete = complete.loc[complete["kind"] == "referral", "day"].to_numpy()
    rows = sim.frames["ndtms"]
    held = days(rows.loc[rows["kind"] == "referral", "date"].to_numpy())
    edges = days(
        [f"2018-{m:02d}-01" for m in (10, 11, 12)] + [f"2019-{m:02d}-01" for m in (1, 2, 3, 4)]
    )
    for k, (start, stop) in enumerate(zip(edges[-2::-1], edges[:0:-1], strict=True)):
        size = ((complete >= start) & (complete < stop)).sum()
        share = -np.expm1(-(k + 0.5) / 2.5)
        count = ((held >= start) & (held < stop)).sum()
        # 0.01: months differ in length, and the middle of a month stands for its days
        assert abs(count / size - share) <= Z * np.sqrt(share * (1 - share) / size) + 0.01, k


@pytest.mark.parametrize("source", SOURCES)
def test_every_event_is_published_or_lost_for_one_reason(sim, source):
    events = sim.truth["events"][source]
    assert tuple(events["lost"]) == LOSSES
    assert events["treated"] == events["published"] + sum(events["lost"].values())
    assert events["published"] == len(sim.frames[source])
    assert events["treated"] == int(sim.complete[source]["treated"].sum())


def test_without_any_loss_all_events_are_published():
    whole = {
        name: SourceLaw(GRID[0])
        for name in ("hes_ae", "mhsds", "iapt_source", "ndtms", "pnc", "hmcts")
    }
    world = replace(ExtractWorld(), consent_range=(1.0, 1.0), **whole)
    sim = simulate_extracts(SITES, *GRID, seed=34, world=world, persons_scale=0.02)
    inside = (days(GRID[0] + "-01"), int(EXTRACT.astype(int)))
    for source in SOURCES:
        rows = sim.complete[source]
        happened = rows[rows["treated"] & rows["day"].between(*inside)]
        # a row whose parent lies before the grid goes with it
        assert len(happened) * 0.95 <= len(sim.frames[source]) <= len(happened), source
    assert len(sim.frames["hes_ae"]) == rows_inside(sim, "hes_ae", inside)


def rows_inside(sim, source, inside):
    rows = sim.complete[source]
    return int((rows["treated"] & rows["day"].between(*inside)).sum())
