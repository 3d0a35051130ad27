"""A cluster as people have one, for what shows it: 30 agents, 8 roles, 6 frameworks, 200 tasks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.service.serving import JSON, PATIENCE_SECONDS, FrameworkClient, Process, master

Json = dict[str, Any]

WEIGHTS = {"eng": 3.0, "eng/web": 2.0, "science": 2.0, "science/train": 3.0}
QUOTAS: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "eng": ({"cpus": 60, "mem": 131072}, {"cpus": 160, "mem": 524288}),
    "science/train": ({}, {"cpus": 60, "gpus": 20}),
    "ops": ({"cpus": 24}, {"cpus": 32}),
}

#: Name, role, what a task takes, and how many there are.
FRAMEWORKS: list[tuple[str, str, dict[str, float], int]] = [
    ("web-frontend", "eng/web", {"cpus": 1, "mem": 2048}, 60),
    ("build-farm", "eng/ci", {"cpus": 2, "mem": 4096}, 24),
    ("torch-trainer", "science/train", {"cpus": 4, "mem": 16384, "gpus": 1}, 15),
    ("notebooks", "science/notebooks", {"cpus": 0.5, "mem": 4096}, 46),
    ("log-shipper", "ops", {"cpus": 0.25, "mem": 512}, 40),
    ("nightly-reports", "batch", {"cpus": 2, "mem": 8192}, 15),
]


def operate(url: str, type: str, **content: Any) -> None:
    """Send an operator call that must be carried out."""
    body = {"type": type, type.lower(): content}
    assert httpx.post(f"{url}/api/v1", json=body, headers=JSON).status_code in (200, 202)


def set_policy(url: str) -> None:
    """Set the weights and quotas."""
    weights = [{"role": role, "weight": weight} for role, weight in WEIGHTS.items()]
    operate(url, "UPDATE_WEIGHTS", weight_infos=weights)
    configs = [
        {
            "role": role,
            "guarantees": {name: {"value": value} for name, value in guarantees.items()},
            "limits": {name: {"value": value} for name, value in limits.items()},
        }
        for role, (guarantees, limits) in QUOTAS.items()
    ]
    operate(url, "UPDATE_QUOTA", force=True, quota_configs=configs)


def agents(folder: Path, url: str) -> Iterator[Process]:
    """Start 30 agents of three sizes."""
    for name, n, resources, attributes in (
        ("web", 14, "cpus:8;mem:32768;disk:204800", "rack:a;kind:standard"),
        ("big", 10, "cpus:16;mem:65536;disk:512000", "rack:b;kind:large"),
        ("gpu", 6, "cpus:12;mem:131072;gpus:4;disk:819200", "rack:c;kind:gpu"),
    ):
        work_dir = folder / name
        work_dir.mkdir(parents=True)
        given = ["--runtime", "null", "--count", str(n), "--hostname", name, "--port", "0"]
        given += ["--resources", resources, "--attributes", attributes]
        yield Process(
            "agent", "--master", url, "--work-dir", str(work_dir), *given, log=work_dir / "log"
        )


def task(id: str, name: str, agent_id: Json, takes: dict[str, float], role: str) -> Json:
    """Return a task that runs until it is killed."""
    return {
        "name": name,
        "task_id": {"value": id},
        "agent_id": agent_id,
        "command": {"value": "serve"},
        "resources": [
            {"name": key, "type": "SCALAR", "scalar": {"value": value}}
            for key, value in takes.items()
        ],
    }


def launch(
    framework: FrameworkClient, name: str, role: str, takes: dict[str, float], n: int
) -> None:
    """Launch n tasks, at most three on each agent at a time, and hear that they run."""
    launched = n_running = 0
    deadline = time.monotonic() + PATIENCE_SECONDS
    while n_running < n:
        assert time.monotonic() < deadline, f"{name}: {n_running} of {n} tasks run"
        event = framework.next()
        if event["type"] == "UPDATE":
            status = event["update"]["status"]
            n_running += status["state"] == "TASK_RUNNING"
            answer = {key: status[key] for key in ("agent_id", "task_id", "uuid")}
            framework.send("ACKNOWLEDGE", **answer)
        for offer in event.get("offers", {}).get("offers", ()):
            has = {
                each["name"]: each.get("scalar", {}).get("value", 0) for each in offer["resources"]
            }
            tasks = []
            while (
                launched < n
                and len(tasks) < 3
                and all(has.get(key, 0) >= value for key, value in takes.items())
            ):
                has = {key: value - takes.get(key, 0) for key, value in has.items()}
                tasks.append(task(f"{name}.{launched}", name, offer["agent_id"], takes, role))
                launched += 1
            operation = {"type": "LAUNCH", "launch": {"task_infos": tasks}}
            framework.send(
                "ACCEPT",
                offer_ids=[offer["id"]],
                operations=[operation] if tasks else [],
                filters={"refuse_seconds": 0.2 if launched < n else 600.0},
            )


@contextlib.contextmanager
def cluster(folder: Path, *arguments: str) -> Iterator[Process]:
    """Run the whole, and yield the master; frameworks that have all they need sit on offers.

    An offer is taken back after a while, so that none keeps the others from what they need.
    """
    with contextlib.ExitStack() as stack:
        given = ("--cluster", "Halle 3", "--offer-timeout", "2", *arguments)
        server = stack.enter_context(master(folder / "master", *given))
        set_policy(server.url)
        for process in agents(folder, server.url):
            stack.enter_context(process)
        for name, role, takes, n in FRAMEWORKS:
            gpus = [{"type": "GPU_RESOURCES"}] if "gpus" in takes else []
            capabilities = [{"type": "MULTI_ROLE"}, *gpus]
            info = {"name": name, "roles": [role], "capabilities": capabilities}
            framework = stack.enter_context(FrameworkClient(server.url, **info))
            launch(framework, name, role, takes, n)
        yield server
