"""Two outcomes in one run: fitted side by side, each with its own refits, tables and sections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lndbayes.app.cli import main
from lndbayes.data.evaluation import read_evaluation
from lndbayes.evidence.refits import duplicate_refits
from lndbayes.evidence.sensitivity import VARIANTS
from lndbayes.fitting.fit import load_fit
from lndbayes.spec.model_spec import load_spec
from small import write_small

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small evaluation with its outcome twice, the second without evidence and rarer."""
    root = tmp_path_factory.mktemp("several")
    data, models = write_small(root, sites=4, chains=2, tune=60, draws=60)
    outcomes = pd.read_csv(data / "outcomes.csv", dtype=str, keep_default_na=False)
    second = outcomes.assign(outcome="remand")
    some = second["count"] != ""
    second.loc[some, "count"] = (second.loc[some, "count"].astype(int) // 2).astype(str)
    pd.concat([outcomes, second]).to_csv(data / "outcomes.csv", index=False)
    text = (models / "custody.toml").read_text(encoding="utf-8")
    (models / "remand.toml").write_text(
        text.replace('name = "custody"', 'name = "remand"').replace("sentences", "remands"),
        encoding="utf-8",
    )
    return root


def test_outcomes_are_fitted_in_processes_and_reported_together(base, capsys) -> None:
    data, models = base / "data", base / "models"
    command = ["evaluate", str(data), "--models", str(models), "--out", str(base / "run")]
    status = main([*command, "--jobs", "2"])
    told = capsys.readouterr().err
    assert status in (0, 1)
    assert "2 of 2 outcomes" in told
    read = read_evaluation(data)
    fitted = {
        name: len(VARIANTS) - len(duplicate_refits(load_spec(spec), read, VARIANTS))
        for name, spec in ((name, models / f"{name}.toml") for name in ("custody", "remand"))
    }
    # the second outcome has no evidence to remove: those refits are its own main fit
    assert fitted["remand"] < fitted["custody"] <= len(VARIANTS)
    both_fitted = sum(fitted.values())
    assert f"refit {both_fitted} of {both_fitted} finished" in told
    run = base / "run"
    both = {"custody", "remand"}
    for name in ("effects", "baseline", "ledger", "sensitivity", "checks", "priors"):
        assert set(pd.read_csv(run / f"{name}.csv")["outcome"]) >= both, name
    assert set(pd.read_csv(run / "savings.csv")["outcome"].dropna()) >= {"custody"}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert 'id="effects-custody"' in page
    assert 'id="effects-remand"' in page

    # what was made in processes is what is made here, one after the other
    alone = base / "alone"
    main([*command[:-1], str(alone), "--jobs", "1", "--outcomes", "remand", "--quiet"])
    one, other = (load_fit(r / "fits" / "remand.nc")["posterior"] for r in (run, alone))
    np.testing.assert_array_equal(one["site_effect"], other["site_effect"])

    # nothing is fitted twice, and a single changed spec is fitted alone
    stamp = (run / "fits" / "custody.nc").stat().st_mtime_ns
    spec = models / "remand.toml"
    spec.write_text(spec.read_text(encoding="utf-8").replace("seed = ", "seed = 1"), "utf-8")
    main([*command, "--jobs", "2"])
    told = capsys.readouterr().err
    assert "custody: finished fit reused" in told
    assert f"refit {fitted['remand']} of {fitted['remand']} finished" in told
    assert (run / "fits" / "custody.nc").stat().st_mtime_ns == stamp
