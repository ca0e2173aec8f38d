"""What a costs file prices in a run: unknown outcomes are refused, idle lines are said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from lndbayes.base.errors import Problem, SpecError
from lndbayes.data.problems import hint
from lndbayes.files.reading import Unreadable, read_toml
from lndbayes.money.costs import Costs

__all__ = [
    "NO_SAVING",
    "drop_savings",
    "line_problems",
    "outcomes_beside",
    "pricing_notes",
    "pricing_of",
]


#: How a note begins that says why there is no saving at all.
NO_SAVING: Final = "no saving is stated: "


def line_problems(costs: Costs, known: Iterable[str], file: str) -> list[Problem]:
    """Check the lines against the outcomes that there are.

    Parameters
    ----------
    costs : Costs
        Checked by themselves.
    known : iterable of str
        Outcomes of the data and of every spec that may be run with these costs, in this run or not.
    file : str
        Name of the costs file, for messages.

    Returns
    -------
    list of Problem
        A line whose outcome is none of them would price nothing in any run. Lines on referrals
        need numbers that no run stores.
    """
    names = list(dict.fromkeys(known))
    rule = "must be an outcome of the data or of a spec"
    problems = [
        Problem(
            file,
            f"{rule}: this line would price nothing{hint(line.outcome, names)}",
            None,
            f"lines.{line.name}.outcome",
            line.outcome,
        )
        for line in costs.lines
        if line.outcome not in names
    ]
    rule = "must be 'averted': referrals are priced by `lndbayes.savings` in Python only"
    return problems + [
        Problem(file, rule, None, f"lines.{line.name}.quantity", line.quantity)
        for line in costs.lines
        if line.quantity == "referrals"
    ]


def pricing_notes(costs: Costs | None, outcomes: Sequence[str]) -> list[str]:
    """Say what is not priced in a run.

    Parameters
    ----------
    costs : Costs or None
        None where there are none.
    outcomes : sequence of str
        Outcomes of the run.

    Returns
    -------
    list of str
        Sentences without a full stop; empty where every line and every outcome is priced.
    """
    if costs is None:
        return [f"{NO_SAVING}no costs were given"]
    notes = []
    idle = [f"{line.name} ({line.outcome})" for line in costs.lines if line.outcome not in outcomes]
    if len(idle) == len(costs.lines):
        notes.append(f"{NO_SAVING}no line of the costs prices an outcome of this run")
    if idle:
        notes.append(f"lines that price nothing, their outcome not being here: {', '.join(idle)}")
    priced = {line.outcome for line in costs.lines}
    without = [name for name in outcomes if name not in priced]
    if without and len(idle) < len(costs.lines):
        notes.append(f"outcomes that no line prices: {', '.join(without)}")
    return notes


def pricing_of(
    costs: Costs,
    file: Path,
    known: Iterable[str],
    outcomes: Sequence[str],
    say: Callable[[str], None],
) -> list[str]:
    """Refuse costs that are not of a run, and say what they leave out of it.

    Parameters
    ----------
    costs : Costs
        Checked by themselves.
    file : Path
        Where they come from: the specs beside it are known too.
    known, outcomes
        See `line_problems` and `pricing_notes`.
    say : callable
        Receives what they leave out.

    Returns
    -------
    list of str
        See `pricing_notes`.

    Raises
    ------
    SpecError
        See `line_problems`; also if no line prices an outcome of the run.
    """
    problems = line_problems(costs, [*known, *outcomes_beside(file)], file.name)
    if not {line.outcome for line in costs.lines} & set(outcomes):
        rule = f"no line prices an outcome of this run, which are {', '.join(outcomes)}"
        problems.append(Problem(file.name, rule, column="lines"))
    if problems:
        raise SpecError(problems)
    notes = pricing_notes(costs, outcomes)
    for note in notes:
        say(f"note: {note}")
    return notes


def drop_savings(out: Path) -> None:
    """Remove the savings of an earlier run with other costs."""
    for name in ("savings.nc", "savings.csv"):
        (out / name).unlink(missing_ok=True)


def outcomes_beside(path: str | Path) -> list[str]:
    """Outcomes of the specs in a file's folder, as far as they can be read."""
    names = []
    for other in sorted(Path(path).absolute().parent.glob("*.toml")):
        try:
            outcome = read_toml(other).get("outcome")
        except Unreadable:
            continue
        if isinstance(outcome, dict) and isinstance(outcome.get("name"), str):
            names.append(outcome["name"])
    return names
