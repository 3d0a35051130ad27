"""What the commands have in common that talk to a master: how to reach it, and what to say if not.

What needs the extra `master` is imported when it is used, so that `--help` works without.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from allocator.errors import AllocatorError, InvalidValue, cut

if TYPE_CHECKING:
    from allocator.wire.client import Address, Connection

Json = dict[str, Any]

DEFAULT_MASTER: Final = "http://127.0.0.1:5050"

#: How long connecting, and an answer, may take, in seconds.
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 60.0

_MAX_REDIRECTS: Final = 5


class MasterRefused(AllocatorError):
    """A master that cannot be reached or does not do what it is asked; says what to do next."""


def add_master(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """Add the options by which a master is reached, and `--json`; again, after an action."""

    def add(name: str, default: object, text: str, **more: Any) -> None:
        given = argparse.SUPPRESS if again else default
        parser.add_argument(name, default=given, help=text, **more)

    add("--master", DEFAULT_MASTER, f"the master ({DEFAULT_MASTER})", metavar="URL")
    add("--credential", None, '{"principal": …, "secret": …}', type=Path, metavar="FILE")
    add("--json", False, "write JSON to stdout instead of a table", action="store_true")


async def connect(address: Address) -> Connection:
    """Return a connection to a master; raises `MasterRefused`."""
    from allocator.wire.client import Connection, ConnectionFailed

    try:
        return await Connection.open(address, CONNECT_SECONDS)
    except ConnectionFailed as error:
        raise MasterRefused(
            f"{error}; is a master running there? `allocator master` starts one, --master URL names"
            " another"
        ) from None


def refusal(status: int, text: str, address: Address) -> MasterRefused:
    """Return what to say of an answer that is an error."""
    if status == 401:
        return MasterRefused(f"{address} asks who you are: give --credential FILE")
    if status == 404:
        return MasterRefused(f"{address} is no master that this release can talk to")
    return MasterRefused(f"{address} refuses ({status}): {cut(text)}")


def ask(args: argparse.Namespace, type: str, **content: Any) -> Json:
    """Return what the master that leads answers to an operator call; {} where that is nothing.

    Raises
    ------
    MasterRefused
        It cannot be reached, or refuses.
    """
    from allocator.wire.credentials import own_headers

    body: Json = {"type": type}
    if content:
        body[type.lower()] = content
    headers = {"Content-Type": "application/json", **own_headers(args.credential)}
    return asyncio.run(_ask(args.master, headers, json.dumps(body).encode()))


async def _ask(master: str, headers: dict[str, str], body: bytes) -> Json:
    from allocator.wire.client import Address, ConnectionFailed

    address = read_address(master)
    for _ in range(_MAX_REDIRECTS):
        connection = await connect(address)
        try:
            answer = await connection.request(
                "POST", "/api/v1", headers, body, timeout=ANSWER_SECONDS
            )
            if answer.status == 307:
                address = address.at(answer.headers.get("location", ""))
                continue
        except ConnectionFailed as error:
            raise MasterRefused(str(error)) from None
        finally:
            connection.close()
        if answer.status >= 300:
            raise refusal(answer.status, answer.text, address)
        return json.loads(answer.body) if answer.body else {}
    raise MasterRefused(f"{Address.read(master)} and others send us on and on; none leads")


def read_address(master: str) -> Address:
    """Return where `--master` is; raises `InvalidValue`."""
    from allocator.wire.client import Address

    try:
        return Address.read(master)
    except InvalidValue as error:
        raise InvalidValue(f"--master {error}") from None


# How things are shown.


def amounts(entries: list[Json] | None) -> dict[str, float]:
    """Return how much there is by name: of ranges and sets, how many."""
    from allocator.resources import Resources

    return {name: float(amount) for name, amount in Resources(entries or []).counts().items()}


def number(amount: float) -> str:
    """Return a number as tables have it.

    Examples
    --------
    >>> number(4.0), number(0.25), number(1234567.0)
    ('4', '0.25', '1234567')
    """
    return str(int(amount)) if float(amount).is_integer() else f"{amount:.3f}".rstrip("0")


def share(used: float, total: float) -> str:
    """Return how much of something is used, as `used/total`."""
    return f"{number(used)}/{number(total)}"


def text_of(amounts: dict[str, float]) -> str:
    """Return amounts as the text of resources; `-` for none.

    Examples
    --------
    >>> text_of({"cpus": 4.0, "mem": 512.0})
    'cpus:4;mem:512'
    """
    return ";".join(f"{name}:{number(amount)}" for name, amount in amounts.items()) or "-"


def write_json(value: object) -> None:
    """Print JSON for programs."""
    print(json.dumps(value, indent=2))
