"""What a caller chooses: the unknown is refused, never taken for something else."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = ["one_of", "pair_of"]


def one_of(argument: str, value: object, known: Iterable[str]) -> None:
    """Refuse a value that is none of the known names.

    Parameters
    ----------
    argument : str
        Name of the argument, for the message.
    value : object
        What the caller gave.
    known : iterable of str
        What there is, such as ``typing.get_args`` of a ``Literal``.

    Raises
    ------
    ValueError
        Lists what there is, with the nearest name.
    """
    names = list(known)
    if isinstance(value, str) and value in names:
        return
    by_lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(value).lower(), by_lower, n=1)
    hint = f" (did you mean {by_lower[near[0]]!r}?)" if near else ""
    listed = ", ".join(repr(name) for name in names)
    raise ValueError(f"{argument} must be one of {listed}, got {value!r}{hint}")


def pair_of(argument: str, value: object, kind: type) -> tuple[Any, Any]:
    """Refuse what is no pair of values of one kind: a text is no pair of its letters.

    Parameters
    ----------
    argument : str
        Name of the argument, for the message.
    value : object
        What the caller gave.
    kind : type
        Of both values.

    Returns
    -------
    tuple
        The two values.

    Raises
    ------
    TypeError
        Says what is wanted.
    """
    items = tuple(value) if isinstance(value, tuple | list) else ()
    if len(items) != 2 or not all(isinstance(item, kind) for item in items):
        what = {"Integral": "whole numbers", "str": "texts"}.get(kind.__name__, kind.__name__)
        raise TypeError(f"{argument} must be (first, last), two {what}, got {value!r}")
    return items[0], items[1]
