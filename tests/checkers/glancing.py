"""A probe as a worker makes it that tries a glance first: what the glance did not recognise is looked at properly, by the same dialer."""

from __future__ import annotations

import trio

from checkers.kit.api import CheckerType, Glance, JobDialer, ProbeError, Target, Verdict, glance_of
from checkers.kit.options import Json


async def verdict_with_a_glance(
    checker: CheckerType, options: dict[str, Json], target: Target, dial: JobDialer, *, acquainted: bool
) -> Verdict:
    """Probe at a glance, and properly if that does not suffice; `acquainted`: after a proper probe, whose answer may be recognised."""
    prepared = checker.prepare(options)
    try:
        if acquainted:
            await _proper(checker, prepared, target, dial)
            dial.rest()
        glance = glance_of(checker, target, prepared)
        if glance is not None:
            verdict = await at_a_glance(glance, target, dial)
            if verdict is not None:
                return verdict
        return await _proper(checker, prepared, target, dial)
    finally:
        dial.close()


async def at_a_glance(glance: Glance, target: Target, dial: JobDialer) -> Verdict | None:
    """Probe at a glance; return what it recognised, None for nothing."""
    told = trio.Event()
    found: list[Verdict | None] = []

    def done(verdict: Verdict | None, now: float) -> None:
        assert now <= trio.current_time()
        found.append(verdict)
        told.set()

    dial.acquaint(target, glance, done)
    if not dial.glance(trio.current_time()):
        return None
    await told.wait()
    (verdict,) = found
    return verdict


async def _proper(checker: CheckerType, prepared: object, target: Target, dial: JobDialer) -> Verdict:
    try:
        return await checker.check(target, prepared, dial)
    except ProbeError as error:
        return Verdict(error.reason, str(error))
