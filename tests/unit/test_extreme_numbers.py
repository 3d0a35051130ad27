"""Numbers beyond what an engine can hold, in every numeric field of every file that is read.

Each is refused in one line with the file and the place, or is harmless where it stands: then the
whole run that follows must end. Never another exception, never a hang.
"""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from allocator import Allocator, ManualClock
from allocator.audit import AuditLog
from allocator.cli import main as cli
from allocator.errors import InvalidValue
from allocator.sim import Options, Trace, TraceError, read_trace, simulate
from tests.unit.test_traces import DLRM, NODES, PHILLY, PODS, SWF_HEADER

Json: TypeAlias = dict[str, Any]

#: Too large for anything, or no numbers.
BEYOND = ("1e19", "1e30", "1e308", "-1e308", "9" * 5000, "-" + "9" * 5000, "nan", "inf", "-inf")
#: What some fields can be and others not.
EDGES = (
    *("1e15", "9223372036854775", "9223372036854775807", "1e12", "1.1e12", "1000000000000.5"),
    *("-1", "-0.0", "0", "1e-320", "0.0000001", "1e6", "1000001"),
)

#: A cluster of so many machines can be read; to run it takes its time.
MANY = 10_000


@dataclass(frozen=True)
class File:
    """A file of one line that can be used, and which of its fields are numbers."""

    before: tuple[str, ...]
    line: str
    separator: str | None
    labels: dict[int, str]
    is_trace: bool = True

    def lines(self, position: int, text: str) -> str:
        parts = self.line.split(self.separator)
        line = (self.separator or " ").join([*parts[:position], text, *parts[position + 1 :]])
        return "".join(f"{line}\n" for line in [*self.before, line])


def named(header: str, *names: str) -> dict[int, str]:
    columns = [name.strip() for name in header.split(",")]
    return {columns.index(name): name for name in names}


SWF = "1 100 5 60 2 -1 -1 4 90 1024 1 7 1 -1 1 -1 -1 -1"
METACENTRUM = "17 1357000000 30 60 2 1 1024 2 3600 1073741824 1 62 1 1 -1 1 1 1 {1200} q "
MACHINES = "0\tbig\t2\t80\t1\t1048576"
PHILLY_MACHINES = "machineId, number of GPUs, single GPU mem"

NUMBERED = {position: f"field {position + 1}" for position in range(18)}
DEMAND = ("cpu", "gpu", "rdma", "memory", "disk")
TIMES = ("creation_time", "scheduled_time", "deletion_time")

FILES = {
    "swf": File(SWF_HEADER, SWF, None, NUMBERED),
    "swf without header": File((), SWF, None, NUMBERED),
    "metacentrum": File((), METACENTRUM + "1:ppn=2", None, NUMBERED),
    "openb": File(
        (PODS,),
        "p0,12000,16384,1,460,T4,LS,Running,10,100,40",
        ",",
        named(PODS, "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", *TIMES),
    ),
    "dlrm": File(
        (DLRM,),
        "i,HN,app,12,24,1,1,25,50,1.5,3,2.0,9,-1,100.0,130.0,190.0",
        ",",
        named(DLRM, *(f"{name}_request" for name in DEMAND), "max_instance_per_node", *TIMES),
    ),
    "philly": File(
        (PHILLY,),
        "2017-10-09 07:01:55,66.0,1,66.0,vc1",
        ",",
        named(PHILLY, "timestamp", "duration", "num_gpus", "gpu_time"),
    ),
    ".machines": File(
        (), MACHINES, "\t", {2: "nodes", 3: "cores per node", 5: "memory per node"}, False
    ),
    "openb nodes": File(
        NODES[:1], NODES[1], ",", named(NODES[0], "cpu_milli", "memory_mib", "gpu"), False
    ),
    "philly machines": File(
        (PHILLY_MACHINES,), "m0,2,12GB", ",", named(PHILLY_MACHINES, "number of GPUs"), False
    ),
}
FIELDS = [
    pytest.param(file, position, label, id=f"{name}-{label}")
    for name, file in FILES.items()
    for position, label in file.labels.items()
]


def read_or_refuse(folder: Path, content: str, is_trace: bool) -> Trace | str:
    """Read as `read` does, and return the trace or the refusal."""
    try:
        return read(folder, content, is_trace)
    except (TraceError, InvalidValue) as error:
        return str(error)


def read(folder: Path, content: str, is_trace: bool = True) -> Trace:
    """Read a trace or a list of machines, which is `file`, with another file that is good."""
    path = folder / "file"
    path.write_text(content)
    if is_trace:
        (folder / "file.machines").write_text(MACHINES + "\n")
        return read_trace(str(path))
    trace = folder / "trace"
    trace.write_text(SWF + "\n")
    return read_trace(str(trace), machines=str(path))


def run(trace: Trace, options: Options | None = None) -> None:
    result = simulate(trace, options)
    json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.parametrize(("file", "position", "label"), FIELDS)
def test_a_number_beyond_all_bounds_is_refused_by_its_place(
    file: File, position: int, label: str, tmp_path: Path
) -> None:
    for text in BEYOND:
        with pytest.raises(TraceError) as caught:
            read(tmp_path, file.lines(position, text), file.is_trace)
        error = caught.value
        assert str(error).startswith(f"{tmp_path / 'file'}:{len(file.before) + 1}: {label} ")
        assert len(error.what) < 300
        assert "\n" not in error.what


@pytest.mark.parametrize(("file", "position", "label"), FIELDS)
def test_a_number_at_the_edge_is_refused_or_harmless(
    file: File, position: int, label: str, tmp_path: Path
) -> None:
    for text in EDGES:
        found = read_or_refuse(tmp_path, file.lines(position, text), file.is_trace)
        if isinstance(found, str):
            assert str(tmp_path / "file") in found
            assert "\n" not in found
        elif sum(group.count for group in found.cluster) <= MANY:
            run(found)


# JSON: snapshots and audit logs.

#: As they stand in JSON, numbers and texts of resources.
IN_JSON = (
    *("1e19", "1e30", "1e308", "1e400", "-1e308", "9" * 5000, "-1", "NaN", "Infinity", "1e-320"),
    *("4611686018427387905", "9223372036854775807", "18446744073709551616", "0.5", "-0.0"),
)


def busy(clock: ManualClock, log: io.StringIO) -> AuditLog:
    """Return an engine, recorded, in whose state and calls there are numbers of each kind."""
    start = Allocator(seed=7, clock=clock, min_allocatable=["cpus:0.5"])
    engine = AuditLog(start, log)
    engine.set_weight("eng", 2.5)
    engine.set_quota("eng", guarantee="cpus:4", limit={"cpus": 16, "mem": 4096})
    engine.add_agent("a1", "cpus:8;mem:64;ports:[1-9];cpus(eng):1", attributes={"rack": "r1"})
    engine.add_agent("a2", {"cpus": 8, "mem": 64}, used={"g": {"q": "cpus:1"}})
    engine.add_framework("f", ["eng/prod", "ops"], min_allocatable={"ops": ["cpus:0.1"]})
    first, second, *_ = engine.allocate()
    engine.decline(first, refuse_seconds=30.0)
    engine.accept(second, "cpus:1", refuse_seconds=30)
    clock.advance(1.5)
    engine.set_unavailability("a1", 10.0, 5.0)
    engine.skip_cycles(3)
    engine.allocate()
    engine.close()
    return engine


def replaced(record: Json, path: tuple[Any, ...], text: str) -> Iterator[str]:
    """Yield JSON with `text` for what stands at a path, and within it if that is text itself."""
    changed = copy.deepcopy(record)
    *above, last = path
    inner = changed
    for key in above:
        inner = inner[key]
    if isinstance(inner[last], str):
        inner[last] = re.sub(r"\d+(\.\d+)?", lambda _: text, inner[last], count=1)
        yield json.dumps(changed)
    inner[last] = "@"
    yield json.dumps(changed).replace('"@"', text)


def numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each number, and of each text that has one."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from numbers(item, (*path, index))
    elif isinstance(value, str):
        if re.search(r":.*\d", value):
            yield path
    elif value is not None and not isinstance(value, bool):
        yield path


SNAPSHOT = busy(ManualClock(5.0), io.StringIO()).snapshot()
LOG = io.StringIO()
busy(ManualClock(5.0), LOG)
RECORDS = [json.loads(line) for line in LOG.getvalue().splitlines()]


def check_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
    """Run a command: it ends, and if it refuses its file it says so in one line."""
    status = cli.main(list(arguments))
    errors = capsys.readouterr().err
    assert status in (0, 1, 2)
    if status == 2:
        assert errors.startswith(f"allocator {arguments[0]}: {arguments[1]}:")
        assert errors.count("\n") == 1
        assert len(errors) < 700
    else:
        assert errors == ""


@pytest.mark.parametrize("path", list(numbers(SNAPSHOT)), ids=lambda path: ".".join(map(str, path)))
def test_a_snapshot(
    path: tuple[Any, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "snapshot"
    for text in IN_JSON:
        for content in replaced(SNAPSHOT, path, text):
            file.write_text(content)
            check_command(capsys, "explain", str(file), "f", "--json")


@pytest.mark.parametrize("number", range(1, len(RECORDS)))
def test_a_record_of_a_log(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log"
    lines = LOG.getvalue().splitlines(keepends=True)
    for path in numbers(RECORDS[number]):
        for text in IN_JSON:
            for record in replaced(RECORDS[number], path, text):
                file.write_text("".join([*lines[:number], record + "\n", *lines[number + 1 :]]))
                check_command(capsys, "replay", str(file))


@pytest.mark.parametrize(
    "value",
    [
        {"$number": "1e999999999"},
        {"$number": "1/0"},
        {"$int": "0x" + "f" * 20_000},
        {"$numpy": ["<U1000000000", ["a"]]},
        {"$numpy": ["O", [1]]},
        {"$numpy": ["<f4", [1e300]]},
        {"$numpy": ["<i1", [1e30]]},
        {"$numpy": ["<i4", [[1], [2]]]},
        {"$float": "1e999"},
    ],
    ids=lambda value: str(value)[:32],
)
def test_numbers_that_only_a_log_can_write(
    value: Json, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "log"
    for number, record in enumerate(RECORDS):
        for path in [("snapshot", "version"), *numbers(record)] if not number else numbers(record):
            content = list(replaced(record, path, json.dumps(value)))[-1]
            lines = LOG.getvalue().splitlines(keepends=True)
            file.write_text("".join([*lines[:number], content + "\n", *lines[number + 1 :]]))
            check_command(capsys, "replay", str(file))
