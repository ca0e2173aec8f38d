"""The model's linear terms as data: one row a term, read by all that knows the terms.

A linear term is coefficients times a fixed basis. The definition, the compiled density, the
parameter vector, linear predictors, prior draws, coordinates and the prior table loop over `LINEAR`
and name no term. What is no coefficient times a basis, the mix and the build-up's shape, is written
out where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

__all__ = [
    "LINEAR",
    "Enters",
    "FixedScale",
    "LearnedScale",
    "LinearBlock",
    "OwnPrior",
    "entering",
    "fixed_scales",
    "learned_scales",
    "normal_slots",
    "scalar_slots",
    "setting",
]


class Enters(StrEnum):
    """What a term is added to."""

    UNTREATED = "untreated surface"
    #: the records of treated months; no part of an effect
    RECORDS = "records with the service"
    SITE_EFFECT = "site effect"


@dataclass(frozen=True, slots=True)
class OwnPrior:
    """Coefficients have a prior slot of their own; a Normal one, but for a single coefficient."""

    slot: str


@dataclass(frozen=True, slots=True)
class LearnedScale:
    """Coefficients are Normal(0, sd), where sd is a positive parameter with a prior slot.

    `centred` coefficients are coordinates of the parameter vector themselves; the others are the
    scale times a standard normal coordinate.
    """

    slot: str
    centred: bool = False


@dataclass(frozen=True, slots=True)
class FixedScale:
    """Coefficients are Normal(mean, sd), where sd is a number of the spec; 0 switches them off.

    Attributes
    ----------
    key : str
        Dotted key of the spec. Its last part names the design's array of the sd, one number or one
        for each coefficient.
    mean : str or None
        Name of the design's array of means; None: 0.
    """

    key: str
    mean: str | None = None

    @property
    def array(self) -> str:
        """Name of the design's array of the sd."""
        return self.key.rsplit(".", 1)[-1]


@dataclass(frozen=True, slots=True)
class LinearBlock:
    """One linear term.

    Attributes
    ----------
    name : str
        Name of the coefficients, as draws hold them.
    enters : Enters
        What the term is added to.
    prior : OwnPrior, LearnedScale or FixedScale
        What the coefficients are drawn from.
    basis : str or None
        Array of the design, or one of `lndbayes.model.blocks.DERIVED`, with the dims `over` and,
        unless `dims` is empty, a last dim of columns, one for each coefficient; no columns, no
        term. None: 1, for coefficients of sites in their own effect.
    over : {(), ("month",), ("site", "month"), ("site",)}
        Dims that the basis has besides its columns.
    dims : tuple of str
        Dim of the coefficients; empty for a single one.
    note : str
        What it is, for tables.
    per_site : bool
        Whether each site has coefficients of its own, over a basis that all share.
    zero_sum : bool
        Whether coefficients sum to zero: over sites where these have their own, over `dims` where
        not.
    membership : bool
        Whether the basis holds for each site the position of the one coefficient that it has.
    """

    name: str
    enters: Enters
    prior: OwnPrior | LearnedScale | FixedScale
    basis: str | None
    over: tuple[()] | tuple[Literal["month", "site"], ...]
    dims: tuple[str, ...]
    note: str
    per_site: bool = False
    zero_sum: bool = False
    membership: bool = False

    def __post_init__(self) -> None:
        in_month = self.over == ("month",)
        possible = {
            "one dim of columns at most": len(self.dims) <= 1,
            "sites' own coefficients over months, or without a basis in the site effect": (
                not self.per_site
                or (in_month if self.basis is not None else self.enters is Enters.SITE_EFFECT)
            ),
            "sites' own coefficients about 0, with a scale": not self.per_site
            or (
                not isinstance(self.prior, OwnPrior)
                and not (isinstance(self.prior, FixedScale) and self.prior.mean)
            ),
            "centred coefficients that are free and shared": not (
                isinstance(self.prior, LearnedScale)
                and self.prior.centred
                and (self.per_site or self.zero_sum)
            ),
            "a basis over sites in the site effect": self.per_site
            or (self.over == ("site",)) == (self.enters is Enters.SITE_EFFECT),
            "a basis over sites and months in records": self.enters is not Enters.RECORDS
            or self.over == ("site", "month"),
            "membership of coefficients in the site effect": not self.membership
            or (self.enters is Enters.SITE_EFFECT and bool(self.dims) and not self.per_site),
            "prior slots for coefficients that are free": not self.zero_sum
            or not isinstance(self.prior, OwnPrior),
        }
        broken = [rule for rule, kept in possible.items() if not kept]
        if broken:
            raise ValueError(f"{self.name}: a linear term has {', and '.join(broken)}")

    @property
    def variable_dims(self) -> tuple[str, ...]:
        """Dims of the coefficients, sites included."""
        return (*self.dims, "site") if self.per_site else self.dims


#: Every linear term. What a site's predictor is the sum of, in this order; new rows may stand
#: anywhere: places in the parameter vector do not depend on it, see `lndbayes.model.layout`.
LINEAR: tuple[LinearBlock, ...] = (
    LinearBlock(
        "national_slope",
        Enters.UNTREATED,
        OwnPrior("national_slope"),
        basis="time",
        over=("month",),
        dims=(),
        note="linear national trend",
    ),
    LinearBlock(
        "national_curve",
        Enters.UNTREATED,
        LearnedScale("national_curve_sd", centred=True),
        basis="national_functions",
        over=("month",),
        dims=("basis_national",),
        note="smooth national variation",
    ),
    LinearBlock(
        "national_walk",
        Enters.UNTREATED,
        LearnedScale("national_walk_sd"),
        basis="walk_functions",
        over=("month",),
        dims=("basis_walk",),
        note="national random walk: steps and shocks common to all sites",
    ),
    LinearBlock(
        "season",
        Enters.UNTREATED,
        OwnPrior("season"),
        basis="harmonics",
        over=("month",),
        dims=("harmonic",),
        note="season",
    ),
    LinearBlock(
        "seam",
        Enters.UNTREATED,
        FixedScale("baseline.seam_sd"),
        basis="seam_functions",
        over=("month",),
        dims=("seam_month",),
        note="step where the collection changed",
    ),
    LinearBlock(
        "site_drift",
        Enters.UNTREATED,
        LearnedScale("site_drift_sd"),
        basis="time",
        over=("month",),
        dims=(),
        note="linear trend of a site beside the national one",
        per_site=True,
        zero_sum=True,
    ),
    LinearBlock(
        "site_curve",
        Enters.UNTREATED,
        LearnedScale("site_curve_sd"),
        basis="site_functions",
        over=("month",),
        dims=("basis_site",),
        note="smooth departure of a site",
        per_site=True,
        zero_sum=True,
    ),
    LinearBlock(
        "covariate_effect",
        Enters.UNTREATED,
        FixedScale("covariates.baseline_sd"),
        basis="covariates",
        over=("site", "month"),
        dims=("covariate",),
        note="untreated outcome per sd of a covariate",
    ),
    LinearBlock(
        "drift",
        Enters.UNTREATED,
        FixedScale("sensitivity.drift_sd"),
        basis="years_live",
        over=("site", "month"),
        dims=(),
        note="untreated drift after go-live, per year",
    ),
    LinearBlock(
        "drift_adoption",
        Enters.UNTREATED,
        FixedScale("baseline.drift_adoption_sd"),
        basis="early_time",
        over=("site", "month"),
        dims=(),
        note="untreated trend of early starters, per 24 months and sd of earliness",
    ),
    LinearBlock(
        "level_adoption",
        Enters.UNTREATED,
        FixedScale("baseline.level_adoption_sd"),
        basis="early_level",
        over=("site", "month"),
        dims=(),
        note="untreated level of early starters, per sd of earliness",
    ),
    LinearBlock(
        "go_live_step",
        Enters.RECORDS,
        FixedScale("sensitivity.go_live_step_sd"),
        basis="live",
        over=("site", "month"),
        dims=(),
        note="recording or case-mix step at go-live",
    ),
    LinearBlock(
        "wave_effect",
        Enters.SITE_EFFECT,
        FixedScale("sensitivity.wave_sd"),
        basis="wave_index",
        over=("site",),
        dims=("wave",),
        note="difference between waves, fixed scale",
        zero_sum=True,
        membership=True,
    ),
    LinearBlock(
        "predecessor_effect",
        Enters.SITE_EFFECT,
        OwnPrior("predecessor_effect"),
        basis="predecessor",
        over=("site",),
        dims=(),
        note="effect difference per unit of predecessor service",
    ),
    LinearBlock(
        "modifier_effect",
        Enters.SITE_EFFECT,
        FixedScale("covariates.effect_sd"),
        basis="modifiers",
        over=("site",),
        dims=("modifier",),
        note="effect difference per sd of a covariate of sites",
    ),
    LinearBlock(
        "site_deviation",
        Enters.SITE_EFFECT,
        LearnedScale("site_effect_sd"),
        basis=None,
        over=(),
        dims=(),
        note="site effect that nothing else explains",
        per_site=True,
    ),
)


def entering(what: Enters) -> tuple[LinearBlock, ...]:
    """Terms that enter what is asked for, in order."""
    return tuple(block for block in LINEAR if block.enters is what)


def fixed_scales() -> tuple[tuple[LinearBlock, FixedScale], ...]:
    """Terms whose scale is a number of the spec, each with its prior."""
    return tuple((b, b.prior) for b in LINEAR if isinstance(b.prior, FixedScale))


def learned_scales() -> tuple[tuple[LinearBlock, LearnedScale], ...]:
    """Terms whose scale is a parameter, each with its prior."""
    return tuple((b, b.prior) for b in LINEAR if isinstance(b.prior, LearnedScale))


def normal_slots() -> tuple[str, ...]:
    """Prior slots of several coefficients alike, whose distribution must be Normal."""
    return tuple(b.prior.slot for b in LINEAR if b.dims and isinstance(b.prior, OwnPrior))


def scalar_slots(what: Enters) -> tuple[str, ...]:
    """Prior slots with a scalar parameter of the terms that enter what is asked for."""
    slots = [
        b.prior.slot
        for b in entering(what)
        if isinstance(b.prior, LearnedScale) or (isinstance(b.prior, OwnPrior) and not b.dims)
    ]
    return tuple(dict.fromkeys(slots))


def setting(spec: Any, key: str) -> Any:
    """Value of a dotted key of a spec, as `FixedScale.key` has it."""
    for name in key.split("."):
        spec = getattr(spec, name)
    return spec
