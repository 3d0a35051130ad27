"""What tests of containers need of the machine: root and cgroups, or they are skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.agent.containers.cgroups import Cgroups
from tests.agent.machine import (
    Machine,
    machine,
    remove_roots,
    root_name,
    skip_without,
    usable_cgroups,
)


@pytest.fixture(scope="session")
def found() -> Cgroups | str:
    return usable_cgroups()


@pytest.fixture
def host(found: Cgroups | str, tmp_path: Path) -> Iterator[Machine]:
    """A machine whose containers have namespaces and cgroups."""
    with machine(tmp_path, skip_without(found)) as this:
        yield this


@pytest.fixture(params=["process", "linux"])
def kind(request: pytest.FixtureRequest, found: Cgroups | str) -> Iterator[tuple[str, ...]]:
    """The runtime, as options."""
    if request.param == "process":
        yield ("--runtime", "process")
        return
    skip_without(found)
    yield ("--cgroups_root", root_name()) if os.geteuid() == 0 else ()
    remove_roots()
