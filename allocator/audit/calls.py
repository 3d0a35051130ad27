"""Which calls are recorded, how a line of the log is written, and how a recorded call is made."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn, TypeAlias

from allocator.audit.values import from_json, offer_to_json, offers_to_json, to_json
from allocator.contract import CHANGING, Engine, Offer
from allocator.engine import Allocator, Offers

Json: TypeAlias = dict[str, Any]

#: What the header says the file is.
FORMAT: Final = "allocator-audit"
#: Grows when the format changes; only this version is read.
VERSION: Final = 2

#: The last record of a log that was closed: a call that no engine has.
CLOSE: Final = "close"

#: What each recorded call takes. Those that change nothing have no records.
SIGNATURES: Final = {name: inspect.signature(getattr(Engine, name)) for name in CHANGING}

#: What a call came to → its type in JSON. What is empty is left out of a record.
OUTCOME: Final[dict[str, type]] = {
    "error": str,
    "offer": dict,
    "rescinded": list,
    "offers": list,
    "inverse": list,
}


def write_line(record: Json) -> str:
    """Return a line of the log, its end included. O(size)."""
    return json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n"


def read_line(line: str) -> Any:
    """Return what `write_line` wrote; raises `ValueError` if it is not JSON. O(size)."""
    return json.loads(line, parse_constant=_refuse_constant)


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


def written(name: str, given: Mapping[str, Any]) -> Json:
    """Return the arguments of a call as a record has them. O(size)."""
    args = {}
    for argument, value in given.items():
        if name == "release" and argument == "framework" and not isinstance(value, str):
            # Such offers were answered, and are known to nobody by their ids.
            args[argument] = _written_offers(value)
        else:
            args[argument] = to_json(value)
    return args


def _written_offers(value: Any) -> Any:
    is_several = isinstance(value, Iterable) and not isinstance(value, Offer)
    given = list(value) if is_several else value
    if is_several and all(isinstance(each, Offer) for each in given):
        return offers_to_json(given)
    return to_json(given)


def perform(
    engine: Allocator, name: str, args: Mapping[str, Any]
) -> tuple[Any, Exception | None, Json]:
    """Make a call with arguments as a record has them.

    Returns
    -------
    tuple
        What it returned, what it raised, and what a record says of that: the fields of `OUTCOME`.
        O(offers) beyond the call.
    """
    given = {argument: from_json(value) for argument, value in args.items()}
    try:
        returned = getattr(engine, name)(**given)
    except Exception as error:  # a defect, too, is what came of the call, and shows in a replay
        return None, error, {"error": type(error).__name__}
    outcome: Json = {}
    if isinstance(returned, Offer):
        outcome["offer"] = offer_to_json(returned)
    elif isinstance(returned, Offers):
        outcome["rescinded"] = list(returned.rescinded)
        outcome["offers"] = [offer_to_json(offer) for offer in returned]
        outcome["inverse"] = [asked._asdict() for asked in returned.inverse]
    return returned, None, {field: value for field, value in outcome.items() if value}
