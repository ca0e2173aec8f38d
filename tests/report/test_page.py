"""The page as a browser, a screen reader and a disclosure officer would meet it."""

from __future__ import annotations

import base64
import csv
import itertools
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

from golden import differs
from lndbayes.base.errors import DataError
from lndbayes.files.storage import read_netcdf, write_netcdf
from lndbayes.report import write_report
from lndbayes.report.blocks import Paragraph
from lndbayes.report.evidence import baseline_section, rests_on_section
from lndbayes.report.figures import style
from lndbayes.report.run import read_run

MakeRun = Callable[..., Path]

VOID = {"meta", "img", "br", "link", "hr", "input"}
#: Elements that begin a line of their own where the words of a page are kept.
LINES = {
    "title",
    "h1",
    "h2",
    "h3",
    "h4",
    "p",
    "li",
    "tr",
    "caption",
    "figcaption",
    "div",
    "dt",
    "dd",
}
LOADS = {"src", "srcset", "href", "data", "poster", "action", "xlink:href", "background"}
SYNTHETIC = "no number here is an estimate about a real service"
HOSTILE = [
    "<script>alert(1)</script>",
    "$\\frac{1}{x",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}",
    "NA",
    "日本",
    "a\tb",
    "&amp;",
    "1e5",
]


class Page(HTMLParser):
    """Collects what the tests ask about; fails on a tag that is not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.captions: list[str] = []
        self.words: list[str] = []
        self.lines: list[str] = [""]
        self._cells: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag in LINES:
            self.lines.append("")
        if tag == "tr":
            self._cells = []
        if tag in ("td", "th"):
            self._cells.append("")
        if tag == "caption":
            self.captions.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "tr":
            self.rows.setdefault(self._cells[0], []).append(self._cells[1:])

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words.append(data)
        self.lines[-1] += " | " if self.open and self.open[-1] in ("td", "th") else ""
        self.lines[-1] += data
        if self.open and self.open[-1] in ("td", "th"):
            self._cells[-1] += data
        if self.open and self.open[-1] == "caption":
            self.captions[-1] += data

    def tags(self, name: str) -> list[dict[str, str]]:
        return [attrs for tag, attrs in self.elements if tag == name]


@pytest.fixture(scope="session")
def page(shared_run: Path) -> Page:
    return Page(shared_run / "report.html")


@pytest.fixture
def plain_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty figures, for tests that read text only: drawing takes most of a report's time."""
    monkeypatch.setattr("lndbayes.report.effects.caterpillar", lambda *a, **k: [Figure()])
    monkeypatch.setattr("lndbayes.report.effects.mix_contrasts", lambda *a, **k: Figure())
    monkeypatch.setattr("lndbayes.report.evidence.baseline_panels", lambda *a, **k: Figure())
    monkeypatch.setattr("lndbayes.report.evidence.sensitivity", lambda *a, **k: Figure())
    monkeypatch.setattr("lndbayes.report.savings.savings_histogram", lambda *a, **k: Figure())


@pytest.fixture
def no_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the head of the page only, where the banners are."""
    monkeypatch.setattr("lndbayes.report.page._tasks", lambda run: [])
    monkeypatch.setattr("lndbayes.report.page._shared_sections", lambda run: ([], []))


def test_the_words_of_a_report_are_as_kept(shared_run: Path, page: Page) -> None:
    """All prose of a made-up run: what it says is judged here, in the difference to what is kept.

    The other tests ask for what must follow from a run's numbers, or must never stand there.
    """
    lines = (" ".join(line.split()).removeprefix("| ") for line in page.lines)
    words = "\n".join(line.replace(str(shared_run), "RUN") for line in lines if line) + "\n"
    kept = Path(__file__).with_name("report.txt")
    assert not (difference := differs(kept, words)), difference


def svgs(page: Page) -> list[str]:
    prefix = "data:image/svg+xml;base64,"
    return [base64.b64decode(i["src"].removeprefix(prefix)).decode() for i in page.tags("img")]


def test_page_is_accessible(page: Page) -> None:
    assert page.tags("html") == [{"lang": "en-GB"}]
    assert len(page.tags("h1")) == 1
    levels = [int(t[1]) for t, _ in page.elements if re.fullmatch("h[1-6]", t)]
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    targets = [a["href"].removeprefix("#") for a in page.tags("a")]
    assert set(targets) <= set(ids)
    assert all(len(i["alt"]) > 40 for i in page.tags("img"))
    assert len(page.tags("img")) == len(page.tags("figcaption")) == 5
    assert all(t["scope"] in ("col", "row", "rowgroup") for t in page.tags("th"))
    assert len(page.captions) == len(page.tags("table"))
    assert all(page.captions)
    labels = [a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a]
    assert set(labels) <= set(ids)


def test_every_table_has_a_header_cell_for_every_column(page: Page) -> None:
    assert "" not in page.rows, "a header cell is empty"


def test_page_loads_nothing(shared_run: Path, page: Page) -> None:
    assert page.tags("script") == page.tags("link") == page.tags("iframe") == []
    for _, attrs in page.elements:
        for name in LOADS & set(attrs):
            assert attrs[name].startswith(("data:image/svg+xml;base64,", "#"))
        assert not [name for name in attrs if name.startswith("on")]
    style = re.findall(r"<style>(.*?)</style>", (shared_run / "report.html").read_text(), re.S)
    assert len(style) == 1
    assert not re.search(r"url\(|@import|expression", style[0])
    for svg in svgs(page):
        ElementTree.fromstring(svg)
        assert not re.search(r'(href|src)="(?!#)', svg)
        assert "<script" not in svg


def test_page_prints(shared_run: Path) -> None:
    text = (shared_run / "report.html").read_text(encoding="utf-8")
    assert "@page" in text
    assert re.search(r"@media print \{.*figure[^{]*\{ break-inside: avoid", text, re.S)


def test_sections_come_in_order(page: Page) -> None:
    wanted = [
        *("answer", "course", "before-after", "bounds"),
        *("effects-custody", "baseline-custody", "rests-custody", "mix-custody"),
        *(
            "tipping",
            "placebo",
            "savings",
            "checks",
            "priors",
            "assumptions",
            "data-notes",
            "provenance",
            "glossary",
        ),
    ]
    assert [a["id"] for a in page.tags("section")] == wanted


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_text_is_at_least_that_of_wcag_aa(shared_run: Path) -> None:
    for colour in (style.INK, style.MUTED, style.OBSERVED, style.OUTSIDE, style.REFERENCE):
        assert contrast(colour, "#ffffff") >= 4.5
    for _, colour, _ in style.TIER_MARKS.values():
        assert contrast(colour, "#ffffff") >= 4.5
    text = (shared_run / "report.html").read_text(encoding="utf-8")
    banners = re.findall(r"\.banner\.\w+ \{[^}]*background: (#\w+); color: (#\w+)", text)
    assert len(banners) == 3
    for background, colour in banners:
        wide = "#" + "".join(c * 2 for c in colour[1:]) if len(colour) == 4 else colour
        assert contrast(background, wide) >= 4.5


@pytest.mark.usefixtures("no_sections")
@pytest.mark.parametrize(
    ("status", "shown", "hidden"),
    [
        ("PASS", [], ["NOT FOR USE", "FOR REVIEW"]),
        ("REVIEW", ["FOR REVIEW"], ["NOT FOR USE"]),
        ("NOT RUN", ["FOR REVIEW"], ["NOT FOR USE"]),
        ("FAIL", ["NOT FOR USE", "custody: ppc site rates"], ["FOR REVIEW"]),
    ],
)
def test_banner_follows_the_checks(
    make_run: MakeRun, status: str, shown: list[str], hidden: list[str]
) -> None:
    page = Page(write_report(make_run(status=status, n_sites=2)))
    for text in shown:
        assert text in page.text
    for text in hidden:
        assert text not in page.text


@pytest.mark.usefixtures("no_sections")
def test_no_check_at_all_is_not_for_use(make_run: MakeRun) -> None:
    run = make_run(n_sites=2)
    header = (run / "checks.csv").read_text(encoding="utf-8").splitlines()[0]
    (run / "checks.csv").write_text(header + "\n", encoding="utf-8")
    text = Page(write_report(run)).text
    assert "NOT FOR USE. Nothing has been checked." in text
    assert "no check at all for custody" in text


@pytest.mark.usefixtures("no_sections")
def test_an_outcome_without_checks_is_not_for_use(make_run: MakeRun) -> None:
    run = make_run(n_sites=2, outcomes=("custody", "hearings"))
    checks = pd.read_csv(run / "checks.csv")
    checks[checks["outcome"] == "custody"].to_csv(run / "checks.csv", index=False)
    assert "NOT FOR USE" in Page(write_report(run)).text


@pytest.mark.usefixtures("no_sections")
@pytest.mark.parametrize("where", ["manifest", "fit", "both", "neither"])
def test_synthetic_banner(make_run: MakeRun, where: str) -> None:
    run = make_run(n_sites=2, synthetic=where in ("fit", "both"))
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    manifest["synthetic"] = where in ("manifest", "both")
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert (SYNTHETIC in Page(write_report(run)).text) == (where != "neither")


@pytest.mark.usefixtures("plain_figures")
def test_tier_d_never_shows_an_interval_even_if_the_files_hold_one(make_run: MakeRun) -> None:
    run = make_run()
    effects = pd.read_csv(run / "effects.csv", keep_default_na=False)
    chosen = (effects["identified"] == "D") & (effects["site"] != "")
    assert chosen.sum() == 6  # two sites, three rows each
    numbers = {"mean": 7.7, "sd": 1.1, "lower": 6.66, "median": 7.77, "upper": 8.88, "mcse": 0.001}
    for column, value in numbers.items():
        effects[column] = effects[column].astype(object)
        effects.loc[chosen, column] = value
    effects["p_below_zero"] = effects["p_below_zero"].astype(object)
    effects.loc[chosen, "p_below_zero"] = 0.42
    effects.to_csv(run / "effects.csv", index=False)
    page = Page(write_report(run))
    for site in ("S01", "S02"):
        shown = [cells for cells in page.rows[site] if "%" not in cells[1]]
        assert shown == [["D", "no interval (tier D)", *["\N{EN DASH}"] * 4]]
    for number in ("7.8", "7.77", "8.88", "6.66", "8.9", "2,370", "42%"):
        assert number not in [c for cells in page.rows["S01"] for c in cells]
        assert f"({number}" not in page.text
    assert "2 more are listed without an interval" in page.text


def test_site_table_holds_the_numbers_of_the_file(shared_run: Path, page: Page) -> None:
    with (shared_run / "effects.csv").open(encoding="utf-8", newline="") as handle:
        rows = [r for r in csv.DictReader(handle) if r["site"] == "S09"]
    link = next(r for r in rows if r["estimand"] == "site" and r["scale"] == "link")
    events = next(r for r in rows if r["estimand"] == "events_averted")
    cells = next(c for c in page.rows["S09"] if "%" not in c[1])
    assert cells[0] == link["identified"]
    got = [float(x) for x in re.findall(r"\d+\.\d+", cells[1])]
    expected = [math.exp(float(link[k])) for k in ("median", "lower", "upper")]
    np.testing.assert_allclose(got, expected, atol=0.005 + 1e-9)
    got = [float(x.replace(",", "")) for x in re.findall(r"[\d,]+", cells[3])]
    np.testing.assert_allclose(got, [float(events[k]) for k in ("median", "lower", "upper")], 0.1)


def test_baseline_sentence_counts_what_the_files_hold(shared_run: Path, page: Page) -> None:
    with xr.open_dataset(
        shared_run / "fits" / "custody.nc", group="constant_data", engine="netcdf4"
    ) as constant:
        event = constant["event_time"].to_pandas()
        exposure = constant["exposure_all"].to_pandas()
    before, gap = set(), dict.fromkeys(event.index, 0.0)
    with (shared_run / "baseline.csv").open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            if row["observed"] == "":
                continue
            if event.loc[row["site"], row["month"]] < 0:
                before.add(row["site"])
            else:
                n = float(exposure.loc[row["site"], row["month"]])
                gap[row["site"]] += n * (float(row["observed"]) - float(row["mean"]))
    below = sum(g < 0 for g in gap.values())
    assert 0 < len(before) < 9
    assert f"At {9 - len(before)} of 9 sites nothing was observed before go-live" in page.text
    assert f"below the reconstructed baseline at {below} of 9 sites" in page.text


def undrawn(run: Path, months: set[str], sites: set[str]) -> None:
    """Empty what was observed in baseline.csv: counts that are not exact are not drawn."""
    path = run / "baseline.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[table["month"].isin(months) & table["site"].isin(sites), "observed"] = ""
    table.to_csv(path, index=False)


def test_withheld_months_are_counted_as_observed_ones_are(make_run: MakeRun) -> None:
    """All of them, the transition included, which the likelihood leaves out."""
    run = make_run(n_sites=2)
    path = run / "fits" / "custody.nc"
    with xr.open_datatree(path, engine="netcdf4") as stored:
        tree = stored.load()
    cells = tree["constant_data"].to_dataset()
    transition = (cells["event_time"] >= -1) & (cells["event_time"] <= 1)
    assert (transition & (cells["exposure_all"] > 0)).any()
    cells["exposure"] = cells["exposure"].where(~transition, 0.0)
    tree["constant_data"] = cells
    path.unlink()
    tree.to_netcdf(path, engine="netcdf4")
    sites = {str(site) for site in cells["site"].to_numpy()}
    undrawn(run, {str(month) for month in cells["month"].to_numpy()}, sites)
    blocks = baseline_section(read_run(run), "custody").blocks
    text = " ".join(b.text for b in blocks if isinstance(b, Paragraph))
    every = int((cells["exposure_all"] > 0).sum())
    assert f"{every} of {every} observed months" in text


def compared(run: Path, site: str, **bounds: float) -> str:
    """The page's words with the bounds of every treated cell of a site changed."""
    path = run / "fits" / "custody.nc"
    with xr.open_datatree(path, engine="netcdf4") as stored:
        tree = stored.load()
    cells = tree["constant_data"].to_dataset()
    here = (cells["event_time"] >= 0) & (cells["site"] == site)
    for name, value in bounds.items():
        cells[name] = cells[name].where(~here, value)
    tree["constant_data"] = cells
    path.unlink()
    tree.to_netcdf(path, engine="netcdf4")
    if bounds["count"] != bounds["count_high"]:
        undrawn(run, set(cells["month"].to_numpy()[here.sel(site=site).to_numpy()]), {site})
    blocks = baseline_section(read_run(run), "custody").blocks
    return " ".join(b.text for b in blocks if isinstance(b, Paragraph))


def test_only_what_can_be_compared_with_the_baseline_is(make_run: MakeRun) -> None:
    """Withheld counts are no zeros: bounds decide, or nothing is said of the site."""
    run = make_run(n_sites=2)
    site = read_run(run).fit_facts["custody"].used.index[0]
    text = compared(run, site, count=0.0, count_high=9.0)
    assert "of 1 sites" in text
    assert "At 1 more, withheld or rounded counts leave it open" in text
    assert "exact counts only" in text
    low, high = (compared(run, site, count=n, count_high=n + 1) for n in (0.0, 1e4))
    assert "of 2 sites" in low
    assert "of 2 sites" in high
    found = [re.search(r"at (\d) of 2 sites, and above it at (\d)", page) for page in (low, high)]
    (below, _), (fewer, above) = (m.groups() if m else ("", "") for m in found)
    assert int(below) == int(fewer) + 1
    assert int(above) >= 1


def test_where_nothing_can_be_compared_no_number_is_told(make_run: MakeRun) -> None:
    run = make_run(n_sites=2)
    for site in read_run(run).fit_facts["custody"].used.index:
        text = compared(run, site, count=0.0, count_high=1e4)
    assert "leave open at every site" in text
    assert "below the reconstructed baseline at" not in text


def test_sensitivity_and_leverage_in_words(shared_run: Path, page: Page) -> None:
    frame = pd.read_csv(shared_run / "sensitivity.csv").set_index("variant")
    leak = frame.loc["ramp_hidden", "sd"] / frame.loc["base", "sd"]
    assert f"becomes {leak:.1f} times what it was" in page.text
    off = frame.loc["all_off_ramp_hidden"]
    share = round(100 * off["sd"] / off["prior_sd"])
    assert f"is {off['sd']:.2f}, {share}% of the prior's 0.50, close to the prior" in page.text
    # leverage_level_bias is 0.09 per unit in the made-up run, leverage_drift -0.55
    assert "too high by 0.1 log odds, the pooled effect would move by +0.009 log odds" in page.text
    assert "would move by \N{MINUS SIGN}0.055 log odds" in page.text


@pytest.mark.usefixtures("plain_figures")
@pytest.mark.parametrize(
    ("sd", "judged"),
    [
        (0.41, "82% of the prior's 0.50, close to the prior"),
        (0.37, "74% of the prior's 0.50, most of the prior's width"),
        (0.20, "40% of the prior's 0.50, much narrower than the prior"),
    ],
)
def test_what_is_left_without_evidence_is_judged_against_the_prior(
    make_run: MakeRun, sd: float, judged: str
) -> None:
    run = make_run()
    frame = pd.read_csv(run / "sensitivity.csv")
    frame.loc[frame["variant"] == "all_off_ramp_hidden", "sd"] = sd
    frame.to_csv(run / "sensitivity.csv", index=False)
    section = rests_on_section(read_run(run), "custody")
    texts = [b.text for b in section.blocks if isinstance(b, Paragraph)]
    assert [t for t in texts if judged in t and t.startswith("All evidence off and first 15")]


def test_costs_without_a_published_range_are_compared_with_none(make_run: MakeRun) -> None:
    """Nor with anybody else's."""
    run = make_run()
    path = run / "savings.nc"
    draws = read_netcdf(path)
    draws.attrs = {k: v for k, v in draws.attrs.items() if not k.startswith("comparison_")}
    path.unlink()
    write_netcdf(draws, path)
    for text in (Page(write_report(run)).text, Page(_without(path, run)).text):
        assert "Total over all sites" in text
        assert not re.search(r"RAND|published range|outside comparison", text)


def _without(draws: Path, run: Path) -> Path:
    draws.unlink()
    return write_report(run)


def test_hostile_names_stay_names(make_run: MakeRun) -> None:
    run = make_run(label=lambda i: HOSTILE[i])
    page = Page(write_report(run))
    assert page.tags("script") == []
    assert all(i["src"].startswith("data:") for i in page.tags("img"))
    for name in HOSTILE:
        assert name in page.rows
    for svg in svgs(page):
        ElementTree.fromstring(svg)


@pytest.mark.usefixtures("plain_figures")
def test_several_outcomes(make_run: MakeRun) -> None:
    page = Page(write_report(make_run(n_sites=3, outcomes=("custody", "ae_attendances"))))
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for part in ("effects", "baseline", "rests", "mix"):
        assert f"{part}-custody" in ids
        assert f"{part}-ae_attendances" in ids
    assert "Custody. Over months" in page.text
    assert "A&E attendances. Over months" in page.text


OPTIONAL = [
    *("baseline.csv", "ledger.csv", "savings.csv", "savings.nc", "priors.csv"),
    *("sensitivity.csv", "fits/custody.nc"),
]


@pytest.mark.usefixtures("plain_figures")
def test_what_is_absent_is_said_to_be_absent(make_run: MakeRun) -> None:
    run = make_run()
    for name in OPTIONAL:
        (run / name).unlink()
    page = Page(write_report(run))
    for name in OPTIONAL:
        assert f"{name} is not in the run directory" in page.text
    assert len(page.tags("img")) == 2  # the caterpillar and the mix need effects.csv only


@pytest.mark.usefixtures("plain_figures")
@pytest.mark.parametrize("name", ["savings.csv", "savings.nc", "fits/custody.nc"])
def test_each_optional_file_may_be_absent_alone(make_run: MakeRun, name: str) -> None:
    run = make_run(n_sites=2)
    (run / name).unlink()
    assert f"{name} is not in the run directory" in Page(write_report(run)).text


def test_required_files_are_all_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        write_report(tmp_path)
    for name in ("effects.csv", "checks.csv", "manifest.json"):
        assert f"{name}: is required" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_file_is_named_with_row_column_and_value(make_run: MakeRun) -> None:
    run = make_run(n_sites=2)
    lines = (run / "checks.csv").read_text(encoding="utf-8").splitlines()
    lines[2] = lines[2].replace("PASS", "FINE")
    (run / "checks.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=r"checks\.csv, row 3, column status, value 'FINE'"):
        write_report(run)


def test_text_in_a_number_column_and_a_lost_column_are_reported_together(make_run: MakeRun) -> None:
    run = make_run(n_sites=2)
    effects = pd.read_csv(run / "effects.csv", keep_default_na=False).astype(object)
    effects.loc[1, "lower"] = "about -3"
    effects.to_csv(run / "effects.csv", index=False)
    baseline = pd.read_csv(run / "baseline.csv").drop(columns="upper")
    baseline.to_csv(run / "baseline.csv", index=False)
    (run / "manifest.json").write_text("[1", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        write_report(run)
    text = str(caught.value)
    assert "effects.csv, row 3, column lower, value 'about -3'" in text
    assert "baseline.csv, column upper" in text
    assert "manifest.json: is not valid JSON" in text


def test_a_run_that_cannot_be_reported_keeps_its_old_report(make_run: MakeRun) -> None:
    run = make_run(n_sites=2)
    (run / "report.html").write_text("old", encoding="utf-8")
    effects = pd.read_csv(run / "effects.csv", keep_default_na=False)
    effects[effects["estimand"] != "pooled"].to_csv(run / "effects.csv", index=False)
    before = sorted(p.name for p in run.iterdir())
    with pytest.raises(DataError, match="exactly one pooled row"):
        write_report(run)
    assert (run / "report.html").read_text(encoding="utf-8") == "old"
    assert sorted(p.name for p in run.iterdir()) == before


def test_the_same_run_gives_the_same_bytes_whatever_matplotlibrc_says(
    shared_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (shared_run / "report.html").read_bytes()
    monkeypatch.setitem(mpl.rcParams, "axes.facecolor", "red")
    monkeypatch.setitem(mpl.rcParams, "svg.fonttype", "none")
    write_report(shared_run)
    assert (shared_run / "report.html").read_bytes() == first


@pytest.mark.parametrize("step", [1, 3])
def test_go_live_is_read_from_event_time_whatever_the_period(make_run: MakeRun, step: int) -> None:
    run = make_run(n_sites=2)
    path = run / "fits" / "custody.nc"
    event = np.array([[np.nan] * 4, np.arange(4) * step - 2.0 * step])
    constant = xr.Dataset(
        {
            "event_time": (("site", "month"), event),
            **dict.fromkeys(
                ("exposure_all", "exposure", "count", "count_high"),
                (("site", "month"), [[0.0, 1.0, 2.0, 3.0]] * 2),
            ),
            "coverage": (("site", "month"), np.ones((2, 4))),
        },
        coords={"site": ["never", "third"], "month": ["2014-01", "2014-04", "2014-07", "2014-10"]},
    )
    path.unlink()
    xr.DataTree.from_dict({"/constant_data": constant}).to_netcdf(path, engine="netcdf4")
    design = read_run(run).fit_facts["custody"]
    assert design.go_live["third"] == 2.0
    assert math.isnan(design.go_live["never"])
    assert design.exposure.isna().sum().sum() == 2


def test_a_fit_without_event_time_is_refused(make_run: MakeRun) -> None:
    run = make_run(n_sites=2)
    path = run / "fits" / "custody.nc"
    path.unlink()
    xr.DataTree.from_dict({"/constant_data": xr.Dataset({"x": 1})}).to_netcdf(
        path, engine="netcdf4"
    )
    with pytest.raises(DataError, match=r"fits/custody\.nc, value 'event_time, exposure_all"):
        write_report(run)
