"""The window of durations and its percentiles."""

import math

import pytest

from allocator.latency import Latency


def test_before_the_first_duration_there_is_nothing() -> None:
    latency = Latency()
    assert latency.count == 0
    assert math.isnan(latency.last)
    assert math.isnan(latency.percentile(0.5))
    assert dict(latency.metrics("run_ms")) == {}


def test_percentiles_interpolate_between_durations() -> None:
    latency = Latency()
    for seconds in (4.0, 1.0, 3.0, 2.0):
        latency.record(seconds)
    # Sorted 1 2 3 4: the positions are 0 … 3, the median halfway between the second and third.
    assert latency.percentile(0.0) == 1.0
    assert latency.percentile(0.5) == 2.5
    assert latency.percentile(0.9) == pytest.approx(3.7)
    assert latency.percentile(1.0) == 4.0


def test_the_window_forgets_but_the_count_does_not() -> None:
    latency = Latency(window=2)
    for seconds in (9.0, 1.0, 2.0):
        latency.record(seconds)
    assert latency.count == 3
    assert latency.last == 2.0
    assert latency.percentile(1.0) == 2.0


def test_metrics_are_in_milliseconds_under_the_names_of_mesos() -> None:
    latency = Latency()
    latency.record(0.25)
    latency.record(0.75)
    metrics = dict(latency.metrics("allocator/mesos/allocation_run_ms"))
    assert metrics["allocator/mesos/allocation_run_ms"] == 750.0
    assert metrics["allocator/mesos/allocation_run_ms/count"] == 2
    assert metrics["allocator/mesos/allocation_run_ms/min"] == 250.0
    assert metrics["allocator/mesos/allocation_run_ms/max"] == 750.0
    assert metrics["allocator/mesos/allocation_run_ms/p50"] == 500.0
    assert {key.rpartition("/")[2] for key in metrics} == {
        "allocation_run_ms", "count", "min", "max", "p50", "p90", "p95", "p99", "p999", "p9999",
    }  # fmt: skip
