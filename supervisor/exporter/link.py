"""The exporter's end of the socket to the supervisor: asks when somebody needs an answer, keeps each answer for a second.

    snapshot, now_wall = await link.fetch()               # everything as it is now (core.snapshot)
    ready = await link.ready()                            # whether the supervisor is; costs next to nothing
    extract = await link.events()                         # the last events of the whole program, at most EVENTS_MAX (core.entry)
    text = await link.configuration()                     # the text that runs, without its secrets (core.runningtext)
    extract = await link.history("203.0.113.100:80/tcp")  # a virtual server and all its real servers; None: there is no such one

Lines in both directions: first our greeting, then questions (`core.questions`), each of which gets one line for an answer, and
"alive" every ALIVE_EVERY_S, so that the supervisor knows that we do not hang.
At most one question is open, so that a supervisor that is busy finds no heap of them afterwards; a late answer serves whoever
waits then, and who asks for what is asked already waits for the same answer. History is asked for on demand alone: it is not in the
snapshot. This module must never ask without need and never trust the length of an answer.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import trio

from supervisor.core import entry, questions, runningtext
from supervisor.core.entry import Extract
from supervisor.core.runningtext import RunningText
from supervisor.core.snapshot import Snapshot, decoding
from supervisor.exporter.webpolicy import PREFIX

ANSWER_MAX_S = 2.0
"""The supervisor may be silent for this long; then a scrape is told that there is no answer."""

ALIVE_EVERY_S = 2.0
"""How often the supervisor is given a sign of life: five times within its patience (`children.exporter`). Each wakes two processes."""

CACHE_S = 1.0
"""An answer serves everybody for this long (observability.md and reliability.md, section 8)."""

QUESTIONS_MAX = 16
"""Different questions that may wait for their turn beside `_ALWAYS_HEARD`, and answers that are kept; who wants one more gets none."""

LINE_MAX_BYTES = 64 << 20
"""Longest answer: some hundred bytes for each real server, far beyond the largest table we know."""

_ALWAYS_HEARD = frozenset({questions.SNAPSHOT, questions.READY})
"""There is room for these beside QUESTIONS_MAX others."""

CLOCK_STEP_S = 1.0
"""A wall clock that departs from the supervisor's own time by more than this was set."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A snapshot, the wall clock at which it was taken (seconds since the epoch), and how long it took to come, in seconds."""

    snapshot: Snapshot
    now_wall: float
    took_s: float


class NoAnswer(Exception):
    """The supervisor did not answer in time, or too many other things are asked of it."""


class _Question:
    """One line that is to be asked, or is asked; `answer` is there when `answered` is set."""

    def __init__(self, line: bytes) -> None:
        self.line = line
        self.answered = trio.Event()
        self.answer: object = None
        self.heard_at = 0.0
        self.waiting = 0


class SupervisorLink:
    """The conversation with the supervisor; `run` must run beside `fetch`, `events` and `history`."""

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
        self._something = trio.Event()  # to be asked
        self._waiting: dict[bytes, _Question] = {}  # in the order in which they came up
        self._open: _Question | None = None
        self._answered: dict[bytes, _Question] = {}  # the oldest answer first
        self._asked_at = 0.0
        self._moved_at = float("-inf")  # when a part of an answer came or was read
        self._started_wall = 0.0

    async def greet(self, greeting: Mapping[str, object]) -> None:
        """Say the first line."""
        await self._stream.send_all(json.dumps(greeting).encode() + b"\n")

    async def run(self) -> None:
        """Converse until the supervisor closes its end. Raises ValueError when it says something that is no answer."""
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
        found = await self._ask(questions.SNAPSHOT)
        assert isinstance(found, View)
        return found

    async def ready(self) -> bool:
        """Return whether the supervisor was ready within the last CACHE_S. Raises NoAnswer after ANSWER_MAX_S.

        This goes before all other questions that wait, and a snapshot that is there already says it, too.
        """
        known = self._answered.get(questions.SNAPSHOT)
        if known is not None and isinstance(known.answer, View) and self._is_fresh(known):
            return known.answer.snapshot.process.ready
        return bool(await self._ask(questions.READY))

    async def events(self) -> Extract:
        """Return the last events of the whole program, the oldest first, at most CACHE_S old. Raises NoAnswer after ANSWER_MAX_S."""
        found = await self._ask(questions.EVENTS)
        assert isinstance(found, Extract)
        return found

    async def configuration(self) -> RunningText:
        """Return the configuration that runs, at most CACHE_S old. Raises NoAnswer after ANSWER_MAX_S."""
        found = await self._ask(questions.CONFIGURATION)
        assert isinstance(found, RunningText)
        return found

    async def history(self, virtual_server: str) -> Extract | None:
        """Return what happened to a virtual server (named as the snapshot names it) and its real servers, the oldest first.

        None: there is no such virtual server. Each entry says whose it is; of many real servers the last few of each are there
        (`core.history.POOL_MAX`), and `omitted` counts the rest. Raises NoAnswer after ANSWER_MAX_S.
        """
        line = questions.history(virtual_server)
        if line is None:
            return None
        found = await self._ask(line)
        assert found is None or isinstance(found, Extract)
        return found

    async def _ask(self, line: bytes) -> object:
        known = self._answered.get(line)
        if known is not None and self._is_fresh(known):
            return known.answer
        question = self._open if self._open and self._open.line == line else self._waiting.get(line)
        if question is None:
            if len(self._waiting) >= QUESTIONS_MAX and line not in _ALWAYS_HEARD:
                raise NoAnswer
            question = self._waiting[line] = _Question(line)
            self._something.set()
        question.waiting += 1
        try:
            deadline = trio.current_time() + ANSWER_MAX_S
            while deadline > trio.current_time():
                with trio.move_on_at(deadline):
                    await question.answered.wait()
                    return question.answer
                deadline = self._moved_at + ANSWER_MAX_S
        finally:
            question.waiting -= 1
            if not question.waiting and self._waiting.get(line) is question and line != questions.SNAPSHOT:
                del self._waiting[line]  # nobody wants to know any more
        raise NoAnswer

    @staticmethod
    def _is_fresh(answered: _Question) -> bool:
        return trio.current_time() - answered.heard_at <= CACHE_S

    async def _speak(self) -> None:
        """Ask when somebody needs an answer, and give signs of life. The only sender after the greeting."""
        alive_due = trio.current_time() + ALIVE_EVERY_S
        while True:
            with trio.move_on_at(alive_due):
                await self._something.wait()
            self._something = trio.Event()
            said = b""
            if self._open is None and self._waiting:
                self._open = self._waiting.pop(_first(self._waiting))
                self._asked_at = trio.current_time()
                said = self._open.line + b"\n"
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
                raise ValueError(f"an answer longer than {LINE_MAX_BYTES} bytes")

    async def _take(self, line: bytes) -> None:
        """Take a policy, or the answer to the open question. Raises ValueError when it is neither."""
        if self._take_policy is not None and line.startswith(PREFIX):
            self._take_policy(line)
            return
        question = self._open
        if question is None:
            raise ValueError("an answer to no question")
        match question.line:
            case questions.SNAPSHOT:
                question.answer = await self._read_snapshot(line)
            case questions.READY:
                question.answer = questions.decode_ready(line)
            case questions.CONFIGURATION:
                question.answer = runningtext.decode(line)
            case _:
                question.answer = entry.decode(line)
        self._open = None
        question.heard_at = trio.current_time()
        self._answered.pop(question.line, None)
        while len(self._answered) >= QUESTIONS_MAX:
            del self._answered[next(iter(self._answered))]
        self._answered[question.line] = question
        question.answered.set()
        self._something.set()

    async def _read_snapshot(self, line: bytes) -> View:
        """Read a snapshot with turns for everybody else: that of 10,000 real servers is half a second of work."""
        snapshot = None
        for snapshot in decoding(line):  # noqa: B007  the last one is it
            self._moved_at = trio.current_time()
            await trio.lowlevel.checkpoint()
        assert snapshot is not None
        started_wall = self._wall_clock() - snapshot.process.uptime_s
        if abs(started_wall - self._started_wall) > CLOCK_STEP_S:
            self._started_wall = started_wall
        return View(snapshot, self._started_wall + snapshot.process.uptime_s, trio.current_time() - self._asked_at)


def _first(waiting: Mapping[bytes, _Question]) -> bytes:
    """Return which question is next: the quick one, else that which waits longest."""
    return questions.READY if questions.READY in waiting else next(iter(waiting))
