"""The parameters of a synthetic world, and the three worlds that are named.

Every number below is an assumption about a fictional country unless ``docs/synthetic.md`` names a
source. None is an estimate about a real service.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from lndbayes.base.errors import Problem, SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["WORLDS", "World", "plain"]

#: Months from the start of the panel to the last go-live of the rollout pattern.
LAST_GO_LIVE: Final = 48

SMOOTHS: Final = ("walk", "rw2")

_SCALES: Final = (
    "site_effect_sd",
    "ramp_spread",
    "site_level_sd",
    "site_drift_sd",
    "site_curve_sd",
    "national_curve_sd",
    "national_walk_sd",
    "fading_months",
    "shock_sd",
    "retrospective_bias_sd",
    "band_site_sd",
    "elicited_error",
    "size_log_sd",
)
_POSITIVE: Final = (
    "mix_concentration",
    "ramp_months",
    "concentration",
    "crisis_recovery_months",
    "national_noise",
    "elicited_stated_sd",
    "size_median",
    "contacts_per_size",
    "referrals_per_size",
    "history_persons",
)
_SHARES: Final = ("missing_share", "mix_missing_share", "employment_probability")
_COUNTS: Final = ("missing_year_sites", "retrospective_sites", "predecessor_unknown")
_LENGTHS: Final = {
    "wave_effects": 3,
    "season": 4,
    "size_limits": 2,
    "coverage": 2,
    "predecessor_law": 2,
}
_POSITIVE_VECTORS: Final = ("mix_alpha", "size_limits", "coverage", "predecessor_law")


@dataclass(frozen=True, slots=True)
class World:
    """All parameters of one synthetic world.

    Effects, levels and biases are on the logit scale of the custody rate. Months are counted from
    the first month of the grid. Counts of sites are per 27 sites and scale with the number of
    sites.

    Attributes
    ----------
    effect_mean : float
        Plateau of the effect at the mean intervention mix, logits.
    interventions : tuple of str
        Kinds of contact that the mix counts.
    mix_effects : tuple of float
        Effect of each intervention's share; the mean is subtracted before use.
    mix_alpha : tuple of float
        Dirichlet parameter of the sites' true shares.
    mix_concentration : float
        Dirichlet-multinomial concentration of observed contacts round the true shares.
    mix_missing_share : float
        Share of site-months after go-live without mix rows.
    site_effect_sd : float
        Standard deviation of the sites' own effect deviations.
    predecessor_effect : float
        Effect per unit of ``predecessor``, centred over the sites where it is known.
    predecessor_law : tuple of float
        Beta law of the predecessor share.
    predecessor_unknown : int
        Sites (per 27) with an unknown predecessor.
    wave_effects : tuple of float
        Effect deviation of waves 1 to 3; the mean is subtracted before use.
    ramp_months, ramp_spread : float
        Ramp constant in months and the log-scale spread of the sites' own constants.
    go_live_step : float
        Step at go-live in recording, consent or case mix; moves the treated predictor only.
    baseline_level, site_level_sd : float
        Mean and standard deviation of the site levels (plain normal, not zero-sum).
    site_drift_sd, site_curve_sd : float
        Scale of the zero-sum site drifts (per 24 months) and of the zero-sum smooth deviations.
    national_slope, national_curve_sd : float
        National trend per 24 months and scale of the smooth national curve round it.
    season : tuple of float
        Coefficients of cos and sin at one, then two, cycles a year.
    shock_sd, shock_autocorrelation : float
        Stationary AR(1) site-month shocks of the untreated surface.
    national_walk_sd : float
        Monthly innovations of a national random walk, centred.
    site_columns, site_order, walk_columns : int
        With ``"rw2"``: columns of the sites' curves, whose scales fall as 1/k (1) or 1/k^2 (2), and
        the slowest modes of the national walk.
    drift : float
        Drift of the untreated outcome after go-live, logits per year.
    smooth : str
        ``"rw2"``: low-rank random-walk basis, the fitted model's law; ``"walk"``: another law.
    concentration : float
        Beta-binomial precision, of custody and of every stage of its bands.
    bands : tuple of str
        Ordered bands of sentence length, shortest first.
    band_stages : tuple of float
        Logit of a longer band given this one or a longer one, by stage, at ``baseline_level``.
    band_site_sd, band_shift : float
        Spread of the sites' own levels in the band stages, and a shift of these stages that builds
        up with the effect.
    loading, lengthening : float
        What these logits gain per logit of the untreated predictor, and of the effect: a negative
        lengthening takes averted sentences from the short end.
    other_effects : float
        Multiplies every part of the effects on the outcomes beside custody, exactly 0 in ``null``.
    size_median, size_log_sd, size_limits : float, float, tuple of float
        Law of eligible persons brought to court a month.
    contacts_per_size, referrals_per_size : float
        Contacts over the whole period, and referrals a month, per unit of size.
    missing_share : float
        Share of outcome rows absent at random.
    missing_year_sites : int
        Sites (per 27) that lose 12 consecutive months.
    retrospective_sites : int
        Sites (per 27) with partial retrospective records.
    retrospective_bias, retrospective_bias_sd : float
        Common bias of the retrospective records and the spread of the sites' own.
    coverage : tuple of float
        Beta law of the retrospective records' coverage.
    national_offset, national_noise : float
        Definitional offset and independent noise of the national series.
    crisis_dip, crisis_recovery_months, history_selection : float
        Crisis excess one month before referral, its decay in months, and selection bias.
    history_persons, history_referral_month : float, int
        Persons in a window at a site of median size; month of their referral.
    elicited_bias, elicited_error, elicited_stated_sd : float
        Common bias and independent error of the elicited values, and the spread experts state.
    shared_bias : float
        Level bias shared by all reconstructed evidence.
    adoption_trend : float
        Untreated trend per 24 months that goes with an early start: added in proportion to the
        standardised go-live, earliest highest. Breaks the model's exchangeable drifts.
    national_shock : float
        Lasting step of every site's untreated level in the month in which the second wave begins.
        Breaks the model's smooth national curve.
    mix_by_need : float
        Correlation of a site's own effect deviation with its share of the fourth intervention: the
        mix follows what a site needs. Breaks the model's independence of mix and deviation.
    adoption_level : float
        Untreated level that goes with an early start: added in proportion to the standardised
        go-live, earliest highest.
    deviation_df : float
        Degrees of freedom of a Student t law of the sites' own effect deviations; 0: normal.
    fading_months : float
        Months in which the effect falls to 1/e, from month 18 after go-live on; 0: it stays.
    months, panel_start : int
        Length of the grid (from 2011-04) and first month with outcome rows and go-lives.
    time_served_years, place_cost, alternative_cost : float
        Years in prison per sentence averted; pounds per place-year; pounds per alternative.
    employment_probability, output_per_year, price_year : float, float, str
        Probability of employment at liberty, pounds of output a year, price year of all pounds.

    Raises
    ------
    SpecError
        If a parameter is outside its range; all problems at once.
    """

    effect_mean: float = -0.35
    interventions: tuple[str, ...] = (
        "advice",
        "brief_intervention",
        "primary_care_referral",
        "specialist_mh_referral",
        "mha_assessment",
    )
    mix_effects: tuple[float, ...] = (0.25, 0.05, -0.15, -0.25, 0.10)
    mix_alpha: tuple[float, ...] = (6.0, 4.0, 6.0, 3.2, 1.2)
    mix_concentration: float = 300.0
    mix_missing_share: float = 0.2
    site_effect_sd: float = 0.12
    predecessor_effect: float = 0.10
    predecessor_law: tuple[float, float] = (2.0, 3.0)
    predecessor_unknown: int = 3
    wave_effects: tuple[float, float, float] = (0.05, -0.03, -0.02)
    ramp_months: float = 4.0
    ramp_spread: float = 0.25
    go_live_step: float = 0.0
    baseline_level: float = -2.0
    site_level_sd: float = 0.30
    site_drift_sd: float = 0.06
    site_curve_sd: float = 0.06
    national_slope: float = -0.08
    national_curve_sd: float = 0.10
    season: tuple[float, float, float, float] = (0.05, 0.03, 0.0, 0.0)
    shock_sd: float = 0.04
    shock_autocorrelation: float = 0.5
    drift: float = 0.0
    smooth: str = "walk"
    national_walk_sd: float = 0.0
    site_columns: int = 4
    site_order: int = 2
    walk_columns: int = 0
    concentration: float = 150.0
    bands: tuple[str, ...] = (
        "1 up to 3 months",
        "2 3 to 6 months",
        "3 6 to 12 months",
        "4 over 12 months",
    )
    band_stages: tuple[float, ...] = (0.3, 0.2, 0.3)
    band_site_sd: float = 0.15
    band_shift: float = 0.0
    loading: float = 0.1
    lengthening: float = -0.6
    other_effects: float = 1.0
    size_median: float = 45.0
    size_log_sd: float = 0.6
    size_limits: tuple[float, float] = (12.0, 160.0)
    contacts_per_size: float = 8.0
    referrals_per_size: float = 1.6
    missing_share: float = 0.06
    missing_year_sites: int = 2
    retrospective_sites: int = 11
    retrospective_bias: float = 0.10
    retrospective_bias_sd: float = 0.08
    coverage: tuple[float, float] = (12.0, 8.0)
    national_offset: float = -0.25
    national_noise: float = 0.02
    crisis_dip: float = 0.76
    crisis_recovery_months: float = 12.0
    history_selection: float = -0.10
    history_persons: float = 60.0
    history_referral_month: int = 74
    elicited_bias: float = 0.12
    elicited_error: float = 0.25
    elicited_stated_sd: float = 0.30
    shared_bias: float = 0.0
    adoption_trend: float = 0.0
    national_shock: float = 0.0
    mix_by_need: float = 0.0
    adoption_level: float = 0.0
    deviation_df: float = 0.0
    fading_months: float = 0.0
    months: int = 96
    panel_start: int = 36
    time_served_years: float = 0.25
    place_cost: float = 24664.0
    alternative_cost: float = 2400.0
    employment_probability: float = 0.17
    output_per_year: float = 11000.0
    price_year: str = "2016/17"

    def __post_init__(self) -> None:
        """Refuse parameters outside their range, all of them at once."""
        problems = _problems(self)
        if problems:
            raise SpecError(problems)


def _problems(world: World) -> list[Problem]:
    found: list[Problem] = []

    def broken(column: str, rule: str) -> None:
        found.append(Problem("world", rule, column=column, value=str(getattr(world, column))))

    def numbers(name: str) -> list[float]:
        value = getattr(world, name)
        return [v for v in (value if isinstance(value, tuple) else (value,)) if not _text(v)]

    for field in fields(world):
        if not all(math.isfinite(v) for v in numbers(field.name)):
            broken(field.name, "must be finite")
    for name in _SCALES:
        if getattr(world, name) < 0:
            broken(name, "must be zero or positive")
    for name in (*_POSITIVE, *_POSITIVE_VECTORS):
        if any(v <= 0 for v in numbers(name)):
            broken(name, "must be positive")
    for name in _SHARES:
        if not 0 <= getattr(world, name) < 1:
            broken(name, "must be at least 0 and below 1")
    for name in _COUNTS:
        if not 0 <= getattr(world, name) <= 27:
            broken(name, "must be a number of sites out of 27")
    lengths = {**_LENGTHS, **dict.fromkeys(("mix_effects", "mix_alpha"), len(world.interventions))}
    lengths["band_stages"] = len(world.bands) - 1
    for name, length in lengths.items():
        if len(getattr(world, name)) != length:
            broken(name, f"must have {length} values")
    if len(set(world.interventions)) != len(world.interventions) or len(world.interventions) < 2:
        broken("interventions", "must be at least two distinct names")
    if list(world.bands) != sorted(set(world.bands)) or len(world.bands) < 2:
        broken("bands", "must be at least two distinct names in the order of text")
    if world.size_limits != tuple(sorted(world.size_limits)):
        broken("size_limits", "must be the lower limit, then the upper")
    for name in ("shock_autocorrelation", "mix_by_need"):
        if not -1 < getattr(world, name) < 1:
            broken(name, "must be between -1 and 1")
    if world.deviation_df and world.deviation_df <= 0:
        broken("deviation_df", "must be 0, or positive")
    if not 1 <= world.site_columns <= world.months - 2:
        broken("site_columns", "must be at least 1, and below the months by 2")
    if not 0 <= world.walk_columns < world.months:
        broken("walk_columns", "must be at least 0 and below the months")
    if world.site_order not in (1, 2):
        broken("site_order", "must be 1 or 2")
    if world.smooth not in SMOOTHS:
        broken("smooth", f"must be one of {', '.join(SMOOTHS)}")
    if world.panel_start < 12 or world.panel_start % 3:
        broken("panel_start", "must be at least 12 and a whole number of quarters")
    if world.months <= world.panel_start + LAST_GO_LIVE:
        broken("months", f"must exceed panel_start by more than {LAST_GO_LIVE}")
    if not 36 < world.history_referral_month <= world.months:
        broken("history_referral_month", "must be after month 36 and inside the grid")
    return found


def _text(value: object) -> bool:
    return isinstance(value, str)


def plain(world: World) -> World:
    """Switch off what makes a world unlike the fitted model.

    Parameters
    ----------
    world : World
        Any world.

    Returns
    -------
    World
        The same world with the random-walk basis for its smooth curves, one ramp constant, no
        site-month shocks, and experts whose error is what they say it is. Its joint law, given
        the hyper-parameters, is the fitted model's. Gaps in the data stay: they happen at random.
    """
    return replace(
        world,
        smooth="rw2",
        loading=0.0,
        lengthening=0.0,
        ramp_spread=0.0,
        shock_sd=0.0,
        elicited_error=world.elicited_stated_sd,
    )


_EFFECT: Final = World()

#: The worlds that have a name: the same untreated surfaces, three different effects.
WORLDS: Final[Mapping[str, World]] = MappingProxyType(
    {
        "effect": _EFFECT,
        "null": replace(
            _EFFECT,
            effect_mean=0.0,
            mix_effects=(0.0,) * len(_EFFECT.interventions),
            site_effect_sd=0.0,
            predecessor_effect=0.0,
            wave_effects=(0.0, 0.0, 0.0),
            other_effects=0.0,
        ),
        "harm": replace(_EFFECT, effect_mean=0.35),
    }
)
