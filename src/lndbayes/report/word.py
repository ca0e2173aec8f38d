"""The report as a Word document: the page's own blocks, captions, repeated heads, alt texts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

from docx import Document
from docx.enum.section import WD_ORIENT
from docx.enum.style import WD_STYLE_TYPE
from docx.enum.table import WD_TABLE_ALIGNMENT
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml import OxmlElement, parse_xml
from docx.oxml.ns import nsdecls, qn
from docx.oxml.xmlchemy import BaseOxmlElement
from docx.shared import Cm, Pt, RGBColor

from lndbayes.report.blocks import Block, Heading, Items, Page, Paragraph, Picture, Table, Terms

__all__ = ["word_document"]

_FONT, _GREY, _RED = "Arial", RGBColor(0x55, 0x55, 0x55), RGBColor(0xA0, 0x10, 0x10)
_HEADS = ("Title", "Heading 1", "Heading 2", "Heading 3")
#: A4 on its side less the margins: the widest tables have nine columns.
_WIDTH = Cm(29.7 - 2 * 1.8)


def word_document(page: Page) -> bytes:
    """Lay out a page for a word processor.

    Parameters
    ----------
    page : Page
        From `lndbayes.report.page.compose`.

    Returns
    -------
    bytes
        A ``.docx`` file with the same words, numbers and figures as the HTML page.
    """
    document = Document()
    _set_up(document, page)
    document.add_heading(_clean(f"Evaluation report: {page.name}"), level=0)
    many = "Outcomes" if len(page.outcomes) > 1 else "Outcome"
    document.add_paragraph(f"{many}: {', '.join(page.outcomes)}. Checks: {page.counts}.")
    release = f"NOT FOR RELEASE. {page.disclosure}" if page.disclosure else ""
    for text in (release, f"SYNTHETIC. {page.synthetic}" if page.synthetic else "", page.banner):
        if text:
            _strong(document.add_paragraph(), text, _RED)
    for number, section in enumerate(page.sections, start=1):
        document.add_heading(f"{number}. {section.title}", level=1)
        for block in section.blocks:
            _add(document, block)
        for below, part in enumerate(section.parts, start=1):
            document.add_heading(f"{number}.{below} {part.title}", level=2)
            for block in part.blocks:
                _add(document, block, level=3)
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def _set_up(document: Any, page: Page) -> None:
    """Paper, fonts, language, and the warning on every sheet."""
    section = document.sections[0]
    section.orientation = WD_ORIENT.LANDSCAPE
    section.page_width, section.page_height = Cm(29.7), Cm(21.0)
    for side in ("left", "right", "top", "bottom"):
        setattr(section, f"{side}_margin", Cm(1.8))
    for name in ("Normal", *_HEADS, "Caption", "List Bullet"):
        style = document.styles[name]
        style.font.name = _FONT
        fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
        fonts.set(qn("w:eastAsia"), _FONT)
        # a theme's font, which the library's heads come with, would go before ours
        for theme in [key for key in fonts.attrib if key.lower().endswith("theme")]:
            del fonts.attrib[theme]
        style.font.color.rgb = RGBColor(0, 0, 0)
        if name not in _HEADS:
            style.font.size = Pt(10)
    _add_table_styles(document)
    language = OxmlElement("w:lang")
    language.set(qn("w:val"), "en-GB")
    document.styles["Normal"].element.get_or_add_rPr().append(language)
    document.core_properties.title = _clean(f"Evaluation report: {page.name}")
    document.core_properties.author = ""
    document.core_properties.comments = ""
    marks = ["Not for release" if page.disclosure else ""]
    marks += ["Simulated data" if page.synthetic else "", page.banner.split(".")[0]]
    if header := "   ".join(mark for mark in marks if mark):
        _strong(section.header.paragraphs[0], header, _RED)


def _add_table_styles(document: Any) -> None:
    """Give the cells of tables styles of their own, which an editor can change at one place."""
    for name in ("Table Text", "Table Number", "Table Head"):
        style = document.styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH)
        style.base_style = document.styles["Normal"]
        style.font.size = Pt(8)
        style.paragraph_format.space_after = Pt(0)
        style.font.bold = True if name == "Table Head" else None
        if name == "Table Number":
            style.paragraph_format.alignment = WD_ALIGN_PARAGRAPH.RIGHT


def _clean(text: str) -> str:
    """Leave out what no XML file may hold, such as a bell in a site's name."""
    return "".join(c for c in text if c in "\t\n" or (c >= " " and c not in "\ufffe\uffff"))


def _strong(paragraph: Any, text: str, colour: RGBColor | None = None) -> None:
    run = paragraph.add_run(_clean(text))
    run.bold = True
    if colour is not None:
        run.font.color.rgb = colour


def _add(document: Any, block: Block, level: int = 2) -> None:
    match block:
        case Paragraph():
            _add_paragraph(document, block)
        case Heading():
            document.add_heading(block.text, level=level)
        case Items():
            for text in block.texts:
                document.add_paragraph(_clean(text), style="List Bullet")
        case Terms():
            for term, text in block.pairs:
                paragraph = document.add_paragraph()
                _strong(paragraph, f"{term}: ")
                paragraph.add_run(_clean(text))
        case Picture():
            _add_picture(document, block)
        case Table():
            _add_table(document, block)


def _add_paragraph(document: Any, block: Paragraph) -> None:
    paragraph = document.add_paragraph()
    if block.label:
        _strong(paragraph, f"{block.label} ", _RED if block.style == "warning" else None)
    run = paragraph.add_run(_clean(block.text))
    if block.style == "lead":
        run.font.size = Pt(13)


def _add_picture(document: Any, block: Picture) -> None:
    shape = document.add_picture(io.BytesIO(block.png))
    if shape.width > _WIDTH:
        shape.height = int(shape.height * _WIDTH / shape.width)
        shape.width = _WIDTH
    # the whole figure and its caption fit on one sheet
    tallest = Cm(15.0)
    if shape.height > tallest:
        shape.width = int(shape.width * tallest / shape.height)
        shape.height = tallest
    shape._inline.docPr.set("descr", _clean(block.alt))
    document.paragraphs[-1].paragraph_format.keep_with_next = True
    document.add_paragraph(_clean(block.caption), style="Caption")


def _add_table(document: Any, block: Table) -> None:
    caption = document.add_paragraph(_clean(block.caption), style="Caption")
    caption.paragraph_format.keep_with_next = True
    across = len(block.columns)
    table = document.add_table(rows=0, cols=across, style="Table Grid")
    table.alignment = WD_TABLE_ALIGNMENT.LEFT
    width = table.columns[0].width.twips
    styles = ["TableNumber" if column in block.numeric else "TableText" for column in range(across)]
    rows = [_row(block.columns, ["TableHead"] * across, width, head=True)]
    for group in block.groups:
        if group.title:
            rows.append(_row([group.title], ["TableHead"], width * across, across=across))
        rows += [_row(values, styles, width) for values in group.rows]
    for row in rows:
        table._tbl.append(row)
    if block.note:
        note = document.add_paragraph().add_run(_clean(block.note))
        note.font.size, note.font.color.rgb = Pt(8.5), _GREY


def _row(
    texts: Sequence[str],
    styles: Sequence[str],
    width: int,
    *,
    across: int = 1,
    head: bool = False,
) -> BaseOxmlElement:
    """Make a table's row; the library's own way, cell by cell, takes most of a document's time.

    Each cell is `width` twips wide and lies across `across` columns. No row is torn by the end of
    a sheet. A head is told as one, and repeated on every sheet that the table reaches.
    """
    place = f'<w:tcW w:type="dxa" w:w="{width}"/>'
    if across > 1:
        place += f'<w:gridSpan w:val="{across}"/>'
    cells = "".join(
        f'<w:tc><w:tcPr>{place}</w:tcPr><w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr>'
        f"<w:r>{_lines(text)}</w:r></w:p></w:tc>"
        for text, style in zip(texts, styles, strict=True)
    )
    kept = "<w:cantSplit/>" + ('<w:tblHeader w:val="true"/>' if head else "")
    row: BaseOxmlElement = parse_xml(f"<w:tr {nsdecls('w')}><w:trPr>{kept}</w:trPr>{cells}</w:tr>")
    return row


def _lines(text: str) -> str:
    """Write a cell's text, whose tabs and new lines are elements of their own."""
    escaped = escape(_clean(text))
    for mark, element in (("\n", "br"), ("\t", "tab")):
        escaped = escaped.replace(mark, f'</w:t><w:{element}/><w:t xml:space="preserve">')
    return f'<w:t xml:space="preserve">{escaped}</w:t>'
