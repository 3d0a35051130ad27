"""Simulating the allocator on recorded and built-in workloads."""

from allocator.sim.cluster import Machine, MachineGroup
from allocator.sim.errors import TraceError
from allocator.sim.readers import TRACE_FORMATS, read_machines, read_trace
from allocator.sim.recorded import Recorded, Use, recorded
from allocator.sim.result import (
    Counts,
    CycleCounts,
    RecordedResult,
    Result,
    RoleResult,
    Timing,
    Waits,
)
from allocator.sim.scenario import Problem, Scenario, ScenarioError
from allocator.sim.simulator import Options, simulate
from allocator.sim.sweeps import Sweep, sweep
from allocator.sim.trace import Job, Shape, Spread, Tasks, Tenant, Trace
from allocator.sim.workloads import WORKLOADS, mesos_workload, workload

__all__ = [
    "TRACE_FORMATS",
    "WORKLOADS",
    "Counts",
    "CycleCounts",
    "Job",
    "Machine",
    "MachineGroup",
    "Options",
    "Problem",
    "Recorded",
    "RecordedResult",
    "Result",
    "RoleResult",
    "Scenario",
    "ScenarioError",
    "Shape",
    "Spread",
    "Sweep",
    "Tasks",
    "Tenant",
    "Timing",
    "Trace",
    "TraceError",
    "Use",
    "Waits",
    "mesos_workload",
    "read_machines",
    "read_trace",
    "recorded",
    "simulate",
    "sweep",
    "workload",
]
