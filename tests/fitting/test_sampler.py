"""Seeds, starting points, and a posterior that is known in advance."""

from __future__ import annotations

from dataclasses import replace

import arviz as az
import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import expit, logit

from lndbayes.base.errors import FitError
from lndbayes.coordinates.from_draws import coordinates_from
from lndbayes.coordinates.groups import coordinate_groups
from lndbayes.coordinates.transform import Coordinates
from lndbayes.density.arguments import kernel_data
from lndbayes.fitting import sampler
from lndbayes.fitting.compiled import compiled_density, log_density
from lndbayes.fitting.sampler import find_coordinates, sample_density
from lndbayes.fitting.start import start_point
from lndbayes.model.design import build_design
from lndbayes.model.layout import SCALARS, constrain, layout, size
from lndbayes.spec.model_spec import with_changes
from model_cases import read_tables, tiny_tables

pytestmark = pytest.mark.slow

SHORT = {"sampling.draws": 150, "sampling.tune": 150, "sampling.chains": 2}


@pytest.fixture(scope="module")
def small(spec, bare):
    """Four sites without evidence, and a sampler of two short chains."""
    short = with_changes(spec, SHORT)
    return short, build_design(short, bare)


@pytest.fixture(scope="module")
def drawn(small):
    return sample_density(*small, cores=1)


def test_draws_and_statistics_are_complete_and_finite(small, drawn):
    _, design = small
    assert drawn.x.shape == (2, 150, size(design))
    assert np.isfinite(drawn.x).all()
    assert set(drawn.stats) == {"diverging", "energy", "depth", "n_steps", "step_size", "lp"}
    for name, values in drawn.stats.items():
        assert values.shape == (2, 150), name
        assert np.isfinite(values).all(), name
    assert drawn.stats["diverging"].dtype == bool
    # chains move, and are not copies of each other
    assert (drawn.x.std(axis=1) > 0).all()
    assert not np.array_equal(drawn.x[0], drawn.x[1])


def test_stored_log_density_is_that_of_the_draw(small, drawn):
    spec, design = small
    data, scratch = kernel_data(spec, design), np.empty(size(design))
    for chain, draw in ((0, 0), (0, 149), (1, 77)):
        value = log_density(drawn.x[chain, draw].copy(), scratch, data)
        assert drawn.stats["lp"][chain, draw] == pytest.approx(value, rel=1e-10)


def test_same_seed_gives_the_same_draws_on_any_number_of_cores(small, drawn):
    again = sample_density(*small, cores=2)
    np.testing.assert_array_equal(again.x, drawn.x)
    for name, values in drawn.stats.items():
        np.testing.assert_array_equal(again.stats[name], values)


def test_another_seed_gives_other_draws(small, drawn):
    spec, design = small
    other = sample_density(with_changes(spec, {"sampling.seed": 5}), design, cores=1)
    assert (other.x[0, 0] != drawn.x[0, 0]).any()
    assert abs(other.x.mean() - drawn.x.mean()) < 0.5


def with_known_scales(spec, sigma, **sampling):
    """A spec whose prior knows the scales, and other settings of the sampler."""
    known = {"dist": "LogNormal", "mu": -1.5, "sigma": sigma}
    scales = ("site_level", "site_drift", "site_curve", "site_effect", "mix_effect")
    changes = {f"priors.{name}_sd": known for name in (*scales, "national_curve")}
    return with_changes(spec, changes | {f"sampling.{k}": v for k, v in sampling.items()})


@pytest.fixture(scope="module")
def long(small, bare):
    """Draws enough that a mean is known to a fraction of its sd; scales that four sites' prior
    knows, since chains that stop in a funnel would say nothing of coordinates."""
    spec, _ = small
    spec = with_known_scales(spec, 0.3, draws=1000, tune=400, target_accept=0.9)
    design = build_design(spec, bare)
    return spec, design, sample_density(spec, design, cores=1)


@pytest.mark.parametrize("kind", ["scales", "parts", "wrong"])
def test_a_metric_changes_the_coordinates_and_not_the_posterior(long, kind):
    """The refit's draws within Monte Carlo error of the first fit's, whatever the coordinates."""
    spec, design, drawn = long
    flat = drawn.x.reshape(-1, size(design))
    gradient = compiled_density(kernel_data(spec, design), size(design)).evaluate
    found = coordinates_from(drawn.x, coordinate_groups(design), gradient)
    coordinates = {
        "scales": Coordinates.diagonal(flat.mean(axis=0), flat.std(axis=0)),
        "parts": found,
        "wrong": replace(found, mean=found.mean + 0.3, factor=0.5 * found.factor),
    }[kind]
    refit = sample_density(spec, design, cores=1, coordinates=coordinates)
    data, scratch = kernel_data(spec, design), np.empty(size(design))
    value = log_density(refit.x[1, 9].copy(), scratch, data)
    assert refit.stats["lp"][1, 9] == pytest.approx(value, rel=1e-10)
    for name in ("effect_mean", "site_level_sd", "concentration"):
        i = SCALARS.index(name)
        cold, again = drawn.x[..., i], refit.x[..., i]
        effective = [float(az.ess(values, chain_axis=0, draw_axis=1)) for values in (cold, again)]
        assert min(effective) > 40, name
        error = cold.std() * np.sqrt(sum(1 / n for n in effective))
        assert abs(cold.mean() - again.mean()) < 5 * error, name
        # of 40 effective draws an sd is known to 11%: 4 standard errors of two such
        assert abs(np.log(again.std() / cold.std())) < 0.6, name


def test_a_normals_own_paths_are_left_by_what_is_not_normal_only(spec, bare, monkeypatch):
    """Scales that the prior knows: nearly normal in its coordinates, so that paths are free.

    A leapfrog step must be shorter the more coordinates there are, however normal they are.
    """
    changed = with_known_scales(spec, 0.1, draws=300, tune=200, target_accept=0.9)
    design = build_design(changed, bare)
    coordinates = find_coordinates(changed, design, cores=2)
    steps = {}
    for paths in (sampler._PATHS, "Euclidean"):
        monkeypatch.setattr(sampler, "_PATHS", paths)
        drawn = sample_density(changed, design, cores=2, coordinates=coordinates)
        steps[paths] = drawn.stats["step_size"][:, -1].mean()
    assert steps["ExactNormal"] > 1.15 * steps["Euclidean"]


def test_a_pilot_finds_a_metric_that_does_not_depend_on_the_chains_to_come(small):
    spec, design = small
    found = find_coordinates(spec, design, cores=2)
    longer = find_coordinates(with_changes(spec, {"sampling.draws": 700}), design, cores=1)
    np.testing.assert_array_equal(found.factor, longer.factor)
    other = find_coordinates(with_changes(spec, {"sampling.seed": 9}), design, cores=2)
    assert (found.mean != other.mean).any()


def test_a_pilot_from_another_fit_is_short_and_samples_in_its_coordinates(small, monkeypatch):
    spec, design = small
    start, asked = find_coordinates(spec, design, cores=2), []

    def watched(spec, design, **options):
        asked.append((spec.sampling, options["coordinates"]))
        return sample_density(spec, design, **options)

    monkeypatch.setattr(sampler, "sample_density", watched)
    careful = with_changes(spec, {"sampling.target_accept": 0.95})
    found = find_coordinates(careful, design, cores=2, start=start)
    find_coordinates(careful, design, cores=2)
    (near, where), (plain, nowhere), (again, there), *_ = asked
    # the nonlinear map follows the other fit's posterior into its tails, and would mislead here
    assert len(start.nonlinear.skewed) and start.nonlinear.gaussian.members.size
    assert not len(where.nonlinear.runs) and not len(where.nonlinear.skewed)
    assert not where.nonlinear.gaussian.members.size
    np.testing.assert_allclose(where.mean, start.to_x(np.zeros_like(start.mean)), rtol=1e-12)
    # without another fit, a first short run finds the curvature for the second one
    assert nowhere is None
    assert there.nonlinear.gaussian.members.size
    assert plain.draws < again.draws
    assert plain.seed != again.seed
    # the fit's own small steps would make long paths in scales that are not its own
    assert [s.target_accept for s in (near, plain, again)] == [0.8, 0.55, 0.55]
    assert (found.mean != start.mean).any()


def test_a_path_of_a_pilot_doubles_as_often_as_it_may(small):
    """Two doublings are three steps; without a limit, some have more."""
    spec, design = small
    quick = with_changes(spec, {"sampling.draws": 50, "sampling.tune": 50, "sampling.chains": 1})
    cut, free = (sample_density(quick, design, cores=1, depth=d).stats["n_steps"] for d in (2, 10))
    assert cut.max() == 3
    assert free.max() > 3


@pytest.mark.parametrize(("long", "runs"), [(0, 2), (1, 3), (9, 4)])
def test_a_pilot_goes_on_from_what_it_found_while_paths_are_long(small, monkeypatch, long, runs):
    """But not for ever; all runs' paths are cut, and the first one's say nothing."""
    spec, design = small
    wheres, depths = [], []

    def counted(spec, design, **options):
        wheres.append(options["coordinates"])
        depths.append(options["depth"])
        raw = sample_density(spec, design, **options)
        steps = 15.0 if len(wheres) - 1 <= long else 13.0
        return replace(raw, stats=raw.stats | {"n_steps": np.full(raw.x.shape[:2], steps)})

    monkeypatch.setattr(sampler, "sample_density", counted)
    find_coordinates(spec, design, cores=2)
    assert len(wheres) == runs
    assert wheres[0] is None
    assert depths == [5] + [6] * (runs - 1)
    assert len({id(where) for where in wheres}) == runs


def test_a_posterior_without_data_is_the_prior(spec, bare):
    """Nothing in the likelihood: the scalars' draws have their priors' quantiles."""
    changed = with_changes(
        spec,
        {
            "sampling.draws": 1000,
            "sampling.tune": 300,
            "sampling.chains": 2,
            "sampling.seed": 8,
            # scales whose priors reach to zero need small steps
            "sampling.target_accept": 0.9,
        },
    )
    design = build_design(changed, bare)
    empty = design.replace(
        exposure=np.zeros_like(design["exposure"]),
        count=np.zeros_like(design["count"]),
        site_weight=np.zeros_like(design["site_weight"]),
    )
    values = constrain(sample_density(changed, empty, cores=1).x, empty)
    for name in (
        "effect_mean",
        "baseline_level",
        "national_slope",
        "ramp_months",
        "concentration",
    ):
        prior = changed.priors[name].frozen()
        share = np.array([(values[name] < prior.ppf(q)).mean() for q in (0.1, 0.5, 0.9)])
        # an effective size of 400 of 2,000 at the worst: 4.5 standard errors
        bound = 4.5 * np.sqrt(np.array([0.09, 0.25, 0.09]) / 400)
        assert (np.abs(share - [0.1, 0.5, 0.9]) < bound).all(), name


def test_rate_of_a_site_with_much_data_is_found(spec, tmp_path):
    """One site, so nothing pools: its mean rate is known from a one-dimensional integral.

    Everything but the concentration is nearly fixed by tight priors, so the posterior of the level
    is the beta-binomial's, integrated over a grid here.
    """
    rng = np.random.default_rng(6)
    tables = tiny_tables(go_live=(None,), waves=(1,), interventions=(), evidence=False)
    n = np.full(20, 3000)
    y = rng.binomial(n, rng.beta(0.2 * 400, 0.8 * 400, size=20))
    tables = tables.change("outcomes.csv", lambda f: f.assign(exposure=n, count=y))
    fixed = {
        f"priors.{name}": {"dist": "LogNormal", "mu": -9.0, "sigma": 0.05}
        for name in ("national_curve_sd", "site_drift_sd", "site_curve_sd")
    }
    changed = with_changes(
        spec,
        {
            **fixed,
            "priors.season": {"dist": "Normal", "mu": 0.0, "sigma": 1e-4},
            "priors.national_slope": {"dist": "Normal", "mu": 0.0, "sigma": 1e-4},
            "priors.concentration": {"dist": "LogNormal", "mu": np.log(400.0), "sigma": 1e-3},
            # all of the level's prior width in the site's own deviation: one coordinate, no ridge
            "priors.baseline_level": {"dist": "Normal", "mu": -2.0, "sigma": 1e-3},
            "priors.site_level_sd": {"dist": "LogNormal", "mu": np.log(0.7), "sigma": 1e-3},
            "sampling.draws": 400,
            "sampling.tune": 400,
            "sampling.chains": 2,
        },
    )
    design = build_design(changed, read_tables(tables, tmp_path))
    values = constrain(sample_density(changed, design, cores=1).x, design)
    level = values["site_level"][..., 0]

    grid = np.linspace(logit(0.15), logit(0.26), 2001)
    mu = expit(grid)[:, None]
    log_posterior = stats.betabinom.logpmf(y, n, mu * 400, (1 - mu) * 400).sum(axis=1)
    log_posterior += stats.norm(-2.0, 0.7).logpdf(grid)
    density = np.exp(log_posterior - log_posterior.max())
    density /= integrate.simpson(density, x=grid)
    mean = integrate.simpson(density * grid, x=grid)
    sd = np.sqrt(integrate.simpson(density * (grid - mean) ** 2, x=grid))

    # an effective size of 150 of 800 at the worst: 4 standard errors of the mean and of the sd
    assert level.mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(150))
    assert level.std() == pytest.approx(sd, rel=4 / np.sqrt(2 * 150))


def test_density_that_is_not_finite_at_the_start_is_an_error(small):
    spec, design = small
    broken = design.replace(time=np.full_like(design["time"], np.nan))
    with pytest.raises(FitError, match="custody: the log density is not finite"):
        sample_density(spec, broken, cores=1)


# ---- starting points


def test_chains_start_at_prior_medians_and_observed_levels(spec, plain_world):
    design = plain_world.design
    x = start_point(spec, design)
    for name, prior in spec.priors.items():
        if name in SCALARS and name != "baseline_level":
            median = constrain(x, design)[name]
            assert median == pytest.approx(prior.frozen().median(), rel=1e-12), name
    block = layout(design)["site_level"]
    levels = x[block.start : block.stop]
    n, y = design["exposure"].sum(axis=1), design["count"].sum(axis=1)
    np.testing.assert_allclose(levels, logit(y / n), atol=0.1)  # thousands of trials a site
    assert x[SCALARS.index("baseline_level")] == pytest.approx(logit(y.sum() / n.sum()), abs=1e-3)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_start_is_finite_where_nobody_or_everybody_has_the_event(spec, tiny, share):
    design = build_design(spec, tiny)
    design = design.replace(count=np.round(design["exposure"] * share))
    x = start_point(spec, design)
    assert np.isfinite(x).all()
    gradient = np.empty_like(x)
    assert np.isfinite(log_density(x, gradient, kernel_data(spec, design)))
    assert np.isfinite(gradient).all()


def test_start_without_any_data_is_at_the_prior_rate(spec, tiny):
    design = build_design(spec, tiny)
    zero = np.zeros_like(design["exposure"])
    x = start_point(spec, design.replace(exposure=zero, count=zero))
    block = layout(design)["site_level"]
    np.testing.assert_allclose(x[block.start : block.stop], -2.0)


def test_chains_start_where_a_standard_normals_gradients_are_one(small, monkeypatch):
    """With coordinates one sd from their centre in each; without one near the medians."""
    spec, design = small
    starts = []

    def watched(native, *rest, **options):
        starts.append(native.start(7))
        raise KeyboardInterrupt

    monkeypatch.setattr(sampler, "start_sampling", watched)
    one = np.ones(size(design))
    for coordinates in (Coordinates.diagonal(0.0 * one, one), None):
        with pytest.raises(KeyboardInterrupt):
            sample_density(spec, design, cores=1, coordinates=coordinates)
    near, plain = starts
    np.testing.assert_array_equal(np.abs(near), 1.0)
    assert 0.3 < (near > 0).mean() < 0.7
    assert plain.std() == pytest.approx(0.2, rel=0.3)
