"""Errors that reach a user: each says what is wrong, where, and what the rule is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

__all__ = [
    "CheckError",
    "Code",
    "DataError",
    "FitError",
    "LndbayesError",
    "MachineError",
    "Problem",
    "SpecError",
    "UsageError",
    "validation_code",
]


class Code(StrEnum):
    """What kind of rule is broken.

    A code stays when its rule is put into better words, so a script that sorts problems, or a test,
    asks for the code. It is not printed: the rule says it in a sentence.
    """

    # a file or a folder as such
    MISSING_FILE = "missing-file"
    MISNAMED_FILE = "misnamed-file"
    UNREADABLE_FILE = "unreadable-file"
    NOT_UTF8 = "not-utf8"
    NOT_CSV = "not-csv"
    NOT_TOML = "not-toml"
    NOT_JSON = "not-json"
    EMPTY_FILE = "empty-file"
    DAMAGED_FILE = "damaged-file"
    # its columns, rows and keys
    MISSING_COLUMN = "missing-column"
    REPEATED_COLUMN = "repeated-column"
    UNNAMED_COLUMN = "unnamed-column"
    RAGGED_ROW = "ragged-row"
    REPEATED_ROW = "repeated-row"
    MISSING_ROW = "missing-row"
    MISSING_KEY = "missing-key"
    UNKNOWN_KEY = "unknown-key"
    RENAMED_KEY = "renamed-key"
    # one value by itself
    MISSING_VALUE = "missing-value"
    WRONG_TYPE = "wrong-type"
    NOT_A_NUMBER = "not-a-number"
    NOT_WHOLE = "not-whole"
    OUT_OF_RANGE = "out-of-range"
    NO_SUCH_SIZE = "no-such-size"
    BAD_MONTH = "bad-month"
    BAD_NAME = "bad-name"
    BAD_CHOICE = "bad-choice"
    BAD_FORMAT = "bad-format"
    UNSEEN_CHARACTER = "unseen-character"
    FORMULA = "formula"
    # one value beside others
    UNKNOWN_SITE = "unknown-site"
    UNKNOWN_OUTCOME = "unknown-outcome"
    UNKNOWN_NAME = "unknown-name"
    RESERVED_NAME = "reserved-name"
    REPEATED_NAME = "repeated-name"
    UNUSED = "unused"
    LOOKS_ALIKE = "looks-alike"
    OUTSIDE_MONTHS = "outside-months"
    OFF_GRID = "off-grid"
    AFTER_GO_LIVE = "after-go-live"
    OUT_OF_ORDER = "out-of-order"
    COUNTED_TWICE = "counted-twice"
    NOT_EMPTY = "not-empty"
    NOT_THE_SAME = "not-the-same"
    WRONG_KIND = "wrong-kind"
    NO_TRIALS = "no-trials"
    TOO_MANY_EVENTS = "too-many-events"
    BAD_PRIOR = "bad-prior"
    CONTRADICTION = "contradiction"


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule in one place of one input.

    Attributes
    ----------
    file : str
        File name relative to the evaluation directory, or the spec's path.
    row : int or None
        Line of the file as an editor counts it (the header is line 1), if the problem has one.
    column : str or None
        Column or key.
    value : str or None
        The offending value as written.
    rule : str
        What the value must be, in one sentence.
    code : Code or None
        What kind of rule it is, for scripts and tests; None where no code was given yet.
    """

    file: str
    rule: str
    row: int | None = None
    column: str | None = None
    value: str | None = None
    code: Code | None = None

    def __str__(self) -> str:
        where = self.file
        if self.row is not None:
            where += f", row {self.row}"
        if self.column is not None:
            where += f", column {self.column}"
        if self.value is not None:
            where += f", value {self.value!r}"
        return f"{where}: {self.rule}"


#: Codes of the kinds of error that pydantic tells, by its name of the kind.
_OF_PYDANTIC = {
    "missing": Code.MISSING_KEY,
    "extra_forbidden": Code.UNKNOWN_KEY,
    "value_error": Code.CONTRADICTION,
    "finite_number": Code.NOT_A_NUMBER,
    "literal_error": Code.BAD_CHOICE,
    "string_pattern_mismatch": Code.BAD_FORMAT,
    "string_too_short": Code.MISSING_VALUE,
    **dict.fromkeys(
        ("greater_than", "greater_than_equal", "less_than", "less_than_equal"), Code.OUT_OF_RANGE
    ),
    **dict.fromkeys(("too_short", "too_long"), Code.OUT_OF_RANGE),
}


def validation_code(kind: str) -> Code:
    """Code of an error of pydantic's, by its `type`.

    A rule of ours may be raised with a code of its own as the type; what is left over is a value of
    another type than the key has.
    """
    if kind in Code:
        return Code(kind)
    return _OF_PYDANTIC.get(kind, Code.WRONG_TYPE)


class LndbayesError(Exception):
    """Base of every error this package raises on purpose.

    Parameters
    ----------
    problems : list of Problem or str
        All problems found, never only the first.

    Attributes
    ----------
    exit_code : int
        With what a command that meets it ends.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, problems: list[Problem] | Problem | str) -> None:
        if isinstance(problems, Problem):
            problems = [problems]
        self.problems: tuple[Problem, ...] = () if isinstance(problems, str) else tuple(problems)
        text = problems if isinstance(problems, str) else "\n".join(str(p) for p in problems)
        super().__init__(text)

    def __reduce__(self) -> tuple[type[LndbayesError], tuple[list[Problem] | str]]:
        """Keep the problems when an error travels from another process."""
        return type(self), (list(self.problems) or str(self),)


class DataError(LndbayesError):
    """The evaluation data break a rule of the data contract."""


class SpecError(LndbayesError):
    """A model or cost spec breaks a rule."""


class FitError(LndbayesError):
    """A fit could not be made, stored or read."""


class CheckError(LndbayesError):
    """A check could not be run as asked."""


class MachineError(LndbayesError):
    """The machine gave out: a full disk, a worker that was killed, a scheduler that is gone.

    Nothing is wrong with what was given: what was finished is kept, and the same command continues.
    """

    exit_code = 70


class UsageError(LndbayesError):
    """A command was asked for something that this machine or cluster cannot do."""
