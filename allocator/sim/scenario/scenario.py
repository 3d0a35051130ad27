"""A scenario: everything that a run depends on, in one file or one mapping."""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from allocator.errors import InvalidValue, cut
from allocator.files import STDIN, Input
from allocator.sim.scenario.dump import Dump
from allocator.sim.scenario.overrides import changed
from allocator.sim.scenario.plan import Plan, read_plan
from allocator.sim.scenario.positions import lines_of
from allocator.sim.scenario.problems import Path, Place, Problem, ScenarioError
from allocator.sim.scenario.work import within
from allocator.sim.setting import Setting
from allocator.sim.trace import Tenant, Trace

#: No scenario is longer, in bytes.
MAX_BYTES = 64 * 2**20

#: The scenarios that come with the package, as `allocator scenario list` lists them.
SHIPPED = (
    *("starvation", "quota", "hdrf", "failing-rack", "hoarder"),
    *("bursts", "misreport", "gpu-fragmentation", "wide-jobs", "million"),
)

_TOML = "a scenario in TOML"


class Scenario:
    """Everything that a run depends on, checked: same scenario, same result.

    Made by `load` or `from_dict`; never changed, `with_` makes another.

    Attributes
    ----------
    file : str
        What messages call it.
    title : str
    data : dict
        What it says, as TOML has it.

    Examples
    --------
    >>> scenario = Scenario.from_dict({
    ...     "cluster": {"machines": "2x cpus:4"},
    ...     "workload": {"tenant": [
    ...         {"name": "a", "jobs": 3, "rate": "6/m", "demand": "cpus:1", "duration": "1m"},
    ...     ]},
    ... })
    >>> scenario.with_(**{"workload.tenant.a.jobs": 5}).setting().trace.last_submit_s > 0
    True
    >>> scenario.with_(seed=1, policy=2)
    Traceback (most recent call last):
        ...
    allocator.sim.scenario.problems.ScenarioError: scenario: policy: 2; expected a table
    1 problems
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        *,
        file: str,
        base: str,
        lines: Mapping[Path, int | None],
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        place = Place(file, {}, [], data)
        self.file = file
        self.data, paths = changed(data, changes or {}, place)
        self._base = base
        self._lines = _without(lines, paths)
        self._plan: Plan | None = None
        self.title = self._checked(place.problems).title

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], changes: Mapping[str, Any] | None = None
    ) -> Scenario:
        """Read and check a scenario: a file, plain or gzip, or the name of a shipped one.

        A file comes before a shipped scenario of the same name; `-` is standard input. Files that
        the scenario names are read, relative to its folder. `changes` are made before it is
        checked, as by `with_`.

        Raises
        ------
        ScenarioError
            With all that is wrong with it. O(size of the files).
        """
        name = os.fspath(path)
        if name != STDIN and name in SHIPPED and not is_file(name):
            return cls.from_text(shipped_text(name), changes, file=f"{name}.toml")
        try:
            with Input(name) as file:
                content = file.read(MAX_BYTES)
            text = content.decode("utf-8")
        except (OSError, InvalidValue, UnicodeDecodeError) as error:
            raise _unreadable(name, error) from None
        called = "stdin" if name == STDIN else name
        return cls.from_text(text, changes, file=called, base=os.path.dirname(name))

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any],
        changes: Mapping[str, Any] | None = None,
        *,
        file: str = "scenario",
        base: str | os.PathLike[str] = "",
    ) -> Scenario:
        """Check a scenario that is a mapping with the keys of a file.

        Parameters
        ----------
        data : mapping
            What a file would say; `workload.trace` may be a `Trace`.
        changes : mapping, optional
            Made before it is checked, as by `with_`.
        file : str
            What messages call it.
        base : path
            The folder that names of files in it are relative to; by default the current one.

        Raises
        ------
        ScenarioError
            With all that is wrong with it. O(size of the files that it names).
        """
        return cls(data, file=file, base=os.fspath(base), lines={}, changes=changes)

    @classmethod
    def from_text(
        cls,
        text: str,
        changes: Mapping[str, Any] | None = None,
        *,
        file: str = "scenario",
        base: str | os.PathLike[str] = "",
    ) -> Scenario:
        """Check a scenario that is TOML; parameters and errors are those of `from_dict`."""
        try:
            data = tomllib.loads(text)
            lines = lines_of(text)
        except tomllib.TOMLDecodeError as error:
            raise _malformed(file, error) from None
        except (ValueError, RecursionError) as error:
            # A number of thousands of digits, or brackets without end.
            raise ScenarioError([Problem(file, None, "", cut(error), _TOML)]) from None
        return cls(data, file=file, base=os.fspath(base), lines=lines, changes=changes)

    def with_(self, changes: Mapping[str, Any] | None = None, /, **more: Any) -> Scenario:
        """Return a checked scenario with some keys set to other values.

        Parameters
        ----------
        changes, **more
            Dotted key -> value: `{"policy.sorter": "hdrf", "roles.eng.weight": 2}`. Tenants go by
            name or position (`workload.tenant.nightly.jobs`, `workload.tenant[0].jobs`); None
            leaves a key out.

        Raises
        ------
        ScenarioError
            With all that is wrong with it then. O(size).
        """
        return Scenario(
            self.data,
            file=self.file,
            base=self._base,
            lines=self._lines,
            changes={**(changes or {}), **more},
        )

    def setting(self) -> Setting:
        """Return what the simulator runs: drawn, resolved, without files. O(n log n) in jobs."""
        return self._checked().setting(_told(self.data))

    def depends_on(self) -> dict[str, Any]:
        """Return all that a result depends on, as JSON values: what it says, and hashes of files.

        O(size of the files that it names).
        """
        named = [
            self.data.get("cluster", {}).get("file"),
            *(self.data["workload"].get(key) for key in ("trace", "cluster")),
            *_listed(self.data["workload"].get("machines")),
        ]
        digests = [_digest(name, self._base) for name in named]
        return {"title": self.title, "says": _told(self.data), "files": digests}

    @property
    def tenants(self) -> Mapping[str, Tenant]:
        """Tenant name -> tenant. O(1)."""
        return self._checked().work.tenants

    @property
    def seed(self) -> int | str:
        """What decides all that is drawn. O(1)."""
        return self._checked().policy.seed

    def _checked(self, problems: Sequence[Problem] = ()) -> Plan:
        if self._plan is None:
            place = Place(self.file, self._lines, list(problems), self.data)
            name = os.path.basename(self.file).removesuffix(".gz").removesuffix(".toml")
            self._plan = read_plan(place, self._base, name or self.file)
        return self._plan

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: it reads the files itself."""
        return {**self.__dict__, "_plan": None}

    def __repr__(self) -> str:
        return f"<Scenario {self.title!r} of {self.file}>"


def _without(lines: Mapping[Path, int | None], paths: Sequence[Path]) -> dict[Path, int | None]:
    """Return the lines of what was not set from outside, of which no line says anything."""
    kept = {
        path: line
        for path, line in lines.items()
        if not any(path[: len(inner)] == inner for inner in paths)
    }
    for path in paths:
        for depth in range(1, len(path) + 1):
            kept.setdefault(path[:depth], None)
    return kept


def is_file(path: str) -> bool:
    """Tell whether there is something of this name that can be read, pipes among them."""
    return os.path.exists(path) and not os.path.isdir(path)


def shipped_text(name: str) -> str:
    """Return the TOML of a shipped scenario.

    Raises
    ------
    InvalidValue
        If none of that name is shipped.
    """
    if name not in SHIPPED:
        raise InvalidValue(f"no scenario {cut(repr(name))} is shipped: {', '.join(SHIPPED)}")
    return files(__package__).joinpath("shipped", f"{name}.toml").read_text("utf-8")


def template_text() -> str:
    """Return the TOML that a new scenario begins with."""
    return files(__package__).joinpath("template.toml").read_text("utf-8")


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _digest(source: Any, base: str) -> str | None:
    """Return the hash of a file's content, or of what was read of one; None for what is neither."""
    if isinstance(source, (Trace, Dump)):
        return hashlib.sha256(repr(source).encode()).hexdigest()
    path = within(base, source) if isinstance(source, str) else ""
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _told(value: Any) -> Any:
    """Return what a scenario says as JSON values; a trace as its name."""
    if isinstance(value, Mapping):
        return {key: _told(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_told(one) for one in value]
    if isinstance(value, Trace):
        return value.name
    if isinstance(value, Dump):
        return "what was imported"
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def _unreadable(name: str, error: Exception) -> ScenarioError:
    if isinstance(error, FileNotFoundError):
        expected = f"a file, or one of {', '.join(SHIPPED)}"
        return ScenarioError([Problem(cut(name), None, "", "no such file", expected)])
    what = str(error)
    if isinstance(error, OSError):
        what = error.strerror or what
    elif isinstance(error, UnicodeDecodeError):
        what = "not UTF-8 text"
    return ScenarioError([Problem(cut(name), None, "", what, _TOML)])


def _malformed(file: str, error: tomllib.TOMLDecodeError) -> ScenarioError:
    """Return the problem with a file that is no TOML, at the line that the parser names."""
    what, _, place = str(error).partition(" (at ")
    digits = "".join(c for c in place.partition(",")[0] if c.isdigit())
    return ScenarioError([Problem(file, int(digits) if digits else None, "", what, _TOML)])
