"""Where the master is that leads: at a URL, or where ZooKeeper says."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final, Protocol

from allocator.errors import InvalidValue, shown
from allocator.wire.client import Address, ConnectionFailed
from allocator.wire.zookeeper import Ensemble, lowest

_SCHEME: Final = "zk://"
#: How long ZooKeeper may take to answer, in seconds.
_TIMEOUT_SECONDS: Final = 5.0


class Discovery(Protocol):
    """Finds the master."""

    async def find(self) -> Address:
        """Return where a master is; raises `ConnectionFailed` if nobody knows."""

    def close(self) -> None:
        """Ask nobody any more."""


def discovery(text: str) -> Discovery:
    """Return what finds the master that `--master` names; raises `InvalidValue`."""
    try:
        if text.startswith(_SCHEME):
            return Elected(Ensemble.read(text))
        return Fixed(Address.read(text))
    except InvalidValue as error:
        raise InvalidValue(f"--master {error}") from None


class Fixed:
    """A master at a URL; one that does not lead sends us on."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def find(self) -> Address:
        """Return the address."""
        return self._address

    def close(self) -> None:
        """Nothing is open."""


class Elected:
    """The master that leads, by the nodes that masters keep below a path in ZooKeeper.

    Parameters
    ----------
    ensemble : Ensemble
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self._auth = None if ensemble.auth is None else [("digest", ensemble.auth)]
        self._hosts = ensemble.hosts
        self._path = ensemble.path
        self._client: Any = None

    async def find(self) -> Address:
        """Ask ZooKeeper."""
        return await asyncio.get_running_loop().run_in_executor(None, self._find)

    def _find(self) -> Address:
        from kazoo.client import KazooClient  # some megabytes, which few agents need
        from kazoo.exceptions import KazooException, NoNodeError
        from kazoo.handlers.threading import KazooTimeoutError

        try:
            if self._client is None:
                client = KazooClient(self._hosts, auth_data=self._auth, timeout=_TIMEOUT_SECONDS)
                self._client = client
                client.start(_TIMEOUT_SECONDS)
            asked = self._client.get_children_async(self._path)
            node = lowest(asked.get(timeout=_TIMEOUT_SECONDS))
            if node is None:
                raise ConnectionFailed(f"no master leads at {self._path}")
            asked = self._client.get_async(f"{self._path}/{node}")
            return address_of(asked.get(timeout=_TIMEOUT_SECONDS)[0])
        except NoNodeError:
            raise ConnectionFailed(f"no master leads at {self._path}") from None
        except (KazooException, KazooTimeoutError, OSError) as error:
            self.close()
            raise ConnectionFailed(f"ZooKeeper at {self._hosts}: {error!r}") from None

    def close(self) -> None:
        """Leave the ensemble."""
        if self._client is not None:
            self._client.stop()
            self._client.close()
            self._client = None


def address_of(content: bytes) -> Address:
    """Return where the master is whose MasterInfo this is; raises `ConnectionFailed`.

    Examples
    --------
    >>> address_of(b'{"address":{"hostname":"m","ip":"10.0.0.1","port":5050}}')
    Address(scheme='http', host='10.0.0.1', port=5050)
    """
    try:
        info = json.loads(content)
        address = info["address"]
        return Address(info.get("scheme", "http"), str(address["ip"]), int(address["port"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConnectionFailed(f"{shown(content)} tells no master's address") from None
