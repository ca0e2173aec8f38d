"""Log density of each part of a fit at its own draws: priors by slot, likelihoods by source.

Recomputed in NumPy and SciPy from stored draws and arrays, after `lndbayes.model.build`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr
from scipy import stats
from scipy.linalg import solve_triangular
from scipy.special import expit, gammaln, log_expit

from lndbayes.base.names import SAMPLE_DIMS
from lndbayes.estimands.predictors import untreated_predictor
from lndbayes.model.surface import channel_predictors
from lndbayes.spec.families import inverse
from lndbayes.spec.model_spec import ModelSpec

__all__ = [
    "channel_log_likelihood",
    "log_prior",
    "outlying_probability",
    "panel_log_likelihood",
]

_CHUNK = 200
#: What each source was observed to say, a value for each of its rows.
_OBSERVED = ("retrospective_count", "national_logit", "history_count", "elicited_logit")


def log_prior(fit: xr.DataTree, spec: ModelSpec, slots: Sequence[str]) -> np.ndarray:
    """Log density of the priors of some slots, on their own scale.

    Parameters
    ----------
    fit : xr.DataTree
        With a group ``posterior``.
    spec : ModelSpec
        The spec of the fit.
    slots : sequence of str
        Slots with univariate priors and variables of their name in the posterior: scalars, or
        several coefficients alike.

    Returns
    -------
    np.ndarray, shape (chain, draw)
        Sum over the slots.
    """
    posterior = fit["posterior"].to_dataset()
    return np.asarray(
        sum(
            spec.priors[slot]
            .frozen()
            .logpdf(posterior[slot].transpose(*SAMPLE_DIMS, ...).values)
            .reshape(posterior.sizes["chain"], posterior.sizes["draw"], -1)
            .sum(axis=-1)
            for slot in slots
        )
    )


def panel_log_likelihood(fit: xr.DataTree) -> np.ndarray:
    """Log likelihood of all cells of the panel, shape (chain, draw)."""
    pointwise = fit["log_likelihood"].to_dataset()["y"].transpose(*SAMPLE_DIMS, ...)
    values = pointwise.values.astype(float)
    return np.asarray(values.reshape(*values.shape[:2], -1).sum(axis=2))


def channel_log_likelihood(fit: xr.DataTree, spec: ModelSpec) -> dict[str, np.ndarray]:
    """Log likelihood of each source of reconstructed evidence that is on and has rows.

    Parameters
    ----------
    fit : xr.DataTree
        With groups ``posterior`` and ``constant_data``.
    spec : ModelSpec
        The spec of the fit: which sources are on.

    Returns
    -------
    dict of str to np.ndarray, shape (chain, draw)
        By source; empty where there is no reconstructed evidence.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for means, values, arrays in _in_chunks(fit, spec):
        for name, mean in means.items():
            found = _channel(name, mean, values, arrays, spec.family.link)
            parts.setdefault(name, []).append(found)
    return {name: np.concatenate(found, axis=1) for name, found in parts.items()}


def outlying_probability(fit: xr.DataTree, spec: ModelSpec) -> dict[str, float]:
    """How probable it is that a source whose bias may be outlying has an outlying one.

    Parameters
    ----------
    fit : xr.DataTree
        With groups ``posterior`` and ``constant_data``.
    spec : ModelSpec
        The spec of the fit: which sources are on.

    Returns
    -------
    dict of str to float
        By source, of experts and the national series those that are on and have rows; empty where
        `baseline.contamination` is 0. The prior probability is that share.
    """
    if not spec.baseline.contamination:
        return {}
    parts: dict[str, list[np.ndarray]] = {}
    for means, _, arrays in _in_chunks(fit, spec):
        for name, mean in means.items():
            if f"{name}_chol" in arrays:
                usual, outlying = _biased(name, mean, arrays)
                parts.setdefault(name, []).append(expit(outlying - usual))
    return {name: float(np.concatenate(found, axis=1).mean()) for name, found in parts.items()}


def _in_chunks(
    fit: xr.DataTree, spec: ModelSpec
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Means of every source's rows, with the draws and arrays they follow from; some at a time."""
    constant = fit["constant_data"].to_dataset()
    # a fit stores no empty arrays
    arrays = dict.fromkeys(_OBSERVED, np.zeros(0))
    arrays |= {str(k): v.values for k, v in constant.data_vars.items()}
    on = spec.baseline.channels
    if not any(getattr(on, name.split("_")[0]) and len(arrays[name]) for name in _OBSERVED):
        return
    posterior = fit["posterior"].to_dataset()
    for start in range(0, posterior.sizes["draw"], _CHUNK):
        draws = slice(start, start + _CHUNK)
        eta0 = untreated_predictor(fit, draws).to_numpy()
        values = {
            str(k): v.transpose(*SAMPLE_DIMS, ...).to_numpy()
            for k, v in posterior.isel(draw=draws).data_vars.items()
        }
        yield channel_predictors(eta0, values, arrays, spec), values, arrays


def _channel(
    name: str,
    mean: np.ndarray,
    values: Mapping[str, np.ndarray],
    arrays: Mapping[str, np.ndarray],
    link: str,
) -> np.ndarray:
    """Log likelihood of a source's rows, given their means."""
    if f"{name}_exposure" in arrays:
        n, y = arrays[f"{name}_exposure"], arrays[f"{name}_count"]
        return _counted(mean, n, y, values, link)
    return np.logaddexp(*_biased(name, mean, arrays))


def _biased(
    name: str, mean: np.ndarray, arrays: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Log density of rows and a usual common bias, and of rows and an outlying one."""
    # a fit of an earlier version has no outlying biases
    share = float(arrays.get("contamination", 0.0))
    usual = _normal(mean, arrays[f"{name}_logit"], arrays[f"{name}_chol"]) + np.log1p(-share)
    if not share:
        return usual, np.full(usual.shape, -np.inf)
    wide = _normal(mean, arrays[f"{name}_logit"], arrays[f"{name}_chol_outlying"])
    return usual, wide + np.log(share)


def _counted(
    eta: np.ndarray, n: np.ndarray, y: np.ndarray, values: Mapping[str, np.ndarray], link: str
) -> np.ndarray:
    """Rows of a counted source: binomial, or for counts the law of the cells."""
    if link == "log":
        phi, r = (values[k][..., None] for k in ("concentration", "person_dispersion"))
        law = stats.nbinom(size := 1 / (1 / (n * r) + 1 / phi), size / (size + n * np.exp(eta)))
        return np.asarray(law.logpmf(y).sum(axis=-1))
    choose = gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)
    if link == "cloglog":
        p = inverse(link, eta)
        return np.asarray((choose + y * np.log(p) + (n - y) * np.log1p(-p)).sum(axis=-1))
    return np.asarray((choose + y * log_expit(eta) + (n - y) * log_expit(-eta)).sum(axis=-1))


def _normal(mean: np.ndarray, observed: np.ndarray, chol: np.ndarray) -> np.ndarray:
    flat = (observed - mean).reshape(-1, observed.size)
    z = solve_triangular(chol, flat.T, lower=True)
    constant = np.log(np.diag(chol)).sum() + 0.5 * observed.size * np.log(2 * np.pi)
    return np.asarray((-0.5 * (z**2).sum(axis=0) - constant).reshape(mean.shape[:-1]))
