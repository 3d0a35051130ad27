"""Fuzz all that reads text, JSON or files: resources, roles, constraints, snapshots, traces, logs.

Whatever comes in, it is either refused with an `AllocatorError` or read as a value that reads back
from its own text and JSON. Anything else (another exception, a hang, another value) is a bug.

Run it for a time, with fresh random inputs each time::

    python -m tests.fuzz.fuzz_inputs --seconds 60

A failure prints the input and the seed that finds it again (`--seed N`).
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from allocator import Allocator, AllocatorError, ManualClock, Quantities, Resource, Resources
from allocator.audit import AuditLog, replay
from allocator.cli.subject import restore
from allocator.engine.constraints import constraints_to_json, read_constraints
from allocator.files import Input
from allocator.resources.conversions import operation_from_json
from allocator.roles import validate_role
from allocator.sim import Options, read_trace, simulate
from tests.strategies import resources
from tests.unit.test_extreme_numbers import FILES as EXAMPLES

#: Inputs of one batch; batches go on until the time is up.
BATCH = 500

#: A simulation of so many machines takes its time.
MANY = 2000

#: Numbers that stand in files.
NUMBERS = [
    *("0", "-1", "1", "1e9", "1e19", "1e30", "1e308", "1e400", "nan", "inf", "NaN", "Infinity"),
    *("9223372036854775807", "9" * 5000, "0.0001", "1,152", "-0.0", "2", "3", "4"),
]

#: What malformed input is most likely made of.
TOKENS = [
    *("cpus", "mem", "disk", "gpus", "ports", "eng", "eng/prod", "*", "null", "true", "NaN"),
    *(":", ";", ",", "(", ")", "[", "]", "{", "}", "-", ".", "/", '"', "\\", "\0", "\u2028", "é"),
    *("\ufeff", "64Gi", "100m"),
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


def check_trace(content: bytes) -> None:
    """A trace that is read can be run, if it is not too large to be run here."""
    with _file(content) as path:
        trace = read_trace(path, lenient=len(content) % 2 == 0)
    if sum(group.count for group in trace.cluster) < MANY:
        result = simulate(trace, Options(horizon_s=1000))
        json.dumps(result.to_json(), allow_nan=False)


def check_machines(content: bytes) -> None:
    """Machines that are read make a cluster, or are too many."""
    with _file(b"1 0 1 1 1 -1 -1 1 -1 -1 1 1 1 -1 1 -1 -1 -1\n") as trace, _file(content) as path:
        read_trace(trace, machines=path)


def check_log(content: bytes) -> None:
    """A log is refused, or replayed to its end or first difference."""
    str(replay(io.BytesIO(content)))


def check_snapshot_file(content: bytes) -> None:
    """A file of a snapshot gives an engine that explains itself."""
    engine = restore(Input(io.BytesIO(content)))
    for framework in list(engine.snapshot()["frameworks"]):
        json.dumps(engine.explain(framework).to_json(), allow_nan=False)


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(content)
        yield str(path)


@st.composite
def files(draw: st.DrawFn, whole: st.SearchStrategy[str]) -> bytes:
    """Return a file: text with numbers, fields or lines replaced, then packed, cut or marked."""
    lines = draw(whole).splitlines()
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        numbers = list(re.finditer(r"[-+.\deE]*\d[-+.\deE]*", lines[at]))
        if numbers and draw(st.booleans()):
            start, end = draw(st.sampled_from(numbers)).span()
        else:
            start = draw(st.integers(0, len(lines[at])))
            end = draw(st.integers(start, min(len(lines[at]), start + 6)))
        new = draw(st.sampled_from([*NUMBERS, *TOKENS, "", " ", "\n", "\t"]))
        lines[at] = lines[at][:start] + new + lines[at][end:]
    content = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    content = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xff"])) + content
    if draw(st.integers(0, 3)) == 0:
        content = gzip.compress(content, mtime=0)
    if draw(st.integers(0, 3)) == 0:
        content = content[: draw(st.integers(0, len(content)))]
    return content


def _logs() -> str:
    log = io.StringIO()
    with AuditLog(Allocator(seed=1, clock=ManualClock()), log) as engine:
        engine.set_quota("eng", "cpus:2", {"cpus": 4})
        engine.add_agent("a1", "cpus:8;mem:64;ports:[1-9]", used={"g": {"q": "cpus:1"}})
        engine.add_framework("f1", ["eng/prod", "ops"])
        for offer in engine.allocate():
            engine.accept(offer, Resources("cpus:1"), refuse_seconds=1e30)
        engine.skip_cycles(5)
        engine.release("f1", "a1", "ops", "cpus:0.5")
    return log.getvalue()


def _written_out() -> str:
    engine = Allocator(seed=1, clock=ManualClock())
    engine.add_agent("a1", "cpus:8;mem:64;ports:[1-9];cpus(eng):1")
    engine.add_framework("f1", ["eng/prod", "ops"])
    for offer in engine.allocate():
        engine.accept(offer, "cpus:1", refuse_seconds=9)
    return json.dumps(engine.snapshot(), indent=1)


def _snapshots() -> st.SearchStrategy[Any]:
    engine = Allocator(seed=1, clock=ManualClock())
    engine.add_agent("a1", "cpus:8;mem:64;ports:[1-9];cpus(eng):1")
    engine.add_framework("f1", ["eng/prod", "ops"])
    engine.set_quota("eng", "cpus:2", {"cpus": 4})
    for offer in engine.allocate():
        engine.accept(offer, "cpus:1", refuse_seconds=9)
    return altered(st.just(engine.snapshot()))


def _texts(names: Iterable[str]) -> st.SearchStrategy[str]:
    kept = [EXAMPLES[name] for name in names]
    return st.sampled_from(kept).map(lambda file: "\n".join([*file.before, file.line, file.line]))


TRACES = _texts(name for name, file in EXAMPLES.items() if file.is_trace)
MACHINES = _texts(name for name, file in EXAMPLES.items() if not file.is_trace) | st.just(
    "4xcpus:8;mem:64@big\n\n2xcpus:4"
)

#: What is fuzzed, each with the inputs that suit it.
TARGETS: list[tuple[Callable[[Any], None], st.SearchStrategy[Any]]] = [
    (check_resources, texts | bodies),
    (check_quantities, texts | bodies),
    (check_resource, texts | bodies),
    (check_role, texts | json_values),
    (check_constraints, json_values),
    (check_operation, json_values),
    (check_snapshot, _snapshots()),
    (check_trace, files(TRACES)),
    (check_machines, files(MACHINES)),
    (check_log, files(st.just(_logs()))),
    (check_snapshot_file, files(st.just(_written_out()))),
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
        check, inputs = TARGETS[number % len(TARGETS)]
        print(f"{check.__name__}: seed {number}", flush=True)
        run_batch(check, inputs, number)
        n_batches += 1
        number += 1
    print(f"{n_batches} batches of {BATCH} inputs, no failure")


if __name__ == "__main__":
    main()
