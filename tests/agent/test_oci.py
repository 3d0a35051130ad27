"""Containers of a bundle or a rootfs, run by the OCI runtimes that this machine has."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.agent.containers import cgroups, oci
from allocator.agent.containers.cgroups import Cgroups
from allocator.agent.containers.oci import NoOciRuntime
from tests.agent.machine import (
    cgroup_of,
    is_gone,
    processes_below,
    remove_roots,
    root_name,
    skip_without,
    tree,
)
from tests.agent.test_standalone import Agent, parent
from tests.service import serving
from tests.service.launching import launch, next_offer, next_status, task
from tests.service.serving import FrameworkClient, Json

APPLETS = ("sh", "ls", "cat", "sleep", "env", "id", "test", "touch", "dd", "true")


@pytest.fixture(scope="session")
def busybox() -> str:
    path = shutil.which("busybox")
    if path is None:
        pytest.skip("busybox is not installed")
    if b"statically linked" not in subprocess.run(["file", "-L", path], capture_output=True).stdout:
        pytest.skip("busybox needs libraries here")
    return path


@pytest.fixture
def images(tmp_path: Path, busybox: str) -> Path:
    """A folder of images: the rootfs `box`, and the bundle `bundle`, which has one."""
    folder = tmp_path / "images"
    for rootfs in (folder / "box", folder / "bundle" / "rootfs"):
        (rootfs / "bin").mkdir(parents=True)
        shutil.copy(busybox, rootfs / "bin" / "busybox")
        for applet in APPLETS:
            (rootfs / "bin" / applet).symlink_to("busybox")
    (folder / "bundle" / "data").mkdir()
    (folder / "bundle" / "data" / "file").write_text("from the bundle\n")
    write_bundle(folder / "bundle", {})
    return folder


def write_bundle(folder: Path, process: Json) -> None:
    script = "echo args; env; id -u; id -g; pwd; cat /data/file; sleep 1000"
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": True,
            "user": {"uid": 4242, "gid": 4243},
            "args": ["sh", "-c", script],
            "env": ["PATH=/bin", "OF=bundle"],
            "cwd": "/bin",
            **process,
        },
        "root": {"path": "rootfs", "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"]},
            {"destination": "/data", "type": "bind", "source": "data", "options": ["bind", "ro"]},
        ],
        "linux": {
            "namespaces": [{"type": name} for name in ("pid", "mount", "uts", "ipc")],
            "cgroupsPath": "/elsewhere",
            "resources": {"memory": {"limit": 2**30}, "pids": {"limit": 7}, "cpu": {"shares": 9}},
        },
    }
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture
def name(found: Cgroups | str) -> Iterator[str]:
    skip_without(found)
    yield root_name()
    remove_roots()


def start(folder: Path, name: str, *more: str) -> Agent:
    try:
        oci.find(None, folder / "trial" / "state", f"/{name}")
    except NoOciRuntime as error:
        pytest.skip(str(error))
    kind = ("--runtime", "oci", "--oci_root", str(folder / "images"), "--cgroups-root", name)
    return Agent(folder, *kind, *more)


@pytest.fixture
def agent(tmp_path: Path, images: Path, name: str) -> Iterator[Agent]:
    with start(tmp_path, name) as process:
        yield process
        process.close()


def rootfs(folder: Path) -> Json:
    return {"type": "MESOS", "oci": {"rootfs": str(folder / "box")}}


def bundle(folder: Path) -> Json:
    return {"type": "MESOS", "oci": {"bundle": str(folder / "bundle")}}


def output(agent: Agent, id: str, text: str) -> str:
    """Return what a container wrote, once there is some text in it."""
    file = agent.work / "containers" / id / "stdout"
    while text not in file.read_text():
        assert agent.containers(container_id=id), (file.with_name("stderr")).read_text()
    return file.read_text()


def everywhere(name: str) -> list[Path]:
    """Return the cgroups below a root, in all hierarchies of the machine."""
    mounts = cgroups.read_mounts(Path("/proc/self/mountinfo").read_text())
    return [each for mount in mounts for each in mount.path.glob(f"{name}/*/")]


def test_a_rootfs(agent: Agent, images: Path, name: str) -> None:
    script = "env; pwd; ls /; id -u; echo x > made; cat /proc/self/status; "
    script += "sleep 1000 & echo up; exec sleep 1000"
    more: Json = {"container": rootfs(images), "resources": "cpus:0.5;mem:64"}
    more["container"]["rlimit_info"] = {"rlimits": [{"type": "RLMT_CORE", "soft": 0, "hard": 7}]}
    more["container"]["hostname"] = "box"
    variables = [{"name": "A", "value": "b c"}]
    command = {"value": script, "environment": {"variables": variables}}
    r = agent.launch("a", command, **more)
    assert r.status_code == 200, r.text
    lines = output(agent, "a", "up\n").splitlines()
    for line in ("MESOS_SANDBOX=/mnt/mesos/sandbox", "MESOS_CONTAINER_ID=a", "A=b c", "bin", "0"):
        assert line in lines
    assert "/mnt/mesos/sandbox" in lines
    assert (agent.work / "containers/a/made").read_text() == "x\n"
    masks = [line.split()[1] for line in lines if line.startswith(("SigBlk", "SigIgn"))]
    assert {int(mask, 16) for mask in masks} == {0}
    (row,) = agent.containers()
    statistics, pid = row["statistics"], row["status"]["executor_pid"]
    assert statistics["mem_limit_bytes"] == 64 * 2**20
    assert statistics["cpus_limit"] == 0.5
    assert statistics["processes"] == statistics["threads"] == len(tree(pid)) == 3
    for each in tree(pid):
        assert set(cgroup_of(each).values()) == {f"/{name}/a"}
        for kind in ("pid", "mnt", "uts", "ipc"):
            assert os.readlink(f"/proc/{each}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
    core = Path(f"/proc/{max(tree(pid))}/limits").read_text().partition("Max core file size")[2]
    assert core.split()[:2] == ["0", "7"]
    assert agent.of("KILL_CONTAINER", "a", signal=15).status_code == 200
    assert agent.wait("a")["exit_status"] == 15
    assert everywhere(name) == []
    assert not any((agent.work / "meta/oci").iterdir())
    assert agent.of("REMOVE_CONTAINER", "a").status_code == 200
    assert not (agent.work / "meta/containers/a").exists()


def test_a_bundle_says_what_runs(agent: Agent, images: Path, found: Cgroups, name: str) -> None:
    no_command = {"container": bundle(images), "resources": "cpus:0.5;mem:64"}
    r = agent.of("LAUNCH_CONTAINER", "a", **no_command)
    assert r.status_code == 200, r.text
    lines = output(agent, "a", "from the bundle").splitlines()
    assert lines[0] == "args"
    for line in ("OF=bundle", "PATH=/bin", "MESOS_CONTAINER_ID=a", "4242", "4243", "/bin"):
        assert line in lines
    assert not [line for line in lines if line.startswith(("LANG=", "MESOS_SANDBOX="))]
    assert agent.containers()[0]["statistics"]["mem_limit_bytes"] == 64 * 2**20
    if found.kind != "v2":
        folder = found.hierarchies[found.of("cpu")].path
        assert (folder / name / "a" / "cpu.shares").read_text() == "512\n"
        folder = found.hierarchies[found.of("pids")].path
        assert (folder / name / "a" / "pids.max").read_text() == "1024\n"
    assert not list(Path("/sys/fs/cgroup").glob("*/elsewhere"))
    assert agent.of("KILL_CONTAINER", "a").status_code == 200
    assert agent.wait("a")["exit_status"] == 9
    more = {"container": bundle(images)}
    variables = [{"name": "OF", "value": "command"}]
    command = {"value": "echo $OF; exit 3", "environment": {"variables": variables}}
    assert agent.launch("b", command, **more).status_code == 200
    assert agent.wait("b")["exit_status"] == 3 << 8
    assert (agent.work / "containers/b/stdout").read_text() == "command\n"
    direct = {"shell": False, "value": "cat", "arguments": ["cat", "/data/file"], "user": "root"}
    assert agent.launch("c", direct, **more).status_code == 200
    assert agent.wait("c")["exit_status"] == 0
    assert (agent.work / "containers/c/stdout").read_text() == "from the bundle\n"
    assert everywhere(name) == []


def test_without_an_image_it_is_as_under_linux(agent: Agent, images: Path) -> None:
    assert agent.launch("a", "exit 4").status_code == 200
    assert agent.wait("a")["exit_status"] == 4 << 8


def test_ids_that_runc_does_not_take(agent: Agent, images: Path, name: str) -> None:
    for id in ("ä" * 121, "a;b", "+", "x" * 242):
        r = agent.launch(id, "exec sleep 1000", container=rootfs(images))
        assert r.status_code == 200, (id, r.text)
    assert len([*(agent.work / "meta/oci").iterdir()]) == 4
    for row in agent.containers():
        assert row["statistics"]["processes"] == 2
        assert agent.of("KILL_CONTAINER", row["container_id"]).status_code == 200
        assert agent.wait(row["container_id"])["exit_status"] == 9
    assert not [*(agent.work / "meta/oci").iterdir()]
    assert everywhere(name) == []


def test_a_work_dir_is_found_from_wherever(tmp_path: Path, images: Path, name: str) -> None:
    relative = os.path.relpath(tmp_path / "work")
    with start(tmp_path, name, "--work-dir", relative) as agent:
        for id, more in (("a", {}), ("b", {"container": rootfs(images)})):
            assert agent.launch(id, "echo here", **more).status_code == 200
            assert agent.wait(id)["exit_status"] == 0
            assert (agent.work / "containers" / id / "stdout").read_text() == "here\n"
        assert not [*(agent.work / "meta/oci").iterdir()]
        agent.close()


def test_a_bundle_without_a_pid_namespace(agent: Agent, images: Path, name: str) -> None:
    config = json.loads((images / "bundle/config.json").read_text())
    config["linux"]["namespaces"] = [{"type": "mount"}]
    (images / "bundle/config.json").write_text(json.dumps(config))
    script = "sleep 1000 & (sleep 1000 &); echo up; sleep 1000"
    for id, number, status in (("a", 15, 15), ("b", 9, 9)):
        assert agent.launch(id, script, container=bundle(images)).status_code == 200
        output(agent, id, "up")
        (row,) = agent.containers()
        pids = tree(row["status"]["executor_pid"])
        assert len(pids) >= 4
        assert agent.of("KILL_CONTAINER", id, signal=number).status_code == 200
        assert agent.wait(id)["exit_status"] == status
        assert all(is_gone(pid) for pid in pids)
    assert everywhere(name) == []


def test_images_that_are_refused(agent: Agent, images: Path, tmp_path: Path) -> None:
    (images / "out").symlink_to(tmp_path)
    (images / "in").symlink_to("box")
    for broken, root in (("escapes", "../.."), ("absolute", "/")):
        shutil.copytree(images / "bundle", images / broken, symlinks=True)
        config = json.loads((images / "bundle/config.json").read_text())
        config["root"]["path"] = root
        (images / broken / "config.json").write_text(json.dumps(config))
    (images / "empty").mkdir()
    (images / "torn").mkdir()
    (images / "torn/config.json").write_text("{")
    (images / "odd").mkdir()
    (images / "odd/config.json").write_text('{"process": {}, "root": 7}')
    cases: list[tuple[object, str]] = [
        ({}, "a bundle or a rootfs"),
        ([], "a bundle or a rootfs"),
        ({"rootfs": "/a", "bundle": "/b"}, "a bundle or a rootfs"),
        ({"rootfs": 7}, "a bundle or a rootfs"),
        ({"rootfs": "/etc"}, "not below"),
        ({"rootfs": "box"}, "box"),
        ({"rootfs": str(images / "out")}, "not below"),
        ({"rootfs": f"{images}/../work"}, "not below"),
        ({"rootfs": f"{images}-not"}, "No such file"),
        ({"rootfs": str(images / "box/bin/busybox")}, "no folder"),
        ({"rootfs": str(images / "nowhere")}, "No such file"),
        ({"bundle": str(images / "escapes")}, "not below"),
        ({"bundle": str(images / "absolute")}, "not below"),
        ({"bundle": str(images / "empty")}, "No such file"),
        ({"bundle": str(images / "torn")}, "makes no sense"),
        ({"bundle": str(images / "odd")}, "makes no sense"),
    ]
    for image, words in cases:
        container = {"type": "MESOS", "oci": image}
        r = agent.launch("a", "true", container=container)
        assert (r.status_code, words in r.text) == (400, True), (image, r.text)
    assert agent.containers() == []
    assert not [*(agent.work / "meta/containers").iterdir()]
    assert not (agent.work / "containers").exists() or not [*(agent.work / "containers").iterdir()]
    inside = {"type": "MESOS", "oci": {"rootfs": str(images / "in")}}
    assert agent.launch("a", "true", container=inside).status_code == 200
    assert agent.wait("a")["exit_status"] == 0


def test_what_the_runtime_or_the_kernel_refuses(agent: Agent, images: Path, name: str) -> None:
    r = agent.launch("a", {"shell": False, "value": "nosuch"}, container=rootfs(images))
    assert (r.status_code, "execute nosuch: No such file" in r.text) == (400, True), r.text
    write_bundle(images / "bundle", {"cwd": "not/absolute"})
    r = agent.launch("b", "true", container=bundle(images))
    assert (r.status_code, "Cwd" in r.text or "cwd" in r.text) == (400, True), r.text
    write_bundle(images / "bundle", {"args": []})
    r = agent.of("LAUNCH_CONTAINER", "c", container=bundle(images))
    assert (r.status_code, "what to run" in r.text) == (400, True), r.text
    r = agent.of("LAUNCH_CONTAINER", "d", container=rootfs(images))
    assert (r.status_code, "no value" in r.text) == (400, True), r.text
    assert agent.containers() == []
    assert everywhere(name) == []
    assert not processes_below(name)
    for folder in ("meta/oci", "meta/containers", "containers"):
        assert not (agent.work / folder).exists() or not [*(agent.work / folder).iterdir()]


def test_out_of_memory_is_told_as_such(agent: Agent, images: Path) -> None:
    eats = "dd if=/dev/zero of=/dev/null bs=200M count=3; sleep 1000"
    more = {"container": rootfs(images), "resources": "mem:32"}
    assert agent.launch("a", eats, **more).status_code == 200
    end = agent.wait("a")
    assert end["reason"] == "REASON_CONTAINER_LIMITATION_MEMORY"
    assert end["message"].startswith("Memory limit exceeded: it is 32 MB")


def test_many_at_once_and_killed_at_random(agent: Agent, images: Path, name: str) -> None:
    draw = random.Random(1)
    ids = [f"c{number}" for number in range(24)]
    calls = []
    for id in ids:
        text = draw.choice(["sleep 1000", "true", "exit 3"])
        more = {"container": rootfs(images), "resources": "cpus:0.1;mem:32"}
        content = {"container_id": {"value": id}, "command": {"value": text}, **more}
        body = json.dumps({"type": "LAUNCH_CONTAINER", "launch_container": content})
        url = ["-H", "Content-Type: application/json", f"{agent.url}/api/v1", "-d", body]
        calls.append(subprocess.Popen(["curl", "-s", "-o", "/dev/null", *url]))
        if draw.random() < 0.4:
            agent.of("KILL_CONTAINER", draw.choice(ids))
    for call in calls:
        assert call.wait() == 0
    known = [id for id in ids if agent.of("KILL_CONTAINER", id).status_code in (200, 404)]
    for id in known:
        r = agent.of("WAIT_CONTAINER", id)
        # One that was killed while it started was never there.
        assert r.status_code == 404 or r.json()["wait_container"]["exit_status"] in (0, 9, 3 << 8)
    assert agent.containers() == []
    assert everywhere(name) == []
    assert not processes_below(name)
    assert not [*(agent.work / "meta/oci").iterdir()]


def test_a_killed_agent_finds_all_again(tmp_path: Path, images: Path, name: str) -> None:
    more = {"container": rootfs(images), "resources": "cpus:0.1;mem:32"}
    with start(tmp_path, name) as agent:
        agent.launch("stays", "sleep 1000", **more)
        agent.launch("bleibt-länger", "sleep 1000", **more)
        agent.launch("ends", "while ! test -e end; do sleep 0.05; done; exit 7", **more)
        pids = {row["container_id"]: row["status"]["executor_pid"] for row in agent.containers()}
        agent.kill()
    (tmp_path / "work/containers/ends/end").touch()
    with start(tmp_path, name) as agent:
        assert agent.wait("ends")["exit_status"] == 7 << 8
        rows = agent.containers()
        assert len(rows) == len([*(agent.work / "meta/oci").iterdir()]) == 2
        for row in rows:
            id = row["container_id"]
            assert row["status"]["executor_pid"] == pids[id]
            assert row["statistics"]["processes"] == 2
            assert agent.of("KILL_CONTAINER", id, signal=15).status_code == 200
            assert agent.wait(id)["exit_status"] == 15
        assert all(is_gone(pid) for pid in pids.values())
        assert everywhere(name) == []
        agent.close()


def test_another_launcher_takes_over(agent: Agent, images: Path, name: str) -> None:
    more = {"container": rootfs(images), "resources": "cpus:0.1;mem:32"}
    agent.launch("a", "sleep 1000", **more)
    (pid,) = (row["status"]["executor_pid"] for row in agent.containers())
    content = {"container_id": {"value": "b"}, "command": {"value": "sleep 1000"}, **more}
    body = json.dumps({"type": "LAUNCH_CONTAINER", "launch_container": content})
    url = ["-H", "Content-Type: application/json", f"{agent.url}/api/v1", "-d", body]
    with subprocess.Popen(["curl", "-s", "-w", "%{http_code}", *url], stdout=subprocess.PIPE) as b:
        while not (agent.work / "meta/containers/b/bundle").exists():
            pass
        os.kill(parent(pid), signal.SIGKILL)
        assert b.stdout is not None
        answer = b.stdout.read().decode()
    assert answer.endswith(("200", "400")), answer
    assert agent.launch("c", "exit 3", **more).status_code == 200
    assert agent.wait("c")["exit_status"] == 3 << 8
    expected = {"a", "b"} if answer.endswith("200") else {"a"}
    assert {row["container_id"] for row in agent.containers()} == expected
    assert {path.name for path in (agent.work / "meta/oci").iterdir()} == expected
    for id in expected:
        assert agent.of("KILL_CONTAINER", id, signal=15).status_code == 200
        assert agent.wait(id)["exit_status"] == 15
    assert everywhere(name) == []


@pytest.mark.parametrize("seed", range(3))
def test_an_agent_that_is_killed_while_it_launches(
    tmp_path: Path, images: Path, name: str, seed: int
) -> None:
    more = {"container": rootfs(images), "resources": "cpus:0.1;mem:32"}
    with start(tmp_path, name) as agent:
        calls = []
        for number in range(8):
            content = {"container_id": {"value": f"c{number}"}, "command": {"value": "sleep 1000"}}
            body = {"type": "LAUNCH_CONTAINER", "launch_container": {**content, **more}}
            line = ["curl", "-s", "-w", "%{http_code}", "-d", json.dumps(body)]
            line += ["-H", "Content-Type: application/json", f"{agent.url}/api/v1"]
            calls.append(subprocess.Popen(line, stdout=subprocess.PIPE, text=True))
        calls[random.Random(seed).randrange(4)].wait()
        agent.kill()
        answers = [call.communicate()[0] for call in calls]
    launched = {f"c{number}" for number, answer in enumerate(answers) if answer == "200"}
    assert launched
    with start(tmp_path, name) as agent:
        known = {row["container_id"]: row["status"]["executor_pid"] for row in agent.containers()}
        assert launched <= known.keys()
        assert {path.name for path in everywhere(name)} == known.keys()
        assert {path.name for path in (agent.work / "meta/oci").iterdir()} == known.keys()
        assert processes_below(name) == set().union(*map(tree, known.values()))
        agent.close()
    assert everywhere(name) == []
    assert not processes_below(name)


def test_tasks_and_their_health_checks(tmp_path: Path, images: Path, name: str) -> None:
    with (
        serving.master(tmp_path / "m", "--allocation-interval", "0.1") as master,
        FrameworkClient(master.url, user="") as framework,
    ):
        kind = ("--runtime", "oci", "--oci-root", str(images), "--cgroups-root", name)
        given = ("--master", master.url, "--port", "0", "--work-dir", str(tmp_path / "w"))
        sized = ("--resources", "cpus:4;mem:512;disk:0")
        with serving.Process("agent", *given, *kind, *sized, log=tmp_path / "log") as process:
            offer = next_offer(framework)
            # /bin has nothing but busybox there, and the sandbox is where the check starts.
            check = {"value": "test -e /bin/busybox && ! test -e /bin/bash && test -e here"}
            health = {"type": "COMMAND", "command": check, "interval_seconds": 0.1}
            health |= {"delay_seconds": 0.0, "grace_period_seconds": 0.0}
            given_task = task("t", "touch here; sleep 1000", offer["agent_id"], health_check=health)
            given_task["container"] = rootfs(images)
            elsewhere = task("u", "true", offer["agent_id"])
            elsewhere["container"] = {"type": "MESOS", "oci": {"rootfs": "/etc"}}
            launch(framework, offer, given_task, elsewhere)
            ended: dict[str, Json] = {}
            while not (ended.get("t", {}).get("healthy") and "u" in ended):
                status = next_status(framework)
                if status["state"] != "TASK_STARTING":
                    ended[status["task_id"]["value"]] = status
            assert ended["t"]["state"] == "TASK_RUNNING"
            assert ended["u"]["state"] == "TASK_FAILED"
            assert ended["u"]["reason"] == "REASON_CONTAINER_LAUNCH_FAILED"
            assert "--oci-root" in ended["u"]["message"]
            framework.send("TEARDOWN")
            assert process.stop(signal.SIGUSR1) == 0
    assert everywhere(name) == []


# What there is to run them.


@pytest.mark.parametrize("runtime", ["process", "linux"])
def test_other_runtimes_have_no_images(
    tmp_path: Path, images: Path, found: Cgroups | str, runtime: str
) -> None:
    if runtime == "linux":
        skip_without(found)
    with Agent(tmp_path, "--runtime", runtime, "--cgroups-root", root_name()) as agent:
        for image in (rootfs(images), bundle(images), {"type": "MESOS", "oci": {}}):
            r = agent.launch("a", "true", container=image)
            assert (r.status_code, "container.oci" in r.text) == (400, True)
        agent.close()
    remove_roots()


def test_no_runtime_no_agent(tmp_path: Path, name: str) -> None:
    given = ("agent", "--standalone", "--runtime", "oci", "--port", "0", "--cgroups-root", name)
    work = ("--work-dir", str(tmp_path / "work"))
    for runtime, words in (("/nowhere/runc", "is not there"), ("/bin/false", "exit status 1")):
        done = serving.refused(*given, *work, "--oci-runtime", runtime)
        assert words in done.stderr
        assert runtime in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert everywhere(name) == []


def test_one_that_fails_its_trial_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/crun").write_text("#!/bin/sh\necho I refuse >&2\nexit 1\n")
    (tmp_path / "bin/crun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    found = oci.find(None, tmp_path / "state", f"/{name}")
    assert Path(found.binary).name == "runc"
    with pytest.raises(NoOciRuntime, match="crun: exit status 1: I refuse"):
        oci.find("crun", tmp_path / "state", f"/{name}")
    with pytest.raises(NoOciRuntime, match="true: exit status 0: it said nothing"):
        oci.find("/bin/true", tmp_path / "state", f"/{name}")  # which ran nothing
    assert everywhere(name) == []


def test_a_folder_of_images_that_is_not_there(tmp_path: Path, name: str) -> None:
    kind = ("--runtime", "oci", "--cgroups-root", name, "--work-dir", str(tmp_path / "work"))
    given = ("--standalone", *kind, "--oci-root", str(tmp_path), "--oci_root", str(tmp_path / "no"))
    (line,) = serving.refused("agent", "--port", "0", *given).stderr.splitlines()
    assert line.endswith(f"--oci-root {tmp_path / 'no'}: is no folder")


def test_crun_where_it_does_not_refuse_the_machine(
    tmp_path: Path, images: Path, found: Cgroups, name: str
) -> None:
    """On a machine with v1 and v2 crun needs one that has but the former."""
    if shutil.which("crun") is None or shutil.which("unshare") is None:
        pytest.skip("crun or unshare is not installed")
    driver = [sys.executable, "-m", "tests.agent.oci_driver", str(tmp_path), name]
    script = f"umount {found.unified.path} && " if found.unified and found.v1 else ""
    apart = ["unshare", "-m", "--propagation", "private", "sh", "-c", f'{script} exec "$@"', "sh"]
    done = subprocess.run([*apart, *driver], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "crun\n"), done.stderr
    assert everywhere(name) == []
