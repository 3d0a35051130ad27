from typing import Self, final

from allocator.engine._bundles import Bundles
from allocator.engine.frameworks import Minimum

@final
class Minima:
    @property
    def amounts(self) -> Minimum: ...
    def __new__(cls, bundles: Bundles, amounts: Minimum) -> Self: ...
