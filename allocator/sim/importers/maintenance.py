"""Mesos' planned maintenance: machines that are away at known times, and those that are.

A schedule names machines by hostname, address or both, at instants since 1970; a cluster here
begins when its dump was taken, so that instant must be known, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.sim.importers.amounts import number
from allocator.sim.importers.documents import Document
from allocator.sim.importers.source import Outage, Source

Json = Mapping[str, Any]
#: When it begins, in nanoseconds since 1970, and how long it lasts; None for good.
_Window = tuple[int, int | None]
#: A machine by hostname and address, either of which may be missing.
_Name = tuple[str, str]

_SECOND = 10**9
#: The address in a libprocess id, `slave(1)@10.0.0.1:5051`.
_ADDRESS = re.compile(r"@\[?(?P<ip>[^\]@]*?)\]?:\d+$")
_MAX_NANOSECONDS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Planned:
    name: _Name
    window: _Window
    document: Document


class Maintenance:
    """Collects what is planned, and says what that means for the machines.

    Parameters
    ----------
    source : Source
    taken : Fraction or None
        When the dump was taken, in seconds since 1970; None: at the latest time that stands in it.
    """

    def __init__(self, source: Source, taken: Fraction | None) -> None:
        self._source = source
        self._taken = taken
        self._latest = Fraction(0)
        #: agent -> what its machine is called
        self._agents: dict[str, _Name] = {}
        #: hostname, or address -> the agents that are called so
        self._ids: dict[str, list[str]] = {}
        #: agent -> its own unavailability
        self._own: dict[str, tuple[_Window, Document]] = {}
        self._planned: list[_Planned] = []
        self._down: list[_Name] = []

    def saw(self, *instants: object) -> None:
        """Note times that stand in the dump; what is no time says nothing. O(times)."""
        for instant in instants:
            if instant is None:
                continue
            with suppress(InvalidValue):
                is_v1 = isinstance(instant, Mapping)
                found = Fraction(_nanoseconds(instant), _SECOND) if is_v1 else number(instant)
                self._latest = max(self._latest, found)

    def agent(self, id: str, agent: Json, info: Json, document: Document) -> None:
        """Note what an agent's machine is called, and its unavailability. Raises `DumpError`."""
        address = _ADDRESS.search(str(agent.get("pid") or ""))
        hostname = str(info.get("hostname") or "").lower()
        own = hostname, address["ip"] if address else ""
        if id not in self._agents:
            for part in filter(None, own):
                self._ids.setdefault(part, []).append(id)
        self._agents[id] = own
        if isinstance(agent.get("unavailability"), Mapping):
            self._own[id] = _window(agent["unavailability"], document), document

    def take(self, window: Json, document: Document) -> None:
        """Take a window of a schedule. Raises `DumpError`."""
        away = window.get("unavailability")
        if not isinstance(away, Mapping):
            raise document.error("a window of maintenance without unavailability")
        for machine in window.get("machine_ids") or ():
            planned = _Planned(_name(machine, document), _window(away, document), document)
            self._planned.append(planned)

    def down(self, machine: Json, document: Document) -> None:
        """Take a machine that is down for maintenance. Raises `DumpError`."""
        self._down.append(_name(machine, document))

    def finish(self) -> None:
        """Say which machines are down, and which go when. Raises `DumpError`."""
        self._finish_down()
        windows: dict[str, _Window] = {}
        for id, window, document in self._windows():
            if windows.setdefault(id, window) != window:
                raise document.error(f"machine {shown(id)} has two times of maintenance")
        taken = self._taken or self._latest
        if windows and not taken:
            text = "windows of maintenance, in a dump that does not say when it was taken (--taken)"
            self._source.lacks(text, n=len(set(windows.values())))
        elif windows:
            if self._taken is None:
                text = f"times are from {_iso(taken)} on, the latest in the dump (--taken)"
                self._source.tell("maintenance", text)
            self._plan(windows, taken)

    def _finish_down(self) -> None:
        for name in self._down:
            found = list(self._named(name))
            for id in found:
                node = self._source.nodes[id]
                if not node.state:
                    node.state = "down for maintenance"
            if not found:
                text = "machines down for maintenance, left out"
                self._source.tell("machines", text, _text(name))

    def _windows(self) -> Iterator[tuple[str, _Window, Document]]:
        """Yield (agent, its window, where that stands)."""
        for planned in self._planned:
            found = list(self._named(planned.name))
            for id in found:
                yield id, planned.window, planned.document
            if not found:
                text = "machines of windows that are not in the dump"
                self._source.tell("maintenance", text, _text(planned.name))
        for id, (window, document) in self._own.items():
            yield id, window, document

    def _named(self, name: _Name) -> Iterator[str]:
        """Yield the agents on a machine, by all that is said of both. O(agents of that name)."""
        for id in dict.fromkeys(id for part in name if part for id in self._ids.get(part, ())):
            pairs = zip(name, self._agents[id], strict=True)
            if all(a == b for a, b in pairs if a and b):
                yield id

    def _plan(self, windows: Mapping[str, _Window], taken: Fraction) -> None:
        """Have machines go at their times, those of one window together."""
        together: dict[_Window, list[str]] = {}
        for id in self._source.nodes:
            if id in windows:
                together.setdefault(windows[id], []).append(id)
        for (start, duration), machines in together.items():
            start_s = float(Fraction(start, _SECOND) - taken)
            duration_s = None if duration is None else duration / _SECOND
            outage = Outage(tuple(machines), start_s, duration_s)
            if outage.is_over:
                text = "windows of maintenance that are over"
            elif start_s <= 0:
                text = "windows of maintenance that have begun: their machines go at once"
            else:
                text = "windows of maintenance: their machines go and are back at these times"
            when = f"{_iso(Fraction(start, _SECOND))}: {machines[0]}"
            when += f" and {len(machines) - 1} more" if len(machines) > 1 else ""
            self._source.tell("maintenance", text, when)
            if not outage.is_over:
                self._source.outages.append(outage)


def _name(machine: Any, document: Document) -> _Name:
    """Return what a machine is called: a name of v1, or one with what frameworks answered."""
    inner = machine.get("id", machine) if isinstance(machine, Mapping) else None
    if isinstance(inner, Mapping):
        name = str(inner.get("hostname") or "").lower(), str(inner.get("ip") or "")
        if any(name):
            return name
    raise document.error(f"machine {shown(machine)}: neither hostname nor ip")


def _window(away: Json, document: Document) -> _Window:
    try:
        duration = away.get("duration")
        lasts = None if duration is None else _nanoseconds(duration)
        if lasts is not None and lasts < 0:
            raise InvalidValue(f"a duration of {lasts} ns is negative")
        return _nanoseconds(away.get("start")), lasts
    except InvalidValue as error:
        raise document.error(f"unavailability: {error}") from None


def _nanoseconds(value: Any) -> int:
    found = number(value.get("nanoseconds")) if isinstance(value, Mapping) else None
    if found is None or found.denominator != 1 or abs(found) > _MAX_NANOSECONDS:
        raise InvalidValue(f"{shown(value)} is no time in nanoseconds")
    return int(found)


def _text(name: _Name) -> str:
    return " ".join(filter(None, name))


def _iso(instant: Fraction) -> str:
    try:
        return datetime.fromtimestamp(int(instant), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{int(instant)} s"
