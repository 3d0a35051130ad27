"""The agent's own HTTP, before it is ready and with bodies that are announced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from allocator.agent.server import Access, Answer, Protocol, Request, Route
from allocator.wire.requests import MAX_BODY_BYTES


async def _slowly(request: Request) -> Answer:
    await asyncio.sleep(0.05)
    return Answer(b"slow")


ROUTES = {
    "/health": Route(lambda request: Answer(b"well")),
    "/echo": Route(lambda request: Answer(request.body), ("POST",)),
    "/slow": Route(_slowly),
}

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


def talk(say: Talk, access: Access | None = None) -> None:
    """Have somebody talk to a server over a connection of its own."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        is_lost = asyncio.Event()

        class Connection(Protocol):
            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                is_lost.set()

        server = await loop.create_server(
            lambda: Connection(ROUTES, access or Access()), "127.0.0.1", 0
        )
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        await say(reader, writer)
        writer.close()
        await is_lost.wait()
        server.close()

    asyncio.run(run())


def head(path: str, n_bytes: int, *more: str, method: str = "POST") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: a", f"Content-Length: {n_bytes}", *more, "", "")
    return "\r\n".join(lines).encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return status and body of the next answer."""
    lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    length = [int(line.split(b":")[1]) for line in lines if line.startswith(b"Content-Length")]
    body = await reader.readexactly(sum(length))
    return int(lines[0].split()[1]), body


EXPECT = "Expect: 100-continue"


def test_a_client_that_asks_first_is_let_send() -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for body in (b"one", b"two"):
            writer.write(head("/echo", len(body), EXPECT))
            assert await answer(reader) == (100, b"")
            writer.write(body)
            assert await answer(reader) == (200, body)

    talk(say)


def test_it_is_let_send_after_the_answers_before() -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head("/slow", 0, method="GET") + head("/echo", 3, EXPECT))
        assert await answer(reader) == (200, b"slow")
        assert await answer(reader) == (100, b"")
        writer.write(b"one")
        assert await answer(reader) == (200, b"one")

    talk(say)


def test_a_body_that_will_be_too_long_is_not_asked_for() -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head("/echo", MAX_BODY_BYTES + 1, EXPECT))
        assert (await answer(reader))[0] == 413
        assert await reader.read() == b""

    talk(say)


def test_who_sends_too_much_is_told_so_when_he_has_sent_it() -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head("/echo", 2 * MAX_BODY_BYTES) + b"x" * 2 * MAX_BODY_BYTES)
        await writer.drain()
        await writer.drain()  # all of it: nothing is closed that has something in it
        assert (await answer(reader))[0] == 413
        assert await reader.read() == b""

    talk(say)


def test_who_sends_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def send(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x" * 2**20)
            await writer.drain()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head("/echo", 2**40))
        with pytest.raises(ConnectionError):
            await send(writer)

    monkeypatch.setattr("allocator.agent.server._MAX_LINGER_BYTES", 2**21)
    talk(say)


def test_before_it_is_ready_it_only_lives() -> None:
    ready = asyncio.Event()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def ask(path: str) -> int:
            writer.write(head(path, 0, method="GET"))
            return (await answer(reader))[0]

        assert await ask("/health") == 200
        assert await ask("/slow") == await ask("/nowhere") == 503
        ready.set()
        assert await ask("/slow") == 200
        assert await ask("/nowhere") == 404

    talk(say, Access(ready=ready))
