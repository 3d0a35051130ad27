"""Settings made by hand and at random, for the tests of runs."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from allocator.resources import Quantities, read_limits
from allocator.sim import Job, MachineGroup, Shape, Spread, Tasks, Tenant, Trace
from allocator.sim.cluster import Machine, machines
from allocator.sim.setting import (
    Behaviour,
    ClusterEvent,
    Placed,
    Policy,
    RolePolicy,
    Setting,
)


def job(
    tenant: str,
    submit_s: float,
    run_s: float,
    n_tasks: int = 1,
    demand: str = "cpus:1",
    **more: Any,
) -> Job:
    shape = Shape((Tasks(n_tasks, Quantities(demand)),))
    return Job(f"{tenant}@{submit_s}", tenant, submit_s, run_s, shape, **more)


def role(
    weight: float = 1.0,
    guarantee: str = "",
    limit: str = "",
    reserve: tuple[tuple[int, str], ...] = (),
) -> RolePolicy:
    return RolePolicy(
        weight,
        Quantities(guarantee),
        read_limits(limit),
        tuple((n, Quantities(amounts)) for n, amounts in reserve),
    )


def setting(
    jobs: Sequence[Job],
    *groups: str,
    roles: Mapping[str, RolePolicy] | None = None,
    behaviours: Mapping[str, Behaviour] | None = None,
    tenants: Sequence[str] = (),
    **more: Any,
) -> Setting:
    """Return a setting; tenants are in roles of their names, machine groups are texts."""
    ordered = tuple(sorted(jobs, key=lambda job: job.submit_s))
    names = dict.fromkeys([*tenants, *(job.tenant for job in ordered)])
    cluster = []
    for text in groups:
        n, _, rest = text.partition("x")
        resources, _, kind = rest.partition("@")
        cluster.append(MachineGroup(int(n), Quantities(resources), kind))
    trace = Trace(
        "made",
        "made",
        ordered,
        {name: Tenant(name, name) for name in names},
        tuple(cluster),
        "made",
    )
    more.setdefault("policy", Policy())
    return Setting(
        "made",
        machines=tuple(machines(cluster)),
        trace=trace,
        roles=roles or {},
        behaviours=behaviours or {},
        **more,
    )


# At random.

_ROLES = ("a/x", "a/y", "b", "b/z", "c")


def random_jobs(rng: random.Random, n: int) -> list[Job]:
    """Contended work: gangs, mixed gangs, kinds, spreads, requested times that are wrong."""
    jobs = []
    for i in range(n):
        tasks = [
            Tasks(
                rng.randint(1, 4), Quantities({"cpus": rng.randint(1, 4), "mem": rng.randint(1, 8)})
            )
            for _ in range(rng.choice([1, 1, 1, 2]))
        ]
        kinds = frozenset({rng.choice(["p", "q"])}) if rng.random() < 0.2 else frozenset[str]()
        spread = Spread("s", 2) if rng.random() < 0.2 else None
        run_s = rng.choice([0.25, 7.0, 60.0, 133.3])
        jobs.append(
            Job(
                str(i),
                rng.choice(_ROLES),
                round(rng.uniform(0, 300), rng.choice([0, 1, 3])),
                run_s,
                Shape(tuple(tasks), kinds, spread),
                requested_s=rng.choice([None, run_s * 2, 40.0]),
            )
        )
    return jobs


def random_behaviour(rng: random.Random) -> Behaviour:
    kind = rng.choice(["greedy", "greedy", "one", "hoard", "picky"])
    return Behaviour(
        kind=kind,
        hold_s=rng.choice([0.0, 5.0, 60.0]),
        kinds=frozenset({"p", "q"}),
        refuse_s=rng.choice([0.0, 5.0, 1e6]),
        gang=rng.random() < 0.6,
        claims=Quantities(rng.choice(["", "", "cpus:2", "mem:3"])),
        backfill=rng.choice(["none", "none", "easy"]),
    )


def random_event(rng: random.Random) -> ClusterEvent:
    named = rng.random() < 0.3
    action = rng.choice(["fail", "fail", "return", "drain"])
    return ClusterEvent(
        at_s=rng.choice([0.0, 30.0, round(rng.uniform(0, 500), 1)]),
        action=action,
        n_machines=None if named else rng.randint(1, 3),
        ids=("p-0000", "node-0000") if named else (),
        kind=None if named else rng.choice([None, "p", "q"]),
        for_s=None if action == "return" else rng.choice([None, 0.5, 50.0, 200.0]),
        notice_s=rng.choice([0.0, 20.0]) if action == "drain" else 0.0,
    )


def random_placed(rng: random.Random) -> Placed:
    return Placed(
        rng.choice(_ROLES),
        rng.choice([None, "p-0001", "node-0000"]),
        Quantities({"cpus": rng.randint(1, 3)}),
        rng.randint(1, 3),
        rng.choice([20.0, 90.5]),
    )


def random_setting(seed: int, **more: Any) -> Setting:
    """Everything that a setting may have, at random; machines come back in the end."""
    rng = random.Random(seed)
    roles = {
        "a": role(rng.choice([1.0, 3.0]), limit=rng.choice(["", "cpus:20"])),
        "b": role(guarantee=rng.choice(["", "cpus:6;mem:4"]), limit=rng.choice(["", "mem:30"])),
        "c": role(2.0, reserve=rng.choice([(), ((2, "cpus:3;mem:2"),)])),
    }
    if rng.random() < 0.3:
        roles["a/x"] = role(reserve=((1, "cpus:2"),), limit="cpus:11")
    events = [random_event(rng) for _ in range(rng.choice([0, 1, 4, 8]))]
    events.append(ClusterEvent(600.0, "return", n_machines=100))
    policy = Policy(
        seed=seed,
        interval_s=rng.choice([0.7, 1.0]),
        fairness_exclude=rng.choice([(), ("mem",)]),
        offer_timeout_s=rng.choice([None, 10.0]),
    )
    made = setting(
        random_jobs(rng, 60),
        "3xcpus:8;mem:16@p",
        "2xcpus:12;mem:12@q",
        "1xcpus:4;mem:4",
        roles=roles,
        behaviours={name: random_behaviour(rng) for name in _ROLES},
        tenants=_ROLES,
        events=tuple(events),
        placed=tuple(random_placed(rng) for _ in range(rng.choice([0, 0, 3]))),
        inactive=frozenset(rng.choice([(), (), ("q-0001",)])),
        horizon_s=rng.choice([None, 300.0, 5000.0]),
        policy=policy,
    )
    if rng.random() < 0.5:
        made = replace(made, placed=(*made.placed, *random_fixed(rng)))
    if rng.random() < 0.3:
        made = replace(made, machines=tuple(random_reserved(rng, m) for m in made.machines))
    return replace(made, **more)


def random_fixed(rng: random.Random) -> list[Placed]:
    """Return work that belongs to machines, some of it without an end."""
    return [
        Placed(
            rng.choice(_ROLES),
            machine,
            Quantities({"cpus": 1, "mem": rng.randint(1, 2)}),
            rng.randint(1, 2),
            rng.choice([20.0, 1000.0]),
            fixed=True,
        )
        for machine in ("p-0000", "p-0001", "node-0000")
        if rng.random() < 0.7
    ]


def random_reserved(rng: random.Random, machine: Machine) -> Machine:
    """Return a machine that has something reserved itself, or not."""
    amounts = Quantities({"cpus": rng.randint(1, 4)})
    return replace(machine, reserved=rng.choice([(), ((rng.choice(_ROLES), amounts),)]))
