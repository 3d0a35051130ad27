"""What changes would do to a scenario: the same work twice, on one seed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from allocator.errors import InvalidValue
from allocator.sim.changes import Change
from allocator.sim.result import Result
from allocator.sim.scenario import Scenario
from allocator.sim.simulator import simulate

Json: TypeAlias = dict[str, Any]

#: Called now and then with the part of both runs that is done, from 0 to 1, and the simulated time.
Progress: TypeAlias = Callable[[float, float], None]

#: What is compared of a role: key → its value in `Result.to_json`.
FIGURES: Mapping[str, Callable[[Json], float | None]] = {
    "share": lambda role: role["share_run"],
    "wait_p50_s": lambda role: role["waits"]["p50_s"],
    "wait_p95_s": lambda role: role["waits"]["p95_s"],
    "tasks": lambda role: role["counts"]["tasks_started"],
    "quota_met": lambda role: quota_met(role),
}


def quota_met(role: Json) -> float | None:
    """Return the part of the time in which a role's guarantee was met, of its worst resource."""
    guarantee = (role.get("quota") or {}).get("guarantee") or {}
    return min((each["met"] for each in guarantee.values()), default=None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The results of a scenario without changes and with them."""

    before: Result
    after: Result

    def roles(self) -> dict[str, tuple[Json, Json]]:
        """Return role → figures before and after; those that a run does not have are None."""
        runs = [
            {role["role"]: role for role in run.to_json()["roles"]}
            for run in (self.before, self.after)
        ]
        return {
            path: tuple(  # type: ignore[misc]  # of two
                {name: of(run[path]) if path in run else None for name, of in FIGURES.items()}
                for run in runs
            )
            for path in sorted({*runs[0], *runs[1]})
        }

    def save(self, folder: str | os.PathLike[str], title: str, changes: Sequence[str] = ()) -> None:
        """Write both results into a folder, and `report.html`, which has both in each plot.

        Parameters
        ----------
        folder : path
            Gets `before` and `after`, as `Result.save` writes them.
        title : str
        changes : sequence of str
            What was changed, in words.

        Raises
        ------
        InvalidValue
            If there is something else in the folder.
        """
        # Here, not above: pages are made of results only when somebody wants one.
        from allocator.sim.report.both import page

        place = Path(folder)
        if place.exists() and not (place / "report.html").exists() and any(place.iterdir()):
            raise InvalidValue(f"{place}: is not empty, and no folder of a comparison")
        self.before.save(place / "before")
        self.after.save(place / "after")
        (place / "report.html").write_text(page(self, title, changes), "utf-8")

    def to_json(self) -> Json:
        """Return both results, and what the second has more than the first, role by role."""
        return {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "difference": {
                "roles": {
                    path: {name: more(before[name], after[name]) for name in FIGURES}
                    for path, (before, after) in self.roles().items()
                }
            },
        }


def more(before: float | None, after: float | None) -> float | None:
    """Return a difference; None if there is nothing to compare."""
    return None if before is None or after is None else after - before


def compared(
    scenario: Scenario,
    changes: Iterable[Change],
    *,
    points: int = 500,
    progress: Progress | None = None,
) -> Comparison:
    """Run a scenario as it is, and with changes made, on the same seed.

    Parameters
    ----------
    scenario : Scenario
    changes : iterable of Change
        Made in this order.
    points : int
        At most so many intervals of the series of each.
    progress : callable, optional
        Called now and then with the part done, from 0 to 1, and the simulated seconds.

    Raises
    ------
    ScenarioError, InvalidValue, UnknownAgent
        If one of them cannot be made; nothing was run then.
    """
    wanted = list(changes)
    changed = scenario
    for change in wanted:
        changed = change.on_scenario(changed)
    setting = changed.setting()
    for change in wanted:
        setting = change.on_setting(setting)
    tell = progress or (lambda part, now_s: None)
    before = simulate(scenario, points=points, progress=lambda part, now_s: tell(part / 2, now_s))
    after = simulate(
        setting, points=points, progress=lambda part, now_s: tell(0.5 + part / 2, now_s)
    )
    return Comparison(before, after)
