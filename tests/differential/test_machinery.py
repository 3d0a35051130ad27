"""The judge notices what is wrong, and a failing history is made short and runs when pasted."""

from __future__ import annotations

import contextlib
import io

import pytest

from allocator import Allocator
from allocator.engine.views import AgentView
from allocator.resources import Resources
from tests.differential.history import Call, History, call, shortest
from tests.differential.judge import Disagreement, Judge, explained, run
from tests.differential.workload import Workload


def random_history(seed: int) -> History:
    workload = Workload(seed)
    judge = Judge(workload.options(seed), every=10)
    for _ in range(60):
        workload.shown(judge.do(workload.next(judge.reference)))
    return History(judge.options, judge.calls)


def test_the_same_seed_gives_the_same_history() -> None:
    assert str(random_history(3)) == str(random_history(3)) != str(random_history(4))


def test_every_kind_of_call_comes() -> None:
    made = {made.method for seed in range(40) for made in random_history(seed).calls}
    assert made >= {
        "accept",
        "activate_agent",
        "activate_framework",
        "add_agent",
        "add_framework",
        "add_resources",
        "advance",
        "allocate",
        "answer_inverse",
        "apply",
        "apply_available",
        "clear_unavailability",
        "deactivate_agent",
        "deactivate_framework",
        "decline",
        "fork",
        "pause",
        "recover",
        "recover_resources",
        "release",
        "remove_agent",
        "remove_framework",
        "remove_quota",
        "rescind",
        "restore",
        "resume",
        "revive",
        "set_quota",
        "set_unavailability",
        "set_weight",
        "set_whitelist",
        "skip_cycles",
        "suppress",
        "update_agent",
        "update_framework",
    }


def test_a_workload_without_features_needs_none() -> None:
    workload = Workload(5, frozenset())
    judge = Judge(workload.options(5))
    methods = set()
    for _ in range(300):
        made = workload.next(judge.reference)
        methods.add(made.method)
        workload.shown(judge.do(made))
    assert not methods & {"apply", "apply_available", "set_unavailability", "restore", "fork"}


def test_a_printed_history_runs() -> None:
    text = str(random_history(8))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(text, {})
    assert "Offer(" in printed.getvalue()


def test_a_wrong_decision_is_found_and_made_short(monkeypatch: pytest.MonkeyPatch) -> None:
    decline = Allocator.decline

    def forgetful(self: Allocator, offer: object, *, refuse_seconds: float | None = 5.0) -> None:
        decline(self, offer, refuse_seconds=None)  # type: ignore[arg-type]

    monkeypatch.setattr(Allocator, "decline", forgetful)
    calls = [
        call("add_agent", "a1", "cpus:4"),
        call("set_weight", "ops", 2.0),
        call("add_framework", "f1", ["eng"]),
        call("allocate"),
        call("pause"),
        call("decline", "O1", refuse_seconds=10),
        call("resume"),
        call("allocate"),
    ]
    history = History({"seed": 1}, calls)
    with pytest.raises(Disagreement) as caught:
        run(history)
    told = explained(history, (), caught.value)
    assert "decline('O1', refuse_seconds=10)" in told
    assert "set_weight" not in told
    assert "pause" not in told


@pytest.mark.parametrize("lost", ["cpus:1", "mem:2"])
def test_a_loss_is_found(monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    def lossy(view: AgentView) -> Resources:
        return view._agent.allocated.minus_floor(lost)

    monkeypatch.setattr(AgentView, "allocated", property(lossy))
    judge = Judge({"seed": 1})
    for made in (
        call("add_agent", "a1", "cpus:4;mem:8"),
        call("add_framework", "f1"),
        call("allocate"),
    ):
        judge.do(made)
    with pytest.raises(Disagreement, match="are not"):
        judge.do(call("accept", "O1"))


def test_shortening_keeps_what_is_needed() -> None:
    calls = [Call(str(n)) for n in range(37)]
    needed = {"3", "17", "30"}
    part = shortest(History({}, calls), lambda h: needed <= {made.method for made in h.calls})
    assert [made.method for made in part.calls] == ["3", "17", "30"]
