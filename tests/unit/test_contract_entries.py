"""All kinds of entries in offers: revocable, shared, ranges, sets, volumes, disks (contract §6)."""

import pytest

from allocator import Allocator, ResourceError
from tests.contract import (
    R,
    amounts,
    answered,
    check_conserved,
    dynamic,
    mount_disk,
    revocable,
    served,
    volume,
)

SHARED = ["SHARED_RESOURCES"]


class TestRevocable:
    def test_only_for_frameworks_that_take_it(self, engine):
        """Mesos: UpdateAgentTotalResources, RevocableOffers."""
        engine.add_framework("f1", ["a"])
        engine.add_framework("f2", ["b"], capabilities=["REVOCABLE_RESOURCES"])
        engine.add_agent("a1", R("cpus:2") + revocable("cpus:3;ports:[1-2]"))
        assert answered(engine.allocate()) == [
            ("f1", "a1", R("cpus:2")),
            ("f2", "a1", revocable("cpus:3;ports:[1-2]")),
        ]

    def test_it_counts_in_the_share(self, engine):
        engine.add_framework("f1", ["a"], capabilities=["REVOCABLE_RESOURCES"])
        engine.add_agent("a1", R("cpus:1") + revocable("cpus:3"))
        engine.accept(engine.allocate()[0], revocable("cpus:1"))
        assert engine.role("a").share == 0.25

    def test_it_may_shrink_below_what_is_in_use(self, engine):
        engine.add_framework("f1", capabilities=["REVOCABLE_RESOURCES"])
        engine.add_agent("a1", R("cpus:2") + revocable("cpus:4"))
        engine.accept(engine.allocate()[0], revocable("cpus:4"))
        engine.update_agent("a1", resources=R("cpus:2") + revocable("cpus:1"))
        assert amounts(engine.allocate()) == [("f1", "cpus:2")]
        engine.release("f1", "a1", "*", revocable("cpus:4"))
        assert answered(engine.allocate()) == [("f1", "a1", revocable("cpus:1"))]


class TestPorts:
    def test_fragments(self, engine):
        """Ranges go whole, in however many pieces, and grow together again."""
        engine.add_framework("f1")
        engine.add_agent("a1", "ports:[31000-31009]")
        used = []
        for port in (31001, 31003, 31005, 31008):
            (offer,) = engine.allocate()
            used.append(f"ports:[{port}-{port}]")
            engine.accept(offer, used[-1])
        assert amounts(engine.allocate()) == [
            ("f1", "ports:[31000-31000,31002-31002,31004-31004,31006-31007,31009-31009]")
        ]
        for port in used:
            engine.release("f1", "a1", "*", port)
        check_conserved(engine, "a1")
        assert amounts(engine.allocate()) == [
            ("f1", "ports:[31001-31001,31003-31003,31005-31005,31008-31008]")
        ]

    def test_a_filter_of_all_fragments(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "ports:[1-10]")
        (offer,) = engine.allocate()
        engine.accept(offer, "ports:[4-6]", refuse_seconds=100)
        assert len(engine.allocate()) == 0
        engine.release("f1", "a1", "*", "ports:[5-5]")
        # [1-3,5-5,7-10] is not within the refused [1-3,7-10].
        assert amounts(engine.allocate()) == [("f1", "ports:[1-3,5-5,7-10]")]

    def test_a_port_in_use_is_nobody_elses(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "ports:[1-10]")
        engine.accept(engine.allocate()[0], "ports:[4-6]")
        (offer,) = engine.allocate()
        with pytest.raises(ResourceError):
            engine.accept(offer, "ports:[6-7]")
        with pytest.raises(ResourceError):
            engine.release("f1", "a1", "*", "ports:[6-7]")

    def test_the_total_shrinks_below_what_is_in_use(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "ports:[1-10]")
        engine.accept(engine.allocate()[0], "ports:[4-6]")
        engine.update_agent("a1", resources="ports:[6-8]")
        # 4 and 5 are in use beyond the total; of it 7 and 8 are free.
        assert amounts(engine.allocate()) == [("f1", "ports:[7-8]")]
        engine.release("f1", "a1", "*", "ports:[4-6]")
        assert amounts(engine.allocate()) == [("f1", "ports:[6-6]")]


class TestSets:
    def test_words_come_and_go(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "disks:{sda,sdb,sdc}")
        engine.accept(engine.allocate()[0], "disks:{sdb}")
        assert amounts(engine.allocate()) == [("f1", "disks:{sda,sdc}")]
        engine.release("f1", "a1", "*", "disks:{sdb}")
        assert amounts(engine.allocate()) == [("f1", "disks:{sdb}")]


class TestVolumes:
    def test_a_volume_is_offered_to_its_role(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.add_framework("f2", ["ops"])
        engine.add_agent("a1", R("disk:10") + volume(64))
        assert {o.framework: o.resources for o in engine.allocate()} == {
            "f1": R("disk:10") + volume(64)
        }

    def test_a_part_of_it_is_not_contained_in_it(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", volume(64))
        (offer,) = engine.allocate()
        with pytest.raises(ResourceError):
            engine.accept(offer, volume(32))
        engine.accept(offer, volume(64))

    def test_two_volumes_are_two(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", volume(64, "v1") + volume(64, "v2"))
        engine.accept(engine.allocate()[0], volume(64, "v2"))
        assert answered(engine.allocate()) == [("f1", "a1", volume(64, "v1"))]

    def test_a_mount_disk_goes_whole(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", mount_disk(100))
        (offer,) = engine.allocate()
        with pytest.raises(ResourceError):
            engine.accept(offer, mount_disk(50))
        engine.accept(offer, mount_disk(100))
        assert engine.agent("a1").available == R()


class TestShared:
    """Mesos: AllocateSharedResources, SharedResources."""

    @pytest.fixture
    def engine(self, make) -> Allocator:
        engine = make()
        engine.add_framework("f1", ["eng/a"], capabilities=SHARED)
        engine.add_agent("a1", R("cpus:4") + volume(64, shared=True))
        return engine

    def test_only_for_frameworks_that_know_it(self, engine):
        engine.suppress("f1")
        engine.add_framework("f0", ["eng/a"])
        assert amounts(engine.allocate()) == [("f0", "cpus:4")]

    def test_while_in_use_it_is_offered_again(self, engine):
        photos = volume(64, shared=True)
        (offer,) = engine.allocate()
        engine.accept(offer, R("cpus:1") + photos)
        engine.suppress("f1")
        engine.add_framework("f2", ["eng/b"], capabilities=SHARED)
        (offer,) = engine.allocate()
        assert (offer.framework, offer.resources) == ("f2", R("cpus:3") + photos)
        engine.accept(offer, R("cpus:1") + photos)
        for framework, role in (("f1", "eng/a"), ("f2", "eng/b")):
            assert engine.framework(framework).allocated == {"a1": {role: R("cpus:1") + photos}}

    def test_at_most_once_a_cycle(self, engine):
        engine.add_framework("f2", ["eng/b"], capabilities=SHARED)
        engine.add_framework("f3", ["eng/c"], capabilities=SHARED)
        assert served(engine.allocate()) == ["f1"]
        # In the next cycle it is somebody else's turn: f1 holds it.
        assert served(engine.allocate()) == ["f2"]
        assert served(engine.allocate()) == ["f3"]

    def test_once_a_cycle_on_each_agent(self, engine):
        engine.add_framework("f2", ["eng/b"], capabilities=SHARED)
        engine.add_agent("a2", volume(64, "v2", shared=True))
        offers = engine.allocate()
        assert sorted(o.agent for o in offers) == ["a1", "a2"]

    def test_charged_once_however_many_copies(self, engine):
        photos = volume(64, shared=True)
        for _ in range(3):
            (offer,) = engine.allocate()
            engine.accept(offer, photos)
        # All disk of the cluster, once; each copy is released apart.
        assert engine.role("eng/a").share == 1.0
        for left in (1.0, 1.0, 0.0):
            engine.release("f1", "a1", "eng/a", photos)
            assert engine.role("eng/a").share == left
        with pytest.raises(ResourceError):
            engine.release("f1", "a1", "eng/a", photos)

    def test_it_counts_once_for_an_ancestor(self, engine):
        photos = volume(64, shared=True)
        engine.accept(engine.allocate()[0], photos)
        engine.suppress("f1")
        engine.add_framework("f2", ["eng/b"], capabilities=SHARED)
        engine.accept(engine.allocate()[0], photos)
        shares = [engine.role(path).share for path in ("eng", "eng/a", "eng/b")]
        assert shares == [1.0, 1.0, 1.0]

    def test_removing_a_framework_leaves_the_others_copies(self, engine):
        photos = volume(64, shared=True)
        engine.accept(engine.allocate()[0], photos)
        engine.add_framework("f2", ["eng/b"], capabilities=SHARED)
        engine.suppress("f1")
        engine.accept(engine.allocate()[0], photos)
        engine.remove_framework("f1")
        assert engine.role("eng").share == 1.0
        assert engine.framework("f2").allocated == {"a1": {"eng/b": photos}}


class TestResourceProviders:
    def test_what_a_provider_brings_is_another_entry(self, engine):
        local = R(
            [
                {
                    "name": "disk",
                    "type": "SCALAR",
                    "scalar": {"value": 50},
                    "provider_id": {"value": "p1"},
                }
            ]
        )
        engine.add_framework("f1")
        engine.add_agent("a1", "disk:100")
        engine.add_resources("a1", local)
        (offer,) = engine.allocate()
        assert offer.resources == R("disk:100") + local
        engine.accept(offer, local)
        with pytest.raises(ResourceError):
            engine.release("f1", "a1", "*", "disk:50")
        engine.release("f1", "a1", "*", local)
        assert answered(engine.allocate()) == [("f1", "a1", R("disk:100") + local)]

    def test_adding_it_counts_in_total_and_share(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "disk:100", used={"f1": {"eng": "disk:50"}})
        engine.add_resources("a1", "disk:100")
        assert engine.role("eng").share == 0.25


class TestIdentity:
    def test_two_reservations_of_one_role_are_two(self, engine):
        by_ops = R(
            [
                {
                    "name": "cpus",
                    "type": "SCALAR",
                    "scalar": {"value": 1},
                    "reservations": [{"type": "DYNAMIC", "role": "eng", "principal": "ops"}],
                }
            ]
        )
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", dynamic("eng", "cpus:1") + by_ops)
        (offer,) = engine.allocate()
        with pytest.raises(ResourceError):
            engine.accept(offer, dynamic("eng", "cpus:2"))
        engine.accept(offer, by_ops)
        assert engine.agent("a1").available == dynamic("eng", "cpus:1")
        check_conserved(engine, "a1")
