"""A figure as a picture of the report, for the page and for the word processor."""

from __future__ import annotations

import base64

from matplotlib.figure import Figure

from lndbayes.report.blocks import Picture
from lndbayes.report.figures import data_uri, to_png, to_svg

__all__ = ["picture_of"]


def picture_of(figure: Figure, *, alt: str, caption: str, pixels: bool = False) -> Picture:
    """Render a figure once for each kind of document.

    Parameters
    ----------
    figure : Figure
        The figure.
    alt, caption : str
        See `lndbayes.report.blocks.Picture`.
    pixels : bool
        Whether the page shows the pixels too: a third of the size and half of the time of a figure
        of many panels, of which a report of many outcomes has one an outcome.
    """
    if pixels:
        png = to_png(figure)
        src = "data:image/png;base64," + base64.b64encode(png).decode()
        return Picture(src=src, png=png, alt=alt, caption=caption)
    src = data_uri(to_svg(figure))
    # the layout is as it should be now; the pixels need not find it again
    figure.set_layout_engine("none")
    return Picture(src=src, png=to_png(figure), alt=alt, caption=caption)
