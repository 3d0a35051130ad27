"""The policy and what it needs to act: the runtime, the work dir, the master."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from allocator.agent.agent import Agent
from allocator.agent.checkpoint import Checkpoint
from allocator.agent.connection import Link
from allocator.agent.discovery import Discovery
from allocator.agent.fetching import Fetch, read_uris
from allocator.agent.guard import guard
from allocator.agent.instructions import (
    Cancel,
    Container,
    Ended,
    Event,
    Forget,
    Guard,
    Leave,
    Note,
    NotStarted,
    Report,
    Start,
    Stop,
)
from allocator.agent.runtime import Runtime
from allocator.agent.sandboxes import LaunchFailed, error_in_words
from allocator.agent.standalone import Standalone
from allocator.agent.watch import Watch, WatchOptions
from allocator.errors import InvalidValue
from allocator.resources import Resources
from allocator.wire import messages as m

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
    """

    def __init__(
        self,
        agents: Sequence[Agent],
        runtime: Callable[[Callable[[list[Event]], None]], Runtime],
        checkpoint: Checkpoint | None,
        *,
        keeps_tasks: bool,
        watching: WatchOptions,
    ) -> None:
        self.agents: dict[Agent, None] = dict.fromkeys(agents)
        #: Also those that have left.
        self.all_agents = list(agents)
        self.n_launch_errors = 0
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
        for container_id, entries in self._notes.load():
            try:
                if self.standalone is not None and "standalone" in entries[0]:
                    self.standalone.recover(container_id, entries)
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
                self._recover(container)
        if self.standalone is not None:
            self.standalone.remove_others()
        agent.rejoin_groups(filter(None, groups))
        self._carry_out(agent)

        check_room(agent)

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
            fetch = self._fetches[container.id] = Fetch(uris, *self.runtime.prepare(container))
            await asyncio.get_running_loop().run_in_executor(_FETCHERS, fetch.run)
        except (OSError, LaunchFailed) as error:
            self.runtime.discard(container)
            text = str(error) if isinstance(error, LaunchFailed) else error_in_words(error)
            self.runtime.tell(NotStarted(container.id, f"Not started: {text}"))
        else:
            self.runtime.start(container)
        finally:
            self._fetches.pop(container.id, None)

    def close(self) -> None:
        """Leave containers as they are; what is being fetched for one is not needed any more."""
        for fetch in self._fetches.values():
            fetch.cancel()
        for fetching in self._fetching:
            fetching.cancel()
        self.runtime.close()

    def _recover(self, container: Container) -> bool:
        self.containers[container.id] = container
        return self.runtime.recover(container)

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
        for instruction in agent.take():
            match instruction:
                case Note(container_id, entry):
                    if self._notes is not None:
                        self._notes.note(container_id, entry)
                case Start(container):
                    self._owners[container.id] = agent
                    self._start(container)
                case Guard(container, since):
                    self._guard(container, since)
                case Cancel(container_id):
                    if container_id in self._fetches:
                        self._fetches[container_id].cancel()
                case Stop(container_id, seconds):
                    self.runtime.stop(container_id, seconds)
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


def check_room(agent: Agent) -> None:
    """Refuse an agent that has less than its tasks use; raises `InvalidValue`."""
    in_use = Resources()
    for task in agent.tasks.values():
        if task.is_running:
            in_use += Resources(task.info.resources or [])
    total = Resources(agent.info.resources or [])
    if in_use.quantities().minus_floor(total.quantities()):
        raise InvalidValue(
            f"--resources {total}: tasks of this work dir use {in_use}; offer as much, or end them"
        )


def take_record(agent: Agent, record: m.ToAgents) -> None:
    """Tell an agent one record; one of a type that is not known, nothing."""
    framework_id = "" if record.framework_id is None else record.framework_id.value
    task_id = "" if record.task_id is None else record.task_id.value
    match record.type:
        case "LAUNCH":
            agent.launch(
                framework_id, record.framework_info, record.role or "*", record.tasks or []
            )
        case "LAUNCH_GROUP":
            agent.launch_group(
                framework_id,
                record.framework_info,
                record.role or "*",
                record.tasks or [],
                record.executor,
            )
        case "KILL":
            agent.kill(framework_id, task_id, record.kill_policy)
        case "ACKNOWLEDGE":
            agent.acknowledge(framework_id, task_id, record.uuid or "")
        case "SHUTDOWN_FRAMEWORK":
            agent.shut_down_framework(framework_id)
        case "SHUTDOWN":
            agent.shut_down(record.message or "The master says so")
