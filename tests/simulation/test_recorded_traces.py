"""The recorded traces, read in full where they are at hand; counts as their README has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from allocator.sim import Options, Trace, read_trace, recorded, simulate
from allocator.sim.readers import csv_dlrm, csv_openb, csv_philly, metacentrum, swf
from allocator.sim.readers.workload import NOT_POSITIVE

TRACES = Path(os.environ.get("ALLOCATOR_TRACES", Path(__file__).parents[3] / "shared" / "traces"))

pytestmark = pytest.mark.skipif(
    not TRACES.is_dir(), reason=f"no recorded traces in {TRACES} (ALLOCATOR_TRACES names a folder)"
)


def read(name: str, **options: object) -> Trace:
    path = TRACES / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return read_trace(str(path), **options)  # type: ignore[arg-type]


def test_wagap() -> None:
    trace = read("metacentrum/wagap-2013.swf.gz")
    assert len(trace.jobs) == 17_900 - 2
    assert trace.defects[NOT_POSITIVE] == 2
    assert trace.defects[metacentrum.INCOMPLETE] == 28
    assert 0.001 < trace.defects[metacentrum.MISMATCH] / 17_900 < 0.003
    assert sum(group.count for group in trace.cluster) == 68
    assert len({tenant.rpartition("/")[2] for tenant in trace.tenants}) == 75
    assert len({tenant.partition("/")[0] for tenant in trace.tenants}) == 11
    then = recorded(trace)
    assert then is not None
    assert (then.use["cpus"].total, then.use["cpus"].peak) == (2176, 1531)
    assert then.use["mem"].peak / 2**20 == pytest.approx(7.9, abs=0.05)
    assert then.use["cpus"].mean_arrivals == pytest.approx(0.534, abs=0.001)


def test_hpc2n() -> None:
    trace = read("pwa/HPC2N-2002-2.2-cln.swf.gz", machines="120xcpus:2;mem:1024")
    assert (len(trace.jobs), len(trace.tenants)) == (202_871, 257)
    assert 1 - trace.defects[swf.NO_MEMORY] / 202_871 == pytest.approx(0.864, abs=0.001)


def test_sdsc_blue() -> None:
    trace = read("pwa/SDSC-BLUE-2000-4.2-cln.swf.gz")
    assert trace.defects[swf.CANCELLED] == 10_764
    assert len(trace.jobs) + trace.defects[swf.CANCELLED] + trace.defects[NOT_POSITIVE] == 243_306
    assert [str(group) for group in trace.cluster] == ["144xcpus:8"]
    assert "low/user95" in trace.tenants


def test_openb() -> None:
    nodes = str(TRACES / "openb/openb_node_list_all_node.csv.gz")
    trace = read("openb/openb_pod_list_default.csv.gz", machines=nodes)
    assert len(trace.jobs) == 8_152 - 897
    assert trace.defects == {csv_openb.NEVER_SCHEDULED: 897}
    then = recorded(trace)
    assert then is not None
    totals = {name: use.total for name, use in then.use.items()}
    assert totals == {"cpus": 125_514, "mem": 612_028_416, "gpus": 6_212}
    assert then.use["gpus"].peak / 6_212 == pytest.approx(0.01, abs=0.001)


def test_dlrm() -> None:
    trace = read("dlrm2025/disaggregated_DLRM_trace.csv.gz")
    assert len(trace.jobs) + trace.defects[NOT_POSITIVE] == 23_871
    assert len(trace.tenants) == 156
    assert trace.defects[csv_dlrm.EXISTED] == 7_280
    assert trace.defects[csv_dlrm.OUTLIVES] == 8_878
    assert trace.end_s is not None
    assert trace.end_s / 86_400 == pytest.approx(31, abs=0.1)
    then = recorded(trace)
    assert then is not None
    peaks = {"cpus": 422_420, "gpus": 3_414, "mem": 2.16e6 * 1024, "rdma": 163_442}
    for name, peak in peaks.items():
        assert then.use[name].peak == pytest.approx(peak, rel=0.01)


def test_philly() -> None:
    machines = str(TRACES / "philly/cluster_machine_list")
    trace = read("philly/philly.csv.gz", machines=machines)
    assert len(trace.jobs) == 82_247 - 65
    assert trace.defects[csv_philly.DUPLICATE] == 65
    assert len(trace.tenants) == 15
    assert {str(group) for group in trace.cluster} == {"321xgpus:2@12GB", "231xgpus:8@24GB"}


def test_the_first_days_of_wagap() -> None:
    result = simulate(read("metacentrum/wagap-2013.swf.gz"), Options(horizon_s=3 * 86_400))
    counts = result.counts
    assert counts.submitted == counts.finished + counts.running + counts.waiting > 100
    assert result.cycles.cycles_skipped > 100 * result.cycles.cycles_run
