"""Fields that hand out copies: what one reader changes, no other one sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pandas as pd
import xarray as xr

__all__ = ["guarded"]


class _Guarded:
    """A field that hands out copies, so that no caller can change what others read.

    Pandas copies lazily and a shallow Dataset copy shares its read-only arrays: both are cheap.
    """

    def __init__(self, slot: str) -> None:
        self.slot = slot

    def __get__(self, instance: object, owner: type) -> Any:
        return self if instance is None else _copied(getattr(instance, self.slot))

    def __set__(self, instance: object, value: Any) -> None:
        object.__setattr__(instance, self.slot, _stored(value))


def guarded[C: type](*names: str) -> Callable[[C], C]:
    """Guard fields of a dataclass.

    Parameters
    ----------
    *names : str
        The fields; each is kept under its name with an underscore before it.

    Returns
    -------
    callable
        A decorator, to stand above that of the dataclass, which would else take the descriptors for
        defaults.
    """

    def attach(owner: C) -> C:
        for name in names:
            setattr(owner, name, _Guarded(f"_{name}"))
        return owner

    return attach


def _stored(value: Any) -> Any:
    """Return what is kept: mappings as plain dicts (which pickle), none of it the caller's."""
    if isinstance(value, Mapping) and not isinstance(value, xr.Dataset):
        return {key: _stored(item) for key, item in value.items()}
    return _copied(value)


def _copied(value: Any) -> Any:
    if isinstance(value, pd.DataFrame | xr.Dataset):
        return value.copy(deep=False)
    if isinstance(value, Mapping):
        return MappingProxyType({key: _copied(item) for key, item in value.items()})
    return value
