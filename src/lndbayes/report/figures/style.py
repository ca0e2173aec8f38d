"""One look for every figure: sizes for A4, colour-blind safe colours, plain text, stable SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font

__all__ = [
    "BAND",
    "INK",
    "MUTED",
    "OBSERVED",
    "OUTSIDE",
    "REFERENCE",
    "TIER_MARKS",
    "WIDTH",
    "data_uri",
    "shorten",
    "styled",
    "to_png",
    "to_svg",
]

#: Printable width of an A4 page in portrait, inches.
WIDTH: Final = 7.0

# Okabe and Ito (2008), "Color Universal Design": told apart with any common colour blindness.
INK: Final = "#1a1a1a"
MUTED: Final = "#595959"  # 7:1 on white
BAND: Final = "#56B4E9"
REFERENCE: Final = "#0072B2"
OBSERVED: Final = "#A23B00"  # vermilion, darkened to 6.9:1 on white
OUTSIDE: Final = "#7A5C00"

#: Tier to (marker, colour, filled): the marker alone tells the tiers apart.
TIER_MARKS: Final = {
    "A": ("o", "#0072B2", True),
    "B": ("s", "#00694D", True),
    "C": ("^", "#A23B00", False),
    "D": ("x", MUTED, True),
}

_RC: Final[dict[Any, Any]] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs everywhere
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "legend.frameon": False,
    "text.parse_math": False,  # a site called "$x" is a name, not mathematics
    "svg.fonttype": "path",
    "svg.hashsalt": "lndbayes",  # equal draws give an equal file, byte for byte
    "figure.dpi": 100.0,
    # pixels are drawn in the vector figure's layout, and hinting would make their texts wider
    "text.hinting": "no_hinting",
}


@contextmanager
def styled() -> Iterator[None]:
    """Use this module's look inside a ``with`` block and nowhere else."""
    with mpl.rc_context():
        mpl.rcdefaults()  # a matplotlibrc in the working directory must not change a report
        mpl.rcParams.update(_RC)
        yield


def shorten(text: str, most: int = 26) -> str:
    """Cut a label to what fits beside an axis, in characters that the figures' font has.

    Parameters
    ----------
    text : str
        Any text.
    most : int
        Most characters kept.

    Returns
    -------
    str
        One line of at most `most` characters, ending in an ellipsis where something was cut; a
        character that the font lacks becomes U+FFFD (the tables carry the name in full).
    """
    known = _charmap()
    shown = (c if ord(c) in known else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))
    clean = "".join(shown)
    return clean if len(clean) <= most else clean[: most - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


@cache
def _charmap() -> frozenset[int]:
    font = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return frozenset(get_font(font).get_charmap())


def to_svg(figure: Figure) -> str:
    """Render a figure.

    Parameters
    ----------
    figure : Figure
        A figure made inside `styled`.

    Returns
    -------
    str
        SVG text without a date.
    """
    buffer = io.StringIO()
    with styled():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def to_png(figure: Figure) -> bytes:
    """Render a figure for documents that cannot hold an SVG.

    Parameters
    ----------
    figure : Figure
        A figure made inside `styled`.

    Returns
    -------
    bytes
        PNG of 150 dots an inch.
    """
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def data_uri(svg: str) -> str:
    """Put an SVG into an address that an ``img`` element can show without a file.

    An image keeps each figure's element ids to itself; inline SVG would repeat them in the page.

    Parameters
    ----------
    svg : str
        SVG text.

    Returns
    -------
    str
        ``data:image/svg+xml;base64,...``.
    """
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")
