"""What is true in a simulated evaluation: for scoring, never for fitting."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lndbayes.base.names import EFFECT_WINDOW
from lndbayes.synthetic.outcome_truth import outcome_truth, plain_value, window_natural
from lndbayes.synthetic.outcomes import CUSTODY
from lndbayes.synthetic.surface import expit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lndbayes.synthetic.bands import Bands
    from lndbayes.synthetic.effect import Effect, Mix, NewSite
    from lndbayes.synthetic.layout import Layout
    from lndbayes.synthetic.others import OutcomeDraw
    from lndbayes.synthetic.surface import Surface
    from lndbayes.synthetic.world import World

__all__ = ["Parts", "averted", "describe_truth", "saving_lines"]


#: Parameters of the world that the fitted model has under the same name.
_SCALARS: Final = (
    "effect_mean",
    "baseline_level",
    "national_slope",
    "national_curve_sd",
    "site_level_sd",
    "site_drift_sd",
    "site_curve_sd",
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
    "shared_bias",
    "drift",
    "go_live_step",
    "national_offset",
    "elicited_bias",
)
_UNIT_VALUES: Final = (
    "time_served_years",
    "place_cost",
    "alternative_cost",
    "employment_probability",
    "output_per_year",
    "price_year",
)


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that one simulation drew.

    Attributes
    ----------
    world, layout, mix, effect, surface, new_site
        See their own modules.
    count, count_untreated : ndarray of int
        Dims (site, month). Events with the service, and for the same random numbers without it.
    bands : Bands
        The same counts by sentence length.
    retrospective_bias : ndarray of float
        Dims (retrospective_site). Logits.
    others : mapping of str to OutcomeDraw
        The outcomes beside custody.
    """

    world: World
    layout: Layout
    mix: Mix
    effect: Effect
    surface: Surface
    new_site: NewSite
    count: NDArray[np.int64]
    count_untreated: NDArray[np.int64]
    bands: Bands
    retrospective_bias: NDArray[np.float64]
    others: Mapping[str, OutcomeDraw]


def averted(
    exposure: NDArray[np.int64],
    rate_without: NDArray[np.float64],
    rate_with: NDArray[np.float64],
    counted: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Sum expected events averted at each site.

    Parameters
    ----------
    exposure : ndarray of int
        Dims (site, month).
    rate_without, rate_with : ndarray of float
        Dims (site, month). Rates without and with the service.
    counted : ndarray of bool
        Dims (site, month). Cells that count: published, and from go-live on.

    Returns
    -------
    ndarray of float
        Dims (site). Without minus with: positive when events were averted.
    """
    return np.where(counted, exposure * (rate_without - rate_with), 0.0).sum(axis=1)


def saving_lines(world: World, events: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Value averted sentences at the world's known unit values.

    Parameters
    ----------
    world : World
        Gives the unit values, pounds of its price year.
    events : ndarray of float
        Dims (site). Custodial sentences averted.

    Returns
    -------
    dict of str to ndarray of float
        Dims (site), pounds; positive when less is spent. ``total`` is the sum of the others.
    """
    place = events * world.time_served_years * world.place_cost
    alternative = -events * world.alternative_cost
    output = world.employment_probability * world.output_per_year
    productivity = events * world.time_served_years * output
    return {
        "place_time": place,
        "alternative_sentence": alternative,
        "productivity": productivity,
        "total": place + alternative + productivity,
    }


def _parameters(parts: Parts) -> dict[str, Any]:
    """Collect the true values under the names that the fitted model uses."""
    world, effect, surface = parts.world, parts.effect, parts.surface
    return {
        **{name: getattr(world, name) for name in _SCALARS},
        "season": list(world.season),
        "national_curve": _listed(surface.national_curve),
        "site_level": _listed(surface.level),
        "site_drift": _listed(surface.drift),
        "site_curve": _listed(surface.site_curve),
        "mix_share": _listed(parts.mix.share),
        "mix_effect": _listed(effect.mix_effect),
        "site_deviation": _listed(effect.deviation),
        "wave_effect": _listed(effect.wave_effect),
        "site_effect": _listed(effect.plateau),
        "retrospective_site_bias": _listed(parts.retrospective_bias),
    }


def _listed(values: NDArray[Any] | None) -> list[Any] | None:
    return None if values is None else values.tolist()


def _custody(parts: Parts, sites: dict[str, Any], pooled: dict[str, Any]) -> dict[str, Any]:
    """Describe custody as the other outcomes are described, with its bands."""
    world, layout = parts.world, parts.layout
    counted = layout.published & (layout.event_time >= 0)
    realised = np.where(counted, parts.bands.untreated - parts.bands.count, 0).sum(axis=(1, 2))
    averted_bands = np.where(counted, parts.bands.averted, 0.0).sum(axis=(1, 2))
    not_here = ("wave", "go_live", "saving")
    return {
        "family": "ordered_bands",
        "source": "pnc",
        "exposure_outcome": None,
        "first_month": layout.month[world.panel_start],
        "sites": {key: values for key, values in sites.items() if key not in not_here},
        "pooled": pooled,
        "pulse": {"peak": 0.0, "months": 0.0},
        "events_averted": {
            "total": float(sum(sites["events_averted"])),
            "realised_total": int(sum(sites["events_averted_realised"])),
        },
        "bands": {
            "names": list(world.bands),
            "site": parts.bands.site.tolist(),
            "events_averted": averted_bands.tolist(),
            "events_averted_realised": realised.tolist(),
        },
    }


def describe_truth(parts: Parts, name: str, seed: int) -> dict[str, Any]:
    """Describe what is true, as plain numbers and lists.

    Parameters
    ----------
    parts : Parts
        Everything drawn.
    name : str
        Name of the world.
    seed : int
        Seed of the simulation.

    Returns
    -------
    dict of str to Any
        Ready for JSON. Lists over sites, months and interventions follow ``axes``.
    """
    world, layout, effect = parts.world, parts.layout, parts.effect
    rate0 = expit(parts.surface.eta0)
    rate1 = expit(parts.surface.eta0 + effect.contrast)
    counted = layout.published & (layout.event_time >= 0)
    events = averted(layout.exposure, rate0, rate1, counted)
    realised = np.where(counted, parts.count_untreated - parts.count, 0).sum(axis=1)
    natural = window_natural(layout, rate0, rate1)
    inside = [v for v in natural if v is not None]
    first = int(layout.go_live.min())
    savings = saving_lines(world, events)
    sites = {
        "wave": layout.wave.tolist(),
        "go_live": layout.go_live.tolist(),
        "plateau": effect.plateau.tolist(),
        "window_effect": effect.window.tolist(),
        "window_effect_natural": natural,
        "ramp_months": effect.ramp_months.tolist(),
        "baseline_rate_before": rate0[:, first - 12 : first].mean(axis=1).tolist(),
        "events_averted": events.tolist(),
        "events_averted_realised": realised.tolist(),
        "saving": savings["total"].tolist(),
    }
    pooled = {
        "plateau": float(effect.plateau.mean()),
        "window_effect": float(effect.window.mean()),
        "window_effect_natural": float(np.mean(inside)) if inside else None,
    }
    others = {key: outcome_truth(drawn, layout) for key, drawn in parts.others.items()}
    return {
        "world": name,
        "seed": seed,
        "outcome": CUSTODY,
        "window": list(EFFECT_WINDOW),
        "world_parameters": {k: plain_value(v) for k, v in asdict(world).items()},
        "axes": _axes(world, layout),
        "parameters": _parameters(parts),
        "sites": sites,
        "pooled": pooled,
        "new_site": {
            "mix_share": parts.new_site.share.tolist(),
            "plateau": parts.new_site.plateau,
            "window_effect": parts.new_site.window,
        },
        "events_averted": {"total": float(events.sum()), "realised_total": int(realised.sum())},
        "unit_values": {key: getattr(world, key) for key in _UNIT_VALUES},
        "savings": {line: float(value.sum()) for line, value in savings.items()},
        "baseline": {"eta0": parts.surface.eta0.tolist(), "rate": rate0.tolist()},
        "outcomes": {CUSTODY: _custody(parts, sites, pooled), **others},
    }


def _axes(world: World, layout: Layout) -> dict[str, Any]:
    return {
        "site": list(layout.site),
        "month": list(layout.month),
        "intervention": list(world.interventions),
        "wave": [1, 2, 3],
        "retrospective_site": [layout.site[s] for s in layout.retrospective],
    }
