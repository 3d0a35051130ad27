"""A JSON schema of `/state` and its siblings: each record has just the keys that it may have."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "number"}
COUNT: Json = {"type": "integer", "minimum": 0}
FLAG: Json = {"type": "boolean"}
ANYTHING: Json = {}


def array(items: Json) -> Json:
    return {"type": "array", "items": items}


def record(optional: Json | None = None, **required: Json) -> Json:
    """Return the schema of an object of these members and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


RESOURCES: Json = {
    "type": "object",
    "properties": dict.fromkeys(("cpus", "gpus", "mem", "disk"), NUMBER),
    "required": ["cpus", "gpus", "mem", "disk"],
    "additionalProperties": {
        "anyOf": [
            NUMBER,
            {"type": "string", "pattern": r"^\[\d+-\d+(, \d+-\d+)*\]$"},
            {"type": "string", "pattern": r"^\{.+\}$"},
        ]
    },
}
BY_ROLE: Json = {"type": "object", "additionalProperties": RESOURCES}
LABELS: Json = array(record({"value": TEXT}, key=TEXT))
ENTRIES: Json = array({"type": "object", "required": ["name", "type", "role"]})

_AGENT: Json = {
    "id": TEXT,
    "hostname": TEXT,
    "port": {"type": "integer"},
    "attributes": {"type": "object"},
    "pid": {"type": "string", "pattern": r"^.+@.+:\d+$"},
    "registered_time": NUMBER,
    "resources": RESOURCES,
    "reserved_resources": BY_ROLE,
    "unreserved_resources": RESOURCES,
    "active": FLAG,
    "deactivated": FLAG,
    "version": TEXT,
    "capabilities": array(TEXT),
}
_MAYBE: Json = {"domain": {"type": "object"}, "reregistered_time": NUMBER}
_HELD: Json = {"used_resources": RESOURCES, "offered_resources": RESOURCES}
_FULL: Json = {
    "reserved_resources_full": {"type": "object", "additionalProperties": ENTRIES},
    "unreserved_resources_full": ENTRIES,
    "used_resources_full": ENTRIES,
    "offered_resources_full": ENTRIES,
}
SLAVE = record(_MAYBE, **_AGENT, **_HELD)
SLAVE_IN_FULL = record(_MAYBE, **_AGENT, **_HELD, **_FULL)
RECOVERED_SLAVE = record(_MAYBE, **_AGENT)

STATUS = record(
    {"container_status": {"type": "object"}, "labels": LABELS, "healthy": FLAG},
    state={"type": "string", "pattern": "^TASK_[A-Z_]+$"},
    timestamp=NUMBER,
)
TASK = record(
    {
        "limits": {"type": "object"},
        "user": TEXT,
        "labels": LABELS,
        "discovery": ANYTHING,
        "container": ANYTHING,
        "health_check": ANYTHING,
    },
    id=TEXT,
    name=TEXT,
    framework_id=TEXT,
    executor_id=TEXT,
    slave_id=TEXT,
    state={"type": "string", "pattern": "^TASK_[A-Z_]+$"},
    resources=RESOURCES,
    role=TEXT,
    statuses=array(STATUS),
)
OFFER = record(
    id=TEXT,
    framework_id=TEXT,
    allocation_info=record(role=TEXT),
    slave_id=TEXT,
    resources=RESOURCES,
)
EXECUTOR = record(
    {"labels": LABELS},
    executor_id=TEXT,
    name=TEXT,
    framework_id=TEXT,
    command={"type": "object"},
    resources=RESOURCES,
    role=TEXT,
    type=TEXT,
    slave_id=TEXT,
)
_FRAMEWORK: Json = {
    "id": TEXT,
    "name": TEXT,
    "hostname": TEXT,
    "webui_url": TEXT,
    "capabilities": array(TEXT),
    "active": FLAG,
    "connected": FLAG,
    "recovered": FLAG,
    "user": TEXT,
    "failover_timeout": NUMBER,
    "checkpoint": FLAG,
    "registered_time": NUMBER,
    "unregistered_time": NUMBER,
    "used_resources": RESOURCES,
    "offered_resources": RESOURCES,
    "resources": RESOURCES,
    "roles": array(TEXT),
    "offer_constraints": {"type": "object"},
}
_OF_FRAMEWORK: Json = {"reregistered_time": NUMBER, "principal": TEXT, "labels": LABELS}
FRAMEWORK = record(
    _OF_FRAMEWORK,
    **_FRAMEWORK,
    tasks=array(TASK),
    unreachable_tasks={**array(TASK), "maxItems": 1000},
    completed_tasks={**array(TASK), "maxItems": 1000},
    offers=array(OFFER),
    executors=array(EXECUTOR),
)
_VERSION: Json = {"version": TEXT, "build_date": TEXT, "build_time": NUMBER, "build_user": TEXT}
_COMPLETED: Json = {**array(FRAMEWORK), "maxItems": 50}

#: Path → schema.
SCHEMAS: dict[str, Json] = {
    "/state": record(
        {"cluster": TEXT},
        **_VERSION,
        start_time=NUMBER,
        elected_time=NUMBER,
        id=TEXT,
        pid={"type": "string", "pattern": r"^master@.+:\d+$"},
        hostname=TEXT,
        capabilities=array(TEXT),
        activated_slaves=COUNT,
        deactivated_slaves=COUNT,
        unreachable_slaves=COUNT,
        leader=TEXT,
        leader_info=record(id=TEXT, pid=TEXT, port=COUNT, hostname=TEXT),
        flags={"type": "object"},
        slaves=array(SLAVE),
        recovered_slaves=array(RECOVERED_SLAVE),
        frameworks=array(FRAMEWORK),
        completed_frameworks=_COMPLETED,
        orphan_tasks={"const": []},
        unregistered_frameworks={"const": []},
    ),
    "/slaves": record(slaves=array(SLAVE_IN_FULL), recovered_slaves=array(RECOVERED_SLAVE)),
    "/frameworks": record(
        frameworks=array(FRAMEWORK),
        completed_frameworks=_COMPLETED,
        unregistered_frameworks={"const": []},
    ),
    "/tasks": record(tasks=array(TASK)),
    "/state-summary": record(
        hostname=TEXT,
        cluster=TEXT,
        slaves=array(
            {"type": "object", "required": [*_AGENT, *_HELD, "TASK_RUNNING", "framework_ids"]}
        ),
        frameworks=array({"type": "object", "required": ["id", "TASK_RUNNING", "slave_ids"]}),
    ),
    "/roles": record(
        roles=array(
            record(
                name={"type": "string", "pattern": "[^/]$"},
                weight=NUMBER,
                quota=record(
                    role=TEXT,
                    guarantee={"type": "object", "additionalProperties": NUMBER},
                    limit={"type": "object", "additionalProperties": NUMBER},
                    consumed={"type": "object", "additionalProperties": NUMBER},
                ),
                resources=RESOURCES,
                allocated=RESOURCES,
                offered=RESOURCES,
                reserved=RESOURCES,
                frameworks=array(TEXT),
            )
        )
    ),
    "/weights": array(record(role=TEXT, weight=NUMBER)),
    "/quota": record(
        infos=array(record(role=TEXT, guarantee=ENTRIES)),
        configs=array(record(role=TEXT, guarantees={"type": "object"}, limits={"type": "object"})),
    ),
    "/version": record(**_VERSION),
    "/metrics/snapshot": {"type": "object", "additionalProperties": NUMBER},
}
