"""What a trace reader refuses, and where it stands."""

from allocator.errors import AllocatorError


class TraceError(AllocatorError, ValueError):
    """A trace or machines file that cannot be read.

    Parameters
    ----------
    path : str
        The file, as the caller named it.
    line : int or None
        The line, counted from 1; None where no single line is at fault.
    what : str
        What is wrong, on one line.

    Examples
    --------
    >>> str(TraceError("jobs.swf", 3, "2 fields instead of 18"))
    'jobs.swf:3: 2 fields instead of 18'
    """

    def __init__(self, path: str, line: int | None, what: str) -> None:
        self.path = path
        self.line = line
        self.what = what
        super().__init__(f"{path}: {what}" if line is None else f"{path}:{line}: {what}")
