"""What the documentation shows is run: the README's Python, and the examples in docstrings."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
from pathlib import Path

import pytest

import allocator

ROOT = Path(__file__).parents[2]

#: A fenced Python block and, where one follows directly, the fenced text that it prints.
PYTHON_BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)


def modules() -> list[str]:
    found = pkgutil.walk_packages(allocator.__path__, prefix="allocator.")
    return sorted(module.name for module in found if not module.name.endswith("__main__"))


@pytest.mark.parametrize("name", modules())
def test_doctests(name: str) -> None:
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


def test_doctests_of_compiled_modules_are_found() -> None:
    from allocator.sorter import _drf

    # doctest looks only into functions that it takes for Python's: binding=True makes them so.
    examples = [test for test in doctest.DocTestFinder().find(_drf) if test.examples]
    assert examples


def test_the_package_exports_every_error_and_all_that_it_names() -> None:
    from allocator import errors

    named = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert named <= set(allocator.__all__)
    assert all(hasattr(allocator, name) for name in allocator.__all__)


def python_blocks(page: Path) -> list[tuple[str, str | None]]:
    return [(m["code"], m["output"]) for m in PYTHON_BLOCK.finditer(page.read_text("utf-8"))]


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=str
)
def test_python_blocks_print_what_the_page_says(page: Path) -> None:
    names = {"__name__": "__main__"}  # a block may go on where the last one ended
    for code, output in python_blocks(page):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(page), "exec"), names)
        if output is not None:
            assert printed.getvalue() == output


def test_readme_leads_with_ten_lines_of_python() -> None:
    code, output = python_blocks(ROOT / "README.md")[0]
    assert "import allocator" in code.splitlines()[0]
    assert len(code.splitlines()) == 10
    assert output, "what it prints stands below it"


def test_recipes_name_files_that_are_there() -> None:
    text = (ROOT / "docs" / "change.md").read_text("utf-8")
    named = set(re.findall(r"`(\w+/[\w/]+\.(?:py|pyx|pxd))`", text))
    assert len(named) > 15
    folders = [ROOT, ROOT / "allocator"]
    missing = {name for name in named if not any((folder / name).exists() for folder in folders)}
    to_be_written = ("cli/NAME.py", "sim/readers/NAME.py", "sim/importers/NAME.py")
    assert missing == {f"allocator/{name}" for name in to_be_written}
