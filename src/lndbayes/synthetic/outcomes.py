"""The outcomes beside custody: one set of parameters each, kept in `outcomes.toml`.

As in :mod:`lndbayes.synthetic.world`, every number is an assumption about a fictional country and
none is an estimate about a real service. Scales are those of the outcome's link.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

__all__ = ["CUSTODY", "NAMES", "OTHERS", "OutcomeWorld", "Selection"]

CUSTODY: Final = "custody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Who enters treatment because of the service, and how their scores differ.

    Attributes
    ----------
    newcomers : float
        Expected newcomers per person always in treatment, when the ramp is complete.
    start : tuple of float
        Shares of the start bands among newcomers.
    shift : float
        Predictor of a newcomer minus that of a person always in treatment, logits.
    """

    newcomers: float
    start: tuple[float, ...]
    shift: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeWorld:
    """All parameters of one outcome beside custody.

    Ramp, serial correlation and size of the shocks, and the kind of the smooth curves are those of
    the world.

    Attributes
    ----------
    family : str
        Law of the counts, by the fitted model's name.
    source : str
        Collection; outcomes of one source have the same gaps.
    exposure : str
        What the counts are among: see :mod:`lndbayes.synthetic.exposures`; or ``referrals``.
    exposure_outcome : str or None
        Outcome whose counts are the exposure.
    lead : int
        Months from the first month of the source to the start of the panel.
    level, effect_mean : float
        Common level, and plateau of the effect at the mean mix.
    mix_effects : tuple of float
        Effect of each intervention's share.
    site_effect_sd, factor, factor_loading : float, str, float
        Spread of the sites' own effects; the group of outcomes that shares a factor in them, and
        the correlation of a deviation with that factor.
    pulse_peak, pulse_months : float
        Height and month of the highest point of what the service brings in at first.
    site_level_sd, site_drift_sd, site_curve_sd, national_slope, national_curve_sd : float
        As in :class:`lndbayes.synthetic.world.World`.
    season : tuple of float
        As there.
    seams : tuple of (str, float)
        First month of a changed collection, and the step of the untreated surface.
    concentration : float
        Precision of the beta-binomial, or size of a cell's negative binomial.
    unit_dispersion : float
        Negative binomial size per unit of exposure; 0 for the other families.
    coverage : tuple of float
        Share of the events that the source holds so far, newest month last.
    categories : tuple of str
        Bins, or bands at the start and the review; empty where there are none.
    stages : tuple of tuple of float
        Constants of the stages, by start band (one row where there is none).
    start : tuple of float
        Shares of the start bands.
    selection : Selection or None
        None where the service changes nobody's being counted.
    national_offset : float or None
        Offset of the national series; None where there is none.
    crisis : tuple of float
        Peak one month before referral, months of decay, selection bias; empty without histories.
    """

    family: str
    source: str
    exposure: str
    exposure_outcome: str | None = None
    lead: int
    level: float
    effect_mean: float
    mix_effects: tuple[float, ...] = (0.08, 0.02, -0.04, -0.06, 0.0)
    site_effect_sd: float = 0.08
    factor: str = "health"
    factor_loading: float
    pulse_peak: float = 0.0
    pulse_months: float = 2.0
    site_level_sd: float = 0.25
    site_drift_sd: float = 0.05
    site_curve_sd: float = 0.05
    national_slope: float = 0.0
    national_curve_sd: float = 0.08
    season: tuple[float, float, float, float] = (0.03, 0.02, 0.0, 0.0)
    seams: tuple[tuple[str, float], ...] = ()
    concentration: float
    unit_dispersion: float = 0.0
    coverage: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    stages: tuple[tuple[float, ...], ...] = ()
    start: tuple[float, ...] = ()
    selection: Selection | None = None
    national_offset: float | None = None
    crisis: tuple[float, ...] = ()


_LEVEL: Final[Mapping[str, Callable[[float], float]]] = MappingProxyType(
    {
        "beta_binomial": lambda share: math.log(share / _rest(share)),
        "ordered_change": lambda share: math.log(share / _rest(share)),
        "duration_hazard": lambda share: math.log(-math.log(_rest(share))),
        "negative_binomial": math.log,
        "negative_binomial_from_one": math.log,
    }
)


def _rest(share: float) -> float:
    """Complement of a share as it would be written, without the last bits of a subtraction."""
    return round(1 - share, 9)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _read(table: Mapping[str, Any]) -> OutcomeWorld:
    """One outcome's parameters from its table, with the level on the link scale."""
    values = {name: _tuples(value) for name, value in table.items()}
    if "selection" in values:
        chosen = {name: _tuples(value) for name, value in values["selection"].items()}
        values["selection"] = Selection(**chosen)
    return OutcomeWorld(level=_LEVEL[values["family"]](values.pop("typical")), **values)


_TEXT: Final = resources.files(__package__).joinpath("outcomes.toml").read_text(encoding="utf-8")
#: In the order of `outcomes.csv`, after custody. The order is part of the data: append.
OTHERS: Final[Mapping[str, OutcomeWorld]] = MappingProxyType(
    {name: _read(table) for name, table in tomllib.loads(_TEXT).items()}
)

#: All outcomes, in the order of `outcomes.csv`.
NAMES: Final = (CUSTODY, *OTHERS)
