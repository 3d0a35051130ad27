"""LargeAndSmallQuota and NonQuotaVsQuota: a cycle that gives all away, and the one after it.

The parameters are those of Apache Mesos' benchmarks of quota.
"""

from __future__ import annotations

from allocator import Allocator

from .engines import ENGINES, OneCallEach, add_agents, build, look_at
from .grid import sizes

AGENT = "cpus:2;mem:2048;disk:2048"
#: Half an agent.
SMALL = "cpus:1;mem:1024;disk:1024"
#: Two agents.
LARGE = "cpus:4;mem:4096;disk:4096"


class _TwoCycles(OneCallEach):
    """What the two benchmarks share; asv passes over a name with an underscore."""

    operations = ("policy_and_frameworks", "full_cycle", "empty_cycle")

    def prepare(self, engine: Allocator, n_agents: int, operation: str) -> None:
        """Add the agents and run all that comes before `operation`."""
        self.engine = engine
        add_agents(engine, n_agents, AGENT)
        if operation != "policy_and_frameworks":
            self.add_roles()
        if operation == "empty_cycle":
            assert engine.allocate()

    def add_roles(self) -> None:
        raise NotImplementedError

    def time_operation(self, operation: str, *_: object) -> None:
        if operation == "policy_and_frameworks":
            self.add_roles()
        else:
            look_at(self.engine.allocate())


class LargeAndSmallQuota(_TwoCycles):
    """Roles with a guarantee and limit of half an agent, others with two; a framework in each.

    There are agents for all, and some more. With both, the largest size makes 3500 offers.
    """

    params = (
        _TwoCycles.operations,
        ENGINES,
        # "small roles + large roles".
        sizes(smoke=["10+2"], default=["25+5", "250+50"], full=["25+5", "250+50", "2500+500"]),
    )
    param_names = ("operation", "sorter", "roles")

    def setup(self, operation: str, sorter: str, roles: str) -> None:
        self.n_small, self.n_large = (int(number) for number in roles.split("+"))
        n_agents = self.n_small // 5 + 5 * self.n_large
        engine = build(sorter, n_agents, self.n_small + self.n_large, n_cycles=2)
        self.prepare(engine, n_agents, operation)

    def add_roles(self) -> None:
        for index in range(self.n_small):
            self.engine.set_quota(f"small{index}", guarantee=SMALL, limit=SMALL)
            self.engine.add_framework(f"small{index}", roles=(f"small{index}",))
        for index in range(self.n_large):
            self.engine.set_quota(f"large{index}", guarantee=LARGE, limit=LARGE)
            self.engine.add_framework(f"large{index}", roles=(f"large{index}",))


class NonQuotaVsQuota(_TwoCycles):
    """Two agents and two frameworks a role, without quota and with a guarantee of two agents."""

    params = (
        _TwoCycles.operations,
        ENGINES,
        sizes(smoke=[5], default=[10, 100, 1000], full=[10, 100, 1000]),
        [False, True],
    )
    param_names = ("operation", "sorter", "roles", "quota")

    def setup(self, operation: str, sorter: str, n_roles: int, quota: bool) -> None:
        self.n_roles = n_roles
        self.quota = quota
        engine = build(sorter, 2 * n_roles, 2 * n_roles, n_cycles=2)
        self.prepare(engine, 2 * n_roles, operation)

    def add_roles(self) -> None:
        for index in range(self.n_roles):
            role = f"role{index}"
            if self.quota:
                self.engine.set_quota(role, guarantee=LARGE)
            self.engine.add_framework(f"{role}-first", roles=(role,))
            self.engine.add_framework(f"{role}-second", roles=(role,))
