"""Fuzz everything that reads text or JSON: resources, roles, constraints, operations, snapshots.

Whatever comes in, it is either refused with an `AllocatorError` or read as a value that reads back
from its own text and JSON. Anything else (another exception, a hang, another value) is a bug.

Run it for a time, with fresh random inputs each time::

    python -m tests.fuzz.fuzz_inputs --seconds 60

A failure prints the input and the seed that finds it again (`--seed N`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from allocator import Allocator, AllocatorError, ManualClock, Quantities, Resource, Resources
from allocator.engine.constraints import constraints_to_json, read_constraints
from allocator.resources.conversions import operation_from_json
from allocator.roles import validate_role
from tests.strategies import resources

#: Inputs of one batch; batches go on until the time is up.
BATCH = 2000

#: What malformed input is most likely made of.
TOKENS = [
    *("cpus", "mem", "disk", "gpus", "ports", "eng", "eng/prod", "*", "null", "true", "NaN"),
    *(":", ";", ",", "(", ")", "[", "]", "{", "}", "-", ".", "/", '"', "\\", "\0", "\u2028", "é"),
    *("0", "1", "-1", "0.0005", "1e3", "1e999", "9223372036854775807", "9223372036854775808"),
    *('"name"', '"type"', '"SCALAR"', '"scalar"', '"value"', '"reservations"', '"shared"'),
]
FIELDS = [
    *("name", "type", "scalar", "value", "ranges", "range", "begin", "end", "set", "item", "role"),
    *("reservations", "reservation", "principal", "labels", "key", "disk", "persistence", "id"),
    *("volume", "mode", "source", "mount", "root", "revocable", "shared", "provider_id", "groups"),
    *("attribute_constraints", "selector", "attribute_name", "predicate", "text_equals", "regex"),
    *("reserve", "resources", "unreserve", "create", "volumes", "addition"),
]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["SCALAR", "RANGES", "SET", "STATIC", "DYNAMIC", "MOUNT", "cpus", "eng"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=25,
)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[str]) -> str:
    """Return a well-formed text with something cut out, put in or doubled."""
    text = draw(whole)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        to = draw(st.integers(at, min(len(text), at + 6)))
        text = text[:at] + draw(st.sampled_from(["", *TOKENS])) + text[to:]
    return text


@st.composite
def altered(draw: st.DrawFn, whole: st.SearchStrategy[Any]) -> Any:
    """Return well-formed JSON with one part replaced by another one."""
    body = json.loads(json.dumps(draw(whole)))
    part = body
    while isinstance(part, (dict, list)) and part:
        key = draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
        if draw(st.booleans()) or not isinstance(part[key], (dict, list)) or not part[key]:
            part[key] = draw(json_values)
            break
        part = part[key]
    return body


texts = (
    damaged(resources().map(str))
    | st.lists(st.sampled_from(TOKENS), max_size=12).map("".join)
    | st.text(max_size=40)
)
bodies = json_values | altered(resources().map(Resources.to_json))


def check_resources(given_value: Any) -> None:
    """Whatever is read as resources reads back from its text and its JSON."""
    value = Resources(given_value)
    assert Resources(str(value)) == value
    assert Resources(json.loads(json.dumps(value.to_json()))) == value
    assert value - value == Resources()
    assert value >= value


def check_quantities(given_value: Any) -> None:
    """The same of quantities."""
    value = Quantities(given_value)
    assert Quantities(str(value)) == value


def check_resource(given_value: Any) -> None:
    """The same of one entry."""
    value = Resource(given_value)
    assert Resource(str(value)) == value if value.copies == 1 else Resources(str(value))


def check_role(given_value: Any) -> None:
    """A role that is accepted can be subscribed to."""
    engine = Allocator(seed=1, clock=ManualClock())
    engine.add_framework("f", [validate_role(given_value)])


def check_constraints(given_value: Any) -> None:
    """Constraints that are accepted can be written and read again, and evaluated."""
    read = read_constraints(given_value)
    assert read_constraints(json.loads(json.dumps(constraints_to_json(read)))) == read
    engine = Allocator(seed=1, clock=ManualClock())
    engine.add_agent("a", "cpus:1", attributes={"rack": "r1"})
    engine.add_framework("f", list(read) or ["*"], constraints=given_value)
    engine.allocate()


def check_operation(given_value: Any) -> None:
    """An operation that is accepted reads back, and applies or is refused."""
    operation = operation_from_json(given_value) if isinstance(given_value, dict) else None
    if operation is not None:
        assert operation_from_json(json.loads(json.dumps(operation.to_json()))) == operation


def check_snapshot(given_value: Any) -> None:
    """A snapshot that is accepted gives an engine with that very snapshot."""
    engine = Allocator.restore(given_value, clock=ManualClock())
    again = Allocator.restore(engine.snapshot(), clock=ManualClock())
    assert again.snapshot() == engine.snapshot()
    assert again.allocate() == engine.allocate()


def _snapshots() -> st.SearchStrategy[Any]:
    engine = Allocator(seed=1, clock=ManualClock())
    engine.add_agent("a1", "cpus:8;mem:64;ports:[1-9];cpus(eng):1")
    engine.add_framework("f1", ["eng/prod", "ops"])
    engine.set_quota("eng", "cpus:2", {"cpus": 4})
    for offer in engine.allocate():
        engine.accept(offer, "cpus:1", refuse_seconds=9)
    return altered(st.just(engine.snapshot()))


#: What is fuzzed, each with the inputs that suit it.
TARGETS: list[tuple[Callable[[Any], None], st.SearchStrategy[Any]]] = [
    (check_resources, texts | bodies),
    (check_quantities, texts | bodies),
    (check_resource, texts | bodies),
    (check_role, texts | json_values),
    (check_constraints, json_values),
    (check_operation, json_values),
    (check_snapshot, _snapshots()),
]


def run_batch(check: Callable[[Any], None], inputs: st.SearchStrategy[Any], number: int) -> None:
    """Try one batch of inputs; raises what the first bad one raised."""

    @seed(number)
    @settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def try_one(given_value: Any) -> None:
        with contextlib.suppress(AllocatorError):
            check(given_value)

    try_one()


def main() -> None:
    """Fuzz until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, help="of the first batch (random)")
    arguments = parser.parse_args()
    number = random.randrange(2**32) if arguments.seed is None else arguments.seed
    end = time.monotonic() + arguments.seconds
    n_batches = 0
    while n_batches == 0 or time.monotonic() < end:
        check, inputs = TARGETS[n_batches % len(TARGETS)]
        print(f"{check.__name__}: seed {number}", flush=True)
        run_batch(check, inputs, number)
        n_batches += 1
        number += 1
    print(f"{n_batches} batches of {BATCH} inputs, no failure")


if __name__ == "__main__":
    main()
