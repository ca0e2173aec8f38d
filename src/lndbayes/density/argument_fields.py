"""Arguments of the compiled density by name: the one list of them, with the kind of each."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Final

import numpy as np

__all__ = ["BLOCKS", "FIELDS", "KINDS", "Arguments", "CoordinateArguments", "Style"]

#: Parts of the vector that the density finds by name, in the order of `Arguments.block_at`.
BLOCKS: Final = (
    *("stage_level", "mix_effect", "mix_share", "stage_site"),
    *("site_level", "retrospective_site_bias"),
)

#: What an argument is once compiled: doubles or integers, with no dim, one or two.
type Number = float
type Integer = int
type Vector = np.ndarray
type Matrix = np.ndarray
type IntVector = np.ndarray
type IntMatrix = np.ndarray


class Style(IntEnum):
    """How coefficients of a linear term are found from the vector."""

    #: one of the scalars, whose prior is among theirs
    SCALAR = 0
    #: a coordinate itself, normal with the term's mean and scale
    CENTRED = 1
    #: mean + scale times a standard normal coordinate
    SCALED = 2
    #: the same, of coordinates that are extended to sum to zero
    ZERO_SUM = 3


@dataclass(frozen=True)
class Arguments:
    """Arguments of the compiled density; shapes in the names of `Design`.

    Compiled code finds each by its name: ``get(h, "site_weight")``, see
    `lndbayes.density.argument_table`. The annotation is the kind that it then has.

    Attributes
    ----------
    block_at : ndarray, shape (len(BLOCKS), 2)
        First place of each of `BLOCKS`, and one past the last.
    scalar_at : ndarray, shape (N,)
        Place in the vector of each scalar: those of `lndbayes.model.layout.SCALARS`, then further
        scales.
    scalar_positive : ndarray, shape (N,)
        Whether it is stored as a logarithm.
    scalar_factor : ndarray, shape (N,)
        What multiplies it: a fixed scale, else 1.
    prior_code, prior_value : ndarray, shape (N,), (N, 3)
        Prior of each, before it is multiplied.
    term : ndarray, shape (B, 5)
        Linear terms that sites share: `Style`, place of the first coordinate (of a scalar: its
        number), number of the first coefficient, how many coefficients, number of the scalar that
        multiplies them or -1. First those over months, then those over sites and months in the
        untreated surface, then those in records, then those of the site effect.
    coefficient : ndarray, shape (F, 2)
        Fixed mean and sd of each of their coefficients.
    month_basis : ndarray, shape (F1, T)
        Basis of the first F1 coefficients.
    untreated_basis, records_basis : ndarray, shape (F2 * S, T), (F3 * S, T)
        Of the next ones, sites after one another.
    effect_basis : ndarray, shape (F4, S)
        Of the last ones.
    own : ndarray, shape (R, 3)
        Coefficients that each site has: first coordinate, number of the scalar that multiplies
        them or -1, and whether they sum to zero. First those over months, then those of the site
        effect.
    own_sd : ndarray, shape (R,)
        Their fixed sd.
    own_basis : ndarray, shape (R1, T)
        Basis of those over months.
    link, free_stages : int
        Code of the link, and whether later stages have levels and an effect of their own.
    national_precision, national_outlying : ndarray, shape (K, K)
        Inverse covariance of a channel's rows, of a usual bias and of an outlying one; the elicited
        ones alike.
    national_log_odds : float
        Of an outlying bias against a usual one, where rows are as expected: prior odds, times the
        ratio of the two densities at their modes.
    course, course_time : ndarray, shape (S,), (C, T)
        Sites that went live in the same month share their event times: which of these each has.
    """

    block_at: IntMatrix
    scalar_at: IntVector
    scalar_positive: IntVector
    scalar_factor: Vector
    prior_code: IntVector
    prior_value: Matrix
    term: IntMatrix
    coefficient: Matrix
    month_basis: Matrix
    untreated_basis: Matrix
    records_basis: Matrix
    effect_basis: Matrix
    own: IntMatrix
    own_sd: Vector
    own_basis: Matrix
    link: Integer
    free_stages: Integer
    share_concentration: Number
    site_weight: Matrix
    event_time: IntMatrix
    course: IntVector
    course_time: IntMatrix
    half_period: Number
    cell: IntVector
    cell_value: Matrix
    ranged: IntMatrix
    ranged_value: Matrix
    stage: IntMatrix
    stage_value: Matrix
    stage_exposure: Matrix
    stage_prior: Matrix
    exposure_level: Vector
    exposure_times: Vector
    mix_count: Matrix
    mix_centre: Vector
    retrospective_at: IntMatrix
    retrospective_value: Matrix
    history_at: IntMatrix
    history_value: Matrix
    national_weight: Matrix
    national_share: Vector
    national_logit: Vector
    national_precision: Matrix
    national_outlying: Matrix
    national_log_odds: Number
    elicited_weight: Matrix
    elicited_month: Vector
    elicited_logit: Vector
    elicited_precision: Matrix
    elicited_outlying: Matrix
    elicited_log_odds: Number
    constant: Number


@dataclass(frozen=True)
class CoordinateArguments:
    """Arguments of the change of coordinates, laid out for loops.

    See `lndbayes.coordinates.transform.Coordinates`.

    Attributes
    ----------
    mean, scale, rows, factor, local, members
        Of its linear part; `factor` has those rows only that are not zero, and `local` the groups
        after one another.
    skewed, shape, runs, middle, information
        Of its nonlinear part.
    gaussian_members, gaussian_scalars, gaussian_information, gaussian_score, gaussian_score_slope,
    gaussian_shared_scalars, gaussian_reference_mix, gaussian_mix_at
        Of the sites' Gaussian, kinds first and sites last: loops run over sites.
    directions, residual_scaling
        Of its last part.
    """

    mean: Vector
    scale: Vector
    rows: IntVector
    factor: Matrix
    local: Matrix
    members: IntMatrix
    skewed: IntVector
    shape: Matrix
    runs: IntMatrix
    middle: Vector
    information: Vector
    gaussian_members: IntMatrix
    gaussian_scalars: IntVector
    gaussian_information: Matrix
    gaussian_score: Matrix
    gaussian_score_slope: Matrix
    gaussian_shared_scalars: IntVector
    gaussian_reference_mix: Matrix
    gaussian_mix_at: IntVector
    directions: Matrix
    residual_scaling: Vector


#: Type of the elements and number of dims, by what annotates an argument.
KINDS: Final[dict[str, tuple[type, int]]] = {
    "Number": (np.float64, 0),
    "Integer": (np.int64, 0),
    "Vector": (np.float64, 1),
    "Matrix": (np.float64, 2),
    "IntVector": (np.int64, 1),
    "IntMatrix": (np.int64, 2),
}
#: Number and kind of every argument, in the order of the header.
FIELDS: Final[dict[str, tuple[int, str]]] = {
    field.name: (number, str(field.type))
    for number, field in enumerate((*fields(Arguments), *fields(CoordinateArguments)))
}
