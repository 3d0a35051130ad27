"""What an import may be told besides the files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.roles import validate_role
from allocator.sim.cluster import Machine, machines, merged, parse_group
from allocator.sim.importers.amounts import number
from allocator.sim.importers.policy import ENTITLEMENTS, Entitlements
from allocator.sim.trace import LONGEST_S

#: Which plugin of Volcano rules.
PLUGINS = ("proportion", "capacity", "drf")


@dataclass(frozen=True, slots=True)
class Options:
    """What an import may be told.

    Parameters
    ----------
    entitlements : str
        What becomes of what queues are entitled to while others may use what is idle: `weight`
        among siblings, `guarantee`, `none`.
    cluster : str or Scenario, optional
        A scenario, its file or its name, whose machines are taken where the dump has none; or
        groups of machines, `4x cpus:64;mem:256000`.
    strict : bool
        Make errors of features that are not modelled and of files that are not understood.
    role_label : str, optional
        Kubernetes: the label of pods whose value is their role, instead of the name space.
    daemons_role : str, optional
        Kubernetes: the role of pods of DaemonSets and static pods, such as `*` or `kube-system`,
        which are nobody's work then but one framework `daemons`.
    split_flavors : bool
        Kueue: one resource name for each flavor, on the machines that its labels select.
    plugin : str, optional
        Volcano: `proportion`, `capacity` or `drf`; guessed by default.
    partition : str, optional
        YuniKorn: which one (`default`); Slurm: only its machines and jobs.
    user_limits : bool
        YARN: user-limit-factor as a limit on each user's role.
    taken : str or float, optional
        Mesos: when the dump was taken, as ISO 8601 (UTC if it does not say) or in seconds since
        1970, from which on maintenance is planned; the latest time that stands in it by default.
    frameworks : mapping or str, optional
        Mesos: framework -> role, where a dump does not say; as text `NAME=ROLE,…`.
    """

    entitlements: Entitlements = "weight"
    cluster: Any = None
    strict: bool = False
    role_label: str | None = None
    daemons_role: str | None = None
    split_flavors: bool = False
    plugin: str | None = None
    partition: str | None = None
    user_limits: bool = False
    taken: Fraction | None = None
    frameworks: Mapping[str, str] = field(default_factory=dict)

    def machines(self) -> tuple[Machine, ...]:
        """Return the machines of `cluster`.

        Raises
        ------
        InvalidValue
            If it is no scenario. O(size).
        """
        from allocator.sim.cluster import looks_like_spec
        from allocator.sim.scenario import Scenario

        if self.cluster is None:
            return ()
        if isinstance(self.cluster, Scenario):
            return self.cluster.setting().machines
        if isinstance(self.cluster, str) and looks_like_spec(self.cluster):
            return tuple(machines(merged([parse_group(self.cluster)])))
        return Scenario.load(self.cluster).setting().machines


#: Options that every system knows.
COMMON = frozenset(("entitlements", "cluster", "strict"))


def read_options(given: Mapping[str, Any], system: str, own: Collection[str]) -> Options:
    """Return checked options; None is the default.

    Raises
    ------
    InvalidValue
        For an option that there is not, that the system does not know, or with a value that it
        does not take. O(options).
    """
    known = COMMON | set(own)
    wanted = {name: value for name, value in given.items() if value not in (None, False)}
    for name in wanted:
        if name not in {one.name for one in fields(Options)}:
            raise InvalidValue(f"there is no option {shown(name)}")
        if name not in known:
            raise InvalidValue(f"option {name} says nothing to {system}")
    if wanted.get("entitlements", "weight") not in ENTITLEMENTS:
        what = shown(wanted["entitlements"])
        raise InvalidValue(f"entitlements {what}: one of {', '.join(ENTITLEMENTS)}")
    if wanted.get("plugin", PLUGINS[0]) not in PLUGINS:
        raise InvalidValue(f"plugin {shown(wanted['plugin'])}: one of {', '.join(PLUGINS)}")
    if "daemons_role" in wanted:
        validate_role(wanted["daemons_role"])
    if "taken" in wanted:
        wanted["taken"] = _instant(wanted["taken"])
    if isinstance(wanted.get("frameworks"), str):
        wanted["frameworks"] = _pairs(wanted["frameworks"])
    return Options(**wanted)


def _instant(value: object) -> Fraction:
    """Return seconds since 1970. Raises `InvalidValue`."""
    try:
        found = number(value)
    except InvalidValue:
        try:
            moment = datetime.fromisoformat(str(value))
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            found = Fraction(moment.timestamp())
        except (ValueError, OverflowError):
            what = "no time such as 2026-01-31T12:00:00Z, or seconds since 1970"
            raise InvalidValue(f"taken {shown(value)}: {what}") from None
    if not 0 < found <= LONGEST_S:
        raise InvalidValue(f"taken {shown(value)}: not after 1970")
    return found


def _pairs(text: str) -> dict[str, str]:
    found = {}
    for pair in text.split(","):
        name, equals, role = pair.rpartition("=")
        if not (equals and name and role):
            raise InvalidValue(f"frameworks {shown(pair)}: not of the form NAME=ROLE")
        found[name] = role
    return found
