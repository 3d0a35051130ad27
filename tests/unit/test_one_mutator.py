"""Only the state changes what it keeps: no record lets anybody else write to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import allocator.engine
from allocator import Allocator

ENGINE = Path(allocator.engine.__file__).parent


def state() -> Any:
    engine = Allocator(seed=1)
    engine.add_agent("a", "cpus:4", attributes={"rack": "r1"}, used={"g": {"q/r": "cpus:1"}})
    engine.add_framework("f", ["q/r"])
    engine.set_quota("q", guarantee="cpus:2")
    engine.allocate()
    return engine._state


def records() -> dict[str, Any]:
    whole = state()
    leaf = whole.frameworks["f"].subscriptions["q/r"]
    return {
        "State": whole,
        "Agent": whole.agents["a"],
        "Framework": whole.frameworks["f"],
        "Subscription": leaf,
        "RoleNode": leaf.node,
        "RoleTree": whole.tree,
        "Filters": whole.filters,
        "Journal": whole.journal,
    }


FIELDS = [
    (kind, field)
    for kind, record in records().items()
    for field in sorted(dir(record))
    if not field.startswith("__") and not callable(getattr(record, field))
]


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_no_field_of_a_record_can_be_set_from_outside(kind: str, field: str) -> None:
    record = records()[kind]
    before = getattr(record, field)
    with pytest.raises(AttributeError):
        setattr(record, field, before)
    with pytest.raises(AttributeError):
        delattr(record, field)


@pytest.mark.parametrize("kind", records())
def test_no_record_takes_a_field_that_it_does_not_have(kind: str) -> None:
    with pytest.raises(AttributeError):
        records()[kind].another = 1


def test_the_fields_are_those_that_there_are() -> None:
    # Were the list above empty, it would pass too.
    assert ("Agent", "attributes") in FIELDS
    assert ("Framework", "active") in FIELDS
    assert ("Subscription", "suppressed") in FIELDS
    assert ("State", "n_offers_made") in FIELDS
    assert len(FIELDS) > 50


def test_marks_have_no_field_at_all() -> None:
    from allocator.engine._marks import Marks

    assert [name for name in dir(Marks) if not name.startswith("__")] == []


@pytest.mark.parametrize("header", sorted(ENGINE.glob("*.pxd")), ids=lambda path: path.name)
def test_no_compiled_field_is_public(header: Path) -> None:
    assert re.findall(r"^\s+cdef public .*", header.read_text(), re.MULTILINE) == []


#: What a record is called where it is used → the modules that may write to its fields. Those
#: that belong to the cycle that is running stand apart.
OWNERS = {
    "agent": {"_state.pyx", "_marks.pyx", "_ledger.pyx"},
    "leaf": {"_state.pyx", "_ledger.pyx"},
    "framework": {"_state.pyx"},
    "node": {"_roles.pyx"},
    "state": set(),
    "self.state": set(),
    "self.marks": set(),
    "marks": set(),
}
OF_THE_CYCLE = {"agent.cycle", "leaf.is_wanted", "leaf.stamp", "leaf.viewer", "node.synced"}


@pytest.mark.parametrize("source", sorted(ENGINE.glob("*.pyx")), ids=lambda path: path.name)
def test_compiled_modules_write_to_their_own_records_only(source: Path) -> None:
    for name, owners in OWNERS.items():
        written = re.findall(
            rf"(?<![\w.]){re.escape(name)}((?:\.\w+)+)(?:\[[^\]]*\])? (?:[-+|&]?=) ",
            source.read_text(),
        )
        if source.name not in owners:
            assert {f"{name}{path}" for path in written} - OF_THE_CYCLE == set()


#: What records and their state are called in Python.
NAMES = "state|_state|agent|on|leaf|framework|node|tree|marks|journal"


@pytest.mark.parametrize("source", sorted(ENGINE.glob("*.py")), ids=lambda path: path.name)
def test_no_module_in_python_writes_to_a_record_or_into_its_mappings(source: Path) -> None:
    text = source.read_text()
    assert re.findall(rf"\b(?:{NAMES})(?:\.\w+)+(?:\[[^\]]*\])? [-+|&]?= .*", text) == []
    assert re.findall(rf"\bdel (?:\w+\.)*(?:{NAMES})\..*", text) == []
    changing = "pop|update|clear|setdefault|append|popitem"
    assert re.findall(rf"\b(?:{NAMES})(?:\.\w+)+\.(?:{changing})\(.*", text) == []
