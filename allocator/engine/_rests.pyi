from typing import Self, final

from allocator.engine._items import Items

@final
class Rests:
    def __new__(cls, items: Items) -> Self: ...
