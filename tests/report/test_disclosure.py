"""Data under a disclosure preset: every form of the report says that it is not for release."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import docx
import openpyxl
import pytest

from lndbayes.app.cli import main
from lndbayes.base.names import DISCLOSURES, disclosure_warning
from lndbayes.extracts.disclosure import PRESETS
from lndbayes.report import write_report

SAID = "NOT disclosure-controlled"


def test_presets_are_named_in_one_place() -> None:
    assert tuple(PRESETS) == DISCLOSURES
    assert disclosure_warning("none") == ""
    for name in DISCLOSURES[1:]:
        assert name in disclosure_warning(name)
        assert SAID in disclosure_warning(name)


@pytest.mark.parametrize("preset", ["none", "hes_2018"])
def test_every_form_says_it_first(make_run: Callable[..., Path], preset: str) -> None:
    run = make_run(n_sites=2)
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    manifest["disclosure"] = preset
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    write_report(run)
    page = (run / "report.html").read_text(encoding="utf-8")
    document = docx.Document(io.BytesIO((run / "report.docx").read_bytes()))
    book = openpyxl.load_workbook(run / "tables.xlsx")
    cover = " ".join(
        str(cell) for row in book.worksheets[0].iter_rows(values_only=True) for cell in row if cell
    )
    # before the contents, that is on the first screen; on the first page; on the cover
    first = (
        page.split("<nav")[0],
        " ".join(paragraph.text for paragraph in document.paragraphs[:4]),
        cover,
    )
    for text in first:
        assert (SAID in text) == (preset != "none")
    header = document.sections[0].header.paragraphs[0].text
    assert ("Not for release" in header) == (preset != "none")


def test_it_is_said_on_stderr_even_when_quiet(tmp_path, monkeypatch, capsys) -> None:
    class Status:
        value = "PASS"

    monkeypatch.setattr("lndbayes.app.exports.report_run", lambda run, **options: Status())
    for preset, said in (("ons_srs", True), ("none", False)):
        (tmp_path / "manifest.json").write_text(json.dumps({"disclosure": preset}))
        assert main(["report", str(tmp_path), "--quiet"]) == 0
        assert (SAID in capsys.readouterr().err) == said
    (tmp_path / "manifest.json").unlink()
    assert main(["report", str(tmp_path), "--quiet"]) == 0
    assert SAID not in capsys.readouterr().err
