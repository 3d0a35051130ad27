"""Slurm's nodes, of every form: text and JSON of `scontrol`, `sinfo`, slurmrestd, slurm.conf."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from allocator.errors import InvalidValue, shown
from allocator.sim.importers.amounts import Amounts, number, positive, rounded
from allocator.sim.importers.slurm.hostlist import hosts
from allocator.sim.importers.slurm.records import Record
from allocator.sim.importers.slurm.words import (
    Json,
    count,
    gres,
    is_state,
    memory,
    states,
    text_of,
    unusable,
)
from allocator.sim.importers.source import Node

_CPU_STATES = re.compile(r"\d+/\d+/\d+/\d+")
_ZERO = Fraction(0)


def json_node(node: Json) -> Node:
    """Return a node of `scontrol --json`, of an older `sinfo --json` or of slurmrestd."""
    found = states(node.get("state"), node.get("state_flags"))
    if "INVALID" in found:
        raise InvalidValue(
            f"node {shown(node.get('name'))} in state INVALID: placeholders of an API's schema"
        )
    name = node.get("name") or node.get("hostname")
    if not name:
        raise InvalidValue("a node without a name")
    cpus = count(node.get("effective_cpus")) or count(node.get("cpus")) or _ZERO
    has = count(node.get("real_memory")) or _ZERO
    kept = count(node.get("specialized_memory")) or _ZERO
    partitions = node.get("partitions") or []
    return made(
        str(name),
        {"cpus": cpus, "mem": max(_ZERO, has - kept)},
        text_of(node.get("gres")),
        found,
        partitions if isinstance(partitions, list) else str(partitions).split(","),
    )


def made(
    name: str,
    amounts: Amounts,
    gres_text: str,
    found: list[str],
    partitions: Sequence[object] = (),
) -> Node:
    """Return a node of what any form says of it. Raises `InvalidValue`."""
    devices, models = gres(gres_text)
    state, stays = unusable(found)
    node = Node(
        name,
        rounded({**amounts, **devices}),
        kind=models[0] if len(models) == 1 else "",
        state=state,
        stays=stays,
    )
    own = ",".join(sorted({str(one).rstrip("*") for one in partitions if one}))
    if own:
        node.attributes["partitions"] = own
    return node


def sinfo_nodes(entry: Json) -> Iterator[Node]:
    """Yield the nodes of an entry of a newer `sinfo --json`, which are alike."""
    names = (entry.get("nodes") or {}).get("nodes") or []
    cpus = count((entry.get("cpus") or {}).get("total")) or _ZERO
    mem = count((entry.get("memory") or {}).get("maximum")) or _ZERO
    found = states((entry.get("node") or {}).get("state") or entry.get("state"))
    partition = (entry.get("partition") or {}).get("name")
    gres_text = text_of((entry.get("gres") or {}).get("total"))
    for name in names:
        yield made(
            str(name), {"cpus": cpus / len(names), "mem": mem}, gres_text, found, [partition]
        )


def scontrol_node(record: Record) -> Node:
    """Return a node of `scontrol show node`. Raises `InvalidValue`."""
    pairs = record.pairs
    text = pairs.get("cpuefctv") or pairs.get("cputot") or "0"
    has = memory(pairs.get("realmemory") or "0")
    kept = memory(pairs.get("memspeclimit") or "0")
    return made(
        pairs["nodename"],
        {"cpus": positive(number(text), text), "mem": max(_ZERO, has - kept)},
        text_of(pairs.get("gres")),
        states(pairs.get("state")),
        (pairs.get("partitions") or "").split(","),
    )


def configured_nodes(lines: list[Record]) -> Iterator[tuple[Node, int]]:
    """Yield the nodes of slurm.conf and their lines. Raises `InvalidValue`.

    `NodeName=DEFAULT` says what holds for the lines after it.
    """
    default: dict[str, str] = {}
    partitions: dict[str, list[str]] = {}
    for record in lines:
        if record.kind == "partitionname" and record.pairs["partitionname"] != "DEFAULT":
            listed = record.pairs.get("nodes", "")
            for name in hosts(listed) if listed not in ("ALL", "") else ["ALL"]:
                partitions.setdefault(name, []).append(record.pairs["partitionname"])
    for record in lines:
        if record.kind != "nodename":
            continue
        if record.pairs["nodename"] == "DEFAULT":
            default.update(record.pairs)
            continue
        pairs = {**default, **record.pairs}
        amounts = {"cpus": _cpus(pairs), "mem": _configured_memory(pairs)}
        for name in hosts(pairs["nodename"]):
            own = [*partitions.get(name, []), *partitions.get("ALL", [])]
            found = states(pairs.get("state", "UP").replace("UNKNOWN", "UP"))
            yield made(name, amounts, text_of(pairs.get("gres")), found, own), record.line


def configured_partitions(lines: list[Record]) -> dict[str, dict[str, str]]:
    """Return what slurm.conf says of each partition; DEFAULT holds for the lines after it."""
    default: dict[str, str] = {}
    found: dict[str, dict[str, str]] = {}
    for record in lines:
        if record.kind == "partitionname":
            name = record.pairs["partitionname"]
            if name == "DEFAULT":
                default.update(record.pairs)
            else:
                found[name] = {**default, **record.pairs}
    return found


def is_exclusive(partition: Mapping[str, str]) -> bool:
    """Tell whether each job of a partition has its machines for itself. O(1)."""
    shared = partition.get("oversubscribe") or partition.get("shared") or ""
    return shared.upper() == "EXCLUSIVE"


def _cpus(pairs: dict[str, str]) -> Fraction:
    """Return the cpus of a line: sockets × cores × threads unless it says."""
    if "cpus" in pairs or "procs" in pairs:
        return number(pairs.get("cpus") or pairs.get("procs"))
    sockets = number(pairs.get("sockets", 1))
    if "socketsperboard" in pairs:
        sockets = number(pairs["socketsperboard"]) * number(pairs.get("boards", 1))
    cores = number(pairs.get("corespersocket", 1))
    return sockets * cores * number(pairs.get("threadspercore", 1))


def _configured_memory(pairs: dict[str, str]) -> Fraction:
    has = memory(pairs.get("realmemory", "1"))
    return max(_ZERO, has - memory(pairs.get("memspeclimit", "0")))


def sinfo_text(text: str) -> Iterator[tuple[Node, int]]:
    """Yield the nodes of the texts of `sinfo` that name machines; nothing if it is none.

    `NodeList AllocMem Memory CPUsState StateLong Partition Gres GresUsed`, columns of blanks; or
    `NodeList Gres GresUsed StateLong`; or `NodeList|StateLong`.
    """
    for number_, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if len(fields) >= 5 and _CPU_STATES.fullmatch(fields[3]) and is_state(fields[4]):
            cpus = number(fields[3].split("/")[3])
            gres_text = text_of(fields[6]) if len(fields) > 6 else ""
            partition = fields[5:6]
            for name in hosts(fields[0]):
                amounts = {"cpus": cpus, "mem": memory(fields[2])}
                yield made(name, amounts, gres_text, states(fields[4]), partition), number_
        elif len(fields) == 4 and is_state(fields[3]) and "/" not in fields[1]:
            for name in hosts(fields[0]):
                yield made(name, {}, text_of(fields[1]), states(fields[3])), number_
        else:
            cells = [cell.strip() for cell in line.split("|")]
            if len(cells) >= 2 and is_state(cells[1]) and not any(cells[2:]):
                for name in hosts(cells[0]):
                    yield made(name, {}, "", states(cells[1])), number_
