"""`command.uris`: files that are copied into a sandbox before its program starts.

All is read and written with the rights of the container's user, which the thread that does it takes
on, as file servers do: nobody has the agent read for him what he may not read himself. Nor does
anybody have it fill the disk: what is copied and unpacked for a container has a bound.
"""

from __future__ import annotations

import bz2
import contextlib
import ctypes
import gzip
import lzma
import os
import posixpath
import re
import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, cast

import msgspec

from allocator.agent.sandboxes import LaunchFailed, Owner, error_in_words
from allocator.errors import shown
from allocator.wire.decode import cut
from allocator.wire.messages import Message

if TYPE_CHECKING:
    from _typeshed import SupportsRead

#: setgroups(2) of the calling thread alone: libc's is one of all threads.
_SETGROUPS: Final = {"x86_64": 116, "aarch64": 159, "riscv64": 159}
_CHUNK_BYTES: Final = 2**20
#: What a file, a folder or a link takes at least, as far as the bound is concerned.
_BLOCK_BYTES: Final = 4096
#: Of a tar's headers, each of which is read as a whole.
_MAX_HEADER_BYTES: Final = 2**22
#: For unpacking; the most that xz needs, unless it is told to take more, is half of it.
_MAX_MEMORY_BYTES: Final = 2**27
_MB: Final = 2**20
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?!/?$)")
_TARS: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
#: How what is compressed begins, and what reads it.
_COMPRESSED: Final = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lambda source: _Xz(source)),
    (b"]\0\0\x80", lambda source: _Xz(source)),
)
_FAULTS: Final = (
    *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error),
    *(EOFError, RuntimeError, NotImplementedError, ValueError),
)

_libc: Final = ctypes.CDLL(None, use_errno=True)


class Bound(NamedTuple):
    """What may be copied and unpacked for a container."""

    n_bytes: int
    #: Of what it is the bound, for people.
    whose: str


class Uri(Message, kw_only=True):
    """One of `command.uris`."""

    value: str
    executable: bool | None = None
    extract: bool | None = None
    output_file: str | None = None

    @property
    def source(self) -> str:
        """The file on this machine that it names; raises `LaunchFailed`.

        Examples
        --------
        >>> Uri(value="/etc/hosts").source, Uri(value="file:///etc/hosts").source
        ('/etc/hosts', '/etc/hosts')
        """
        found = _SCHEME.match(self.value)
        path = self.value
        if found is not None:
            if found[1].lower() != "file":
                known = "only local paths and file:// are copied"
                raise LaunchFailed(f"uri {cut(self.value)}: its scheme is {found[1]}; {known}")
            path = path[found.end() :].removeprefix("//").removeprefix("localhost")
        if not path.startswith("/") or "\0" in path:
            raise LaunchFailed(f"uri {shown(self.value)} is no absolute path")
        return path

    @property
    def target(self) -> str:
        """Where it is put, below the sandbox; raises `LaunchFailed`."""
        name = self.output_file or posixpath.basename(self.source)
        if name.endswith("/") or not name:
            raise LaunchFailed(f"uri {cut(self.value)}: {shown(name)} is no name of a file")
        return "/".join(_parts(name))


def read_uris(command: Mapping[str, Any]) -> list[Uri]:
    """Return what a command has fetched; raises `LaunchFailed`."""
    try:
        uris = msgspec.convert(command.get("uris") or [], list[Uri])
    except msgspec.ValidationError as error:
        raise LaunchFailed(f"command.uris: {error}") from None
    for uri in uris:
        _ = uri.source, uri.target
    return uris


class Fetch:
    """What is copied for one container.

    Parameters
    ----------
    uris : list of Uri
    sandbox : Path
    owner : Owner or None
        Who has to have the right to read it, and owns it then; None: whoever runs the agent.
    bound : Bound
        What all of it may take.
    """

    def __init__(self, uris: list[Uri], sandbox: Path, owner: Owner | None, bound: Bound) -> None:
        self._uris = uris
        self._sandbox = sandbox
        self._owner = owner
        self._bound = bound
        self._is_unwanted = threading.Event()

    def cancel(self) -> None:
        """Have it fail as soon as it can."""
        self._is_unwanted.set()

    def run(self) -> None:
        """Copy all, in order. Takes its time; raises `LaunchFailed`."""
        folder = os.open(self._sandbox, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        room = _Room(self._bound)
        try:
            for uri in self._uris:
                with _as_user(self._owner):
                    self._fetch(uri, _Tree(folder, room, self._check_wanted))
        finally:
            os.close(folder)

    def _check_wanted(self) -> None:
        if self._is_unwanted.is_set():
            raise LaunchFailed("it is not wanted any more")

    def _fetch(self, uri: Uri, tree: _Tree) -> None:
        try:
            with _open_source(uri.source) as source:
                tree.copy(source, uri.target, _mode(source, is_executable=bool(uri.executable)))
                if not uri.executable and uri.extract is not False:
                    source.seek(0)
                    _extract(source, uri.target, tree)
        except OSError as error:
            raise LaunchFailed(f"uri {cut(uri.value)}: {error_in_words(error)}") from None
        except (LaunchFailed, *_FAULTS) as error:
            raise LaunchFailed(f"uri {cut(uri.value)}: {cut(str(error))}") from None


class _Room:
    """What may still be written of a bound. A file takes what is in it, and a block at least."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._left = bound.n_bytes

    def take(self, n_bytes: int = _BLOCK_BYTES) -> None:
        """Take some of it; raises `LaunchFailed` where there is not so much."""
        self._left -= n_bytes
        if self._left < 0:
            mb = self._bound.n_bytes / _MB
            raise LaunchFailed(f"what is fetched takes more than {mb:g} MB, {self._bound.whose}")


class _Tree:
    """A folder in which things are made; nothing is made outside of it, whatever links there are.

    Parameters
    ----------
    folder : int
        Its descriptor.
    room : _Room
        What they may take.
    check : callable
        Is called from time to time, and raises to have it end.
    """

    def __init__(self, folder: int, room: _Room, check: Callable[[], None]) -> None:
        self._folder = folder
        self._room = room
        self._check = check

    @contextlib.contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        """Yield the folder that something is in, made if need be, and its name there."""
        parts = _parts(path)
        folder = os.dup(self._folder)
        try:
            for part in parts[:-1]:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=folder)
                    self._room.take()
                flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                below = os.open(part, flags, dir_fd=folder)
                os.close(folder)
                folder = below
            yield folder, parts[-1]
        finally:
            os.close(folder)

    def make_folder(self, path: str) -> None:
        """Make a folder, unless there is one."""
        with self._parent(f"{path}/.") as _:
            pass

    def copy(self, source: SupportsRead[bytes], path: str, mode: int) -> None:
        """Make a file, in place of one that is there."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        n_paid = _BLOCK_BYTES
        self._room.take(n_paid)
        with self._parent(path) as (folder, name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            with open(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
                while data := source.read(_CHUNK_BYTES):
                    self._check()
                    self._room.take(max(0, len(data) - n_paid))
                    n_paid = max(0, n_paid - len(data))
                    file.write(data)
                os.fchmod(file.fileno(), mode)

    def link(self, path: str, to: str) -> None:
        """Make a symbolic link to something in the tree."""
        leads = posixpath.normpath(posixpath.join(posixpath.dirname(path), to))
        if leads.startswith("/") or leads.split("/")[0] == "..":
            raise LaunchFailed(f"{shown(to)}, to which {shown(path)} is a link, is outside")
        self._room.take()
        with self._parent(path) as (folder, name):
            os.symlink(to, name, dir_fd=folder)

    def link_hard(self, path: str, to: str) -> None:
        """Give something in the tree a second name."""
        self._room.take()
        with self._parent(to) as (there, known), self._parent(path) as (folder, name):
            os.link(known, name, src_dir_fd=there, dst_dir_fd=folder, follow_symlinks=False)


def _parts(path: str) -> list[str]:
    """Return the steps of a path below a folder; raises `LaunchFailed` where it leads outside."""
    parts = [part for part in path.split("/") if part]
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise LaunchFailed(f"{shown(path)} is not below the sandbox")
    return [part for part in parts[:-1] if part != "."] + parts[-1:]


# Archives.


def _extract(source: IO[bytes], name: str, tree: _Tree) -> None:
    """Unpack an archive, as which its name tells it."""
    lower = name.lower()
    if lower.endswith(_TARS):
        plain = cast("IO[bytes]", _Headers(_decompressed(source)))
        with tarfile.open(fileobj=plain, mode="r:") as tar:
            while (member := tar.next()) is not None:
                _extract_member(tar, member, tree)
                tar.members.clear()  # type: ignore[attr-defined]  # or it would keep them all
    elif lower.endswith(".zip"):
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                if info.is_dir():
                    tree.make_folder(info.filename)
                    continue
                if info.compress_type == zipfile.ZIP_LZMA:  # which needs what memory it says
                    raise LaunchFailed(f"{shown(info.filename)} is compressed by LZMA")
                mode = (info.external_attr >> 16) & 0o755 or 0o644
                with archive.open(info) as content:
                    tree.copy(content, info.filename, mode | 0o600)
    elif lower.endswith(".gz"):
        with gzip.open(source) as content:
            tree.copy(content, name[:-3], _mode(source, is_executable=False))


def _decompressed(source: IO[bytes]) -> IO[bytes]:
    """Return what a tar that may be compressed has in it, as its first bytes tell."""
    magic = source.read(6)
    source.seek(0)
    for begins, opened in _COMPRESSED:
        if magic.startswith(begins):
            return cast("IO[bytes]", opened(source))
    return source


class _Xz:
    """What xz has compressed, read forward: what needs too much memory to unpack is refused."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._at = 0
        self._decoder = self._new_decoder()

    def _new_decoder(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(memlimit=_MAX_MEMORY_BYTES)

    def read(self, size: int) -> bytes:
        """Read so many bytes, or all that there are; raises `LZMAError`."""
        found = bytearray()
        while len(found) < size:
            if self._decoder.eof:
                given = self._decoder.unused_data.lstrip(b"\0")
                while not given and (piece := self._file.read(_CHUNK_BYTES)):
                    given = piece.lstrip(b"\0")
                if not given:
                    break
                self._decoder = self._new_decoder()  # another stream follows
            else:
                given = self._file.read(_CHUNK_BYTES) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not given:
                    raise EOFError("it is cut short")
            found += self._decoder.decompress(given, size - len(found))
        self._at += len(found)
        return bytes(found)

    def tell(self) -> int:
        """Return how much was read."""
        return self._at

    def seek(self, offset: int) -> int:
        """Read on to somewhere."""
        while self._at < offset and self.read(min(_CHUNK_BYTES, offset - self._at)):
            pass
        return self._at


class _Headers:
    """A tar to read, whatever sizes its headers claim to have.

    Names and attributes that go on are read at once, into memory: a small archive may hold
    gigabytes of them.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Read at most so many bytes; raises `LaunchFailed` if they are too many."""
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise LaunchFailed(f"its archive has a header of {size} bytes")
        return self._file.read(size)


def _extract_member(tar: tarfile.TarFile, member: tarfile.TarInfo, tree: _Tree) -> None:
    if member.isdir():
        tree.make_folder(member.name)
    elif member.issym():
        tree.link(member.name, member.linkname)
    elif member.islnk():
        tree.link_hard(member.name, member.linkname)
    elif member.isreg():
        content = tar.extractfile(member)
        assert content is not None  # it is a regular file
        with content:
            tree.copy(content, member.name, member.mode & 0o755 | 0o600)
    else:
        raise LaunchFailed(f"{shown(member.name)} is neither a file, a folder nor a link")


def _open_source(path: str) -> IO[bytes]:
    """Open a regular file; anything else would be waited for, or have no end."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise LaunchFailed(f"{path} is no regular file")
    return os.fdopen(file, "rb")


def _mode(source: IO[bytes], *, is_executable: bool) -> int:
    """Return the mode of a copy: that of its source, but nobody else may write to it."""
    mode = stat.S_IMODE(os.fstat(source.fileno()).st_mode) & 0o755 | 0o600
    return mode | 0o111 if is_executable else mode


@contextlib.contextmanager
def _as_user(owner: Owner | None) -> Iterator[None]:
    """Have this thread read and write files with somebody's rights; raises `LaunchFailed`."""
    if owner is None:
        yield
        return
    groups = os.getgroups()
    try:
        _set_groups(owner.groups)
        _libc.setfsgid(owner.gid)
        _libc.setfsuid(owner.uid)
        if _libc.setfsuid(-1) != owner.uid:  # which changes nothing, and tells what is
            raise LaunchFailed("the agent cannot take on the rights of the container's user")
        yield
    finally:
        _libc.setfsuid(os.geteuid())
        _libc.setfsgid(os.getegid())
        _set_groups(tuple(groups))


def _set_groups(groups: tuple[int, ...]) -> None:
    number = _SETGROUPS.get(os.uname().machine)
    given = (ctypes.c_uint32 * len(groups))(*groups)
    if number is None or _libc.syscall(number, len(groups), given) != 0:
        raise LaunchFailed("the agent cannot take on the groups of the container's user")
