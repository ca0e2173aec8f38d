"""Sections of a model spec: their keys, types and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from lndbayes.base.errors import Code
from lndbayes.base.names import NAME, NAME_RULE
from lndbayes.spec.families import FAMILIES, FamilyName

__all__ = [
    "CHANNELS",
    "Baseline",
    "Channels",
    "Covariates",
    "Effect",
    "Likelihood",
    "Outcome",
    "Sampling",
    "Sensitivity",
    "Strict",
]

CHANNELS = ("not_yet_treated", "retrospective", "national", "history", "elicited")

#: Smallest and largest scale on a link scale, where 20 is a ratio of 500 million: beyond them
#: squares and exponentials of draws are no finite numbers above 0 any more.
SMALLEST, LARGEST = 1e-6, 20.0
#: Most months that anything may last: as long as the longest evaluation.
MOST_MONTHS = 1200
#: Most draws of a chain, and of all chains together: more do not fit into memory.
_MOST_DRAWS, _MOST_IN_ALL = 100_000, 1_000_000
#: Largest margin: a thousand events for each one exposed.
_MOST_PER_1000 = 1e6


def _broken(code: Code, rule: str) -> PydanticCustomError:
    """Give a broken rule that is told with a code of its own."""
    return PydanticCustomError(code.value, "{rule}", {"rule": rule})


def _off_or_sized(value: float) -> float:
    if 0 < value < SMALLEST:
        rule = f"is too small to be told from 0: must be at least {SMALLEST:g}"
        raise _broken(Code.NO_SUCH_SIZE, rule)
    return value + 0.0  # one zero


_Scale = Annotated[
    float, Field(ge=0, le=LARGEST, allow_inf_nan=False), AfterValidator(_off_or_sized)
]
_Positive = Annotated[
    float, Field(gt=0, le=LARGEST, allow_inf_nan=False), AfterValidator(_off_or_sized)
]


class Strict(BaseModel):
    """A section: no other keys, no conversions, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy as it is; a change is refused, which pydantic would not check."""
        if update:
            raise TypeError("a spec is copied unchanged: lndbayes.with_changes checks changes")
        return super().model_copy(deep=deep)


def _named(value: str) -> str:
    if not NAME.fullmatch(value):
        raise _broken(Code.BAD_NAME, NAME_RULE)
    return value


def _named_or_empty(value: str) -> str:
    return _named(value) if value else value


class Outcome(Strict):
    """What is counted, out of what, and which direction is good."""

    name: Annotated[str, AfterValidator(_named)]
    label: str
    event: str
    trials: str
    good_direction: Literal["lower", "higher", "none"]
    #: outcome whose counts are the exposure, such as referrals of attendances; empty = none
    exposure_outcome: Annotated[str, AfterValidator(_named_or_empty)]
    #: measured only among people whom the service helps to choose: no effect is reported
    selected: bool
    #: changes of at most so many events per 1,000 exposed count as none
    margin_per_1000: Annotated[float, Field(gt=0, le=_MOST_PER_1000, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _chosen(self) -> Outcome:
        if self.exposure_outcome == self.name:
            raise ValueError(
                "exposure_outcome must be another outcome: none is counted out of itself"
            )
        if self.selected and not self.exposure_outcome:
            raise ValueError(
                "exposure_outcome must name the outcome that says who is measured, "
                "where selected is true"
            )
        return self


class Likelihood(Strict):
    """Observation family, a key of `lndbayes.spec.families.FAMILIES`; the order of its bands."""

    family: FamilyName
    #: bands from the lowest to the highest; empty: the numbers in their labels say the order
    bands: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _arrays(cls, value: Any) -> Any:
        return _tuples(value)

    @field_validator("bands")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        named = all(label and label == label.strip() for label in value)
        if not named or len(value) == 1 or len(set(value)) < len(value):
            raise ValueError("must be two or more different labels, lowest first, or left out")
        return value

    @model_validator(mode="after")
    def _banded(self) -> Likelihood:
        if self.bands and not FAMILIES[self.family].staged:
            staged = ", ".join(name for name, family in FAMILIES.items() if family.staged)
            raise ValueError(f"bands must be left out: only {staged} have bands")
        return self


class Channels(Strict):
    """Sources of evidence on the baseline, each on or off."""

    not_yet_treated: bool
    retrospective: bool
    national: bool
    history: bool
    elicited: bool


class Baseline(Strict):
    """Structure of the untreated surface and the integrated-out biases of its evidence."""

    national_basis: Annotated[int, Field(ge=1, le=40)]
    site_basis: Annotated[int, Field(ge=1, le=40)]
    seams: tuple[Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")], ...]
    seam_sd: _Positive
    national_offset_sd: _Positive
    elicited_bias_sd: _Positive
    # what is left out below is off, as in specs that were stored before it was there
    #: order of the random walk whose spectrum the site functions have: sds fall as 1/k or 1/k^2
    site_curve_order: Annotated[int, Field(ge=1, le=2)] = 2
    #: modes of the national random walk, 0 = none; one less than there are periods: the walk itself
    national_walk: Annotated[int, Field(ge=0, le=MOST_MONTHS)] = 0
    #: differences of untreated trends and levels that go along with going live early; 0 = none
    drift_adoption_sd: _Scale = 0.0
    level_adoption_sd: _Scale = 0.0
    #: share of outlying biases of experts and of the national series, and how many times as wide
    contamination: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)] = 0.0
    contamination_ratio: Annotated[float, Field(gt=1, le=100, allow_inf_nan=False)] = 4.0
    channels: Channels

    @model_validator(mode="before")
    @classmethod
    def _arrays(cls, value: Any) -> Any:
        return _tuples(value)

    @field_validator("seams")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise _broken(Code.REPEATED_NAME, "must name each month once")
        return value


def _tuples(value: Any) -> Any:
    """Turn TOML arrays into tuples so that strict mode accepts them."""
    if isinstance(value, Mapping):
        return {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    return value


class Effect(Strict):
    """Windows in event months, the go-live month being 0, and the scale of a passing pulse."""

    window: tuple[int, int]
    transition: tuple[int, int]
    hide_first_months: Annotated[int, Field(ge=0, le=MOST_MONTHS)]
    pulse_sd: _Scale

    @model_validator(mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        return _tuples(value)

    @field_validator("window", "transition", mode="before")
    @classmethod
    def _two(cls, value: Any) -> Any:
        if not (isinstance(value, tuple) and len(value) == 2):
            raise _broken(Code.WRONG_TYPE, "must be two whole numbers, [first, last]")
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Effect:
        if not 0 <= self.window[0] <= self.window[1]:
            rule = "window must be [first, last] with 0 <= first <= last"
            raise _broken(Code.OUT_OF_ORDER, rule)
        if not (self.transition[0] <= 0 and self.transition[1] >= -1):
            rule = "transition must be [first, last] with first <= 0 and last >= -1"
            raise _broken(Code.OUT_OF_ORDER, rule)
        for name in ("window", "transition"):
            if max(map(abs, getattr(self, name))) > MOST_MONTHS:
                rule = f"{name} must lie within {MOST_MONTHS} months of go-live"
                raise _broken(Code.OUT_OF_RANGE, rule)
        return self


_Names = tuple[Annotated[str, AfterValidator(_named)], ...]


class Covariates(Strict):
    """Covariates by name, and the scale of their coefficients per standard deviation.

    A spec without the section has no covariates.
    """

    #: columns of `sites.csv` with which site effects may differ
    effect: _Names = ()
    #: names in `covariates.csv`: confounders of the untreated surface by site and month
    baseline: _Names = ()
    #: prior sd of a coefficient, link scale per sd of the covariate; 0 where none is named
    effect_sd: _Scale = 0.0
    baseline_sd: _Scale = 0.0
    #: what stands for a value that is not known; `carry_forward` is the site's last one before
    missing: Literal["refuse", "mean", "carry_forward"] = "refuse"
    #: values of a treated site from its go-live on: used, or its last one before go-live held
    after_go_live: Literal["used", "held"] = "used"

    @model_validator(mode="before")
    @classmethod
    def _arrays(cls, value: Any) -> Any:
        return _tuples(value)

    @field_validator("effect", "baseline")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise _broken(Code.REPEATED_NAME, "must name each covariate once")
        return value

    @model_validator(mode="after")
    def _scaled(self) -> Covariates:
        for names in ("effect", "baseline"):
            named, sd = bool(getattr(self, names)), getattr(self, f"{names}_sd")
            if named and sd == 0:
                raise ValueError(
                    f"{names}_sd must be above 0 where {names} names covariates: it is the prior "
                    "sd of their coefficients"
                )
            if sd > 0 and not named:
                raise ValueError(f"{names}_sd must be left out where {names} names no covariate")
        return self

    def __bool__(self) -> bool:
        return bool(self.effect or self.baseline)


class Sensitivity(Strict):
    """Standard deviations of bias terms that data cannot teach; 0 switches a term off."""

    shared_bias_sd: _Scale
    drift_sd: _Scale
    go_live_step_sd: _Scale
    wave_sd: _Scale


class Sampling(Strict):
    """Sampler settings."""

    draws: Annotated[int, Field(ge=50, le=_MOST_DRAWS)]
    tune: Annotated[int, Field(ge=50, le=_MOST_DRAWS)]
    chains: Annotated[int, Field(ge=1, le=64)]
    target_accept: Annotated[float, Field(gt=0.5, lt=1.0)]
    seed: Annotated[int, Field(ge=0, lt=2**63)]

    @model_validator(mode="after")
    def _in_all(self) -> Sampling:
        if self.chains * self.draws > _MOST_IN_ALL:
            rule = f"chains times draws must be at most {_MOST_IN_ALL:,}"
            raise _broken(Code.OUT_OF_RANGE, rule)
        return self
