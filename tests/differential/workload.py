"""The workload: random calls that a cluster's life could bring, right ones and wrong ones.

It chooses by what it is shown (the reference's views and offers) and judges nothing. All times are
multiples of 1/8 s, so that sums of them are exact and things end at the very instants at which they
are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, nan
from random import Random
from typing import Any, TypeVar

from allocator import Resources, UnknownAgent, UnknownFramework
from allocator.resources.fixed import write_milli
from tests.differential.history import Call, call

T = TypeVar("T")
Json = dict[str, Any]

AGENTS = ("a1", "a2", "a3", "a4", "a5")
FRAMEWORKS = ("f1", "f2", "f3", "f/4", "*")
ROLES = ("*", "eng", "eng/prod", "eng/prod/web", "eng/test", "ops", "ops/db", "web")
AMOUNTS = (1, 2, 3, 4, 6, 8, 0.5, 0.1, 2.25, 1.333, 0.001)
#: Near what an int64 of thousandths can hold: the bound, a half and a third of it, and little.
HUGE = (
    "9223372036854775.807",
    "9223372036854775",
    "4611686018427387.904",
    "4611686018427387.903",
    "3074457345618258.602",
    "0.001",
    "1",
)
WEIGHTS = (0.5, 1.0, 2.0, 3.0, 1 / 3)
REFUSALS = (None, 0, 0.125, 1, 1.5, 2, 5, 10.0, 100, -1, nan, inf)
HOSTS = ("h1", "h2")
FRAMEWORK_CAPABILITIES = (
    "GPU_RESOURCES",
    "MULTI_ROLE",
    "REGION_AWARE",
    "RESERVATION_REFINEMENT",
    "REVOCABLE_RESOURCES",
    "SHARED_RESOURCES",
)
AGENT_CAPABILITIES = ("MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT")

#: What a workload can bring beyond agents, frameworks, offers and filters.
FEATURES = frozenset(
    {
        "quota",
        "reservations",
        "special",
        "shared",
        "conversions",
        "capabilities",
        "constraints",
        "maintenance",
        "recovery",
        "snapshot",
    }
)


#: Amounts near the bound of what can be counted, which no usual workload brings.
HUGE_AMOUNTS = "huge amounts"


class Workload:
    """Random calls, drawn from a seed.

    Parameters
    ----------
    seed : int
    features : set of str
        Some of `FEATURES`, and perhaps `HUGE_AMOUNTS`.
    """

    def __init__(self, seed: int, features: frozenset[str] = FEATURES) -> None:
        self._random = Random(seed)
        self._features = features
        self._sizes: tuple[Any, ...] = HUGE if HUGE_AMOUNTS in features else AMOUNTS
        #: Ids of offers made, also of some that were answered.
        self._offers: list[str] = []
        # Swarm testing (Groce et al., 2012): each history has more of some calls, less of others.
        self._kinds = [(kind, weight * self._pick(0.2, 1, 1, 4)) for kind, weight in self._table()]
        self._queue: list[Call] = self._beginning()

    # Chances.

    def _pick(self, *choices: T) -> T:
        return self._random.choice(choices)

    def _of(self, choices: Sequence[T]) -> T:
        return self._random.choice(choices)

    def _chance(self, part: float) -> bool:
        return self._random.random() < part

    def _some(self, choices: Sequence[T], least: int = 0, most: int = 3) -> list[T]:
        most = min(most, len(choices))
        return self._random.sample(choices, self._random.randint(min(least, most), most))

    # What there is.

    def options(self, seed: int) -> dict[str, Any]:
        """Return options for the engines."""
        minimum = [None, None, [{"cpus": 0.5}, "mem:2"], ["cpus:1;mem:1"], self._minima()]
        given: dict[str, Any] = {
            "seed": seed,
            "fairness_exclude": self._pick((), (), ("mem",), ("gpus", "disk")),
            "min_allocatable": self._of(minimum),
            "allocation_interval": self._pick(1.0, 1.0, 0.25, 4),
            "offer_timeout": self._pick(None, None, 0, 0.5, 2, 10),
            "offer_prefix": self._pick("", "", "run-7/", "O1"),
        }
        if "capabilities" in self._features:
            given["filter_gpus"] = self._chance(0.7)
            given["region"] = self._pick(None, "r1")
        return given

    def _beginning(self) -> list[Call]:
        queue = []
        if "recovery" in self._features and self._chance(0.1):
            queue += [self._set_quota() for _ in range(self._pick(0, 0, 2))]
            queue.append(call("recover", self._pick(0, 1, 3, 4), self._quotas()))
        weighed = self._some(ROLES, most=3) if self._chance(0.5) else []
        queue += [call("set_weight", role, self._of(WEIGHTS)) for role in weighed]
        queue += [self._add_agent() for _ in range(self._pick(1, 1, 3))]
        return queue + [self._add_framework() for _ in range(self._pick(1, 2, 4))]

    def next(self, engine: Any) -> Call:
        """Return the next call, chosen by what is there."""
        if self._queue:
            return self._queue.pop(0)
        kinds, weights = zip(*self._kinds, strict=True)
        (kind,) = self._random.choices(kinds, weights)
        made: Call = kind(engine)
        return made

    def shown(self, result: Any) -> None:
        """Take note of what a call returned: the offers that can be answered."""
        if hasattr(result, "inverse"):
            self._offers += [offer.id for offer in result]
            del self._offers[:-40]

    def _table(self) -> list[tuple[Callable[[Any], Call], int]]:
        """Return the kinds of calls, and how often each comes against the others."""

        def has(feature: str, weight: int) -> int:
            return weight if feature in self._features else 0

        return [
            (self._allocate, 24),
            (self._answer, 26),
            (self._answer_several, 4),
            (self._release, 8),
            (self._recover_resources, 3),
            (self._release_expected, 3),
            (lambda _: call("advance", self._pick(0.125, 0.5, 1, 1, 1.5, 5, 20)), 8),
            (lambda _: self._add_agent(), 4),
            (lambda _: call("remove_agent", self._of(AGENTS)), 1),
            (lambda _: self._add_agents(), 2),
            (self._update_agent, 3),
            (lambda _: self._update_agents(), 1),
            (self._toggle_agent, 3),
            (lambda _: self._add_resources(), 2),
            (lambda _: self._add_framework(), 4),
            (lambda _: call("remove_framework", self._of(FRAMEWORKS)), 1),
            (lambda _: self._add_frameworks(), 2),
            (lambda _: self._update_framework(), 3),
            (lambda _: call(self._pick(*_TOGGLES), self._of(FRAMEWORKS)), 2),
            (self._suppress_or_revive, 5),
            (lambda _: call("set_weight", self._of(ROLES), self._of(WEIGHTS)), 3),
            (lambda _: call("set_weights", self._weights()), 1),
            (
                lambda _: call("set_whitelist", self._pick(None, None, ["h1"], ["h1", "a1", "a2"])),
                2,
            ),
            (lambda _: call(self._pick("pause", "resume", "resume")), 1),
            (lambda _: call("skip_cycles", self._pick(0, 1, 5)), 1),
            (lambda _: self._wrong(), 1),
            (lambda _: self._set_quota(), has("quota", 6)),
            (lambda _: call("set_quotas", self._quotas()), has("quota", 2)),
            (lambda _: call("set_quotas", self._limited_tree()), has("quota", 4)),
            (self._apply, has("conversions", 6)),
            (self._apply_available, has("conversions", 2)),
            (lambda _: self._maintain(), has("maintenance", 4)),
            (lambda _: call(self._pick("restore", "fork")), has("snapshot", 1)),
        ]

    # Resources.

    def _resources(self) -> Any:
        """Return an agent's total."""
        parts = [f"cpus:{self._of(self._sizes)}", f"mem:{self._of(self._sizes)}"]
        parts += [f"disk:{self._of(self._sizes)}"] * self._chance(0.4)
        parts += [f"gpus:{self._pick(1, 2)}"] * self._chance(0.15)
        if "reservations" in self._features:
            for role in self._some(ROLES[1:], most=2):
                parts.append(f"{self._pick('cpus', 'mem')}({role}):{self._of(self._sizes)}")
        if "special" in self._features:
            parts += [f"ports:[{self._pick(1, 3)}-{self._pick(4, 9)}]"] * self._chance(0.4)
            parts += ["ports(eng):[11-14]"] * self._chance(0.1)
            parts += [f"models:{{{self._pick('a', 'a,b')}}}"] * self._chance(0.2)
        text = ";".join(parts)
        entries = self._special()
        return [*_as_json(text), *entries] if entries else text

    def _special(self) -> list[Json]:
        """Return entries that only v1 JSON can say."""
        entries: list[Json] = []
        if "reservations" in self._features and self._chance(0.3):
            stack = self._stack(self._of(ROLES[1:]))
            entries.append({**_scalar("cpus", self._of(self._sizes)), "reservations": stack})
        if "special" in self._features:
            if self._chance(0.3):
                entries.append({**_scalar("cpus", self._of(self._sizes)), "revocable": {}})
            if self._chance(0.25):
                entries.append(self._volume("v1", 2))
            if "shared" in self._features and self._chance(0.25):
                entries.append(self._volume("v2", 4) | {"shared": {}})
            if self._chance(0.25):
                source = {"type": "MOUNT", "mount": {"root": self._pick("/m1", "/m2")}}
                entries.append({**_scalar("disk", self._pick(1, 3)), "disk": {"source": source}})
            if self._chance(0.1):
                provider = {"value": "p1"}
                entries.append({**_scalar("mem", self._of(self._sizes)), "provider_id": provider})
        return entries

    def _volume(self, id: str, size: float) -> Json:
        entry = {**_scalar("disk", size), "disk": {"persistence": {"id": id}}}
        if self._chance(0.7):
            entry["reservations"] = self._stack(self._of(ROLES[1:]))
        return entry

    def _stack(self, role: str) -> list[Json]:
        stack = [{"type": self._pick("STATIC", "DYNAMIC"), "role": role}]
        if self._chance(0.4):
            stack.append({"type": "DYNAMIC", "role": f"{role}/web", "principal": "ops"})
        return stack

    def _part(self, resources: Any) -> Any:
        """Return a part of some resources, now and then more than them."""
        if self._chance(0.03):
            return "cpus:1000"
        parts = [self._part_of(entry) for entry in resources if self._chance(0.7)]
        return [part for part in parts if part is not None]

    def _part_of(self, entry: Any) -> Json | None:
        body: Json = entry.to_json()
        if not entry.splittable or self._chance(0.4):
            return body
        if entry.type == "SCALAR":
            milli = self._random.randint(1, entry.value)
            part = write_milli(milli) if HUGE_AMOUNTS in self._features else milli / 1000
            return {**body, "scalar": {"value": part}}
        if entry.type == "RANGES":
            begin, end = self._of(entry.value)
            middle = self._random.randint(begin, end)
            return {**body, "ranges": {"range": [{"begin": begin, "end": middle}]}}
        return {**body, "set": {"item": [min(entry.value)]}}

    # Agents.

    def _add_agent(self) -> Call:
        more: dict[str, Any] = {}
        if self._chance(0.3):
            more["hostname"] = self._of(HOSTS)
        if self._chance(0.4):
            more["attributes"] = self._attributes()
        if "capabilities" in self._features and self._chance(0.3):
            more["capabilities"] = self._some(AGENT_CAPABILITIES)
            more["region"] = self._pick("r1", "r2", None)
            more["zone"] = self._pick("z1", None)
        if self._chance(0.25):
            more["used"] = self._uses(FRAMEWORKS)
        return call("add_agent", self._of(AGENTS), self._resources(), **more)

    def _add_agents(self) -> Call:
        ids = self._some(AGENTS, 1)
        n = len(ids)
        more: dict[str, Any] = {}
        if self._chance(0.3):
            more["hostnames"] = [self._of(HOSTS) for _ in ids]
        if self._chance(0.4):
            listed = [self._attributes() for _ in ids]
            more["attributes"] = listed if self._chance(0.5) else self._attributes()
        if "capabilities" in self._features and self._chance(0.3):
            more["capabilities"] = self._some(AGENT_CAPABILITIES)
            more["region"] = self._pick("r1", "r2", None)
        if self._chance(0.4):
            more["used"] = {
                "framework": self._one_or_each(FRAMEWORKS, n),
                "role": self._one_or_each(ROLES, n),
                "resources": self._pick(self._used(), {"cpus": self._amounts(n, 0, 0.5)}),
            }
        return call("add_agents", ids, self._each(n), **more)

    def _update_agents(self) -> Call:
        ids = self._some(AGENTS, 1)
        return call("update_agents", ids, self._each(len(ids)))

    def _each(self, n: int) -> Any:
        """Return the totals of each of n agents, now and then of another number."""
        if self._chance(0.4):
            return self._resources()
        return {
            "cpus": self._amounts(n + self._chance(0.02), *self._sizes),
            "mem": self._pick(4, self._amounts(n, *self._sizes)),
            "net": self._pick(0, 2, self._amounts(n, 0, *self._sizes)),
            **self._pick({}, {"ports": "[1-4]"}),
        }

    def _amounts(self, n: int, *choices: float) -> list[float]:
        return [self._of(choices) for _ in range(n)]

    def _one_or_each(self, choices: Sequence[str], n: int) -> str | list[str]:
        return self._of(choices) if self._chance(0.3) else [self._of(choices) for _ in range(n)]

    def _used(self) -> Any:
        if "shared" in self._features and self._chance(0.1):
            return [self._volume("v2", 4) | {"shared": {}}]
        if HUGE_AMOUNTS in self._features:
            return f"cpus:{self._of(HUGE)}"
        return self._pick("cpus:0.1", "cpus:1", "cpus:0.5;mem:0.001", "mem:0.5", "cpus(eng):0.1")

    def _uses(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return id → role → resources."""
        return {
            id: {role: self._used() for role in self._some(ROLES, 1, 2)}
            for id in self._some(ids, 1, 2)
        }

    def _add_resources(self) -> Call:
        more = {"used": self._uses(FRAMEWORKS)} if self._chance(0.5) else {}
        added = "" if self._chance(0.3) else self._resources()
        return call("add_resources", self._of(AGENTS), added, **more)

    def _attributes(self) -> Json:
        return self._pick({}, {"rack": "a"}, {"rack": "b", "slots": 4}, {"rack": 7, "slots": "a"})

    def _update_agent(self, engine: Any) -> Call:
        more: dict[str, Any] = {}
        if self._chance(0.6):
            more["resources"] = self._resources()
        if self._chance(0.3):
            more["attributes"] = self._attributes()
        if "capabilities" in self._features and self._chance(0.3):
            more["capabilities"] = self._some(AGENT_CAPABILITIES)
        return call("update_agent", self._of(AGENTS), **more)

    def _toggle_agent(self, engine: Any) -> Call:
        return call(
            self._pick("activate_agent", "activate_agent", "deactivate_agent"), self._of(AGENTS)
        )

    # Frameworks.

    def _add_framework(self) -> Call:
        roles = self._some(ROLES, 1)
        more = self._described(roles)
        if self._chance(0.15):
            more["active"] = False
        if self._chance(0.15):
            more["used"] = self._uses(AGENTS)
        return call("add_framework", self._of(FRAMEWORKS), roles, **more)

    def _add_frameworks(self) -> Call:
        ids = self._some(FRAMEWORKS, 1)
        if self._chance(0.5):
            return call("add_frameworks", ids, [self._some(ROLES, 1) for _ in ids])
        roles = self._some(ROLES, 1)
        return call("add_frameworks", ids, roles, **self._described(roles))

    def _update_framework(self) -> Call:
        roles = self._some(ROLES, 1)
        more = self._described(roles)
        if self._chance(0.6):
            more["roles"] = roles
        return call("update_framework", self._of(FRAMEWORKS), **more)

    def _described(self, roles: list[str]) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if self._chance(0.2):
            more["suppressed"] = self._some(roles, most=2)
        if "capabilities" in self._features and self._chance(0.6):
            more["capabilities"] = self._some(FRAMEWORK_CAPABILITIES, 1, 6)
        if self._chance(0.2):
            minimum = [None, [], ["cpus:1"], [{"cpus": 2}, {"mem": 3}], ["ports:2"]]
            minimum += [self._minima(), self._minima()]
            more["min_allocatable"] = self._of(minimum)
            if self._chance(0.3):
                more["min_allocatable"] = {
                    self._of(ROLES): ["mem:1"],
                    self._of(ROLES): self._minima(),
                }
        if "constraints" in self._features and self._chance(0.25):
            more["constraints"] = self._constraints()
        return more

    def _minima(self) -> list[dict[str, float]]:
        """Return minima of any names: of scalars, of ranges and sets, of what nobody has."""
        names = ("cpus", "mem", "disk", "gpus", "ports", "cards", "what-nobody-has")
        return [
            {name: self._pick(0.5, 1, 2, 3) for name in self._some(names, 1, 2)}
            for _ in range(self._pick(1, 2, 3))
        ]

    def _constraints(self) -> Json:
        selectors = [{"attribute_name": name} for name in ("rack", "slots")]
        selectors += [{"pseudoattribute_type": kind} for kind in ("HOSTNAME", "REGION", "ZONE")]
        predicates: list[Json] = [
            {"exists": {}},
            {"not_exists": {}},
            {"text_equals": {"value": "a"}},
            {"text_not_equals": {"value": "a"}},
            {"text_matches": {"regex": "h?[12b]|r1"}},
            {"text_not_matches": {"regex": "[ah].*"}},
        ]
        groups = [
            {
                "attribute_constraints": [
                    {"selector": self._of(selectors), "predicate": self._of(predicates)}
                    for _ in range(self._pick(1, 1, 2))
                ]
            }
            for _ in range(self._pick(1, 1, 2))
        ]
        return {"role_constraints": {self._of(ROLES): {"groups": groups}}}

    def _suppress_or_revive(self, engine: Any) -> Call:
        method = self._pick("suppress", "revive", "revive")
        if self._chance(0.4):
            return call(method, self._of(FRAMEWORKS))
        return call(method, self._of(FRAMEWORKS), self._some(ROLES, most=2))

    # Policy.

    def _set_quota(self) -> Call:
        role = self._of(ROLES)
        if self._chance(0.2):
            return call("remove_quota", role)
        return call("set_quota", role, **self._quota())

    def _quotas(self) -> dict[str, Json]:
        return {role: self._quota() for role in self._some(ROLES, 0, 4)}

    def _weights(self) -> dict[str, float]:
        return {role: self._of(WEIGHTS) for role in self._some(ROLES, 0, 4)}

    def _limited_tree(self) -> dict[str, Json]:
        """Return limits above guarantees: what idle ones need is kept for them."""
        names = self._some(("cpus", "mem"), 1)
        return {
            "eng": {"limit": {name: self._pick(2, 3, 4, 6, 8) for name in names}},
            "eng/prod": self._pick(
                {}, {"limit": {"cpus": self._pick(1, 2, 3)}}, {"guarantee": {"cpus": 2}}
            ),
            "eng/prod/web": {"guarantee": {name: self._pick(0.5, 1, 2) for name in names}},
            "eng/test": {"guarantee": {name: self._pick(0, 1, 1.333) for name in names}},
            **self._pick({}, {"ops": {"guarantee": {"cpus": self._of(AMOUNTS)}}}),
        }

    def _quota(self) -> Json:
        quota: Json = {}
        if self._chance(0.7):
            quota["guarantee"] = {
                n: self._of(self._sizes) for n in self._some(("cpus", "mem", "disk"))
            }
        if self._chance(0.5):
            quota["limit"] = {
                n: self._pick(0, 1, 4, 8, 12) for n in self._some(("cpus", "mem", "disk"))
            }
        return quota

    # Cycles and answers.

    def _allocate(self, engine: Any) -> Call:
        return call("allocate", self._some(AGENTS, 1)) if self._chance(0.15) else call("allocate")

    def _answer(self, engine: Any) -> Call:
        if not self._offers:
            return call("allocate")
        id = self._of(self._offers)
        if self._chance(0.9):
            self._offers.remove(id)
        if self._chance(0.3):
            return call("decline", id, refuse_seconds=self._of(REFUSALS))
        if self._chance(0.1):
            return call("rescind", id)
        held = _open_offer(engine, id)
        more: dict[str, Any] = {}
        if self._chance(0.4):
            more["refuse_seconds"] = self._of(REFUSALS)
        if held is None or self._chance(0.3):
            return call("accept", id, **more)
        return call("accept", id, self._part(held), **more)

    def _answer_several(self, engine: Any) -> Call:
        ids = self._some(sorted(set(self._offers)), 0, 4)
        ids += ids[:1] * self._chance(0.03)
        if self._chance(0.8):
            ids = [id for id in ids if _open_offer(engine, id) is not None]
        more = {}
        if self._chance(0.6):
            each = [self._of(REFUSALS) for _ in ids]
            more["refuse_seconds"] = self._pick(self._of(REFUSALS), each)
        if self._chance(0.3):
            return call("decline", ids, **more)
        if self._chance(0.1):
            return call("rescind", ids)
        part = {"cpus": self._amounts(len(ids), 0, 0.001, 0.1)}
        return call(
            "accept", ids, self._pick(None, "cpus:0.1", {"cpus": 0.001}, part, part), **more
        )

    def _release(self, engine: Any) -> Call:
        found = _holdings(engine, "allocated")
        if not found:
            return call("allocate")
        framework, agent, role, resources = self._of(found)
        return call("release", framework, agent, role, self._part(resources))

    def _release_expected(self, engine: Any) -> Call:
        """Give back what a framework uses that was not added yet, or try what there is not."""
        found = _expected(engine)
        if not found:
            return call("allocate")
        framework, agent, role, resources = self._of(found)
        role = self._of(ROLES) if self._chance(0.1) else role
        agent = self._of(AGENTS) if self._chance(0.1) else agent
        if self._chance(0.5):
            return call("release", framework, agent, role, self._part(resources))
        return call(
            "recover_resources",
            framework,
            agent,
            role,
            self._part(resources),
            refuse_seconds=self._of(REFUSALS),
            allocated=self._chance(0.9),
        )

    def _recover_resources(self, engine: Any) -> Call:
        allocated = self._chance(0.5)
        found = _holdings(engine, "allocated" if allocated else "offered")
        if not found:
            return call(
                "release", *(self._of(ids) for ids in (FRAMEWORKS, AGENTS, ROLES)), "cpus:1"
            )
        framework, agent, role, resources = self._of(found)
        return call(
            "recover_resources",
            framework,
            agent,
            role,
            self._part(resources),
            refuse_seconds=self._of(REFUSALS),
            allocated=allocated,
        )

    # Conversions.

    def _apply(self, engine: Any) -> Call:
        if not self._offers:
            return call("allocate")
        id = self._of(self._offers)
        held = _open_offer(engine, id)
        return call("apply", id, self._operations(held or ()))

    def _apply_available(self, engine: Any) -> Call:
        agent = self._of(AGENTS)
        available = next((a.available for a in _agents(engine) if a.id == agent), ())
        return call("apply_available", agent, self._operations(available))

    def _operations(self, resources: Any) -> list[Json]:
        entries = list(resources)
        makers = [self._reserve, self._unreserve, self._create, self._destroy, self._resize]
        if not entries:
            return []
        return [self._of(makers)(self._of(entries)) for _ in range(self._pick(1, 1, 2))]

    def _reserve(self, entry: Any) -> Json:
        body = self._part_of(entry) or {}
        stack = [*body.get("reservations", []), {"type": "DYNAMIC", "role": self._of(ROLES[1:])}]
        wanted = {**body, "reservations": stack}
        source = {"source": [body]} if self._chance(0.2) else {}
        return {"type": "RESERVE", "reserve": {"resources": [wanted], **source}}

    def _unreserve(self, entry: Any) -> Json:
        return {"type": "UNRESERVE", "unreserve": {"resources": [self._part_of(entry)]}}

    def _create(self, entry: Any) -> Json:
        body = self._part_of(entry) or {}
        disk = {**body.get("disk", {}), "persistence": {"id": self._pick("v1", "v3")}}
        volume = {**body, "disk": disk}
        if "shared" in self._features and self._chance(0.3):
            volume["shared"] = {}
        return {"type": "CREATE", "create": {"volumes": [volume]}}

    def _destroy(self, entry: Any) -> Json:
        return {"type": "DESTROY", "destroy": {"volumes": [entry.to_json()]}}

    def _resize(self, entry: Any) -> Json:
        volume = entry.to_json()
        if self._chance(0.5):
            body = {"volume": volume, "subtract": {"value": self._pick(0.5, 1)}}
            return {"type": "SHRINK_VOLUME", "shrink_volume": body}
        disk = {name: part for name, part in volume.items() if name not in ("disk", "shared")}
        addition = {**disk, "type": "SCALAR", "scalar": {"value": 0.5}}
        body = {"volume": volume, "addition": addition}
        return {"type": "GROW_VOLUME", "grow_volume": body}

    # Maintenance.

    def _maintain(self) -> Call:
        agent = self._of(AGENTS)
        if self._chance(0.3):
            return call("set_unavailability", agent, 100.0, self._pick(None, 5.0))
        if self._chance(0.1):
            return call("clear_unavailability", agent)
        return call(
            "answer_inverse",
            self._of(FRAMEWORKS),
            agent,
            self._pick("ACCEPT", "DECLINE", None),
            refuse_seconds=self._of(REFUSALS),
        )

    # What is refused.

    def _wrong(self) -> Call:
        return self._pick(
            call("allocate", ["a9"]),
            call("set_weight", "eng", self._pick(0, -1.0, nan, inf, "2")),
            call("set_weight", self._pick("", "a//b", "/", "..", "-x", "*/a", "a b"), 1.0),
            call("add_framework", "f9", ["eng", self._pick("eng/", "eng/*", "./eng")]),
            call("add_framework", "f9", ["eng"], suppressed=["ops"]),
            call("add_framework", "f9", ["eng"], capabilities=["FLYING"]),
            call("add_agent", "a9", self._pick("cpus:-1", "cpus:nan", "cpus", "cpus:0.0001")),
            call("add_agent", "a9", "cpus:1", used={"f1": {"eng": "cpus:2"}}),
            call("add_agent", "", "cpus:1"),
            call("add_agents", ["a8", "a8"], "cpus:1"),
            call("add_agents", ["a8", "a9"], {"cpus": [1, self._pick(-1, nan, 0.0001)]}),
            call("add_frameworks", ["f8", "f9"], [["eng"], ["eng/"]]),
            call("add_frameworks", ["f8", "f9"], [["eng"], ["ops"]], suppressed=["ops"]),
            call("update_agents", self._pick(["a1", "a1"], ["a1", "a9"]), "cpus:1"),
            call("set_weights", {"eng": 2.0, "ops": self._pick(0, nan)}),
            call("accept", "O9999"),
            call("decline", self._of(self._offers or ["O1"]), refuse_seconds="5"),
            call("skip_cycles", -1),
            call("recover", 3, {}),
            call("set_quota", "eng", limit=self._pick("cpus:-1", "ports:[1-2]")),
        )


_TOGGLES = ("activate_framework", "activate_framework", "deactivate_framework")


def _scalar(name: str, amount: float) -> Json:
    return {"name": name, "type": "SCALAR", "scalar": {"value": amount}}


def _as_json(text: str) -> list[Json]:
    """Return resources given as text in v1 JSON, to which other entries can be added."""
    return [entry for part in text.split(";") for entry in Resources(part).to_json()]


def _agents(engine: Any) -> list[Any]:
    found = []
    for id in AGENTS:
        try:
            found.append(engine.agent(id))
        except UnknownAgent:
            continue
    return found


def _holdings(engine: Any, kind: str) -> list[tuple[str, str, str, Any]]:
    """Return (framework, agent, role, resources) of all that is offered or allocated."""
    found = []
    for id in FRAMEWORKS:
        try:
            held = getattr(engine.framework(id), kind)
        except UnknownFramework:
            continue
        for agent, roles in held.items():
            found += [(id, agent, role, resources) for role, resources in roles.items()]
    return found


def _expected(engine: Any) -> list[tuple[str, str, str, Any]]:
    """Return (framework, agent, role, resources) of what those use who were not added yet."""
    if hasattr(engine._state, "pending"):  # the reference
        pending = engine._state.pending.items()
        return [(p.framework, p.agent, p.role, resources) for p, resources in pending]
    return [
        (framework, agent.id, role, resources)
        for agent in engine._state.agents.values()
        for framework, by_role in (agent.pending or {}).items()
        for role, resources in by_role.items()
    ]


def _open_offer(engine: Any, id: str) -> Any:
    """Return what is in an open offer, None if it is gone."""
    offer = engine.open_offers.get(id)
    return None if offer is None else offer.resources
