"""Whole evaluation directories and specs made from a few choices: valid, at the border, and broken.

A `Recipe` names every choice, so that an example can be told in a line and made again. Choices are
weighted towards the plain one: an example has a few things at a border, and now and then one flaw.
`test_generated.py` tries twenty of them, `generated_check.py` as many as it is asked for.
"""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from lndbayes.spec.families import FAMILIES
from lndbayes.spec.priors import required_slots
from small import EXTRA, MODELS, complete

__all__ = [
    "CHOICES",
    "FLAWS",
    "OUTCOME",
    "Made",
    "Recipe",
    "made_from",
    "plain",
    "recipes",
    "sampled",
    "told",
    "write",
    "write_made",
]

FIRST = "2013-01"
STEPS = {"month": 1, "quarter": 3}
#: The shipped spec of each family, and the events per unit of exposure that its data have here.
SHIPPED = {
    "beta_binomial": ("offending", 0.2),
    "ordered_bands": ("custody", 0.2),
    "negative_binomial": ("ae_attendances", 0.4),
    "negative_binomial_from_one": ("hearings", 1.4),
    "duration_hazard": ("court_duration", 0.4),
    "ordered_change": ("wellbeing", 0.5),
}


@dataclass(frozen=True)
class Recipe:
    """Every choice that makes an example; see `CHOICES` for what there is."""

    seed: int
    family: str
    sites: int
    months: int
    period: str
    go_live: str
    exposure: str
    count: str
    holes: str
    status: str
    coverage: str
    strata: str
    bands: str
    mix: str
    referrals: str
    population: str
    retrospective: str
    national: str
    history: str
    elicited: str
    proxy: str
    window: tuple[int, int]
    transition: tuple[int, int]
    hidden: int
    pulse: float
    seams: str
    biases: float
    national_basis: int
    site_basis: int
    channels: str
    priors: str
    direction: str
    margin: float
    selected: bool
    accept: float
    costs: str
    second: str
    labels: str
    files: str
    flaw: str


#: What there is to choose from, the plain choice first.
CHOICES: Mapping[str, tuple[Any, ...]] = {
    "period": ("month", "quarter"),
    "go_live": (
        *("staggered", "together", "one never", "one after the end", "one in the last month"),
        *("one from the start", "one before the start", "all never", "all before", "all after"),
        *("all in the second month", "all in the last month"),
    ),
    "exposure": ("usual", "few", "none at a site", "many", "fractions", "none but one"),
    "count": ("usual", "none", "every", "one"),
    "holes": (
        *("none", "some rows", "some missing", "a site", "a month", "before", "after"),
        *("all missing", "all but one site"),
    ),
    "status": ("exact", "suppressed", "rounded", "both", "wide", "zero width", "all suppressed"),
    "coverage": ("absent", "after go-live", "by month", "tiny", "one"),
    "strata": ("none", "two"),
    "bands": ("several", "two", "rare last"),
    "mix": ("several", "absent", "one", "by month", "some sites", "lopsided", "many"),
    "referrals": ("all", "absent", "some", "none"),
    "population": ("known", "unknown", "some", "tiny"),
    "retrospective": ("usual", "absent", "known coverage", "coin", "empty", "no events"),
    "national": ("usual", "absent", "exact", "vague", "late", "outside", "single"),
    "history": ("usual", "absent", "one person", "long ago", "no events"),
    "elicited": ("usual", "absent", "narrow", "wide", "by site", "rare"),
    "proxy": ("absent", "usual"),
    "window": ((3, 6), (0, 0), (0, 5), (1, 8), (3, 3), (7, 18), (24, 48)),
    "transition": ((-3, 1), (0, -1), (0, 0), (-12, 6), (-60, 60)),
    "hidden": (0, 3, 15, 100),
    "pulse": (0.0, 0.2),
    "seams": ("none", "middle", "last", "two", "outside"),
    "biases": (0.0, 0.15, 2.0),
    "national_basis": (8, 1, 3, 40),
    "site_basis": (4, 1, 2, 40),
    "channels": ("all", "panel", "none", "evidence"),
    "priors": ("shipped", "heavy", "narrow", "wide"),
    "direction": ("lower", "higher", "none"),
    "margin": (1.0, 1e-6, 5.0),
    "selected": (False, True),
    "accept": (0.7, 0.9),
    "costs": ("priced", "absent", "fixed"),
    "second": ("none", "another", "given"),
    "labels": ("plain", "odd", "long"),
    "files": ("plain", "as exported", "columns turned"),
}
_SITES = (3, 4, 1, 2, 5, 6)
_MONTHS = (24, 36, 40, 30, 18, 13, 12)
#: How often the plain choice is taken; and how often an example has no flaw.
_PLAIN, _FLAWLESS = 0.87, 0.75


def _weighted(values: tuple[Any, ...], share: float) -> tuple[Any, ...]:
    """Repeat the first choice so that an even draw takes it with this probability."""
    others = values[1:]
    times = max(1, round(share / (1 - share) * len(others)))
    return values[:1] * times + others


def _pool() -> dict[str, tuple[Any, ...]]:
    pool = {name: _weighted(values, _PLAIN) for name, values in CHOICES.items()}
    pool |= {"family": tuple(FAMILIES), "sites": _SITES, "months": _MONTHS}
    return pool | {"flaw": _weighted(("none", *FLAWS), _FLAWLESS)}


def recipes() -> st.SearchStrategy[Recipe]:
    """Strategy of examples; it shrinks towards the plain choices."""
    drawn = {name: st.sampled_from(values) for name, values in _pool().items()}
    return st.builds(Recipe, seed=st.integers(0, 2**20), **drawn)


def sampled(seed: int) -> Recipe:
    """The example of a number: the same on every machine."""
    rng = np.random.default_rng([20140401, seed])
    pool = _pool()
    drawn = {name: pool[name][rng.integers(len(pool[name]))] for name in sorted(pool)}
    return Recipe(seed=seed, **drawn)


def told(recipe: Recipe) -> str:
    """The choices that are not plain ones, in a line."""
    plain = {name: values[0] for name, values in CHOICES.items()} | {"flaw": "none"}
    return ", ".join(f"{k}={v!r}" for k, v in asdict(recipe).items() if plain.get(k) != v)


# --- data -----------------------------------------------------------------------------------------


def _month(ahead: int) -> str:
    return str(pd.Period(FIRST, "M") + ahead)


def _names(recipe: Recipe) -> list[str]:
    plain = [f"S{i + 1:02d}" for i in range(recipe.sites)]
    if recipe.labels == "odd":
        odd = ["Ål & Bø <i>", 'a, "b"', "1 = 1", "x;y|z", "100%", "d_e$f^g"]
        return odd[: recipe.sites]
    return (
        [f"{name} {'of a long name ' * 8}".strip() for name in plain]
        if (recipe.labels == "long")
        else plain
    )


def _periods(recipe: Recipe) -> int:
    return recipe.months if recipe.period == "month" else max(recipe.months // 3, 4)


def _go_live(recipe: Recipe) -> list[int | None]:
    """Index of the period in which each site goes live; None is never."""
    periods, sites = _periods(recipe), recipe.sites
    third = periods // 3
    later = periods // 6
    spread: list[int | None] = [third + (later * i) // max(sites - 1, 1) for i in range(sites)]
    every = {
        "together": periods // 2,
        "all never": None,
        "all before": -2,
        "all after": periods + 1,
        "all in the second month": 1,
        "all in the last month": periods - 1,
    }
    if recipe.go_live in every:
        return [every[recipe.go_live]] * sites
    last = {
        "one never": None,
        "one after the end": periods + 2,
        "one in the last month": periods - 1,
        "one from the start": 0,
        "one before the start": -7,
    }
    return [*spread[:-1], last.get(recipe.go_live, spread[-1])]


def _sites(recipe: Recipe) -> pd.DataFrame:
    step, live = STEPS[recipe.period], _go_live(recipe)
    population = {
        "known": [10_000 * (i + 2) for i in range(recipe.sites)],
        "unknown": [""] * recipe.sites,
        "some": [10_000 if i % 2 else "" for i in range(recipe.sites)],
        "tiny": [0.5] * recipe.sites,
    }[recipe.population]
    return pd.DataFrame(
        {
            "site": _names(recipe),
            "label": _names(recipe),
            "region": "North",
            "wave": [1 + (i >= recipe.sites // 2) for i in range(recipe.sites)],
            "go_live": ["" if g is None else _month(g * step) for g in live],
            "population": population,
            "predecessor": ["" if i == 1 else 0.25 * (i % 5) for i in range(recipe.sites)],
        }
    )


def _exposure(recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    shape = (recipe.sites, _periods(recipe))
    match recipe.exposure:
        case "few":
            return rng.integers(0, 4, shape).astype(float)
        case "none at a site":
            n = rng.integers(15, 90, shape).astype(float)
            n[-1] = 0.0
            return n
        case "many":
            return rng.integers(10**5, 10**6, shape).astype(float)
        case "fractions":
            return rng.uniform(15, 90, shape).round(2)
        case "none but one":
            n = np.zeros(shape)
            n[0, 0] = 40.0
            return n
    return rng.integers(15, 90, shape).astype(float)


def _events(recipe: Recipe, n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    family, rate = FAMILIES[recipe.family], SHIPPED[recipe.family][1]
    least = family.shift * np.ceil(n)
    match recipe.count:
        case "none":
            return least
        case "every":
            return np.floor(n) if family.trials else 3 * np.ceil(n)
        case "one":
            y = least.copy()
            y[0, -1] += n[0, -1] >= 1
            return y
    if family.trials:
        return rng.binomial(np.floor(n).astype(int), rate).astype(float)
    return least + rng.poisson(n * (rate - family.shift))


def _bands(recipe: Recipe) -> dict[str, float]:
    """Share of the events, or of the exposure, in each band."""
    two, rare = recipe.bands == "two", recipe.bands == "rare last"
    match recipe.family:
        case "ordered_bands":
            return (
                {"1 short": 0.7, "2 long": 0.3}
                if two
                else (
                    {"1 short": 0.6, "2 middle": 0.4, "3 long": 0.0}
                    if rare
                    else {"1 short": 0.6, "2 middle": 0.3, "3 long": 0.1}
                )
            )
        case "duration_hazard":
            if two:
                return {"1 first": 0.6, "2 later": 0.4}
            shares = {"1 first": 0.45, "2 month": 0.25, "2 month open": 0.1, "3 later": 0.12}
            return shares | {"3 later open": 0.08}
        case "ordered_change":
            levels = "12" if two else "123"
            pairs = [f"{a}>{b}" for a in levels for b in levels]
            share = np.linspace(1.0, 0.0 if rare else 0.3, len(pairs))
            return dict(zip(pairs, (share / share.sum()).tolist(), strict=True))
    return {}


def _outcome(recipe: Recipe, name: str, n: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Rows of one outcome, by site, month, stratum and band."""
    step, names, live = STEPS[recipe.period], _names(recipe), _go_live(recipe)
    bands = _bands(recipe)
    parts = {"": 1.0} if recipe.strata == "none" else {"men": 0.6, "women": 0.4}
    rows = []
    for part, weight in parts.items():
        exposure = (
            n
            if weight == 1.0
            else (np.floor(n * weight) if FAMILIES[recipe.family].trials else (n * weight).round(2))
        )
        events = _events(recipe, exposure, rng)
        for s, t in np.ndindex(*n.shape):
            row = {"outcome": name, "site": names[s], "month": _month(t * step), "source": "made"}
            row |= {"exposure": exposure[s, t], "stratum": part}
            after = live[s] is not None and t >= live[s]
            row["coverage"] = {
                "absent": "", "one": 1, "tiny": 0.001,
                "after go-live": 0.5 if after else 1, "by month": 0.5 + 0.5 * (t % 3) / 2,
            }[recipe.coverage]  # fmt: skip
            if not bands:
                rows.append(row | {"category": "", "count": events[s, t]})
                continue
            total = int(events[s, t]) if recipe.family == "ordered_bands" else int(exposure[s, t])
            shares = np.array(list(bands.values()))
            split = rng.multinomial(total, shares / shares.sum())
            rows += [
                row | {"category": band, "count": float(split[k])} for k, band in enumerate(bands)
            ]
    return _with_status(recipe, _with_holes(recipe, pd.DataFrame(rows)), rng)


def _with_holes(recipe: Recipe, rows: pd.DataFrame) -> pd.DataFrame:
    step, live = STEPS[recipe.period], dict(zip(_names(recipe), _go_live(recipe), strict=True))
    last = _names(recipe)[-1]
    cell = (
        pd.Series(range(len(rows)))
        if rows.empty
        else (rows.groupby(["site", "month"], sort=False).ngroup())
    )
    starts = rows["site"].map(
        {k: "9999" if g is None else _month(g * step) for k, g in live.items()}
    )
    after = rows["month"] >= starts
    rows = rows.assign(status="observed")
    missing = {
        "some missing": cell % 5 == 3,
        "all missing": cell >= 0,
        "before": ~after,
        "all but one site": rows["site"] != _names(recipe)[0],
    }.get(recipe.holes)
    if missing is not None:
        rows.loc[missing, "status"] = "missing"
        rows.loc[missing, "count"] = np.nan
        return rows
    kept = {
        "some rows": cell % 5 != 3,
        "a site": rows["site"] != last,
        "a month": rows["month"] != _month(step * (_periods(recipe) // 2)),
        "after": ~after,
    }.get(recipe.holes)
    return rows if kept is None or not kept.any() else rows[kept].reset_index(drop=True)


def _with_status(recipe: Recipe, rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Withhold small counts, or round; bounds hold the truth."""
    rows = rows.assign(count_low=np.nan, count_high=np.nan)
    # the other families refuse what is not exact: one way of it is enough
    if recipe.status == "exact" or not (
        FAMILIES[recipe.family].intervals or recipe.status == "suppressed"
    ):
        return rows
    count, known = rows["count"], rows["status"] == "observed"
    least = FAMILIES[recipe.family].shift * np.ceil(rows["exposure"])
    suppressed = known & (count <= least + 7)
    rounded = known & (rng.random(len(rows)) < 0.3)
    for status, where, low, high in {
        "suppressed": [("suppressed", suppressed, least, least + 7)],
        "rounded": [("rounded", rounded, np.maximum(count - 2, least), count + 2)],
        "both": [
            ("suppressed", suppressed, least, least + 7),
            ("rounded", rounded & ~suppressed, np.maximum(count - 2, least), count + 2),
        ],
        "wide": [("suppressed", suppressed, least, least + 60)],
        "zero width": [("suppressed", rounded, count, count)],
        "all suppressed": [("suppressed", known, np.maximum(count - 3, least), count + 3)],
    }[recipe.status]:
        rows.loc[where, "count_low"] = low[where]
        rows.loc[where, "count_high"] = high[where]
        rows.loc[where, "count"] = np.nan
        rows.loc[where, "status"] = status
    return rows


def _mix(recipe: Recipe, rng: np.random.Generator) -> pd.DataFrame | None:
    kinds = {"one": ["advice"], "many": [f"kind {i}" for i in range(8)]}.get(
        recipe.mix, ["advice", "liaison", "outreach"]
    )
    if recipe.mix == "absent":
        return None
    sites = _names(recipe)[: 1 if recipe.mix == "some sites" else None]
    months = [_month(STEPS[recipe.period] * t) for t in range(3)]
    when = months if recipe.mix == "by month" else [""]
    rows = [(s, m, k, int(rng.integers(1, 60))) for s in sites for m in when for k in kinds]
    frame = pd.DataFrame(rows, columns=["site", "month", "intervention", "contacts"])
    if recipe.mix == "lopsided":
        frame.loc[frame["intervention"] == kinds[-1], "contacts"] = 0
    return frame


def _referrals(recipe: Recipe, rng: np.random.Generator) -> pd.DataFrame | None:
    if recipe.referrals == "absent":
        return None
    sites = _names(recipe)[: 1 if recipe.referrals == "some" else None]
    rows = [
        (s, _month(STEPS[recipe.period] * t), int(rng.integers(0, 40)))
        for s in sites
        for t in range(_periods(recipe))
    ]
    frame = pd.DataFrame(rows, columns=["site", "month", "referrals"])
    return frame.assign(referrals=0) if recipe.referrals == "none" else frame


def _untreated(recipe: Recipe, most: int) -> list[tuple[str, int]]:
    """Sites and periods before go-live, a few a site."""
    return [
        (site, t)
        for site, g in zip(_names(recipe), _go_live(recipe), strict=True)
        for t in range(min(most, _periods(recipe) if g is None else g))
    ]


def _counted(recipe: Recipe, n: int, rng: np.random.Generator, *, none: bool) -> int:
    family, rate = FAMILIES[recipe.family], SHIPPED[recipe.family][1]
    if none:
        return family.shift * n
    if family.trials:
        return int(rng.binomial(n, rate))
    return int(family.shift * n + rng.poisson(n * (rate - family.shift)))


def _evidence(recipe: Recipe, name: str, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    step, rate = STEPS[recipe.period], SHIPPED[recipe.family][1]
    shift = FAMILIES[recipe.family].shift
    out: dict[str, list[dict[str, Any]]] = {}
    if (style := recipe.retrospective) != "absent":
        coverage = {"known coverage": (0.6, 0.0), "coin": (0.5, 0.5)}.get(style, (0.6, 0.1))
        out["retrospective"] = [
            {"outcome": name, "site": site, "month": _month(t * step)}
            | {"exposure": (n := 0 if style == "empty" else int(rng.integers(5, 40)))}
            | {"count": _counted(recipe, n, rng, none=style == "no events")}
            | {"coverage_mean": coverage[0], "coverage_sd": coverage[1]}
            for site, t in _untreated(recipe, 3)
        ]
    if (style := recipe.national) != "absent":
        se = {"exact": 1e-7, "vague": 10.0}.get(style, 0.02)
        first = {"late": _periods(recipe) - 3, "outside": -40}.get(style, 0)
        out["national"] = [
            {"outcome": name, "month": _month((first + t) * step), "months": step}
            | {"rate": rate + 0.01 * t, "se": se, "source": "series"}
            for t in range(1 if style == "single" else 3)
        ]
    if (style := recipe.history) != "absent":
        lag = 200 if style == "long ago" else 6
        out["history"] = [
            {"outcome": name, "site": site, "months_from_referral": -lag}
            | {"calendar_month": _month(t * step)}
            | {"persons": (n := 1 if style == "one person" else int(rng.integers(5, 60)))}
            | {"count": _counted(recipe, n, rng, none=style == "no events")}
            for site, t in _untreated(recipe, 2)
        ]
    if (style := recipe.elicited) != "absent":
        spread = {"narrow": 1e-5, "wide": 0.9}.get(style, 0.3)
        middle = (rate - shift) * (1e-5 if style == "rare" else 1.0)
        where = _names(recipe) if style == "by site" else [""]
        out["elicited"] = [
            {"outcome": name, "site": site, "quantity": "pre_go_live_rate"}
            | {"q05": shift + middle * (1 - spread), "q50": shift + middle}
            | {"q95": shift + middle * (1 + spread), "who": "panel"}
            for site in where
        ]
    if recipe.proxy != "absent":
        out["proxy"] = [
            {"outcome": name, "site": site, "month": _month(t * step), "exposure": 50, "count": 20}
            | {"source": "related"}
            for site, t in _untreated(recipe, 2)
        ]
    return {f"evidence/{k}.csv": pd.DataFrame(rows) for k, rows in out.items() if rows}


# --- specs ----------------------------------------------------------------------------------------

#: Priors of other families, each where a slot of that support may take it.
_HEAVY = {
    "effect_mean": {"dist": "StudentT", "nu": 2.0, "mu": 0.0, "sigma": 0.5},
    "baseline_level": {"dist": "StudentT", "nu": 3.0, "mu": -1.0, "sigma": 1.0},
    "site_effect_sd": {"dist": "LogNormal", "mu": -2.0, "sigma": 1.0},
    "ramp_months": {"dist": "Gamma", "alpha": 4.0, "beta": 1.0},
    "concentration": {"dist": "Exponential", "scale": 150.0},
    "mix_share": {"dist": "Dirichlet", "concentration": 0.5},
}


def _prior(recipe: Recipe, slot: str, prior: dict[str, Any]) -> dict[str, Any]:
    if recipe.priors == "heavy":
        return _HEAVY.get(slot, prior)
    factor = {"narrow": 0.05, "wide": 5.0}.get(recipe.priors, 1.0)
    if factor != 1.0 and "sigma" in prior and prior["dist"] in ("Normal", "HalfNormal"):
        return prior | {"sigma": prior["sigma"] * factor}
    return prior


def _spec(recipe: Recipe, name: str, given: str) -> dict[str, Any]:
    raw = tomllib.loads(complete(SHIPPED[recipe.family][0]))
    raw["outcome"] |= {"name": name, "exposure_outcome": given, "selected": recipe.selected}
    margin = recipe.margin * raw["outcome"]["margin_per_1000"]
    raw["outcome"] |= {"good_direction": recipe.direction, "margin_per_1000": margin}
    on = {"all": (True, True), "panel": (True, False), "none": (False, False)}.get(
        recipe.channels, (False, True)
    )
    for channel in raw["baseline"]["channels"]:
        raw["baseline"]["channels"][channel] = on[channel != "not_yet_treated"]
    step, periods = STEPS[recipe.period], _periods(recipe)
    raw["baseline"] |= {
        "national_basis": recipe.national_basis,
        "site_basis": recipe.site_basis,
        "seams": {
            "middle": [_month(step * (periods // 2))],
            "last": [_month(step * (periods - 1))],
            "two": [_month(step * 2), _month(step * 3)],
            # parts no months, so it has no step: a note, no refusal
            "outside": ["1999-01"],
        }.get(recipe.seams, []),
    }
    raw["effect"] |= {
        "window": list(recipe.window),
        "transition": list(recipe.transition),
        "hide_first_months": recipe.hidden,
        "pulse_sd": recipe.pulse,
    }
    biases = {f"{k}_sd": recipe.biases for k in ("shared_bias", "drift", "go_live_step")}
    raw["sensitivity"] |= biases
    known = EXTRA | raw["priors"]
    raw["priors"] = {
        slot: _prior(recipe, slot, dict(known[slot]))
        for slot in required_slots(recipe.family, pulse=recipe.pulse > 0)
    }
    raw["sampling"] |= {"draws": 50, "tune": 50, "chains": 2, "target_accept": recipe.accept}
    raw["sampling"]["seed"] = recipe.seed
    return raw


def toml(raw: Mapping[str, Any]) -> str:
    """Tables one level deep or two, with inline tables for what is deeper."""
    lines: list[str] = []
    for section, table in raw.items():
        plain = {k: v for k, v in table.items() if section == "priors" or not isinstance(v, dict)}
        lines += [f"[{section}]", *(f"{k} = {_value(v)}" for k, v in plain.items())]
        for key, value in table.items():
            if key not in plain:
                lines += [f"[{section}.{key}]", *(f"{k} = {_value(v)}" for k, v in value.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + " }"
    # JSON's texts, numbers, booleans and lists of them are TOML's too
    return json.dumps(value, ensure_ascii=False)


def _costs(recipe: Recipe, name: str) -> str:
    text = (MODELS / "costs.toml").read_text(encoding="utf-8")
    return re.sub(r'(?m)^outcome = "custody"', f'outcome = "{name}"', text)


# --- flaws ----------------------------------------------------------------------------------------


@dataclass
class Made:
    """What is about to be written: tables and texts by path, below `data` and `models`."""

    frames: dict[str, pd.DataFrame]
    facts: dict[str, Any]
    specs: dict[str, dict[str, Any]]
    costs: str | None


Flaw = Callable[[Made], None]


def _cell(file: str, column: str, value: object, row: int = 0) -> Flaw:
    def change(made: Made) -> None:
        if file in made.frames:
            frame = made.frames[file].astype({column: object})
            frame.loc[frame.index[row], column] = value
            made.frames[file] = frame

    return change


def _key(section: str, key: str, value: object) -> Flaw:
    def change(made: Made) -> None:
        for spec in made.specs.values():
            spec[section][key] = value

    return change


def _twice(made: Made) -> None:
    frame = made.frames["outcomes.csv"]
    made.frames["outcomes.csv"] = pd.concat([frame, frame.iloc[:1]])


def _without(file: str, column: str) -> Flaw:
    def change(made: Made) -> None:
        if file in made.frames:
            made.frames[file] = made.frames[file].drop(columns=column)

    return change


def _means(made: Made) -> None:
    frame = made.frames["outcomes.csv"].assign(n=9, mean=1.5, sd=0.5, coverage="", category="")
    cells = frame.drop_duplicates(["outcome", "site", "month", "stratum"])
    empty = dict.fromkeys(("exposure", "count", "count_low", "count_high"), np.nan)
    made.frames["outcomes.csv"] = cells.assign(status="observed", **empty)


def _no_slot(made: Made) -> None:
    for spec in made.specs.values():
        del spec["priors"]["effect_mean"]


def _no_sites(made: Made) -> None:
    del made.frames["sites.csv"]


def _costs_of_nobody(made: Made) -> None:
    made.costs = made.costs and made.costs.replace('outcome = "event"', 'outcome = "evnet"')


def _costs_broken(made: Made) -> None:
    made.costs = made.costs and made.costs.replace("sign = 1\n", "sign = 2\n", 1)


def _no_outcome(made: Made) -> None:
    rows = made.frames["outcomes.csv"]
    made.frames["outcomes.csv"] = rows.assign(outcome="other")


OUT = "outcomes.csv"
FLAWS: Mapping[str, Flaw] = {
    "count below 0": _cell(OUT, "count", -1),
    "count not whole": _cell(OUT, "count", 1.5),
    "count beyond any exposure": _cell(OUT, "count", 10**9),
    "count beyond any float": _cell(OUT, "count", "9" * 400),
    "exposure beyond any float": _cell(OUT, "exposure", "1e300"),
    "exposure is a word": _cell(OUT, "exposure", "inf"),
    "exposure empty": _cell(OUT, "exposure", ""),
    "status misspelt": _cell(OUT, "status", "obsreved"),
    "site unknown": _cell(OUT, "site", "nowhere"),
    "month outside": _cell(OUT, "month", "1999-01"),
    "month is none": _cell(OUT, "month", "2013-13"),
    "row twice": _twice,
    "coverage of 0": _cell(OUT, "coverage", 0),
    "coverage above 1": _cell(OUT, "coverage", 1.5),
    "a row of another band": _cell(OUT, "category", "9 other"),
    "column absent": _without(OUT, "status"),
    "means in the place of counts": _means,
    "outcome of another name": _no_outcome,
    "no sites": _no_sites,
    "wave 0": _cell("sites.csv", "wave", 0),
    "go-live is a word": _cell("sites.csv", "go_live", "soon"),
    "go-live in year 1": _cell("sites.csv", "go_live", "0001-01"),
    "population of 0": _cell("sites.csv", "population", 0),
    "contacts below 0": _cell("mix.csv", "contacts", -3),
    "quantiles out of order": _cell("evidence/elicited.csv", "q95", 1e-9),
    "national row twice over": _cell("evidence/national.csv", "months", 12),
    "national error of 0": _cell("evidence/national.csv", "se", 0),
    "national error next to 0": _cell("evidence/national.csv", "se", 1e-12),
    "evidence after go-live": _cell("evidence/retrospective.csv", "month", _month(200)),
    "records of more than all": _cell("evidence/retrospective.csv", "coverage_sd", 2.0),
    "months after referral": _cell("evidence/history.csv", "months_from_referral", 3),
    "first month after the last": lambda made: made.facts.update(first_month="2099-01"),
    "no disclosure": lambda made: made.facts.pop("disclosure") and None,
    "fact unknown": lambda made: made.facts.update(periods="month"),
    "window turned": _key("effect", "window", [18, 7]),
    "window beyond the data": _key("effect", "window", [700, 800]),
    "window without an end": _key("effect", "window", [7, 999_999_999]),
    "transition turned": _key("effect", "transition", [3, -3]),
    "slot without a prior": _no_slot,
    "slot unknown": _key("priors", "efect_mean", {"dist": "Normal", "mu": 0.0, "sigma": 1.0}),
    "prior without bounds": _key(
        "priors", "effect_mean", {"dist": "Normal", "mu": 0.0, "sigma": 1e300}
    ),
    "draws without end": _key("sampling", "draws", 10**12),
    "key unknown": _key("outcome", "lable", "x"),
    "threshold unknown": _key("checks", "prior_rate_hihg", 0.5),
    "threshold no share can have": _key("checks", "prior_rate_high", 2.0),
    "costs of an outcome unknown": _costs_of_nobody,
    "costs that break a rule": _costs_broken,
}


# --- files ----------------------------------------------------------------------------------------

OUTCOME, SECOND = "event", "follow"


def made_from(recipe: Recipe) -> Made:
    """Tables and specs of a recipe, its flaw among them."""
    rng = np.random.default_rng([7, recipe.seed])
    n = _exposure(recipe, rng)
    rows = [_outcome(recipe, OUTCOME, n, rng)]
    specs = {OUTCOME: _spec(recipe, OUTCOME, "")}
    if recipe.second != "none":
        given = OUTCOME if recipe.second == "given" else ""
        exposure = n
        if given:
            counts = rows[0].groupby(["site", "month"], sort=False)["count"].sum()
            index = pd.MultiIndex.from_product(
                [_names(recipe), [_month(STEPS[recipe.period] * t) for t in range(n.shape[1])]]
            )
            exposure = counts.reindex(index).fillna(0.0).to_numpy().reshape(n.shape)
        rows.append(_outcome(recipe, SECOND, exposure, rng))
        specs[SECOND] = _spec(recipe, SECOND, given)
    frames: dict[str, pd.DataFrame | None] = {
        "sites.csv": _sites(recipe),
        "outcomes.csv": pd.concat(rows, ignore_index=True),
        "mix.csv": _mix(recipe, rng),
        "referrals.csv": _referrals(recipe, rng),
        **_evidence(recipe, OUTCOME, rng),
    }
    step = STEPS[recipe.period]
    facts = {
        "name": "Generated",
        "period": recipe.period,
        "first_month": FIRST,
        "last_month": _month(step * (_periods(recipe) - 1)),
        "synthetic": True,
        "disclosure": "none",
    }
    costs = None if recipe.costs == "absent" else _costs(recipe, OUTCOME)
    made = Made({k: v for k, v in frames.items() if v is not None}, facts, specs, costs)
    if recipe.flaw != "none":
        FLAWS[recipe.flaw](made)
    return made


def _number(value: float) -> str:
    return "" if np.isnan(value) else repr(float(value)).removesuffix(".0")


def _csv(frame: pd.DataFrame, files: str) -> bytes:
    turned = frame[frame.columns[::-1]] if files == "columns turned" else frame
    # with its columns turned a table also has its whole numbers written 12.0
    text = turned.apply(
        lambda column: (
            column.map(_number)
            if files != "columns turned" and column.dtype.kind == "f"
            else column
        )
    ).to_csv(index=False, lineterminator="\n")
    if files == "as exported":
        return b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
    return text.encode()


def write_made(made: Made, root: Path, files: str = "plain") -> tuple[Path, Path]:
    """Write tables and specs anew; return the evaluation directory and the models."""
    data, models = root / "data", root / "models"
    for folder in (data, models):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    (data / "evaluation.toml").write_text(
        "".join(f"{k} = {_value(v)}\n" for k, v in made.facts.items()), encoding="utf-8"
    )
    for file, frame in made.frames.items():
        (data / file).parent.mkdir(exist_ok=True)
        (data / file).write_bytes(_csv(frame, files))
    for name, spec in made.specs.items():
        (models / f"{name}.toml").write_text(toml(spec), encoding="utf-8")
    if made.costs is not None:
        (models / "costs.toml").write_text(made.costs, encoding="utf-8")
    return data, models


def write(recipe: Recipe, root: Path) -> tuple[Path, Path]:
    """Write an example anew; return its evaluation directory and its models."""
    return write_made(made_from(recipe), root, recipe.files)


def plain(family: str, **changes: Any) -> Recipe:
    """The example of the plain choices, with changes."""
    first = {name: values[0] for name, values in CHOICES.items()}
    rest = {"seed": 3, "family": family, "sites": 4, "months": 36, "flaw": "none"}
    return Recipe(**first | rest | changes)


assert {f.name for f in fields(Recipe)} == {*CHOICES, "seed", "family", "sites", "months", "flaw"}
