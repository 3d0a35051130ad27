"""Why a framework is not offered anything, in an operator's words: the answer of `/ui/explain`.

The engine knows why; here it is put by role and by agent, with what each kind of reason means and
what would help.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from allocator.errors import (
    AllocatorError,
    InvalidRole,
    UnknownAgent,
    UnknownFramework,
    UnknownRole,
)
from allocator.explain import Explanation
from allocator.explain.reasons import Reason, brief
from allocator.explain.watch import Case
from allocator.master.master import Master
from allocator.wire.decode import cut
from allocator.wire.refusal import BAD_REQUEST, NOT_FOUND, CallRefused

Json = dict[str, Any]

#: At most so many agents of a role are listed, those with an offer first.
SHOWN: Final = 100


#: Ids of frameworks and agents, and times of the engine's clock, as explanations have them.
_ID: Final = re.compile(r"[0-9a-f-]{36}-(?:S\d+|\d{4,})")
_CLOCK: Final = re.compile(r" \(until \d+\.\d+\)")


class Question(NamedTuple):
    """What is asked: about one framework, perhaps one of its roles, perhaps one agent."""

    framework_id: str
    role: str | None
    slave_id: str | None


class Words(NamedTuple):
    """What a kind of reason means, and what would help."""

    title: str
    help: str


#: Kind of reason → its words.
WORDS: Final[Mapping[str, Words]] = {
    "paused": Words("The engine is paused", "Offers go on as soon as it is resumed."),
    "recovering": Words(
        "The master waits for agents after its restart",
        "Offers go on when enough agents are back, or when --recovery-timeout has passed.",
    ),
    "framework_inactive": Words(
        "The framework is not connected", "Offers come as soon as it subscribes again."
    ),
    "suppressed": Words(
        "The framework asked for no offers in this role",
        "It gets offers again when it sends REVIVE for the role.",
    ),
    "agent_inactive": Words(
        "The agent is inactive",
        "It missed pings, or was deactivated: see whether it runs and reaches the master.",
    ),
    "not_whitelisted": Words(
        "The agent's host is not whitelisted", "Add the host to the whitelist."
    ),
    "capability": Words(
        "A capability is missing",
        "What is there is only for those that have the capability: add it to the framework, or "
        "update the agent.",
    ),
    "constraint": Words(
        "The framework's own offer constraints rule the agent out",
        "It sets other constraints with UPDATE_FRAMEWORK, or agents with other attributes join.",
    ),
    "filtered": Words(
        "The framework declined this a short while ago",
        "Its filter ends by itself; REVIVE removes all its filters at once. A framework that is "
        "short of offers should decline with a smaller refuse_seconds.",
    ),
    "below_min_allocatable": Words(
        "What is left is too little to be offered",
        "It is offered together with what other tasks here give back, or to a framework that sets "
        "smaller minima in offer_filters.",
    ),
    "over_limit": Words(
        "The limit of a role is reached",
        "Raise the limit with UPDATE_QUOTA, or let tasks of the role end.",
    ),
    "held_back": Words(
        "Held back for guarantees of other roles",
        "Lower those guarantees, give this role one of its own, or add agents.",
    ),
    "served_earlier": Words(
        "Others are further below their fair share, and come first",
        "Its turn comes when their share has grown, or earlier with more weight for its role.",
    ),
    "nothing_left": Words(
        "The agent is full: all is used or on offer",
        "It is offered again when tasks end there or open offers are answered. Set --offer-timeout "
        "if frameworks sit on offers.",
    ),
    "nothing_visible": Words(
        "What is free is reserved to other roles",
        "Undo the reservation with UNRESERVE_RESOURCES, or subscribe in the role that has it.",
    ),
}


def check(master: Master, question: Question) -> None:
    """Raise `CallRefused` (400, 404) for a question about what there is not."""
    if not question.framework_id:
        raise CallRefused(BAD_REQUEST, "framework_id is missing: whose offers?")
    framework = master.frameworks.get(question.framework_id)
    if framework is None:
        raise CallRefused(NOT_FOUND, f"there is no framework {cut(question.framework_id)}")
    if question.role is not None and question.role not in framework.roles:
        raise CallRefused(
            NOT_FOUND, f"framework {cut(framework.id)} is not in role {cut(question.role)}"
        )
    if question.slave_id is not None and question.slave_id not in master.agents:
        raise CallRefused(NOT_FOUND, f"there is no agent {cut(question.slave_id)}")


def refused(error: AllocatorError) -> CallRefused:
    """Return how a question is refused that the engine cannot answer."""
    if isinstance(error, UnknownFramework | UnknownAgent | UnknownRole):
        return CallRefused(NOT_FOUND, str(error))
    if isinstance(error, InvalidRole):
        return CallRefused(BAD_REQUEST, str(error))
    raise error


def answer(master: Master, question: Question, explanation: Explanation) -> Json:
    """Return an explanation as the page shows it. O(cases)."""
    framework = master.frameworks.get(question.framework_id)
    by_role: dict[str, list[Case]] = {}
    for case in explanation.cases:
        by_role.setdefault(case.role, []).append(case)
    return {
        "framework_id": question.framework_id,
        "framework": "" if framework is None else framework.info.name,
        "cycle": explanation.cycle,
        "headline": _headline(explanation, len(by_role)),
        "halts": [_reason(master, reason) for reason in explanation.halts],
        "roles": [_role(master, role, cases) for role, cases in by_role.items()],
        "changes": [_named(master, str(change)) for change in explanation.changes],
    }


def _headline(explanation: Explanation, n_roles: int) -> str:
    """Return in one sentence what the next cycle does for the framework."""
    if not explanation.cases:
        return "There is nothing to offer: no agent is registered."
    n_agents = len({case.agent for case in explanation.cases})
    of = f"{n_agents:,} agents" if n_agents != 1 else "the one agent"
    n = len({case.agent for case in explanation.offers})
    if n:
        return f"The next cycle offers it something on {n:,} of {of}."
    in_roles = f", in any of its {n_roles} roles" if n_roles > 1 else ""
    where = "the one agent" if n_agents == 1 else f"any of {n_agents:,} agents"
    return f"The next cycle offers it nothing on {where}{in_roles}."


def _role(master: Master, role: str, cases: list[Case]) -> Json:
    """Return what becomes of a role."""
    offered = [case for case in cases if case.offered]
    listed = [*offered, *(case for case in cases if not case.offered)][:SHOWN]
    return {
        "role": role,
        "n_agents": len(cases),
        "n_offered": len(offered),
        "reasons": _summary(case for case in cases if not case.offered),
        "agents": [_agent(master, case) for case in listed],
    }


def _summary(cases: Iterable[Case]) -> list[Json]:
    """Return the kinds of reasons with on how many agents each stands, the most frequent first."""
    counts: Counter[tuple[str, str]] = Counter()
    for case in cases:
        counts.update({(reason.kind, reason.label) for reason in case.reasons})
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"kind": kind, "label": label, "agents": n, **_words(kind)} for (kind, label), n in ordered
    ]


def _agent(master: Master, case: Case) -> Json:
    agent = master.agents.get(case.agent)
    return {
        "slave_id": case.agent,
        "hostname": case.agent if agent is None else agent.hostname,
        "offered": brief(case.offered),
        "reasons": [_reason(master, reason) for reason in case.reasons if not reason.halts],
    }


def _reason(master: Master, reason: Reason) -> Json:
    return {"kind": reason.kind, "text": _named(master, str(reason)), **_words(reason.kind)}


def _named(master: Master, text: str) -> str:
    """Return a text with what frameworks and agents are called in place of their ids.

    Times of the engine's clock are left out, which mean nothing to anybody.
    """

    def name(match: re.Match[str]) -> str:
        id = match[0]
        if (framework := master.frameworks.get(id)) is not None:
            return framework.info.name
        return master.agents[id].hostname if id in master.agents else id

    return _ID.sub(name, _CLOCK.sub("", text))


def _words(kind: str) -> Json:
    words = WORDS[kind]
    return {"title": words.title, "help": words.help}
