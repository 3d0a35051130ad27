"""How all subcommands print: tables to stdout, progress to stderr if somebody watches.

The only module that needs rich; subcommands import it when they run, so that `--help` works
without.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

#: Columns of output that is not a terminal: so many that no table is cut or wrapped, and the same
#: everywhere.
PIPED_WIDTH = 1000


def stdout_console() -> Console:
    """Return where results go: of the terminal's width, or wide and plain where there is none."""
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, soft_wrap=True)


def print_line(text: str = "") -> None:
    """Print one line of plain text to stdout."""
    stdout_console().print(text, markup=False)


def print_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1
) -> None:
    """Print a table to stdout.

    Parameters
    ----------
    title : str
        Printed above it.
    header : sequence of str
        The name of each column.
    rows : sequence of sequences of str
        The cells; plain text.
    left : int
        So many columns are aligned to the left, the others, as numbers, to the right.
    """
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    stdout_console().print(table, markup=False)


@contextmanager
def progress_bar(
    what: str, total: float = 1.0, *, shown: bool = True
) -> Iterator[Callable[..., None]]:
    """Show progress on stderr while the body runs, if stderr is a terminal.

    Parameters
    ----------
    what : str
        What makes progress.
    total : float
        How much there is to do.
    shown : bool
        False never shows it.

    Yields
    ------
    callable
        `advance(by=1.0)`, to be called when so much more has been done.
    """
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    bar = Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    )
    with bar:
        task = bar.add_task(what, total=total)

        def advance(by: float = 1.0) -> None:
            bar.advance(task, by)

        yield advance
