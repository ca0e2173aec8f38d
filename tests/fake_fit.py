"""Fits made of random numbers: the groups, dims and attributes of a real fit, in milliseconds.

The panel is drawn from a beta-binomial world with known parameters; "posterior" draws scatter
closely and independently around them, so that a fit made with the default arguments is one that
every check should pass. The arguments plant one fault each.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import xarray as xr
from scipy.special import betaln, gammaln
from scipy.stats import nbinom

from lndbayes.spec.families import FAMILIES, inverse

WAVES = 3
INTERVENTIONS = ("housing", "advice", "health")
# Near enough to the truth to leave the noise of a cell (logit sd about 0.4) as it is.
POSTERIOR_SD = 0.02
OVERDISPERSION = 150.0
TRANSITION = (-3, 1)

SCALARS = (
    "baseline_level",
    "national_slope",
    "national_curve_sd",
    "site_level_sd",
    "site_drift_sd",
    "site_curve_sd",
    "mix_effect_sd",
    "site_effect_sd",
    "ramp_months",
    "concentration",
    "mix_concentration",
    "retrospective_bias",
    "retrospective_bias_sd",
    "crisis_dip",
    "crisis_recovery_months",
    "history_selection",
    "predecessor_effect",
)


def make_fit(
    seed: int = 1,
    *,
    sites: int = 12,
    months: int = 60,
    chains: int = 4,
    draws: int = 500,
    replicates: int = 100,
    data_overdispersion: float = OVERDISPERSION,
    data_noise_sd: float = 0.0,
    data_noise_rho: float = 0.0,
    data_season_sd: float = 0.0,
    prediction_shift: float = 0.0,
    prediction_swap: tuple[int, int] | None = None,
    effect_sd: float = 0.05,
    family: str = "beta_binomial",
) -> xr.DataTree:
    """Build a fit.

    `replicates` is per chain. `data_*` distort the observed panel only, `prediction_*` (on the
    logit scale, or two sites whose levels are exchanged) the posterior predictive panels only.
    `effect_sd` is the posterior sd of `effect_mean`; its prior sd is 0.5. `family` gives the link,
    and whether counts are of trials.
    """
    link, trials = FAMILIES[family].link, FAMILIES[family].trials
    rng = np.random.default_rng(seed)
    names = [f"S{i:02d}" for i in range(sites)]
    grid = [f"{2011 + m // 12}-{m % 12 + 1:02d}" for m in range(months)]
    wave = np.arange(sites) * WAVES // sites
    go_live = np.array([0.0, 18.0, 30.0])[wave] + np.arange(sites) % 3
    go_live[-1] = np.nan
    event = np.arange(months)[None, :] - go_live[:, None]
    in_transition = (event >= TRANSITION[0]) & (event <= TRANSITION[1])
    exposure_all = rng.poisson(rng.uniform(60, 160, sites)[:, None] * np.ones(months)).astype(float)
    exposure = np.where(in_transition, 0.0, exposure_all)
    exposure[1, 40:46] = 0.0  # a site with half a year missing
    level = -2 + rng.normal(0, 0.3, sites)
    effect = rng.normal(-0.35, 0.1, sites)
    ramp = np.where(event >= 0, 1 - np.exp(-(np.maximum(event, 0) + 0.5) / 4), 0.0)

    def rate(level: np.ndarray, effect: np.ndarray, shift: np.ndarray | float = 0.0) -> np.ndarray:
        return inverse(link, level[..., None] + ramp * effect[..., None] + shift)

    def counts(p: np.ndarray, phi: np.ndarray | float) -> np.ndarray:
        if trials:
            y = rng.binomial(exposure.astype(int), rng.beta(p * phi, (1 - p) * phi)).astype(float)
        else:
            y = rng.poisson(exposure * rng.gamma(phi, p / phi)).astype(float)
        return np.where(exposure > 0, y, np.nan)

    noise = np.zeros((sites, months))
    innovation = rng.normal(0, data_noise_sd, (sites, months))
    for m in range(months):
        before = noise[:, m - 1] if m else innovation[:, 0]
        noise[:, m] = data_noise_rho * before + np.sqrt(1 - data_noise_rho**2) * innovation[:, m]
    noise += np.tile(rng.normal(0, data_season_sd, (sites, 12)), (1, months // 12 + 1))[:, :months]
    y = counts(rate(level, effect, noise), data_overdispersion)

    def scatter(centre: np.ndarray | float, sd: float, *shape: int) -> np.ndarray:
        return centre + rng.normal(0, sd, (chains, draws, *shape))

    levels = scatter(level, POSTERIOR_SD, sites)
    effects = scatter(effect, POSTERIOR_SD, sites)
    sample = {"chain": np.arange(chains), "draw": np.arange(draws)}
    panel = {"site": names, "month": grid}
    posterior = {name: (("chain", "draw"), scatter(1.0, 0.1)) for name in SCALARS} | {
        "effect_mean": (("chain", "draw"), scatter(-0.35, effect_sd)),
        "site_level": (("chain", "draw", "site"), levels),
        "site_effect": (("chain", "draw", "site"), effects),
        "wave_effect": (("chain", "draw", "wave"), scatter(0.0, 0.1, WAVES)),
        "mix_effect": (("chain", "draw", "intervention"), scatter(0.0, 0.1, len(INTERVENTIONS))),
    }
    used = np.linspace(0, draws - 1, replicates).round().astype(int)
    told = levels[:, used]
    if prediction_swap is not None:
        told = told.copy()
        told[..., list(prediction_swap)] = told[..., list(prediction_swap[::-1])]
    mu = rate(told, effects[:, used], prediction_shift)
    cells = exposure > 0
    prior_level = rng.normal(-2, 0.45, (1, 300))
    prior_effect = rng.normal(0, 0.5, (1, 300))
    prior_sites = prior_level[..., None] + rng.normal(0, 0.3, (1, 300, sites))
    prior_mu = rate(prior_sites, prior_effect[..., None] + np.zeros((1, 300, sites)))
    stats = {
        "diverging": np.zeros((chains, draws), bool),
        "energy": rng.normal(100, 5, (chains, draws)),
        "depth": np.full((chains, draws), 4),
        "n_steps": np.full((chains, draws), 15),
        "step_size": np.full((chains, draws), 0.3),
        "lp": rng.normal(-100, 5, (chains, draws)),
    }
    # Fewer draws than the posterior: the beta-binomial density is the slow part.
    cell_mu = rate(levels[:, used], effects[:, used])[..., cells]
    by_draw = ("chain", "draw", "site", "month")
    replicate_coords = sample | {"draw": used} | panel
    groups = {
        "posterior": xr.Dataset(
            posterior,
            sample | {"site": names, "wave": np.arange(WAVES), "intervention": list(INTERVENTIONS)},
        ),
        "sample_stats": xr.Dataset(
            {name: (("chain", "draw"), value) for name, value in stats.items()}, sample
        ),
        "prior": xr.Dataset(
            {
                "baseline_level": (("chain", "draw"), prior_level),
                "effect_mean": (("chain", "draw"), prior_effect),
            },
            {"chain": [0], "draw": np.arange(300)},
        ),
        "prior_predictive": xr.Dataset(
            {"y": (by_draw, counts(prior_mu, OVERDISPERSION))},
            {"chain": [0], "draw": np.arange(300)} | panel,
        ),
        "posterior_predictive": xr.Dataset(
            {
                "y": (by_draw, counts(mu, OVERDISPERSION)),
                "mu": (by_draw, np.where(cells, mu, np.nan)),
            },
            replicate_coords,
        ),
        "log_likelihood": xr.Dataset(
            {
                "y": (
                    ("chain", "draw", "cell"),
                    _log_beta_binomial(y[cells], exposure[cells], cell_mu, OVERDISPERSION)
                    if trials
                    else nbinom.logpmf(
                        y[cells],
                        OVERDISPERSION,
                        1 / (1 + cell_mu * exposure[cells] / OVERDISPERSION),
                    ),
                )
            },
            sample | {"draw": used, "cell": np.arange(cells.sum())},
        ),
        "observed_data": xr.Dataset({"y": (("site", "month"), y)}, panel),
        "constant_data": xr.Dataset(
            {
                "exposure": (("site", "month"), exposure),
                "exposure_all": (("site", "month"), exposure_all),
                "event_time": (("site", "month"), event),
                "go_live": (("site",), go_live),
                "wave_index": (("site",), wave),
                "referrals": (("site", "month"), np.round(exposure_all * 0.4)),
            },
            panel,
        ),
    }
    fit = xr.DataTree.from_dict({f"/{name}": ds for name, ds in groups.items()})
    fit.attrs = {
        "outcome": "custody",
        "family": family,
        "link": link,
        "unit": "custodial sentences",
        "fixed_variables": json.dumps([]),
        "seed": seed,
        "synthetic": 1,
    }
    return fit


def changed(
    fit: xr.DataTree, group: str, change: Callable[[xr.Dataset], xr.Dataset | None]
) -> xr.DataTree:
    """Copy of a fit with one group changed, or left out if `change` returns None."""
    groups = {f"/{name}": node.to_dataset() for name, node in fit.children.items()}
    new = change(groups[f"/{group}"].copy(deep=True))
    if new is None:
        del groups[f"/{group}"]
    else:
        groups[f"/{group}"] = new
    copy = xr.DataTree.from_dict(groups)
    copy.attrs = dict(fit.attrs)
    return copy


def _log_beta_binomial(y: np.ndarray, n: np.ndarray, p: np.ndarray, phi: float) -> np.ndarray:
    choose = gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)
    return choose + betaln(y + p * phi, n - y + (1 - p) * phi) - betaln(p * phi, (1 - p) * phi)
