"""Specs without copies: what a file leaves out, where it comes from, and what stays the same."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lndbayes.app.cli import main
from lndbayes.base.errors import Code, Problem, SpecError, UsageError
from lndbayes.spec import renamed, shipped
from lndbayes.spec.families import FAMILIES
from lndbayes.spec.model_spec import (
    ModelSpec,
    load_spec,
    parse_spec,
    stored_spec,
    with_changes,
)
from lndbayes.spec.priors import SLOTS, required_slots
from lndbayes.spec.resolve import COMMON, Origin, resolve, template
from lndbayes.spec.shipped import shipped_specs, spec_path
from lndbayes.spec.shown import shown_spec
from small import MODELS, complete

NORMAL = {"dist": "Normal", "mu": -1.0, "sigma": 1.0}

#: An outcome's file that holds no more than it must.
SHORT: dict[str, Any] = {
    "outcome": {
        "name": "bail",
        "label": "Bail",
        "event": "persons bailed",
        "trials": "persons charged",
        "good_direction": "higher",
        "margin_per_1000": 20.0,
    },
    "likelihood": {"family": "beta_binomial"},
    "priors": {"effect_mean": NORMAL, "baseline_level": NORMAL},
    "sampling": {"seed": 7},
    "checks": {},
}

#: SHA-256 of what each shipped spec means. A change of a template, or of a file, that is meant to
#: change no model leaves them as they are; one that is meant to changes what is fitted.
HASHES = {
    "ae_attendances": "de86fd2dba77547b5f78785f2b80b03d57396ad973a00e9ead53748a87013d4a",
    "court_duration": "fc5175809c22f067670b2caeb01216f747b1b3a49bb8e7ddad90787e216efd51",
    "custody": "f958d5e7521528d3e88263e7d94ecb54ea2a95f9681154d9da6d2c1a708dba0c",
    "drug_alcohol_attendances": "736961a44fd11b8d13bc29aaec7adc5754b70d78095fdb6bdae382777264eb8c",
    "drug_alcohol_referrals": "abc77c4b5707c425e6879b7d33a2f5123d1a7ae04c0888f268e84f9dc211be40",
    "hearings": "0755d111d627592b3ad159f2acbc41ae4fa05286ec577e9c2b69a3b68f3c88ea",
    "iapt_attendances": "549850bc2f9a120833a5f9a9aadb85f48f72855f014efd9bafc47564129c2cf6",
    "iapt_referrals": "04a80c5b8194d15c9ed3245afd52ca7031ecb795a37252d7812fe084a989b98a",
    "mh_attendances": "bdabdf8553bed873c082d888623c2b41646b80a49a9c8e4fddf638dffea5188b",
    "mh_referrals": "212e30b984c7504d874dade38b9ca665ea579af0e2980a6fb1e53698b68d43d4",
    "offending": "92bab355bdea13b0a2408b03eb461adbcfee0e2b898aa60874d610e03b5c75e9",
    "wellbeing": "fbe742ba8586c9d8749552ef1d3784f28f1a980450e13dccecce7c999e078352",
}


def problems(read: Callable[[], object]) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        read()
    return caught.value.problems


def spec_of(raw: dict[str, Any]) -> ModelSpec:
    return parse_spec(resolve(raw).values, source="x.toml")


def short(**changes: Any) -> dict[str, Any]:
    """The short spec with whole sections changed."""
    return json.loads(json.dumps(SHORT)) | changes


# ---- what the shipped specs mean


@pytest.mark.parametrize("name", HASHES)
def test_a_shipped_spec_means_what_it_meant(name):
    spec = load_spec(MODELS / f"{name}.toml")
    assert spec.outcome.name == name
    assert spec.hash == HASHES[name]


def test_a_complete_file_means_the_same_as_the_short_one():
    """Nothing of a template enters a file that says everything."""
    whole = Path(__file__).with_name("specs") / "complete.toml"
    assert load_spec(whole) == load_spec(MODELS / "custody.toml")
    raw = tomllib.loads(whole.read_text(encoding="utf-8"))
    resolved = resolve(raw)
    assert resolved.values == raw
    assert set(resolved.origins.values()) == {Origin.FILE}


# ---- the rule


def test_a_file_stands_over_its_family_and_that_over_all():
    """Key by key; what the file has is its own, even where it says what a template says."""
    raw = short(likelihood={"family": "negative_binomial_from_one"})
    raw["outcome"]["selected"] = False
    raw["baseline"] = {"seams": ["2015-01"], "channels": {"national": True}}
    found = resolve(raw)
    common, family = template(COMMON), template("negative_binomial_from_one")
    assert found.values["outcome"] == common["outcome"] | raw["outcome"]
    assert found.values["baseline"]["seams"] == ["2015-01"]
    assert found.values["baseline"]["channels"] == {
        **common["baseline"]["channels"],
        "national": True,
    }
    assert found.values["sampling"]["target_accept"] == family["sampling"]["target_accept"]
    assert found.values["sampling"]["target_accept"] != common["sampling"]["target_accept"]
    assert {
        where: found.origins[where]
        for where in (
            ("outcome", "selected"),
            ("outcome", "exposure_outcome"),
            ("baseline", "channels", "national"),
            ("baseline", "channels", "history"),
            ("sampling", "target_accept"),
            ("priors", "person_dispersion"),
            ("priors", "baseline_level"),
        )
    } == {
        ("outcome", "selected"): Origin.FILE,
        ("outcome", "exposure_outcome"): Origin.COMMON,
        ("baseline", "channels", "national"): Origin.FILE,
        ("baseline", "channels", "history"): Origin.COMMON,
        ("sampling", "target_accept"): Origin.FAMILY,
        ("priors", "person_dispersion"): Origin.FAMILY,
        ("priors", "baseline_level"): Origin.FILE,
    }


def test_a_prior_is_replaced_whole():
    """Half a prior would be finished by a template's other half, which nobody argued together."""
    raw = short()
    raw["priors"]["site_effect_sd"] = {"dist": "HalfNormal", "sigma": 0.3}
    assert str(spec_of(raw).priors["site_effect_sd"]) == "HalfNormal(sigma=0.3)"
    raw["priors"]["site_level_sd"] = {"sigma": 0.3}
    (found,) = problems(lambda: spec_of(raw))
    assert (found.column, found.code) == ("priors.site_level_sd", Code.BAD_PRIOR)


def test_a_section_of_the_wrong_kind_is_not_mended():
    (found,) = problems(lambda: spec_of(short(effect=3)))
    assert (found.column, found.value) == ("effect", "3")
    assert {p.column for p in problems(lambda: spec_of(short(priors=[1])))} == {"priors"}


def test_resolving_leaves_the_file_and_the_templates_alone():
    raw = short()
    before, common = json.dumps(raw), json.dumps(template(COMMON))
    values = resolve(raw).values
    values["effect"]["window"].append(3)
    values["outcome"]["name"] = "x"
    values["priors"]["season"]["sigma"] = 9.0
    assert (json.dumps(raw), json.dumps(template(COMMON))) == (before, common)


def test_what_a_fit_carries_has_no_template_under_it():
    """A default that changes later must not change what was fitted."""
    stored = json.loads(spec_of(short()).canonical())
    del stored["effect"]["window"], stored["priors"]["season"]
    found = problems(lambda: stored_spec(json.dumps(stored), source="fit"))
    assert {p.column for p in found} == {"effect.window", "priors.season"}
    assert {p.code for p in found} == {Code.MISSING_KEY}


# ---- templates


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_needs_no_more_than_what_has_no_default(family):
    spec = spec_of(short(likelihood={"family": family}))
    assert set(spec.priors) == set(required_slots(family, pulse=False))
    assert not spec.baseline.channels.national


@pytest.mark.parametrize("family", FAMILIES)
def test_templates_leave_to_the_outcome_what_is_its_own(family):
    own = {("outcome", key) for key in ("name", "label", "event", "trials", "good_direction")}
    own |= {("likelihood", "family"), ("sampling", "seed")}
    own |= {("priors", "effect_mean"), ("priors", "baseline_level")}
    filled = resolve({"likelihood": {"family": family}}).origins
    assert own & {where for where, origin in filled.items() if origin != Origin.FILE} == set()
    assert "checks" not in {*template(COMMON), *template(family)}
    raw = short(likelihood={"family": family})
    for section, key in sorted(own - {("likelihood", "family")}):
        less = json.loads(json.dumps(raw))
        del less[section][key]
        (found,) = problems(lambda less=less: spec_of(less))
        assert (found.column, found.code) == (f"{section}.{key}", Code.MISSING_KEY)


def test_there_is_a_template_for_every_family_and_no_other():
    folder = Path(resolve.__code__.co_filename).with_name("templates")
    assert {path.stem for path in folder.glob("*")} == {COMMON, *FAMILIES}


def test_a_shipped_file_repeats_no_default():
    """A copy of a default would stay behind when the default moves."""
    for path in shipped_specs().values():
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        below = resolve({"likelihood": raw["likelihood"]}).values
        copies = [
            f"{section}.{key}"
            for section, table in raw.items()
            if section not in ("likelihood", "checks")
            for key, value in table.items()
            if key != "channels" and below.get(section, {}).get(key) == value
        ]
        channels = raw.get("baseline", {}).get("channels", {})
        copies += [k for k, on in channels.items() if below["baseline"]["channels"][k] == on]
        assert copies == [], path.name


# ---- by name, and with everything in force


def test_specs_are_listed_by_name(capsys):
    assert main(["specs"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    rows = [line.split(maxsplit=2) for line in printed.out.splitlines()]
    assert [row[0] for row in rows] == sorted(HASHES)
    for name, family, label in rows:
        spec = load_spec(MODELS / f"{name}.toml")
        assert (family, label) == (spec.likelihood.family, spec.outcome.label)


@pytest.mark.parametrize("name", HASHES)
def test_a_shown_spec_is_a_complete_spec_with_the_same_hash(name, tmp_path, capsys):
    assert main(["specs", "--show", name]) == 0
    saved = tmp_path / "saved.toml"
    saved.write_text(capsys.readouterr().out, encoding="utf-8")
    spec = load_spec(saved)
    assert spec.hash == HASHES[name]
    raw = tomllib.loads(saved.read_text(encoding="utf-8"))
    assert parse_spec(raw, source="without templates") == spec
    # shown again, everything stands in the file
    assert "template" not in "".join(shown_spec(saved).splitlines(keepends=True)[3:])


def test_a_shown_value_says_where_it_stands(tmp_path):
    raw = short(likelihood={"family": "ordered_bands", "bands": ["short #1", 'a "long" one', "é"]})
    raw["baseline"] = {"channels": {"history": True}}
    path = tmp_path / "bail\n.toml"
    lines = [f"{key} = {json.dumps(value)}" for key, value in raw["outcome"].items()]
    path.write_text(
        "[outcome]\n" + "\n".join(lines) + '\n[likelihood]\nfamily = "ordered_bands"\n'
        f"bands = {json.dumps(raw['likelihood']['bands'])}\n[baseline.channels]\nhistory = true\n"
        '[priors]\neffect_mean = { dist = "Normal", mu = 0, sigma = 1e-5 }\n'
        'baseline_level = { dist = "StudentT", nu = 4, mu = -0.0, sigma = 0.5 }\n'
        "[sampling]\nseed = 7\n[checks]\nrhat_max = 1.02\n",
        encoding="utf-8",
    )
    shown = shown_spec(path)
    stands = {
        line.split(" = ")[0]: line.rsplit("  # ", 1)[1]
        for line in shown.splitlines()
        if " = " in line and not line.startswith("#")
    }
    assert stands["bands"] == stands["history"] == stands["rhat_max"] == "bail?.toml"
    assert stands["national"] == stands["window"] == stands["season"] == "template common"
    assert stands["stage_level"] == "template ordered_bands"
    again = tmp_path / "again.toml"
    again.write_text(shown, encoding="utf-8")
    assert load_spec(again).hash == load_spec(path).hash
    assert load_spec(again).likelihood.bands == ("short #1", 'a "long" one', "é")


def test_a_path_is_shown_too_and_what_is_neither_is_refused(tmp_path, capsys):
    path = tmp_path / "mine.toml"
    path.write_text(complete("offending"), encoding="utf-8")
    assert main(["specs", "--show", str(path)]) == 0
    assert HASHES["offending"] in capsys.readouterr().out
    for wrong, told in (
        ("custdy", "did you mean 'custody'?"),
        (str(tmp_path / "none.toml"), "cannot be read"),
        ("none.toml", "cannot be read"),
        (str(tmp_path), "cannot be read"),
        ("costs", "no shipped spec"),
    ):
        assert main(["specs", "--show", wrong]) == 2
        printed = capsys.readouterr()
        assert told in printed.err
        assert printed.out == ""
    broken = complete("offending").replace("window = [7, 18]", "window = [18, 7]")
    path.write_text(broken, encoding="utf-8")
    assert main(["specs", "--show", str(path)]) == 2
    assert "0 <= first <= last" in capsys.readouterr().err


def test_a_name_is_looked_up_in_the_wheels_copy_before_the_checkouts_folder(tmp_path, monkeypatch):
    wheel, checkout = tmp_path / "package" / "shipped_specs", tmp_path / "models"
    monkeypatch.setattr(shipped, "_PLACES", (wheel, checkout))
    with pytest.raises(UsageError, match="holds no shipped specs"):
        shipped_specs()
    for folder in (checkout, wheel):
        folder.mkdir(parents=True)
        for name in ("b.toml", "a.toml", "costs.toml"):
            (folder / name).write_text("", encoding="utf-8")
        assert shipped_specs() == {"a": folder / "a.toml", "b": folder / "b.toml"}
        assert spec_path("a") == folder / "a.toml"


def test_a_wheel_is_told_to_hold_the_repositorys_specs():
    """Where the lookup expects the copy is where the build puts it."""
    project = tomllib.loads((MODELS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    source = MODELS.parent / "src"
    assert {source / to: MODELS.parent / what for what, to in included.items()} == {
        shipped._PLACES[0]: shipped._PLACES[1]
    }


# ---- names that changed


@pytest.fixture
def renames(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prior slot, a value and a section that had other names."""
    monkeypatch.setattr(
        renamed,
        "RENAMED",
        {
            "priors.scatter": "priors.season",
            "sensitivity.creep_sd": "sensitivity.drift_sd",
            "sampler": "sampling",
        },
    )


@pytest.mark.usefixtures("renames")
@pytest.mark.parametrize("templates", [False, True])
def test_an_old_name_is_one_problem_that_says_the_new_one(templates):
    """Told beside everything else, and nothing is missed or unknown because of it."""
    raw = spec_of(short()).model_dump(mode="json") | {"priors": dict(template(COMMON)["priors"])}
    raw["priors"] |= {"effect_mean": NORMAL, "baseline_level": NORMAL}
    del raw["likelihood"]["bands"]
    raw["priors"]["scatter"] = raw["priors"].pop("season")
    raw["sensitivity"]["creep_sd"] = raw["sensitivity"].pop("drift_sd")
    raw["sampler"] = raw.pop("sampling")
    raw["outcome"]["lable"] = raw["outcome"].pop("label")
    before = json.dumps(raw)
    found = problems(lambda: parse_spec(resolve(raw).values if templates else raw, source="x.toml"))
    assert {p.column: p.code for p in found} == {
        **dict.fromkeys(renamed.RENAMED, Code.RENAMED_KEY),
        "outcome.label": Code.MISSING_KEY,
        "outcome.lable": Code.UNKNOWN_KEY,
    }
    told = {p.column: p.rule for p in found if p.code is Code.RENAMED_KEY}
    assert len(found) == len(told) + 2
    assert told == {
        "priors.scatter": "is now called priors.season",
        "sensitivity.creep_sd": "is now called sensitivity.drift_sd",
        "sampler": "is now called sampling",
    }
    assert json.dumps(raw) == before


@pytest.mark.usefixtures("renames")
@pytest.mark.parametrize("both", [False, True])
def test_a_value_under_its_old_name_is_judged_like_any_other(both):
    """Also where a template fills the new name."""
    raw = resolve(short()).values
    if not both:
        del raw["priors"]["season"]
    raw["priors"]["scatter"] = {"dist": "Normal", "mu": 0.0, "sigma": -1.0}
    told = {p.column: p.rule for p in problems(lambda: parse_spec(raw, source="x"))}
    assert told == {
        "priors.scatter": "is now called priors.season",
        "priors.season": "sigma must be above 0",
    }


@pytest.mark.usefixtures("renames")
def test_every_way_in_tells_a_new_name(tmp_path, capsys):
    spec = spec_of(short())
    for key, new in (
        ("priors.scatter", "priors.season"),
        ("priors.scatter.sigma", "priors.season.sigma"),
        ("sampler.seed", "sampling.seed"),
    ):
        (found,) = problems(lambda key=key: with_changes(spec, {key: 1}))
        assert (found.column, found.rule) == (key, f"is now called {new}")
    (found,) = problems(lambda: with_changes(spec, {"priors.scatters": 1}))
    assert found.code is Code.UNKNOWN_KEY
    stored = spec.canonical().replace('"season"', '"scatter"')
    (found,) = problems(lambda: stored_spec(stored, source="fit"))
    assert found.rule == "is now called priors.season"
    path = tmp_path / "old.toml"
    path.write_text(complete("offending").replace("season = ", "scatter = "), encoding="utf-8")
    assert main(["specs", "--show", str(path)]) == 2
    assert "old.toml, column priors.scatter: is now called priors.season" in capsys.readouterr().err


def test_a_margin_under_its_old_name_is_told_its_new_unit():
    raw = short()
    raw["outcome"]["margin"] = raw["outcome"].pop("margin_per_1000")
    (found,) = problems(lambda: spec_of(raw))
    assert (found.column, found.code) == ("outcome.margin", Code.RENAMED_KEY)
    assert found.rule.startswith("is now called outcome.margin_per_1000, in events per 1,000")
    (found,) = problems(lambda: with_changes(spec_of(short()), {"outcome.margin": 0.1}))
    assert "in events per 1,000" in found.rule


def test_a_margin_is_no_templates_and_is_missed():
    raw = short()
    del raw["outcome"]["margin_per_1000"]
    (found,) = problems(lambda: spec_of(raw))
    assert (found.column, found.code) == ("outcome.margin_per_1000", Code.MISSING_KEY)


@pytest.mark.parametrize(
    ("family", "rate"),
    [("beta_binomial", 268.94), ("negative_binomial", 367.88), ("duration_hazard", 307.80)],
)
def test_a_margin_is_below_the_untreated_rate_of_the_prior(family, rate):
    """Per 1,000, at -1 on the link scale: expit, exp, 1 - exp(-exp)."""
    raw = short(likelihood={"family": family})
    raw["outcome"]["margin_per_1000"] = rate - 0.1
    assert spec_of(raw).outcome.margin_per_1000 == rate - 0.1
    raw["outcome"]["margin_per_1000"] = rate + 0.1
    (found,) = problems(lambda: spec_of(raw))
    assert (found.column, found.code) == ("outcome.margin_per_1000", Code.OUT_OF_RANGE)
    del raw["priors"]["baseline_level"]
    assert {p.column for p in problems(lambda: spec_of(raw))} == {"priors.baseline_level"}


def wrong_renames(table: Mapping[str, str]) -> list[str]:
    """Entries whose old name is a key still, or whose new one is none."""
    spec = spec_of(short()).model_dump(mode="json")
    known = {where for where in _dotted(spec) if not where.startswith("priors.")}
    known |= {f"priors.{slot}" for slot in SLOTS}
    return [old for old, new in table.items() if new not in known or old in known]


def _dotted(node: Any, path: str = "") -> list[str]:
    below = node.items() if isinstance(node, dict) else ()
    inner = [where for key, value in below for where in _dotted(value, f"{path}.{key}")]
    return [path.lstrip("."), *inner]


def test_every_renamed_key_leads_to_one_that_is_there():
    """And is itself a key no more, or a right spec would be refused."""
    assert wrong_renames(renamed.RENAMED) == []
    right = {"priors.scatter": "priors.season", "sampler": "sampling"}
    wrong = {"effect.window": "effect.transition", "effect.weeks": "effect.windw"}
    assert wrong_renames(right | wrong) == list(wrong)
