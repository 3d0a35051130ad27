"""Numbers for people: shares, times and amounts in words."""

from __future__ import annotations

_NONE = "-"

#: Names whose unit is a megabyte.
IN_MEGABYTES = ("mem", "disk")

_BYTES = ("MB", "GB", "TB", "PB")


def percent(part: float | None) -> str:
    """Return a fraction as a percentage with two decimals."""
    return _NONE if part is None else f"{part * 100:.2f}%"


def rounded(part: float | None) -> str:
    """Return a fraction as a percentage with one decimal.

    Examples
    --------
    >>> rounded(0.1234), rounded(1), rounded(None)
    ('12.3 %', '100 %', '-')
    """
    if part is None:
        return _NONE
    text = f"{part * 100:.1f}"
    return f"{text.removesuffix('.0')} %"


def span(seconds: float) -> str:
    """Return a time in the two largest units that it has.

    Examples
    --------
    >>> span(0), span(59.94), span(3_661), span(7_686_036)
    ('0s', '59.9s', '1h 01m', '88d 23h')
    """
    tenths = round(seconds, 1)
    if tenths < 60:
        return f"{tenths:g}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h {minutes:02d}m"
    return f"{hours // 24}d {hours % 24:02d}h"


def spanned(seconds: float | None) -> str:
    """Return a time as `span` does, or a dash for none."""
    return _NONE if seconds is None else span(seconds)


def milliseconds(micros: float | None) -> str:
    """Return microseconds as milliseconds."""
    return _NONE if micros is None else f"{micros / 1000:.3f} ms"


def scale_of(name: str, most: float) -> tuple[float, str]:
    """Return what to divide amounts of a resource by, and the unit that they are then in.

    Examples
    --------
    >>> scale_of("mem", 39_040_000), scale_of("cpus", 64)
    ((1000000.0, 'TB'), (1.0, 'cpus'))
    """
    if name not in IN_MEGABYTES:
        return 1.0, name
    step = 0
    while most >= 1000 and step + 1 < len(_BYTES):
        most /= 1000
        step += 1
    return 1000.0**step, _BYTES[step]


def amount(name: str, value: float) -> str:
    """Return an amount of a resource with its unit.

    Examples
    --------
    >>> amount("cpus", 1234.5), amount("mem", 39_040_000)
    ('1,234.5 cpus', '39 TB mem')
    """
    divisor, unit = scale_of(name, value)
    text = number(value / divisor)
    return f"{text} {unit}" if unit == name else f"{text} {unit} {name}"


def number(value: float) -> str:
    """Return a number with as many decimals as its size deserves.

    Examples
    --------
    >>> number(1234567), number(12.345), number(0.0123), number(3)
    ('1,234,567', '12.3', '0.0123', '3')
    """
    if value == round(value) or abs(value) >= 10_000:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:,.1f}".removesuffix(".0")
    return f"{value:.3g}"


def counted(n: int, one: str, more: str | None = None) -> str:
    """Return a number of things.

    Examples
    --------
    >>> counted(1, "job"), counted(1200, "job")
    ('1 job', '1,200 jobs')
    """
    return f"{n:,} {one if n == 1 else more or one + 's'}"
