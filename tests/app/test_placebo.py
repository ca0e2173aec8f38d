"""The command `lndbayes placebo`: what it writes, reuses, and says where it cannot be run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lndbayes.app.cli import main
from lndbayes.synthetic import simulate, write_evaluation
from small import complete, set_keys

pytestmark = pytest.mark.slow

GO_LIVE = ("2012-04", "2016-01", "2016-07", "2017-01", "2017-07")


def written(root: Path, go_live: tuple[str, ...]) -> list[str]:
    """A small world without effects and a spec with short chains, as arguments of the command."""
    simulated = simulate(3, "null", len(go_live), outcomes=("ae_attendances",))
    sites = simulated.frames["sites.csv"].assign(go_live=go_live)
    simulated.frames["sites.csv"] = sites
    # histories end before the go-live that the simulator had
    for name in [name for name in simulated.frames if name.endswith("history.csv")]:
        simulated.frames[name] = simulated.frames[name].iloc[:0]
    spec = root / "ae_attendances.toml"
    root.mkdir(parents=True, exist_ok=True)
    spec.write_text(complete("ae_attendances"), encoding="utf-8")
    set_keys(spec, draws=60, tune=60, chains=2)
    data = write_evaluation(simulated, root / "data")
    return ["placebo", str(spec), "--data", str(data), "--out", str(root / "run"), "--quiet"]


def test_rows_are_written_beside_other_outcomes_and_refits_reused(tmp_path, capsys) -> None:
    arguments = written(tmp_path, GO_LIVE)
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "pooled placebo effect" in said
    run = tmp_path / "run"
    first = (run / "placebo.csv").read_text(encoding="utf-8").splitlines()[1:]
    table = pd.read_csv(run / "placebo.csv", keep_default_na=False)
    assert list(table["quantity"]).count("site") == 4
    assert set(table["outcome"]) == {"ae_attendances"}
    assert set(table["status"]) <= {"PASS", "REVIEW"}
    other = table.iloc[:1].assign(outcome="custody")
    pd.concat([other, table]).to_csv(run / "placebo.csv", index=False)
    kept = run / "sensitivity" / "ae_attendances-placebo.nc"
    before = kept.stat().st_mtime_ns
    assert main(arguments) == 0
    assert capsys.readouterr().out == said
    assert kept.stat().st_mtime_ns == before
    again = pd.read_csv(run / "placebo.csv", keep_default_na=False)
    assert list(again["outcome"]) == ["custody"] + ["ae_attendances"] * len(first)
    lines = (run / "placebo.csv").read_text(encoding="utf-8").splitlines()[2:]
    assert [line.split(",")[0] for line in lines] == [line.split(",")[0] for line in first]
    ours = again[again["outcome"] == "ae_attendances"].reset_index(drop=True)
    for column in ("median", "lower", "upper"):
        ends = [pd.to_numeric(frame[column], errors="coerce") for frame in (ours, table)]
        pd.testing.assert_series_equal(*ends)


def test_too_few_sites_are_said_and_written(tmp_path, capsys) -> None:
    arguments = written(tmp_path, ("2012-04", "2012-04", "2013-01", "2016-07", "2017-07"))
    assert main(arguments) == 0
    assert "not run: 2 sites have 24 untreated months" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "run" / "placebo.csv", keep_default_na=False)
    assert table["status"].to_list() == ["NOT RUN"]
    assert not (tmp_path / "run" / "sensitivity").exists()
