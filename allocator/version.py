"""Which version of the distribution this is."""

from importlib import metadata


def installed_version(distribution: str = "drf-allocator") -> str:
    """Return the installed distribution's version; `0+source` in a source tree that is not."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "0+source"
