"""Parameters of the person-level world, and the three worlds that are named.

Every number is an assumption about a fictional country unless ``docs/extracts.md`` names a source.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from lndbayes.base.errors import Problem, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["EXTRACT_WORLDS", "NEEDS", "SOURCES", "ExtractWorld", "RateLaw", "SourceLaw"]

#: Sources in the order in which their tables are documented and written.
SOURCES: Final = ("hes_ae", "mhsds", "iapt", "ndtms", "pnc", "hmcts")
NEEDS: Final = ("mental_health", "drug_alcohol", "other_need")


@dataclass(frozen=True, slots=True)
class RateLaw:
    """How often one kind of event happens to a person.

    Attributes
    ----------
    level : float
        Untreated events per person-month, mean over persons and over the 12 months of follow-up.
    frailty : float
        Gamma shape of the persons' own lasting multipliers (mean 1): small means uneven.
    severity : float
        Log rate per standard deviation of severity.
    need : str
        The need that raises the rate, or empty.
    need_log : float
        Log rate ratio of persons with that need.
    crisis : float
        Log excess in the month of contact; decays over ``ExtractWorld.crisis_months`` either side.
    effect, effect_sd : float
        Plateau of the service's effect, log scale: mean over sites and spread between them.
    pulse : float
        Peak of a short-lived rise after go-live, log scale.
    """

    level: float
    frailty: float
    severity: float
    need: str
    need_log: float
    crisis: float
    effect: float
    effect_sd: float
    pulse: float = 0.0


@dataclass(frozen=True, slots=True)
class SourceLaw:
    """What one collection holds.

    Attributes
    ----------
    first_month, last_month : str
        Coverage, ``YYYY-MM``; the grid's last month where ``last_month`` is empty.
    seams : tuple of str
        Months at which the collection changed.
    recorded : tuple of float
        Share of events recorded before the first seam, between seams, and after the last.
    missed : float
        Share of persons that the source's owner fails to find.
    delay_months : float
        Mean of the exponential reporting delay, months; 0 for none.
    """

    first_month: str
    last_month: str = ""
    seams: tuple[str, ...] = ()
    recorded: tuple[float, ...] = (1.0,)
    missed: float = 0.0
    delay_months: float = 0.0


@dataclass(frozen=True, slots=True)
class ExtractWorld:
    """All parameters of one person-level world.

    Attributes
    ----------
    residents_per_person : float
        Residents per eligible person a month at scale 1; ``population`` of the sites table.
    months_before, months_after : int
        Months of a person's life that are simulated before the contact month and from it on.
    age_range : tuple of float
        Ages at contact, years; drawn as lowest + range * Beta(1.2, 2.5).
    deaths_per_year : float
        Hazard of death after contact at mean severity.
    share_mental_health, share_drug_alcohol, share_any_need, share_both : float
        Shares of persons: with a mental-health need, a drug or alcohol need, any of the three
        needs, the first two together.
    other_given : tuple of float
        Share with another need among those with both, mental health only, drug or alcohol only.
    severity_per_need : float
        Severity, in standard deviations of its own noise, per need a person has.
    consent_range : tuple of float
        Consent at the least and at the most severe end.
    crisis_months : float
        Decay of the crisis excess either side of contact, months.
    site_level_sd, site_drift_sd, national_slope, national_wave, season : float
        Untreated surface of every outcome, link scale: spread of site levels; spread of site drifts
        and the national drift, per 24 months; amplitudes of a national wave over the grid and of
        the year.
    ramp_months, pulse_months : float
        Constants of the ramp to the plateau and of the pulse.
    interventions, mix_alpha : tuple
        Kinds of contact with the service and the Dirichlet law of the sites' shares.
    reach_range : tuple of float
        Share of eligible persons whom the service sees once it is live: sites between the two.
    reach_without_need : float
        That share for persons without a need, relative to the others.
    further_contacts, further_contact_days : float
        Mean number of later contacts of a person seen, and mean days after the first.
    ae, mh, iapt, drug, offending : RateLaw
        Attendances at A&E; referrals to mental health, to talking therapies, to drug or alcohol
        treatment; offences besides the one that led to the contact.
    mh_attendances, iapt_attendances, drug_attendances : float
        Untreated attendances within 182 days of a referral.
    mh_attendance_effect, iapt_attendance_effect, drug_attendance_effect : float
        Plateaus, log scale, equal at all sites.
    attendance_days, attendance_frailty : float
        Mean days from referral to an attendance; gamma shape of a referral's own multiplier.
    top_share, review_share : float
        Referrals to treatment that begin with a TOP, and those that are reviewed.
    start_bands : tuple of float
        Shares of the four bands of the wellbeing score at start.
    review_level, review_step : float
        Logit of a review in band 2 or above from a start in band 1, and the gain per band of start
        (and loss per band of review) in that logit.
    wellbeing_effect, wellbeing_selection : float
        Logits: the service's effect on those who would be in treatment anyway, and how much lower
        the logit is of those whom it brings into treatment.
    index_case : float
        Share of contacts that lead to a court case.
    charge_days, index_charge_days : float
        Mean days from a further offence, or from contact, to the first hearing.
    custody_level, custody_severity : float
        Logit of a custodial disposal at mean severity, and per unit of severity.
    custody_effect, custody_effect_sd : float
        Plateau, logits: mean over sites and spread.
    custody_mix_effects : tuple of float
        Logits per unit of an intervention's share; made zero-sum, at the mean of the sites' shares.
    band_logits : tuple of float
        Logit of a longer band given at least the one before, bands 1 to 3.
    band_loading, band_lengthening : float
        Change of those logits per unit of the untreated custody logit above its level, and per unit
        of effect: negative, averted sentences are the short ones.
    ended_at_first : float
        Share of court cases that end at the first hearing.
    duration_days, duration_log_sd : float
        Log-normal median and log spread of the duration of the others, days.
    further_hearings : float
        Mean number of hearings between the first and the last of these.
    hes_ae, mhsds, iapt_source, ndtms, pnc, hmcts : SourceLaw
        What each collection holds.

    Raises
    ------
    SpecError
        If a parameter is outside its range; all problems at once.
    """

    residents_per_person: float = 10_000.0
    months_before: int = 36
    months_after: int = 18
    age_range: tuple[float, float] = (18.0, 75.0)
    deaths_per_year: float = 0.012
    share_mental_health: float = 0.71
    share_drug_alcohol: float = 0.52
    share_any_need: float = 0.88
    share_both: float = 0.42
    other_given: tuple[float, float, float] = (0.45, 0.30, 0.30)
    severity_per_need: float = 0.4
    consent_range: tuple[float, float] = (0.80, 0.55)
    crisis_months: float = 4.0
    site_level_sd: float = 0.25
    site_drift_sd: float = 0.06
    national_slope: float = -0.05
    national_wave: float = 0.06
    season: float = 0.05
    ramp_months: float = 4.0
    pulse_months: float = 2.0
    interventions: tuple[str, ...] = (
        "advice",
        "brief_intervention",
        "primary_care_referral",
        "specialist_mh_referral",
        "mha_assessment",
    )
    mix_alpha: tuple[float, ...] = (6.0, 4.0, 6.0, 3.2, 1.2)
    reach_range: tuple[float, float] = (0.3, 0.8)
    reach_without_need: float = 0.4
    further_contacts: float = 0.6
    further_contact_days: float = 60.0
    ae: RateLaw = RateLaw(0.12, 0.8, 0.35, "", 0.0, 0.9, -0.06, 0.03)
    mh: RateLaw = RateLaw(0.04, 0.7, 0.35, "mental_health", 1.4, 1.2, 0.10, 0.05, 0.6)
    iapt: RateLaw = RateLaw(0.02, 1.0, -0.10, "mental_health", 1.0, 0.4, 0.15, 0.05)
    drug: RateLaw = RateLaw(0.03, 0.7, 0.25, "drug_alcohol", 2.0, 0.6, 0.20, 0.05)
    offending: RateLaw = RateLaw(0.045, 0.7, 0.20, "drug_alcohol", 0.6, 0.9, 0.0, 0.0)
    mh_attendances: float = 3.5
    iapt_attendances: float = 2.5
    drug_attendances: float = 4.0
    mh_attendance_effect: float = 0.05
    iapt_attendance_effect: float = 0.0
    drug_attendance_effect: float = 0.10
    attendance_days: float = 70.0
    attendance_frailty: float = 1.5
    top_share: float = 0.6
    review_share: float = 0.65
    start_bands: tuple[float, float, float, float] = (0.30, 0.30, 0.25, 0.15)
    review_level: float = 0.2
    review_step: float = 0.9
    wellbeing_effect: float = 0.15
    wellbeing_selection: float = 0.3
    index_case: float = 0.6
    charge_days: float = 45.0
    index_charge_days: float = 12.0
    custody_level: float = -2.0
    custody_severity: float = 0.3
    custody_effect: float = -0.35
    custody_effect_sd: float = 0.12
    custody_mix_effects: tuple[float, ...] = (0.25, 0.05, -0.15, -0.25, 0.10)
    band_logits: tuple[float, float, float] = (0.2, 0.2, 0.4)
    band_loading: float = 0.3
    band_lengthening: float = -0.5
    ended_at_first: float = 0.55
    duration_days: float = 50.0
    duration_log_sd: float = 0.9
    further_hearings: float = 0.78
    hes_ae: SourceLaw = SourceLaw("2012-04", seams=("2017-10",), recorded=(0.97, 0.89), missed=0.06)
    mhsds: SourceLaw = SourceLaw(
        "2012-04", seams=("2014-09", "2016-01"), recorded=(0.80, 0.93, 0.86), missed=0.08
    )
    iapt_source: SourceLaw = SourceLaw(
        "2012-04", seams=("2014-07",), recorded=(0.84, 0.95), missed=0.09
    )
    ndtms: SourceLaw = SourceLaw("2013-04", recorded=(0.96,), missed=0.12, delay_months=2.5)
    pnc: SourceLaw = SourceLaw("2013-04", recorded=(0.99,), missed=0.04)
    hmcts: SourceLaw = SourceLaw("2014-04", missed=0.07)

    def __post_init__(self) -> None:
        """Refuse parameters outside their range, all of them at once."""
        problems = list(_problems(self))
        if problems:
            raise SpecError(problems)

    def source(self, name: str) -> SourceLaw:
        """Give the law of a source by the name of its table.

        Parameters
        ----------
        name : str
            One of :data:`SOURCES`.

        Returns
        -------
        SourceLaw
            Its parameters.
        """
        return getattr(self, "iapt_source" if name == "iapt" else name)


_POSITIVE: Final = (
    *("residents_per_person", "crisis_months", "ramp_months", "pulse_months", "mix_alpha"),
    *("further_contact_days", "attendance_days", "attendance_frailty", "charge_days"),
    *("index_charge_days", "duration_days", "mh_attendances", "iapt_attendances"),
    *("drug_attendances", "start_bands", "months_after", "age_range"),
)
_NOT_NEGATIVE: Final = (
    *("months_before", "deaths_per_year", "site_level_sd", "site_drift_sd", "further_contacts"),
    *("custody_effect_sd", "duration_log_sd", "further_hearings"),
)
_SHARES: Final = (
    *("share_mental_health", "share_drug_alcohol", "share_any_need", "share_both", "other_given"),
    *("consent_range", "reach_range", "reach_without_need", "top_share", "review_share"),
    *("index_case", "ended_at_first"),
)
_RATES: Final = ("ae", "mh", "iapt", "drug", "offending")


def _problems(world: ExtractWorld) -> Iterator[Problem]:
    for name, value in _numbers(world):
        top = name.split(".")[0]
        if not math.isfinite(value):
            yield _broken(name, value, "must be finite")
        elif top in _POSITIVE and value <= 0:
            yield _broken(name, value, "must be positive")
        elif top in _NOT_NEGATIVE and value < 0:
            yield _broken(name, value, "must be zero or positive")
        elif (top in _SHARES or name.endswith((".recorded", ".missed"))) and not 0 <= value <= 1:
            yield _broken(name, value, "must be between 0 and 1")
        elif name.endswith((".level", ".frailty")) and value <= 0:
            yield _broken(name, value, "must be positive")
        elif name.endswith((".effect_sd", ".delay_months", ".pulse", ".crisis")) and value < 0:
            yield _broken(name, value, "must be zero or positive")
    # shares that no population can have
    mh, drug, both = world.share_mental_health, world.share_drug_alcohol, world.share_both
    if not max(0.0, mh + drug - 1) <= both <= min(mh, drug):
        yield _broken("share_both", both, "must be possible given the two shares")
    if not mh + drug - both <= world.share_any_need:
        rule = "must be at least the share with a mental-health, drug or alcohol need"
        yield _broken("share_any_need", world.share_any_need, rule)
    for name in ("mix_alpha", "custody_mix_effects"):
        if len(getattr(world, name)) != len(world.interventions):
            yield _broken(name, getattr(world, name), "must have one value per intervention")
    for name in _RATES:
        if getattr(world, name).need not in ("", *NEEDS):
            rule = f"must be empty or one of {', '.join(NEEDS)}"
            yield _broken(f"{name}.need", getattr(world, name).need, rule)
    for name in SOURCES:
        law = world.source(name)
        if len(law.recorded) != len(law.seams) + 1 or list(law.seams) != sorted(law.seams):
            rule = "must have one share before, between and after the seams, which are in order"
            yield _broken(f"{name}.recorded", law.recorded, rule)
    if (world.offending.effect, world.offending.effect_sd, world.offending.pulse) != (0, 0, 0):
        rule = "must be zero: the truth of offending is stated as exactly zero"
        yield _broken("offending.effect", world.offending.effect, rule)


def _broken(name: str, value: object, rule: str) -> Problem:
    return Problem("extract world", rule, column=name, value=str(value))


def _numbers(law: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number of the parameters with its dotted name."""
    for field in fields(law):
        value = getattr(law, field.name)
        name = f"{prefix}{field.name}"
        if isinstance(value, RateLaw | SourceLaw):
            yield from _numbers(value, f"{name}.")
        else:
            every = value if isinstance(value, tuple) else (value,)
            yield from ((name, float(v)) for v in every if not isinstance(v, str))


_EFFECT: Final = ExtractWorld()


def _without_effect(world: ExtractWorld) -> ExtractWorld:
    """Set every effect to exactly zero, pulse, mix, selection and spread included."""
    laws: dict[str, Any] = {
        name: replace(getattr(world, name), effect=0.0, effect_sd=0.0, pulse=0.0) for name in _RATES
    }
    return replace(
        world,
        **laws,
        mh_attendance_effect=0.0,
        iapt_attendance_effect=0.0,
        drug_attendance_effect=0.0,
        wellbeing_effect=0.0,
        wellbeing_selection=0.0,
        custody_effect=0.0,
        custody_effect_sd=0.0,
        custody_mix_effects=(0.0,) * len(world.interventions),
    )


#: The worlds that have a name: the same persons and untreated lives, three different effects.
EXTRACT_WORLDS: Final[Mapping[str, ExtractWorld]] = MappingProxyType(
    {
        "effect": _EFFECT,
        "null": _without_effect(_EFFECT),
        "harm": replace(_EFFECT, custody_effect=0.35),
    }
)
