"""Containers: what a program finds, and what is left of it."""

from __future__ import annotations

import asyncio
import errno
import os
import pwd
import resource
import signal
from pathlib import Path

import pytest

from allocator.agent.containers import protocol
from allocator.agent.containers.cgroups import Amounts
from allocator.agent.containers.containers import End
from allocator.agent.containers.protocol import HostEnded, NotLaunched, Plan, User
from allocator.agent.instructions import Limitation
from allocator.errors import NotAllowed
from tests.agent.machine import PATH, Machine, cgroup_of, is_gone, processes_below, tree


def value(host: Machine, id: str, controller: str, file: str) -> str:
    assert host.root is not None
    return (host.root.paths[host.root.cgroups.of(controller)] / id / file).read_text().strip()


# What a program finds.


def test_the_environment_is_exactly_what_is_given(host: Machine) -> None:
    command = ("cat", "/proc/self/environ", "/proc/1/environ")
    sandbox = host.launch("a", *command, environment={"X": "é\n="})
    assert host.end("a").wait_status == 0
    output = (sandbox / "stdout").read_text()
    assert sorted(output.rstrip("\0").split("\0")) == sorted([f"PATH={PATH}", "X=é\n="])


def test_descriptors_are_three_and_none_of_the_agents(host: Machine) -> None:
    sandbox = host.shell("a", "ls -l /proc/self/fd; ls /proc/self/fd | wc -l; exec sleep 1000")
    host.until(lambda: len((sandbox / "stdout").read_text().splitlines()) >= 6)
    *links, count = (sandbox / "stdout").read_text().splitlines()
    assert int(count) == 4  # the folder that is listed, too
    targets = {link.split()[-3]: link.split()[-1] for link in links[1:]}
    assert targets["0"] == "/dev/null"
    assert (targets["1"], targets["2"]) == (str(sandbox / "stdout"), str(sandbox / "stderr"))
    init = host.pids["a"]
    program = Path(f"/proc/{init}/task/{init}/children").read_text().split()[0]
    flags = Path(f"/proc/{program}/fdinfo/1").read_text()
    assert int(flags.split("flags:")[1].split()[0], 8) & os.O_APPEND


def test_no_signal_is_blocked_or_ignored(host: Machine) -> None:
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN  # of Python
    output = host.output("a", "grep -E 'Sig(Blk|Ign)' /proc/self/status")
    assert {line.split()[1] for line in output.splitlines()} == {"0" * 16}


def test_session_umask_folder_and_limits(host: Machine) -> None:
    limits = {resource.RLIMIT_NOFILE: (100, 200), resource.RLIMIT_CORE: (0, -1)}
    sandbox = host.shell("a", "umask; pwd; ulimit -n; ulimit -Hn; sleep 1000", limits=limits)
    host.until(lambda: (sandbox / "stdout").read_text().count("\n") == 4)
    assert (sandbox / "stdout").read_text().split() == ["0022", str(sandbox), "100", "200"]
    init = host.pids["a"]
    (program,) = (
        int(pid) for pid in Path(f"/proc/{init}/task/{init}/children").read_text().split()
    )
    assert os.getsid(program) == program


def test_a_user_and_its_groups(host: Machine) -> None:
    nobody = pwd.getpwnam("nobody")
    user = User(nobody.pw_uid, nobody.pw_gid, (nobody.pw_gid, 4242))
    host.folder.chmod(0o755)
    for folder in [host.folder, *host.folder.parents]:
        assert folder == Path("/") or folder.stat().st_mode & 0o001 or folder.chmod(0o755) is None
    output = host.output("a", "id -u; id -g; id -G", user=user)
    assert output.split() == [str(each) for each in (*user[:2], nobody.pw_gid, 4242)]
    stdout = (host.folder / "sandboxes" / "a" / "stdout").stat()
    assert (stdout.st_uid, stdout.st_gid) == user[:2]


def test_namespaces_are_its_own_but_the_network(host: Machine) -> None:
    host.launch("a", "sleep", "1000")
    for pid in tree(host.pids["a"]):
        for name in ("pid", "mnt", "uts", "ipc"):
            assert os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
        assert os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")


def test_proc_shows_only_the_container(host: Machine) -> None:
    output = host.output("a", "echo /proc/[0-9]*; grep ' /proc proc' /proc/mounts | tail -1")
    pids, mount = output.splitlines()
    assert pids.split() == ["/proc/1", "/proc/2"]
    assert {"nosuid", "nodev", "noexec"} <= set(mount.split()[3].split(","))


def test_mounts_stay_inside(host: Machine) -> None:
    sandbox = host.shell("a", "mount -t tmpfs none $PWD && touch $PWD/inside; sleep 1000")
    host.until(lambda: "inside" in os.listdir(f"/proc/{host.pids['a']}/root{sandbox}"))
    assert not (sandbox / "inside").exists()


def test_hostname(host: Machine) -> None:
    assert host.output("a", "hostname", hostname="box") == "box\n"
    assert host.output("b", "hostname") == os.uname().nodename + "\n"


def test_all_processes_are_in_all_cgroups(host: Machine) -> None:
    host.shell("a", "sleep 1000 & sleep 1000")
    host.until(lambda: len(tree(host.pids["a"])) == 4)
    assert host.root is not None
    for pid in tree(host.pids["a"]):
        of = cgroup_of(pid)
        for hierarchy in host.root.cgroups.v1:
            for controller in hierarchy.controllers & of.keys():
                assert of[controller] == f"/{host.name}/a"
        if host.root.cgroups.unified is not None:
            assert of[""] == f"/{host.name}/a"


def test_values(host: Machine) -> None:
    if host.root is None or host.root.cgroups.kind == "v2":
        pytest.skip("limits are v1's here")
    amounts = Amounts(cpus=0.29, mem_mb=64, mem_limit_mb=96, pids_limit=33)
    host.launch("a", "sleep", "1000", amounts=amounts)
    assert value(host, "a", "cpu", "cpu.shares") == "296"
    assert value(host, "a", "cpu", "cpu.cfs_period_us") == "100000"
    assert value(host, "a", "cpu", "cpu.cfs_quota_us") == "29000"
    assert value(host, "a", "memory", "memory.limit_in_bytes") == str(96 * 2**20)
    assert value(host, "a", "memory", "memory.soft_limit_in_bytes") == str(64 * 2**20)
    assert value(host, "a", "pids", "pids.max") == "33"
    host.launch("b", "sleep", "1000", amounts=Amounts())
    assert value(host, "b", "cpu", "cpu.shares") == "1024"
    assert value(host, "b", "cpu", "cpu.cfs_quota_us") == "-1"
    assert value(host, "b", "pids", "pids.max") == "max"


def test_a_program_is_looked_up_in_its_own_path(host: Machine) -> None:
    folder = host.folder / "bin"
    folder.mkdir()
    script = folder / "greet"
    script.write_text('#!/bin/sh\necho "$0" "$1"\n')
    script.chmod(0o755)
    environment = {"PATH": f"/nowhere:{folder}:/bin"}
    sandbox = host.launch("a", "greet", "you", environment=environment)
    assert host.end("a").wait_status == 0
    assert (sandbox / "stdout").read_text() == f"{script} you\n"


def test_large_environments_and_arguments(host: Machine) -> None:
    big = {f"X{i}": "x" * 100_000 for i in range(10)}
    assert host.output("a", "env | wc -c", environment=big).strip() > "1000000"


# How it ends.


@pytest.mark.parametrize("status", [0, 3, 255])
def test_exit_status(host: Machine, status: int) -> None:
    host.shell("a", f"exit {status}")
    assert host.end("a") == (status << 8, None)


def test_sigterm_ends_a_program_that_does_not_handle_it(host: Machine) -> None:
    host.launch("a", "sleep", "1000")
    host.containers.signal("a", signal.SIGTERM)
    assert host.end("a") == (signal.SIGTERM, None)


def test_a_program_handles_signals(host: Machine) -> None:
    sandbox = host.shell("a", "trap 'exit 7' USR1; echo ready; while :; do sleep 0.01; done")
    host.until(lambda: (sandbox / "stdout").read_text())
    host.containers.signal("a", signal.SIGUSR1)
    assert host.end("a").wait_status == 7 << 8


def test_signals_sent_to_the_init_are_passed_on(host: Machine) -> None:
    host.launch("a", "sleep", "1000")
    os.kill(host.pids["a"], signal.SIGHUP)
    assert host.end("a").wait_status == signal.SIGHUP


def test_one_that_ignores_sigterm_is_destroyed(host: Machine) -> None:
    sandbox = host.shell("a", "trap '' TERM; echo ready; while :; do sleep 0.01; done")
    host.until(lambda: (sandbox / "stdout").read_text())
    host.containers.signal("a", signal.SIGTERM)
    host.containers.destroy("a")
    assert host.end("a") == (signal.SIGKILL, None)


def test_it_ends_with_the_first_process(host: Machine) -> None:
    others = "setsid sh -c 'sleep 1000 & sleep 1000' & trap 'exit 5' USR1"
    host.shell("a", f"{others}; while :; do sleep 0.01; done")
    host.until(lambda: len(tree(host.pids["a"])) >= 5)
    pids = tree(host.pids["a"])
    host.containers.signal("a", signal.SIGUSR1)
    assert host.end("a").wait_status == 5 << 8
    assert all(is_gone(pid) for pid in pids)


def test_a_stopped_program_is_destroyed(host: Machine) -> None:
    host.launch("a", "sleep", "1000")
    host.containers.signal("a", signal.SIGSTOP)
    host.containers.signal("a", signal.SIGTERM)
    host.containers.destroy("a")
    assert host.end("a").wait_status == signal.SIGKILL


def test_an_end_is_told_when_nothing_is_left(host: Machine) -> None:
    host.shell("a", "sleep 1000 & sleep 1000")
    host.until(lambda: len(tree(host.pids["a"])) == 4)
    pids = tree(host.pids["a"])
    host.containers.destroy("a")
    host.end("a")
    assert all(is_gone(pid) for pid in pids)
    assert host.root is not None
    assert host.root.names() == set()


def test_a_fork_bomb_is_held_and_destroyed(host: Machine) -> None:
    bomb = (
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n"
    )
    host.launch("a", "python3", "-c", bomb, amounts=Amounts(cpus=0.2, pids_limit=40))
    host.until(lambda: host.containers.statistics()["a"]["threads"] > 30)
    host.launch("b", "true")
    assert host.end("b").wait_status == 0
    host.containers.destroy("a")
    assert host.end("a").wait_status == signal.SIGKILL


def test_at_the_limit_of_pids_forks_fail_and_nobody_is_killed(host: Machine) -> None:
    script = (
        "import os\nn=0\ntry:\n while 1: os.fork() or os._exit(os.system('sleep 1000')); n+=1\n"
    )
    script = (
        "import errno, os, signal\nn = 0\ntry:\n    while True:\n"
        "        if os.fork() == 0:\n            signal.pause()\n        n += 1\n"
        "except OSError as error:\n    print(n, error.errno == errno.EAGAIN)\n"
    )
    sandbox = host.launch("a", "python3", "-c", script, amounts=Amounts(pids_limit=10))
    assert host.end("a").wait_status == 0
    assert (sandbox / "stdout").read_text() == "8 True\n"  # and the init, and itself


def test_out_of_memory_is_told_as_such(host: Machine) -> None:
    host.launch("a", "python3", "-c", "x = b'x' * 2**30", amounts=Amounts(mem_mb=32))
    end = host.end("a")
    assert end.wait_status == signal.SIGKILL
    assert end.limitation is not None
    assert end.limitation.reason == "REASON_CONTAINER_LIMITATION_MEMORY"
    assert end.limitation.message.startswith("Memory limit exceeded: it is 32 MB")
    assert end.limitation.resources == {"mem": 32.0}


def test_out_of_memory_of_a_child_ends_the_container(host: Machine) -> None:
    eat = "python3 -c 'x = bytearray(2**30)'"
    host.shell("a", f"{eat}; echo survived; sleep 1000", amounts=Amounts(mem_mb=32))
    end = host.end("a")
    assert end.limitation is not None
    assert end.limitation.resources == {"mem": 32.0}


def test_a_limit_before_it_is_told_to_run_is_told_as_such(host: Machine) -> None:
    limit = Limitation("REASON_CONTAINER_LIMITATION_MEMORY", "too much", {"mem": 32.0})
    host.begin("a", "sleep", "1000")
    host.containers.limit("a", limit)
    assert host.end("a") == End(9, limit)
    assert host.failures == {}
    record = protocol.read_record((host.folder / "meta/containers/a/record").read_bytes())
    assert record is not None
    assert (record.state, record.wait_status) == ("ended", 9)


def test_a_kill_alone_is_not_told_as_out_of_memory(host: Machine) -> None:
    host.shell("a", "kill -9 $$")
    assert host.end("a") == (signal.SIGKILL, None)


# What cannot be started.


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["nosuch"], "Failed to execute nosuch: No such file or directory"),
        (["/nowhere/x"], "Failed to execute /nowhere/x: No such file or directory"),
        (["/etc/passwd"], "Failed to execute /etc/passwd: Permission denied"),
        (["/etc"], "Failed to execute /etc: Permission denied"),
    ],
)
def test_a_program_that_cannot_be_executed(host: Machine, command: list[str], message: str) -> None:
    with pytest.raises(NotLaunched) as caught:
        host.launch("a", *command)
    assert str(caught.value) == message
    assert_nothing_left(host)


def assert_nothing_left(host: Machine) -> None:
    assert host.root is not None
    assert host.root.names() == set()
    assert len(host.containers) == 0
    assert not (host.folder / "meta" / "containers" / "a" / "record").exists()
    assert tree(host.launchers[-1].pid) == {host.launchers[-1].pid}


def test_a_folder_that_is_not_there(host: Machine) -> None:
    with pytest.raises(NotLaunched, match="enter the folder /nowhere: No such file"):
        host.launch("a", "true", directory="/nowhere")
    assert_nothing_left(host)


def test_limits_that_the_kernel_refuses(host: Machine) -> None:
    limits = {resource.RLIMIT_NOFILE: (20, 10)}
    with pytest.raises(NotLaunched, match="set the resource limits: Invalid argument"):
        host.launch("a", "true", limits=limits)
    assert_nothing_left(host)


def test_a_value_that_the_kernel_refuses(host: Machine) -> None:
    with pytest.raises(NotLaunched, match=r"write into the cgroup pids\.max: Invalid argument"):
        host.launch("a", "true", amounts=Amounts(pids_limit=2**40))
    assert_nothing_left(host)


def test_no_room_for_the_init_or_the_program(host: Machine) -> None:
    again = os.strerror(errno.EAGAIN)
    with pytest.raises(NotLaunched, match=f"Failed to start a process: {again}"):
        host.launch("a", "true", amounts=Amounts(pids_limit=1))
    assert_nothing_left(host)


def test_a_full_hierarchy(host: Machine) -> None:
    assert host.root is not None
    if host.root.cgroups.unified is None:
        pytest.skip("only v2 has a limit on the number of cgroups")
    limit = host.root.paths[-1] / "cgroup.max.descendants"
    limit.write_text("1")
    host.launch("b", "sleep", "1000")
    with pytest.raises(NotLaunched, match="create the cgroup: Resource temporarily unavailable"):
        host.launch("a", "true")
    assert host.root.names() == {"b"}
    limit.write_text("max")


def test_names_of_files_of_cgroups_are_no_containers(host: Machine) -> None:
    with pytest.raises(NotLaunched, match="create the cgroup: File exists"):
        host.launch("cgroup.procs", "true")
    assert host.root is not None
    assert host.root.names() == set()


def test_an_id_is_used_once_at_a_time(host: Machine) -> None:
    host.launch("a", "sleep", "1000")
    with pytest.raises(NotAllowed, match="container a is there already"):
        host.containers.launch("a", Plan("true", ["true"], {}, "/", "/x", "/x"), Amounts())
    assert host.containers.pid("a") == host.pids["a"]
    assert not Path("/x").exists()


# What it uses.


def test_statistics(host: Machine) -> None:
    amounts = Amounts(cpus=0.5, mem_mb=64, pids_limit=64)
    host.shell("a", "while :; do :; done & sleep 1000", amounts=amounts)
    host.launch("b", "sleep", "1000", amounts=Amounts())
    host.until(lambda: len(tree(host.pids["a"])) == 4)
    # The kernel adds up what its processors count now and then.
    host.until(lambda: host.containers.statistics()["a"]["mem_rss_bytes"] > 0)
    first = host.containers.statistics()["a"]
    assert first["processes"] == first["threads"] == 4
    assert first["cpus_limit"] == 0.5
    assert first["mem_limit_bytes"] == 64 * 2**20
    assert 0 < first["mem_rss_bytes"] == first["mem_anon_bytes"] <= first["mem_total_bytes"]

    def busy() -> float:
        now = host.containers.statistics()["a"]
        return float(now["cpus_user_time_secs"] + now["cpus_system_time_secs"])

    before = busy()
    host.until(lambda: busy() > before + 0.05)
    idle = host.containers.statistics(["b", "nosuch"])
    assert idle.keys() == {"b"}
    assert "cpus_limit" not in idle["b"]
    assert "mem_limit_bytes" not in idle["b"]


def test_processes_are_counted_as_they_are_now(host: Machine) -> None:
    ends = "while [ ! -e go ]; do sleep 0.01; done; kill $!; wait $!; echo over"
    sandbox = host.shell("a", f"sleep 1000 & {ends}; exec sleep 1000")
    host.until(lambda: host.containers.statistics()["a"]["processes"] >= 3)
    (sandbox / "go").touch()

    def is_over() -> bool:
        assert host.containers.statistics()["a"]["processes"] >= 2  # read all the time
        return bool((sandbox / "stdout").read_text())

    host.until(is_over)
    assert host.containers.statistics()["a"]["processes"] == len(tree(host.pids["a"])) == 2


# What joins it.


def run_inside(host: Machine, id: str, *command: str) -> int:
    sandbox = host.folder / "sandboxes" / id
    plan = Plan(
        program=command[0],
        arguments=command,
        environment={"PATH": PATH},
        directory=str(sandbox),
        stdout=str(sandbox / "guest"),
        stderr=str(sandbox / "guest"),
    )
    return host.loop.run_until_complete(host.containers.run_inside(id, plan))


def test_a_guest_is_in_all_of_the_container(host: Machine) -> None:
    host.launch("a", "sleep", "1000", hostname="box")
    script = "hostname; echo /proc/[0-9]*; cat /proc/self/cgroup; ls /proc/self/fd | wc -l; exit 3"
    assert run_inside(host, "a", "sh", "-c", script) == 3 << 8
    lines = (host.folder / "sandboxes" / "a" / "guest").read_text().splitlines()
    name, pids, *of, count = lines
    assert name == "box"
    assert pids.split()[:2] == ["/proc/1", "/proc/2"]
    ours = [line for line in of if line.endswith(f"/{host.name}/a")]
    assert host.root is not None
    assert len(ours) >= len(host.root.folders)
    assert int(count) == 4
    assert not host.ends
    with pytest.raises(NotLaunched, match="Failed to execute nosuch: No such file or directory"):
        run_inside(host, "a", "nosuch")
    with pytest.raises(NotLaunched, match="container b is not there"):
        run_inside(host, "b", "true")
    assert not is_gone(host.pids["a"])


def test_a_guest_ends_with_the_container(host: Machine) -> None:
    sandbox = host.shell("a", "while [ ! -e go ]; do sleep 0.01; done")
    with pytest.raises(HostEnded, match="container a has ended"):
        run_inside(host, "a", "sh", "-c", "touch go; exec sleep 1000")
    assert host.end("a").wait_status == 0
    assert (sandbox / "go").exists()


def test_a_guest_is_killed_when_nobody_waits_for_it(host: Machine) -> None:
    host.launch("a", "sleep", "1000")

    async def wait() -> None:
        plan = Plan("sleep", ["sleep", "999"], {"PATH": PATH}, "/", "/dev/null", "/dev/null")
        async with asyncio.timeout(0.3):
            await host.containers.run_inside("a", plan)

    with pytest.raises(TimeoutError):
        host.loop.run_until_complete(wait())
    host.until(lambda: len(processes_below(host.name)) == 2)
    assert run_inside(host, "a", "true") == 0


def test_a_guest_ends_with_the_launcher(host: Machine) -> None:
    sandbox = host.launch("a", "sleep", "1000")

    async def run() -> int:
        plan = Plan(
            "sh",
            ["sh", "-c", "echo in; exec sleep 999"],
            {"PATH": PATH},
            "/",
            str(sandbox / "guest"),
            "/dev/null",
        )
        guest = asyncio.ensure_future(host.containers.run_inside("a", plan))
        while not (sandbox / "guest").exists() or not (sandbox / "guest").read_text():
            await asyncio.sleep(0.01)
        os.kill(host.launchers[0].pid, signal.SIGKILL)
        return await guest

    assert host.loop.run_until_complete(run()) == signal.SIGKILL
    host.until(lambda: len(processes_below(host.name)) == 2)
    assert run_inside(host, "a", "true") == 0
