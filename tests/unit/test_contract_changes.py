"""Who reads what changed, and when they are woken (contract §5, "Changes").

Each test runs on the engine and on the reference, and the first ones on the audit log too.
"""

from __future__ import annotations

import gc
import inspect
import io
import weakref
from typing import Any

import pytest

import allocator
from allocator import InvalidValue, ManualClock, QuotaError, UnknownAgent, reference
from allocator.audit import AuditLog
from allocator.contract import CHANGING
from tests.contract import R, volume

KINDS = ("agent", "framework", "role", "offer", "maintenance", "engine")


def logged(**options: Any) -> AuditLog:
    return AuditLog(allocator.Allocator(**options), io.StringIO())


IMPLEMENTATIONS = {
    "engine": allocator.Allocator,
    "reference": reference.Allocator,
    "log": logged,
}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=IMPLEMENTATIONS)
def make(request: pytest.FixtureRequest, clock: ManualClock) -> Any:
    kind = IMPLEMENTATIONS[request.param]

    def made(**options: Any) -> Any:
        return kind(**{"seed": 7, "clock": clock, **options})

    return made


@pytest.fixture
def engine(make: Any) -> Any:
    """Two agents, and two frameworks that use something of them."""
    engine = make()
    used = {"f": {"eng/web": "cpus:1"}}
    engine.add_agent("a", "cpus:4;mem:64", attributes={"rack": "r1"}, used=used)
    engine.add_agent("b", "cpus:4;mem:64")
    engine.add_framework("f", ["eng/web"])
    engine.add_framework("g", ["ops"], suppressed=["ops"])
    return engine


@pytest.fixture
def changes(engine: Any) -> Any:
    return engine.changes()


AGENT, FRAMEWORK = ("agent", "a"), ("framework", "f")
WEB, ENG = ("role", "eng/web"), ("role", "eng")
ENGINE = ("engine", "")


class TestReader:
    def test_it_begins_with_nothing(self, engine, changes):
        assert changes.take() == []
        engine.deactivate_agent("a")
        assert engine.changes().take() == []

    def test_each_once_in_the_order_of_first_changes(self, engine, changes):
        engine.deactivate_agent("b")
        engine.deactivate_agent("a")
        engine.activate_agent("b")
        engine.deactivate_framework("f")
        assert changes.take() == [("agent", "b"), AGENT, FRAMEWORK]
        assert changes.take() == []
        engine.activate_agent("a")
        assert changes.take() == [AGENT]

    def test_what_changed_and_changed_back_is_told(self, engine, changes):
        engine.deactivate_agent("a")
        engine.activate_agent("a")
        assert changes.take() == [AGENT]

    def test_several_readers_each_have_all(self, engine, changes):
        engine.deactivate_agent("a")
        late = engine.changes()
        engine.deactivate_agent("b")
        engine.activate_agent("a")
        assert changes.take() == [AGENT, ("agent", "b")]
        assert late.take() == [("agent", "b"), AGENT]
        engine.deactivate_agent("a")
        assert changes.take() == [AGENT]
        engine.activate_agent("a")
        assert late.take() == [AGENT]
        assert changes.take() == [AGENT]

    def test_an_id_that_goes_and_comes_again_is_told_once(self, engine, changes):
        engine.remove_agent("b")
        engine.add_agent("b", "cpus:1")
        engine.remove_framework("g")
        engine.add_framework("g", ["ops"])
        found = changes.take()
        assert len(found) == len(set(found))
        assert {("agent", "b"), ("framework", "g"), ("role", "ops")} <= set(found)

    def test_after_close_nothing_is_told(self, engine):
        woken = []
        closed, open_one = engine.changes(lambda: woken.append(1)), engine.changes()
        engine.deactivate_agent("a")
        closed.close()
        assert closed.take() == []
        engine.activate_agent("a")
        assert closed.take() == []
        closed.close()
        assert open_one.take() == [AGENT]
        open_one.close()
        engine.deactivate_agent("a")
        assert open_one.take() == []
        assert woken == [1]

    def test_one_can_come_after_the_last_has_closed(self, engine, changes):
        changes.close()
        engine.deactivate_agent("a")
        again = engine.changes()
        engine.deactivate_agent("b")
        assert again.take() == [("agent", "b")]

    def test_a_fork_is_read_apart(self, engine, changes):
        engine.deactivate_agent("a")
        fork = engine.fork()
        apart = fork.changes()
        fork.deactivate_agent("b")
        assert apart.take() == [("agent", "b")]
        assert changes.take() == [AGENT]
        fork.activate_agent("a")
        assert apart.take() == [AGENT]
        engine.deactivate_agent("b")
        assert changes.take() == [("agent", "b")]

    def test_a_fork_tells_of_what_was_told_before_it_was_made(self, engine, changes):
        engine.revive("g")
        (offer, *_) = engine.allocate()
        fork = engine.fork()
        apart = fork.changes()
        fork.rescind(offer)
        found = apart.take()
        assert ("offer", offer.id) in found
        assert ("agent", offer.agent) in found

    def test_kinds_are_those_of_the_contract(self, engine, changes):
        engine.set_unavailability("a", 60.0)
        engine.pause()
        engine.resume()
        engine.allocate()
        assert {kind for kind, _ in changes.take()} == set(KINDS)


class TestWake:
    @pytest.mark.parametrize("value", [1, "wake", ()])
    def test_it_can_be_called(self, engine, value):
        with pytest.raises(InvalidValue, match="wake"):
            engine.changes(value)
        engine.deactivate_agent("a")

    def test_it_is_called_when_there_is_something_after_nothing_was(self, engine):
        woken = []
        changes = engine.changes(lambda: woken.append(1))
        assert woken == []
        engine.deactivate_agent("a")
        assert woken == [1]
        engine.deactivate_agent("b")
        assert woken == [1]
        changes.take()
        engine.activate_agent("a")
        assert woken == [1, 1]

    def test_it_is_called_after_the_call_has_ended(self, engine):
        seen = []

        def look():
            seen.append(str(engine.agent("c").allocated))
            # It may call the engine, also to change it.
            engine.release("f", "c", "eng/web", "cpus:1")

        changes = engine.changes(look)
        engine.add_agent("c", "cpus:4", used={"f": {"eng/web": "cpus:3"}})
        assert seen == ["cpus:3"]
        assert str(engine.agent("c").allocated) == "cpus:2"
        assert ("agent", "c") in changes.take()

    def test_one_that_takes_and_calls_is_woken_for_its_own_call(self, engine):
        taken = []

        def wake():
            taken.append(changes.take())
            if len(taken) < 3:
                engine.set_weight("ops", 1.0 + len(taken))

        changes = engine.changes(wake)
        engine.deactivate_agent("a")
        assert taken == [[AGENT], [("role", "ops")], [("role", "ops")]]

    def test_a_call_within_a_call_does_not_end_it(self, engine):
        woken = []
        engine.changes(lambda: woken.append(str(engine.agent("a").available)))
        engine.revive("g")
        woken.clear()
        offers = engine.allocate()
        changes = engine.changes(lambda: woken.append(len(engine.open_offers)))
        engine.rescind(offers)
        engine.set_quotas({"ops": {"limit": "cpus:1"}, "eng": {"limit": "cpus:9"}})
        changes.take()
        engine.remove_quota("ops")
        assert woken == [0, 0]

    def test_what_it_raises_reaches_the_caller_and_the_change_stands(self, engine):
        def refuse():
            raise ZeroDivisionError("woken")

        woken = []
        changes = engine.changes(refuse)
        engine.changes(lambda: woken.append(1))
        with pytest.raises(ZeroDivisionError, match="woken"):
            engine.deactivate_agent("a")
        assert not engine.agent("a").active
        assert woken == [1]
        assert changes.take() == [AGENT]
        with pytest.raises(ZeroDivisionError):
            engine.activate_agent("a")
        assert engine.agent("a").active

    def test_a_refusal_of_what_it_calls_takes_nothing_back(self, engine):
        changes = engine.changes(lambda: engine.remove_agent("nowhere"))
        with pytest.raises(UnknownAgent, match="nowhere"):
            engine.deactivate_agent("a")
        assert changes.take() == [AGENT]

    def test_a_refused_call_tells_nothing_and_wakes_nobody(self, engine):
        woken = []
        changes, other = engine.changes(lambda: woken.append(1)), engine.changes()
        engine.set_weight("ops", 2.0)
        assert changes.take() == other.take() == [("role", "ops")]
        woken.clear()
        quotas = {"new/role": {"guarantee": "cpus:1"}, "new": {"limit": "cpus:0"}}
        with pytest.raises(QuotaError):
            engine.set_quotas(quotas)
        for refused in (
            lambda: engine.remove_agent("nowhere"),
            lambda: engine.add_agent("c", "cpus:1", used={"f": {"ops": "cpus:2"}}),
            lambda: engine.add_agents(["c", "a"], "cpus:1"),
            lambda: engine.allocate(["nowhere"]),
            lambda: engine.accept("O99"),
            lambda: engine.release("f", "a", "eng/web", "cpus:2"),
            lambda: engine.update_framework("f", roles=["x"], suppressed=["y"]),
            lambda: engine.set_weights({"x": 2.0, "y": -1.0}),
        ):
            with pytest.raises(allocator.AllocatorError):
                refused()
        assert (changes.take(), woken) == ([], [])
        # What a refusal took back is told when it happens.
        engine.set_quotas({"new": {"guarantee": "cpus:1"}})
        assert changes.take() == other.take() == [("role", "new")]

    def test_a_refusal_takes_back_only_its_own(self, engine, changes):
        engine.set_quota("new", limit="cpus:1")
        other = engine.changes()
        with pytest.raises(QuotaError):
            engine.set_quotas({"new/role": {"guarantee": "cpus:1"}, "new": {"limit": "cpus:0"}})
        assert other.take() == []
        assert changes.take() == [("role", "new")]
        engine.remove_quota("new")
        assert changes.take() == other.take() == [("role", "new")]


def told(engine: Any, call: Any) -> set[tuple[str, str]]:
    """Return what a call tells."""
    changes = engine.changes()
    call()
    found = changes.take()
    assert len(found) == len(set(found))
    changes.close()
    return set(found)


class TestWhatIsTold:
    """Exactly these, where nothing else says otherwise."""

    @pytest.mark.parametrize(
        ("call", "args", "expected"),
        [
            ("add_agent", ("c", "cpus:1"), {("agent", "c"), ENGINE}),
            ("add_agent", ("c", "ports:[1-2]"), {("agent", "c")}),
            ("update_agent", ("a",), set()),
            ("deactivate_agent", ("a",), {AGENT}),
            ("activate_agent", ("a",), set()),
            ("add_framework", ("h", ["ops"]), {("framework", "h"), ("role", "ops")}),
            (
                "add_framework",
                ("h", ["new/role"]),
                {("framework", "h"), ("role", "new"), ("role", "new/role")},
            ),
            ("deactivate_framework", ("f",), {FRAMEWORK}),
            ("activate_framework", ("f",), set()),
            ("suppress", ("f",), {FRAMEWORK}),
            ("suppress", ("g",), set()),
            ("revive", ("g",), {("framework", "g")}),
            ("revive", ("f",), set()),
            ("remove_framework", ("g",), {("framework", "g"), ("role", "ops")}),
            ("remove_framework", ("f",), {FRAMEWORK, AGENT, WEB, ENG}),
            ("release", ("f", "a", "eng/web", "cpus:1"), {FRAMEWORK, AGENT, WEB, ENG}),
            ("set_weight", ("eng", 2.0), {ENG}),
            ("set_weight", ("eng", 1.0), set()),
            ("set_weight", ("new", 2.0), {("role", "new")}),
            ("set_quota", ("eng", None, "cpus:4"), {ENG}),
            ("remove_quota", ("eng",), set()),
            ("set_whitelist", (["a"],), {ENGINE}),
            ("set_whitelist", (None,), set()),
            ("pause", (), {ENGINE}),
            ("resume", (), set()),
            ("skip_cycles", (3,), set()),
            ("set_unavailability", ("a", 60.0), {("maintenance", "a")}),
            ("clear_unavailability", ("a",), set()),
        ],
    )
    def test_by_a_call(self, engine, call, args, expected):
        assert told(engine, lambda: getattr(engine, call)(*args)) == expected

    def test_looks_tell_nothing(self, engine):
        def look():
            engine.agent("a"), engine.framework("f"), engine.role("eng").share, engine.now()
            engine.next_due(), engine.fork(), list(engine.agents.values()), engine.roles["eng"]
            engine.inverse_statuses("a"), list(engine.open_offers)

        assert told(engine, look) == set()

    def test_update_agent(self, engine):
        total = told(engine, lambda: engine.update_agent("b", resources="cpus:8;mem:64"))
        assert total == {("agent", "b"), ENGINE}
        known = told(engine, lambda: engine.update_agent("b", attributes={"rack": "r2"}))
        assert known == {("agent", "b")}
        can = told(engine, lambda: engine.update_agent("b", capabilities=[]))
        assert can == {("agent", "b")}

    def test_reservations_are_told_of_their_roles(self, engine):
        found = told(engine, lambda: engine.add_agent("c", "cpus(eng/db):2"))
        assert found == {("agent", "c"), ("role", "eng/db"), ENG, ENGINE}

    def test_many_agents_at_once(self, engine):
        found = told(engine, lambda: engine.add_agents(["c", "d"], "cpus:1"))
        assert found == {("agent", "c"), ("agent", "d"), ENGINE}
        found = told(engine, lambda: engine.update_agents(["c", "d"], {"cpus": [1, 2]}))
        assert found == {("agent", "d"), ENGINE}

    def test_update_framework(self, engine):
        def update(**given: Any) -> set[tuple[str, str]]:
            return told(engine, lambda: engine.update_framework("f", **given))

        assert update() == set()
        assert update(capabilities=["GPU_RESOURCES"]) == {FRAMEWORK}
        assert update(suppressed=["eng/web"]) == {FRAMEWORK}
        # It holds something in the role that it leaves, which so stays.
        assert update(roles=["eng/db"]) == {FRAMEWORK, ("role", "eng/db")}
        assert update(roles=["eng/web"]) == {FRAMEWORK, ("role", "eng/db")}

    def test_offers_of_a_cycle_and_answers_to_them(self, engine):
        holding = {AGENT, ("agent", "b"), FRAMEWORK, WEB, ENG}
        offers = {("offer", "O1"), ("offer", "O2")}
        assert told(engine, engine.allocate) == holding | offers
        assert told(engine, engine.allocate) == set()
        (on_a,) = (o for o in engine.open_offers.values() if o.agent == "a")
        (on_b,) = (o for o in engine.open_offers.values() if o.agent == "b")
        here = {AGENT, FRAMEWORK, WEB, ENG, ("offer", on_a.id)}
        there = {("agent", "b"), FRAMEWORK, WEB, ENG, ("offer", on_b.id)}
        short = lambda: engine.recover_resources("f", "a", "eng/web", "cpus:1")  # noqa: E731
        assert told(engine, short) == here
        assert told(engine, lambda: engine.accept(on_a, "cpus:1")) == here
        assert told(engine, lambda: engine.decline(on_b, refuse_seconds=60)) == there

    def test_an_offer_that_is_converted(self, engine):
        engine.remove_agent("b")
        engine.update_agent("a", resources=R("cpus:4;mem:64") + volume(8, role="eng/web"))
        (offer,) = engine.allocate()
        destroy = allocator.Destroy(volume(8, role="eng/web"))
        found = told(engine, lambda: engine.apply(offer, destroy))
        assert {("offer", offer.id), AGENT, FRAMEWORK} <= found
        assert found <= {("offer", offer.id), AGENT, FRAMEWORK, WEB, ENG}

    def test_what_is_available_is_converted(self, engine):
        reserve = allocator.Reserve(
            [
                {
                    "name": "cpus",
                    "type": "SCALAR",
                    "scalar": {"value": 1},
                    "reservations": [{"type": "DYNAMIC", "role": "ops"}],
                }
            ]
        )
        found = told(engine, lambda: engine.apply_available("b", reserve))
        assert found == {("agent", "b"), ("role", "ops")}

    def test_offers_go_with_their_agent_and_their_framework(self, engine):
        engine.allocate()
        (on_b,) = (o for o in engine.open_offers.values() if o.agent == "b")
        found = told(engine, lambda: engine.remove_agent("b"))
        assert found | {ENGINE} == {
            ("agent", "b"), FRAMEWORK, WEB, ENG, ("offer", on_b.id), ENGINE
        }  # fmt: skip
        (on_a,) = engine.open_offers
        found = told(engine, lambda: engine.remove_framework("f"))
        assert found == {AGENT, FRAMEWORK, WEB, ENG, ("offer", on_a)}

    def test_offers_that_time_out(self, make, clock):
        engine = make(offer_timeout=5)
        engine.add_agent("a", "cpus:4")
        engine.add_framework("f", ["eng"])
        engine.allocate()
        engine.suppress("f")
        clock.advance(5)
        found = told(engine, engine.allocate)
        assert found == {AGENT, FRAMEWORK, ENG, ("offer", "O1")}

    def test_offers_have_the_prefix(self, make):
        engine = make(offer_prefix="m1-")
        engine.add_agent("a", "cpus:4")
        engine.add_framework("f")
        assert ("offer", "m1-O1") in told(engine, engine.allocate)
        assert ("offer", "m1-O1") in told(engine, lambda: engine.accept("m1-O1"))

    def test_filters_are_told_of_their_role(self, engine):
        engine.decline(engine.allocate(), refuse_seconds=60)
        found = told(engine, lambda: engine.update_agent("b", attributes={"rack": "r9"}))
        assert found == {("agent", "b"), WEB}
        assert told(engine, lambda: engine.revive("f")) == {WEB}
        engine.decline(engine.allocate(), refuse_seconds=60)
        assert told(engine, lambda: engine.deactivate_framework("f")) == {FRAMEWORK, WEB}

    def test_use_of_a_framework_that_comes_later(self, engine):
        found = told(engine, lambda: engine.add_agent("c", "cpus:4", used={"h": {"ops": "cpus:1"}}))
        assert {("agent", "c"), ENGINE} <= found <= {("agent", "c"), ENGINE, ("role", "ops")}
        found = told(engine, lambda: engine.add_framework("h", ["ops"]))
        assert {("framework", "h"), ("role", "ops")} <= found
        assert found <= {("framework", "h"), ("role", "ops"), ("agent", "c")}

    def test_recovery(self, make, clock):
        engine = make()
        begin = told(engine, lambda: engine.recover(2, {"q": {"guarantee": "cpus:1"}}))
        assert begin == {ENGINE, ("role", "q")}
        # One of int(2 × 0.8) is back: it ends. Nothing but ports, so that no totals move.
        assert told(engine, lambda: engine.add_agent("a", "ports:[1-2]")) == {AGENT, ENGINE}

    def test_maintenance(self, engine):
        plan = {("maintenance", "a")}
        assert told(engine, lambda: engine.set_unavailability("a", 60.0)) == plan
        engine.suppress("f")
        assert told(engine, lambda: engine.allocate(["a"])) == plan
        assert told(engine, lambda: engine.answer_inverse("f", "a", "DECLINE")) == plan
        # An answer to one that is not outstanding is only a filter.
        again = lambda: engine.answer_inverse("f", "a", None, refuse_seconds=60)  # noqa: E731
        assert told(engine, again) == set()
        assert told(engine, lambda: engine.remove_framework("f")) == {
            *plan, AGENT, FRAMEWORK, WEB, ENG
        }  # fmt: skip
        assert told(engine, lambda: engine.clear_unavailability("a")) == plan
        engine.set_unavailability("a", 60.0)
        assert plan < told(engine, lambda: engine.remove_agent("a"))


class TestCalls:
    def test_the_calls_are_the_classes_own_without_a_reader(self):
        engine = allocator.Allocator(seed=7)
        assert not {*CHANGING} & vars(engine).keys()
        one, two = engine.changes(), engine.changes()
        one.close()
        assert {*CHANGING} <= vars(engine).keys()
        two.close()
        assert not {*CHANGING} & vars(engine).keys()

    def test_a_call_has_its_signature_while_somebody_reads(self):
        engine = allocator.Allocator(seed=7)
        plain = {name: inspect.signature(getattr(engine, name)) for name in CHANGING}
        engine.changes()
        assert {name: inspect.signature(getattr(engine, name)) for name in CHANGING} == plain

    def test_an_engine_goes_with_its_owner_who_reads_it(self):
        class Service:
            def __init__(self) -> None:
                self.engine = allocator.Allocator(seed=7)
                self.engine.add_agents(["a", "b"], "cpus:4;ports:[1-9]")
                self.engine.add_framework("f")
                self.changes = self.engine.changes(self.wake)
                self.offers = self.engine.allocate()

            def wake(self) -> None: ...

        service = weakref.ref(Service())
        gc.collect()
        assert service() is None

    def test_filters_that_ended_are_told_when_a_cycle_begins(self):
        clock = ManualClock()
        engine = allocator.Allocator(seed=7, clock=clock)
        engine.add_agent("a", "cpus:4")
        engine.add_framework("f", ["eng"])
        engine.decline(engine.allocate(), refuse_seconds=5)
        engine.deactivate_agent("a")
        changes = engine.changes()
        clock.advance(5)
        assert engine.role("eng").filters == 0
        engine.metrics()
        assert changes.take() == []
        engine.allocate()
        assert changes.take() == [("role", "eng")]

    def test_a_recovery_that_ended_in_time_is_told_when_a_cycle_is_asked_for(self):
        clock = ManualClock()
        engine = allocator.Allocator(seed=7, clock=clock)
        engine.recover(9, {"q": {"guarantee": "cpus:1"}})
        changes = engine.changes()
        clock.advance(600)
        engine.next_due()
        assert changes.take() == []
        engine.allocate()
        assert changes.take() == [ENGINE]

    def test_a_wake_of_the_log_comes_after_the_record(self):
        out = io.StringIO()
        engine = AuditLog(allocator.Allocator(seed=7), out)
        seen = []

        def wake():
            seen.append(out.getvalue().splitlines()[-1])
            if len(seen) == 1:
                changes.take()
                engine.add_agent("b", "cpus:1")

        changes = engine.changes(wake)
        engine.add_agent("a", "cpus:1")
        assert ['"id":"a"' in seen[0], '"id":"b"' in seen[1]] == [True, True]

    def test_an_offer_of_which_nothing_is_recovered_is_not_told(self, make: Any) -> None:
        engine = make()
        engine.add_framework("f", ["ops"])
        engine.add_agent("a", "cpus:4")
        (older,) = engine.allocate()
        engine.update_agent("a", resources="cpus:4;disk:8")
        (newer,) = engine.allocate()
        reader = engine.changes()
        engine.recover_resources("f", "a", "ops", "disk:2")
        told = reader.take()
        assert ("offer", newer.id) in told
        assert ("offer", older.id) not in told
