"""Changes of a policy or a cluster that one may want to try out before making them.

Each can be made to an engine, which is told by calls as its operator would, and to a scenario.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from allocator.clock import ManualClock
from allocator.engine import Allocator
from allocator.errors import InvalidValue, UnknownAgent, UnknownRole, shown
from allocator.resources import Quantities, Resources, read_limits
from allocator.sim.cluster import Machine, MachineGroup, merged, parse_group
from allocator.sim.scenario import Scenario
from allocator.sim.scenario.overrides import parse_setting
from allocator.sim.setting import Setting, placed_on
from allocator.sorter import SORTERS


class Change(ABC):
    """One change. Each class reads its own from the text of an option."""

    __slots__ = ()

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Change:
        """Return the change that a text says; raises `InvalidValue`."""

    @abstractmethod
    def on_engine(self, engine: Allocator) -> Allocator:
        """Return the engine with the change made, the same one or another.

        Raises
        ------
        AllocatorError
            If it cannot be made; the engine is as it was.
        """

    def on_scenario(self, scenario: Scenario) -> Scenario:
        """Return the scenario with the change made; raises `ScenarioError`."""
        return scenario

    def on_setting(self, setting: Setting) -> Setting:
        """Return the same of what a scenario makes of its machines; raises `InvalidValue`."""
        return setting


@dataclass(frozen=True, slots=True)
class SetWeight(Change):
    """A role's weight."""

    role: str
    weight: float

    @classmethod
    def parse(cls, text: str) -> SetWeight:
        """Return the change that `ROLE=WEIGHT` says."""
        role, _, weight = text.rpartition("=")
        with suppress(ValueError):
            if role.strip():
                return cls(role.strip(), float(weight))
        raise InvalidValue(f"{shown(text)} is not of the form ROLE=WEIGHT")

    def on_engine(self, engine: Allocator) -> Allocator:
        """Set it."""
        _check_role(engine, self.role)
        engine.set_weight(self.role, self.weight)
        return engine

    def on_scenario(self, scenario: Scenario) -> Scenario:
        """Set it."""
        return scenario.with_({role_key(self.role, "weight"): self.weight})


@dataclass(frozen=True, slots=True)
class SetQuota(Change):
    """A role's guarantee and limit, the whole of its quota; nothing of either removes it."""

    role: str
    guarantee: str = ""
    limit: str = ""

    @classmethod
    def parse(cls, text: str) -> SetQuota:
        """Return the change that `ROLE:guarantee=AMOUNTS,limit=AMOUNTS` says, or one of both."""
        match = re.fullmatch(r"(?P<role>.+?):(?P<parts>(?:guarantee|limit)=.*)", text.strip())
        parts = re.split(r",(?=guarantee=|limit=)", match["parts"]) if match else []
        given = dict(part.split("=", 1) for part in parts)
        if match is None or len(given) != len(parts) or not given.keys() <= {"guarantee", "limit"}:
            what = "ROLE:guarantee=AMOUNTS,limit=AMOUNTS"
            raise InvalidValue(f"{shown(text)} is not of the form {what}")
        Quantities(given.get("guarantee", ""))
        read_limits(given.get("limit", ""))
        return cls(match["role"], **given)

    def on_engine(self, engine: Allocator) -> Allocator:
        """Set it."""
        _check_role(engine, self.role)
        engine.set_quota(self.role, self.guarantee or None, self.limit or None)
        return engine

    def on_scenario(self, scenario: Scenario) -> Scenario:
        """Set it."""
        wanted = {"guarantee": self.guarantee or None, "limit": self.limit or None}
        return scenario.with_({role_key(self.role, key): value for key, value in wanted.items()})


class RemoveQuota(SetQuota):
    """A role without a quota."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> RemoveQuota:
        """Return the change for the role that a text is."""
        return cls(text.strip())


@dataclass(frozen=True, slots=True)
class AddAgents(Change):
    """A group of new machines, `added-0000` and so on."""

    group: MachineGroup

    @classmethod
    def parse(cls, text: str) -> AddAgents:
        """Return the change that `COUNTx RESOURCES` says, with `@KIND` in a scenario."""
        return cls(parse_group(text))

    def on_engine(self, engine: Allocator) -> Allocator:
        """Add them."""
        if self.group.kind:
            what = f"@{self.group.kind}: kinds of machines are a scenario's, not a snapshot's"
            raise InvalidValue(what)
        resources = Resources.from_milli(self.group.resources.milli)
        engine.add_agents(list(self._ids(engine.agents)), resources)
        return engine

    def on_setting(self, setting: Setting) -> Setting:
        """Add them after all others."""
        ids = self._ids({machine.id: machine for machine in setting.machines})
        new = (Machine(id, self.group.resources, self.group.kind) for id in ids)
        return with_machines(setting, (*setting.machines, *new))

    def _ids(self, taken: Mapping[str, object]) -> Iterator[str]:
        free = (id for id in map("added-{:04d}".format, count()) if id not in taken)
        return (id for _, id in zip(range(self.group.count), free, strict=False))


@dataclass(frozen=True, slots=True)
class RemoveAgents(Change):
    """The last machines, so many, or the one of an id, with what runs there."""

    which: str

    @classmethod
    def parse(cls, text: str) -> RemoveAgents:
        """Return the change for a number, or an id."""
        if not text.strip():
            raise InvalidValue("an empty text is neither a number of agents nor an id")
        return cls(text.strip())

    def on_engine(self, engine: Allocator) -> Allocator:
        """Remove them."""
        for id in self._ids(list(engine.agents)):
            engine.remove_agent(id)
        return engine

    def on_setting(self, setting: Setting) -> Setting:
        """Remove them."""
        gone = set(self._ids([machine.id for machine in setting.machines]))
        kept = tuple(machine for machine in setting.machines if machine.id not in gone)
        return with_machines(setting, kept)

    def _ids(self, ids: list[str]) -> list[str]:
        if self.which in ids:
            return [self.which]
        if not (self.which.isascii() and self.which.isdigit() and len(self.which) < 10):
            raise UnknownAgent(f"there is no agent {shown(self.which)}")
        n = int(self.which)
        if not 0 < n < len(ids):
            raise InvalidValue(f"{n} agents: 1 to {len(ids) - 1} of {len(ids)} can be removed")
        return ids[-n:]


@dataclass(frozen=True, slots=True)
class SetSorter(Change):
    """Who orders roles and frameworks."""

    name: str

    @classmethod
    def parse(cls, text: str) -> SetSorter:
        """Return the change for a name in `SORTERS`."""
        if text not in SORTERS:
            raise InvalidValue(f"{shown(text)} is no sorter: {', '.join(SORTERS)}")
        return cls(text)

    def on_engine(self, engine: Allocator) -> Allocator:
        """Return an engine that goes on with it."""
        snapshot = engine.snapshot()
        options = {**snapshot["options"], "sorter_options": {}}
        options |= {"role_sorter": self.name, "framework_sorter": self.name}
        return Allocator.restore({**snapshot, "options": options}, clock=ManualClock())

    def on_scenario(self, scenario: Scenario) -> Scenario:
        """Set it."""
        gone = {"policy.role_sorter": None, "policy.framework_sorter": None}
        return scenario.with_({**gone, "policy.sorter": self.name})


@dataclass(frozen=True, slots=True)
class SetKey(Change):
    """Any key of a scenario."""

    key: str
    value: Any

    @classmethod
    def parse(cls, text: str) -> SetKey:
        """Return the change that `KEY=VALUE` says."""
        return cls(*parse_setting(text))

    def on_engine(self, engine: Allocator) -> Allocator:
        """Refuse: a snapshot has no keys."""
        raise InvalidValue(f"{shown(self.key)}: keys are a scenario's, and this is a snapshot")

    def on_scenario(self, scenario: Scenario) -> Scenario:
        """Set it."""
        return scenario.with_({self.key: self.value})


#: Option → what reads its value.
CHANGES: Mapping[str, type[Change]] = {
    "set-weight": SetWeight,
    "set-quota": SetQuota,
    "remove-quota": RemoveQuota,
    "add-agents": AddAgents,
    "remove-agents": RemoveAgents,
    "sorter": SetSorter,
    "set": SetKey,
}


def role_key(role: str, key: str) -> str:
    """Return the dotted key of a role.

    Examples
    --------
    >>> role_key("eng/batch", "weight")
    'roles."eng/batch".weight'
    """
    quoted = json.dumps(role, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"roles.{quoted}.{key}"


def with_machines(setting: Setting, machines: tuple[Machine, ...]) -> Setting:
    """Return a setting with other machines; what ran on one that is gone has no place yet.

    What belonged to it is gone, too.
    """
    ids = {machine.id for machine in machines}
    groups = merged(MachineGroup(1, machine.resources, machine.kind) for machine in machines)
    events = (
        replace(event, ids=tuple(id for id in event.ids if id in ids)) for event in setting.events
    )
    return replace(
        setting,
        machines=machines,
        inactive=setting.inactive & ids,
        placed=placed_on(setting.placed, ids),
        events=tuple(event for event in events if event.ids or event.n_machines is not None),
        trace=replace(setting.trace, cluster=groups),
    )


def _check_role(engine: Allocator, role: str) -> None:
    if role not in engine.roles:
        raise UnknownRole(f"there is no role {shown(role)}")
