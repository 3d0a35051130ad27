"""Planned maintenance: which machines are to be away, and when."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from allocator.errors import InvalidValue, shown
from allocator.wire import messages as m

Json = dict[str, Any]


class Planned(NamedTuple):
    """One machine that is to be away, both parts in v1 form."""

    machine: Json
    unavailability: Json

    @property
    def names(self) -> tuple[str, ...]:
        """What the machine is called: its hostname, its address, or both."""
        return tuple(self.machine.values())

    @property
    def start(self) -> float:
        """When it goes, in seconds since 1970."""
        return float(self.unavailability["start"]["nanoseconds"] / 1e9)

    @property
    def duration(self) -> float | None:
        """For how long, in seconds; None for good."""
        duration = self.unavailability.get("duration")
        return None if duration is None else float(duration["nanoseconds"] / 1e9)


class Schedule:
    """All that is planned.

    Parameters
    ----------
    windows : iterable of Window
        Machines that are away at the same time.

    Raises
    ------
    InvalidValue
        A machine without a name or address, with an address that is none, or there twice; a window
        without machines; a negative duration.

    Examples
    --------
    >>> away = {"start": {"nanoseconds": 0}}
    >>> schedule = Schedule.from_json(
    ...     [{"machine_ids": [{"hostname": "H1"}], "unavailability": away}])
    >>> schedule.planned("h1", "127.0.0.1").machine
    {'hostname': 'H1'}
    """

    def __init__(self, windows: Iterable[m.Window] = ()) -> None:
        #: The windows in v1 form.
        self.windows: list[Json] = []
        #: (hostname in lower case or "", address or "") → what is planned.
        self._machines: dict[tuple[str, str], Planned] = {}
        for window in windows:
            self._add(window)

    @classmethod
    def from_json(cls, windows: list[Json]) -> Schedule:
        """Return the schedule of windows in v1 form."""
        return cls(msgspec.convert(windows, list[m.Window]))

    def _add(self, window: m.Window) -> None:
        if not window.machine_ids:
            raise InvalidValue("a window has at least one machine")
        duration = window.unavailability.duration
        if duration is not None and duration.nanoseconds < 0:
            raise InvalidValue(f"a duration is not negative: {duration.nanoseconds} ns")
        json: Json = msgspec.to_builtins(window)
        for machine, form in zip(window.machine_ids, json["machine_ids"], strict=True):
            key = _key(machine)
            if key in self._machines:
                raise InvalidValue(f"machine {shown(form)} is there twice")
            self._machines[key] = Planned(form, json["unavailability"])
        self.windows.append(json)

    def __iter__(self) -> Iterator[Planned]:
        """Yield what is planned, in the order of the windows."""
        return iter(self._machines.values())

    def planned(self, hostname: str, ip: str) -> Planned | None:
        """Return what is planned for an agent's machine, by all that is said of it. O(1)."""
        host = hostname.lower()
        for key in ((host, ip), (host, ""), ("", ip)):
            if key in self._machines:
                return self._machines[key]
        return None

    def changed(self, other: Schedule) -> list[Planned]:
        """Return what is planned in only one of two, or otherwise in both. O(machines)."""
        keys = {**self._machines, **other._machines}
        return [
            found
            for key, found in keys.items()
            if _when(self._machines.get(key)) != _when(other._machines.get(key))
        ]


def _key(machine: m.MachineId) -> tuple[str, str]:
    host, ip = machine.hostname or "", machine.ip or ""
    if not host and not ip:
        raise InvalidValue("a machine has a hostname, an ip, or both")
    if ip:
        try:
            ip = str(ipaddress.ip_address(ip))
        except ValueError:
            raise InvalidValue(f"{shown(machine.ip)} is no IP address") from None
    return host.lower(), ip


def _when(planned: Planned | None) -> Json | None:
    return None if planned is None else planned.unavailability
