"""Policies against each other: one scenario, run under each of them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.sim.result import Result
from allocator.sim.scenario import Problem, Scenario, ScenarioError
from allocator.sim.scenario.overrides import parse_setting
from allocator.sim.simulator import simulate


@dataclass(frozen=True, slots=True)
class Policy:
    """What one run does otherwise than the scenario.

    Parameters
    ----------
    name : str
        What it is called in tables.
    changes : mapping
        Dotted key of the scenario -> value.
    """

    name: str
    changes: Mapping[str, Any]


def under_policies(
    scenario: Scenario,
    policies: Iterable[Policy],
    *,
    progress: Callable[[Policy, float], None] | None = None,
) -> list[tuple[Policy, Result]]:
    """Run a scenario under each policy, on one seed: the same jobs, the same events.

    Parameters
    ----------
    progress : callable, optional
        Called now and then with the policy and the part of its jobs that is done.

    Raises
    ------
    ScenarioError
        With all that is wrong with any of them; nothing has run then.
    InvalidValue
        If two have the same name.
    """
    found = []
    for policy, changed in _changed(scenario, list(policies)):

        def tell(part: float, now_s: float, policy: Policy = policy) -> None:
            if progress is not None:
                progress(policy, part)

        found.append((policy, simulate(changed, progress=tell)))
    return found


def _changed(scenario: Scenario, policies: Sequence[Policy]) -> list[tuple[Policy, Scenario]]:
    """Return the scenario under each policy; raise what is wrong with any of them."""
    names = [policy.name for policy in policies]
    for name in names:
        if names.count(name) > 1:
            raise InvalidValue(f"policy {shown(name)}: given twice")
    found: list[tuple[Policy, Scenario]] = []
    problems: list[Problem] = []
    for policy in policies:
        try:
            found.append((policy, scenario.with_(policy.changes)))
        except ScenarioError as error:
            problems += error.problems
    if problems:
        raise ScenarioError(problems)
    return found


def policy_of(text: str) -> Policy:
    """Return the policy that a text says: the name of a sorter, or keys with values.

    Keys stand apart by blanks; a value with blanks in it stands in quotes, as in a shell.

    Raises
    ------
    InvalidValue
        If it is neither. O(length).

    Examples
    --------
    >>> policy_of("hdrf").changes
    {'policy.sorter': 'hdrf'}
    >>> policy_of("policy.sorter=drf roles.eng.weight=2").changes
    {'policy.sorter': 'drf', 'roles.eng.weight': 2}
    """
    if "=" not in text:
        return Policy(text, {"policy.sorter": text})
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise InvalidValue(f"policy {shown(text)}: {error}") from None
    return Policy(text, dict(parse_setting(part) for part in parts))
