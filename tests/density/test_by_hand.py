"""The compiled density against the model written a second time, from the tables, in SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from lndbayes.data.evaluation import EvaluationData
from lndbayes.density.arguments import kernel_data
from lndbayes.fitting.compiled import log_density
from lndbayes.fitting.start import start_point
from lndbayes.model.design import build_design
from lndbayes.model.layout import SCALARS, constrain, size
from lndbayes.model.predictive import cell_log_likelihood
from lndbayes.spec.model_spec import ModelSpec, with_changes
from model_by_hand import ByHand, idle_log_density
from model_cases import read_tables, tiny_tables, with_model

pytestmark = pytest.mark.xdist_group("pymc")

# Terms of order 100 in another order; SciPy's log-gamma and ours differ in the last bit.
RTOL = 1e-11

#: The other model has no scale at 0 to divide by, so every bias has one.
BIASES = {
    "sensitivity.shared_bias_sd": 0.15,
    "sensitivity.drift_sd": 0.05,
    "sensitivity.go_live_step_sd": 0.1,
}

EVALUATIONS = {
    "months": {},
    "quarters": {"step": 3, "go_live": (6, 6, 9, None)},
    "years": {"step": 12, "periods": 9, "go_live": (6, 6, 8, None)},
    "one intervention": {"interventions": ("liaison",)},
    "no mix, no evidence": {"interventions": (), "evidence": False},
    "one wave": {"waves": (5, 5, 5, 5)},
    "waves with gaps": {"waves": (7, 2, 7, 4)},
    "live before the first month": {"go_live": (-4, 9, 12, 14), "evidence": False},
    "live after the last month": {"go_live": (20, 25, None, 30)},
    "nobody ever live": {"go_live": (None, None, None, None)},
    "two sites": {"go_live": (8, None), "waves": (1, 2), "evidence": False},
    "one site": {"go_live": (8,), "waves": (1,), "evidence": False, "interventions": ()},
}
#: Terms that are off in the shipped spec.
ROUGH = {
    "baseline.site_curve_order": 1,
    "baseline.national_walk": 6,
    "baseline.level_adoption_sd": 0.3,
    "baseline.drift_adoption_sd": 0.1,
    "baseline.contamination": 0.2,
    "priors.national_walk_sd": {"dist": "LogNormal", "mu": -3.0, "sigma": 0.4},
    "priors.history_selection": {"dist": "StudentT", "nu": 4.0, "mu": 0.0, "sigma": 0.25},
}
CHANGES = {
    "rough": ROUGH,
    "as shipped": {},
    "ramp hidden": {"effect.hide_first_months": 6},
    "wide transition": {"effect.transition": (-4, 3)},
    "no transition": {"effect.transition": (0, -1)},
    "treated months only": {"baseline.channels.not_yet_treated": False},
}


def setup(spec: ModelSpec, data: EvaluationData, seed: int) -> tuple:
    design = build_design(spec, data)
    rng = np.random.default_rng(seed)
    x = start_point(spec, design) + rng.normal(0, 0.4, size(design))
    value = log_density(x, np.empty_like(x), kernel_data(spec, design)) - idle_log_density(x)
    return design, x, value, ByHand(spec, data, constrain(x, design))


@pytest.mark.slow
@pytest.mark.parametrize("case", EVALUATIONS)
def test_density_is_the_one_written_by_hand(spec, other_spec, tmp_path, case):
    data = read_tables(tiny_tables(**EVALUATIONS[case]), tmp_path)
    for priors in (spec, other_spec, with_changes(spec, ROUGH)):
        for seed in (1, 2):
            _, _, value, hand = setup(with_changes(priors, BIASES), data, seed)
            assert value == pytest.approx(hand.total(), rel=RTOL)


@pytest.mark.parametrize("case", CHANGES)
def test_masks_leave_out_the_cells_that_the_hand_written_model_leaves_out(spec, tiny, case):
    changed = with_changes(spec, BIASES | CHANGES[case])
    design, _, value, hand = setup(changed, tiny, 3)
    assert value == pytest.approx(hand.total(), rel=RTOL)
    assert (design["exposure"] > 0).any()


def test_every_term_of_the_pymc_model_is_scipys(spec, tiny):
    changed = with_changes(spec, BIASES)
    design, x, _, hand = setup(changed, tiny, 4)
    reference = with_model(changed, design)
    found = {name: float(np.sum(value)) for name, value in reference.log_terms(x).items()}
    # the height of the pulse has a scale of 0 here, and is standard normal in the graph too
    pulse = stats.norm().logpdf(x[SCALARS.index("pulse")])
    expected = {**hand.priors(), **hand.likelihoods(), "pulse": pulse}
    named = {name.removesuffix("_z").removesuffix("_observed"): v for name, v in found.items()}
    assert set(named) == set(expected)
    for name, value in expected.items():
        assert named[name] == pytest.approx(value, rel=1e-10, abs=1e-10), name


def test_outcome_of_the_pymc_model_is_beta_binomial_cell_by_cell(
    full_model, spec, plain_world, rng
):
    """And that the linear predictor, the expectation and the noise are three things."""
    design = full_model.load(plain_world.design)
    x = start_point(spec, design) + rng.normal(0, 0.2, size(design))
    values, logp = full_model.variables(x), full_model.log_terms(x)["y"]
    np.testing.assert_allclose(values["mu"], expit(values["eta1"]), rtol=1e-13)
    assert np.abs(values["eta1"] - values["eta0"])[design["event_time"] >= 0].min() > 0
    np.testing.assert_array_equal(
        values["eta1"][design["event_time"] < 0], values["eta0"][design["event_time"] < 0]
    )
    phi, mu = values["concentration"], values["mu"]
    n, y = design["exposure"], design["count"]
    expected = stats.betabinom.logpmf(y, n.astype(int), mu * phi, (1 - mu) * phi)
    np.testing.assert_allclose(logp, expected, rtol=1e-9, atol=1e-11)
    assert (logp[n == 0] == 0).all()


def test_log_likelihood_of_cells_is_scipys(spec, plain_world, rng):
    design = plain_world.design
    x = start_point(spec, design) + rng.normal(0, 0.3, size=(2, 3, size(design)))
    values = constrain(x, design)
    found = cell_log_likelihood(values, design, spec.family)
    site, month = np.nonzero(design["exposure"])
    assert found.shape == (2, 3, len(site))
    hand_eta = _predictors(values, design)[..., site, month]
    mu, phi = expit(hand_eta), values["concentration"][..., None]
    n, y = design["exposure"][site, month], design["count"][site, month]
    expected = stats.betabinom.logpmf(y, n.astype(int), mu * phi, (1 - mu) * phi)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-11)


def test_log_likelihoods_sum_to_the_panels_term(spec, tiny):
    changed = with_changes(spec, BIASES)
    design, x, _, hand = setup(changed, tiny, 5)
    values = {name: value[None, None] for name, value in constrain(x, design).items()}
    total = cell_log_likelihood(values, design, changed.family).sum()
    assert total == pytest.approx(hand.panel(), rel=RTOL)


def _predictors(values: dict[str, np.ndarray], design) -> np.ndarray:
    """Treated linear predictor, one draw and one cell row at a time."""
    lead = values["concentration"].shape
    out = np.empty((*lead, *design["exposure"].shape))
    for i in np.ndindex(lead):
        v = {name: value[i] for name, value in values.items()}
        national = (
            design["national_functions"] @ v["national_curve"] + design["harmonics"] @ v["season"]
        )
        for s in range(len(design["exposure"])):
            e = design["event_time"][s]
            built = np.where(e < 0, 0, 1 - np.exp(-(np.maximum(e, 0) + 0.5) / v["ramp_months"]))
            out[(*i, s)] = (
                v["site_level"][s]
                + (v["site_drift"][s] + v["national_slope"]) * design["time"]
                + national
                + design["site_functions"] @ v["site_curve"][:, s]
                + built * v["site_effect"][s]
            )
    return out
