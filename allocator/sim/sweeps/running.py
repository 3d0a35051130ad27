"""One run of a sweep, wherever it is made: from a scenario to the text of its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from allocator.sim.scenario import Scenario
from allocator.sim.simulator import simulate
from allocator.sim.sweeps.grid import Point


class Outcome(NamedTuple):
    """What became of a run: the JSON of its result, or what went wrong."""

    text: str | None
    error: str | None


def run_point(scenario: Scenario, point: Point, attempt: int = 0) -> Outcome:
    """Make one run; whatever goes wrong in it is its outcome, not an error.

    The result is without `timing`, the only part of it that is not the same wherever it is made.
    `attempt` changes nothing: it tells calls apart for executors that take equal ones for one.
    """
    try:
        result = simulate(point.of(scenario)).to_json()
    except Exception as error:
        what = " ".join(str(error).split()) or "no message"
        return Outcome(None, f"{type(error).__name__}: {what}")
    result.pop("timing", None)
    return Outcome(json.dumps(result, allow_nan=False), None)


def measures_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a sweep's frame that a result fills. O(roles + names)."""
    counts, waits, fairness = result["counts"], result["waits"], result.get("fairness") or {}
    return {
        "end_s": result["end_s"],
        "finished": counts["finished"],
        "waiting": counts["waiting"],
        "wait_p50_s": waits["p50_s"],
        "wait_p95_s": waits["p95_s"],
        **{f"use.{name}": use["mean_run"] for name, use in result["use"].items()},
        "deviation_mean": (fairness.get("all") or {}).get("mean"),
        "jain": fairness.get("jain"),
        **{f"share.{role['role']}": role["share_run"] for role in result["roles"]},
    }
