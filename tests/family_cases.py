"""The shipped spec and the tiny evaluation in every observation family."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lndbayes.spec.families import FAMILIES
from lndbayes.spec.model_spec import ModelSpec, parse_spec
from lndbayes.spec.priors import required_slots
from model_cases import Tables, custody, tiny_tables
from small import EXTRA


def family_spec(family: str, **changes: Any) -> ModelSpec:
    """The shipped spec in another family; `changes` are dotted keys with _ for the dot."""
    raw = custody().model_dump(mode="python")
    raw["likelihood"]["family"] = family
    raw["effect"]["pulse_sd"] = changes.pop("pulse_sd", 0.0)
    raw["baseline"]["seams"] = list(changes.pop("seams", ()))
    raw["baseline"]["channels"] |= changes.pop("channels", {})
    known = {k: v.as_toml() for k, v in custody().priors.items()} | EXTRA
    wanted = required_slots(family, pulse=raw["effect"]["pulse_sd"] > 0)
    raw["priors"] = {slot: dict(known[slot]) for slot in wanted}
    level = {"logit": -2.0, "log": -1.0, "cloglog": -0.3}[FAMILIES[family].link]
    raw["priors"]["baseline_level"] = {"dist": "Normal", "mu": level, "sigma": 0.7}
    assert not changes
    return parse_spec(raw, source=family)


def banded(frame: pd.DataFrame, family: str, rng: np.random.Generator) -> pd.DataFrame:
    """Rows by band: multinomial parts of every cell."""
    if family == "ordered_bands":
        bands = ["1 short", "2 middle", "3 long"]
        share = np.array([0.12, 0.06, 0.03, 0.79])  # the last is none of them
    elif family == "duration_hazard":
        bands = ["1 first", "2 month", "2 month open", "3 later", "3 later open"]
        share = np.array([0.45, 0.25, 0.1, 0.12, 0.08])
    else:
        bands = [f"{a}>{b}" for a in "123" for b in "123"]
        share = rng.dirichlet(np.full(9, 3.0))
    rows = []
    for row in frame.itertuples():
        parts = rng.multinomial(row.exposure, share)
        rows += [
            row._asdict() | {"category": band, "count": int(parts[k])}
            for k, band in enumerate(bands)
        ]
    return pd.DataFrame(rows).drop(columns="Index")


def family_tables(family: str, *, ranged: bool = False, coverage: bool = False) -> Tables:
    rng = np.random.default_rng(5)
    staged = FAMILIES[family].staged
    tables = tiny_tables()
    frame = tables.frames["outcomes.csv"]
    if staged:
        frame = banded(frame, family, rng)
    elif FAMILIES[family].link == "log":
        shift = FAMILIES[family].shift
        exposure = frame["exposure"] if shift else frame["exposure"] + 0.5
        count = rng.poisson(frame["exposure"] * 0.4) + shift * frame["exposure"]
        frame = frame.assign(exposure=exposure, count=count)
        evidence = {k: v for k, v in tables.frames.items() if k.startswith("evidence")}
        for name, rows in evidence.items():
            if "rate" in rows:
                rows["rate"] = rows["rate"] + shift
            if "q05" in rows:
                rows[["q05", "q50", "q95"]] += shift
            trials = "exposure" if "exposure" in rows else "persons"
            if "count" in rows:
                rows["count"] = rows["count"] + shift * rows[trials]
            tables.frames[name] = rows
    if coverage:
        # the same in all rows of a cell
        cell = frame.groupby(["site", "month"]).ngroup() if staged else frame.index
        frame = frame.assign(coverage=np.where(cell % 3 == 0, 0.8, 1.0))
    if ranged:
        low = np.maximum(frame["count"] - 3, FAMILIES[family].shift * frame["exposure"]).astype(int)
        hide = (frame.index % 3 == 0) & (frame["count"] - low >= 0)
        frame = frame.assign(
            count=np.where(hide, np.nan, frame["count"]),
            count_low=np.where(hide, low, np.nan),
            count_high=np.where(hide, low + 4 + frame.index % 3, np.nan),
            status=np.where(hide, "suppressed", "observed"),
        )
        for column in ("count", "count_low", "count_high"):
            frame[column] = frame[column].astype("Int64")
    return Tables(tables.settings, {**tables.frames, "outcomes.csv": frame})
