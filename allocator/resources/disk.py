"""What is known of a disk entry beyond its size."""

from dataclasses import dataclass
from typing import Final, Literal

from allocator.errors import ResourceError, shown
from allocator.resources.reservation import Labels, optional_text, sorted_labels

#: The one resource name that disk information is for.
DISK: Final = "disk"

SourceType = Literal["PATH", "MOUNT", "BLOCK", "RAW"]
SOURCE_TYPES: Final[tuple[SourceType, ...]] = ("PATH", "MOUNT", "BLOCK", "RAW")
#: A disk of one of these sources is held whole, by one holder.
WHOLE_SOURCES: Final = frozenset({"MOUNT", "BLOCK"})
#: A disk of one of these sources is mounted somewhere: it may have a root.
MOUNTED_SOURCES: Final = frozenset({"PATH", "MOUNT"})

VolumeMode = Literal["RW", "RO"]
VOLUME_MODES: Final[tuple[VolumeMode, ...]] = ("RW", "RO")


def check_disk_name(name: str) -> None:
    """Refuse, with `ResourceError`, disk information on another name than `disk`. O(1)."""
    if name != DISK:
        raise ResourceError(f"disk information belongs to {DISK!r}, not to {shown(name)}")


@dataclass(frozen=True, slots=True)
class Persistence:
    """What makes a disk entry a persistent volume.

    Parameters
    ----------
    id : str
        The volume's id, part of the entry's identity.
    principal : str, optional
        Who made the volume; carried along.

    Raises
    ------
    ResourceError
        If the id is empty or a part is not text.
    """

    id: str
    principal: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise ResourceError(f"the persistence id {shown(self.id)} is not a non-empty text")
        optional_text("principal", self.principal)


@dataclass(frozen=True, slots=True)
class Volume:
    """Where and how a persistent volume is mounted; carried along.

    Parameters
    ----------
    container_path, host_path : str, optional
        The two sides of the mount.
    mode : {"RW", "RO"}, optional
        Whether it can be written to.

    Raises
    ------
    ResourceError
        If a part is malformed.
    """

    container_path: str | None = None
    mode: VolumeMode | None = None
    host_path: str | None = None

    def __post_init__(self) -> None:
        optional_text("container_path", self.container_path)
        optional_text("host_path", self.host_path)
        if self.mode is not None and self.mode not in VOLUME_MODES:
            raise ResourceError(f"the volume mode {shown(self.mode)} is not RW or RO")


@dataclass(frozen=True, slots=True)
class DiskSource:
    """What a disk entry is made of; all of it is part of the entry's identity.

    Parameters
    ----------
    type : {"PATH", "MOUNT", "BLOCK", "RAW"}
        MOUNT and BLOCK disks cannot be split.
    root : str, optional
        Where a PATH or MOUNT disk is mounted.
    id, profile, vendor : str, optional
        As the storage provider names them.
    metadata : iterable of (str, str or None) pairs
        As the storage provider labels it. The order does not count; it is held sorted.

    Raises
    ------
    ResourceError
        If a part is malformed, or a BLOCK or RAW disk has a root.
    """

    type: SourceType
    root: str | None = None
    id: str | None = None
    profile: str | None = None
    vendor: str | None = None
    metadata: Labels = ()

    def __post_init__(self) -> None:
        if self.type not in SOURCE_TYPES:
            raise ResourceError(
                f"the disk source type {shown(self.type)} is none of {', '.join(SOURCE_TYPES)}"
            )
        for field in ("root", "id", "profile", "vendor"):
            optional_text(field, getattr(self, field))
        if self.root is not None and self.type not in MOUNTED_SOURCES:
            raise ResourceError(f"a {self.type} disk has no root, but {shown(self.root)} is given")
        object.__setattr__(self, "metadata", sorted_labels(self.metadata))


@dataclass(frozen=True, slots=True)
class DiskInfo:
    """What is known of a disk entry beyond its size.

    Parameters
    ----------
    persistence : Persistence, optional
        Makes it a persistent volume, which cannot be split.
    volume : Volume, optional
        How the persistent volume is mounted.
    source : DiskSource, optional
        What the disk is made of; the agent's own file system without one.

    Raises
    ------
    ResourceError
        If a part is of another class, or there is a volume without persistence, which Mesos
        refuses too.

    Notes
    -----
    The persistence id and the source are part of the entry's identity. The persistence principal
    and the volume describe the use made of it and are only carried along, as in Mesos.
    """

    persistence: Persistence | None = None
    volume: Volume | None = None
    source: DiskSource | None = None

    def __post_init__(self) -> None:
        for part, kind in (
            (self.persistence, Persistence),
            (self.volume, Volume),
            (self.source, DiskSource),
        ):
            if part is not None and not isinstance(part, kind):
                raise ResourceError(f"{shown(part)} in disk information is no {kind.__name__}")
        if self.volume is not None and self.persistence is None:
            raise ResourceError("disk information has a 'volume' without 'persistence'")
