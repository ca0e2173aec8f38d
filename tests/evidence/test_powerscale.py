"""Power scaling: closed form in a conjugate model, the reference implementation, the guard."""

from __future__ import annotations

import json

import arviz as az
import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scipy.special import expit

from lndbayes.data.evaluation import read_evaluation
from lndbayes.estimands.effects import pooled_effect
from lndbayes.estimands.predictors import predictors
from lndbayes.evidence.part_densities import (
    channel_log_likelihood,
    log_prior,
    outlying_probability,
    panel_log_likelihood,
)
from lndbayes.evidence.powerscale import (
    POWERSCALE_COLUMNS,
    PRIOR_GROUPS,
    PowerScaling,
    _judged,
    _row,
    power_scaling,
    powerscale_table,
)
from lndbayes.fitting.fit import fit
from lndbayes.spec.model_spec import ModelSpec, load_spec, parse_spec, with_changes
from lndbayes.synthetic import simulate, write_evaluation
from small import MODELS

PRIOR_MEAN, PRIOR_SD, N, MEAN = 1.0, 0.7, 8, -0.4


def conjugate(alpha_prior: float, alpha_data: float) -> tuple[float, float]:
    """Posterior mean and sd of a normal mean, both terms raised to powers."""
    precision = alpha_prior / PRIOR_SD**2 + alpha_data * N
    mean = (alpha_prior * PRIOR_MEAN / PRIOR_SD**2 + alpha_data * N * MEAN) / precision
    return mean, precision**-0.5


def draws(size: int = 8000) -> np.ndarray:
    mean, sd = conjugate(1, 1)
    return np.random.default_rng(1).normal(mean, sd, (4, size // 4))


def prior_density(theta: np.ndarray) -> np.ndarray:
    return stats.norm.logpdf(theta, PRIOR_MEAN, PRIOR_SD)


def data_density(theta: np.ndarray) -> np.ndarray:
    return stats.norm.logpdf(MEAN, theta, N**-0.5)


@pytest.mark.parametrize("term", ["prior", "data"])
def test_the_shift_is_that_of_the_closed_form(term) -> None:
    theta = draws()
    density = prior_density if term == "prior" else data_density
    found = power_scaling(theta, density(theta))
    low, high = (conjugate(*((a, 1) if term == "prior" else (1, a)))[0] for a in (0.8, 1.25))
    wanted = (high - low) / np.log2(1.25 / 0.8) / conjugate(1, 1)[1]
    # a weighted mean of 8,000 draws; the difference of two on the same draws is much closer
    assert found.shift == pytest.approx(wanted, abs=0.01)
    assert abs(wanted) > 0.05
    assert found.pareto_k < 0.7


@pytest.mark.parametrize("group", ["prior", "likelihood"])
def test_the_sensitivity_is_the_reference_implementations(group) -> None:
    theta = draws()
    density = prior_density(theta) if group == "prior" else data_density(theta)
    tree = xr.DataTree.from_dict(
        {
            "/posterior": xr.Dataset({"theta": (("chain", "draw"), theta)}),
            "/log_prior": xr.Dataset({"theta": (("chain", "draw"), density)}),
            "/log_likelihood": xr.Dataset({"y": (("chain", "draw", "i"), density[..., None])}),
        }
    )
    wanted = float(az.psense(tree, group=group)["theta"])
    assert power_scaling(theta, density).sensitivity == pytest.approx(wanted, rel=1e-9)


def test_weights_that_cannot_be_trusted_give_no_number() -> None:
    rng = np.random.default_rng(2)
    z = rng.normal(size=(4, 1000))
    # at power 0.8 the weights are exp(z ** 2), whose mean is infinite
    found = power_scaling(z, -5 * z**2)
    assert found.pareto_k > 0.7
    assert np.isnan(found.sensitivity)
    assert np.isnan(found.shift)


def test_a_term_that_does_not_vary_moves_nothing() -> None:
    found = power_scaling(draws(), np.zeros((4, 2000)))
    assert (found.sensitivity, found.shift) == (0.0, 0.0)


# --- a fit ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    folder = tmp_path_factory.mktemp("powerscale") / "data"
    data = read_evaluation(write_evaluation(simulate(6, "effect", 12), folder))
    spec = with_changes(
        load_spec(MODELS / "custody.toml"),
        {
            "sampling.draws": 300,
            "sampling.tune": 200,
            "sampling.chains": 2,
            "baseline.contamination": 0.2,
        },
    )
    return fit(spec, data, cores=1)


@pytest.fixture(scope="module")
def spec(made: xr.DataTree) -> ModelSpec:
    return parse_spec(json.loads(made.attrs["spec_text"]), source="fit")


@pytest.mark.slow
def test_sources_by_hand(made, spec) -> None:
    """Every source's log likelihood of one draw, row by row with SciPy's densities."""
    chain, draw = 1, 217
    eta = predictors(made)["eta0"].to_numpy()[chain, draw]
    p = {k: v.to_numpy()[chain, draw] for k, v in made["posterior"].data_vars.items()}
    c = {k: v.to_numpy() for k, v in made["constant_data"].data_vars.items()}
    wanted = dict.fromkeys(("retrospective", "history"), 0.0)
    for (s, t, k), n, y in zip(
        c["retrospective_at"], c["retrospective_exposure"], c["retrospective_count"], strict=True
    ):
        rate = expit(eta[s, t] + p["retrospective_site_bias"][k] + p["shared_bias"])
        wanted["retrospective"] += stats.binom.logpmf(y, n, rate)
    for (s, t, lag), n, y in zip(
        c["history_at"], c["history_exposure"], c["history_count"], strict=True
    ):
        dip = p["crisis_dip"] * np.exp(-(lag - 1) / p["crisis_recovery_months"])
        rate = expit(eta[s, t] + dip + p["history_selection"] + p["shared_bias"])
        wanted["history"] += stats.binom.logpmf(y, n, rate)
    rate = np.array([w @ (c["national_share"] @ expit(eta)) for w in c["national_weight"]])
    level = np.array([w @ (eta @ c["elicited_month"]) for w in c["elicited_weight"]])
    for name, mean in (("national", np.log(rate / (1 - rate))), ("elicited", level)):
        both = [
            stats.multivariate_normal.pdf(
                c[f"{name}_logit"], mean + p["shared_bias"], chol @ chol.T
            )
            for chol in (c[f"{name}_chol"], c[f"{name}_chol_outlying"])
        ]
        wanted[name] = np.log(0.8 * both[0] + 0.2 * both[1])
    found = channel_log_likelihood(made, spec)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].shape == (2, 300)
        assert found[name][chain, draw] == pytest.approx(value, rel=1e-9), name


@pytest.mark.slow
def test_how_probable_an_outlying_source_is(made, spec) -> None:
    """Bayes' rule by hand, draw by draw; a source that agrees is no outlier, a far one is."""
    found = outlying_probability(made, spec)
    assert set(found) == {"national", "elicited"}
    data = made["constant_data"].to_dataset()
    eta0 = predictors(made)["eta0"].to_numpy()
    level = eta0 @ data["elicited_month"].to_numpy() @ data["elicited_weight"].to_numpy().T
    gap = data["elicited_logit"].to_numpy() - level
    gap = gap - made["posterior"]["shared_bias"].to_numpy()[..., None]
    both = []
    for which in ("chol", "chol_outlying"):
        chol = data[f"elicited_{which}"].to_numpy()
        both.append(stats.multivariate_normal(cov=chol @ chol.T).pdf(gap))
    by_hand = 0.2 * both[1] / (0.8 * both[0] + 0.2 * both[1])
    assert found["elicited"] == pytest.approx(by_hand.mean(), rel=1e-8)
    moved = made.copy(deep=True)
    far = data.assign(elicited_logit=data["elicited_logit"] + 3.0)
    moved["constant_data"] = xr.DataTree(far)
    assert outlying_probability(moved, spec)["elicited"] > 0.99 > found["elicited"]
    off = with_changes(spec, {"baseline.contamination": 0.0})
    assert outlying_probability(made, off) == {}


def test_priors_and_panel_by_hand(made, spec) -> None:
    posterior = made["posterior"]
    wanted = stats.lognorm(0.5, scale=4.0).logpdf(float(posterior["ramp_months"][1, 9]))
    assert log_prior(made, spec, ["ramp_months"])[1, 9] == pytest.approx(wanted)
    two = log_prior(made, spec, ["ramp_months", "effect_mean"])[1, 9] - wanted
    assert two == pytest.approx(stats.norm(0, 0.5).logpdf(float(posterior["effect_mean"][1, 9])))
    cells = made["log_likelihood"]["y"].to_numpy().astype(float)
    np.testing.assert_allclose(panel_log_likelihood(made), cells.sum(axis=2))


def test_the_table(made, spec) -> None:
    table = powerscale_table(made, spec, pooled_effect(made))
    assert tuple(table.columns) == POWERSCALE_COLUMNS
    assert table["term"].tolist() == [
        *PRIOR_GROUPS,
        "panel",
        "retrospective",
        "national",
        "history",
        "elicited",
    ]
    assert (table["message"].str.len() > 20).all()
    # whether weights of so few draws can be trusted is up to the draws, but not of most terms
    ran = table["status"] != "NOT RUN"
    assert ran.mean() > 0.5
    assert (table.loc[ran, "pareto_k"] <= 0.7).all()
    assert not (table.loc[~ran, "pareto_k"] <= 0.7).any()
    assert table.loc[~ran, ["sensitivity", "shift"]].isna().all(axis=None)
    # what an effect rests on first of all
    panel = table.set_index("term").loc["panel"]
    assert panel["sensitivity"] > 0.05 or panel["status"] == "NOT RUN"


def test_a_source_of_nobody_matters_not_and_has_no_infinity() -> None:
    """Records with an exposure of 0: their density does not vary, so no weights have a tail."""
    draws = np.random.default_rng(1).normal(size=(2, 100))
    found = _row("a", "history", "likelihood", draws, 0 * draws)
    row = dict(zip(POWERSCALE_COLUMNS, found, strict=True))
    assert (row["sensitivity"], row["shift"], row["status"]) == (0.0, 0.0, "PASS")
    assert np.isnan(row["pareto_k"])


def test_a_source_that_is_off_is_not_run(made, spec) -> None:
    off = with_changes(spec, {"baseline.channels.national": False})
    row = powerscale_table(made, off, pooled_effect(made)).set_index("term").loc["national"]
    assert row["status"] == "NOT RUN"
    assert np.isnan(row["sensitivity"])


def test_a_prior_that_decides_is_sent_to_review(made, spec) -> None:
    tight = with_changes(spec, {"priors.effect_mean": {"dist": "Normal", "mu": 0.5, "sigma": 0.2}})
    row = powerscale_table(made, tight, pooled_effect(made)).set_index("term").loc["effect"]
    assert row["status"] in ("REVIEW", "NOT RUN")


@pytest.mark.parametrize(("shift", "told"), [(-0.004, "0.00"), (0.004, "0.00"), (-0.006, "-0.01")])
def test_a_shift_that_rounds_to_nothing_has_no_sign(shift, told):
    _, message = _judged("ramp", "prior", PowerScaling(0.01, shift, 0.2))
    assert message.endswith(f"moves the mean by {told} sd.")
