"""The policy of the master: what is known, and what follows from what happens.

Synchronous and free of I/O: a call changes what is known and the engine, and leaves instructions
behind (`take`), which somebody else carries out. Times are handed in: `now` is a steady clock's,
`wall` that of the calendar. The calls of each API stand in `scheduler`, `operator` and `agents`;
here is what they have in common.

V1. A task holds resources in the engine exactly while `holds`: from its launch to its terminal
    status, or until its agent is away. An executor does while it is in `executors` of its agent
    and of its framework: from its launch until it is gone.
V2. An open offer of the engine is in `offers`, and in those of its framework and of its agent.
V3. A framework is in the engine while it is in `frameworks`, and active there while it is connected
    and active; an agent is in the engine exactly while it is in `agents`.
V4. What must survive the end of the process is in the instructions (`Persist`) of the call that
    brought it about, and so in the registry before that call is answered.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from allocator import Allocator, Offers
from allocator.contract import InverseOffer, Offer
from allocator.master import events, forms
from allocator.master.events import MasterInfo
from allocator.master.instructions import (
    EndStream,
    Instruction,
    Persist,
    Publish,
    Send,
)
from allocator.master.records import (
    MAX_COMPLETED_FRAMEWORKS,
    MAX_REMEMBERED,
    MAX_UNREACHABLE_TASKS,
    Agent,
    Executor,
    Framework,
    Json,
    Session,
    Task,
)
from allocator.master.schedule import Schedule
from allocator.master.tasks import (
    TERMINAL,
    Resends,
    note_status,
    status_of_master,
)
from allocator.wire.messages import OfferFilters

#: What the engine knows of a framework's capabilities; the others are the master's matter.
ENGINE_CAPABILITIES = frozenset(
    {
        "GPU_RESOURCES",
        "SHARED_RESOURCES",
        "REVOCABLE_RESOURCES",
        "MULTI_ROLE",
        "RESERVATION_REFINEMENT",
        "REGION_AWARE",
        "PARTITION_AWARE",
    }
)


class Options(NamedTuple):
    """What was set when the master was started; times in seconds."""

    heartbeat_interval: float = 15.0
    agent_ping_timeout: float = 15.0
    max_agent_ping_timeouts: int = 5
    agent_reregister_timeout: float = 600.0
    cluster: str | None = None

    def flags(self) -> dict[str, str]:
        """Return what is set, as it is shown: name → text."""
        return {name: str(value) for name, value in self._asdict().items() if value is not None}


DEFAULTS: Final = Options()

#: State of the tasks of an agent that is removed → reason and message.
_LOSSES: Final = {
    "TASK_UNREACHABLE": ("REASON_AGENT_REMOVED", "The agent cannot be reached"),
    "TASK_GONE": ("REASON_AGENT_REMOVED", "The agent has left"),
    "TASK_GONE_BY_OPERATOR": ("REASON_AGENT_REMOVED_BY_OPERATOR", "The agent is gone"),
}


class Master:
    """Frameworks, agents and tasks, and the engine that decides who is offered what.

    Parameters
    ----------
    engine : Allocator
        An engine that nobody else uses, whose offer ids begin with the master's id and a hyphen.
    info : MasterInfo
        How the master is found; its id is new at each start.
    options : Options
    flags : mapping
        What it was started with, as it is shown: name → text.
    clock : callable
        A steady clock, the engine's, in seconds.
    wall : callable
        The time of the calendar, in seconds since 1970.
    """

    def __init__(
        self,
        engine: Allocator,
        info: MasterInfo,
        options: Options = DEFAULTS,
        *,
        flags: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.engine = engine
        self.info = info
        self.options = options
        self.flags = dict(options.flags() if flags is None else flags)
        self.clock = clock
        self.wall = wall
        self.start_time = wall()
        #: Since when it leads, by the calendar; None as long as it does not.
        self.elected_time: float | None = None
        self.frameworks: dict[str, Framework] = {}
        self.completed: deque[Framework] = deque(maxlen=MAX_COMPLETED_FRAMEWORKS)
        #: Those that may come back until their time is over: id → framework.
        self.absent_frameworks: dict[str, Framework] = {}
        #: Ids that were torn down and may not come back → when, by the calendar; the oldest first.
        self.removed_frameworks: dict[str, float] = {}
        self.agents: dict[str, Agent] = {}
        #: Agents that are admitted and not here: id → what the registry knows of them.
        self.recovered_agents: dict[str, Agent] = {}
        #: Until when they are waited for, by the steady clock.
        self.recovered_until = 0.0
        #: Agents that missed their pings, or did not come back: id → as it was; the oldest first.
        self.unreachable_agents: dict[str, Agent] = {}
        #: Ids of agents that an operator declared gone, and that may not come back → when, by the
        #: calendar; the oldest first.
        self.gone_agents: dict[str, float] = {}
        self.sessions: dict[str, Session] = {}
        #: Role → its weight, of those that were set.
        self.weights: dict[str, float] = {}
        #: Role → {"guarantees": {name: amount}, "limits": {name: amount}}, of those that were set.
        self.quotas: dict[str, dict[str, dict[str, float]]] = {}
        #: Goes up when a weight or a quota is set, also to what the engine had anyway.
        self.policy_generation = 0
        #: The maintenance that is planned.
        self.schedule = Schedule()
        #: Open offers (V2).
        self.offers: dict[str, Offer] = {}
        self.n_frameworks = 0
        self.n_agents = 0
        self.n_inverse_offers = 0
        self._resends = Resends()
        #: Terminal state → how many tasks ended in it since the start.
        self.n_tasks_ended: dict[str, int] = {}
        #: Whether somebody watches by the operator API.
        self.is_watched = False
        #: Tasks, frameworks and agents that `/state` shows otherwise than before.
        self.changed: dict[Task | Framework | Agent, None] = {}
        self._out: list[Instruction] = []

    # Instructions.

    def take(self) -> list[Instruction]:
        """Return what is to be done, in order, and forget it. O(1)."""
        out, self._out = self._out, []
        return out

    def instruct(self, instruction: Instruction) -> None:
        """Have something done that no method below stands for."""
        self._out.append(instruction)

    def send(self, framework: Framework, event: Json) -> None:
        """Send an event to a framework, if it is connected."""
        if framework.stream_id is not None:
            self._out.append(Send(framework.stream_id, event))

    def end_stream(self, framework: Framework) -> None:
        """End a framework's stream, if it has one."""
        if framework.stream_id is not None:
            self._out.append(EndStream(framework.stream_id))
            framework.stream_id = None

    def tell_agent(self, agent: Agent, message: Json) -> None:
        """Send a message to an agent, if it is connected."""
        if agent.session is not None:
            self._out.append(Send(agent.session, {**message, "agent_id": {"value": agent.id}}))

    def persist(self, table: str, key: str, value: Mapping[str, Any] | None) -> None:
        """Have a row of the registry written, or taken out, before the call is answered."""
        self._out.append(Persist(table, key, value))

    def publish(self, form: Callable[..., Json], *subjects: object) -> None:
        """Tell the subscribers of the operator API, if there are any, of an event."""
        if self.is_watched:
            self._out.append(Publish(form(*subjects)))

    def mark(self, record: Task | Framework | Agent) -> None:
        """Note that `/state` shows a record otherwise than before."""
        self.changed[record] = None

    # Cycles.

    def offer(self, offers: Offers) -> None:
        """Send what a cycle of the engine offers, and tell what it took back. O(offers)."""
        self._ask_to_leave(offers.inverse)
        for id in offers.rescinded:
            framework = self.frameworks[self.offers[id].framework]
            self.close_offer(id)
            self.send(framework, events.rescind(id))
        made: dict[Framework, list[Json]] = {}
        now = self.wall()
        for offer in offers:
            framework, agent = self.frameworks[offer.framework], self.agents[offer.agent]
            self.offers[offer.id] = offer
            framework.offers[offer.id] = agent.offers[offer.id] = now
            made.setdefault(framework, []).append(events.offer_json(offer, agent))
            self.mark(agent)
        for framework, json in made.items():
            self.send(framework, {"type": "OFFERS", "offers": {"offers": json}})
            self.mark(framework)

    def close_offer(self, id: str) -> None:
        """Take an offer that the engine closed out of the records (V2). O(1)."""
        offer = self.offers.pop(id)
        framework = self.frameworks[offer.framework]
        del framework.offers[id]
        self.mark(framework)
        agent = self.agents[offer.agent]
        del agent.offers[id]
        self.mark(agent)

    def rescind(self, ids: Iterable[str], *, tell: bool) -> None:
        """Take open offers back, telling their frameworks or not. O(offers)."""
        for id in list(ids):
            framework = self.frameworks[self.offers[id].framework]
            self.engine.rescind(id)
            self.close_offer(id)
            if tell:
                self.send(framework, events.rescind(id))

    def _ask_to_leave(self, inverse: Sequence[InverseOffer]) -> None:
        """Send frameworks the inverse offers of a cycle. O(inverse offers)."""
        made: dict[Framework, list[Json]] = {}
        for asked in inverse:
            framework, agent = self.frameworks[asked.framework], self.agents[asked.agent]
            id = f"{self.info.id}-I{self.n_inverse_offers}"
            self.n_inverse_offers += 1
            framework.inverse_offers[id] = agent.id
            agent.inverse_offers[id] = framework.id
            json = events.inverse_offer_json(id, framework.id, agent)
            made.setdefault(framework, []).append(json)
        for framework, jsons in made.items():
            inner = {"inverse_offers": jsons}
            self.send(framework, {"type": "INVERSE_OFFERS", "inverse_offers": inner})

    def close_inverse_offer(self, framework: Framework, id: str) -> Agent:
        """Take an inverse offer out of the records, and return the agent it is about. O(1)."""
        agent = self.agents[framework.inverse_offers.pop(id)]
        del agent.inverse_offers[id]
        return agent

    def rescind_inverse_offers(self, agent: Agent) -> None:
        """Take back what frameworks were asked about an agent: the engine will not ask so again."""
        for id, framework_id in list(agent.inverse_offers.items()):
            framework = self.frameworks[framework_id]
            self.close_inverse_offer(framework, id)
            self.send(framework, events.rescind_inverse_offer(id))

    # Frameworks.

    def new_framework_id(self) -> str:
        """Return an id that was never given before: the master's own is part of it."""
        id = f"{self.info.id}-{self.n_frameworks:04d}"
        self.n_frameworks += 1
        return id

    def add_framework(self, framework: Framework) -> None:
        """Take a framework in; raises what the engine refuses, and then nothing changed."""
        self.engine.add_framework(
            framework.id,
            framework.roles,
            active=framework.connected and framework.active,
            suppressed=framework.suppressed,
            capabilities=framework.capabilities & ENGINE_CAPABILITIES,
            min_allocatable=minimum_of(framework.info.offer_filters),
            constraints=framework.constraints,
        )
        self.frameworks[framework.id] = framework
        self.mark(framework)
        self.publish(forms.framework_added, self.engine, framework)

    def persist_framework(self, framework: Framework) -> None:
        """Have the registry know a framework as it is."""
        self.persist(
            "frameworks",
            framework.id,
            {
                "info": framework.info,
                "roles": list(framework.roles),
                "suppressed": sorted(framework.suppressed),
                "constraints": framework.constraints,
                "principal": framework.principal,
                "registered_time": framework.registered_time,
                "failover_deadline": self._failover_deadline(framework),
            },
        )

    def _failover_deadline(self, framework: Framework) -> float | None:
        """Return when it is removed unless it comes back, by the calendar; None if connected."""
        if framework.remove_at is None:
            return None
        return self.wall() + framework.remove_at - self.clock()

    def disconnect(self, stream_id: str) -> None:
        """Note that a framework's stream ended: the time in which it may come back begins.

        One that has another stream by now is not concerned. O(frameworks).
        """
        framework = next((f for f in self.frameworks.values() if f.stream_id == stream_id), None)
        if framework is None:
            return
        framework.stream_id = None
        self.deactivate(framework)
        framework.connected = False
        if framework.failover_timeout == 0:
            self.remove_framework(framework)
            return
        self.expect_back(framework, framework.failover_timeout)
        self.persist_framework(framework)
        self.mark(framework)
        self.publish(forms.framework_updated, self.engine, framework)

    def expect_back(self, framework: Framework, seconds: float) -> None:
        """Let a framework that is not connected come back for so long. O(1)."""
        framework.remove_at = self.clock() + seconds
        self.absent_frameworks[framework.id] = framework

    def time_to_return(self, framework: Framework) -> float:
        """Return how long it may stay away after the master itself was, in seconds.

        One that may not be away at all has as long as agents have.
        """
        return framework.failover_timeout or self.options.agent_reregister_timeout

    def came_back(self, framework: Framework) -> None:
        """Note that a framework is connected, or will never be. O(1)."""
        framework.remove_at = None
        self.absent_frameworks.pop(framework.id, None)

    def deactivate(self, framework: Framework) -> None:
        """Offer a framework nothing, and take back what is on offer, without a word."""
        framework.active = False
        self.engine.deactivate_framework(framework.id)
        self.take_back_offers(framework)

    def take_back_offers(self, framework: Framework) -> None:
        """Take back what is on offer to a framework without a word: its stream is another one."""
        self.rescind(framework.offers, tell=False)
        for id in list(framework.inverse_offers):
            agent = self.close_inverse_offer(framework, id)
            self.engine.answer_inverse(framework.id, agent.id, None)  # it is asked anew

    def remove_framework(self, framework: Framework) -> None:
        """Remove a framework for good: its stream ends and its tasks are killed."""
        self.take_back_offers(framework)
        concerned = {task.agent_id for task in framework.tasks.values()}
        for executor in list(framework.executors.values()):
            concerned.add(executor.agent_id)
            self.drop_executor(executor)
        for task in list(framework.tasks.values()):
            if not task.is_terminal:
                status = status_of_master(
                    task.id,
                    "TASK_KILLED",
                    "REASON_FRAMEWORK_REMOVED",
                    "Framework has been removed",
                    self.wall(),
                    task.agent_id,
                )
                self._end_task(task, status)
                self.publish(forms.task_updated, task, status)
            self.complete_task(framework, task)
        for agent in self.agents.values():
            agent.inverse_answers.pop(framework.id, None)
            if agent.id in concerned:
                self.shut_down_on(agent, framework.id)
        self.end_stream(framework)
        self.engine.remove_framework(framework.id)
        framework.connected = framework.active = False
        framework.unregistered_time = self.wall()
        self.came_back(framework)
        del self.frameworks[framework.id]
        self.completed.append(framework)
        self.persist("frameworks", framework.id, None)
        self._remember("removed_frameworks", self.removed_frameworks, framework.id)
        self.mark(framework)
        self.publish(forms.framework_removed, framework)

    def shut_down_on(self, agent: Agent, framework_id: str) -> None:
        """Have an agent, if it is connected, end what it runs of a framework."""
        self.tell_agent(
            agent, {"type": "SHUTDOWN_FRAMEWORK", "framework_id": {"value": framework_id}}
        )

    def _remember(self, table: str, ids: dict[str, float], id: str) -> None:
        """Keep an id that may not come back, and no more such ids than may be; the oldest go."""
        ids[id] = self.wall()
        self.persist(table, id, {"time": ids[id]})
        while len(ids) > MAX_REMEMBERED:
            oldest = next(iter(ids))
            del ids[oldest]
            self.persist(table, oldest, None)

    # Tasks.

    def add_task(self, framework: Framework, task: Task) -> None:
        """Take in a task whose resources the engine counts as allocated (V1)."""
        agent = self.agents[task.agent_id]
        framework.tasks[task.id] = task
        agent.tasks[task.key] = task
        self.mark(task)
        self.mark(agent)
        self.mark(framework)
        self.publish(forms.task_added, task)

    def status(self, task: Task, status: Json) -> None:
        """Take in what an agent reports of a task, and tell its framework in its turn."""
        framework = self.frameworks[task.framework_id]
        if status["state"] in TERMINAL:
            self._end_task(task, status)
        else:
            note_status(task, status)
        self._marked_with_places(task)
        self.publish(forms.task_updated, task, status)
        task.waiting.append(status)
        if len(task.waiting) == 1:
            self.send_waiting(framework, task)

    def _marked_with_places(self, task: Task) -> None:
        self.mark(task)
        agent = self.agents.get(task.agent_id)
        if agent is not None:
            self.mark(agent)
        self.mark(self.frameworks[task.framework_id])

    def _end_task(self, task: Task, status: Json) -> None:
        """Note a terminal status: what the task held is available again (V1)."""
        note_status(task, status)
        if not task.is_terminal:
            self.n_tasks_ended[task.state] = self.n_tasks_ended.get(task.state, 0) + 1
        task.is_terminal = True
        self.give_up(task)

    def give_up(self, task: Task) -> None:
        """Have the engine take back what a task holds, if it holds anything (V1)."""
        if task.holds:
            task.holds = False
            self.engine.release(task.framework_id, task.agent_id, task.role, task.resources)

    def send_waiting(self, framework: Framework, task: Task) -> None:
        """Send the status of a task that is first in turn, again and again until acknowledged.

        Nothing, if none is waiting, or its agent is away: that was told after it.
        """
        if not task.waiting or task.id in framework.unreachable:
            return
        self.send(framework, events.update(task.waiting[0]))
        self._resends.begin(task, self.clock())

    def send_all_waiting(self, framework: Framework) -> None:
        """Send a framework that comes back what it has not acknowledged. O(its tasks)."""
        for task in framework.tasks.values():
            self.send_waiting(framework, task)

    def acknowledge(self, framework: Framework, task: Task, uuid: str) -> None:
        """Take the first waiting status off, if it is this one, and send the next."""
        if not task.waiting or task.waiting[0]["uuid"] != uuid:
            return
        acknowledged = task.waiting.popleft()
        self._resends.stop(task)
        task.acknowledged = uuid
        agent = self.agents.get(task.agent_id)
        if agent is not None:
            self.tell_agent(agent, acknowledgement(task, uuid))
        if task.waiting:
            self.send_waiting(framework, task)
        elif acknowledged["state"] in TERMINAL:
            self.complete_task(framework, task)

    def complete_task(self, framework: Framework, task: Task) -> None:
        """Move a task that has ended, and of which nothing more is told, to the completed ones."""
        framework.tasks.pop(task.id, None)
        framework.unreachable.pop(task.id, None)
        agent = self.agents.get(task.agent_id)
        if agent is not None:
            agent.tasks.pop(task.key, None)
            self.mark(agent)
        task.waiting.clear()
        self._resends.stop(task)
        framework.completed.append(task)
        self.mark(task)
        self.mark(framework)

    def lose_task(self, task: Task, state: str, reason: str, message: str) -> None:
        """Note that nothing is known of a task any more: its agent is away, or gone."""
        framework = self.frameworks[task.framework_id]
        status = status_of_master(task.id, state, reason, message, self.wall(), task.agent_id)
        if state == "TASK_UNREACHABLE":
            status["unreachable_time"] = {"nanoseconds": int(self.wall() * 1e9)}
            note_status(task, status)
            self.give_up(task)
            framework.tasks.pop(task.id, None)
            framework.unreachable[task.id] = task
            while len(framework.unreachable) > MAX_UNREACHABLE_TASKS:
                oldest = next(iter(framework.unreachable))
                framework.unreachable.pop(oldest).waiting.clear()
            self._marked_with_places(task)
        else:
            self._end_task(task, status)
            self.complete_task(framework, task)
        self.send(framework, events.update(status))
        self.publish(forms.task_updated, task, status)

    # Executors.

    def add_executor(self, framework: Framework, executor: Executor) -> None:
        """Take in an executor whose resources the engine counts as allocated (V1)."""
        agent = self.agents[executor.agent_id]
        framework.executors[executor.agent_id, executor.id] = executor
        agent.executors[executor.key] = executor
        self.mark(framework)
        self.mark(agent)

    def drop_executor(self, executor: Executor) -> None:
        """Take an executor out: what it held is available again (V1)."""
        framework, agent = self.frameworks[executor.framework_id], self.agents[executor.agent_id]
        del framework.executors[executor.agent_id, executor.id], agent.executors[executor.key]
        if executor.resources:
            self.engine.release(framework.id, agent.id, executor.role, executor.resources)
        self.mark(framework)
        self.mark(agent)

    def executor_ended(self, executor: Executor, wait_status: int | None) -> None:
        """Note that an executor is gone, and tell its framework."""
        self.drop_executor(executor)
        failure = events.failure(executor.agent_id, executor.id, wait_status)
        self.send(self.frameworks[executor.framework_id], failure)

    # Agents.

    def new_agent_id(self) -> str:
        """Return an id that was never given before: the master's own is part of it."""
        id = f"{self.info.id}-S{self.n_agents}"
        self.n_agents += 1
        return id

    def remove_agent(self, agent: Agent, state: str) -> None:
        """Take an agent out: it missed its pings, unregistered, or is declared gone.

        Its offers are rescinded; its tasks have this state for frameworks that know of it, and are
        lost for the others.
        """
        self.rescind(agent.offers, tell=True)
        self.rescind_inverse_offers(agent)
        tasks = [task for task in agent.tasks.values() if not task.is_terminal]
        for task in tasks:
            self.lose_task(task, *self._loss(task, state))
        for executor in list(agent.executors.values()):
            self.drop_executor(executor)
        # Statuses of others that are still waiting come from the records, not from the agent.
        agent.tasks.clear()
        self.engine.remove_agent(agent.id)
        del self.agents[agent.id]
        session = self.sessions.get(agent.session or "")
        if session is not None:
            session.agents.pop(agent.id, None)
        agent.session = None
        self._tell_failure(agent)
        self.mark(agent)
        self.publish(forms.agent_removed, agent)

    def _tell_failure(self, agent: Agent) -> None:
        for framework in self.frameworks.values():
            self.send(framework, events.failure(agent.id))

    def lose_agent(self, agent: Agent) -> None:
        """Note that an agent cannot be reached: it missed its pings, or did not come back.

        It may still come back, under its id and with its reservations and volumes.
        """
        if agent.id in self.agents:
            self.remove_agent(agent, "TASK_UNREACHABLE")
        else:
            del self.recovered_agents[agent.id]
            self._tell_failure(agent)
        agent.unreachable_time = self.wall()
        self.unreachable_agents[agent.id] = agent
        self.persist_agent(agent)
        while len(self.unreachable_agents) > MAX_REMEMBERED:
            oldest = next(iter(self.unreachable_agents))
            del self.unreachable_agents[oldest]
            self.persist("agents", oldest, None)

    def declare_gone(self, agent: Agent) -> None:
        """Remove an agent, wherever it is, for good: it may not come back. O(frameworks)."""
        if agent.id in self.agents:
            self.tell_agent(agent, {"type": "SHUTDOWN", "message": "The agent was declared gone"})
            self.remove_agent(agent, "TASK_GONE_BY_OPERATOR")
        elif self.recovered_agents.pop(agent.id, None) is not None:
            self._tell_failure(agent)
        self.unreachable_agents.pop(agent.id, None)
        for framework in self.frameworks.values():
            for task in list(framework.unreachable.values()):
                if task.agent_id == agent.id:
                    self.lose_task(task, *self._loss(task, "TASK_GONE_BY_OPERATOR"))
        self.persist("agents", agent.id, None)
        self._remember("gone_agents", self.gone_agents, agent.id)

    def plan_for(self, agent: Agent) -> None:
        """Have the engine know when an agent is to be away; what is on offer there is taken back.

        Where nothing changes, what frameworks answered still holds.
        """
        planned = self.schedule.planned(agent.hostname, agent.ip)
        unavailability = None if planned is None else planned.unavailability
        if unavailability == agent.unavailability:
            return
        self.rescind(agent.offers, tell=True)
        self.rescind_inverse_offers(agent)
        agent.unavailability = unavailability
        agent.inverse_answers.clear()
        if planned is None:
            self.engine.clear_unavailability(agent.id)
        else:
            start = planned.start - self.wall() + self.clock()
            self.engine.set_unavailability(agent.id, start, planned.duration)

    def agent_converted(self, agent: Agent) -> None:
        """Note that reservations or volumes of an agent changed, for when it comes back."""
        agent.resources = self.engine.agent(agent.id).total
        self.persist_agent(agent)
        self.mark(agent)

    def persist_agent(self, agent: Agent) -> None:
        """Have the registry know an agent as it is."""
        self.persist(
            "agents",
            agent.id,
            {
                "info": agent.info,
                "resources": agent.resources.to_json(),
                "registered_time": agent.registered_time,
                "unreachable_time": agent.unreachable_time,
            },
        )

    def _loss(self, task: Task, state: str) -> tuple[str, str, str]:
        reason, message = _LOSSES[state]
        aware = self.frameworks[task.framework_id].is_partition_aware
        return (state if aware else "TASK_LOST"), reason, message

    # Time.

    def tick(self) -> None:
        """Do what is due: resend, remove what stays away. O(due + frameworks that are absent)."""
        now = self.clock()
        self._resend(now)
        for framework in list(self.absent_frameworks.values()):
            if framework.remove_at is not None and framework.remove_at <= now:
                self.remove_framework(framework)
        if self.recovered_agents and self.recovered_until <= now:
            for agent in list(self.recovered_agents.values()):
                self.lose_agent(agent)

    def _resend(self, now: float) -> None:
        for task in self._resends.take_due(now):
            framework = self.frameworks.get(task.framework_id)
            if not task.waiting or framework is None or task.id in framework.unreachable:
                continue  # told when its agent is back, or to nobody
            self.send(framework, events.update(task.waiting[0]))
            self._resends.again(task, now)


def acknowledgement(task: Task, uuid: str) -> Json:
    """Return what an agent is told when a framework has acknowledged a status."""
    return {
        "type": "ACKNOWLEDGE",
        "framework_id": {"value": task.framework_id},
        "task_id": {"value": task.id},
        "uuid": uuid,
    }


def minimum_of(
    offer_filters: Mapping[str, OfferFilters] | None,
) -> dict[str, list[dict[str, float]]] | None:
    """Return what a framework wants an offer to have at least, by role; None says nothing."""
    found = {
        role: [
            {name: amount.value for name, amount in each.quantities.items()}
            for each in filters.min_allocatable_resources.quantities or ()
        ]
        for role, filters in (offer_filters or {}).items()
        if filters.min_allocatable_resources is not None
    }
    return found or None
