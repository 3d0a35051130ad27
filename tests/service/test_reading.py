"""What is read: the same as plain dicts of the records say, after whatever happened, and once."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
from collections.abc import Callable
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from allocator.master import agents, endpoints, forms, metrics, reading
from allocator.master import model as models
from allocator.master._writer import json_text, offers_text, tasks_text
from allocator.master.reading import PATHS, Answer, Reader
from allocator.master.records import MAX_COMPLETED_TASKS, Executor, Task
from allocator.master.tasks import note_status
from allocator.resources import Resources
from allocator.wire import messages as m
from allocator.wire.decode import encode
from allocator.wire.refusal import CallRefused
from benchmarks import plain_state
from tests.service.state_schema import SCHEMAS
from tests.service.world import World, agent, executor, uuid

Json = dict[str, Any]


VALIDATORS = {path: jsonschema.Draft202012Validator(schema) for path, schema in SCHEMAS.items()}


def answer(reader: Reader, path: str, query: str = "", **headers: str) -> Answer:
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    return asyncio.run(reader.answer(path, query, given, None))


def read(reader: Reader, path: str, query: str = "") -> Any:
    """Return what a path shows, which has to be compact JSON of its schema."""
    found = answer(reader, path, query)
    assert found.status == 200
    value = json.loads(found.body)
    if path != "/metrics/snapshot":
        assert found.body == json.dumps(value, separators=(",", ":")).encode()
    VALIDATORS[path].validate(value)
    return value


def in_order(value: Any) -> Any:
    """Return JSON with lists of records in the order of their ids, those in an order left out."""
    if isinstance(value, dict):
        kept = ("completed_tasks", "completed_frameworks")
        return {
            name: member if name in kept else in_order(member) for name, member in value.items()
        }
    if isinstance(value, list) and value and isinstance(value[0], dict) and "id" in value[0]:
        return sorted(map(in_order, value), key=lambda record: record["id"])
    return value


def plain(value: object) -> Any:
    return json.loads(json.dumps(value))


# The writer against `json.dumps`.

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.floats(1e9, 2e9).map(
    lambda number: round(number, 6)
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
AMOUNTS = st.sampled_from(
    [
        "cpus:0.1;mem:5",
        "cpus:1000000;disk:0.001;bandwidth:7;a:1",
        "gpus:2;ports:[31000-31005,32000-32000]",
        "cpus(eng):1;cpus:2;mem(eng/dev):64",
        "words:{b,a};ports(eng):[1-2]",
        '[{"name":"cpus","type":"SCALAR","scalar":{"value":2.5},"revocable":{}}]',
    ]
).map(Resources)
STATUSES = st.fixed_dictionaries(
    {"state": st.sampled_from(["TASK_RUNNING", "TASK_FINISHED"]), "timestamp": NUMBERS},
    optional={
        "healthy": st.booleans(),
        "labels": st.just({"labels": [{"key": "k", "value": "\N{SNOWMAN}"}]}),
        "container_status": st.just({"network_infos": [{"ip_addresses": []}]}),
    },
)


@given(VALUES)
def test_values_are_written_as_json_dumps_does(value: object) -> None:
    assert json_text(value) == json.dumps(value, separators=(",", ":")).encode()


@given(st.floats() | st.floats(1e-3, 1e10))
def test_a_number_reads_back_as_the_same(number: float) -> None:
    found = json.loads(json_text(number))
    assert found == number or str(found) in ("NaN", "Infinity", "-Infinity")


@given(AMOUNTS, AMOUNTS)
def test_resources_are_amounts_by_name(one: Resources, other: Resources) -> None:
    for resources in (one, one + other):
        assert json.loads(json_text(resources)) == plain_state.amounts(resources)


@given(
    st.builds(
        m.TaskInfo,
        name=TEXTS,
        task_id=st.builds(m.Value, value=TEXTS),
        agent_id=st.builds(m.Value, value=TEXTS),
        command=st.none() | st.fixed_dictionaries({"user": TEXTS}),
        labels=st.none() | st.just({"labels": [{"key": "k"}]}) | st.just({}),
        discovery=st.none() | st.dictionaries(TEXTS, VALUES, max_size=2),
        limits=st.none() | st.just({"mem": m.Number(value=float("inf"))}),
    ),
    AMOUNTS,
    st.lists(STATUSES, max_size=4),
)
def test_tasks_are_written_as_plain_dicts_are(
    info: m.TaskInfo, resources: Resources, statuses: list[Json]
) -> None:
    task = Task(info, "f", "a", "eng", resources)
    for status in [None, *statuses]:
        if status is not None:
            note_status(task, status)
        expected = json.dumps(plain_state.task_json(task), separators=(",", ":"))
        assert tasks_text([task, task]).decode() == f"{expected},{expected}"


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="object is no JSON"):
        json_text({"a": [object()]})


# Texts in blocks.


@given(st.integers(0, 2**32), st.integers(1, 5))
def test_blocks_have_the_records_that_were_put(seed: int, size: int) -> None:
    chance = random.Random(seed)
    blocks = models.Blocks(lambda texts: ",".join(texts).encode(), size)
    records: dict[str, str] = {}
    for number in range(60):
        key = str(chance.randrange(20))
        if chance.random() < 0.4:
            blocks.drop(key)
            records.pop(key, None)
        else:
            records[key] = f"{key}={number}"
            blocks.put(key, records[key])
        if chance.random() < 0.2:
            while not blocks.write(0.0):  # one text at a time
                pass
            text = b"".join(blocks.parts()).decode()
            assert sorted(text.split(",") if text else []) == sorted(records.values())
            assert len(blocks) == len(records)


@given(st.lists(st.integers(0, 90), max_size=12))
def test_a_tail_follows_what_is_appended_and_cut(steps: list[int]) -> None:
    queue = _framework_queue(100)
    tail = models.Tail(tasks_text)
    for n_new in steps:
        for _ in range(n_new):
            queue.append(new_task(f"t{queue_number(queue)}"))
        tail.follow(queue)
        assert b"".join(tail.parts()) == tasks_text(queue)


def test_a_tail_follows_another_queue() -> None:
    queue = _framework_queue(100)
    queue.extend(new_task(f"t{number}") for number in range(70))
    tail = models.Tail(tasks_text)
    tail.follow(queue)
    for gone in (40, 0, -1):
        queue = queue.copy()
        queue.remove(queue[gone])
        tail.follow(queue)
        assert b"".join(tail.parts()) == tasks_text(queue)


def _framework_queue(bound: int) -> Any:
    from collections import deque

    return deque(maxlen=bound)


def queue_number(queue: Any) -> int:
    return int(queue[-1].id[1:]) + 1 if queue else 0


def new_task(id: str) -> Task:
    info = m.TaskInfo(name="t", task_id=m.Value(value=id), agent_id=m.Value(value="a"))
    return Task(info, "f", "a", "eng", Resources("cpus:1"))


# A running world.


def exit_of(executor: Executor) -> Json:
    """Return what an agent says of an executor that has ended."""
    return {
        "agent_id": {"value": executor.agent_id},
        "framework_id": {"value": executor.framework_id},
        "executor_id": {"value": executor.id},
        "status": 0,
    }


class Histories(RuleBasedStateMachine):
    """Whatever happens to a master, what is read is what its records say in plain dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.reader = Reader(self.world.master)
        self.world.shown_by(self.reader.model)
        self.chance = random.Random(0)
        #: Session → agent id; framework id → stream; (framework, task) → agent id.
        self.sessions: dict[str, str] = {}
        self.streams: dict[str, str] = {}
        self.tasks: dict[tuple[str, str], str] = {}
        self.n = 0

    def number(self) -> int:
        self.n += 1
        return self.n

    @rule(resources=st.sampled_from(["cpus:4;mem:1024", "cpus:2;cpus(eng):2;mem:512;gpus:1"]))
    def register(self, resources: str) -> None:
        attributes = [{"name": "rack", "type": "TEXT", "text": {"value": "\N{SNOWMAN}"}}]
        registration = agent(f"h{self.number()}", resources)
        registration["agent_info"]["attributes"] = attributes
        session = self.world.register(registration)
        self.sessions[session] = self.world.take(session)[0]["agents"][0]["id"]

    @rule(
        role=st.sampled_from(["eng", "ops/dev"]),
        capabilities=st.sampled_from([[], [{"type": "PARTITION_AWARE"}]]),
        failover_timeout=st.sampled_from([0, 100]),
    )
    def subscribe(self, role: str, capabilities: list[Json], failover_timeout: float) -> None:
        framework, stream = self.world.subscribe(
            roles=[role],
            capabilities=[*capabilities, {"type": "MULTI_ROLE"}],
            failover_timeout=failover_timeout,
            labels={"labels": [{"key": "k", "value": "v"}]},
        )
        self.streams[framework] = stream

    @rule()
    def cycle(self) -> None:
        self.world.cycle()

    @precondition(lambda self: self.world.master.offers)
    @rule(n_tasks=st.integers(0, 3), has_executor=st.booleans())
    def launch(self, n_tasks: int, has_executor: bool) -> None:
        id = self.chance.choice(list(self.world.master.offers))
        offer = self.world.master.offers[id]
        json = {"id": {"value": id}, "agent_id": {"value": offer.agent}}
        stream = self.streams[offer.framework]
        if n_tasks == 0:
            self.world.call("DECLINE", offer.framework, stream, offer_ids=[{"value": id}])
            return
        ids = [f"t{self.number()}" for _ in range(n_tasks)]
        by = executor("e", labels={"labels": [{"key": "k"}]}) if has_executor else None
        given = {"resources": "cpus:0.5;mem:32", "executor": by}
        self.world.launch(offer.framework, stream, json, *ids, **given)
        for id in ids:
            if id in self.world.master.frameworks[offer.framework].tasks:
                self.tasks[offer.framework, id] = offer.agent

    @precondition(lambda self: self.tasks)
    @rule(
        state=st.sampled_from(["TASK_RUNNING", "TASK_FINISHED", "TASK_FAILED"]),
        acknowledged=st.booleans(),
    )
    def report(self, state: str, acknowledged: bool) -> None:
        framework, task = self.chance.choice(list(self.tasks))
        agent_id = self.tasks[framework, task]
        session = next((s for s, id in self.sessions.items() if id == agent_id), None)
        if session is None:
            return
        tag = uuid(self.number())
        self.world.report(session, agent_id, framework, task, state, tag)
        if acknowledged and framework in self.streams:
            stream = self.streams[framework]
            self.world.acknowledge(framework, stream, agent_id, task, tag)

    @precondition(lambda self: any(a.executors for a in self.world.master.agents.values()))
    @rule()
    def exit(self) -> None:
        running = [e for a in self.world.master.agents.values() for e in a.executors.values()]
        ended = self.chance.choice(running)
        session = next((s for s, id in self.sessions.items() if id == ended.agent_id), None)
        if session is not None:
            self.world.say(session, "EXITED", executors=[exit_of(ended)])

    @precondition(lambda self: self.streams)
    @rule(how=st.sampled_from(["disconnect", "teardown", "fail over"]))
    def leave(self, how: str) -> None:
        framework = self.chance.choice(list(self.streams))
        stream = self.streams[framework]
        if how == "disconnect":
            del self.streams[framework]
            self.world.master.disconnect(stream)
            self.world.carry_out()
        elif how == "teardown":
            del self.streams[framework]
            self.world.call("TEARDOWN", framework, stream)
        else:
            roles = list(self.world.master.frameworks[framework].roles)
            _, self.streams[framework] = self.world.subscribe(
                framework, roles=roles, capabilities=[{"type": "MULTI_ROLE"}], failover_timeout=100
            )

    @precondition(lambda self: self.sessions)
    @rule(how=st.sampled_from(["disconnect", "unregister", "unreachable", "gone"]))
    def lose(self, how: str) -> None:
        session = self.chance.choice(list(self.sessions))
        agent_id = self.sessions.pop(session)
        if how == "disconnect":
            agents.disconnect(self.world.master, session)
        elif how == "unregister":
            self.world.master.remove_agent(self.world.master.agents[agent_id], "TASK_GONE")
        elif how == "gone":
            self.world.operate("MARK_AGENT_GONE", agent_id={"value": agent_id})
        else:
            for _ in range(self.world.options.max_agent_ping_timeouts + 1):
                agents.ping(self.world.master)
            self.sessions.clear()
        self.world.carry_out()

    @precondition(lambda self: self.world.master.unreachable_agents)
    @rule(with_tasks=st.booleans())
    def come_back(self, with_tasks: bool) -> None:
        known = self.chance.choice(list(self.world.master.unreachable_agents.values()))
        tasks = [
            {
                "framework_id": {"value": task.framework_id},
                "role": task.role,
                "state": "TASK_RUNNING",
                "task": task.info,
            }
            for framework in self.world.master.frameworks.values()
            for task in framework.unreachable.values()
            if task.agent_id == known.id and with_tasks
        ]
        registration = agent(known.hostname, str(known.resources), id=known.id, tasks=tasks)
        session = self.world.register(msgspec.to_builtins(registration))
        self.sessions[session] = known.id

    @precondition(lambda self: self.sessions)
    @rule()
    def reserve(self) -> None:
        agent_id = self.sessions[self.chance.choice(list(self.sessions))]
        entry = Resources("cpus(eng):0.5").to_json()
        with contextlib.suppress(CallRefused):  # there may be too little
            self.world.operate("RESERVE_RESOURCES", agent_id={"value": agent_id}, resources=entry)

    @rule(seconds=st.sampled_from([1, 200]))
    def advance(self, seconds: float) -> None:
        self.world.advance(seconds)

    @invariant()
    def what_is_read_is_what_is(self) -> None:
        state = read(self.reader, "/state")
        assert in_order(state) == in_order(plain(plain_state.state(self.world.master)))
        again = answer(self.reader, "/state")
        assert (again.status, json.loads(again.body)) == (200, state)
        view = self.world.master.engine.frameworks
        for framework in state["frameworks"]:
            used = [r for held in view[framework["id"]].allocated.values() for r in held.values()]
            total = sum(used, start=Resources())
            assert framework["used_resources"] == plain_state.amounts(total)

    @invariant()
    def the_operator_is_shown_what_is(self) -> None:
        master = self.world.master
        frameworks = [*master.frameworks.values(), *master.completed]
        tasks = self.world.operate("GET_TASKS")["get_tasks"]
        for name, kept in (
            ("tasks", [t for f in frameworks for t in f.tasks.values()]),
            ("unreachable_tasks", [t for f in frameworks for t in f.unreachable.values()]),
            ("completed_tasks", [t for f in frameworks for t in f.completed]),
        ):
            expected = json.loads(encode([forms.task_json(task) for task in kept]))
            assert sorted(tasks[name], key=json.dumps) == sorted(expected, key=json.dumps)
        shown = self.world.operate("GET_FRAMEWORKS")["get_frameworks"]["frameworks"]
        held = {f.id: forms.held_of(master.engine, f) for f in master.frameworks.values()}
        every = [forms.framework_json(f, held[f.id]) for f in master.frameworks.values()]
        assert shown == json.loads(encode(every))
        agents = self.world.operate("GET_AGENTS")["get_agents"]["agents"]
        every = [forms.agent_json(master.engine, agent) for agent in master.agents.values()]
        assert sorted(agents, key=json.dumps) == sorted(json.loads(encode(every)), key=json.dumps)

    @invariant()
    def all_else_agrees_with_it(self) -> None:
        master = self.world.master
        state = read(self.reader, "/state")
        listed = [plain_state.agent_json(master, a, in_full=True) for a in master.agents.values()]
        assert in_order(read(self.reader, "/slaves"))["slaves"] == in_order(plain(listed))
        frameworks = read(self.reader, "/frameworks")
        assert frameworks["frameworks"] == state["frameworks"]
        assert frameworks["completed_frameworks"] == state["completed_frameworks"]
        tasks = read(self.reader, "/tasks", "limit=-1")["tasks"]
        every = [
            task
            for framework in (*state["frameworks"], *state["completed_frameworks"])
            for kind in ("tasks", "unreachable_tasks", "completed_tasks")
            for task in framework[kind]
        ]
        key = lambda task: (task["framework_id"], task["id"], json.dumps(task))  # noqa: E731
        assert sorted(tasks, key=key) == sorted(every, key=key)
        self._check_roles()
        self._check_summary(state)
        values = metrics.snapshot(master)
        assert values["master/slaves_active"] == state["activated_slaves"]
        assert values["master/frameworks_connected"] == sum(
            framework["connected"] for framework in state["frameworks"]
        )

    def _check_roles(self) -> None:
        engine = self.world.master.engine
        for role in read(self.reader, "/roles")["roles"]:
            consumed = Resources()
            for framework in engine.frameworks.values():
                for held in framework.allocated.values():
                    for path, resources in held.items():
                        if (path + "/").startswith(role["name"] + "/"):
                            consumed += resources.unreserved().nonrevocable().scalars()
            reserved = engine.roles[role["name"]].reserved
            expected = consumed.quantities() + reserved
            assert role["quota"]["consumed"] == dict(expected)

    def _check_summary(self, state: Json) -> None:
        summary = read(self.reader, "/state-summary")
        for framework, found in zip(state["frameworks"], summary["frameworks"], strict=True):
            running = [t for t in framework["tasks"] if t["state"] == "TASK_RUNNING"]
            assert found["TASK_RUNNING"] == len(running)
            assert {task["slave_id"] for task in running} <= set(found["slave_ids"])
        assert len(summary["slaves"]) == len(state["slaves"])


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


def test_a_model_in_small_steps_shows_the_same() -> None:
    world = World()
    framework, stream, _, _ = world.running()
    world.cycle()
    world.launch(framework, stream, world.offers(stream)[0], "t2", resources="cpus:1;mem:1")
    add_tasks(world, 300)
    follower = models.Model(world.master)
    n_steps = 1
    while not follower.advance(-1.0):
        n_steps += 1
    assert n_steps > 1
    parts = follower.frameworks(world.master.frameworks.values())
    (framework_record,) = world.master.frameworks.values()
    expected = plain_state.framework_json(world.master, framework_record)
    assert in_order(json.loads(b"".join(parts))) == in_order(plain(expected))


# Requests.


@pytest.fixture
def world() -> World:
    world = World()
    world.running()
    world.cycle()
    return world


@pytest.fixture
def reader(world: World) -> Reader:
    return Reader(world.master)


@pytest.mark.parametrize("path", sorted(SCHEMAS))
def test_each_path_has_its_schema(reader: Reader, path: str) -> None:
    read(reader, path)


def test_all_paths_are_known(reader: Reader) -> None:
    assert {*SCHEMAS, "/health", "/metrics"} == PATHS
    with pytest.raises(CallRefused) as refused:
        answer(reader, "/stat")
    assert refused.value.status == 404
    assert answer(reader, "/health") == Answer(200, {}, b"")


@pytest.mark.parametrize("path", sorted(SCHEMAS.keys() - {"/metrics/snapshot"}))
def test_while_nothing_changes_neither_bytes_nor_tag_do(
    world: World, reader: Reader, path: str
) -> None:
    first = answer(reader, path)
    for _ in range(3):
        world.cycle()  # offers nothing: all is on offer
        reader.keep_up()
    second = answer(reader, path)
    assert (second.body, second.headers) == (first.body, first.headers)
    tag = first.headers["ETag"]
    for asked in (tag, f'"x", {tag}', "*"):
        found = answer(reader, path, if_none_match=asked)
        assert (found.status, found.body, found.headers["ETag"]) == (304, b"", tag)
    assert answer(reader, path, if_none_match='"x"').status == 200


def test_a_change_has_another_tag(world: World, reader: Reader) -> None:
    before = answer(reader, "/state").headers["ETag"]
    world.subscribe()
    found = answer(reader, "/state", if_none_match=before)
    assert found.status == 200
    assert len(json.loads(found.body)["frameworks"]) == 2


def test_a_reader_that_is_closed_still_tells_its_version(world: World, reader: Reader) -> None:
    standby = Reader(world.master)
    standby.close()
    assert world.master.changed  # which the other one is to take
    marked = dict(world.master.changed)
    assert read(standby, "/version") == read(reader, "/version")
    assert world.master.changed == marked
    assert answer(standby, "/health").status == 200


def test_another_process_has_other_tags(world: World, reader: Reader) -> None:
    one = answer(reader, "/version").headers["ETag"]
    assert answer(Reader(world.master), "/version").headers["ETag"] != one


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_bodies_are_compressed_for_whoever_takes_that(reader: Reader, encoding: str) -> None:
    zstandard = pytest.importorskip("zstandard")
    plainly = answer(reader, "/state")
    found = answer(reader, "/state", accept_encoding=f"br, {encoding}, identity;q=0.1")
    assert found.headers["Content-Encoding"] == encoding
    assert found.headers["Vary"] == plainly.headers["Vary"] == "Accept-Encoding"
    assert found.headers["ETag"] != plainly.headers["ETag"]
    decompress: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.decompress,
        "zstd": lambda body: zstandard.ZstdDecompressor().decompress(body),
    }
    assert decompress[encoding](found.body) == plainly.body
    refusing = answer(reader, "/state", accept_encoding=f"{encoding};q=0")
    assert "Content-Encoding" not in refusing.headers
    small = answer(reader, "/weights", accept_encoding=encoding)
    assert small.body == b"[]"


def test_jsonp_calls_a_function(reader: Reader) -> None:
    for path in sorted(SCHEMAS):
        found = answer(reader, path, "jsonp=$a.b_1")
        assert found.headers["Content-Type"] == "text/javascript"
        assert found.body.startswith(b"$a.b_1(")
        assert found.body.endswith(b");")
        json.loads(found.body[len("$a.b_1(") : -2])
        for name in ("", "1a", "a(", "a b", "ü", "a%0A"):
            with pytest.raises(CallRefused) as refused:
                answer(reader, path, f"jsonp={name}")
            assert refused.value.status == 400


def test_what_is_not_known_is_an_empty_list(reader: Reader) -> None:
    assert read(reader, "/slaves", "slave_id=x") == {"slaves": [], "recovered_slaves": []}
    assert read(reader, "/frameworks", "framework_id=x")["frameworks"] == []
    for query in ("framework_id=x", "task_id=x", "framework_id=m1-0000&task_id=x"):
        assert read(reader, "/tasks", query) == {"tasks": []}


def test_one_of_them_can_be_asked_for(reader: Reader) -> None:
    assert read(reader, "/slaves", "slave_id=m1-S0") == read(reader, "/slaves")
    assert read(reader, "/frameworks", "framework_id=m1-0000") == read(reader, "/frameworks")
    assert read(reader, "/tasks", "task_id=t1&framework_id=m1-0000") == read(reader, "/tasks")


# Pages of tasks.


def add_tasks(world: World, n_tasks: int) -> None:
    framework = next(iter(world.master.frameworks.values()))
    for number in range(n_tasks):
        task = new_task(f"n{number:04d}")
        task.framework_id = framework.id
        task.holds = False
        note_status(task, {"state": "TASK_RUNNING", "timestamp": 100.0 + number})
        note_status(task, {"state": "TASK_KILLING", "timestamp": 1000.0 - number})
        framework.tasks[task.id] = task
        world.master.mark(task)
        world.master.mark(framework)


def ids(reader: Reader, query: str) -> list[str]:
    return [task["id"] for task in read(reader, "/tasks", query)["tasks"]]


def test_tasks_come_in_pages_by_the_time_of_their_first_status(
    world: World, reader: Reader
) -> None:
    add_tasks(world, 150)
    names = [f"n{number:04d}" for number in range(150)]
    ascending = ["t1", *names]  # that of t1 is at 1.0
    assert ids(reader, "order=asc&limit=-1") == ascending
    assert ids(reader, "limit=-1") == ascending[::-1]
    assert ids(reader, "") == ascending[::-1][:100]
    assert ids(reader, "order=asc&limit=10&offset=145") == ascending[145:]
    assert ids(reader, "order=asc&limit=3&offset=2") == ascending[2:5]
    assert ids(reader, "limit=0") == []
    assert ids(reader, "offset=1000") == []
    assert ids(reader, "limit=x&offset=1.5&order=asc") == ascending[:100]


# Bounds.


def test_completed_tasks_are_the_latest_thousand(world: World, reader: Reader) -> None:
    framework = next(iter(world.master.frameworks.values()))
    for number in range(MAX_COMPLETED_TASKS + 70):
        world.master.complete_task(framework, new_task(f"c{number}"))
        if number % 300 == 0:
            read(reader, "/state")
    found = read(reader, "/state")["frameworks"][0]["completed_tasks"]
    assert [task["id"] for task in found] == [f"c{number}" for number in range(70, 1070)]


def test_lost_tasks_that_come_back_are_no_longer_completed() -> None:
    world = World()
    framework, stream, _, agent_id = world.running()
    world.cycle()
    names = [f"t{number}" for number in range(2, 40)]
    world.launch(framework, stream, world.offers(stream)[0], *names, resources="cpus:0.01;mem:1")
    known = dict(world.master.frameworks[framework].tasks)
    reader = Reader(world.master)
    for _ in range(world.options.max_agent_ping_timeouts + 1):
        agents.ping(world.master)
    world.carry_out()
    shown = read(reader, "/state")["frameworks"][0]
    assert (len(shown["tasks"]), len(shown["completed_tasks"])) == (0, 39)
    back = [
        {
            "framework_id": {"value": framework},
            "role": "*",
            "state": "TASK_RUNNING",
            "task": msgspec.to_builtins(known[id].info),
        }
        for id in known
        if id != "t39"
    ]
    world.register(agent("h1", id=agent_id, tasks=back))
    shown = read(reader, "/state")["frameworks"][0]
    assert (len(shown["tasks"]), [task["id"] for task in shown["completed_tasks"]]) == (38, ["t39"])


def test_unreachable_tasks_are_the_latest_thousand() -> None:
    world = World()
    session = world.register(agent("h1", "cpus:2000;mem:2000"))
    agent_id = world.take(session)[0]["agents"][0]["id"]
    framework, stream = world.subscribe(capabilities=[{"type": "PARTITION_AWARE"}])
    world.cycle()
    names = [f"t{number}" for number in range(1010)]
    world.launch(framework, stream, world.offers(stream)[0], *names, resources="cpus:1;mem:1")
    reader = Reader(world.master)
    assert len(read(reader, "/state")["frameworks"][0]["tasks"]) == 1010
    world.master.lose_agent(world.master.agents[agent_id])
    found = read(reader, "/state")["frameworks"][0]
    assert found["tasks"] == []
    assert {task["id"] for task in found["unreachable_tasks"]} == set(names[10:])
    assert found["used_resources"]["cpus"] == 0


def test_completed_frameworks_are_the_latest_fifty(reader: Reader, world: World) -> None:
    made = []
    for number in range(53):
        framework, stream = world.subscribe()
        made.append(framework)
        world.call("TEARDOWN", framework, stream)
        if number % 10 == 0:
            read(reader, "/state")
    found = read(reader, "/state")["completed_frameworks"]
    assert [framework["id"] for framework in found] == made[3:]
    assert all(not framework["active"] for framework in found)


def test_marks_do_not_pile_up_though_nobody_reads(world: World, reader: Reader) -> None:
    add_tasks(world, 500)
    while world.master.changed:
        reader.keep_up()
    assert not world.master.changed
    assert len(ids(reader, "limit=-1")) == 501


# Roles.


def test_roles_have_weights_quotas_and_ancestors(world: World, reader: Reader) -> None:
    world.operate("UPDATE_WEIGHTS", weight_infos=[{"role": "a/b/c", "weight": 2.5}])
    config = {"role": "q", "limits": {"cpus": {"value": 3}}}
    world.operate("UPDATE_QUOTA", quota_configs=[config])
    found = {role["name"]: role for role in read(reader, "/roles")["roles"]}
    assert list(found) == ["*", "a", "a/b", "a/b/c", "q"]
    assert found["a/b/c"]["weight"] == 2.5
    assert found["a"]["weight"] == 1.0
    assert found["q"]["quota"] == {
        "role": "q",
        "guarantee": {},
        "limit": {"cpus": 3.0},
        "consumed": {},
    }
    assert found["*"]["frameworks"] == ["m1-0000"]
    assert found["*"]["quota"]["consumed"] == {"cpus": 1.0, "mem": 64.0}
    assert found["*"]["offered"]["cpus"] == 3.0
    assert read(reader, "/weights") == [{"role": "a/b/c", "weight": 2.5}]
    assert read(reader, "/quota")["configs"][0]["limits"] == {"cpus": {"value": 3.0}}
    world.operate("UPDATE_QUOTA", quota_configs=[{"role": "q"}])
    assert "q" not in [role["name"] for role in read(reader, "/roles")["roles"]]


# One rendering for all.


def test_who_waits_for_the_same_shares_one_rendering(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_begun = 0
    write = endpoints.ENDPOINTS["/state"].write

    async def counted(view: Any, query: Any) -> list[bytes]:
        nonlocal n_begun
        n_begun += 1
        parts = await write(view, query)
        await asyncio.sleep(0.01)
        return parts

    counting = endpoints.ENDPOINTS["/state"]._replace(write=counted)
    monkeypatch.setitem(endpoints.ENDPOINTS, "/state", counting)  # type: ignore[arg-type]

    async def ask() -> Answer:
        return await reader.answer("/state", "", {}, None)

    async def main() -> None:
        found = await asyncio.gather(*[ask() for _ in range(20)])
        assert n_begun == 1
        assert len({id(each.body) for each in found}) == 1
        first = asyncio.create_task(ask())
        await asyncio.sleep(0)
        assert (await first).body is found[0].body  # nothing changed since
        assert n_begun == 1
        world.subscribe()
        late = asyncio.create_task(ask())
        await asyncio.sleep(0.005)  # the rendering is under way
        world.subscribe()
        later = [asyncio.create_task(ask()) for _ in range(20)]
        assert len(json.loads((await late).body)["frameworks"]) == 2
        bodies = [(await each).body for each in later]
        assert n_begun == 3
        assert {len(json.loads(body)["frameworks"]) for body in bodies} == {3}

    asyncio.run(main())


def test_metrics_are_measured_once_for_all_who_wait(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_measured = 0

    def counted() -> dict[str, float]:
        nonlocal n_measured
        n_measured += 1
        return {"n": n_measured}

    monkeypatch.setattr(reader, "metrics", counted)

    async def main() -> None:
        ask = lambda: reader.answer("/metrics/snapshot", "", {}, None)  # noqa: E731
        found = await asyncio.gather(*[ask() for _ in range(10)])
        assert {each.body for each in found} == {b'{"n":1}'}
        assert (await ask()).body == b'{"n":2}'

    asyncio.run(main())


def test_one_who_leaves_takes_nothing_from_others(reader: Reader) -> None:
    async def main() -> None:
        asked = [
            asyncio.create_task(reader.answer("/state", "", {"accept-encoding": "gzip"}, None))
            for _ in range(4)
        ]
        await asyncio.sleep(0)
        asked[0].cancel()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert all(isinstance(each, Answer) and each.status == 200 for each in found[1:])

    asyncio.run(main())


def test_no_more_is_kept_than_may_be(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_RENDERINGS", 3)
    add_tasks(world, 10)
    for number in range(6):
        read(reader, "/tasks", f"limit={number}")
    kept = reader._renderings
    assert [query for _, query in kept] == ["limit=3", "limit=4", "limit=5"]
    monkeypatch.setattr(reading, "MAX_KEPT_BYTES", 1)
    read(reader, "/tasks", "limit=6")
    assert [query for _, query in kept] == ["limit=6"]
    world.subscribe()
    reader.keep_up()
    assert not kept  # it is out of date


# Metrics.


def test_metrics_are_under_the_names_of_mesos(world: World, reader: Reader) -> None:
    found = read(reader, "/metrics/snapshot")
    for name, value in {
        "master/uptime_secs": 0,
        "master/tasks_running": 1,
        "master/slaves_active": 1,
        "master/cpus_total": 4,
        "master/cpus_used": 1,
        "master/outstanding_offers": 1,
        "allocator/mesos/allocation_runs": 2,
        "allocator/mesos/resources/cpus/total": 4,
        "allocator/mesos/roles/*/shares/dominant": 1,
    }.items():
        assert found[name] == value, name
    assert "allocator/mesos/allocation_run_ms/p9999" in found
    assert found["master/tasks_finished"] == 0


def test_tasks_that_ended_are_counted_once(world: World, reader: Reader) -> None:
    (session,) = world.master.sessions
    for number in (7, 8):
        world.report(session, "m1-S0", "m1-0000", "t1", "TASK_FINISHED", uuid(number))
    assert read(reader, "/metrics/snapshot")["master/tasks_finished"] == 1


def test_prometheus_reads_the_same(world: World, reader: Reader) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    world.operate("UPDATE_QUOTA", quota_configs=[{"role": "q/r", "limits": {"cpus": {"value": 3}}}])
    found = answer(reader, "/metrics")
    assert found.headers["Content-Type"].startswith("text/plain")
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(found.body.decode())
        for sample in family.samples
    }
    flat = read(reader, "/metrics/snapshot")
    assert len(samples) == len(flat)
    assert samples["master_tasks_running", ()] == 1
    assert samples["allocator_mesos_resources_total", (("resource", "cpus"),)] == 4
    labels = (("resource", "cpus"), ("role", "q/r"))
    assert samples["allocator_mesos_quota_roles_resources_limit", labels] == 3


def test_offers_are_written_with_what_they_offer(world: World) -> None:
    offers = list(world.master.offers.values())
    assert json.loads(offers_text(offers)) == plain(plain_state.offer_json(offers[0]))
