"""The exported tables as one workbook, laid out as the Analysis Function's guidance asks.

One table a sheet from the top left corner, a cover, contents, units and notes in words, no merged
and no empty cells (https://analysisfunction.civilservice.gov.uk, releasing statistics in
spreadsheets). The numbers are those of the CSV files, cell by cell.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from pathlib import Path

import pandas as pd

from lndbayes.report.blocks import Page

__all__ = ["workbook"]

#: Sheet and title of every table that a run may hold, in the order of reading.
_SHEETS = {
    "overview": "All outcomes: pooled ratio, verdict, tiers",
    "effects": "Effects: estimand, interval, tier of identification",
    "savings": "Savings in pounds; positive when less is spent",
    "baseline": "Reconstructed untreated rate by site and month",
    "sensitivity": "Pooled effect under refits",
    "before_after": "A plain before-after of persons, and what it is made of",
    "covariate_effects": "Covariates: coefficients per standard deviation",
    "event_study": "Group-time effects by month from go-live, beside the model's course",
    "bounds": "Bounds of outcomes that are measured among selected people only",
    "tipping": "How wrong the evidence would have to be",
    "placebo": "Go-lives moved earlier: effects that should be zero",
    "powerscale": "How priors and sources bear on the pooled effect",
    "joint_correlation": "Correlation of sites' effects between outcomes",
    "backtest_summary": "Back-test: hidden untreated months against what was seen",
    "data_quality": "Rows of person-level extracts by what became of them",
    "ledger": "What each source contributes to each site's baseline",
    "checks": "Checks",
    "priors": "Priors and the ranges they imply",
}
#: Characters of a line of the cover: not every program makes a row higher for a longer text.
_LINE = 100
#: The guidance's shorthand: a number that is not available, a name that does not apply.
_NO_NUMBER, _NO_NAME = "[x]", "[z]"


def workbook(page: Page, run: Path) -> bytes:
    """Lay out a run's tables.

    Parameters
    ----------
    page : Page
        From `lndbayes.report.page.compose`: name, verdict and warnings.
    run : Path
        Run directory with the tables.

    Returns
    -------
    bytes
        A ``.xlsx`` file.
    """
    # slow to import, and not needed by whoever reads no report; it leaves a file of its own open
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        import gptables

    release = f"NOT FOR RELEASE. {page.disclosure}" if page.disclosure else ""
    warning = [text for text in (release, page.synthetic, page.banner) if text]
    sheets = {}
    for name, title in _SHEETS.items():
        path = run / f"{name}.csv"
        if not path.is_file():
            continue
        table = pd.read_csv(path, keep_default_na=False, na_values=[""])
        if table.empty:
            continue
        # a column that no row fills has nothing to say in a sheet
        table = table.dropna(axis="columns", how="all")
        sheets[name.capitalize()] = gptables.GPTable(
            table=_filled(table),
            table_name=f"{name}_table",
            title=title,
            subtitles=[page.name, *warning],
            instructions=f"{_NO_NUMBER}: no number is given, the report says why. {_NO_NAME}: the "
            "row is not about one such name, but about all of them.",
            source=f"{name}.csv of the same run",
        )
    intro = (*warning, f"Checks: {page.counts}.", "Outcomes:", *page.outcomes)
    cover = gptables.Cover(
        title=f"Evaluation: {page.name}",
        intro=[line for text in intro for line in textwrap.wrap(text, _LINE)],
        about=[
            "The numbers are those of the CSV files of the same run, unrounded.",
            "Intervals are equal-tailed; their probability is in the column ci_prob.",
        ],
    )
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # the table library uses an option that pandas is about to drop
        warnings.simplefilter("ignore", pd.errors.Pandas4Warning)
        # there are no numbered notes: what a column means stands in the data contract
        warnings.filterwarnings("ignore", "No note text provided", UserWarning)
        book = gptables.produce_workbook(
            buffer,
            sheets=sheets,
            cover=cover,
            # a site may be called "=1+1": text is text
            workbook_options={"strings_to_formulas": False, "strings_to_urls": False},
        )
        book.get_worksheet_by_name("Cover").set_column(0, 0, 1.1 * _LINE)
        book.close()
    return buffer.getvalue()


def _filled(table: pd.DataFrame) -> pd.DataFrame:
    """No cell without content, and none that a screen reader would pass over."""
    parts = {
        name: column.astype(object).where(
            column.notna(), _NO_NUMBER if pd.api.types.is_numeric_dtype(column) else _NO_NAME
        )
        for name, column in table.items()
    }
    return pd.DataFrame(parts).map(_readable)


def _readable(cell: object) -> object:
    """Add a word to a text of symbols or of another script, which the table library refuses."""
    plain = not isinstance(cell, str) or any(c.isascii() and c.isalnum() for c in cell)
    return cell if plain else f"{cell} (as written)"
