"""However many persons there are, a fit's paths are as short: data drawn from the model."""

from __future__ import annotations

import numpy as np
import pytest

from lndbayes.fitting.sampler import find_coordinates, sample_density
from lndbayes.model.replicate import replicate_data
from lndbayes.spec.model_spec import with_changes

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("times", "seeds"), [(1, 2), (1000, 5)])
def test_paths_are_as_short_with_a_thousand_times_the_persons(spec, plain_world, times, seeds):
    """Sites are known so well that what they share and what couples them must be right to a
    thousandth: left as they were, paths have 15 steps, or 12 of which one in ten diverges.

    Over several worlds. A path has 7 steps where the adapted step is above 0.45 and 15 below; it
    is 0.5 to 0.6 here, and which side a chain of one seed falls on is up to the processor: a last
    digit that it rounds otherwise is other draws.
    """
    whole = plain_world.design
    more = {
        name: times * whole[name]
        for name in whole.arrays
        if name.endswith(("exposure", "count", "exposure_exact", "count_exact"))
    }
    assert {"exposure", "stage_exposure", "history_exposure", "mix_count"} <= set(more)
    steps, diverging = [], []
    for seed in range(seeds):
        design = replicate_data(
            plain_world.truth, whole.replace(**more), spec, np.random.default_rng(seed)
        )
        assert design["count"].sum() == pytest.approx(times * whole["count"].sum(), rel=0.3)
        quick = with_changes(
            spec, {"sampling.chains": 2, "sampling.draws": 200, "sampling.seed": seed}
        )
        raw = sample_density(
            quick, design, cores=2, coordinates=find_coordinates(quick, design, cores=2)
        )
        steps.append(raw.stats["n_steps"].mean())
        diverging.append(raw.stats["diverging"].mean())
    # one world in two of twice the length is still within it
    assert np.mean(steps) < 13
    assert np.mean(diverging) < 0.05
