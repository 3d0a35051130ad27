"""Where ZooKeeper is, and which master leads by what is there; no client of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from allocator.errors import InvalidValue, shown

#: What the names of the masters' nodes begin with, as Mesos has it; a sequence number follows.
PREFIX: Final = "json.info_"

_URL: Final = re.compile(r"zk://(?:(?P<auth>[^@/]+:[^@/]+)@)?(?P<hosts>[^@/]+)(?P<path>/.*)?")
_NODE: Final = re.compile(re.escape(PREFIX) + r"(\d+)")


class Ensemble(NamedTuple):
    """ZooKeeper's servers, and the path of the masters' nodes there."""

    #: `host:port,host:port,…`
    hosts: str
    path: str
    #: `user:password`, or None.
    auth: str | None = None

    @classmethod
    def read(cls, url: str) -> Ensemble:
        """Return what a URL says.

        Raises
        ------
        InvalidValue
            It is not `zk://host:port,…/path`.

        Examples
        --------
        >>> Ensemble.read("zk://a:2181,b:2181/allocator")
        Ensemble(hosts='a:2181,b:2181', path='/allocator', auth=None)
        """
        match = _URL.fullmatch(url)
        if match is None:
            raise InvalidValue(f"{shown(_public(url))} is not zk://host:port,…/path")
        path = (match["path"] or "").rstrip("/")
        if not path or "//" in path:
            raise InvalidValue(f"{shown(_public(url))} has no path of its own, such as /allocator")
        for host in match["hosts"].split(","):
            name, _, port = host.rpartition(":")
            if not name or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
                raise InvalidValue(f"{shown(host)} is not host:port")
        return cls(match["hosts"], path, match["auth"])


def _public(url: str) -> str:
    """Return a URL without what proves who uses it."""
    head, at, rest = url.rpartition("@")
    return f"zk://…@{rest}" if at else head + rest


def lowest(nodes: Iterable[str]) -> str | None:
    """Return the node of the master that leads, None if there is none. O(nodes).

    Examples
    --------
    >>> lowest(["json.info_0000000012", "json.info_0000000007", "log_replicas"])
    'json.info_0000000007'
    """
    numbered = [(int(match[1]), match[0]) for node in nodes if (match := _NODE.fullmatch(node))]
    return min(numbered)[1] if numbered else None


def read_info(data: bytes) -> dict[str, Any] | None:
    """Return the MasterInfo in a node; None if it has none with a hostname and a port."""
    try:
        info = json.loads(data)
    except ValueError:
        return None
    if not isinstance(info, dict):
        return None
    is_whole = isinstance(info.get("hostname"), str) and isinstance(info.get("port"), int)
    return info if is_whole else None
