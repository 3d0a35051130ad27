"""Which version of the distribution this is."""


def installed_version(distribution: str = "drf-allocator") -> str:
    """Return the installed distribution's version; `0+source` in a source tree that is not."""
    from importlib import metadata  # loads some fifty modules; few processes ask

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "0+source"
