"""What holds of the sources themselves: citations, floors, the length of lines."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: The statement of an invariant: its label at the beginning of a line.
INVARIANT = re.compile(r"^ *([A-Z])(\d)\. ", re.MULTILINE)
#: A row of the table of letters.
LETTER = re.compile(r"^\| ([A-Z]) \| .* \| (.*) \|$", re.MULTILINE)
#: As in pyproject.toml, which ruff goes by, but ruff reads no Cython.
LINE_LENGTH = 100
SECTION = re.compile(r"§(\d+(?:\.\d+)?)")


def sources(*suffixes: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of the files below the package that end in one of these."""
    for path in sorted((ROOT / "allocator").rglob("*")):
        if path.suffix in suffixes:
            yield path.relative_to(ROOT / "allocator").as_posix(), path.read_text("utf-8")


def pages(*folders: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of the Markdown and Python files below these."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".md", ".py"):
                yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


def test_lines_of_compiled_modules_are_short() -> None:
    long = [
        f"{name}:{number}"
        for name, text in sources(".pyx", ".pxd")
        for number, line in enumerate(text.splitlines(), start=1)
        if len(line) > LINE_LENGTH
    ]
    assert long == []


def test_nothing_that_is_built_is_kept() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    kept = [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    binary = [path for path in kept if b"\0" in path.read_bytes()[:8192]]
    assert [path for path in binary if path.suffix != ".png"] == []


def test_each_section_that_is_cited_is_in_the_contract() -> None:
    contract = (ROOT / "docs" / "contract.md").read_text("utf-8")
    there = set(re.findall(r"^(?:## |\*\*)§(\d+(?:\.\d+)?)[ .]", contract, re.MULTILINE))
    texts = [*sources(".py", ".pyx", ".pxd"), *pages("docs", "tests")]
    cited = {(name, number) for name, text in texts for number in SECTION.findall(text)}
    assert len(cited) > 50
    assert {(name, number) for name, number in cited if number not in there} == set()


def test_each_invariant_is_stated_once_and_its_letter_is_in_the_table() -> None:
    stated: dict[str, list[str]] = defaultdict(list)
    places: dict[str, set[str]] = defaultdict(set)
    for name, text in sources(".py", ".pyx", ".pxd"):
        for letter, number in INVARIANT.findall(text):
            stated[letter + number].append(name)
            places[letter].add(name)
    assert {label: names for label, names in stated.items() if len(names) > 1} == {}
    design = (ROOT / "docs" / "design.md").read_text("utf-8")
    table = {
        letter: set(re.findall("`([^`]+)`", files)) for letter, files in LETTER.findall(design)
    }
    assert table == places


def floors() -> dict[str, tuple[int, int]]:
    """Return the floor and the place on it of each room, which is a module or a package."""
    guide = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d) \| (.*?) \|", guide, re.MULTILINE)
    return {
        room: (int(floor), place)
        for floor, rooms in rows
        for place, room in enumerate(re.findall(r"`(\w+)/?`", rooms))
    }


def imported(text: str) -> set[str]:
    """Return the rooms that a module imports from, those needed for types alone included."""
    return set(re.findall(r"^ *(?:from|c?import) allocator\.(\w+)", text, re.MULTILINE))


def test_modules_import_from_below_only() -> None:
    floor = floors()
    rooms = {name: name.split("/")[0].removesuffix(".py") for name, _ in sources(".py", ".pyx")}
    assert {room for room in rooms.values() if not room.startswith("__")} == floor.keys()
    wrong = [
        (name, other)
        for name, text in sources(".py", ".pyx", ".pxd", ".pyi")
        if (room := name.split("/")[0].removesuffix(".py")) in floor
        for other in imported(text) - {room}
        if floor[other] >= floor[room]
    ]
    assert wrong == []


def test_each_module_of_the_engine_has_its_place_in_the_design() -> None:
    rooms = (ROOT / "docs" / "design.md").read_text("utf-8").split("## Rooms")[1].split("```")[1]
    there = set(re.findall(r"\w+\.(?:pyx|pxd|py)\b", rooms))
    modules = {name.split("/")[1] for name, _ in sources(".py", ".pyx") if "engine/" in name}
    assert modules - {"__init__.py"} <= there
