"""Why was this not offered? What the next cycle does, as an answer to read (contract §5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from allocator.errors import cut
from allocator.explain.changes import Change
from allocator.explain.reasons import Json, Reason
from allocator.explain.rehearsal import Rehearsal
from allocator.explain.remedies import find_changes
from allocator.explain.watch import Case, Question, look

#: So many cases are written out when an explanation is printed.
SHOWN_CASES = 20


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the next cycle offers a framework, and why not more.

    Parameters
    ----------
    framework : str
    role, agent : str or None
        What was asked about; None for all.
    cycle : int
        The number of the cycle that would come next.
    cases : tuple of Case
        By role, in the framework's order, and agent.
    changes : tuple of Change
        If nothing is offered: what would lead to an offer, the smallest change first, each
        verified on a fork. Empty if something is offered, or if nothing small enough was found.
    """

    framework: str
    role: str | None
    agent: str | None
    cycle: int
    cases: tuple[Case, ...]
    changes: tuple[Change, ...]

    @property
    def offers(self) -> tuple[Case, ...]:
        """The cases in which the next `allocate()` offers something. O(cases)."""
        return tuple(case for case in self.cases if case.offered)

    @property
    def change(self) -> Change | None:
        """The smallest change that leads to an offer, None if none is needed or was found."""
        return self.changes[0] if self.changes else None

    @property
    def halts(self) -> tuple[Reason, ...]:
        """Why the engine makes no offers to anybody."""
        first = self.cases[0].reasons if self.cases else ()
        return tuple(reason for reason in first if reason.halts)

    def summary(self) -> tuple[tuple[str, int], ...]:
        """Return each reason's label and in how many cases it stands, the most frequent first.

        Only cases without an offer count, and one counts for each of its reasons. O(reasons).
        """
        counts: Counter[str] = Counter()
        for case in self.cases:
            if not case.offered:
                counts.update({r.label for r in case.reasons if r.halts or not case.resources})
        return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def headline(self) -> str:
        """Return in one line what comes of the next cycle. O(cases)."""
        asked = f"framework {cut(self.framework)}"
        asked += f" in role {cut(self.role)}" if self.role is not None else ""
        asked += f" on agent {cut(self.agent)}" if self.agent is not None else ""
        if not self.cases:
            return f"{asked}: there is nothing to offer, as it has no role or there is no agent"
        n = len(self.offers)
        made = f"an offer on {n}" if n else "no offer on any"
        return f"{asked}: cycle {self.cycle} makes {made} of {len(self.cases)} pairs of role, agent"

    def to_json(self) -> Json:
        """Return everything as JSON. O(size)."""
        return {
            "framework": self.framework,
            "role": self.role,
            "agent": self.agent,
            "cycle": self.cycle,
            "halts": [reason.to_json() for reason in self.halts],
            "summary": [{"label": label, "cases": n} for label, n in self.summary()],
            "cases": [case.to_json() for case in self.cases],
            "changes": [change.to_json() for change in self.changes],
        }

    def __str__(self) -> str:
        lines = [self.headline()]
        lines += [f"{n:>8}  {cut(label)}" for label, n in self.summary()]
        lines += map(str, self.cases[:SHOWN_CASES])
        hidden = len(self.cases) - SHOWN_CASES
        lines += [f"… and {hidden} more"] if hidden > 0 else []
        lines += [f"would lead to an offer: {change}" for change in self.changes]
        return "\n".join(lines)


def explain(
    rehearse: Callable[[], Rehearsal], framework: str, role: str | None, agent: str | None
) -> Explanation:
    """Answer `Allocator.explain` about an engine, which stays as it is.

    Parameters
    ----------
    rehearse : callable
        Returns a new fork of the engine to try things out on.
    framework : str
    role, agent : str or None

    Raises
    ------
    UnknownFramework, UnknownRole, UnknownAgent, InvalidRole
    """
    question = Question(framework, role, agent)
    rehearsal = rehearse()
    cycle = rehearsal.cycle
    cases = look(rehearsal, question)
    return Explanation(*question, cycle, cases, find_changes(rehearse, question, cases))
