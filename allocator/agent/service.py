"""The policy and what it needs to act: the runtime, the work dir, the master."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from allocator.agent.agent import Agent
from allocator.agent.checkpoint import Checkpoint
from allocator.agent.connection import Link
from allocator.agent.discovery import Discovery
from allocator.agent.executors import Executor, Subscribe
from allocator.agent.fetching import Fetch, read_uris
from allocator.agent.guard import guard
from allocator.agent.instructions import (
    Cancel,
    Container,
    Ended,
    Event,
    Exited,
    Forget,
    Guard,
    Leave,
    Note,
    NotStarted,
    Report,
    Resize,
    Say,
    Start,
    Stop,
    ToExecutor,
    Wake,
    Woken,
)
from allocator.agent.runtime import Runtime
from allocator.agent.sandboxes import LaunchFailed, error_in_words
from allocator.agent.server import Stream
from allocator.agent.standalone import Standalone
from allocator.agent.watch import Watch, WatchOptions
from allocator.errors import InvalidValue
from allocator.resources import Resources
from allocator.wire import messages as m
from allocator.wire.decode import encode

_LOG = logging.getLogger("allocator.agent")

#: Few, as what they copy comes from the same disks.
_FETCHERS: Final = ThreadPoolExecutor(4, thread_name_prefix="fetch")


class Service:
    """Carries out what the policies of one process's agents say.

    Parameters
    ----------
    agents : sequence of Agent
    runtime : callable
        Makes the runtime, given what is told events.
    checkpoint : Checkpoint or None
        None: nothing outlives the process.
    keeps_tasks : bool
        Whether tasks outlive the process.
    watching : WatchOptions
        How sandboxes are watched.
    executor_variables : callable
        Returns what is in an executor's environment besides what is in a task's.
    """

    def __init__(
        self,
        agents: Sequence[Agent],
        runtime: Callable[[Callable[[list[Event]], None]], Runtime],
        checkpoint: Checkpoint | None,
        *,
        keeps_tasks: bool,
        watching: WatchOptions,
        executor_variables: Callable[[Container], Mapping[str, str]] = lambda container: {},
    ) -> None:
        self.agents: dict[Agent, None] = dict.fromkeys(agents)
        #: Also those that have left.
        self.all_agents = list(agents)
        self.n_launch_errors = 0
        self._executor_variables = executor_variables
        self._by_id = {agent.id: agent for agent in agents if agent.id}
        self.runtime = runtime(self._happened)
        self._checkpoint = checkpoint
        self._notes = checkpoint if keeps_tasks else None
        #: Which agent a container is of.
        self._owners: dict[str, Agent] = {}
        #: Those that are not gone, in the order of launching.
        self.containers: dict[str, Container] = {}
        self.watch = Watch(self.runtime, self.containers, watching)
        #: Those of no task; None where nothing outlives the process.
        self.standalone: Standalone | None = None
        if self._notes is not None:
            self.standalone = Standalone(self.runtime, self._notes, self._start, self._recover)
        #: What watches over containers, by id.
        self._guards: dict[str, asyncio.Future[None]] = {}
        #: What is being fetched for containers, by id, and who waits for that.
        self._fetches: dict[str, Fetch] = {}
        self._fetching: dict[asyncio.Future[None], None] = {}
        #: Streams to executors, and their alarms, by container.
        self._streams: dict[str, Stream] = {}
        self._alarms: dict[str, asyncio.TimerHandle] = {}
        self.link: Link | None = None
        #: Set when no agent is left.
        self.left = asyncio.Event()

    def connect(self, discovery: Discovery, headers: Mapping[str, str]) -> Link:
        """Return the link to the master, for somebody to run."""
        self.link = Link(discovery, self.agents, self, headers)
        return self.link

    def recover(self) -> None:
        """Take over what a former life of the agent left. O(tasks)."""
        if self._notes is None:
            return
        (agent,) = self.all_agents
        groups = []
        containers = []
        for container_id, entries in in_order(self._notes.load()):
            try:
                if self.standalone is not None and "standalone" in entries[0]:
                    self.standalone.recover(container_id, entries)
                    continue
                if "executor" in entries[0]:
                    agent.executors.recover(container_id, entries)
                    self._owners[container_id] = agent
                    continue
                container = agent.recover(container_id, entries)
            except (ValueError, TypeError, LookupError) as error:
                fields = {"file": str(self._notes.folder(container_id)), "reason": str(error)}
                _LOG.error("notes that make no sense", extra={"fields": fields})
                self.runtime.abandon(container_id)
                self._notes.forget(container_id)
                continue
            self._owners[container_id] = agent
            groups.append(entries[0].get("group") or [])
            if container is not None:
                containers.append(container)
        for container in (*agent.executors.recovered(), *containers):
            self._recover(container)
        if self.standalone is not None:
            self.standalone.remove_others()
        agent.rejoin_groups(filter(None, groups))
        self._carry_out(agent)
        check_room(agent)

    def _with_variables(self, container: Container) -> Container:
        """Return a container with what an executor finds in its environment."""
        if container.executor is None:
            return container
        return container._replace(variables=self._executor_variables(container))

    def _start(self, container: Container) -> None:
        """Have a container started, at once or when what it needs was fetched."""
        self.containers[container.id] = container
        if (container.task.command or {}).get("uris"):
            fetching = asyncio.ensure_future(self._fetch(container))
            self._fetching[fetching] = None
            fetching.add_done_callback(self._fetching.pop)
        else:
            self.runtime.start(container)

    async def _fetch(self, container: Container) -> None:
        try:
            uris = read_uris(container.task.command or {})
            sandbox, owner = self.runtime.prepare(container)
            bound = self.watch.fetch_bound(container)
            fetch = self._fetches[container.id] = Fetch(uris, sandbox, owner, bound)
            await asyncio.get_running_loop().run_in_executor(_FETCHERS, fetch.run)
        except (OSError, LaunchFailed) as error:
            self.runtime.discard(container)
            text = str(error) if isinstance(error, LaunchFailed) else error_in_words(error)
            self.runtime.tell(NotStarted(container.id, f"Not started: {text}"))
        else:
            # It may have been given more meanwhile.
            self.runtime.start(self.containers[container.id])
        finally:
            self._fetches.pop(container.id, None)

    def close(self) -> None:
        """Leave containers as they are; what is being fetched for one is not needed any more."""
        for alarm in self._alarms.values():
            alarm.cancel()
        for stream in self._streams.values():
            stream.ended = lambda: None
            stream.close()
        for fetch in self._fetches.values():
            fetch.cancel()
        for fetching in self._fetching:
            fetching.cancel()
        self.runtime.close()

    def _recover(self, container: Container) -> bool:
        self.containers[container.id] = container
        return self.runtime.recover(container)

    def _resize(self, container: Container) -> None:
        """Hold a container that is not gone to other resources."""
        known = self.containers.get(container.id)
        if known is not None:
            container = container._replace(variables=known.variables)
            self.containers[container.id] = container
            self.runtime.resize(container)

    def _wake(self, container_id: str, seconds: float | None) -> None:
        alarm = self._alarms.pop(container_id, None)
        if alarm is not None:
            alarm.cancel()
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._alarms[container_id] = loop.call_later(seconds, self._woken, container_id)

    def _woken(self, container_id: str) -> None:
        del self._alarms[container_id]
        self._happened([Woken(container_id)])

    def _guard(self, container: Container, since: float) -> None:
        """Have somebody watch over a container, unless somebody does."""
        if container.id not in self._guards:
            guarding = guard(self.runtime, container, since, lambda event: self._happened([event]))
            self._guards[container.id] = asyncio.ensure_future(guarding)

    def _unguard(self, container_id: str) -> None:
        guarding = self._guards.pop(container_id, None)
        if guarding is not None:
            guarding.cancel()

    def has_container(self, container_id: str) -> bool:
        """Tell whether a container's task is not over yet."""
        return container_id in self._owners

    # What is told.

    def _happened(self, events: list[Event]) -> None:
        concerned: dict[Agent, None] = {}
        for event in events:
            agent = self._owners.get(event.container_id)
            self.n_launch_errors += isinstance(event, NotStarted)
            if isinstance(event, Ended | NotStarted):
                self._unguard(event.container_id)
                self.containers.pop(event.container_id, None)
            if self.standalone is not None and event.container_id in self.standalone:
                self.standalone.happened(event)
            elif agent is not None:
                agent.happened(event)
                concerned[agent] = None
        for agent in concerned:
            self._carry_out(agent)

    # Executors.

    def find_executor(self, framework_id: str, executor_id: str) -> Executor:
        """Return an executor that calls; raises `CallRefused`."""
        # One agent alone has executors: that which is a process of its own.
        return self.all_agents[0].executors.find(framework_id, executor_id)

    def subscribe(self, executor: Executor, call: Subscribe, stream: Stream) -> None:
        """Have a stream lead to an executor, in place of one that did."""
        id = executor.container.id
        before = self._streams.pop(id, None)
        if before is not None:
            before.close()
        self._streams[id] = stream
        stream.ended = lambda: self._stream_ended(id, stream)
        self.all_agents[0].executors.subscribe(executor, call)
        self._carry_out(self.all_agents[0])

    def _stream_ended(self, container_id: str, stream: Stream) -> None:
        if self._streams.get(container_id) is stream:
            del self._streams[container_id]
            self.all_agents[0].executors.disconnected(container_id)
            self._carry_out(self.all_agents[0])

    def update_by(self, executor: Executor, status: m.TaskStatus) -> None:
        """Take in what an executor tells of a task; raises `CallRefused`."""
        self.all_agents[0].executors.update(executor, status)
        self._carry_out(self.all_agents[0])

    def say_by(self, executor: Executor, data: str) -> None:
        """Hand on what an executor says."""
        self.all_agents[0].executors.said(executor, data)
        self._carry_out(self.all_agents[0])

    def registered(self, agents: Iterable[tuple[Agent, str]]) -> None:
        """Take in the ids that the master gave."""
        is_new = False
        for agent, id in agents:
            is_new |= agent.id != id
            agent.registered(id)
            self._by_id[id] = agent
        if is_new and self._checkpoint is not None:
            self._checkpoint.keep_ids([agent.id for agent in self.all_agents])

    def heard(self, records: Iterable[m.ToAgents]) -> None:
        """Take in what the master says."""
        for record in records:
            if record.agent_id is None:
                continue
            agent = self._by_id.get(record.agent_id.value)
            if agent is not None:
                take_record(agent, record)
                self._carry_out(agent)

    def shut_down(self, message: str) -> None:
        """End all tasks of all agents, and have these leave."""
        if self.standalone is not None:
            self.standalone.end_all()
        for agent in list(self.agents):
            agent.shut_down(message)
            self._carry_out(agent)

    # What is to be done.

    def _carry_out(self, agent: Agent) -> None:
        #: Containers of which something could not be noted, on which the rest does not follow.
        unnoted: set[str] = set()
        for instruction in agent.take():
            match instruction:
                case Note(container_id, entry):
                    if self._notes is not None and not self._notes.try_note(container_id, entry):
                        unnoted.add(container_id)
                case Start(container):
                    self._owners[container.id] = agent
                    if container.id in unnoted:
                        message = "Not started: it cannot be noted in the work dir"
                        self.runtime.tell(NotStarted(container.id, message))
                    else:
                        self._start(self._with_variables(container))
                case Guard(container, since):
                    self._guard(container, since)
                case Cancel(container_id):
                    if container_id in self._fetches:
                        self._fetches[container_id].cancel()
                case Stop(container_id, seconds, asks):
                    self.runtime.stop(container_id, seconds, asks=asks)
                case Resize(container):
                    self._resize(container)
                case Wake(container_id, after):
                    self._wake(container_id, after)
                case ToExecutor(_, {"type": "ACKNOWLEDGED"}) if unnoted:
                    pass  # it keeps what was not noted, and brings it again
                case ToExecutor(container_id, event):
                    if container_id in self._streams:
                        self._streams[container_id].send(encode(event))
                case Exited() | Say():
                    if self.link is not None:
                        self.link.say(agent, instruction)
                case Report(status):
                    if self.link is not None:
                        self.link.report(agent, status)
                case Forget(container_id):
                    self._owners.pop(container_id, None)
                    self.runtime.forget(container_id)
                    if self._notes is not None:
                        self._notes.forget(container_id)
                case Leave(message):
                    self._leave(agent, message)

    def _leave(self, agent: Agent, message: str) -> None:
        _LOG.warning("leaving", extra={"fields": {"id": agent.id, "reason": message}})
        self.agents.pop(agent, None)
        self._by_id.pop(agent.id, None)
        agent.registered("")
        if self._checkpoint is not None:
            self._checkpoint.keep_ids([each.id for each in self.all_agents])
        if not self.agents:
            self.left.set()


def in_order(
    notes: Iterable[tuple[str, list[dict[str, Any]]]],
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return what was noted, executors before the tasks that they run."""
    return sorted(notes, key=lambda each: not (each[1] and "executor" in each[1][0]))


def check_room(agent: Agent) -> None:
    """Refuse an agent that has less than its tasks use; raises `InvalidValue`."""
    in_use = agent.in_use()
    total = Resources(agent.info.resources or [])
    if in_use.quantities().minus_floor(total.quantities()):
        raise InvalidValue(
            f"--resources {total}: tasks of this work dir use {in_use}; offer as much, or end them"
        )


def take_record(agent: Agent, record: m.ToAgents) -> None:
    """Tell an agent one record; one of a type that is not known, nothing."""
    framework_id = "" if record.framework_id is None else record.framework_id.value
    task_id = "" if record.task_id is None else record.task_id.value
    executor_id = "" if record.executor_id is None else record.executor_id.value
    match record.type:
        case "LAUNCH" | "LAUNCH_GROUP":
            take_launch(agent, framework_id, record)
        case "KILL":
            agent.kill(framework_id, task_id, record.kill_policy)
        case "MESSAGE":
            agent.executors.message(framework_id, executor_id, record.data or "")
        case "SHUTDOWN_EXECUTOR":
            agent.shut_down_executor(framework_id, executor_id)
        case "ACKNOWLEDGE":
            agent.acknowledge(framework_id, task_id, record.uuid or "")
        case "SHUTDOWN_FRAMEWORK":
            agent.shut_down_framework(framework_id)
        case "SHUTDOWN":
            agent.shut_down(record.message or "The master says so")


def take_launch(agent: Agent, framework_id: str, record: m.ToAgents) -> None:
    """Tell an agent what to launch: commands, or tasks of an executor."""
    of = (framework_id, record.framework_info, record.role or "*")
    tasks = record.tasks or []
    if record.launch_executor is not None and record.executor is not None:
        agent.launch_by_executor(
            *of,
            tasks,
            msgspec.convert(record.executor, m.ExecutorInfo, strict=False),
            is_new=record.launch_executor,
            is_grouped=record.type == "LAUNCH_GROUP",
        )
    elif record.type == "LAUNCH":
        agent.launch(*of, tasks)
    else:
        agent.launch_group(*of, tasks, record.executor)
