"""Sites, waves and gaps, for 27 sites and for any other number."""

from __future__ import annotations

import numpy as np
import pytest

from lndbayes.synthetic import World
from lndbayes.synthetic.layout import draw_layout, go_lives, retrospective_pattern, streams


def layout(sites=27, seed=3, **changes):
    return draw_layout(World(**changes), sites, streams(seed))


def test_27_sites_follow_the_rollout():
    go_live, wave = go_lives(27, 36)
    second = [48, 48, 48, 49, 49, 50, 51, 51, 52, 53, 54, 54, 54]
    assert go_live.tolist() == [36] * 10 + second + [63, 69, 75, 84]
    assert wave.tolist() == [1] * 10 + [2] * 13 + [3] * 4


@pytest.mark.parametrize("sites", [2, 3, 8, 26, 54, 100, 300])
def test_any_number_of_sites_keeps_the_proportions(sites):
    go_live, wave = go_lives(sites, 36)
    assert len(go_live) == len(wave) == sites
    for number, share in ((1, 10 / 27), (2, 13 / 27), (3, 4 / 27)):
        assert abs((wave == number).sum() - share * sites) < 1
    assert (go_live[wave == 1] == 36).all()
    assert go_live.max() <= 84
    assert (np.diff(wave) >= 0).all()


def test_retrospective_sites_of_27_and_of_others():
    assert retrospective_pattern(27, 11).tolist() == [0, 2, 3, 5, 6, 8, 9, 11, 14, 17, 20]
    assert retrospective_pattern(27, 0).tolist() == []
    assert retrospective_pattern(27, 27).tolist() == list(range(27))
    assert len(retrospective_pattern(27, 4)) == 4
    assert len(retrospective_pattern(270, 11)) == 110


def test_labels_are_distinct_at_300_sites():
    many = layout(300)
    assert len(set(many.label)) == len(set(many.site)) == 300
    assert sorted(many.site) == list(many.site)


def test_grid_and_exposure():
    drawn = layout()
    assert (drawn.month[0], drawn.month[36], drawn.month[-1]) == ("2011-04", "2014-04", "2019-03")
    assert (drawn.exposure >= 1).all()
    assert ((drawn.size >= 12) & (drawn.size <= 160)).all()
    # Mean of 96 Poisson draws: five standard errors.
    error = np.abs(drawn.exposure.mean(axis=1) - drawn.size)
    assert (error < 5 * np.sqrt(drawn.size / 96)).all()
    np.testing.assert_allclose(drawn.population / drawn.size, 10_000, rtol=1e-4)


def test_gaps_are_a_share_at_random_and_whole_years():
    solid = layout(missing_share=0.0)
    assert not solid.published[:, :36].any()
    lost = 60 - solid.published[:, 36:].sum(axis=1)
    assert sorted(lost)[-3:] == [0, 12, 12]
    for s in np.flatnonzero(lost):
        gap = 36 + np.flatnonzero(~solid.published[s, 36:])
        assert gap.tolist() == list(range(gap[0], gap[0] + 12))
    holed = layout(300, missing_year_sites=0)
    # 300 x 60 rows: five standard errors of a share of .06 are .009.
    assert 1 - holed.published[:, 36:].mean() == pytest.approx(0.06, abs=0.009)


def test_three_predecessors_are_unknown():
    drawn = layout()
    known = drawn.predecessor[~np.isnan(drawn.predecessor)]
    assert len(known) == 24
    assert ((known >= 0) & (known <= 1)).all()


def test_streams_are_independent_of_one_another():
    first, second = streams(11), streams(11)
    second["size"].random(1000)  # one component draws more
    for name in first:
        if name != "size":
            assert first[name].random() == second[name].random()
    starts = [generator.random() for generator in streams(11).values()]
    assert len(set(starts)) == len(starts)
