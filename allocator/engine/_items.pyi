from typing import Self, final

from allocator.sorter import Totals

@final
class Items:
    def __new__(cls, totals: Totals) -> Self: ...
