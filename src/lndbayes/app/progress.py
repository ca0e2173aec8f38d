"""A progress bar for one fit, on a terminal."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["chain_progress"]


def chain_progress(label: str) -> Callable[[Any], None]:
    """Make a receiver of chain progress that draws one bar over all chains.

    Parameters
    ----------
    label : str
        What is being fitted.

    Returns
    -------
    callable
        Takes nutpie's list of chain progress; stops the bar when all draws are done.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} draws, {task.fields[bad]} divergent"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task(label, total=1, bad=0)
    bar.start()
    # an interrupted fit never reaches its end, and a bar that is left running hides the cursor
    atexit.register(bar.stop)

    def receive(chains: Any) -> None:
        total = sum(c.total_draws for c in chains)
        finished = sum(c.finished_draws for c in chains)
        bad = sum(c.divergences for c in chains)
        bar.update(task, total=total, completed=finished, bad=bad)
        if finished >= total:
            bar.stop()

    return receive
