"""What is asked for by GET, and how each is answered but once.

X4. A change that was made before a request came is in the answer to it.
X5. Requests that wait for the same thing get the same bytes: those of the first rendering that
    began after they came, or of the last one if nothing changed since.
X6. Nothing holds the event loop for longer than `TURN_SECONDS` and what one step takes: texts are
    written a little at a time, joined and compressed by threads, which hold no lock meanwhile.
X7. With gzip, a text that stands is compressed once, whatever changes around it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

from allocator.master import metrics
from allocator.master._writer import json_text
from allocator.master.compressing import Gzip
from allocator.master.endpoints import ENDPOINTS, TURN_SECONDS, Endpoint, View
from allocator.master.master import Master
from allocator.master.model import Model
from allocator.resources import Resources
from allocator.wire.decode import cut
from allocator.wire.refusal import BAD_REQUEST, NOT_FOUND, CallRefused
from allocator.wire.requests import JSONP_NAME

try:
    import zstandard
except ModuleNotFoundError:  # gzip will do
    zstandard = None  # type: ignore[assignment]

#: Bodies of fewer bytes are not compressed, and none is joined by a thread.
SMALL_BYTES: Final = 1 << 10
LARGE_BYTES: Final = 1 << 18

#: How many renderings are kept at the most, and of how many bytes together; the latest always is.
MAX_RENDERINGS: Final = 64
MAX_KEPT_BYTES: Final = 1 << 28

#: How long following what changed may take where nobody waits for it, in seconds.
_KEEP_UP_SECONDS: Final = 0.01

JSON: Final = "application/json"
JAVASCRIPT: Final = "text/javascript"
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"

#: All paths that are answered.
PATHS: Final = frozenset({"/health", "/metrics", "/metrics/snapshot", *ENDPOINTS})


class Answer(NamedTuple):
    """What a request is answered with."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


class Rendering:
    """A body, in each encoding that was asked for.

    Parameters
    ----------
    number : int
        Renderings are numbered as they begin.
    generation : int
        Of what it shows.
    parts : list of bytes
        What the body is joined from.
    compressor : Compressor
        Compresses one body at a time, after all else that the process has to do.
    """

    def __init__(
        self, number: int, generation: int, parts: list[bytes], compressor: Compressor
    ) -> None:
        self.number = number
        self.generation = generation
        self.n_bytes = sum(map(len, parts))
        self._parts = parts
        self._compressor = compressor
        self._encoded: dict[str, asyncio.Task[bytes]] = {}

    async def body(self, encoding: str) -> bytes:
        """Return the body, which is joined once, and compressed once in each way. O(1) then."""
        task = self._encoded.get(encoding)
        if task is None:
            task = self._encoded[encoding] = asyncio.create_task(self._encode(encoding))
        # One who waits may leave; the others get it.
        return await asyncio.shield(task)

    async def _encode(self, encoding: str) -> bytes:
        if encoding != IDENTITY:
            return await self._compressor.compress(encoding, self._parts)
        if self.n_bytes < LARGE_BYTES:
            whole = b"".join(self._parts)
        else:
            whole = await asyncio.to_thread(b"".join, self._parts)
        return whole


class Compressor:
    """A thread that compresses one body at a time, when no other of the process wants to run."""

    def __init__(self) -> None:
        gzip = Gzip()
        self._thread = ThreadPoolExecutor(1, "compressor", initializer=give_way)
        self._encoders = {"gzip": gzip.compress, "zstd": _zstd}

    async def compress(self, encoding: str, parts: list[bytes]) -> bytes:
        """Return what parts are together, compressed."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._encoders[encoding], parts)

    def close(self) -> None:
        """Take no more."""
        self._thread.shutdown(wait=False)


class Reader:
    """Answers what is asked for by GET.

    Parameters
    ----------
    master : Master
        Its marks are taken by nobody else.
    loop_metrics : callable
        Returns what the allocation loop measures.
    elected_time : float
        Since when it leads, by the calendar; by default since its start.
    """

    def __init__(
        self,
        master: Master,
        *,
        loop_metrics: Callable[[], Mapping[str, float]] = dict,
        elected_time: float | None = None,
    ) -> None:
        self._master = master
        self._model = Model(master)
        self._view = View(
            master,
            self._model,
            master.start_time if elected_time is None else elected_time,
        )
        self._loop_metrics = loop_metrics
        self._compressor = Compressor()
        self._compressing = asyncio.Lock()
        #: One rendering is written at a time.
        self._turn = asyncio.Lock()
        #: Will measure in its turn; None once it begins to.
        self._measuring: asyncio.Task[dict[str, float]] | None = None
        #: How many renderings began.
        self._n_begun = 0
        #: (path, what of the query counts) → the latest rendering; the latest of all at the end.
        self._renderings: dict[tuple[str, str], Rendering] = {}
        #: Tells this process's renderings from those of others.
        self._tag = secrets.token_hex(6)

    def close(self) -> None:
        """Follow the master no longer. O(1)."""
        self._model.close()
        self._compressor.close()

    def keep_up(self) -> None:
        """Take in what changed though nobody reads, for a short time, and forget what is outdated.

        To be called now and then: what is to be taken in would pile up otherwise.
        """
        self._model.follow(time.perf_counter() + _KEEP_UP_SECONDS)
        for key, rendering in list(self._renderings.items()):
            if rendering.generation != self._generation(ENDPOINTS[key[0]]):
                del self._renderings[key]

    @property
    def generation(self) -> tuple[int, int]:
        """Another one whenever something may be shown otherwise, as far as it was followed."""
        return self._model.generation, self._model.role_generation

    def used(self, framework_id: str) -> Resources:
        """Return what a framework's tasks hold, as far as it was followed. O(names)."""
        return self._model.used(framework_id)

    def metrics(self) -> dict[str, float]:
        """Return all metrics by name."""
        return metrics.snapshot(self._master, self._loop_metrics)

    async def answer(
        self, path: str, query: str, headers: Mapping[str, str], principal: str | None
    ) -> Answer:
        """Answer a request.

        Parameters
        ----------
        path : str
            Canonical: without `/master`, `.json` and a trailing slash.
        query : str
            As it came, without the question mark.
        headers : mapping
            By lower-case name.
        principal : str or None
            Who asks; everybody who may ask sees the same.

        Raises
        ------
        CallRefused
            404 there is no such path; 400 the query cannot be read.
        """
        if path == "/health":
            return Answer(200, {})
        given = parsed(query)
        if path == "/metrics":
            body = await asyncio.to_thread(metrics.exposition, await self._measured())
            return Answer(200, {"Content-Type": PROMETHEUS}, body)
        if path == "/metrics/snapshot":
            kind, before, after = wrapping(given.get("jsonp"))
            text = json_text(await self._measured())
            return Answer(200, {"Content-Type": kind}, before + text + after)
        endpoint = ENDPOINTS.get(path)
        if endpoint is None:
            raise CallRefused(NOT_FOUND, f"there is no {cut(path)}")
        kind, _, _ = wrapping(given.get("jsonp"))
        n_begun = self._n_begun
        encoding = chosen(headers.get("accept-encoding", ""))
        if encoding == IDENTITY:
            rendering = await self._rendered(path, endpoint, given, n_begun)
            return await self._represented(rendering, kind, encoding, headers)
        # Whoever comes while a body is compressed shares the next one: to compress takes longest.
        async with self._compressing:
            rendering = await self._rendered(path, endpoint, given, n_begun)
            return await self._represented(rendering, kind, encoding, headers)

    @property
    def model(self) -> Model:
        """What all that is large is put together from."""
        return self._model

    async def write_in_v1(self) -> None:
        """Write what the operator API shows of agents and tasks, a little at a time (X6)."""
        async with self._turn:
            while not self._model.advance(TURN_SECONDS, in_v1=True):
                await asyncio.sleep(0)

    async def _measured(self) -> dict[str, float]:
        """Return all metrics by name, the same for all who ask at the same time (X4, X5)."""
        if self._measuring is None:
            self._measuring = asyncio.create_task(self._measure())
        return await asyncio.shield(self._measuring)

    async def _measure(self) -> dict[str, float]:
        # Whoever asks from here on asks anew.
        self._measuring = None
        return self.metrics()

    async def _represented(
        self, rendering: Rendering, kind: str, encoding: str, headers: Mapping[str, str]
    ) -> Answer:
        """Return a rendering in the encoding that is wanted, or 304 if that is there already."""
        if rendering.n_bytes < SMALL_BYTES:
            encoding = IDENTITY
        suffix = "" if encoding == IDENTITY else f"-{encoding}"
        tag = f'"{self._tag}-{rendering.generation:x}{suffix}"'
        found = {"ETag": tag, "Vary": "Accept-Encoding"}
        if matches(headers.get("if-none-match"), tag):
            return Answer(304, found)
        found["Content-Type"] = kind
        if encoding != IDENTITY:
            found["Content-Encoding"] = encoding
        return Answer(200, found, await rendering.body(encoding))

    async def _rendered(
        self, path: str, endpoint: Endpoint, given: Mapping[str, str], n_begun: int
    ) -> Rendering:
        """Return a rendering that began after so many others, or shows the same (X4, X5)."""
        names = endpoint.parameters | {"jsonp"}
        query = {name: given[name] for name in sorted(given) if name in names}
        key = path, urlencode(query)
        async with self._turn:
            found = self._renderings.get(key)
            if found is not None and found.number > n_begun:
                return found
            if endpoint.changes_with != "nothing":
                while not self._model.advance(TURN_SECONDS, in_full=endpoint.in_full):
                    await asyncio.sleep(0)
            generation = self._generation(endpoint)
            if found is not None and found.generation == generation:
                return found
            self._n_begun += 1
            number = self._n_begun
            _, before, after = wrapping(query.get("jsonp"))
            parts = [before, *await endpoint.write(self._view, query), after]
            rendering = Rendering(number, generation, parts, self._compressor)
            self._keep(key, rendering)
            return rendering

    def _keep(self, key: tuple[str, str], rendering: Rendering) -> None:
        """Keep a rendering for those who ask next, and let the oldest go. O(renderings)."""
        self._renderings.pop(key, None)
        self._renderings[key] = rendering
        n_bytes = sum(each.n_bytes for each in self._renderings.values())
        while len(self._renderings) > 1 and (
            len(self._renderings) > MAX_RENDERINGS or n_bytes > MAX_KEPT_BYTES
        ):
            oldest = next(iter(self._renderings))
            n_bytes -= self._renderings.pop(oldest).n_bytes

    def _generation(self, endpoint: Endpoint) -> int:
        if endpoint.changes_with == "nothing":
            return 0
        if endpoint.changes_with == "roles":
            return self._model.role_generation
        return self._model.generation


# Queries and headers.


def parsed(query: str) -> dict[str, str]:
    """Return the parameters of a query, the first of each name; raises `CallRefused`."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise CallRefused(BAD_REQUEST, "the query has more than 100 parameters") from None
    return dict(reversed(pairs))


def wrapping(jsonp: str | None) -> tuple[str, bytes, bytes]:
    """Return the media type of JSON, and what stands before and after it; raises `CallRefused`."""
    if jsonp is None:
        return JSON, b"", b""
    if not JSONP_NAME.fullmatch(jsonp):
        raise CallRefused(BAD_REQUEST, f"jsonp {cut(jsonp)} is no name of a function")
    return JAVASCRIPT, f"{jsonp}(".encode("ascii"), b");"


def matches(if_none_match: str | None, tag: str) -> bool:
    """Tell whether a tag is among those of `If-None-Match`, or anything will do.

    Examples
    --------
    >>> matches('W/"a", "b"', '"b"'), matches("*", '"b"'), matches('"a"', '"b"')
    (True, True, False)
    """
    if if_none_match is None:
        return False
    named = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return "*" in named or tag in named


def give_way() -> None:
    """Have this thread run when no other of the process wants to."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)


IDENTITY: Final = "identity"


def _zstd(parts: list[bytes]) -> bytes:
    # In one frame, as not every client reads more; so all of it is compressed each time.
    return zstandard.ZstdCompressor(level=1).compress(b"".join(parts))


#: How a body can be compressed, what is preferred first.
ENCODINGS: Final = ("gzip",) if zstandard is None else ("gzip", "zstd")


def chosen(accept_encoding: str) -> str:
    """Return the encoding that is answered with.

    Examples
    --------
    >>> chosen("gzip;q=0.5, br"), chosen("gzip;q=0"), chosen("*;q=0.1, zstd;q=0")
    ('gzip', 'identity', 'gzip')
    """
    weights: dict[str, float] = {}
    for item in accept_encoding.split(","):
        name, _, parameter = item.partition(";")
        quality = parameter.strip().lower().removeprefix("q=")
        try:
            weights[name.strip().lower()] = float(quality) if parameter else 1.0
        except ValueError:
            weights[name.strip().lower()] = 0.0
    otherwise = weights.get("*", 0.0)
    found = max(ENCODINGS, key=lambda name: weights.get(name, otherwise))
    return found if weights.get(found, otherwise) > 0 else IDENTITY
