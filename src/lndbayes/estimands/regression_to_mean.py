"""What a plain before-after comparison of persons would show, and how much of it is their crisis.

People meet the service at a bad time. Their own past year is therefore worse than their usual
level, and they would have got better without anything being done: regression to the mean. The model
keeps that rise of persons' own histories apart from the level of the site, so that the comparison
which it does not make can be shown beside the one it makes, and the difference taken to pieces.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.names import CI_PROB, SAMPLE_DIMS
from lndbayes.estimands.effects import natural
from lndbayes.estimands.predictors import predictors
from lndbayes.estimands.summaries import summarise
from lndbayes.estimands.treated import Window, asked_window, treated_sites
from lndbayes.fitting.metadata import metadata
from lndbayes.spec.families import LOG_RATIO, forward

__all__ = ["BEFORE_AFTER_COLUMNS", "before_after", "before_after_table"]

#: Months before referral that a before-after study would take as its baseline.
_BEFORE = 12
BEFORE_AFTER_COLUMNS = (
    "outcome",
    "part",
    "unit",
    "mean",
    "sd",
    "lower",
    "median",
    "upper",
    "ci_prob",
    "window",
    "note",
)


def before_after(fit: xr.DataTree, window: Window | None = None) -> xr.Dataset | None:
    """Take a plain before-after comparison to pieces, draw by draw.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit with rows of persons' histories.
    window : tuple of int, optional
        Event months that serve as "after"; default the window of the fit's spec.

    Returns
    -------
    xarray.Dataset or None
        Dims (chain, draw), link scale: ``plain``, the sites' rate in the window with the service
        less the persons' own in the twelve months before referral; its parts ``effect`` (of the
        service on these sites in these months), ``artefact`` (minus the crisis and the selection
        in the histories: what the comparison shows where the service does nothing) and ``time``
        (change of the untreated level between the months compared). ``plain`` is the sum of its
        parts. None where there are no such histories or no such months.
    """
    constants = fit["constant_data"].to_dataset()
    if "history_at" not in constants:
        return None
    window = asked_window(fit, window)
    at = constants["history_at"].to_numpy().astype(int)
    n = constants["history_exposure"].to_numpy()
    used = (at[:, 2] <= _BEFORE) & (n > 0)
    event = constants["event_time"].to_numpy()
    inside = (event >= window[0]) & (event <= window[1]) & treated_sites(fit)[:, None]
    after = np.zeros(event.shape)
    for site, persons in zip(at[used, 0], n[used], strict=True):
        if inside[site].any():
            after[site] += persons * inside[site] / inside[site].sum()
    if after.sum() == 0:
        return None
    chosen = used & inside[at[:, 0]].any(axis=1)
    posterior = fit["posterior"].to_dataset()
    crisis = _excess(posterior, at[chosen, 2])
    eta = predictors(fit)
    eta0, eta1 = (eta[name].to_numpy() for name in ("eta0", "eta1"))
    own = eta0[:, :, at[chosen, 0], at[chosen, 1]]
    link = metadata(fit).link

    def level(predictor: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Link of the mean rate."""
        return forward(link, (natural(fit, predictor) * weight).sum(axis=-1) / weight.sum())

    site, month = np.nonzero(after)
    weight = after[site, month]
    with_service = level(eta1[:, :, site, month], weight)
    without = level(eta0[:, :, site, month], weight)
    usual, past = level(own, n[chosen]), level(own + crisis, n[chosen])
    parts = {
        "plain": with_service - past,
        "effect": with_service - without,
        "artefact": usual - past,
        "time": without - usual,
    }
    coords = {dim: posterior[dim] for dim in SAMPLE_DIMS}
    return xr.Dataset({k: (SAMPLE_DIMS, v) for k, v in parts.items()}, coords=coords)


def _excess(posterior: xr.Dataset, lag: np.ndarray) -> np.ndarray:
    """Rise of persons' own rates at these months before referral, (chain, draw, row)."""
    dip, recovery, selection = (
        posterior[k].to_numpy()[..., None]
        for k in ("crisis_dip", "crisis_recovery_months", "history_selection")
    )
    return np.asarray(dip * np.exp(-(lag - 1.0) / recovery) + selection)


def before_after_table(
    fit: xr.DataTree, window: Window | None = None, *, ci_prob: float = CI_PROB
) -> pd.DataFrame:
    """Summarise `before_after`.

    Returns
    -------
    pandas.DataFrame
        Columns `BEFORE_AFTER_COLUMNS`; without rows where there is nothing to compare.
    """
    window = asked_window(fit, window)
    draws = before_after(fit, window)
    if draws is None:
        return pd.DataFrame(columns=list(BEFORE_AFTER_COLUMNS))
    notes = {
        "plain": "persons' own twelve months before referral against the sites' window",
        "effect": "of which the service",
        "artefact": "of which crisis and selection: shown also where the service does nothing",
        "time": "of which change of the untreated level between the months compared",
    }
    rows = []
    for part, note in notes.items():
        row = summarise(draws[part], ci_prob=ci_prob).iloc[0]
        rows.append(
            {
                "outcome": metadata(fit).outcome,
                "part": part,
                "unit": LOG_RATIO[metadata(fit).link],
                **{k: row[k] for k in ("mean", "sd", "lower", "median", "upper", "ci_prob")},
                "window": f"{window[0]}-{window[1]}",
                "note": note,
            }
        )
    return pd.DataFrame(rows)[list(BEFORE_AFTER_COLUMNS)]
