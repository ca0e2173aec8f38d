"""What an outcome is counted out of: another outcome, of counts, that does not lead back to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lndbayes.base.errors import Problem
from lndbayes.data.problems import hint
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["exposure_outcome_problems"]


def exposure_outcome_problems(
    specs: Mapping[str, ModelSpec], known: Iterable[str], file: str = ""
) -> list[Problem]:
    """Check that an outcome whose counts are an exposure is there and has counts of its own.

    Parameters
    ----------
    specs : mapping of str to ModelSpec
        Specs by outcome.
    known : iterable of str
        Outcomes of the data and of specs.
    file : str
        Where the only spec stands; default a file by the outcome's name.

    Returns
    -------
    list of Problem
    """
    names = list(known)
    problems = []
    for name, spec in specs.items():
        other = spec.outcome.exposure_outcome
        rule = ""
        if other and other not in names:
            rule = "must be an outcome of the data or of a spec, or empty" + hint(other, names)
        elif other in specs and not specs[other].family.counts:
            family = specs[other].likelihood.family
            rule = f"must be an outcome whose events are counted, and none of the family {family}"
        elif name in (chain := _exposures(name, specs)):
            rule = f"must not lead back to the outcome: {' from '.join([name, *chain])}"
        if rule:
            problems.append(
                Problem(file or f"{name}.toml", rule, None, "outcome.exposure_outcome", other)
            )
    return problems


def _exposures(name: str, specs: Mapping[str, ModelSpec]) -> list[str]:
    """Outcome that an outcome is counted out of, what that is counted out of, and so on."""
    chain: list[str] = []
    while name in specs and (name := specs[name].outcome.exposure_outcome) and name not in chain:
        chain.append(name)
    return chain
