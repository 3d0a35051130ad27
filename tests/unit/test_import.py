"""What importing a part of the package loads: values, errors and clocks are light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import allocator

#: The floors below the sorters and the engine: what an agent process needs.
LIGHT = ["", ".clock", ".errors", ".resources", ".resources.conversions", ".roles", ".version"]
#: What these may load of the package.
LOWEST = ("errors", "clock", "resources", "roles", "version")


def loaded_by(code: str) -> set[str]:
    """Return the names of the modules that a fresh interpreter has after `code`."""
    ending = "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", code + ending]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("name", LIGHT)
def test_the_lower_floors_load_nothing_of_the_upper_ones(name: str) -> None:
    loaded = loaded_by(f"import allocator{name}")
    own = {module.split(".")[1] for module in loaded if module.startswith("allocator.")}
    assert own <= set(LOWEST)
    assert not {"numpy", "sortedcontainers", "asyncio", "re2"} & loaded


def test_a_name_is_loaded_when_it_is_asked_for() -> None:
    assert "allocator.engine" not in loaded_by("from allocator import Resources, ManualClock")
    assert "allocator.engine" in loaded_by("from allocator import Allocator")


def imports_for_type_checkers() -> dict[str, str]:
    """Return the name and the module of each import that only type checkers see."""
    tree = ast.parse(Path(str(allocator.__file__)).read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_what_type_checkers_see_is_what_is_there() -> None:
    seen = imports_for_type_checkers()
    assert sorted(seen) == sorted(allocator.__all__)
    for name, module in seen.items():
        assert getattr(allocator, name) is getattr(sys.modules[module], name)


def test_all_names_are_listed() -> None:
    assert {*allocator.__all__, "__version__"} <= set(dir(allocator))
    assert allocator.__version__
    assert "nonesuch" not in dir(allocator)
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = allocator.nonesuch
