"""A figure as a picture of the report, for the page and for the word processor."""

from __future__ import annotations

from matplotlib.figure import Figure

from lndbayes.figures import data_uri, to_png, to_svg
from lndbayes.report.blocks import Picture

__all__ = ["picture_of"]


def picture_of(figure: Figure, *, alt: str, caption: str) -> Picture:
    """Render a figure once for each kind of document.

    Parameters
    ----------
    figure : Figure
        The figure.
    alt, caption : str
        See `lndbayes.report.blocks.Picture`.
    """
    return Picture(src=data_uri(to_svg(figure)), png=to_png(figure), alt=alt, caption=caption)
