"""The allocation loop: batches, full cycles, latencies, failures and a clean end.

Each test drives a real asyncio event loop. Nothing here asserts how long something took: a test
waits for what must happen, under one generous timeout, and an interval of an hour stands for
"not during this test".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from allocator.clock import ManualClock
from allocator.engine import Allocator, Offers
from allocator.errors import InvalidValue, NotAllowed
from allocator.loop import AllocationLoop, _next_due
from allocator.resources import Resources
from tests.contract import volume

HOUR = 3600.0


class Batch(list[str]):
    """Stands for `Offers`: here, the ids of the agents offered."""

    inverse: tuple[str, ...] = ()
    rescinded: tuple[str, ...] = ()


class Reader:
    """What the loop needs of a reader: to be woken once after each `clear`."""

    def __init__(self, engine: ScriptedEngine, wake: Callable[[], None]) -> None:
        self.engine = engine
        self.wake = wake
        self.has_some = False

    def clear(self) -> None:
        self.has_some = False

    def close(self) -> None:
        self.engine.readers.remove(self)


class ScriptedEngine:
    """What the loop needs of an engine: it offers each agent it is asked for, and records it."""

    def __init__(self, agents: str = "abc") -> None:
        self.agents = set(agents)
        self.readers: list[Reader] = []
        self.touched: dict[str, None] | None = {}
        #: What each cycle was asked for: None for all agents.
        self.cycles: list[list[str] | None] = []

    def changes(self, wake: Callable[[], None]) -> Reader:
        self.readers.append(Reader(self, wake))
        return self.readers[-1]

    def touched_agents(self) -> list[str] | None:
        if self.touched is None:
            return None
        return [agent for agent in self.touched if agent in self.agents]

    def allocate(self, agents: list[str] | None = None) -> Batch:
        self.cycles.append(agents)
        served = sorted(self.agents) if agents is None else agents
        if agents is None or self.touched is None:
            self.touched = {}
        for agent in served:
            self.touched.pop(agent, None)
        self.tell()  # its offers
        return Batch(served)

    def change(self, agent_id: str | None) -> None:
        """Have something happen to an agent, None for all."""
        if agent_id is None:
            self.touched = None
        elif self.touched is not None:
            self.touched[agent_id] = None
        self.tell()

    def tell(self) -> None:
        for reader in list(self.readers):
            if not reader.has_some:
                reader.has_some = True
                reader.wake()


class Served:
    """Collects what `on_offers` is given; `await served.after(n)` waits for the n-th call."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self._more = asyncio.Event()

    def __call__(self, offers: Batch) -> None:
        self.batches.append(offers)
        self._more.set()

    async def after(self, n: int) -> list[Batch]:
        while len(self.batches) < n:
            self._more.clear()
            await self._more.wait()
        return self.batches


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        before = asyncio.all_tasks()
        async with asyncio.timeout(30):
            await test
        leaked = asyncio.all_tasks() - before
        assert not leaked

    asyncio.run(bounded())


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    engine = ScriptedEngine()
    yield engine
    assert engine.readers == [], "the loop still reads"


def test_first_full_cycle_runs_at_once(engine: ScriptedEngine) -> None:
    async def test() -> None:
        served = Served()
        async with AllocationLoop(engine, served, interval=HOUR):
            assert await served.after(1) == [["a", "b", "c"]]
        assert engine.cycles == [None]

    run(test())


def test_events_of_one_tick_are_one_batch_in_the_order_of_the_marks(engine: ScriptedEngine) -> None:
    async def test() -> None:
        served = Served()
        async with AllocationLoop(engine, served, interval=HOUR):
            await served.after(1)
            for agent_id in ("c", "a", "c"):
                engine.change(agent_id)
            await served.after(2)
        assert engine.cycles == [None, ["c", "a"]]

    run(test())


def test_events_of_several_callbacks_of_one_tick_are_one_batch(engine: ScriptedEngine) -> None:
    async def test() -> None:
        served = Served()
        async with AllocationLoop(engine, served, interval=HOUR):
            await served.after(1)
            for agent_id in ("b", "a"):
                asyncio.get_running_loop().call_soon(engine.change, agent_id)
            await served.after(2)
        assert engine.cycles == [None, ["b", "a"]]

    run(test())


def test_an_event_for_all_agents_makes_a_full_cycle(engine: ScriptedEngine) -> None:
    async def test() -> None:
        served = Served()
        async with AllocationLoop(engine, served, interval=HOUR):
            await served.after(1)
            engine.change("a")
            engine.change(None)
            await served.after(2)
        assert engine.cycles == [None, None]

    run(test())


def test_marks_by_hand_work_as_events_do(engine: ScriptedEngine) -> None:
    async def test() -> None:
        served = Served()
        loop = AllocationLoop(engine, served, interval=HOUR)
        async with loop:
            await served.after(1)
            loop.mark("b")
            await served.after(2)
            loop.mark_all()
            await served.after(3)
        assert engine.cycles == [None, ["b"], None]

    run(test())


def test_full_cycles_go_on_at_the_interval(engine: ScriptedEngine) -> None:
    async def test() -> None:
        served = Served()
        async with AllocationLoop(engine, served, interval=0.001):
            await served.after(5)
        assert engine.cycles[:5] == [None] * 5

    run(test())


@pytest.mark.parametrize(
    ("now", "following"),
    [
        (10.0, 11.0),  # begun when due
        (10.9, 11.0),  # late, but within the interval: the rhythm stays
        (11.0, 12.0),  # a whole interval late: the cycle due now is this one
        (17.5, 18.5),  # seven cycles missed: left out
    ],
)
def test_missed_cycles_are_left_out(now: float, following: float) -> None:
    assert _next_due(10.0, 1.0, now) == following


def test_agents_marked_during_a_batch_wait_for_the_next(engine: ScriptedEngine) -> None:
    async def test() -> None:
        served = Served()
        gate = asyncio.Event()

        async def held(offers: Batch) -> None:
            served(offers)
            await gate.wait()

        async with AllocationLoop(engine, held, interval=HOUR):
            await served.after(1)
            engine.change("a")
            await asyncio.sleep(0)
            engine.change("b")
            await asyncio.sleep(0)
            assert engine.cycles == [None]  # one batch at a time
            gate.set()
            await served.after(2)
        assert engine.cycles == [None, ["a", "b"]]

    run(test())


def test_answers_that_mark_agents_again_do_not_starve_other_tasks(engine: ScriptedEngine) -> None:
    async def test() -> None:
        def give_back(offers: Batch) -> None:
            for agent_id in offers:
                engine.change(agent_id)

        async with AllocationLoop(engine, give_back, interval=HOUR):
            while len(engine.cycles) < 10:
                await asyncio.sleep(0)

    run(test())


def test_agents_removed_before_their_batch_are_passed_over(engine: ScriptedEngine) -> None:
    async def test() -> None:
        served = Served()
        async with AllocationLoop(engine, served, interval=HOUR):
            await served.after(1)
            engine.agents.discard("a")
            engine.change("a")
            await asyncio.sleep(0)
            engine.change("a")
            engine.change("b")
            await served.after(2)
        assert engine.cycles == [None, ["b"]]

    run(test())


def test_on_offers_is_not_called_without_offers(engine: ScriptedEngine) -> None:
    async def test() -> None:
        engine.agents.clear()
        served = Served()
        async with AllocationLoop(engine, served, interval=HOUR):
            while not engine.cycles:
                await asyncio.sleep(0)
        assert served.batches == []

    run(test())


@pytest.mark.parametrize("part", ["inverse", "rescinded"])
def test_on_offers_is_called_for_other_parts_alone(engine: ScriptedEngine, part: str) -> None:
    async def test() -> None:
        engine.agents.clear()
        leave = Batch()
        setattr(leave, part, ("a",))
        engine.allocate = lambda agents=None: leave  # type: ignore[method-assign]
        served = Served()
        async with AllocationLoop(engine, served, interval=HOUR):
            assert await served.after(1) == [leave]

    run(test())


def test_both_latencies_count_the_batches(engine: ScriptedEngine) -> None:
    async def test() -> None:
        served = Served()
        loop = AllocationLoop(engine, served, interval=HOUR)
        assert set(loop.metrics().values()) == {0}
        async with loop:
            await served.after(1)
            engine.change("a")
            await served.after(2)
        metrics = loop.metrics()
        name = "allocator/mesos/allocation_run_latency_ms"
        assert metrics[f"{name}/count"] == 2
        assert 0 <= metrics[f"{name}/min"] <= metrics[name]
        assert f"{name}/p9999" in metrics
        assert loop.allocation_run.count == 2

    run(test())


def test_latency_counts_from_the_first_mark_of_a_batch(engine: ScriptedEngine) -> None:
    async def test() -> None:
        served = Served()
        gate = asyncio.Event()

        async def held(offers: Batch) -> None:
            served(offers)
            await gate.wait()

        loop = AllocationLoop(engine, held, interval=HOUR)
        async with loop:
            await served.after(1)
            engine.change("a")
            await asyncio.sleep(0.02)
            engine.change("b")
            gate.set()
            await served.after(2)
        assert loop.metrics()["allocator/mesos/allocation_run_latency_ms"] >= 20

    run(test())


@pytest.mark.parametrize("where", ["callback", "async callback", "engine"])
def test_a_failure_ends_the_loop_and_surfaces_in_stop(engine: ScriptedEngine, where: str) -> None:
    class Broken(Exception):
        pass

    def fail(_: object = None) -> None:
        raise Broken(where)

    async def fail_later(_: object) -> None:
        await asyncio.sleep(0)
        raise Broken(where)

    async def test() -> None:
        if where == "engine":
            engine.allocate = fail  # type: ignore[assignment, method-assign]
        loop = AllocationLoop(engine, fail_later if where == "async callback" else fail, HOUR)
        task = loop.start()
        with pytest.raises(Broken, match=where):
            await task
        assert not loop.running
        assert engine.readers == []
        with pytest.raises(Broken, match=where):
            await loop.stop()
        await loop.stop()  # told once

    run(test())


def test_a_failure_surfaces_at_the_end_of_async_with(engine: ScriptedEngine) -> None:
    async def test() -> None:
        def fail(_: object) -> None:
            raise ZeroDivisionError("in on_offers")

        async def one_cycle() -> None:
            async with AllocationLoop(engine, fail, interval=HOUR):
                while not engine.cycles:
                    await asyncio.sleep(0)

        with pytest.raises(ZeroDivisionError, match="in on_offers"):
            await one_cycle()

    run(test())


def test_stop_lets_the_batch_under_way_end(engine: ScriptedEngine) -> None:
    async def test() -> None:
        done = []

        async def slow(offers: Batch) -> None:
            await asyncio.sleep(0.01)
            done.append(offers)

        loop = AllocationLoop(engine, slow, interval=HOUR)
        loop.start()
        while not engine.cycles:
            await asyncio.sleep(0)
        assert loop.running
        await loop.stop()
        assert done == [["a", "b", "c"]]
        assert not loop.running
        await loop.stop()

    run(test())


def test_stop_before_the_first_cycle_runs_none(engine: ScriptedEngine) -> None:
    async def test() -> None:
        loop = AllocationLoop(engine, Served(), interval=HOUR)
        await loop.stop()  # never started
        loop.start()
        await loop.stop()
        assert engine.cycles == []

    run(test())


def test_stop_from_within_on_offers(engine: ScriptedEngine) -> None:
    async def test() -> None:
        async def last(_: object) -> None:
            await loop.stop()

        loop = AllocationLoop(engine, last, interval=0.001)
        await loop.start()
        await loop.stop()
        assert engine.cycles == [None]

    run(test())


def test_a_stopped_loop_starts_again_even_in_another_event_loop(engine: ScriptedEngine) -> None:
    served: list[Batch] = []
    loop = AllocationLoop(engine, served.append, interval=HOUR)

    async def once() -> None:
        async with loop:
            seen = len(engine.cycles)
            while len(engine.cycles) == seen:
                await asyncio.sleep(0)

    run(once())
    run(once())
    assert engine.cycles == [None, None]


def test_cancelling_the_task_stops_the_loop(engine: ScriptedEngine) -> None:
    async def test() -> None:
        loop = AllocationLoop(engine, Served(), interval=HOUR)
        loop.start().cancel()
        await loop.stop()
        assert not loop.running
        assert engine.readers == []

    run(test())


def test_one_loop_takes_one_start(engine: ScriptedEngine) -> None:
    async def test() -> None:
        loop = AllocationLoop(engine, Served(), interval=HOUR)
        async with loop:
            with pytest.raises(NotAllowed, match="started already"):
                loop.start()

    run(test())


def test_what_a_batch_itself_changes_makes_no_other(engine: ScriptedEngine) -> None:
    async def test() -> None:
        served = Served()
        async with AllocationLoop(engine, served, interval=HOUR):
            await served.after(1)
            engine.change("a")
            await served.after(2)
            engine.tell()  # of what makes no offer possible
            for _ in range(50):
                await asyncio.sleep(0)
        assert engine.cycles == [None, ["a"]]

    run(test())


def test_what_others_do_on_account_of_a_batch_is_served(engine: ScriptedEngine) -> None:
    async def test() -> None:
        served = Served()
        async with AllocationLoop(engine, served, interval=HOUR):
            await served.after(1)
            # Woken by the end of the batch, before the loop sleeps on.
            engine.changes(lambda: engine.change("b") if len(engine.cycles) == 2 else None)
            engine.readers.reverse()
            engine.readers[0].has_some = False
            engine.change("a")
            engine.readers[0].clear()
            await served.after(3)
            engine.readers.pop(0)
        assert engine.cycles == [None, ["a"], ["b"]]

    run(test())


class TestWithTheEngine:
    """Which calls of the real engine make the loop look again, and at what."""

    @staticmethod
    def cluster() -> Allocator:
        engine = Allocator(seed=1)
        engine.add_framework("spark", roles=["eng"])
        engine.add_agent("a1", "cpus:4")
        return engine

    @staticmethod
    async def next_offers(offers: asyncio.Queue[Offers]) -> list[tuple[str, str, str]]:
        return [(o.framework, o.agent, str(o.resources)) for o in await offers.get()]

    def test_events_are_served_without_waiting_for_the_interval(self) -> None:
        async def test() -> None:
            engine = self.cluster()
            made: asyncio.Queue[Offers] = asyncio.Queue()
            async with AllocationLoop(engine, made.put_nowait, interval=HOUR):
                first = (await made.get())[0]
                engine.add_agent("a2", "cpus:2")
                assert await self.next_offers(made) == [("spark", "a2", "cpus:2")]
                engine.accept(first, "cpus:3")
                assert await self.next_offers(made) == [("spark", "a1", "cpus:1")]
                engine.release("spark", "a1", "eng", "cpus:3")
                assert await self.next_offers(made) == [("spark", "a1", "cpus:3")]

        run(test())

    def test_its_metrics_and_the_engines_share_no_key(self) -> None:
        async def test() -> None:
            engine = self.cluster()
            made: asyncio.Queue[Offers] = asyncio.Queue()
            async with AllocationLoop(engine, made.put_nowait, interval=HOUR) as loop:
                await made.get()
            assert engine.metrics()["allocator/mesos/allocation_run_ms/count"] == 1
            assert not engine.metrics().keys() & loop.metrics().keys()

        run(test())

    def test_two_loops_may_serve_one_engine(self) -> None:
        async def test() -> None:
            engine = self.cluster()
            made: asyncio.Queue[Offers] = asyncio.Queue()
            async with (
                AllocationLoop(engine, made.put_nowait, interval=HOUR),
                AllocationLoop(engine, made.put_nowait, interval=HOUR),
            ):
                assert await self.next_offers(made) == [("spark", "a1", "cpus:4")]
                engine.add_agent("a2", "cpus:2")
                assert await self.next_offers(made) == [("spark", "a2", "cpus:2")]
                assert made.empty()

        run(test())

    def test_shared_resources_do_not_keep_it_busy(self) -> None:
        async def test() -> None:
            engine = Allocator(seed=1)
            engine.add_framework("spark", ["eng"], capabilities=["SHARED_RESOURCES"])
            engine.add_agent("a1", Resources("cpus:4") + volume(8, shared=True))
            made: asyncio.Queue[Offers] = asyncio.Queue()
            async with AllocationLoop(engine, made.put_nowait, interval=HOUR) as loop:
                engine.accept((await made.get())[0])
                for _ in range(50):
                    await asyncio.sleep(0)
                assert loop.allocation_run.count == 1
                engine.set_weight("eng", 2.0)
                for _ in range(50):
                    await asyncio.sleep(0)
                assert loop.allocation_run.count == 1

        run(test())

    def test_quotas_leave_others_to_the_full_cycle(self) -> None:
        async def test() -> None:
            engine = self.cluster()
            engine.set_quota("eng", limit="cpus:6")
            engine.add_agent("a2", "cpus:4")
            batches: list[list[str]] = []
            made: asyncio.Queue[Offers] = asyncio.Queue()
            async with AllocationLoop(engine, made.put_nowait, interval=HOUR):
                offers = await made.get()
                allocate = engine.allocate
                engine.allocate = lambda agents=None: (  # type: ignore[method-assign]
                    batches.append(agents) or allocate(agents)
                )
                engine.decline(offers[0], refuse_seconds=None)
                await made.get()
                assert batches == [[offers[0].agent]]

        run(test())

    def test_a_paused_engine_is_let_be_until_it_goes_on(self) -> None:
        async def test() -> None:
            engine = self.cluster()
            made: asyncio.Queue[Offers] = asyncio.Queue()
            async with AllocationLoop(engine, made.put_nowait, interval=HOUR) as loop:
                await made.get()
                engine.pause()
                engine.add_agent("a2", "cpus:2")
                for _ in range(20):
                    await asyncio.sleep(0)
                assert loop.allocation_run.count == 1
                engine.resume()
                assert await self.next_offers(made) == [("spark", "a2", "cpus:2")]

        run(test())

    def test_a_filter_keeps_offers_back_until_revive(self) -> None:
        async def test() -> None:
            engine = self.cluster()
            made: asyncio.Queue[Offers] = asyncio.Queue()
            async with AllocationLoop(engine, made.put_nowait, interval=HOUR):
                engine.decline((await made.get())[0], refuse_seconds=HOUR)
                await asyncio.sleep(0.01)
                assert made.empty()
                engine.revive("spark")
                assert await self.next_offers(made) == [("spark", "a1", "cpus:4")]

        run(test())

    def test_what_came_while_paused_is_served_at_resume(self) -> None:
        async def test() -> None:
            engine = self.cluster()
            engine.pause()
            made: asyncio.Queue[Offers] = asyncio.Queue()
            async with AllocationLoop(engine, made.put_nowait, interval=HOUR):
                await asyncio.sleep(0.01)
                engine.add_agent("a2", "cpus:2")
                await asyncio.sleep(0.01)
                assert made.empty()
                engine.resume()
                assert sorted(await self.next_offers(made)) == [
                    ("spark", "a1", "cpus:4"),
                    ("spark", "a2", "cpus:2"),
                ]

        run(test())

    def test_interval_picks_up_filters_that_ended(self) -> None:
        async def test() -> None:
            clock = ManualClock()
            engine = Allocator(seed=1, clock=clock)
            engine.add_framework("spark")
            engine.add_agent("a1", "cpus:4")
            made: asyncio.Queue[Offers] = asyncio.Queue()
            async with AllocationLoop(engine, made.put_nowait, interval=0.001):
                engine.decline((await made.get())[0], refuse_seconds=5)
                clock.advance(5)
                assert await self.next_offers(made) == [("spark", "a1", "cpus:4")]

        run(test())

    def test_an_agent_added_and_removed_in_one_tick(self) -> None:
        async def test() -> None:
            engine = self.cluster()
            made: asyncio.Queue[Offers] = asyncio.Queue()
            async with AllocationLoop(engine, made.put_nowait, interval=HOUR):
                await made.get()
                engine.add_agent("a2", "cpus:2")
                engine.remove_agent("a2")
                engine.add_agent("a3", "cpus:3")
                assert await self.next_offers(made) == [("spark", "a3", "cpus:3")]

        run(test())

    def test_every_offer_of_the_same_events_is_the_engines_own(self) -> None:
        """The loop decides nothing: a twin engine told the same makes the same offers."""

        async def test() -> list[tuple[str, str, str]]:
            engine = self.cluster()
            made: asyncio.Queue[Offers] = asyncio.Queue()
            seen = []
            async with AllocationLoop(engine, made.put_nowait, interval=HOUR):
                seen += await self.next_offers(made)
                engine.add_framework("web", roles=["ops"])
                engine.add_agent("a2", "cpus:2")
                seen += await self.next_offers(made)
            return seen

        async def checked() -> None:
            twin = self.cluster()
            expected = [(o.framework, o.agent, str(o.resources)) for o in twin.allocate()]
            twin.add_framework("web", roles=["ops"])
            twin.add_agent("a2", "cpus:2")
            expected += [(o.framework, o.agent, str(o.resources)) for o in twin.allocate()]
            assert await test() == expected

        run(checked())


@pytest.mark.parametrize("interval", [0, -1.0, float("nan"), float("inf")])
def test_interval_is_positive_and_finite(engine: ScriptedEngine, interval: float) -> None:
    with pytest.raises(InvalidValue, match="interval"):
        AllocationLoop(engine, Served(), interval)
