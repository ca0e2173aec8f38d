"""The command line: thin, messages to stderr, results to files, exit codes as documented."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lndbayes.app import commands
from lndbayes.app.endings import ended

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; default those of the process.

    Returns
    -------
    int
        0 all good, 1 a check says FAIL, 2 bad input, spec or usage, 70 an unexpected error (in a
        log), 130 interrupted (also by SIGTERM), 141 the output was no longer read.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parsed: list[argparse.Namespace] = []

    def parse() -> int:
        try:
            parsed.append(_parser().parse_args(arguments))
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    status = ended(parse, None, arguments)
    if not parsed:
        return status
    (options,) = parsed
    # joblib replaces a worker that has grown, between two tasks: nothing is lost, nothing to do
    warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
    options.command_line = " ".join(["lndbayes", *arguments])
    run = getattr(options, "run_directory", None) or getattr(options, "out", None)
    return ended(lambda: int(options.run(options)), run and Path(run), arguments)


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


def _amounts(text: str) -> dict[str, float]:
    """Read ``none=120,one=80``."""
    pairs = [part.rpartition("=") for part in text.split(",")]
    try:
        amounts = {name.strip(): float(value) for name, _, value in pairs if name.strip()}
    except ValueError:
        amounts = {}
    if len(amounts) < len(pairs) or not all(0 < value < float("inf") for value in amounts.values()):
        rule = "must be numbers above 0 by name, such as none=120,one=80,several=60"
        raise argparse.ArgumentTypeError(f"{text!r} {rule}")
    return amounts


class _Parser(argparse.ArgumentParser):
    """Argparse itself drops what it meets when it prints: a help text on a full disk ended well."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            print(message, end="", file=file or sys.stderr)


class _Version(argparse.Action):
    """Print the version, which is looked up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"lndbayes {version('lndbayes')}")
        parser.exit()


#: Adds a command by name, what it runs, what it says of itself, and other names it goes by.
_Add = Callable[..., Any]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lndbayes", description="Bayesian evaluation of services without a gathered baseline."
    )
    parser.add_argument("--version", action=_Version)
    choices = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, run: Callable[[argparse.Namespace], int], text: str, aliases: Sequence[str] = ()
    ) -> Any:
        command = choices.add_parser(name, help=text, description=text, aliases=aliases)
        command.add_argument("--quiet", action="store_true", help="no progress messages")
        command.set_defaults(run=run)
        return command

    for group in (_data_commands, _spec_commands, _run_commands):
        group(add)
    return parser


def _data_commands(add: _Add) -> None:
    """Commands that make or read data."""
    one = add("simulate", commands.simulate, "write a synthetic evaluation with its truth")
    one.add_argument("out", metavar="OUT")
    one.add_argument("--seed", type=_seed, required=True)
    one.add_argument("--world", choices=("effect", "null", "harm"), default="effect")
    one.add_argument("--sites", type=_positive, default=27)
    one.add_argument("--extracts", action="store_true", help="also person-level extracts")
    one.add_argument("--persons-scale", type=float, metavar="X", help="size of the extracts")
    one = add("assemble", commands.assemble, "person-level extracts to an evaluation directory")
    one.add_argument("extracts", metavar="EXTRACTS")
    one.add_argument("--out", required=True, metavar="DIR")
    one.add_argument("--strata", action="store_true", help="split cells by number of needs")
    one.add_argument("--memory", default="1GB", metavar="SIZE", help="most memory for tables")
    one.add_argument("--threads", type=_positive, metavar="N", help="threads of the work")
    one = add("validate", commands.validate, "read and check an evaluation directory, fit nothing")
    one.add_argument("directory", metavar="DIR")
    one.add_argument("--models", metavar="M", help="folder of specs to check against the data")


def _spec_commands(add: _Add) -> None:
    """Commands on specs, most of which take data too."""
    one = add("specs", commands.specs, "shipped specs by name; what is in force in one of them")
    one.add_argument("--show", metavar="SPEC", help="every value of a spec and where it stands")
    one = add("priors", commands.priors, "prior table and prior predictive summary of a spec")
    one.add_argument("spec", metavar="SPEC")
    one.add_argument("--data", required=True, metavar="DIR")
    one = add("fit", commands.fit, "fit and check one outcome")
    one.add_argument("spec", metavar="SPEC")
    one.add_argument("--data", required=True, metavar="DIR")
    one.add_argument("--out", required=True, metavar="RUN")
    one.add_argument("--jobs", type=_positive, metavar="N", help="chains at the same time")
    one = add("evaluate", commands.evaluate, "all outcomes: fits, checks, effects, savings, report")
    one.add_argument("directory", metavar="DIR")
    one.add_argument("--models", required=True, metavar="M")
    one.add_argument("--out", required=True, metavar="RUN")
    one.add_argument("--outcomes", type=_names, metavar="a,b", help="only these outcomes")
    one.add_argument("--jobs", type=_positive, metavar="N", help="fits at the same time")
    one.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler that runs the fits")
    one = add("calibrate", commands.calibrate, "simulation-based calibration of a spec; resumable")
    one.add_argument("spec", metavar="SPEC")
    one.add_argument("--replicates", type=_positive, required=True, metavar="N")
    one.add_argument("--out", required=True, metavar="RUN")
    one.add_argument("--data", metavar="DIR", help="draw counts on this evaluation's layout")
    one.add_argument("--costs", metavar="FILE", help="rank the total saving too")
    one.add_argument("--jobs", type=_positive, metavar="N", help="replicates at the same time")
    one.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler that runs them")
    one = add("backtest", commands.backtest, "hide known baselines and score their reconstruction")
    one.add_argument("spec", metavar="SPEC")
    one.add_argument("--data", required=True, metavar="DIR")
    one.add_argument("--out", required=True, metavar="RUN")
    one.add_argument("--folds", type=_positive, metavar="K", help="default: of about 3 sites")
    one.add_argument("--each-channel", action="store_true", help="also leave out each channel")
    one.add_argument("--jobs", type=_positive, metavar="N", help="refits at the same time")
    one.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler that runs the refits")
    text = "what each source of evidence contributes to each baseline, with refits; resumable"
    one = add("attribution", commands.attribution, text, aliases=("ledger",))
    one.add_argument("spec", metavar="SPEC")
    one.add_argument("--data", required=True, metavar="DIR")
    one.add_argument("--out", required=True, metavar="RUN")
    one.add_argument(
        "--folds", type=_positive, metavar="K", help="default 3, or one a site of fewer"
    )
    one.add_argument("--jobs", type=_positive, metavar="N", help="refits at the same time")
    one.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler that runs the refits")
    text = "go-lives moved earlier, where nothing happened: effects that should be zero; resumable"
    one = add("placebo", commands.placebo, text)
    one.add_argument("spec", metavar="SPEC")
    one.add_argument("--data", required=True, metavar="DIR")
    one.add_argument("--out", required=True, metavar="RUN")
    one.add_argument("--jobs", type=_positive, metavar="N", help="chains at the same time")
    one.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler that runs the refit")
    one = add("tipping", commands.tipping, "how wrong the evidence would have to be, with refits")
    one.add_argument("spec", metavar="SPEC")
    one.add_argument("--data", required=True, metavar="DIR")
    one.add_argument("--out", required=True, metavar="RUN")


def _run_commands(add: _Add) -> None:
    """Commands on a run directory."""
    one = add("check", commands.report, "check stored fits again, mark the exports anew")
    one.add_argument("run_directory", metavar="RUN")
    one = add("savings", commands.savings, "price stored draws with a costs file, fit nothing")
    one.add_argument("run_directory", metavar="RUN")
    one.add_argument("--costs", required=True, metavar="FILE")
    one = add("joint", commands.joint, "site effects of several outcomes together")
    one.add_argument("run_directory", metavar="RUN")
    one.add_argument("--outcomes", type=_names, metavar="a,b", help="only these outcomes")
    one.add_argument("--factors", type=_positive, default=1, help="factors the outcomes share")
    one = add("strata", commands.strata, "effects by stratum of need, partially pooled; resumable")
    one.add_argument("spec", metavar="SPEC")
    one.add_argument("--data", required=True, metavar="DIR")
    one.add_argument("--out", required=True, metavar="RUN")
    one.add_argument("--jobs", type=_positive, metavar="N", help="strata at the same time")
    one.add_argument(
        "--referrals", type=_amounts, metavar="a=1,b=2", help="weights beside exposure"
    )
    one = add("report", commands.report, "rewrite report and exports from stored draws")
    one.add_argument("run_directory", metavar="RUN")


if __name__ == "__main__":
    sys.exit(main())
