"""The calls are the contract's: the same in the engine, the reference and the audit log."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from allocator import Allocator, reference
from allocator.audit import AuditLog
from allocator.contract import CHANGING, LOOKING, Decider, Engine

#: Whatever fills the contract, and what it fills of it.
FILLED = [(Allocator, Engine), (AuditLog, Engine), (reference.Allocator, Decider)]


def public(kind: type) -> set[str]:
    """Return the names of a class's methods and properties, but for those that make instances."""
    return {
        name
        for name in dir(kind)
        if not name.startswith("_")
        and not isinstance(inspect.getattr_static(kind, name), classmethod)
    }


def parameters(call: Any) -> list[tuple[str, Any, object]]:
    """Return name, kind and default of each parameter."""
    signature = inspect.signature(call)
    return [(p.name, p.kind, p.default) for p in signature.parameters.values()]


def test_each_call_is_marked_in_one_way() -> None:
    assert public(Engine) == {*CHANGING, *LOOKING}
    assert len(CHANGING) + len(LOOKING) == len({*CHANGING, *LOOKING})


def test_the_engine_has_no_other_calls() -> None:
    assert public(Allocator) == public(Engine)


def test_the_log_adds_only_its_end() -> None:
    assert public(AuditLog) - public(Engine) == {"close"}


def test_the_reference_has_no_other_calls() -> None:
    assert public(reference.Allocator) <= public(Engine)


def test_the_reference_has_the_options_of_the_engine() -> None:
    assert parameters(reference.Allocator) == parameters(Allocator)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, contract in FILLED for name in sorted(public(contract))],
)
def test_a_call_has_the_signature_of_the_contract(kind: type, name: str) -> None:
    wanted = inspect.getattr_static(Engine, name)
    found = inspect.getattr_static(kind, name)
    if isinstance(wanted, property):
        assert isinstance(found, property)
        assert (found.fset is None) == (wanted.fset is None)
    else:
        assert parameters(found) == parameters(wanted)
