"""From events averted to money, draw by draw.

Every draw of events averted meets one draw of every cost factor. The pairing is kept: outcomes must
carry the same draws, a factor is one unknown for all sites and scenarios, and totals are sums of
draws. A saving is positive when less is spent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from lndbayes.base.errors import DataError, Problem
from lndbayes.base.names import OUTCOME, SAMPLE_DIMS, SITE
from lndbayes.money.costs import FORMULAS, Costs, Line, costs_hash, draw_factors
from lndbayes.money.rules import ALL, ALL_CASHABLE

__all__ = ["FACTOR_PREFIX", "net_saving", "on_common_sites", "savings", "total_saving"]

PAYER = "payer"
LINE = "line"
SCENARIO = "scenario"

#: Variables of a savings dataset that hold factor draws are named with this and the factor's name.
FACTOR_PREFIX = "factor_"

SIGN_CONVENTION = "positive = less is spent (or more is produced) than without the service"


def savings(
    averted: Mapping[str, xr.DataArray] | xr.DataArray,
    costs: Costs,
    *,
    seed: int,
    referrals: xr.DataArray | None = None,
) -> xr.Dataset:
    """Price events averted, line by line and draw by draw.

    Parameters
    ----------
    averted : mapping of str to xr.DataArray, or xr.DataArray
        Events averted (expected without the service minus with it) by outcome, dims (chain, draw,
        site) in any order; or one array with the dim ``outcome`` besides.
    costs : Costs
        Checked costs. Outcomes no line prices, and lines whose outcome is not in `averted`, are
        left out and named in the attributes ``not_priced`` and ``lines_left_out``.
    seed : int
        Seed of the factor draws. The same seed gives the same factor draws whatever is averted.
    referrals : xr.DataArray, optional
        Referrals over the same months, dims (site) or (chain, draw, site). Needed if a line's
        quantity is ``referrals``.

    Returns
    -------
    xr.Dataset
        ``saving`` (chain, draw, site, outcome, payer, line, scenario) in pounds of the common price
        year, zero where a line does not belong to an outcome or payer; ``averted`` (chain, draw,
        site, outcome); ``factor_<name>`` (chain, draw[, scenario]); and ``referrals`` where given.
        Coordinates on ``line``: ``cashable``, ``line_label``, ``line_outcome``, ``line_payer``,
        ``line_factors`` (JSON list) and ``line_quantity``.

    Raises
    ------
    DataError
        If dims or labels are missing, outcomes carry different draws or sites, a value is not
        finite, referrals are needed and absent, or no line prices any outcome.
    """
    outcomes = _by_outcome(averted)
    problems = _pairing_problems(outcomes)
    lines = [line for line in costs.lines if line.outcome in outcomes]
    problems += _referral_problems(referrals, outcomes, lines)
    if outcomes and not lines:
        named = ", ".join(outcomes)
        problems.append(Problem("averted", "no line of the costs prices it", value=named))
    if problems:
        raise DataError(problems)

    first = next(iter(outcomes.values()))
    # Sites are aligned by name here, once; draws are never aligned, only checked.
    quantities = {k: _on_sites(v, first) for k, v in outcomes.items()}
    if referrals is not None:
        referrals = _on_sites(referrals, first)
    factors = _paired_factors(costs, first, seed)
    with xr.set_options(arithmetic_join="exact"):
        saving = _price(quantities, referrals, factors, costs, lines)

    priced = list(saving[OUTCOME].values)
    ds = xr.Dataset({"saving": saving})
    ds["averted"] = xr.concat(
        [quantities[k].transpose(*SAMPLE_DIMS, SITE) for k in priced], dim=saving[OUTCOME]
    ).transpose(*SAMPLE_DIMS, SITE, OUTCOME)
    ds["averted"].attrs = {"unit": "events averted over the observed months"}
    used = [name for name in factors if any(name in line.factors for line in lines)]
    for name in used:
        ds[FACTOR_PREFIX + name] = factors[name]
    if referrals is not None:
        ds["referrals"] = referrals
    ds.attrs = _provenance(costs, seed, lines, list(outcomes), priced)
    return ds


def on_common_sites(averted: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Put outcomes on the sites of any of them, as `savings` wants them.

    Parameters
    ----------
    averted : mapping of str to xr.DataArray
        Events averted by outcome, each on the sites that have an effect of their own in it.

    Returns
    -------
    dict of str to xr.DataArray
        Zero where an outcome has no effect of its own at a site: nothing of it is saved there.
    """
    sites = dict.fromkeys(str(x) for a in averted.values() for x in a[SITE].to_numpy())
    return {k: a.reindex({SITE: list(sites)}, fill_value=0.0) for k, a in averted.items()}


def net_saving(
    ds: xr.Dataset, *, line: str = ALL, payer: str = ALL, outcome: str = ALL
) -> xr.DataArray:
    """Net saving of each site, draw by draw: the sum of the lines asked for.

    Parameters
    ----------
    ds : xr.Dataset
        From `savings`.
    line : str
        One line, ``all``, or ``all cashable``.
    payer, outcome : str
        One payer or outcome, or ``all``.

    Returns
    -------
    xr.DataArray
        Dims (chain, draw, site, scenario), pounds.

    Raises
    ------
    KeyError
        If there is no such line, payer or outcome.
    """
    saving = ds["saving"]
    for dim, label in ((LINE, line), (PAYER, payer), (OUTCOME, outcome)):
        if dim == LINE and label == ALL_CASHABLE:
            saving = saving.isel({LINE: np.flatnonzero(ds["cashable"].values.astype(bool))})
        elif label != ALL:
            if label not in ds[dim].values:
                raise KeyError(f"no {dim} {label!r} in these savings")
            saving = saving.sel({dim: [label]})
    return saving.sum([OUTCOME, PAYER, LINE]).assign_attrs(ds["saving"].attrs)


def total_saving(
    ds: xr.Dataset, *, line: str = ALL, payer: str = ALL, outcome: str = ALL
) -> xr.DataArray:
    """Net saving of all sites together: each draw's sum over sites.

    Parameters
    ----------
    ds : xr.Dataset
        From `savings`.
    line, payer, outcome : str
        As in `net_saving`.

    Returns
    -------
    xr.DataArray
        Dims (chain, draw, scenario), pounds.
    """
    saving = net_saving(ds, line=line, payer=payer, outcome=outcome)
    return saving.sum(SITE).assign_attrs(saving.attrs)


def _by_outcome(averted: Mapping[str, xr.DataArray] | xr.DataArray) -> dict[str, xr.DataArray]:
    if isinstance(averted, xr.DataArray):
        if OUTCOME not in averted.dims or OUTCOME not in averted.coords:
            rule = "one array needs a labelled dim outcome; else give a mapping of outcome to array"
            raise DataError(Problem("averted", rule, column=OUTCOME))
        names = [str(name) for name in averted[OUTCOME].values]
        return {k: averted.isel({OUTCOME: i}, drop=True) for i, k in enumerate(names)}
    if not averted:
        raise DataError(Problem("averted", "at least one outcome is needed", column=OUTCOME))
    return dict(averted)


def _on_sites(array: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    # Labels that describe one outcome's sites (a tier, say) would clash with another outcome's.
    return array.sel({SITE: like[SITE].values}).reset_coords(drop=True).astype(float)


def _pairing_problems(outcomes: Mapping[str, xr.DataArray]) -> list[Problem]:
    """Say why draws cannot be paired.

    Labels are compared, never aligned: a reordered draw no longer belongs to the one beside it.
    """
    problems: list[Problem] = []

    def say(outcome: str, column: str, rule: str, value: str | None = None) -> None:
        problems.append(Problem("averted", f"outcome {outcome!r}: {rule}", None, column, value))

    reference: tuple[str, xr.DataArray] | None = None
    for name, array in outcomes.items():
        if set(array.dims) != {*SAMPLE_DIMS, SITE}:
            say(name, "dims", "must be chain, draw and site", str(tuple(array.dims)))
            continue
        unlabelled = [d for d in (*SAMPLE_DIMS, SITE) if d not in array.coords]
        for dim in unlabelled:
            say(name, dim, "needs labels, so that draws can be checked to be paired")
        if unlabelled:
            continue
        for dim in (*SAMPLE_DIMS, SITE):
            if array.indexes[dim].has_duplicates:
                say(name, dim, "has a label twice")
        finite = np.isfinite(array.transpose(SITE, *SAMPLE_DIMS).values)
        if not finite.all():
            where = array[SITE].values[~finite.all(axis=(1, 2))]
            rule = f"{int((~finite).sum())} values are not finite"
            say(name, SITE, rule, ", ".join(map(str, where)))
        if reference is None:
            reference = (name, array)
            continue
        other, base = reference
        for dim in SAMPLE_DIMS:
            if not np.array_equal(array[dim].values, base[dim].values):
                say(name, dim, f"draws differ from those of {other!r}: not paired draw by draw")
        if set(array[SITE].values) != set(base[SITE].values):
            say(name, SITE, f"sites differ from those of {other!r}")
    return problems


def _referral_problems(
    referrals: xr.DataArray | None, outcomes: Mapping[str, xr.DataArray], lines: Sequence[Line]
) -> list[Problem]:
    needing = [line.name for line in lines if line.quantity == "referrals"]
    if referrals is None:
        rule = "is needed by these lines of the costs"
        return [Problem("referrals", rule, value=", ".join(needing))] if needing else []
    if set(referrals.dims) not in ({SITE}, {*SAMPLE_DIMS, SITE}) or SITE not in referrals.coords:
        rule = "dims must be (site) or (chain, draw, site), with labelled sites"
        return [Problem("referrals", rule, column="dims", value=str(tuple(referrals.dims)))]
    problems = []
    if not np.isfinite(referrals.values).all() or (referrals.values < 0).any():
        rule = "must be finite and not negative: a missing month is not a zero"
        problems.append(Problem("referrals", rule))
    for array in list(outcomes.values())[:1]:
        if SITE in array.coords and set(referrals[SITE].values) != set(array[SITE].values):
            problems.append(Problem("referrals", "sites differ from those averted", column=SITE))
        for dim in (d for d in SAMPLE_DIMS if d in referrals.dims and d in array.coords):
            if dim not in referrals.coords or not np.array_equal(
                referrals[dim].values, array[dim].values
            ):
                rule = "draws differ from those averted: not paired draw by draw"
                problems.append(Problem("referrals", rule, column=dim))
    return problems


def _paired_factors(costs: Costs, averted: xr.DataArray, seed: int) -> dict[str, xr.DataArray]:
    """One draw of each factor per posterior draw, dims (chain, draw[, scenario])."""
    shape = tuple(averted.sizes[d] for d in SAMPLE_DIMS)
    drawn = draw_factors(costs, int(np.prod(shape)), seed)
    factors = {}
    for name, draws in drawn.data_vars.items():
        rest = draws.dims[1:]
        factors[str(name)] = xr.DataArray(
            draws.values.reshape(*shape, *draws.shape[1:]),
            dims=(*SAMPLE_DIMS, *rest),
            coords={d: averted[d].values for d in SAMPLE_DIMS}
            | {str(d): drawn[d].values for d in rest},
            attrs=draws.attrs,
        )
    return factors


def _price(
    quantities: Mapping[str, xr.DataArray],
    referrals: xr.DataArray | None,
    factors: Mapping[str, xr.DataArray],
    costs: Costs,
    lines: Sequence[Line],
) -> xr.DataArray:
    first = next(iter(quantities.values()))
    names = {
        OUTCOME: [k for k in quantities if any(line.outcome == k for line in lines)],
        PAYER: [p for p in costs.payers if any(line.payer == p for line in lines)],
        LINE: [line.name for line in lines],
        SCENARIO: list(costs.scenarios),
    }
    cell = xr.DataArray(
        np.zeros((*(first.sizes[d] for d in (*SAMPLE_DIMS, SITE)), len(costs.scenarios))),
        dims=(*SAMPLE_DIMS, SITE, SCENARIO),
        coords={d: first[d].values for d in (*SAMPLE_DIMS, SITE)} | {SCENARIO: names[SCENARIO]},
    )
    # Dense, as the run directory promises: the zeros compress to nothing in the file.
    saving = xr.DataArray(
        np.zeros((*cell.shape[:3], *(len(v) for v in names.values()))),
        dims=(*SAMPLE_DIMS, SITE, *names),
        coords={**{d: cell[d] for d in (*SAMPLE_DIMS, SITE)}, **names},
        attrs={"unit": f"£, prices of {costs.meta.price_year}", "sign": SIGN_CONVENTION},
    )
    for i, line in enumerate(lines):
        amounts = {"averted": quantities[line.outcome]}
        if referrals is not None:
            amounts["referrals"] = referrals
        formula = FORMULAS[line.formula]
        money = line.sign * formula(amounts[line.quantity], [factors[f] for f in line.factors])
        o, p = names[OUTCOME].index(line.outcome), names[PAYER].index(line.payer)
        saving.values[:, :, :, o, p, i, :] = (cell + money).transpose(*cell.dims).values
    return saving.assign_coords(
        cashable=(LINE, [line.cashable for line in lines]),
        line_label=(LINE, [line.label for line in lines]),
        line_outcome=(LINE, [line.outcome for line in lines]),
        line_payer=(LINE, [line.payer for line in lines]),
        line_quantity=(LINE, [line.quantity for line in lines]),
        line_factors=(LINE, [json.dumps(line.factors) for line in lines]),
        payer_label=(PAYER, [costs.payers[p] for p in names[PAYER]]),
        scenario_label=(SCENARIO, [s.label for s in costs.scenarios.values()]),
    )


def _provenance(
    costs: Costs, seed: int, lines: Sequence[Line], asked: Sequence[str], priced: Sequence[str]
) -> dict[str, str | int | float]:
    kept = {line.name for line in lines}
    published = dict(costs.comparison) if costs.comparison else {}
    return {
        "price_year": costs.meta.price_year,
        "currency": "GBP",
        "sign": SIGN_CONVENTION,
        "headline_scenario": costs.meta.headline_scenario,
        "not_priced": ", ".join(k for k in asked if k not in priced),
        "lines_left_out": ", ".join(line.name for line in costs.lines if line.name not in kept),
        "seed": seed,
        "costs_name": costs.meta.name,
        "costs_hash": costs_hash(costs),
        **{f"comparison_{key}": value for key, value in published.items()},
    }
