"""Prior distributions as values, and the slots that a model declares for them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy import stats

from lndbayes.spec.families import FAMILIES

__all__ = ["DISTRIBUTIONS", "SLOTS", "PriorDistribution", "Slot", "required_slots"]

Support = Literal["real", "positive", "simplex"]

#: distribution -> (support, parameters; every parameter is required)
DISTRIBUTIONS: Mapping[str, tuple[Support, tuple[str, ...]]] = {
    "Normal": ("real", ("mu", "sigma")),
    "StudentT": ("real", ("nu", "mu", "sigma")),
    "HalfNormal": ("positive", ("sigma",)),
    "Exponential": ("positive", ("scale",)),
    "Gamma": ("positive", ("alpha", "beta")),
    "LogNormal": ("positive", ("mu", "sigma")),
    "Dirichlet": ("simplex", ("concentration",)),
}
_ANY_SIGN = {"mu"}
#: Range of every parameter but a mean.
_SMALLEST, _LARGEST = 1e-6, 1e6
#: Largest size on the link scale, where exponentials of sums must not overflow, and elsewhere.
_MOST_LINK, _MOST_OTHER = 200.0, 1e12
_MOST: Mapping[Support, float] = {"real": _MOST_LINK, "positive": _MOST_OTHER}
#: Probability beyond which a prior may reach further, on each side.
_BEYOND = 1e-5


@dataclass(frozen=True, slots=True)
class PriorDistribution:
    """A named distribution with its parameters, in PyMC's parameterisation.

    Attributes
    ----------
    dist : str
        A key of `DISTRIBUTIONS`. ``Exponential`` is given by its mean (``scale``).
    parameters : tuple of (str, float)
        Name and value, in the order of `DISTRIBUTIONS`.
    """

    dist: str
    parameters: tuple[tuple[str, float], ...]

    def __getitem__(self, name: str) -> float:
        return dict(self.parameters)[name]

    def __str__(self) -> str:
        inside = ", ".join(f"{k}={v:.4g}" for k, v in self.parameters)
        return f"{self.dist}({inside})"

    def as_toml(self) -> dict[str, Any]:
        """Return the inline table that `parse` reads."""
        return {"dist": self.dist, **dict(self.parameters)}

    @staticmethod
    def parse(raw: Any, support: Support, most: float | None = None) -> PriorDistribution:
        """Read an inline table such as ``{dist = "Normal", mu = 0.0, sigma = 0.5}``.

        `most` is the largest size that draws may have.

        Raises
        ------
        ValueError
            Naming the rule that is broken.
        """
        allowed = [name for name, (kind, _) in DISTRIBUTIONS.items() if kind == support]
        if isinstance(raw, PriorDistribution):
            raw = raw.as_toml()
        if not isinstance(raw, Mapping) or "dist" not in raw:
            raise ValueError("must be a table with `dist` and its parameters")
        name = raw["dist"]
        if name not in allowed:
            hint = difflib.get_close_matches(str(name), allowed, n=1)
            tail = f"; did you mean {hint[0]!r}?" if hint else ""
            raise ValueError(f"dist must be one of {', '.join(allowed)}{tail}")
        wanted = DISTRIBUTIONS[name][1]
        given = {k: v for k, v in raw.items() if k != "dist"}
        if set(given) != set(wanted):
            raise ValueError(f"{name} takes exactly {', '.join(wanted)}")
        for key, value in given.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not _finite(value):
                raise ValueError(f"{key} must be a finite number")
            if key not in _ANY_SIGN and value <= 0:
                raise ValueError(f"{key} must be above 0")
            if key not in _ANY_SIGN and not _SMALLEST <= value <= _LARGEST:
                raise ValueError(f"{key} must be between {_SMALLEST:g} and {_LARGEST:g}")
        prior = PriorDistribution(name, tuple((k, float(given[k]) + 0.0) for k in wanted))
        if support != "simplex":
            _check_range(prior, _MOST[support] if most is None else most)
        return prior

    def frozen(self) -> Any:
        """Return the scipy distribution (not for Dirichlet)."""
        p = dict(self.parameters)
        match self.dist:
            case "Normal":
                return stats.norm(p["mu"], p["sigma"])
            case "StudentT":
                return stats.t(p["nu"], p["mu"], p["sigma"])
            case "HalfNormal":
                return stats.halfnorm(scale=p["sigma"])
            case "Exponential":
                return stats.expon(scale=p["scale"])
            case "Gamma":
                return stats.gamma(p["alpha"], scale=1 / p["beta"])
            case "LogNormal":
                return stats.lognorm(p["sigma"], scale=np.exp(p["mu"]))
        raise ValueError(f"{self.dist} is not univariate")


def _check_range(prior: PriorDistribution, most: float) -> None:
    """Refuse a prior whose draws would leave what a double can hold, once transformed."""
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = prior.frozen().ppf([_BEYOND, 1 - _BEYOND])
    if not (abs(low) <= most and abs(high) <= most):
        raise ValueError(
            f"must lie within {most:g} of 0 but for {_BEYOND:g} on each side, and reaches from "
            f"{low:.3g} to {high:.3g}"
        )
    if prior.dist == "Gamma" and low <= 0:
        raise ValueError("alpha is so small that draws are 0 in double precision")


def _finite(value: float) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except OverflowError:
        # a whole number beyond any float
        return False


def _same(x: np.ndarray) -> np.ndarray:
    return x


@dataclass(frozen=True, slots=True)
class Slot:
    """A named place for a prior.

    Attributes
    ----------
    support : {"real", "positive", "simplex"}
        What the distribution must be defined on.
    description : str
        What the parameter is.
    unit : str
        Unit of the range that the prior table prints.
    dims : tuple of str
        Dims of the variable the prior is placed on; empty for a scalar.
    to_unit : callable
        Monotone map from the parameter to `unit`.
    channel : str or None
        The evidence channel without which the slot has no effect.
    """

    support: Support
    description: str
    unit: str
    dims: tuple[str, ...] = ()
    to_unit: Callable[[np.ndarray], np.ndarray] = field(default=_same)
    channel: str | None = None

    @property
    def most(self) -> float:
        """Largest size that draws may have."""
        return _MOST_LINK if self.to_unit is np.exp or self.support == "real" else _MOST_OTHER


#: Every slot, in the order of the parameter vector's scalars. Units name the ratio of a logit link;
#: `prior_table` puts the family's own in their place.
SLOTS: Mapping[str, Slot] = {
    "effect_mean": Slot(
        "real", "effect at the mean mix, long after go-live", "odds ratio", (), np.exp
    ),
    "baseline_level": Slot("real", "untreated level of a typical site", "rate"),
    "national_slope": Slot("real", "linear national trend", "odds ratio per 24 months", (), np.exp),
    "season": Slot("real", "seasonal harmonics", "odds ratio", ("harmonic",), np.exp),
    "predecessor_effect": Slot(
        "real",
        "effect difference per unit of predecessor service",
        "ratio of odds ratios",
        (),
        np.exp,
    ),
    "retrospective_bias": Slot(
        "real",
        "bias common to all retrospective records",
        "odds ratio",
        (),
        np.exp,
        "retrospective",
    ),
    "history_selection": Slot(
        "real",
        "difference between persons' own history and the site",
        "odds ratio",
        (),
        np.exp,
        "history",
    ),
    "national_curve_sd": Slot(
        "positive", "smooth national variation", "odds ratio, one sd", (), np.exp
    ),
    "national_walk_sd": Slot(
        "positive", "national random walk, from month to month", "odds ratio, one sd", (), np.exp
    ),
    "site_level_sd": Slot("positive", "spread of site levels", "odds ratio, one sd", (), np.exp),
    "site_drift_sd": Slot(
        "positive", "spread of site trends", "odds ratio per 24 months, one sd", (), np.exp
    ),
    "site_curve_sd": Slot("positive", "smooth site deviations", "odds ratio, one sd", (), np.exp),
    "mix_effect_sd": Slot(
        "positive",
        "spread of effects between interventions",
        "ratio of odds ratios, one sd",
        (),
        np.exp,
    ),
    "site_effect_sd": Slot(
        "positive",
        "spread of site effects that mix does not explain",
        "ratio of odds ratios, one sd",
        (),
        np.exp,
    ),
    "ramp_months": Slot("positive", "time constant of the build-up after go-live", "months"),
    "concentration": Slot(
        "positive",
        "concentration of cells about their expectation (large = binomial or Poisson)",
        "persons or events",
    ),
    "mix_concentration": Slot(
        "positive", "concentration of recorded mix about the true mix", "contacts"
    ),
    "retrospective_bias_sd": Slot(
        "positive",
        "spread of retrospective bias between sites",
        "odds ratio, one sd",
        (),
        np.exp,
        "retrospective",
    ),
    "crisis_dip": Slot(
        "positive",
        "rise in a person's own rate one month before referral",
        "odds ratio",
        (),
        np.exp,
        "history",
    ),
    "crisis_recovery_months": Slot(
        "positive", "time constant of that rise, looking back", "months", (), _same, "history"
    ),
    "person_dispersion": Slot(
        "positive",
        "how alike persons are: gamma shape of their own rates, per unit of exposure",
        "shape",
    ),
    "stage_level": Slot(
        "real", "later stages (length given any, review given start)", "rate", ("stage",)
    ),
    "stage_site_sd": Slot(
        "positive", "spread of sites in the later stages", "odds ratio, one sd", (), np.exp
    ),
    "stage_effect": Slot(
        "real", "effect on the later stages, long after go-live", "odds ratio", (), np.exp
    ),
    "pulse_months": Slot("positive", "month after go-live in which the pulse is highest", "months"),
    "mix_share": Slot(
        "simplex", "share of each intervention at a site", "share", ("site", "intervention")
    ),
}


#: Slots that only some specs have.
_OPTIONAL = (
    "person_dispersion",
    "stage_level",
    "stage_site_sd",
    "stage_effect",
    "pulse_months",
    "national_walk_sd",
)


def required_slots(family: str, *, pulse: bool, walk: bool = False) -> tuple[str, ...]:
    """Names of the prior slots that a spec must fill, and the only ones it may.

    Parameters
    ----------
    family : str
        A key of `lndbayes.spec.families.FAMILIES`.
    pulse : bool
        Whether the effect has a passing pulse.
    walk : bool
        Whether the nation has a random walk.
    """
    switched = {"pulse_months": pulse, "national_walk_sd": walk}
    own = {*FAMILIES[family].slots, *(slot for slot, on in switched.items() if on)}
    return tuple(slot for slot in SLOTS if slot not in _OPTIONAL or slot in own)
