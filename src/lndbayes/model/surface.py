"""Linear predictors of stored draws: the untreated surface and the one with the service."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lndbayes.model.blocks import Arrays, month_part, site_month_part
from lndbayes.model.course import pulse, ramp
from lndbayes.spec.families import forward, inverse
from lndbayes.spec.linear import Enters
from lndbayes.spec.model_spec import ModelSpec

__all__ = [
    "Arrays",
    "channel_predictors",
    "linear_predictors",
    "stage_predictors",
    "untreated",
]


def untreated(values: Mapping[str, np.ndarray], arrays: Arrays) -> np.ndarray:
    """Linear predictor without the service, ``eta0``.

    Parameters
    ----------
    values : mapping of str to ndarray
        Constrained draws with any leading sample dims.
    arrays : Arrays
        The design's arrays.

    Returns
    -------
    ndarray, shape (..., S, T)
        Link scale.
    """
    eta0 = values["site_level"][..., :, None] + month_part(values, arrays)[..., None, :]
    eta0 = eta0 + site_month_part(values, arrays, Enters.UNTREATED)
    return np.asarray(eta0)


def linear_predictors(
    values: Mapping[str, np.ndarray], arrays: Arrays, *, recorded: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Linear predictors without and with the service, ``(eta0, eta1)``; see `untreated`.

    Parameters
    ----------
    values, arrays
        See `untreated`.
    recorded : bool
        Whether ``eta1`` is that of the records, with their step at go-live, or of the service
        alone: what enters records only, as a step in recording or case-mix does, is a bias and no
        part of an effect.
    """
    eta0 = untreated(values, arrays)
    event = np.asarray(arrays["event_time"])
    levels, inverse = np.unique(event, return_inverse=True)
    shape = ramp(levels, values["ramp_months"][..., None], float(arrays["half_period"]))
    eta1 = shape[..., inverse.reshape(event.shape)]
    eta1 *= values["site_effect"][..., :, None]
    if np.any(values["pulse"]):
        passing = pulse(levels, values["pulse_months"][..., None], float(arrays["half_period"]))
        passing *= values["pulse"][..., None]
        eta1 += passing[..., inverse.reshape(event.shape)]
    if recorded:
        eta1 += site_month_part(values, arrays, Enters.RECORDS)
    eta1 += eta0
    return eta0, eta1


def stage_predictors(
    values: Mapping[str, np.ndarray],
    arrays: Arrays,
    eta: np.ndarray,
    *,
    free_stage_effect: bool,
    treated: bool = True,
) -> np.ndarray:
    """Linear predictors of the later stages, each given the one before.

    Parameters
    ----------
    values, arrays
        See `untreated`.
    eta : ndarray, shape (..., S, T)
        Predictor of the first stage.
    free_stage_effect : bool
        Whether later stages have levels by site and an effect of their own.
    treated : bool
        Whether that effect is in.

    Returns
    -------
    ndarray, shape (..., S, T, L)
    """
    level = values["stage_level"][..., None, None, :]
    if not free_stage_effect:
        return np.asarray(level + eta[..., None])
    own = values["stage_site"][..., :, None, None]
    if not treated:
        return np.asarray(level + own + np.zeros((*eta.shape, 1)))
    event = np.asarray(arrays["event_time"])
    levels, inverse = np.unique(event, return_inverse=True)
    shape = ramp(levels, values["ramp_months"][..., None], float(arrays["half_period"]))
    built = shape[..., inverse.reshape(event.shape)] * values["stage_effect"][..., None, None]
    return np.asarray(level + own + built[..., None])


def channel_predictors(
    eta0: np.ndarray, values: Mapping[str, np.ndarray], arrays: Arrays, spec: ModelSpec
) -> dict[str, np.ndarray]:
    """What each row of reconstructed evidence has as its mean, biases included, on the link scale.

    Parameters
    ----------
    eta0 : ndarray, shape (..., S, T)
        Linear predictor without the service.
    values, arrays
        See `untreated`.
    spec : ModelSpec
        Which channels are on, and the link.

    Returns
    -------
    dict of str to ndarray, shape (..., rows)
        By channel: retrospective, national, history, elicited; without those that are off or have
        no rows.
    """
    on, link = spec.baseline.channels, spec.family.link
    shared = values["shared_bias"][..., None]
    out = {}
    if on.retrospective and len(arrays["retrospective_count"]):
        at = arrays["retrospective_at"]
        bias = values["retrospective_site_bias"][..., at[:, 2]]
        out["retrospective"] = eta0[..., at[:, 0], at[:, 1]] + bias + shared
    if on.national and len(arrays["national_logit"]):
        monthly = np.einsum("s,...st->...t", arrays["national_share"], inverse(link, eta0))
        out["national"] = forward(link, monthly @ arrays["national_weight"].T) + shared
    if on.history and len(arrays["history_count"]):
        at = arrays["history_at"]
        fading = np.exp(-(at[:, 2] - 1.0) / values["crisis_recovery_months"][..., None])
        moved = values["crisis_dip"][..., None] * fading + values["history_selection"][..., None]
        out["history"] = eta0[..., at[:, 0], at[:, 1]] + moved + shared
    if on.elicited and len(arrays["elicited_logit"]):
        level = (eta0 @ arrays["elicited_month"]) @ arrays["elicited_weight"].T
        out["elicited"] = level + shared
    return {name: np.asarray(mean) for name, mean in out.items()}
