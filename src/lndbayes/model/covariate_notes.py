"""What is said of and against a spec's covariates: gaps filled in, what may be a bad control.

A covariate that the service itself changes takes part of the effect away from it. No data can tell
whether one does; what they can show is that a covariate moves with go-live.
"""

from __future__ import annotations

import numpy as np

from lndbayes.base.errors import Problem
from lndbayes.data.evaluation import EvaluationData
from lndbayes.model.covariates import Read, read_covariates
from lndbayes.model.design import event_time
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["covariate_notes", "covariate_problems", "shift_at_go_live", "shift_by_chance"]

#: Times that go-lives are dealt anew to the sites, and the share of them that is no chance.
SHUFFLES, CHANCE = 199, 0.05


def covariate_problems(spec: ModelSpec, data: EvaluationData) -> list[Problem]:
    """Say everything against a spec's covariates, whatever else is wrong with the data."""
    modifiers, covariates = read_covariates(spec, data, event_time(data))
    return [problem for read in (*modifiers, *covariates) for problem in read.problems]


def covariate_notes(spec: ModelSpec, data: EvaluationData) -> list[str]:
    """Say what covariates a model has and what to mind.

    Parameters
    ----------
    spec : ModelSpec
        Names them.
    data : EvaluationData
        Holds them.

    Returns
    -------
    list of str
        Empty where the spec names none.
    """
    if not spec.covariates:
        return []
    event = event_time(data)
    modifiers, covariates = read_covariates(spec, data, event)
    name = spec.outcome.name
    notes = [
        f"the effect on {name} may differ with {read.name}: per sd ({read.sd:.3g}) over "
        f"{read.known} sites that go live{_filled(read, 'sites')}"
        for read in modifiers
    ]
    held = spec.covariates.after_go_live == "held"
    told = (
        "from go-live on a treated site's last value before it is held"
        if held
        else "values after go-live of treated sites are used: a covariate that the service itself "
        "changes would take part of the effect away"
    )
    for read in covariates:
        notes.append(
            f"the untreated {name} is adjusted for {read.name}: per sd ({read.sd:.3g}) over "
            f"{read.known:,} site-{data.period}s{_filled(read, f'site-{data.period}s')}; {told}"
        )
        if not held:
            notes += _bad_control(spec, read, event)
    return notes


def _filled(read: Read, what: str) -> str:
    return f", and {read.filled:,} {what} without a value are filled in" if read.filled else ""


def _bad_control(spec: ModelSpec, read: Read, event: np.ndarray) -> list[str]:
    shift = shift_at_go_live(read.own, event)
    if not np.isfinite(shift):
        return [
            f"whether {read.name} moved with go-live cannot be told: no untreated site has a value "
            "in the months in which treated ones do"
        ]
    chance = shift_by_chance(read.own, event, spec.sampling.seed)
    if chance > CHANCE:
        return []
    return [
        f"WARNING: {read.name} moved by {shift / read.sd:+.2g} sd after go-live at treated sites, "
        f"against untreated ones, which go-lives dealt at random do in {chance:.1%} of cases. If "
        f"the service itself changed it, adjusting for it biases the effect on "
        f'{spec.outcome.name}: leave it out or declare after_go_live = "held"'
    ]


def shift_at_go_live(values: np.ndarray, event: np.ndarray) -> float:
    """Mean over treated sites of what a covariate did after go-live beside untreated sites.

    Site and month means are fitted to the untreated values by least squares; a site's shift is the
    mean of its treated values less those, as in the imputation estimator of Borusyak, Jaravel and
    Spiess (2024).

    Parameters
    ----------
    values : ndarray, shape (S, T)
        In the covariate's unit, NaN where not known.
    event : ndarray, shape (S, T)
        Months since go-live, negative before.

    Returns
    -------
    float
        In the covariate's unit; NaN where no treated value has an untreated one of its own site,
        and one of another site in its month.
    """
    there = np.isfinite(values)
    before = there & (event < 0)
    after = there & (event >= 0) & before.any(axis=1)[:, None] & before.any(axis=0)
    if not after.any():
        return float("nan")
    x, w = np.where(before, values, 0.0), before.astype(float)
    per_site = np.maximum(w.sum(axis=1), 1.0)
    # site means are eliminated; what is left are the normal equations of the months
    matrix = np.diag(w.sum(axis=0)) - w.T @ (w / per_site[:, None])
    right = x.sum(axis=0) - w.T @ (x.sum(axis=1) / per_site)
    month = np.linalg.pinv(matrix, hermitian=True) @ right
    site = (x - w * month).sum(axis=1) / per_site
    rest = np.where(after, values - site[:, None] - month, 0.0).sum(axis=1)
    some = after.any(axis=1)
    return float((rest[some] / after.sum(axis=1)[some]).mean())


def shift_by_chance(values: np.ndarray, event: np.ndarray, seed: int) -> float:
    """How often go-lives dealt at random to the sites show as large a shift.

    Parameters
    ----------
    values, event
        See `shift_at_go_live`.
    seed : int
        Seed of the deals.

    Returns
    -------
    float
        The p value of a permutation test: the share among `SHUFFLES` deals and the one that was.
    """
    rng = np.random.default_rng([seed, 41])
    shift = abs(shift_at_go_live(values, event))
    dealt = [
        abs(shift_at_go_live(values, event[rng.permutation(len(event))])) for _ in range(SHUFFLES)
    ]
    # where a deal leaves nothing to compare it is no evidence against chance
    as_large = sum(not other < shift * (1 - 1e-9) for other in dealt)
    return (1 + as_large) / (1 + SHUFFLES)
