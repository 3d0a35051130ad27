"""What is wrong with a dump, in one line with file and place."""

from __future__ import annotations

from allocator.errors import InvalidValue, cut


class DumpError(InvalidValue):
    """A dump that cannot be imported.

    Parameters
    ----------
    file : str
    place : str
        Where in the file: a line, an item, an object; empty for the file as a whole.
    what : str
    """

    def __init__(self, file: str, place: str, what: object) -> None:
        self.file, self.place, self.what = file, place, " ".join(cut(what).split())
        parts = (part for part in (file, place, self.what) if part)
        super().__init__(": ".join(parts))
