"""Prior draws, predictive draws and pointwise log likelihoods.

Nothing here compiles a model graph: a prior predictive check is there at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.special import gammaln, logsumexp

from lndbayes.model.design import Design
from lndbayes.model.layout import REAL, constrain, layout, scalar_places, size
from lndbayes.model.pointwise import count_log_probabilities, share_log_probabilities
from lndbayes.model.surface import linear_predictors, stage_predictors
from lndbayes.spec.families import Family, inverse
from lndbayes.spec.linear import LINEAR, LearnedScale, LinearBlock, OwnPrior
from lndbayes.spec.model_spec import ModelSpec

__all__ = [
    "beta_binomial",
    "cell_log_likelihood",
    "complete_counts",
    "dispersion",
    "draw_counts",
    "draw_stages",
    "prior_draws",
]


#: Draws of every chain worked on at once, to bound memory.
_CHUNK = 100

#: Largest mean of a Poisson count that is drawn.
_COUNTED = 1e16


def prior_draws(spec: ModelSpec, design: Design, draws: int, seed: int) -> dict[str, np.ndarray]:
    """Draw every variable from its prior.

    Parameters
    ----------
    spec : ModelSpec
        Gives the priors.
    design : Design
        Gives the shapes and the fixed constants (centre of the mix, wave membership).
    draws : int
        Number of independent draws.
    seed : int
        Seed.

    Returns
    -------
    dict of str to ndarray
        Shape (1, draws, *dims), as `lndbayes.model.layout.constrain` returns them.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1, draws, size(design)))
    blocks = layout(design)
    for name, place in scalar_places(design).items():
        if name in spec.priors:
            value = spec.priors[name].frozen().rvs(size=draws, random_state=rng)
            x[0, :, place] = value if name in REAL else np.log(value)
    for term in LINEAR:
        block = blocks.get(term.name)
        if block is not None and block.stop > block.start:
            _spread(x[..., block.start : block.stop], term, spec, x, design)
    if "stage_level" in spec.priors:
        level, block = spec.priors["stage_level"], blocks["stage_level"]
        x[..., block.start : block.stop] *= level["sigma"]
        x[..., block.start : block.stop] += level["mu"]
    block = blocks["mix_share"]
    kinds = block.shape[1] + 1
    if kinds > 1:
        alpha = np.full(kinds, spec.priors["mix_share"]["concentration"])
        log_share = np.log(np.maximum(rng.dirichlet(alpha, size=(draws, block.shape[0])), 1e-300))
        centred = log_share - log_share.mean(axis=-1, keepdims=True)
        x[0, :, block.start : block.stop] = centred[..., :-1].reshape(draws, -1)
    # the site level is drawn on its own scale and anchored afterwards
    block = blocks["site_level"]
    level_z = x[..., block.start : block.stop].copy()
    x[..., block.start : block.stop] = 0.0
    values = constrain(x, design)
    values["site_level"] = (
        values["baseline_level"][..., None] + values["site_level_sd"][..., None] * level_z
    )
    return values


def _spread(
    z: np.ndarray, term: LinearBlock, spec: ModelSpec, x: np.ndarray, design: Design
) -> None:
    """Give coordinates that are coefficients themselves, now standard normal, their prior."""
    if isinstance(term.prior, OwnPrior):
        prior = spec.priors[term.prior.slot]
        z *= prior["sigma"]
        z += prior["mu"]
    elif isinstance(term.prior, LearnedScale) and term.prior.centred:
        z *= np.exp(x[..., scalar_places(design)[term.prior.slot]])[..., None]


def dispersion(values: Mapping[str, np.ndarray], family: Family) -> tuple[np.ndarray, ...]:
    """Parameters of the cells' spread: concentration, and where there is one persons' shape."""
    names = ("concentration", *(("person_dispersion",) if family.link == "log" else ()))
    return tuple(np.asarray(values[name]) for name in names)


def draw_counts(
    eta: np.ndarray,
    spread: tuple[np.ndarray, ...],
    exposure: np.ndarray,
    coverage: np.ndarray,
    family: Family,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw counts of the first stage as a source with this coverage would hold them.

    Parameters
    ----------
    eta : ndarray, shape (..., S, T)
        Linear predictor.
    spread : tuple of ndarray, each of shape (...)
        From `dispersion`.
    exposure, coverage : ndarray, shape (S, T)
        Trials or amount, and share of events the source holds; cells without exposure give NaN.
    family : Family
        The family.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray, shape (..., S, T)
        Counts as float, less what every unit of exposure has at least (`Family.shift`).
    """
    out = np.full(eta.shape, np.nan)
    used = exposure > 0
    n, held = exposure[used], coverage[used]
    if family.link == "log":
        mean = n * held * np.exp(eta[..., used])
        size = 1.0 / (1.0 / (n * spread[1][..., None]) + 1.0 / spread[0][..., None])
        expected = rng.gamma(size, mean / size)
        drawn = rng.poisson(np.minimum(expected, _COUNTED))
        # beyond what an integer holds a Poisson count is its mean to eight digits
        out[..., used] = np.where(expected > _COUNTED, expected, drawn)
        return out
    p, q = inverse(family.link, eta[..., used]), 1.0 - inverse(family.link, eta[..., used])
    if family.link == "logit":
        q = inverse("logit", -eta[..., used])
    out[..., used] = beta_binomial(n, held * p, q + (1.0 - held) * p, spread[0][..., None], rng)
    return out


def beta_binomial(
    n: np.ndarray, p: np.ndarray, q: np.ndarray, phi: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Counts out of n from a beta law with mean p, its complement q, and precision phi."""
    rate = rng.beta(np.maximum(p * phi, 1e-12), np.maximum(q * phi, 1e-12))
    return np.asarray(rng.binomial(n.astype(np.int64), rate))


def draw_stages(
    values: Mapping[str, np.ndarray],
    design: Design,
    family: Family,
    rng: np.random.Generator,
    eta1: np.ndarray | None = None,
) -> np.ndarray:
    """Draw the later stages' counts given those at risk in the data.

    Parameters
    ----------
    values : mapping of str to ndarray
        Constrained draws with leading dims (...).
    design, family, rng
        See `draw_counts`.
    eta1 : ndarray, shape (..., S, T), optional
        Their linear predictor with the service, where it is at hand.

    Returns
    -------
    ndarray, shape (..., S, T, L)
        NaN where nobody is at risk.
    """
    if eta1 is None:
        _, eta1 = linear_predictors(values, design)
    f = stage_predictors(values, design, eta1, free_stage_effect=family.free_stage_effect)
    used = design["stage_exposure"] > 0
    out = np.full(f.shape, np.nan)
    p = inverse(family.link, f[..., used])
    phi = np.asarray(values["concentration"])[..., None]
    out[..., used] = beta_binomial(design["stage_exposure"][used], p, 1.0 - p, phi, rng)
    return out


def cell_log_likelihood(
    values: Mapping[str, np.ndarray], design: Design, family: Family, *, cores: int = 1
) -> np.ndarray:
    """Log likelihood of every cell in the likelihood, all its stages together, for each draw.

    Parameters
    ----------
    values : mapping of str to ndarray
        Constrained draws with leading dims (chain, draw).
    design : Design
        The data.
    family : Family
        The family.
    cores : int
        Parts of the draws worked on at the same time.

    Returns
    -------
    ndarray, shape (chain, draw, cell)
        Cells with ``site_weight`` above 0, in row-major (site, month) order.
    """
    chains, draws = np.shape(values["concentration"])
    cells = design["site_weight"] > 0
    out = np.zeros((chains, draws, int(cells.sum())))

    def part(start: int) -> None:
        some = {k: np.asarray(v)[:, start : start + _CHUNK] for k, v in values.items()}
        out[:, start : start + _CHUNK] = _log_likelihood(some, design, family)

    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(part, range(0, draws, _CHUNK)))
    return out


def _log_likelihood(values: Mapping[str, np.ndarray], design: Design, family: Family) -> np.ndarray:
    _, eta1 = linear_predictors(values, design)
    cells = design["site_weight"] > 0
    out = np.zeros((*eta1.shape[:-2], int(cells.sum())))
    first = design["exposure"][cells] > 0
    out[..., first] = _first_stage(values, design, family, eta1)
    if design["stage_exposure"].shape[-1]:
        f = stage_predictors(values, design, eta1, free_stage_effect=family.free_stage_effect)
        used = design["stage_exposure"] > 0
        p = inverse(family.link, f[..., used])
        n, y = design["stage_exposure"][used], design["stage_count"][used]
        number = np.full(cells.shape, -1)
        number[cells] = np.arange(cells.sum())
        at = np.broadcast_to(number[..., None], used.shape)[used]
        out += share_log_probabilities(
            p, 1.0 - p, np.asarray(values["concentration"]), n, y, at, out.shape[-1]
        )
        out += np.bincount(at, _log_choose(n, y), minlength=out.shape[-1])
    return out


def _first_stage(
    values: Mapping[str, np.ndarray], design: Design, family: Family, eta1: np.ndarray
) -> np.ndarray:
    used = design["exposure"] > 0
    n, low, high = design["exposure"][used], design["count"][used], design["count_high"][used]
    coverage, eta = design["coverage"][used], eta1[..., used]
    spread = dispersion(values, family)
    if family.link == "log":
        mean = n * coverage * np.exp(eta)
        size = 1.0 / (1.0 / (n * spread[1][..., None]) + 1.0 / spread[0][..., None])

        def at(y: np.ndarray, which: np.ndarray) -> np.ndarray:
            return count_log_probabilities(mean[..., which], size[..., which], y) - gammaln(y + 1)
    else:
        p = inverse(family.link, eta)
        q = inverse("logit", -eta) if family.link == "logit" else 1.0 - p
        p, q = coverage * p, q + (1.0 - coverage) * p

        def at(y: np.ndarray, which: np.ndarray) -> np.ndarray:
            part = share_log_probabilities(p[..., which], q[..., which], spread[0], n[which], y)
            return part + _log_choose(n[which], y)

    everywhere = np.ones(n.size, dtype=bool)
    out = at(low, everywhere)
    width = high - low
    for k in range(1, int(width.max(initial=0)) + 1):
        which = width >= k
        terms = np.stack([out[..., which], at(low[which] + k, which)])
        out[..., which] = logsumexp(terms, axis=0)
    return out


def complete_counts(
    values: Mapping[str, np.ndarray], design: Design, family: Family, rng: np.random.Generator
) -> np.ndarray:
    """Counts of the first stage, with one draw from what the model says of each interval cell.

    A suppressed cell has no count to compare with replicates. One draw from its posterior
    predictive distribution within its bounds stands in for it (Gelman and others 2005, *Biometrics*
    61, 74-85, on checks with incomplete data).

    Parameters
    ----------
    values : mapping of str to ndarray
        Constrained draws with leading dims (chain, draw).
    design, family, rng
        See `draw_counts`.

    Returns
    -------
    ndarray, shape (S, T)
        NaN where there is no exposure.
    """
    used = design["exposure"] > 0
    out = np.where(used, design["count"], np.nan)
    ranged = design["count_high"] > design["count"]
    if not ranged.any():
        return out
    chains, draws = np.shape(values["concentration"])
    c, d = rng.integers(chains), rng.integers(draws)
    one = {k: v[c : c + 1, d : d + 1] for k, v in values.items()}
    _, eta1 = linear_predictors(one, design)
    low, width = design["count"], int((design["count_high"] - design["count"]).max())
    log_p = np.full((width + 1, int(ranged.sum())), -np.inf)
    for k in range(width + 1):
        count = np.where(ranged, low + k, low)
        inside = count <= design["count_high"]
        # where the count is beyond the bounds any count will do: its probability is not used
        at = np.where(inside, count, low)
        exact = design.replace(count=at, count_high=at)
        cells = np.full(ranged.shape, np.nan)
        cells[used] = _first_stage(one, exact, family, eta1)[0, 0]
        log_p[k] = np.where(inside[ranged], cells[ranged], -np.inf)
    noise = rng.gumbel(size=log_p.shape)
    out[ranged] = low[ranged] + (log_p + noise).argmax(axis=0)
    return out


def _log_choose(n: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1))
