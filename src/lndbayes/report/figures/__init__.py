"""Figures: plain functions from summary frames to matplotlib figures; nothing is estimated here."""

from __future__ import annotations

from lndbayes.report.figures.baseline import PANELS_PER_PAGE, baseline_panels
from lndbayes.report.figures.intervals import caterpillar, mix_contrasts, sensitivity
from lndbayes.report.figures.savings import savings_histogram
from lndbayes.report.figures.style import data_uri, shorten, styled, to_png, to_svg

__all__ = [
    "PANELS_PER_PAGE",
    "baseline_panels",
    "caterpillar",
    "data_uri",
    "mix_contrasts",
    "savings_histogram",
    "sensitivity",
    "shorten",
    "styled",
    "to_png",
    "to_svg",
]
