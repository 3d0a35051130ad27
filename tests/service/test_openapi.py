"""The OpenAPI document that a master publishes, and what schemathesis finds by it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from tests.service import serving
from tests.service.serving import Process

ROOT = Path(__file__).parents[2]

#: Requests for each operation; ALLOCATOR_FUZZ asks for more.
N_EXAMPLES = os.environ.get("ALLOCATOR_FUZZ", "25")


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving.master(
        tmp_path_factory.mktemp("master"), "--heartbeat-interval", "1000"
    ) as process:
        yield process


def test_document_is_openapi(master: Process) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    document = httpx.get(f"{master.url}/openapi.json").json()
    validator.validate(document)
    assert {"/state", "/api/v1", "/api/v1/scheduler", "/weights"} <= document["paths"].keys()


@pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed")
def test_no_request_is_answered_otherwise_than_the_document_says(
    master: Process, tmp_path: Path
) -> None:
    # 501 is an answer of this API; 500 is not, and no status that the document does not have.
    checks = "status_code_conformance,content_type_conformance"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{master.url}/openapi.json"),
            *("--checks", checks, "--max-examples", N_EXAMPLES, "--phases", "fuzzing,coverage"),
            *("--request-timeout", "20", "--no-color"),
        ],
        cwd=tmp_path,  # it keeps what it found
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.service.openapi_hooks",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    assert httpx.get(f"{master.url}/health").status_code == 200
    assert not [line for line in master.logged() if line["level"] == "error"]
