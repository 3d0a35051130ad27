"""A framework's scheduler: which offers it takes, what it refuses, when it asks again.

Invariants, of one scheduler:

W1. It is suppressed if and only if nothing waits.
W2. `_refused` holds, per agent, at least what the agent has left, unless the engine has yet to
    offer that agent to it: what was refused is filtered, and a filter lets pass whatever has grown
    beyond it. So if a waiting need fits nowhere in `_refused`, only a new offer can start it.
W3. A need that fits in `_refused` has asked for a full view (a revive), or waits for its turn to.
"""

import random
from collections import deque
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace

from allocator.sim.placing import Grant, Need, Running, Space, count_running, place, take_back
from allocator.sim.trace import Spread, Tenant

#: The longest pause before another revive is drawn from 2 to this power cycles.
_MAX_BACKOFF_POWER = 8


@dataclass(slots=True, eq=False)
class JobState:
    """A submitted job: how many of its tasks wait, and how many run."""

    submit_s: float
    run_s: float
    n_waiting: int
    n_running: int = 0


@dataclass(slots=True, eq=False)
class _Entry:
    """One job's place in the queue of a need; `times` counts how often it has yet to start."""

    order: int
    job: JobState
    times: int


@dataclass(frozen=True, slots=True)
class Start:
    """Tasks of one job that start together."""

    job: JobState
    grants: tuple[Grant, ...]
    spread: Spread | None


class Scheduler:
    """Decides for one framework.

    Waiting jobs queue by need. Offers are filled first fit, the oldest job first; younger ones
    fill what it leaves. A gang starts from the offers of one cycle or not at all; what was
    refused is remembered, and as soon as new offers together with the remembered would let a gang
    start, the framework revives, to be shown everything at once. Nothing is hoarded. Frameworks
    that revive at once and split the view between them would do so for ever: after a revive in
    vain the next one waits for a random number of cycles, up to twice as many each time.

    Parameters
    ----------
    tenant : Tenant
        Whose scheduler it is.
    seed : int or str
        Seeds the random pauses, together with the tenant's name.
    """

    def __init__(self, tenant: Tenant, n_axes: int, seed: int | str) -> None:
        self.tenant = tenant
        self.suppressed = True
        self.running: Running = {}
        self._queues: dict[Need, deque[_Entry]] = {}
        self._n_submitted = 0
        #: agent index -> the most that was refused there since the last revive, by axis (W2)
        self._refused: dict[int, list[int]] = {}
        self._refused_total = [0] * n_axes
        self._random = random.Random(f"{seed}/{tenant.name}")
        self._vain_revives = 0
        self._pausing = False

    @property
    def waits(self) -> bool:
        """Whether anything waits to be started."""
        return bool(self._queues)

    def submit(self, job: JobState, needs: tuple[tuple[int, Need], ...]) -> bool:
        """Queue a job; tell whether to revive, as its needs are new and could be met.

        O(needs × agents refused).
        """
        ask = self.suppressed
        for times, need in needs:
            entry = _Entry(self._n_submitted, job, times)
            self._n_submitted += 1
            queue = self._queues.get(need)
            if queue is not None:
                queue.append(entry)  # W3: those before it have asked already
                continue
            self._queues[need] = deque((entry,))
            ask = ask or self._fits_refused(need)
        return ask

    def fill(self, spaces: list[Space]) -> list[Start]:
        """Start what fits into the offers in hand, oldest first.

        O(needs × offers + started × (offers + log needs)).
        """
        starts: list[Start] = []
        order = [(queue[0].order, need) for need, queue in self._queues.items()]
        heads = [(age, index) for index, (age, _) in enumerate(order)]
        heapify(heads)
        while heads:
            need = order[heads[0][1]][1]
            queue = self._queues[need]
            entry = queue[0]
            times, grants = place(need, entry.times, spaces, self.running)
            if times:
                starts.append(Start(entry.job, tuple(grants), need.spread))
                entry.times -= times
            if entry.times:
                heappop(heads)  # what did not fit now does not fit younger jobs either
                continue
            queue.popleft()
            if queue:
                heapreplace(heads, (queue[0].order, heads[0][1]))
            else:
                del self._queues[need]
                heappop(heads)
        if starts:
            self._vain_revives = 0
        return starts

    def refuse(self, agent: int, left: list[int]) -> None:
        """Remember what is left of an offer that was answered with a filter. O(axes)."""
        known = self._refused.get(agent)
        if known is None:
            known = self._refused[agent] = [0] * len(left)
        for axis, amount in enumerate(left):
            if amount > known[axis]:
                self._refused_total[axis] += amount - known[axis]
                known[axis] = amount

    def pause_before_revive(self) -> int | None:
        """After offers were answered: tell whether a gang would fit if all could be seen at once.

        Returns
        -------
        int or None
            How many cycles to wait before asking `still_fits` and reviving, 0 for at once; None
            if no gang would fit, or one waits to revive already. O(gangs × agents refused).
        """
        if self._pausing or not self.still_fits():
            return None
        power = min(self._vain_revives, _MAX_BACKOFF_POWER)
        self._vain_revives += 1
        if power == 0:
            return 0
        self._pausing = True
        return self._random.randint(1, 2**power)

    def still_fits(self) -> bool:
        """Tell whether a waiting gang fits into what was refused. O(gangs × agents refused)."""
        return any(need.n_tasks > 1 and self._fits_refused(need) for need in self._queues)

    def end_pause(self) -> None:
        """End the pause before a revive. O(1)."""
        self._pausing = False

    def revived(self) -> None:
        """Forget what was refused: all of it will be offered again. O(axes)."""
        self.suppressed = False
        self._refused.clear()
        self._refused_total = [0] * len(self._refused_total)

    def ended(self, start: Start) -> None:
        """Take note of tasks that have ended. O(grants)."""
        if start.spread is not None:
            for grant in start.grants:
                count_running(start.spread, grant.space.agent, -grant.count, self.running)

    def _fits_refused(self, need: Need) -> bool:
        if any(self._refused_total[axis] < amount for axis, amount in need.total):
            return False
        room = need.n_tasks
        spaces = [Space(agent, list(free), room) for agent, free in self._refused.items()]
        times, grants = place(need, 1, spaces, self.running)
        take_back(need, grants, self.running)
        return times > 0
