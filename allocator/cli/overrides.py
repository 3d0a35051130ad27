"""Options that change keys of a scenario: `--set` any, and plain ones what people look for."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.sim.scenario.durations import seconds
from allocator.sim.scenario.overrides import parse_setting
from allocator.sim.scenario.problems import dotted
from allocator.sorter import SORTERS


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add the options that change the policy of a scenario, or make that of a trace."""
    group = parser.add_argument_group("policy (each overrides a key of a scenario)")
    add_set(group)
    _add_roles(group)
    _add_allocator(group)
    _add_frameworks(group)


def _add_roles(group: Any) -> None:
    amounts_of = {"type": amounts, "metavar": "ROLE=AMOUNTS"}
    weights_of = {"type": weights, "metavar": "ROLE=W,…"}
    for option, form, what in (
        ("--weights", weights_of, "weights of roles at any level (default: 1 each)"),
        ("--quota", amounts_of, "what is held back for a role and all below it"),
        ("--limit", amounts_of, "the most that a role and all below it may hold; 0 is a limit"),
    ):
        group.add_argument(
            option, action="append", default=[], help=f"{what}; may be repeated", **form
        )


def _add_allocator(group: Any) -> None:
    group.add_argument(
        "--sorter",
        choices=tuple(SORTERS),
        help="who is next: compiled DRF or another order (default: drf)",
    )
    group.add_argument(
        "--fairness-exclude",
        action="append",
        metavar="NAME",
        help="a resource that counts in no share; may be repeated",
    )
    group.add_argument(
        "--min-allocatable",
        action="append",
        metavar="AMOUNTS",
        help="an offer contains at least this, or another one given (default: anything)",
    )
    group.add_argument(
        "--interval",
        type=duration,
        metavar="TIME",
        help="between two allocation cycles (default: 1s)",
    )


def _add_frameworks(group: Any) -> None:
    group.add_argument(
        "--refuse-seconds",
        type=duration,
        metavar="TIME",
        help="how long a framework refuses what it has no use for; it revives earlier if its "
        "needs change; 0: not at all (default: 7d)",
    )
    group.add_argument(
        "--gang",
        action=argparse.BooleanOptionalAction,
        help="start a job's tasks all at once or not at all (default), or each when it fits",
    )
    group.add_argument(
        "--horizon",
        type=duration,
        metavar="TIME",
        help="stop here, from the first submission (default: when nothing is left to do, or at "
        "the recording's end if jobs outlive it)",
    )
    group.add_argument("--seed", metavar="SEED", help="a word or number (default: 0)")


def add_set(group: Any) -> None:
    """Add `--set` alone."""
    group.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a key of the scenario, such as policy.sorter=hdrf or roles.eng.limit.cpus=40, the "
        "value in TOML or else text; may be repeated, the last one counts",
    )


def changes_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keys that the options set, `--set` after the others.

    Raises
    ------
    InvalidValue
        If one of them says the same twice.
    """
    plain = {
        "policy.sorter": args.sorter,
        "policy.interval": args.interval,
        "policy.fairness_exclude": args.fairness_exclude,
        "policy.min_allocatable": args.min_allocatable,
        'tenants."*".refuse': args.refuse_seconds,
        'tenants."*".gang': args.gang,
        "horizon": args.horizon,
        "seed": args.seed,
    }
    changes = {key: value for key, value in plain.items() if value is not None}
    given = [pair for pairs in args.weights for pair in pairs]
    for role, weight in once("weight", given).items():
        changes[dotted(("roles", role, "weight"))] = weight
    for role, least in once("quota", args.quota).items():
        changes[dotted(("roles", role, "guarantee"))] = least
    for role, most in once("limit", args.limit).items():
        changes[dotted(("roles", role, "limit"))] = most
    return {**changes, **dict(args.set)}


def once(what: str, given: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return role -> value; raises `InvalidValue` if a role has two."""
    found: dict[str, Any] = {}
    for role, value in given:
        if role in found:
            both = f"given twice, {_text(found[role])} and {_text(value)}"
            raise InvalidValue(f"{what} of role {shown(role)}: {both}")
        found[role] = value
    return found


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def setting(text: str) -> tuple[str, Any]:
    """Return key and value of `KEY=VALUE`."""
    try:
        return parse_setting(text)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def duration(text: str) -> float:
    """Return the seconds of a time such as `90`, `1.5h` or `30d`."""
    try:
        return seconds(text.strip())
    except InvalidValue:
        what = f"{shown(text)} is not a time such as 90, 1.5h or 30d"
        raise argparse.ArgumentTypeError(what) from None


def weights(text: str) -> list[tuple[str, float]]:
    """Return the roles and weights of a list such as `eng=2,eng/prod=3`."""
    found = []
    for part in text.split(","):
        role, equals, weight = part.rpartition("=")
        try:
            found.append((role.strip(), float(weight)))
        except ValueError:
            equals = ""
        if not equals or not role.strip():
            raise argparse.ArgumentTypeError(f"{shown(part)} is not of the form ROLE=WEIGHT")
    return found


def amounts(text: str) -> tuple[str, str]:
    """Return role and amounts of a text such as `eng=cpus:10;mem:4096`."""
    role, equals, found = text.partition("=")
    if not equals or not role.strip() or not found.strip():
        raise argparse.ArgumentTypeError(f"{shown(text)} is not of the form ROLE=cpus:4;mem:8192")
    return role.strip(), found.strip()
