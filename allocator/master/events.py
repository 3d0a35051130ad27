"""What frameworks and agents are told, in the v1 JSON form."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any, NamedTuple

from allocator.contract import Offer
from allocator.master.records import Agent, Framework
from allocator.resources import Resources

Json = dict[str, Any]


class MasterInfo(NamedTuple):
    """How a master is found."""

    id: str
    ip: str
    port: int
    hostname: str
    version: str

    @property
    def pid(self) -> str:
        """As Mesos writes where a process is."""
        return f"master@{self.ip}:{self.port}"

    def to_json(self) -> Json:
        """Return it as in SUBSCRIBED, and as ZooKeeper has it."""
        return {
            "id": self.id,
            "ip": packed_ip(self.ip),
            "port": self.port,
            "pid": self.pid,
            "hostname": self.hostname,
            "version": self.version,
            "address": {"hostname": self.hostname, "ip": self.ip, "port": self.port},
        }


def packed_ip(ip: str) -> int:
    """Return an IPv4 address as Mesos' 32 bits (network order in a little-endian integer)."""
    address = ipaddress.ip_address(ip)
    if address.version != 4:
        return 0
    return int.from_bytes(address.packed, "little")


@lru_cache(maxsize=4096)
def entries(resources: Resources, role: str | None = None) -> tuple[Json, ...]:
    """Return resources as a v1 list, with their role and whom they are for. O(entries) once."""
    found = resources.to_json()
    for entry in found:
        reservations = entry.get("reservations")
        entry["role"] = reservations[-1]["role"] if reservations else "*"
        if role is not None:
            entry["allocation_info"] = {"role": role}
    return tuple(found)


def time_json(seconds: float) -> Json:
    """Return a time of the calendar, or a span, as v1 has it."""
    return {"nanoseconds": round(seconds * 1e9)}


def offer_json(offer: Offer, agent: Agent) -> Json:
    """Return an offer as frameworks are sent it."""
    json: Json = {
        "id": {"value": offer.id},
        "framework_id": {"value": offer.framework},
        "agent_id": {"value": offer.agent},
        "hostname": agent.hostname,
        "url": _url(agent),
        "allocation_info": {"role": offer.role},
        "resources": entries(offer.resources, offer.role),
        "executor_ids": [],
    }
    if agent.info.attributes:
        json["attributes"] = agent.info.attributes
    if agent.info.domain:
        json["domain"] = agent.info.domain
    if agent.unavailability is not None:
        json["unavailability"] = agent.unavailability
    return json


def inverse_offer_json(id: str, framework_id: str, agent: Agent) -> Json:
    """Return a request to leave an agent as frameworks are sent it."""
    return {
        "id": {"value": id},
        "framework_id": {"value": framework_id},
        "agent_id": {"value": agent.id},
        "url": _url(agent),
        "unavailability": agent.unavailability,
        "resources": [],
    }


def _url(agent: Agent) -> Json:
    return {
        "scheme": "http",
        "address": {"hostname": agent.hostname, "ip": agent.ip, "port": agent.port},
        "path": "/agent(1)",
        "query": [],
    }


def subscribed(framework: Framework, heartbeat_seconds: float, master: MasterInfo) -> Json:
    """Return the first event of a stream."""
    return {
        "type": "SUBSCRIBED",
        "subscribed": {
            "framework_id": {"value": framework.id},
            "heartbeat_interval_seconds": heartbeat_seconds,
            "master_info": master.to_json(),
        },
    }


HEARTBEAT: Json = {"type": "HEARTBEAT"}


def error(message: str) -> Json:
    """Return the event before a stream ends."""
    return {"type": "ERROR", "error": {"message": message}}


def rescind(offer_id: str) -> Json:
    """Return the event that takes an offer back."""
    return {"type": "RESCIND", "rescind": {"offer_id": {"value": offer_id}}}


def rescind_inverse_offer(id: str) -> Json:
    """Return the event that takes a request to leave an agent back."""
    return {
        "type": "RESCIND_INVERSE_OFFER",
        "rescind_inverse_offer": {"inverse_offer_id": {"value": id}},
    }


def update(status: Json) -> Json:
    """Return the event that tells a status."""
    return {"type": "UPDATE", "update": {"status": status}}


def failure(agent_id: str, executor_id: str | None = None, wait_status: int | None = None) -> Json:
    """Return the event that tells that an agent is gone, or an executor on it."""
    failed: Json = {"agent_id": {"value": agent_id}}
    if executor_id is not None:
        failed["executor_id"] = {"value": executor_id}
    if wait_status is not None:
        failed["status"] = wait_status
    return {"type": "FAILURE", "failure": failed}


def message(agent_id: str, executor_id: str, data: str) -> Json:
    """Return the event that hands on what an executor says; data in base64."""
    inner = {"agent_id": {"value": agent_id}, "executor_id": {"value": executor_id}, "data": data}
    return {"type": "MESSAGE", "message": inner}
