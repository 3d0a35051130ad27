"""Sorters: one interface, one order to the last tie (contract §4)."""

import random

import pytest

from allocator import AllocatorError, Quantities
from allocator.sorter import (
    DRFSorter,
    HDRFSorter,
    NaiveDRFSorter,
    NaiveHDRFSorter,
    RandomSorter,
    SortedDRFSorter,
)
from tests.contract import R, revocable, volume

DRF = [DRFSorter, NaiveDRFSorter, SortedDRFSorter]
HDRF = [HDRFSorter, NaiveHDRFSorter]


@pytest.fixture(params=DRF)
def make(request):
    return request.param


@pytest.fixture
def sorter(make):
    """A sorter over one agent of 100 cpus and 100 MB."""
    sorter = make()
    sorter.add_agent("a1", "cpus:100;mem:100")
    return sorter


def join(sorter, *clients):
    for client in clients:
        sorter.add(client)
        sorter.activate(client)


class TestInterface:
    @pytest.mark.parametrize("make", [*DRF, *HDRF, RandomSorter])
    def test_clients_come_and_go(self, make):
        sorter = make()
        assert len(sorter) == 0
        sorter.add("eng/prod")
        assert "eng/prod" in sorter
        assert "eng" not in sorter
        assert len(sorter) == 1
        # A new client is inactive.
        assert list(sorter.sort()) == []
        sorter.activate("eng/prod")
        assert list(sorter.sort()) == ["eng/prod"]
        sorter.deactivate("eng/prod")
        assert list(sorter.sort()) == []
        assert len(sorter) == 1
        sorter.remove("eng/prod")
        assert "eng/prod" not in sorter
        assert len(sorter) == 0

    def test_share_is_the_dominant_one(self, sorter):
        join(sorter, "a")
        sorter.allocated("a", "a1", "cpus:5;mem:7")
        # max(5/100, 7/100).
        assert sorter.share("a") == 0.07

    def test_share_of_an_inner_path(self, sorter):
        join(sorter, "eng/x", "eng/y")
        sorter.allocated("eng/x", "a1", "cpus:5")
        sorter.allocated("eng/y", "a1", "mem:7;cpus:4")
        # cpus 9/100, mem 7/100.
        assert sorter.share("eng") == 0.09

    def test_allocation_and_quantities(self, sorter):
        sorter.add_agent("a2", "cpus:10")
        join(sorter, "a", "b")
        sorter.allocated("a", "a1", "cpus:5;mem:7;ports:[1-3]")
        sorter.allocated("a", "a2", "cpus:1")
        sorter.allocated("b", "a2", "cpus:2")
        assert sorter.allocation("a") == {"a1": R("cpus:5;mem:7;ports:[1-3]"), "a2": R("cpus:1")}
        assert sorter.quantities("a") == Quantities("cpus:6;mem:7")
        assert sorter.quantities() == Quantities("cpus:8;mem:7")
        sorter.unallocated("a", "a1", "mem:7;ports:[1-3]")
        sorter.unallocated("a", "a2", "cpus:1")
        assert sorter.allocation("a") == {"a1": R("cpus:5")}

    def test_update_replaces(self, sorter):
        join(sorter, "a")
        sorter.allocated("a", "a1", "cpus:10;mem:5")
        sorter.update("a", "a1", "cpus:10", "cpus(eng):4;cpus:2")
        assert sorter.allocation("a") == {"a1": R("cpus(eng):4;cpus:2;mem:5")}
        # max(6/100, 5/100).
        assert sorter.share("a") == 0.06

    @pytest.mark.parametrize(
        "call",
        [
            lambda s: s.add("a"),
            lambda s: s.remove("nobody"),
            lambda s: s.activate("nobody"),
            lambda s: s.deactivate("nobody"),
            lambda s: s.allocated("nobody", "a1", "cpus:1"),
            lambda s: s.unallocated("a", "a1", "cpus:6"),
            lambda s: s.update("a", "a1", "cpus:6", "cpus:1"),
            lambda s: s.add_agent("a1", "cpus:1"),
            lambda s: s.remove_agent("a9"),
            lambda s: s.update_weight("a", 0),
            lambda s: s.allocated("a", "a1", "cpus:x"),
        ],
    )
    def test_refusals_change_nothing(self, sorter, call):
        join(sorter, "a", "b")
        sorter.allocated("a", "a1", "cpus:5")
        with pytest.raises(AllocatorError):
            call(sorter)
        assert sorter.sort() == ["b", "a"]
        assert sorter.allocation("a") == {"a1": R("cpus:5")}
        assert sorter.share("a") == 0.05


class TestShare:
    def test_only_scalars_count(self, sorter):
        sorter.add_agent("a2", "ports:[1-10];disks:{sda}")
        join(sorter, "a")
        sorter.allocated("a", "a2", "ports:[1-10];disks:{sda}")
        assert sorter.share("a") == 0.0

    def test_reserved_and_revocable_scalars_count(self, sorter):
        sorter.add_agent("a2", R("cpus(eng):60") + revocable("cpus:40"))
        join(sorter, "a")
        sorter.allocated("a", "a2", "cpus(eng):10")
        sorter.allocated("a", "a2", revocable("cpus:10"))
        # 20 of 200.
        assert sorter.share("a") == 0.1

    def test_a_name_without_total_does_not_count(self, sorter):
        join(sorter, "a")
        sorter.allocated("a", "a1", "gpus:5;cpus:1")
        assert sorter.share("a") == 0.01

    def test_excluded_names_do_not_count(self, make):
        sorter = make(exclude=("gpus",))
        sorter.add_agent("a1", "cpus:100;gpus:1")
        join(sorter, "a", "b")
        sorter.allocated("a", "a1", "cpus:1;gpus:1")
        sorter.allocated("b", "a1", "cpus:2")
        assert (sorter.share("a"), sorter.share("b")) == (0.01, 0.02)
        assert sorter.sort() == ["a", "b"]

    def test_totals_follow_the_agents(self, sorter):
        join(sorter, "a", "b")
        sorter.allocated("a", "a1", "cpus:20")
        sorter.allocated("b", "a1", "mem:30")
        # a = 0.2, b = 0.3.
        assert sorter.sort() == ["a", "b"]
        sorter.add_agent("a2", "mem:200")
        # a = 20/100, b = 30/300.
        assert sorter.sort() == ["b", "a"]
        assert sorter.share("b") == 0.1
        sorter.remove_agent("a2")
        assert sorter.sort() == ["a", "b"]

    def test_without_agents(self, make):
        sorter = make()
        join(sorter, "b", "a")
        assert sorter.share("a") == 0.0
        assert sorter.sort() == ["a", "b"]

    def test_thousandths_are_converted_once_and_divided_once(self, make):
        sorter = make()
        sorter.add_agent("a1", "cpus:0.7")
        join(sorter, "a")
        sorter.allocated("a", "a1", "cpus:0.1")
        sorter.allocated("a", "a1", "cpus:0.2")
        # Not 0.3 / 0.7, nor a sum of shares.
        assert sorter.share("a") == 300 / 700
        sorter.update_weight("a", 3.0)
        assert sorter.share("a") == 300 / 700 / 3.0

    def test_a_shared_resource_counts_once_per_node_and_agent(self, make):
        sorter = make()
        photos = volume(40, shared=True)
        for agent in ("a1", "a2"):
            sorter.add_agent(agent, R("disk:60") + photos)
        join(sorter, "eng/x", "eng/y")
        sorter.allocated("eng/x", "a1", photos)
        # 40 of 200.
        assert sorter.share("eng/x") == 0.2
        sorter.allocated("eng/x", "a1", photos)
        assert sorter.share("eng/x") == 0.2
        sorter.allocated("eng/y", "a1", photos)
        # Each of them, and eng once.
        assert (sorter.share("eng/y"), sorter.share("eng")) == (0.2, 0.2)
        sorter.allocated("eng/y", "a2", photos)
        assert (sorter.share("eng/y"), sorter.share("eng")) == (0.4, 0.4)
        sorter.unallocated("eng/x", "a1", photos)
        assert sorter.share("eng/x") == 0.2
        sorter.unallocated("eng/x", "a1", photos)
        assert (sorter.share("eng/x"), sorter.share("eng")) == (0.0, 0.4)


class TestOrder:
    def test_drf(self, sorter):
        """Mesos: DRFSorter."""
        join(sorter, "a", "b")
        sorter.allocated("a", "a1", "cpus:5;mem:5")
        sorter.allocated("b", "a1", "cpus:6;mem:6")
        # a = 0.05, b = 0.06.
        assert sorter.sort() == ["a", "b"]
        join(sorter, "c", "d")
        sorter.allocated("c", "a1", "cpus:1;mem:1")
        sorter.allocated("d", "a1", "cpus:3;mem:1")
        # a = 0.05, b = 0.06, c = 0.01, d = 0.03.
        assert sorter.sort() == ["c", "d", "a", "b"]
        sorter.remove("a")
        sorter.allocated("b", "a1", "mem:4")
        # b = 0.1, c = 0.01, d = 0.03.
        assert sorter.sort() == ["c", "d", "b"]
        join(sorter, "e")
        sorter.allocated("e", "a1", "cpus:1;mem:5")
        # b = 0.1, c = 0.01, d = 0.03, e = 0.05.
        assert sorter.sort() == ["c", "d", "e", "b"]
        sorter.deactivate("d")
        assert sorter.sort() == ["c", "e", "b"]

    def test_weights(self, sorter):
        """Mesos: WDRFSorter."""
        join(sorter, "a", "b")
        sorter.update_weight("b", 2.0)
        sorter.allocated("a", "a1", "cpus:5;mem:5")
        sorter.allocated("b", "a1", "cpus:6;mem:6")
        # a = 0.05, b = 0.06/2 = 0.03.
        assert sorter.sort() == ["b", "a"]
        sorter.update_weight("b", 1.0)
        assert sorter.sort() == ["a", "b"]

    def test_a_weight_may_come_first(self, sorter):
        sorter.update_weight("b", 2.0)
        join(sorter, "a", "b")
        sorter.allocated("a", "a1", "cpus:5")
        sorter.allocated("b", "a1", "cpus:6")
        assert sorter.sort() == ["b", "a"]

    def test_pre_order(self, sorter):
        """All of a subtree stands before the next sibling."""
        join(sorter, "eng/x", "eng/y", "ops")
        sorter.allocated("eng/x", "a1", "cpus:5")
        sorter.allocated("ops", "a1", "cpus:6")
        # eng = 0.05 (x = 0.05, y = 0), ops = 0.06.
        assert sorter.sort() == ["eng/y", "eng/x", "ops"]
        sorter.allocated("eng/y", "a1", "cpus:2")
        # eng = 0.07 (x = 0.05, y = 0.02), ops = 0.06.
        assert sorter.sort() == ["ops", "eng/y", "eng/x"]

    def test_a_deactivated_client_still_counts_for_its_ancestors(self, sorter):
        join(sorter, "eng/x", "eng/y", "ops")
        sorter.allocated("eng/x", "a1", "cpus:9")
        sorter.allocated("ops", "a1", "cpus:6")
        sorter.deactivate("eng/x")
        # eng = 0.09, though y = 0; ops = 0.06.
        assert sorter.sort() == ["ops", "eng/y"]
        assert sorter.allocation("eng/x") == {"a1": R("cpus:9")}

    def test_ties_by_number_of_times_allocated(self, sorter):
        join(sorter, "a", "b", "c")
        sorter.allocated("a", "a1", "cpus:1")
        sorter.allocated("a", "a1", "cpus:1")
        sorter.allocated("b", "a1", "cpus:2")
        # a = b = 0.02; a was allocated twice, b once.
        assert sorter.sort() == ["c", "b", "a"]

    def test_ties_by_name(self, sorter):
        join(sorter, "b", "a", "c")
        assert sorter.sort() == ["a", "b", "c"]

    def test_the_number_outlives_the_allocation(self, sorter):
        join(sorter, "a", "b")
        sorter.allocated("a", "a1", "cpus:1")
        sorter.unallocated("a", "a1", "cpus:1")
        assert sorter.sort() == ["b", "a"]

    def test_update_adds_none(self, sorter):
        join(sorter, "a", "b")
        sorter.allocated("a", "a1", "cpus:1")
        sorter.allocated("b", "a1", "cpus:1")
        sorter.update("a", "a1", "cpus:1", "cpus(eng):1")
        # Equal shares, once each: by name.
        assert sorter.sort() == ["a", "b"]

    def test_the_number_grows_at_every_node_above(self, sorter):
        join(sorter, "a/x", "b/x")
        sorter.allocated("a/x", "a1", "cpus:1")
        sorter.allocated("a/x", "a1", "cpus:1")
        sorter.allocated("b/x", "a1", "cpus:2")
        # a = b = 0.02, twice and once.
        assert sorter.sort() == ["b/x", "a/x"]

    def test_removing_a_client_takes_nothing_from_its_ancestors_numbers(self, sorter):
        join(sorter, "a/x", "a/y", "b")
        sorter.allocated("a/x", "a1", "cpus:1")
        sorter.unallocated("a/x", "a1", "cpus:1")
        sorter.remove("a/x")
        # Nobody holds anything; below a there was one allocation.
        assert sorter.sort() == ["b", "a/y"]

    def test_removing_a_client_takes_its_allocation(self, sorter):
        join(sorter, "a/x", "a/y", "b")
        sorter.allocated("a/x", "a1", "cpus:9")
        sorter.allocated("b", "a1", "cpus:5")
        sorter.remove("a/x")
        # a = 0, b = 0.05.
        assert sorter.sort() == ["a/y", "b"]


class TestImplicitLeaf:
    def test_it_bears_the_clients_name(self, sorter):
        join(sorter, "eng", "eng/x")
        assert sorter.sort() == ["eng", "eng/x"]
        sorter.allocated("eng", "a1", "cpus:1")
        # eng/. = 0.01, eng/x = 0.
        assert sorter.sort() == ["eng/x", "eng"]

    def test_its_own_weight_is_one(self, sorter):
        sorter.update_weight("eng", 10.0)
        join(sorter, "eng", "eng/x", "ops")
        sorter.allocated("eng", "a1", "cpus:6")
        sorter.allocated("eng/x", "a1", "cpus:5")
        sorter.allocated("ops", "a1", "cpus:2")
        # eng = 0.11/10 = 0.011, ops = 0.02; eng/. = 0.06/1, eng/x = 0.05/1.
        assert sorter.sort() == ["eng/x", "eng", "ops"]

    def test_its_path_breaks_ties(self, sorter):
        join(sorter, "eng/+x", "eng", "eng/!x", "eng/0")
        # "!" < "+" < "." < "0".
        assert sorter.sort() == ["eng/!x", "eng/+x", "eng", "eng/0"]

    def test_it_inherits_the_leafs_number(self, sorter):
        join(sorter, "eng")
        sorter.allocated("eng", "a1", "cpus:1")
        sorter.unallocated("eng", "a1", "cpus:1")
        join(sorter, "eng/x")
        # Both hold nothing: eng/. once, eng/x never.
        assert sorter.sort() == ["eng/x", "eng"]

    def test_a_parent_that_is_a_leaf_again_keeps_its_own_number(self, sorter):
        join(sorter, "eng", "eng/x", "ops")
        for _ in range(2):
            sorter.allocated("eng/x", "a1", "cpus:1")
        sorter.allocated("ops", "a1", "cpus:1")
        sorter.unallocated("ops", "a1", "cpus:1")
        sorter.remove("eng/x")
        # Nobody holds anything: eng twice (below it), ops once.
        assert sorter.sort() == ["ops", "eng"]

    def test_deactivated_alone(self, sorter):
        join(sorter, "eng", "eng/x")
        sorter.deactivate("eng")
        assert sorter.sort() == ["eng/x"]
        sorter.activate("eng")
        sorter.remove("eng")
        assert sorter.sort() == ["eng/x"]
        assert "eng" not in sorter

    def test_at_every_depth(self, sorter):
        """Mesos: AddChildToLeaf and ChangeWeightOnSubtree in one."""
        join(sorter, "a", "a/b", "a/b/c", "d")
        sorter.allocated("a", "a1", "cpus:3")
        sorter.allocated("a/b", "a1", "cpus:2")
        sorter.allocated("a/b/c", "a1", "cpus:4")
        sorter.allocated("d", "a1", "cpus:8")
        # a = 0.09, d = 0.08; a/. = 0.03, a/b = 0.06; a/b/. = 0.02, a/b/c = 0.04.
        assert sorter.sort() == ["d", "a", "a/b", "a/b/c"]
        sorter.update_weight("a/b", 3.0)
        # a/b = 0.02.
        assert sorter.sort() == ["d", "a/b", "a/b/c", "a"]
        sorter.update_weight("a", 3.0)
        # a = 0.03.
        assert sorter.sort() == ["a/b", "a/b/c", "a", "d"]


class TestRandomSorter:
    def test_it_shuffles_by_seed(self):
        def order(seed):
            sorter = RandomSorter(seed=seed)
            join(sorter, *(f"c{n}" for n in range(20)))
            return sorter.sort()

        assert order(1) == order(1) != order(2)
        assert sorted(order(1)) == sorted(f"c{n}" for n in range(20))

    def test_weights_draw(self):
        """With 99 : 1 the heavy one is first nearly always."""
        sorter = RandomSorter(seed=5)
        join(sorter, "heavy", "light")
        sorter.update_weight("heavy", 99.0)
        first = [sorter.sort()[0] for _ in range(1000)]
        # 990 expected, standard deviation 3.1.
        assert 970 < first.count("heavy") < 1000

    def test_subtrees_stay_together(self):
        sorter = RandomSorter(seed=5)
        join(sorter, "a/x", "a/y", "b/x", "b/y")
        for _ in range(20):
            order = sorter.sort()
            assert order[0][0] == order[1][0] != order[2][0] == order[3][0]


PATHS = ["a", "a/b", "a/b/c", "a/d", "b", "b/a", "c", "c/d/e", "d"]


class Script:
    """Random calls that are all allowed, on several sorters alike."""

    def __init__(self, seed, sorters):
        self.random = random.Random(seed)
        self.sorters = sorters
        self.agents = []
        #: client → list of (agent, resources) allocated.
        self.clients = {}

    def call(self, method, *args):
        for sorter in self.sorters:
            getattr(sorter, method)(*args)

    def step(self):
        pick = self.random.choice
        kind = self.random.randrange(10)
        absent = [path for path in PATHS if path not in self.clients]
        if kind == 0 or not self.agents:
            self.agents.append(f"a{len(self.agents)}")
            cpus, mem = pick([1, 3, 7.5]), pick([0, 2, 9])
            self.call("add_agent", self.agents[-1], {"cpus": cpus, "mem": mem})
        elif kind in (1, 2) and absent:
            path = pick(absent)
            self.clients[path] = []
            self.call("add", path)
        elif not self.clients:
            return
        elif kind == 3:
            self.call(pick(["activate", "activate", "deactivate"]), pick(list(self.clients)))
        elif kind == 4:
            self.call("update_weight", pick(PATHS), pick([0.5, 1.0, 2.0, 3.0]))
        elif kind == 5 and self.random.random() < 0.3:
            path = pick(list(self.clients))
            del self.clients[path]
            self.call("remove", path)
        else:
            self.change_allocation(pick(list(self.clients)))

    def change_allocation(self, client):
        held = self.clients[client]
        resources = R({"cpus": self.random.choice([0.1, 0.2, 1]), "mem": 1})
        if held and self.random.random() < 0.3:
            agent, old = held.pop()
            held.append((agent, resources))
            self.call("update", client, agent, old, resources)
        elif held and self.random.random() < 0.5:
            self.call("unallocated", client, *held.pop())
        else:
            held.append((self.random.choice(self.agents), resources))
            self.call("allocated", client, *held[-1])


class TestSameOrder:
    @pytest.mark.parametrize("seed", range(40))
    @pytest.mark.parametrize("kinds", [DRF, HDRF])
    def test_after_any_sequence_of_calls(self, seed, kinds):
        sorters = [make() for make in kinds]
        script = Script(seed, sorters)
        for _ in range(250):
            script.step()
            orders = [sorter.sort() for sorter in sorters]
            assert all(order == orders[0] for order in orders)
        for path in script.clients:
            assert len({sorter.share(path) for sorter in sorters}) == 1
