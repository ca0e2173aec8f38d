"""Names that a caller chooses among: an unknown one is refused, never taken for another."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["one_of"]


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
