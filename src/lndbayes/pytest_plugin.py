"""A pytest plugin: specs, data and fits as gates of a team's own continuous integration.

Three lines in a test file are enough::

    def test_custody(lndbayes_gate):
        lndbayes_gate.spec("models/custody.toml")
        lndbayes_gate.fit("runs/latest/fits/custody.nc", allow={"pareto_k"})

Everything that must not pass is imported when the fixture is used, so that a test session without
it does not pay for it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import xarray as xr

    from lndbayes.checks.result import CheckResult
    from lndbayes.data.evaluation import EvaluationData
    from lndbayes.spec.model_spec import ModelSpec

__all__ = ["Gate", "lndbayes_gate", "pytest_configure"]


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, so that strict markers accept it."""
    config.addinivalue_line(
        "markers",
        "lndbayes(allow): checks of lndbayes that a person has looked at; a REVIEW or NOT RUN of"
        " these does not fail the test, a FAIL does",
    )


class Gate:
    """What the fixture gives: each method passes or fails the test.

    Parameters
    ----------
    root : Path
        Relative paths start here.
    allow : collection of str
        Names of checks whose REVIEW and NOT RUN are accepted.
    """

    def __init__(self, root: Path, allow: Collection[str] = ()) -> None:
        self.root = root
        self.allow = frozenset(allow)

    def spec(self, path: str | Path) -> ModelSpec:
        """Read a model spec and its check thresholds; every problem fails the test."""
        from lndbayes.base.errors import LndbayesError
        from lndbayes.checks.thresholds import thresholds_from
        from lndbayes.spec.model_spec import load_spec

        try:
            found = load_spec(self.root / path)
            thresholds_from(found.checks, file=str(path))
        except LndbayesError as error:
            pytest.fail(str(error), pytrace=False)
        return found

    def data(self, path: str | Path) -> EvaluationData:
        """Read an evaluation directory; every problem fails the test."""
        from lndbayes.base.errors import LndbayesError
        from lndbayes.data.evaluation import read_evaluation

        try:
            return read_evaluation(self.root / path)
        except LndbayesError as error:
            pytest.fail(str(error), pytrace=False)

    def fit(
        self, fit: str | Path | xr.DataTree, *, allow: Collection[str] = ()
    ) -> list[CheckResult]:
        """Run the battery on a fit and all it reports, with the thresholds of its own spec.

        Parameters
        ----------
        fit : str, Path or xr.DataTree
            A stored fit or one in memory.
        allow : collection of str
            Checks whose REVIEW and NOT RUN are accepted, besides those of the marker. A FAIL is
            never accepted.

        Returns
        -------
        list of CheckResult
            All results, for further assertions.
        """
        from lndbayes.base.errors import LndbayesError
        from lndbayes.checks.battery import CHECKS, run_checks
        from lndbayes.checks.fit_checks import check_fit
        from lndbayes.checks.result import Status
        from lndbayes.checks.thresholds import thresholds_from
        from lndbayes.files.reading import Unreadable, parse_json
        from lndbayes.fitting.fit import load_fit
        from lndbayes.spec.model_spec import stored_spec

        accepted = self.allow | frozenset(allow)
        if unknown := sorted(accepted - set(CHECKS)):
            pytest.fail(f"no such checks to allow: {', '.join(unknown)}", pytrace=False)
        try:
            tree = load_fit(self.root / fit) if isinstance(fit, str | Path) else fit
            raw = parse_json(str(tree.attrs.get("spec_text", "{}")))
            if not isinstance(raw, dict) or "outcome" in raw:
                results = check_fit(
                    stored_spec(str(tree.attrs["spec_text"]), source="spec of the fit"), tree
                )
            else:
                # a fit without its spec has no window: what is reported of it is not known
                results = run_checks(tree, thresholds=thresholds_from(raw.get("checks", {})))
        except (LndbayesError, Unreadable) as error:
            pytest.fail(str(error), pytrace=False)
        open_ = [
            r
            for r in results
            if r.status is Status.FAIL or (r.status is not Status.PASS and r.check not in accepted)
        ]
        if open_:
            lines = [f"{r.outcome}: {r.check}: {r.status}: {r.message}" for r in open_]
            pytest.fail("\n".join(lines), pytrace=False)
        return results


@pytest.fixture
def lndbayes_gate(request: pytest.FixtureRequest) -> Gate:
    """Gate of specs, data and fits; paths are relative to the root of the test session."""
    allow: set[str] = set()
    for marker in request.node.iter_markers("lndbayes"):
        if marker.args or set(marker.kwargs) - {"allow"}:
            raise pytest.UsageError("the marker lndbayes takes allow=... and nothing else")
        allow |= set(marker.kwargs.get("allow", ()))
    return Gate(request.config.rootpath, allow)
