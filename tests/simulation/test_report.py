"""The report of a run: its words, and the page in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allocator.sim import Result, Scenario, mesos_workload, simulate
from allocator.sim.report import axes, charts, sections
from allocator.sim.report.tenants import summaries
from allocator.sim.report.verdict import verdict
from tests.simulation.test_results import SCENARIO

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

#: What loads something from elsewhere.
ELSEWHERE = re.compile(r"""(?:src|href)\s*=\s*(?!"#)|url\(|@import|fetch\(|https?:""")

SECTIONS = (
    *("verdict", "shares", "roles", "utilisation", "queues", "waits", "quota", "fairness"),
    *("cycles", "machines", "tenants", "run"),
)


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(Scenario.from_dict(SCENARIO))


@pytest.fixture(scope="module")
def page(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(result.report(), encoding="utf-8")
    return path


# Words.


def test_the_verdict_is_five_sentences_with_figures(result: Result) -> None:
    said = verdict(result, summaries(result.record))
    assert len(said) == 5
    assert all(text.endswith(".") and re.search(r"\d|No ", text) for text in said)
    counts = result.counts
    assert said[0].startswith(f"{counts.finished:,} of {counts.submitted:,} jobs finished")
    assert f"{result.record.tasks_lost} tasks were lost" in said[0]
    assert "2 would not fit the empty cluster" in said[0]
    assert "eng/batch" in said[4] or "limit" in said[4]


def test_a_run_without_work_has_a_report_too() -> None:
    tenant = {"name": "a", "jobs": 1, "arrivals": "at-once", "demand": "cpus:9", "duration": "1m"}
    scenario = {"cluster": {"machines": ["2x cpus:5"]}, "workload": {"tenant": [tenant]}}
    one = Scenario.from_dict({**scenario, "workload": {"tenant": [{**tenant, "demand": "cpus:5"}]}})
    assert "1 of 1 job finished" in simulate(one).report()
    halfway = simulate(one.with_(horizon="30s")).report()
    assert "0 of 1 job finished and 1 was running after 30s" in halfway
    never = {**tenant, "demand": "cpus:3", "tasks": 3}
    report = simulate(Scenario.from_dict({**scenario, "workload": {"tenant": [never]}})).report()
    assert "would not fit the empty cluster" in report
    assert "No job has started" in report


def test_nothing_comes_from_elsewhere_and_it_is_small(page: Path) -> None:
    text = page.read_text("utf-8")
    assert not ELSEWHERE.search(text)
    assert len(text.encode()) < 500_000
    for id in SECTIONS:
        assert text.count(f'id="{id}"') == 1


def test_names_are_text_whatever_they_are() -> None:
    tenant = {
        "name": "<img src=x onerror=alert(1)>", "role": "a&b", "jobs": 2, "arrivals": "at-once",
        "demand": "cpus:1", "duration": "1m",
    }  # fmt: skip
    scenario = {
        "title": "</title><script>alert(1)</script>",
        "cluster": {"machines": ["2x cpus:5"]},
        "workload": {"tenant": [tenant]},
    }
    report = simulate(Scenario.from_dict(scenario)).report()
    assert "<img" not in report
    assert report.count("<script") == 1
    assert "a&amp;b" in report


def test_many_roles_and_machines_stay_small() -> None:
    tenants = [
        {"name": "t", "copies": 400, "jobs": 3, "rate": "60/h", "demand": "cpus:1",
         "duration": "exponential 10m"},
    ]  # fmt: skip
    scenario = {"cluster": {"machines": ["300x cpus:2"]}, "workload": {"tenant": tenants}}
    report = simulate(Scenario.from_dict(scenario)).report()
    assert len(report.encode()) < 3_000_000
    assert report.count("<tr>") == 401


def test_the_largest_report_has_five_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise on every curve and machine, and more tenants than the table has."""
    tenants = [
        {"name": f"a-tenant-with-a-long-name-{'x' * 60}-{i}", "jobs": 40, "rate": "10/h",
         "demand": "cpus:1;mem:1000;disk:5;gpus:1", "duration": "exponential 10m"}
        for i in range(26)
    ]  # fmt: skip
    machines = ["400x cpus:2;mem:4000;disk:10;gpus:2"]
    quota = {tenant["name"]: {"guarantee": "cpus:1", "limit": {"cpus": 100}} for tenant in tenants}
    scenario = {
        "cluster": {"machines": machines}, "workload": {"tenant": tenants}, "roles": quota
    }  # fmt: skip
    result = simulate(Scenario.from_dict(scenario))
    random = np.random.default_rng(0)
    record = result.record
    curves = {
        name: random.random(getattr(record.series, name).shape)
        for name in ("share", "in_need", "queue", "running", "use", "capacity")
    }
    noisy = replace(
        record,
        series=replace(record.series, **curves),
        heat=replace(record.heat, share=random.random((200, 200)), first=np.arange(201) * 2),
    )
    result = replace(result, record=noisy)
    many = [replace(tenant) for tenant in summaries(noisy)] * 250
    monkeypatch.setattr(sections, "summaries", lambda record: many)
    report = result.report()
    assert f" of {len(many):,}." in report
    assert 2_500_000 < len(report.encode()) < 5_000_000


# Drawing.


def test_steps_go_through_each_level() -> None:
    x, y = axes.Axis(0, 10, (), ""), axes.Axis(0, 1, (), "")
    edges = np.array([0.0, 5.0, 7.5, 10.0])
    assert charts.steps(edges, np.array([0.0, 0.5, 1.0]), x, y) == ("M0 1000H2000V500H3000V0H4000")
    assert charts.steps(edges, np.array([0.25, 0.25, np.nan]), x, y) == "M0 750H3000"
    assert charts.area(edges, np.zeros(3), np.array([0.5, 0.5, 1.0]), x, y) == (
        "M0 500H3000V0H4000V1000H0Z"
    )


@pytest.mark.parametrize("end_s", [0.0, 0.3, 1.0, 59.0, 3600.0, 86_400.0, 7.7e6, 1e12])
def test_time_has_a_few_round_ticks(end_s: float) -> None:
    axis = axes.times(end_s)
    assert 1 <= len(axis.ticks) <= 8
    places = [at for at, _ in axis.ticks]
    assert places == sorted(set(places))
    assert places[0] == 0
    assert places[-1] <= 1
    assert len({label for _, label in axis.ticks}) == len(axis.ticks)


@pytest.mark.parametrize("most", [1e-9, 0.3, 1.0, 7.0, 1280.0, 5.12e12])
def test_levels_end_at_a_tick(most: float) -> None:
    axis = axes.linear(most, "x")
    assert axis.high >= most * (1 - 1e-6)
    assert axis.high <= 2.1 * most
    assert [axis.ticks[0][0], axis.ticks[-1][0]] == [0, 1]


# In a browser.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(params=[(390, "light"), (390, "dark"), (1400, "light"), (1400, "dark")])
def seen(browser: Any, page: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab = context.new_page()
    requests: list[str] = []
    complaints: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.goto(page.as_uri())
    yield tab
    assert complaints == []
    assert requests == [page.as_uri()]
    context.close()


def column(tab: Any, n: int) -> list[str]:
    return tab.locator(f"#tenants tbody td:nth-child({n})").all_inner_texts()  # type: ignore[no-any-return]


def test_it_fits_and_asks_for_nothing(seen: Any) -> None:
    assert seen.locator("#verdict p").count() == 5
    assert seen.locator("svg").count() > 10
    wide = """[...document.querySelectorAll("*")].filter(e =>
        e.scrollWidth > e.clientWidth + 1 && ["auto", "scroll"].includes(
            getComputedStyle(e).overflowX)).map(e => e.tagName)"""
    assert seen.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert seen.evaluate(wide) == []
    # Nothing is drawn beyond its plot.
    beyond = """[...document.querySelectorAll("svg")].filter(svg => [...svg.children].some(e =>
        e.getBoundingClientRect().right > svg.getBoundingClientRect().right + 3)).length"""
    assert seen.evaluate(beyond) == 0
    # All figures have a title, all axes have one with a unit or what they count.
    for title in seen.locator(".y-title, .x-title").all_inner_texts():
        assert title.strip()


def test_the_table_sorts_by_a_click_on_its_heads(seen: Any, result: Result) -> None:
    tenants = {t.tenant: t for t in summaries(result.record)}
    by_seconds = sorted(tenants, key=lambda name: -tenants[name].task_seconds)
    assert column(seen, 1) == by_seconds
    heads = seen.locator("#tenants th button")
    heads.nth(0).click()
    assert column(seen, 1) == sorted(tenants)
    heads.nth(0).click()
    assert column(seen, 1) == sorted(tenants, reverse=True)
    heads.nth(2).click()
    assert column(seen, 1) == sorted(tenants, key=lambda name: -tenants[name].jobs)
    # Whoever has no wait comes last, in either direction.
    heads.nth(8).click()
    assert column(seen, 1)[-1] == "too-big"
    assert seen.locator("#tenants th").nth(8).get_attribute("aria-sort") == "descending"
    heads.nth(8).click()
    assert column(seen, 1)[-1] == "too-big"
    waits = [tenants[name].wait_s(50) for name in column(seen, 1)[:-1]]
    assert waits == sorted(waits)


def test_light_and_dark_differ_and_can_be_chosen(seen: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    found = {}
    for _ in range(3):
        seen.locator("#theme").click()
        found[seen.locator("#theme").inner_text()] = seen.evaluate(ground)
    assert found["light"] != found["dark"]
    assert found["auto"] in (found["light"], found["dark"])


def test_a_built_in_workload_is_reported(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(simulate(mesos_workload()).report(), encoding="utf-8")
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    tab.goto(path.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.close()
