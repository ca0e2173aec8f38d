"""Everything that can be said against a run before any of it is done: one reading for all commands.

`validate` and `evaluate` call the same function, so that what the one accepts the other fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lndbayes.base.errors import DataError, LndbayesError, Problem, SpecError
from lndbayes.checks.thresholds import thresholds_from
from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.data.problems import hint, nearest
from lndbayes.data.schema import QUALITY
from lndbayes.files.places import run_problems
from lndbayes.files.reading import there_is, why_no_folder
from lndbayes.fitting.prepared import PreparedOutcome, prepare_outcome
from lndbayes.model.covariate_notes import covariate_notes, covariate_problems
from lndbayes.model.support import idle_parts, supported_design
from lndbayes.money.costs import Costs, load_costs
from lndbayes.money.pricing import line_problems, outcomes_beside, pricing_notes
from lndbayes.report.kept import kept_problems
from lndbayes.spec.exposure_outcome import exposure_outcome_problems
from lndbayes.spec.model_spec import ModelSpec, load_spec
from lndbayes.spec.shipped import COSTS_FILE

__all__ = [
    "Prepared",
    "load_models",
    "prepared",
    "prepared_calibration",
    "prepared_spec",
    "read_spec",
]


@dataclass(frozen=True)
class Prepared:
    """What a run is made of, checked.

    Attributes
    ----------
    data : EvaluationData
        The evaluation data.
    specs : mapping of str to ModelSpec
        Specs of the outcomes of this run, by outcome.
    outcomes : mapping of str to PreparedOutcome
        The same with data, design and key.
    costs : Costs or None
        None where the models folder holds no ``costs.toml``.
    known : tuple of str
        Outcomes that the data or any spec of the folder names.
    savings_notes : tuple of str
        What is not priced, and why.
    notes : tuple of str
        What else is left out of this run, and why.
    """

    data: EvaluationData
    specs: Mapping[str, ModelSpec]
    outcomes: Mapping[str, PreparedOutcome]
    costs: Costs | None
    known: tuple[str, ...]
    savings_notes: tuple[str, ...]
    notes: tuple[str, ...]


def prepared(
    directory: str | Path,
    models: str | Path,
    outcomes: Sequence[str] | None = None,
    *,
    out: str | Path | None = None,
    scheduler: str | None = None,
) -> Prepared:
    """Read and check everything that a run needs; nothing is fitted or written.

    Parameters
    ----------
    directory : str or Path
        Evaluation directory.
    models : str or Path
        Folder of specs, with or without ``costs.toml``.
    outcomes : sequence of str, optional
        Only these.
    out : str or Path, optional
        Run directory, if one is to be written.
    scheduler : str, optional
        Address of a Dask scheduler, which must answer.

    Returns
    -------
    Prepared

    Raises
    ------
    DataError, SpecError, UsageError
        Every problem of every file at once.
    """
    models = Path(models)
    found = _Collected()
    specs = found.of(lambda: load_models(models)) or {}
    priced = there_is(models / COSTS_FILE)
    costs = found.of(lambda: load_costs(models / COSTS_FILE)) if priced else None
    data = found.of(lambda: read_evaluation(directory))
    chosen: dict[str, ModelSpec] = {}
    ready: dict[str, PreparedOutcome] = {}
    known: tuple[str, ...] = ()
    if data is not None and specs:
        present = [str(name) for name in data.ds["outcome"].to_numpy()]
        known = tuple(dict.fromkeys([*present, *specs]))
        found.add(SpecError, _asked(outcomes, specs, models))
        found.add(SpecError, exposure_outcome_problems(specs, known))
        found.add(SpecError, line_problems(costs, known, COSTS_FILE) if costs else [])
        chosen = {k: s for k, s in specs.items() if k in (outcomes or present)}
        if not chosen and not outcomes:
            rule = f"holds none of the outcomes that have a spec ({', '.join(specs)})"
            found.add(DataError, [Problem("outcomes.csv", rule, column="outcome")])
        for name, spec in chosen.items():
            found.add(DataError, covariate_problems(spec, data))
            if (one := found.of(partial(prepare_outcome, spec, data))) is not None:
                ready[name] = one
    if out is not None:
        found.add(DataError, run_problems(Path(out), [Path(directory)]))
        found.add(DataError, kept_problems(Path(out), fresh=(QUALITY.file,)))
    if scheduler is not None and not found.errors:
        _answers(scheduler)
    found.tell()
    assert data is not None  # anything else was told
    return Prepared(
        data,
        chosen,
        ready,
        costs,
        known,
        tuple(pricing_notes(costs, list(chosen))),
        tuple(_left_out(chosen, specs, data, asked=outcomes is not None)),
    )


def prepared_spec(
    spec: str | Path,
    directory: str | Path,
    *,
    out: str | Path | None = None,
    scheduler: str | None = None,
    designed: bool = True,
) -> tuple[ModelSpec, EvaluationData]:
    """Read and check one spec and the data that it is to model; nothing is fitted or written.

    Parameters
    ----------
    spec : str or Path
        The spec.
    directory : str or Path
        Evaluation directory.
    out, scheduler
        See `prepared`.
    designed : bool
        Whether the data must carry the model as it stands.

    Returns
    -------
    ModelSpec, EvaluationData

    Raises
    ------
    DataError, SpecError, UsageError
        Every problem of every file at once.
    """
    path = Path(spec)
    found = _Collected()
    read = found.of(lambda: read_spec(path))
    data = found.of(lambda: read_evaluation(directory))
    if read is not None and data is not None:
        present = [str(name) for name in data.ds["outcome"].to_numpy()]
        known = [*present, read.outcome.name, *outcomes_beside(path)]
        found.add(SpecError, exposure_outcome_problems({read.outcome.name: read}, known, path.name))
        found.add(DataError, covariate_problems(read, data))
        if designed:
            found.of(lambda: supported_design(read, data))
    if out is not None:
        found.add(DataError, run_problems(Path(out), [Path(directory)]))
    if scheduler is not None and not found.errors:
        _answers(scheduler)
    found.tell()
    assert read is not None  # anything else was told
    assert data is not None
    return read, data


def prepared_calibration(
    spec: str | Path,
    directory: str | Path | None,
    costs_file: str | Path | None,
    *,
    out: str | Path,
    scheduler: str | None,
) -> tuple[ModelSpec, EvaluationData | None, Costs | None]:
    """Read and check what a calibration needs; nothing is fitted or written.

    Parameters
    ----------
    spec : str or Path
        The spec.
    directory : str or Path, optional
        Evaluation directory.
    costs_file : str or Path, optional
        Costs, one line of which must price the outcome.
    out, scheduler
        See `prepared`.

    Returns
    -------
    ModelSpec, EvaluationData or None, Costs or None

    Raises
    ------
    DataError, SpecError, UsageError
        Every problem of every file at once.
    """
    found = _Collected()
    read = found.of(lambda: read_spec(spec))
    data = found.of(lambda: read_evaluation(directory)) if directory is not None else None
    costs = found.of(lambda: load_costs(costs_file)) if costs_file is not None else None
    if read is not None and costs is not None and costs_file is not None:
        name, file = read.outcome.name, Path(costs_file)
        present = [] if data is None else [str(x) for x in data.ds["outcome"].to_numpy()]
        known = [name, *present, *outcomes_beside(file), *outcomes_beside(spec)]
        found.add(SpecError, line_problems(costs, known, file.name))
        if all(line.outcome != name for line in costs.lines):
            rule = f"no line prices {name}, whose saving was to be ranked"
            found.add(SpecError, [Problem(file.name, rule, column="lines")])
    inputs = [Path(directory)] if directory is not None else []
    found.add(DataError, run_problems(Path(out), inputs))
    if scheduler is not None and not found.errors:
        _answers(scheduler)
    found.tell()
    assert read is not None  # anything else was told
    return read, data, costs


class _Collected:
    """Errors of several readings, told together."""

    def __init__(self) -> None:
        self.errors: list[LndbayesError] = []

    def of[T](self, reading: Callable[[], T]) -> T | None:
        """Result of a reading, or None where it was refused."""
        try:
            return reading()
        except LndbayesError as error:
            self.errors.append(error)
            return None

    def add(self, kind: type[LndbayesError], problems: list[Problem]) -> None:
        if problems:
            self.errors.append(kind(problems))

    def tell(self) -> None:
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            problems = [problem for error in self.errors for problem in error.problems]
            # one mistake may be met twice: a spec's outcome that the data lack, say
            raise DataError(list(dict.fromkeys(problems)))


def read_spec(path: str | Path) -> ModelSpec:
    """Read one spec with its thresholds, which are else met only after the fit.

    Raises
    ------
    SpecError
        See `lndbayes.load_spec`; also for a threshold that is unknown or out of bounds.
    """
    spec = load_spec(path)
    thresholds_from(spec.checks, file=Path(path).name)
    return spec


def load_models(folder: str | Path) -> dict[str, ModelSpec]:
    """Read the specs of a models folder, by outcome.

    Parameters
    ----------
    folder : str or Path
        Holds one TOML file per outcome, and perhaps ``costs.toml``.

    Returns
    -------
    dict of str to ModelSpec

    Raises
    ------
    SpecError
        All problems of all specs at once.
    """
    folder = Path(folder)
    if why := why_no_folder(folder):
        rule = "there is no such folder of model specs"
        raise SpecError(Problem(str(folder), f"{rule} ({why})" if there_is(folder) else rule))
    specs: dict[str, ModelSpec] = {}
    problems: list[Problem] = []
    for path in sorted(folder.glob("*.toml")):
        if path.name == COSTS_FILE or path.name.startswith("."):
            continue
        try:
            spec = read_spec(path)
        except SpecError as error:
            problems += error.problems
            continue
        alike = {name.casefold(): name for name in specs}
        if spec.outcome.name in specs:
            rule = f"a second spec for outcome {spec.outcome.name!r}"
            problems.append(Problem(path.name, rule, column="outcome.name"))
        elif other := alike.get(spec.outcome.name.casefold()):
            rule = f"must not differ from {other!r} by case only: outcomes name files"
            problems.append(Problem(path.name, rule, None, "outcome.name", spec.outcome.name))
        specs[spec.outcome.name] = spec
    if not there_is(folder / COSTS_FILE):
        problems += _costs_by_another_name(folder)
    if problems:
        raise SpecError(problems)
    if not specs:
        raise SpecError(Problem(str(folder), "holds no model spec"))
    return specs


def _costs_by_another_name(folder: Path) -> list[Problem]:
    """Files that may be meant for the costs: without them no saving would be stated."""
    rule = f"would be left out (is it {COSTS_FILE}?)"
    names = [p.name for p in sorted(folder.iterdir()) if p.suffix != ".toml" or p.is_dir()]
    return [Problem(name, rule) for name in names if nearest(name, [COSTS_FILE])]


def _asked(
    outcomes: Sequence[str] | None, specs: Mapping[str, ModelSpec], folder: Path
) -> list[Problem]:
    return [
        Problem(
            str(folder),
            f"no spec for this outcome; there are {', '.join(specs)}{hint(name, specs)}",
            value=name,
        )
        for name in outcomes or ()
        if name not in specs
    ]


def _left_out(
    chosen: Mapping[str, ModelSpec],
    specs: Mapping[str, ModelSpec],
    data: EvaluationData,
    *,
    asked: bool,
) -> list[str]:
    """What is not evaluated without having been asked for, and products that lack a factor."""
    present = [str(name) for name in data.ds["outcome"].to_numpy()]
    idle = [name for name in specs if name not in present]
    notes = []
    if not asked:
        for name in present:
            if name not in specs:
                notes.append(f"outcome {name} has no spec and is not evaluated{hint(name, idle)}")
        notes += [f"the spec of {name} finds no rows of it" for name in idle]
    for name, spec in chosen.items():
        if name in present:
            notes += [*idle_parts(spec, data), *covariate_notes(spec, data)]
        other = spec.outcome.exposure_outcome
        if other and other not in chosen:
            notes.append(
                f"the exposure of {name} is the count of {other}, which is not in this run: no "
                "product with its effect is reported"
            )
    return notes


def _answers(scheduler: str) -> None:
    # what fits is imported where something is to be fitted: a check needs no compiler
    from lndbayes.fitting.parallel import check_scheduler

    check_scheduler(scheduler)
