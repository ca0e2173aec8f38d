"""What each command runs. Imports are made by the command that needs them: most need few."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lndbayes.base.errors import UsageError
from lndbayes.base.names import NO_DISCLOSURE, disclosure_warning
from lndbayes.files.lock import alone
from lndbayes.files.places import require_directory

__all__ = [
    "assemble",
    "attribution",
    "backtest",
    "calibrate",
    "evaluate",
    "fit",
    "joint",
    "placebo",
    "priors",
    "report",
    "savings",
    "simulate",
    "specs",
    "strata",
    "tipping",
    "validate",
]

OK, CHECK_FAILED = 0, 1

Say = Callable[[str], None]


def _say(options: argparse.Namespace) -> Say:
    if options.quiet:
        return lambda message: None
    return lambda message: print(message, file=sys.stderr, flush=True)


def _warn(disclosure: str) -> None:
    """Say, even where progress is not wanted, that outputs must stay where they are."""
    if text := disclosure_warning(disclosure):
        print(f"DISCLOSURE: {text}", file=sys.stderr, flush=True)


def _warn_of(run: str) -> None:
    from lndbayes.app.runs import read_manifest

    if (Path(run) / "manifest.json").is_file():
        _warn(str(read_manifest(Path(run)).get("disclosure", NO_DISCLOSURE)))


def _watch(options: argparse.Namespace) -> Any:
    if options.quiet or not sys.stderr.isatty():
        return None
    from lndbayes.app.progress import chain_progress

    return chain_progress


def simulate(options: argparse.Namespace) -> int:
    """Write a synthetic evaluation, and extracts."""
    from lndbayes.synthetic import simulate, write_evaluation

    require_directory(Path(options.out))
    if options.persons_scale is not None and not options.extracts:
        raise UsageError("--persons-scale is the size of the extracts: give --extracts too")
    simulated = simulate(options.seed, options.world, options.sites)
    if options.extracts:
        from lndbayes.synthetic.extracts import DEFAULT_SCALE, simulate_extracts
        from lndbayes.synthetic.extracts.beside import write_both

        extracts = simulate_extracts(
            simulated.frames["sites.csv"],
            simulated.evaluation["first_month"],
            simulated.evaluation["last_month"],
            seed=options.seed,
            world=options.world,
            persons_scale=DEFAULT_SCALE if options.persons_scale is None else options.persons_scale,
        )
        write_both(simulated, extracts, Path(options.out))
    else:
        write_evaluation(simulated, Path(options.out))
    _say(options)(f"wrote {options.out}")
    return OK


def assemble(options: argparse.Namespace) -> int:
    """Make an evaluation of person-level extracts."""
    from lndbayes.extracts import assemble

    assemble(
        options.extracts,
        options.out,
        strata=options.strata,
        memory=options.memory,
        threads=options.threads,
        say=_say(options),
    )
    return OK


def validate(options: argparse.Namespace) -> int:
    """Read and check, fit nothing."""
    from lndbayes.app.prepare import prepared
    from lndbayes.data.describe import describe
    from lndbayes.data.evaluation import read_evaluation

    if not options.models:
        print(describe(read_evaluation(options.directory)))
        return OK
    ready = prepared(options.directory, options.models)
    print(describe(ready.data, {k: spec.likelihood.bands for k, spec in ready.specs.items()}))
    for note in (*ready.notes, *ready.savings_notes):
        print(f"note: {note}")
    return OK


def specs(options: argparse.Namespace) -> int:
    """List the shipped specs, or print one with everything that is in force."""
    from lndbayes.spec.shipped import spec_path
    from lndbayes.spec.shown import shown_spec, spec_list

    print(spec_list() if options.show is None else shown_spec(spec_path(options.show)), end="")
    return OK


def priors(options: argparse.Namespace) -> int:
    """Print priors and what they predict."""
    from lndbayes.app.prepare import prepared_spec
    from lndbayes.checks.prior_report import prior_report

    print(prior_report(*prepared_spec(options.spec, options.data, designed=False)))
    return OK


def fit(options: argparse.Namespace) -> int:
    """Fit and check one outcome."""
    from lndbayes.app.evaluate import fit_outcome
    from lndbayes.app.prepare import prepared_spec

    spec, data = prepared_spec(options.spec, options.data, out=options.out)
    _warn(data.disclosure)
    failed = fit_outcome(
        spec, data, Path(options.out), jobs=options.jobs, say=_say(options), watch=_watch(options)
    )
    return CHECK_FAILED if failed else OK


def evaluate(options: argparse.Namespace) -> int:
    """Evaluate all outcomes."""
    from lndbayes.app.evaluate import evaluate

    status = evaluate(
        options.directory,
        options.models,
        options.out,
        outcomes=options.outcomes,
        jobs=options.jobs,
        scheduler=options.scheduler,
        command=options.command_line,
        say=_say(options),
        watch=_watch(options),
    )
    _warn_of(options.out)
    return _exit(status, options)


@alone("options.out")
def tipping(options: argparse.Namespace) -> int:
    """Find tipping points with refits."""
    from lndbayes.app.prepare import prepared_spec
    from lndbayes.estimands.effects import pooled_effect
    from lndbayes.estimands.reported import prior_as_posterior
    from lndbayes.estimands.summaries import summarise
    from lndbayes.evidence.assumption import ASSUMPTION, label_assumption
    from lndbayes.evidence.tipping import require_question, tipping_table
    from lndbayes.files.writing import write_table
    from lndbayes.fitting.fit import fit_prepared, save_fit, stored_fit
    from lndbayes.fitting.prepared import prepare_outcome

    spec, data = prepared_spec(options.spec, options.data, out=options.out)
    _warn(data.disclosure)
    require_question(spec, data)
    out = Path(options.out)
    path, say = out / "fits" / f"{spec.outcome.name}.nc", _say(options)
    outcome = prepare_outcome(spec, data)
    main = stored_fit(path, outcome.key)
    if main is None:
        say(f"{spec.outcome.name}: main fit")
        main = fit_prepared(outcome)
        save_fit(main, path)
    table = tipping_table(spec, data, main, say=say)
    window = spec.effect.window
    after, before = (
        float(summarise(pooled_effect(tree, "link", window), mcse=False)["sd"].iloc[0])
        for tree in (main, prior_as_posterior(main))
    )
    table = table.assign(**{ASSUMPTION: label_assumption(sd_ratio=after / before)})
    write_table(table, out / "tipping.csv")
    say("\n".join(table["message"]))
    return OK


def placebo(options: argparse.Namespace) -> int:
    """Move go-lives earlier and show the effects that should be zero."""
    from lndbayes.app.placebo import placebo_run, placebo_words
    from lndbayes.app.prepare import prepared_spec

    spec, data = prepared_spec(
        options.spec, options.data, out=options.out, scheduler=options.scheduler
    )
    _warn(data.disclosure)
    result = placebo_run(
        spec,
        data,
        options.out,
        workers=options.jobs or 1,
        scheduler=options.scheduler,
        say=_say(options),
    )
    print("\n".join(placebo_words(result)))
    return OK


def calibrate(options: argparse.Namespace) -> int:
    """Calibrate a spec by simulation."""
    import os

    from lndbayes.app.prepare import prepared_calibration
    from lndbayes.validation.calibration import calibrate

    spec, data, costs = prepared_calibration(
        options.spec, options.data, options.costs, out=options.out, scheduler=options.scheduler
    )
    table = calibrate(
        spec,
        options.replicates,
        options.out,
        data=data,
        costs=costs,
        workers=options.jobs or os.cpu_count() or 1,
        scheduler=options.scheduler,
        say=_say(options),
    )
    print(table.round(3).to_string(index=False))
    outside = table.loc[~table["inside_band"], "quantity"].to_list()
    if outside:
        expected = 0.05 * len(table)
        say = f"outside their own 95% band, {expected:.1f} being expected: {', '.join(outside)}"
        print(say, file=sys.stderr)
    # the verdict is on the whole table: a calibrated model has some quantity outside its own band
    failed = table.loc[table["p_simultaneous"] < 0.05 / len(table), "quantity"].to_list()
    if failed:
        print(f"FAIL: ranks that are not uniform: {', '.join(failed)}", file=sys.stderr)
        return CHECK_FAILED
    return OK


def backtest(options: argparse.Namespace) -> int:
    """Hide known baselines and score their reconstruction."""
    from lndbayes.app.prepare import prepared_spec
    from lndbayes.checks.result import overall
    from lndbayes.validation.backtest.backtest import backtest

    spec, data = prepared_spec(
        options.spec, options.data, out=options.out, scheduler=options.scheduler, designed=False
    )
    _warn(data.disclosure)
    result = backtest(
        spec,
        data,
        options.out,
        folds=options.folds,
        each_channel=options.each_channel,
        workers=options.jobs or 1,
        scheduler=options.scheduler,
        say=_say(options),
    )
    whole = result.summary[result.summary["wave"] == "all"]
    columns = ["method", "channels", "cells", "coverage_50", "coverage_90", "crps", "bias"]
    shown = whole[[*columns, "site_coverage_90", "site_crps"]]
    print(shown.to_string(index=False, float_format="%.3g"))
    return _exit(overall(result.checks), options)


def report(options: argparse.Namespace) -> int:
    """Check stored fits and rewrite exports and report."""
    from lndbayes.app.exports import report_run

    status = report_run(options.run_directory, say=_say(options))
    _warn_of(options.run_directory)
    return _exit(status, options)


def savings(options: argparse.Namespace) -> int:
    """Price stored draws."""
    from lndbayes.app.exports import recompute_savings

    status = recompute_savings(options.run_directory, options.costs, say=_say(options))
    _warn_of(options.run_directory)
    return _exit(status, options)


def joint(options: argparse.Namespace) -> int:
    """Model several outcomes' site effects together."""
    from lndbayes.app.joint import joint_run

    problems = joint_run(
        options.run_directory, options.outcomes, factors=options.factors, say=_say(options)
    )
    _warn_of(options.run_directory)
    for problem in problems:
        print(f"FAIL: chains of the joint model: {problem}", file=sys.stderr)
    return CHECK_FAILED if problems else OK


def strata(options: argparse.Namespace) -> int:
    """Estimate effects by stratum of need."""
    from lndbayes.app.prepare import prepared_spec
    from lndbayes.app.strata import strata_run

    spec, data = prepared_spec(options.spec, options.data, out=options.out, designed=False)
    _warn(data.disclosure)
    status = strata_run(
        spec,
        data,
        options.out,
        referrals=options.referrals,
        jobs=options.jobs or 1,
        say=_say(options),
    )
    return _exit(status, options)


def attribution(options: argparse.Namespace) -> int:
    """Attribute each baseline to sources of evidence, with refits."""
    from lndbayes.app.attribution import attribute_evidence
    from lndbayes.app.prepare import prepared_spec

    spec, data = prepared_spec(
        options.spec, options.data, out=options.out, scheduler=options.scheduler
    )
    _warn(data.disclosure)
    found = attribute_evidence(
        spec,
        data,
        options.out,
        folds=options.folds,
        workers=options.jobs or 1,
        scheduler=options.scheduler,
        say=_say(options),
    )
    for row in found.verdicts.to_dict("records"):
        print(f"{row['site'] or 'pooled effect'}: {row['verdict']}")
    return OK


def _exit(status: Any, options: argparse.Namespace) -> int:
    failed = str(status.value) == "FAIL"
    if failed:
        print("a check says FAIL: the results are marked, see checks.csv", file=sys.stderr)
    else:
        _say(options)(f"checks: {status.value}")
    return CHECK_FAILED if failed else OK
