"""Slurm's QOS, whose GrpTRES limits all jobs that have it, whoever's they are.

That is a limit on one role where all who may have the QOS are the subtree of one account, or one
user, and may have no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from allocator.sim.importers.amounts import Amounts, limit_by
from allocator.sim.importers.slurm.accounts import Runner, listed_limits
from allocator.sim.importers.slurm.words import Json, limits, text_of
from allocator.sim.importers.source import Path, Queue, Source

#: Columns of `sacctmgr -P show qos` that no table of anything else has.
_COLUMNS = frozenset(("gracetime", "usagefactor", "maxtrespu", "maxtrespa", "grptres"))


class QualitiesOfService:
    """Collects QOS, and tells for which role the limit of each is."""

    def __init__(self, source: Source) -> None:
        self._source = source
        #: QOS -> what all its jobs together may have in use
        self._limits: dict[str, Amounts] = {}
        #: those that are a partition's, and so any job's of it
        self._of_partitions: set[str] = set()

    def take(self, qos: Json) -> None:
        """Take one of slurmrestd, or of `sacctmgr --json`. Raises `InvalidValue`."""
        most = ((qos.get("limits") or {}).get("max") or {}).get("tres") or {}
        total = most.get("total")
        limit = limits(total) if isinstance(total, str) else listed_limits(total)
        self._add(str(qos.get("name")), limit)

    def take_rows(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Take those of `sacctmgr -P show qos`. Raises `InvalidValue`."""
        for row in rows:
            name = row.get("name", "").strip()
            if name:
                self._add(name, limits(row.get("grptres", "").strip()))

    def _add(self, name: str, limit: Amounts) -> None:
        if name not in self._limits:
            self._limits[name] = limit
            self._source.lacks("QOS: priorities and limits", name)

    def of_partition(self, value: object) -> None:
        """Note the QOS of a partition: a name, or an object that says which is assigned."""
        name = value.get("assigned") if isinstance(value, Mapping) else value
        if text_of(name):
            self._of_partitions.add(str(name))

    def finish(self, runners: list[Runner]) -> None:
        """Limit the roles that a QOS is for; count the other limits. O(QOS × runners)."""
        for name, limit in self._limits.items():
            if not limit:
                continue
            path = () if name in self._of_partitions else _role_of(name, runners)
            if not path:
                text = "GrpTRES of QOS that are not those of one account alone"
                self._source.lacks(text, name)
                continue
            queue = self._source.queues.setdefault(path, Queue(path))
            limit_by(queue.limit, limit)
            queue.words.append(f"GrpTRES of QOS {name}")
            text = "GrpTRES of QOS whose jobs are all of one role: its limit"
            self._source.tell("limits", text, f"{name}: {'/'.join(path)}")


def is_table(names: Iterable[str]) -> bool:
    """Tell whether a table with these columns is one of QOS. O(columns)."""
    known = set(names)
    return "name" in known and "account" not in known and bool(known & _COLUMNS)


def _role_of(name: str, runners: list[Runner]) -> Path:
    """Return the role whose jobs have a QOS, all of them and nobody else's; or nothing."""
    # who may have which is not known may have any
    having = [runner for runner in runners if name in runner.qos or not runner.qos]
    if not having or any(runner.qos != (name,) for runner in having):
        return ()
    common = having[0].path
    for runner in having:
        shared = 0
        for own, other in zip(common, runner.path, strict=False):
            if own != other:
                break
            shared += 1
        common = common[:shared]
    n_below = sum(runner.path[: len(common)] == common for runner in runners)
    return common if n_below == len(having) else ()
