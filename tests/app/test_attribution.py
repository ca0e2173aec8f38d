"""The ledger from a spec and data to files: small and real, resumable, refused where it must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lndbayes.app import attribution
from lndbayes.app.attribution import attribute_evidence
from lndbayes.app.cli import main
from lndbayes.base.errors import DataError, UsageError
from lndbayes.data.evaluation import read_evaluation
from lndbayes.evidence.attribution import refits as attribution_refits
from lndbayes.evidence.refits import Effort
from lndbayes.spec.model_spec import load_spec, with_changes
from small import write_small

FILES = ("ledger_full.csv", "ledger_verdicts.csv", "ledger.md")
FEW = {"sampling.tune": 80, "sampling.draws": 60, "sampling.chains": 2}
SHORT = Effort({**attribution_refits.EFFORT.settings, **FEW})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources, so that there are few subsets; few draws, so that it is quick."""
    root = tmp_path_factory.mktemp("ledger")
    write_small(
        root, sites=4, draws=60, tune=80, chains=2, national="false", history="false",
        elicited="false",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attribution, "EFFORT", SHORT)
        patch.setattr(attribution_refits, "_CAREFUL", {})
        arguments = ["ledger", str(root / "models/custody.toml"), "--data", str(root / "data")]
        assert main([*arguments, "--out", str(root / "run"), "--folds", "1", "--quiet"]) == 0
    return root


@pytest.mark.slow
def test_files_agree_with_each_other(made: Path) -> None:
    full, verdicts = (pd.read_csv(made / "run" / name) for name in FILES[:2])
    sites = verdicts[verdicts["of"] == "site"]
    assert len(sites) == 4
    assert (verdicts["of"] == "pooled").sum() == 1
    gains = full[full["quantity"] == "log_precision_gain"]
    left = full[full["quantity"] == "contraction_prior"].set_index("site")["value"]
    for site in sites["site"]:
        # from the prior to the posterior, without a rest
        total = gains.loc[gains["site"] == site, "value"].sum()
        assert total == pytest.approx(-np.log(1 - left[site]), abs=1e-9)
    share = full[(full["quantity"] == "shapley_share") & (full["of"] == "site")]
    assert share.groupby("site")["value"].sum(min_count=2).dropna().to_numpy() == pytest.approx(1)
    cut = full[full["quantity"].isin(["cut_sd", "joint_sd"])]
    assert set(cut["item"]) == {"pooled", "spread", "ramp_months"}
    assert (cut["value"] > 0).all()
    page = (made / "run" / "ledger.md").read_text(encoding="utf-8")
    assert "Synthetic data" in page
    assert all(text in page for text in verdicts["verdict"])
    assert "nan" not in page.replace("nance", "")


@pytest.mark.slow
def test_again_it_reads_what_is_finished(made: Path, monkeypatch) -> None:
    spec, data = load_spec(made / "models/custody.toml"), read_evaluation(made / "data")
    monkeypatch.setattr(attribution, "EFFORT", SHORT)
    monkeypatch.setattr(attribution_refits, "_CAREFUL", {})
    before = {name: (made / "run" / name).read_bytes() for name in FILES}
    said: list[str] = []
    attribute_evidence(spec, data, made / "run", folds=1, say=said.append)
    assert not [line for line in said if "refit 1 of" in line or "sampling" in line]
    assert {name: (made / "run" / name).read_bytes() for name in FILES} == before


@pytest.mark.slow
def test_a_run_of_another_spec_is_not_overwritten(made: Path, capsys) -> None:
    spec = made / "models" / "other.toml"
    text = (made / "models/custody.toml").read_text(encoding="utf-8")
    spec.write_text(text.replace("seed = 20140401", "seed = 1"), encoding="utf-8")
    arguments = ["ledger", str(spec), "--data", str(made / "data"), "--out", str(made / "run")]
    assert main(arguments) == 2
    assert "fit to other inputs" in capsys.readouterr().err
    spec.unlink()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    write_small(root, sites=3)
    return root


def test_what_is_refused_writes_nothing(inputs: Path, tmp_path: Path, capsys) -> None:
    models, data = inputs / "models/custody.toml", str(inputs / "data")
    out = tmp_path / "papers"
    out.mkdir()
    (out / "note.txt").write_text("mine", encoding="utf-8")
    assert main(["ledger", str(models), "--data", data, "--out", str(out)]) == 2
    assert "not a run directory" in capsys.readouterr().err
    assert [p.name for p in out.iterdir()] == ["note.txt"]
    assert main(["ledger", str(models), "--data", data, "--out", str(out / "note.txt")]) == 2
    assert "must be a folder" in capsys.readouterr().err


def test_more_folds_than_sites_are_refused_before_anything_is_fitted(
    inputs: Path, tmp_path: Path
) -> None:
    """As a back-test does."""
    spec, data = load_spec(inputs / "models/custody.toml"), read_evaluation(inputs / "data")
    for folds in (50, 0):
        with pytest.raises(DataError, match="--folds"):
            attribute_evidence(spec, data, tmp_path / "run", folds=folds)
    assert not (tmp_path / "run").exists()


def test_a_selected_outcome_has_no_ledger(inputs: Path, tmp_path: Path) -> None:
    spec = with_changes(
        load_spec(inputs / "models/custody.toml"),
        {"outcome.selected": True, "outcome.exposure_outcome": "referrals"},
    )
    with pytest.raises(UsageError, match="bounds"):
        attribute_evidence(spec, read_evaluation(inputs / "data"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
