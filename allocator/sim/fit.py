"""Whether a job would be offered its resources now, and if not, what is in its way.

A framework that wants nothing less than one of the job's tasks is put on a fork of the engine, in
which all others want nothing for now. What it is offered it takes, task by task.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from allocator.clock import ManualClock
from allocator.engine import Allocator
from allocator.errors import AllocatorError, InvalidValue, cut, shown
from allocator.explain import Explanation
from allocator.explain.changes import Change, LowerMinimum
from allocator.explain.reasons import BelowMinimum, Reason
from allocator.explain.watch import Case
from allocator.resources import Quantities, Resources
from allocator.roles import validate_role
from allocator.sim.scenario import Scenario

Json = dict[str, Any]
#: A framework, its role, and what it holds there.
_Holder = tuple[str, str, Resources]

#: No job has more tasks.
MAX_TASKS = 1_000_000


@dataclass(frozen=True, slots=True)
class Ending:
    """What would have to end on a machine, so that one task more is offered.

    Parameters
    ----------
    machine : str
    amounts : Quantities
        What has to be given back there.
    holders : tuple
        (framework, role, what it holds there) of those who would have to end something.
    """

    machine: str
    amounts: Quantities
    holders: tuple[tuple[str, str, Resources], ...]

    def to_json(self) -> Json:
        """Return it as JSON."""
        return {
            "machine": self.machine,
            "amounts": dict(self.amounts),
            "holders": [
                {"framework": framework, "role": role, "holds": str(held)}
                for framework, role, held in self.holders
            ],
        }

    def __str__(self) -> str:
        who = ", ".join(f"{framework} in {role} ({held})" for framework, role, held in self.holders)
        return f"{self.amounts} on {self.machine}, of {who}"


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a job is offered its resources.

    Parameters
    ----------
    role : str
    task : Quantities
        What each task needs.
    tasks : int
    gang : bool
        Whether the tasks start all at once, or as they fit.
    machines : mapping
        Machine -> how many tasks are offered their resources there.
    explanation : Explanation or None
        Why the next task is not offered its resources; None if all are.
    kinds : collection of str or None
        The machines that the job may run on; None for all.
    ending : Ending or None
        What would have to end first, where that would do.
    changes : tuple of Change
        What would lead to an offer for the next task on a machine that it may run on, the smallest
        first; a smaller task last.
    """

    role: str
    task: Quantities
    tasks: int
    gang: bool
    machines: Mapping[str, int]
    explanation: Explanation | None = None
    kinds: Collection[str] | None = None
    ending: Ending | None = None
    changes: tuple[Change, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether all tasks are offered their resources. O(machines)."""
        return self.n_placed == self.tasks

    @property
    def n_placed(self) -> int:
        """How many tasks are. O(machines)."""
        return sum(self.machines.values())

    @property
    def cases(self) -> tuple[Case, ...]:
        """Why not, for each machine that the job may run on. O(machines)."""
        if self.explanation is None:
            return ()
        return tuple(
            case
            for case in self.explanation.cases
            if self.kinds is None or case.agent in self.kinds
        )

    def reasons(self) -> list[tuple[str, int]]:
        """Return each reason in the way and on how many machines, the most frequent first."""
        counts: dict[str, int] = {}
        for case in self.cases:
            for label in dict.fromkeys(label_of(reason) for reason in case.reasons):
                counts[label] = counts.get(label, 0) + 1
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))

    def to_json(self) -> Json:
        """Return everything as JSON. O(size)."""
        return {
            "fits": self.fits,
            "role": self.role,
            "task": dict(self.task),
            "tasks": self.tasks,
            "gang": self.gang,
            "placed": self.n_placed,
            "machines": dict(self.machines),
            "reasons": [{"label": label, "machines": n} for label, n in self.reasons()],
            "cases": [case.to_json() for case in self.cases],
            "changes": [{**c.to_json(), "text": text_of(c)} for c in self.changes],
            "to_end": None if self.ending is None else self.ending.to_json(),
        }


def fit(
    subject: Allocator | Scenario,
    role: str,
    task: Quantities | str | Mapping[str, float],
    *,
    tasks: int = 1,
    gang: bool = False,
    kind: str | None = None,
) -> Fit:
    """Tell whether a job would be offered its resources now.

    Parameters
    ----------
    subject : Allocator or Scenario
        The cluster as it stands; of a scenario, as its run begins. It is not touched.
    role : str
        Whose job it is; a role that nobody is in has weight 1.
    task : quantities
        What each task needs on one machine.
    tasks : int
        How many.
    gang : bool
        They start all at once: offers of one cycle must hold them all.
    kind : str, optional
        Only machines of this kind, which is their attribute `kind`.

    Raises
    ------
    InvalidRole, ResourceError
    InvalidValue
        A task that needs nothing, no number of tasks, or a kind that no machine has.

    Notes
    -----
    As long as a fork of the engine and a cycle for each machine that is filled; where a task does
    not fit, as long as `Allocator.explain`.

    Examples
    --------
    >>> engine = Allocator(seed=7)
    >>> engine.add_agents(["n1", "n2"], "cpus:8;mem:100")
    >>> fit(engine, "eng", "cpus:3", tasks=4).machines
    {'n1': 2, 'n2': 2}
    >>> found = fit(engine, "eng", "cpus:9")
    >>> found.fits, found.reasons()
    (False, [('too little left for a task', 2)])
    """
    need = Quantities(task)
    if not need:
        raise InvalidValue("a task that needs nothing fits everywhere")
    if not 0 < tasks <= MAX_TASKS:
        raise InvalidValue(f"{tasks} tasks: 1 to {MAX_TASKS}")
    validate_role(role)
    engine, kinds = _engine_of(subject, kind)
    name = _silenced(engine)
    engine.add_framework(
        name,
        [role],
        capabilities=["GPU_RESOURCES"],
        min_allocatable=[need],
    )
    machines = _placed(engine, name, need, tasks, kinds, once=gang)
    if sum(machines.values()) == tasks:
        return Fit(role, need, tasks, gang, machines)
    explanation = engine.explain(name, role)
    ending = _ending(engine, name, role, need, kinds)
    changes = _changes(engine, explanation, kinds)
    return Fit(role, need, tasks, gang, machines, explanation, kinds, ending, changes)


def label_of(reason: Reason) -> str:
    """Return a reason's label; the job's `min_allocatable` is what a task needs."""
    return "too little left for a task" if isinstance(reason, BelowMinimum) else reason.label


def why(reason: Reason) -> str:
    """Return a reason as a sentence."""
    if isinstance(reason, BelowMinimum):
        left = ";".join(f"{name}:{reason.left.quantities()[name]:g}" for name in reason.nearest)
        return f"too little left for a task: {left}, which lacks {reason.lacking}"
    return str(reason)


def smaller_task(change: Change) -> Quantities | None:
    """Return the task that would be offered its resources, if the change is a smaller task."""
    if len(change.steps) == 1 and isinstance(change.steps[0], LowerMinimum):
        return change.steps[0].amounts
    return None


def text_of(change: Change) -> str:
    """Return a change as a sentence."""
    smaller = smaller_task(change)
    return str(change) if smaller is None else f"ask for no more than {smaller} a task"


def _engine_of(
    subject: Allocator | Scenario, kind: str | None
) -> tuple[Allocator, frozenset[str] | None]:
    """Return a fork, and the machines of a kind."""
    if isinstance(subject, Scenario):
        from allocator.sim.run import Run

        made: list[Allocator] = []

        def make(**options: Any) -> Allocator:
            made.append(Allocator(**options))
            return made[-1]

        setting = subject.setting()
        Run(setting, 1, make)
        (engine,) = made
        kinds = {machine.id: machine.kind for machine in setting.machines}
    else:
        engine = Allocator.restore(subject.snapshot(), clock=ManualClock())
        kinds = {id: str(agent.attributes.get("kind", "")) for id, agent in engine.agents.items()}
    if kind is None:
        return engine, None
    known = sorted(set(kinds.values()) - {""})
    if kind not in known:
        which = ", ".join(known) or "none is of any"
        raise InvalidValue(f"no machine is of kind {shown(kind)}: {cut(which)}")
    return engine, frozenset(id for id, one in kinds.items() if one == kind)


def _silenced(engine: Allocator) -> str:
    """Have all frameworks want nothing for now; return a name that none of them has."""
    for id in list(engine.frameworks):
        engine.suppress(id)
    name = "this job"
    while name in engine.frameworks:
        name += "'"
    return name


def _placed(
    engine: Allocator,
    name: str,
    need: Quantities,
    tasks: int,
    kinds: frozenset[str] | None,
    *,
    once: bool,
) -> dict[str, int]:
    """Have a framework take what it is offered for its tasks; return machine -> tasks."""
    machines: dict[str, int] = {}
    left = tasks
    while left:
        before = left
        for offer in engine.allocate():
            n = 0
            if kinds is None or offer.agent in kinds:
                n = min(left, _times(offer.resources, need))
            if n:
                engine.accept(offer, _taken(offer.resources, need, n), refuse_seconds=0)
                machines[offer.agent] = machines.get(offer.agent, 0) + n
                left -= n
            else:
                engine.decline(offer, refuse_seconds=0)
        if left == before or once:
            break
    return machines


def _times(resources: Resources, need: Quantities) -> int:
    have = resources.nonrevocable().quantities().milli
    return min(have.get(name, 0) // amount for name, amount in need.milli.items())


def _taken(resources: Resources, need: Quantities, n: int) -> Resources:
    """Return what of an offer so many tasks take, what is reserved first."""
    from allocator.sim.reserving import chosen

    return chosen(resources, {name: amount * n for name, amount in need.milli.items()})


def _changes(
    engine: Allocator, explanation: Explanation, kinds: frozenset[str] | None
) -> tuple[Change, ...]:
    """Return what would help on machines that may be used, a smaller task last."""
    found = _helpful(explanation.changes, kinds)
    if kinds is not None and not found:
        # what helps elsewhere was found first: ask about the machines where the least is in the way
        cases = [case for case in explanation.cases if case.agent in kinds]
        for case in sorted(cases, key=lambda case: len(case.reasons))[:_TRIED]:
            own = engine.explain(explanation.framework, explanation.role, agent=case.agent)
            found = _helpful(own.changes, kinds)
            if found:
                break
    return tuple(sorted(found, key=lambda change: smaller_task(change) is not None))


def _helpful(changes: Iterable[Change], kinds: frozenset[str] | None) -> list[Change]:
    """Return what helps on machines that may be used; no task asks for nothing."""
    return [
        change
        for change in changes
        if (kinds is None or any(case.agent in kinds for case in change.cases))
        and smaller_task(change) != Quantities()
    ]


# What would have to end.


def _ending(
    engine: Allocator, name: str, role: str, need: Quantities, kinds: frozenset[str] | None
) -> Ending | None:
    """Return the least that would have to end, tried out; None if no end would do."""
    candidates = sorted(_endings(engine, name, need, kinds), key=lambda found: found[:2])
    for _, _, ending in candidates[:_TRIED]:
        if _would_do(engine, name, role, ending, need):
            return ending
    return None


#: So many machines are tried.
_TRIED = 8


def _endings(
    engine: Allocator, name: str, need: Quantities, kinds: frozenset[str] | None
) -> Iterator[tuple[float, str, Ending]]:
    """Yield what would have to end on each machine that is large enough, with its size."""
    held = _held(engine, name)
    for id, agent in engine.agents.items():
        if (kinds is not None and id not in kinds) or not agent.active:
            continue
        total = agent.total.quantities()
        if not total >= need:
            continue
        lacking = need.minus_floor(agent.available.quantities())
        if lacking:
            holders = _holders(held.get(id, []), lacking)
            if holders:
                size = max(x / total.milli[n] for n, x in lacking.milli.items())
                yield size, id, Ending(id, lacking, holders)


def _held(engine: Allocator, name: str) -> dict[str, list[_Holder]]:
    """Return machine -> who holds what there, but for the job itself. O(holdings)."""
    found: dict[str, list[_Holder]] = {}
    for id, framework in engine.frameworks.items():
        for agent, by_role in framework.allocated.items() if id != name else ():
            for role, resources in by_role.items():
                found.setdefault(agent, []).append((id, role, resources))
    return found


def _holders(held: list[_Holder], lacking: Quantities) -> tuple[_Holder, ...]:
    """Return few who hold enough of what is lacking on a machine; none if they do not."""
    held = list(held)
    chosen: list[_Holder] = []
    left = dict(lacking.milli)
    while left:
        best = max(held, key=lambda one: _covers(one[2], left), default=None)
        if best is None or not _covers(best[2], left):
            return ()
        held.remove(best)
        chosen.append(best)
        have = best[2].quantities().milli
        left = {n: x - have.get(n, 0) for n, x in left.items() if x > have.get(n, 0)}
    return tuple(chosen)


def _covers(resources: Resources, left: Mapping[str, int]) -> float:
    """Return how much of what is lacking somebody holds, in parts of it."""
    have = resources.quantities().milli
    return sum(min(x, have.get(name, 0)) / x for name, x in left.items())


def _would_do(engine: Allocator, name: str, role: str, ending: Ending, need: Quantities) -> bool:
    """Tell whether a task is offered its resources once that has ended."""
    trial = Allocator.restore(engine.snapshot(), clock=ManualClock())
    left = dict(ending.amounts.milli)
    try:
        for framework, own, held in ending.holders:
            have = held.quantities().milli
            part = {n: min(x, have.get(n, 0)) for n, x in left.items() if have.get(n, 0)}
            trial.release(framework, ending.machine, own, _some(held, part))
            left = {n: x - part.get(n, 0) for n, x in left.items() if x > part.get(n, 0)}
        return any(
            offer.agent == ending.machine and _times(offer.resources, need)
            for offer in trial.allocate()
        )
    except AllocatorError:
        return False


def _some(held: Resources, part: Mapping[str, int]) -> Resources:
    from allocator.sim.reserving import chosen

    return chosen(held, dict(part))
