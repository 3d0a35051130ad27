from typing import final

@final
class Marks: ...
