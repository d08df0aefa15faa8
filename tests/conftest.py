"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# No test asserts how long something takes: machines differ, and are busy.
settings.register_profile("styx", deadline=None)
settings.load_profile("styx")
