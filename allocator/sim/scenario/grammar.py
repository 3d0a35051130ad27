"""The keys of a scenario: the one list of what may stand where.

Reading, the JSON Schema and the nearest known key all go by it.
"""

from __future__ import annotations

import re
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.resources import Quantities
from allocator.sim.cluster import MAX_MACHINES, MachineGroup, parse_group
from allocator.sim.readers import TRACE_FORMATS
from allocator.sim.scenario import distributions, durations
from allocator.sim.scenario.dump import Dump
from allocator.sim.scenario.kinds import (
    AMOUNTS,
    FLAG,
    JSON,
    LIMITS,
    ROLE,
    SOME,
    Key,
    Many,
    Named,
    OneOrMany,
    Table,
    Value,
    choice,
    duration,
    integer,
    number,
    text,
)
from allocator.sim.setting import ACTIONS, BACKFILLS, BEHAVIOURS
from allocator.sim.trace import Trace
from allocator.sim.workloads import WORKLOADS
from allocator.sorter import SORTERS
from allocator.sorter.base import MAX_WEIGHT, MIN_WEIGHT

#: The order in which tasks come, and what sets how long they take.
ARRIVALS = ("poisson", "uniform", "at-once")

#: No tenant has more jobs, nor has a scenario.
MAX_JOBS = 10_000_000

#: No template makes more tenants.
MAX_COPIES = 100_000

#: No scenario has more tenants.
MAX_TENANTS = 1_000_000

_STRING: JSON = {"type": "string", "minLength": 1}

_SORTER = choice(SORTERS)
_POSITIVE = duration(zero=False)
_INSTANT = duration(zero=True)


def _seed(value: object) -> int | str:
    if isinstance(value, bool) or not isinstance(value, (int, str)) or len(shown(value)) > 100:
        raise InvalidValue(shown(value))
    return value


def _group(value: object) -> MachineGroup:
    """Read a group of machines; a blank before its kind is left out."""
    if not isinstance(value, str):
        raise InvalidValue(shown(value))
    return parse_group(value)


_RESERVED = re.compile(r"(?P<count>[0-9]{1,7})\s*x\s*(?P<resources>\S.*)")


def _reserved(value: object) -> tuple[int, Quantities]:
    match = _RESERVED.fullmatch(value.strip()) if isinstance(value, str) else None
    count = int(match["count"]) if match else 0
    if match is None or not 0 < count <= MAX_MACHINES:
        raise InvalidValue(shown(value))
    resources = Quantities(match["resources"])
    if not resources.milli:
        raise InvalidValue(shown(value))
    return count, resources


def _trace(value: object) -> str | Trace:
    if isinstance(value, Trace):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidValue(shown(value))
    return value


def _file(value: object) -> str | Dump:
    """Return the name of a file, or what one says."""
    if isinstance(value, Dump):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidValue(shown(value))
    return value


def _of_machines(value: object) -> int | tuple[str, ...]:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_MACHINES:
        return value
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, (list, tuple)) or not named:
        raise InvalidValue(shown(value))
    if not all(isinstance(name, str) and name for name in named):
        raise InvalidValue(shown(value))
    return tuple(named)


_MACHINES = Value(_group, 'a group such as "4x cpus:64;mem:488000 @a100"', _STRING)
_DUMP_FILE = Value(_file, "the name of a file", _STRING)

POLICY = Table(
    {
        "sorter": Key(_SORTER, "who is next, among roles and among the frameworks of each"),
        "role_sorter": Key(_SORTER, "who is next among roles, where that differs"),
        "framework_sorter": Key(_SORTER, "who is next among the frameworks of a role"),
        "interval": Key(_POSITIVE, "between two allocation cycles (1s)"),
        "fairness_exclude": Key(
            Many(text("the name of a resource")), "resources that count in no share"
        ),
        "saturation": Key(
            number(0, 1), "of hdrf: a resource is full if no larger part of it is left (0)"
        ),
        "min_allocatable": Key(
            OneOrMany(SOME), "what an offer must contain at least any one of (anything)"
        ),
        "offer_timeout": Key(_POSITIVE, "how long an offer may stay open (as long as it will)"),
    }
)

EVENT = Table(
    {
        "at": Key(_INSTANT, "when the machines are lost or back", required=True),
        "action": Key(choice(ACTIONS), "what happens to them", required=True),
        "machines": Key(
            Value(
                _of_machines,
                "a number of machines, drawn by the seed, or a list of their ids",
                {
                    "anyOf": [
                        {"type": "integer", "minimum": 1, "maximum": MAX_MACHINES},
                        _STRING,
                        {"type": "array", "items": _STRING, "minItems": 1},
                    ]
                },
            ),
            "how many, drawn by the seed, or the ids of which (return: all that are down)",
        ),
        "kind": Key(text("a kind of machine"), "draw of this kind only"),
        "for": Key(_POSITIVE, "they are back after so long (not before a return)"),
        "notice": Key(_INSTANT, "of drain: how long before it is announced (0s)"),
    }
)

CLUSTER = Table(
    {
        "machines": Key(OneOrMany(_MACHINES), "groups of equal machines, COUNTx RESOURCES @KIND"),
        "file": Key(_DUMP_FILE, "a file of machines, or cluster.json as an import writes it"),
        "scale": Key(number(0, 1e6, above=True), "machines of each kind for one stated (1)"),
        "event": Key(Many(EVENT), "machines lost, drained and back"),
    }
)

ROLES = Named(
    Table(
        {
            "weight": Key(number(MIN_WEIGHT, MAX_WEIGHT), "its weight among its siblings (1)"),
            "guarantee": Key(AMOUNTS, "what is held back for it and all below it"),
            "limit": Key(LIMITS, "the most that it and all below it may hold; 0 is a limit"),
            "reserve": Key(
                OneOrMany(Value(_reserved, 'such as "20x cpus:4;mem:8192"', _STRING)),
                "static reservations: so much on each of the first so many machines",
            ),
        }
    ),
    ROLE,
)

TENANT = Table(
    {
        "name": Key(text("a name"), "its name, and its role's", required=True),
        "role": Key(ROLE, "its role (the name)"),
        "copies": Key(integer(1, MAX_COPIES), "N: tenants NAME000 …, each with its own draws (1)"),
        "jobs": Key(integer(1, MAX_JOBS), "how many jobs (as many as come before the horizon)"),
        "start": Key(_INSTANT, "when arrivals begin (0s)"),
        "arrivals": Key(
            choice(ARRIVALS),
            "poisson, the first gap before the first job; uniform, job k at start + k/rate; "
            "at-once, without a rate (poisson)",
        ),
        "rate": Key(
            Value(
                durations.per_second,
                durations.RATE_GRAMMAR,
                {"type": "string", "pattern": "^[0-9.]+/[smhdw]$"},
            ),
            "how often jobs come",
        ),
        "tasks": Key(
            Value(
                distributions.read_tasks,
                distributions.TASKS_GRAMMAR,
                {
                    "anyOf": [
                        {"type": "integer", "minimum": 1, "maximum": distributions.MAX_TASKS},
                        {"type": "string", "pattern": r"^[0-9]+\.\.[0-9]+$"},
                        {
                            "type": "array",
                            "items": {"type": "integer", "minimum": 1},
                            "minItems": 1,
                        },
                    ]
                },
            ),
            "how many tasks a job has, drawn for each (1)",
        ),
        "demand": Key(OneOrMany(SOME), "what a task needs, drawn for each job", required=True),
        "duration": Key(
            Value(
                distributions.read_durations,
                distributions.GRAMMAR,
                {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _STRING]},
            ),
            "how long a job's tasks run, drawn for each job",
            required=True,
        ),
    }
)

WORKLOAD = Table(
    {
        "trace": Key(
            Value(_trace, "the name of a file", _STRING), "a recorded trace, plain or gzip"
        ),
        "format": Key(choice(TRACE_FORMATS), "of the trace (told by its content)"),
        "machines": Key(
            OneOrMany(text("a file or a group of machines")),
            "the trace's machines: files or groups (depends on the format)",
        ),
        "lenient": Key(FLAG, "skip and count malformed lines of the trace (false)"),
        "builtin": Key(choice(WORKLOADS), "a built-in workload"),
        "cluster": Key(_DUMP_FILE, "the running and waiting work of a cluster.json"),
        "load": Key(number(0, 1e9, above=True), "submission times are divided by it (1)"),
        "tenant": Key(Many(TENANT), "synthetic work: one table for each tenant"),
    }
)

TENANTS = Named(
    Table(
        {
            "behaviour": Key(
                choice(BEHAVIOURS),
                "greedy; one task an offer; hoard, which keeps unfit offers open; picky (greedy)",
            ),
            "hold": Key(_INSTANT, "how long hoard keeps them (60s)"),
            "kinds": Key(
                OneOrMany(text("a kind of machine")), "of picky: the only kinds that it takes"
            ),
            "refuse": Key(
                _INSTANT, "how long it refuses what it has no use for; 0: no filter (7d)"
            ),
            "gang": Key(FLAG, "whether a job's tasks start all at once (true)"),
            "claims": Key(AMOUNTS, "a misreport: each task takes at least this much"),
            "backfill": Key(
                choice(BACKFILLS), "easy: no job delays the start of the oldest waiting (none)"
            ),
        }
    ),
    text("a tenant's name, or a pattern such as queue/*"),
)

SCENARIO = Table(
    {
        "title": Key(text("a title"), "what the scenario is called"),
        "seed": Key(
            Value(
                _seed,
                "an integer or text, of at most 100 characters",
                {"type": ["integer", "string"]},
            ),
            "decides all that is drawn (0)",
        ),
        "horizon": Key(_POSITIVE, "where the run ends (when nothing is left to happen)"),
        "policy": Key(POLICY, "how the allocator is set"),
        "cluster": Key(CLUSTER, "the machines, and what happens to them"),
        "roles": Key(ROLES, "weights, guarantees, limits and reservations of roles"),
        "workload": Key(WORKLOAD, "who wants what and when", required=True),
        "tenants": Key(TENANTS, "how frameworks behave, by name or pattern"),
    }
)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of scenarios, as JSON has what TOML says.

    It knows keys, types and bounds; what must fit together is told by `check` alone.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A scenario of allocator simulate",
        **SCENARIO.schema(),
    }
