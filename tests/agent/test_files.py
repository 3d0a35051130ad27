"""`/files`: what can be read in sandboxes, and that nothing else can."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.agent.test_standalone import Agent


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    folder = tmp_path_factory.mktemp("agent")
    with Agent(folder, "--runtime", "process") as process:
        assert process.launch("c", "echo hello; echo oops >&2").status_code == 200
        process.wait("c")
        (folder / "secret").write_text("secret")
        yield process
        process.close()


@pytest.fixture
def sandbox(agent: Agent) -> Path:
    return agent.work / "containers" / "c"


def read(agent: Agent, path: object, **more: object) -> httpx.Response:
    return agent.client.get("/files/read", params={"path": str(path), **more})


def test_reading(agent: Agent, sandbox: Path) -> None:
    for path in (sandbox / "stdout", "/containers/c/stdout"):
        assert read(agent, path, offset=0).json() == {"offset": 0, "data": "hello\n"}
        assert read(agent, path).json() == {"offset": 0, "data": "hello\n"}
        assert read(agent, path, offset=2, length=3).json() == {"offset": 2, "data": "llo"}
        assert read(agent, path, offset=-1).json() == {"offset": 6, "data": ""}
        assert read(agent, path, length=0).json() == {"offset": 6, "data": ""}
        assert read(agent, path, offset=99).json() == {"offset": 99, "data": ""}
        for bad in ({"offset": -2}, {"offset": "x"}, {"length": "1.5"}, {"length": ""}):
            assert read(agent, path, **bad).status_code == 400
    (sandbox / "binary").write_bytes(b"a\xff" + b"b" * 70000)
    found = read(agent, sandbox / "binary", length=100000).json()["data"]
    assert found == "a�" + "b" * 65534
    r = agent.call("READ_FILE", {"path": "/containers/c/binary", "offset": 0, "length": 3})
    told = r.json()["read_file"]
    assert (told["size"], base64.b64decode(told["data"])) == (70002, b"a\xffb")


def test_browsing(agent: Agent, sandbox: Path) -> None:
    (sandbox / "folder").mkdir()
    (sandbox / "folder" / "b").write_text("123")
    (sandbox / "folder" / "a").symlink_to("/etc/passwd")
    r = agent.client.get("/files/browse", params={"path": f"{sandbox}/folder"})
    link, file = r.json()
    assert (link["path"], link["mode"][0]) == (f"{sandbox}/folder/a", "l")
    assert (file["path"], file["size"], file["nlink"]) == (f"{sandbox}/folder/b", 3, 1)
    assert file["mode"] == "-rw-r--r--"
    assert link["size"] == len("/etc/passwd")
    r = agent.client.get("/files/browse", params={"path": "/containers/c/stdout"})
    assert r.status_code == 400
    infos = agent.call("LIST_FILES", {"path": "/containers/c/folder"}).json()["list_files"]
    assert [each["path"] for each in infos["file_infos"]] == [
        "/containers/c/folder/a",
        "/containers/c/folder/b",
    ]
    debug = agent.client.get("/files/debug").json()
    assert debug == {"/containers/c": str(sandbox)}


def test_downloading(agent: Agent, sandbox: Path) -> None:
    data = os.urandom(3_000_000)
    (sandbox / 'a "b".json').write_bytes(data)
    for _ in range(2):  # on the same connection
        r = agent.client.get("/files/download", params={"path": f'{sandbox}/a "b".json'})
        assert r.content == data
        assert r.headers["Content-Type"] == "application/json"
        assert r.headers["Content-Disposition"].startswith('attachment; filename="a _b_.json"')
    r = agent.client.get("/files/download", params={"path": "/containers/c/stdout"})
    assert (r.text, r.headers["Content-Type"]) == ("hello\n", "application/octet-stream")
    (sandbox / "empty").touch()
    r = agent.client.get("/files/download", params={"path": "/containers/c/empty"})
    assert (r.status_code, r.content) == (200, b"")


def test_links_that_stay_inside(agent: Agent, sandbox: Path) -> None:
    """Also those that begin with a slash, as of a task that puts MESOS_SANDBOX before them."""
    (sandbox / "deep").mkdir()
    (sandbox / "deep" / "file").write_text("text")
    (sandbox / "all").symlink_to(sandbox / "deep")
    (sandbox / "near").symlink_to("all/file")
    (sandbox / "far").symlink_to(sandbox / "near")
    (sandbox / "round").symlink_to(sandbox / "round")
    (sandbox / "top").symlink_to(sandbox)
    for name in ("near", "far", "all/file"):
        assert read(agent, sandbox / name).json()["data"] == "text"
        r = agent.client.get("/files/download", params={"path": f"/containers/c/{name}"})
        assert r.text == "text"
    r = agent.client.get("/files/browse", params={"path": "/containers/c/all"})
    assert [each["path"] for each in r.json()] == ["/containers/c/all/file"]
    for name in ("round", "top/stdout/x", "top/../cb", "all/../../cb"):
        assert read(agent, sandbox / name).status_code in (400, 404)


def test_names_that_are_no_text(agent: Agent, sandbox: Path) -> None:
    (sandbox / os.fsdecode(b"odd\xff")).write_text("odd")
    for kind, text in (("read", '{"offset":0,"data":"odd"}'), ("download", "odd")):
        r = agent.client.get(f"/files/{kind}?path=/containers/c/odd%ff")
        assert r.text == text
    assert "UTF-8''odd%FF" in r.headers["Content-Disposition"]
    (sandbox / os.fsdecode(b"folder\xff")).mkdir()
    (sandbox / os.fsdecode(b"folder\xff") / "file").touch()
    r = agent.client.get("/files/browse?path=/containers/c/folder%ff")
    assert [each["path"] for each in r.json()] == ["/containers/c/folder\ufffd/file"]
    for query in ("path=/containers/c/none%ff", "path=/containers/c/stdout&offset=%ff"):
        assert agent.client.get(f"/files/read?{query}").status_code in (400, 404)


@pytest.mark.parametrize("kind", ["read", "browse", "download"])
def test_what_is_not_given(agent: Agent, sandbox: Path, kind: str) -> None:
    work = agent.work
    for name, target in (
        ("absolute", "/etc"),
        ("relative", "../../.."),
        ("magic", "/proc/self/root"),
        ("to-secret", "../../../secret"),
        ("inside", "stdout"),
    ):
        if not (sandbox / name).is_symlink():
            (sandbox / name).symlink_to(target)
    (work / "containers" / "cb").mkdir(exist_ok=True)

    def status(path: object) -> int:
        return agent.client.get(f"/files/{kind}", params={"path": str(path)}).status_code

    assert agent.client.get(f"/files/{kind}").status_code == 400
    for path in (
        *("", "\0", "/containers/c/\0"),
        *(f"{sandbox}/{name}" for name in ("absolute/passwd", "relative/secret", "to-secret")),
        *(f"{sandbox}/{name}" for name in ("absolute", "magic/etc/passwd", "relative")),
    ):
        assert status(path) == 400, path
    for path in (
        *("stdout", "/etc/passwd", "/", work, work / "meta", work / "lock"),
        *(work / "containers", f"{work}/containers/../meta", f"{work}/containers/../../secret"),
        *(f"{sandbox}x/stdout", f"{sandbox}/nothing", "/containers/nothing/stdout"),
        *("/containers/../meta/agents", "/containers/./c", f"{work}/agents/../containers/c/stdout"),
        *(f"{sandbox}/stdout/", f"{sandbox}/stdout/x"),
    ):
        assert status(path) == 404, path
    for path in (f"{sandbox}/../../../secret", f"{sandbox}/../cb", "/containers/c/../c/stdout"):
        assert status(path) == 400, path
    for encoded in ("%252e%252e/secret", "..%252f..%252fsecret"):
        r = agent.client.get(f"/files/{kind}?path={sandbox}/{encoded}")
        assert r.status_code == 404
    r = agent.client.get(f"/files/{kind}?path={sandbox}/%2e%2e/%2e%2e/%2e%2e/secret")
    assert r.status_code == 400
    if kind != "browse":
        assert status(f"{sandbox}/inside") == 200


def test_what_would_not_end_is_not_opened(agent: Agent, sandbox: Path) -> None:
    os.mkfifo(sandbox / "fifo")
    for path in ("fifo", ""):
        for kind in ("read", "download"):
            r = agent.client.get(f"/files/{kind}", params={"path": f"{sandbox}/{path}"})
            assert r.status_code == 400


def test_a_link_that_is_swapped_meanwhile(agent: Agent, sandbox: Path) -> None:
    """Whoever swaps a folder for a link to the outside never has the outside read."""
    (sandbox / "good").mkdir()
    (sandbox / "good" / "secret").write_text("good")
    (sandbox / "bad").symlink_to("../../..")
    is_over = threading.Event()

    def swap() -> None:
        names = ["good", "bad"]
        while not is_over.is_set():
            for name in names:
                os.rename(sandbox / name, sandbox / "x")
                os.rename(sandbox / "x", sandbox / name)
                os.replace(sandbox / "bad", sandbox / "spare")
                os.rename(sandbox / "good", sandbox / "bad")
                os.rename(sandbox / "spare", sandbox / "good")
                os.rename(sandbox / "good", sandbox / "spare")
                os.rename(sandbox / "bad", sandbox / "good")
                os.rename(sandbox / "spare", sandbox / "bad")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        answers = [read(agent, sandbox / "good" / "secret") for _ in range(400)]
    finally:
        is_over.set()
        thread.join()
    found = {r.json()["data"] for r in answers if r.status_code == 200}
    assert found == {"good"}
    assert {r.status_code for r in answers} <= {200, 400, 404}


def test_a_sandbox_that_is_a_link_is_none(agent: Agent) -> None:
    agent.launch("l", "true")
    agent.wait("l")
    folder = agent.work / "containers" / "l"
    folder.rename(folder.with_name("moved"))
    folder.symlink_to("../meta")
    assert read(agent, folder / "agents").status_code == 400
    folder.unlink()
    folder.with_name("moved").rename(folder)
