"""A master without a server: calls go in as JSON, what it says is looked at as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from allocator import Allocator, ManualClock
from allocator.master import agents, operator, scheduler
from allocator.master.events import MasterInfo
from allocator.master.instructions import EndStream, Persist, Publish, Send
from allocator.master.master import Master, Options
from allocator.master.model import Model
from allocator.master.recovery import restore
from allocator.master.registry import Registry
from allocator.wire.acls import Acls, Names
from allocator.wire.decode import encode, read_call
from allocator.wire.messages import AGENT_CALLS, OPERATOR_CALLS, SCHEDULER_CALLS
from allocator.wire.refusal import FORBIDDEN, CallRefused

Json = dict[str, Any]

TASK = {"name": "t", "command": {"value": "true"}}


class World:
    """A master, and what it said: by stream what was sent, and the rows of its registry."""

    def __init__(self, registry: Registry | None = None, **options: Any) -> None:
        self.clock = ManualClock()
        #: What the calendar shows at the beginning, in seconds since 1970.
        self.epoch = 1e9
        self.options = Options(**options)
        self.registry = registry
        self.sent: dict[str, list[Json]] = {}
        self.ended: list[str] = []
        #: What those who watch were told.
        self.published: list[Json] = []
        #: Who calls the operator API, and who may do what there.
        self.principal: str | None = None
        self.acls = Acls()
        self.rows: dict[tuple[str, str], Json] = {}
        self._n_streams = 0
        self._n_masters = 0
        self.restart()

    def restart(self) -> None:
        """Have another master take over, of which nothing but the registry knows."""
        self._n_masters += 1
        id = f"m{self._n_masters}"
        engine = Allocator(seed=7, clock=self.clock, offer_prefix=f"{id}-")
        info = MasterInfo(id, "127.0.0.1", 5050, "localhost", "1.11.0")
        self.master = Master(
            engine, info, self.options, clock=self.clock, wall=lambda: self.epoch + self.clock()
        )
        self._model: Model | None = None
        if self.registry is not None:
            restore(self.master, self.registry)
        self.sent.clear()

    # Going in.

    def carry_out(self) -> None:
        """Take over what the master wants done."""
        instructions = self.master.take()
        if self.registry is not None:
            self.registry.apply([each for each in instructions if isinstance(each, Persist)])
        for instruction in instructions:
            match instruction:
                case Send(stream_id, record):
                    self.sent.setdefault(stream_id, []).append(json.loads(encode(record)))
                case EndStream(stream_id):
                    self.ended.append(stream_id)
                case Publish(event):
                    self.published.append(json.loads(encode(event)))
                case Persist(table, key, value):
                    if value is None:
                        self.rows.pop((table, key), None)
                    else:
                        row = json.loads(msgspec.json.encode(value))
                        self.rows[table, key] = row

    def stream(self) -> str:
        self._n_streams += 1
        return f"s{self._n_streams}"

    def subscribe(
        self, id: str | None = None, inner_id: str | None = None, **info: Any
    ) -> tuple[str, str]:
        """Connect a framework; return its id and the id of its stream."""
        info = {"user": "root", "name": "test", **info}
        body: Json = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
        if id is not None:
            body["framework_id"] = {"value": id}
            info["id"] = {"value": inner_id or id}
        _, call = read_call(json.dumps(body).encode(), SCHEDULER_CALLS)
        stream = self.stream()
        framework = scheduler.subscribe(
            self.master,
            scheduler.check_ids(call, None),
            scheduler.read_profile(call.subscribe),
            None,
            stream,
        )
        self.carry_out()
        return framework.id, stream

    def call(self, type: str, framework: str, stream: str, **body: Any) -> None:
        """Have a framework call."""
        message = {"type": type, "framework_id": {"value": framework}, type.lower(): body}
        kind, call = read_call(json.dumps(message).encode(), SCHEDULER_CALLS)
        caller = scheduler.check_caller(self.master, call, None, stream)
        scheduler.CALLS[kind](self.master, caller, call)
        self.carry_out()

    def register(self, *registrations: Json) -> str:
        """Register agents as one process; return the id of the session."""
        body = {"type": "REGISTER", "register": {"agents": list(registrations)}}
        _, call = read_call(json.dumps(body).encode(), AGENT_CALLS)
        session = self.stream()
        agents.register(self.master, call, None, session)
        self.carry_out()
        return session

    @property
    def model(self) -> Model:
        """What the master shows; made when it is first asked for, as it takes the marks."""
        if self._model is None:
            self._model = Model(self.master)
        return self._model

    def shown_by(self, model: Model) -> None:
        """Have what the master shows be that of a model which is there already."""
        self._model = model

    def operate(self, type: str, **content: Any) -> Json | None:
        """Have an operator call; return what it is answered."""
        body: Json = {"type": type, type.lower(): content}
        _, call = read_call(json.dumps(body).encode(), OPERATOR_CALLS)
        metrics = self.master.engine.metrics
        caller = operator.Caller(self.principal, self.check, metrics, self.model)
        reply = operator.CALLS[type](self.master, call, caller)
        self.carry_out()
        return None if reply is None else json.loads(encode(reply))

    def check(self, action: str, objects: Iterable[Names]) -> None:
        """Raise unless the principal that calls may do this."""
        if not self.acls.allow(self.principal, action, objects):
            raise CallRefused(FORBIDDEN, action)

    def update(self, session: str, *statuses: Json) -> None:
        """Have a process report statuses."""
        self.say(session, "UPDATE", statuses=list(statuses))

    def say(self, session: str, type: str, **content: Any) -> None:
        """Have a process of agents call."""
        body = {"type": type, type.lower(): content}
        _, call = read_call(json.dumps(body).encode(), AGENT_CALLS)
        caller = agents.check_session(self.master, session, None)
        agents.CALLS[type](self.master, caller, call)
        self.carry_out()

    def cycle(self) -> None:
        """Run one cycle."""
        self.master.offer(self.master.engine.allocate())
        self.carry_out()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.master.tick()
        self.carry_out()

    # Looking.

    def take(self, stream: str, type: str | None = None) -> list[Json]:
        """Return what was sent into a stream since the last look, perhaps of one type only."""
        taken = self.sent.pop(stream, [])
        return [record for record in taken if type is None or record["type"] == type]

    def offers(self, stream: str) -> list[Json]:
        """Return the offers that were sent since the last look."""
        return [
            offer for event in self.take(stream, "OFFERS") for offer in event["offers"]["offers"]
        ]

    def states(self, stream: str) -> list[str]:
        """Return the states of the statuses that were sent since the last look."""
        return [event["update"]["status"]["state"] for event in self.take(stream, "UPDATE")]

    # In short.

    def launch(
        self,
        framework: str,
        stream: str,
        offer: Json,
        *ids: str,
        resources: str = "cpus:1;mem:64",
        executor: Json | None = None,
        **more: Any,
    ) -> None:
        """Accept an offer for tasks, which run commands or are an executor's."""
        what = {**(TASK if executor is None else {"name": "t", "executor": executor}), **more}
        entries = scalars(resources)
        infos = [
            {**what, "task_id": {"value": id}, "agent_id": offer["agent_id"], "resources": entries}
            for id in ids
        ]
        operation = {"type": "LAUNCH", "launch": {"task_infos": infos}}
        self.call(
            "ACCEPT",
            framework,
            stream,
            offer_ids=[offer["id"]],
            operations=[operation],
            filters={"refuse_seconds": 0},
        )

    def running(self, **info: Any) -> tuple[str, str, str, str]:
        """Return framework, stream, session and agent, where task t1 runs and is acknowledged."""
        session = self.register(agent("h1"))
        agent_id = self.take(session)[0]["agents"][0]["id"]
        framework, stream = self.subscribe(**info)
        self.cycle()
        self.launch(framework, stream, self.offers(stream)[0], "t1")
        self.report(session, agent_id, framework, "t1", "TASK_RUNNING", uuid(1))
        self.acknowledge(framework, stream, agent_id, "t1", uuid(1))
        self.take(stream), self.take(session)
        return framework, stream, session, agent_id

    def report(
        self, session: str, agent_id: str, framework: str, task: str, state: str, uuid: str
    ) -> None:
        """Have an agent report a state."""
        self.update(session, status(agent_id, framework, task, state, uuid))

    def acknowledge(self, framework: str, stream: str, agent_id: str, task: str, uuid: str) -> None:
        """Have a framework acknowledge a status."""
        self.call(
            "ACKNOWLEDGE",
            framework,
            stream,
            agent_id={"value": agent_id},
            task_id={"value": task},
            uuid=uuid,
        )


def scalars(text: str) -> list[Json]:
    """Return resources in v1 form, without role or anything else."""
    return [
        {"name": name, "type": "SCALAR", "scalar": {"value": float(amount)}}
        for name, _, amount in (part.partition(":") for part in text.split(";"))
    ]


def executor(id: str, resources: str = "cpus:0.25;mem:32", **more: Any) -> Json:
    """Return an executor that a framework brings."""
    found: Json = {"executor_id": {"value": id}, "command": {"value": "run"}, **more}
    return {**found, "resources": scalars(resources)}


def agent(hostname: str, resources: str = "cpus:4;mem:1024", **more: Any) -> Json:
    """Return the registration of an agent."""
    from allocator import Resources

    id = more.pop("id", None)
    info: Json = {"hostname": hostname, "port": 5051, "resources": Resources(resources).to_json()}
    if id is not None:
        info["id"] = {"value": id}
    return {"agent_info": info, "version": "1", **more}


def status(agent_id: str, framework: str, task: str, state: str, uuid: str) -> Json:
    """Return a status as an agent reports it."""
    return {
        "task_id": {"value": task},
        "framework_id": {"value": framework},
        "agent_id": {"value": agent_id},
        "state": state,
        "source": "SOURCE_EXECUTOR",
        "timestamp": 1.0,
        "uuid": uuid,
    }


def uuid(number: int) -> str:
    """Return 16 bytes in base64."""
    import base64

    return base64.b64encode(number.to_bytes(16, "big")).decode()
