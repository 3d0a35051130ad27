"""Who may do what, through the server: each action allowed to one principal, denied to another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from allocator.wire.acls import Acls
from allocator.wire.credentials import authorization, hashed
from tests.service import serving
from tests.service.serving import AgentsClient, FrameworkClient, Process
from tests.service.world import agent

Json = dict[str, Any]

#: `ops` may do what the rules name, `eve` nothing, `admin` everything.
OBJECTS = {
    "register_frameworks": ("roles", ["eng/%", "ops"]),
    "update_weights": ("roles", ["eng"]),
    "update_quotas": ("roles", ["eng/%"]),
    "reserve_resources": ("roles", ["eng"]),
    "teardown_frameworks": ("framework_principals", ["ops"]),
    "register_agents": ("agents", ["h1", "h2"]),
    "update_maintenance_schedules": ("machines", ["h1", "10.0.0.1"]),
    "mark_agents_gone": ("agents", ["h1"]),
    "get_endpoints": ("paths", ["/api/v1"]),
}
ACLS: Json = {
    "permissive": False,
    **{
        action: [
            {"principals": {"values": ["ops"]}, objects: {"values": values}},
            {"principals": {"values": ["admin"]}, objects: {"type": "ANY"}},
            {"principals": {"values": ["eve"]}, objects: {"type": "NONE"}},
        ]
        for action, (objects, values) in OBJECTS.items()
    },
}


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("master")
    entries = [
        {"principal": name, "secret": hashed(f"{name}-secret")}
        for name in ("ops", "eve", "admin", "nobody")
    ]
    credentials = folder / "credentials"
    credentials.touch(0o600)
    credentials.write_text(json.dumps({"credentials": entries}))
    (folder / "acls").write_text(json.dumps(ACLS))
    with serving.master(
        folder, "--credentials", str(credentials), "--acls", str(folder / "acls")
    ) as process:
        yield process


def headers(principal: str) -> dict[str, str]:
    """Return what proves who calls."""
    return {"Authorization": authorization(principal, f"{principal}-secret")}


def operate(master: Process, principal: str, type: str, **content: Any) -> int:
    """Return the status of an operator's call."""
    body = {"type": type, type.lower(): content}
    return httpx.post(f"{master.url}/api/v1", json=body, headers=headers(principal)).status_code


def check_denied(ask: Callable[[str], int]) -> None:
    """Check that all but `ops` and `admin` are denied."""
    assert [ask(name) for name in ("eve", "nobody")] == [403, 403]


def framework(master: Process, principal: str, *roles: str) -> FrameworkClient:
    return FrameworkClient(master.url, headers(principal), roles=list(roles), failover_timeout=9)


def test_register_frameworks(master: Process) -> None:
    def ask(principal: str, *roles: str) -> int:
        with framework(master, principal, *roles) as client:
            return client.response.status_code

    assert ask("ops", "eng/web", "ops") == 200
    # Everything below eng, not eng itself; one role that is denied denies all.
    assert [ask("ops", *roles) for roles in (["eng"], ["eng/web", "x"], ["engine"])] == [403] * 3
    assert ask("admin", "x") == 200
    check_denied(lambda name: ask(name, "eng/web"))


def test_changing_roles_needs_the_right_to_them(master: Process) -> None:
    with framework(master, "ops", "eng/web") as client:
        info = {"user": "root", "name": "test", "id": {"value": client.framework_id}}
        changed = {"framework_info": {**info, "roles": ["eng/web", "x"]}}
        assert client.send("UPDATE_FRAMEWORK", **changed).status_code == 403
        changed["framework_info"]["roles"] = ["eng/db"]
        assert client.send("UPDATE_FRAMEWORK", **changed).status_code == 200


def test_a_framework_is_no_other_principals(master: Process) -> None:
    with framework(master, "ops", "ops") as client:
        body = {"type": "REVIVE", "framework_id": {"value": client.framework_id}}
        assert client.call(body, headers("admin")).status_code == 403
        taken = FrameworkClient(
            master.url, headers("admin"), roles=["ops"], id={"value": client.framework_id}
        )
        with taken:
            assert taken.response.status_code == 403
        assert client.call(body).status_code == 202


def test_update_weights(master: Process) -> None:
    def ask(principal: str, *roles: str) -> int:
        infos = [{"role": role, "weight": 2} for role in roles]
        return operate(master, principal, "UPDATE_WEIGHTS", weight_infos=infos)

    def put(principal: str, role: str) -> int:
        infos = [{"role": role, "weight": 2}]
        url = f"{master.url}/master/weights"
        return httpx.put(url, json=infos, headers=headers(principal)).status_code

    def shown() -> Json:
        weights = httpx.get(f"{master.url}/weights", headers=headers("admin")).json()
        return {info["role"]: info["weight"] for info in weights}

    assert (ask("ops", "eng"), put("ops", "eng")) == (200, 200)
    assert shown() == {"eng": 2.0}
    assert [ask("ops", "eng/web"), ask("ops", "eng", "x"), put("ops", "x")] == [403] * 3
    check_denied(lambda name: ask(name, "eng"))
    check_denied(lambda name: put(name, "eng"))


def test_update_quotas(master: Process) -> None:
    def ask(principal: str, *roles: str) -> int:
        configs = [{"role": role, "limits": {"cpus": {"value": 9}}} for role in roles]
        return operate(master, principal, "UPDATE_QUOTA", quota_configs=configs, force=True)

    assert ask("ops", "eng/web", "eng/db") == 200
    assert [ask("ops", "eng"), ask("ops", "eng/web", "x")] == [403, 403]
    check_denied(lambda name: ask(name, "eng/web"))


def test_reserve_resources(master: Process) -> None:
    with AgentsClient(master.url, agent("h1"), headers=headers("ops")) as client:

        def ask(principal: str, role: str, call: str = "RESERVE_RESOURCES") -> int:
            entry = {
                "name": "cpus",
                "type": "SCALAR",
                "scalar": {"value": 0.5},
                "reservations": [{"type": "DYNAMIC", "role": role}],
            }
            id = {"value": client.ids[0]}
            return operate(master, principal, call, agent_id=id, resources=[entry])

        assert [ask("ops", "eng"), ask("admin", "x")] == [202, 202]
        assert ask("ops", "x") == 403
        assert ask("ops", "x", "UNRESERVE_RESOURCES") == 403
        check_denied(lambda name: ask(name, "eng"))
        check_denied(lambda name: ask(name, "eng", "UNRESERVE_RESOURCES"))
        assert ask("ops", "eng", "UNRESERVE_RESOURCES") == 202


def test_reserve_resources_of_an_offer(master: Process) -> None:
    def ask(client: FrameworkClient, type: str, role: str) -> int:
        entry = {
            "name": "cpus",
            "type": "SCALAR",
            "scalar": {"value": 0.5},
            "reservations": [{"type": "DYNAMIC", "role": role}],
        }
        operation = {"type": type, type.lower(): {"resources": [entry]}}
        offer = {"value": "gone"}
        return client.send("ACCEPT", offer_ids=[offer], operations=[operation]).status_code

    with framework(master, "ops", "ops") as client:
        for type in ("RESERVE", "UNRESERVE"):
            assert [ask(client, type, role) for role in ("eng", "ops")] == [202, 403]
        assert client.send("ACCEPT", offer_ids=[]).status_code == 202
    with framework(master, "admin", "x") as client:
        assert ask(client, "RESERVE", "x") == 202


def test_teardown_frameworks(master: Process) -> None:
    def ask(principal: str, client: FrameworkClient) -> int:
        id = {"value": client.framework_id}
        return operate(master, principal, "TEARDOWN", framework_id=id)

    with framework(master, "ops", "ops") as own, framework(master, "admin", "x") as other:
        assert ask("ops", other) == 403
        check_denied(lambda name: ask(name, own))
        assert ask("ops", own) == 200
        assert other.send("TEARDOWN").status_code == 202  # its own needs no right


def test_register_agents(master: Process) -> None:
    def ask(principal: str, *hostnames: str) -> int:
        agents = [agent(hostname) for hostname in hostnames]
        with AgentsClient(master.url, *agents, headers=headers(principal)) as client:
            return client.response.status_code

    assert ask("ops", "h1", "h2") == 200
    assert ask("ops", "h1", "h3") == 403
    check_denied(lambda name: ask(name, "h1"))


def test_update_maintenance_schedules(master: Process) -> None:
    def ask(principal: str, *machines: Json) -> int:
        window = {
            "machine_ids": list(machines),
            "unavailability": {"start": {"nanoseconds": 2 * 10**18}},
        }
        schedule = {"windows": [window] if machines else []}
        return operate(master, principal, "UPDATE_MAINTENANCE_SCHEDULE", schedule=schedule)

    assert ask("ops", {"hostname": "h1"}, {"ip": "10.0.0.1"}) == 200
    assert ask("ops", {"hostname": "h1"}, {"hostname": "h9"}) == 403
    check_denied(lambda name: ask(name))  # to take machines out of it is a change, too
    assert ask("admin", {"hostname": "h9"}) == 200
    assert [ask("ops"), ask("ops", {"hostname": "h9"}, {"hostname": "h1"})] == [403, 200]
    assert ask("admin") == 200


def test_mark_agents_gone(master: Process) -> None:
    clients = [AgentsClient(master.url, agent(h), headers=headers("admin")) for h in ("h1", "h7")]
    own, other = (client.ids[0] for client in clients)

    def ask(principal: str, id: str) -> int:
        return operate(master, principal, "MARK_AGENT_GONE", agent_id={"value": id})

    assert ask("ops", other) == 403
    check_denied(lambda name: ask(name, own))
    assert [ask("ops", own), ask("admin", other), ask("admin", "x9")] == [200, 200, 404]
    for client in clients:
        client.close()


def test_get_endpoints_of_the_operator_api(master: Process) -> None:
    for type in ("GET_STATE", "GET_METRICS", "GET_MAINTENANCE_STATUS", "SUBSCRIBE"):
        check_denied(lambda name, type=type: operate(master, name, type))  # type: ignore[misc]
    assert operate(master, "ops", "GET_STATE") == 200
    body = {"type": "SUBSCRIBE"}
    with serving.Subscription(master.url, "/api/v1", body, headers("ops")) as watcher:
        assert watcher.next()["type"] == "SUBSCRIBED"
        assert watcher.next()["type"] == "HEARTBEAT"


def test_no_secret_is_logged(master: Process) -> None:
    log = master.log.read_text()
    assert not [name for name in ("ops", "eve", "admin") if f"{name}-secret" in log]
    assert "Basic " not in log


def test_rules_may_name_a_thing_by_any_of_its_names() -> None:
    rule = {"principals": {"type": "NONE"}, "agents": {"values": ["h1"]}}
    acls = Acls.from_json({"mark_agents_gone": [rule]})
    assert not acls.allow("ops", "mark_agents_gone", [("h1", "id1")])
    assert acls.allow("ops", "mark_agents_gone", [("h2", "id1"), "h3", None])
