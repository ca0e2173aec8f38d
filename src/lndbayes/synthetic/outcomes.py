"""The outcomes beside custody: one set of parameters each.

As in :mod:`lndbayes.synthetic.world`, every number is an assumption about a fictional country and
none is an estimate about a real service. Scales are those of the outcome's link.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CUSTODY", "NAMES", "OTHERS", "OutcomeWorld", "Selection"]

CUSTODY: Final = "custody"

_LOGIT_8_PERCENT: Final = float(np.log(0.08 / 0.92))
_LOGIT_20_PERCENT: Final = float(np.log(0.2 / 0.8))
_CLOGLOG_55_PERCENT: Final = float(np.log(-np.log(0.45)))


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
    given : str or None
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
    overdispersion : float
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
    given: str | None = None
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
    overdispersion: float
    unit_dispersion: float = 0.0
    coverage: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    stages: tuple[tuple[float, ...], ...] = ()
    start: tuple[float, ...] = ()
    selection: Selection | None = None
    national_offset: float | None = None
    crisis: tuple[float, ...] = ()


#: Reports of the last three months that have not come in yet.
_NDTMS_COVERAGE: Final = (0.95, 0.85, 0.6)
_NO_MIX: Final = (0.0,) * 5

#: In the order of `outcomes.csv`, after custody. The order is part of the data: append.
OTHERS: Final[Mapping[str, OutcomeWorld]] = MappingProxyType(
    {
        "offending": OutcomeWorld(
            family="beta_binomial",
            source="pnc",
            exposure="at_liberty",
            lead=12,
            level=_LOGIT_8_PERCENT,
            effect_mean=0.0,
            mix_effects=_NO_MIX,
            site_effect_sd=0.0,
            factor="justice",
            factor_loading=0.5,
            national_slope=-0.06,
            overdispersion=400.0,
            national_offset=-0.15,
            crisis=(0.9, 9.0, -0.1),
        ),
        "ae_attendances": OutcomeWorld(
            family="negative_binomial",
            source="hes_ae",
            exposure="person_months",
            lead=24,
            level=float(np.log(0.12)),
            effect_mean=-0.06,
            factor_loading=-0.5,
            national_slope=0.05,
            season=(-0.03, -0.02, 0.0, 0.0),
            seams=(("2017-10", -0.1),),
            overdispersion=120.0,
            unit_dispersion=0.4,
            national_offset=-0.2,
            crisis=(0.6, 8.0, 0.05),
        ),
        "mh_referrals": OutcomeWorld(
            family="negative_binomial",
            source="mhsds",
            exposure="person_months",
            lead=24,
            level=float(np.log(0.04)),
            effect_mean=0.10,
            factor_loading=0.6,
            pulse_peak=0.6,
            site_level_sd=0.3,
            national_slope=0.06,
            seams=(("2014-09", -0.12), ("2016-01", 0.1)),
            overdispersion=80.0,
            unit_dispersion=0.3,
            national_offset=0.2,
            crisis=(1.0, 6.0, 0.1),
        ),
        "mh_attendances": OutcomeWorld(
            family="negative_binomial",
            source="mhsds",
            exposure="referrals",
            given="mh_referrals",
            lead=24,
            level=float(np.log(3.5)),
            effect_mean=0.05,
            factor_loading=0.4,
            site_level_sd=0.15,
            seams=(("2014-09", 0.1), ("2016-01", -0.08)),
            overdispersion=100.0,
            unit_dispersion=1.5,
            national_offset=0.1,
        ),
        "iapt_referrals": OutcomeWorld(
            family="negative_binomial",
            source="iapt",
            exposure="person_months",
            lead=24,
            level=float(np.log(0.02)),
            effect_mean=0.15,
            factor_loading=0.6,
            site_level_sd=0.3,
            national_slope=0.08,
            seams=(("2014-07", 0.12),),
            overdispersion=80.0,
            unit_dispersion=0.25,
            national_offset=0.15,
        ),
        "iapt_attendances": OutcomeWorld(
            family="negative_binomial",
            source="iapt",
            exposure="referrals",
            given="iapt_referrals",
            lead=24,
            level=float(np.log(2.5)),
            effect_mean=0.0,
            factor_loading=0.4,
            site_level_sd=0.15,
            seams=(("2014-07", -0.08),),
            overdispersion=100.0,
            unit_dispersion=2.0,
            national_offset=0.1,
        ),
        "drug_alcohol_referrals": OutcomeWorld(
            family="negative_binomial",
            source="ndtms",
            exposure="person_months",
            lead=12,
            level=float(np.log(0.03)),
            effect_mean=0.20,
            factor_loading=0.6,
            site_level_sd=0.3,
            national_slope=-0.05,
            overdispersion=80.0,
            unit_dispersion=0.3,
            coverage=_NDTMS_COVERAGE,
            national_offset=0.2,
        ),
        "drug_alcohol_attendances": OutcomeWorld(
            family="negative_binomial",
            source="ndtms",
            exposure="referrals",
            given="drug_alcohol_referrals",
            lead=12,
            level=float(np.log(4.0)),
            effect_mean=0.10,
            factor_loading=0.4,
            site_level_sd=0.15,
            overdispersion=100.0,
            unit_dispersion=1.5,
            coverage=_NDTMS_COVERAGE,
            national_offset=0.1,
        ),
        "wellbeing": OutcomeWorld(
            family="ordered_change",
            source="ndtms",
            exposure="in_treatment",
            lead=12,
            level=_LOGIT_20_PERCENT,
            effect_mean=0.15,
            factor_loading=0.5,
            site_level_sd=0.2,
            overdispersion=200.0,
            categories=("1", "2", "3", "4"),
            stages=((0.0, -0.3, -0.6), (2.8, 0.3, -0.3), (3.6, 2.6, 0.4), (4.2, 3.6, 2.8)),
            start=(0.40, 0.30, 0.20, 0.10),
            selection=Selection(newcomers=0.3, start=(0.60, 0.25, 0.10, 0.05), shift=-0.5),
        ),
        "court_duration": OutcomeWorld(
            family="duration_hazard",
            source="hmcts",
            exposure="cases_begun",
            lead=0,
            level=_CLOGLOG_55_PERCENT,
            effect_mean=0.0,
            mix_effects=_NO_MIX,
            site_effect_sd=0.0,
            factor="justice",
            factor_loading=0.5,
            site_level_sd=0.2,
            national_slope=-0.05,
            overdispersion=150.0,
            categories=(
                "1 first hearing",
                "2 to 30 days",
                "3 to 90 days",
                "4 to 180 days",
                "5 over 180 days",
            ),
            stages=((0.0, -0.4, 0.1, 0.3),),
        ),
        "hearings": OutcomeWorld(
            family="negative_binomial_from_one",
            source="hmcts",
            exposure="cases_ended",
            lead=0,
            level=float(np.log(0.8)),
            effect_mean=0.0,
            mix_effects=_NO_MIX,
            site_effect_sd=0.0,
            factor="justice",
            factor_loading=-0.5,
            site_level_sd=0.2,
            overdispersion=100.0,
            unit_dispersion=2.0,
        ),
    }
)

#: All outcomes, in the order of `outcomes.csv`.
NAMES: Final = (CUSTODY, *OTHERS)
