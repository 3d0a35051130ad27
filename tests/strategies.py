"""Random resources for property tests.

Everything is drawn as v1 JSON, a mapping or text, so that what is under test reads it like any
caller's input. A name always has one type, and a shared volume always its own size, so that any
two values drawn here can be added.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from allocator.resources import Quantities, Resource, Resources

SCALAR_NAMES = ("cpus", "mem", "disk", "gpus", "bandwidth")
RANGES_NAMES = ("ports", "uids")
SET_NAMES = ("models", "cards")
ROLES = ("eng", "eng/prod", "eng/prod/web", "eng/test", "ops", "a:b", "(x)")
WORDS = ("a", "b", "sda", "sdb", "v100-32", "two words", "semi;colon", "{")
#: A shared volume of an id has this size wherever it occurs.
SHARED_SIZES = {"photos": 64, "films": 2048.5}

#: Sums of a few thousand of them still fit an int64.
MAX_DRAWN_MILLI = 2**50

Json = dict[str, Any]


def milli(minimum: int = 1) -> st.SearchStrategy[int]:
    """Draw amounts in 1/1000, small, fractional and large ones."""
    return st.one_of(
        st.integers(minimum, 5),
        st.integers(1, 64).map(lambda whole: whole * 1000),
        st.integers(minimum, MAX_DRAWN_MILLI),
    )


def roles() -> st.SearchStrategy[str]:
    """Draw role paths from a small tree, some of which plain text cannot say."""
    return st.sampled_from(ROLES)


def labels() -> st.SearchStrategy[Json | None]:
    """Draw v1 labels, or their absence."""
    label = st.one_of(
        st.fixed_dictionaries({"key": st.sampled_from(["rack", "team"])}),
        st.fixed_dictionaries(
            {"key": st.sampled_from(["rack", "team"]), "value": st.text('ab "é', max_size=3)}
        ),
    )
    return st.one_of(st.none(), st.lists(label, max_size=3).map(lambda items: {"labels": items}))


@st.composite
def stacks(draw: st.DrawFn) -> list[Json]:
    """Draw reservation stacks that refine downward, often empty."""
    parts = draw(roles()).split("/")
    paths = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    chosen = [path for path in paths if draw(st.booleans())]
    stack: list[Json] = []
    for path in chosen:
        kind = "DYNAMIC" if stack else draw(st.sampled_from(["STATIC", "DYNAMIC"]))
        level: Json = {"type": kind, "role": path}
        if draw(st.integers(0, 3)) == 0:
            level["principal"] = draw(st.sampled_from(["ops", "dev"]))
        if draw(st.integers(0, 3)) == 0:
            level["labels"] = draw(labels())
        stack.append(level)
    return stack


@st.composite
def ranges(draw: st.DrawFn, max_bound: int = 100) -> list[tuple[int, int]]:
    """Draw a few closed intervals, which may overlap or touch."""
    bound = st.integers(0, max_bound)
    pairs = draw(st.lists(st.tuples(bound, bound), min_size=1, max_size=4))
    return [(min(pair), max(pair)) for pair in pairs]


@st.composite
def values(draw: st.DrawFn, name: str) -> Json:
    """Draw a v1 value of the type that the name always has, with its type."""
    if name in RANGES_NAMES:
        pairs = [{"begin": begin, "end": end} for begin, end in draw(ranges())]
        return {"type": "RANGES", "ranges": {"range": pairs}}
    if name in SET_NAMES:
        words = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True))
        return {"type": "SET", "set": {"item": words}}
    return {"type": "SCALAR", "scalar": {"value": str(draw(milli()) / 1000)}}


@st.composite
def sources(draw: st.DrawFn) -> Json:
    """Draw v1 disk sources of every type."""
    kind = draw(st.sampled_from(["PATH", "MOUNT", "BLOCK", "RAW"]))
    source: Json = {"type": kind}
    if kind in ("PATH", "MOUNT") and draw(st.booleans()):
        source[kind.lower()] = {"root": draw(st.sampled_from(["/mnt/a", "/mnt/b"]))}
    for field in ("id", "profile", "vendor"):
        if draw(st.integers(0, 3)) == 0:
            source[field] = draw(st.sampled_from(["fast", "slow"]))
    if draw(st.integers(0, 3)) == 0:
        source["metadata"] = draw(labels())
    return source


@st.composite
def disks(draw: st.DrawFn) -> Json:
    """Draw v1 disk information: a volume, a source, or both."""
    disk: Json = {}
    if draw(st.booleans()):
        disk["persistence"] = {"id": draw(st.sampled_from(["v1", "v2"]))}
        if draw(st.booleans()):
            disk["persistence"]["principal"] = "ops"
        if draw(st.booleans()):
            disk["volume"] = {"mode": draw(st.sampled_from(["RW", "RO"])), "container_path": "x"}
    if not disk or draw(st.integers(0, 2)) == 0:
        disk["source"] = draw(sources())
    return disk


@st.composite
def v1_resources(draw: st.DrawFn) -> Json:
    """Draw one v1 JSON resource of any kind."""
    if draw(st.integers(0, 7)) == 0:
        volume = draw(st.sampled_from(sorted(SHARED_SIZES)))
        return {
            "name": "disk",
            "type": "SCALAR",
            "scalar": {"value": SHARED_SIZES[volume]},
            "reservations": [{"type": "DYNAMIC", "role": "eng"}],
            "disk": {"persistence": {"id": volume}},
            "shared": {},
        }
    name = draw(st.sampled_from(SCALAR_NAMES + RANGES_NAMES + SET_NAMES))
    body: Json = {"name": name, **draw(values(name))}
    body["reservations"] = draw(stacks())
    if name == "disk" and draw(st.booleans()):
        body["disk"] = draw(disks())
    if draw(st.integers(0, 5)) == 0:
        body["revocable"] = {}
    if draw(st.integers(0, 5)) == 0:
        body["provider_id"] = {"value": draw(st.sampled_from(["p1", "p2"]))}
    return body


def entries() -> st.SearchStrategy[Resource]:
    """Draw single entries of any kind."""
    return v1_resources().map(Resource)


def resources(max_entries: int = 6) -> st.SearchStrategy[Resources]:
    """Draw resources with entries of every kind."""
    return st.lists(v1_resources(), max_size=max_entries).map(Resources)


def plain_resources() -> st.SearchStrategy[Resources]:
    """Draw unreserved scalars, as most agents and offers have nothing else."""
    return st.dictionaries(st.sampled_from(SCALAR_NAMES), milli(0)).map(Resources.from_milli)


@st.composite
def divisible_resources(draw: st.DrawFn) -> Resources:
    """Draw reserved, revocable and plain scalars: whatever is added can be taken again."""
    items = draw(st.lists(v1_resources(), max_size=6))
    return Resources([item for item in items if item["type"] == "SCALAR" and "disk" not in item])


def quantities() -> st.SearchStrategy[Quantities]:
    """Draw quantities of scalars."""
    return st.dictionaries(st.sampled_from(SCALAR_NAMES), milli(0)).map(Quantities.from_milli)


@st.composite
def parts_of(draw: st.DrawFn, whole: Resources) -> Resources:
    """Draw something contained in `whole`: of each entry nothing, a part if it has any, or all."""
    return Resources([draw(_part_of(entry)) for entry in whole if draw(st.booleans())])


@st.composite
def _part_of(draw: st.DrawFn, entry: Resource) -> Resource:
    if entry.shared:
        return entry.replace(copies=draw(st.integers(1, entry.copies)))
    value = entry.value
    if not entry.splittable or draw(st.booleans()):
        return entry
    if isinstance(value, int):
        return entry.replace(value=draw(st.integers(0, value)))
    if isinstance(value, frozenset):
        return entry.replace(value=frozenset(draw(st.sets(st.sampled_from(sorted(value))))))
    begin, end = draw(st.sampled_from(value))
    low = draw(st.integers(begin, end))
    return entry.replace(value=((low, draw(st.integers(low, end))),))


@st.composite
def wholes_and_parts(draw: st.DrawFn) -> tuple[Resources, Resources]:
    """Draw resources and something contained in them."""
    whole = draw(resources())
    return whole, draw(parts_of(whole))
