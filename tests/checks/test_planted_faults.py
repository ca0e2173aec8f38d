"""What each planted fault does to the battery: who finds it, and which nobody finds.

One small evaluation (12 sites, simulated) is fitted, then fitted again with each fault in its data.
The table of `docs/checks.md` has to say what happened, with the faults that no check finds.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from faults import DATA_FAULTS, FIT_FAULTS, SPEC_FAULTS, DataFault, FitFault, SpecFault
from lndbayes.checks.battery import run_checks
from lndbayes.checks.result import CheckResult, Status
from lndbayes.checks.thresholds import thresholds_from
from lndbayes.coordinates.transform import Coordinates
from lndbayes.data.evaluation import read_evaluation
from lndbayes.fitting.fit import coordinates_of, fit
from lndbayes.spec.model_spec import ModelSpec, parse_spec, with_changes
from lndbayes.synthetic import SimulatedEvaluation, simulate, write_evaluation
from small import raw_of

pytestmark = pytest.mark.slow

Fault = DataFault | SpecFault | FitFault
FAULTS: tuple[Fault, ...] = (*DATA_FAULTS, *SPEC_FAULTS, *FIT_FAULTS)
SITES, SEED = 12, 6
#: Checks of the draws' number: a fit as short as a test allows does not meet them, faults or not.
SHORT = {"rhat", "rhat_reported", "ess_bulk", "ess_tail", "mcse_reported", "divergences"}


@pytest.fixture(scope="module")
def simulated() -> SimulatedEvaluation:
    """Custody without its bands: a fault is in a cell's one row, not in one band of several."""
    whole = simulate(SEED, "effect", SITES, outcomes=("custody",))
    outcomes = whole.frames["outcomes.csv"]
    within = ["site", "month"]
    rows = outcomes.drop_duplicates(within).assign(category="")
    rows["count"] = outcomes.groupby(within, sort=False)["count"].sum().to_numpy()
    frames = {**whole.frames, "outcomes.csv": rows.reset_index(drop=True)}
    return dataclasses.replace(whole, frames=frames)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return with_changes(
        parse_spec(raw_of("beta_binomial"), source="custody without its bands"),
        {"sampling.draws": 500, "sampling.tune": 300, "sampling.target_accept": 0.95},
    )


def fitted(
    simulated: SimulatedEvaluation,
    spec: ModelSpec,
    folder: Path,
    coordinates: Coordinates | None = None,
) -> xr.DataTree:
    data = read_evaluation(write_evaluation(simulated, folder / "data"))
    return fit(spec, data, cores=1, coordinates=coordinates)


@pytest.fixture(scope="module")
def clean(simulated, spec, tmp_path_factory) -> xr.DataTree:
    """Long enough that no check of the sampler comes near its limit by chance."""
    longer = with_changes(spec, {"sampling.draws": 1500})
    return fitted(simulated, longer, tmp_path_factory.mktemp("clean"))


def judged(tree: xr.DataTree, spec: ModelSpec) -> dict[str, CheckResult]:
    return {r.check: r for r in run_checks(tree, thresholds=thresholds_from(spec.checks))}


@pytest.fixture(scope="module")
def found(simulated, spec, clean, tmp_path_factory) -> dict[str, dict[str, CheckResult]]:
    """Results of the battery by fault; `clean` among them."""
    out = {"clean": judged(clean, spec)}
    coordinates = coordinates_of(clean)
    for fault in DATA_FAULTS:
        frames = fault.plant(dict(simulated.frames), np.random.default_rng(1))
        changed = dataclasses.replace(simulated, frames=frames)
        tree = fitted(changed, spec, tmp_path_factory.mktemp(fault.name), coordinates)
        out[fault.name] = judged(tree, spec)
    for wrong in SPEC_FAULTS:
        tree = fitted(
            simulated, with_changes(spec, wrong.changes), tmp_path_factory.mktemp(wrong.name)
        )
        out[wrong.name] = judged(tree, spec)
    for broken in FIT_FAULTS:
        out[broken.name] = judged(broken.plant(clean), spec)
    return out


def objections(results: dict[str, CheckResult], clean: dict[str, CheckResult]) -> dict[str, Status]:
    """Checks that object to a fault: worse than in the clean fit, and not for want of draws.

    A check of the sampler counts where it FAILs and the clean fit does not.
    """
    order = [Status.PASS, Status.NOT_RUN, Status.REVIEW, Status.FAIL]
    return {
        name: r.status
        for name, r in results.items()
        if r.status in ((Status.FAIL,) if name in SHORT else (Status.REVIEW, Status.FAIL))
        and order.index(r.status) > order.index(clean[name].status)
    }


def test_a_clean_fit_is_not_accused(found) -> None:
    off = {k: r.status for k, r in found["clean"].items() if r.status is not Status.PASS}
    assert off.keys() <= SHORT, off
    assert Status.FAIL not in off.values()


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.caught_by], ids=lambda f: f.name)
def test_a_fault_is_found_by_the_checks_named_for_it(found, fault) -> None:
    assert set(fault.caught_by) <= objections(found[fault.name], found["clean"]).keys()


@pytest.mark.parametrize("fault", [f for f in FAULTS if not f.caught_by], ids=lambda f: f.name)
def test_a_fault_that_nothing_finds_is_one_with_a_reason(found, fault) -> None:
    assert fault.reason
    against = objections(found[fault.name], found["clean"]).keys()
    # what the sampler's checks say of so few draws comes and goes with the seed
    assert against <= SHORT, "found after all: name the check"


def test_at_least_twelve_are_found() -> None:
    assert sum(bool(f.caught_by) for f in FAULTS) >= 12
    assert len({f.name for f in FAULTS}) == len(FAULTS)


def test_the_documented_table_is_what_was_found() -> None:
    text = (Path(__file__).parents[2] / "docs" / "checks.md").read_text(encoding="utf-8")
    section = text.split("## Planted faults", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (?!fault|---)(.+?) \| (.+?) \|$", section, re.M)
    wanted = [
        (f.what, ", ".join(f"`{c}`" for c in f.caught_by) or f"**nothing**: {f.reason}")
        for f in FAULTS
    ]
    assert rows == wanted
