"""What an outcome's pooled effect lets one say: one table of rules, of which the first decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from lndbayes.base.vocabulary import EffectVerdict, Tier

__all__ = [
    "RULES",
    "Findings",
    "Rule",
    "bias_tolerance",
    "tipping_bias",
    "verdict",
]

#: Posterior sd over prior sd above which the answer is the prior's.
_PRIOR: Final = 0.9
#: Share of the fit's precision above which the build-up's shape alone decides.
_BUILD_UP: Final = 0.5
#: Shift, in posterior sds, that hiding the build-up may cause, and in the shift's own sds: 99% of
#: what chance does. A fit of fewer months is wider, so that one posterior sd alone is often chance.
_SHIFT: Final = 1.0
_CHANCE: Final = 2.58


@dataclass(frozen=True, slots=True)
class Findings:
    """What a verdict on one outcome rests on.

    Attributes
    ----------
    lower, upper : float
        Ends of the pooled effect's interval, link scale.
    margin : tuple of float
        Effects from the first (below zero) to the second (above) count as none, link scale.
    sd_over_prior_sd : float
        Posterior sd of the pooled effect over its prior sd.
    build_up_share : float
        Precision of the refit without any evidence on the untreated state but with the build-up
        visible, over the fit's: ``(sd / sd_all_off) ** 2``. NaN without that refit.
    build_up_shift : float
        Mean of the refit with the build-up hidden less the fit's, in sds of the fit. NaN without
        that refit.
    build_up_chance : float
        Sd that this shift has if both are right, in the same unit: ``sqrt(ratio ** 2 - 1)`` with
        the ratio of the two fits' sds, since the fit uses all that the refit does and more
        (Hausman 1978, Specification tests in econometrics). NaN without that refit.
    selected : bool
        Measured only among people whom the service helps to choose.
    failed : tuple of str
        Checks that say FAIL and bear on the pooled effect.
    tiers : mapping of Tier to int
        Sites by tier.
    """

    lower: float
    upper: float
    margin: tuple[float, float]
    sd_over_prior_sd: float
    build_up_share: float
    build_up_shift: float
    build_up_chance: float
    selected: bool = False
    failed: tuple[str, ...] = ()
    tiers: Mapping[Tier, int] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.lower > self.upper:
            raise ValueError("the lower end of an interval must not be above the upper one")

    @property
    def within_margin(self) -> bool:
        """Whether the whole interval counts as no effect."""
        return self.margin[0] <= self.lower and self.upper <= self.margin[1]

    @property
    def build_up_decides(self) -> bool:
        """Whether the effect is known from the build-up's shape, or is another without it."""
        shift = abs(self.build_up_shift)
        moved = shift > _SHIFT and shift > _CHANCE * self.build_up_chance
        return self.build_up_share > _BUILD_UP or moved

    @property
    def mostly_reconstructed(self) -> bool:
        """Whether most sites with an effect of their own have no untreated month (tiers C, D)."""
        without = sum(self.tiers.get(tier, 0) for tier in (Tier.C, Tier.D))
        return 2 * without > without + sum(self.tiers.get(tier, 0) for tier in (Tier.A, Tier.B))


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table in ``docs/methods.md``.

    Attributes
    ----------
    verdict : EffectVerdict
        What is said.
    when : str
        In which case, in words.
    applies : callable
        The same, of findings.
    """

    verdict: EffectVerdict
    when: str
    applies: Callable[[Findings], bool]


#: The first that applies decides. What rests on something else than data comes before what the
#: interval says, and zero before the margin.
RULES: Final = (
    Rule(
        EffectVerdict.NOT_IDENTIFIED,
        "measured only among people whom the service helps to choose, or an end of the interval "
        "is not finite",
        lambda f: f.selected or not (math.isfinite(f.lower) and math.isfinite(f.upper)),
    ),
    Rule(
        EffectVerdict.PRIOR,
        f"the posterior sd is more than {_PRIOR} of the prior's",
        lambda f: not f.sd_over_prior_sd <= _PRIOR,
    ),
    Rule(
        EffectVerdict.UNTESTED,
        "the refit `all_off` or `ramp_hidden` is not there",
        lambda f: (
            not all(
                math.isfinite(x) for x in (f.build_up_share, f.build_up_shift, f.build_up_chance)
            )
        ),
    ),
    Rule(
        EffectVerdict.BUILD_UP,
        "without any evidence on the untreated state (`all_off`) more than half of the precision "
        "is left, or hiding the build-up (`ramp_hidden`) moves the effect by more than one "
        "posterior sd and by more than chance does in 99 of 100 cases",
        lambda f: f.build_up_decides,
    ),
    Rule(
        EffectVerdict.CHECK_FAILS,
        "a check that bears on the pooled effect says FAIL",
        lambda f: bool(f.failed),
    ),
    Rule(
        EffectVerdict.RECONSTRUCTED,
        "most sites with an effect of their own have no untreated month (tiers C and D)",
        lambda f: f.mostly_reconstructed,
    ),
    Rule(
        EffectVerdict.LOWERS_LITTLE,
        "the interval lies below zero and within the margin",
        lambda f: f.upper < 0 and f.within_margin,
    ),
    Rule(EffectVerdict.LOWERS, "the interval lies below zero", lambda f: f.upper < 0),
    Rule(
        EffectVerdict.RAISES_LITTLE,
        "the interval lies above zero and within the margin",
        lambda f: f.lower > 0 and f.within_margin,
    ),
    Rule(EffectVerdict.RAISES, "the interval lies above zero", lambda f: f.lower > 0),
    Rule(
        EffectVerdict.SMALL,
        "the interval holds zero and lies within the margin",
        lambda f: f.within_margin,
    ),
    Rule(EffectVerdict.CANNOT_SAY, "none of these", lambda f: True),
)


def verdict(findings: Findings) -> EffectVerdict:
    """Say in words what a pooled effect lets one say: the first of `RULES` that applies.

    Parameters
    ----------
    findings : Findings
        Interval, margin, and what they rest on.

    Returns
    -------
    EffectVerdict
    """
    return next(rule.verdict for rule in RULES if rule.applies(findings))


def tipping_bias(findings: Findings) -> float:
    """Bias at go-live that would take a claimed effect away, link scale.

    A step at go-live is aliased one for one with the effect, so this is the distance from zero of
    the interval's nearer end. NaN where no effect is claimed.
    """
    if not verdict(findings).sign:
        return math.nan
    return min(abs(findings.lower), abs(findings.upper))


def bias_tolerance(findings: Findings, largest_violation: float) -> float:
    """How many times the largest violation seen would have to happen to tip the conclusion.

    The ``M-bar`` of relative magnitudes (Rambachan and Roth 2023, A More Credible Approach to
    Parallel Trends), with placebo effects in the place of differences between untreated periods.

    Parameters
    ----------
    findings : Findings
        Of the outcome.
    largest_violation : float
        Largest placebo effect in size, link scale; NaN where no placebo was run.

    Returns
    -------
    float
        NaN where no effect is claimed, or no violation above zero was seen.
    """
    if not largest_violation > 0:
        return math.nan
    return tipping_bias(findings) / largest_violation
