"""A progress bar on standard error, where there is a person to see it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def track(
    items: Iterable[T], label: str, *, total: int | None = None, done: int = 0
) -> Iterator[T]:
    """Go through items, with a bar and the time left if standard error is a terminal.

    Parameters
    ----------
    items : iterable
    label : str
    total : int, optional
        How many steps there are in all; the length of `items` if not given.
    done : int
        How many were done before.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if total is None:
        items = list(items)
        total = len(items)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, completed=done)
        for item in items:
            yield item
            bar.advance(task)
