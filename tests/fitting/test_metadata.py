"""Metadata of a fit: what it states, and what is said of what it lacks."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from lndbayes.base.errors import FitError
from lndbayes.fitting.metadata import metadata
from lndbayes.spec.families import FAMILIES

STATED = {
    "outcome": "custody",
    "unit": "sentences",
    "family": "beta_binomial",
    "link": "logit",
    "period": "quarter",
    "seed": np.int64(7),
    "fit_key": "key",
}


def test_attributes_have_types() -> None:
    found = metadata(xr.DataTree(xr.Dataset(attrs=STATED)))
    assert (found.outcome, found.unit, found.key) == ("custody", "sentences", "key")
    assert found.family is FAMILIES["beta_binomial"]
    assert (found.link, found.step, found.seed) == ("logit", 3, 7)
    assert type(found.seed) is int
    assert (found.exposure_outcome, found.selected, found.trials) == ("", False, "")


@pytest.mark.parametrize("name", ["outcome", "unit", "family", "seed", "key", "step"])
def test_what_is_not_stated_is_told_when_it_is_asked_for(name) -> None:
    found = metadata(xr.DataTree())
    with pytest.raises(FitError, match="has no attribute"):
        getattr(found, name)
