"""Mail about transitions, shaped as keepalived's, delivered one after another by a task of its own.

`Mailer.tell` puts a finished message into a bounded queue and returns; `run` delivers, again and again for a bounded time where
that can help. A mail server that hangs, lies or is gone must never hold up a decision: the blocking protocol runs in threads, of
which there are never more than THREADS_MAX, and names are resolved there too.
Sources: keepalived.md, section 3.10; RFC 5321 (4.5.4.1: retry) and RFC 5322.
"""

from __future__ import annotations

import contextlib
import email.utils
import smtplib
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from functools import partial
from typing import TypeAlias, assert_never

import trio

from supervisor.core.transitions import (
    CheckChanged,
    CheckFailed,
    QuorumChanged,
    RealServerChanged,
    RealServerRemoved,
    SorryChanged,
    SuspensionChanged,
    Transition,
    WeightChanged,
)
from supervisor.log import Log
from supervisor.model import AddressKey, Endpoint, FwmarkKey, MailSettings, ServiceKey

QUEUE_MAX = 1000
"""Messages that may wait; a rack's failure is some hundred."""
RETRY_DELAYS_S = (1.0, 5.0, 15.0, 60.0)
"""Pauses after failed attempts; one attempt more than there are pauses."""
MESSAGE_AGE_MAX_S = 900.0
"""Older news is not worth a further attempt."""
SESSION_MAX_S = 60.0
"""One delivery may take this long beyond the time for connecting."""
THREADS_MAX = 4
"""Deliveries that hang in the protocol, abandoned, before new ones wait for them."""
HEADER_LINE_MAX = 900
"""RFC 5322, section 2.1.1 allows 998 characters in a line."""

Deliver: TypeAlias = Callable[[MailSettings, bytes, Sequence[str]], Awaitable[None]]
"""Delivers a message (settings, RFC 5322 text with CRLF, recipients) or raises DeliveryFailed."""


class DeliveryFailed(Exception):
    """The message was not delivered; `permanent` tells that trying again is useless."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class _Letter:
    """One message that waits."""

    settings: MailSettings
    subject: str
    text: bytes
    written_at: float


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
        self._deliver = deliver or deliver_smtp
        self._wall_clock = wall_clock
        self._log = log
        self._queue: deque[_Letter] = deque()
        self._delivering = False
        self._stirred = trio.Event()
        self._idle = trio.Event()
        self._closing = trio.Event()

    def reconfigure(self, settings: MailSettings, router_id: str) -> None:
        """Use these from the next transition on; what waits goes where it was meant to go."""
        self._settings = settings
        self._router_id = router_id

    def tell(self, transition: Transition) -> None:
        """Queue the mail that `transition` is worth, if any. Never blocks; a full queue drops and counts."""
        settings = self._settings
        if not settings.server or not settings.recipients:
            return
        words = describe(transition, every_check=settings.every_check)
        if words is None:
            return
        subject = f"[{self._router_id}] {words[0]}"
        if self._closing.is_set() or len(self._queue) >= QUEUE_MAX:
            self._drop(1, "stopping" if self._closing.is_set() else "queue full")
            return
        text = compose(settings, subject, words[1], self._wall_clock())
        self._queue.append(_Letter(settings, subject, text, trio.current_time()))
        self._stirred.set()

    async def run(self) -> None:
        """Deliver for ever."""
        while True:
            while self._queue:
                self._delivering = True
                try:
                    await self._send(self._queue.popleft())
                finally:
                    self._delivering = False
            self._idle.set()
            self._idle = trio.Event()
            await self._stirred.wait()
            self._stirred = trio.Event()

    async def drain(self, timeout_s: float) -> None:
        """At the end: take nothing more, and wait at most `timeout_s` until everything queued is delivered or given up.

        `run` must still be running. What is left then is dropped and counted.
        """
        self._closing.set()
        with trio.move_on_after(timeout_s):
            while self._queue or self._delivering:
                await self._idle.wait()
        left = len(self._queue) + self._delivering
        self._queue.clear()
        if left:
            self._drop(left, "stopped before delivery")

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
                await self._deliver(settings, letter.text, settings.recipients)
        except trio.TooSlowError:
            raise DeliveryFailed(f"{settings.server}: not done within {limit_s:g} s") from None

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


# -- words ---------------------------------------------------------------------------------------------------------------


def describe(transition: Transition, *, every_check: bool) -> tuple[str, str] | None:
    """Return subject (without the router's name) and body of the mail about `transition`; None: not worth one.

    `every_check` False: only what changes a real server counts, not each of its checks.
    """
    match transition:
        case CheckChanged():
            if not transition.mail or not every_check:
                return None
            state = _word(transition.real_server_up)
            return _server_subject(transition, state), check_body(transition.check, up=transition.up)
        case RealServerChanged():
            first_verdict = transition.up and transition.was == "UNKNOWN"
            if not transition.mail or every_check or first_verdict or not transition.check:
                return None
            return _server_subject(transition, _word(transition.up)), check_body(transition.check, up=transition.up)
        case QuorumChanged():
            if not transition.mail:
                return None
            subject = f"Virtualserver {service_name(transition.virtual_server)} - {_word(transition.up)}"
            return subject, _quorum_body(transition)
        case RealServerRemoved():
            if not transition.mail:
                return None
            return _server_subject(
                transition, "DOWN"
            ), f"=> {'Shutting down' if transition.stopping else 'Removing'} <="
        case SorryChanged() | SuspensionChanged() | CheckFailed() | WeightChanged():
            return None
        case _:
            assert_never(transition)


def _word(up: bool) -> str:
    return "UP" if up else "DOWN"


def service_name(key: ServiceKey) -> str:
    """Name a virtual server as keepalived does: "[192.0.2.1]:tcp:80" or "FWM 7"."""
    match key:
        case AddressKey():
            return f"[{key.endpoint.address}]:{key.protocol}:{key.endpoint.port}"
        case FwmarkKey():
            return f"FWM {key.mark}"
        case _:
            assert_never(key)


def _server_subject(transition: CheckChanged | RealServerChanged | RealServerRemoved, state: str) -> str:
    key, endpoint = transition.virtual_server, transition.real_server
    name = _server_name(endpoint, str(key.protocol) if isinstance(key, AddressKey) else "tcp")
    return f"Realserver {name} of virtual server {service_name(key)} - {state}"


def _server_name(endpoint: Endpoint, protocol: str) -> str:
    return f"[{endpoint.address}]:{protocol}:{endpoint.port}"


def check_body(check: str, *, up: bool) -> str:
    """Say in one line what the check (a checker type such as TCP_CHECK) found."""
    match check:
        case "HTTP_GET" | "SSL_GET":
            finding = "CHECK succeed on service" if up else "CHECK failed on service : HTTP/SSL request failed"
        case "MISC_CHECK":
            finding = f"MISC CHECK {'succeeded' if up else 'failed'} on service"
        case "DNS_CHECK":
            finding = f"DNS_CHECK: {'succeed' if up else 'failed'} on service"
        case _:
            finding = f"{check.replace('_', ' ')} {'succeed' if up else 'failed'} on service"
    return f"=> {finding} <="


def _quorum_body(changed: QuorumChanged) -> str:
    if changed.at_start:
        happened = f"Starting with quorum {'up' if changed.up else 'down'}"
    else:
        happened = f"{'Gained' if changed.up else 'Lost'} quorum"
    sign = "+" if changed.up or changed.hysteresis == 0 else "-"
    bound = changed.quorum + (changed.hysteresis if changed.up else -changed.hysteresis)
    return f"=> {happened} {changed.quorum}{sign}{changed.hysteresis}={bound} <= {changed.weight_up} <="


# -- the message ---------------------------------------------------------------------------------------------------------


def compose(settings: MailSettings, subject: str, body: str, date: datetime) -> bytes:
    """Return the message: RFC 5322 text, CRLF line ends, headers in keepalived's order."""
    recipients = ""
    length = 0
    for recipient in map(_plain, settings.recipients):
        joint = "" if not recipients else ", " if length + len(recipient) < HEADER_LINE_MAX else ",\r\n "
        length = len(recipient) if "\n" in joint else length + len(joint) + len(recipient)
        recipients += joint + recipient
    lines = (
        f"Date: {email.utils.format_datetime(date)}",
        f"From: {_plain(settings.sender)}",
        f"Subject: {_encoded(_plain(subject))}",
        "X-Mailer: Vipervisor",
        f"To: {recipients}",
        "",
        _plain(body),
        "",
    )
    return "\r\n".join(lines).encode("utf-8", "replace")


def _plain(text: str) -> str:
    """Take what could start a new header or a new line out of a value."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _encoded(text: str) -> str:
    """Write a header value that is not ASCII as RFC 2047 wants it."""
    return text if text.isascii() else Header(text, "utf-8").encode(linesep="\r\n")


# -- the wire ------------------------------------------------------------------------------------------------------------

_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter | None] = trio.lowlevel.RunVar("mail threads", None)


async def deliver_smtp(settings: MailSettings, message: bytes, recipients: Sequence[str]) -> None:
    """Deliver `message` over SMTP, in a thread that is abandoned when the caller's time is up. Raises DeliveryFailed."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = trio.CapacityLimiter(THREADS_MAX)
        _limiter.set(limiter)
    await trio.to_thread.run_sync(
        partial(_converse, settings, message, tuple(recipients)), abandon_on_cancel=True, limiter=limiter
    )


def _converse(settings: MailSettings, message: bytes, recipients: Sequence[str]) -> None:
    """Speak SMTP, blocking. Raises DeliveryFailed."""
    where = f"{settings.server} port {settings.port}"
    own_name = settings.helo_name or socket.gethostname()
    try:
        server = smtplib.SMTP(settings.server, settings.port, local_hostname=own_name, timeout=settings.connect_timeout)
        try:
            refused = server.sendmail(settings.sender, list(recipients), message)
        finally:
            with contextlib.suppress(smtplib.SMTPException, OSError):  # the outcome is known already
                server.quit()
            server.close()
    except smtplib.SMTPRecipientsRefused as error:
        raise DeliveryFailed(
            f"{where}: {_refusals(error.recipients)}", permanent=_all_final(error.recipients)
        ) from None
    except smtplib.SMTPResponseException as error:
        answer = bytes(error.smtp_error) if isinstance(error.smtp_error, bytes) else str(error.smtp_error).encode()
        text = answer.decode("utf-8", "replace")[:200]
        raise DeliveryFailed(f"{where}: {error.smtp_code} {text}", permanent=error.smtp_code >= 500) from None
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise DeliveryFailed(f"{where}: {str(error)[:200] or type(error).__name__}") from None
    if refused:
        raise DeliveryFailed(f"{where}: delivered to the others, but {_refusals(refused)}", permanent=True)


def _refusals(refused: dict[str, tuple[int, bytes]]) -> str:
    return "; ".join(
        f"{recipient}: {code} {text.decode('utf-8', 'replace')[:100]}" for recipient, (code, text) in refused.items()
    )[:400]


def _all_final(refused: dict[str, tuple[int, bytes]]) -> bool:
    return all(code >= 500 for code, _ in refused.values())
