"""The audit log: every call of an engine and every offer it made, as JSON lines; and its replay.

A log begins with a header, which holds the engine's snapshot; each further line is one call and
what came of it. As the engine decides by its state, its calls and the time of each alone, making
the calls again from the snapshot must make the same offers; `replay` verifies that it does.

J1. The engine runs on what the log says: it starts from the snapshot as written, is given each
    argument as read back from its record, and reads no other time during a call than the record's.
    So nothing that the log cannot hold can make a difference.
J2. The record of a call is with the operating system before the call returns or raises.
J3. Records are numbered from 1 without gaps, and times never run back.
"""

from allocator.audit.log import AuditLog
from allocator.audit.verify import Difference, Replay, replay

__all__ = ["AuditLog", "Difference", "Replay", "replay"]
