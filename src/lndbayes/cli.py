"""The command line: thin, messages to stderr, results to files, exit codes as documented."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lndbayes.errors import LndbayesError, UsageError

__all__ = ["main"]

OK, CHECK_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

Say = Callable[[str], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; default those of the process.

    Returns
    -------
    int
        0 all good, 1 a check says FAIL, 2 bad input, spec or usage, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    options.command_line = " ".join(["lndbayes", *arguments])
    try:
        return int(options.run(options))
    except LndbayesError as error:
        print(_message(error), file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted: finished fits are kept; the same command continues", file=sys.stderr)
        return INTERRUPTED


_SHOWN = 50


def _message(error: LndbayesError) -> str:
    """All problems, the first lines of a very long list, and how many there are."""
    if not error.problems:
        return f"lndbayes: {error}"
    count = len(error.problems)
    lines = [f"lndbayes: {count} problem{'s' if count > 1 else ''}"]
    lines += [f"  {problem}" for problem in error.problems[:_SHOWN]]
    if count > _SHOWN:
        lines.append(f"  and {count - _SHOWN} more")
    return "\n".join(lines)


def _say(options: argparse.Namespace) -> Say:
    if options.quiet:
        return lambda message: None
    return lambda message: print(message, file=sys.stderr, flush=True)


def _watch(options: argparse.Namespace) -> Any:
    if options.quiet or not sys.stderr.isatty():
        return None
    from lndbayes.progress import chain_progress

    return chain_progress


def _simulate(options: argparse.Namespace) -> int:
    from lndbayes.simulate import simulate, write_evaluation

    if options.persons_scale is not None and not options.extracts:
        raise UsageError("--persons-scale is the size of the extracts: give --extracts too")
    simulated = simulate(options.seed, options.world, options.sites)
    if options.extracts:
        from lndbayes.simulate.extracts import DEFAULT_SCALE, simulate_extracts
        from lndbayes.simulate.extracts.beside import write_both

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


def _assemble(options: argparse.Namespace) -> int:
    from lndbayes.assemble import assemble

    assemble(
        options.extracts,
        options.out,
        strata=options.strata,
        memory=options.memory,
        threads=options.threads,
        say=_say(options),
    )
    return OK


def _validate(options: argparse.Namespace) -> int:
    from lndbayes.data.describe import describe
    from lndbayes.data.evaluation import read_evaluation
    from lndbayes.evaluate import check_models

    data = read_evaluation(options.directory)
    if options.models:
        check_models(options.models, data)
    print(describe(data))
    return OK


def _priors(options: argparse.Namespace) -> int:
    from lndbayes.data.evaluation import read_evaluation
    from lndbayes.prior_report import prior_report
    from lndbayes.spec import load_spec

    print(prior_report(load_spec(options.spec), read_evaluation(options.data)))
    return OK


def _fit(options: argparse.Namespace) -> int:
    from lndbayes.data.evaluation import read_evaluation
    from lndbayes.evaluate import fit_outcome
    from lndbayes.spec import load_spec

    spec, data = load_spec(options.spec), read_evaluation(options.data)
    failed = fit_outcome(
        spec, data, Path(options.out), jobs=options.jobs, say=_say(options), watch=_watch(options)
    )
    return CHECK_FAILED if failed else OK


def _evaluate(options: argparse.Namespace) -> int:
    from lndbayes.evaluate import evaluate

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
    return _exit(status, options)


def _calibrate(options: argparse.Namespace) -> int:
    import os

    from lndbayes.checks.calibration import calibrate
    from lndbayes.costs import load_costs
    from lndbayes.spec import load_spec

    spec = load_spec(options.spec)
    costs = load_costs(options.costs) if options.costs else None
    table = calibrate(
        spec,
        options.replicates,
        options.out,
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


def _backtest(options: argparse.Namespace) -> int:
    from lndbayes.backtest import backtest
    from lndbayes.checks.result import overall
    from lndbayes.data.evaluation import read_evaluation
    from lndbayes.spec import load_spec

    result = backtest(
        load_spec(options.spec),
        read_evaluation(options.data),
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


def _ledger(options: argparse.Namespace) -> int:
    from lndbayes.data.evaluation import read_evaluation
    from lndbayes.ledger import ledger
    from lndbayes.spec import load_spec

    found = ledger(
        load_spec(options.spec),
        read_evaluation(options.data),
        options.out,
        folds=options.folds,
        workers=options.jobs or 1,
        scheduler=options.scheduler,
        say=_say(options),
    )
    for row in found.verdicts.to_dict("records"):
        print(f"{row['site'] or 'pooled effect'}: {row['verdict']}")
    return OK


def _report(options: argparse.Namespace) -> int:
    from lndbayes.exports import report_run

    return _exit(report_run(options.run_directory, say=_say(options)), options)


def _savings(options: argparse.Namespace) -> int:
    from lndbayes.exports import recompute_savings

    status = recompute_savings(options.run_directory, options.costs, say=_say(options))
    return _exit(status, options)


def _joint(options: argparse.Namespace) -> int:
    from lndbayes.joint_run import joint_run

    problems = joint_run(
        options.run_directory, options.outcomes, factors=options.factors, say=_say(options)
    )
    for problem in problems:
        print(f"FAIL: chains of the joint model: {problem}", file=sys.stderr)
    return CHECK_FAILED if problems else OK


def _exit(status: Any, options: argparse.Namespace) -> int:
    failed = str(status.value) == "FAIL"
    if failed:
        print("a check says FAIL: the results are marked, see checks.csv", file=sys.stderr)
    else:
        _say(options)(f"checks: {status.value}")
    return CHECK_FAILED if failed else OK


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return value


def _seed(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 0")
    return value


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} must name at least one outcome")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lndbayes", description="Bayesian evaluation of services without a gathered baseline."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> Any:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--quiet", action="store_true", help="no progress messages")
        command.set_defaults(run=run)
        return command

    one = add("simulate", _simulate, "write a synthetic evaluation directory with its truth")
    one.add_argument("out", metavar="OUT")
    one.add_argument("--seed", type=_seed, required=True)
    one.add_argument("--world", choices=("effect", "null", "harm"), default="effect")
    one.add_argument("--sites", type=_positive, default=27)
    one.add_argument("--extracts", action="store_true", help="also person-level extracts")
    one.add_argument("--persons-scale", type=float, metavar="X", help="size of the extracts")
    one = add("assemble", _assemble, "person-level extracts to an evaluation directory")
    one.add_argument("extracts", metavar="EXTRACTS")
    one.add_argument("--out", required=True, metavar="DIR")
    one.add_argument("--strata", action="store_true", help="split cells by number of needs")
    one.add_argument("--memory", default="1GB", metavar="SIZE", help="most memory for tables")
    one.add_argument("--threads", type=_positive, metavar="N", help="threads of the work")
    one = add("validate", _validate, "read and check an evaluation directory, fit nothing")
    one.add_argument("directory", metavar="DIR")
    one.add_argument("--models", metavar="M", help="folder of specs to check against the data")
    one = add("priors", _priors, "prior table and prior predictive summary of a spec")
    one.add_argument("spec", metavar="SPEC")
    one.add_argument("--data", required=True, metavar="DIR")
    one = add("fit", _fit, "fit and check one outcome")
    one.add_argument("spec", metavar="SPEC")
    one.add_argument("--data", required=True, metavar="DIR")
    one.add_argument("--out", required=True, metavar="RUN")
    one.add_argument("--jobs", type=_positive, metavar="N", help="chains at the same time")
    one = add("evaluate", _evaluate, "all outcomes: fits, checks, effects, savings, report")
    one.add_argument("directory", metavar="DIR")
    one.add_argument("--models", required=True, metavar="M")
    one.add_argument("--out", required=True, metavar="RUN")
    one.add_argument("--outcomes", type=_names, metavar="a,b", help="only these outcomes")
    one.add_argument("--jobs", type=_positive, metavar="N", help="fits at the same time")
    one.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler that runs the fits")
    one = add("calibrate", _calibrate, "simulation-based calibration of a spec; resumable")
    one.add_argument("spec", metavar="SPEC")
    one.add_argument("--replicates", type=_positive, required=True, metavar="N")
    one.add_argument("--out", required=True, metavar="RUN")
    one.add_argument("--costs", metavar="FILE", help="rank the total saving too")
    one.add_argument("--jobs", type=_positive, metavar="N", help="replicates at the same time")
    one.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler that runs them")
    one = add("backtest", _backtest, "hide known baselines, reconstruct and score them; resumable")
    one.add_argument("spec", metavar="SPEC")
    one.add_argument("--data", required=True, metavar="DIR")
    one.add_argument("--out", required=True, metavar="RUN")
    one.add_argument("--folds", type=_positive, metavar="K", help="default: of about 3 sites")
    one.add_argument("--each-channel", action="store_true", help="also leave out each channel")
    one.add_argument("--jobs", type=_positive, metavar="N", help="refits at the same time")
    one.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler that runs the refits")
    one = add("ledger", _ledger, "what each baseline rests on, by refits; resumable")
    one.add_argument("spec", metavar="SPEC")
    one.add_argument("--data", required=True, metavar="DIR")
    one.add_argument("--out", required=True, metavar="RUN")
    one.add_argument("--folds", type=_positive, default=3, metavar="K", help="default 3")
    one.add_argument("--jobs", type=_positive, metavar="N", help="refits at the same time")
    one.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler that runs the refits")
    one = add("check", _report, "run the check battery on stored fits, mark the exports anew")
    one.add_argument("run_directory", metavar="RUN")
    one = add("savings", _savings, "price stored draws with a costs file, fit nothing")
    one.add_argument("run_directory", metavar="RUN")
    one.add_argument("--costs", required=True, metavar="FILE")
    one = add("joint", _joint, "site effects of several outcomes together, from stored fits")
    one.add_argument("run_directory", metavar="RUN")
    one.add_argument("--outcomes", type=_names, metavar="a,b", help="only these outcomes")
    one.add_argument("--factors", type=_positive, default=1, help="factors the outcomes share")
    one = add("report", _report, "rewrite report and exports from stored draws")
    one.add_argument("run_directory", metavar="RUN")
    return parser


if __name__ == "__main__":
    sys.exit(main())
