"""Numbers beyond what an engine can hold, in every numeric field of every file that is read.

Each is refused in one line with the file and the place, or is harmless where it stands: then the
whole run that follows must end. Never another exception, never a hang.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from allocator.errors import InvalidValue
from allocator.sim import Options, Trace, TraceError, read_trace, simulate
from tests.unit.test_traces import DLRM, NODES, PHILLY, PODS, SWF_HEADER

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
