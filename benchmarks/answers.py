"""Answers: a cycle's offers accepted, declined, rescinded or released, at once or one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from allocator import Allocator
from allocator.resources import Resources
from allocator.sim import single_role

from .engines import OneCallEach
from .grid import sizes

TASK = Resources("cpus:1;mem:128;disk:128")
REFUSE_SECONDS = 3600.0

#: What is done with an offer, or with a selection of offers.
ANSWERS: dict[str, Callable[[Allocator, Any], None]] = {
    "accept": lambda engine, offer: engine.accept(offer, TASK),
    "decline": lambda engine, offer: engine.decline(offer, refuse_seconds=REFUSE_SECONDS),
    "rescind": lambda engine, offer: engine.rescind(offer),
}


class Answers(OneCallEach):
    """A SingleRole cycle's offers: all in one call, every second one in one call, or one by one.

    `release` ends a task on each agent.
    """

    params = (
        [*ANSWERS, "release"],
        ["all", "half", "each"],
        sizes(smoke=[50], default=[10_000], full=[1000, 10_000, 50_000]),
        sizes(smoke=[10], default=[1000], full=[100, 1000, 6000]),
    )
    param_names = ("answer", "how", "agents", "frameworks")

    def setup(self, answer: str, how: str, n_agents: int, n_frameworks: int) -> None:
        self.engine = single_role.build(n_agents, n_frameworks)
        self.offers = self.engine.allocate()
        self.half = self.offers[np.arange(len(self.offers)) % 2 == 0]
        self.each = list(self.offers)
        if answer == "release":
            self.engine.accept(self.offers, TASK)

    def time_answers(self, answer: str, how: str, *_: object) -> None:
        engine = self.engine
        if answer != "release":
            call = ANSWERS[answer]
            if how == "each":
                for offer in self.each:
                    call(engine, offer)
            else:
                call(engine, self.offers if how == "all" else self.half)
        elif how == "each":
            for offer in self.each:
                engine.release(offer.framework, offer.agent, offer.role, TASK)
        else:
            engine.release(self.offers if how == "all" else self.half, resources=TASK)
