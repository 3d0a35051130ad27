"""The window of durations and its statistics."""

import pytest

from allocator.engine.metrics import Latency


def test_before_the_first_duration_there_is_only_a_count() -> None:
    assert dict(Latency().statistics("run_ms")) == {"run_ms/count": 0}


def test_percentiles_interpolate_between_durations() -> None:
    latency = Latency()
    for milliseconds in (4.0, 1.0, 3.0, 2.0):
        latency.record(milliseconds)
    statistics = dict(latency.statistics("run_ms"))
    # Sorted 1 2 3 4: the positions are 0 … 3, the median halfway between the second and third.
    assert statistics["run_ms"] == 2.0
    assert statistics["run_ms/min"] == 1.0
    assert statistics["run_ms/p50"] == 2.5
    assert statistics["run_ms/p90"] == pytest.approx(3.7)
    assert statistics["run_ms/max"] == 4.0


def test_the_window_forgets_but_the_count_does_not() -> None:
    latency = Latency(window=2)
    for milliseconds in (9.0, 1.0, 2.0):
        latency.record(milliseconds)
    statistics = dict(latency.statistics("run_ms"))
    assert statistics["run_ms/count"] == 3
    assert statistics["run_ms/max"] == 2.0
