"""What the files of a run were made from: compared before they are read, dropped when out of date.

The manifest holds a digest of every file that a run wrote. What commands of their own add later
(the joint model, strata, the attribution, a back-test) is listed in ``products.json`` with the keys
of the fits that it rests on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from lndbayes.base.errors import DataError, Problem
from lndbayes.files.places import LOG
from lndbayes.files.reading import Unreadable, read_json, there_is
from lndbayes.files.storage import Damaged, file_attributes, file_hash, write_whole

__all__ = [
    "PRODUCTS",
    "RECORD",
    "changed_files",
    "drop_outdated",
    "evaluated",
    "file_hashes",
    "hashes_of",
    "input_problems",
    "note_outputs",
    "outcomes_of",
    "record_product",
    "require_hashes",
]

#: File that tells what products rest on.
RECORD: Final = "products.json"

#: Files of what commands of their own add to a run.
PRODUCTS: Final[Mapping[str, tuple[str, ...]]] = {
    "joint": ("joint.nc", "joint.csv", "joint_correlation.csv", "joint_comparison.csv"),
    "strata": ("strata.nc", "strata.csv", "strata_checks.csv"),
    "ledger": ("ledger_full.csv", "ledger_verdicts.csv", "ledger.md"),
    "backtest": (
        *("backtest.csv", "backtest_sites.csv", "backtest_summary.csv", "backtest_checks.csv"),
        *("backtest.json", "backtest.md", "backtest.svg", "backtest.png"),
    ),
}

#: Files that no manifest lists.
_UNLISTED: Final = frozenset({"manifest.json", LOG})

_AGAIN = "run the evaluation again to complete the run"
#: What else is read where it is there.
_READ = ("data_quality.csv", "joint_correlation.csv", "backtest_summary.csv")


def hashes_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the digest of every file that a manifest lists, by its place in the run."""
    outputs = manifest.get("outputs")
    return {str(k): str(v) for k, v in outputs.items()} if isinstance(outputs, dict) else {}


def file_hashes(run: Path, *, but: Container[str]) -> dict[str, str]:
    """Return the digest of every file of a run by its place, but of these and of the manifest."""
    places = {p.relative_to(run).as_posix(): p for p in sorted(run.rglob("*")) if p.is_file()}
    chosen = {
        place: path
        for place, path in places.items()
        if place not in but and path.name not in _UNLISTED and not path.name.startswith(".")
    }
    # fits of many outcomes are more than a gigabyte, and hashing lets other threads run
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(chosen, pool.map(file_hash, chosen.values()), strict=True))


def evaluated(manifest: Mapping[str, Any], stored: Iterable[str]) -> list[str]:
    """Return the outcomes with a stored fit that a run is made of.

    A fit that an earlier evaluation left, of other outcomes or to other data, is not among them.

    Parameters
    ----------
    manifest : mapping of str to object
        Of the run; one that names no outcomes leaves none out.
    stored : iterable of str
        Outcomes with a stored fit.
    """
    chosen = outcomes_of(manifest)
    return [name for name in stored if not chosen or name in chosen]


def outcomes_of(manifest: Mapping[str, Any]) -> list[str]:
    """Return the outcomes that a manifest names; none where it names none."""
    seeds = manifest.get("seeds")
    return [str(name) for name in seeds] if isinstance(seeds, dict) else []


def changed_files(run: Path, manifest: Mapping[str, Any], names: Iterable[str]) -> list[Problem]:
    """Tell which of these files are there and are not what the run wrote.

    Parameters
    ----------
    run : Path
        Run directory.
    manifest : mapping of str to object
        Its manifest.
    names : iterable of str
        Places in the run, such as ``fits/custody.nc``.

    Returns
    -------
    list of Problem
        Files that the manifest does not list are not judged.
    """
    hashes = hashes_of(manifest)
    rule = f"is damaged or was edited: it is not what the manifest lists; {_AGAIN}"
    return [
        Problem(name, rule)
        for name in names
        if name in hashes and there_is(run / name) and _hash(run / name) != hashes[name]
    ]


def _hash(path: Path) -> str:
    return file_hash(path) if path.is_file() else "no plain file"


def input_problems(
    run: Path,
    manifest: Mapping[str, Any],
    outcomes: Iterable[str],
    *,
    savings: bool = True,
    fits_only: bool = False,
) -> list[Problem]:
    """Tell what of a run's inputs is gone, was added, or is not what the run wrote.

    Parameters
    ----------
    run : Path
        Run directory.
    manifest : mapping of str to object
        Its manifest.
    outcomes : iterable of str
        Whose fits and refits are read.
    savings : bool
        Whether the stored savings are read.
    fits_only : bool
        Whether nothing but the fits is read.

    Returns
    -------
    list of Problem
        Empty where the manifest lists no files: there is nothing to compare with.
    """
    hashes = hashes_of(manifest)
    if not hashes:
        return []
    fits = {f"fits/{name}.nc" for name in outcomes}
    refits = () if fits_only else tuple(f"sensitivity/{name}-" for name in outcomes)
    savings &= not fits_only
    needed = [
        name
        for name in hashes
        if name in fits or name.startswith(refits) or (savings and name == "savings.nc")
    ]
    problems = [
        Problem(name, f"is absent, and was there when the run was written: {_AGAIN}")
        for name in needed
        if not there_is(run / name)
    ]
    problems += [
        Problem(name, f"is not of this run: the manifest does not list it; {_AGAIN}")
        for name in sorted(fits - hashes.keys())
        if there_is(run / name)
    ]
    return problems + changed_files(run, manifest, [*needed, *(() if fits_only else _READ)])


def record_product(run: Path, product: str, made_from: Mapping[str, str]) -> None:
    """Remember what a product rests on, and its files in the manifest, if there is one.

    Parameters
    ----------
    run : Path
        Run directory.
    product : str
        A key of `PRODUCTS`; its files are written already.
    made_from : mapping of str to str
        By outcome the key of the fit (`lndbayes.fitting.fit.fit_key`).
    """
    record = {k: v for k, v in _record(run).items() if k in PRODUCTS}
    _write({**record, product: dict(made_from)}, run / RECORD)
    note_outputs(run, [*PRODUCTS[product], RECORD])


def note_outputs(run: Path, names: Iterable[str]) -> None:
    """Enter files that were written after a run's manifest into it."""
    manifest = _object(run / "manifest.json")
    if hashes := hashes_of(manifest):
        found = {name: file_hash(run / name) for name in names if (run / name).is_file()}
        _write({**manifest, "outputs": {**hashes, **found}}, run / "manifest.json")


def drop_outdated(run: Path, data_hash: str, say: Callable[[str], None]) -> None:
    """Remove products of fits that are no longer in the run, or are of other data.

    Files of which nothing tells the origin are renamed, so that no report shows them.

    Parameters
    ----------
    run : Path
        Run directory.
    data_hash : str
        Of the data that the run is made from.
    say : callable
        Receives a line for each product that goes.
    """
    record, keys = _record(run), _keys(run, data_hash)
    # a back-test may have been made elsewhere and copied here, with the file that tells of it
    record = {"backtest": _object(run / "backtest.json").get("made_from"), **record}
    kept = {}
    for product, files in PRODUCTS.items():
        made_from = record.get(product)
        found = [run / name for name in files if (run / name).is_file()]
        told = ", ".join(path.name for path in found)
        if not found:
            continue
        if not isinstance(made_from, dict):
            for path in found:
                path.replace(path.with_name(f"{path.stem}.of-unknown-inputs{path.suffix}"))
            say(f"{told}: set aside, nothing tells from which fits; see lndbayes {product}")
        elif all(keys.get(name) == key for name, key in made_from.items()):
            kept[product] = made_from
        else:
            for path in found:
                path.unlink()
            say(f"{told}: removed, made from other inputs; see lndbayes {product}")
    if kept != _record(run):
        _write(kept, run / RECORD)


def _keys(run: Path, data_hash: str) -> dict[str, str]:
    """Key of every stored fit to these data."""
    found = {}
    for path in sorted((run / "fits").glob("*.nc")):
        try:
            attributes = file_attributes(path)
        except Damaged:
            continue  # a damaged file is no fit
        if attributes.get("data_hash") == data_hash and "fit_key" in attributes:
            found[path.stem] = str(attributes["fit_key"])
    return found


def _write(value: Mapping[str, Any], path: Path) -> None:
    text = json.dumps(value, indent=1) + "\n"
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def _record(run: Path) -> dict[str, Any]:
    return _object(run / RECORD)


def _object(path: Path) -> dict[str, Any]:
    """Object of a JSON file; what is absent or unreadable says nothing."""
    if not there_is(path):
        return {}
    try:
        found = read_json(path)
    except Unreadable:
        return {}
    return found if isinstance(found, dict) else {}


def require_hashes(manifest: Mapping[str, Any]) -> None:
    """Refuse a run whose files nothing can be compared with.

    Raises
    ------
    DataError
        If the manifest lists none.
    """
    if not hashes_of(manifest):
        rule = f"does not list the run's files: {_AGAIN}"
        raise DataError(Problem("manifest.json", rule, column="outputs"))
