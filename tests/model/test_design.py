"""From tables to arrays: masks, switches, weights, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from lndbayes.base.errors import DataError
from lndbayes.data.evaluation import read_evaluation, with_rows_of
from lndbayes.fitting.fit import fit_key
from lndbayes.model.design import OFF_SD, Design, build_design
from lndbayes.model.mask import without_treated
from lndbayes.model.shown import NEVER
from lndbayes.spec.model_spec import CHANNELS, ModelSpec, load_spec, with_changes
from model_cases import Tables, read_tables, tiny_tables

ROOT = Path(__file__).parents[2]
GO_LIVE = (8, 8, 13, None)
PERIODS = 20

Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(scope="module")
def design(spec, tiny) -> Design:
    return build_design(spec, tiny)


@pytest.fixture
def built(spec, tmp_path) -> Callable[..., Design]:
    """Design of the tiny evaluation after changes of its tables, by file."""

    def build(changes: dict[str, Change] | None = None, spec: ModelSpec = spec, **case) -> Design:
        tables = tiny_tables(**case)
        for file, change in (changes or {}).items():
            tables = tables.change(file, change)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return build_design(spec, read_tables(tables, folder))

    return build


def assert_equal(a: Design, b: Design, *, but: set[str] | frozenset[str] = frozenset()) -> None:
    """All arrays the same, save those named, of which every one differs; shapes all the same."""
    assert set(a.arrays) == set(b.arrays)
    for name in a.arrays:
        assert a[name].shape == b[name].shape, name
        if name in but:
            assert not np.array_equal(a[name], b[name]), name
        else:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def at(**where: object) -> Callable[[pd.DataFrame], pd.Series]:
    def rows(frame: pd.DataFrame) -> pd.Series:
        hit = pd.Series(True, index=frame.index)
        for column, value in where.items():
            hit &= frame[column] == value
        assert hit.any()
        return hit

    return rows


def put(values: dict[str, object], **where: object) -> Change:
    """Set values in the rows that have these."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({name: object for name in values if name in frame})
        for name, value in values.items():
            frame.loc[at(**where)(frame), name] = value
        return frame

    return change


def label(t: int) -> str:
    return str(pd.Period("2013-01", "M") + t)


# ---- the panel and its masks


def test_arrays_have_the_sizes_of_their_dims(design):
    assert set(design.arrays) == set(design.dims)
    for name, value in design.arrays.items():
        assert value.shape == tuple(len(design.coords[dim]) for dim in design.dims[name]), name
        assert np.isfinite(value).all(), name


def test_event_time_counts_months_from_go_live(design):
    for s, go_live in enumerate(GO_LIVE):
        for t in range(PERIODS):
            expected = NEVER if go_live is None else t - go_live
            assert design["event_time"][s, t] == expected


@pytest.mark.parametrize("after", [0, 1, 2, 40])
def test_a_go_live_after_the_last_month_is_the_same_as_none(built, after):
    """Not a cell, not a channel, not a coordinate differs: two directories of one content."""
    for waves in ((1, 1, 2, 2), (1, 1, 2, 9)):
        never, later = (
            built(go_live=(*GO_LIVE[:3], g), waves=waves) for g in (None, PERIODS + after)
        )
        assert_equal(never, later)
        assert never.coords == later.coords
    assert (never["event_time"][3] == NEVER).all()


def test_a_go_live_before_the_first_month_counts_on_from_there(built):
    gone = {
        f"evidence/{name}.csv": lambda frame: frame.iloc[:0]
        for name in ("retrospective", "history", "elicited")
    }
    design = built(gone, go_live=(-5, *GO_LIVE[1:]))
    np.testing.assert_array_equal(design["event_time"][0], np.arange(PERIODS) + 5)


@pytest.mark.parametrize("transition", [(-3, 1), (-1, 0), (0, -1), (0, 4), (-6, -1)])
@pytest.mark.parametrize("hide", [0, 5])
@pytest.mark.parametrize("not_yet", [True, False])
def test_cells_of_the_likelihood_cell_by_cell(spec, tiny, transition, hide, not_yet):
    changed = with_changes(
        spec,
        {
            "effect.transition": transition,
            "effect.hide_first_months": hide,
            "baseline.channels.not_yet_treated": not_yet,
        },
    )
    design = build_design(changed, tiny)
    rows = tiny.outcomes.set_index(["site", "month_index"])
    first, last = transition
    for s, go_live in enumerate(GO_LIVE):
        for t in range(PERIODS):
            site = f"T{s + 1}"
            event = -np.inf if go_live is None else t - go_live
            kept = (site, t) in rows.index
            kept &= not first <= event <= last
            kept &= not 0 <= event < hide
            kept &= not_yet or event > last
            exposure, count = (rows.loc[(site, t), c] if kept else 0 for c in ("exposure", "count"))
            assert design["exposure"][s, t] == exposure
            assert design["count"][s, t] == count
            assert design["count_high"][s, t] == count


def test_months_out_of_the_likelihood_keep_their_observed_exposure(spec, tiny, design):
    hidden = build_design(with_changes(spec, {"effect.hide_first_months": 9}), tiny)
    for name in ("exposure_all", "exposure_exact", "count_exact"):
        np.testing.assert_array_equal(hidden[name], design[name])
        assert (design[name] > 0).sum() > (design["exposure"] > 0).sum()
    observed = tiny.ds["exposure"].sel(outcome="custody").fillna(0)
    np.testing.assert_array_equal(design["exposure_all"], observed)
    np.testing.assert_array_equal(design["exposure_exact"], observed)
    counted = tiny.ds["count"].sel(outcome="custody").fillna(0)
    np.testing.assert_array_equal(design["count_exact"], counted)


def test_weights_of_a_site_are_its_share_of_exposure_in_the_likelihood(design):
    n = design["exposure"]
    np.testing.assert_allclose(design["site_weight"], n / n.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(design["site_weight"].sum(axis=1), 1)


def test_site_without_cells_in_the_likelihood_has_no_weights(spec, tiny):
    """Without not-yet-treated months a site that never goes live has nothing left."""
    off = with_changes(spec, {"baseline.channels.not_yet_treated": False})
    design = build_design(off, tiny)
    assert (design["exposure"][3] == 0).all()
    assert (design["site_weight"][3] == 0).all()


def test_site_that_never_goes_live_is_untreated_throughout(design):
    assert (design["event_time"][3] == NEVER).all()
    assert (design["exposure"][3] > 0).all()


def test_missing_cell_is_nothing_and_not_zero_events(built, design):
    s, t = 2, 1  # the month without a row
    stored = ("exposure_all", "exposure_exact", "count_exact")
    for name in ("exposure", "count", "count_high", *stored, "site_weight"):
        assert design[name][s, t] == 0
    row = {"outcome": "custody", "site": "T3", "month": label(1), "source": "courts"}

    def add(**values: object) -> Change:
        return lambda frame: pd.concat([frame, pd.DataFrame([row | values])], ignore_index=True)

    marked = built({"outcomes.csv": add(exposure=None, count=None, status="missing")})
    assert_equal(marked, design)
    idle = built({"outcomes.csv": add(exposure=0, count=0, status="observed")})
    assert_equal(idle, design)
    with_trials = {"exposure", "exposure_all", "exposure_exact", "site_weight"}
    with_trials |= {"stage_centre"}
    none = built({"outcomes.csv": add(exposure=40, count=0, status="observed")})
    assert none["exposure"][s, t] == 40
    assert_equal(none, design, but=with_trials)


def test_treated_months_can_be_hidden_from_a_design(spec, tiny):
    """From the go-live month on, which the transition window hides by itself otherwise."""
    design = build_design(with_changes(spec, {"effect.transition": (0, -1)}), tiny)
    hidden = without_treated(design)
    before = design["event_time"] < 0
    np.testing.assert_array_equal(hidden["exposure"], np.where(before, design["exposure"], 0))
    np.testing.assert_array_equal(hidden["count"], np.where(before, design["count"], 0))
    n = hidden["exposure"]
    np.testing.assert_allclose(hidden["site_weight"], n / n.sum(axis=1, keepdims=True))
    changed = {"exposure", "count", "count_high", "site_weight"}
    assert_equal(hidden, design, but=changed)


def test_a_design_takes_new_arrays_of_the_same_shape_only(design):
    new = design.replace(count=design["count"] * 0)
    assert (new["count"] == 0).all()
    assert (design["count"] > 0).any()
    with pytest.raises(ValueError, match="count"):
        design.replace(count=np.zeros(3))
    with pytest.raises(ValueError, match="counts"):
        design.replace(counts=design["count"])


# ---- switches

SWITCHED = {
    "not_yet_treated": {"exposure", "count", "count_high", "stage_centre", "site_weight"},
    "retrospective": {"retrospective_exposure", "retrospective_count"},
    "national": {"national_chol", "national_chol_outlying"},
    "history": {"history_exposure", "history_count"},
    "elicited": {"elicited_chol", "elicited_chol_outlying"},
}


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_switch_changes_its_own_arrays_and_no_shape(spec, tiny, design, channel):
    off = build_design(with_changes(spec, {f"baseline.channels.{channel}": False}), tiny)
    assert_equal(off, design, but=SWITCHED[channel])
    assert off.coords == design.coords
    for name in SWITCHED[channel]:
        if "_chol" in name:
            np.testing.assert_array_equal(off[name], OFF_SD * np.eye(len(off[name])))
        elif channel != "not_yet_treated":
            assert (off[name] == 0).all()


@pytest.mark.parametrize(
    ("key", "value", "arrays"),
    [
        ("effect.hide_first_months", 4, SWITCHED["not_yet_treated"]),
        ("sensitivity.shared_bias_sd", 0.1, {"shared_bias_sd"}),
        ("sensitivity.drift_sd", 0.1, {"drift_sd"}),
        ("sensitivity.go_live_step_sd", 0.1, {"go_live_step_sd"}),
        ("sensitivity.wave_sd", 0.0, {"wave_sd"}),
        ("baseline.seam_sd", 0.9, {"seam_sd"}),
        ("baseline.national_offset_sd", 0.9, SWITCHED["national"]),
        ("baseline.elicited_bias_sd", 0.9, SWITCHED["elicited"]),
        ("baseline.contamination", 0.1, {"contamination"}),
        ("baseline.contamination_ratio", 9.0, {"national_chol_outlying", "elicited_chol_outlying"}),
        ("baseline.level_adoption_sd", 0.1, {"level_adoption_sd"}),
        ("baseline.drift_adoption_sd", 0.2, {"drift_adoption_sd"}),
        ("baseline.site_curve_order", 1, {"site_functions"}),
        ("effect.window", (0, 3), set()),
        ("sampling.seed", 4, set()),
    ],
)
def test_other_settings_change_what_they_name(spec, tiny, design, key, value, arrays):
    assert_equal(build_design(with_changes(spec, {key: value}), tiny), design, but=arrays)


# ---- channels


def test_retrospective_rows_point_at_their_cells(design, tiny):
    frame = tiny.evidence["retrospective"]
    covered = design.coords["retrospective_site"]
    assert covered == ["T1", "T3"]
    for row, (s, t, r) in zip(frame.itertuples(), design["retrospective_at"], strict=True):
        assert (f"T{s + 1}", label(t), covered[r]) == (row.site, row.month, row.site)
    np.testing.assert_array_equal(design["retrospective_exposure"], frame["exposure"])
    np.testing.assert_array_equal(design["retrospective_count"], frame["count"])


def test_history_rows_point_at_their_cells_and_count_months_back(design, tiny):
    frame = tiny.evidence["history"]
    for row, (s, t, lag) in zip(frame.itertuples(), design["history_at"], strict=True):
        assert (f"T{s + 1}", label(t)) == (row.site, row.calendar_month)
        assert lag == -row.months_from_referral > 0
    np.testing.assert_array_equal(design["history_exposure"], frame["persons"])
    np.testing.assert_array_equal(design["history_count"], frame["count"])


def test_national_rows_are_means_over_their_months_with_a_common_offset(design, spec, tiny):
    frame = tiny.evidence["national"]
    np.testing.assert_allclose(design["national_logit"], logit(frame["rate"]))
    for weight, row in zip(design["national_weight"], frame.itertuples(), strict=True):
        months = np.arange(row.month_index, row.month_index + row.months)
        np.testing.assert_allclose(weight[months], 1 / row.months)
        assert weight.sum() == pytest.approx(1)
    # the standard error is on the scale of the rate; the delta method takes it to logits
    se = frame["se"] / (frame["rate"] * (1 - frame["rate"]))
    expected = np.diag(se**2) + spec.baseline.national_offset_sd**2
    chol = design["national_chol"]
    np.testing.assert_allclose(chol @ chol.T, expected, rtol=1e-12)


def test_national_rows_after_the_first_go_live_are_dropped(built, design):
    """A row that ends with the month before go-live stays; one month later and it contains it."""
    assert len(design["national_logit"]) == 4  # the last ends in month 6, go-live is in month 8
    at_the_edge = built({"evidence/national.csv": put({"months": 3}, month=label(5))})
    assert len(at_the_edge["national_logit"]) == 4
    np.testing.assert_allclose(at_the_edge["national_weight"][-1, 5:8], 1 / 3)
    over = built({"evidence/national.csv": put({"months": 4}, month=label(5))})
    assert len(over["national_logit"]) == 3
    assert over["national_weight"][:, 8:].sum() == 0
    np.testing.assert_array_equal(over["national_logit"], design["national_logit"][:3])


def test_national_rows_outside_the_grid_are_dropped(built, design):
    """Before its first month; and past its last, where nobody has gone live."""
    early = built({"evidence/national.csv": put({"month": "2012-12"}, month=label(0))})
    assert len(early["national_logit"]) == 3
    late = {"evidence/national.csv": put({"month": label(19)}, month=label(5))}
    for go_live in ((None,) * 4, (30, 30, 31, None)):
        kept = built(late, go_live=go_live)
        assert len(kept["national_logit"]) == 3
        np.testing.assert_allclose(kept["national_weight"].sum(axis=1), 1)


def test_sites_share_the_national_rate_by_population_or_else_by_exposure(built, design):
    np.testing.assert_allclose(design["national_share"], np.array([2, 3, 4, 5]) / 14)
    unknown = built({"sites.csv": put({"population": None}, site="T2")})
    total = unknown["exposure_all"].sum(axis=1)
    np.testing.assert_allclose(unknown["national_share"], total / total.sum())


def test_elicited_judgements_have_weights_window_and_common_error(design, spec, tiny):
    frame = tiny.evidence["elicited"]
    weights = {"": np.full(4, 0.25), "T1": np.eye(4)[0]}
    for weight, site in zip(design["elicited_weight"], frame["site"], strict=True):
        np.testing.assert_array_equal(weight, weights[site])
    np.testing.assert_allclose(design["elicited_logit"], logit(frame["q50"]))
    # eight months are what there is of the twelve before the first go-live
    np.testing.assert_allclose(design["elicited_month"], np.repeat([1 / 8, 0], [8, 12]))
    width = logit(frame["q95"]) - logit(frame["q05"])
    sd = width / (2 * 1.6448536269514722)
    expected = np.diag(sd**2) + spec.baseline.elicited_bias_sd**2
    chol = design["elicited_chol"]
    np.testing.assert_allclose(chol @ chol.T, expected, rtol=1e-12)


def test_elicited_window_is_the_twelve_months_before_the_first_go_live(built):
    later = built(go_live=(15, 17, 18, None))
    np.testing.assert_allclose(later["elicited_month"], np.repeat([0, 1 / 12, 0], [3, 12, 5]))


def test_without_evidence_every_channel_is_empty(spec, bare):
    design = build_design(spec, bare)
    for name in ("retrospective", "history", "national", "elicited"):
        assert design.coords[f"{name}_row"] == []
    assert design.coords["retrospective_site"] == []
    assert design["national_chol"].shape == (0, 0)


def test_evidence_on_another_outcome_is_not_used(built, design):
    def double(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([frame, frame.assign(outcome="hearings")], ignore_index=True)

    files = ["outcomes.csv", *(f"evidence/{c}.csv" for c in CHANNELS if c != "not_yet_treated")]
    assert_equal(built(dict.fromkeys(files, double)), design)


# ---- sites


def test_predecessor_is_centred_over_the_sites_where_it_is_known(built, design):
    # 0, unknown, 0.4, 0.6
    np.testing.assert_allclose(design["predecessor"], [-1 / 3, 0, 0.4 - 1 / 3, 0.6 - 1 / 3])
    unknown = built({"sites.csv": lambda frame: frame.assign(predecessor="")})
    np.testing.assert_array_equal(unknown["predecessor"], 0)


def test_mix_is_counted_by_site_and_centred_at_the_pooled_shares(design, tiny):
    mix = tiny.ds["mix"].values
    np.testing.assert_array_equal(design["mix_count"], np.nan_to_num(mix))
    assert (design["mix_count"][3] == 0).all()  # unknown, not a site without contacts
    pooled = np.nansum(mix, axis=0)
    np.testing.assert_allclose(design["mix_centre"], pooled / pooled.sum())


@pytest.mark.parametrize("interventions", [(), ("all_of_them",)])
def test_nothing_moderates_without_two_interventions(built, interventions):
    design = built(interventions=interventions)
    assert design.coords["intervention"] == ["all"]
    np.testing.assert_array_equal(design["mix_count"], np.zeros((4, 1)))
    np.testing.assert_array_equal(design["mix_centre"], [1.0])


def test_waves_are_counted_in_order_whatever_their_numbers(built):
    design = built(waves=(7, 2, 4, 4), go_live=(8, 8, 13, 14))
    assert design.coords["wave"] == [2, 4, 7]
    np.testing.assert_array_equal(design["wave_index"], [2, 0, 1, 1])


def test_a_site_that_never_goes_live_is_in_no_wave_whatever_is_written(built):
    """Its wave has no effect in the data, and would widen or narrow the others' prior."""
    designs = [built(waves=waves) for waves in ((1, 1, 2, 2), (1, 1, 2, 9), (1, 1, 2, ""))]
    assert [design.coords["wave"] for design in designs] == [[1, 2]] * 3
    live = designs[0]["event_time"].max(axis=1) >= 0
    for name, value in designs[0].arrays.items():
        for other in designs[1:]:
            # what is never multiplied by anything but 0 may differ
            some = live if name == "wave_index" else ...
            np.testing.assert_array_equal(other[name][some], value[some], err_msg=name)


def test_without_a_site_that_goes_live_there_is_one_wave(built):
    design = built(go_live=(None, None, None, None), waves=("", "", "", ""))
    assert design.coords["wave"] == [0]
    assert not design["wave_index"].any()


# ---- periods


def test_quarters(built):
    """Event time, ramp, window and time are in months whatever the period."""
    design = built(step=3, go_live=(6, 6, 9, None))
    np.testing.assert_array_equal(design["event_time"][0], 3 * (np.arange(20) - 6))
    assert design["half_period"] == 1.5
    np.testing.assert_allclose(design["time"], (3 * np.arange(20) - 28.5) / 24)
    assert design["harmonics"].shape == (20, 3)
    # four quarters make the twelve months before go-live
    np.testing.assert_allclose(design["elicited_month"], np.repeat([0, 1 / 4, 0], [2, 4, 14]))
    # rows of six, six, three and (beyond go-live) six months; the last is dropped
    assert [np.count_nonzero(w) for w in design["national_weight"]] == [2, 2, 1]
    # the transition window is in months too: event months -3 to 1 are two quarters
    masked = (design["exposure"] == 0) & (design["exposure_all"] > 0)
    np.testing.assert_array_equal(design["event_time"][masked], [-3, 0, -3, 0, -3, 0])


def test_years(built):
    design = built(step=12, periods=9, go_live=(6, 6, 8, None))
    np.testing.assert_array_equal(design["event_time"][2], 12 * (np.arange(9) - 8))
    assert design["half_period"] == 6
    assert design["harmonics"].shape == (9, 0)
    assert design["national_functions"].shape == (9, 7)
    np.testing.assert_array_equal(design["elicited_month"], np.eye(9)[5])


# ---- order and refusal


def shuffled(tables: Tables, seed: int) -> Tables:
    rng = np.random.default_rng(seed)
    return Tables(
        tables.settings,
        {
            file: frame.sample(frac=1, random_state=int(rng.integers(2**31)))[
                rng.permutation(frame.columns)
            ]
            for file, frame in tables.frames.items()
        },
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_order_of_rows_and_columns_is_nothing(spec, design, tmp_path, seed):
    data = read_tables(shuffled(tiny_tables(), seed), tmp_path)
    again = build_design(spec, data)
    assert_equal(again, design)
    assert again.coords == design.coords


def refusal(build: Callable[[], object]) -> list[str]:
    with pytest.raises(DataError) as caught:
        build()
    return [str(problem) for problem in caught.value.problems]


def test_absent_outcome_is_refused(spec, tiny):
    other = with_changes(spec, {"outcome.name": "hearings"})
    (problem,) = refusal(lambda: build_design(other, tiny))
    assert "hearings" in problem
    assert "outcomes.csv" in problem


@pytest.mark.parametrize("status", ["suppressed", "rounded"])
def test_cells_without_exact_counts_are_intervals(built, design, status):
    """Capped at the trials; nothing that can be shown as observed."""

    def withhold(frame: pd.DataFrame) -> pd.DataFrame:
        cells = ((frame["site"] == "T1") & (frame["month"] == label(3))) | (
            (frame["site"] == "T4") & (frame["month"] == label(17))
        )
        frame = frame.astype({"count": object}).assign(count_low=None, count_high=None)
        frame.loc[cells, ["count", "status", "count_low", "count_high"]] = [None, status, 1, 7]
        return frame

    ranged = built({"outcomes.csv": withhold})
    which = np.zeros(design["count"].shape, dtype=bool)
    which[0, 3] = which[3, 17] = True
    top = np.minimum(design["exposure"], 7)
    np.testing.assert_array_equal(ranged["exposure"], design["exposure"])
    np.testing.assert_array_equal(ranged["count"], np.where(which, 1, design["count"]))
    np.testing.assert_array_equal(ranged["count_high"], np.where(which, top, design["count_high"]))
    for name in ("exposure_exact", "count_exact"):
        np.testing.assert_array_equal(ranged[name], np.where(which, 0, design[name]))


def test_bound_beyond_the_trials_says_no_more_than_the_trials(built):
    def withhold(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({"count": object}).assign(count_low=None, count_high=None)
        values = ["suppressed", 6, None, 1, 9]
        frame.loc[3, ["status", "exposure", "count", "count_low", "count_high"]] = values
        return frame

    ranged = built({"outcomes.csv": withhold})
    assert ranged["count"][0, 3] == 1
    assert ranged["count_high"][0, 3] == 6


@pytest.mark.parametrize(
    ("file", "values", "where", "said"),
    [
        ("outcomes.csv", {"exposure": 30, "count": 31}, {"site": "T2"}, "count"),
        ("outcomes.csv", {"exposure": 30.5}, {"site": "T2"}, "exposure"),
        ("evidence/retrospective.csv", {"exposure": 3, "count": 4}, {"site": "T1"}, "count"),
        ("evidence/history.csv", {"persons": 3, "count": 4}, {"site": "T2"}, "count"),
        ("evidence/national.csv", {"rate": 1.2}, {"months": 2}, "rate"),
        ("evidence/elicited.csv", {"q95": 1.0}, {"site": "T1"}, "q95"),
    ],
)
def test_numbers_that_are_no_trials_are_refused_row_by_row(built, file, values, where, said):
    problems = refusal(lambda: built({file: put(values, **where)}))
    hit = at(**where)(tiny_tables().frames[file])
    assert len(problems) == hit.sum()
    assert all(file in problem and said in problem for problem in problems)


def test_cells_withheld_and_numbers_that_are_no_trials_are_told_in_one_round(built):
    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({"count": object}).assign(count_low=None, count_high=None)
        frame.loc[3, ["count", "status", "count_low", "count_high"]] = [None, "suppressed", 1, 41]
        frame.loc[9, ["exposure", "count"]] = [30, 31]
        return frame

    problems = refusal(lambda: built({"outcomes.csv": spoil}))
    assert len(problems) == 2
    assert any("more than 40 counts" in problem for problem in problems)
    assert any("must not exceed exposure" in problem for problem in problems)


@pytest.mark.parametrize(
    ("go_live", "months"),
    [((26, 27, 28, None), range(14, 20)), ((25, 30, 31, None), [*range(13, 20)])],
)
def test_elicited_window_is_cut_at_the_grid_and_not_moved(built, go_live, months):
    """The first go-live lies after the last month: part of its twelve months is observed."""
    design = built(go_live=go_live)
    expected = np.zeros(20)
    expected[list(months)] = 1 / len(months)
    np.testing.assert_allclose(design["elicited_month"], expected)


@pytest.mark.parametrize("first", [0, -4, 33])
def test_judgements_about_months_off_the_grid_are_refused(built, spec, first):
    go_live = (first, 35, 36, None)
    evidence = {
        f"evidence/{name}.csv": lambda frame: frame.iloc[:0]
        for name in ("retrospective", "history", "national")
    }
    (problem,) = refusal(lambda: built(evidence, go_live=go_live))
    assert "12 months before the first go-live" in problem
    off = with_changes(spec, {"baseline.channels.elicited": False})
    assert (built(evidence, spec=off, go_live=go_live)["elicited_month"] == 0).all()


@pytest.mark.slow
def test_other_outcomes_rows_are_not_needed() -> None:
    """What travels to another process makes the same design, of every shipped outcome."""
    data = read_evaluation(ROOT / "data" / "synthetic")
    models = sorted(path for path in (ROOT / "models").glob("*.toml") if path.stem != "costs")
    assert len(models) == 12
    for path in models:
        spec = load_spec(path)
        light = with_rows_of(data, spec.outcome.name)
        assert set(light.outcomes["outcome"]) == {spec.outcome.name}
        assert_equal(build_design(spec, data), build_design(spec, light))
        assert fit_key(spec, light) == fit_key(spec, data)
        assert len(pickle.dumps(light)) < len(pickle.dumps(data)) / 1.5
