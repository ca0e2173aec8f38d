"""What tests of refits share: a spec, data, and fits that cost nothing and remember their calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from lndbayes.coordinates.transform import Coordinates
from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.evidence import refits
from lndbayes.fitting.sampler import stored_coordinates
from lndbayes.spec.model_spec import ModelSpec, load_spec
from lndbayes.synthetic import simulate, write_evaluation
from small import MODELS, fake_fit


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    return load_spec(MODELS / "custody.toml")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> EvaluationData:
    folder = tmp_path_factory.mktemp("refits") / "data"
    return read_evaluation(write_evaluation(simulate(5, "effect", 4), folder))


class Fits:
    """Takes the place of `fit` and remembers how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[ModelSpec, EvaluationData, dict[str, Any]]] = []

    def __call__(self, spec: ModelSpec, data: EvaluationData, **options: Any) -> xr.DataTree:
        self.calls.append((spec, data, options))
        return self.tree(len(self.calls))

    @staticmethod
    def tree(call: int) -> xr.DataTree:
        """What a call by its number gets: 2 chains of 60 draws, 3 of them divergent."""
        tree = fake_fit((12, 20, None), months=48, draws=60, seed=call)
        diverging = np.zeros((2, 60), bool)
        diverging[1, [2, 5, 7]] = True
        tree["sample_stats"] = xr.DataTree(
            xr.Dataset({"diverging": (("chain", "draw"), diverging)})
        )
        return tree


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Fits:
    fake = Fits()
    monkeypatch.setattr(refits, "fit", fake)
    return fake


@pytest.fixture
def main() -> xr.DataTree:
    """A main fit of which refits take their coordinates."""
    tree = Fits.tree(99)
    tree.attrs["fit_key"] = "main"
    constants = tree["constant_data"].to_dataset()
    nothing = np.zeros((0, 0, 0)), np.zeros((0, 0), dtype=np.int64)
    scale = np.array([0.0, 1.0, 1.0])
    constants = constants.merge(
        stored_coordinates(Coordinates(np.zeros(3), scale, np.eye(3)[:, :1], *nothing))
    )
    tree["constant_data"] = xr.DataTree(constants)
    return tree
