"""The density's C entry point: coordinates, arguments, statuses and the key of its cache."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import lndbayes
from family_cases import family_spec, family_tables
from lndbayes.coordinates.groups import coordinate_groups
from lndbayes.coordinates.site_gaussian import SiteGaussian
from lndbayes.coordinates.transform import Coordinates, NonlinearMap
from lndbayes.density.argument_fields import Arguments
from lndbayes.density.argument_table import PARTS
from lndbayes.density.arguments import kernel_data
from lndbayes.fitting import c_functions as entry
from lndbayes.fitting.compiled import CompiledDensity, compiled_density, log_density
from lndbayes.fitting.start import start_point
from lndbayes.model.design import Design, build_design
from lndbayes.model.layout import layout, size
from lndbayes.numerics.source_stamp import source_stamp
from lndbayes.numerics.vector import FEW
from lndbayes.spec.model_spec import ModelSpec, with_changes
from model_cases import read_tables

pytestmark = pytest.mark.slow

SOURCE = Path(str(lndbayes.__file__)).parent


@pytest.fixture(scope="module")
def data(spec, plain_world) -> Arguments:
    return kernel_data(spec, plain_world.design)


def some_coordinates(kind: str, length: int, rng: np.random.Generator) -> Coordinates:
    mean, scale = rng.normal(0, 0.1, length), rng.uniform(0.1, 2.0, length)
    if kind == "scales":
        return Coordinates.diagonal(mean, scale)
    shared = 5
    factor = rng.normal(0, 0.05, (length, shared))
    factor[:shared] = np.tril(factor[:shared], -1) + np.diag(scale[:shared])
    local = np.tril(rng.normal(0, 0.2, (4, 3, 3)), -1) + np.diag([0.7, 1.1, 0.9])
    # groups lie anywhere, and one has a member less than the others
    members = shared + rng.permutation(length - shared)[:12].reshape(4, 3)
    members[2, 2], local[2, 2] = -1, 0.0
    scale[:shared] = scale[members[members >= 0]] = 0
    directions = np.linalg.qr(rng.normal(size=(length, 3)))[0].T
    residual_scaling = np.array([0.2, 0.7, 1.5])
    return Coordinates(
        mean, scale, factor, local, members, NonlinearMap(), directions, residual_scaling
    )


def some_nonlinear(spec: ModelSpec, design: Design, rng: np.random.Generator) -> NonlinearMap:
    """Skewed scales about where chains start, and runs and sites of the model's layout."""
    groups = coordinate_groups(design)
    skewed, e = np.array(groups.scales[::2]), rng.uniform(-0.8, 0.8, len(groups.scales[::2]))
    width = rng.uniform(0.3, 1.2, len(e))
    shape = np.column_stack([start_point(spec, design)[skewed], width, np.cosh(e), np.sinh(e)])
    runs = [(run.scalar, run.first, run.last, run.rate) for run in groups.runs]
    length = sum(last - first for _, first, last, _ in runs)
    middle, known = rng.normal(0, 0.1, length), rng.exponential(2.0, length)
    sites = len(groups.sites)
    root = rng.normal(size=(sites, len(groups.scalars), len(groups.scalars)))
    root *= (groups.sites >= 0)[..., None]
    score = rng.normal(size=groups.sites.shape) * (groups.sites >= 0)
    score_slope = (
        rng.normal(0, 0.3, (*groups.sites.shape, groups.shared)) * (groups.sites >= 0)[..., None]
    )
    assert (groups.shared_scalars >= 0).any()
    information = root @ root.swapaxes(1, 2)
    reference_mix = rng.dirichlet(np.ones(design["mix_count"].shape[1]), sites)
    gaussian = SiteGaussian(
        *(groups.sites, groups.scalars, information, score, score_slope, groups.shared_scalars),
        *(reference_mix, groups.mix_at),
    )
    return NonlinearMap(skewed, shape, np.array(runs), middle, known, gaussian)


def matrix(m: Coordinates) -> np.ndarray:
    """The whole linear map, written out."""
    whole = np.diag(m.scale)
    whole[:, : m.factor.shape[1]] += m.factor
    for members, block in zip(m.members, m.local, strict=True):
        at = members[members >= 0]
        whole[np.ix_(at, at)] += block[: len(at), : len(at)]
    for direction, by in zip(m.directions, m.residual_scaling, strict=True):
        whole = whole @ (np.eye(len(direction)) + (by - 1) * np.outer(direction, direction))
    return whole


@pytest.mark.parametrize("kind", ["scales", "parts"])
def test_coordinates_are_a_linear_map(spec, plain_world, data, rng, kind):
    """Value of the image point, and the gradient by the chain rule, in plain NumPy."""
    design = plain_world.design
    length = size(design)
    m = some_coordinates(kind, length, rng)
    full = matrix(m)
    x = start_point(spec, design) + rng.normal(0, 0.2, length)
    y = np.linalg.solve(full, x - m.mean)
    np.testing.assert_allclose(m.to_x(y), x, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(m.to_y(x), y, rtol=1e-9, atol=1e-9)
    inside, outside = np.empty(length), np.empty(length)
    value = compiled_density(data, length, m).evaluate(y, inside)
    assert value == pytest.approx(log_density(x, outside, data), rel=1e-11)
    expected = full.T @ outside
    np.testing.assert_allclose(inside, expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())


def test_the_nonlinear_map_brings_its_jacobian_and_its_gradient(spec, plain_world, data, rng):
    """Value against the density and the determinant of finite differences; gradient likewise."""
    design = plain_world.design
    length = size(design)
    m = replace(some_coordinates("parts", length, rng), nonlinear=some_nonlinear(spec, design, rng))
    assert {run[3] for run in m.nonlinear.runs} == {2, -1}
    y, step = rng.normal(0, 0.3, length), 1e-5
    density = compiled_density(data, length, m)
    inside = np.empty(length)
    value = density.evaluate(y, inside)
    moved = step * np.eye(length)
    jacobian = (m.to_x(y + moved) - m.to_x(y - moved)).T / (2 * step)
    linear = np.linalg.slogdet(matrix(m))[1]
    expected = log_density(m.to_x(y), np.empty(length), data) + np.linalg.slogdet(jacobian)[1]
    assert abs(np.linalg.slogdet(jacobian)[1] - linear) > 1
    assert value == pytest.approx(expected - linear, abs=1e-6)
    for i in range(length):
        ends = [density.evaluate(y + sign * moved[i], np.empty(length)) for sign in (1, -1)]
        assert inside[i] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=2e-4), i


def test_draws_are_expanded_to_their_image(spec, plain_world, data, rng):
    length = size(plain_world.design)
    m = replace(
        some_coordinates("parts", length, rng),
        nonlinear=some_nonlinear(spec, plain_world.design, rng),
    )
    density = compiled_density(data, length, m)
    pointer = ctypes.POINTER(ctypes.c_double)
    call = ctypes.CFUNCTYPE(
        ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint64, pointer, pointer, ctypes.c_void_p
    )(density.expand_address)
    y, x = rng.normal(size=length), np.empty(length)
    at = [a.ctypes.data_as(pointer) for a in (y, x)]
    assert call(length, length, *at, density.header_address) == 0
    np.testing.assert_allclose(x, m.to_x(y), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(m.to_y(x), y, rtol=1e-9, atol=1e-9)
    assert call(length, length + 1, *at, density.header_address) < 0


def status(density: CompiledDensity, y: np.ndarray, length: int) -> int:
    pointer = ctypes.POINTER(ctypes.c_double)
    call = ctypes.CFUNCTYPE(
        ctypes.c_int64, ctypes.c_uint64, pointer, pointer, pointer, ctypes.c_void_p
    )(density.density_address)
    out = np.empty(len(y)), np.empty(1)
    at = [a.ctypes.data_as(pointer) for a in (y, *out)]
    return int(call(length, *at, density.header_address))


def test_the_sampler_is_told_of_points_without_a_density(spec, plain_world, data):
    """Above 0: step back. Below 0: a call that cannot be right, and sampling stops."""
    length = size(plain_world.design)
    density = compiled_density(data, length)
    x = start_point(spec, plain_world.design)
    assert status(density, x, length) == 0
    bad = x.copy()
    bad[12] = np.nan
    assert status(density, bad, length) > 0
    far = x.copy()
    far[16] = 800.0  # a concentration beyond any float
    assert status(density, far, length) > 0
    assert status(density, x, length + 1) < 0


#: Fields that only cells of other families, suppressed cells and biases that are let in fill.
ELSEWHERE = {
    *("ranged_value", "stage_value", "stage_prior", "stage_exposure"),
    *("untreated_basis", "records_basis"),
    *("national_outlying", "national_log_odds", "elicited_outlying", "elicited_log_odds"),
}


def arrived(data: Arguments, x: np.ndarray) -> dict[str, bool]:
    """Whether each field with numbers in it, changed alone, changes the density."""
    base = log_density(x, np.empty_like(x), data)
    found = {}
    for field in fields(data):
        name = field.name
        value = np.asarray(getattr(data, name))
        if value.dtype != np.float64 or value.size == 0:
            continue  # positions: changing one may point outside an array
        changed = replace(data, **{name: 1.03 * value + 1e-3})
        found[name] = log_density(x, np.empty_like(x), changed) != base
    return found


def test_every_argument_arrives(spec, plain_world, data, rng):
    """Each field of the arguments, changed alone, changes the density: none is mixed up or lost."""
    x = start_point(spec, plain_world.design) + rng.normal(0, 0.2, size(plain_world.design))
    found = arrived(data, x)
    assert {name for name, moved in found.items() if not moved} <= ELSEWHERE
    names = [field.name for field in fields(data)]
    numbers = {name for name in names if np.asarray(getattr(data, name)).dtype == np.float64}
    assert numbers - set(found) <= ELSEWHERE


def test_the_arguments_of_other_families_suppressed_cells_and_biases_arrive(tmp_path, rng):
    moved = set()
    biases = {"sensitivity.drift_sd": 0.1, "sensitivity.go_live_step_sd": 0.1}
    biases["baseline.contamination"] = 0.2
    for family, cells in (("beta_binomial", {"ranged": True}), ("ordered_bands", {})):
        spec = with_changes(family_spec(family), biases)
        design = build_design(spec, read_tables(family_tables(family, **cells), tmp_path / family))
        x = start_point(spec, design) + rng.normal(0, 0.2, size(design))
        found = arrived(kernel_data(spec, design), x)
        moved |= {name for name, changes in found.items() if changes}
    assert moved >= ELSEWHERE


def test_the_cache_key_follows_every_byte_of_the_sources(tmp_path: Path):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("a = 1\n")
    two.write_text("b = 1\n")
    first = source_stamp(str(one), str(two))
    assert 0 < first <= 2**56
    assert source_stamp(str(one), str(two)) == first
    two.write_text("b = 2\n")
    assert source_stamp(str(one), str(two)) != first


def test_one_compiled_density_serves_every_shape_and_setting(spec, plain_world, tiny, data):
    """A fold, a replicate or another evaluation compiles nothing: the code is the same code."""
    first = compiled_density(data, size(plain_world.design))
    design = build_design(spec, tiny)
    second = compiled_density(kernel_data(spec, design), size(design), None)
    assert first.size != second.size
    assert first.density_address == second.density_address
    assert first.expand_address == second.expand_address


def test_the_cache_key_covers_every_file_that_is_compiled():
    """A file with compiled code that no key knows of would keep its old code after an edit."""
    # positions in the vector and shapes of the build-up are in the compiled code
    constants = {"model/layout.py", "model/course.py", "density/argument_fields.py"}
    compiled = re.compile(
        r"^ *@(cached_)?(njit|cfunc|intrinsic)|= intrinsic\(|return intrinsic\(", re.MULTILINE
    )
    written = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if compiled.search(path.read_text("utf-8"))
    }
    covered = {Path(file).relative_to(SOURCE).as_posix() for file in entry._SOURCES}
    assert written | constants == covered | {"model/pointwise.py"}
    text = (SOURCE / "model" / "pointwise.py").read_text(encoding="utf-8")
    assert "source_stamp(vector.__file__, simd.__file__, __file__)" in text


def test_nothing_compiled_may_reorder_sums() -> None:
    """Same arguments, same bits, wherever the arrays lie in memory.

    With fastmath a gradient's last digit followed the heap's addresses: 3 of 48,000 evaluations in
    threads of one point, and so one chain in twenty was not what its seed had given before.
    """
    modules = [
        import_module(f"lndbayes.{'.'.join(path.relative_to(SOURCE).with_suffix('').parts)}")
        for path in SOURCE.rglob("*.py")
        if "njit" in path.read_text(encoding="utf-8")
    ]
    found = {
        f"{module.__name__}.{name}": bool(thing.targetoptions.get("fastmath"))
        for module in modules
        for name, thing in vars(module).items()
        if hasattr(thing, "targetoptions")
    }
    assert len(found) > 25
    assert not [name for name, loose in found.items() if loose]
    texts = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in modules]
    assert not [text for text in texts if re.search(r"fastmath\s*=|\"fastmath\"", text)]


def parts_of(data: Arguments, length: int) -> dict[str, int]:
    header = compiled_density(data, length).header
    return dict(zip(PARTS, header[-len(PARTS) :].tolist(), strict=True))


def test_only_the_parts_that_data_need_are_compiled(spec, plain_world, data, tmp_path):
    """A first fit waits for no likelihood that its data never call."""
    beta = parts_of(data, size(plain_world.design))
    assert beta["cells"] and beta["channels"]
    assert beta["ranged"] == 0
    counts = family_spec("negative_binomial")
    design = build_design(counts, read_tables(family_tables("negative_binomial"), tmp_path / "n"))
    assert parts_of(kernel_data(counts, design), size(design))["cells"] not in (0, beta["cells"])
    held = family_spec("beta_binomial")
    tables = family_tables("beta_binomial", ranged=True)
    design = build_design(held, read_tables(tables, tmp_path / "r"))
    assert parts_of(kernel_data(held, design), size(design))["ranged"]


#: Prepares a part with the density left out, which takes long; prints what came from the cache.
PREPARES = """
import sys
import lndbayes.fitting.c_functions as entry
sys.executable = sys.argv[1]
entry._COMPILE["density"] = lambda stamp: "here"
entry.prepare(["ranged"])
print(entry.entry("density"), entry.entry("ranged").cache_hits)
"""


def test_cells_of_one_sort_are_neighbours_and_so_are_like_rates(data):
    """Blocks of few events multiply out; blocks with no parameter near 0 take fewer logarithms."""
    trials, events = data.cell_value[:2]
    sort = 1 * (trials - events > FEW) + 2 * (events > FEW)
    assert (np.diff(sort) >= 0).all() and len(np.unique(sort)) > 1
    for kind in np.unique(sort[sort > 0]):
        assert (np.diff((events / trials)[sort == kind]) >= 0).all()
    assert (np.diff(np.maximum(events, trials - events)[sort == 0]) >= 0).all()


def test_a_second_process_compiles_what_the_first_then_finds(tmp_path):
    """With an empty cache two processes compile; if the second fails the first does its work."""
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no compiler here >&2\nexit 3\n")
    broken.chmod(0o755)
    found = []
    for python in (sys.executable, str(broken), "no-such-interpreter"):
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / f"of {Path(python).name}")}
        command = [sys.executable, "-c", PREPARES, python]
        done = subprocess.run(command, env=environment, text=True, capture_output=True, check=True)
        # and what the second process said of it is told
        assert ("ended with 3: no compiler here" in done.stderr) == (python == str(broken))
        found.append(done.stdout.strip())
    assert found == ["here 1", "here 0", "here 0"]


#: Fields of each channel of evidence that have a row for each of its rows.
CHANNELS = {
    "retrospective": ("retrospective_at", "retrospective_value"),
    "history": ("history_at", "history_value"),
    "national": ("national_weight", "national_logit", "national_precision"),
    "elicited": ("elicited_weight", "elicited_logit", "elicited_precision"),
}


@pytest.mark.parametrize("kept", [*CHANNELS, None])
def test_one_channel_alone_is_enough_to_be_heard(data, plain_world, kept):
    gone = [field for channel, fields in CHANNELS.items() if channel != kept for field in fields]
    alone = replace(data, **{field: getattr(data, field)[:0] for field in gone})
    assert bool(parts_of(alone, size(plain_world.design))["channels"]) == (kept is not None)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_evidence_keeps_its_slope_where_probabilities_are_no_doubles(data, plain_world, side):
    """Far out a binomial's log probability falls by each event, or each that is none, alone."""
    design = plain_world.design
    others = [
        field
        for channel, fields in CHANNELS.items()
        if channel != "retrospective"
        for field in fields
    ]
    data = replace(data, **{field: getattr(data, field)[:0] for field in others})
    silent = replace(
        data,
        retrospective_at=data.retrospective_at[:0],
        retrospective_value=data.retrospective_value[:, :0],
    )
    level = layout(design)["site_level"]
    place = slice(level.start, level.stop)
    found = []
    for far in (2000.0, 2001.0):
        x = np.zeros(size(design))
        x[place] = side * far
        with_it, without = np.empty((2, len(x)))
        value = log_density(x, with_it, data) - log_density(x, without, silent)
        found.append((value, (with_it - without)[place].sum()))
    asked, events = data.retrospective_value
    slope = (events if side < 0 else events - asked).sum()
    assert abs(slope) > 0
    assert found[1][0] - found[0][0] == pytest.approx(side * slope, rel=1e-6)
    assert found[0][1] == pytest.approx(slope, rel=1e-6)
