"""The audit log: what it records, that a replay comes out the same, and what it refuses."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import io
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator import AllocationLoop, Allocator, ManualClock, Offer, Offers, Quantities, Resources
from allocator.audit import AuditLog, Replay, replay
from allocator.audit.values import from_json, to_json
from allocator.cli import main as cli
from allocator.contract import CHANGING, LOOKING
from allocator.engine import Create, Reserve
from allocator.errors import (
    AllocatorError,
    AuditError,
    InvalidValue,
    NotAllowed,
    OfferGone,
    UnknownAgent,
)
from allocator.sim import Options, workload
from allocator.sim.simulator import simulate
from tests import strategies

#: A shared persistent volume of the role eng, dynamically reserved.
PHOTOS = {
    "name": "disk",
    "type": "SCALAR",
    "scalar": {"value": 64},
    "reservations": [{"type": "DYNAMIC", "role": "eng"}],
    "disk": {
        "persistence": {"id": "photos"},
        "volume": {"mode": "RW", "container_path": "photos"},
    },
    "shared": {},
}
RESERVED = {
    "name": "cpus",
    "type": "SCALAR",
    "scalar": {"value": 1},
    "reservations": [{"type": "DYNAMIC", "role": "eng"}],
}


class TickingClock:
    """A clock that, as a real one, never reads the same twice, and moves by no fixed step."""

    def __init__(self) -> None:
        self.readings: list[float] = []
        self._steps = random.Random(1)

    def __call__(self) -> float:
        latest = self.readings[-1] if self.readings else 0.0
        self.readings.append(latest + self._steps.choice([0.001, 0.1, 0.5, 1.0]))
        return self.readings[-1]


def replayed(text: str) -> Replay:
    return replay(io.BytesIO(text.encode()))


def recorded(*calls: Callable[[Allocator], object], seed: int = 7) -> str:
    """Return the log of these calls, refused ones included."""
    out = io.StringIO()
    with AuditLog(Allocator(seed=seed, clock=TickingClock()), out) as engine:
        for call in calls:
            with suppress(AllocatorError):
                call(engine)
    return out.getvalue()


def decline_all(engine: Allocator) -> None:
    for offer in engine.allocate():
        engine.decline(offer, refuse_seconds=2.0)


#: Twenty cycles of three agents and two frameworks; filters come and go.
BUSY = (
    lambda engine: engine.add_agent("a1", "cpus:8;mem:1024;ports:[1-9]"),
    lambda engine: engine.add_agent("a2", ["cpus:4;mem:4096", PHOTOS]),
    lambda engine: engine.add_agent("a3", {"cpus": 2.5}),
    lambda engine: engine.add_framework("f1", ["eng"], capabilities=["SHARED_RESOURCES"]),
    lambda engine: engine.add_framework("f2", ["ops"]),
    lambda engine: engine.set_unavailability("a1", 1000.0, 60.0),
    lambda engine: engine.accept("O404"),
    *[decline_all] * 20,
)


def lines_of(*calls: Callable[[Allocator], object]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recorded(*calls).splitlines()]


# Which calls.


#: The looking ones that are called, not just read.
LOOKING_CALLS = [name for name in LOOKING if not isinstance(getattr(AuditLog, name), property)]


@pytest.mark.parametrize("name", [*CHANGING, *LOOKING_CALLS])
def test_the_log_has_the_engines_methods(name: str) -> None:
    method = getattr(AuditLog, name)
    assert method.__name__ == name
    assert f"Allocator.{name}" in method.__doc__


@pytest.mark.parametrize("name", LOOKING_CALLS)
def test_a_call_without_a_record_changes_nothing(name: str) -> None:
    out = io.StringIO()
    engine = AuditLog(Allocator(seed=1, clock=ManualClock()), out)
    engine.add_agent("id", "cpus:4")
    engine.add_framework("id", roles=["path"])
    engine.set_quota("path", guarantee="cpus:2")
    engine.decline(engine.allocate()[0])
    before, written = engine.snapshot(), out.getvalue()
    method = getattr(engine, name)
    needed = [p.name for p in inspect.signature(method).parameters.values() if p.default is p.empty]
    method(*("path" if argument == "path" else "id" for argument in needed))
    assert engine.snapshot() == before
    assert out.getvalue() == written


# A replay of any history comes out the same.

agents = st.sampled_from(["a1", "a2", "a3"])
frameworks = st.sampled_from(["f1", "f2", "f3"])
roles = st.sampled_from(["eng", "eng/prod", "ops", "*", "bad role"])
role_lists = st.lists(roles, max_size=2)
numbers = st.sampled_from([0, 0.5, 2.0, 5, math.nan, math.inf, -math.inf, -1, 2**70, "x", None])
resources = st.one_of(
    st.sampled_from(
        [
            "cpus:1",
            "cpus:2;mem:512",
            {"cpus": Decimal("0.5")},
            "cpus(eng):2;ports:[1-9]",
            "cpus:4;mem:1024;disk:512",
            [PHOTOS],
            Resources([RESERVED]),
            "nonsense",
            None,
        ]
    ),
    strategies.resources(3),
)
quantities = st.sampled_from([None, "cpus:1", "cpus:2;mem:64", "cpus:0", Quantities("mem:9"), "x"])
used = st.one_of(
    st.none(), st.dictionaries(agents | frameworks, st.dictionaries(roles, resources, max_size=1))
)
some_agents = st.lists(agents, max_size=3, unique=True)
#: Resources of each of several agents, as `add_agents` takes them.
each = resources | st.sampled_from(
    [
        {"cpus": [1, 2.5], "mem": 64},
        {"cpus": np.array([1.5, 0.1, 3.0]), "mem": (1, 2, 3)},
        {"cpus": np.array([0.1, 2.0005], np.float32)},
        [Resources("cpus:1"), Resources([RESERVED])],
        {"cpus": [Decimal(1), math.nan]},
    ]
)
used_by = st.fixed_dictionaries(
    {"framework": frameworks | st.lists(frameworks), "role": roles, "resources": each}
)
operations = st.sampled_from(
    [Reserve(Resources([RESERVED])), [Create([PHOTOS])], {"type": "UNKNOWN"}]
)
#: A number stands for one of the offers made so far.
offers = st.integers(0, 9) | st.just("O404")

Call = tuple[str, dict[str, Any]]
#: Name of a call, arguments that it needs, and further ones.
Kind = tuple[str, dict[str, Any], dict[str, Any]]


def call(name: str, needed: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[Call]:
    return st.tuples(st.just(name), st.fixed_dictionaries(needed, optional=optional))


AGENT, FRAMEWORK = {"id": agents}, {"id": frameworks}
OF_FRAMEWORK = {
    "suppressed": role_lists,
    "capabilities": st.sampled_from(
        [["SHARED_RESOURCES", "REVOCABLE_RESOURCES"], {"GPU_RESOURCES"}, ["?"]]
    ),
    "min_allocatable": st.none() | st.lists(quantities, max_size=1),
    "constraints": st.none() | st.just({"role_constraints": {}}),
}
HELD = {"framework": frameworks, "agent": agents, "role": roles, "resources": resources}
KINDS: list[Kind] = [
    (
        "add_agent",
        {**AGENT, "resources": resources},
        {"attributes": st.just({"rack": {"r1"}}), "used": used, "hostname": agents},
    ),
    ("update_agent", AGENT, {"resources": resources, "attributes": st.just({"x": object()})}),
    (
        "add_agents",
        {"ids": some_agents, "resources": each},
        {"used": used_by, "hostnames": some_agents},
    ),
    ("update_agents", {"ids": some_agents, "resources": each}, {}),
    ("add_resources", {**AGENT, "resources": resources}, {"used": used}),
    ("remove_agent", AGENT, {}),
    ("activate_agent", AGENT, {}),
    ("deactivate_agent", AGENT, {}),
    ("add_framework", FRAMEWORK, {"roles": role_lists, "used": used, **OF_FRAMEWORK}),
    (
        "add_frameworks",
        {"ids": st.lists(frameworks)},
        {"roles": st.lists(role_lists), **OF_FRAMEWORK},
    ),
    ("update_framework", FRAMEWORK, {"roles": role_lists, **OF_FRAMEWORK}),
    ("remove_framework", FRAMEWORK, {}),
    ("activate_framework", FRAMEWORK, {}),
    ("deactivate_framework", FRAMEWORK, {}),
    ("suppress", FRAMEWORK, {"roles": role_lists}),
    ("revive", FRAMEWORK, {"roles": role_lists}),
    ("set_weight", {"role": roles, "weight": numbers}, {}),
    ("set_weights", {"weights": st.dictionaries(roles, numbers)}, {}),
    (
        "set_quotas",
        {"quotas": st.dictionaries(roles, st.fixed_dictionaries({"guarantee": quantities}))},
        {},
    ),
    ("set_quota", {"role": roles}, {"guarantee": quantities, "limit": quantities}),
    ("remove_quota", {"role": roles}, {}),
    ("set_whitelist", {"hostnames": st.none() | st.sets(agents)}, {}),
    ("allocate", {}, {"agents": st.sets(agents)}),
    ("skip_cycles", {"n": st.sampled_from([1, 5, -1])}, {}),
    ("pause", {}, {}),
    ("resume", {}, {}),
    ("recover", {"expected_agents": st.just(2), "quotas": st.just({})}, {}),
    ("accept", {"offer": offers}, {"resources": resources, "refuse_seconds": numbers}),
    ("decline", {"offer": offers}, {"refuse_seconds": numbers}),
    ("rescind", {"offer": offers}, {}),
    ("release", HELD, {}),
    ("recover_resources", HELD, {"refuse_seconds": numbers, "allocated": st.booleans()}),
    ("apply", {"offer": offers, "operations": operations}, {}),
    ("apply_available", {"agent": agents, "operations": operations}, {}),
    ("set_unavailability", {"agent": agents, "start": numbers}, {"duration": numbers}),
    ("clear_unavailability", {"agent": agents}, {}),
    (
        "answer_inverse",
        {"framework": frameworks, "agent": agents, "status": st.sampled_from(["ACCEPT", None])},
        {"refuse_seconds": numbers},
    ),
]
CALLS = {name: call(name, needed, optional) for name, needed, optional in KINDS}
histories = st.lists(
    st.one_of(
        call("allocate", {}, {}),
        st.one_of(CALLS["accept"], CALLS["decline"]),
        st.one_of(list(CALLS.values())),
    ),
    max_size=40,
)
START: list[Call] = [
    ("add_agent", {"id": "a1", "resources": "cpus:8;mem:4096;disk:1024;ports:[1-99]"}),
    ("add_agent", {"id": "a2", "resources": ["cpus:4;mem:512", PHOTOS]}),
    ("add_framework", {"id": "f1", "roles": ["eng"], "capabilities": ["SHARED_RESOURCES"]}),
    ("add_framework", {"id": "f2", "roles": ["ops", "eng/prod"]}),
]


def play(engine: Allocator, history: Iterable[Call]) -> list[object]:
    """Make the calls; return the offers of each, or the class of its refusal."""
    made: list[Offer] = []
    outcomes: list[object] = []
    for name, arguments in history:
        arguments = dict(arguments)
        if isinstance(arguments.get("offer"), int):
            arguments["offer"] = made[arguments["offer"] % len(made)] if made else "O0"
        try:
            outcome = getattr(engine, name)(**arguments)
        except AllocatorError as error:
            outcome = type(error)
        if isinstance(outcome, Offers):
            made.extend(outcome)
            outcome = (outcome, outcome.inverse)
        outcomes.append(outcome)
    return outcomes


def in_bulk(engine: Allocator) -> list[object]:
    """Make calls about many agents, frameworks and offers at once; return what came of them."""
    ids = [f"a{i}" for i in range(6)]
    used = {"framework": "f1", "role": ["eng"] * 6, "resources": "cpus:0.5"}
    engine.add_agents(ids, {"cpus": np.array([2.0005] * 6, np.float32), "mem": 64}, used=used)
    totals = [Resources("cpus:3;mem:9"), Resources([RESERVED]) + "mem:8", Resources("mem:7")]
    engine.update_agents(ids[:3], totals)
    engine.add_frameworks(["f1", "f2"], [["eng"], ["eng", "ops"]])
    engine.set_weights({"eng": 2.0, "ops": 0.5})
    engine.set_quotas({"eng": {"limit": "cpus:9"}})
    offers = engine.allocate()
    n = len(offers)
    assert n > 4
    engine.accept(offers[:2], [Resources("mem:1"), Resources("mem:2")])
    engine.accept(offers[2:4], {"mem": np.array([1.5, 3])})
    engine.decline(offers[np.arange(n) >= 4], refuse_seconds=np.arange(n - 4, dtype=np.float32))
    engine.release(offers[:2], resources="mem:1")
    engine.release(list(offers[2:4]), resources={"mem": (1, 2)})
    with suppress(AllocatorError):
        engine.release(offers)
    return [offers, engine.allocate(), engine.snapshot()]


def test_calls_about_many_are_recorded_and_come_out_the_same() -> None:
    out = io.StringIO()
    with AuditLog(Allocator(seed=3, clock=ManualClock()), out) as audited:
        found = in_bulk(audited)
    assert found == in_bulk(Allocator(seed=3, clock=ManualClock()))
    again = replayed(out.getvalue())
    assert again.difference is None
    assert again.closed


def test_random_histories_have_every_recorded_call() -> None:
    assert CALLS.keys() == set(CHANGING)


@settings(max_examples=150)
@given(histories, st.integers(0, 40), st.sampled_from(["drf", "random"]))
def test_a_replay_of_any_history_comes_out_the_same(
    history: list[Call], n_before: int, sorter: str
) -> None:
    engine = Allocator(seed=3, sorter=sorter, clock=TickingClock())
    play(engine, [*START, *history[:n_before]])
    out = io.StringIO()
    with AuditLog(engine, out) as audited:
        play(audited, history[n_before:])
    found = replayed(out.getvalue())
    assert found.difference is None
    assert found.closed
    assert found.calls == len(history[n_before:])


@settings(max_examples=100)
@given(histories)
def test_a_recorded_engine_does_what_a_bare_one_does(history: list[Call]) -> None:
    bare = Allocator(seed=3, clock=ManualClock())
    audited = AuditLog(Allocator(seed=3, clock=ManualClock()), io.StringIO())
    assert play(audited, [*START, *history]) == play(bare, [*START, *history])
    # Not as `==`, which NaN fails; the values of attributes that are no JSON differ.
    assert audited.next_due() == bare.next_due()
    assert audited.allocate() == bare.allocate()


def test_the_clock_stands_still_during_a_call_only() -> None:
    clock = TickingClock()
    engine = AuditLog(Allocator(seed=1, clock=clock), io.StringIO())
    engine.add_agent("a1", "cpus:4")
    engine.add_framework("f1")
    before = len(clock.readings)
    offer = engine.allocate()[0]
    engine.decline(offer, refuse_seconds=3.0)
    assert len(engine.allocate()) == 0
    assert len(clock.readings) == before + 3
    assert engine.next_due() == clock.readings[before + 1] + 3.0
    assert engine.now() < engine.now()


def test_a_clock_that_runs_back_is_recorded_as_standing() -> None:
    readings = iter([5.0, 5.0, 6.0, 3.0, 7.0, 8.0])
    out = io.StringIO()
    engine = AuditLog(Allocator(clock=lambda: next(readings)), out)
    for _ in range(3):
        engine.pause()
    times = [json.loads(line)["at"] for line in out.getvalue().splitlines()]
    assert times == [5.0, 6.0, 6.0, 7.0]
    assert replayed(out.getvalue()).calls == 3


def test_a_log_starts_anywhere_and_leaves_the_engine_given_alone() -> None:
    engine = Allocator(seed=1, clock=ManualClock())
    engine.add_agent("a1", "cpus:4;mem:64")
    engine.add_framework("f1")
    offer = engine.allocate()[0]
    audited = AuditLog(engine, io.StringIO())
    audited.accept(offer, "cpus:1")
    audited.remove_framework("f1")
    assert str(engine.agent("a1").offered) == "cpus:4;mem:64"
    assert str(audited.agent("a1").available) == "cpus:4;mem:64"


# What is written, and when.


def test_records_have_calls_refusals_and_offers() -> None:
    header, *records, end = lines_of(
        lambda engine: engine.add_agent("a1", Resources("cpus:4")),
        lambda engine: engine.add_framework("f1", roles=(role for role in ("eng", "ops"))),
        lambda engine: engine.allocate(agents={"a1"}),
        lambda engine: engine.accept(Offer("O7", "f1", "eng", "a1", Resources()), "cpus:1"),
    )
    assert header["log"] == "allocator-audit"
    assert header["version"] == 2
    assert header["snapshot"]["options"]["seed"] == "7"
    offer = {"id": "O1", "framework": "f1", "role": "eng", "agent": "a1", "resources": "cpus:4"}
    assert [{k: v for k, v in record.items() if k not in ("n", "at")} for record in records] == [
        {"call": "add_agent", "args": {"id": "a1", "resources": "cpus:4"}},
        {"call": "add_framework", "args": {"id": "f1", "roles": ["eng", "ops"]}},
        {"call": "allocate", "args": {"agents": ["a1"]}, "offers": [offer]},
        {"call": "accept", "args": {"offer": "O7", "resources": "cpus:1"}, "error": "OfferGone"},
    ]
    assert [record["n"] for record in (*records, end)] == [1, 2, 3, 4, 5]
    assert end["call"] == "close"


def test_offers_that_are_rescinded_in_time_are_recorded_and_replayed() -> None:
    clock, out = ManualClock(), io.StringIO()
    with AuditLog(Allocator(seed=7, clock=clock, offer_timeout=5, offer_prefix="m1-"), out) as log:
        log.add_agent("a1", "cpus:4")
        log.add_framework("f1")
        log.allocate()
        clock.advance(5)
        assert log.allocate().rescinded == ("m1-O1",)
    assert json.loads(out.getvalue().splitlines()[4])["rescinded"] == ["m1-O1"]
    assert replayed(out.getvalue()).difference is None
    changed = out.getvalue().replace('"rescinded":["m1-O1"]', '"rescinded":["m1-O9"]')
    difference = replayed(changed).difference
    assert difference is not None
    assert (difference.line, difference.what) == (5, "rescinded offer 1")


def test_a_converted_offer_is_recorded() -> None:
    records = lines_of(
        lambda engine: engine.add_agent("a1", "cpus:4"),
        lambda engine: engine.add_framework("f1", roles=["eng"]),
        lambda engine: engine.apply(engine.allocate()[0], Reserve([RESERVED])),
    )
    assert records[4]["args"]["operations"]["type"] == "RESERVE"
    assert Resources(records[4]["offer"]["resources"]).reserved("eng")["cpus"] == 1.0


def test_a_record_is_in_the_file_before_its_call_returns(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with AuditLog(Allocator(), path) as engine:
        assert len(path.read_text().splitlines()) == 1
        engine.add_agent("a1", "cpus:4")
        assert '"add_agent"' in path.read_text().splitlines()[1]
        with pytest.raises(OfferGone):
            engine.decline("O9")
        assert '"OfferGone"' in path.read_text().splitlines()[2]


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("precious")
    with pytest.raises(FileExistsError):
        AuditLog(Allocator(), path)
    assert path.read_text() == "precious"


def test_a_stream_stays_open_and_a_file_is_closed(tmp_path: Path) -> None:
    out = io.StringIO()
    with AuditLog(Allocator(), out):
        pass
    assert not out.closed
    log = AuditLog(Allocator(), tmp_path / "run.jsonl")
    log.close()
    log.close()
    assert log._out.closed


def test_a_closed_log_can_be_looked_at_and_forked_only() -> None:
    out = io.StringIO()
    with AuditLog(Allocator(), out) as engine:
        engine.add_agent("a1", "cpus:4")
    written = out.getvalue()
    with pytest.raises(NotAllowed, match="closed"):
        engine.remove_agent("a1")
    assert str(engine.agent("a1").total) == "cpus:4"
    engine.fork().remove_agent("a1")
    assert out.getvalue() == written


class FullDisk(io.StringIO):
    """Takes so many lines, and then half of one."""

    def __init__(self, n_lines: int) -> None:
        super().__init__()
        self.n_lines = n_lines

    def write(self, text: str) -> int:
        self.n_lines -= 1
        if self.n_lines < 0:
            super().write(text[: len(text) // 2])
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_after_a_record_that_was_not_written_no_call_is_made() -> None:
    out = FullDisk(2)
    engine = AuditLog(Allocator(), out)
    engine.add_agent("a1", "cpus:4")
    with pytest.raises(OSError, match="No space"):
        engine.add_agent("a2", "cpus:4")
    with pytest.raises(NotAllowed, match=r"pause\(\) .* add_agent\(\) .* not written"):
        engine.pause()
    engine.close()
    found = replayed(out.getvalue())
    assert (found.calls, found.closed, found.cut_off) == (1, False, 3)


def test_who_reads_changes_may_make_calls_when_woken() -> None:
    out = io.StringIO()
    with AuditLog(Allocator(), out) as engine:
        changes = engine.changes(engine.pause)
        engine.add_agent("a1", "cpus:4")
        assert changes.take() == [("agent", "a1"), ("engine", "")]
        with pytest.raises(UnknownAgent):
            engine.remove_agent("a2")
    calls = [json.loads(line)["call"] for line in out.getvalue().splitlines()[1:]]
    assert calls == ["add_agent", "pause", "remove_agent", "close"]
    assert replayed(out.getvalue()).difference is None


def test_all_who_are_to_be_woken_are_though_one_raises() -> None:
    woken: list[str] = []
    engine = AuditLog(Allocator(), io.StringIO())

    def fail() -> None:
        raise ZeroDivisionError("woken")

    engine.changes(fail)
    engine.changes(lambda: woken.append("second"))
    with pytest.raises(ZeroDivisionError, match="woken"):
        engine.add_agent("a1", "cpus:4")
    assert woken == ["second"]
    assert str(engine.agent("a1").total) == "cpus:4"


def test_a_call_that_no_signature_fits_is_no_call() -> None:
    out = io.StringIO()
    engine = AuditLog(Allocator(), out)
    with pytest.raises(TypeError, match="colour"):
        engine.pause(colour="red")  # type: ignore[call-arg]
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(InvalidValue, match="nested too deep"):
        engine.set_whitelist(endless)  # type: ignore[arg-type]
    assert len(out.getvalue().splitlines()) == 1
    engine.pause()


# Where an engine is used.


def test_the_loop_runs_a_recorded_engine() -> None:
    out = io.StringIO()

    async def run() -> Offers:
        made: asyncio.Queue[Offers] = asyncio.Queue()
        with AuditLog(Allocator(seed=1), out) as engine:
            async with AllocationLoop(engine, made.put_nowait, interval=60):
                engine.add_framework("f1")
                engine.add_agent("a1", "cpus:4")
                return await made.get()

    assert len(asyncio.run(run())) == 1
    found = replayed(out.getvalue())
    assert found.difference is None
    assert found.offers == 1


def test_the_simulator_runs_a_recorded_engine() -> None:
    out = io.StringIO()

    def engine(**options: Any) -> Allocator:
        return AuditLog(Allocator(**options), out)

    trace = workload("mesos", 0.02)
    result = simulate(trace, Options(horizon_s=60.0), engine=engine)
    bare = simulate(trace, Options(horizon_s=60.0))
    assert {**result.to_json(), "timing": None} == {**bare.to_json(), "timing": None}
    found = replayed(out.getvalue())
    assert found.difference is None
    assert found.offers > 10


# What differs is found.


def tampered(change: Callable[[list[dict[str, Any]]], object]) -> Replay:
    records = lines_of(*BUSY)
    change(records)
    return replayed("".join(json.dumps(record) + "\n" for record in records))


def line_of(records: list[dict[str, Any]], call: str, nth: int = 1) -> int:
    found = [line for line, r in enumerate(records, start=1) if r.get("call") == call]
    return found[nth - 1]


def test_an_untouched_log_has_no_difference() -> None:
    found = tampered(lambda records: None)
    assert found.difference is None
    assert found.offers > 20
    assert str(found) == f"{found.calls} calls, 20 cycles, {found.offers} offers"


@pytest.mark.parametrize("field", ["id", "framework", "role", "agent", "resources"])
def test_a_changed_offer_is_found(field: str) -> None:
    records = lines_of(*BUSY)
    line = line_of(records, "allocate", 3)
    logged = records[line - 1]["offers"][-1]
    n = len(records[line - 1]["offers"])

    found = tampered(lambda r: r[line - 1]["offers"][-1].update({field: "other"})).difference
    assert found is not None
    assert (found.line, found.call, found.what) == (line, "allocate", f"offer {n} ({field})")
    assert found.replayed == logged
    assert found.logged == {**logged, field: "other"}
    assert str(found).startswith(f"allocate(): offer {n} ({field}): logged {{")


def test_a_missing_and_an_added_offer_are_found() -> None:
    records = lines_of(*BUSY)
    line = line_of(records, "allocate")
    offers = records[line - 1]["offers"]

    found = tampered(lambda r: r[line - 1]["offers"].pop()).difference
    assert found is not None
    assert (found.what, found.logged, found.replayed) == (f"offer {len(offers)}", None, offers[-1])
    assert "logged none, replayed {" in str(found)

    found = tampered(lambda r: r[line - 1]["offers"].append(offers[0])).difference
    assert found is not None
    assert (found.logged, found.replayed) == (offers[0], None)


def test_a_changed_inverse_offer_is_found() -> None:
    line = line_of(lines_of(*BUSY), "allocate")
    found = tampered(lambda r: r[line - 1].update(inverse=[{"agent": "a1"}])).difference
    assert found is not None
    assert (found.line, found.what) == (line, "inverse offer 1 (framework, start, duration)")


def test_a_changed_refusal_is_found() -> None:
    line = line_of(lines_of(*BUSY), "accept")
    found = tampered(lambda r: r[line - 1].update(error="UnknownAgent")).difference
    assert found is not None
    assert (found.line, found.logged, found.replayed) == (line, "UnknownAgent", "OfferGone")
    assert found.what == "error (offer 'O404' is not open)"

    found = tampered(lambda r: r[line - 2].update(error="UnknownAgent")).difference
    assert found is not None
    assert (found.line, found.what, found.replayed) == (line - 1, "error", None)


def test_a_changed_seed_is_found() -> None:
    found = tampered(lambda r: r[0]["snapshot"]["options"].update(seed="8")).difference
    assert found is not None
    assert found.call == "allocate"


def test_a_changed_time_is_found() -> None:
    def hurry(records: list[dict[str, Any]]) -> None:
        for record in records[line_of(records, "allocate", 2) - 1 :]:
            record["at"] += 2.0

    found = tampered(hurry).difference
    assert found is not None
    assert found.call == "allocate"


def test_a_changed_argument_is_found() -> None:
    found = tampered(lambda r: r[1]["args"].update(resources="cpus:7")).difference
    assert found is not None
    assert found.call == "allocate"
    assert found.what.endswith("(resources)")


def test_a_removed_line_is_found() -> None:
    n = len(lines_of(*BUSY))
    for line in range(2, n):
        with pytest.raises(
            AuditError, match=rf"^log:{line}: record {line} where record {line - 1} "
        ):
            tampered(lambda records, line=line: records.pop(line - 1))  # type: ignore[misc]
    assert not tampered(lambda records: records.pop()).closed


def test_a_removed_line_is_found_though_the_others_were_numbered_again() -> None:
    def remove(records: list[dict[str, Any]]) -> None:
        del records[line_of(records, "decline") - 1]
        for n, record in enumerate(records):
            if n:
                record["n"] = n

    found = tampered(remove).difference
    assert found is not None
    assert found.call == "allocate"


def test_a_defect_of_the_engine_is_recorded_and_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(self: Allocator) -> None:
        raise ZeroDivisionError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(Allocator, "pause", broken)
        out = io.StringIO()
        engine = AuditLog(Allocator(), out)
        with pytest.raises(ZeroDivisionError):
            engine.pause()
        assert replayed(out.getvalue()).difference is None
    found = replayed(out.getvalue()).difference
    assert found is not None
    assert (found.logged, found.replayed) == ("ZeroDivisionError", None)


# What is no log.


@pytest.mark.parametrize("kept", [1, 2, 20, -1])
def test_a_log_that_breaks_off_in_a_line_is_replayed_up_to_it(kept: int) -> None:
    *whole, last = recorded(*BUSY).splitlines(keepends=True)
    found = replayed("".join(whole) + last[:kept])
    assert found.difference is None
    assert found.cut_off == len(whole) + 1
    assert found.calls == len(whole) - 1
    assert not found.closed


@pytest.mark.parametrize("text", ["", "{", recorded()[:-70].splitlines()[0]])
def test_without_a_whole_header_there_is_nothing_to_replay(text: str) -> None:
    with pytest.raises(AuditError, match=r"^log:1: there is no whole header"):
        replayed(text)


@pytest.mark.parametrize(
    ("line", "change", "message"),
    [
        (1, {"version": 1}, "a log of version 1; this release reads 2"),
        (1, {"log": "other"}, "not an audit log"),
        (1, {"log": None}, "not an audit log"),
        (1, {"colour": "red"}, "the field 'colour' is not known here"),
        (1, {"at": "now"}, "'at' is a time in seconds, not 'now'"),
        (1, {"snapshot": {"version": 99}}, "a snapshot of version 99"),
        (1, {"snapshot": {"version": 2}}, "malformed snapshot"),
        (1, {"snapshot": {"version": 2, "$x": 2}}, "is no value that a log holds"),
        (3, {"n": 3}, "record 3 where record 2 is due"),
        (3, {"n": None}, "record None where record 2 is due"),
        (3, {"at": 0.0}, "time runs back from "),
        (3, {"at": True}, "'at' is a time"),
        (3, {"at": ...}, "the field 'at' is missing"),
        (3, {"colour": "red"}, "the field 'colour' is not known here"),
        (3, {"call": "fly"}, "no call is named 'fly'"),
        (3, {"call": "snapshot"}, "no call is named 'snapshot'"),
        (3, {"call": ["pause"]}, r"no call is named \['pause'\]"),
        (3, {"args": []}, r"'args' is an object, not \[\]"),
        (3, {"args": {"id": "a", "colour": "red"}}, r"add_agent\(\): .*'?(colour|resources)'?"),
        (3, {"args": {"id": {"$colour": "red"}}}, "is no value that a log holds"),
        (3, {"args": {"id": {"$int": "red"}}}, "an unreadable value: .*'red'"),
        (3, {"args": {"id": {"$float": []}}}, "an unreadable value"),
        (3, {"args": {"id": {"$number": "red"}}}, "an unreadable value"),
        (3, {"args": {"id": {"$resources": "cpus:-1"}}}, "an unreadable value: .*cpus:-1"),
        (3, {"args": {"id": {"$mapping": [[[], 1]]}}}, "an unreadable value"),
        (3, {"error": 5}, "'error' cannot be 5"),
        (3, {"offers": {}}, "'offers' cannot be {}"),
        (3, {"offers": []}, r"'offers' cannot be \[\]"),
        (-1, {"args": {"n": 1}}, "'close' has neither arguments nor an outcome"),
        (-1, {"error": "OfferGone"}, "'close' has neither arguments nor an outcome"),
        (-2, {"call": "close", "args": {}, "offers": ..., "inverse": ...}, "after the log was clo"),
    ],
)
def test_a_malformed_log_is_refused_with_its_line(
    line: int, change: dict[str, Any], message: str
) -> None:
    records = lines_of(*BUSY)
    at = line if line > 0 else len(records) + 1 + line
    record = records[at - 1]
    record.update(change)
    for name in [name for name, value in change.items() if value is ...]:
        del record[name]
    named = len(records) if line == -2 else at
    with pytest.raises(AuditError, match=rf"^log:{named}: .*{message}"):
        replayed("".join(json.dumps(r) + "\n" for r in records))


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"[]\n",
        b"5\n",
        b"{\n",
        b'{"n":NaN}\n',
        b'"\xff"\n',
        b"[" * 100_000 + b"\n",
        b'{"n":' + b"9" * 5000 + b"}\n",
    ],
)
def test_a_line_that_is_no_object_is_refused(line: bytes) -> None:
    header = recorded().splitlines(keepends=True)[0].encode()
    with pytest.raises(AuditError, match=r"^log:2: "):
        replay(io.BytesIO(header + line))


# Values.


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**63),
        2**63,
        -(10**5000),
        0.1,
        -0.0,
        1e300,
        "text",
        "\ud800\u2028é",
        Decimal("1.500"),
        Fraction(1, 3),
        Resources("cpus:1.5;mem:64"),
        Resources("cpus(eng):1;ports:[1-5]"),
        Resources([PHOTOS, PHOTOS]),
        [1, ["a"], {"b": None}],
        {1: "a", None: "b"},
        {"$float": "nan"},
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_survive_the_log(value: object) -> None:
    written = json.dumps(to_json(value), allow_nan=False)
    back = from_json(json.loads(written))
    assert Resources(back) == value if isinstance(value, Resources) else back == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0])
def test_floats_that_json_lacks_survive_the_log(value: float) -> None:
    assert repr(from_json(json.loads(json.dumps(to_json(value), allow_nan=False)))) == repr(value)


@given(strategies.resources())
def test_resources_survive_the_log(value: Resources) -> None:
    assert Resources(from_json(json.loads(json.dumps(to_json(value))))) == value


def test_where_quantities_are_wanted_resources_are_still_taken() -> None:
    special = Resources("cpus(eng):4;ports:[1-9]")
    assert Quantities(from_json(to_json(special))) == Quantities(special)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float64(0.5), 0.5),
        (np.int64(5), {"$numpy": ["<i8", 5]}),
        (np.array([1, 2]), [1, 2]),
        (np.array([0.5, np.nan]), [0.5, {"$float": "nan"}]),
        (np.array([0.5], np.float32), {"$numpy": ["<f4", [0.5]]}),
        (np.array([1, 2], np.longdouble), [{"$number": "1.0"}, {"$number": "2.0"}]),
        ([Resources("cpus:1")], [{"$resources": "cpus:1"}]),
        (np.str_("a1"), "a1"),
        (np.array(["a1"]), ["a1"]),
        (iter("ab"), ["a", "b"]),
        (("a",), ["a"]),
        ({("a",): 1}, {"$mapping": [[{"$other": "('a',)"}, 1]]}),
        (b"bytes", {"$other": "b'bytes'"}),
        (3j, {"$other": "3j"}),
        (Offer("O1", "f1", "eng", "a1", Resources()), "O1"),
        (Quantities("mem:1;cpus:2"), "cpus:2;mem:1"),
    ],
)
def test_values_are_written_as_the_engine_takes_them(value: object, written: object) -> None:
    result = to_json(value)
    assert result == written
    assert type(result) is type(written)


def test_what_no_decision_goes_by_keeps_its_looks() -> None:
    back, same = (from_json(to_json(b"bytes")) for _ in range(2))
    assert repr(back) == "b'bytes'"
    assert back == same
    assert hash(back) == hash(same)
    assert back != from_json(to_json(b"other"))
    assert back != b"bytes"


# The command.


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "run.jsonl"
    path.write_text(recorded(*BUSY), encoding="ascii")
    return path


def run(*arguments: object) -> int:
    return cli.main(["replay", *map(str, arguments)])


def test_command_of_a_good_log(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(log) == 0
    out, err = capsys.readouterr()
    assert out == f"{log}: {replay(log)} came out as logged\n"
    assert err == ""


def test_command_of_a_changed_log(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.write_text(log.read_text().replace('"O2"', '"O3"', 1))
    assert run(log) == 1
    line = line_of(lines_of(*BUSY), "allocate")
    expected = f"{log}:{line}: allocate(): offer 2 (id): logged {{"
    assert capsys.readouterr().out.startswith(expected)


def test_command_that_prints_json(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(log, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    found = replay(log)
    assert result == {
        "log": str(log),
        "identical": True,
        "calls": found.calls,
        "cycles": 20,
        "offers": found.offers,
        "closed": True,
        "cut_off": None,
        "difference": None,
    }
    log.write_text(log.read_text().replace('"O2"', '"O3"', 1))
    assert run(log, "--json") == 1
    result = json.loads(capsys.readouterr().out)
    assert result["identical"] is False
    assert result["difference"]["logged"]["id"] == "O3"
    assert result["difference"]["replayed"]["id"] == "O2"


def test_command_of_a_cut_off_log(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = log.read_text().splitlines()
    log.write_text(log.read_text()[:-5])
    assert run(log) == 2
    out, err = capsys.readouterr()
    assert out.endswith(f" offers came out as logged; cut off at line {len(lines)}\n")
    assert err.startswith(f"allocator replay: {log}:{len(lines)}: the log is cut off here ")
    assert run(log, "--lenient") == 0
    assert capsys.readouterr() == (out, "")


def test_command_of_a_log_that_was_not_closed(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    assert run(log) == 0
    assert capsys.readouterr().out.endswith("; not closed, so later lines may be missing\n")


@pytest.mark.parametrize("content", [b"", b"{}\n", b"\x1f\x8bnonsense", b"nonsense\n"])
def test_command_of_what_is_no_log(
    log: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    log.write_bytes(content)
    assert run(log) == 2
    assert capsys.readouterr().err.startswith(f"allocator replay: {log}:1: ")


def test_command_without_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "none.jsonl") == 2
    assert capsys.readouterr().err.endswith("none.jsonl: No such file or directory\n")


def test_command_of_a_packed_log(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = gzip.compress(log.read_bytes())
    log.write_bytes(packed)
    assert run(log, "--no-progress") == 0
    log.write_bytes(packed[: len(packed) // 2])
    assert run(log) == 2
    assert "the log is cut off here" in capsys.readouterr().err
    log.write_bytes(packed[:-8] + bytes(8))  # the checksum and the size
    assert run(log) == 2
    assert ": broken gzip: " in capsys.readouterr().err


def test_a_log_can_be_packed_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl.gz"
    with gzip.open(path, "wt", encoding="ascii", newline="\n") as out:
        engine = AuditLog(Allocator(), out)
        engine.add_agent("a1", "cpus:4")
        found = replay(io.BytesIO(path.read_bytes()))  # as a crash here would leave it
        assert (found.calls, found.cut_off) == (1, 3)
        engine.close()
    found = replay(path)
    assert (found.calls, found.cut_off, found.closed) == (1, None, True)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_command_of_stdin_in_a_process_that_hashes_otherwise(
    log: Path, pack: Callable[[bytes], bytes]
) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "allocator", "replay", "-"],
        input=pack(log.read_bytes()),
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        check=False,
    )
    assert found.stderr == b""
    assert found.stdout.decode() == f"stdin: {replay(log)} came out as logged\n"
    assert found.returncode == 0


def test_progress_is_told_in_parts_of_the_file(log: Path) -> None:
    parts: list[float] = []
    replay(log, progress=parts.append)
    assert parts == sorted(parts)
    assert len(parts) > 1
    assert 0 < parts[0] < parts[-1] == 1.0
