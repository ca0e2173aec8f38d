"""Statistical disclosure control of counts, by preset; sources: `docs/assembly.md`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

__all__ = ["PRESETS", "Preset", "disclose_cells", "disclose_counts"]


@dataclass(frozen=True, slots=True)
class Preset:
    """One rule of disclosure control.

    Attributes
    ----------
    low, high : int
        Counts that are withheld, both included; `low > high` withholds none.
    base : int
        Other counts are rounded to the nearest multiple; 1 leaves them exact. A count of 0 stays.
    """

    low: int
    high: int
    base: int


PRESETS: Final[Mapping[str, Preset]] = {
    "none": Preset(low=1, high=0, base=1),
    "hes_2018": Preset(low=1, high=7, base=5),
    "ons_srs": Preset(low=0, high=9, base=1),
}


def disclose_counts(counts: np.ndarray, preset: Preset) -> tuple[np.ndarray, np.ndarray]:
    """Apply a preset to plain counts.

    Returns
    -------
    tuple of ndarray
        Rounded counts and which of them are withheld, both shape (row,).
    """
    withheld = (counts >= preset.low) & (counts <= preset.high)
    return (2 * counts + preset.base) // (2 * preset.base) * preset.base, withheld


def disclose_cells(cells: pd.DataFrame, preset: Preset) -> pd.DataFrame:
    """Apply a preset to the cells of `outcomes.csv`, last of all.

    Parameters
    ----------
    cells : pandas.DataFrame
        Exact cells: `outcome`, `site`, `month`, `stratum`, `exposure`, `count`, `trials` (whether
        a count cannot exceed its exposure), `at_least_one` (whether it cannot fall below it) and
        `parts` (whether the categories of a cell add up to its exposure).
    preset : Preset
        From `PRESETS`.

    Returns
    -------
    pandas.DataFrame
        The same with `count`, `count_low`, `count_high` (nullable integers) and `status`. Bounds
        hold every count that would have been published in the same way. Where categories add up to
        the exposure, one withheld category makes all of them missing: it could be told from the
        others.
    """
    count = cells["count"].to_numpy(np.int64)
    exposure = cells["exposure"].to_numpy(np.int64)
    shown, withheld = disclose_counts(count, preset)
    half = preset.base // 2
    # the smallest multiple keeps only the counts above the withheld ones
    low = np.where(withheld, preset.low, np.maximum(shown - half, preset.high + 1))
    high = np.where(withheld, preset.high, shown + half)
    low = np.where(cells["at_least_one"], np.maximum(low, exposure), low)
    high = np.where(cells["trials"], np.minimum(high, exposure), high)
    exact = ~withheld & ((preset.base == 1) | (count == 0))
    status = np.where(exact, "observed", np.where(withheld, "suppressed", "rounded"))
    rounded = status == "rounded"
    value = np.where(rounded, np.clip(shown, low, high), count)
    key = [cells[name] for name in ("outcome", "site", "month", "stratum")]
    hidden = pd.Series(status == "suppressed", index=cells.index)
    missing = hidden.groupby(key).transform("any").to_numpy(bool) & cells["parts"].to_numpy(bool)
    status = np.where(missing, "missing", status)
    ranged = np.isin(status, ["suppressed", "rounded"])
    return cells.assign(
        count=_nullable(value, np.isin(status, ["observed", "rounded"])),
        status=status,
        count_low=_nullable(low, ranged),
        count_high=_nullable(high, ranged),
    )


def _nullable(values: np.ndarray, known: np.ndarray) -> pd.Series:
    return pd.Series(values, dtype="Int64").where(pd.Series(known))
