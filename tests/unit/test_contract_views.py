"""Read-only views and metrics (contract §5.13)."""

import io

import pytest

from allocator import Allocator, Quantities, UnknownAgent, UnknownFramework, UnknownRole, reference
from allocator.audit import AuditLog
from tests.contract import R, dynamic


def q(text):
    return Quantities(text)


@pytest.fixture
def engine(engine):
    """Eng/prod holds 2 + 1 offered of 10 cpus; eng has 3 more reserved, of which none is used."""
    engine.add_framework("f1", ["eng/prod"])
    engine.add_agent("a1", "cpus:6;mem:100", used={"f1": {"eng/prod": "cpus:2;mem:10"}})
    engine.add_agent("a2", "cpus:1;cpus(eng):3")
    return engine


def test_an_engine_shows_what_there_is():
    for kind in (Allocator, reference.Allocator):
        engine = kind(seed=7)
        engine.add_agent("a1", "cpus:4")
        engine.add_agent("a2", "cpus:4")
        engine.add_framework("f1")
        engine.accept(engine.allocate()[0])
        assert repr(engine).endswith(": agents 2, frameworks 1, open offers 1, cycle 1>")


def test_a_log_shows_its_engine():
    with AuditLog(Allocator(seed=7), io.StringIO()) as log:
        log.add_agent("a1", "cpus:4")
        engine = "<Allocator: agents 1, frameworks 0, open offers 0, cycle 0>"
        assert repr(log) == f"<AuditLog: records 1, {engine}>"


class TestAgent:
    def test_what_it_has(self, engine):
        engine.allocate(["a2"])
        view = engine.agent("a2")
        assert view.total == R("cpus:1;cpus(eng):3")
        assert view.offered == R("cpus:1;cpus(eng):3")
        assert view.available == R()
        assert view.allocated == R()
        assert view.reserved == R("cpus(eng):3")

    def test_it_follows_the_engine(self, engine):
        view = engine.agent("a1")
        assert (view.available, view.allocated) == (R("cpus:4;mem:90"), R("cpus:2;mem:10"))
        engine.release("f1", "a1", "eng/prod", "cpus:2")
        assert (view.available, view.allocated) == (R("cpus:6;mem:90"), R("mem:10"))

    def test_unknown(self, engine):
        with pytest.raises(UnknownAgent, match="nowhere"):
            engine.agent("nowhere")


class TestRole:
    def test_sums_over_the_subtree(self, engine):
        engine.add_framework("f2", ["eng"])
        engine.suppress("f2")
        engine.allocate(["a1"])
        for path in ("eng", "eng/prod"):
            role = engine.role(path)
            assert role.allocated == q("cpus:2;mem:10")
            assert role.offered == q("cpus:4;mem:90")

    def test_share(self, engine):
        # cpus 2/10, mem 10/100; what is reserved but not in use does not count.
        assert engine.role("eng").share == 0.2
        assert engine.role("eng/prod").share == 0.2

    def test_share_by_weight(self, engine):
        engine.set_weight("eng", 2.0)
        assert engine.role("eng").weight == 2.0
        assert engine.role("eng").share == 0.1
        # The weight of a path is that of its subtree, once.
        assert engine.role("eng/prod").weight == 1.0
        assert engine.role("eng/prod").share == 0.2

    def test_reserved_is_of_the_subtree(self, engine):
        engine.add_agent("a3", dynamic("eng/prod", "mem:7"))
        assert engine.role("eng").reserved == q("cpus:3;mem:7")
        assert engine.role("eng/prod").reserved == q("mem:7")

    def test_consumed_is_reservations_and_unreserved_in_use(self, engine):
        """Consumed = reservations, allocated or not, own and below + unreserved in use (§6.2)."""
        assert engine.role("eng").consumed == q("cpus:5;mem:10")
        assert engine.role("eng/prod").consumed == q("cpus:2;mem:10")
        engine.allocate(["a2"])
        # The reservation was counted before; the unreserved cpu was not. Each once for eng.
        assert engine.role("eng").consumed == q("cpus:6;mem:10")

    def test_a_reservation_of_an_ancestor_is_not_consumed_by_the_child(self, engine):
        engine.allocate(["a2"])
        assert engine.role("eng/prod").consumed == q("cpus:3;mem:10")
        assert engine.role("eng/prod").offered == q("cpus:4")

    def test_quota(self, engine):
        engine.set_quota("eng", guarantee="cpus:4", limit={"cpus": 16, "mem": 0})
        quota = engine.role("eng").quota
        assert quota.guarantee == q("cpus:4")
        assert dict(quota.limit) == {"cpus": 16.0, "mem": 0.0}

    def test_no_quota(self, engine):
        assert engine.role("eng").quota.guarantee == q("")
        assert not engine.role("eng").quota.limit

    def test_an_absent_one(self, engine):
        with pytest.raises(UnknownRole, match="ops"):
            engine.role("ops")


class TestFramework:
    def test_what_it_holds(self, engine):
        engine.allocate(["a1"])
        view = engine.framework("f1")
        assert view.allocated == {"a1": {"eng/prod": R("cpus:2;mem:10")}}
        assert view.offered == {"a1": {"eng/prod": R("cpus:4;mem:90")}}

    def test_unknown(self, engine):
        with pytest.raises(UnknownFramework, match="nobody"):
            engine.framework("nobody")


class TestReadOnly:
    @pytest.mark.parametrize("name", ["total", "available", "offered", "allocated", "reserved"])
    def test_agent(self, engine, name):
        with pytest.raises(AttributeError):
            setattr(engine.agent("a1"), name, R("cpus:1"))

    @pytest.mark.parametrize(
        "name", ["share", "weight", "quota", "consumed", "offered", "allocated", "reserved"]
    )
    def test_role(self, engine, name):
        with pytest.raises(AttributeError):
            setattr(engine.role("eng"), name, 1)

    @pytest.mark.parametrize("name", ["guarantee", "limit"])
    def test_quota(self, engine, name):
        engine.set_quota("eng", guarantee="cpus:1")
        with pytest.raises(AttributeError):
            setattr(engine.role("eng").quota, name, {})

    def test_framework(self, engine):
        with pytest.raises(AttributeError):
            engine.framework("f1").allocated = {}

    def test_what_they_return_is_not_the_engines(self, engine):
        engine.framework("f1").allocated.clear()
        assert engine.framework("f1").allocated == {"a1": {"eng/prod": R("cpus:2;mem:10")}}


class TestMetrics:
    def test_mesos_key_names(self, engine):
        engine.set_quota("eng", guarantee="cpus:5")
        engine.decline(engine.allocate(["a1"])[0])
        metrics = engine.metrics()
        assert all(key.startswith("allocator/mesos/") for key in metrics)
        assert metrics["allocator/mesos/allocation_runs"] == 1
        assert metrics["allocator/mesos/resources/cpus/total"] == 10.0
        assert metrics["allocator/mesos/resources/cpus/offered_or_allocated"] == 2.0
        assert metrics["allocator/mesos/resources/mem/total"] == 100.0
        assert metrics["allocator/mesos/roles/eng/prod/shares/dominant"] == 0.2
        assert metrics["allocator/mesos/offer_filters/roles/eng/prod/active"] == 1
        quota = "allocator/mesos/quota/roles/eng/resources/cpus"
        assert metrics[f"{quota}/guarantee"] == 5.0
        assert metrics[f"{quota}/offered_or_allocated"] == 2.0

    def test_the_time_of_a_cycle_is_counted(self, engine):
        engine.allocate()
        engine.allocate()
        metrics = engine.metrics()
        assert metrics["allocator/mesos/allocation_run_ms/count"] == 2
        assert metrics["allocator/mesos/allocation_run_ms/min"] >= 0
        assert (
            metrics["allocator/mesos/allocation_run_ms/p50"]
            <= metrics["allocator/mesos/allocation_run_ms/p99"]
            <= metrics["allocator/mesos/allocation_run_ms/max"]
        )
