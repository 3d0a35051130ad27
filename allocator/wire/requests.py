"""How requests are written and read, by master and agent alike."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from allocator.wire.refusal import UNAUTHORIZED, CallRefused

#: The most that the head and the body of a request may have, in bytes.
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 8 * 2**20

#: What `?jsonp=` may name.
JSONP_NAME: Final = re.compile(r"[A-Za-z_$][\w$.]*", re.ASCII)


def canonical(path: str, prefixes: Iterable[str]) -> str:
    """Return what a path stands for, without a prefix, `.json` and a trailing slash.

    Examples
    --------
    >>> [canonical(p, ["/master"]) for p in ("/master/state.json", "/state/", "/master", "/")]
    ['/state', '/state', '/', '/']
    """
    for prefix in prefixes:
        if path == prefix or path.startswith(prefix + "/"):
            path = path.removeprefix(prefix)
    return path.rstrip("/").removesuffix(".json") or "/"


def authority(host: str, port: int) -> str:
    """Return host and port as a URL has them.

    Examples
    --------
    >>> authority("::1", 5050)
    '[::1]:5050'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unproven() -> CallRefused:
    """Return the refusal of a request that claims nothing, or what it does not prove."""
    return CallRefused(UNAUTHORIZED, "the request does not prove who sends it")
