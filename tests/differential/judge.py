"""The judge: runs the same calls on the reference and on engines, and compares after each.

It knows nothing of how calls are chosen. What it holds engines to: the reference's offers, errors
and views, and what must never break (contract §8), which it checks on its own.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from allocator import Allocator, AllocatorError, ManualClock, Resources, reference
from allocator.roles import ancestry
from tests import invariants
from tests.differential.history import Call, History, shortest

#: An engine of either kind.
Engine = Any

AGENT_FIELDS = [
    "hostname",
    "active",
    "attributes",
    "capabilities",
    "region",
    "zone",
    "total",
    "available",
    "offered",
    "allocated",
    "reserved",
]
FRAMEWORK_FIELDS = ["active", "roles", "suppressed", "capabilities", "offered", "allocated"]
ROLE_FIELDS = ["weight", "share", "consumed", "offered", "allocated", "reserved", "frameworks"]

MAPPINGS = ["agents", "frameworks", "roles", "open_offers"]


class Disagreement(AssertionError):
    """An engine does not do what the reference does, or breaks an invariant."""


class Judge:
    """The reference and engines with other sorters, on one clock.

    Parameters
    ----------
    options : mapping
        Of all of them.
    sorters : iterable of str
        One engine with each; they must decide the same.
    every : int
        Views are compared after so many calls, and at the end.
    refusals : bool
        Whether all that is kept is compared before and after a call that is refused.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        sorters: Iterable[str] = (),
        every: int = 1,
        refusals: bool = False,
    ) -> None:
        self.clock = ManualClock()
        self.options = dict(options)
        variants = [{**options, "sorter": sorter} for sorter in sorters] or [self.options]
        self.reference: Engine = reference.Allocator(**variants[0], clock=self.clock)
        self._engines: list[Engine] = [
            Allocator(**variant, clock=self.clock) for variant in variants
        ]
        self._every = every
        self._refusals = refusals
        self._names = Names()
        self._paused = False
        self.calls: list[Call] = []

    def do(self, made: Call) -> Any:
        """Make a call on all; return what the reference returned, or the error it raised."""
        self.calls.append(made)
        if made.method == "advance":
            return self.clock.advance(*made.args)
        self._names.note(made)
        before = self._limited() if made.method == "allocate" else {}
        kept = self._kept() if self._refusals else []
        expected = outcome(self.reference, made)
        for index, engine in enumerate(self._engines):
            if made.method in ("restore", "fork"):
                self._engines[index] = self._continued(engine, made)
                continue
            same(f"{made}", plain(expected), plain(outcome(engine, made)))
        if kept and isinstance(expected, AllocatorError):
            for place, (then, now) in enumerate(zip(kept, self._kept(), strict=True)):
                same(f"what {made} left of engine {place}", then, now)
            for engine in self._engines:
                invariants.check(engine)
        if made.method in ("pause", "resume"):
            self._paused = made.method == "pause"
        if made.method == "allocate" and not isinstance(expected, Exception):
            self._check_offers(expected, before)
        for engine in self._engines:
            for name in sorted(self._names.agents):
                check_conserved(engine, name)
        if len(self.calls) % self._every == 0:
            self.compare()
        return expected

    def compare(self) -> None:
        """Compare all views, and check what the engines keep."""
        for engine in self._engines:
            invariants.check(engine)
        self._names.roles |= self.reference.roles.keys()
        for mapping in MAPPINGS:
            expected = shown_by(self.reference, mapping)
            for engine in self._engines:
                same(mapping, expected, shown_by(engine, mapping))
        for kind, names, fields in (
            ("agent", self._names.agents, AGENT_FIELDS),
            ("framework", self._names.frameworks, FRAMEWORK_FIELDS),
            ("role", self._names.roles, ROLE_FIELDS),
        ):
            for name in sorted(names):
                expected = picture(self.reference, kind, name, fields)
                for engine in self._engines:
                    same(f"{kind}({name!r})", expected, picture(engine, kind, name, fields))

    def _continued(self, engine: Engine, made: Call) -> Engine:
        if made.method == "fork":
            return engine.fork()
        return Allocator.restore(json.loads(json.dumps(engine.snapshot())), clock=self.clock)

    def _kept(self) -> list[Any]:
        """Return all that the reference and the engines keep."""
        state = copy.deepcopy(vars(self.reference._state))
        return [
            {**state, "roles": self.reference._state.roles()},
            *({**engine.snapshot(), "metrics": engine.metrics()} for engine in self._engines),
        ]

    def _limited(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Return (role, resource) → what is consumed and the limit, for all limits."""
        found = {}
        for name in self._names.roles:
            role = look(self._engines[0], "role", name)
            if not isinstance(role, Exception):
                for resource, limit in role.quota.limit.items():
                    found[name, resource] = (role.consumed[resource], limit)
        return found

    def _check_offers(
        self, offers: Any, before: Mapping[tuple[str, str], tuple[float, float]]
    ) -> None:
        """Check what holds of any cycle's offers (§5, §6.7, §8)."""
        engine = self._engines[0]
        places = [(offer.framework, offer.role, offer.agent) for offer in offers]
        hold(len(set(places)) == len(places), "two offers for one framework, role and agent")
        hold(not (self._paused and places), "offers while paused")
        for framework, role, agent in places:
            taker = engine.framework(framework)
            wanted = taker.active and role in taker.roles and role not in taker.suppressed
            hold(wanted, f"{framework} was offered something in {role} that it does not want")
            hold(engine.agent(agent).active, f"{agent} is not active and was offered")
        for (role, resource), (consumed, limit) in before.items():
            after = engine.role(role).consumed[resource]
            hold(after <= max(consumed, limit), f"{role} consumes {after} {resource} over {limit}")


class Names:
    """The agents, frameworks and roles that calls were about, refused ones too."""

    def __init__(self) -> None:
        self.agents: set[str] = set()
        self.frameworks: set[str] = set()
        self.roles: set[str] = {"*"}

    def note(self, made: Call) -> None:
        """Take in the names that a call brings; roles that reservations name come otherwise."""
        roles: list[str] = []
        if made.method == "add_agent":
            self.agents.add(made.args[0])
        if made.method == "add_agents":
            self.agents.update(made.args[0])
        if made.method == "add_framework":
            self.frameworks.add(made.args[0])
            roles += [role for given in made.args[1:2] for role in given]
        if made.method == "add_frameworks":
            self.frameworks.update(made.args[0])
            roles += [role for given in made.args[1] for role in _listed(given)]
        if made.method in ("set_weight", "set_quota"):
            roles.append(made.args[0])
        if made.method in ("set_weights", "set_quotas"):
            roles += made.args[0]
        roles += made.kwargs.get("roles", ())
        used = made.kwargs.get("used") or {}
        if made.method == "add_agents":
            roles += _listed(used.get("role", ()))
        else:
            roles += [role for by_role in used.values() for role in by_role]
        self.roles.update(path for role in roles for path in ancestry(role))


def _listed(given: Any) -> list[str]:
    """Return one text, or several, as a list."""
    return [given] if isinstance(given, str) else list(given)


def outcome(engine: Engine, made: Call) -> Any:
    """Return what a call returns, or the refusal that it raises."""
    if made.method in ("restore", "fork"):
        return None
    try:
        return getattr(engine, made.method)(*made.args, **made.kwargs)
    except AllocatorError as refusal:
        return refusal


def plain(result: Any) -> Any:
    """Return what must be equal of a result: an error's class, the fields of offers."""
    if isinstance(result, AllocatorError):
        return type(result).__name__
    if isinstance(result, (Allocator, reference.Allocator)) or result is None:
        return None
    if hasattr(result, "inverse"):
        offers, inverse = ([tuple(offer) for offer in made] for made in (result, result.inverse))
        return offers, inverse, list(result.rescinded)
    return tuple(result)


def look(engine: Engine, kind: str, name: str) -> Any:
    """Return a view, or the refusal to give one."""
    return outcome(engine, Call(kind, (name,)))


def shown_by(engine: Engine, mapping: str) -> Any:
    """Return what must be equal of a mapping of all there is: a restored engine goes by ids."""
    found = getattr(engine, mapping)
    hold(len(found) == len(list(found)), f"{mapping}: {len(found)} are not {list(found)}")
    if mapping == "open_offers":
        return [(id, tuple(offer)) for id, offer in found.items()]
    return list(found) if mapping == "roles" else sorted(found)


def picture(engine: Engine, kind: str, name: str, fields: Iterable[str]) -> Any:
    """Return what must be equal of a view."""
    view = look(engine, kind, name)
    if isinstance(view, AllocatorError):
        return type(view).__name__
    found = {field: getattr(view, field) for field in fields}
    if kind == "framework":
        roles = sorted({*view.roles, *(r for held in view.offered.values() for r in held)})
        found["share"] = {role: view.share(role) for role in roles}
    if kind == "agent":
        found["inverse_statuses"] = dict(engine.inverse_statuses(name))
    if kind == "role":
        found["guarantee"] = dict(view.quota.guarantee)
        found["limit"] = dict(view.quota.limit)
    return found


def check_conserved(engine: Engine, name: str) -> None:
    """Check that all of an agent is somewhere, once, and that nothing is negative (§8)."""
    agent = look(engine, "agent", name)
    if not isinstance(agent, AllocatorError):
        wrong = imbalance(agent.total, agent.available, agent.offered, agent.allocated)
        hold(not wrong, f"{name}: {wrong}")


@lru_cache(4096)
def imbalance(
    total: Resources, available: Resources, offered: Resources, allocated: Resources
) -> str:
    """Return what is wrong with the sums of an agent, if anything."""
    in_use, free = (offered + allocated).nonshared(), available.nonshared()
    if total.nonshared() >= in_use:
        if free + in_use != total.nonshared():
            return f"{free} and {in_use} are not {total}"
    elif free != total.nonshared().minus_floor(in_use):
        return f"it shrank: {free} of {total}"
    if available.shared() != total.shared():
        return f"shared entries are not free: {available} of {total}"
    for resources in (total, available, offered, allocated):
        if not all(entry for entry in resources):
            return f"an empty entry in {resources}"
    if Resources(str(available)) != available:
        return f"{available} does not read back"
    return ""


def same(what: str, expected: Any, found: Any) -> None:
    """Refuse a difference, saying where it is."""
    if expected == found:
        return
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected:
            same(f"{what}.{key}", expected[key], found.get(key))
    raise Disagreement(f"{what}:\n  the reference: {expected!r}\n  the engine:    {found!r}")


def hold(condition: bool, message: str) -> None:
    """Refuse what must never be."""
    if not condition:
        raise Disagreement(message)


def run(
    history: History,
    sorters: Iterable[str] = (),
    every: int = 1,
    refusals: bool = False,
    kind: type[Judge] = Judge,
) -> None:
    """Run a history; raises `Disagreement`."""
    judge = kind(history.options, sorters, every, refusals)
    for made in history.calls:
        judge.do(made)
    judge.compare()


def explained(
    history: History,
    sorters: tuple[str, ...],
    cause: Exception,
    refusals: bool = False,
    kind: type[Judge] = Judge,
) -> str:
    """Return a failing history as short as it can be made, as Python, with what goes wrong."""

    def failure(part: History) -> Exception | None:
        try:
            run(part, sorters, refusals=refusals, kind=kind)
        except Exception as error:  # any way to fail counts, also an assertion inside
            return error
        return None

    short = shortest(history, lambda part: type(failure(part)) is type(cause))
    return f"{failure(short) or cause!r}\n\nwith sorters {sorters or 'as given'}:\n\n{short}"
