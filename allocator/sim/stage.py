"""What a run is played on: axes, rows, machines and frameworks, made of a setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allocator.engine import Allocator
from allocator.resources import Resources
from allocator.resources.fixed import write_milli
from allocator.roles import ancestry
from allocator.sim._placing import Hand, place
from allocator.sim._scheduler import Scheduler
from allocator.sim.framework import Framework, Needs, needs_of, room_of
from allocator.sim.reserving import elsewhere, resources_of, spread_reservations
from allocator.sim.setting import Behaviour, RolePolicy, Setting
from allocator.sim.trace import Shape

#: machine index -> framework -> what it uses there when the run begins
Used = dict[int, dict[str, Resources]]


class Stage:
    """Names, roles and machines of a setting, in order, each a position.

    Amounts are vectors over `names`, in thousandths; rows are those of the ledger.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.machines = setting.machines
        self.kinds = [machine.kind for machine in setting.machines]
        self.names = sorted(_names(setting))
        self.axes = {name: axis for axis, name in enumerate(self.names)}
        self.amounts = np.zeros((len(self.machines), len(self.names)), np.int64)
        for index, machine in enumerate(self.machines):
            for name, amount in machine.resources.milli.items():
                self.amounts[index, self.axes[name]] = amount
        tenants = setting.trace.tenants.values()
        given = [tenant.role for tenant in tenants] + list(setting.roles)
        given += {role for machine in setting.machines for role, _ in machine.reserved}
        self.roles = sorted({path for role in given for path in ancestry(role)})
        self.rows = {role: row for row, role in enumerate(self.roles)}
        self.reserved = spread_reservations(self.machines, setting.roles)
        #: what decides where tasks of a shape fit -> shape -> what jobs of it start
        self._plans: dict[object, dict[Shape, Needs | None]] = {}

    @property
    def parents(self) -> NDArray[np.int64]:
        """The row of each role's parent, -1 for none. O(roles)."""
        return np.array(
            [self.rows.get(role.rpartition("/")[0], -1) for role in self.roles], np.int64
        )

    @property
    def counted(self) -> NDArray[np.uint8]:
        """Not 0 where a resource counts for shares. O(names)."""
        excluded = self.setting.policy.fairness_exclude
        return np.array([name not in excluded for name in self.names], np.uint8)

    def policy_of(self, role: str) -> RolePolicy:
        """Return a role's weight, quota and reservations. O(1)."""
        return self.setting.roles.get(role, _DEFAULT)

    def vector(self, amounts: Any) -> list[int]:
        """Return thousandths by axis, of a mapping by name. O(names)."""
        return [amounts.get(name, 0) for name in self.names]

    def frameworks(self) -> dict[str, Framework]:
        """Return the frameworks by name, in the order of the tenants. O(tenants)."""
        found = {}
        for index, (name, tenant) in enumerate(self.setting.trace.tenants.items()):
            behaviour = self.setting.behaviours.get(name, _GREEDY)
            room = room_of(tenant, behaviour)
            scheduler = Scheduler(name, len(self.names), self.setting.policy.seed, room)
            key = (
                behaviour.gang,
                behaviour.claims,
                behaviour.kinds if behaviour.kind == "picky" else None,
                room,
                tenant.role if self.reserved else None,
            )
            plans = self._plans.setdefault(key, {})
            found[name] = Framework(
                index, tenant, behaviour, self.rows[tenant.role], scheduler, plans
            )
        return found

    def plan(self, framework: Framework, shape: Shape) -> Needs | None:
        """Return what jobs of a shape start, or None if it would not fit the empty cluster.

        O(1); O(machines × names) for a new shape.
        """
        if shape not in framework.plans:
            needs = needs_of(shape, framework.behaviour, self.axes, self.kinds)
            fits = all(self._fits_empty(framework, needs, i) for i in range(len(needs)))
            framework.plans[shape] = needs if fits else None
        return framework.plans[shape]

    def _fits_empty(self, framework: Framework, needs: Needs, index: int) -> bool:
        hand = Hand(len(self.names))
        for machine in range(len(self.machines)):
            if self.machines[machine].id not in self.setting.inactive:
                free = self.open_to(machine, framework.tenant.role)
                hand.add(machine, free, framework.scheduler.room)
        return place(needs[index][1], 1, hand, {}).n > 0

    def open_to(self, machine: int, role: str) -> list[int]:
        """Return what a role may have of an empty machine, thousandths by axis. O(names)."""
        free: list[int] = self.amounts[machine].tolist()
        there = self.reserved.get(machine)
        if there:
            for name, amount in elsewhere(there, role).items():
                free[self.axes[name]] -= amount
        return free

    def has(self, machine: int) -> Resources:
        """Return all that a machine has. O(names)."""
        return resources_of(self.machines[machine], self.reserved.get(machine, {}))

    # The engine.

    def allocator(
        self, make: Callable[..., Allocator], clock: Callable[[], float], used: Used
    ) -> Allocator:
        """Return an allocator with the policy, the machines and the frameworks."""
        engine = make(clock=clock, **self._engine_options())
        roles = self.setting.roles
        engine.set_weights({role: policy.weight for role, policy in roles.items()})
        engine.set_quotas(
            {
                role: {"guarantee": policy.guarantee, "limit": _amounts(policy.limit)}
                for role, policy in roles.items()
                if policy.guarantee or policy.limit
            }
        )
        free = [index for index in range(len(self.machines)) if index not in used]
        engine.add_agents([self.machines[i].id for i in free], [self.has(i) for i in free])
        for index, by_framework in used.items():
            engine.add_agent(
                self.machines[index].id,
                self.has(index),
                used={name: {self.role_of(name): r} for name, r in by_framework.items()},
            )
        for id in sorted(self.setting.inactive):
            engine.deactivate_agent(id)
        for name, tenant in self.setting.trace.tenants.items():
            # Whoever may use GPUs here knows what they are; without saying so, a framework is not
            # offered machines that have some.
            engine.add_framework(
                name,
                roles=[tenant.role],
                suppressed=[tenant.role],
                capabilities=["GPU_RESOURCES"],
            )
        return engine

    def role_of(self, tenant: str) -> str:
        """Return a tenant's role. O(1)."""
        return self.setting.trace.tenants[tenant].role

    def _engine_options(self) -> dict[str, Any]:
        policy = self.setting.policy
        options: dict[str, Any] = {
            "seed": policy.seed,
            "allocation_interval": policy.interval_s,
            "role_sorter": policy.role_sorter,
            "framework_sorter": policy.framework_sorter,
            "fairness_exclude": policy.fairness_exclude,
            "min_allocatable": policy.min_allocatable,
            "offer_timeout": policy.offer_timeout_s,
        }
        if policy.sorter_options:
            options["sorter_options"] = dict(policy.sorter_options)
        return options


_DEFAULT = RolePolicy()
_GREEDY = Behaviour()


def _names(setting: Setting) -> set[str]:
    """Return each resource name that occurs."""
    shapes = {id(job.shape): job.shape for job in setting.trace.jobs}.values()
    amounts: list[Iterable[str]] = [tasks.demand for shape in shapes for tasks in shape.tasks]
    amounts += [machine.resources for machine in setting.machines]
    amounts += [behaviour.claims for behaviour in setting.behaviours.values()]
    amounts += [placed.demand for placed in setting.placed]
    for policy in setting.roles.values():
        amounts += [policy.guarantee, policy.limit]
    return {name for each in {id(each): each for each in amounts}.values() for name in each}


def _amounts(milli: Any) -> dict[str, str]:
    return {name: write_milli(amount) for name, amount in milli.items()}
