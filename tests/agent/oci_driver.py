"""An agent that has crun run containers, in whatever mount namespace this is started.

python -m tests.agent.oci_driver FOLDER ROOT
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.agent.machine import cgroup_of
from tests.agent.test_standalone import Agent


def main(folder: Path, name: str) -> None:
    kind = ("--runtime", "oci", "--oci-root", str(folder / "images"), "--cgroups-root", name)
    image = {"type": "MESOS", "oci": {"rootfs": str(folder / "images" / "box")}}
    more = {"container": image, "resources": "cpus:0.5;mem:64"}
    with Agent(folder, *kind, "--oci-runtime", "crun") as agent:
        r = agent.launch("a", "id -u; sleep 1000", **more)
        assert r.status_code == 200, r.text
        stdout = agent.work / "containers/a/stdout"
        while stdout.read_text() != "0\n":
            assert agent.containers(container_id="a"), stdout.with_name("stderr").read_text()
        (row,) = agent.containers()
        pid = row["status"]["executor_pid"]
        assert os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
        of = cgroup_of(pid)
        assert {of[each] for each in ("cpu", "memory", "pids") if each in of} <= {f"/{name}/a"}
        assert row["statistics"]["mem_limit_bytes"] == 64 * 2**20
        assert agent.of("KILL_CONTAINER", "a", signal=15).status_code == 200
        assert agent.wait("a")["exit_status"] == 15
        r = agent.launch("b", {"shell": False, "value": "nosuch"}, **more)
        assert (r.status_code, "execute nosuch" in r.text) == (400, True), r.text
        assert not [*(agent.work / "meta/oci").iterdir()]
        agent.close()
    print("crun")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
