"""The package's front door: public names are there, and nothing is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from types import ModuleType

import pytest

import lndbayes
from lndbayes.base.names import words

HEAVY = ("arviz", "duckdb", "matplotlib", "numba", "nutpie", "pandas", "pymc", "scipy", "xarray")


def run(code: str) -> str:
    """What code prints in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", [n for n in lndbayes.__all__ if n != "__version__"])
def test_every_public_name_is_that_of_its_module(name):
    value = getattr(lndbayes, name)
    assert not isinstance(value, ModuleType)
    assert value is getattr(import_module(value.__module__), name)
    assert name in dir(lndbayes)


def test_the_command_line_starts_without_heavy_libraries():
    code = f"import sys, lndbayes.app.cli; print(*(n for n in {HEAVY!r} if n in sys.modules))"
    assert run(code) == ""


def test_no_room_has_the_name_of_a_function():
    folder = Path(lndbayes.__file__).parent
    rooms = {path.stem for path in folder.iterdir()}
    assert not rooms & set(lndbayes.__all__)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'fits'"):
        _ = lndbayes.fits


def test_names_of_the_data_are_written_as_words():
    assert words("mha_assessment") == "MHA assessment"
    assert words("specialist_mh_referral") == "specialist MH referral"
    assert words("ae_attendances") == "A&E attendances"
    assert words("brief intervention") == "brief intervention"


def test_the_typed_use_has_every_public_function():
    text = Path(__file__).with_name("typed_use.py").read_text(encoding="utf-8")
    functions = {n for n in lndbayes.__all__ if isfunction(getattr(lndbayes, n))}
    # its result is PyMC's, which ships no types
    assert {n for n in functions if f"lnd.{n}(" not in text} == {"build_model"}
