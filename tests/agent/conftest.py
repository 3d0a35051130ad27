"""What tests of containers need of the machine: root and cgroups, or they are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.agent.containers.cgroups import Cgroups
from tests.agent.machine import Machine, machine, skip_without, usable_cgroups


@pytest.fixture(scope="session")
def found() -> Cgroups | str:
    return usable_cgroups()


@pytest.fixture
def host(found: Cgroups | str, tmp_path: Path) -> Iterator[Machine]:
    """A machine whose containers have namespaces and cgroups."""
    with machine(tmp_path, skip_without(found)) as this:
        yield this
