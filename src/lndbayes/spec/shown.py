"""A spec with every value in force and where it stands, as TOML that is a spec itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from lndbayes.spec.model_spec import ModelSpec, load_spec, parse_spec, resolved_file
from lndbayes.spec.resolve import COMMON, Origin
from lndbayes.spec.shipped import shipped_specs

__all__ = ["shown_spec", "spec_list"]

#: Column in which a value's origin stands; longer values push it to the right.
_ORIGIN_AT: Final = 58
#: What stands beside a value that no template has: one of an optional section.
_DEFAULT: Final = "default of the section"
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def spec_list() -> str:
    """Return the shipped specs as text, a line each: name, family and label."""
    specs = {name: load_spec(path) for name, path in shipped_specs().items()}
    names = max(map(len, specs))
    families = max(len(spec.likelihood.family) for spec in specs.values())
    return "".join(
        f"{name:<{names}}  {spec.likelihood.family:<{families}}  {spec.outcome.label}\n"
        for name, spec in specs.items()
    )


def shown_spec(path: str | Path) -> str:
    """Return every value of a spec that is in force, each with where it stands.

    Parameters
    ----------
    path : str or Path
        A spec file.

    Returns
    -------
    str
        TOML with comments. Saved, it is a complete spec with the same hash.

    Raises
    ------
    SpecError
        See `lndbayes.load_spec`.
    """
    path = Path(path)
    resolved = resolved_file(path)
    spec = parse_spec(resolved.values, source=path.name)
    # a comment must not end before its line does
    file = "".join(c if c.isprintable() else "?" for c in path.name)
    said = {
        Origin.FILE: file,
        Origin.FAMILY: f"template {spec.likelihood.family}",
        Origin.COMMON: f"template {COMMON}",
    }
    origins = {where: said[origin] for where, origin in resolved.origins.items()}
    lines = [
        f"# {spec.outcome.name}: every value in force, and where it stands, which is {file} or a",
        "# template of the package. Saved to a file this is a complete spec, with the same hash:",
        f"# {spec.hash}",
    ]
    for section, table in _sections(spec).items():
        lines += ["", *_table((section,), table, origins)]
    return "\n".join(lines) + "\n"


def _sections(spec: ModelSpec) -> dict[str, Any]:
    """Sections in the order of their fields, and priors in the order of their slots."""
    priors = {slot: prior.as_toml() for slot, prior in spec.priors.items()}
    sections: dict[str, Any] = {**spec.model_dump(mode="json"), "priors": priors}
    if not spec.likelihood.bands:
        del sections["likelihood"]["bands"]
    if not spec.covariates:
        del sections["covariates"]
    return sections


def _table(
    where: tuple[str, ...], table: Mapping[str, Any], origins: Mapping[tuple[str, ...], str]
) -> Iterator[str]:
    yield f"[{'.'.join(where)}]"
    below = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and where != ("priors",):
            below[key] = value
            continue
        line = f"{_key(key)} = {_value(value)}"
        yield f"{line:<{_ORIGIN_AT}}  # {origins.get((*where, key), _DEFAULT)}"
    for key, inner in below.items():
        yield ""
        yield from _table((*where, key), inner, origins)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _value(value: Any) -> str:
    """Return a value as TOML: JSON's texts, finite numbers and booleans are TOML's too."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float):
        return repr(value)  # shortest text of the same number; also inf and nan are TOML's
    return json.dumps(value, ensure_ascii=False)
