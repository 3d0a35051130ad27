"""An agent to be killed: launches containers and destroys some, for ever, and says what it did.

python -m tests.agent.driver FOLDER ROOT SEED
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from tests.agent.machine import Machine, usable_cgroups


def start(folder: str, name: str) -> Machine:
    found = usable_cgroups()
    assert not isinstance(found, str)
    return Machine(Path(folder), found, name)


def be_killed(folder: str, name: str, seed: str) -> None:
    host = start(folder, name)
    draw = random.Random(seed)
    said: set[str] = set()

    def say() -> None:
        for word, ids in (("started", host.pids), ("ended", host.ends)):
            for id in ids:
                if f"{word} {id}" not in said:
                    said.add(f"{word} {id}")
                    print(word, id, flush=True)

    print("ready", flush=True)
    for number in range(1000):
        host.begin(f"c{number}", *draw.choice([("sleep", "1000"), ("true",), ("nosuch",)]))
        if draw.random() < 0.3:
            victim = f"c{draw.randrange(number + 1)}"
            print("destroyed", victim, flush=True)
            host.containers.destroy(victim)
        if draw.random() < 0.7:
            host.until(lambda: True)
        say()


if __name__ == "__main__":
    be_killed(*sys.argv[1:])
