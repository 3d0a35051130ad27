"""How Slurm writes amounts, states and numbers, from one release to the next."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.sim.importers.amounts import Amounts, number, positive

Json = Mapping[str, Any]

#: MiB of one.
_UNITS = {
    "K": Fraction(1, 1024),
    "M": Fraction(1),
    "G": Fraction(1024),
    "T": Fraction(1024**2),
    "P": Fraction(1024**3),
}
_MIG = re.compile(r"\d+g\.\d+gb")
_COUNT = re.compile(r"\d+[KMGTP]?")


def count(value: Any) -> Fraction | None:
    """Return a number, plain or as set, infinite and number; None if there is none."""
    if isinstance(value, Mapping):
        if value.get("infinite") or not value.get("set", True):
            return None
        value = value.get("number")
    if value is None or value == "":
        return None
    return number(value)


def text_of(value: Any) -> str:
    """Return a text; nothing for what stands for none."""
    return "" if value is None or value in ("(null)", "N/A") else str(value)


def memory(text: str) -> Fraction:
    """Return MiB; without a unit they are. Raises `InvalidValue`.

    Examples
    --------
    >>> [str(memory(text)) for text in ("4G", "15867M", "512", "1T", "75512.50G")]
    ['4096', '15867', '512', '1048576', '77324800']
    """
    text = text.strip()
    unit = _UNITS.get(text[-1:].upper())
    found = number(text) if unit is None else number(text[:-1]) * unit
    return positive(found, text)


def requested_memory(text: str, cpus: Fraction, nodes: Fraction) -> Fraction:
    """Return MiB of `ReqMem`, of which `c` is for each cpu and `n` for each node.

    Examples
    --------
    >>> [str(requested_memory(t, Fraction(4), Fraction(2))) for t in ("3000Mc", "48000Mn", "2G")]
    ['12000', '96000', '2048']
    """
    text = text.strip()
    if not text or text in ("0", "0n", "0c", "?"):
        return Fraction(0)
    times = {"c": cpus, "n": nodes}.get(text[-1])
    return memory(text) if times is None else memory(text[:-1]) * times


def tres(text: str) -> Amounts:
    """Return what a TRES text says: cores, MiB, GPUs by name. Raises `InvalidValue`.

    `gres/gpu` counts those of all models once more, slices of GPUs among them.

    Examples
    --------
    >>> tres("cpu=4,mem=8G,node=1,gres/gpu=2,gres/gpu:a100=2,billing=4")
    {'cpus': Fraction(4, 1), 'mem': Fraction(8192, 1), 'gpus': Fraction(2, 1)}
    """
    found: Amounts = {}
    models: dict[str, Fraction] = {}
    whole: Fraction | None = None
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals:
            if part.strip():
                raise InvalidValue(f"TRES {shown(text)}")
            continue
        if name == "cpu":
            found["cpus"] = positive(_counted(value), value)
        elif name == "mem":
            found["mem"] = memory(value)
        elif name in ("gres/gpu", "gpu"):
            whole = positive(_counted(value), value)
        elif name.startswith("gres/gpu:"):
            models[name.removeprefix("gres/gpu:")] = positive(_counted(value), value)
    return {**found, **gpus(models, whole)}


def limits(text: str) -> Amounts:
    """Return what a TRES text allows, where 0 is a limit. Raises `InvalidValue`.

    Examples
    --------
    >>> limits("cpu=0,gres/gpu=0")
    {'cpus': Fraction(0, 1), 'gpus': Fraction(0, 1)}
    """
    found = tres(text)
    if any(part.strip() == "gres/gpu=0" for part in text.split(",")):
        found.setdefault("gpus", Fraction(0))
    return found


def gpus(models: Mapping[str, Fraction], whole: Fraction | None) -> Amounts:
    """Return GPUs, slices under names of their own; `whole` counts all of them, if given."""
    slices = {f"gpu.{model}": n for model, n in models.items() if _MIG.search(model)}
    devices = sum((n for model, n in models.items() if not _MIG.search(model)), Fraction(0))
    if whole is not None:
        devices = max(devices, whole - sum(slices.values(), Fraction(0)))
    return {name: n for name, n in {"gpus": devices, **slices}.items() if n}


def gres(text: str) -> tuple[Amounts, list[str]]:
    """Return the GPUs of a gres text, and their models; the rest is not of use here.

    Examples
    --------
    >>> gres("gpu:a100:4(S:0-3,5),nsight:no_consume:1,gpu:1g.5gb:7")
    ({'gpus': Fraction(4, 1), 'gpu.1g.5gb': Fraction(7, 1)}, ['a100'])
    """
    models: dict[str, Fraction] = {}
    for part in _parts(text):
        fields = part.removeprefix("gres/").replace("=", ":").split(":")
        if fields[0] != "gpu" or "no_consume" in fields:
            continue
        n = Fraction(1)
        if _COUNT.fullmatch(fields[-1]):
            n = _counted(fields[-1])
            fields = fields[:-1]
        model = ":".join(fields[1:])
        models[model] = models.get(model, Fraction(0)) + n
    return gpus(models, None), [model for model in models if model and not _MIG.search(model)]


def _parts(text: str) -> Iterator[str]:
    """Yield the parts between commas, without what stands in parentheses."""
    plain = re.sub(r"\([^()]*\)", "", text)
    return (part.strip() for part in plain.split(",") if part.strip() not in ("", "null", "N/A"))


def _counted(text: str) -> Fraction:
    """Return a count, in which K is 1024."""
    text = text.strip()
    unit = _UNITS.get(text[-1:])
    return number(text) if unit is None else number(text[:-1]) * unit * 1024**2


# States of nodes.

_FULL = {
    "ALLOC": "ALLOCATED",
    "COMP": "COMPLETING",
    "DRNG": "DRAIN",
    "DRAINING": "DRAIN",
    "DRAINED": "DRAIN",
    "FAILG": "FAIL",
    "FAILING": "FAIL",
    "FUTR": "FUTURE",
    "MIX": "MIXED",
    "RESV": "RESERVED",
    "PLND": "PLANNED",
    "UNK": "UNKNOWN",
    "UNKN": "UNKNOWN",
    "NO_RESPOND": "NOT_RESPONDING",
    "REBOOT": "REBOOT_REQUESTED",
}
_MARKS = {
    "*": "NOT_RESPONDING",
    "~": "POWERED_DOWN",
    "#": "POWERING_UP",
    "!": "POWERING_DOWN",
    "%": "POWERING_DOWN",
    "$": "MAINT",
    "@": "REBOOT_REQUESTED",
    "^": "REBOOT_ISSUED",
    "-": "PLANNED",
}
#: Nothing new starts on machines in these states; those of the first stay part of the cluster.
#: A reboot that is requested waits until nothing runs; with DRAIN, nothing new starts before it.
STAY = frozenset(("DRAIN", "MAINT"))
GONE = frozenset(("DOWN", "FAIL", "ERROR", "NOT_RESPONDING", "UNKNOWN", "FUTURE", "REBOOT_ISSUED"))
_KNOWN = (
    STAY
    | GONE
    | frozenset(_FULL.values())
    | frozenset(_MARKS.values())
    | frozenset(("IDLE", "ALLOCATED", "MIXED", "RESERVED", "CLOUD", "DYNAMIC_NORM", "PERFCTRS"))
)


def states(value: Any, flags: Any = None) -> list[str]:
    """Return the states of a node in capitals, the base first. O(length).

    Examples
    --------
    >>> states("mixed+drain"), states("drained*"), states(["IDLE", "DRAIN"])
    (['MIXED', 'DRAIN'], ['DRAIN', 'NOT_RESPONDING'], ['IDLE', 'DRAIN'])
    """
    parts: list[str] = []
    for one in (*_texts(value), *_texts(flags)):
        for text in one.upper().split("+"):
            marks = []
            while text[-1:] in _MARKS:
                marks.append(_MARKS[text[-1]])
                text = text[:-1]
            parts += [_FULL.get(text, text), *marks]
    return list(dict.fromkeys(part for part in parts if part))


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, list):
        return [str(one) for one in value]
    return [str(value)] if value else []


def is_state(text: str) -> bool:
    """Tell whether a text is a state of a node. O(length)."""
    found = states(text)
    return bool(found) and all(state in _KNOWN for state in found)


def unusable(found: list[str]) -> tuple[str, bool]:
    """Return why nothing new starts on a node in these states, and whether it stays."""
    why = [state for state in found if state in STAY or state in GONE]
    if not why:
        return "", False
    return "+".join(found), any(state in STAY for state in why)


# States of jobs.

RUNNING = frozenset(
    ("RUNNING", "COMPLETING", "CONFIGURING", "SIGNALING", "STAGE_OUT", "STOPPED", "RESIZING")
)
SUSPENDED = "SUSPENDED"
WAITING = frozenset(("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"))
_ENDED = frozenset(
    (
        *("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL"),
        *("DEADLINE", "OUT_OF_MEMORY", "REVOKED", "LAUNCH_FAILED", "EXPEDITING", "UPDATE_DB"),
        *("RECONFIG_FAIL", "POWER_UP_NODE", "RESV_DEL_HOLD"),
    )
)
_SHORT_JOBS = {
    "R": "RUNNING",
    "PD": "PENDING",
    "CG": "COMPLETING",
    "CF": "CONFIGURING",
    "S": SUSPENDED,
    "CD": "COMPLETED",
    "CA": "CANCELLED",
    "F": "FAILED",
    "TO": "TIMEOUT",
    "NF": "NODE_FAIL",
    "PR": "PREEMPTED",
    "ST": "STOPPED",
    "OOM": "OUT_OF_MEMORY",
    "RQ": "REQUEUED",
}


def job_state(value: Any) -> str:
    """Return `running`, `suspended`, `pending`, or the word for what is over; "" if it is none.

    Examples
    --------
    >>> job_state("CANCELLED by 102216"), job_state(["RUNNING"]), job_state("PD"), job_state("x")
    ('finished', 'running', 'pending', '')
    """
    words = {
        _SHORT_JOBS.get(text.split()[0].upper(), text.split()[0].upper())
        for one in _texts(value)
        for text in one.split("+")
        if text.split()
    }
    if SUSPENDED in words:
        return "suspended"
    if words & RUNNING:
        return "running"
    if words & WAITING:
        return "pending"
    return "finished" if words & _ENDED else ""
