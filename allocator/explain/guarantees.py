"""Whom guarantees hold something back for, role by role, while a cycle goes on."""

from __future__ import annotations

from collections.abc import Iterator

from allocator.explain.reasons import Guaranteed
from allocator.explain.rehearsal import Rehearsal, RoleSums
from allocator.roles import ancestry, parent_of


class Guarantees:
    """What guarantees need at the moment; `forget` when that may have changed.

    Parameters
    ----------
    rehearsal : Rehearsal
        Whose quotas stay as they are.
    """

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = rehearsal
        #: Role → the roles right below that are guaranteed something, or have some below that are;
        #: None → those at the top.
        self._below: dict[str | None, dict[str, None]] = {}
        for guarantor in rehearsal.guarantors():
            for role in ancestry(guarantor):
                self._below.setdefault(parent_of(role), {})[role] = None
        self._sums: dict[str, RoleSums] = {}
        self._needs: dict[tuple[str, str], tuple[Guaranteed, ...]] = {}

    def forget(self) -> None:
        """Look again at everything from now on. O(1)."""
        self._sums.clear()
        self._needs.clear()

    def sums(self, role: str) -> RoleSums:
        """Return a role's quota and sums."""
        if role not in self._sums:
            self._sums[role] = self._rehearsal.sums(role)
        return self._sums[role]

    def required(self, name: str) -> tuple[Guaranteed, ...]:
        """Return whom all required headroom of a resource is for. O(guaranteed roles)."""
        return tuple(need for role in self._below.get(None, ()) for need in self._of(role, name))

    def kept(self, role: str, path: list[str], name: str) -> tuple[Guaranteed, ...]:
        """Return whom a role's limit keeps room for, beside the role at the end of a path.

        Those are all below `role` that branch off the path, which goes upward.
        """
        return tuple(
            need
            for above in path[: path.index(role) + 1]
            for beside in self._below.get(above, ())
            if beside not in path
            for need in self._of(beside, name)
        )

    def _of(self, role: str, name: str) -> tuple[Guaranteed, ...]:
        key = role, name
        if key not in self._needs:
            self._needs[key] = tuple(self._work_out(role, name))
        return self._needs[key]

    def _work_out(self, role: str, name: str) -> Iterator[Guaranteed]:
        """Yield the role if its own guarantee needs most, else those below it that do.

        What they hold is the role's need: its limit may leave less than they lack together, and
        then the first of them hold it.
        """
        sums = self.sums(role)
        left = sums.need.get(name, 0)
        if not left:
            return
        below = [need for child in self._below.get(role, ()) for need in self._of(child, name)]
        own = sums.guarantee.get(name, 0) - sums.consumed.get(name, 0)
        if own >= sum(need.held_milli for need in below):
            below = [Guaranteed(role, own, own)]
        for need in below:
            held = min(need.held_milli, left)
            left -= held
            yield Guaranteed(need.role, held, need.short_milli)
