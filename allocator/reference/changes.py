"""What changed (§5): found by looking at everything before a call and after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeAlias

from allocator.errors import InvalidValue, shown

#: A kind and an id.
Thing: TypeAlias = tuple[str, str]


class Changes:
    """A reader of what changed: each thing once since it was last taken."""

    def __init__(self, wake: Callable[[], object] | None) -> None:
        if not (wake is None or callable(wake)):
            raise InvalidValue(f"wake is a callable or None, not {shown(wake)}")
        self._wake = wake
        self._found: dict[Thing, None] = {}
        self.is_open = True

    def take(self) -> list[Thing]:
        """Return what changed since the last `take`."""
        found, self._found = self._found, {}
        return list(found)

    def close(self) -> None:
        """Read no longer."""
        self.is_open = False
        self._found = {}

    def note(self, things: Iterable[Thing]) -> bool:
        """Take notice of what a call changed; tell whether somebody is to be woken for it."""
        had_any = bool(self._found)
        if self.is_open:
            self._found.update(dict.fromkeys(things))
        return bool(self._wake and self._found and not had_any)

    def wake(self) -> None:
        """Wake whoever reads."""
        if self._wake is not None and self._found:
            self._wake()


@dataclass
class Picture:
    """All that can be seen of an allocator; the shares stand apart."""

    things: dict[Thing, Any]
    #: Role, or framework and role, by the thing that shows it → share.
    shares: dict[tuple[Thing, str], float]

    def changes_to(self, after: Picture) -> list[Thing]:
        """Return what another picture shows otherwise."""
        either = {**self.things, **after.things}
        changed = [t for t in either if self.things.get(t) != after.things.get(t)]
        moved = [
            thing
            for (thing, role), share in after.shares.items()
            if self.shares.get((thing, role), share) != share and thing not in changed
        ]
        # What is held did not change, and yet the share: the totals did.
        return [*changed, *([("engine", "")] if moved and ("engine", "") not in changed else [])]


def picture(engine: Any) -> Picture:
    """Look at everything of an allocator."""
    state = engine._state
    is_recovering = engine._is_recovering(engine._clock())
    things: dict[Thing, Any] = {("engine", ""): (engine._paused, state.whitelist, is_recovering)}
    shares = {}
    for id, agent in engine.agents.items():
        things["agent", id] = agent
        things["maintenance", id] = deepcopy(state.agents[id].maintenance)
    for id, framework in engine.frameworks.items():
        things["framework", id] = replace(framework, share=float)
        held = {role for by_role in framework.offered.values() for role in by_role}
        held |= {role for by_role in framework.allocated.values() for role in by_role}
        for role in held | set(framework.roles):
            shares[("framework", id), role] = framework.share(role)
    for path, role_view in engine.roles.items():
        things["role", path] = replace(role_view, share=0.0)
        shares[("role", path), path] = role_view.share
    things.update((("offer", id), offer) for id, offer in engine.open_offers.items())
    return Picture(things, shares)


def told(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call after which readers are told what it changed, and woken, unless refused."""

    @wraps(call)
    def made(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._is_called or not self._readers:
            return call(self, *args, **kwargs)
        before = picture(self)
        self._is_called = True
        try:
            returned = call(self, *args, **kwargs)
        finally:
            self._is_called = False
        changed = before.changes_to(picture(self))
        self._readers = [reader for reader in self._readers if reader.is_open]
        _wake([reader for reader in self._readers if reader.note(changed)])
        return returned

    return made


def _wake(readers: list[Changes]) -> None:
    """Wake all, also if one raises."""
    while readers:
        try:
            readers.pop(0).wake()
        finally:
            _wake(readers)
