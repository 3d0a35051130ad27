"""Lab: whole runs of the simulator, each in a process that does nothing else.

`track_` figures are ratios taken within one run, which say as much on a busy machine.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from allocator.sim import Trace, read_trace, simulate
from allocator.sim.scenario import Scenario

from .grid import GRID

#: Where recorded traces are; benchmarks of them are skipped where there are none.
TRACES = Path(os.environ.get("ALLOCATOR_TRACES", "traces"))

#: What each trace is read from, and with which machines.
LOGS: dict[str, tuple[str, dict[str, list[str]]]] = {
    "wagap": ("metacentrum/wagap-2013.swf.gz", {}),
    "HPC2N": ("pwa/HPC2N-2002-2.2-cln.swf.gz", {"machines": ["120xcpus:2;mem:1024"]}),
    "SDSC-BLUE": ("pwa/SDSC-BLUE-2000-4.2-cln.swf.gz", {}),
}


def cpu_s(trace: Trace) -> float:
    """Return how long a run of a trace keeps a processor, in seconds."""
    started = time.process_time()
    simulate(trace)
    return time.process_time() - started


class Million:
    """The shipped scenario `million`: a million tasks on 10 000 machines, made and run."""

    timeout = 3600

    def setup_cache(self) -> dict[str, float]:
        """Run it once, in a smoke test only its first half hour."""
        started = time.perf_counter()
        scenario = Scenario.load("million")
        if GRID == "smoke":
            scenario = scenario.with_(horizon="30m")
        result = simulate(scenario)
        wall_s = time.perf_counter() - started
        assert result.record is not None
        return {
            "events/s": (result.counts.tasks_started + result.record.tasks_ended) / wall_s,
            "wall/engine": wall_s / result.timing.engine_s,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }

    def track_events_per_second(self, found: dict[str, float]) -> float:
        """Tasks started and ended in a second, the making of the workload included."""
        return found["events/s"]

    def track_wall_to_engine(self, found: dict[str, float]) -> float:
        """How many times as long as the engine alone the whole takes."""
        return found["wall/engine"]

    def track_peak_mib(self, found: dict[str, float]) -> float:
        """Return the most memory that the run took, in MiB."""
        return found["peak"]


class Logs:
    """Recorded logs of 200 000 jobs, against one of 18 000, in one run."""

    params = ("HPC2N", "SDSC-BLUE")
    param_names = ("log",)
    timeout = 3600

    def setup(self, log: str) -> None:
        """Read the logs."""
        if GRID == "smoke" or not (TRACES / LOGS[log][0]).exists():
            raise NotImplementedError
        self.traces = {
            name: read_trace(str(TRACES / LOGS[name][0]), **LOGS[name][1])  # type: ignore[arg-type]
            for name in ("wagap", log)
        }

    def track_times_wagap(self, log: str) -> float:
        """How many times as long as wagap-2013 it takes."""
        return cpu_s(self.traces[log]) / cpu_s(self.traces["wagap"])
