"""What holds for every test: the same run twice is the same run."""

from __future__ import annotations

from hypothesis import settings

# Examples come from the test's own text, not from chance, and no example has a time limit: these machines are shared.
settings.register_profile("same every time", derandomize=True, deadline=None, database=None)
settings.load_profile("same every time")
