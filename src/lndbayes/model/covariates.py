"""Covariates of a spec as standardised arrays, with what can be said against them.

A modifier of the effect has mean 0 and standard deviation 1 over the sites that go live within the
months; other sites have no effect that could differ and are 0. A covariate of the untreated surface
has mean 0 and standard deviation 1 over the site-months whose own value is used. The divisor is
the number of values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lndbayes.base.errors import Code, DataError, Problem
from lndbayes.base.names import MONTH, SITE
from lndbayes.data.covariates import (
    column_values,
    monthly_names,
    monthly_values,
    numeric_columns,
)
from lndbayes.data.evaluation import EvaluationData
from lndbayes.data.problems import hint
from lndbayes.data.schema import COVARIATES, SITES
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["Read", "covariate_arrays", "read_covariates"]

#: Values whose range is within this share of their size are the same.
_SAME = 1e-9


@dataclass(frozen=True)
class Read:
    """One covariate, standardised.

    Attributes
    ----------
    name : str
        Its name.
    own : ndarray, shape (S, T) or (S,)
        Values as given, NaN where none is.
    values : ndarray, of that shape
        Standardised, nothing missing; zeros where there are problems.
    sd : float
        Standard deviation, in the covariate's unit.
    known, filled : int
        How many values it is standardised over, and how many the rule for missing ones gave.
    problems : tuple of Problem
        What is wrong with it.
    """

    name: str
    own: np.ndarray
    values: np.ndarray
    sd: float
    known: int
    filled: int
    problems: tuple[Problem, ...]


def covariate_arrays(
    spec: ModelSpec, data: EvaluationData, event: np.ndarray
) -> dict[str, np.ndarray]:
    """Arrays of the covariates that a spec names.

    Parameters
    ----------
    spec : ModelSpec
        Names them.
    data : EvaluationData
        Holds them.
    event : ndarray, shape (S, T)
        Months since go-live.

    Returns
    -------
    dict of str to ndarray
        ``covariates`` (S, T, K) and ``modifiers`` (S, J), standardised; ``covariate_unit`` (K,) and
        ``modifier_unit`` (J,), one standard deviation in their own units.

    Raises
    ------
    DataError
        With every problem of every covariate.
    """
    modifiers, covariates = read_covariates(spec, data, event)
    if problems := [problem for read in (*modifiers, *covariates) for problem in read.problems]:
        raise DataError(problems)
    return {
        "covariates": _stacked(covariates, event.shape),
        "covariate_unit": np.array([read.sd for read in covariates], dtype=float),
        "modifiers": _stacked(modifiers, event.shape[:1]),
        "modifier_unit": np.array([read.sd for read in modifiers], dtype=float),
    }


def _stacked(reads: Iterable[Read], shape: tuple[int, ...]) -> np.ndarray:
    columns = [read.values for read in reads]
    return np.stack(columns, axis=-1) if columns else np.zeros((*shape, 0))


def read_covariates(
    spec: ModelSpec, data: EvaluationData, event: np.ndarray
) -> tuple[list[Read], list[Read]]:
    """Read modifiers of the effect and covariates of the untreated surface, in the spec's order.

    Parameters
    ----------
    spec, data, event
        See `covariate_arrays`.

    Returns
    -------
    list of Read, list of Read
        With their problems; nothing is raised.
    """
    named, live = spec.covariates, (event >= 0).any(axis=1)
    return (
        [_modifier(spec, data, live, name) for name in named.effect],
        [_covariate(spec, data, event, name) for name in named.baseline],
    )


def _unusable(name: str, shape: tuple[int, ...], problems: Iterable[Problem]) -> Read:
    return Read(name, np.full(shape, np.nan), np.zeros(shape), 1.0, 0, 0, tuple(problems))


def _modifier(spec: ModelSpec, data: EvaluationData, live: np.ndarray, name: str) -> Read:
    if problem := _unknown_column(spec, data, name):
        return _unusable(name, live.shape, [problem])
    own, problems = column_values(data, name)
    if problems and not np.isfinite(own).any():
        rule = "a covariate must hold numbers, and no cell of the column is one"
        problems = [Problem(SITES.file, rule, column=name, code=Code.NOT_A_NUMBER)]
    if problems:
        return _unusable(name, live.shape, problems)
    used = live & np.isfinite(own)
    if _constant(own[used]):
        rule = "a covariate must differ between the sites that go live: effects could not"
        problem = Problem(SITES.file, rule, column=name, code=Code.CONTRADICTION)
        return _unusable(name, live.shape, [problem])
    lacking = live & ~used
    if lacking.any() and spec.covariates.missing != "mean":
        sites = ", ".join(str(x) for x in data.ds[SITE].to_numpy()[lacking])
        rule = f"must not be empty at sites that go live ({sites})"
        if spec.covariates.missing == "refuse":
            rule += '; or declare missing = "mean" in [covariates]'
        else:
            rule += '; carry_forward is for months: missing = "mean" is another rule'
        problem = Problem(SITES.file, rule, column=name, code=Code.MISSING_VALUE)
        return _unusable(name, live.shape, [problem])
    mean, sd = own[used].mean(), own[used].std()
    values = np.where(used, (own - mean) / sd, 0.0)
    return Read(name, own, values, float(sd), int(used.sum()), int(lacking.sum()), ())


def _unknown_column(spec: ModelSpec, data: EvaluationData, name: str) -> Problem | None:
    known = numeric_columns(data)
    if name in known:
        return None
    if name in ("wave", "predecessor"):
        rule = f"must not be {name}, which has a term of its own in every model"
    elif name in SITES.names:
        rule = f"must be a column of {SITES.file} that holds numbers, and {name} does not"
    else:
        rule = f"must be a column of {SITES.file} that holds numbers"
        rule += f"; there are {', '.join(known)}" + hint(name, known) if known else "; it has none"
        if name in monthly_names(data):
            rule = f"must be a column of {SITES.file}: what is by month belongs to baseline"
    return _spec_problem(spec, rule, "effect", name)


def _covariate(spec: ModelSpec, data: EvaluationData, event: np.ndarray, name: str) -> Read:
    known = monthly_names(data)
    if name not in known:
        rule = f"must be a covariate of {COVARIATES.file}"
        others = f"; there are {', '.join(known)}{hint(name, known)}"
        rule += others if known else ", which is absent"
        if name in data.site_columns:
            rule = f"must be in {COVARIATES.file}: a column of {SITES.file} belongs to effect"
        problem = _spec_problem(spec, rule, "baseline", name)
        return _unusable(name, event.shape, [problem])
    own = monthly_values(data, name)
    held = (event >= 0) & (spec.covariates.after_go_live == "held")
    used = np.where(held, np.nan, own)
    there = np.isfinite(used)
    if _constant(used[there]):
        rule = f"{name}: a covariate must differ between sites or months"
        problem = Problem(COVARIATES.file, rule, column="value", code=Code.CONTRADICTION)
        return _unusable(name, event.shape, [problem])
    mean, sd = used[there].mean(), used[there].std()
    values = np.where(held, _carried_forward(used), used)
    lacking = ~np.isfinite(values)
    if spec.covariates.missing == "mean":
        values = np.where(lacking, mean, values)
    elif spec.covariates.missing == "carry_forward":
        values = _carried_forward(values)
    if (still := ~np.isfinite(values)).any():
        problem = _not_known(spec, data, name, still, held)
        return _unusable(name, event.shape, [problem])
    standard = (values - mean) / sd
    return Read(name, own, standard, float(sd), int(there.sum()), int(lacking.sum()), ())


def _constant(values: np.ndarray) -> bool:
    return not values.size or bool(np.ptp(values) <= _SAME * np.abs(values).max())


def _carried_forward(values: np.ndarray) -> np.ndarray:
    """Last known value of each site up to each month, NaN before the first; shape (S, T)."""
    at = np.where(np.isfinite(values), np.arange(values.shape[1]), -1)
    last = np.maximum.accumulate(at, axis=1)
    found = np.take_along_axis(values, np.maximum(last, 0), axis=1)
    return np.where(last >= 0, found, np.nan)


def _not_known(
    spec: ModelSpec, data: EvaluationData, name: str, lacking: np.ndarray, held: np.ndarray
) -> Problem:
    """One problem on all values of a covariate that are not known and have no rule."""
    site, month = (int(i[0]) for i in np.nonzero(lacking))
    where = f"{data.ds[SITE].to_numpy()[site]} {data.ds[MONTH].to_numpy()[month]}"
    rule = f"{name}: a covariate needs a value for every site and {data.period}, and "
    rule += f"{int(lacking.sum()):,} of {lacking.size:,} are not known (the first: {where})"
    if (lacking & held).any():
        rule += "; a value to hold after go-live needs one before it"
    if spec.covariates.missing == "refuse":
        rule += '; or declare missing = "mean" or "carry_forward" in [covariates]'
    else:
        rule += "; carry_forward needs a value in the first month"
    return Problem(COVARIATES.file, rule, column="value", code=Code.MISSING_VALUE)


def _spec_problem(spec: ModelSpec, rule: str, key: str, name: str) -> Problem:
    where = f"{spec.outcome.name}.toml", rule, None, f"covariates.{key}", name
    return Problem(*where, Code.UNKNOWN_NAME)
