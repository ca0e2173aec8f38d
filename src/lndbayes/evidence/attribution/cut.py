"""Full cut: effects given baselines that treated outcomes had no part in (multiple imputation).

Module 1 is a fit to untreated months and evidence alone; of it come whole baselines. Module 2 takes
one baseline as known and fits the effect to the treated cells:

    site_effect[s] ~ Normal(mu, spread),   eta1 = eta0 + ramp(e; months) site_effect[s]

with the spec's priors of ``effect_mean``, ``site_effect_sd`` and ``ramp_months``, and the cells'
first-stage likelihood. On a grid of (spread, months) each site's likelihood is replaced by a normal
one about its penalised mode (Laplace); mean and site effects are then normal in closed form. Mix,
wave and predecessor have no terms of their own here: they are part of the spread.

Warning: a cut reads errors of the extrapolated baseline as differences between sites, since the
variance of a site's apparent effect is about ``spread**2 + Var(eta0)``. It is a stress test.

References
----------
Plummer (2015). Cuts in Bayesian graphical models. Statistics and Computing 25, 37-43.
Rubin (1987). Multiple Imputation for Nonresponse in Surveys. Wiley.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import betaln, gammaln

from lndbayes.estimands.treated import treated_cells
from lndbayes.fitting.metadata import metadata
from lndbayes.model.course import ramp
from lndbayes.model.shown import live_cells
from lndbayes.spec.families import inverse
from lndbayes.spec.linear import Enters, fixed_scales, setting
from lndbayes.spec.model_spec import ModelSpec

__all__ = [
    "FEWEST_BASELINES",
    "CutData",
    "Priors",
    "cut_cells",
    "cut_fault",
    "cut_priors",
    "full_cut",
    "module_two",
]

#: Baselines below which the pooled law is not told.
FEWEST_BASELINES = 40

#: Points of the grid of the spread of sites and of the ramp's months, and the prior's quantiles
#: between which they lie, evenly on the log scale.
_SPREADS, _RAMPS = 40, 11
_ENDS = (0.001, 0.9999)
_STEP = 1e-3
_NEWTON = 30
#: Least curvature of a site's likelihood: less than this says nothing.
_FLAT = 1e-6


@dataclass(frozen=True)
class CutData:
    """Treated cells of the likelihood, shape (S, E), padded with exposure 0.

    Attributes
    ----------
    exposure, count, coverage : ndarray, shape (S, E)
        Trials or amount; count; share of events that the source holds.
    event : ndarray, shape (S, E)
        Months since go-live.
    at : ndarray of int, shape (S, E)
        Position of the cell's month in the evaluation's grid.
    site : ndarray of int, shape (S,)
        Position of each treated site with a cell among all sites.
    link : str
        Link of the first stage.
    half_period : float
        Half a period in months.
    """

    exposure: np.ndarray
    count: np.ndarray
    coverage: np.ndarray
    event: np.ndarray
    at: np.ndarray
    site: np.ndarray
    link: str
    half_period: float


@dataclass(frozen=True)
class Priors:
    """Priors of module 2.

    Attributes
    ----------
    mean, sd : float
        Of the mean effect, normal.
    spreads, ramps : ndarray
        Grids of the spread of sites and of the ramp's time constant (months).
    log_weight : ndarray, shape (R, C)
        Log prior mass of each pair, up to a constant.
    """

    mean: float
    sd: float
    spreads: np.ndarray
    ramps: np.ndarray
    log_weight: np.ndarray


def cut_priors(spec: ModelSpec, spreads: int = _SPREADS, ramps: int = _RAMPS) -> Priors:
    """Priors of module 2 from a spec; the mean's is taken as normal with its mean and sd."""
    centre = spec.priors["effect_mean"].frozen()
    grids = []
    for slot, points in (("site_effect_sd", spreads), ("ramp_months", ramps)):
        law = spec.priors[slot].frozen()
        low, high = (float(end) for end in law.ppf(_ENDS))
        grid = np.geomspace(low, high, points)
        # evenly spaced in the logarithm: density times value
        grids.append((grid, law.logpdf(grid) + np.log(grid)))
    (spread, of_spread), (months, of_months) = grids
    log_weight = of_months[:, None] + of_spread
    return Priors(float(centre.mean()), float(centre.std()), spread, months, log_weight)


def cut_fault(spec: ModelSpec, main: xr.DataTree) -> str:
    """Why the cut's pooled effect would not be comparable with the fit's; empty if it is.

    Parameters
    ----------
    spec : ModelSpec
        The outcome's spec.
    main : xarray.DataTree
        Its fit.
    """
    if spec.effect.pulse_sd > 0:
        return (
            "the spec has a passing pulse, which is part of the pooled effect and for which module "
            "2 has no term"
        )
    for block, prior in fixed_scales():
        if block.enters is Enters.RECORDS and np.any(setting(spec, prior.key)):
            return f"the spec has a {block.note}, for which module 2 has no term"
    data = main["constant_data"].to_dataset()
    interval = treated_cells(main) & (data["exposure_exact"].to_numpy() <= 0)
    if interval.any():
        return (
            f"{int(interval.sum())} treated cells are withheld or rounded, which module 2 cannot "
            "use: exact cells alone are no fair sample of all"
        )
    return ""


def cut_cells(main: xr.DataTree) -> CutData:
    """Treated cells with an exact first-stage count that are in the likelihood of a fit."""
    data = main["constant_data"].to_dataset()
    event = data["event_time"].to_numpy()
    n = data["exposure"].to_numpy()
    used = live_cells(event) & (n > 0) & (data["exposure_exact"].to_numpy() > 0)
    sites = np.flatnonzero(used.any(axis=1))
    width = int(used.sum(axis=1).max(initial=0))
    at = np.zeros((len(sites), width), dtype=int)
    real = np.zeros((len(sites), width), dtype=bool)
    for row, s in enumerate(sites):
        months = np.flatnonzero(used[s])
        at[row, : len(months)], real[row, : len(months)] = months, True
    rows = sites[:, None]
    return CutData(
        exposure=np.where(real, n[rows, at], 0.0),
        count=np.where(real, data["count_exact"].to_numpy()[rows, at], 0.0),
        coverage=data["coverage"].to_numpy()[rows, at],
        event=event[rows, at],
        at=at,
        site=sites,
        link=metadata(main).link,
        half_period=float(data["half_period"]),
    )


def log_likelihood(cells: CutData, eta: np.ndarray, spread: Mapping[str, float]) -> np.ndarray:
    """Log likelihood of the cells of each site.

    Parameters
    ----------
    cells : CutData
        The cells.
    eta : ndarray, shape (..., S, E)
        Linear predictor with the service.
    spread : mapping of str to float
        ``concentration``, and for counts ``person_dispersion``.

    Returns
    -------
    ndarray, shape (..., S)
    """
    used = cells.exposure > 0
    n, y, phi = cells.exposure, cells.count, spread["concentration"]
    if cells.link == "log":
        mean = n * cells.coverage * np.exp(eta)
        safe = np.where(used, n, 1.0)
        size = 1.0 / (1.0 / (safe * spread["person_dispersion"]) + 1.0 / phi)
        total = np.where(used, size + mean, 1.0)
        rest = y * np.log(np.where(used, mean, 1.0) / total) + size * np.log(size / total)
        terms = gammaln(size + y) - gammaln(size) - gammaln(y + 1) + rest
    else:
        p = np.clip(cells.coverage * inverse(cells.link, eta), 1e-12, 1 - 1e-12)
        a, b = p * phi, (1 - p) * phi
        choose = gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)
        terms = choose + betaln(a + y, b + n - y) - betaln(a, b)
    return np.asarray(np.where(used, terms, 0.0).sum(axis=-1))


def module_two(
    cells: CutData,
    eta0: np.ndarray,
    spread: Mapping[str, float],
    priors: Priors,
    draws: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Draw mean, spread, ramp and site effects given one baseline.

    Parameters
    ----------
    cells : CutData
        Treated cells.
    eta0 : ndarray, shape (sites of the evaluation, months)
        The baseline, link scale.
    spread : mapping of str to float
        See `log_likelihood`; also of module 1.
    priors : Priors
        From `cut_priors`.
    draws : int
        How many draws.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    dict of str to ndarray
        ``mean``, ``spread``, ``ramp_months`` (draws,), ``site_effect`` (draws, S).
    """
    base = eta0[cells.site[:, None], cells.at]
    mass = np.exp(priors.log_weight - priors.log_weight.max()).sum(axis=0)
    wide = float(np.sqrt(priors.sd**2 + np.average(priors.spreads**2, weights=mass)))
    centre, precision, height = _site_modes(cells, base, spread, priors, wide)
    # y_s = centre_s is then Normal(mu, spread^2 + 1/precision_s); rows: ramps, columns: spreads
    variance = priors.spreads[:, None] ** 2 + 1.0 / precision[:, None, :]
    known = 1.0 / variance
    tight = known.sum(axis=-1) + priors.sd**-2
    middle = (known @ centre[..., None])[..., 0] + priors.mean * priors.sd**-2
    middle = middle / tight
    gap = centre[:, None, :] - middle[..., None]
    # evidence by Chib's identity at mu = middle: likelihood times prior over posterior
    log_evidence = height.sum(axis=-1)[:, None] + 0.5 * (
        np.log(2 * np.pi / precision).sum(axis=-1)[:, None]
        - np.log(2 * np.pi * variance).sum(axis=-1)
        - (known * gap**2).sum(axis=-1)
        - ((middle - priors.mean) / priors.sd) ** 2
        - np.log(tight)
    )
    log_evidence = log_evidence + priors.log_weight
    weight = np.exp(log_evidence - log_evidence.max())
    chosen = rng.choice(weight.size, size=draws, p=(weight / weight.sum()).ravel())
    row, column = np.unravel_index(chosen, weight.shape)
    mean = middle[row, column] + rng.normal(size=draws) / np.sqrt(tight[row, column])
    within = priors.spreads[column][:, None] ** -2
    sharp = within + precision[row]
    effect = (within * mean[:, None] + precision[row] * centre[row]) / sharp
    effect = effect + rng.normal(size=effect.shape) / np.sqrt(sharp)
    return {
        "mean": mean,
        "spread": priors.spreads[column],
        "ramp_months": priors.ramps[row],
        "site_effect": effect,
    }


def _site_modes(
    cells: CutData,
    base: np.ndarray,
    spread: Mapping[str, float],
    priors: Priors,
    wide: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normal approximation of each site's likelihood of its effect, for each ramp constant.

    It is expanded about the mode of the likelihood times a wide normal: where data say nothing the
    mode stays near the prior's mean.

    Returns
    -------
    centre, precision, height : ndarray, shape (R, S)
        ``log likelihood = height - precision (effect - centre)^2 / 2``.
    """
    shape = ramp(cells.event, priors.ramps[:, None, None], cells.half_period)

    def at(effect: np.ndarray) -> np.ndarray:
        return log_likelihood(cells, base + shape * effect[..., None], spread)

    effect = np.full((len(priors.ramps), len(cells.site)), priors.mean)
    for _ in range(_NEWTON):
        _, gradient, curvature = _derivatives(at, effect)
        pull = gradient - (effect - priors.mean) / wide**2
        # half a unit at most: Newton far from the mode may leap over it
        move = np.clip(pull / (np.maximum(curvature, 0.0) + wide**-2), -0.5, 0.5)
        effect = effect + move
        if np.abs(move).max(initial=0.0) < 1e-6:
            break
    value, gradient, curvature = _derivatives(at, effect)
    precision = np.maximum(curvature, _FLAT)
    return effect + gradient / precision, precision, value + 0.5 * gradient**2 / precision


def _derivatives(
    at: Callable[[np.ndarray], np.ndarray], effect: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, gradient and negative curvature by central differences."""
    middle, above, below = at(effect), at(effect + _STEP), at(effect - _STEP)
    gradient = (above - below) / (2 * _STEP)
    return middle, gradient, -(above - 2 * middle + below) / _STEP**2


def full_cut(
    spec: ModelSpec, main: xr.DataTree, baselines: xr.Dataset, *, draws: int = 50
) -> pd.DataFrame:
    """Pool module 2 over baselines that treated outcomes had no part in.

    Parameters
    ----------
    spec : ModelSpec
        Gives priors, window and seed.
    main : xarray.DataTree
        The joint fit: treated cells.
    baselines : xarray.Dataset
        ``eta0`` (baseline, site, month) and dispersion (baseline), of module 1.
    draws : int
        Draws of module 2 for each baseline.

    Returns
    -------
    pandas.DataFrame
        Columns ``quantity`` (pooled, spread, ramp_months), ``mean``, ``sd``, ``within_sd`` and
        ``between_sd`` (within one baseline, and of the baselines' means), ``baselines``.

    Raises
    ------
    ValueError
        If there are fewer than `FEWEST_BASELINES`, no treated cell, or there is a `cut_fault`.
    """
    if fault := cut_fault(spec, main):
        raise ValueError(fault)
    cells, priors = cut_cells(main), cut_priors(spec)
    count = baselines.sizes["baseline"]
    if count < FEWEST_BASELINES or not len(cells.site):
        raise ValueError(f"needs treated cells and {FEWEST_BASELINES} baselines, got {count}")
    names = [n for n in ("concentration", "person_dispersion") if n in baselines]
    events = np.arange(0, spec.effect.window[1] + 1, metadata(main).step)
    events = events[events >= spec.effect.window[0]]
    found: dict[str, list[np.ndarray]] = {"pooled": [], "spread": [], "ramp_months": []}
    eta0 = baselines["eta0"].transpose("baseline", "site", "month").to_numpy()
    for k, seed in enumerate(np.random.SeedSequence([spec.sampling.seed, 81]).spawn(count)):
        spread = {name: float(baselines[name][k]) for name in names}
        rng = np.random.default_rng(seed)
        part = module_two(cells, eta0[k], spread, priors, draws, rng)
        months = part["ramp_months"]
        reached = ramp(events, months[:, None], cells.half_period).mean(axis=1)
        found["pooled"].append(part["site_effect"].mean(axis=1) * reached)
        found["spread"].append(part["spread"])
        found["ramp_months"].append(months)
    rows = []
    for name, parts in found.items():
        values = np.stack(parts)
        inner = float(np.sqrt(values.var(axis=1, ddof=1).mean()))
        outer = float(values.mean(axis=1).std(ddof=1))
        rows.append((name, values.mean(), values.std(ddof=1), inner, outer, count))
    columns = ["quantity", "mean", "sd", "within_sd", "between_sd", "baselines"]
    return pd.DataFrame(rows, columns=columns)
