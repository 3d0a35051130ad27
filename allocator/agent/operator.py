"""`POST /api/v1`: the agent's operator API, as Mesos' v1 agent API in JSON."""

from __future__ import annotations

import base64
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from allocator.agent.checks import TaskInvalid, check_command, check_container, has_bundle
from allocator.agent.executors import Executor
from allocator.agent.files import Files
from allocator.agent.listing import rows
from allocator.agent.server import Answer, Request, Route, Routes
from allocator.agent.service import Service
from allocator.agent.state import Facts
from allocator.agent.tasks import Task
from allocator.errors import ResourceError, shown
from allocator.resources import Resources
from allocator.wire import messages as m
from allocator.wire.decode import check_content_type, cut, encode, read_call
from allocator.wire.refusal import BAD_REQUEST, NOT_IMPLEMENTED, CallRefused

Json = dict[str, Any]

_ACCEPTED: Final = 202
_MAX_ID_BYTES: Final = 242
#: Files that each folder of cgroups has of its own.
_TAKEN_IDS: Final = frozenset({"tasks", "notify_on_release", "release_agent"})
_NOT_PLAIN: Final = ("reservations", "reservation", "revocable", "disk")
_KINDS_OF_TASKS: Final = (
    *("pending_tasks", "queued_tasks", "launched_tasks"),
    *("terminated_tasks", "completed_tasks"),
)
_LIMITED: Final = ("cpus", "mem", "pids")


class ContainerId(m.Message, kw_only=True):
    """Which container."""

    value: str
    parent: Json | None = None


class _Named(m.Message, kw_only=True):
    container_id: ContainerId


class _Launch(_Named, kw_only=True):
    command: Json = msgspec.field(default_factory=dict)
    resources: list[Json] | str | None = None
    limits: dict[str, m.Limit] | None = None
    container: Json | None = None


class _Kill(_Named, kw_only=True):
    signal: int = 9


class _Launching(m.Message, kw_only=True):
    launch_container: _Launch


class _Waiting(m.Message, kw_only=True):
    wait_container: _Named


class _Killing(m.Message, kw_only=True):
    kill_container: _Kill


class _Removing(m.Message, kw_only=True):
    remove_container: _Named


class _Containers(m.Message, kw_only=True):
    show_nested: bool = False
    show_standalone: bool = False


class _Listing(m.Message, kw_only=True):
    get_containers: _Containers = msgspec.field(default_factory=_Containers)


class _File(m.Message, kw_only=True):
    path: str


class _Piece(_File, kw_only=True):
    offset: int
    length: int | None = None


class _Reading(m.Message, kw_only=True):
    read_file: _Piece


class _Browsing(m.Message, kw_only=True):
    list_files: _File


class _Plain(m.Message, kw_only=True):
    pass


def routes(service: Service, facts: Facts, files: Files) -> Routes:
    """Return what answers the path."""
    return {"/api/v1": Route(Api(service, facts, files).answer, ("POST",))}


class Api:
    """Answers the calls.

    Parameters
    ----------
    service : Service
    facts : Facts
    files : Files
    """

    def __init__(self, service: Service, facts: Facts, files: Files) -> None:
        self._service = service
        self._facts = facts
        self._files = files
        calls: dict[str, tuple[type[m.Message], Callable[[Any], Answer | Awaitable[Answer]]]] = {
            "LAUNCH_CONTAINER": (_Launching, lambda call: self._launch(call.launch_container)),
            "WAIT_CONTAINER": (_Waiting, lambda call: self._wait(call.wait_container)),
            "KILL_CONTAINER": (_Killing, lambda call: self._kill(call.kill_container)),
            "REMOVE_CONTAINER": (_Removing, lambda call: self._remove(call.remove_container)),
            "GET_CONTAINERS": (_Listing, lambda call: self._containers(call.get_containers)),
            "READ_FILE": (_Reading, lambda call: self._read(call.read_file)),
            "LIST_FILES": (_Browsing, lambda call: self._list(call.list_files)),
            "GET_HEALTH": (_Plain, self._told("GET_HEALTH", lambda: {"healthy": True})),
            "GET_VERSION": (
                _Plain,
                self._told("GET_VERSION", lambda: {"version_info": facts.build}),
            ),
            "GET_FLAGS": (_Plain, self._told("GET_FLAGS", self._flags)),
            "GET_METRICS": (_Plain, self._told("GET_METRICS", self._metrics)),
            "GET_STATE": (_Plain, self._told("GET_STATE", self._state)),
            "GET_FRAMEWORKS": (_Plain, self._told("GET_FRAMEWORKS", self._frameworks)),
            "GET_EXECUTORS": (_Plain, self._told("GET_EXECUTORS", self._executors)),
            "GET_TASKS": (_Plain, self._told("GET_TASKS", self._tasks)),
            "GET_AGENT": (_Plain, self._told("GET_AGENT", self._agent)),
        }
        self._calls = {type: call for type, (_, call) in calls.items()}
        self._decoders: Mapping[str, msgspec.json.Decoder[Any]] = {
            type: msgspec.json.Decoder(form, strict=False) for type, (form, _) in calls.items()
        }

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """Answer a call; raises `CallRefused`."""
        check_content_type(request.headers.get("content-type"))
        type, call = read_call(request.body, self._decoders)
        return self._calls[type](call)

    def _told(self, type: str, make: Callable[[], Json]) -> Callable[[Any], Answer]:
        return lambda call: _reply(type, make())

    # Containers of no task.

    async def _launch(self, call: _Launch) -> Answer:
        id = read_id(call.container_id)
        task = read_task(id, call)
        standalone = self._service.standalone
        if standalone is None:
            raise CallRefused(NOT_IMPLEMENTED, "the null runtime has no containers")
        if id in standalone or self._service.has_container(id):
            return Answer(status=_ACCEPTED)
        await standalone.launch(id, task)
        return Answer()

    async def _wait(self, call: _Named) -> Answer:
        id = read_id(call.container_id)
        return _reply("WAIT_CONTAINER", await self._known.wait(id))

    def _kill(self, call: _Kill) -> Answer:
        self._known.kill(read_id(call.container_id), call.signal)
        return Answer()

    def _remove(self, call: _Named) -> Answer:
        self._known.remove(read_id(call.container_id))
        return Answer()

    @property
    def _known(self) -> Any:
        if self._service.standalone is None:
            raise CallRefused(NOT_IMPLEMENTED, "the null runtime has no containers")
        return self._service.standalone

    # Files.

    def _read(self, call: _Piece) -> Answer:
        if call.offset < 0 or (call.length or 0) < 0:
            raise CallRefused(BAD_REQUEST, "offset and length are at least 0")
        size, data = self._files.read(call.path, call.offset, call.length)
        return _reply("READ_FILE", {"size": size, "data": base64.b64encode(data).decode()})

    def _list(self, call: _File) -> Answer:
        infos = [
            {**each._asdict(), "mtime": {"nanoseconds": round(each.mtime * 1e9)}}
            for each in self._files.entries(call.path)
        ]
        return _reply("LIST_FILES", {"file_infos": infos})

    # Reads.

    def _containers(self, call: _Containers) -> Answer:
        all = self._service.containers.values()
        chosen = [each for each in all if each.is_of_task or call.show_standalone]
        found = []
        for row in rows(self._service, chosen):
            entry = {"container_id": {"value": row["container_id"]}}
            if row["framework_id"]:
                entry["framework_id"] = {"value": row["framework_id"]}
                entry["executor_id"] = {"value": row["executor_id"]}
                entry["executor_name"] = row["executor_name"]
            if "status" in row:
                entry["container_status"] = row["status"]
            if "statistics" in row:
                entry["resource_statistics"] = row["statistics"]
            found.append(entry)
        return _reply("GET_CONTAINERS", {"containers": found})

    def _flags(self) -> Json:
        return {"flags": [{"name": n, "value": v} for n, v in self._facts.flags.items()]}

    def _metrics(self) -> Json:
        metrics = self._facts.metrics()
        return {"metrics": [{"name": name, "value": value} for name, value in metrics.items()]}

    def _state(self) -> Json:
        return {
            "get_tasks": self._tasks(),
            "get_executors": self._executors(),
            "get_frameworks": self._frameworks(),
        }

    def _frameworks(self) -> Json:
        now: dict[str, m.FrameworkInfo | None] = {}
        past: dict[str, m.FrameworkInfo | None] = {}
        for agent in self._service.all_agents:
            now |= {task.key[0]: task.framework_info for task in agent.tasks.values()}
            now |= {key[0]: e.entry.framework_info for key, e in agent.executors.known.items()}
            past |= {id: each.info for id, each in agent.past.items()}
        over = {id: info for id, info in past.items() if id not in now}
        return {
            "frameworks": [_framework(id, info) for id, info in now.items()],
            "completed_frameworks": [_framework(id, info) for id, info in over.items()],
        }

    def _executors(self) -> Json:
        now: list[Json] = []
        past: list[Json] = []
        for agent in self._service.all_agents:
            commands = [t for t in agent.tasks.values() if t.is_running and t.runs_in is None]
            now += [_executor(task) for task in commands]
            now += [_executor(executor) for executor in agent.executors.known.values()]
            past += [_executor(each) for had in agent.past.values() for each in had.executors]
        return {"executors": now, "completed_executors": past}

    def _tasks(self) -> Json:
        found: dict[str, list[Json]] = {kind: [] for kind in _KINDS_OF_TASKS}
        for agent in self._service.all_agents:
            for task in agent.tasks.values():
                is_queued = task.runs_in is not None and not task.is_sent
                kind = ("terminated", "queued" if is_queued else "launched")[task.is_running]
                found[f"{kind}_tasks"].append(_task(task))
            ended = [each for had in agent.past.values() for each in had.executors]
            done = [each for each in ended if isinstance(each, Task)]
            for executor in (*agent.executors.known.values(), *ended):
                if isinstance(executor, Executor):
                    done += [task for task in executor.completed if task.key not in agent.tasks]
            found["completed_tasks"] += [_task(task) for task in done]
        return dict(found)

    def _agent(self) -> Json:
        return {"agent_info": msgspec.to_builtins(self._service.all_agents[0].info)}


def _framework(id: str, info: m.FrameworkInfo | None) -> Json:
    given = {} if info is None else msgspec.to_builtins(info)
    return {"framework_info": {**given, "id": {"value": id}}}


def _executor(of: Task | Executor) -> Json:
    """Return an executor, or what stands for one of a command."""
    container = of.container
    resources = of.resources().to_json() if isinstance(of, Executor) else of.info.resources
    given = {} if container.executor is None else msgspec.to_builtins(container.executor)
    info = {
        **given,
        "executor_id": {"value": container.executor_id},
        "framework_id": {"value": container.framework_id},
        "name": container.executor_name,
        "source": container.source,
        "resources": resources or [],
    }
    return {"executor_info": info}


def _task(task: Task) -> Json:
    container = task.container
    json = {
        "name": task.info.name,
        "task_id": task.info.task_id,
        "framework_id": {"value": container.framework_id},
        "agent_id": {"value": container.agent_id},
        "state": task.state,
        "resources": task.info.resources or [],
        "statuses": list(task.history.values()),
    }
    if task.runs_in is not None:
        json["executor_id"] = {"value": container.executor_id}
    return json


def _reply(type: str, content: Json) -> Answer:
    return Answer(encode({"type": type, type.lower(): content}))


def read_id(given: ContainerId) -> str:
    """Return a container's id.

    Raises
    ------
    CallRefused
        501: it is nested; 400: it cannot be a name.
    """
    id = given.value
    if given.parent is not None:
        raise CallRefused(NOT_IMPLEMENTED, "containers within containers are not launched here")
    if not 1 <= len(id.encode("utf-8", "surrogatepass")) <= _MAX_ID_BYTES:
        raise CallRefused(BAD_REQUEST, f"a container_id has 1 to {_MAX_ID_BYTES} bytes")
    bad = next((each for each in id if each in "/\\. \x7f" or each < " "), None)
    if bad is not None or id in _TAKEN_IDS:
        why = "is a file of cgroups" if bad is None else f"has {bad!r} in it"
        raise CallRefused(BAD_REQUEST, f"container_id {cut(repr(id))} {why}")
    return id


def read_task(id: str, call: _Launch) -> m.TaskInfo:
    """Return what a container runs, as a task; raises `CallRefused` (400)."""
    whose = f"container {cut(repr(id))}"
    try:
        check_container(whose, call.container)
        check_command(whose, call.command, is_optional=has_bundle(call.container))
        promised = read_resources(call.resources)
        check_limits(promised, call.limits or {})
        if (call.container or {}).get("type", "MESOS") != "MESOS":
            raise TaskInvalid(f"{whose}: container.type is MESOS")
    except (TaskInvalid, ResourceError) as error:
        raise CallRefused(BAD_REQUEST, cut(str(error))) from None
    return m.TaskInfo(
        name=id,
        task_id=m.Value(value=id),
        agent_id=m.Value(value=""),
        resources=promised.to_json(),
        command=call.command,
        container=call.container,
        limits=call.limits,
    )


def read_resources(given: list[Json] | str | None) -> Resources:
    """Return the resources of a container; raises `ResourceError` or `TaskInvalid`."""
    entries = given if isinstance(given, list) else []
    resources = Resources(given or [])
    for entry in [*entries, *resources.to_json()]:
        is_plain = entry.get("role", "*") == "*"
        if not is_plain or any(entry.get(name) not in (None, []) for name in _NOT_PLAIN):
            raise TaskInvalid(f"resources {shown(entry)}: only unreserved ones, without volumes")
    return resources


def check_limits(promised: Resources, limits: Mapping[str, m.Limit]) -> None:
    """Refuse limits that are below what is promised, or not known; raises `TaskInvalid`."""
    amounts = promised.quantities()
    for name, limit in limits.items():
        if name not in _LIMITED:
            raise TaskInvalid(f"limits: {shown(name)} is not among {', '.join(_LIMITED)}")
        most = math.inf if limit.value is None else limit.value
        if name in amounts and most < float(amounts[name]):
            raise TaskInvalid(f"limits: {name} {most:g} is below the {amounts[name]} asked for")
