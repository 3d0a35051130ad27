"""Trace readers: what they make of each format, what they count, what they refuse."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from allocator.errors import InvalidValue
from allocator.resources import Quantities
from allocator.sim import Job, Shape, Spread, Tasks, TraceError, read_trace
from allocator.sim.readers import (
    FORMATS,
    KINDS_UNKNOWN,
    TRACE_FORMATS,
    csv_dlrm,
    csv_openb,
    csv_philly,
    metacentrum,
    swf,
)
from allocator.sim.readers.lines import SKIPPED
from allocator.sim.readers.workload import NOT_POSITIVE, UNSORTED, role_name

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write lines into a file of the name given, and return its path."""

    def make(*lines: str, name: str = "trace", packed: bool = False) -> str:
        path = tmp_path / name
        data = "".join(f"{line}\n" for line in lines).encode()
        path.write_bytes(gzip.compress(data) if packed else data)
        return str(path)

    return make


def one_task(demand: str, **wishes: object) -> Shape:
    return Shape((Tasks(1, Quantities(demand)),), **wishes)  # type: ignore[arg-type]


# The Standard Workload Format.

SWF_HEADER = ("; Version: 2.2", "; MaxNodes: 3", "; MaxProcs: 8", "; Queue:  1  night run [x]")


def swf_line(**fields: object) -> str:
    """One line of 18 fields; those not named are those of an ordinary job."""
    order = "job submit wait run allocated cpu_s used_kb procs limit memory_kb status user group"
    usual = {"job": 1, "submit": 100, "wait": 5, "run": 60, "allocated": 2, "procs": 4}
    usual |= {"limit": 90, "memory_kb": -1, "status": 1, "user": 7, "group": 1}
    names = [*order.split(), "executable", "queue", "partition", "before", "think"]
    return " ".join(str({**usual, "queue": 1, **fields}.get(name, -1)) for name in names)


def test_swf_job(write: Write) -> None:
    trace = read_trace(write(*SWF_HEADER, swf_line(memory_kb=1024)))
    # MaxMemory is not in the header, so that no machine has memory and none is asked for.
    shape = Shape((Tasks(4, Quantities("cpus:1")),))
    assert trace.jobs == (Job("1", "night_run/user7", 0.0, 60.0, shape, 5.0, 90.0),)
    (job,) = read_trace(write(*SWF_HEADER, swf_line(limit=-1))).jobs
    assert job.requested_s is None
    assert [str(group) for group in trace.cluster] == ["1xcpus:2", "2xcpus:3"]
    assert trace.format == "swf"


def test_swf_with_memory_of_the_machines(write: Write) -> None:
    path = write(swf_line(memory_kb=2048))
    trace = read_trace(path, machines="2xcpus:2;mem:100")
    assert trace.jobs[0].shape.tasks == (Tasks(4, Quantities("cpus:1;mem:2")),)
    assert str(trace.cluster[0]) == "2xcpus:2;mem:100"


def test_swf_without_header_gets_the_processors_of_its_largest_job(write: Write) -> None:
    trace = read_trace(write(swf_line(procs=3), swf_line(procs=9)))
    assert [str(group) for group in trace.cluster] == ["9xcpus:1"]
    assert "largest job" in trace.cluster_source


def test_swf_fields_that_are_unknown(write: Write) -> None:
    lines = [swf_line(procs=-1), swf_line(queue=-1), swf_line(queue=5), swf_line(user=-1)]
    trace = read_trace(write(*lines, swf_line(wait=-1)))
    assert trace.jobs[0].shape.n_tasks == 2  # those allocated
    assert [job.tenant for job in trace.jobs[1:4]] == [
        "user7",
        "queue5/user7",
        "queue1/user_unknown",
    ]
    assert trace.jobs[4].recorded_start_s is None
    assert trace.defects == {swf.NO_MEMORY: 5, swf.NO_WAIT: 1}


def test_swf_defects(write: Write) -> None:
    lines = [
        swf_line(run=0),
        swf_line(run=-1, status=5),
        swf_line(procs=0, allocated=-1),
        swf_line(run=95, limit=90, memory_kb=1),
        swf_line(submit=10, memory_kb=1),
    ]
    trace = read_trace(write(*lines), machines="1xcpus:4;mem:1")
    assert [job.submit_s for job in trace.jobs] == [0, 90]
    assert trace.defects == {
        NOT_POSITIVE: 1,
        swf.CANCELLED: 1,
        swf.NO_PROCS: 1,
        swf.OVER_LIMIT: 1,
        UNSORTED: 1,
    }


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (swf_line() + " 1", "19 fields instead of 18"),
        ("1 2 3", "3 fields instead of 18"),
        (swf_line(run="sixty"), "field 4 'sixty' is not a number"),
        (swf_line(run="nan"), "field 4 'nan' is not finite"),
        (swf_line(procs=1.5), "field 8 '1.5' is not a whole number"),
        (swf_line(submit=-1), "submitted at -1 s: not a time"),
    ],
)
def test_swf_malformed_lines(write: Write, line: str, what: str) -> None:
    path = write(*SWF_HEADER, swf_line(), line, swf_line())
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    assert str(caught.value) == f"{path}:6: {what}"
    assert (caught.value.path, caught.value.line) == (path, 6)
    trace = read_trace(path, lenient=True)
    assert len(trace.jobs) == 2
    assert trace.defects[SKIPPED] == 1


# MetaCentrum.

MACHINES = ("0\tbig\t2\t80\t1\t1048576", "1\tsmall\t3\t12\t1\t524288")


def metacentrum_line(
    nodespec: str, *, run: int = 60, procs: int = 1, memory: int = 2**30, submit: int = 1357000000
) -> str:
    nodes = "{" + ",".join(["1200"] * procs) + "}"
    numbers = f"{procs} 1 1024 {procs} 3600 {memory} 1 62 1 1 -1 1 1 1"
    return f"17 {submit} 30 {run} {numbers} {nodes} q_1d {nodespec}"


def read_metacentrum(write: Write, *lines: str, **options: object) -> list[Job]:
    write(*MACHINES, name="log.swf.machines")
    return list(read_trace(write(*lines, name="log.swf.gz", packed=True), **options).jobs)  # type: ignore[arg-type]


def test_metacentrum_job(write: Write) -> None:
    line = metacentrum_line("2:ppn=8:x86_64", procs=16)
    (job,) = read_metacentrum(write, line)
    shape = Shape((Tasks(2, Quantities("cpus:8;mem:1024")),))
    assert job == Job("17", "q_1d/user62", 0.0, 60.0, shape, 30.0, 3600.0)


@pytest.mark.parametrize(
    ("nodespec", "procs", "tasks"),
    [
        ("2:ppn=8", 16, [(2, 8)]),
        ("2:ppn=8", 99, [(2, 8)]),  # the nodespec is believed
        ("1:ppn=1.5:brno", 1, [(1, 1.5)]),
        ("1:ppn=1+3:ppn=2", 7, [(3, 2), (1, 1)]),
        ("2", 6, [(2, 3)]),
        ("2:infiniband", 2, [(2, 1)]),
        ("zewura19.cerit-sc.cz:ppn=12:brno", 12, [(1, 12)]),
        ("1:^a.cz:^b.cz:ppn=24", 24, [(1, 24)]),
    ],
)
def test_metacentrum_nodespecs(
    write: Write, nodespec: str, procs: int, tasks: list[tuple[int, float]]
) -> None:
    (job,) = read_metacentrum(write, metacentrum_line(nodespec, procs=procs))
    assert job.shape.tasks == tuple(
        Tasks(n, Quantities({"cpus": cores, "mem": 1024})) for n, cores in tasks
    )


def test_metacentrum_clusters_are_kinds_of_machine(write: Write) -> None:
    line = metacentrum_line("1:ppn=4:cl_big#excl", procs=4)
    assert read_metacentrum(write, line)[0].shape.kinds == {"big"}
    path = write(line, name="other.swf")
    trace = read_trace(path, machines="4xcpus:8;mem:4096")
    assert trace.jobs[0].shape.kinds == set()
    assert trace.defects == {metacentrum.EXCLUSIVE: 1, KINDS_UNKNOWN: 1}


def test_metacentrum_defects(write: Write) -> None:
    write(*MACHINES, name="log.swf.machines")
    lines = [
        metacentrum_line("1:ppn=1", run=-1359980917),
        metacentrum_line("1", run=4000),
        metacentrum_line("1:ppn=2:brno"),
        metacentrum_line("1:ppn=1", memory=0),
    ]
    trace = read_trace(write(*lines, name="log.swf"))
    assert len(trace.jobs) == 3
    assert trace.defects == {
        NOT_POSITIVE: 1,
        metacentrum.INCOMPLETE: 1,
        swf.OVER_LIMIT: 1,
        metacentrum.MISMATCH: 1,
        metacentrum.OTHER_PROPERTY: 1,
        swf.NO_MEMORY: 1,
    }


def test_metacentrum_machines(write: Write) -> None:
    write(*MACHINES, name="log.swf.machines")
    trace = read_trace(write(metacentrum_line("1:ppn=1"), name="log.swf"))
    groups = [str(group) for group in trace.cluster]
    assert groups == ["2xcpus:80;mem:1024@big", "3xcpus:12;mem:512@small"]


def test_metacentrum_without_machines_file(write: Write) -> None:
    path = write(metacentrum_line("1:ppn=1"), name="log.swf")
    with pytest.raises(TraceError, match=r"log\.swf\.machines: missing machines file"):
        read_trace(path)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("0\tbig\t2\t80\t1", "5 fields instead of 6"),
        ("0\tbig\t0\t80\t1\t1024", "a cluster has nodes with cores"),
        ("0\tbig\ttwo\t80\t1\t1024", "nodes 'two' is not a number"),
    ],
)
def test_metacentrum_malformed_machines(write: Write, line: str, what: str) -> None:
    path = write(metacentrum_line("1:ppn=1"), name="log.swf")
    machines = write(MACHINES[0], line, name="m")
    with pytest.raises(TraceError) as caught:
        read_trace(path, machines=machines)
    assert str(caught.value).startswith(f"{machines}:2: {what}")
    trace = read_trace(path, machines=machines, lenient=True)
    assert trace.defects == {SKIPPED: 1}


# openb.

PODS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,"
    "creation_time,deletion_time,scheduled_time"
)
NODES = ("sn,cpu_milli,memory_mib,gpu,model", "n0,96000,1024,8,T4", "n1,96000,1024,8,T4")


@pytest.mark.parametrize(
    ("values", "demand", "kinds"),
    [
        ("12000,16384,1,460,,LS", "cpus:12;mem:16384;gpus:0.46", set()),
        ("12000,16384,1,1000,T4|P100,LS", "cpus:12;mem:16384;gpus:1", {"T4", "P100"}),
        ("500,64,8,1000,,LS", "cpus:0.5;mem:64;gpus:8", set()),
        ("500,64,0,0,,LS", "cpus:0.5;mem:64", set()),
    ],
)
def test_openb_pods(write: Write, values: str, demand: str, kinds: set[str]) -> None:
    nodes = write(*NODES, name="nodes")
    trace = read_trace(write(PODS, f"p0,{values},Running,10,100,40"), machines=nodes)
    shape = one_task(demand, kinds=frozenset(kinds))
    assert trace.jobs == (Job("p0", "LS", 0.0, 60.0, shape, 30.0),)
    assert [str(group) for group in trace.cluster] == ["2xcpus:96;gpus:8;mem:1024@T4"]


def test_openb_defects(write: Write) -> None:
    lines = [
        "p0,1000,1,0,0,,LS,Pending,5,100,",
        "p1,1000,1,2,500,,BE,Running,5,100,50",
        "p2,1000,1,0,7,,BE,Running,5,50,50",
    ]
    trace = read_trace(write(PODS, *lines))
    assert [job.id for job in trace.jobs] == ["p1"]
    assert trace.defects == {
        csv_openb.NEVER_SCHEDULED: 1,
        csv_openb.PARTIAL_GPU: 2,
        NOT_POSITIVE: 1,
    }
    assert sum(group.count for group in trace.cluster) == 15
    assert "1 %" in trace.cluster_source


def test_openb_pods_without_times_stay(write: Write) -> None:
    trace = read_trace(write("name,cpu_milli,memory_mib,num_gpu,gpu_milli", "p0,1,1,0,0"))
    assert trace.jobs == (Job("p0", "pods", 0.0, math.inf, one_task("cpus:0.001;mem:1")),)
    assert trace.notes == (csv_openb.NO_TIMES,)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("p0,1000,1,0,0,,LS,Running,50,100", "10 values instead of 11"),
        ("p0,1000,1,0,0,,LS,Running,50,100,40", "scheduled at 40 s, before its creation at 50 s"),
        ("p0,-1,1,0,0,,LS,Running,50,100,60", "cpu_milli is not negative"),
        ("p0,0,0,0,0,,LS,Running,50,100,60", "asks for nothing"),
        ("p0,1,1,-1,0,,LS,Running,50,100,60", "num_gpu and gpu_milli are not negative"),
        ('p0,"1,1,0,0,,LS,Running,50,100,60', "unexpected end of data"),
    ],
)
def test_openb_malformed_rows(write: Write, line: str, what: str) -> None:
    good = "p1,1000,1,0,0,,LS,Running,50,100,60"
    path = write(PODS, good, line, good)
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    assert str(caught.value) == f"{path}:3: {what}"
    trace = read_trace(path, lenient=True)
    assert len(trace.jobs) == 2
    assert trace.defects[SKIPPED] == 1


# DLRM.

DLRM = (
    "instance_sn,role,app_name,cpu_request,cpu_limit,gpu_request,gpu_limit,rdma_request,"
    "rdma_limit,memory_request,memory_limit,disk_request,disk_limit,max_instance_per_node,"
    "creation_time,scheduled_time,deletion_time"
)


def dlrm_line(times: str, *, spread: int = -1, role: str = "HN") -> str:
    return f"i,{role},app_3,12,24,1,1,25,50,1.5,3,2.0,9,{spread},{times}"


def test_dlrm_instances(write: Write) -> None:
    lines = [
        dlrm_line("100.0,130.0,190.0", spread=8),
        dlrm_line(",,50.0"),
        dlrm_line(",,"),
        dlrm_line("60.0,,90.0", role="CN"),
        dlrm_line("60.0,60.0,60.0"),
    ]
    trace = read_trace(write(DLRM, *lines))
    demand = "cpus:12;gpus:1;rdma:25;mem:1536;disk:2048"
    plain = one_task(demand)
    spread = one_task(demand, spread=Spread("HN", 8))
    assert trace.jobs == (
        Job("i", "app_3", 0.0, 50.0, plain, 0.0),
        Job("i", "app_3", 0.0, math.inf, plain, 0.0),
        Job("i", "app_3", 60.0, 30.0, plain, None),
        Job("i", "app_3", 100.0, 60.0, spread, 130.0),
    )
    assert trace.end_s == 190.0
    assert trace.defects == {
        csv_dlrm.EXISTED: 2,
        csv_dlrm.OUTLIVES: 1,
        csv_dlrm.NO_START: 1,
        NOT_POSITIVE: 1,
        UNSORTED: 1,
    }


def test_dlrm_default_cluster_is_below_the_peak(write: Write) -> None:
    trace = read_trace(write(DLRM, *[dlrm_line("0.0,0.0,9.0")] * 40))
    # 90 % of 40 GPUs are four nodes of 8, each with a fourth of 90 % of the peak of the rest.
    assert [str(group) for group in trace.cluster] == [
        "4xcpus:108;disk:18432;gpus:8;mem:13824;rdma:225"
    ]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (dlrm_line("5.0,4.0,9.0"), "scheduled at 4 s, before its creation at 5 s"),
        (dlrm_line("-5.0,4.0,9.0"), "creation_time '-5.0' is negative"),
        (dlrm_line(",,", spread=0), "max_instance_per_node 0 is neither -1 nor positive"),
    ],
)
def test_dlrm_malformed_rows(write: Write, line: str, what: str) -> None:
    path = write(DLRM, line)
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    assert str(caught.value) == f"{path}:2: {what}"


# Philly.

PHILLY = "timestamp,duration,num_gpus,gpu_time,cluster"


def test_philly_jobs(write: Write) -> None:
    lines = [
        "2017-10-09 07:01:55,66.0,1,66.0,vc1",
        "2017-10-09 07:01:45,10.0,20,200.0,vc2",
        "2017-10-09 07:01:55,66.0,1,66.0,vc1",
        "2017-10-09 07:01:55,0.0,1,1.0,vc1",
    ]
    machines = write("machineId, number of GPUs, single GPU mem", "m0,2, 12GB", "m1,8, 24GB")
    trace = read_trace(write(PHILLY, *lines, name="philly"), machines=machines)
    split = Shape((Tasks(2, Quantities("gpus:8")), Tasks(1, Quantities("gpus:4"))))
    assert trace.jobs == (
        Job("line 3", "vc2", 0.0, 10.0, split),
        Job("line 2", "vc1", 10.0, 66.0, one_task("gpus:1")),
    )
    assert [str(group) for group in trace.cluster] == ["1xgpus:2@12GB", "1xgpus:8@24GB"]
    assert trace.defects == {
        csv_philly.DUPLICATE: 1,
        csv_philly.GPU_TIME: 1,
        NOT_POSITIVE: 1,
        UNSORTED: 1,
    }


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("yesterday,66.0,1,66.0,vc1", "timestamp 'yesterday' is not like 2017-10-09 07:01:55"),
        ("2017-10-09 07:01:55,66.0,0,0,vc1", "num_gpus 0 is not positive"),
    ],
)
def test_philly_malformed_rows(write: Write, line: str, what: str) -> None:
    path = write(PHILLY, line)
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    assert str(caught.value) == f"{path}:2: {what}"


# Files.


def test_a_missing_file() -> None:
    with pytest.raises(TraceError, match="nowhere: no such file"):
        read_trace("nowhere")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="Is a directory"):
        read_trace(str(tmp_path))


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ((), "the file is empty"),
        (("", "  "), "the file has only blank lines"),
        (("", '{"job": 1}'), ":2: unknown format: not one of swf, metacentrum"),
        (NODES, ":1: a list of machines, not a trace: pass it with --machines"),
        ((MACHINES[0],), ":1: a list of machines, not a trace: pass it with --machines"),
        ((PODS,), "no job in it can be run"),
    ],
)
def test_files_that_are_no_trace(write: Write, lines: tuple[str, ...], what: str) -> None:
    with pytest.raises(TraceError) as caught:
        read_trace(write(*lines))
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_machines(write: Write) -> None:
    trace = write(swf_line())
    with pytest.raises(TraceError, match=":1: not a machines file of a known form"):
        read_trace(trace, machines=trace)
    with pytest.raises(TraceError, match="no machine in it"):
        read_trace(trace, machines=write(NODES[0], name="nodes"))


def test_the_format_can_be_said(write: Write) -> None:
    path = write(PHILLY, "2017-10-09 07:01:55,66.0,1,66.0,vc1")
    assert read_trace(path, format="philly") == read_trace(path)
    with pytest.raises(TraceError, match=r":1: no column 'name' in header"):
        read_trace(path, format="openb")
    with pytest.raises(InvalidValue, match="format 'csv': not one of swf, metacentrum"):
        read_trace(path, format="csv")


def test_gzip_is_told_by_content(write: Write) -> None:
    plain = read_trace(write(swf_line(), name="log"))
    packed = read_trace(write(swf_line(), name="log", packed=True))
    assert packed == plain


def test_a_truncated_gzip(tmp_path: Path) -> None:
    lines = [swf_line(job=i, submit=i * i, run=1 + i * 7919 % 9973) for i in range(3000)]
    data = gzip.compress("\n".join(lines).encode())
    path = tmp_path / "log"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(TraceError) as caught:
        read_trace(str(path))
    line = caught.value.line
    assert line is not None
    assert str(caught.value) == (
        f"{path}:{line}: truncated gzip: the file ends in the middle of its data"
    )
    trace = read_trace(str(path), lenient=True)
    assert len(trace.jobs) == line - 1
    assert trace.defects[SKIPPED] == 1


def test_a_broken_gzip(tmp_path: Path) -> None:
    data = bytearray(gzip.compress("\n".join([swf_line()] * 3).encode()))
    data[-6] ^= 0xFF  # in the checksum
    path = tmp_path / "log"
    path.write_bytes(data)
    with pytest.raises(TraceError, match="broken gzip: CRC check failed"):
        read_trace(str(path))


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(f"{swf_line()}\n".encode() + b"; \xff\n" + f"{swf_line()}\n".encode())
    with pytest.raises(TraceError, match=":2: not UTF-8 text"):
        read_trace(str(path))
    assert len(read_trace(str(path), lenient=True).jobs) == 2


@pytest.mark.parametrize(
    ("text", "name"),
    [("web", "web"), ("a b/c", "a_b_c"), ("", "_"), ("..", "_"), ("*", "_"), ("-x", "_x")],
)
def test_names_of_tenants_are_names_of_roles(text: str, name: str) -> None:
    assert role_name(text) == name


# What the Standard Workload Format allows besides.


def test_swf_partial_executions_beside_the_whole_job(write: Write) -> None:
    lines = [
        swf_line(job=1, run=90),
        swf_line(job=1, run=60, status=2),
        swf_line(job=1, submit=-1, wait=30, run=30, status=3),
        swf_line(job=2, submit=200, status=2),  # comes before its whole line here
        swf_line(job=2, submit=200, status=0),
        swf_line(job=3, submit=300, run=0, status=5),
        swf_line(job=3, submit=-1, run=40, status=4),
    ]
    trace = read_trace(write(*SWF_HEADER, *lines))
    assert [(job.id, job.submit_s, job.run_s) for job in trace.jobs] == [
        ("1", 0, 90),
        ("2", 100, 60),
    ]
    assert trace.defects[swf.PARTIAL] == 4
    assert trace.defects[swf.CANCELLED] == 1
    assert swf.JOINED not in trace.defects
    assert UNSORTED not in trace.defects


def test_swf_partial_executions_alone_are_one_job(write: Write) -> None:
    lines = [
        swf_line(job=7, submit=100, wait=5, run=60, limit=80, status=2),
        swf_line(job=8, submit=150),
        swf_line(job=7, submit=-1, wait=20, run=-1, status=2),
        swf_line(job=7, submit=-1, wait=30, run=30, status=3),
    ]
    trace = read_trace(write(*SWF_HEADER, *lines))
    assert [job.id for job in trace.jobs] == ["7", "8"]  # in its first line's place
    first = trace.jobs[0]
    assert (first.submit_s, first.run_s, first.recorded_start_s) == (0, 90, 5)
    assert trace.defects == {swf.JOINED: 3, swf.NO_MEMORY: 2, swf.OVER_LIMIT: 1}


def test_swf_partial_executions_whose_first_has_no_submission(write: Write) -> None:
    lines = [swf_line(job=7, submit=-1, status=2), swf_line(job=7, status=3), swf_line(job=8)]
    path = write(*SWF_HEADER, *lines)
    with pytest.raises(TraceError, match=":5: submitted at -1 s: not a time"):
        read_trace(path)
    trace = read_trace(path, lenient=True)
    assert [job.id for job in trace.jobs] == ["8"]
    assert trace.defects[SKIPPED] == 1


@pytest.mark.parametrize(
    ("value", "procs"),
    [
        *(("1152", 1152), ("1,152", 1152), ("1,152,000", 1152000), ("1152 (144 x 8)", 1152)),
        *(("1152.", 1152), ("-1", None), ("0", None), ("", None), ("unknown", None)),
    ],
)
def test_swf_processors_in_the_header(write: Write, value: str, procs: int | None) -> None:
    path = write("; MaxNodes: 2", f"; MaxProcs: {value}", swf_line())
    groups = read_trace(path).cluster
    assert sum(g.count * g.resources.milli["cpus"] for g in groups) == (procs or 2) * 1000


@pytest.mark.parametrize(
    "value", ["1.152", "1,15", "1 152", "64K", "1'152", "-5", "9" * 400, "about 1152"]
)
def test_swf_processors_that_cannot_be_read(write: Write, value: str) -> None:
    path = write("; MaxNodes: 2", f"; MaxProcs: {value}", swf_line())
    with pytest.raises(TraceError, match=r":2: MaxProcs ['\"].*cannot be read as a whole number$"):
        read_trace(path)
    assert read_trace(path, machines="1xcpus:4").cluster_source == "1xcpus:4"
    trace = read_trace(path, lenient=True)
    assert str(trace.cluster[0]) == "2xcpus:1"
    assert trace.defects[SKIPPED] == 1


def test_clusters_that_are_too_large_say_why(write: Write) -> None:
    path = write(swf_line(), swf_line(job=5, procs=2_000_000))
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    assert str(caught.value) == (
        f"{path}: no MaxProcs or MaxNodes in the header, and job '5' asks for 2000000 processors"
        " (--machines says what there is)"
    )
    path = write("; MaxNodes: 2000000", swf_line())
    with pytest.raises(TraceError, match=r"MaxNodes 2000000, .*: 2000000 machines, more than"):
        read_trace(path)
    groups = ["900000xcpus:1", "900000xcpus:2"]
    with pytest.raises(InvalidValue, match=r"^900000xcpus:1, 900000xcpus:2: 1800000 machines"):
        read_trace(path, machines=groups)
    with pytest.raises(
        InvalidValue, match=r"^900000xcpus:9223372036854: 83.* cpus in all are over"
    ):
        read_trace(path, machines="900000xcpus:9223372036854")
    with pytest.raises(InvalidValue, match=r"^scale 3: 2700000 machines, more than 1000000"):
        read_trace(path, machines="900000xcpus:1", scale=3)


# Formats.


def test_every_format_is_a_record_of_its_own() -> None:
    assert tuple(FORMATS) == TRACE_FORMATS
    described = (Path(__file__).parents[2] / "docs" / "simulate.md").read_text("utf-8")
    for name, form in FORMATS.items():
        assert (form.name, bool(form.help)) == (name, True)
        assert f"| `{name}` |" in described


@pytest.mark.parametrize(
    "line",
    ["; Version: 2", swf_line(), metacentrum_line("1"), PODS, DLRM, PHILLY, NODES[0], MACHINES[0]],
)
def test_a_first_line_tells_one_format_at_most(line: str) -> None:
    lists = [form.machines for form in FORMATS.values() if form.machines is not None]
    assert sum(form.told(line) for form in [*FORMATS.values(), *lists]) == 1


def test_a_first_line_that_no_csv_reader_takes(write: Write) -> None:
    with pytest.raises(TraceError, match=":1: unknown format"):
        read_trace(write("a" * 200_000 + ",b"))
