"""Families of outcomes as data: link, what a cell counts, and which parameters a family has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np

__all__ = ["FAMILIES", "LOG_RATIO", "RATIO", "Family", "forward", "inverse", "slope"]

Link = Literal["logit", "log", "cloglog"]
FamilyName = Literal[
    "beta_binomial",
    "ordered_bands",
    "negative_binomial",
    "negative_binomial_from_one",
    "duration_hazard",
    "ordered_change",
]


@dataclass(frozen=True, slots=True)
class Family:
    """One observation family.

    Attributes
    ----------
    link : {"logit", "log", "cloglog"}
        Scale of the linear predictor.
    trials : bool
        Whether the exposure is a number of trials that the count cannot exceed.
    staged : bool
        Whether cells have ordered bands, each stage given the one before (continuation ratio).
    free_stage_effect : bool
        Whether later stages have levels by site and an effect of their own, apart from those of the
        first; otherwise they move with it (proportional odds or hazards).
    intervals : bool
        Whether suppressed and rounded cells can be used, as intervals.
    shift : int
        Taken off the count for each unit of exposure: 1 where every case has at least one event.
    slots : tuple of str
        Prior slots beyond those of all families.
    rate : str
        What the inverse link of the predictor is.
    """

    link: Link
    trials: bool
    staged: bool
    free_stage_effect: bool
    intervals: bool
    shift: int
    slots: tuple[str, ...]
    rate: str

    @property
    def counts(self) -> bool:
        """Whether rate (and shift) times exposure is a number of events: another's exposure."""
        return self.free_stage_effect or not self.staged


FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        "beta_binomial": Family("logit", True, False, False, True, 0, (), "rate"),
        "ordered_bands": Family(
            "logit",
            True,
            True,
            True,
            False,
            0,
            ("stage_level", "stage_site_sd", "stage_effect"),
            "rate of any band",
        ),
        "negative_binomial": Family(
            "log", False, False, False, True, 0, ("person_dispersion",), "rate per unit of exposure"
        ),
        "negative_binomial_from_one": Family(
            "log", False, False, False, True, 1, ("person_dispersion",), "further events a case"
        ),
        "duration_hazard": Family(
            "cloglog", True, True, False, False, 0, ("stage_level",), "share ended in the first bin"
        ),
        "ordered_change": Family(
            "logit",
            True,
            True,
            False,
            False,
            0,
            ("stage_level",),
            "share that leaves the lowest band",
        ),
    }
)

#: Name of the exponentiated predictor difference, by link.
RATIO: Final[Mapping[str, str]] = MappingProxyType(
    {"logit": "odds ratio", "log": "rate ratio", "cloglog": "hazard ratio"}
)
#: Name of the predictor difference itself.
LOG_RATIO: Final[Mapping[str, str]] = MappingProxyType(
    {"logit": "log odds", "log": "log rate", "cloglog": "log hazard"}
)


def inverse(link: str, eta: np.ndarray) -> np.ndarray:
    """Natural scale of linear predictors.

    Parameters
    ----------
    link : {"logit", "log", "cloglog"}
        The link.
    eta : ndarray
        Any shape.

    Returns
    -------
    ndarray
        Same shape: a probability, or for ``log`` a rate.
    """
    eta = np.asarray(eta, dtype=float)
    if link == "logit":
        small = np.exp(-np.abs(eta))
        return np.asarray(np.where(eta >= 0, 1.0, small) / (1.0 + small))
    if link == "log":
        return np.asarray(np.exp(eta))
    if link == "cloglog":
        return np.asarray(-np.expm1(-np.exp(eta)))
    raise ValueError(f"unknown link {link!r}")


def forward(link: str, rate: np.ndarray) -> np.ndarray:
    """Linear predictor of natural values: the inverse of `inverse`."""
    rate = np.asarray(rate, dtype=float)
    if link == "logit":
        return np.asarray(np.log(rate) - np.log1p(-rate))
    if link == "log":
        return np.asarray(np.log(rate))
    if link == "cloglog":
        return np.asarray(np.log(-np.log1p(-rate)))
    raise ValueError(f"unknown link {link!r}")


def slope(link: str, rate: np.ndarray) -> np.ndarray:
    """Derivative of `forward`: turns a standard error of a rate into one of its predictor."""
    rate = np.asarray(rate, dtype=float)
    if link == "logit":
        return np.asarray(1.0 / (rate * (1.0 - rate)))
    if link == "log":
        return np.asarray(1.0 / rate)
    if link == "cloglog":
        return np.asarray(1.0 / ((1.0 - rate) * -np.log1p(-rate)))
    raise ValueError(f"unknown link {link!r}")
