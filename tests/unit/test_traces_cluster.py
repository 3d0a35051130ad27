"""Machine groups: written out, read from a file, scaled; and what was recorded on them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.errors import InvalidValue, ResourceError
from allocator.resources import Quantities
from allocator.sim import (
    Job,
    MachineGroup,
    Shape,
    Tasks,
    Tenant,
    Trace,
    TraceError,
    read_machines,
    recorded,
)
from allocator.sim.cluster import machines, parse_group, scaled, totals
from allocator.sim.meter import ConditionMeter, Meter, percentile
from allocator.sim.recorded import peak_demand


def group(count: int, kind: str = "") -> MachineGroup:
    return MachineGroup(count, Quantities("cpus:2"), kind)


def test_a_group_written_out() -> None:
    parsed = parse_group(" 20 x cpus:80;mem:517018@zewura ")
    assert parsed == MachineGroup(20, Quantities("cpus:80;mem:517018"), "zewura")
    assert parse_group(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text", ["0xcpus:1", "1000001xcpus:1", "3xcpus:0", "3x", "x", "3xcpus:1@a b"]
)
def test_malformed_groups(text: str) -> None:
    with pytest.raises((InvalidValue, ResourceError)) as caught:
        parse_group(text)
    assert text in str(caught.value) or text.partition("x")[2] in str(caught.value)


def test_groups_and_files_together(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_text("2xcpus:2\n\n1xcpus:4@fast\n")
    groups = read_machines(["3xcpus:2", str(path)])
    assert [str(group) for group in groups] == ["5xcpus:2", "1xcpus:4@fast"]
    path.write_text("2xcpus:2\n1xcpus\n")
    with pytest.raises(TraceError, match="mine:2: resource 'cpus'"):
        read_machines([str(path)])


def test_machines_are_named_after_their_kind() -> None:
    ids = [machine.id for machine in machines([group(2, "a"), group(1), group(1, "a")])]
    assert ids == ["a-0000", "a-0001", "node-0000", "a-0002"]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.floats(0.001, 5))
def test_scaling_keeps_the_total_and_the_proportions(counts: list[int], factor: float) -> None:
    cluster = [group(count, str(i)) for i, count in enumerate(counts)]
    result = scaled(cluster, factor)
    # As exact fractions: of a half, a product of floats need not be one.
    assert sum(g.count for g in result) == max(1, round(sum(counts) * Fraction(factor)))
    for scaled_group in result:
        exact = counts[int(scaled_group.kind)] * factor
        assert abs(scaled_group.count - exact) <= 1


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf"), 1e9])
def test_bad_scales(factor: float) -> None:
    with pytest.raises(InvalidValue, match="scale"):
        scaled([group(2)], factor)


def test_totals() -> None:
    assert totals([group(2), parse_group("1xmem:5;cpus:1")]) == Quantities("cpus:5;mem:5")


def job(submit_s: float, start_s: float | None, run_s: float, cpus: int) -> Job:
    shape = Shape((Tasks(cpus, Quantities("cpus:1")),))
    return Job("j", "t", submit_s, run_s, shape, start_s)


def trace(*jobs: Job) -> Trace:
    return Trace("t", "made", jobs, {"t": Tenant("t", "t")}, (group(4),), "made")


def test_recorded_starts() -> None:
    found = recorded(trace(job(0, 10, 10, 4), job(10, None, 10, 8), job(20, 20, 20, 6)))
    assert found is not None
    assert found.waits_s == (0, 10)
    use = found.use["cpus"]
    # 4 of 8 cpus from 10 to 20, 6 from 20 to 40; the last submission is at 20. One that ends when
    # another starts does not add to the peak.
    assert (use.total, use.peak) == (8, 6)
    assert use.mean_arrivals == pytest.approx(4 * 10 / 20 / 8)
    assert use.mean_run == pytest.approx((4 * 10 + 6 * 20) / 40 / 8)


def test_nothing_recorded() -> None:
    assert recorded(trace(job(0, None, 10, 4))) is None


def test_peak_demand_counts_from_submission_where_no_start_is_known() -> None:
    assert peak_demand([job(0, 5, 10, 1), job(6, None, 1, 2), job(20, 20, 1, 2)], "cpus") == 3000


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12),
    st.integers(0, 60),
)
def test_a_meter_agrees_with_adding_up_seconds(steps: list[tuple[int, int]], mark_s: int) -> None:
    meter, in_need = Meter(mark_s), ConditionMeter()
    levels: list[int] = []
    for span_s, level in steps:
        meter.set(len(levels), level)
        in_need.set(len(levels), level, level % 2 == 0)
        levels += [level] * span_s
    end_s = len(levels)
    first = levels[:mark_s] if 0 < mark_s <= end_s else levels
    even = [level for level in levels if level % 2 == 0]
    assert meter.means(end_s) == pytest.approx((sum(first) / len(first), sum(levels) / end_s))
    assert meter.peak == max(levels)
    assert in_need.mean(end_s) == (pytest.approx(sum(even) / len(even)) if even else None)
    assert in_need.span_s == len(even)


def test_the_mean_of_no_time_is_the_level() -> None:
    meter = Meter(0)
    meter.set(0, 5)
    assert meter.means(0) == (5, 5)


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 10), (10, 10), (11, 20), (50, 50), (95, 100), (100, 100)]
)
def test_percentiles_are_of_the_nearest_rank(percent: int, value: int) -> None:
    assert percentile([10 * i for i in range(1, 11)], percent) == value
    assert percentile([], percent) is None
