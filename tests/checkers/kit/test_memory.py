"""What a job takes in memory while it sleeps between two probes, its sentinel and its task with it: what the worker and trio allocate."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import trio

from checkers.kit import wire
from tests.checkers.kit.test_sentinel import Scene, run, tcp

TESTS = f"{Path(__file__).parents[2]}/"
JOBS = 1000
RESTING_MAX_BYTES = 4_700
"""What was measured, and a little (CPython 3.11). The allocator rounds it, so nearly 5 KiB are resident; judged is 6 KiB."""

OURS = [
    tracemalloc.Filter(inclusive=True, filename_pattern=f"*/{place}/*") for place in ("checkers/kit", "trio", "json")
]


def jobs(count: int) -> list[wire.Job]:
    return [
        tcp(number, address=f"10.0.{number // 250}.{number % 250 + 1}", delay_loop=600.0, warmup=10.0)
        for number in range(1, count + 1)
    ]


def allocated() -> int:
    gc.collect()
    traces = tracemalloc.take_snapshot().filter_traces(OURS).traces
    return sum(trace.size for trace in traces if not trace.traceback[0].filename.startswith(TESTS))


def test_a_sleeping_job_takes_little_memory() -> None:
    taken: list[int] = []

    async def story(scene: Scene) -> None:
        for job in jobs(JOBS):
            scene.network.server(job.address, job.port)
        await trio.sleep(1)
        tracemalloc.start()
        try:
            before = allocated()
            await scene.assign(*jobs(JOBS))
            await trio.sleep(60)
            assert scene.beat.sentinels_held == JOBS
            taken.append(allocated() - before)
        finally:
            tracemalloc.stop()

    run(story)
    assert 1_000 < taken[0] / JOBS < RESTING_MAX_BYTES
