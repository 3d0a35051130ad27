from collections.abc import Iterable
from typing import Any, Self

from typing_extensions import disjoint_base

from allocator.resources import ResourcesLike
from allocator.sorter.totals import Totals

@disjoint_base
class Ordering:
    @property
    def totals(self) -> Totals: ...
    @property
    def flat(self) -> bool: ...
    @property
    def exclude(self) -> frozenset[str]: ...
    def __new__(
        cls,
        exclude: Iterable[str] = (),
        *,
        flat: bool = False,
        totals: Totals | None = None,
        **options: Any,
    ) -> Self: ...
    def add_agent(self, agent: str, resources: ResourcesLike) -> None: ...
    def remove_agent(self, agent: str) -> None: ...

@disjoint_base
class PlainOrdering(Ordering):
    def begin(self, key: int) -> None: ...
