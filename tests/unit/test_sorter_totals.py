"""Totals: the agents' scalars, their version and their columns."""

from __future__ import annotations

import pytest

from allocator.errors import DuplicateAgent, ResourceError, UnknownAgent
from allocator.resources import Quantities, Resources
from allocator.sorter import Totals


@pytest.fixture
def totals() -> Totals:
    totals = Totals()
    totals.add_agent("a1", "cpus:8;mem:1024;cpus(eng):2")
    totals.add_agent("a2", "cpus:4;ports:[1-9]")
    return totals


def test_scalars_of_all_agents_add_up(totals: Totals) -> None:
    assert totals.quantities == Quantities("cpus:14;mem:1024")
    totals.update_agent("a1", "gpus:1")
    assert totals.quantities == Quantities("cpus:4;gpus:1")
    totals.remove_agent("a2")
    assert totals.quantities == Quantities("gpus:1")
    assert len(totals) == 1
    assert "a1" in totals
    assert "a2" not in totals


def test_the_version_grows_when_the_scalars_change_and_only_then(totals: Totals) -> None:
    assert totals.version == 2
    totals.add_agent("a3", "ports:[1-9]")
    totals.add_agent("a4", "")
    totals.update_agent("a3", "disks:{a}")
    totals.remove_agent("a3")
    assert totals.version == 2
    totals.update_agent("a4", "cpus:1")
    assert totals.version == 3


def test_a_column_is_a_names_for_ever(totals: Totals) -> None:
    assert [totals.column(name) for name in ("x", "y", "x", "z")] == [0, 1, 0, 2]
    totals.remove_agent("a1")
    assert totals.columns == {"x": 0, "y": 1, "z": 2}


def test_refusals_change_nothing(totals: Totals) -> None:
    before = (totals.quantities, totals.version)
    huge = Resources.from_milli({"mem": 2**63 - 1})
    with pytest.raises(DuplicateAgent, match="'a1'"):
        totals.add_agent("a1", "cpus:1")
    with pytest.raises(UnknownAgent, match="'a3'"):
        totals.update_agent("a3", "cpus:1")
    with pytest.raises(UnknownAgent, match="'a3'"):
        totals.remove_agent("a3")
    with pytest.raises(ResourceError, match="mem"):
        totals.add_agent("a3", huge)
    with pytest.raises(ResourceError, match="mem"):
        totals.update_agent("a2", huge)
    assert (totals.quantities, totals.version) == before
    assert "a3" not in totals
    totals.update_agent("a1", huge)
    assert totals.quantities == Quantities.from_milli({"cpus": 4000, "mem": 2**63 - 1})


def test_a_copy_goes_its_own_way(totals: Totals) -> None:
    totals.column("cpus")
    twin = totals.copy()
    assert (twin.quantities, twin.version) == (totals.quantities, totals.version)
    twin.remove_agent("a1")
    twin.column("mem")
    assert totals.quantities == Quantities("cpus:14;mem:1024")
    assert totals.columns == {"cpus": 0}
    assert twin.columns == {"cpus": 0, "mem": 1}
    assert twin.quantities == Quantities("cpus:4")
