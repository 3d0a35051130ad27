"""What a dump says, in few words: machines, queues, work, and what was odd.

A reader of one system fills a `Source`; what it becomes here is decided in one shared place, for
all systems alike (`policy`, `placing`). Amounts of queues are exact; those of machines and tasks
were rounded once, to thousandths.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

from allocator.errors import shown
from allocator.resources import Resources
from allocator.resources.fixed import write_milli
from allocator.sim.importers.amounts import Amounts, Milli, add_milli
from allocator.sim.importers.documents import Document

#: Of the objects that something is told of, so many are named.
SHOWN_OBJECTS = 5

Path = tuple[str, ...]


@dataclass(slots=True)
class Node:
    """A machine.

    Parameters
    ----------
    id : str
    amounts : dict
        What it has, in thousandths.
    kind : str
        What jobs may ask for, such as a model of GPU.
    attributes : dict
    region, zone : str or None
    state : str
        Why it takes nothing new; empty if it does.
    stays : bool
        Whether it is part of the cluster though it takes nothing: drained or cordoned, not gone.
    reserved : dict
        Role path -> what is reserved for it there, in thousandths.
    exact : dict
        Role path -> the same with who reserved it and on top of what, where that is known.
    others : str
        Ranges and sets, as text.
    most_tasks : int or None
        How many tasks it may run at once, which no engine models.
    uid : str
        What tells it from another machine of its id, where the source has such a thing.
    """

    id: str
    amounts: Milli
    kind: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    region: str | None = None
    zone: str | None = None
    state: str = ""
    stays: bool = False
    reserved: dict[Path, Milli] = field(default_factory=dict)
    exact: dict[Path, Resources] = field(default_factory=dict)
    others: str = ""
    most_tasks: int | None = None
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Outage:
    """Machines that are away at a known time.

    Parameters
    ----------
    machines : tuple of str
    start_s : float
        In seconds from the dump on; below 0 if it has begun.
    duration_s : float or None
        None: they do not come back.
    """

    machines: tuple[str, ...]
    start_s: float
    duration_s: float | None

    @property
    def at_s(self) -> float:
        """When they go, not before the dump, to the millisecond. O(1)."""
        return round(max(0.0, self.start_s), 3)

    @property
    def for_s(self) -> float | None:
        """For how long they are away from then on. O(1)."""
        if self.duration_s is None:
            return None
        return round(self.duration_s + min(0.0, self.start_s), 3)

    @property
    def is_over(self) -> bool:
        """Whether they are back already. O(1)."""
        return self.for_s is not None and self.for_s <= 0


@dataclass(slots=True)
class Queue:
    """A queue, account or role, which becomes a role.

    Parameters
    ----------
    path : tuple of str
        From the topmost, without the system's root.
    weight : Fraction or None
        The source's own; None for none.
    entitlement : dict
        What it is entitled to while others may use what is idle.
    implied : dict
        What its weight is found by where it has no entitlement of its own.
    guarantee : dict
        What is held back for it.
    limit : dict
        What it may not exceed; zero is a limit.
    entitlement_percent, limit_percent : Fraction, dict or None
        Of the cluster, of all that it has or by name.
    state : str
        Where it takes no new work, the source's word for it.
    words : list of str
        What the source said, for people who read the scenario.
    """

    path: Path
    weight: Fraction | None = None
    entitlement: Amounts = field(default_factory=dict)
    implied: Amounts = field(default_factory=dict)
    guarantee: Amounts = field(default_factory=dict)
    limit: Amounts = field(default_factory=dict)
    entitlement_percent: Fraction | Amounts | None = None
    limit_percent: Fraction | Amounts | None = None
    state: str = ""
    words: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Work:
    """Equal tasks of one tenant: a framework in a role.

    Parameters
    ----------
    framework : str
    path : tuple of str
        Its role.
    demand : dict
        What each task holds or asks for, in thousandths.
    count : int
    machine : str or None
        Where they run; None if the dump does not say.
    is_task : bool
        False for use that belongs to no task of the dump.
    others : str
        Ranges and sets, as text.
    tasks : int or None
        How many the source calls them, where that is not `count`: a job of several machines is one.
    gang : int
        Of what waits, so many start all at once; `count` is a multiple of it.
    fixed : bool
        Whether they belong to their machine, and cannot move.
    """

    framework: str
    path: Path
    demand: Milli
    count: int = 1
    machine: str | None = None
    is_task: bool = True
    others: str = ""
    tasks: int | None = None
    gang: int = 1
    fixed: bool = False

    @property
    def n_tasks(self) -> int:
        """How many tasks of the dump it is. O(1)."""
        if not self.is_task:
            return 0
        return self.count if self.tasks is None else self.tasks


@dataclass(frozen=True, slots=True)
class Told:
    """Something that people should know about a dump: what, how often, and of which objects."""

    kind: str
    count: int
    text: str
    objects: tuple[str, ...]


#: Kinds of what is told that `--strict` makes errors.
NOT_MODELLED = "not modelled"
UNKNOWN_FILES = "files not understood"


@dataclass(slots=True)
class Source:
    """All that a dump says.

    Parameters
    ----------
    system : str
    nodes : dict
        Machine id -> machine, in the order of the dump.
    queues : dict
        Path -> queue, in the order of the dump.
    running, waiting : list of Work
        In the order of the dump.
    frameworks : dict
        Framework -> its roles, of those that are known beyond their work.
    suppressed : dict
        Framework -> its roles in which it wants nothing for now.
    capabilities : dict
        Framework -> what it can deal with, in Mesos' words, where the dump says so.
    inactive : set
        Frameworks that are not connected.
    not_running : Counter
        What is neither running nor waiting, and the waiting by the source's word for it.
    outages : list of Outage
        What is planned of machines; each is in one at most.
    by_framework : bool
        Whether people know running work by framework, not by role.
    """

    system: str
    nodes: dict[str, Node] = field(default_factory=dict)
    queues: dict[Path, Queue] = field(default_factory=dict)
    running: list[Work] = field(default_factory=list)
    waiting: list[Work] = field(default_factory=list)
    frameworks: dict[str, list[Path]] = field(default_factory=dict)
    suppressed: dict[str, frozenset[Path]] = field(default_factory=dict)
    capabilities: dict[str, frozenset[str]] = field(default_factory=dict)
    inactive: set[str] = field(default_factory=set)
    not_running: Counter[str] = field(default_factory=Counter)
    outages: list[Outage] = field(default_factory=list)
    by_framework: bool = False
    _told: dict[tuple[str, str], tuple[int, list[str]]] = field(default_factory=dict)

    def tell(self, kind: str, text: str, subject: str | None = None, n: int = 1) -> None:
        """Count something, and remember what it was of, of the first few. O(1)."""
        count, objects = self._told.get((kind, text), (0, []))
        if subject is not None and len(objects) < SHOWN_OBJECTS and subject not in objects:
            objects.append(subject)
        self._told[kind, text] = count + n, objects

    def lacks(self, what: str, subject: str | None = None, n: int = 1) -> None:
        """Count a feature that is present and not modelled. O(1)."""
        self.tell(NOT_MODELLED, what, subject, n)

    @property
    def told(self) -> list[Told]:
        """All that was told, in order of kind and first mention. O(n log n)."""
        found = [Told(k, n, text, tuple(o)) for (k, text), (n, o) in self._told.items()]
        return sorted(found, key=lambda told: told.kind)

    def add_node(self, node: Node, document: Document) -> None:
        """Add a machine; one that is there already must be the same. Raises `DumpError`.

        So it does for one that has not what is reserved there.
        """
        _check_reserved(node, document)
        known = self.nodes.get(node.id)
        if known is None:
            self.nodes[node.id] = node
        elif known.amounts == node.amounts and (
            known.uid == node.uid or "" in (known.uid, node.uid)
        ):
            self.tell("given twice", "machines given more than once, counted once", node.id)
            if node.state and not known.state:
                known.state, known.stays = node.state, node.stays
        else:
            raise document.error(
                f"machine {shown(node.id)} is given twice, with different content:"
                " dumps of two clusters, or of two times"
            )

    def add_queue(self, queue: Queue, document: Document) -> None:
        """Add a queue; one that is there already must be the same. Raises `DumpError`."""
        known = self.queues.get(queue.path)
        if known is None:
            self.queues[queue.path] = queue
        elif known == queue:
            self.tell("given twice", "queues given more than once, counted once", name(queue))
        else:
            raise document.error(
                f"queue {shown('/'.join(queue.path))} is given twice, with different content"
            )

    def is_empty(self) -> bool:
        """Tell whether nothing was found that could be imported. O(1)."""
        return not (self.nodes or self.queues or self.running or self.waiting or self.frameworks)


def _check_reserved(node: Node, document: Document) -> None:
    """Raise `DumpError` if more is reserved than there is, by more than rounding makes."""
    sums: Milli = {}
    for own in node.reserved.values():
        add_milli(sums, own)
    for name, amount in sums.items():
        has = node.amounts.get(name, 0)
        if amount > has + len(node.reserved):
            raise document.error(
                f"machine {shown(node.id)}: {name}:{write_milli(amount)} reserved in all, more than"
                f" the {name}:{write_milli(has)} that it has"
            )


def name(queue: Queue) -> str:
    """Return a queue's path as text."""
    return "/".join(queue.path)
