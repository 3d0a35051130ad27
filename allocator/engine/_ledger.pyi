from typing import Self, final

from allocator.engine._bundles import Bundles

@final
class Ledger:
    def __new__(cls, bundles: Bundles) -> Self: ...
