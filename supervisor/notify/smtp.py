"""Mail about transitions, shaped as keepalived's, delivered one after another by a task of its own.

`Mailer.tell` puts news into a bounded collection and returns; `run` delivers what is due, again and again for a bounded time where that
can help. A mail server that hangs, lies or is gone must never hold up a decision: `_delivery` speaks to it in a thread. What a mail says
is in `_words`, which news are one mail in `_grouping`, and the bytes in `_message`.
Sources: keepalived.md, section 3.10; RFC 5321 (4.5.4.1: retry).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from datetime import datetime

import trio

from checkers.kit.frozen import frozen
from supervisor.core.transitions import Transition
from supervisor.log import Log
from supervisor.model import MailSettings
from supervisor.notify._grouping import Grouping, Text
from supervisor.notify._outcome import Deliver, DeliveryFailed
from supervisor.notify._words import describe

__all__ = ["Deliver", "DeliveryFailed", "Mailer", "prepare"]

QUEUE_MAX = 1000
"""Messages that may wait; a rack's failure is some hundred."""
RETRY_DELAYS_S = (1.0, 5.0, 15.0, 60.0)
"""Pauses after failed attempts; one attempt more than there are pauses."""
MESSAGE_AGE_MAX_S = 900.0
"""Older news is not worth a further attempt."""
SESSION_MAX_S = 60.0
"""One delivery may take this long beyond the time for connecting."""


@frozen
class _Letter:
    """One message that waits."""

    settings: MailSettings
    subject: str
    text: bytes
    written_at: float


def _is_wanted(settings: MailSettings) -> bool:
    """Tell whether anybody is to be told by mail."""
    return bool(settings.server and settings.recipients)


def prepare(settings: MailSettings) -> None:
    """Load what writes and delivers mails, if any are wanted, before the first is due: 1.3 MB and 15 ms that not everybody needs.

    Raises whatever importing raises, where the files of the program are not those that it was started from.
    """
    if _is_wanted(settings):
        from supervisor.notify import _delivery, _message  # noqa: F401, PLC0415


class Mailer:
    """The sink. One task runs `run`; everybody else calls `tell`."""

    def __init__(
        self,
        settings: MailSettings,
        router_id: str,
        *,
        deliver: Deliver | None = None,
        wall_clock: Callable[[], datetime],
        log: Log,
    ) -> None:
        """`wall_clock` returns an aware time, for the Date header."""
        self.sent = 0
        self.failed = 0
        self.dropped = 0
        self._settings = settings
        self._router_id = router_id
        self._deliver = deliver
        self._wall_clock = wall_clock
        self._log = log
        self._queue: deque[_Letter] = deque()
        self._grouping = self._new_grouping()
        self._delivering = False
        self._stirred = trio.Event()
        self._idle = trio.Event()
        self._closing = trio.Event()
        prepare(settings)

    @property
    def _wanted(self) -> bool:
        return _is_wanted(self._settings)

    def _new_grouping(self) -> Grouping | None:
        """None: every mail by itself and at once."""
        window_s = self._settings.group_within
        return Grouping(window_s) if window_s else None

    def reconfigure(self, settings: MailSettings, router_id: str) -> None:
        """Use these from the next transition on; what waits goes where it was meant to go."""
        if (settings, router_id) == (self._settings, self._router_id):
            return
        self._close_group()
        self._settings = settings
        self._router_id = router_id
        self._grouping = self._new_grouping()
        prepare(settings)

    def tell(self, transition: Transition) -> None:
        """Keep the mail that `transition` is worth, if any. Never blocks; where no more fits, the oldest is dropped and counted."""
        if not self._wanted:
            return
        news = describe(transition, every_check=self._settings.every_check)
        if news is None:
            return
        if self._closing.is_set():
            self._drop(1, "stopping")
        elif self._grouping is None:
            self._enqueue(Text(news.subject, (news.body,)))
        else:
            self._grouping.add(news, trio.current_time())
        self._stirred.set()

    def _enqueue(self, text: Text) -> None:
        if len(self._queue) >= QUEUE_MAX:  # the oldest goes: the last mail about anything must be true
            self._queue.popleft()
            self._drop(1, "queue full")
        from supervisor.notify._message import compose  # noqa: PLC0415  (see prepare)

        subject = f"[{self._router_id}] {text.subject}"
        message = compose(self._settings, subject, text.lines, self._wall_clock())
        self._queue.append(_Letter(self._settings, subject, message, trio.current_time()))

    def _close_group(self) -> None:
        """Make mails of what was collected."""
        if self._grouping:
            for text in self._grouping.take(trio.current_time()):
                self._enqueue(text)

    async def run(self) -> None:
        """Deliver for ever."""
        while True:
            await self._send_queue()
            if self._group_due() <= trio.current_time():
                self._close_group()
                continue
            self._idle.set()
            self._idle = trio.Event()
            with trio.move_on_at(self._group_due()):
                await self._stirred.wait()
            self._stirred = trio.Event()

    async def _send_queue(self) -> None:
        while self._queue:
            self._delivering = True
            try:
                await self._send(self._queue.popleft())
            finally:
                self._delivering = False

    def _group_due(self) -> float:
        """Return when the collected news must become mails: at once when the end is near."""
        if not self._grouping:
            return math.inf
        return -math.inf if self._closing.is_set() else self._grouping.due()

    async def drain(self, timeout_s: float) -> None:
        """At the end: take nothing more, and wait at most `timeout_s` until everything queued is delivered or given up.

        `run` must still be running. What is left then is dropped and counted.
        """
        self._closing.set()
        self._stirred.set()
        with trio.move_on_after(timeout_s):
            while self._waiting():
                await self._idle.wait()
        left = self._waiting()
        self._queue.clear()
        self._grouping = None
        if left:
            self._drop(left, "stopped before delivery")

    def _waiting(self) -> int:
        """How much is neither delivered nor given up."""
        return len(self._queue) + self._delivering + (len(self._grouping) if self._grouping else 0)

    async def _send(self, letter: _Letter) -> None:
        """Deliver one message or give it up."""
        for attempt, delay_s in enumerate((*RETRY_DELAYS_S, None), start=1):
            begin = trio.current_time()
            try:
                await self._attempt(letter)
            except DeliveryFailed as failure:
                too_old = trio.current_time() - letter.written_at > MESSAGE_AGE_MAX_S
                again_s = None if failure.permanent or too_old else delay_s
                self._tell_failed(letter, attempt, str(failure), again_s)
                if again_s is None:
                    self.failed += 1
                    return
                await self._pause(again_s)
            else:
                self.sent += 1
                self._log.emit(
                    "notify.sent",
                    f"Mail sent: {letter.subject}",
                    sink="smtp",
                    subject=letter.subject,
                    recipients=", ".join(letter.settings.recipients),
                    attempt=attempt,
                    duration_s=trio.current_time() - begin,
                )
                return

    async def _pause(self, delay_s: float) -> None:
        """Wait before the next attempt; the beginning of the end cuts it short."""
        if self._closing.is_set():
            await trio.sleep(min(delay_s, RETRY_DELAYS_S[0]))
        else:
            with trio.move_on_after(delay_s):
                await self._closing.wait()

    async def _attempt(self, letter: _Letter) -> None:
        """Try once, bounded in time. Raises DeliveryFailed."""
        settings = letter.settings
        limit_s = settings.connect_timeout + SESSION_MAX_S
        try:
            with trio.fail_after(limit_s):
                await self._bring(settings, letter.text)
        except trio.TooSlowError:
            raise DeliveryFailed(f"{settings.server}: not done within {limit_s:g} s") from None

    async def _bring(self, settings: MailSettings, text: bytes) -> None:
        """Have a mail delivered. Raises DeliveryFailed."""
        from supervisor.notify._delivery import deliver_smtp  # noqa: PLC0415  (see prepare)

        await (self._deliver or deliver_smtp)(settings, text, settings.recipients)

    def _tell_failed(self, letter: _Letter, attempt: int, error: str, again_s: float | None) -> None:
        what_next = "given up" if again_s is None else f"next attempt in {again_s:g} s"
        self._log.emit(
            "notify.failed",
            f"Mail not sent, {what_next}: {error}",
            sink="smtp",
            subject=letter.subject,
            recipients=", ".join(letter.settings.recipients),
            error=error,
            attempt=attempt,
            next_retry_s=again_s,
            final=again_s is None,
        )

    def _drop(self, count: int, reason: str) -> None:
        """Count lost messages; the log hears of the first, the second, the fourth …"""
        before, self.dropped = self.dropped, self.dropped + count
        if self.dropped.bit_length() > before.bit_length():
            self._log.emit(
                "notify.dropped",
                f"{self.dropped} mails were not sent in all: {reason}.",
                sink="smtp",
                reason=reason,
                count=self.dropped,
            )
