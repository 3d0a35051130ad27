"""The engine and the reference as one state machine, for hypothesis to explore and to shrink."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.differential.history import Call, History, call
from tests.differential.judge import Judge

AGENTS = st.sampled_from(["a1", "a2", "a3"])
FRAMEWORKS = st.sampled_from(["f1", "f2", "f3"])
ROLES = st.sampled_from(["*", "eng", "eng/prod", "eng/prod/web", "ops"])
SOME_ROLES = st.lists(ROLES, min_size=1, max_size=3, unique=True)
AMOUNTS = st.integers(1, 8000).map(lambda milli: milli / 1000)
SCALARS = st.dictionaries(st.sampled_from(["cpus", "mem", "disk"]), AMOUNTS, min_size=1)
TOTALS = st.one_of(
    SCALARS,
    st.builds("cpus:{};mem:{};cpus({}):{}".format, AMOUNTS, AMOUNTS, st.just("eng"), AMOUNTS),
    st.builds("mem:{};ports:[1-{}]".format, AMOUNTS, st.integers(1, 9)),
)
#: Multiples of 1/8 s: sums of them are exact, so that filters end at the instants looked at.
SECONDS = st.integers(0, 64).map(lambda eighths: eighths / 8)
REFUSALS = st.one_of(st.none(), SECONDS)


class EngineAgainstReference(RuleBasedStateMachine):
    """Each rule makes one call on both; the judge compares all there is after it."""

    @initialize(
        seed=st.integers(0, 2**32),
        sorter=st.sampled_from(["drf", "naive", "sorted", "random"]),
        interval=st.sampled_from([0.25, 1.0]),
    )
    def begin(self, seed: int, sorter: str, interval: float) -> None:
        options = {"seed": seed, "sorter": sorter, "allocation_interval": interval}
        self.judge = Judge(options)
        self.do(call("add_agent", "a1", "cpus:4;mem:4"))
        self.do(call("add_framework", "f1", ["eng"]))

    def do(self, made: Call) -> Any:
        try:
            return self.judge.do(made)
        except Exception as error:
            error.add_note(str(History(self.judge.options, self.judge.calls)))
            raise

    def open_offers(self) -> list[str]:
        return list(self.judge.reference._state.offers)

    @rule(agent=AGENTS, total=TOTALS)
    def add_agent(self, agent: str, total: Any) -> None:
        self.do(call("add_agent", agent, total))

    @rule(agent=AGENTS, total=TOTALS)
    def update_agent(self, agent: str, total: Any) -> None:
        self.do(call("update_agent", agent, resources=total))

    @rule(agent=AGENTS, method=st.sampled_from(["remove", "deactivate", "activate"]))
    def change_agent(self, agent: str, method: str) -> None:
        self.do(call(f"{method}_agent", agent))

    @rule(framework=FRAMEWORKS, roles=SOME_ROLES, agent=AGENTS, used=st.none() | SCALARS)
    def add_framework(self, framework: str, roles: list[str], agent: str, used: Any) -> None:
        in_use = None if used is None else {agent: {roles[0]: used}}
        self.do(call("add_framework", framework, roles, used=in_use))

    @rule(framework=FRAMEWORKS, roles=SOME_ROLES)
    def update_framework(self, framework: str, roles: list[str]) -> None:
        self.do(call("update_framework", framework, roles=roles))

    @rule(framework=FRAMEWORKS, method=st.sampled_from(["remove", "deactivate", "activate"]))
    def change_framework(self, framework: str, method: str) -> None:
        self.do(call(f"{method}_framework", framework))

    @rule(
        framework=FRAMEWORKS,
        method=st.sampled_from(["suppress", "revive"]),
        roles=st.none() | SOME_ROLES,
    )
    def suppress_or_revive(self, framework: str, method: str, roles: list[str] | None) -> None:
        self.do(call(method, framework, roles))

    @rule(role=ROLES, weight=st.sampled_from([0.5, 1.0, 3.0]))
    def set_weight(self, role: str, weight: float) -> None:
        self.do(call("set_weight", role, weight))

    @rule(role=ROLES, guarantee=st.none() | SCALARS, limit=st.none() | SCALARS)
    def set_quota(self, role: str, guarantee: Any, limit: Any) -> None:
        self.do(call("set_quota", role, guarantee=guarantee, limit=limit))

    @rule(agents=st.none() | st.lists(AGENTS, max_size=2))
    def allocate(self, agents: list[str] | None) -> None:
        self.do(call("allocate", agents))

    @rule(seconds=SECONDS)
    def advance(self, seconds: float) -> None:
        self.do(call("advance", seconds))

    @precondition(open_offers)
    @rule(data=st.data(), kept=st.none() | SCALARS, refuse_seconds=REFUSALS)
    def accept(self, data: st.DataObject, kept: Any, refuse_seconds: float | None) -> None:
        id = data.draw(st.sampled_from(self.open_offers()))
        self.do(call("accept", id, kept, refuse_seconds=refuse_seconds))

    @precondition(open_offers)
    @rule(data=st.data(), refuse_seconds=REFUSALS)
    def decline(self, data: st.DataObject, refuse_seconds: float | None) -> None:
        id = data.draw(st.sampled_from(self.open_offers()))
        self.do(call("decline", id, refuse_seconds=refuse_seconds))

    @rule(
        framework=FRAMEWORKS,
        agent=AGENTS,
        role=ROLES,
        resources=SCALARS,
        refuse_seconds=REFUSALS,
        allocated=st.booleans(),
    )
    def recover_resources(
        self,
        framework: str,
        agent: str,
        role: str,
        resources: Any,
        refuse_seconds: float | None,
        allocated: bool,
    ) -> None:
        more = {"refuse_seconds": refuse_seconds, "allocated": allocated}
        self.do(call("recover_resources", framework, agent, role, resources, **more))

    @rule(method=st.sampled_from(["restore", "fork", "pause", "resume"]))
    def go_on(self, method: str) -> None:
        self.do(call(method))


EngineAgainstReference.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestEngineAgainstReference = EngineAgainstReference.TestCase
