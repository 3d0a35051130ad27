"""H-DRF: the settlements of its paper, who is blocked, what counts, and DRF where it is flat."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from allocator import Allocator, ManualClock, reference
from allocator.errors import InvalidValue
from allocator.sorter import (
    SORTERS,
    DRFSorter,
    HDRFSorter,
    NaiveDRFSorter,
    NaiveHDRFSorter,
    Sorter,
)
from tests.compiled.sorters import check

CPU, GPU = {"cpus": 1}, {"gpus": 1}
BOTH = {"cpus": 1, "gpus": 1}


@pytest.fixture(params=[NaiveHDRFSorter, HDRFSorter])
def make(request: pytest.FixtureRequest) -> Callable[..., Sorter]:
    """Each of the H-DRF sorters."""
    factory: Callable[..., Sorter] = request.param
    return factory


def join(sorter: Sorter, *clients: str) -> None:
    """Add active clients."""
    for client in clients:
        sorter.add(client)
        sorter.activate(client)


def hold(make: Callable[..., Sorter], held: Mapping[str, str], **options: Any) -> Sorter:
    """Return a sorter of 10 cpus and 10 gpus whose active clients hold this."""
    sorter = make(**options)
    sorter.add_agent("a1", "cpus:10;gpus:10")
    for client, resources in held.items():
        join(sorter, client)
        sorter.allocated(client, "a1", resources)
    return sorter


class Offers:
    """A cluster whose tasks end one at a time, after which all that is free is offered."""

    def __init__(self, sorter: Sorter, size: int, demands: Mapping[str, Mapping[str, int]]) -> None:
        self.sorter = sorter
        self.demands = demands
        self.free = {"cpus": size, "gpus": size}
        self.running: list[str] = []
        sorter.add_agent("a1", self.free)
        join(sorter, *demands)

    def end(self, rng: random.Random) -> None:
        """End one task, if any runs."""
        if self.running:
            client = self.running.pop(rng.randrange(len(self.running)))
            self.sorter.unallocated(client, "a1", dict(self.demands[client]))
            for name, amount in self.demands[client].items():
                self.free[name] += amount

    def offer(self) -> None:
        """Start tasks of the neediest until nobody takes anything."""
        while any(self.starts(client) for client in self.sorter.sort()):
            pass

    def starts(self, client: str) -> bool:
        demand = self.demands[client]
        if any(self.free[name] < amount for name, amount in demand.items()):
            return False
        self.sorter.allocated(client, "a1", dict(demand))
        self.running.append(client)
        for name, amount in demand.items():
            self.free[name] -= amount
        return True

    def settled(self, n_ends: int, seed: int) -> Iterator[list[int]]:
        """Yield the tasks of each client after each of the last ends."""
        rng = random.Random(seed)
        for step in range(n_ends):
            self.end(rng)
            self.offer()
            if step >= n_ends - 50:
                running = Counter(self.running)
                yield [running[client] for client in self.demands]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("size", "demands", "expected"),
    [
        (10, {"n1": BOTH, "n2/a": CPU, "n2/b": GPU}, [5, 5, 5]),
        (10, {"n1": GPU, "n2/a": CPU, "n2/b": GPU}, [5, 10, 5]),
        (
            30,
            {"a": CPU, "b": CPU, "c/cpu": CPU, "c/gpu": GPU, "d": GPU},
            [10, 10, 10, 15, 15],
        ),
    ],
)
def test_settlements_of_the_paper(
    make: Callable[..., Sorter],
    size: int,
    demands: Mapping[str, Mapping[str, int]],
    expected: list[int],
    seed: int,
) -> None:
    """Bhattacharya et al. 2013, section 4: single random completions from empty."""
    for tasks in Offers(make(), size, demands).settled(400, seed):
        assert tasks == expected


@pytest.mark.parametrize("make", [NaiveDRFSorter, DRFSorter])
def test_plain_drf_starves_a_leaf(make: Callable[..., Sorter]) -> None:
    demands = {"a": CPU, "b": CPU, "c/cpu": CPU, "c/gpu": GPU, "d": GPU}
    for tasks in Offers(make(), 30, demands).settled(1000, seed=1):
        assert tasks[2] == 0


def test_children_count_as_the_neediest(make: Callable[..., Sorter]) -> None:
    sorter = hold(make, {"n1": "cpus:3", "n2/a": "cpus:6", "n2/b": "gpus:2"})
    # n2/a scaled to 0.2: 2 cpus and 2 gpus.
    assert sorter.standing("n2").share == 0.2
    assert sorter.share("n2") == 0.6
    assert sorter.sort() == ["n2/b", "n2/a", "n1"]
    sorter.update_weight("n2/a", 6.0)
    # a 0.1 and b 0.2: 6 cpus and 1 gpu.
    assert sorter.standing("n2").share == 0.6
    sorter.update_weight("n2", 3.0)
    assert sorter.standing("n2").share == 0.6 / 3.0


def test_a_child_without_a_share_does_not_make_the_others_nothing(
    make: Callable[..., Sorter],
) -> None:
    sorter = hold(make, {"n2/a": "cpus:6", "n2/b": "gpus:2", "n2/c": ""})
    # c can be served, but holds nothing to be scaled to: a and b as without it.
    assert sorter.standing("n2").share == 0.2


def test_inactive_children_count_whole(make: Callable[..., Sorter]) -> None:
    sorter = hold(make, {"n2/a": "cpus:6", "n2/b": "gpus:2"})
    sorter.deactivate("n2/a")
    assert sorter.standing("n2").share == 0.6
    sorter.activate("n2/a")
    assert sorter.standing("n2").share == 0.2
    sorter.deactivate("n2/a")
    sorter.deactivate("n2/b")
    assert sorter.standing("n2").share == 0.6


def test_an_inactive_leaf_that_is_split_keeps_what_it_goes_by(make: Callable[..., Sorter]) -> None:
    sorter = hold(make, {"n1": "cpus:3", "n2": "cpus:6"})
    sorter.deactivate("n2")
    sorter.add("n2/a")
    assert sorter.standing("n2/.").share == sorter.standing("n2").share == 0.6
    if isinstance(sorter, HDRFSorter):
        check(sorter)


def test_saturated_names_block_who_holds_some_and_do_not_count(
    make: Callable[..., Sorter],
) -> None:
    sorter = hold(make, {"n1": "cpus:4", "n2/a": "cpus:5.999", "n2/b": "gpus:2"})
    assert sorter.standing("n2").share == 0.2
    sorter.allocated("n2/a", "a1", "cpus:0.001")
    # No cpus are left: a is blocked and counts whole, but cpus do not; n1 is a leaf.
    assert [sorter.standing(path).share for path in ("n1", "n2", "n2/a")] == [0.4, 0.2, 0.6]
    sorter.allocated("n2/b", "a1", "gpus:1")
    assert sorter.standing("n2").share == 0.3
    sorter.allocated("n2/b", "a1", "gpus:7")
    # Nothing at all is left.
    assert sorter.standing("n2").share == 0.0
    sorter.unallocated("n1", "a1", "cpus:1")
    # b is blocked: 6 cpus of a, 10 gpus of b do not count.
    assert sorter.standing("n2").share == 0.6
    sorter.add_agent("a2", "gpus:10")
    # 6 cpus of 10, 10 gpus of 20: a is scaled to 0.5.
    assert sorter.standing("n2").share == 0.5


def test_saturation_is_compared_on_thousandths(make: Callable[..., Sorter]) -> None:
    sorter = hold(make, {"n2/a": "cpus:6", "n2/b": "gpus:2"}, saturation=0.4)
    # 4 of 10 cpus are left: saturated. a counts whole, cpus do not.
    assert sorter.standing("n2").share == 0.2
    sorter.allocated("n2/b", "a1", "gpus:1")
    assert sorter.standing("n2").share == 0.3
    sorter.unallocated("n2/a", "a1", "cpus:0.001")
    # More is left of both: a is scaled to 3 cpus.
    assert sorter.standing("n2").share == pytest.approx(0.3, rel=1e-12)
    sorter.allocated("n2/b", "a1", "gpus:4")
    # Gpus are saturated: b counts whole, 0.7 do not count.
    assert sorter.standing("n2").share == 0.5999


def test_excluded_names_are_never_saturated(make: Callable[..., Sorter]) -> None:
    sorter = hold(make, {"n2/a": "cpus:10", "n2/b": "gpus:2"}, exclude=("cpus",))
    # a holds nothing that counts, and is not blocked.
    assert sorter.standing("n2").share == 0.2


@pytest.mark.parametrize("saturation", [-0.1, 1.1, float("nan"), "0", None, True, 10**400])
def test_saturation_is_a_part(make: Callable[..., Sorter], saturation: Any) -> None:
    with pytest.raises(InvalidValue, match="saturation is a number from 0 to 1, not"):
        make(saturation=saturation)


@pytest.mark.parametrize("kind", [DRFSorter, NaiveDRFSorter])
def test_drf_takes_no_saturation(kind: Callable[..., Sorter]) -> None:
    with pytest.raises(TypeError, match="saturation"):
        kind(saturation=0.5)


AMOUNTS = ("cpus:1", "cpus:3", "gpus:2", "cpus:1;gpus:1", "")


class Life:
    """Random calls that are all allowed, on several sorters alike."""

    def __init__(self, seed: int, sorters: list[Sorter], parents: tuple[str, ...]) -> None:
        self.rng = random.Random(seed)
        self.sorters = sorters
        self.parents = parents
        self.clients: list[str] = []
        self.call("add_agent", "a0", "cpus:60;gpus:30")

    def call(self, method: str, *arguments: object) -> None:
        for sorter in self.sorters:
            getattr(sorter, method)(*arguments)

    def step(self, number: int) -> None:
        rng = self.rng
        dice = rng.random()
        if dice < 0.1 or not self.clients:
            self.clients.append(f"{rng.choice(self.parents)}{number}")
            self.call("add", self.clients[-1])
            return self.call("activate", self.clients[-1])
        client = rng.choice(self.clients)
        held = self.sorters[0].allocation(client).get("a0")
        if dice < 0.13:
            self.clients.remove(client)
            self.call("remove", client)
        elif dice < 0.25:
            self.call(rng.choice(["activate", "activate", "deactivate"]), client)
        elif dice < 0.3:
            self.call("update_weight", client, rng.choice([1, 2, 3.5]))
        elif dice < 0.32:
            self.call("add_agent", f"a{number}", "cpus:5;gpus:1")
        elif held and dice < 0.65:
            self.call("unallocated", client, "a0", held)
        else:
            self.call("allocated", client, "a0", rng.choice(AMOUNTS))
        return None


@pytest.mark.parametrize("saturation", [0.0, 0.2])
def test_many_siblings_over_a_long_life(saturation: float) -> None:
    """Wide and deep trees under every kind of change, against the naive order."""
    options = {"saturation": saturation}
    naive, kept = NaiveHDRFSorter(**options), HDRFSorter(**options)
    life = Life(3, [naive, kept], ("", "eng/", "eng/é/", "ops/b/c/"))
    for number in range(1500):
        life.step(number)
        if number % 7 == 0:
            assert kept.sort() == naive.sort()
        if number % 100 == 0:
            check(kept)
            assert kept.copy().sort() == naive.sort()


@pytest.mark.parametrize("flat", [True, False])
def test_without_nesting_it_is_drf(make: Callable[..., Sorter], flat: bool) -> None:
    plain, hierarchical = DRFSorter(flat=flat), make(flat=flat)
    life = Life(5, [plain, hierarchical], ("a/", "b/c") if flat else ("",))
    for number in range(600):
        life.step(number)
        assert hierarchical.sort() == plain.sort()


@pytest.mark.parametrize("sorter", ["hdrf", "naive-hdrf"])
def test_an_engine_orders_roles_by_it(sorter: str) -> None:
    engine = Allocator(
        sorter=sorter, sorter_options={"saturation": 0.25}, seed=7, clock=ManualClock()
    )
    assert engine.snapshot()["options"]["role_sorter"] == sorter
    assert engine.snapshot()["options"]["sorter_options"] == {"saturation": 0.25}
    twin = Allocator.restore(engine.snapshot(), clock=ManualClock())
    assert twin.snapshot() == engine.snapshot()


@pytest.mark.parametrize("level", ["role_sorter", "framework_sorter"])
@pytest.mark.parametrize("sorter", ["hdrf", "naive-hdrf"])
@pytest.mark.parametrize("kind", [Allocator, reference.Allocator])
def test_each_level_takes_it(kind: Callable[..., Any], sorter: str, level: str) -> None:
    engine = kind(**{level: sorter, "sorter_options": {"saturation": 0}, "seed": 7})
    engine.add_agent("a1", "cpus:4;mem:400")
    for framework in ("f", "g"):
        engine.add_framework(framework, roles=[f"r/{framework}"])
    assert [offer.framework for offer in engine.allocate()] == ["f"]


def test_the_registry_reads_its_option() -> None:
    for name in ("hdrf", "naive-hdrf"):
        assert SORTERS[name].options["saturation"](1) == 1.0
