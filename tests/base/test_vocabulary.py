"""Words of tables as types: each is its own text, and the text of tables stays."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from lndbayes.base.vocabulary import EffectVerdict, Estimand, Tier, VariantName
from lndbayes.estimands.identification import TIERS
from lndbayes.evidence.sensitivity import VARIANTS


@pytest.mark.parametrize("words", [EffectVerdict, Estimand, Tier, VariantName])
def test_members_are_written_as_their_text(words) -> None:
    table = pd.DataFrame({"word": list(words)})
    text = table.to_csv(index=False)
    again = pd.read_csv(io.StringIO(text), keep_default_na=False)["word"]
    assert again.tolist() == [word.value for word in words]
    assert np.array(list(words)).dtype.kind == "U"


def test_an_estimand_tells_what_it_is_of_and_its_scale() -> None:
    assert {word.scale for word in Estimand} == {"link", "natural"}
    assert all(f"{word.of}/{word.scale}" == word for word in Estimand)


def test_every_name_that_code_asks_for_is_a_refit() -> None:
    assert set(VariantName) <= {variant.name for variant in VARIANTS}


def test_every_tier_says_what_it_means() -> None:
    assert [*TIERS, Tier.NO_EFFECT] == list(Tier)
