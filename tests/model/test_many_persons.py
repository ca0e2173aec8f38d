"""However many persons there are, a fit's paths are as short: data of the model's own law."""

from __future__ import annotations

import numpy as np
import pytest

from lndbayes.model.replicate import replicate_data
from lndbayes.sampler import find_metric, sample_density
from lndbayes.spec import with_changes

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("times", [1, 1000])
def test_paths_are_as_short_with_a_thousand_times_the_persons(spec, plain_world, times):
    """Sites are known so well that what they share and what couples them must be right to a
    thousandth: left as they were, paths have 15 steps, or 12 of which one in ten diverges."""
    whole = plain_world.design
    more = {
        name: times * whole[name]
        for name in whole.arrays
        if name.endswith(("exposure", "count", "exposure_exact", "count_exact"))
    }
    assert {"exposure", "stage_exposure", "history_exposure", "mix_count"} <= set(more)
    design = replicate_data(
        plain_world.truth, whole.replace(**more), spec, np.random.default_rng(5)
    )
    assert design["count"].sum() == pytest.approx(times * whole["count"].sum(), rel=0.3)
    quick = with_changes(spec, {"sampling.chains": 2, "sampling.draws": 400})
    raw = sample_density(quick, design, cores=2, metric=find_metric(quick, design, cores=2))
    assert np.median(raw.stats["n_steps"]) == 7
    assert raw.stats["n_steps"].mean() < 11
    assert raw.stats["diverging"].mean() < 0.02
