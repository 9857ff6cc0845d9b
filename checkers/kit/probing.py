"""One probe: whatever happens in a checker becomes a verdict. The broad `except` of the project is here, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from checkers.kit.api import Glance, Layer, ProbeError, Reason, Verdict
from checkers.kit.excerpt import clip
from checkers.kit.frames import ReportResult


async def verdict_of(keyword: str, begin: Callable[[], Awaitable[Verdict]]) -> Verdict:
    """Begin a probe of the checker type `keyword` and return its verdict; a bug in it is one, too."""
    try:
        return await begin()
    except ProbeError as error:
        return Verdict(error.reason, str(error))
    except Exception as error:  # noqa: BLE001  the one broad except: a bug in a checker is this job's trouble alone
        return Verdict(Reason.CRASHED, f"bug in {keyword}: {type(error).__name__}: {error} ({_place(error)})")


def made(layer: Callable[[], Layer]) -> Layer | None:
    """Return what a glance speaks through. As with `recognised`, a bug in that is for the checker itself to find."""
    try:
        return layer()
    except Exception:  # noqa: BLE001  see above
        return None


def recognised(glance: Glance, data: bytes) -> Verdict | None:
    """Return the verdict of last time if `data` is as good. A bug in that is found again, and told, where the checker itself looks."""
    try:
        return glance.recognise(data)
    except Exception:  # noqa: BLE001  see above: a bug in a checker is this job's trouble alone
        return None


def result_of(verdict: Verdict, probe: int, duration_s: float) -> ReportResult:
    """Return a verdict as it is told; `probe` is the number of the probe."""
    texts = clip(verdict.detail), clip(verdict.sent), clip(verdict.received)
    return ReportResult(probe, verdict.reason, max(duration_s, 0.0), *texts, max(verdict.expires_at, 0.0))


def _place(error: BaseException) -> str:
    """Return "file.py:12", where an exception was raised. (The traceback module would read source files.)"""
    trace = error.__traceback__
    if trace is None:
        return "nowhere"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"  # noqa: PTH119  no pathlib for a name
