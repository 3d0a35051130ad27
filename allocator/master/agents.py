"""The calls of agents' processes, and the pings that tell whether they are there.

A process registers one agent or many, and is a session from then on: one stream, in which all that
the master has to say to its agents goes. docs/agent-protocol.md has the messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from allocator.engine.inputs import read_attributes
from allocator.errors import AllocatorError, InvalidValue
from allocator.master import events, forms
from allocator.master.instructions import EndStream, Send
from allocator.master.master import Master
from allocator.master.records import Agent, Executor, Framework, Json, Session, Task
from allocator.master.tasks import (
    REPORTED,
    TERMINAL,
    kill_message,
    note_status,
    shutdown_message,
    status_of_master,
)
from allocator.resources import DiskInfo, Resource, Resources
from allocator.wire import messages as m
from allocator.wire.refusal import BAD_REQUEST, CONFLICT, FORBIDDEN, CallRefused


def register(
    master: Master, call: m.RegisterCall, principal: str | None, session_id: str
) -> Session:
    """REGISTER without a session: begin one, and take its agents in as `register_more` does."""
    session = Session(session_id, principal, master.clock())
    master.sessions[session_id] = session
    try:
        register_more(master, session, call)
    except CallRefused:
        if session.agents:
            disconnect(master, session_id)
        else:
            del master.sessions[session_id]
        raise
    return session


def register_more(master: Master, session: Session, call: m.RegisterCall) -> None:
    """REGISTER: take in agents of a process, new ones and ones that come back.

    One that was declared gone is told to shut down.

    Raises
    ------
    CallRefused
        An agent that cannot be read, or is there twice: then none is taken in. One that the engine
        refuses: those before it are registered, and are so again when the process tries again.
    """
    read = [_read(master, registration) for registration in call.register.agents]
    ids = [agent.id for agent, _ in read if agent.id]
    if len(set(ids)) < len(ids):
        raise CallRefused(BAD_REQUEST, "an agent is there twice")
    admitted = []
    for agent, registration in read:
        if agent.id in master.gone_agents:
            admitted.append((agent, registration))
        else:
            admitted.append((admit(master, session, agent, registration), registration))
    master.instruct(Send(session.id, registered(master, [agent for agent, _ in admitted])))
    for agent, registration in admitted:
        if agent.id in master.gone_agents:
            shut_down(master, session.id, agent.id, "The agent was declared gone")
        else:
            take_statuses(master, agent, registration.statuses or [])
            end_removed(master, agent, [*_brought_with(registration)])


def _brought_with(registration: m.AgentRegistration) -> Iterator[m.KnownExecutor | m.KnownTask]:
    """Yield all that an agent has of frameworks."""
    yield from registration.executors or ()
    yield from registration.tasks or ()


def end_removed(
    master: Master, agent: Agent, brought: Iterable[m.KnownExecutor | m.KnownTask]
) -> None:
    """Have an agent end what it runs of frameworks that were removed meanwhile."""
    for framework_id in dict.fromkeys(each.framework_id.value for each in brought):
        if framework_id in master.removed_frameworks:
            master.shut_down_on(agent, framework_id)


def registered(master: Master, agents: list[Agent]) -> Json:
    """Return what a process is told first: the ids of its agents, in the order in which it came."""
    return {
        "type": "REGISTERED",
        "agents": [{"id": agent.id, "hostname": agent.hostname} for agent in agents],
        "master_info": master.info.to_json(),
        "ping_timeout_seconds": master.options.agent_ping_timeout,
    }


def _read(master: Master, registration: m.AgentRegistration) -> tuple[Agent, m.AgentRegistration]:
    """Return an agent as it describes itself, its id empty if it has none yet."""
    info = registration.agent_info
    try:
        resources = Resources(info.resources or [])
        read_attributes(info.attributes)
        place_of(info)
    except AllocatorError as error:
        raise CallRefused(BAD_REQUEST, f"agent {info.hostname!r}: {error}") from None
    agent = Agent("" if info.id is None else info.id.value, info, resources)
    agent.version = registration.version or ""
    agent.pid = registration.pid or ""
    return agent, registration


def admit(
    master: Master, session: Session, agent: Agent, registration: m.AgentRegistration
) -> Agent:
    """Take in one agent: a new one gets its id, one that comes back keeps its tasks."""
    known = master.agents.get(agent.id)
    if known is not None:
        return reconnect(master, session, known, agent, registration)
    now = master.wall()
    before = master.recovered_agents.get(agent.id) or master.unreachable_agents.get(agent.id)
    if agent.id:
        agent.registered_time, agent.reregistered_time = now, now
    else:
        agent.id = master.new_agent_id()
        agent.registered_time = now
    if before is not None:
        agent.registered_time = before.registered_time
        agent.resources = converted(agent.resources, before)
    brought = [
        (task, known)
        for known in registration.tasks or ()
        if (task := _brought(master, agent, known))
    ]
    running = [task for task, known in brought if known.state not in TERMINAL]
    executors = _brought_executors(master, agent, registration)
    add_to_engine(master, agent, [*running, *executors])
    master.recovered_agents.pop(agent.id, None)
    was_away = master.unreachable_agents.pop(agent.id, None) is not None
    join(master, session, agent)
    master.publish(forms.agent_added, master.engine, agent)
    firsts = {known.framework_id.value: known for known in reversed([*_brought_with(registration)])}
    for executor in executors:
        id = executor.framework_id
        framework = master.frameworks.get(id) or recovered_framework(master, firsts[id])
        master.add_executor(framework, executor)
    to_come = {status.uuid for status in registration.statuses or () if status.uuid}
    for task, known_task in brought:
        take_back(master, agent, task, known_task, firsts[task.framework_id], to_come)
    if was_away:
        give_up_missing(master, agent)
    master.plan_for(agent)
    master.persist_agent(agent)
    return agent


def give_up_missing(master: Master, agent: Agent) -> None:
    """Tell of the tasks that an agent was to have, and came back without. O(frameworks + tasks)."""
    for framework in master.frameworks.values():
        for task in list(framework.unreachable.values()):
            if task.agent_id == agent.id:
                text = "The agent is back without it"
                master.lose_task(task, "TASK_GONE", "REASON_RECONCILIATION", text)


def converted(brought: Resources, before: Agent) -> Resources:
    """Return what an agent has that was known before: reservations and volumes are kept.

    They are made at the master, which alone knows them. What the agent has more or less than it
    brought then is unreserved; if it has so much less that it does not cover them, they are gone.
    """
    then = Resources(before.info.resources or [])
    more, less = brought.minus_floor(then), then.minus_floor(brought)
    if not before.resources >= less:
        return brought
    return before.resources - less + more


def place_of(info: m.AgentInfo) -> tuple[str | None, str | None]:
    """Return the region and the zone of an agent; raises `InvalidValue`."""
    try:
        fault = (info.domain or {}).get("fault_domain") or {}
        region, zone = ((fault.get(name) or {}).get("name") for name in ("region", "zone"))
    except AttributeError:
        raise InvalidValue("its domain is no object of objects") from None
    if not all(name is None or isinstance(name, str) for name in (region, zone)):
        raise InvalidValue("its region and zone have names that are text")
    return region, zone


def add_to_engine(master: Master, agent: Agent, users: Sequence[Task | Executor]) -> None:
    """Have the engine know an agent, with what is used that runs on it."""
    used: dict[str, dict[str, Resources]] = {}
    for user in users:
        by_role = used.setdefault(user.framework_id, {})
        by_role[user.role] = by_role.get(user.role, Resources()) + user.resources
    region, zone = place_of(agent.info)
    in_use = sum((user.resources for user in users), Resources())
    agent.resources = covering(agent.resources, in_use)
    # An agent that has become too small for its tasks offers nothing until enough have ended.
    total = agent.resources + in_use.nonshared().minus_floor(agent.resources)
    try:
        master.engine.add_agent(
            agent.id,
            total,
            hostname=agent.hostname,
            attributes=agent.info.attributes,
            region=region,
            zone=zone,
            used=used,
        )
    except AllocatorError as error:
        raise CallRefused(CONFLICT, f"agent {agent.hostname!r}: {error}") from None
    if total != agent.resources:
        master.engine.update_agent(agent.id, resources=agent.resources)


def covering(resources: Resources, in_use: Resources) -> Resources:
    """Return resources as they are in use: reserved, say, though that was never written down.

    What is not there at all stays missing.
    """
    beyond = in_use.nonshared().minus_floor(resources)
    plain = Resources([as_brought(entry) for entry in beyond])
    return resources - plain + beyond if resources >= plain else resources


def as_brought(entry: Resource) -> Resource:
    """Return an entry as agents bring it: without what was reserved or made of it later."""
    static = [each for each in entry.reservations if each.type == "STATIC"]
    disk = None if entry.source is None else DiskInfo(source=entry.source)
    return entry.replace(reservations=static, disk=disk)


def join(master: Master, session: Session, agent: Agent) -> None:
    """Make an agent part of a session."""
    agent.session = session.id
    session.agents[agent.id] = agent
    master.agents[agent.id] = agent
    master.mark(agent)


def _brought(master: Master, agent: Agent, known: m.KnownTask) -> Task | None:
    """Return the record of a task that an agent brings, as it was known before or a new one.

    None of a framework that was removed, or one of whose end its framework has heard.
    """
    framework_id, id = known.framework_id.value, known.task.task_id.value
    if framework_id in master.removed_frameworks:
        return None
    framework = master.frameworks.get(framework_id)
    if framework is not None:
        lost = (task for task in framework.completed if task.id == id)
        task = framework.tasks.get(id) or framework.unreachable.get(id) or next(lost, None)
        if task is not None and task.agent_id == agent.id:
            return None if _is_over(task, known) else task
    resources = Resources(known.task.resources or [])
    task = Task(known.task, framework_id, agent.id, known.role, resources)
    task.executor_id = "" if known.executor_id is None else known.executor_id.value
    return task


def _brought_executors(
    master: Master, agent: Agent, registration: m.AgentRegistration
) -> list[Executor]:
    """Return the records of the executors that an agent brings; none of removed frameworks."""
    return [
        Executor(
            known.executor,
            known.framework_id.value,
            agent.id,
            known.role,
            Resources(known.executor.resources or []),
        )
        for known in registration.executors or ()
        if known.framework_id.value not in master.removed_frameworks
    ]


def _is_over(task: Task, known: m.KnownTask) -> bool:
    """Tell whether the last status that an agent has of a task was acknowledged."""
    last = known.statuses[-1] if known.statuses else None
    return known.state in TERMINAL and last is not None and last.uuid == task.acknowledged


def take_back(
    master: Master,
    agent: Agent,
    task: Task,
    known: m.KnownTask,
    first: m.KnownExecutor | m.KnownTask,
    to_come: set[str],
) -> None:
    """Take in a task of an agent that came (back), and tell its framework what is known of it.

    `first` is the first that the agent brings of the framework: it says who that is. Statuses of
    which the uuids are `to_come` are taken in, and told, after this.
    """
    framework = master.frameworks.get(task.framework_id)
    if framework is None:
        framework = recovered_framework(master, first)
    is_known = task.id in framework.unreachable or task.id in framework.tasks
    framework.unreachable.pop(task.id, None)
    if task in framework.completed:
        framework.completed = framework.completed.copy()  # one that has only grown so far
        framework.completed.remove(task)
    framework.tasks[task.id] = task
    agent.tasks[task.key] = task
    for status in known.statuses or ():
        if status.state not in task.statuses and status.uuid not in to_come:
            note_status(task, msgspec.to_builtins(status))
    task.state = known.state
    task.is_terminal = known.state in TERMINAL
    task.holds = not task.is_terminal
    master.mark(task)
    master.mark(framework)
    if not task.is_terminal:
        _tell_back(master, framework, agent, task, is_known=is_known)
    master.send_waiting(framework, task)
    if not is_known:
        master.publish(forms.task_added, task)


def _tell_back(
    master: Master, framework: Framework, agent: Agent, task: Task, *, is_known: bool
) -> None:
    """Tell of a task that runs on an agent that came back; the agent, that it is to end."""
    reason, text = "REASON_AGENT_REREGISTERED", "The agent is back"
    status = status_of_master(task.id, task.state, reason, text, master.wall(), agent.id)
    master.send(framework, events.update(status))
    if is_known:
        master.publish(forms.task_updated, task, status)
    if task.kill is not None:
        master.tell_agent(agent, task.kill)


def recovered_framework(master: Master, known: m.KnownExecutor | m.KnownTask) -> Framework:
    """Take in a framework that only agents know of, until it comes back or its time is over."""
    info = known.framework_info or m.FrameworkInfo(user="", name="")
    roles = tuple(info.roles or [info.role or known.role])
    framework = Framework(known.framework_id.value, info, roles, info.principal)
    framework.recovered = True
    framework.registered_time = master.wall()
    master.add_framework(framework)
    master.expect_back(framework, master.time_to_return(framework))
    master.persist_framework(framework)
    return framework


def reconnect(
    master: Master, session: Session, known: Agent, agent: Agent, registration: m.AgentRegistration
) -> Agent:
    """Give an agent that is still registered a new session in place of the old.

    Tasks that it should have and has not are lost; so are launches that never reached it.
    """
    resources = converted(agent.resources, known)
    try:
        master.engine.update_agent(known.id, resources=resources, attributes=agent.info.attributes)
    except AllocatorError as error:
        raise CallRefused(CONFLICT, f"agent {agent.hostname!r}: {error}") from None
    leave_session(master, known)
    join(master, session, known)
    if not known.active:
        known.active = True
        master.engine.activate_agent(known.id)
    known.reregistered_time = master.wall()
    known.pid, known.version = agent.pid, agent.version
    known.resources, known.info = resources, agent.info
    master.persist_agent(known)
    reconcile(master, known, registration.tasks or [])
    reconcile_executors(master, known, registration.executors or [])
    return known


def reconcile_executors(master: Master, agent: Agent, brought: list[m.KnownExecutor]) -> None:
    """Have master and agent agree on its executors: those that it does not have are gone."""
    has = {(known.framework_id.value, known.executor.executor_id.value) for known in brought}
    for executor in [each for key, each in agent.executors.items() if key not in has]:
        master.executor_ended(executor, None)
    for framework_id, id in has - agent.executors.keys():
        if framework_id in master.frameworks:
            master.tell_agent(agent, shutdown_message(framework_id, id))


def reconcile(master: Master, agent: Agent, brought: list[m.KnownTask]) -> None:
    """Have master and agent agree on its tasks.

    What the agent does not have is lost; what was to be killed, it is told again, and also what it
    has and should not.
    """
    has = {(known.framework_id.value, known.task.task_id.value) for known in brought}
    for key, task in list(agent.tasks.items()):
        if task.is_terminal:
            continue
        if key not in has:
            framework = master.frameworks[task.framework_id]
            state = "TASK_DROPPED" if framework.is_partition_aware else "TASK_LOST"
            master.lose_task(task, state, "REASON_RECONCILIATION", "The agent does not have it")
        elif task.kill is not None:
            master.tell_agent(agent, task.kill)
    for framework_id, id in has - agent.tasks.keys():
        if framework_id in master.frameworks:
            master.tell_agent(agent, kill_message(framework_id, id))


def leave_session(master: Master, agent: Agent) -> None:
    """Take an agent out of its session; one without agents ends."""
    session = master.sessions.get(agent.session or "")
    agent.session = None
    if session is not None:
        session.agents.pop(agent.id, None)
        if not session.agents:
            end_session(master, session)


def end_session(master: Master, session: Session) -> None:
    """End a process's stream, if it has not ended."""
    if master.sessions.pop(session.id, None) is not None:
        master.instruct(EndStream(session.id))


def disconnect(master: Master, session_id: str) -> None:
    """Note that a process's stream ended: its agents may come back until they missed their pings.

    Meanwhile nothing is offered on them.
    """
    session = master.sessions.get(session_id)
    if session is None:
        return
    for agent in session.agents.values():
        if agent.active:
            agent.active = False
            master.engine.deactivate_agent(agent.id)
            master.rescind(agent.offers, tell=True)
            master.mark(agent)


def shut_down(master: Master, session_id: str, agent_id: str, text: str) -> None:
    """Tell an agent that it is none of ours, and should end what it runs."""
    message = {"type": "SHUTDOWN", "agent_id": {"value": agent_id}, "message": text}
    master.instruct(Send(session_id, message))


# What a process says later.


def check_session(master: Master, session_id: str | None, principal: str | None) -> Session:
    """Return the session of a call; raises `CallRefused`."""
    session = None if session_id is None else master.sessions.get(session_id)
    if session is None:
        raise CallRefused(BAD_REQUEST, f"Mesos-Stream-Id {session_id!r} is no session; REGISTER")
    if session.principal != principal:
        raise CallRefused(FORBIDDEN, "the session is another principal's")
    session.last_heard = master.clock()
    session.n_missed = 0
    return session


def update(master: Master, session: Session, call: m.UpdateCall) -> None:
    """UPDATE: what became of tasks."""
    by_agent: dict[str, list[m.TaskStatus]] = {}
    for status in call.update.statuses:
        id = "" if status.agent_id is None else status.agent_id.value
        if id not in master.agents:
            continue  # it was taken out meanwhile, and is told so
        if id not in session.agents:
            raise CallRefused(BAD_REQUEST, f"agent {id!r} is not of this session")
        if status.state not in REPORTED:
            raise CallRefused(BAD_REQUEST, f"state {status.state!r} is none that is reported")
        by_agent.setdefault(id, []).append(status)
    for id, statuses in by_agent.items():
        take_statuses(master, session.agents[id], statuses)


def take_statuses(master: Master, agent: Agent, statuses: list[m.TaskStatus]) -> None:
    """Take in statuses of an agent's tasks, each task's in order.

    One that was taken in before is passed over; of one that was acknowledged, the agent may have
    missed that.
    """
    by_task: dict[tuple[str, str], list[m.TaskStatus]] = {}
    for status in statuses:
        framework_id = "" if status.framework_id is None else status.framework_id.value
        by_task.setdefault((framework_id, status.task_id.value), []).append(status)
    for key, told in by_task.items():
        task = agent.tasks.get(key)
        n_over = len(told) if task is None else _n_acknowledged(task, told)
        for status in told[:n_over]:
            forget_status(master, agent, key[0], status)
        for status in told[n_over:]:
            assert task is not None
            if all(waiting["uuid"] != status.uuid for waiting in task.waiting):
                json = msgspec.to_builtins(status)
                json.pop("framework_id", None)
                master.status(task, json)


def _n_acknowledged(task: Task, statuses: list[m.TaskStatus]) -> int:
    """Return how many of the first of these statuses were acknowledged."""
    uuids = [status.uuid for status in statuses]
    return uuids.index(task.acknowledged) + 1 if task.acknowledged in uuids else 0


def forget_status(master: Master, agent: Agent, framework_id: str, status: m.TaskStatus) -> None:
    """Have an agent keep a status no longer that nobody waits for: the task is not known."""
    if framework_id in master.frameworks or framework_id in master.removed_frameworks:
        master.tell_agent(
            agent,
            {
                "type": "ACKNOWLEDGE",
                "framework_id": {"value": framework_id},
                "task_id": {"value": status.task_id.value},
                "uuid": status.uuid,
            },
        )


def unregister(master: Master, session: Session, call: m.UnregisterCall) -> None:
    """UNREGISTER: agents that go for good."""
    for id in call.unregister.agent_ids:
        agent = session.agents.get(id.value)
        if agent is not None:
            master.remove_agent(agent, "TASK_GONE")
            master.persist("agents", agent.id, None)


def exited(master: Master, session: Session, call: m.ExitedCall) -> None:
    """Take out executors that are gone, and tell their frameworks (EXITED)."""
    for end in call.exited.executors:
        agent = session.agents.get(end.agent_id.value)
        key = (end.framework_id.value, end.executor_id.value)
        executor = None if agent is None else agent.executors.get(key)
        if executor is not None:
            master.executor_ended(executor, end.status)


def message(master: Master, session: Session, call: m.FromExecutorsCall) -> None:
    """MESSAGE: hand it on to frameworks, if they are connected."""
    for said in call.message.messages:
        framework = master.frameworks.get(said.framework_id.value)
        if framework is not None and said.agent_id.value in session.agents:
            event = events.message(said.agent_id.value, said.executor_id.value, said.data)
            master.send(framework, event)


def pong(master: Master, session: Session, call: m.AgentsCall) -> None:
    """PONG: the process is there, as any call of it says."""


def ping(master: Master) -> None:
    """Ask all processes whether they are there; take out the agents of those that were not.

    To be called every `agent_ping_timeout` seconds. O(processes).
    """
    for session in list(master.sessions.values()):
        session.n_missed += 1
        if session.n_missed > master.options.max_agent_ping_timeouts:
            for agent in list(session.agents.values()):
                master.lose_agent(agent)
            end_session(master, session)
        else:
            master.instruct(Send(session.id, {"type": "PING"}))


#: Type → what it does in a session; a REGISTER without one has a way of its own.
CALLS: Final[dict[str, Callable[[Master, Session, Any], None]]] = {
    "REGISTER": register_more,
    "PONG": pong,
    "UPDATE": update,
    "UNREGISTER": unregister,
    "EXITED": exited,
    "MESSAGE": message,
}
