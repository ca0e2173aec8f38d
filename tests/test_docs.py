"""What the documents say about the code: names, priors, rooms, links; what they show runs."""

from __future__ import annotations

import ast
import inspect
import math
import re
from pathlib import Path

import pytest

import lndbayes
from lndbayes.base.names import CI_PROB
from lndbayes.base.vocabulary import Estimand
from lndbayes.estimands import averted, effects, mix_effects
from lndbayes.estimands import reported as tables
from lndbayes.estimands.margins import link_margins
from lndbayes.evidence.attribution.tables import LEDGER_COLUMNS
from lndbayes.evidence.sensitivity import VARIANTS
from lndbayes.spec.families import FAMILIES
from lndbayes.spec.linear import LINEAR, FixedScale, LearnedScale, LinearBlock, OwnPrior
from lndbayes.spec.model_spec import CHANNELS, load_spec
from lndbayes.spec.prior_table import prior_table
from lndbayes.spec.priors import SLOTS
from lndbayes.spec.shipped import shipped_specs
from small import load

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "lndbayes"
SPEC = load_spec(ROOT / "models" / "custody.toml")

DOCUMENTS = sorted([*ROOT.glob("[A-Z]*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.M | re.S)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rows(markdown: str, cells: int) -> list[list[str]]:
    """Body rows of all tables with so many columns."""
    found = []
    for body in re.findall(r"^\|[-|]+\|\n((?:\|.+\n)+)", markdown, re.M):
        split = [
            [cell.strip() for cell in row.strip("|").split(" | ")] for row in body.splitlines()
        ]
        found += [row for row in split if len(row) == cells]
    return found


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def anchors(markdown: str) -> set[str]:
    """Anchors of the headings, as repository hosts make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", markdown), re.M)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


def dead_links(document: Path) -> list[str]:
    """Relative links of a document that lead nowhere: no such file, or no such heading."""
    markdown = document.read_text(encoding="utf-8")
    dead = []
    for target in LINK.findall(FENCE.sub("", markdown)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = document.parent / file if file else document
        if not path.exists() or (
            anchor and anchor not in anchors(path.read_text(encoding="utf-8"))
        ):
            dead.append(f"{document.relative_to(ROOT)}: {target}")
    return dead


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    assert dead_links(document) == []


def test_dead_links_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "b.md").write_text("# A heading, `with` more\n", encoding="utf-8")
    document = tmp_path / "a.md"
    document.write_text(
        "[x](b.md) ![y](no.png) [z](b.md#a-heading-with-more) [w](b.md#none) [v](#none)\n"
        "[u](https://example.org/x)\n```\n[t](in-code.md)\n```\n",
        encoding="utf-8",
    )
    assert [found.split(": ")[1] for found in dead_links(document)] == [
        "no.png",
        "b.md#none",
        "#none",
    ]


def readme_python() -> str:
    (block,) = [code for kind, code in FENCE.findall(text("README.md")) if kind == "python"]
    return block


def test_the_readme_uses_public_names_with_their_parameters() -> None:
    tree = ast.parse(readme_python())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [node.module for node in imports if isinstance(node, ast.ImportFrom)] == ["lndbayes"]
    names = {alias.name for node in imports for alias in node.names}
    assert names - set(lndbayes.__all__) == set()
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    used = {node.func.id for node in calls if isinstance(node.func, ast.Name)}
    assert used - names == {"print"}, "called and not imported"
    assert names - used == set(), "imported and not called"
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id in names:
            function = getattr(lndbayes, call.func.id)
            keywords = {str(keyword.arg): None for keyword in call.keywords}
            inspect.signature(function).bind(*call.args, **keywords)


def test_the_readme_names_files_that_are_there() -> None:
    literals = [n for n in ast.walk(ast.parse(readme_python())) if isinstance(n, ast.Constant)]
    paths = [n.value for n in literals if isinstance(n.value, str) and "/" in n.value]
    assert paths == ["data/synthetic", "models/custody.toml", "models/costs.toml"]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_readme_tells_every_exit_code_and_tier() -> None:
    readme = text("README.md")
    said = re.search(r"Exit codes of `lndbayes`: (.+?)\n\n", readme, re.S)
    assert said
    assert re.findall(r"\b(\d+) [a-z]", said[1]) == ["0", "1", "2", "130", "70", "141"]
    assert [row[0] for row in rows(readme, 3) if len(row[0]) == 1] == ["A", "B", "C", "D"]


def architecture_rooms() -> dict[str, list[str]]:
    """Rooms in the map's order, each with its modules and its folders, which end in a slash."""
    table = [row for row in rows(text("ARCHITECTURE.md"), 3) if len(named(row[0])) == 1]
    return {named(row[0])[0]: named(row[2]) for row in table if " " not in named(row[0])[0]}


def test_the_architecture_has_the_rooms_that_are_enforced_in_their_order() -> None:
    assert tuple(architecture_rooms()) == load("test_architecture.py").ROOMS


def test_the_architecture_names_every_module_and_no_other() -> None:
    wrong = {}
    for room, listed in architecture_rooms().items():
        folder = PACKAGE / room
        there = {path.stem for path in folder.glob("*.py") if path.stem != "__init__"}
        there |= {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
        if difference := there ^ set(listed):
            wrong[room] = sorted(difference)
        assert len(listed) == len(set(listed)), room
    assert not wrong


def linear_terms() -> str:
    """The table of linear terms, from the rows that the model is made of."""

    def drawn(block: LinearBlock) -> str:
        kind = "zero-sum normal" if block.zero_sum else "normal"
        match block.prior:
            case OwnPrior(slot):
                return f"slot `{slot}`"
            case LearnedScale(slot):
                return f"{kind}, sd `{slot}`"
            case FixedScale(key, _):
                return f"{kind}, sd `{key}`"

    lines = ["| term | is | added to | coefficients | drawn from | basis |", "|---" * 6 + "|"]
    for block in LINEAR:
        of = ", ".join(block.variable_dims) or "one"
        basis = f"`{block.basis}` ({', '.join(block.over)})" if block.basis else "1"
        cells = (f"`{block.name}`", block.note, str(block.enters), of, drawn(block), basis)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def test_methods_has_the_table_of_linear_terms() -> None:
    section = text("docs/methods.md").split("<!-- linear terms -->")[1]
    told = section.split("<!-- end of linear terms -->")[0].strip()
    assert told == linear_terms(), f"the table is now\n{linear_terms()}"


def test_methods_lists_every_estimand_that_is_exported() -> None:
    source = inspect.getsource(tables.link_draws) + inspect.getsource(tables.reported_draws)
    made = [Estimand[name] for name in re.findall(r"Estimand\.([A-Z_]+)\b", source)]
    assert set(made) == set(Estimand)
    exported: dict[str, set[str]] = {}
    for key in made:
        # the table's own name for the site rows of events averted
        name = Estimand.EVENTS_AVERTED.of if key is Estimand.EVENTS_AVERTED_SITE else key.of
        exported.setdefault(name, set()).add(key.scale)
    section = text("docs/methods.md").split("\n## Estimands")[1].split("\n## ")[0]
    table = {named(row[1])[0]: row for row in rows(section, 5) if named(row[1])}
    listed = {name: set(row[3].split(", ")) for name, row in table.items()}
    assert listed == exported
    for row in table.values():
        function = named(row[2])[0].split("(")[0]
        homes = (effects, averted, mix_effects)
        there = next((f for home in homes if (f := getattr(home, function, None))), None)
        assert callable(there), function


def test_methods_lists_every_channel_refit_and_ledger_column() -> None:
    methods = text("docs/methods.md")
    channels = methods.split("\n## Evidence channels")[1].split("\n## ")[0]
    assert [named(row[0])[0] for row in rows(channels, 4) if named(row[0])] == list(CHANNELS)
    said = {name for row in rows(methods, 2) for name in named(row[0])}
    variants = {v.name for v in VARIANTS} - {f"no_{channel}" for channel in CHANNELS}
    assert {*variants, "no_<channel>"} <= said
    ledger = set(LEDGER_COLUMNS) - {"outcome", "site", "tier", "channel"}
    assert {name for name in ledger if not name.startswith("leverage_")} <= said


def test_methods_states_the_settings_of_the_shipped_spec() -> None:
    methods = " ".join(text("docs/methods.md").split())
    effect, sensitivity, baseline = SPEC.effect, SPEC.sensitivity, SPEC.baseline
    assert "Event months {} to {} (`effect.window`".format(*effect.window) in methods
    assert "event months {} to {} (`effect.transition`)".format(*effect.transition) in methods
    assert f"`wave_sd` is set ({sensitivity.wave_sd:g}) and on by default" in methods
    assert f"wave_effect ~ {sensitivity.wave_sd:g} ZeroSumNormal" in methods
    assert f"diag(se²) + {baseline.national_offset_sd:.2f}² J" in methods
    assert f"3.29)²) + {baseline.elicited_bias_sd:.2f}² J" in methods
    assert f"national_curve_sd) {baseline.national_basis} functions" in methods
    assert f"over sites, {baseline.site_basis} functions" in methods
    off = (sensitivity.shared_bias_sd, sensitivity.drift_sd, sensitivity.go_live_step_sd)
    assert off == (0, 0, 0), "methods.md says that these are off in the main fit"


def test_priors_has_every_margin_with_what_it_is_as_a_ratio() -> None:
    section = text("docs/priors.md").split("## What counts as no effect")[1].split("\n## ")[0]
    written = {named(row[0])[0]: row[1:3] for row in rows(section, 4) if named(row[0])}
    shipped = {name: load_spec(path) for name, path in shipped_specs().items()}
    assert set(written) == set(shipped)
    for name, (margin, ratio) in written.items():
        spec = shipped[name]
        size = float(margin.split()[0])
        assert size == spec.outcome.margin_per_1000, name
        _, low, _, high, _, rate = ratio.split()
        ends = link_margins(spec.family.link, float(rate.replace(",", "")) / 1000, size)
        assert [f"{math.exp(end):.2f}" for end in ends] == [low, high], name


def test_priors_are_documented_as_they_are() -> None:
    table = [row for row in rows(text("docs/priors.md"), 6) if named(row[0])]
    written = {named(row[0])[0]: row for row in table}
    assert len(written) == len(table), "a slot twice"
    shipped = set(SPEC.priors)
    assert shipped <= set(written)
    section = (
        text("docs/priors.md").split("## Slots that only some specs have")[1].split("\n## ")[0]
    )
    optional = {named(row[0])[0]: row for row in rows(section, 3) if named(row[0])}
    assert set(optional) == set(SLOTS) - shipped
    for slot, row in optional.items():
        having = [name for name, family in FAMILIES.items() if slot in family.slots]
        switch = "national_walk" if slot == "national_walk_sd" else "pulse_sd"
        assert named(row[1]) == (having or [switch]), slot
        assert len(row[2].split()) >= 4, slot
    assert CI_PROB == 0.9, "docs/priors.md says 90%"
    five = prior_table(SPEC, interventions=5)
    expected = {
        r.slot: [f"`{r.distribution}`", f"{r.lower:.3g} to {r.upper:.3g}", f"{r.median:.3g}"]
        for r in five.itertuples()
    }
    assert {name: row[1:4] for name, row in written.items()} == expected
    assert [name for name, row in written.items() if len(row[5].split()) < 4] == [], "no reason"
