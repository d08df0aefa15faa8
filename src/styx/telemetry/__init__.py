"""What Styx tells about itself: `metrics` (figures, each declared once), `lag` (how late the event loop is), `log`."""

from __future__ import annotations

from styx.telemetry.lag import LagMonitor
from styx.telemetry.metrics import Counter, Family, Gauge, Histogram, Metrics, Rate

__all__ = ["Counter", "Family", "Gauge", "Histogram", "LagMonitor", "Metrics", "Rate"]
