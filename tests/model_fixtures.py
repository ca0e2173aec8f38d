"""Specs, small evaluations and the two compiled reference models, each made once a session.

Folders that need them import them in their own `conftest.py`: other tests then do not load PyMC.
"""

from __future__ import annotations

import pytest

from lndbayes.data.evaluation import EvaluationData
from lndbayes.model.design import build_design
from lndbayes.spec.model_spec import ModelSpec, with_changes
from model_cases import (
    OTHER_PRIORS,
    Compiled,
    Simulated,
    custody,
    read_tables,
    simulated,
    tiny_tables,
    with_model,
)


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    return custody()


@pytest.fixture(scope="session")
def plain_world(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """27 sites, 96 months and every channel, simulated from the fitted model."""
    return simulated(3, tmp_path_factory.mktemp("plain") / "data")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> EvaluationData:
    """Four sites, 20 months, three interventions, two waves, every channel."""
    return read_tables(tiny_tables(), tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> EvaluationData:
    """Four sites, 20 months, one intervention, one wave, no evidence."""
    tables = tiny_tables(interventions=("all",), waves=(1, 1, 1, 1), evidence=False)
    return read_tables(tables, tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="session")
def other_spec(spec: ModelSpec) -> ModelSpec:
    """Every family of prior that is not in the shipped spec at that slot."""
    return with_changes(spec, {f"priors.{slot}": prior for slot, prior in OTHER_PRIORS.items()})


@pytest.fixture(scope="session")
def full_model(spec: ModelSpec, plain_world: Simulated) -> Compiled:
    return with_model(spec, plain_world.design)


@pytest.fixture(scope="session")
def bare_model(other_spec: ModelSpec, bare: EvaluationData) -> Compiled:
    return with_model(other_spec, build_design(other_spec, bare))
