"""The files of the page at `/ui`, and how browsers are to treat them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

#: Path → file and media type.
_FILES: Final = {
    "/ui": ("index.html", "text/html; charset=utf-8"),
    "/ui/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/ui/parts.js": ("parts.js", "text/javascript; charset=utf-8"),
    "/ui/style.css": ("style.css", "text/css; charset=utf-8"),
    "/ui/icon.svg": ("icon.svg", "image/svg+xml"),
}

#: Nothing comes from elsewhere, nothing goes elsewhere, and nobody puts the page into theirs.
_SAFE: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Asset(NamedTuple):
    """A file and the headers that it is sent with."""

    body: bytes
    headers: Mapping[str, str]


@cache
def assets() -> Mapping[str, Asset]:
    """Return all files by path; they are read once."""
    folder = resources.files("allocator.master").joinpath("ui")
    found = {}
    for path, (name, kind) in _FILES.items():
        body = folder.joinpath(name).read_bytes()
        headers = {
            "Content-Type": kind,
            "ETag": f'"{hashlib.sha256(body).hexdigest()[:16]}"',
            # Kept, and asked for whether it is still the same: a new release shows at once.
            "Cache-Control": "no-cache",
            **_SAFE,
        }
        found[path] = Asset(body, headers)
    return found
