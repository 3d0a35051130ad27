"""Several masters of which one leads, by ZooKeeper: the only module that knows kazoo.

Each master that is up has an ephemeral sequential node with its MasterInfo; the lowest leads. Nodes
go with the sessions that made them, so the next one leads when a master has been silent for the
session timeout, or at once when it leaves.

Z1. A master that has led and is not connected to ZooKeeper does not lead: another may, soon.
Z2. Whoever leads holds the registry's lock, so that a master that leads no more but has not noticed
    (it slept, say) writes nothing that the next one does not read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.security import CREATOR_ALL_ACL, READ_ACL_UNSAFE

from allocator.wire.zookeeper import PREFIX, Ensemble, lowest, read_info

T = TypeVar("T")
Json = dict[str, Any]

#: How long until something that ZooKeeper did not do is tried again, in seconds.
_RETRY_SECONDS: Final = 0.5


class _Found(NamedTuple):
    """What was found in ZooKeeper: who leads, None if nobody does, and whether it is us."""

    leader: Json | None
    is_own: bool


class Election:
    """A master's part in finding out who leads.

    All methods belong to the event loop's thread.

    Parameters
    ----------
    ensemble : Ensemble
    info : dict
        The master's MasterInfo; its `id` is no other master's.
    session_timeout : float
        Seconds of silence after which ZooKeeper takes a master for dead.
    """

    def __init__(self, ensemble: Ensemble, info: Json, session_timeout: float = 10.0) -> None:
        self._path = ensemble.path
        self._info = info
        secured = {
            "auth_data": [("digest", ensemble.auth)],
            "default_acl": [*CREATOR_ALL_ACL, READ_ACL_UNSAFE],
        }
        self._client = KazooClient(
            hosts=ensemble.hosts,
            timeout=session_timeout,
            connection_retry={"max_tries": -1, "delay": 0.1, "backoff": 2, "max_delay": 1.0},
            **(secured if ensemble.auth else {}),
        )
        #: MasterInfo of the master that leads, as it was last known; None if none does.
        self.leader: Json | None = None
        self._node: str | None = None
        self._is_connected = False
        self._changed = asyncio.Event()
        self._won = asyncio.Event()
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Take part from now on; whether ZooKeeper can be reached does not matter yet."""
        loop = asyncio.get_running_loop()
        self._client.add_listener(
            lambda state: loop.call_soon_threadsafe(self._connection_changed, state)
        )
        self._tell = lambda _event: loop.call_soon_threadsafe(self._changed.set)
        self._client.start_async()
        self._task = asyncio.create_task(self._follow(), name="election")

    async def won(self) -> None:
        """Return when this master leads."""
        await self._won.wait()

    async def lost(self) -> None:
        """Return when this master has led and does no more; it cannot again."""
        await self._lost.wait()

    async def stop(self) -> None:
        """Leave, so that another may lead at once."""
        if self._task is not None:
            self._task.cancel()
        await self._in_thread(self._client.stop)
        await self._in_thread(self._client.close)

    async def _in_thread(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(None, act)

    def _connection_changed(self, state: str) -> None:
        self._is_connected = state == KazooState.CONNECTED
        if not self._is_connected and self._won.is_set():
            self._lost.set()  # Z1
        if state == KazooState.LOST:
            self.leader = self._node = None
        self._changed.set()

    async def _follow(self) -> None:
        """Look who leads, whenever something changed."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not self._is_connected:
                continue
            try:
                self._note(await self._in_thread(self._look))
            except (KazooException, KazooTimeoutError):
                # The connection is lost, or a node went while we looked.
                await asyncio.sleep(_RETRY_SECONDS)
                self._changed.set()

    def _note(self, found: _Found) -> None:
        if not self._is_connected:
            return  # meanwhile: it counts no more (Z1)
        self.leader = found.leader
        if found.is_own:
            self._won.set()
        elif self._won.is_set():
            self._lost.set()  # somebody took our node out

    # In a thread.

    def _look(self) -> _Found:
        """Return who leads now, and have the next change be told."""
        self._client.ensure_path(self._path)
        nodes = self._client.get_children(self._path, watch=self._tell)
        if self._node not in nodes:
            self._node = self._find(nodes) or self._enter()
            nodes = self._client.get_children(self._path, watch=self._tell)
        first = lowest(nodes)
        if first is None:
            return _Found(None, False)
        data, _ = self._client.get(f"{self._path}/{first}")
        return _Found(read_info(data), first == self._node)

    def _enter(self) -> str:
        path = self._client.create(
            f"{self._path}/{PREFIX}",
            json.dumps(self._info).encode(),
            ephemeral=True,
            sequence=True,
        )
        return str(path).rpartition("/")[2]

    def _find(self, nodes: list[str]) -> str | None:
        """Return our node, if it was made though the connection broke before we were told."""
        for node in nodes:
            try:
                data, stat = self._client.get(f"{self._path}/{node}")
            except NoNodeError:
                continue
            info = read_info(data)
            is_of_session = stat.ephemeralOwner == self._client.client_id[0]
            if info is not None and info.get("id") == self._info["id"] and is_of_session:
                return node
        return None
