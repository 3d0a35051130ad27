"""The report of a run: one page of HTML that needs nothing else.

Everything in it is text, inline SVG and a few lines of script: nothing is loaded from elsewhere.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from allocator.sim.report import sections
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
    sections.tenants,
    sections.what_was_run,
)


def page(result: Result) -> str:
    """Return the report. O(size of the result)."""
    shown = Shown(result)
    title = _title(result)
    links = "".join(f'<a href="#{id}">{escape(text)}</a>' for id, text in _LINKS)
    body = "".join(section(shown) for section in _ALL)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_text('style.css')}</style></head>"
        f'<body class="lab"><header class="top"><div class="bar"><h1>{escape(title)}</h1>'
        '<button type="button" id="theme" class="quiet">auto</button></div>'
        f"<nav>{links}</nav></header><main>{_verdict(shown)}{sections.tiles(shown)}{body}</main>"
        f"<script>{_text('script.js')}</script></body></html>\n"
    )


def excerpt(result: Result) -> str:
    """Return the verdict, the tenants and the curves, for a notebook. O(size of the result)."""
    shown = Shown(result)
    parts = (sections.shares, sections.roles, sections.utilisation, sections.tenants)
    body = "".join(section(shown) for section in parts)
    return (
        f'<div class="lab excerpt"><style>{_text("style.css")}</style><main>'
        f"{_verdict(shown)}{body}</main></div>"
    )


def _title(result: Result) -> str:
    asked = result.options.get("scenario", {})
    return str(asked.get("title") or result.trace["name"])


def _verdict(shown: Shown) -> str:
    said = "".join(f"<p>{escape(text)}</p>" for text in verdict(shown.result, shown.tenants))
    return f'<section class="card" id="verdict"><h2>Verdict</h2>{said}</section>'


def _text(name: str) -> str:
    return (files(__package__) / name).read_text("utf-8")
