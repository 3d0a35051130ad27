"""Importing the dump of a large cluster: half a million pods on ten thousand machines.

The dump is generated here, as `kubectl get nodes,pods -A -o json` would write it, and read from a
file: time of the whole import, of its JSON report, and the most memory that it takes.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

N_MACHINES = 10_000
N_PODS = 500_000
N_NAMESPACES = 400
SIZES = (("100m", "128Mi"), ("500m", "512Mi"), ("1", "2Gi"), ("2", "8Gi"))

Json = dict[str, Any]


def node(index: int) -> Json:
    """Return a node as a server describes it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": f"node-{index:05d}",
            "uid": f"00000000-0000-0000-0000-{index:012d}",
            "labels": {
                "kubernetes.io/hostname": f"node-{index:05d}",
                "topology.kubernetes.io/zone": f"zone-{index % 3}",
            },
        },
        "spec": {"unschedulable": True} if index % 500 == 0 else {},
        "status": {
            "allocatable": {"cpu": "128", "memory": "527865492Ki", "pods": "250"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    }


def pod(index: int, draw: random.Random, n_machines: int) -> Json:
    """Return a pod; two of a hundred wait, three have finished, a third asks for nothing."""
    state = draw.random()
    resources: Json = {}
    if draw.random() > 1 / 3:
        cpu, memory = draw.choice(SIZES)
        resources = {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}
    spec: Json = {
        "containers": [
            {
                "name": "main",
                "image": "registry.example.com/team/service:1.2.3",
                "resources": resources,
                "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets"}],
            }
        ],
        "schedulerName": "default-scheduler",
        "volumes": [{"name": "token", "projected": {"defaultMode": 420}}],
    }
    if state > 0.02:
        spec["nodeName"] = f"node-{draw.randrange(n_machines):05d}"
    phase = "Pending" if state <= 0.02 else "Succeeded" if state < 0.05 else "Running"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"service-{index:07d}",
            "namespace": f"team-{draw.randrange(N_NAMESPACES):03d}",
            "uid": f"11111111-0000-0000-0000-{index:012d}",
            "labels": {"app": "service", "pod-template-hash": "5d4f8c7b9d"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "service-5d4f8c7b9d"}],
        },
        "spec": spec,
        "status": {"phase": phase, "hostIP": "10.0.0.1", "podIP": "10.1.0.1"},
    }


def write_dump(path: Path, n_pods: int = N_PODS, n_machines: int = N_MACHINES) -> None:
    """Write a list of nodes and pods, the same for the same numbers."""
    draw = random.Random(7)

    def objects() -> Iterator[Json]:
        yield from (node(index) for index in range(n_machines))
        yield from (pod(index, draw, n_machines) for index in range(n_pods))

    with path.open("w", encoding="utf-8") as file:
        file.write('{"apiVersion": "v1", "kind": "List", "items": [')
        for index, one in enumerate(objects()):
            file.write(("" if index == 0 else ",") + json.dumps(one))
        file.write("]}")


#: Imports a file in a process of its own; prints seconds and the most MiB that it took.
_PROGRAM = """
import resource, sys, time
from allocator.sim.importers import read
begin = time.perf_counter()
found = read("kubernetes", [sys.argv[1]])
found.to_json()
seconds = time.perf_counter() - begin
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def measure(path: Path) -> tuple[float, float]:
    """Return seconds and MiB of an import in a process of its own."""
    command = [sys.executable, "-c", _PROGRAM, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, mib = done.stdout.split()
    return float(seconds), float(mib)


class Kubernetes:
    """`import kubernetes` of dumps of several sizes; bounds are 60 s and 3 GiB for the largest."""

    params: ClassVar[list[int]] = [50_000, N_PODS]
    param_names: ClassVar[list[str]] = ["n_pods"]
    timeout = 600

    def setup_cache(self) -> dict[int, tuple[float, float]]:
        """Import each once: what is measured is a process."""
        found = {}
        with tempfile.TemporaryDirectory() as folder:
            for n_pods in self.params:
                path = Path(folder) / "dump.json"
                write_dump(path, n_pods)
                found[n_pods] = measure(path)
        return found

    def track_seconds(self, found: dict[int, tuple[float, float]], n_pods: int) -> float:
        return found[n_pods][0]

    def track_mib(self, found: dict[int, tuple[float, float]], n_pods: int) -> float:
        return found[n_pods][1]
