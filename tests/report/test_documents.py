"""The Word document and the workbook: the page's words and numbers, and its warnings."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pandas as pd
import pytest
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml.ns import qn
from matplotlib.figure import Figure

import lndbayes.report.page
from lndbayes.report import write_report
from lndbayes.report.blocks import Group, Page, Picture, Section, Table
from lndbayes.report.page import compose
from lndbayes.report.run import read_run
from lndbayes.report.word import word_document

MakeRun = Callable[..., Path]
TABLES = ("effects", "savings", "baseline", "sensitivity", "ledger", "checks", "priors")


@pytest.fixture(scope="module")
def word(shared_run: Path) -> Any:
    return docx.Document(str(shared_run / "report.docx"))


@pytest.fixture(scope="module")
def book(shared_run: Path) -> Any:
    return openpyxl.load_workbook(shared_run / "tables.xlsx")


@pytest.fixture
def plain_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty figures, for tests that read text only: drawing takes most of a report's time."""
    monkeypatch.setattr("lndbayes.report.effects.caterpillar", lambda *a, **k: [Figure()])
    monkeypatch.setattr("lndbayes.report.effects.mix_contrasts", lambda *a, **k: Figure())
    monkeypatch.setattr("lndbayes.report.evidence.baseline_panels", lambda *a, **k: Figure())
    monkeypatch.setattr("lndbayes.report.evidence.sensitivity", lambda *a, **k: Figure())
    monkeypatch.setattr("lndbayes.report.savings.savings_histogram", lambda *a, **k: Figure())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def distinct(row: Any) -> list[str]:
    """Texts of a row, a merged cell once."""
    cells = []
    for cell in row.cells:
        if not cells or cell._tc is not cells[-1]._tc:
            cells.append(cell)
    return [cell.text for cell in cells]


def test_the_document_has_every_table_of_the_page_cell_by_cell(shared_run, word) -> None:
    blocks = [b for s in compose(read_run(shared_run)).sections for b in s.blocks]
    tables = [b for b in blocks if isinstance(b, Table)]
    assert len(word.tables) == len(tables) > 8
    for found, wanted in zip(word.tables, tables, strict=True):
        rows = [list(wanted.columns)]
        for group in wanted.groups:
            rows += [[group.title]] if group.title else []
            rows += [list(values) for values in group.rows]
        assert [distinct(row) for row in found.rows] == rows, wanted.caption
    # every table has its caption right above it, and its head is a head on each sheet
    captions = [p.text for p in word.paragraphs if p.style.name == "Caption"]
    assert [b.caption for b in blocks if isinstance(b, Table | Picture)] == captions
    for found in word.tables:
        properties = found.rows[0]._tr.trPr
        assert properties is not None
        assert properties.find(qn("w:tblHeader")) is not None
        assert all(row._tr.trPr.find(qn("w:cantSplit")) is not None for row in found.rows)


def test_cells_keep_their_lines_and_numbers_stand_right_and_a_title_goes_across() -> None:
    rows = (("two\nlines", "1"), ("a\ttab", "2"))
    table = Table("caption", ("Site", "Rate"), (Group("Wave 1", rows),), frozenset({1}))
    page = Page("x", ("y",), "", "PASS", "", (), (Section("s", "S", (table,)),))
    found = docx.Document(io.BytesIO(word_document(page))).tables[0]
    head, title, first, second = (row._tr.tc_lst for row in found.rows)
    assert [cell.grid_span for cell in title] == [2]
    assert title[0].width == sum(cell.width for cell in first) == sum(cell.width for cell in head)
    # a break or a tab inside a text is white space to a word processor
    assert [len(first[0].findall(f".//{qn(name)}")) for name in ("w:br", "w:tab")] == [1, 0]
    assert [len(second[0].findall(f".//{qn(name)}")) for name in ("w:br", "w:tab")] == [0, 1]
    sides = [cell.paragraphs[0].style.paragraph_format.alignment for cell in found.rows[2].cells]
    assert sides == [None, WD_ALIGN_PARAGRAPH.RIGHT]


def test_every_head_is_set_in_the_font_of_the_text(word) -> None:
    for name in ("Normal", "Title", "Heading 1", "Heading 2", "Heading 3", "Caption"):
        fonts = word.styles[name].element.rPr.rFonts
        found = {key.rpartition("}")[2] for key in fonts.attrib}
        assert found <= {"ascii", "hAnsi", "eastAsia"}
        assert set(fonts.values()) == {"Arial"}, name


def test_the_document_has_every_section_figure_and_alternative_text(shared_run, word) -> None:
    page = compose(read_run(shared_run))
    heads = [p.text for p in word.paragraphs if p.style.name == "Heading 1"]
    assert heads == [f"{i}. {s.title}" for i, s in enumerate(page.sections, start=1)]
    pictures = [b for s in page.sections for b in s.blocks if isinstance(b, Picture)]
    assert [s._inline.docPr.get("descr") for s in word.inline_shapes] == [p.alt for p in pictures]
    section = word.sections[0]
    inside = section.page_width - section.left_margin - section.right_margin
    for shape in word.inline_shapes:
        assert shape.width <= inside
        assert shape.height < section.page_height - section.top_margin - section.bottom_margin


def test_the_workbook_has_the_tables_cell_by_cell(shared_run, book) -> None:
    for name in TABLES:
        with (shared_run / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            written = list(csv.DictReader(file))
        kept = [k for k in written[0] if any(row[k] for row in written)]
        rows = [
            [cell for cell in row] for row in book[name.capitalize()].iter_rows(values_only=True)
        ]
        head = rows.index([*kept, *[None] * (len(rows[0]) - len(kept))])
        body = [row[: len(kept)] for row in rows[head + 1 : head + 1 + len(written)]]
        assert len(body) == len(written), name
        for found, wanted in zip(body, written, strict=True):
            for cell, key in zip(found, kept, strict=True):
                text = wanted[key]
                if text == "":
                    numbers = all(_is_number(row[key]) for row in written if row[key])
                    assert cell == ("[x]" if numbers else "[z]"), key
                elif isinstance(cell, bool) or not isinstance(cell, int | float):
                    assert str(cell) == text
                else:
                    assert float(cell) == pytest.approx(float(text), rel=1e-14)


def test_the_workbook_opens_with_a_cover_and_contents(shared_run, book) -> None:
    assert book.sheetnames == ["Cover", "Contents", *(n.capitalize() for n in TABLES)]
    words = [c for row in book["Cover"].iter_rows(values_only=True) for c in row if c]
    assert any("no number here is an estimate about a real service" in str(w) for w in words)
    # each on one line, since not every program makes a row higher for what is longer
    assert max(map(len, map(str, words))) <= book["Cover"].column_dimensions["A"].width


@pytest.mark.parametrize(("status", "said"), [("FAIL", "NOT FOR USE"), ("REVIEW", "FOR REVIEW")])
def test_a_failed_check_marks_every_sheet(make_run, plain_figures, status, said) -> None:
    run = make_run()
    checks = pd.read_csv(run / "checks.csv", dtype=str, keep_default_na=False)
    checks.loc[0, "status"] = status
    checks.to_csv(run / "checks.csv", index=False)
    write_report(run)
    word = docx.Document(str(run / "report.docx"))
    assert said in word.sections[0].header.paragraphs[0].text
    assert any(said in p.text for p in word.paragraphs[:5])
    book = openpyxl.load_workbook(run / "tables.xlsx")
    for name in ("Cover", *(n.capitalize() for n in TABLES)):
        top = [c for row in book[name].iter_rows(max_row=12, values_only=True) for c in row if c]
        assert any(said in str(cell) for cell in top), name


def test_text_is_text_whatever_it_looks_like(make_run, plain_figures) -> None:
    run = make_run()
    checks = pd.read_csv(run / "checks.csv", dtype=str, keep_default_na=False)
    hostile = ["=1+1", "<w:p/>", "a\x07b", "http://example.org", " two\n lines\t& a tab "]
    checks.loc[: len(hostile) - 1, "message"] = hostile
    checks.to_csv(run / "checks.csv", index=False)
    write_report(run)
    word = docx.Document(str(run / "report.docx"))
    cells = {c.text for t in word.tables for row in t.rows for c in row.cells}
    assert {"ab", *hostile} - {hostile[2]} <= cells
    sheet = openpyxl.load_workbook(run / "tables.xlsx")["Checks"]
    found = [c for row in sheet.iter_rows() for c in row if c.value in hostile]
    assert {c.value for c in found} >= {"=1+1", "http://example.org"}
    assert {c.data_type for c in found} == {"s"}
    assert all(c.hyperlink is None for c in found)


def test_no_form_is_replaced_unless_all_are_made(make_run, plain_figures, monkeypatch) -> None:
    run = make_run()
    for name in ("report.html", "report.docx", "tables.xlsx"):
        (run / name).write_text("old")

    def broken(*args: object) -> bytes:
        raise RuntimeError("no paper")

    monkeypatch.setattr(lndbayes.report.page, "workbook", broken)
    with pytest.raises(RuntimeError):
        write_report(run)
    for name in ("report.html", "report.docx", "tables.xlsx"):
        assert (run / name).read_text() == "old"
    assert not [p for p in run.iterdir() if p.name.startswith(".")]
