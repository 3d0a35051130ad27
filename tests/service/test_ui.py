"""The page at `/ui` in a real browser: Chromium without a window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.service import serving
from tests.service.cluster import FRAMEWORKS, QUOTAS, WEIGHTS, cluster
from tests.service.serving import PATIENCE_SECONDS, FrameworkClient, Process

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

PATIENCE_MS = PATIENCE_SECONDS * 1e3
ROLES = ["batch", "eng", "eng/ci", "eng/web", "ops", "science"]
ROLES += ["science/notebooks", "science/train"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with cluster(tmp_path_factory.mktemp("cluster")) as process:
        yield process


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


class Seen:
    """A page that is open, with all that it asked for and complained of."""

    def __init__(self, browser: Any, url: str, **given: Any) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **given})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.goto(f"{url}/ui")
        self.page.wait_for_selector("#roles tbody tr")

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]

    def row(self, section: str, text: str) -> Any:
        return self.page.locator(f"#{section} tbody tr", has_text=text).first

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def seen(browser: Any, server: Process) -> Iterator[Seen]:
    found = Seen(browser, server.url)
    yield found
    assert found.complaints == []
    found.close()


def test_roles_stand_as_a_tree_with_shares_weights_and_quotas(seen: Seen) -> None:
    page = seen.page
    names = page.locator("#roles tbody .name").evaluate_all("all => all.map(e => e.title)")
    assert names == ROLES
    weights = dict(zip(names, seen.texts("#roles tbody .of-weight"), strict=True))
    assert {role: float(text) for role, text in weights.items() if text != "1"} == WEIGHTS
    fair = dict(zip(names, seen.texts("#roles tbody .of-fair"), strict=True))
    # eng 3, science 2, ops 1 and batch 1 are 7; below science, train has 3 of 4.
    assert fair["eng"] == "42.9%"
    assert fair["science/train"] == "21.4%"
    quotas = [
        role for role in names if seen.row("roles", role.split("/")[-1]).locator(".quota").count()
    ]
    assert quotas == sorted(QUOTAS)
    ops = seen.row("roles", "ops")
    assert "10 of 32 · 24 guaranteed" in ops.inner_text()


def test_numbers_are_those_of_the_cluster(seen: Seen) -> None:
    counts = dict(
        zip(
            ("roles", "frameworks", "agents", "tasks"),
            seen.texts("nav [data-count]"),
            strict=False,
        )
    )
    assert counts == {"roles": "8", "frameworks": "6", "agents": "30", "tasks": "200"}
    assert sorted(seen.texts("#frameworks tbody .of-name .first")) == sorted(
        name for name, *_ in FRAMEWORKS
    )
    assert "60 cpus, 240 GiB mem, 15 gpus" in seen.row("frameworks", "torch-trainer").inner_text()
    assert "100 of 200 are here" in seen.page.locator("#tasks .note").inner_text()
    assert seen.page.locator(".spark svg").count() == 1


def test_a_change_shows_by_itself(seen: Seen, server: Process) -> None:
    with FrameworkClient(server.url, name="newcomer", roles=["guests"]):
        seen.page.wait_for_selector("#frameworks tbody tr:has-text('newcomer')")
        seen.page.wait_for_selector("#roles tbody tr:has-text('guests')")
    seen.page.wait_for_selector("#frameworks tbody tr:has-text('newcomer')", state="detached")


def test_tables_sort_and_filter(seen: Seen) -> None:
    page = seen.page
    page.locator("#frameworks th button", has_text="Tasks").press("Enter")
    assert page.locator("#frameworks th[aria-sort=descending]").inner_text().startswith("Tasks")
    numbers = [int(text) for text in seen.texts("#frameworks tbody .of-tasks")]
    assert numbers == sorted(numbers, reverse=True)
    page.get_by_label("Filter agents").fill("gpu active")
    assert len(seen.texts("#agents tbody tr")) == 6
    # Of 200 tasks the page has 100: the master finds the others.
    page.get_by_label("Filter tasks").fill("web-frontend.7")
    playwright.expect(page.locator("#tasks tbody tr")).to_have_count(1, timeout=PATIENCE_MS)
    assert "web-frontend.7" in seen.row("tasks", "web-frontend").inner_text()


def test_why_nothing_is_offered_is_said_in_words(seen: Seen) -> None:
    page = seen.page
    button = seen.row("frameworks", "web-frontend").locator("button")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#why .reason")
    text = page.locator("#why").inner_text()
    assert "Why is web-frontend not offered more?" in text
    assert "A capability is missing" in text
    assert "GPU_RESOURCES" in text
    assert "of 30 agents" in text
    page.locator("#why summary").click()
    assert page.locator("#why details tbody tr").count() == 30
    page.keyboard.press("Escape")
    assert not page.locator("#why").is_visible()
    assert button.evaluate("button => button === document.activeElement")


def test_nothing_comes_from_elsewhere(seen: Seen, server: Process) -> None:
    seen.page.get_by_label("Filter tasks").fill("nothing has this")
    seen.row("frameworks", "ops").locator("button").click()
    seen.page.wait_for_selector("#why .reason")
    assert {urlsplit(url).netloc for url in seen.requests} == {urlsplit(server.url).netloc}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_telephone_is_wide_enough(browser: Any, server: Process, theme: str) -> None:
    seen = Seen(browser, server.url, viewport={"width": 390, "height": 844}, color_scheme=theme)
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 390
    for section in ("frameworks", "agents", "tasks", "offers"):
        scroller = seen.page.locator(f"#{section} .scroller")
        assert scroller.evaluate("e => e.scrollWidth - e.clientWidth") == 0, section
    seen.row("frameworks", "ops").locator("button").click()
    seen.page.wait_for_selector("#why .reason")
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 390
    assert seen.complaints == []
    seen.close()


def test_colours_follow_the_system_and_the_switch(browser: Any, server: Process) -> None:
    def brightness(page: Any) -> float:
        text = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(float(part) for part in text.strip("rgba()").split(",")[:3]) / 765

    seen = Seen(browser, server.url, color_scheme="dark")
    assert brightness(seen.page) < 0.2
    seen.page.locator("#theme").click()  # from auto to light
    assert brightness(seen.page) > 0.8
    seen.page.reload()
    seen.page.wait_for_selector("#roles tbody tr")
    assert brightness(seen.page) > 0.8
    seen.page.locator("#theme").click()
    assert brightness(seen.page) < 0.2
    seen.close()


def test_a_lost_connection_is_shown_and_comes_back(browser: Any, tmp_path: Path) -> None:
    with serving.master(tmp_path) as first, FrameworkClient(first.url, name="early"):
        port = urlsplit(first.url).port
        assert port is not None
        seen = Seen(browser, first.url)
        assert "live" in seen.page.locator("#connection").inner_text()
        assert first.stop() == 0
        connection = seen.page.locator("#connection")
        playwright.expect(connection).to_contain_text("connection lost", timeout=PATIENCE_MS)
        with (
            serving.master(tmp_path, port=port) as second,
            FrameworkClient(second.url, name="late", roles=["later"]),
        ):
            seen.page.wait_for_selector("#frameworks tbody tr:has-text('late')")
            assert "live" in seen.page.locator("#connection").inner_text()
            seen.close()
