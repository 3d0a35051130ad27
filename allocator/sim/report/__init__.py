"""The report of a run: one page of HTML that needs nothing else.

Everything in it is text, inline SVG and a few lines of script: nothing is loaded from elsewhere.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from allocator.sim.report import sections
from allocator.sim.report.frame import asset, framed
from allocator.sim.report.sections import Shown
from allocator.sim.report.verdict import verdict

if TYPE_CHECKING:
    from allocator.sim.result import Result

#: (anchor, what the link at the top says)
_LINKS = (
    ("shares", "Shares"),
    ("roles", "Roles"),
    ("utilisation", "Utilisation"),
    ("queues", "Queues"),
    ("waits", "Waits"),
    ("quota", "Quota"),
    ("fairness", "Fairness"),
    ("cycles", "Cycles"),
    ("machines", "Machines"),
    ("run", "Run"),
    ("tenants", "Tenants"),
)

_ALL = (
    sections.shares,
    sections.roles,
    sections.utilisation,
    sections.queues,
    sections.waiting,
    sections.quotas,
    sections.fairness,
    sections.cycles,
    sections.machines,
    sections.what_was_run,
    sections.tenants,
)


def page(result: Result) -> str:
    """Return the report. O(size of the result)."""
    shown = Shown(result)
    title = _title(result)
    body = "".join(section(shown) for section in _ALL)
    return framed(title, _LINKS, f"{_verdict(shown)}{sections.tiles(shown)}{body}")


def excerpt(result: Result) -> str:
    """Return the verdict, the tenants and the curves, for a notebook. O(size of the result)."""
    shown = Shown(result)
    parts = (sections.shares, sections.roles, sections.utilisation, sections.tenants)
    body = "".join(section(shown) for section in parts)
    return (
        f'<div class="lab excerpt"><style>{asset("style.css")}</style><main>'
        f"{_verdict(shown)}{body}</main></div>"
    )


def _title(result: Result) -> str:
    asked = result.options.get("scenario", {})
    return str(asked.get("title") or result.trace["name"])


def _verdict(shown: Shown) -> str:
    said = "".join(f"<p>{escape(text)}</p>" for text in verdict(shown.result, shown.tenants))
    return f'<section class="card" id="verdict"><h2>Verdict</h2>{said}</section>'
