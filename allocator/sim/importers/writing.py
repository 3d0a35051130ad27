"""What an import writes: a scenario that people read and edit, and the cluster beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allocator.errors import InvalidValue
from allocator.resources.fixed import write_milli
from allocator.sim.importers.amounts import Milli, plain, total_of
from allocator.sim.importers.policy import Role
from allocator.sim.importers.source import Outage, Work

if TYPE_CHECKING:
    from allocator.sim.importers.imported import Imported
    from allocator.sim.scenario import Scenario

Json = dict[str, Any]

CLUSTER = "cluster.json"
SCENARIO = "scenario.toml"
#: So many tenants are named in a scenario.
_SHOWN_TENANTS = 200


def scenario_of(imported: Imported) -> Scenario:
    """Return the scenario that `write_folder` writes, without writing it. O(size)."""
    from allocator.sim.scenario import Scenario

    imported.need_machines()
    dump = dump_of(imported)
    data = scenario_data(imported)
    data["cluster"] = {**data["cluster"], "file": dump}
    data["workload"] = {"cluster": dump}
    return Scenario.from_dict(data, file=SCENARIO)


def scenario_data(imported: Imported) -> Json:
    """Return what the scenario says, as TOML has it. O(roles)."""
    events = [_event(one) for one in imported.outages]
    return {
        "title": title_of(imported),
        "policy": {"sorter": "drf"},
        "cluster": {"file": CLUSTER, **({"event": events} if events else {})},
        "workload": {"cluster": CLUSTER},
        "roles": {path: _role_table(role) for path, role in sorted(imported.roles.items())},
    }


def _event(outage: Outage) -> Json:
    """Return the event of machines that go for maintenance, and are back if that has an end."""
    event: Json = {"at": outage.at_s, "action": "drain", "machines": list(outage.machines)}
    return event if outage.for_s is None else {**event, "for": outage.for_s}


def title_of(imported: Imported) -> str:
    """Return what a scenario is called. O(1)."""
    return f"{imported.system}: {len(imported.machines)} machines, {len(imported.roles)} roles"


def _role_table(role: Role) -> Json:
    table: Json = {"weight": int(role.weight) if role.weight.is_integer() else role.weight}
    if role.guarantee:
        table["guarantee"] = plain(role.guarantee)
    if role.limit:
        table["limit"] = plain(role.limit)
    return table


# cluster.json


def cluster_json(imported: Imported) -> Json:
    """Return what `cluster.json` says: machines, running and waiting work, what was told."""
    return {
        "system": imported.system,
        "machines": [
            {
                "id": id,
                "resources": plain(node.amounts),
                **({"kind": node.kind} if node.kind else {}),
                **_reserved(imported, id),
                **({"active": False, "state": node.state} if node.state else {}),
            }
            for id, node in imported.machines.items()
        ],
        "running": [_running(imported, work) for work in imported.to_place()],
        "waiting": [_waiting(imported, work) for work in imported.wanted()],
        "told": imported.to_json()["told"],
    }


def _reserved(imported: Imported, machine: str) -> Json:
    by_role = imported.reserved.get(machine)
    return {"reserved": {role: plain(own) for role, own in by_role.items()}} if by_role else {}


def _tasks(imported: Imported, work: Work) -> Json:
    tenant = imported.tenant(work)
    found: Json = {"tenant": tenant.name, "demand": plain(work.demand)}
    if tenant.role != tenant.name:
        found["role"] = tenant.role
    if work.count != 1:
        found["tasks"] = work.count
    return found


def _running(imported: Imported, work: Work) -> Json:
    found = _tasks(imported, work)
    if work.machine is not None:
        found["machine"] = work.machine
        if work.fixed:
            found["fixed"] = True
    return found


def _waiting(imported: Imported, work: Work) -> Json:
    found = _tasks(imported, work)
    if work.gang > 1:
        found["tasks"] = work.gang
        if work.count > work.gang:
            found["jobs"] = work.count // work.gang
    elif work.count > 1:
        found["gang"] = False
    return found


def dump_of(imported: Imported) -> Any:
    """Return what reading `cluster.json` gives. O(size)."""
    from allocator.sim.scenario.dump import dump_from

    return dump_from(cluster_json(imported), CLUSTER)


def _lines_of(content: Json) -> Iterator[str]:
    """Yield JSON with one element of each list a line, so that people and `diff` can read it."""
    yield "{\n"
    for index, (key, value) in enumerate(content.items()):
        yield f"{'' if index == 0 else ',' + chr(10)}{json.dumps(key)}: "
        if not isinstance(value, list) or not value:
            yield json.dumps(value)
            continue
        for place, one in enumerate(value):
            yield ("[\n" if place == 0 else ",\n") + json.dumps(one, allow_nan=False)
        yield "]"
    yield "\n}\n"


# scenario.toml


def scenario_toml(imported: Imported) -> str:
    """Return the scenario as TOML, with the source's words as comments. O(size)."""
    total = total_of(node.amounts for node in imported.machines.values())
    n_running = sum(work.n_tasks for work in imported.running)
    n_waiting = sum(work.n_tasks for work in imported.waiting)
    lines = [
        f"# A {imported.system} cluster as it stood, written by `allocator import`.",
        f"# Edit it, then run it: allocator simulate {SCENARIO}",
        "",
        f"title = {_text(title_of(imported))}",
        "",
        "[policy]",
        'sorter = "drf"',
        "",
        "[cluster]",
        f'file = "{CLUSTER}"  # {len(imported.machines)} machines, {len(imported.inactive)} of them'
        " take nothing new",
        *_comment(f"in all {_amounts(total)}"),
        "",
        "[workload]",
        f'cluster = "{CLUSTER}"  # {n_running} tasks run, {n_waiting} wait',
    ]
    for outage in imported.outages:
        lines += ["", *_event_lines(outage)]
    for path, role in sorted(imported.roles.items()):
        lines += ["", *_role_lines(path, role)]
    lines += _tenant_lines(imported)
    told = imported.told
    if told:
        lines += ["", "# What the import tells:"]
        for one in told:
            lines += _comment(f"{one.count:>6}  {one.kind}: {one.text}")
    return "\n".join(lines) + "\n"


def _event_lines(outage: Outage) -> Iterator[str]:
    yield "[[cluster.event]]  # planned maintenance, in seconds from the dump on"
    for key, value in _event(outage).items():
        if isinstance(value, list):
            yield f"{key} = [{', '.join(map(_text, value))}]"
        else:
            yield f"{key} = {_text(value) if isinstance(value, str) else value}"


def _role_lines(path: str, role: Role) -> Iterator[str]:
    yield f"[roles.{_text(path)}]"
    queue = role.queue
    if queue is not None:
        for words in queue.words:
            yield from _comment(words)
        if queue.state:
            yield from _comment(f"state {queue.state}")
    if role.entitlement:
        yield from _comment(f"entitled to {_amounts(role.entitlement)}")
    for key, value in _role_table(role).items():
        if isinstance(value, dict):
            inner = ", ".join(f"{_key(name)} = {x}" for name, x in value.items())
            yield f"{key} = {{ {inner} }}"
        else:
            yield f"{key} = {value}"


def _tenant_lines(imported: Imported) -> Iterator[str]:
    running: dict[str, int] = {}
    waiting: dict[str, int] = {}
    for counts, works in ((running, imported.running), (waiting, imported.waiting)):
        for work in works:
            name = imported.tenant(work).name
            counts[name] = counts.get(name, 0) + work.n_tasks
    names = [t.name for t in imported.tenants.values() if t.name in running or t.name in waiting]
    if names:
        yield from (
            "",
            "# How frameworks deal with offers; [tenants.NAME] behaviour, refuse, gang, claims and",
            "# backfill say otherwise.",
        )
    for name in names[:_SHOWN_TENANTS]:
        what = f"{running.get(name, 0)} tasks run, {waiting.get(name, 0)} wait"
        yield from _comment(f"[tenants.{_text(name)}]  {what}")
    if len(names) > _SHOWN_TENANTS:
        yield from _comment(f"and {len(names) - _SHOWN_TENANTS} more")


def _comment(text: str) -> Iterator[str]:
    yield "# " + "".join(c if c.isprintable() else " " for c in text)


def _amounts(amounts: Milli) -> str:
    return ";".join(f"{name}:{write_milli(amounts[name])}" for name in sorted(amounts)) or "nothing"


def _text(text: str) -> str:
    """Return text as a TOML string."""
    inner = "".join(f"\\{c}" if c in '"\\' else c if c.isprintable() else _escaped(c) for c in text)
    return f'"{inner}"'


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else _text(name)


# Files.


def write_folder(imported: Imported, folder: str, *, force: bool = False) -> None:
    """Write `scenario.toml` and `cluster.json`.

    Raises
    ------
    InvalidValue
        If there are no machines, or there is another scenario already; nothing is written then.
    OSError
    """
    check_folder(imported, folder, force=force)
    write_files(imported, folder)


def write_files(imported: Imported, folder: str) -> None:
    """Write what `check_folder` has found to be fine; raises `OSError`."""
    path, text = Path(folder) / SCENARIO, scenario_toml(imported)
    with folder_for(folder):
        _write(Path(folder) / CLUSTER, _lines_of(cluster_json(imported)))
        _write(path, iter([text]))


@contextmanager
def folder_for(path: str | None) -> Iterator[None]:
    """Make a folder, if one is named, that goes again if nothing could be written into it."""
    made = [] if path is None else [p for p in (Path(path), *Path(path).parents) if not p.exists()]
    try:
        if path is not None:
            Path(path).mkdir(parents=True, exist_ok=True)
        yield
    except OSError:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def check_folder(imported: Imported, folder: str, *, force: bool) -> None:
    """Raise as `write_folder` would: what is written loads, and overwrites nothing. O(size)."""
    scenario_of(imported)
    path = Path(folder) / SCENARIO
    is_other = path.exists() and path.read_text("utf-8", "replace") != scenario_toml(imported)
    if is_other and not force:
        raise InvalidValue(f"{path}: is there already, and differs (--force overwrites it)")


def write_snapshot(snapshot: Json, path: str) -> None:
    """Write what `Imported.snapshot` returned; raises `OSError`."""
    _write(Path(path), iter([json.dumps(snapshot, allow_nan=False)]))


def _write(path: Path, parts: Iterator[str]) -> None:
    """Write a file under another name first, so that nobody finds half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(parts)
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)
