"""Running a sweep: what is not there yet is handed out, and comes back in any order."""

from __future__ import annotations

import json
import os
import queue
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from allocator.sim.frames import pandas
from allocator.sim.scenario import Problem, Scenario, ScenarioError
from allocator.sim.sweeps.grid import Point, points_of, run_id
from allocator.sim.sweeps.running import Outcome, measures_of, run_point
from allocator.sim.sweeps.store import DONE, FAILED, Row, Store
from allocator.sim.sweeps.workers import Workers

if TYPE_CHECKING:
    import pandas as pd

#: A run whose worker was lost is handed out so many times more.
RETRIES = 3

#: So many runs are handed out at a time: to each worker of its own, and to another's executor.
_AHEAD = 2
_AHEAD_ELSEWHERE = 256

#: Called with the number of runs that are done and of all, after each.
Progress: TypeAlias = Callable[[int, int], None]


class Executor(Protocol):
    """Anything with `submit`, such as those of `concurrent.futures`, or Dask's client."""

    def submit(self, call: Callable[..., Any], /, *args: Any) -> Any:
        """Return a future with `result()` and `add_done_callback`."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a sweep.

    Parameters
    ----------
    id : str
        A hash of all that its result depends on.
    point : mapping
        Grid key -> value.
    repeat : int
    seed : int or str
        The scenario's seed of this run.
    status : str
        `done` or `failed`.
    error : str or None
        What went wrong.
    file : str or None
        Its result's JSON, relative to the sweep's folder; None without one.
    measures : mapping
        The columns of `Sweep.frame` that its result fills.
    """

    id: str
    point: Mapping[str, Any]
    repeat: int
    seed: int | str
    status: str
    error: str | None
    file: str | None
    measures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep found.

    Parameters
    ----------
    keys : tuple of str
        The grid's keys.
    runs : tuple of Run
        Point by point, the last key fastest, then by repeat.
    """

    keys: tuple[str, ...]
    runs: tuple[Run, ...]

    @property
    def n_failed(self) -> int:
        """How many runs failed. O(runs)."""
        return sum(run.status == FAILED for run in self.runs)

    def frame(self) -> pd.DataFrame:
        """Return a row for each run (needs pandas): the grid's keys, then what came of it.

        `use.NAME` and `share.ROLE` are averages over the run, as parts of what is up. O(size).
        """
        rows = [
            {
                **run.point,
                "seed": run.seed,
                "repeat": run.repeat,
                "status": run.status,
                "error": run.error,
                **run.measures,
            }
            for run in self.runs
        ]
        frame: pd.DataFrame = pandas().DataFrame(rows)
        return frame


def sweep(
    scenario: Scenario,
    grid: Mapping[str, Sequence[Any]],
    *,
    repeat: int = 1,
    out: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> Sweep:
    """Run a scenario at every point of a grid, several times each.

    Parameters
    ----------
    scenario : Scenario
    grid : mapping
        Dotted key -> values; every combination is a point.
    repeat : int
        How often each point is run, on seeds that are the same at every point: `seed + k`, or
        `SEED/k` where the seed is text.
    out : path, optional
        A folder that keeps what is found: `index.sqlite` and `runs/ID.json`. What is there already
        is not run again.
    executor : optional
        Where to run: anything with `submit`; by default processes of its own.
    workers : int, optional
        How many processes; by default one for each processor.
    retry_failed : bool
        Run again what is there as failed.
    progress : callable, optional
        Called with the number of runs that are done and of all.

    Returns
    -------
    Sweep
        The same wherever the runs were made.

    Raises
    ------
    ScenarioError
        If any point is no scenario that can be run; nothing has run then.
    InvalidValue
        If the grid has no value for a key, or one twice, or `out` is a folder of something else.
    KeyboardInterrupt
        After what is done has been kept.
    """
    points = _planned(scenario, grid, repeat)
    with ExitStack() as stack:
        store = None
        if out is not None:
            store = Store(out)
            stack.callback(store.close)
        state = _State(scenario, store, len(points), progress)
        left = [(id, p) for id, p in points if not state.knows(id, retry_failed)]
        if left and executor is None:
            n_workers = min(workers or len(os.sched_getaffinity(0)), len(left))
            own = Workers(n_workers)
            stack.callback(own.close)
            state.run(left, own, n_workers * _AHEAD)
        elif left and executor is not None:
            state.run(left, executor, _AHEAD_ELSEWHERE)
        return Sweep(tuple(grid), tuple(state.found(id, p) for id, p in points))


def _planned(
    scenario: Scenario, grid: Mapping[str, Sequence[Any]], repeat: int
) -> list[tuple[str, Point]]:
    """Return id and point of each run; raise what is wrong with any of them, each problem once."""
    planned: list[tuple[str, Point]] = []
    problems: dict[Problem, None] = {}
    depends: object = None
    for point in points_of(scenario, grid, repeat):
        if point.repeat == 0:
            try:
                depends = point.of(scenario).depends_on()
            except ScenarioError as error:
                problems.update(dict.fromkeys(error.problems))
        planned.append((run_id(depends, point), point))
    if problems:
        raise ScenarioError(problems)
    return planned


class _State:
    """What is known of the runs of a sweep, and what is out."""

    def __init__(
        self, scenario: Scenario, store: Store | None, n_runs: int, progress: Progress | None
    ) -> None:
        self._scenario = scenario
        self._store = store
        self._n_runs = n_runs
        self._progress = progress
        self._rows: dict[str, Row] = {}
        self._measures: dict[str, Mapping[str, Any]] = {}

    def knows(self, id: str, retry_failed: bool) -> bool:
        """Tell whether a run is there already, and take it over."""
        row = None if self._store is None else self._store.row(id)
        if row is None or (row.status == FAILED and retry_failed):
            return False
        if row.status == DONE and self._store is not None:
            self._measures[id] = measures_of(self._store.result(row))
        self._rows[id] = row
        return True

    def run(self, left: Sequence[tuple[str, Point]], executor: Executor, ahead: int) -> None:
        """Hand out runs, no more than so many at a time, and keep what comes back."""
        waiting = list(reversed(left))
        lost: dict[str, int] = {}
        out: dict[str, tuple[Point, Any]] = {}
        back: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._tell()
        try:
            while waiting or out:
                while waiting and len(out) < ahead:
                    id, point = waiting.pop()
                    attempt = lost.get(id, 0)
                    future = executor.submit(run_point, self._scenario, point, attempt)
                    out[id] = (point, future)
                    future.add_done_callback(lambda _, id=id: back.put(id))
                id = back.get()
                point, future = out.pop(id)
                outcome = _outcome(future, retry=lost.get(id, 0) < RETRIES)
                if outcome is None:
                    lost[id] = lost.get(id, 0) + 1
                    waiting.append((id, point))
                else:
                    self._keep(id, point, outcome)
        finally:
            for _, future in out.values():
                future.cancel()

    def _keep(self, id: str, point: Point, outcome: Outcome) -> None:
        if self._store is not None:
            self._rows[id] = self._store.add(id, point, outcome)
        else:
            status = DONE if outcome.error is None else FAILED
            self._rows[id] = Row(id, status, outcome.error, None)
        if outcome.text is not None:
            self._measures[id] = measures_of(json.loads(outcome.text))
        self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(len(self._rows), self._n_runs)

    def found(self, id: str, point: Point) -> Run:
        """Return what became of a run."""
        row = self._rows[id]
        measures = self._measures.get(id, {})
        return Run(
            id,
            dict(point.changes),
            point.repeat,
            point.seed,
            row.status,
            row.error,
            row.file,
            measures,
        )


def _outcome(future: Any, *, retry: bool) -> Outcome | None:
    """Return what a run came to; None if its worker was lost and it is to be tried again.

    A run answers for itself: what its future raises befell the worker.
    """
    try:
        outcome: Outcome = future.result()
    except Exception as error:
        if retry:
            return None
        return Outcome(None, f"the worker was lost {RETRIES + 1} times: {error}")
    return outcome
