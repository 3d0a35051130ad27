"""`/files`: what lies in sandboxes, and nothing else.

A path is resolved by the kernel, below the folder of its sandbox, as it is opened: a link that is
put there meanwhile leads nowhere else. Virtual paths: `/frameworks/F/executors/E/runs/C/…` with a
container's id or `latest`, and `/containers/C/…`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import grp
import mimetypes
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from allocator.agent.server import Answer, Query, Request, Route, Routes, json_answer
from allocator.wire.decode import cut
from allocator.wire.refusal import BAD_REQUEST, NOT_FOUND, CallRefused

Json = dict[str, Any]

#: Of one read.
MAX_BYTES: Final = 65536

_OPENAT2: Final = 437
#: RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH
_BENEATH: Final = 0x02 | 0x08
#: RESOLVE_NO_SYMLINKS
_NO_LINKS: Final = 0x04
#: To say what it is, without waiting for the other end of a fifo or setting off a device.
_PLACE: Final = os.O_PATH | os.O_CLOEXEC
_TRIES: Final = 10

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    """`struct open_how`."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class Place(NamedTuple):
    """Where a path leads."""

    #: The sandbox's folder, below the work dir.
    sandbox: str
    #: What of the path is below it, as it was given.
    rest: str


def _open_below(folder: int, path: str, resolve: int = 0) -> int:
    """Return a descriptor of what a path below a folder leads to, by links if they stay below.

    Raises
    ------
    OSError
        Among others `EXDEV`: it leads outside.
    """
    how = _How(_PLACE, 0, _BENEATH | resolve)
    for _ in range(_TRIES):
        file = _libc.syscall(
            _OPENAT2, folder, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how)
        )
        if file >= 0:
            return int(file)
        if ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            break
        # Something was renamed meanwhile, and the kernel could not be sure.
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)


def _open_inside(sandbox: int, path: str) -> int:
    """Return a descriptor of what a path below a sandbox leads to, also by links that begin with /.

    The kernel refuses those: they are looked up here, and what they led to is opened without any.
    Raises `OSError` as `_open_below`.
    """
    try:
        return _open_below(sandbox, path)
    except OSError as error:
        if error.errno != errno.EXDEV or ".." in path.split("/"):
            raise
        top, real = (os.path.realpath(f"/proc/self/fd/{sandbox}/{each}") for each in (".", path))
        if not real.startswith(f"{top}/"):
            raise
        return _open_below(sandbox, real.removeprefix(f"{top}/"), _NO_LINKS)


class Files:
    """Answers about what lies in sandboxes.

    Parameters
    ----------
    work_dir : Path or None
        None: there are none.
    """

    def __init__(self, work_dir: Path | None) -> None:
        self._root = Path("/dev/null") if work_dir is None else work_dir.absolute()

    def routes(self) -> Routes:
        """Return what answers each path."""
        return {
            "/files/read": Route(self._read),
            "/files/browse": Route(self._browse),
            "/files/download": Route(self._download),
            "/files/debug": Route(lambda r: json_answer(self.virtual_paths(), r.query)),
        }

    # Requests.

    def _read(self, request: Request) -> Answer:
        path = _path(request.query)
        offset = _number(request.query, "offset")
        length = _number(request.query, "length")
        size, data = self.read(path, max(offset or 0, 0), MAX_BYTES if length == -1 else length)
        if offset == -1 or (offset is None and length == 0):
            return json_answer({"offset": size, "data": ""}, request.query)
        text = data.decode("utf-8", "replace")
        return json_answer({"offset": offset or 0, "data": text}, request.query)

    def _browse(self, request: Request) -> Answer:
        return json_answer(self.browse(_path(request.query)), request.query)

    async def _download(self, request: Request) -> Answer:
        path = _path(request.query)
        with self._opened(path) as place:
            file = os.fdopen(_reopened(path, place, stat.S_ISREG, "a regular file"), "rb")
        name = path.rstrip("/").rpartition("/")[2]
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        headers = {"Content-Disposition": _disposition(name)}
        return Answer(content_type=kind, headers=headers, file=file)

    # What they are about.

    def read(self, path: str, offset: int, length: int | None) -> tuple[int, bytes]:
        """Return the size of a file and a piece of it; raises `CallRefused`."""
        with self._opened(path) as place:
            file = _reopened(path, place, stat.S_ISREG, "a regular file")
        try:
            n_bytes = MAX_BYTES if length is None else min(length, MAX_BYTES)
            return os.fstat(file).st_size, os.pread(file, n_bytes, offset)
        finally:
            os.close(file)

    def browse(self, path: str) -> list[Json]:
        """Return what is in a folder, links as links, by path; raises `CallRefused`."""
        entries = self.entries(path)
        return [{**each._asdict(), "mode": stat.filemode(each.mode)} for each in entries]

    def entries(self, path: str) -> list[Entry]:
        """Return what is in a folder, links as links, by path; raises `CallRefused`."""
        with self._opened(path) as place:
            folder = _reopened(path, place, stat.S_ISDIR, "a folder")
        found = []
        try:
            for name in sorted(os.listdir(folder)):
                with contextlib.suppress(FileNotFoundError):
                    stats = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    found.append(_entry(_shown(f"{path.rstrip('/')}/{name}"), stats))
        finally:
            os.close(folder)
        return found

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        """Give a descriptor of what a path leads to, that cannot be read; raises `CallRefused`."""
        place = self._place(path)
        try:
            with _closing(os.open(self._root, _PLACE | os.O_DIRECTORY)) as root:
                runs, _, name = place.sandbox.rpartition("/")
                if name == "latest":
                    with _closing(_open_below(root, runs, _NO_LINKS)) as folder:
                        name = os.readlink("latest", dir_fd=folder).replace("/", "")
                sandbox = _open_below(root, f"{runs}/{name}", _NO_LINKS)
            with _closing(sandbox), _closing(_open_inside(sandbox, place.rest or ".")) as found:
                yield found
        except OSError as error:
            is_outside = error.errno == errno.EXDEV
            is_absent = error.errno in (errno.ENOENT, errno.ENOTDIR)
            why = "leads outside its sandbox" if is_outside else os.strerror(error.errno or 0)
            status = NOT_FOUND if is_absent else BAD_REQUEST
            raise CallRefused(status, f"path {cut(path)!r}: {why}") from None

    def _place(self, path: str) -> Place:
        """Return in which sandbox a path is; raises `CallRefused` (404) if in none."""
        below = path.removeprefix(f"{self._root}/")
        match = _REAL.fullmatch(below) if below != path else _VIRTUAL.fullmatch(path)
        if match is None or ".." in match["sandbox"].split("/"):
            raise CallRefused(NOT_FOUND, f"path {cut(path)!r} is in no sandbox")
        sandbox = match["sandbox"]
        if below == path and sandbox.startswith("frameworks/"):
            for agent in sorted(self._root.glob("agents/*")):
                if (agent / sandbox).is_dir():
                    sandbox = f"agents/{agent.name}/{sandbox}"
                    break
        return Place(sandbox, match["rest"] or "")

    def virtual_paths(self) -> dict[str, str]:
        """Return the sandboxes that are there, by virtual path. O(sandboxes)."""
        found = {}
        for sandbox in sorted(self._root.glob("agents/*/frameworks/*/executors/*/runs/*")):
            parts = sandbox.relative_to(self._root).parts
            if not sandbox.name.startswith("."):
                found["/" + "/".join(parts[2:])] = str(sandbox)
        for sandbox in sorted(self._root.glob("containers/[!.]*")):
            found[f"/containers/{sandbox.name}"] = str(sandbox)
        return found


_RUN: Final = r"frameworks/[^/]+/executors/[^/]+/runs/[^/.][^/]*"
_CONTAINER: Final = r"containers/[^/.][^/]*"
_REST: Final = r"(?:/+(?P<rest>.*))?"
_REAL: Final = re.compile(rf"(?P<sandbox>{_CONTAINER}|agents/[^/]+/{_RUN}){_REST}", re.DOTALL)
_VIRTUAL: Final = re.compile(rf"/(?P<sandbox>{_CONTAINER}|{_RUN}){_REST}", re.DOTALL)


def _path(query: Query) -> str:
    path = query.get("path", "")
    if not path:
        raise CallRefused(BAD_REQUEST, "there is no path=")
    if "\0" in path:
        raise CallRefused(BAD_REQUEST, "path has a NUL in it")
    return path


def _number(query: Query, name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"-1|\d{1,18}", text, re.ASCII):
        raise CallRefused(BAD_REQUEST, f"{name}={cut(text)} is no number from -1 up")
    return int(text)


def _reopened(path: str, place: int, is_kind: Callable[[int], bool], kind: str) -> int:
    """Return a descriptor to read from, if it is of a kind that can be read at once."""
    if not is_kind(os.fstat(place).st_mode):
        raise CallRefused(BAD_REQUEST, f"path {cut(path)!r} is not {kind}")
    return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def _closing(file: int) -> Iterator[int]:
    try:
        yield file
    finally:
        os.close(file)


class Entry(NamedTuple):
    """What a folder has in it."""

    path: str
    nlink: int
    size: int
    mtime: float
    mode: int
    #: Names of user and group, where they have one.
    uid: str
    gid: str


def _entry(path: str, found: os.stat_result) -> Entry:
    return Entry(
        path,
        found.st_nlink,
        found.st_size,
        found.st_mtime,
        found.st_mode,
        _user(found.st_uid),
        _group(found.st_gid),
    )


def _shown(path: str) -> str:
    """Return a path as text, with something else for bytes that are none."""
    return os.fsencode(path).decode("utf-8", "replace")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _disposition(name: str) -> str:
    """Return the header that has a file saved under its name."""
    plain = re.sub(r'[^ -~]|["\\\\]', "_", name)
    exact = "" if plain == name else f"; filename*=UTF-8''{quote(os.fsencode(name), safe='')}"
    return f'attachment; filename="{plain}"{exact}'
