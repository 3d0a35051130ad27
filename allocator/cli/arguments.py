"""How arguments of the services' commands are read."""

from __future__ import annotations

import argparse
import math


def port(text: str) -> int:
    """Return a port; raises `ArgumentTypeError`."""
    if text.isascii() and text.isdigit() and int(text) < 2**16:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port between 0 and 65535")


def count(text: str) -> int:
    """Return a positive integer; raises `ArgumentTypeError`."""
    if text.isascii() and text.isdigit() and 0 < int(text) < 2**31:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no positive integer")


def duration_or_zero(text: str) -> float:
    """Return seconds; raises `ArgumentTypeError`."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if 0 <= seconds <= 1e9:
        return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds, such as 0.5")


def duration(text: str) -> float:
    """Return seconds that are not zero; raises `ArgumentTypeError`."""
    seconds = duration_or_zero(text)
    if seconds == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: is more than 0 seconds")
    return seconds
