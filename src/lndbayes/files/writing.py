"""Tables, JSON and draws of a run, each file written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from lndbayes.base.errors import DataError, Problem
from lndbayes.base.formulas import neutral_table
from lndbayes.files.storage import Damaged, read_netcdf, write_netcdf, write_whole

__all__ = ["flat_toml", "read_dataset", "write_bytes", "write_dataset", "write_json", "write_table"]


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV whole or not at all; empty where a number is not known, no text a formula."""
    safe = neutral_table(table)
    write_whole(path, lambda part: safe.to_csv(part, index=False, lineterminator="\n"))


def write_json(value: Mapping[str, Any], path: Path) -> None:
    """Write JSON whole or not at all."""
    text = json.dumps(value, indent=1, sort_keys=False) + "\n"
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def flat_toml(settings: Mapping[str, Any]) -> str:
    """Render a flat table: a JSON string, number, boolean or list of them is also a TOML one."""
    return "".join(f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in settings.items())


def write_bytes(content: bytes, path: Path) -> None:
    """Write a file whole or not at all."""
    write_whole(path, lambda part: part.write_bytes(content))


def write_dataset(ds: xr.Dataset, path: Path) -> None:
    """Write NetCDF whole or not at all, under a seal of its content."""
    write_netcdf(ds, path)


def read_dataset(path: Path) -> xr.Dataset:
    """Read a NetCDF file of a run into memory.

    Raises
    ------
    DataError
        If it is damaged or was edited.
    """
    try:
        return read_netcdf(path)
    except Damaged as error:
        rule = f"is damaged, so run the evaluation again: {error}"
        raise DataError(Problem(f"{path.parent.name}/{path.name}", rule)) from error
