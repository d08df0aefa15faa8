"""The figures of one control plane. Each is declared once, in `Metrics`; to add one, add a line there.

The figures are plain Python numbers, and prometheus-client only writes them down when somebody asks (`render`): an increment costs
nothing to speak of, a command that never shows metrics does not import the library, and several planes in one process do not
share a registry. No figure is labelled by job, task, attempt or agent: their number has no bound.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["CONTENT_TYPE", "Counter", "Family", "Gauge", "Histogram", "Metrics", "Rate"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_DELAYS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_RECORDS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000)


class Counter:
    """Only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, amount: int = 1) -> None:
        self.value += amount


class Family:
    """Counters by the values of a few labels, each with a small, fixed set of values."""

    __slots__ = ("labels", "values")

    def __init__(self, *labels: str) -> None:
        self.labels = labels
        self.values: dict[tuple[str, ...], int] = {}

    def add(self, *labels: str, amount: int = 1) -> None:
        self.values[labels] = self.values.get(labels, 0) + amount


class Gauge:
    """What is so now. `read` is asked when the figures are written down: it gives one number, or numbers by the values of
    `label`."""

    __slots__ = ("label", "read")

    def __init__(self, label: str = "") -> None:
        self.label = label
        self.read: Callable[[], float | Mapping[str, float]] = dict if label else float


class Histogram:
    """How many observations fell below each bound, their sum, and the largest."""

    __slots__ = ("bounds", "buckets", "count", "largest", "sum")

    def __init__(self, bounds: tuple[float, ...] = _SECONDS) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.count = 0
        self.sum = 0.0
        self.largest = 0.0

    def observe(self, value: float) -> None:
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.count += 1
        self.sum += value
        self.largest = max(self.largest, value)

    def quantile(self, share: float) -> float:
        """A value that this share (0 to 1) of the observations does not exceed: the bound of the bucket it lies in, or the
        largest observation where that is smaller. 0 when there are none."""
        wanted = share * self.count
        seen = 0
        for bound, number in zip(self.bounds, self.buckets, strict=False):
            seen += number
            if seen >= wanted and seen:
                return min(bound, self.largest)
        return self.largest


class Rate:
    """Events a second over the last `window` seconds, in steps of a second. Times are seconds on any clock that does not go
    back."""

    __slots__ = ("_counts", "_now", "_window")

    def __init__(self, window: int = 10) -> None:
        self._window = window
        self._counts = [0] * window
        self._now = -1

    def add(self, amount: int, now: float) -> None:
        self._counts[self._move(now)] += amount

    def per_second(self, now: float) -> float:
        self._move(now)
        return sum(self._counts) / self._window

    def _move(self, now: float) -> int:
        second = int(now)
        for passed in range(max(self._now + 1, second - self._window + 1), second + 1):
            self._counts[passed % self._window] = 0
        self._now = max(self._now, second)
        return self._now % self._window


class Metrics:
    """All figures of one control plane."""

    def __init__(self) -> None:
        self._declared: list[tuple[str, str, Counter | Family | Gauge | Histogram]] = []

        self.submitted = self._counter("styx_elements_submitted", "Elements of accepted jobs.")
        self.jobs = self._family("styx_jobs_ended", "Jobs that have ended.", "state")
        self.elements = self._family("styx_elements_ended", "Elements that have ended.", "state")
        self.attempts = self._family("styx_attempts_ended", "Attempts that have ended.", "outcome")
        self.commits = self._histogram("styx_commit_seconds", "Time from handing a batch to the store to its fsync.")
        self.records = self._histogram("styx_commit_records", "Records in one batch.", _RECORDS)
        self.turns = self._histogram("styx_turn_seconds", "Time that one turn of the core works without a pause.")
        self.lag = self._histogram("styx_loop_lag_seconds", "How late the event loop calls back.", _DELAYS)
        self.output = self._counter("styx_output_bytes", "Bytes of output synced to disk.")
        self.requests = self._family("styx_http_requests", "HTTP requests answered.", "method", "route", "status")
        self.request_seconds = self._histogram("styx_http_request_seconds", "Time to answer an HTTP request.")
        self.handshakes = self._family("styx_agent_handshakes", "Agents that said hello.", "result")
        self.dropped_readers = self._counter("styx_readers_dropped", "Readers of events that did not keep up.")
        self.queue = self._gauge("styx_events_waiting", "Events that wait for the core.")
        self.agents = self._gauge("styx_agents", "Agents that are known.", "state")
        self.live = self._gauge("styx_elements_live", "Elements that have not ended.", "state")
        self.live_jobs = self._gauge("styx_jobs_live", "Jobs that have not ended.")
        self.running = self._gauge("styx_attempts_live", "Attempts under way.")
        self.disk = self._gauge("styx_disk_bytes", "Bytes of database and output.")
        self.readers = self._gauge("styx_event_readers", "Readers of the event stream.")

    def render(self) -> bytes:
        """All figures in the text format of Prometheus; its content type is `CONTENT_TYPE`."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def describe(self) -> list[Metric]:
        """Nothing to check beforehand: the registry lives for one call."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The protocol of prometheus-client's registry."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for name, text, figure in self._declared:
            if isinstance(figure, Counter):
                yield CounterMetricFamily(name, text, value=figure.value)
            elif isinstance(figure, Family):
                family = CounterMetricFamily(name, text, labels=figure.labels)
                for labels, value in sorted(figure.values.items()):
                    family.add_metric(labels, value)
                yield family
            elif isinstance(figure, Histogram):
                histogram = HistogramMetricFamily(name, text)
                histogram.add_metric((), _cumulated(figure), figure.sum)
                yield histogram
            else:
                gauge = GaugeMetricFamily(name, text, labels=(figure.label,) if figure.label else ())
                now = figure.read()
                for label, number in now.items() if isinstance(now, Mapping) else [("", now)]:
                    gauge.add_metric((label,) if figure.label else (), number)
                yield gauge

    def _counter(self, name: str, text: str) -> Counter:
        counter = Counter()
        self._declared.append((name, text, counter))
        return counter

    def _family(self, name: str, text: str, *labels: str) -> Family:
        family = Family(*labels)
        self._declared.append((name, text, family))
        return family

    def _gauge(self, name: str, text: str, label: str = "") -> Gauge:
        gauge = Gauge(label)
        self._declared.append((name, text, gauge))
        return gauge

    def _histogram(self, name: str, text: str, bounds: tuple[float, ...] = _SECONDS) -> Histogram:
        histogram = Histogram(bounds)
        self._declared.append((name, text, histogram))
        return histogram


def _cumulated(histogram: Histogram) -> list[tuple[str, float]]:
    """Prometheus counts in each bucket what lies in the smaller ones too."""
    seen = 0
    buckets: list[tuple[str, float]] = []
    for bound, number in zip((*histogram.bounds, float("inf")), histogram.buckets, strict=True):
        seen += number
        buckets.append(("+Inf" if bound == float("inf") else repr(float(bound)), seen))
    return buckets
