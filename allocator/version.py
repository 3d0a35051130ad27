"""Which version of the distribution this is, and when it was built."""

import re
import time
from pathlib import Path


def installed_version(distribution: str = "drf-allocator") -> str:
    """Return the installed distribution's version; `0+source` in a source tree that is not."""
    from importlib import metadata  # loads some fifty modules; few processes ask

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "0+source"


def dotted_version() -> str:
    """Return the version as clients read it: integers with dots between them.

    Examples
    --------
    >>> all(part.isdigit() for part in dotted_version().split("."))
    True
    """
    match = re.match(r"\d+(\.\d+)*", installed_version())
    return match.group() if match else "0"


def build_info() -> dict[str, object]:
    """Return version, date, time and user of the build, as a master and an agent tell them."""
    package = Path(__file__).parent
    compiled = next(package.glob("resources/*.so"), package)
    seconds = compiled.stat().st_mtime
    try:
        user = compiled.owner()
    except (KeyError, NotImplementedError):  # a user id without a name; no such thing here
        user = ""
    return {
        "version": dotted_version(),
        "build_date": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)),
        "build_time": seconds,
        "build_user": user,
    }
