"""What the page at `/ui` is told: over HTTP, without a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from allocator.wire.credentials import hashed
from tests.service.serving import PATIENCE_SECONDS, FrameworkClient, Process, master

Json = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with master(tmp_path_factory.mktemp("master"), "--heartbeat-interval", "0.5") as process:
        yield process


def events(url: str) -> Iterator[tuple[str, Json]]:
    """Yield events of the page; a comment is a `comment`."""
    with (
        httpx.Client(timeout=PATIENCE_SECONDS) as client,
        client.stream("GET", f"{url}/ui/events") as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        name = "picture"
        for line in response.iter_lines():
            if line.startswith(":"):
                yield "comment", {}
            elif line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))
                name = "picture"


def test_assets_are_kept_and_safe(server: Process) -> None:
    page = httpx.get(f"{server.url}/ui")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path in ("/ui/app.js", "/ui/parts.js", "/ui/style.css", "/ui/icon.svg"):
        assert path in page.text or path == "/ui/parts.js"
        found = httpx.get(server.url + path)
        assert found.status_code == 200
        again = httpx.get(server.url + path, headers={"If-None-Match": found.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert httpx.get(f"{server.url}/").headers["location"] == "/ui"
    assert httpx.get(f"{server.url}/ui/nothing").status_code == 404
    assert httpx.post(f"{server.url}/ui").status_code == 405
    assert httpx.head(f"{server.url}/ui/events").status_code == 200


def test_first_event_is_whole_and_changes_follow(server: Process) -> None:
    seen = events(server.url)
    name, first = next(seen)
    assert name == "picture"
    assert {"master", "totals", "counts", "roles", "frameworks", "agents"} < first.keys()
    with FrameworkClient(server.url, name="watched", roles=["eng/web"]) as framework:
        for name, picture in seen:
            rows = picture["frameworks"]["rows"] if name == "picture" else []
            if any(row["id"] == framework.framework_id for row in rows):
                break
        assert {"eng", "eng/web"} <= {row["id"] for row in picture["roles"]["rows"]}
    assert any(name == "picture" and picture["frameworks"]["n"] == 0 for name, picture in seen)


def test_explain_answers_in_words(server: Process) -> None:
    def explained(query: str) -> httpx.Response:
        return httpx.get(f"{server.url}/ui/explain?{query}")

    with FrameworkClient(server.url, name="asker", roles=["eng"]) as framework:
        id = framework.framework_id
        answer = explained(f"framework_id={id}").json()
        assert "nothing to offer" in answer["headline"]
        assert explained(f"framework_id={id}&role=eng").status_code == 200
        assert explained(f"framework_id={id}&role=other").status_code == 404
        assert explained(f"framework_id={id}&slave_id=none").status_code == 404
    assert explained("framework_id=unknown").status_code == 404
    assert explained("").status_code == 400


def test_find_refuses_what_there_is_not(server: Process) -> None:
    found = httpx.get(f"{server.url}/ui/find?kind=tasks&text=x").json()
    assert found == {"kind": "tasks", "text": "x", "n": 0, "rows": []}
    assert httpx.get(f"{server.url}/ui/find?kind=cats").status_code == 400


def test_streams_end_with_the_master(tmp_path: Path) -> None:
    with master(tmp_path, "--max-streams", "1") as process:
        seen = events(process.url)
        next(seen)
        refused = httpx.get(f"{process.url}/ui/events")
        assert refused.status_code == 503
        assert process.stop() == 0
        assert all(name in ("picture", "cycles", "comment") for name, _ in seen)


def test_the_page_asks_who_looks_and_whether_they_may(tmp_path: Path) -> None:
    entries = [{"principal": name, "secret": hashed(name)} for name in ("ops", "outsider")]
    credentials, acls = tmp_path / "credentials", tmp_path / "acls"
    credentials.touch(0o600)
    credentials.write_text(json.dumps({"credentials": entries}))
    denied = {"principals": {"values": ["outsider"]}, "paths": {"type": "NONE"}}
    acls.write_text(json.dumps({"permissive": True, "get_endpoints": [denied]}))
    given = ("--credentials", str(credentials), "--acls", str(acls))
    with master(tmp_path / "master", *given) as process:
        for path in ("/ui", "/ui/app.js", "/ui/find?kind=tasks"):
            url = process.url + path
            nobody = httpx.get(url, timeout=PATIENCE_SECONDS)
            assert nobody.status_code == 401
            assert nobody.headers["www-authenticate"].startswith("Basic ")
            for name, status in (("ops", 200), ("outsider", 403)):
                found = httpx.get(url, auth=(name, name), timeout=PATIENCE_SECONDS)
                assert found.status_code == status
