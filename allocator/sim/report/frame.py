"""What all reports stand in: a page of HTML with links to its cards."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files


def framed(title: str, links: Sequence[tuple[str, str]], body: str) -> str:
    """Return a page that needs nothing else.

    Parameters
    ----------
    title : str
    links : sequence of (str, str)
        Anchor of a card, and what the link at the top says.
    body : str
        The cards, as HTML.
    """
    listed = "".join(f'<a href="#{id}">{escape(text)}</a>' for id, text in links)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{asset('style.css')}</style></head>"
        f'<body class="lab"><header class="top"><div class="bar"><h1>{escape(title)}</h1>'
        '<button type="button" id="theme" class="quiet">auto</button></div>'
        f"<nav>{listed}</nav></header><main>{body}</main>"
        f"<script>{asset('script.js')}</script></body></html>\n"
    )


def asset(name: str) -> str:
    """Return a text of this folder."""
    return (files(__package__) / name).read_text("utf-8")
