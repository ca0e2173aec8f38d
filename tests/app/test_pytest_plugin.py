"""The plugin in a test session of its own: what passes its gates and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lndbayes.checks.battery import CHECKS
from lndbayes.checks.fit_checks import check_fit
from lndbayes.checks.result import Status
from lndbayes.data.evaluation import read_evaluation
from lndbayes.fitting.fit import SCHEMA, fit, save_fit
from lndbayes.pytest_plugin import Gate
from lndbayes.spec.model_spec import load_spec
from small import complete, load, write_small

pytest_plugins = ["pytester"]

fakes = load("fake_fit.py")


@pytest.fixture
def session(pytester: pytest.Pytester) -> pytest.Pytester:
    """A directory with a good spec, a broken one, a clean fit and a broken fit."""
    good = complete("custody")
    (pytester.path / "good.toml").write_text(good)
    (pytester.path / "bad.toml").write_text(
        good.replace("national_basis = 8", "national_bases = 8")
    )
    fit = fakes.make_fit(draws=1000)
    fit.attrs |= {
        "schema": SCHEMA,
        "spec_text": '{"checks": {"prior_rate_low": 0.03, "prior_rate_high": 0.3}}',
    }
    save_fit(fit, pytester.path / "clean.nc")
    broken = fakes.changed(
        fit, "posterior", lambda ds: ds.assign(effect_mean=ds.effect_mean * float("nan"))
    )
    save_fit(broken, pytester.path / "broken.nc")
    fit.attrs["spec_text"] = "{}"
    save_fit(fit, pytester.path / "open.nc")
    return pytester


def outcome(
    session: pytest.Pytester, body: str, *, strict: bool = True
) -> tuple[pytest.RunResult, str]:
    session.makepyfile(f"import pytest\n\n{body}")
    options = ["-p", "lndbayes.pytest_plugin", "-p", "no:cacheprovider"]
    result = session.runpytest(*options, *(["--strict-markers"] if strict else []))
    return result, result.stdout.str()


def test_three_lines_are_enough(session) -> None:
    result, _ = outcome(
        session,
        "def test_gate(lndbayes_gate):\n"
        "    lndbayes_gate.spec('good.toml')\n"
        "    assert len(lndbayes_gate.fit('clean.nc')) > 30\n",
    )
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("spec('bad.toml')", "did you mean 'national_basis'"),
        ("spec('none.toml')", "none.toml"),
        ("data('nowhere')", "there is no such directory"),
        ("fit('broken.nc')", "custody: finite: FAIL"),
        ("fit('broken.nc', allow={'finite'})", "custody: finite: FAIL"),
        ("fit('open.nc')", "custody: prior_rate: NOT RUN"),
        ("fit('good.toml')", "is not a readable fit"),
        ("fit('clean.nc', allow={'rhats'})", "no such checks to allow: rhats"),
    ],
)
def test_what_does_not_pass(session, line, says) -> None:
    result, text = outcome(session, f"def test_gate(lndbayes_gate):\n    lndbayes_gate.{line}\n")
    result.assert_outcomes(failed=1)
    assert says in text


def test_a_person_who_has_looked_says_so(session) -> None:
    result, _ = outcome(
        session,
        "@pytest.mark.lndbayes(allow={'prior_rate'})\n"
        "def test_gate(lndbayes_gate):\n    lndbayes_gate.fit('open.nc')\n",
    )
    result.assert_outcomes(passed=1)


def test_a_marker_with_something_else_is_an_error(session) -> None:
    result, text = outcome(
        session,
        "@pytest.mark.lndbayes(ignore='all')\n"
        "def test_gate(lndbayes_gate):\n    lndbayes_gate.fit('open.nc')\n",
    )
    result.assert_outcomes(errors=1)
    assert "allow=" in text


@pytest.mark.slow
def test_a_real_fit_is_held_to_what_it_reports(tmp_path) -> None:
    """Too few draws for what is published: the gate fails as `lndbayes check` does."""
    data, models = write_small(tmp_path, sites=8, chains=2, tune=100, draws=100)
    spec = load_spec(models / "custody.toml")
    tree = fit(spec, read_evaluation(data), cores=1)
    failed = [r for r in check_fit(spec, tree) if r.status is Status.FAIL]
    assert "ess_reported" in {r.check for r in failed}
    with pytest.raises(pytest.fail.Exception) as caught:
        Gate(tmp_path, CHECKS).fit(tree)
    assert str(caught.value).splitlines() == [
        f"custody: {r.check}: FAIL: {r.message}" for r in failed
    ]


@pytest.mark.parametrize("text", ["not JSON", "[" * 5000, "[]", '{"outcome": 3}'])
def test_a_fit_whose_spec_cannot_be_read_fails_in_a_line(text: str) -> None:
    broken = fakes.make_fit(draws=50)
    broken.attrs["spec_text"] = text
    with pytest.raises(pytest.fail.Exception):
        Gate(Path()).fit(broken)
