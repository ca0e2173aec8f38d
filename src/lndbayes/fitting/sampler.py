"""Draws from the compiled density with nutpie's NUTS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import xarray as xr
from nutpie import _lib
from nutpie.sample import CompiledModel, _BackgroundSampler

from lndbayes.base.errors import FitError
from lndbayes.coordinates.from_draws import coordinates_from
from lndbayes.coordinates.groups import coordinate_groups
from lndbayes.coordinates.residual_scaling import with_residual_scaling
from lndbayes.coordinates.site_gaussian import SiteGaussian
from lndbayes.coordinates.transform import Coordinates, NonlinearMap, linearised
from lndbayes.density.arguments import kernel_data
from lndbayes.fitting.compiled import CompiledDensity, compiled_density
from lndbayes.fitting.start import start_point
from lndbayes.model.design import Design
from lndbayes.spec.model_spec import ModelSpec, Sampling, with_changes

__all__ = [
    "RawDraws",
    "coordinates_of",
    "find_coordinates",
    "sample_density",
    "stored_coordinates",
]

#: Between two evaluations of the density: along a standard normal's own path ("Euclidean": along a
#: straight line, as leapfrog steps go).
_PATHS = "ExactNormal"

#: Doublings of a path at most: nutpie's own number.
_DEPTH = 10

#: nutpie's `sample` without its own choice of settings.
start_sampling = _BackgroundSampler

#: Spread of the chains' starting points about the prior's medians, unconstrained scale: narrow
#: enough to start in the typical set's reach. Where coordinates are known, chains start one
#: standard deviation from their centre in every one, above or below by chance: as wide as the
#: posterior, so that R-hat sees chains that do not mix. There gradients are near 1, from which
#: nutpie takes its first scales: from normal ones it took the first hundred steps to recover.
_JITTER = 0.2

_STATS = {
    "diverging": "diverging",
    "energy": "energy",
    "depth": "depth",
    "n_steps": "n_steps",
    "step_size": "step_size",
    "logp": "lp",
}


@dataclass(frozen=True)
class RawDraws:
    """Unconstrained draws.

    Attributes
    ----------
    x : ndarray, shape (chain, draw, D)
        Draws after tuning.
    stats : dict of str to ndarray, shape (chain, draw)
        diverging, energy, depth, n_steps, step_size, lp (log density of the unconstrained draws).
    """

    x: np.ndarray
    stats: dict[str, np.ndarray]


@dataclass(frozen=True)
class _Native(CompiledModel):
    """A density as the sampler's own interface for compiled models wants it.

    nutpie has no public way to hand over a C function; this is what its PyMC front end does, for a
    function of ours. Versions are pinned, and the tests sample known densities through it.
    """

    density: CompiledDensity
    start: Callable[[int], np.ndarray]

    @property
    def n_dim(self) -> int:
        return self.density.size

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"x": (self.density.size,)}

    @property
    def coords(self) -> dict[str, Any]:
        return {}

    def _make_model(self, init_mean: object) -> Any:
        size, header = self.density.size, self.density.header_address
        sizes = {"coordinate": size}
        variables = _lib.PyVariable.new_variables(
            ["x"], ["float64"], [[size]], sizes, {"x": ["coordinate"]}
        )
        return _lib.PyMcModel(
            _lib.LogpFunc(self.density.density_address, header, self.density),
            _lib.ExpandFunc(size, size, self.density.expand_address, header, self.density),
            variables,
            size,
            sizes,
            {},
            self.start,
            None,
        )

    def _make_sampler(
        self,
        settings: Any,
        init_mean: object,
        cores: int,
        progress_type: Any,
        extra_callback: Any,
        extra_callback_rate: int,
        store: Any,
    ) -> Any:
        return _lib.PySampler.from_pymc(
            settings,
            cores,
            self._make_model(init_mean),
            progress_type,
            extra_callback,
            extra_callback_rate,
            store,
        )


#: Sampler settings of the first run that looks for coordinates, in the unconstrained ones. The
#: curvature at a few points is all that the second run needs: paths of 31 steps at most, since more
#: of these coordinates is not worth it where data know much.
FIRST_PILOT = {"chains": 2, "tune": 100, "draws": 50, "target_accept": 0.55}
_FIRST_DEPTH = 5
#: The second one, in the coordinates that the first has found; again, in those that it has found
#: itself, so long as its paths are longer than they are near the posterior. Where the first run has
#: missed it they would have a thousand steps; 63 are enough for the next one to find it.
ROUNDS, _SHORT, _ROUND_DEPTH = 3, 14, 6
PILOT = {"chains": 2, "tune": 100, "draws": 250, "target_accept": 0.55}
#: The same in the linear part of another fit's coordinates: few steps to find the way. Where that
#: fit's scales are wrong for this one, small steps would make long paths.
WARM_PILOT = PILOT | {"target_accept": 0.8}


def find_coordinates(
    spec: ModelSpec,
    design: Design,
    *,
    cores: int,
    start: Coordinates | None = None,
) -> Coordinates:
    """Find the coordinates to sample in from short pilot runs, whose draws are thrown away.

    With the pilot's covariance the pooled effect mixes several times better per draw than with
    variances alone: it and the national curve are strongly correlated (docs/performance.md).

    Parameters
    ----------
    spec, design, cores
        See `sample_density`; the pilot's seed follows from the spec's.
    start : Coordinates, optional
        Coordinates of another fit, too different to sample in: a shorter pilot starts in their
        linear part.

    Returns
    -------
    Coordinates
    """
    first, *others = np.random.SeedSequence([spec.sampling.seed, 2]).generate_state(1 + ROUNDS)

    def pilot(
        settings: dict[str, float], seed: int, near: Coordinates | None, depth: int = _DEPTH
    ) -> tuple[Coordinates, float]:
        every = settings | {"seed": int(seed)}
        changed = with_changes(spec, {f"sampling.{key}": value for key, value in every.items()})
        raw = sample_density(changed, design, cores=cores, coordinates=near, depth=depth)
        data, size = kernel_data(spec, design), raw.x.shape[-1]
        found = coordinates_from(
            raw.x, coordinate_groups(design), compiled_density(data, size).evaluate
        )
        curved = compiled_density(data, size, found).evaluate
        return with_residual_scaling(found, raw.x, curved), float(raw.stats["n_steps"].mean())

    if start is not None:
        return pilot(WARM_PILOT, first, linearised(start))[0]
    near, _ = pilot(FIRST_PILOT, first, None, _FIRST_DEPTH)
    for seed in others:
        near, steps = pilot(PILOT, seed, near, _ROUND_DEPTH)
        if steps <= _SHORT:
            break
    return near


def sample_density(
    spec: ModelSpec,
    design: Design,
    *,
    cores: int,
    coordinates: Coordinates | None = None,
    depth: int = _DEPTH,
    progress: bool = False,
    callback: Callable[[Any], None] | None = None,
) -> RawDraws:
    """Sample a design's posterior.

    Parameters
    ----------
    spec : ModelSpec
        Priors and sampler settings, the seed among them: same spec and design, same draws.
    design : Design
        The data.
    cores : int
        Chains run at the same time, in threads; they never wait for the interpreter.
    coordinates : Coordinates, optional
        Coordinates to sample in, from the draws of a similar fit; default the unconstrained ones.
    depth : int
        Doublings of a path at most.
    progress : bool
        Show nutpie's progress bar.
    callback : callable, optional
        Receives nutpie's list of chain progress.

    Returns
    -------
    RawDraws

    Raises
    ------
    FitError
        If the sampler cannot start.
    """
    near = coordinates is not None
    if coordinates is None:
        centre = start_point(spec, design)
        coordinates = Coordinates.diagonal(centre, np.ones_like(centre))
    length = len(coordinates.mean)

    def start(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return rng.choice([-1.0, 1.0], length) if near else rng.normal(0, _JITTER, length)

    density = compiled_density(kernel_data(spec, design), length, coordinates)
    if not np.isfinite(density.evaluate(np.zeros(length), np.empty(length))):
        raise FitError(f"{spec.outcome.name}: the log density is not finite at the starting point")
    running = start_sampling(
        _Native(dims={}, density=density, start=start),
        _settings(spec.sampling, depth),
        np.zeros(length),
        min(cores, spec.sampling.chains),
        save_warmup=False,
        progress_bar=progress,
        progress_callback=callback,
    )
    try:
        tree = running.wait()
    except BaseException:
        # nutpie's own waiting hands back the draws so far when it is interrupted: they would be
        # taken for a finished fit
        running.cancel()
        raise
    raw = tree["posterior"].to_dataset()
    found = tree["sample_stats"].to_dataset()
    stats = {new: found[old].to_numpy() for old, new in _STATS.items()}
    x = raw["x"].to_numpy()
    # the sampler's density is that of its own coordinates
    stats["lp"] = stats["lp"] - np.stack([coordinates.nonlinear.inverse(chain)[1] for chain in x])
    return RawDraws(x, stats)


def _settings(s: Sampling, depth: int) -> Any:
    """Settings of NUTS whose steps follow a standard normal exactly.

    Leapfrog steps go along straight lines, and their errors add up over coordinates even where a
    posterior is exactly normal. These turn about the middle, as a standard normal's own paths do,
    and only what is left of the density kicks them: with coordinates as near to normal as ours a
    path takes half as many steps (docs/performance.md).

    References
    ----------
    Shahbaba, Lan, Johnson, Neal (2014). Split Hamiltonian Monte Carlo. Statistics and Computing
    24, 339-349.
    """
    settings = _lib.PyNutsSettings.Diag(s.seed)
    wanted = {"num_tune": s.tune, "num_draws": s.draws, "num_chains": s.chains}
    settings.update(wanted | {"target_accept": s.target_accept})
    # nutpie takes these only with all the others
    own = {"trajectory_kind": _PATHS, "maxdepth": depth}
    settings.update_settings(settings.as_dict()["settings"] | own)
    return settings


def stored_coordinates(found: Coordinates) -> xr.Dataset:
    """Arrange the coordinates that chains moved in, where refits start, as a fit keeps them."""
    gaussian = found.nonlinear.gaussian
    return xr.Dataset(
        {
            "unconstrained_mean": (("coordinate",), found.mean),
            "unconstrained_scale": (("coordinate",), found.scale),
            "unconstrained_factor": (("coordinate", "shared_coordinate"), found.factor),
            "unconstrained_local": (("group", "member", "member_2"), found.local),
            "unconstrained_members": (("group", "member"), found.members),
            "unconstrained_skewed": (("skewed",), found.nonlinear.skewed),
            "unconstrained_shape": (("skewed", "shape"), found.nonlinear.shape),
            "unconstrained_runs": (("run", "place"), found.nonlinear.runs),
            "unconstrained_middle": (("multiplied",), found.nonlinear.middle),
            "unconstrained_information": (("multiplied",), found.nonlinear.information),
            "unconstrained_gaussian_members": (
                ("gaussian_site", "gaussian_kind"),
                gaussian.members,
            ),
            "unconstrained_gaussian_scalars": (("gaussian_kind",), gaussian.scalars),
            "unconstrained_gaussian_information": (
                ("gaussian_site", "gaussian_kind", "gaussian_kind_2"),
                gaussian.information,
            ),
            "unconstrained_gaussian_score": (("gaussian_site", "gaussian_kind"), gaussian.score),
            "unconstrained_gaussian_score_slope": (
                ("gaussian_site", "gaussian_kind", "gaussian_shared"),
                gaussian.score_slope,
            ),
            "unconstrained_gaussian_shared_scalars": (
                ("gaussian_shared",),
                gaussian.shared_scalars,
            ),
            "unconstrained_gaussian_reference_mix": (
                ("mix_site", "mix_kind"),
                gaussian.reference_mix,
            ),
            "unconstrained_gaussian_mix_at": (("mix_place",), gaussian.mix_at),
            "unconstrained_directions": (
                ("direction", "coordinate"),
                found.directions.reshape(len(found.residual_scaling), len(found.mean)),
            ),
            "unconstrained_residual_scaling": (("direction",), found.residual_scaling),
        }
    )


def coordinates_of(tree: xr.DataTree) -> Coordinates:
    """Coordinates in which a fit's posterior is near a standard normal, for refits."""
    constants = tree["constant_data"]
    linear, nonlinear, gaussian = (
        {name: constants[f"unconstrained_{name}"].to_numpy() for name in names}
        for names in (
            ("mean", "scale", "factor", "local", "members", "directions", "residual_scaling"),
            ("skewed", "shape", "runs", "middle", "information"),
            tuple(f"gaussian_{field.name}" for field in fields(SiteGaussian)),
        )
    )
    own = SiteGaussian(
        **{name.removeprefix("gaussian_"): value for name, value in gaussian.items()}
    )
    return Coordinates(**linear, nonlinear=NonlinearMap(**nonlinear, gaussian=own))
