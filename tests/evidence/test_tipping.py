"""Tipping points: closed forms, brute-force refits, and what cannot be trusted."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.optimize import brentq
from scipy.stats import norm

from lndbayes.app.cli import main as command
from lndbayes.base.errors import UsageError
from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.estimands.effects import pooled_effect
from lndbayes.estimands.reported import prior_as_posterior
from lndbayes.evidence import assumption, tipping
from lndbayes.evidence.assumption import ASSUMPTION
from lndbayes.evidence.part_densities import channel_log_likelihood
from lndbayes.evidence.tipping import TIPPING_COLUMNS, at_level_bias, tipping_table, weighted_table
from lndbayes.evidence.tipping_points import conclusion_at, go_live_step, tipping_point
from lndbayes.fitting.fit import coordinates_of, fit, load_fit
from lndbayes.model.design import build_design
from lndbayes.spec.model_spec import ModelSpec, load_spec, with_changes
from lndbayes.synthetic import simulate, write_evaluation
from small import MODELS, complete

pytestmark = pytest.mark.slow

PRIOR_SD = 0.15


def joint(mean: float, slope: float, sd: float, size: int = 20000) -> tuple[np.ndarray, np.ndarray]:
    """Draws of an effect that leans on a bias which the data do not inform."""
    rng = np.random.default_rng(3)
    bias = rng.normal(0, PRIOR_SD, size)
    return mean + slope * bias + rng.normal(0, sd, size), bias


def probability(value: float, mean: float, slope: float, sd: float) -> float:
    """P(effect < 0) with the bias Normal(value, (0.2 PRIOR_SD)^2)."""
    spread = np.hypot(sd, slope * 0.2 * PRIOR_SD)
    return float(norm.cdf(-(mean + slope * value) / spread))


@pytest.mark.parametrize("slope", [0.9, -0.9])
@pytest.mark.parametrize("threshold", [0.9, 0.5])
def test_a_normal_case_in_closed_form(slope, threshold) -> None:
    case = (-0.2, slope, 0.1)
    found = tipping_point(*joint(*case), PRIOR_SD, -1, threshold)
    wanted = brentq(lambda v: probability(v, *case) - threshold, -1, 1)
    assert found.found
    assert found.pareto_k <= 0.7
    # a probability from some 2,000 effective draws, over a slope of 3 to 4 a unit
    assert found.value == pytest.approx(wanted, abs=0.012)


def test_the_good_direction_can_be_up() -> None:
    pooled, bias = joint(-0.2, 0.9, 0.1)
    up = tipping_point(-pooled, bias, PRIOR_SD, 1, 0.9)
    assert up == tipping_point(pooled, bias, PRIOR_SD, -1, 0.9)


def test_no_bias_is_needed_where_nothing_was_shown() -> None:
    found = tipping_point(*joint(-0.05, 0.9, 0.1), PRIOR_SD, -1, 0.9)
    assert (found.found, found.value) == (True, 0.0)


def test_far_values_are_not_guessed() -> None:
    pooled, bias = joint(-3.0, 0.5, 0.1, 2000)
    found = tipping_point(pooled, bias, PRIOR_SD, -1, 0.9)
    assert not found.found
    assert np.isnan(found.value)
    assert found.pareto_k > 0.7
    assert 0 < found.reached < 4 * PRIOR_SD


def test_a_step_at_go_live_is_a_quantile() -> None:
    pooled = np.random.default_rng(4).normal(-0.3, 0.1, 50_000)
    step = go_live_step(pooled, -1, 0.9)
    assert ((pooled - step) < 0).mean() == pytest.approx(0.9, abs=1e-4)
    assert step == pytest.approx(-0.3 + 0.1 * norm.ppf(0.9), abs=0.004)
    assert go_live_step(-pooled, 1, 0.9) == pytest.approx(-step)
    assert go_live_step(pooled + 0.25, -1, 0.9) == 0.0


# --- a small evaluation ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> EvaluationData:
    folder = tmp_path_factory.mktemp("tipping") / "data"
    return read_evaluation(write_evaluation(simulate(6, "effect", 12), folder))


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return with_changes(
        load_spec(MODELS / "custody.toml"),
        {"sampling.draws": 1000, "sampling.tune": 200, "sampling.chains": 2},
    )


@pytest.fixture(scope="module")
def main(spec, data) -> xr.DataTree:
    return fit(spec, data, cores=1, predictive=False)


def test_a_fixed_level_bias_is_of_its_own_outcome_alone(spec, data) -> None:
    """Rows of another outcome may be rates above one, which have no logit."""
    national = data.evidence["national"]
    others = national.assign(outcome="ae_attendances", rate=3.0)
    both = pd.concat([others, national], ignore_index=True)
    two = dataclasses.replace(data, evidence={**data.evidence, "national": both})
    _, moved = at_level_bias(spec, two, 0.3)
    _, alone = at_level_bias(spec, data, 0.3)
    pd.testing.assert_frame_equal(
        moved.evidence["national"].reset_index(drop=True),
        alone.evidence["national"].reset_index(drop=True),
    )


def test_a_fixed_level_bias_is_the_same_density(spec, data, main) -> None:
    """A bias of 0.3 on every source, or sources and priors moved: the same likelihood."""
    value = 0.3
    moved_spec, moved = at_level_bias(spec, data, value)

    def tree(arrays, **change):
        posterior = main["posterior"].to_dataset().isel(draw=slice(3))
        posterior = posterior.assign({k: posterior[k] + v for k, v in change.items()})
        constant = (
            main["constant_data"]
            .to_dataset()
            .assign(
                {
                    k: main["constant_data"][k].copy(data=arrays[k])
                    for k in arrays
                    if k in main["constant_data"] and k != "event_time"
                }
            )
        )
        out = xr.DataTree.from_dict({"/posterior": posterior, "/constant_data": constant})
        out.attrs = dict(main.attrs)
        return out

    biased = tree(build_design(spec, data).arrays, shared_bias=value)
    shifted = tree(
        build_design(moved_spec, moved).arrays,
        retrospective_site_bias=value,
        history_selection=value,
    )
    one, other = channel_log_likelihood(biased, spec), channel_log_likelihood(shifted, moved_spec)
    assert one.keys() == other.keys() == {"retrospective", "national", "history", "elicited"}
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-9, err_msg=name)
    for slot in ("retrospective_bias", "history_selection"):
        assert moved_spec.priors[slot]["mu"] == spec.priors[slot]["mu"] + value
    assert moved.hash != data.hash


def test_weights_agree_with_brute_force_refits(spec, data, main) -> None:
    sds = {"sensitivity.shared_bias_sd": PRIOR_SD, "sensitivity.drift_sd": 0.0}
    wide = fit(
        with_changes(spec, sds), data, cores=1, predictive=False, coordinates=coordinates_of(main)
    )
    pooled = pooled_effect(wide).to_numpy().ravel()
    bias = wide["posterior"]["shared_bias"].to_numpy().ravel()
    # values that the draws reach: the panel informs the bias a little, off its prior's mean
    for value in bias.mean() + np.array([-0.7, 0.7]) * bias.std():
        refit = fit(
            *at_level_bias(spec, data, value),
            cores=1,
            predictive=False,
            coordinates=coordinates_of(main),
        )
        exact = pooled_effect(refit).to_numpy().ravel()
        at = conclusion_at(value, pooled - exact.mean(), bias, PRIOR_SD, -1)
        assert at.pareto_k < 0.7
        # P(weighted effect < mean of the refit): one half. Some 300 effective draws of each make
        # 0.029 and 0.023 of error: four standard errors together
        assert at.probability == pytest.approx(0.5, abs=0.15)


def test_the_table(spec, data, main, monkeypatch) -> None:
    said: list[str] = []
    table = tipping_table(spec, data, main, thresholds=(0.9,), say=said.append)
    assert tuple(table.columns) == TIPPING_COLUMNS
    assert table["bias"].tolist() == ["level_bias", "drift", "go_live_step"]
    rows = table.set_index("bias")
    assert rows.loc["go_live_step", "value"] < 0
    found = np.isfinite(table["value"].to_numpy())
    weighted = table["method"].isin(["weights", "wider refit"]).to_numpy()
    # no number without a sound weight
    assert (table.loc[found & weighted, "pareto_k"] <= 0.7).all()
    assert table["message"].str.contains("%|without").all()
    level = rows.loc["level_bias"]
    if level["method"] == "refits" and np.isfinite(level["value"]):
        refit = fit(*at_level_bias(spec, data, level["value"]), cores=1, predictive=False)
        share = (pooled_effect(refit).to_numpy() < 0).mean()
        assert share == pytest.approx(0.9, abs=0.08)


def test_an_outcome_without_a_good_direction(spec, data, main, monkeypatch) -> None:
    monkeypatch.setattr(tipping, "fit", None)
    neutral = with_changes(spec, {"outcome.good_direction": "none"})
    with pytest.raises(UsageError, match="good direction"):
        tipping_table(neutral, data, main)


@pytest.mark.parametrize(("draws", "told"), [(24, False), (25, True)])
def test_too_few_draws_to_judge_the_weights_are_no_answer(draws, told) -> None:
    rng = np.random.default_rng(2)
    bias = rng.normal(0, PRIOR_SD, draws)
    pooled = -0.3 + 0.5 * bias + rng.normal(0, 0.05, draws)
    assert np.isfinite(conclusion_at(0.0, pooled, bias, PRIOR_SD, -1).probability) == told
    if not told:
        found = tipping_point(pooled, bias, PRIOR_SD, -1, 0.5)
        assert not found.found
        assert np.isnan(found.value)


def test_what_is_not_there_is_told_with_what_stays_allowed(spec, main) -> None:
    """No level bias is not no bias: the draws are those of a refit with a drift too."""
    rng = np.random.default_rng(4)
    bias, drift = (rng.normal(0, sd, (2, 1000)) for sd in (0.15, 0.05))
    # a harm, whatever the level bias and the drift are
    pooled = 0.5 + 0.2 * bias + 0.2 * drift + rng.normal(0, 0.05, bias.shape)
    draws = {"pooled": pooled, "shared_bias": bias, "drift": drift}
    kept = xr.Dataset({k: (("chain", "draw"), v) for k, v in draws.items()})
    table = weighted_table(spec, main, kept, thresholds=(0.9,)).set_index("bias")
    assert (table.loc[["level_bias", "drift"], "value"] == 0).all()
    start = "The probability of a good effect is at most 0.9 without a "
    assert table.loc["level_bias", "message"].startswith(start + "level bias")
    assert "a drift being allowed" in table.loc["level_bias", "message"]
    assert table.loc["drift", "message"].startswith(start + "drift")
    assert "a level bias of the evidence being allowed" in table.loc["drift", "message"]


@pytest.mark.parametrize(("name", "off"), [("national_chol", 1e3), ("retrospective_exposure", 0.0)])
def test_evidence_that_is_not_used_cannot_be_off(spec, main, name, off) -> None:
    """Neither switched off nor absent; one source that is used is enough."""
    tree = main.copy()
    constants = main["constant_data"].to_dataset()
    zero = {
        k: 0 * constants[k]
        for k in constants
        if k in ("retrospective_exposure", "history_exposure")
    }
    none = constants.assign(zero).drop_vars(["national_chol", "elicited_chol"], errors="ignore")
    some = none.copy()
    if name in constants:
        some[name] = constants[name]
        used = {
            k: v
            for k, v in {
                "some": some,
                "none": none.assign(
                    {name: (constants[name].dims, np.full(constants[name].shape, off))}
                ),
            }.items()
        }
    else:
        pytest.skip("the data have no such evidence")
    rng = np.random.default_rng(4)
    bias, drift = (rng.normal(0, sd, (2, 1000)) for sd in (0.15, 0.05))
    pooled = -0.3 + 0.2 * drift + rng.normal(0, 0.05, bias.shape)
    draws = {"pooled": pooled, "shared_bias": bias, "drift": drift}
    kept = xr.Dataset({k: (("chain", "draw"), v) for k, v in draws.items()})
    told = {}
    for case, stored in used.items():
        tree["constant_data"] = stored
        told[case] = weighted_table(spec, tree, kept, thresholds=(0.9,)).set_index("bias")
    assert "off by" in told["some"].loc["level_bias", "message"]
    assert told["none"].loc["level_bias", "method"] == "none"
    assert np.isnan(told["none"].loc["level_bias", "value"])
    assert "none of it could be off" in told["none"].loc["level_bias", "message"]
    assert told["none"].loc["drift", "message"] == told["some"].loc["drift", "message"]


@pytest.mark.slow
def test_the_command_labels_what_rests_on_the_prior(tmp_path, monkeypatch) -> None:
    """Told from the stored fit: the posterior's sd beside the prior's, whatever the points are."""
    folder = write_evaluation(simulate(6, "effect", 12), tmp_path / "data")
    text = complete("custody")
    for key, value in (("draws", 100), ("tune", 100), ("chains", 2)):
        text, hits = re.subn(rf"(?m)^{key} = \d+", f"{key} = {value}", text)
        assert hits == 1
    (tmp_path / "custody.toml").write_text(text, encoding="utf-8")
    rows = pd.DataFrame([dict.fromkeys(TIPPING_COLUMNS, "x")])
    monkeypatch.setattr(tipping, "tipping_table", lambda *a, **k: rows)
    arguments = ["tipping", str(tmp_path / "custody.toml"), "--data", str(folder)]
    arguments += ["--out", str(tmp_path / "run"), "--quiet"]
    found = []
    for limit in (0.9, 0.001):
        monkeypatch.setattr(assumption, "MOST_SD_RATIO", limit)
        assert command(arguments) == 0
        found.append(pd.read_csv(tmp_path / "run" / "tipping.csv", keep_default_na=False))
    assert found[0][ASSUMPTION].tolist() == [""]
    tree = load_fit(tmp_path / "run" / "fits" / "custody.nc")
    after, before = (
        pooled_effect(x, "link", (7, 18)).to_numpy().std(ddof=1)
        for x in (tree, prior_as_posterior(tree))
    )
    told = f"the posterior sd is {after / before:.0%} of the prior's"
    assert found[1][ASSUMPTION].tolist() == [told]
