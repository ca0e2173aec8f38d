"""Model specs: one strict TOML file per outcome, read into one frozen `ModelSpec`.

A file holds what is the outcome's own and stands over the templates of `resolve`. No hidden
defaults: what neither has is an error, an unknown key is an error with a suggestion, and so are
missing and unknown prior slots; `lndbayes specs --show` prints what is in force and where it
stands. A spec that a fit carries is complete, and no template is under it. Nothing in a spec names
code.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import numpy as np
from pydantic import AfterValidator, BaseModel, ValidationError

from lndbayes.base.characters import text_problems
from lndbayes.base.errors import Code, Problem, SpecError, validation_code
from lndbayes.files.reading import Unreadable, parse_json, read_toml
from lndbayes.spec.families import FAMILIES, Family, inverse
from lndbayes.spec.linear import normal_slots
from lndbayes.spec.priors import SLOTS, PriorDistribution, required_slots
from lndbayes.spec.renamed import told, under_new_names
from lndbayes.spec.resolve import Resolved, resolve
from lndbayes.spec.sections import (
    CHANNELS,
    MOST_MONTHS,
    Baseline,
    Covariates,
    Effect,
    Likelihood,
    Outcome,
    Sampling,
    Sensitivity,
    Strict,
)

__all__ = [
    "CHANNELS",
    "ModelSpec",
    "load_spec",
    "parse_spec",
    "resolved_file",
    "stored_spec",
    "with_changes",
]


class _Frozen[V](dict[str, V]):
    """A dict that refuses changes, so that a spec with a hash stays what was hashed."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a spec cannot be changed; with_changes makes another one")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


class ModelSpec(Strict):
    """One outcome's model, complete and immutable.

    Attributes
    ----------
    outcome, likelihood, baseline, effect, sensitivity, sampling
        Sections of the spec file.
    priors : mapping of str to PriorDistribution
        Every slot the model declares, and no other.
    checks : mapping of str to float
        Overrides of check thresholds by name; validated by the check battery.
    covariates : Covariates
        Covariates of the effect and of the untreated surface; none where the section is left out.
    """

    outcome: Outcome
    likelihood: Likelihood
    baseline: Baseline
    effect: Effect
    sensitivity: Sensitivity
    priors: Annotated[dict[str, PriorDistribution], AfterValidator(_Frozen)]
    sampling: Sampling
    checks: Annotated[dict[str, float | int | bool], AfterValidator(_Frozen)]
    covariates: Covariates = Covariates()

    @property
    def family(self) -> Family:
        """The observation family's facts."""
        return FAMILIES[self.likelihood.family]

    def canonical(self) -> str:
        """Canonical JSON of the whole spec, sorted by key; `parse_spec` reads it back."""
        raw = {**self.model_dump(mode="json"), "priors": _plain_priors(self)}
        if not self.likelihood.bands:
            # a spec that leaves a key out is the spec that it was before there was one
            del raw["likelihood"]["bands"]
        for name, field in Baseline.model_fields.items():
            if not field.is_required() and raw["baseline"][name] == field.default:
                del raw["baseline"][name]
        if not self.baseline.contamination:
            # without outlying biases their size has no meaning
            raw["baseline"].pop("contamination_ratio", None)
        if not self.covariates:
            del raw["covariates"]
        return json.dumps(raw, sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def _plain_priors(spec: ModelSpec) -> dict[str, dict[str, Any]]:
    return {slot: prior.as_toml() for slot, prior in spec.priors.items()}


def with_changes(spec: ModelSpec, changes: Mapping[str, Any]) -> ModelSpec:
    """Return a copy of a spec with dotted keys replaced, validated afresh.

    Parameters
    ----------
    spec : ModelSpec
        The spec to start from; left as it is.
    changes : mapping of str to object
        For example ``{"baseline.channels.national": False, "sampling.seed": 1}``.

    Returns
    -------
    ModelSpec
        The changed spec.

    Raises
    ------
    SpecError
        If a key does not exist or a value breaks a rule.
    """
    if not isinstance(spec, ModelSpec):
        raise TypeError(f"the first argument must be a spec, got {type(spec).__name__}")
    raw = {**spec.model_dump(mode="python"), "priors": _plain_priors(spec)}
    for dotted, given in changes.items():
        # a number of NumPy's is the plain number that it stands for
        value = given.item() if isinstance(given, np.generic) else given
        node = raw
        *parents, leaf = dotted.split(".")
        for key in parents:
            if not isinstance(node.get(key), dict):
                raise SpecError(_no_such_key(dotted))
            node = node[key]
        # thresholds that a spec does not override are not in it, nor slots that are switched off
        off = parents == ["checks"] or (parents == ["priors"] and leaf in SLOTS)
        if leaf not in node and not off:
            raise SpecError(_no_such_key(dotted))
        node[leaf] = value
    if raw["baseline"]["national_walk"] == 0 and "priors.national_walk_sd" not in changes:
        # the scale goes with the walk
        raw["priors"].pop("national_walk_sd", None)
    return parse_spec(raw, source="spec")


def _no_such_key(dotted: str) -> Problem:
    if (rule := told(dotted)) is not None:
        return Problem("spec", rule, column=dotted, code=Code.RENAMED_KEY)
    return Problem("spec", "no such key", column=dotted, code=Code.UNKNOWN_KEY)


def load_spec(path: str | Path) -> ModelSpec:
    """Read one model spec, lay it over its templates and check it.

    Parameters
    ----------
    path : str or Path
        A TOML file with what is the outcome's own, or with everything.

    Returns
    -------
    ModelSpec
        The frozen spec.

    Raises
    ------
    SpecError
        Listing every problem: unreadable file, syntax, unknown, renamed or missing key, wrong type
        or range, unknown or missing prior slot, unknown distribution or parameter.
    """
    return parse_spec(resolved_file(path).values, source=Path(path).name)


def resolved_file(path: str | Path) -> Resolved:
    """Read a spec file and lay it over its templates, unchecked.

    Parameters
    ----------
    path : str or Path
        A TOML file.

    Returns
    -------
    Resolved

    Raises
    ------
    SpecError
        If the file cannot be read or is not TOML.
    """
    path = Path(path)
    try:
        return resolve(read_toml(path))
    except Unreadable as error:
        raise SpecError(error.problem(str(path))) from error


def stored_spec(text: str, *, source: str) -> ModelSpec:
    """Read a spec back from its canonical JSON, as a fit carries it.

    Parameters
    ----------
    text : str
        What `ModelSpec.canonical` gave.
    source : str
        Where it stands, for messages.

    Returns
    -------
    ModelSpec

    Raises
    ------
    SpecError
        If it is no JSON object, or no spec of this version.
    """
    try:
        raw = parse_json(text)
    except Unreadable as error:
        rule = f"the stored spec {error.rule}"
        raise SpecError(Problem(source, rule, code=error.code)) from error
    if not isinstance(raw, dict):
        rule = "the stored spec must be one JSON object"
        raise SpecError(Problem(source, rule, code=Code.WRONG_TYPE))
    return parse_spec(raw, source=source)


def parse_spec(raw: Mapping[str, Any], *, source: str) -> ModelSpec:
    """Check a parsed spec that is complete; see `load_spec`."""
    problems = text_problems(raw, source)
    raw, bad = under_new_names(raw, source)
    problems += bad
    priors, bad = _parse_priors(raw.get("priors"), source, *_wanted_slots(raw))
    problems += bad
    rest = {k: v for k, v in raw.items() if k != "priors"}
    try:
        spec = ModelSpec.model_validate({**rest, "priors": priors})
    except ValidationError as error:
        broken = [_problem(e, source) for e in error.errors()]
        problems += list({p.column: p for p in broken}.values())
        raise SpecError(problems) from error
    problems += _rates_beyond_one(spec, source)
    problems += _margin_beyond_rate(spec, source)
    if problems:
        raise SpecError(problems)
    return spec


def _rates_beyond_one(spec: ModelSpec, source: str) -> list[Problem]:
    """Thresholds of a rate that no share can have."""
    if not spec.family.trials:
        return []
    rule = "must be at most 1: the family counts a share of trials"
    code = Code.OUT_OF_RANGE
    return [
        Problem(source, rule, column=f"checks.{name}", value=str(spec.checks[name]), code=code)
        for name in ("prior_rate_low", "prior_rate_high")
        if spec.checks.get(name, 0) > 1
    ]


def _margin_beyond_rate(spec: ModelSpec, source: str) -> list[Problem]:
    """A margin of the whole untreated rate, as the prior has it: no fall could ever be told."""
    if (level := spec.priors.get("baseline_level")) is None:
        return []
    margin = spec.outcome.margin_per_1000
    rate = 1000 * float(inverse(spec.family.link, np.array(level["mu"])))
    if margin < rate:
        return []
    rule = (
        f"must be below the untreated rate: the prior of baseline_level has {rate:.3g} per 1,000 "
        "for its median"
    )
    column, code = "outcome.margin_per_1000", Code.OUT_OF_RANGE
    return [Problem(source, rule, column=column, value=str(margin), code=code)]


def _wanted_slots(raw: Mapping[str, Any]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Slots that must be there, and slots that may be: those that the spec's family has.

    Where the family cannot be read, which is a problem of its own, nothing is said of the slots
    in which families differ.
    """
    section, effect = raw.get("likelihood"), raw.get("effect")
    family = section.get("family") if isinstance(section, Mapping) else None
    scale = effect.get("pulse_sd") if isinstance(effect, Mapping) else 0.0
    pulse = isinstance(scale, int | float) and scale > 0
    modes = _modes(raw)
    known = type(modes) is int and 0 <= modes <= MOST_MONTHS
    walk, doubtful = known and modes > 0, () if known else ("national_walk_sd",)
    if isinstance(family, str) and family in FAMILIES:
        wanted = required_slots(family, pulse=pulse, walk=walk)
        return wanted, frozenset((*wanted, *doubtful))
    any_family = [required_slots(name, pulse=pulse, walk=walk) for name in FAMILIES]
    allowed = frozenset().union(*any_family)
    return tuple(s for s in any_family[0] if all(s in one for one in any_family)), allowed


def _modes(raw: Mapping[str, Any]) -> Any:
    """Modes of the national walk, as given."""
    baseline = raw.get("baseline")
    return baseline.get("national_walk", 0) if isinstance(baseline, Mapping) else 0


def _parse_priors(
    raw: object, source: str, wanted: tuple[str, ...], allowed: frozenset[str]
) -> tuple[dict[str, PriorDistribution], list[Problem]]:
    if not isinstance(raw, Mapping):
        rule, code = "a table [priors] is required", Code.MISSING_KEY
        return {}, [Problem(source, rule, column="priors", code=code)]
    problems: list[Problem] = []
    for slot in sorted(set(raw) - allowed):
        hint = difflib.get_close_matches(slot, wanted, n=1)
        rule = "unknown prior slot" + (f"; did you mean {hint[0]!r}?" if hint else "")
        if slot in SLOTS:
            rule = "prior slot without a parameter in this family and with these switches"
        problems.append(Problem(source, rule, column=f"priors.{slot}", code=Code.UNKNOWN_KEY))
    priors = {}
    for slot in wanted:
        if slot not in raw:
            rule = f"missing prior slot: {SLOTS[slot].description}"
            problems.append(Problem(source, rule, column=f"priors.{slot}", code=Code.MISSING_KEY))
            continue
        try:
            priors[slot] = PriorDistribution.parse(raw[slot], SLOTS[slot].support, SLOTS[slot].most)
            if slot in (*normal_slots(), "stage_level") and priors[slot].dist != "Normal":
                raise ValueError(f"the prior of {slot} must be Normal")
        except ValueError as error:
            value = json.dumps(raw[slot], default=str)
            where = source, str(error), None, f"priors.{slot}", value
            problems.append(Problem(*where, Code.BAD_PRIOR))
    return priors, problems


def _problem(error: Any, source: str) -> Problem:
    where = ".".join(str(part) for part in error["loc"])
    rule = error["msg"].removeprefix("Value error, ")
    value = None if error["type"] == "missing" else repr(error["input"])[:80]
    code = validation_code(error["type"])
    if error["type"] == "extra_forbidden":
        *parents, leaf = error["loc"]
        known = _known_keys(tuple(str(p) for p in parents))
        hint = difflib.get_close_matches(str(leaf), known, n=1)
        rule = "unknown key" + (f"; did you mean {hint[0]!r}?" if hint else "")
    elif error["loc"][0] == "checks" and len(error["loc"]) > 1:
        where, rule = f"checks.{error['loc'][1]}", "must be a number, or true or false"
        code = Code.WRONG_TYPE
    elif error["type"] == "missing":
        rule = "missing key: specs have no hidden defaults"
    return Problem(source, rule, column=where, value=value, code=code)


def _known_keys(parents: tuple[str, ...]) -> list[str]:
    model: Any = ModelSpec
    for part in parents:
        field = model.model_fields.get(part)
        if field is None or not isinstance(field.annotation, type):
            return []
        model = field.annotation
        if not issubclass(model, BaseModel):
            return []
    return list(model.model_fields)
