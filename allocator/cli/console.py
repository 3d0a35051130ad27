"""How all subcommands print: tables to stdout, progress to stderr if somebody watches.

The only module that needs rich; subcommands import it when they run, so that `--help` works
without.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

#: Wider than any table, so that none is cut or wrapped, on a terminal or in a pipe, and the output
#: is the same everywhere.
WIDTH = 1000


def print_line(text: str = "") -> None:
    """Print one line of plain text to stdout, control characters in it as escapes."""
    _stdout().print("\n".join(map(_harmless, text.split("\n"))))


def print_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1
) -> None:
    """Print a table to stdout, with an empty line before it.

    Parameters
    ----------
    title : str
        Printed above it.
    header : sequence of str
        The name of each column.
    rows : sequence of sequences of str
        The cells; plain text, of which control characters are printed as escapes.
    left : int
        So many columns are aligned to the left, the others, as numbers, to the right.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(_harmless, row))
    console = _stdout()
    console.print()
    console.print(title, style="bold")
    console.print(table)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _harmless(text: str) -> str:
    """Return a text that moves no cursor and changes no colour: names are somebody else's."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command, which ends with a status of its own."""
        raise BrokenPipeError


def _stdout() -> Console:
    return _Console(
        file=sys.stdout, width=WIDTH, highlight=False, soft_wrap=True, markup=False, emoji=False
    )


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
        `advance(by=1.0, said="")`, to be called when so much more has been done; `said` is shown
        beside the time that is left.
    """
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    bar = Progress(
        *columns,
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    )
    with bar:
        task = bar.add_task(what, total=total, said="")

        def advance(by: float = 1.0, said: str = "") -> None:
            bar.update(task, advance=by, said=said)

        yield advance
