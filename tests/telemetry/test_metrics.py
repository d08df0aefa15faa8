from __future__ import annotations

import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from styx.telemetry import Histogram, Metrics, Rate


def _samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.render().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_figures_come_out_as_prometheus_reads_them() -> None:
    metrics = Metrics()
    metrics.submitted.add(3)
    metrics.elements.add("SUCCEEDED", amount=2)
    metrics.elements.add("FAILED")
    metrics.requests.add("GET", "/health", "200")
    metrics.commits.observe(0.003)
    metrics.commits.observe(0.2)
    metrics.queue.read = lambda: 7
    metrics.live.read = lambda: {"RUNNING": 2, "READY": 5}
    samples = _samples(metrics)
    assert samples["styx_elements_submitted_total", ()] == 3
    assert samples["styx_elements_ended_total", (("state", "SUCCEEDED"),)] == 2
    assert samples["styx_http_requests_total", (("method", "GET"), ("route", "/health"), ("status", "200"))] == 1
    assert samples["styx_commit_seconds_count", ()] == 2
    assert samples["styx_commit_seconds_sum", ()] == pytest.approx(0.203)
    assert samples["styx_commit_seconds_bucket", (("le", "0.005"),)] == 1
    assert samples["styx_commit_seconds_bucket", (("le", "+Inf"),)] == 2
    assert samples["styx_events_waiting", ()] == 7
    assert samples["styx_elements_live", (("state", "READY"),)] == 5
    assert samples["styx_jobs_live", ()] == 0


def test_planes_in_one_process_do_not_share_figures() -> None:
    one, other = Metrics(), Metrics()
    one.submitted.add()
    assert _samples(one)["styx_elements_submitted_total", ()] == 1
    assert _samples(other)["styx_elements_submitted_total", ()] == 0


def test_every_figure_has_a_name_of_its_own_and_says_what_it_is() -> None:
    metrics = Metrics()
    names = [name for name, _, _ in metrics._declared]
    assert len(names) == len(set(names))
    assert all(name.startswith("styx_") and text.endswith(".") for name, text, _ in metrics._declared)


def test_quantiles_are_bounds_of_buckets_or_the_largest() -> None:
    histogram = Histogram((1, 10, 100))
    assert histogram.quantile(0.5) == 0
    for value in (0.5, 0.5, 0.5, 7, 7, 7, 7, 7, 7, 5_000):
        histogram.observe(value)
    assert histogram.quantile(0.3) == 1
    assert histogram.quantile(0.9) == 10
    assert histogram.quantile(1.0) == 5_000
    small = Histogram((1, 10, 100))
    small.observe(2)
    assert small.quantile(0.99) == 2


def test_a_rate_forgets_what_is_older_than_its_window() -> None:
    rate = Rate(10)
    assert rate.per_second(1_000.0) == 0
    rate.add(50, 1_000.2)
    rate.add(50, 1_004.9)
    assert rate.per_second(1_005.0) == 10
    assert rate.per_second(1_009.9) == 10
    assert rate.per_second(1_010.0) == 5
    assert rate.per_second(1_500.0) == 0
    rate.add(20, 1_500.0)
    assert rate.per_second(1_500.0) == 2


def test_counting_does_not_need_the_library() -> None:
    script = "import sys, styx.telemetry; styx.telemetry.Metrics().commits.observe(1); print('prometheus_client' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
