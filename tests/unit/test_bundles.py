"""Bundles against `Resources`: every operation on numbers does what the one on values does."""

from __future__ import annotations

import functools
import inspect
import random
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.engine import _bundles
from allocator.engine._bundles import Bundles
from allocator.errors import ResourceError
from allocator.resources import Quantities, Resource, Resources
from allocator.sorter import Totals
from tests import strategies
from tests.compiled import bundles as bench

MAX_MILLI = 2**63 - 1


def on_bundles(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test on bundles of its own, of which none may be left once it has let go of all."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        bundles = Bundles(Totals())
        test(bundles, *args, **kwargs)
        bench.check(bundles)
        bench.forget_all(bundles)
        assert bench.n_in_use(bundles) == 0
        bench.check(bundles)

    signature = inspect.signature(test)
    others = list(signature.parameters.values())[1:]
    run.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
    return run


def disks(resources: Resources) -> set[tuple[Resource, object]]:
    """Return the entries with all their disk information, which equality overlooks."""
    return {(entry, entry.disk) for entry in resources}


def assert_same(held: bench.BundleView, expected: Resources) -> None:
    assert held.value == expected
    assert disks(held.value) == disks(expected)


def outcome(compute: Callable[[], Resources]) -> Resources | str:
    """Return what comes out, or the message of the refusal."""
    try:
        return compute()
    except ResourceError as error:
        return str(error)


def visible(
    resources: Resources, role: str, *, revocable: bool, shared: bool, refined: bool
) -> Resources:
    seen = resources.allocatable_to(role)
    if not revocable:
        seen = seen.nonrevocable()
    if not shared:
        seen = seen.nonshared()
    if not refined:
        seen = Resources([entry for entry in seen if len(entry.reservations) <= 1])
    return seen


def coming_along(resources: Resources, role: str) -> Resources:
    return Resources([e for e in resources if e.type != "SCALAR" or e.revocable or e.role == role])


def test_the_module_is_compiled() -> None:
    assert _bundles.__file__.endswith(tuple(EXTENSION_SUFFIXES))


# Values in and out.


@given(st.lists(strategies.resources(), max_size=6))
@on_bundles
def test_equal_values_have_equal_numbers(bundles: Bundles, values: list[Resources]) -> None:
    held = [bench.held(bundles, value) for value in values]
    for one, mine in zip(values, held, strict=True):
        assert_same(mine, one)
        for other, theirs in zip(values, held, strict=True):
            same = one == other and disks(one) == disks(other)
            assert (mine.number == theirs.number) == same


@given(strategies.resources(), st.integers(1, 12))
def test_columns_that_others_gave_are_taken_over(value: Resources, n_names: int) -> None:
    totals = Totals()
    bundles = Bundles(totals)
    before = bench.held(bundles, "cpus:1;ports:[1-2]")
    for i in range(n_names):
        totals.column(f"name{i}")
    after = bench.held(bundles, value)
    bench.check(bundles)
    assert_same(after, value)
    assert_same(before, Resources("cpus:1;ports:[1-2]"))
    assert before.number == bench.held(bundles, "cpus:1;ports:[1-2]").number


@on_bundles
def test_disk_information_beyond_identity_is_not_mixed_up(bundles: Bundles) -> None:
    def volume(principal: str) -> Resources:
        disk = {"persistence": {"id": "v", "principal": principal}}
        return Resources([{"name": "disk", "type": "SCALAR", "scalar": {"value": 1}, "disk": disk}])

    one, other = volume("ops"), volume("dev")
    assert one == other
    first, second = bench.held(bundles, one), bench.held(bundles, other)
    assert first.number != second.number
    assert_same(first, one)
    assert_same(second, other)
    assert first.covers(second)
    assert not first.minus(second).value


# Arithmetic.


@given(strategies.resources(), strategies.resources())
@on_bundles
def test_plus(bundles: Bundles, a: Resources, b: Resources) -> None:
    assert_same(bench.held(bundles, a).plus(bench.held(bundles, b)), a + b)
    assert_same(bench.held(bundles, a).plus(bench.held(bundles, a)), a + a)


@given(strategies.wholes_and_parts())
@on_bundles
def test_minus_a_part(bundles: Bundles, pair: tuple[Resources, Resources]) -> None:
    whole, part = pair
    left = bench.held(bundles, whole).minus(bench.held(bundles, part))
    assert_same(left, whole - part)
    assert left.plus(bench.held(bundles, part)).value == whole


@given(strategies.resources(), strategies.resources())
@on_bundles
def test_minus_and_covers(bundles: Bundles, a: Resources, b: Resources) -> None:
    x, y = bench.held(bundles, a), bench.held(bundles, b)
    assert outcome(lambda: x.minus(y).value) == outcome(lambda: a - b)
    assert x.covers(y) == (a >= b)


@given(strategies.plain_resources(), strategies.plain_resources(), strategies.resources())
@on_bundles
def test_plain_parts_leave_the_rest_alone(
    bundles: Bundles, a: Resources, b: Resources, c: Resources
) -> None:
    whole = bench.held(bundles, a + b + c)
    left = whole.minus(bench.held(bundles, b))
    assert left.special().number == whole.special().number
    assert_same(left, a + c)


def spans(max_bound: int) -> st.SearchStrategy[Resources]:
    """Draw ports, some of them up to the last integer there is."""
    bound = st.one_of(st.integers(0, 30), st.integers(max_bound - 30, max_bound))
    pair = st.tuples(bound, bound).map(sorted)
    return st.lists(pair, max_size=8).map(
        lambda pairs: Resources(";".join(f"ports:[{low}-{high}]" for low, high in pairs))
    )


@given(st.sampled_from([60, MAX_MILLI]).flatmap(lambda m: st.tuples(spans(m), spans(m))))
@on_bundles
def test_ranges(bundles: Bundles, pair: tuple[Resources, Resources]) -> None:
    a, b = pair
    x, y = bench.held(bundles, a), bench.held(bundles, b)
    union = x.plus(y)
    assert_same(union, a + b)
    assert_same(union.minus(x), (a + b) - a)
    assert_same(union.minus(y), (a + b) - b)
    assert outcome(lambda: x.minus(y).value) == outcome(lambda: a - b)
    assert x.covers(y) == (a >= b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (f"cpus:{MAX_MILLI // 1000}", "cpus:1"),
        (f"cpus(eng):{MAX_MILLI // 1000}", "cpus:1"),
        ("mem:1;cpus:1", f"cpus(eng):{MAX_MILLI // 1000};mem:3"),
        (f"cpus(eng):{MAX_MILLI // 1000}", "cpus(ops):1"),
        ("ports:[1-2]", "ports:3"),
        ("ports:3", "cpus:1;ports:[1-2]"),
        ("ports(eng):3", "ports:[1-2]"),
        ("ports:{a}", "ports:[1-2]"),
    ],
)
@on_bundles
def test_sums_that_cannot_be_are_refused(bundles: Bundles, a: str, b: str) -> None:
    for left, right in ((a, b), (b, a)):
        for _ in range(2):  # the second time it is known
            refusal = outcome(lambda left=left, right=right: Resources(left) + right)
            x, y = bench.held(bundles, left), bench.held(bundles, right)
            assert outcome(lambda x=x, y=y: x.plus(y).value) == refusal
            assert isinstance(refusal, str)


@on_bundles
def test_a_name_of_a_range_may_have_a_column_of_others(bundles: Bundles) -> None:
    bench.held(bundles, "cpus:1")
    bundles.totals.column("ports")
    # The column is taken over while this one is read.
    held = bench.held(bundles, "ports:[1-2];ports(eng):[4-5];mem(eng):1")
    bench.check(bundles)
    with pytest.raises(ResourceError, match="both"):
        held.plus(bench.held(bundles, "ports:1"))


def test_a_name_of_a_range_may_become_a_column_later() -> None:
    bundles = Bundles(Totals())
    ports = bench.held(bundles, "ports:[1-2]")
    scalars = [bench.held(bundles, f"n{i}:1") for i in range(70)]
    amount = bench.held(bundles, "ports:1")
    bench.check(bundles)
    with pytest.raises(ResourceError, match="both"):
        ports.plus(amount)
    # The names of all columns from 63 on share a bit.
    assert ports.plus(scalars[69]).value == Resources("ports:[1-2];n69:1")


@given(strategies.resources())
@on_bundles
def test_views(bundles: Bundles, value: Resources) -> None:
    held = bench.held(bundles, value)
    assert_same(held.nonshared(), value.nonshared())
    assert_same(held.special(), value.special())
    whole, charged = held.amounts()
    assert whole == value.quantities().milli
    assert charged == value.unreserved().nonrevocable().quantities().milli
    roles = [role for role, _ in held.reservations]
    assert roles == sorted({e.role for e in value if e.role is not None})
    for role, amounts in held.reservations:
        assert Quantities.from_milli(amounts) == value.reserved(role).quantities()


@given(strategies.resources(), strategies.roles(), st.booleans(), st.booleans(), st.booleans())
@on_bundles
def test_what_a_viewer_sees(
    bundles: Bundles, value: Resources, role: str, revocable: bool, shared: bool, refined: bool
) -> None:
    viewer = bench.viewer(bundles, role, revocable=revocable, shared=shared, refined=refined)
    seen = bench.held(bundles, value).seen_by(viewer)
    expected = visible(value, role, revocable=revocable, shared=shared, refined=refined)
    assert_same(seen, expected)
    assert_same(seen.along(viewer), coming_along(expected, role))
    assert bench.held(bundles, value).seen_by(viewer).number == seen.number


def test_viewers_are_interned() -> None:
    bundles = Bundles(Totals())
    one = bench.viewer(bundles, "eng", shared=True)
    assert bench.viewer(bundles, "eng", shared=True) == one
    others = {bench.viewer(bundles, "eng"), bench.viewer(bundles, "ops", shared=True)}
    assert len({one, *others}) == 3


# Long lives.

TEXTS = (
    "cpus:1",
    "cpus:2;mem:64",
    "mem:3;gpus:1",
    "ports:[1-50]",
    "ports:[20-30,60-90];cpus:1",
    "cpus(eng):2;mem(eng/prod):7",
    "ports(eng):[1-9];cards:{a,b}",
    "cards:{b,c};disk:5",
)
SPECIALS = (
    [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 3}, "revocable": {}}],
    [
        {
            "name": "disk",
            "type": "SCALAR",
            "scalar": {"value": 64},
            "reservations": [{"type": "DYNAMIC", "role": "eng"}],
            "disk": {"persistence": {"id": "photos"}},
            "shared": {},
        }
    ],
    [{"name": "disk", "type": "SCALAR", "scalar": {"value": 9}, "provider_id": {"value": "p"}}],
)


class Life:
    """Held bundles beside their values, under random operations."""

    def __init__(self, rng: random.Random, bundles: Bundles) -> None:
        self.rng = rng
        self.bundles = bundles
        self.pool: list[tuple[bench.BundleView, Resources]] = []
        self.viewers = [
            (role, bench.viewer(bundles, role, **shown), shown)
            for role in ("eng", "eng/prod", "ops")
            for shown in (
                {"revocable": False, "shared": False, "refined": False},
                {"revocable": True, "shared": False, "refined": True},
                {"revocable": False, "shared": True, "refined": False},
            )
        ]

    def step(self) -> None:
        rng, pool = self.rng, self.pool
        if len(pool) < 2 or (len(pool) < 60 and rng.random() < 0.2):
            value = Resources(rng.choice(TEXTS + SPECIALS))
            if rng.random() < 0.3:
                value += {"mem": rng.randrange(1, 1000)}
            pool.append((bench.held(self.bundles, value), value))
            return
        if len(pool) > 80:
            pool.pop(rng.randrange(len(pool)))
        (a, x), (b, y) = rng.choice(pool), rng.choice(pool)
        role, viewer, shown = rng.choice(self.viewers)
        made: tuple[bench.BundleView, Resources]
        match rng.randrange(6):
            case 0 | 1:
                made = (a.plus(b), x + y)
            case 2 | 3:
                assert a.covers(b) == (x >= y)
                if not x >= y:
                    return
                made = (a.minus(b), x - y)
            case 4:
                seen, expected = a.seen_by(viewer), visible(x, role, **shown)
                pool.append((seen, expected))
                made = (seen.along(viewer), coming_along(expected, role))
            case _:
                made = (a.nonshared(), x.nonshared())
        assert made[0].value == made[1]
        if sum(made[1].quantities().milli.values()) < 2**40:
            pool.append(made)

    def check(self) -> None:
        bench.check(self.bundles)
        for held, value in self.pool:
            assert_same(held, value)


@pytest.mark.parametrize("seed", range(3))
@on_bundles
def test_a_long_life(bundles: Bundles, seed: int) -> None:
    life = Life(random.Random(seed), bundles)
    for step in range(4000):
        life.step()
        if step % 200 == 0:
            life.check()
    life.check()


def test_a_copy_lives_on_its_own() -> None:
    totals = Totals()
    life = Life(random.Random(5), Bundles(totals))
    for _ in range(1500):
        life.step()
    bundles = bench.copied(life.bundles, totals.copy())
    twin = Life(random.Random(5), bundles)
    twin.pool = [(bench.BundleView(bundles, held.number), value) for held, value in life.pool]
    twin.check()
    for _ in range(500):
        life.step()
        twin.step()
    for each in (life, twin):
        each.check()
        each.pool.clear()
        bench.forget_all(each.bundles)
        assert bench.n_in_use(each.bundles) == 0
        bench.check(each.bundles)


@on_bundles
def test_thousands_at_once(bundles: Bundles) -> None:
    plain = [bench.held(bundles, f"cpus:{i % 100 + 1};mem:{i}") for i in range(5000)]
    special = [bench.held(bundles, f"ports:[1-{i}]") for i in range(1, 2000)]
    bench.check(bundles)
    # A bundle each, a rest for each special one, one item: the identity of all ports.
    assert bench.n_in_use(bundles) == len(plain) + 2 * len(special) + 1
    assert all(held.value["mem"] == i for i, held in enumerate(plain))
