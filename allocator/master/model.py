"""What `/state` and its siblings are made of: JSON in blocks, written again where it changed.

Tasks, agents and offers stand in blocks of a few each, and a block is text; one record that changed
has its block written again, and nothing else. A reading is a list of such texts, to be joined.

X1. What the master marked and the engine told is taken in before anything is written; when
    `advance` returns True all texts say what is, at this very instant.
X2. `advance` works no longer than it is allowed to, and goes on where it stopped.
X3. `generation` goes up whenever a text may have become another one, and at no other time.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Generic, Literal, TypeVar

from allocator.contract import Offer
from allocator.master import forms
from allocator.master._writer import (
    agents_text,
    framework_text,
    json_text,
    offers_text,
    tasks_text,
)
from allocator.master.master import Master
from allocator.master.records import Agent, Executor, Framework, Task
from allocator.resources import Resources

R = TypeVar("R")

#: How many records share a text: few enough that to write them all for one costs little, many
#: enough that joining has little to do.
TASKS_PER_BLOCK: Final = 32
AGENTS_PER_BLOCK: Final = 8

#: A framework of fewer bytes is one text.
_SMALL: Final = 1 << 14

#: How many marks are taken in between two looks at the time.
_MARKS_AT_ONCE: Final = 64


class Block(Generic[R]):
    """A few records, and their text."""

    __slots__ = ("records", "text")

    def __init__(self) -> None:
        self.records: dict[str, R] = {}
        self.text = b""


class Blocks(Generic[R]):
    """Records by key, in blocks of text; those of a block have commas between them.

    Parameters
    ----------
    write : callable
        Returns the text of some records.
    size : int
        How many records a block has at the most.
    """

    def __init__(self, write: Callable[[Iterable[R]], bytes], size: int) -> None:
        self._write = write
        self._size = size
        #: Key → the block that its record is in.
        self._where: dict[str, Block[R]] = {}
        #: All blocks, none of them empty, in the order of their texts.
        self._blocks: dict[Block[R], None] = {}
        #: Those that have room, empty ones too, which are not among all.
        self._open: list[Block[R]] = []
        #: Those whose text is not what it should be.
        self._stale: dict[Block[R], None] = {}
        self._parts: list[bytes] | None = None

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, key: object) -> bool:
        return key in self._where

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def put(self, key: str, record: R) -> None:
        """Take a record in, or in place of the one of this key, or note that it changed. O(1)."""
        block = self._where.get(key)
        if block is None:
            if not self._open:
                self._open.append(Block())
            block = self._where[key] = self._open[-1]
            self._blocks[block] = None
            if len(block.records) == self._size - 1:
                self._open.pop()
        block.records[key] = record
        self._stale[block] = None

    def drop(self, key: str) -> None:
        """Take a record out, if it is there. O(1)."""
        block = self._where.pop(key, None)
        if block is None:
            return
        if len(block.records) == self._size:
            self._open.append(block)
        del block.records[key]
        if block.records:
            self._stale[block] = None
        else:
            del self._blocks[block]
            self._stale.pop(block, None)
        self._parts = None

    def sync(self, records: Mapping[str, R]) -> None:
        """Have just these records, where one of a known key did not change. O(records)."""
        for key in [key for key in self._where if key not in records]:
            self.drop(key)
        for key in [key for key in records if key not in self._where]:
            self.put(key, records[key])

    def write(self, until: float) -> bool:
        """Write stale texts, no longer than until then; return whether none is left.

        Times are those of `perf_counter`. At least one is written.
        """
        if self._stale:
            self._parts = None
        while self._stale:
            block, _ = self._stale.popitem()
            block.text = self._write(block.records.values())
            if time.perf_counter() > until:
                break
        return not self._stale

    def parts(self) -> list[bytes]:
        """Return the texts with commas between them. O(1) unless one changed, else O(blocks)."""
        if self._parts is None:
            self._parts = separated([block.text for block in self._blocks])
        return self._parts


def separated(texts: list[bytes]) -> list[bytes]:
    """Return texts with commas between them. O(texts)."""
    found = [b","] * (2 * len(texts) - 1) if texts else []
    found[::2] = texts
    return found


class Tail:
    """The tasks of a queue that only grows at its end and is cut at its beginning, in blocks.

    Parameters
    ----------
    write : callable
        Returns the text of some tasks.
    """

    def __init__(self, write: Callable[[Iterable[Task]], bytes]) -> None:
        self._write = write
        self._start(None)

    def _start(self, tasks: deque[Task] | None) -> None:
        self._tasks = tasks
        #: How many tasks there ever were before the first one, and before the end.
        self._first = self._end = 0
        self._last: Task | None = None
        #: Number of a task // `TASKS_PER_BLOCK` → text of those of this number.
        self._texts: dict[int, bytes] = {}

    def follow(self, tasks: deque[Task]) -> None:
        """Write the texts of what is new. O(new + a block); of another queue, all."""
        if tasks is not self._tasks:
            self._start(tasks)
        n_new = 0
        for task in reversed(tasks):
            if task is self._last:
                break
            n_new += 1
        first, end = self._end + n_new - len(tasks), self._end + n_new
        stale = set(range(self._end // TASKS_PER_BLOCK, -(-end // TASKS_PER_BLOCK)))
        if n_new and first > self._first:
            stale.add(first // TASKS_PER_BLOCK)
        for number in [n for n in self._texts if n < first // TASKS_PER_BLOCK]:
            del self._texts[number]
        for number in sorted(stale) if n_new else ():
            begin = number * TASKS_PER_BLOCK
            if begin + TASKS_PER_BLOCK > first:
                some = itertools.islice(
                    tasks, max(begin - first, 0), begin + TASKS_PER_BLOCK - first
                )
                self._texts[number] = self._write(some)
        self._first, self._end = first, end
        self._last = tasks[-1] if tasks else None

    def parts(self) -> list[bytes]:
        """Return the texts with commas between them. O(blocks)."""
        return separated(list(self._texts.values()))


class Held:
    """What many things hold together, each by its key."""

    __slots__ = ("_by_key", "_milli", "_special")

    def __init__(self) -> None:
        self._by_key: dict[str, Resources] = {}
        #: Name → the sum of the plain scalars, in 1/1000.
        self._milli: dict[str, int] = {}
        #: Those that have other resources, too: they do not subtract as they add.
        self._special: dict[str, Resources] = {}

    def set(self, key: str, resources: Resources | None) -> None:
        """Note what one thing holds now. O(names)."""
        before = self._by_key.get(key)
        if before is resources:
            return
        if before is not None:
            self._add(before, -1)
            del self._by_key[key]
            self._special.pop(key, None)
        if resources is not None:
            self._add(resources, 1)
            self._by_key[key] = resources
            if special := resources.special():
                self._special[key] = special

    def _add(self, resources: Resources, sign: int) -> None:
        for name, amount in resources.plain_milli.items():
            self._milli[name] = self._milli.get(name, 0) + sign * amount

    def total(self) -> Resources:
        """Return the sum. O(names), and O(things with other resources than plain scalars)."""
        return sum(self._special.values(), start=Resources.from_milli(self._milli))


class HeldByRole:
    """The same by the roles in which things are held."""

    __slots__ = ("_by_role", "_role_of")

    def __init__(self) -> None:
        self._by_role: dict[str, Held] = {}
        self._role_of: dict[str, str] = {}

    def set(self, key: str, role: str, resources: Resources) -> None:
        """Note what one thing holds now, and in which role. O(names)."""
        if self._role_of.get(key, role) != role:
            self.drop(key)
        self._role_of[key] = role
        self._by_role.setdefault(role, Held()).set(key, resources)

    def drop(self, key: str) -> None:
        """Note that a thing holds nothing. O(names)."""
        role = self._role_of.pop(key, None)
        if role is not None:
            self._by_role[role].set(key, None)

    def total(self) -> Resources:
        """Return the sum over all roles; costs as `Held.total` of each."""
        return sum((held.total() for held in self._by_role.values()), start=Resources())

    def by_role(self) -> dict[str, Resources]:
        """Return the sum of each role in which something is held."""
        sums = {role: held.total() for role, held in self._by_role.items()}
        return {role: total for role, total in sums.items() if total}


class TaskTexts:
    """The tasks of a framework as text: those that there are, are unreachable, are completed.

    Parameters
    ----------
    write : callable
        Returns the text of some tasks.
    """

    def __init__(self, write: Callable[[Iterable[Task]], bytes]) -> None:
        self.tasks: Blocks[Task] = Blocks(write, TASKS_PER_BLOCK)
        self.unreachable: Blocks[Task] = Blocks(write, TASKS_PER_BLOCK)
        self.completed = Tail(write)

    def place(self, framework: Framework, id: str) -> None:
        """Note that a task changed, and perhaps where it stands. O(1)."""
        for blocks, records in (
            (self.tasks, framework.tasks),
            (self.unreachable, framework.unreachable),
        ):
            if (record := records.get(id)) is not None:
                blocks.put(id, record)
            else:
                blocks.drop(id)

    def write(self, framework: Framework, until: float) -> bool:
        """Write what changed, no longer than until then; return whether all is written."""
        for blocks, records in (
            (self.tasks, framework.tasks),
            (self.unreachable, framework.unreachable),
        ):
            if len(blocks) != len(records):  # the oldest went, unmarked, to make room
                blocks.sync(records)
            if not blocks.write(until):
                return False
        self.completed.follow(framework.completed)
        return True


def executors_text(executors: Iterable[Executor]) -> bytes:
    """Return executors as `/state` shows them, with commas between them. O(executors)."""
    return b",".join([json_text(forms.executor_state(each)) for each in executors])


class FrameworkText:
    """A framework as `/state` shows it, with its tasks and offers."""

    def __init__(self, framework: Framework) -> None:
        self._framework = framework
        self._tasks = TaskTexts(tasks_text)
        #: The same in v1 form; from the first time that they are asked for.
        self.in_v1: TaskTexts | None = None
        self._offers: Blocks[Offer] = Blocks(offers_text, TASKS_PER_BLOCK)
        self._executors: Blocks[Executor] = Blocks(executors_text, TASKS_PER_BLOCK)
        self._known_executors: dict[str, Executor] = {}
        #: What its tasks hold, by their ids, and its executors, by theirs after a slash.
        self._used = HeldByRole()
        self._offered = HeldByRole()
        #: What it is up to its lists, without a closing brace.
        self.head = b""
        self._parts: list[bytes] = []

    def place(self, task: Task) -> None:
        """Note that a task changed, and perhaps where it stands. O(names)."""
        framework, id = self._framework, task.id
        self._tasks.place(framework, id)
        if self.in_v1 is not None:
            self.in_v1.place(framework, id)
        held = framework.tasks.get(id)
        if held is not None and held.holds:
            self._used.set(id, held.role, held.resources)
        else:
            self._used.drop(id)

    def write(self, framework: Framework, offers: Mapping[str, Offer], until: float) -> bool:
        """Write what changed, no longer than until then; return whether all is written.

        `framework` is the record of this id now; `offers` are all that are open.
        """
        self._framework = framework
        self._follow_offers(offers)
        for texts in (self._tasks, self.in_v1):
            if texts is not None and not texts.write(framework, until):
                return False
        self._follow_executors()
        if not (self._offers.write(until) and self._executors.write(until)):
            return False
        self._parts = self._put_together()
        return True

    def _follow_offers(self, offers: Mapping[str, Offer]) -> None:
        """Take in the offers that are new, and forget those that are closed. O(open offers)."""
        now = self._framework.offers
        for id in [id for id in self._offers if id not in now]:
            self._offered.drop(id)
            self._offers.drop(id)
        for id in now:
            if id not in self._offers:
                self._offered.set(id, offers[id].role, offers[id].resources)
                self._offers.put(id, offers[id])

    def _follow_executors(self) -> None:
        """Take in the executors that are new, and forget those that are gone. O(executors)."""
        now = {f"{agent}/{id}": each for (agent, id), each in self._framework.executors.items()}
        for key in [key for key in self._executors if key not in now]:
            self._used.drop(f"/{key}")
            self._executors.drop(key)
        for key, executor in now.items():
            # One that was launched again is another one, though it has the same key.
            if self._known_executors.get(key) is not executor:
                self._used.set(f"/{key}", executor.role, executor.resources)
                self._executors.put(key, executor)
        self._known_executors = now

    def _put_together(self) -> list[bytes]:
        self.head = framework_text(self._framework, self._used.total(), self._offered.total())
        parts = [self.head, b',"executors":[']
        parts += self._executors.parts()
        parts.append(b'],"tasks":[')
        parts += self._tasks.tasks.parts()
        parts.append(b'],"unreachable_tasks":[')
        parts += self._tasks.unreachable.parts()
        parts.append(b'],"completed_tasks":[')
        parts += self._tasks.completed.parts()
        parts.append(b'],"offers":[')
        parts += self._offers.parts()
        parts.append(b"]}")
        return [b"".join(parts)] if sum(map(len, parts)) < _SMALL else parts

    @property
    def used(self) -> Resources:
        """What its tasks hold. O(names), and O(tasks with other resources than plain scalars)."""
        return self._used.total()

    @property
    def held(self) -> tuple[dict[str, Resources], dict[str, Resources]]:
        """What it uses and what it is offered, by role; costs as `used`."""
        return self._used.by_role(), self._offered.by_role()

    def parts(self) -> list[bytes]:
        """Return the texts. O(1)."""
        return self._parts


class Model:
    """All that is read, as text.

    Parameters
    ----------
    master : Master
        Its marks are taken by nobody else.
    """

    def __init__(self, master: Master) -> None:
        self._master = master
        self._changes = master.engine.changes()
        self._views = master.engine.agents
        self._agents: Blocks[Agent] = Blocks(self._agents_text, AGENTS_PER_BLOCK)
        #: The same with resources in v1 form; from the first time that they are asked for.
        self._in_full: Blocks[Agent] | None = None
        #: The same as the operator API shows them; likewise.
        self._in_v1: Blocks[Agent] | None = None
        self._recovered: Blocks[Agent] = Blocks(self._agents_text, AGENTS_PER_BLOCK)
        #: Id → text, of frameworks that are registered or completed.
        self._frameworks: dict[str, FrameworkText] = {}
        #: Ids of those of which something is to be written.
        self._stale: dict[str, None] = {}
        #: What was marked and is to be taken in, the latest first.
        self._marked: list[Task | Framework | Agent] = []
        #: Ids of the agents on which nothing is offered.
        self._inactive: set[str] = set()
        self._unmarked: tuple[int, ...] = ()
        self._policy_generation = 0
        #: Goes up when `/state` may show something else than before (X3).
        self.generation = 0
        #: Goes up when a role, a weight or a quota may be shown otherwise.
        self.role_generation = 0
        self._mark_all()

    def _mark_all(self) -> None:
        """Have all that there is be taken in."""
        master = self._master
        for agent in master.agents.values():
            master.mark(agent)
        for framework in (*master.frameworks.values(), *master.completed):
            master.mark(framework)
            for task in (*framework.tasks.values(), *framework.unreachable.values()):
                master.mark(task)

    def close(self) -> None:
        """Follow the engine no longer. O(1)."""
        self._changes.close()

    # Following.

    def advance(self, seconds: float, *, in_full: bool = False, in_v1: bool = False) -> bool:
        """Take in what changed and write it, for so long at the most (X2).

        Returns
        -------
        bool
            Whether all is done (X1), with `in_full` the agents with resources in v1 form too, with
            `in_v1` what the operator API shows too.
        """
        until = time.perf_counter() + seconds
        if in_v1 and self._in_v1 is None:
            self._begin_v1()
        return self.follow(until) and self._write(until, in_full, in_v1)

    def _begin_v1(self) -> None:
        """Have what the operator API shows be written, too, from now on."""
        self._in_v1 = Blocks(self._v1_text, AGENTS_PER_BLOCK)
        self._in_v1.sync(self._master.agents)
        for id, text in self._frameworks.items():
            text.in_v1 = TaskTexts(forms.tasks_text)
            self._stale[id] = None

    def follow(self, until: float) -> bool:
        """Take in what changed, no longer than until then; return whether that is all."""
        self._follow_engine()
        master = self._master
        unmarked = (len(master.recovered_agents), len(master.unreachable_agents))
        if unmarked != self._unmarked:
            self._unmarked = unmarked
            self.generation += 1
        if master.policy_generation != self._policy_generation:
            self._policy_generation = master.policy_generation
            self.role_generation += 1
        if master.changed:
            self.generation += 1
        while self._marked or master.changed:
            if not self._marked:
                self._marked = list(reversed(master.changed))
                master.changed.clear()
            for _ in range(min(_MARKS_AT_ONCE, len(self._marked))):
                self._take(self._marked.pop())
            if time.perf_counter() > until:
                break
        return not self._marked and not master.changed

    def _follow_engine(self) -> None:
        """Mark the agents that the engine shows otherwise than before. O(what changed)."""
        master = self._master
        for kind, id in self._changes.take():
            if kind == "agent" and id in master.agents:
                master.changed[master.agents[id]] = None
            elif kind == "role":
                self.role_generation += 1

    def _take(self, record: Task | Framework | Agent) -> None:
        if isinstance(record, Task):
            text = self._text_of(record.framework_id)
            if text is not None:
                text.place(record)
                self._stale[record.framework_id] = None
        elif isinstance(record, Agent):
            self._take_agent(record.id)
        else:
            self._text_of(record.id)
            self._stale[record.id] = None

    def _take_agent(self, id: str) -> None:
        agent = self._master.agents.get(id)
        for blocks in (self._agents, self._in_full, self._in_v1):
            if blocks is not None and agent is not None:
                blocks.put(id, agent)
            elif blocks is not None:
                blocks.drop(id)
        if agent is None or agent.active:
            self._inactive.discard(id)
        else:
            self._inactive.add(id)

    def _text_of(self, id: str) -> FrameworkText | None:
        """Return the text of a framework, a new one if there is none; None if it is forgotten."""
        text = self._frameworks.get(id)
        if text is None and (framework := self._framework(id)) is not None:
            text = self._frameworks[id] = FrameworkText(framework)
            if self._in_v1 is not None:
                text.in_v1 = TaskTexts(forms.tasks_text)
        return text

    def _framework(self, id: str) -> Framework | None:
        found = self._master.frameworks.get(id)
        if found is None:
            found = next((each for each in self._master.completed if each.id == id), None)
        return found

    # Writing.

    def _write(self, until: float, in_full: bool, in_v1: bool) -> bool:
        master = self._master
        if len(self._recovered) != len(master.recovered_agents):
            self._recovered.sync(master.recovered_agents)
        if in_full and self._in_full is None:
            self._in_full = Blocks(self._full_text, AGENTS_PER_BLOCK)
            self._in_full.sync(master.agents)
        agents = self._in_full if in_full else self._in_v1 if in_v1 else self._agents
        for blocks in (agents, self._recovered):
            if blocks is not None and not blocks.write(until):
                return False
        return self._write_frameworks(until)

    def _write_frameworks(self, until: float) -> bool:
        master = self._master
        while self._stale:
            id, _ = self._stale.popitem()
            framework = self._framework(id)
            if framework is None:
                self._frameworks.pop(id, None)
            elif not self._frameworks[id].write(framework, master.offers, until):
                self._stale[id] = None
                return False
            if time.perf_counter() > until:
                break
        if len(self._frameworks) > len(master.frameworks) + len(master.completed):
            kept = {framework.id for framework in master.completed} | master.frameworks.keys()
            self._frameworks = {id: t for id, t in self._frameworks.items() if id in kept}
        return not self._stale

    def _agents_text(self, agents: Iterable[Agent]) -> bytes:
        return agents_text(agents, self._views)

    def _full_text(self, agents: Iterable[Agent]) -> bytes:
        return agents_text(agents, self._views, in_full=True)

    def _v1_text(self, agents: Iterable[Agent]) -> bytes:
        return forms.agents_text(self._master.engine, agents)

    # Reading; all of this is right just after `advance` returned True.

    @property
    def n_inactive(self) -> int:
        """How many agents are registered on which nothing is offered."""
        return len(self._inactive)

    def agents(self, *, in_full: bool = False) -> list[bytes]:
        """Return the agents that are registered. O(1)."""
        blocks = self._in_full if in_full else self._agents
        return [] if blocks is None else blocks.parts()

    def agents_in_v1(self) -> list[bytes]:
        """Return the agents that are registered as the operator API shows them. O(1)."""
        return [] if self._in_v1 is None else self._in_v1.parts()

    def tasks_in_v1(
        self, frameworks: Iterable[Framework], which: Literal["tasks", "unreachable", "completed"]
    ) -> list[bytes]:
        """Return tasks of frameworks as the operator API shows them. O(frameworks + texts)."""
        parts: list[bytes] = []
        for framework in frameworks:
            texts = self._frameworks[framework.id].in_v1
            found = [] if texts is None else getattr(texts, which).parts()
            if parts and found:
                parts.append(b",")
            parts += found
        return parts

    def recovered(self) -> list[bytes]:
        """Return the agents that are waited for. O(1)."""
        return self._recovered.parts()

    def frameworks(self, frameworks: Iterable[Framework]) -> list[bytes]:
        """Return some frameworks, with commas between them. O(frameworks + texts)."""
        parts: list[bytes] = []
        for framework in frameworks:
            if parts:
                parts.append(b",")
            parts += self._frameworks[framework.id].parts()
        return parts

    def used(self, id: str) -> Resources:
        """Return what a framework's tasks hold, as far as it was followed. O(names)."""
        text = self._frameworks.get(id)
        return Resources() if text is None else text.used

    def held(self, framework: Framework) -> tuple[dict[str, Resources], dict[str, Resources]]:
        """Return what a framework uses and what it is offered, by role. O(roles × names)."""
        return self._frameworks[framework.id].held

    def head(self, framework: Framework) -> bytes:
        """Return a framework up to its lists, without a closing brace. O(1)."""
        return self._frameworks[framework.id].head
