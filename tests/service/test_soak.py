"""A master under load for some time stays as large as what it keeps.

`ALLOCATOR_SOAK_SECONDS` says for how long: 15 without it, an hour before a release.
"""

from __future__ import annotations

import asyncio
import os

from benchmarks import load

SECONDS = float(os.environ.get("ALLOCATOR_SOAK_SECONDS", "15"))

#: After these it has as many completed frameworks as it keeps.
N_ROUNDS_WARM = 60


def test_memory_is_bounded() -> None:
    found = asyncio.run(load.soak(10, SECONDS, N_ROUNDS_WARM))
    assert found["frameworks"] >= N_ROUNDS_WARM
    early = found["MiB at ten times, from the first rounds on"][0]
    assert found["MiB at the end"] < early + 64, found
