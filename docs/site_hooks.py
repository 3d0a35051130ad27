"""What of the site stands outside of this folder: README, CHANGELOG and CONTRIBUTING as pages."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

#: Page of the site → the file at the top that it shows.
SHOWN = {
    "readme.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, with links that start from here."""
    for page, name in SHOWN.items():
        text = (ROOT / name).read_text("utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=at_home(text)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have links to files at the top lead to their pages."""
    return at_home(markdown)


def at_home(markdown: str) -> str:
    """Return a text in which README, CHANGELOG and CONTRIBUTING are pages of the site."""
    for page, name in SHOWN.items():
        markdown = re.sub(rf"\]\((\.\./)*{re.escape(name)}", f"]({page}", markdown)
    return markdown
