"""A probe on request: the job's own checker, beside its schedule, with everything written down that passes.

It has no consequence: what it finds is told to whoever asked and counts neither as a success nor as a failure of the job, so that an
operator who looks changes nothing. Where the job asks its requests one by one (`kit.turns`), this asks all of them, up to the first
that fails. How often it may be asked for, the supervisor bounds.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from checkers.kit.api import COMMON_OPTIONS, CheckerType, Dialer, Reason, Verdict
from checkers.kit.frames import ReportResult
from checkers.kit.frozen import frozen
from checkers.kit.job import Job
from checkers.kit.masking import Mask, mask_of
from checkers.kit.probing import result_of, verdict_of
from checkers.kit.tap import TappedDialer
from checkers.kit.transcript import Step, Transcript
from checkers.kit.turns import OneByOne


@frozen
class Seen:
    """What came of it; `result` None: there is no such job."""

    result: ReportResult | None
    weight: int | None = None
    steps: tuple[Step, ...] = ()


async def look(job: Job, prepared: Callable[[], tuple[CheckerType, object]], dial: Dialer) -> Seen:
    """Probe `job` once over `dial`, which is closed afterwards. `prepared` returns its checker and what that made of the options."""
    began = trio.current_time()
    transcript = Transcript(began, Mask())

    async def check() -> Verdict:
        nonlocal transcript
        checker, ready = prepared()
        transcript = Transcript(began, mask_of(job.options, (*COMMON_OPTIONS, *checker.OPTIONS)))
        return await _whole(checker, job, ready, TappedDialer(dial, transcript))

    try:
        verdict = await verdict_of(job.type, check)
    finally:
        dial.close()
    return Seen(result_of(verdict, 0, trio.current_time() - began), verdict.weight, transcript.steps())


async def _whole(checker: CheckerType, job: Job, prepared: object, dial: Dialer) -> Verdict:
    """Ask everything that the check asks."""
    if not isinstance(prepared, OneByOne):
        return await checker.check(job.target, prepared, dial)
    verdict = Verdict(Reason.NONE)
    for part in prepared.parts:
        verdict = await checker.check(job.target, part, dial)
        if not verdict.ok:
            break
    return verdict
