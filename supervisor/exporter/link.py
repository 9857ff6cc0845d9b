"""The exporter's end of the socket to the supervisor: asks for a snapshot when somebody needs one, keeps it for a second.

Lines in both directions: first our greeting, then one "snapshot" for each answer, which is one line (`core.snapshot.encode`), and
"alive" every ALIVE_EVERY_S, so that the supervisor knows that we do not hang.
At most one question is open, so that a supervisor that is busy finds no heap of them afterwards; a late answer serves whoever
waits then. This module must never ask without need and never trust the length of an answer.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import trio

from supervisor.core.snapshot import Snapshot, decoding
from supervisor.exporter.webpolicy import PREFIX

ANSWER_MAX_S = 2.0
"""The supervisor may be silent for this long; then a scrape is told that there is no answer."""

ALIVE_EVERY_S = 1.0
"""How often the supervisor is given a sign of life (reliability.md, section 6)."""

CACHE_S = 1.0
"""A snapshot serves everybody for this long (observability.md and reliability.md, section 8)."""

LINE_MAX_BYTES = 64 << 20
"""Longest answer: some hundred bytes for each real server, far beyond the largest table we know."""

CLOCK_STEP_S = 1.0
"""A wall clock that departs from the supervisor's own time by more than this was set."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A snapshot, the wall clock at which it was taken (seconds since the epoch), and how long it took to come, in seconds."""

    snapshot: Snapshot
    now_wall: float
    took_s: float


class NoAnswer(Exception):
    """The supervisor did not answer in time."""


class SupervisorLink:
    """The conversation with the supervisor; `run` must run beside `fetch`."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        wall_clock: Callable[[], float] = time.time,
        take_policy: Callable[[bytes], None] | None = None,
    ) -> None:
        """`take_policy` is given each line that says how we are protected (`webpolicy`)."""
        self._stream = stream
        self._take_policy = take_policy
        self._wall_clock = wall_clock
        self._wanted = trio.Event()
        self._answered = trio.Event()
        self._latest: View | None = None
        self._taken_at = float("-inf")  # when the latest snapshot was there
        self._asked_at = 0.0
        self._moved_at = float("-inf")  # when a part of an answer came or was read
        self._started_wall = 0.0

    async def greet(self, greeting: Mapping[str, object]) -> None:
        """Say the first line."""
        await self._stream.send_all(json.dumps(greeting).encode() + b"\n")

    async def run(self) -> None:
        """Converse until the supervisor closes its end. Raises ValueError when it says something that is no snapshot."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._speak)
            with contextlib.suppress(trio.BrokenResourceError):  # it died: the same as an orderly end
                await self._listen()
            nursery.cancel_scope.cancel()

    async def fetch(self) -> View:
        """Return a snapshot that is at most CACHE_S old.

        Its clock advances exactly as the supervisor's own time does, except when it is set.
        Raises NoAnswer when the supervisor has been silent for ANSWER_MAX_S; a long answer may take longer to come.
        """
        deadline = trio.current_time() + ANSWER_MAX_S
        while self._latest is None or trio.current_time() - self._taken_at > CACHE_S:
            self._wanted.set()
            with trio.move_on_at(deadline) as patience:
                await self._answered.wait()
            if patience.cancelled_caught:
                deadline = self._moved_at + ANSWER_MAX_S
                if deadline <= trio.current_time():
                    raise NoAnswer
        return self._latest

    async def _speak(self) -> None:
        """Ask when somebody needs an answer, and give signs of life. The only sender after the greeting."""
        alive_due = trio.current_time() + ALIVE_EVERY_S
        question: trio.Event | None = None  # set when the one that is open is answered
        while True:
            with trio.move_on_at(alive_due):
                await (self._wanted if question is None else question).wait()
            if question is not None and question.is_set():
                question = None
            said = b""
            if question is None and self._wanted.is_set():
                question = self._answered
                self._asked_at = trio.current_time()
                said = b"snapshot\n"
            if trio.current_time() >= alive_due:
                alive_due = trio.current_time() + ALIVE_EVERY_S
                said += b"alive\n"
            if said:
                try:
                    await self._stream.send_all(said)
                except trio.BrokenResourceError:
                    return  # `_listen` sees the end

    async def _listen(self) -> None:
        buffer = bytearray()
        async for data in self._stream:
            searched_bytes = len(buffer)
            buffer += data
            self._moved_at = trio.current_time()
            while (end := buffer.find(b"\n", searched_bytes)) >= 0:
                await self._take(bytes(buffer[:end]))
                del buffer[: end + 1]
                searched_bytes = 0
            if len(buffer) > LINE_MAX_BYTES:
                raise ValueError(f"snapshot: longer than {LINE_MAX_BYTES} bytes")

    async def _take(self, line: bytes) -> None:
        """Read a line: a policy, or a snapshot, with turns for everybody else: that of 10,000 real servers is half a second of work."""
        if self._take_policy is not None and line.startswith(PREFIX):
            self._take_policy(line)
            return
        snapshot = None
        for snapshot in decoding(line):  # noqa: B007  the last one is it
            self._moved_at = trio.current_time()
            await trio.lowlevel.checkpoint()
        assert snapshot is not None
        started_wall = self._wall_clock() - snapshot.process.uptime_s
        if abs(started_wall - self._started_wall) > CLOCK_STEP_S:
            self._started_wall = started_wall
        self._taken_at = trio.current_time()
        self._latest = View(snapshot, self._started_wall + snapshot.process.uptime_s, self._taken_at - self._asked_at)
        self._wanted = trio.Event()
        answered, self._answered = self._answered, trio.Event()
        answered.set()
