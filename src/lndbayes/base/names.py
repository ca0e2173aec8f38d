"""Names and constants that several layers share: dims, groups, the interval, the signs.

Signs, stated once: an effect is *with the service minus without it*; events averted are *without
minus with*; a saving is positive when less is spent.
"""

from __future__ import annotations

import re
from typing import Final

#: What names an outcome: it also names files, so that it is not too long and holds no separator.
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
NAME_RULE: Final = "must be a name of at most 100 letters, digits, _ and -, beginning with a letter"

CHAIN: Final = "chain"
DRAW: Final = "draw"
SITE: Final = "site"
MONTH: Final = "month"
OUTCOME: Final = "outcome"
INTERVENTION: Final = "intervention"
WAVE: Final = "wave"
SAMPLE_DIMS: Final = (CHAIN, DRAW)

#: Probability of every published interval unless asked otherwise (equal-tailed).
CI_PROB: Final = 0.90

#: Event months over which effects are averaged: months 7 to 18 after go-live. The go-live month is
#: event time 0, so "month 7" is event time 7.
EFFECT_WINDOW: Final = (7, 18)

#: Fewest clean untreated months that make a site's own baseline identified (tier A).
TIER_A_MONTHS: Final = 12

PERIOD_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12}

#: Presets of disclosure control by which counts may have been withheld or rounded; what each does:
#: `lndbayes.extracts.disclosure`.
DISCLOSURES: Final = ("none", "hes_2018", "ons_srs")
NO_DISCLOSURE: Final = DISCLOSURES[0]

#: Parts of names that are written in capitals.
_SHORT: Final = {
    "ae": "A&E",
    "gp": "GP",
    "iapt": "IAPT",
    "mh": "MH",
    "mha": "MHA",
    "pnc": "PNC",
}


def disclosure_warning(preset: str) -> str:
    """What must be said with every output of data under a preset; empty for `none`.

    A preset withholds counts of the input. Nothing withholds what is computed from them.
    """
    if preset in ("", NO_DISCLOSURE):
        return ""
    return (
        f"The data are under the disclosure preset {preset}. The outputs of this run are NOT "
        "disclosure-controlled: they stay inside the secure environment until its output check "
        "has released them."
    )


def words(name: str) -> str:
    """Write a name of the data as words: ``mha_assessment`` as "MHA assessment"."""
    return " ".join(_SHORT.get(part, part) for part in name.split("_"))
