"""What fairness promises: the DRF paper's examples, and properties on random clusters (§6)."""

import random
from fractions import Fraction

import pytest

from tests.contract import R, check_conserved

FOR_EVER = 1e9

#: What one task of each framework of the paper's example needs.
PAPER = {"A": "cpus:1;mem:4", "B": "cpus:3;mem:1"}


def run(engine, demands):
    """Let each framework start one task per offer until nobody can start any; count tasks.

    `demands` maps frameworks to what one of their tasks needs.
    """
    tasks = dict.fromkeys(demands, 0)
    while offers := engine.allocate():
        for offer in offers:
            task = R(demands[offer.framework])
            if offer.resources >= task:
                engine.accept(offer, task)
                tasks[offer.framework] += 1
            else:
                engine.decline(offer, refuse_seconds=FOR_EVER)
    return tasks


class TestPaper:
    """Ghodsi et al., Dominant Resource Fairness, NSDI 2011, sections 4.1 and 4.3."""

    @pytest.mark.parametrize("roles", [("*", "*"), ("a", "b"), ("eng/a", "eng/b")])
    def test_example(self, engine, roles):
        for framework, role in zip(PAPER, roles, strict=True):
            engine.add_framework(framework, [role])
        engine.add_agent("a1", "cpus:9;mem:18")
        # A: 4/18 of the memory a task, B: 3/9 of the cpus. A 2/9, B 3/9, A 4/9, B 6/9, A 6/9:
        # all 9 cpus are in use.
        assert run(engine, PAPER) == {"A": 3, "B": 2}
        assert engine.agent("a1").allocated == R("cpus:9;mem:14")

    def test_weighted(self, engine):
        engine.add_framework("A", ["a"])
        engine.add_framework("B", ["b"])
        engine.set_weight("a", 3.0)
        engine.add_agent("a1", "cpus:9;mem:18")
        # A: 2/27 a task, B: 1/3. A 2/27, B 1/3, A 4/27, 6/27, 8/27 < 1/3; then 2 cpus and 1 MB
        # are left, too little for either.
        assert run(engine, PAPER) == {"A": 4, "B": 1}

    def test_weighted_the_other_way(self, engine):
        engine.add_framework("A", ["a"])
        engine.add_framework("B", ["b"])
        engine.set_weight("b", 5.0)
        engine.add_agent("a1", "cpus:9;mem:18")
        # A: 2/9 a task, B: 1/15. A 2/9, B 1/15, B 2/15; then 2 cpus are left: B cannot, A 4/9,
        # A 6/9.
        assert run(engine, PAPER) == {"A": 3, "B": 2}

    def test_an_only_tenant_gets_all(self, engine):
        engine.add_framework("A")
        engine.add_agent("a1", "cpus:9;mem:18")
        assert run(engine, {"A": "cpus:1;mem:4"}) == {"A": 4}

    def test_one_resource_is_max_min_fairness(self, engine):
        for name in ("A", "B", "C"):
            engine.add_framework(name)
        engine.add_agent("a1", "cpus:12")
        assert run(engine, dict.fromkeys("ABC", "cpus:1")) == {"A": 4, "B": 4, "C": 4}


def random_demands(draw, largest):
    return {
        f"f{n}": {"cpus": draw.randrange(1, largest), "mem": draw.randrange(1, largest)}
        for n in range(draw.randrange(2, 6))
    }


def dominant(amounts, total):
    return max(Fraction(amounts[name], total[name]) for name in total)


class TestOnePool:
    """One large agent, frameworks that each want as many tasks as they can get."""

    @pytest.fixture(params=range(12))
    def pool(self, request, engine):
        draw = random.Random(request.param)
        total = {"cpus": draw.randrange(40, 80), "mem": draw.randrange(40, 80)}
        demands = random_demands(draw, 8)
        engine.add_agent("pool", total)
        for name in demands:
            engine.add_framework(name)
        return engine, total, demands

    def test_nobody_waits_who_could_be_served(self, pool):
        engine, _, demands = pool
        run(engine, demands)
        left = engine.agent("pool").available
        assert not any(left >= R(task) for task in demands.values())

    def test_shares_of_those_who_can_still_run_differ_by_at_most_one_task(self, pool):
        engine, total, demands = pool
        shares = {name: dominant(task, total) for name, task in demands.items()}
        tasks = dict.fromkeys(demands, 0)
        while offers := engine.allocate():
            (offer,) = offers
            task = R(demands[offer.framework])
            if not offer.resources >= task:
                engine.decline(offer, refuse_seconds=FOR_EVER)
                continue
            engine.accept(offer, task)
            tasks[offer.framework] += 1
            left = engine.agent("pool").available
            still = [name for name in demands if left >= R(demands[name])]
            held = [tasks[name] * shares[name] for name in still]
            assert not held or max(held) - min(held) <= max(shares[name] for name in still)

    def test_envy_up_to_one_task(self, pool):
        """With all but one of the tasks of another, nobody could run more than it does.

        Until a framework fits no more, nobody ahead of it was served. From then on too little is
        left of some resource for one task of its own, and others can gain no more than that.
        """
        engine, _, demands = pool
        tasks = run(engine, demands)
        for envious, own in demands.items():
            for envied, other in demands.items():
                bundle = {name: (tasks[envied] - 1) * amount for name, amount in other.items()}
                could_run = min(bundle[name] // own[name] for name in own)
                assert could_run <= tasks[envious]


class TestClusters:
    """Many agents of random sizes."""

    @pytest.mark.parametrize("seed", range(12))
    def test_nobody_waits_who_could_be_served(self, engine, seed):
        draw = random.Random(seed)
        agents = [f"a{n}" for n in range(draw.randrange(2, 12))]
        for name in agents:
            cpus, mem = draw.randrange(1, 16), draw.randrange(1, 16)
            engine.add_agent(name, {"cpus": cpus, "mem": mem})
        demands = random_demands(draw, 8)
        for n, name in enumerate(demands):
            engine.add_framework(name, [draw.choice(["eng/a", "eng/b", "ops"])])
            engine.set_weight(f"eng/{'ab'[n % 2]}", draw.choice([1.0, 2.0]))
        run(engine, demands)
        check_conserved(engine, *agents)
        for agent in agents:
            left = engine.agent(agent).available
            assert not any(left >= R(task) for task in demands.values())

    @pytest.mark.parametrize("seed", range(12))
    def test_shares_differ_by_at_most_one_agent(self, engine, seed):
        """Frameworks that take all they are offered, by weight of their roles."""
        draw = random.Random(seed)
        sizes = {
            f"a{n}": {"cpus": draw.randrange(1, 9), "mem": draw.randrange(1, 9)} for n in range(40)
        }
        total = {name: sum(size[name] for size in sizes.values()) for name in ("cpus", "mem")}
        weights = {f"r{n}": draw.choice([1, 2, 3]) for n in range(5)}
        for role, weight in weights.items():
            engine.set_weight(role, weight)
            engine.add_framework(f"f-{role}", [role])
        for name, size in sizes.items():
            engine.add_agent(name, size)
        held = {role: {"cpus": 0, "mem": 0} for role in weights}
        for offer in engine.allocate():
            for name in total:
                held[offer.role][name] += sizes[offer.agent][name]
        shares = {role: dominant(held[role], total) / weights[role] for role in weights}
        # The last agent went to it while its share was the smallest, and shares only grow.
        largest = max(dominant(size, total) for size in sizes.values())
        for role, share in shares.items():
            assert share <= min(shares.values()) + largest / weights[role]

    @pytest.mark.parametrize("seed", range(6))
    def test_the_orderings_make_the_same_offers(self, make, ordering, seed):
        """Each ordering by dominant share decides as the recomputing one, offer by offer."""
        engines = [make(), make(sorter="naive-hdrf" if "hdrf" in ordering else "naive")]
        made = []
        for engine in engines:
            draw = random.Random(seed)
            for n in range(12):
                engine.add_agent(f"a{n}", {"cpus": draw.randrange(1, 9), "mem": 4})
            for n in range(6):
                roles = draw.sample(["eng", "eng/a", "eng/b/c", "ops"], 2)
                engine.add_framework(f"f{n}", roles)
            engine.set_quota("eng", guarantee="cpus:9", limit="cpus:20")
            for _ in range(8):
                for offer in engine.allocate():
                    made.append(offer)
                    if draw.random() < 0.6:
                        engine.accept(offer, {"cpus": min(1, offer.resources["cpus"])})
                    else:
                        engine.decline(offer, refuse_seconds=draw.choice([None, 5]))
        half = len(made) // 2
        assert made[:half] == made[half:]
        assert half > 12


def test_more_names_in_use_than_sorters_began_with(engine):
    engine.add_framework("A", ["eng"])
    engine.add_framework("B", ["eng"])
    names = ["cpus", "mem", "disk", "gpus", "licenses", "iops", "bandwidth"]
    used = {"A": {"eng": "iops:4"}, "B": {"eng": "cpus:1;bandwidth:7"}}
    engine.add_agent("a1", dict.fromkeys(names, 8), used=used)
    # A: 4/8 of the iops. B: 7/8 of the bandwidth.
    assert engine.framework("A").share("eng") == 0.5
    assert engine.framework("B").share("eng") == engine.role("eng").share == 0.875
