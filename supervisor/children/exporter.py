"""The conversation with the exporter: it asks a question (`core.questions`), it gets one line.

The exporter serves strangers, so it is a process of its own without any privilege; all that goes to it is a `Snapshot`, an `Extract` of
the history, the text that runs, and how it is protected; all that it can say is a greeting, a question and "alive". Anything else ends
it, and so does silence.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import trio

from checkers.kit.excerpt import clip
from supervisor.children.keeper import Keeper, ProtocolBroken
from supervisor.children.patience import HelloPatience, first_word, patiently
from supervisor.children.spawn import Child, complain_of_cage
from supervisor.core import questions
from supervisor.core.questions import Question
from supervisor.core.snapshot import WorkerView
from supervisor.log import Log

LINE_MAX_BYTES = 4096
"""Longest line that an exporter may send."""

PAUSE_SHARE = 2.0
"""After an answer the next one waits so many times as long as it took: an exporter that asks without end gets a third of our processor."""

SILENCE_MAX_S = 10.0
"""An exporter says "alive" every two seconds, but while it renders a scrape, which takes seconds for the largest tables."""


class StreamLink:
    """Our end of an exporter's socket pair."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream

    def close(self) -> None:
        """Close at once."""
        if isinstance(self.stream, trio.SocketStream):
            self.stream.socket.close()


class Protection(Protocol):
    """What says how the exporter is protected. `number` grows with every new `line` for the exporter."""

    number: int
    line: bytes

    async def look(self) -> None:
        """See whether there is a new one; called every two seconds."""


StartExporter = Callable[[int], Awaitable[tuple[Child, StreamLink]]]


class ExporterChild:
    """The exporter: its conversation and what is known of it."""

    def __init__(
        self,
        start: StartExporter,
        answer: Callable[[Question], Iterable[bytes]],
        log: Log,
        protection: Protection | None = None,
    ) -> None:
        """`answer` yields the encoded answer of this moment to a question piece by piece, without a newline in it, and never waits."""
        self._protection = protection
        self.caged = ""
        self.listening = ""
        self._answer_to = answer
        self._log = log
        self._heard_at: float | None = None
        self._free_at = 0.0
        self._patience = HelloPatience()
        self.keeper: Keeper[StreamLink] = Keeper("exporter", start, self._converse, log, self._ended)

    def view(self, now: float) -> WorkerView:
        """Return what observers may know of the exporter."""
        return WorkerView(
            name="exporter",
            pid=self.keeper.pid,
            restarts=self.keeper.restarts,
            age_s=None if self._heard_at is None else now - self._heard_at,
            loop_lag_s=0.0,
            in_flight=0,
            overdue=0,
            caged=self.caged,
        )

    async def _ended(self) -> None:
        """The incarnation is over: what is known of it holds no more."""
        self.caged = self.listening = ""

    async def _converse(self, link: StreamLink, _epoch: int) -> None:
        """Speak with one incarnation until it is gone. Raises ProtocolBroken."""
        try:
            await self._answer(link.stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def _answer(self, stream: trio.abc.Stream) -> None:
        greeted = False
        protected = 0
        rest = b""
        data = await first_word(lambda: _received(stream), self._patience)
        while data:
            self._heard_at = trio.current_time()
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > LINE_MAX_BYTES:
                raise ProtocolBroken("a line without an end")
            for line in lines:
                if not greeted:
                    self._greet(line)
                    greeted = True
                elif line != b"alive":
                    await self._tell(stream, line)
                elif self._protection:
                    await self._protection.look()
                if self._protection and self._protection.number != protected:
                    protected = self._protection.number
                    await self._send(stream, self._protection.line + b"\n")
            data = await patiently(lambda: _received(stream), SILENCE_MAX_S)

    async def _tell(self, stream: trio.abc.Stream, line: bytes) -> None:
        """Send the answer of a moment when it may cost us something again, and have decisions taken between two of its pieces.

        Raises ProtocolBroken for what is no question.
        """
        question = questions.parse(line)
        if question is None:
            raise ProtocolBroken(f"expected a question or alive, got {line[:40]!r}")
        await trio.sleep_until(self._free_at)
        cost_s = 0.0
        pieces = iter(self._answer_to(question))
        while True:
            begun = trio.current_time()
            piece = next(pieces, None)
            cost_s += trio.current_time() - begun
            if piece is None:
                break
            await self._send(stream, piece)  # always a turn for others, too
        await self._send(stream, b"\n")
        self._free_at = trio.current_time() + PAUSE_SHARE * cost_s

    @staticmethod
    async def _send(stream: trio.abc.Stream, data: bytes) -> None:
        """Send an answer. Raises ProtocolBroken when it is not taken: whoever does not read hangs, too."""
        with trio.move_on_after(SILENCE_MAX_S):
            await stream.send_all(data)
            return
        raise ProtocolBroken(f"took no answer within {SILENCE_MAX_S:g} s")

    def _greet(self, line: bytes) -> None:
        try:
            said = json.loads(line)
            if "error" in said:
                raise ProtocolBroken(clip(str(said["error"])))
            self.caged, self.listening = clip(str(said["hello"]["caged"])), clip(str(said["hello"]["listening"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ProtocolBroken(f"malformed greeting: {error!r}") from error
        self._log.emit(
            "worker.started",
            f"exporter listens on {self.listening} with {self.caged}",
            worker="exporter",
            worker_pid=self.keeper.pid,
            caged=self.caged,
            listening=self.listening,
        )
        complain_of_cage("exporter", self.caged, self._log)


async def _received(stream: trio.abc.Stream) -> bytes:
    return bytes(await stream.receive_some())
