"""The Linux runtime: each task has namespaces, and cgroups that limit it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from allocator.agent.launching import LaunchingRuntime


class LinuxRuntime(LaunchingRuntime):
    """Runs tasks in containers of their own."""

    def statistics(self, container_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return what containers use, by id, in one pass; one that cannot be read is left out.

        O(containers), and of each a few reads of files that are open.
        """
        return self._containers.statistics(container_ids)
