"""Many fits: the same numbers as one by one, kept as they finish, made again only for a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.estimands.effects import pooled_effect
from lndbayes.fitting import parallel as many
from lndbayes.fitting.fit import fit, load_fit
from lndbayes.fitting.parallel import FitJob, fit_many
from lndbayes.spec.model_spec import ModelSpec, load_spec, with_changes
from lndbayes.synthetic import simulate, write_evaluation
from small import write_small
from worker_functions import pooled_only

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    _, models = write_small(tmp_path_factory.mktemp("many"), sites=4, chains=1, tune=60, draws=60)
    return load_spec(models / "custody.toml")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[EvaluationData]:
    root = tmp_path_factory.mktemp("worlds")
    return [
        read_evaluation(write_evaluation(simulate(seed, "effect", 4), root / str(seed)))
        for seed in (1, 2)
    ]


@pytest.fixture(scope="module")
def hidden(worlds: list[EvaluationData]) -> xr.DataArray:
    """The months before go-live of the last site, in another order than the data's."""
    ds = worlds[0].ds
    index = np.arange(ds.sizes["month"])
    mask = np.zeros((ds.sizes["site"], ds.sizes["month"]), bool)
    mask[-1] = index < ds["go_live"].to_numpy()[-1]
    assert mask.any()
    labels = {"site": ds["site"].to_numpy(), "month": ds["month"].to_numpy()}
    return (
        xr.DataArray(mask, dims=("site", "month"), coords=labels).isel(site=slice(None, None, -1)).T
    )


@pytest.fixture(scope="module")
def jobs(spec, worlds, hidden) -> dict[str, FitJob]:
    return {
        "first": FitJob(spec, worlds[0]),
        "second": FitJob(spec, worlds[1]),
        "masked": FitJob(spec, worlds[0], hidden),
    }


@pytest.fixture(scope="module")
def kept(jobs, tmp_path_factory) -> tuple[Path, dict[str, Path], list[str]]:
    folder = tmp_path_factory.mktemp("kept")
    said: list[str] = []
    return folder, fit_many(jobs, folder, keep=pooled_only, workers=2, say=said.append), said


def test_many_fits_are_those_made_one_by_one(jobs, kept):
    folder, paths, said = kept
    assert list(paths) == list(jobs)
    assert sorted(p.name for p in folder.iterdir()) == ["first.nc", "masked.nc", "second.nc"]
    assert len(said) == 3
    assert "fit 3 of 3 finished" in said[-1]
    means = set()
    for name, job in jobs.items():
        alone = fit(job.spec, job.data, cores=1, predictive=False, hidden=job.hidden)
        stored = load_fit(paths[name])
        np.testing.assert_array_equal(stored["posterior"]["pooled"], pooled_effect(alone))
        assert stored.attrs["data_hash"] == job.data.hash
        means.add(float(stored["posterior"]["pooled"].mean()))
    assert len(means) == 3


def test_finished_fits_are_not_made_again(jobs, kept, monkeypatch):
    folder, paths, _ = kept
    monkeypatch.setattr(many, "fit", None)
    assert fit_many(jobs, folder, keep=pooled_only) == paths


@pytest.mark.parametrize("what", ["seed", "mask", "keep", "damage"])
def test_a_fit_is_made_again_if_something_has_changed(jobs, tmp_path, monkeypatch, what):
    calls: list[Any] = []

    def counted(spec: ModelSpec, data: EvaluationData, **options: Any) -> xr.DataTree:
        calls.append(options)
        return xr.DataTree.from_dict(
            {"/posterior": xr.Dataset({"pooled": (("chain", "draw"), np.zeros((1, 3)))})}
        )

    monkeypatch.setattr(many, "fit", counted)
    monkeypatch.setattr(many, "save_fit", lambda tree, path: path.write_text(tree.attrs["fit_key"]))

    def stored(path: Path, key: str) -> str | None:
        return key if path.is_file() and path.read_text() == key else None

    monkeypatch.setattr(many, "stored_fit", stored)
    job, keep = jobs["masked"], None
    fit_many({"a": job}, tmp_path)
    fit_many({"a": job}, tmp_path)
    assert len(calls) == 1
    if what == "seed":
        job = FitJob(with_changes(job.spec, {"sampling.seed": 4}), job.data, job.hidden)
    if what == "mask":
        job = FitJob(job.spec, job.data, ~job.hidden)
    if what == "keep":
        keep = xr.DataTree.copy
    if what == "damage":
        (tmp_path / "a.nc").write_text("torn")
    fit_many({"a": job}, tmp_path, keep=keep)
    assert len(calls) == 2
    # the order of labels is nothing
    turned = None if job.hidden is None else job.hidden.isel(month=slice(None, None, -1))
    fit_many({"a": FitJob(job.spec, job.data, turned)}, tmp_path, keep=keep)
    assert len(calls) == 2


def test_hidden_cells_are_out_of_the_likelihood_and_in_the_surface(spec, worlds, hidden):
    whole = fit(spec, worlds[0], cores=1)
    part = fit(spec, worlds[0], cores=1, hidden=hidden)
    mask = hidden.transpose("site", "month").sel(site=worlds[0].ds["site"])
    seen = np.isfinite(whole["observed_data"]["y"])
    gone = seen & mask
    assert gone.any()
    xr.testing.assert_equal(
        np.isfinite(part["observed_data"]["y"]).drop_vars(["site", "month"]),
        (seen & ~mask).drop_vars(["site", "month"]),
    )
    lost = whole["log_likelihood"].sizes["cell"] - part["log_likelihood"].sizes["cell"]
    assert lost == int(gone.sum())
    # the month is still there to be predicted
    assert np.isfinite(part["constant_data"]["exposure_all"].to_numpy()[gone.to_numpy()]).all()


def test_a_mask_without_a_site_of_the_data_is_refused(spec, worlds, hidden):
    with pytest.raises(KeyError):
        fit(spec, worlds[0], cores=1, hidden=hidden.isel(site=slice(1, None)))
