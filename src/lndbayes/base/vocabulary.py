"""Words that stand in tables and files and that code decides by: one type for each kind.

Each member is its own text, so that tables, keys and files hold what they always held.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["EffectVerdict", "Estimand", "PlaceboRow", "Tier", "VariantName"]


class Estimand(StrEnum):
    """What the effects table reports, on which scale; `docs/methods.md` defines each."""

    POOLED_LINK = "pooled/link"
    POOLED_NATURAL = "pooled/natural"
    POOLED_SUPERPOPULATION = "pooled_superpopulation/link"
    POOLED_REFERRAL_WEIGHTED = "pooled_referral_weighted/link"
    NEW_SITE = "new_site/link"
    PLATEAU = "plateau/link"
    COURSE = "course/link"
    INTERVENTION = "intervention/link"
    SUBSTITUTION = "substitution/link"
    SITE_LINK = "site/link"
    SITE_NATURAL = "site/natural"
    EVENTS_AVERTED = "events_averted/natural"
    EVENTS_AVERTED_SITE = "events_averted_site/natural"
    EVENTS_AVERTED_BAND = "events_averted_band/natural"

    @property
    def of(self) -> str:
        """What is estimated, without the scale."""
        return self.value.partition("/")[0]

    @property
    def scale(self) -> str:
        """The scale: ``link`` or ``natural``."""
        return self.value.partition("/")[2]


class Tier(StrEnum):
    """What identifies a site's untreated state, from most to least."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"
    #: No treated cell of its own, so no effect of its own.
    NO_EFFECT = "-"


class EffectVerdict(StrEnum):
    """What an outcome's pooled effect lets one say; `docs/methods.md` has the rules."""

    LOWERS = "lowers"
    LOWERS_LITTLE = "lowers, by less than the margin"
    RAISES = "raises"
    RAISES_LITTLE = "raises, by less than the margin"
    SMALL = "no more than a small effect"
    CANNOT_SAY = "cannot say"
    #: Most sites' untreated levels are reconstructed from evidence of other kinds.
    RECONSTRUCTED = "rests on reconstructed levels"
    CHECK_FAILS = "a check fails"
    BUILD_UP = "rests on the build-up's shape"
    #: The refits that would show what it rests on are not there.
    UNTESTED = "not tested"
    PRIOR = "rests on the prior"
    NOT_IDENTIFIED = "not identified"

    @property
    def sign(self) -> int:
        """Direction of the effect that is claimed: -1, 1, or 0 where none is."""
        lowers = (EffectVerdict.LOWERS, EffectVerdict.LOWERS_LITTLE)
        raises = (EffectVerdict.RAISES, EffectVerdict.RAISES_LITTLE)
        return int(self in raises) - int(self in lowers)


class VariantName(StrEnum):
    """Sensitivity refits that code asks for by name."""

    PANEL_ONLY = "panel_only"
    RAMP_HIDDEN = "ramp_hidden"
    ALL_OFF = "all_off"
    ALL_OFF_RAMP_HIDDEN = "all_off_ramp_hidden"
    UNTREATED_ONLY = "untreated_only"
    BIAS_ON = "bias_on"


class PlaceboRow(StrEnum):
    """What a row of the placebo table is about."""

    SITE = "site"
    POOLED = "pooled"
    #: Sd over sites of the estimates, from their errors alone, and beyond these.
    OBSERVED = "sd seen"
    NOISE = "sd from noise"
    SPREAD = "sd beyond noise"
    LARGEST = "largest"
