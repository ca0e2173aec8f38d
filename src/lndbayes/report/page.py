"""Write the report: a page that needs nothing else, a document, and the tables as a workbook."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from joblib import Parallel, delayed

from lndbayes.base.names import NO_DISCLOSURE, disclosure_warning
from lndbayes.files.writing import write_bytes
from lndbayes.report.answer import effect_sentence, savings_sentence
from lndbayes.report.blocks import Block, Page, Paragraph, Section
from lndbayes.report.comparison import comparison_section
from lndbayes.report.covariates import covariates_section
from lndbayes.report.effects import effects_section, mix_section
from lndbayes.report.evidence import baseline_section, rests_on_section
from lndbayes.report.further import (
    backtest_section,
    before_after_section,
    joint_section,
    powerscale_section,
)
from lndbayes.report.lookup import is_synthetic, outcome_label, withheld
from lndbayes.report.placebo import placebo_section
from lndbayes.report.prose import SYNTHETIC
from lndbayes.report.run import Run, read_run
from lndbayes.report.savings import savings_section
from lndbayes.report.spreadsheet import workbook
from lndbayes.report.together import (
    bounds_section,
    course_section,
    false_claims,
    overview_section,
    overview_sentences,
    quality_section,
    tipping_section,
    verdict_line,
)
from lndbayes.report.trust import (
    assumptions_section,
    checks_section,
    glossary_section,
    notes_section,
    overall,
    priors_section,
    provenance_section,
    status_counts,
)
from lndbayes.report.word import word_document

__all__ = ["REPORTS", "compose", "render", "write_report"]

#: Outcomes up to which a report is composed in this process.
_FEW = 3
_TEMPLATE = "report.html.j2"
_STYLE = "report.css"


#: Files that the report is written to.
REPORTS = ("report.html", "report.docx", "tables.xlsx")


def write_report(run: Path) -> Path:
    """Write ``report.html``, ``report.docx`` and ``tables.xlsx`` into a run directory.

    Parameters
    ----------
    run : Path
        Run directory; ``effects.csv``, ``checks.csv`` and ``manifest.json`` are required. What
        else is absent is named in the section that would have shown it.

    Returns
    -------
    Path
        The page. Each file is put in place only when it is complete.

    Raises
    ------
    DataError
        A required file is absent or a file breaks the contract; all problems at once.
    """
    run = Path(run)
    read = read_run(run)
    front = _front(read)
    # the workbook is the longest task and needs no figure: it goes first, beside the figures
    tasks = Parallel(n_jobs=_workers(read), return_as="generator")(
        [delayed(workbook)(front, run), *_tasks(read)]
    )
    before, after = _shared_sections(read)
    tables = next(tasks)
    page = replace(front, sections=(*before, *chain.from_iterable(tasks), *after))
    # all are made before any is put in place: a run never holds forms of two reports
    made = {
        "report.html": render(page).encode(),
        "report.docx": word_document(page),
        "tables.xlsx": tables,
    }
    for name, content in made.items():
        write_bytes(content, run / name)
    return run / "report.html"


def _workers(run: Run) -> int:
    """Processes: figures of an outcome take seconds and none needs another's."""
    return min(os.cpu_count() or 1, len(run.outcomes)) if len(run.outcomes) > _FEW else 1


def compose(run: Run) -> Page:
    """Put together what every form of the report says."""
    parts = Parallel(n_jobs=_workers(run))(_tasks(run))
    before, after = _shared_sections(run)
    return replace(_front(run), sections=(*before, *chain.from_iterable(parts), *after))


def _front(run: Run) -> Page:
    """What stands above all sections."""
    return Page(
        name=_data_name(run),
        outcomes=tuple(outcome_label(run, o) for o in run.outcomes),
        synthetic=SYNTHETIC if is_synthetic(run) else "",
        verdict=overall(run),
        counts=status_counts(run),
        failures=tuple(_worst(run, "FAIL")),
        sections=(),
        disclosure=disclosure_warning(str(run.manifest.get("disclosure", NO_DISCLOSURE))),
    )


def render(page: Page) -> str:
    """Lay out the page as HTML.

    Parameters
    ----------
    page : Page
        From `compose`.

    Returns
    -------
    str
        HTML; the same page gives the same text.
    """
    templates = resources.files("lndbayes.report") / "templates"
    loader = DictLoader({_TEMPLATE: (templates / _TEMPLATE).read_text(encoding="utf-8")})
    # Everything from a file is text, never markup: a site may be called "<script>"
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (templates / _STYLE).read_text(encoding="utf-8")
    return environment.get_template(_TEMPLATE).render(page=page, style=style)


def _tasks(run: Run) -> list[Any]:
    """Calls for the sections of each outcome, for joblib; they need no draws of savings."""
    light = replace(run, money=None)
    return [delayed(outcome_sections)(light, outcome) for outcome in run.outcomes]


def _shared_sections(run: Run) -> tuple[list[Section], list[Section]]:
    """Sections on all outcomes: those before the single outcomes' and those after."""
    several = len(run.outcomes) > 1
    before = [_answer(run), overview_section(run)] if several else [_answer(run)]
    before += [course_section(run), before_after_section(run), bounds_section(run)]
    quality = quality_section(run)
    after = [
        tipping_section(run),
        placebo_section(run),
        *(s for s in (powerscale_section(run), joint_section(run), backtest_section(run)) if s),
        savings_section(run),
        *([quality] if quality else []),
        checks_section(run),
        priors_section(run),
        assumptions_section(),
        notes_section(run),
        provenance_section(run),
        glossary_section(),
    ]
    return before, after


def outcome_sections(run: Run, outcome: str) -> list[Section]:
    """Sections on one outcome; parts of one section where the run has several."""
    several = len(run.outcomes) > 1
    builders = [effects_section, baseline_section]
    if not withheld(run, outcome):
        # the refits and the contrasts are of the effect
        builders += [rests_on_section, mix_section]
    built = [*(build(run, outcome) for build in builders), covariates_section(run, outcome)]
    built.insert(1, comparison_section(run, outcome))
    parts = tuple(section for section in built if section is not None)
    if not several:
        return list(parts)
    said = Paragraph(verdict_line(run, outcome) or effect_sentence(run, outcome))
    return [Section(f"outcome-{outcome}", outcome_label(run, outcome), (said,), parts)]


def _answer(run: Run) -> Section:
    """The answer: of one outcome its effect, of several what the overview says, then money."""
    several = len(run.outcomes) > 1
    blocks: list[Block] = []
    if several and run.overview is not None:
        blocks.append(Paragraph(overview_sentences(run), style="lead", label="Outcomes."))
        if expected := false_claims(run):
            blocks.append(Paragraph(expected))
    else:
        for outcome in run.outcomes:
            label = f"{outcome_label(run, outcome)}." if several else ""
            blocks.append(Paragraph(effect_sentence(run, outcome), style="lead", label=label))
            if (line := verdict_line(run, outcome)) and not withheld(run, outcome):
                blocks.append(Paragraph(line))
    label = "Savings." if several else ""
    blocks.append(Paragraph(savings_sentence(run), style="lead", label=label))
    return Section("answer", "The answer", tuple(blocks))


def _worst(run: Run, status: str) -> list[str]:
    chosen = run.checks[run.checks["status"] == status]
    return [
        f"{_words(str(r['outcome']))}: {_words(str(r['check']))}" for r in chosen.to_dict("records")
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _data_name(run: Run) -> str:
    name = run.manifest.get("name")
    return str(name) if name else "unnamed evaluation"
