"""A result in a folder.

`result.json`, `jobs.parquet` and `report.html` are written first; `series.parquet` is the last,
and has in its metadata, besides what no other file tells, the digests of these and its own. So a
folder is either a whole result or none.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from allocator.errors import InvalidValue
from allocator.sim.frames import CURVES, jobs_frame, series_frame
from allocator.sim.record import STATES, Curves, Heat, Jobs, Record, RoleQuota
from allocator.sim.recorded import Use

if TYPE_CHECKING:
    from allocator.sim.result import RecordedResult, Result, RoleResult

RESULT, JOBS, SERIES, REPORT = "result.json", "jobs.parquet", "series.parquet", "report.html"
FILES = (RESULT, JOBS, REPORT, SERIES)

#: Where the metadata of `series.parquet` has the rest.
_KEY = b"allocator.record"

#: In its metadata, last of all: what the digest of the rest of the file follows.
_SEAL_KEY, _SEAL = b"allocator.seal", b"allocator-sha256-"
_DIGEST_LENGTH = 64

#: What of a record stands in that rest as it is.
_LISTS: tuple[str, ...] = (
    *("names", "roles", "is_leaf", "has_framework", "weights", "excluded"),
    *("tenants", "tenant_roles", "machines"),
)

_T = TypeVar("_T")


def save(result: Result, folder: str | os.PathLike[str]) -> None:
    """Write a result into a folder; see `Result.save`."""
    path = Path(folder)
    check(path)
    format = parquet()
    contents = {
        RESULT: (json.dumps(result.to_json(), allow_nan=False) + "\n").encode(),
        JOBS: _packed(format, jobs_frame(result), {}),
        REPORT: result.report().encode(),
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    metadata = {_KEY: _rest(result, digests), _SEAL_KEY: _SEAL + b"0" * _DIGEST_LENGTH}
    contents[SERIES] = _sealed(_packed(format, series_frame(result), metadata))
    path.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        # Under its name only when it is whole.
        part = path / f".{name}.part"
        part.write_bytes(contents[name])
        part.replace(path / name)


def check(folder: Path) -> None:
    """Raise `InvalidValue` if a result must not be written into this folder."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InvalidValue(f"{folder}: not a folder")
    there = {entry.name for entry in folder.iterdir()}
    if there and not there.issuperset((RESULT, SERIES)):
        raise InvalidValue(f"{folder}: holds something else than a result, which is kept")


def load(folder: str | os.PathLike[str]) -> Result:
    """Return the result in a folder; see `Result.load`."""
    path = Path(folder)
    format = parquet()
    _of(path / SERIES, _check_seal)
    series, rest = _of(path / SERIES, lambda content: _unpacked(format, content, _KEY))
    told, header, arrays = _of(path / SERIES, lambda _: _of_rest(rest))
    contents = {name: _of(path / name, lambda content: content) for name in (RESULT, JOBS, REPORT)}
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != told.get(name):
            _refuse(path / name, "its content is not what was saved")
    values = _of(path / RESULT, lambda _: json.loads(contents[RESULT]))
    jobs, _ = _of(path / JOBS, lambda _: _unpacked(format, contents[JOBS], None))
    return _of(path / SERIES, lambda _: _result(values, jobs, series, header, arrays))


def parquet() -> Any:
    """Return what reads and writes Parquet, or say what brings it."""
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        what = "saved results need pyarrow: pip install 'drf-allocator[lab]'"
        raise ModuleNotFoundError(what, name=error.name) from error
    return pyarrow.parquet


def _refuse(path: Path, why: str) -> NoReturn:
    raise InvalidValue(f"{path}: damaged or not of a result: {why}")


def _of(path: Path, read: Callable[[bytes], _T]) -> _T:
    """Return what is made of a file's content; whatever goes wrong is told with its name."""
    try:
        return read(path.read_bytes())
    except FileNotFoundError:
        raise InvalidValue(f"{path}: missing; a result has {', '.join(FILES)}") from None
    except (InvalidValue, ImportError):
        raise
    # Arrow, zlib, JSON and the makers of values each have errors of their own.
    except Exception as error:
        _refuse(path, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def _sealed(content: bytes) -> bytes:
    """Return a file with the digest of all else in the place that is kept for it."""
    head, seal, tail = content.rpartition(_SEAL)
    tail = tail[_DIGEST_LENGTH:]
    return head + seal + hashlib.sha256(head + tail).hexdigest().encode() + tail


def _check_seal(content: bytes) -> None:
    """Raise `ValueError` if a file is not what `_sealed` returned."""
    if _SEAL not in content or _sealed(content) != content:
        raise ValueError("its content is not what was saved")


def _packed(format: Any, frame: Any, metadata: dict[bytes, bytes]) -> bytes:
    import pyarrow

    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    sink = io.BytesIO()
    format.write_table(table, sink)
    return sink.getvalue()


def _unpacked(format: Any, content: bytes, key: bytes | None) -> tuple[Any, bytes]:
    """Return a frame and what its metadata have under a key."""
    table = format.read_table(io.BytesIO(content))
    rest = b"" if key is None else table.schema.metadata[key]
    return table.to_pandas(), rest


def _rest(result: Result, digests: dict[str, str]) -> bytes:
    """Return, packed, what a result has beyond JSON and frames."""
    record = result.record
    header = {
        **{name: getattr(record, name) for name in _LISTS},
        "total": dict(record.total),
        "quota": {role: asdict(quota) for role, quota in record.quota.items()},
        "tasks_ended": record.tasks_ended,
        "n_placed": record.jobs.n_placed,
    }
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        digests=_bytes(digests),
        header=_bytes(header),
        cycle_ns=record.cycle_ns,
        **{f"heat_{name}": value for name, value in asdict(record.heat).items()},
    )
    return buffer.getvalue()


def _bytes(value: Any) -> Any:
    return np.frombuffer(json.dumps(value, allow_nan=False).encode(), np.uint8)


def _of_rest(rest: bytes) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
    """Return digests, header and arrays of what `_rest` packed."""
    with np.load(io.BytesIO(rest), allow_pickle=False) as packed:
        arrays = dict(packed.items())
    digests, header = (json.loads(arrays.pop(n).tobytes()) for n in ("digests", "header"))
    return digests, header, arrays


def _result(
    values: dict[str, Any], jobs: Any, series: Any, header: dict[str, Any], arrays: dict[str, Any]
) -> Result:
    """Put a result together again, and hold it against what it told as JSON."""
    from allocator.sim import result as found

    told = {**values}
    series_told, fairness = told.pop("series"), told.pop("fairness")
    told["counts"], told["waits"] = found.Counts(**told["counts"]), found.Waits(**told["waits"])
    told["cycles"] = found.CycleCounts(**told["cycles"])
    told["timing"] = found.Timing(**told["timing"])
    told["use"] = {name: Use(**use) for name, use in told["use"].items()}
    told["recorded"] = _recorded(told["recorded"])
    told["roles"] = tuple(_role(role) for role in told["roles"])
    curves, fair_share = _curves(series, header)
    record = Record(
        **{name: tuple(header[name]) for name in _LISTS},
        total=header["total"],
        series=curves,
        measured=None,
        jobs=_jobs(jobs, header),
        quota={role: _quota(quota) for role, quota in header["quota"].items()},
        heat=Heat(*(arrays[f"heat_{name}"] for name in ("edges_s", "first", "share"))),
        tasks_lost=told.pop("tasks_lost"),
        tasks_ended=header["tasks_ended"],
        cycle_ns=arrays["cycle_ns"],
        engine_s=told["timing"].engine_s,
    )
    result = found.Result(**told, record=record)
    # They were computed by intervals that are not kept.
    result.__dict__.update(fair_share=fair_share, fairness=fairness)
    if result.to_json()["series"] != series_told:
        raise ValueError("its curves are not those of the result")
    return result


def _role(told: dict[str, Any]) -> RoleResult:
    from allocator.sim.result import Counts, RoleResult, Waits

    role = {name: value for name, value in told.items() if name not in ("tasks_lost", "quota")}
    role["counts"], role["waits"] = Counts(**role["counts"]), Waits(**role["waits"])
    return RoleResult(**role)


def _recorded(told: dict[str, Any] | None) -> RecordedResult | None:
    from allocator.sim.result import RecordedResult, Waits

    if told is None:
        return None
    use = {name: Use(**use) for name, use in told["use"].items()}
    return RecordedResult(told["jobs"], use, Waits(**told["waits"]))


def _quota(told: dict[str, Any]) -> RoleQuota:
    return RoleQuota(
        *(
            {name: tuple(pair) for name, pair in told[part].items()}
            for part in ("guarantee", "limit")
        )
    )


def _curves(frame: Any, header: dict[str, Any]) -> tuple[Curves, Any]:
    """Return the curves of a series frame, and the fair shares."""
    names, n_rows = header["names"], len(header["roles"]) + 1
    n = len(frame) // n_rows

    def rows(column: str) -> Any:
        # The frame begins with the cluster, which is a record's last row.
        return np.roll(frame[column].to_numpy().reshape(n_rows, n), -1, axis=0)

    starts, ends = rows("start_s")[0], rows("end_s")[0]
    by_name = [rows(f"use.{name}") for name in names]
    curves = Curves(
        edges_s=np.append(starts, ends[-1:]),
        use=np.stack(by_name, axis=1) if names else np.zeros((n_rows, 0, n)),
        need=None,
        capacity=np.array([rows(f"capacity.{name}")[-1] for name in names]).reshape(-1, n),
        **{name: rows(name) for name in CURVES},
    )
    return curves, rows("fair_share")


def _jobs(frame: Any, header: dict[str, Any]) -> Jobs:
    tenants = {tenant: at for at, tenant in enumerate(header["tenants"])}
    states = {state: at for at, state in enumerate(STATES)}
    return Jobs(
        n_placed=header["n_placed"],
        ids=tuple(frame["job"]),
        tenant=np.array([tenants[tenant] for tenant in frame["tenant"]], np.int32),
        state=np.array([states[state] for state in frame["state"]], np.uint8),
        **{
            name: frame[name].to_numpy()
            for name in ("submit_s", "start_s", "end_s", "tasks", "tasks_lost", "task_seconds")
        },
    )
