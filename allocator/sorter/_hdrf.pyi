from collections.abc import Iterable
from typing import Self, final

from allocator.sorter._tree import TreeOrdering
from allocator.sorter.totals import Totals

@final
class HDRFSorter(TreeOrdering):
    @property
    def saturation(self) -> float: ...
    def __new__(
        cls,
        exclude: Iterable[str] = (),
        *,
        flat: bool = False,
        totals: Totals | None = None,
        saturation: float = 0.0,
    ) -> Self: ...
