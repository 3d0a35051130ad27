from typing import Self, final

from allocator.engine._bundles import Bundles

@final
class Ledger:
    @property
    def prefix(self) -> str: ...
    def __new__(cls, bundles: Bundles, prefix: str) -> Self: ...
