"""What a fit says of itself: its root attributes, by name and type, read in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr

from lndbayes.base.errors import FitError, Problem
from lndbayes.base.names import PERIOD_MONTHS
from lndbayes.spec.families import FAMILIES, Family

__all__ = ["FitMetadata", "metadata"]


@dataclass(frozen=True, slots=True)
class FitMetadata:
    """Root attributes of a fit.

    Each is read when it is asked for: a tree that lacks one serves all that does not need it, and
    the rest raises `FitError`.

    Attributes
    ----------
    attrs : mapping of str to object
        As a fit holds them.
    """

    attrs: Mapping[str, Any]

    @property
    def outcome(self) -> str:
        """Name of the outcome."""
        return str(self._stated("outcome"))

    @property
    def unit(self) -> str:
        """What is counted."""
        return str(self._stated("unit"))

    @property
    def family(self) -> Family:
        """Observation family."""
        return FAMILIES[str(self._stated("family"))]

    @property
    def link(self) -> str:
        """Link of the linear predictor."""
        return str(self.attrs.get("link", "logit"))

    @property
    def step(self) -> int:
        """Months a period."""
        return PERIOD_MONTHS[str(self._stated("period"))]

    @property
    def seed(self) -> int:
        """Seed of the spec."""
        return int(self._stated("seed"))

    @property
    def key(self) -> str:
        """Key of the fit's inputs: see `lndbayes.fitting.prepared.fit_key`."""
        return str(self._stated("fit_key"))

    @property
    def exposure_outcome(self) -> str:
        """Outcome whose counts are the exposure; empty where there is none."""
        return str(self.attrs.get("exposure_outcome", ""))

    @property
    def selected(self) -> bool:
        """Whether the outcome is measured only among people whom the service helps to choose."""
        return bool(self.attrs.get("selected"))

    @property
    def trials(self) -> str:
        """What an event is counted out of, in words."""
        return str(self.attrs.get("trials", ""))

    def _stated(self, name: str) -> Any:
        if name not in self.attrs:
            raise FitError(Problem("the fit", f"has no attribute {name}"))
        return self.attrs[name]


def metadata(fit: xr.DataTree) -> FitMetadata:
    """Read a fit's metadata.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit, or a tree with the attributes of one.
    """
    return FitMetadata({str(name): value for name, value in fit.attrs.items()})
