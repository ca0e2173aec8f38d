"""What is true of each outcome: for scoring, never for fitting."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from lndbayes.base.names import EFFECT_WINDOW
from lndbayes.synthetic.families import natural
from lndbayes.synthetic.surface import expit, logit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lndbayes.synthetic.layout import Layout
    from lndbayes.synthetic.others import OutcomeDraw

__all__ = ["in_window", "outcome_truth", "plain_value", "window_natural"]


def plain_value(value: object) -> object:
    """Turn tuples, at any depth, into lists.

    Parameters
    ----------
    value : object
        A parameter.

    Returns
    -------
    object
        Ready for JSON.
    """
    if isinstance(value, dict):
        return {key: plain_value(v) for key, v in value.items()}
    return [plain_value(v) for v in value] if isinstance(value, tuple | list) else value


def in_window(layout: Layout) -> NDArray[np.bool_]:
    """Months of the effect window inside the grid.

    Parameters
    ----------
    layout : Layout
        Gives event times.

    Returns
    -------
    ndarray of bool
        Dims (site, month).
    """
    first, last = EFFECT_WINDOW
    return (layout.event_time >= first) & (layout.event_time <= last)


def window_natural(
    layout: Layout, without: NDArray[np.float64], with_service: NDArray[np.float64]
) -> list[float | None]:
    """Mean difference over the window's months inside the grid.

    Parameters
    ----------
    layout : Layout
        Gives event times.
    without, with_service : ndarray of float
        Dims (site, month).

    Returns
    -------
    list of float or None
        By site, with the service minus without it; None where no month is inside.
    """
    inside = in_window(layout)
    months = inside.sum(axis=1)
    total = np.where(inside, with_service - without, 0.0).sum(axis=1)
    return [float(v / m) if m else None for v, m in zip(total, months, strict=True)]


def _mean(values: list[float | None]) -> float | None:
    inside = [v for v in values if v is not None]
    return float(np.mean(inside)) if inside else None


def outcome_truth(drawn: OutcomeDraw, layout: Layout) -> dict[str, Any]:
    """Describe what is true of one outcome beside custody.

    Parameters
    ----------
    drawn : OutcomeDraw
        Everything drawn for it.
    layout : Layout
        Sites and months.

    Returns
    -------
    dict of str to Any
        Ready for JSON; lists over sites follow the axes of the truth.
    """
    outcome, effect, cells = drawn.outcome, drawn.effect, drawn.cells
    without, with_service = (natural(outcome.family, eta) for eta in (cells.eta0, cells.eta1))
    counted = drawn.published & (layout.event_time >= 0)
    events = np.where(counted, drawn.counts.averted, 0.0).sum(axis=1)
    realised = np.where(counted, drawn.counts.averted_realised, 0).sum(axis=1)
    difference = window_natural(layout, without, with_service)
    first = int(layout.go_live.min())
    truth: dict[str, Any] = {
        "family": outcome.family,
        "source": outcome.source,
        "exposure_outcome": outcome.exposure_outcome,
        "first_month": layout.month[drawn.first],
        "sites": {
            "plateau": effect.plateau.tolist(),
            "window_effect": effect.window.tolist(),
            "window_effect_ramp": effect.window_ramp.tolist(),
            "window_effect_natural": difference,
            "ramp_months": effect.ramp_months.tolist(),
            "baseline_rate_before": without[:, first - 12 : first].mean(axis=1).tolist(),
            "events_averted": events.tolist(),
            "events_averted_realised": realised.tolist(),
        },
        "pooled": {
            "plateau": float(effect.plateau.mean()),
            "window_effect": float(effect.window.mean()),
            "window_effect_ramp": float(effect.window_ramp.mean()),
            "window_effect_natural": _mean(difference),
        },
        "pulse": {"peak": effect.pulse_peak, "months": outcome.pulse_months},
        "events_averted": {"total": float(events.sum()), "realised_total": int(realised.sum())},
        "outcome_parameters": plain_value(asdict(outcome)),
        "parameters": _parameters(drawn),
    }
    if outcome.exposure_outcome is not None:
        in_all = np.where(counted, drawn.counts.averted_in_all, 0.0).sum()
        truth["events_averted"]["total_through_referrals"] = float(in_all)
    if outcome.selection is not None:
        truth["selection"] = _selection(drawn, layout)
    return truth


def _parameters(drawn: OutcomeDraw) -> dict[str, Any]:
    """Collect what was drawn under the names that the fitted model uses for custody."""
    surface, effect = drawn.surface, drawn.effect
    values = {
        "site_level": surface.level,
        "site_drift": surface.drift,
        "national_curve": surface.national_curve,
        "site_curve": surface.site_curve,
        "site_deviation": effect.deviation,
        "mix_effect": effect.mix_effect,
        "site_effect": effect.plateau,
    }
    return {name: None if v is None else v.tolist() for name, v in values.items()}


def _selection(drawn: OutcomeDraw, layout: Layout) -> dict[str, Any]:
    """Describe who is new in treatment, and what somebody who cannot tell them apart would see.

    The naive effect is that on the first stage among persons who start in the first band, whose
    predictor is ``eta`` itself.
    """
    outcome, cells = drawn.outcome, drawn.cells
    selection = outcome.selection
    assert selection is not None
    share = cells.newcomers / (1 + cells.newcomers)
    new = cells.newcomers * selection.start[0]
    seen = (outcome.start[0] * expit(cells.eta1) + new * expit(cells.eta1 + selection.shift)) / (
        outcome.start[0] + new
    )
    nothing = np.zeros_like(share)
    by_site = {
        "newcomer_share": window_natural(layout, nothing, share),
        "naive_window_effect": window_natural(layout, cells.eta0, logit(seen)),
        "always_window_effect": window_natural(layout, cells.eta0, cells.eta1),
    }
    return {"sites": by_site, "pooled": {name: _mean(values) for name, values in by_site.items()}}
