"""The hash of what evaluation data hold, whatever they were made from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

__all__ = ["content_hash"]


def content_hash(
    head: tuple[object, ...], ds: xr.Dataset, tables: Mapping[str, pd.DataFrame]
) -> str:
    """Hash facts, a Dataset without its attributes, and of each table one line a row.

    Parameters
    ----------
    head : tuple
        Facts, such as the period.
    ds : xarray.Dataset
        The Dataset.
    tables : mapping of str to pandas.DataFrame
        Columns in the contract's order, rows in that of their key.

    Returns
    -------
    str
        SHA-256, hex: the same for one number written in two ways.
    """
    digest = hashlib.sha256(repr(head).encode())
    for name in sorted(str(key) for key in ds.variables):
        digest.update(repr((name, ds[name].dims, ds[name].shape)).encode())
        digest.update(_bytes(ds[name].to_numpy()))
    for name, frame in tables.items():
        digest.update(f"\n[{name}]\n".encode())
        columns = [_texts(frame[column]) for column in frame]
        lines = ("\x1f".join(cells) for cells in zip(*columns, strict=True))
        digest.update("\x1e".join(lines).encode())
    return digest.hexdigest()


def _bytes(values: np.ndarray) -> bytes:
    if values.dtype.kind in "fiub":
        numbers = values.astype(float) + 0.0  # one zero
        return np.where(np.isnan(numbers), np.nan, numbers).tobytes()  # and one NaN
    return "\x1f".join(str(value) for value in values.ravel()).encode()


def _texts(values: pd.Series) -> list[str]:
    if values.dtype.kind not in "if":
        return list(values.tolist())
    codes, distinct = pd.factorize(values.to_numpy(float))
    texts = np.array([*(repr(float(value)) for value in distinct), ""], dtype=object)
    return list(texts[codes])
