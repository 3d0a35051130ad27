from typing import Self, final

from allocator.engine._bundles import Bundles
from allocator.engine._changes import Journal

@final
class Ledger:
    def __new__(cls, bundles: Bundles, journal: Journal) -> Self: ...
