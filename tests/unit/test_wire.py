"""What master, agents and clients say to each other, and who they are."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.errors import InvalidValue
from allocator.wire.acls import Acls
from allocator.wire.credentials import (
    Claim,
    Credentials,
    authorization,
    hashed,
    read_claim,
    read_credential,
    read_secret,
)
from allocator.wire.decode import (
    MAX_ECHO,
    accepts_json,
    check_content_type,
    encode,
    read_call,
)
from allocator.wire.messages import SCHEDULER_CALLS, SubscribeCall
from allocator.wire.recordio import RecordReader, framed
from allocator.wire.refusal import CallRefused

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def refusal(body: bytes) -> CallRefused:
    with pytest.raises(CallRefused) as caught:
        read_call(body, SCHEDULER_CALLS)
    return caught.value


@given(json_values)
def test_depth_is_that_of_the_value(value: object) -> None:
    from allocator.wire._nesting import depth_of

    assert depth_of(json.dumps(value).encode()) == depth(value)
    assert depth_of(json.dumps(value, ensure_ascii=False).encode()) == depth(value)


@given(json_values)
def test_what_is_encoded_is_ascii_on_one_line_and_reads_as_before(value: object) -> None:
    text = encode({"": value})
    assert text.isascii()
    assert b"\n" not in text
    assert json.loads(text) == {"": value}


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        (b"", 400, "no body"),
        (b"  \n", 400, "no body"),
        (b"[]", 400, "read"),
        (b"{", 400, "read"),
        (b"\xff", 400, "read"),
        (b'{"type":NaN}', 400, "read"),
        (b"{}", 400, "type"),
        (b'{"type":null}', 400, "type"),
        (b'{"type":5}', 400, "type"),
        (b'{"type":"SUBMIT","subscribe":5}', 501, "SUBMIT"),
        (b'{"type":"ACCEPT"}', 400, "accept"),
        (b'{"type":"ACCEPT","accept":null}', 400, "accept"),
        (b'{"type":"ACCEPT","accept":{"offer_ids":"O1"}}', 400, "offer_ids"),
        (b'{"type":"KILL","kill":{"task_id":{"value":7}}}', 400, "task_id.value"),
        (b'{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u"}}}', 400, "name"),
        (b'{"type":"REVIVE","x":' + b"[" * 100 + b"]" * 100 + b"}", 400, "nested"),
    ],
)
def test_a_refusal_has_a_status_and_names_what_was_wrong(
    body: bytes, status: int, named: str
) -> None:
    refused = refusal(body)
    assert refused.status == status
    assert named in refused.text


def test_a_refusal_repeats_little_of_what_came() -> None:
    refused = refusal(json.dumps({"type": "X\n" * 100_000}).encode())
    assert len(refused.text) < MAX_ECHO + 50
    assert "\n" not in refused.text


def test_numbers_may_be_text_null_is_unset_and_unknown_fields_are_ignored() -> None:
    body = {
        "type": "SUBSCRIBE",
        "subscribe": {
            "framework_info": {
                "user": "root",
                "name": "test",
                "failover_timeout": "Infinity",
                "hostname": None,
                "unheard_of": {"value": []},
            }
        },
    }
    type, call = read_call(b"\xef\xbb\xbf" + json.dumps(body).encode(), SCHEDULER_CALLS)
    assert type == "SUBSCRIBE"
    assert isinstance(call, SubscribeCall)
    assert call.subscribe.framework_info.failover_timeout == float("inf")
    assert call.subscribe.framework_info.hostname is None


RESOURCE = {"name": "cpus", "type": "SCALAR", "scalar": {"value": "0.1"}, "role": "*"}
COMMAND = {
    "value": "true",
    "shell": True,
    "arguments": ["a"],
    "environment": {"variables": [{"name": "A", "value": "b"}]},
    "uris": [{"value": "/x", "executable": False}],
}
LABELS = {"labels": [{"key": "k", "value": "v"}]}
#: Of every kind something that is handed on as it came.
OPAQUE: dict[str, Any] = {
    "resources": [
        RESOURCE,
        {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 2}]}},
        {"name": "zones", "type": "SET", "set": {"item": ["a"]}},
        {
            "name": "disk",
            "type": "SCALAR",
            "scalar": {"value": 1},
            "reservations": [{"type": "DYNAMIC", "role": "eng", "labels": LABELS}],
            "disk": {"persistence": {"id": "v"}, "volume": {"container_path": "p", "mode": "RW"}},
        },
    ],
    "command": COMMAND,
    "executor": {"executor_id": {"value": "e"}, "command": COMMAND, "resources": [RESOURCE]},
    "container": {
        "type": "MESOS",
        "hostname": "h",
        "rlimit_info": {"rlimits": [{"type": "RLMT_NOFILE", "soft": 1, "hard": 2}]},
    },
    "health_check": {"type": "TCP", "tcp": {"port": 1}, "delay_seconds": 1, "command": COMMAND},
    "check": {"type": "COMMAND", "command": {"command": COMMAND}, "interval_seconds": 2.5},
    "labels": LABELS,
    "discovery": {"visibility": "CLUSTER", "ports": {"ports": [{"number": 1, "labels": LABELS}]}},
}


def accept_of(task: object) -> bytes:
    operation = {"type": "LAUNCH", "launch": {"task_infos": [task]}}
    call = {"accept": {"offer_ids": [], "operations": [operation]}}
    return json.dumps({"type": "ACCEPT", "framework_id": {"value": "f"}, **call}).encode()


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the paths of all that is in a value."""
    parts: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    for name, part in parts:
        yield (*path, name)
        yield from places(part, (*path, name))


def kind_of(value: object) -> str:
    """Return which values are of one kind on the wire."""
    if isinstance(value, bool):
        return "flag"
    return "number" if isinstance(value, (int, float)) or value == "0.1" else type(value).__name__


def with_other(value: Any, path: tuple[str | int, ...], other: object) -> Any:
    """Return a value in which something else stands at a path."""
    if not path:
        return other
    copied = copy.copy(value)
    copied[path[0]] = with_other(value[path[0]], path[1:], other)
    return copied


def test_what_is_handed_on_is_of_the_right_json_types() -> None:
    task = {"name": "t", "task_id": {"value": "t"}, "agent_id": {"value": "a"}, **OPAQUE}
    read_call(accept_of(task), SCHEDULER_CALLS)
    n_tried = 0
    for path in places(OPAQUE):
        found: Any = OPAQUE
        for name in path:
            found = found[name]
        for other in (5, True, "word", [5], {"unheard_of": 1}):
            if kind_of(other) != kind_of(found):
                n_tried += 1
                refused = refusal(accept_of(with_other(task, path, other)))
                assert refused.status == 400, (path, other)
                assert "$.accept.operations[0].launch.task_infos[0]" in refused.text
    assert n_tried > 300


def test_a_request_of_the_wrong_json_types() -> None:
    for request in ({"agent_id": "a"}, {"resources": [{"name": 5}]}):
        call = {"type": "REQUEST", "framework_id": {"value": "f"}}
        body = json.dumps({**call, "request": {"requests": [request]}}).encode()
        assert "$.request.requests[0]" in refusal(body).text


@pytest.mark.parametrize(
    ("field", "value"),
    [("checkpoint", "true"), ("checkpoint", 1), ("labels", {"labels": [{"key": 5}]})],
)
def test_a_framework_of_the_wrong_json_types(field: str, value: object) -> None:
    info = {"user": "u", "name": "n", field: value}
    call = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
    assert field in refusal(json.dumps(call).encode()).text


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (None, 400),
        (" ", 400),
        ("application/json", None),
        ("Application/JSON; charset=utf-8", None),
        ("application/x-protobuf", 415),
        ("text/plain", 415),
    ],
)
def test_content_types(value: str | None, status: int | None) -> None:
    if status is None:
        check_content_type(value)
        return
    with pytest.raises(CallRefused) as caught:
        check_content_type(value)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("value", "admitted"),
    [
        (None, True),
        ("*/*", True),
        ("application/*", True),
        ("text/html, application/JSON;q=0.5", True),
        ("application/x-protobuf", False),
        ("application/json;q=0", False),
    ],
)
def test_accept_headers(value: str | None, admitted: bool) -> None:
    assert accepts_json(value) is admitted


@given(st.lists(st.binary(max_size=20)), st.data())
def test_records_come_out_whole_in_whatever_pieces_they_come(
    records: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(map(framed, records))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    reader = RecordReader()
    ends = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    assert [r for begin, end in ends for r in reader.feed(stream[begin:end])] == records


@pytest.mark.parametrize("stream", [b"x\n", b"-1\n", b"1234567890123", b"\n"])
def test_what_begins_no_record_is_refused(stream: bytes) -> None:
    with pytest.raises(InvalidValue, match="record"):
        list(RecordReader().feed(stream))


# Who somebody is.


def credentials_file(folder: Path, content: object, mode: int = 0o600) -> Path:
    path = folder / "credentials.json"
    path.write_text(json.dumps(content))
    path.chmod(mode)
    return path


def test_a_secret_proves_a_principal_and_nothing_else_does(tmp_path: Path) -> None:
    entries = [{"principal": name, "secret": hashed(f"{name}'s")} for name in ("ops", "dev")]
    known = Credentials.read(credentials_file(tmp_path, {"credentials": entries}))
    right, wrong = Claim("ops", b"ops's"), Claim("ops", b"dev's")
    assert not known.proven(right)
    assert known.prove(right)
    assert known.proven(right)
    assert not known.proven(wrong)
    assert not known.prove(wrong)
    assert not known.prove(Claim("nobody", b"ops's"))
    assert not known.proven(Claim("nobody", b""))


@pytest.mark.parametrize(
    ("content", "mode", "named"),
    [
        ({"credentials": [{"principal": "ops", "secret": "hunter2"}]}, 0o600, "'ops'"),
        ({"credentials": [{"principal": "ops", "secret": None}]}, 0o600, "'ops'"),
        ({"credentials": [{"principal": "a:b", "secret": "x"}]}, 0o600, "colons"),
        ({"credentials": {}}, 0o600, "credentials"),
        ([], 0o600, "credentials"),
        ({"credentials": []}, 0o640, "chmod"),
        ({"credentials": []}, 0o604, "chmod"),
    ],
)
def test_a_credentials_file_that_cannot_be_used(
    tmp_path: Path, content: object, mode: int, named: str
) -> None:
    with pytest.raises(InvalidValue, match=named) as caught:
        Credentials.read(credentials_file(tmp_path, content, mode))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "$scrypt$ln=21,r=8,p=1$c2FsdA$" + "A" * 43,
        "$scrypt$ln=0,r=8,p=1$c2FsdA$" + "A" * 43,
        "$scrypt$ln=14,r=8,p=1$c2FsdA$AAAA",
        "$scrypt$ln=14,r=8,p=1$c2FsdA$A",
        "$argon2id$v=19$m=65536,t=2,p=1$c2FsdA$AAAA",
    ],
)
def test_what_is_no_scrypt_hash(text: str) -> None:
    with pytest.raises(InvalidValue, match="scrypt"):
        read_secret(text)


@given(st.text().filter(lambda name: ":" not in name), st.text())
def test_basic_and_bearer_say_the_same(principal: str, secret: str) -> None:
    header = authorization(principal, secret)
    claim = Claim(principal, secret.encode())
    assert read_claim(header) == claim
    assert read_claim(header.replace("Basic", "bearer", 1)) == claim


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Digest abc",
        "Basic ====",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff:x").decode(),
    ],
)
def test_headers_that_claim_nothing(header: str | None) -> None:
    assert read_claim(header) is None


def test_a_credential_of_ones_own(tmp_path: Path) -> None:
    path = credentials_file(tmp_path, {"principal": "agent", "secret": "s"})
    assert read_credential(path) == Claim("agent", b"s")
    with pytest.raises(InvalidValue, match="principal"):
        read_credential(credentials_file(tmp_path, {"principal": "agent"}))


# Who may do what.


def test_the_first_rule_that_matches_decides() -> None:
    acls = Acls.from_json(
        {
            "permissive": False,
            "update_weights": [
                {"principals": {"values": ["ops"]}, "roles": {"values": ["eng", "eng/%"]}},
                {"principals": {"values": ["ops"]}, "roles": {"type": "NONE"}},
                {"principals": {"type": "ANY"}, "roles": {"values": ["public"]}},
            ],
        }
    )

    def may(principal: str | None, *roles: str) -> bool:
        return acls.allow(principal, "update_weights", roles)

    assert may("ops", "eng")
    assert may("ops", "eng", "eng/prod/web")
    assert not may("ops", "eng", "public")  # one denied role denies all
    assert not may("ops", "england")
    assert may("dev", "public")
    assert may(None, "public")
    assert not may("dev", "eng")
    assert not acls.allow("ops", "update_quotas", ["eng"])


def test_a_role_itself_is_not_below_it() -> None:
    rule = {"principals": {"type": "ANY"}, "roles": {"values": ["eng/%"]}}
    acls = Acls.from_json({"permissive": False, "register_frameworks": [rule]})
    assert acls.allow("a", "register_frameworks", ["eng/x"])
    assert not acls.allow("a", "register_frameworks", ["eng"])
    assert not acls.allow("a", "register_frameworks", ["eng/"])


def test_without_rules_all_may_do_all() -> None:
    assert Acls().allow(None, "get_endpoints", ["/state"])
    assert Acls.from_json({}).allow(None, "get_endpoints", ["/state"])


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ([], "object"),
        ({"permissive": 1}, "permissive"),
        ({"run_tasks": []}, "run_tasks"),
        ({"get_endpoints": {}}, "list"),
        ({"get_endpoints": [{"principals": {"type": "ANY"}}]}, "paths"),
        ({"get_endpoints": [{"principals": {"type": "SOME"}, "paths": {"type": "ANY"}}]}, "princ"),
        ({"get_endpoints": [{"principals": {"values": [1]}, "paths": {"type": "ANY"}}]}, "princ"),
    ],
)
def test_acls_that_are_refused(tmp_path: Path, content: object, named: str) -> None:
    path = tmp_path / "acls.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidValue, match=named):
        Acls.read(path)


def test_the_wire_loads_neither_engine_nor_numpy_nor_a_server() -> None:
    import subprocess
    import sys

    code = (
        "import sys, allocator.wire.messages, allocator.wire.decode, allocator.wire.acls,"
        " allocator.wire.credentials, allocator.wire.recordio; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"numpy", "allocator.engine", "allocator.sorter", "starlette", "httpx"}
