"""Mail: its words, its queue and retries on a virtual clock, and its delivery to a real SMTP server on loopback."""

import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
import trio
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from trio.testing import MockClock

from supervisor.core.transitions import (
    CheckChanged,
    CheckFailed,
    QuorumChanged,
    RealServerChanged,
    RealServerRemoved,
    SorryChanged,
    Transition,
)
from supervisor.log import Log
from supervisor.model import AddressKey, Endpoint, FwmarkKey, MailSettings, Protocol
from supervisor.notify import smtp
from supervisor.notify.smtp import DeliveryFailed, Mailer, compose, deliver_smtp, describe

SERVICE = AddressKey(Protocol.TCP, Endpoint(IPv4Address("203.0.113.1"), 80))
SERVER = Endpoint(IPv4Address("192.168.100.22"), 80)
SETTINGS = MailSettings(
    recipients=("admin@example.com", "duty@example.com"),
    sender="lvs@example.com",
    server="192.0.2.25",
    connect_timeout=30,
)
DATE = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

CHECK_DOWN = CheckChanged(
    cause=1,
    virtual_server=SERVICE,
    real_server=SERVER,
    check="HTTP_GET",
    up=False,
    reason="L4CON",
    detail="connection refused",
    real_server_up=False,
    mail=True,
)
SERVER_DOWN = RealServerChanged(
    cause=1,
    virtual_server=SERVICE,
    real_server=SERVER,
    up=False,
    was="UP",
    check="TCP_CHECK",
    reason="L4CON",
    detail="connection refused",
    failures=4,
    retry=3,
    duration_s=0.1,
    previous_state_s=60.0,
    weight_old=1,
    weight_new=0,
    up_left=1,
    weight_left=1,
    quorum=1,
    mail=True,
)
QUORUM_LOST = QuorumChanged(
    cause=1,
    virtual_server=SERVICE,
    up=False,
    weight_up=0,
    quorum=1,
    hysteresis=0,
    servers_up=0,
    servers_total=2,
    sorry_server=None,
    at_start=False,
    mail=True,
)
REMOVED = RealServerRemoved(virtual_server=SERVICE, real_server=SERVER, stopping=False, mail=True)

SUBJECT = "Realserver [192.168.100.22]:tcp:80 of virtual server [203.0.113.1]:tcp:80 - "


@pytest.mark.parametrize(
    ("transition", "subject", "body"),
    [
        (CHECK_DOWN, SUBJECT + "DOWN", "=> CHECK failed on service : HTTP/SSL request failed <="),
        (replace(CHECK_DOWN, up=True, real_server_up=True), SUBJECT + "UP", "=> CHECK succeed on service <="),
        (replace(CHECK_DOWN, up=True), SUBJECT + "DOWN", "=> CHECK succeed on service <="),
        (replace(CHECK_DOWN, check="TCP_CHECK"), SUBJECT + "DOWN", "=> TCP CHECK failed on service <="),
        (
            replace(CHECK_DOWN, check="TCP_CHECK", up=True, real_server_up=True),
            SUBJECT + "UP",
            "=> TCP CHECK succeed on service <=",
        ),
        (replace(CHECK_DOWN, check="MISC_CHECK"), SUBJECT + "DOWN", "=> MISC CHECK failed on service <="),
        (
            replace(CHECK_DOWN, check="MISC_CHECK", up=True, real_server_up=True),
            SUBJECT + "UP",
            "=> MISC CHECK succeeded on service <=",
        ),
        (replace(CHECK_DOWN, check="DNS_CHECK"), SUBJECT + "DOWN", "=> DNS_CHECK: failed on service <="),
        (REMOVED, SUBJECT + "DOWN", "=> Removing <="),
        (replace(REMOVED, stopping=True), SUBJECT + "DOWN", "=> Shutting down <="),
        (QUORUM_LOST, "Virtualserver [203.0.113.1]:tcp:80 - DOWN", "=> Lost quorum 1+0=1 <= 0 <="),
        (
            replace(QUORUM_LOST, up=True, weight_up=1),
            "Virtualserver [203.0.113.1]:tcp:80 - UP",
            "=> Gained quorum 1+0=1 <= 1 <=",
        ),
        (
            replace(QUORUM_LOST, up=True, weight_up=3, quorum=2, hysteresis=1),
            "Virtualserver [203.0.113.1]:tcp:80 - UP",
            "=> Gained quorum 2+1=3 <= 3 <=",
        ),
        (
            replace(QUORUM_LOST, quorum=3, hysteresis=1),
            "Virtualserver [203.0.113.1]:tcp:80 - DOWN",
            "=> Lost quorum 3-1=2 <= 0 <=",
        ),
        (
            replace(QUORUM_LOST, at_start=True),
            "Virtualserver [203.0.113.1]:tcp:80 - DOWN",
            "=> Starting with quorum down 1+0=1 <= 0 <=",
        ),
        (
            replace(QUORUM_LOST, at_start=True, up=True, weight_up=2),
            "Virtualserver [203.0.113.1]:tcp:80 - UP",
            "=> Starting with quorum up 1+0=1 <= 2 <=",
        ),
        (
            replace(QUORUM_LOST, virtual_server=FwmarkKey(6, 7)),
            "Virtualserver FWM 7 - DOWN",
            "=> Lost quorum 1+0=1 <= 0 <=",
        ),
        (
            replace(
                CHECK_DOWN,
                virtual_server=AddressKey(Protocol.UDP, Endpoint(IPv6Address("2001:db8::1"), 53)),
                real_server=Endpoint(IPv6Address("2001:db8::22"), 5353),
            ),
            "Realserver [2001:db8::22]:udp:5353 of virtual server [2001:db8::1]:udp:53 - DOWN",
            "=> CHECK failed on service : HTTP/SSL request failed <=",
        ),
    ],
)
def test_words_are_keepaliveds(transition: Transition, subject: str, body: str) -> None:
    assert describe(transition, every_check=True) == (subject, body)


@pytest.mark.parametrize(
    "transition",
    [
        replace(CHECK_DOWN, mail=False),
        replace(QUORUM_LOST, mail=False),
        replace(REMOVED, mail=False),
        SERVER_DOWN,
        SorryChanged(1, SERVICE, SERVER, active=True),
        CheckFailed(1, SERVICE, SERVER, "HTTP_GET", "L4CON", "refused", 1, 3, log=True),
    ],
)
def test_no_mail_where_none_is_due(transition: Transition) -> None:
    assert describe(transition, every_check=True) is None


def test_with_no_checker_emails_only_the_real_servers_changes_count() -> None:
    assert describe(CHECK_DOWN, every_check=False) is None
    assert describe(SERVER_DOWN, every_check=False) == (SUBJECT + "DOWN", "=> TCP CHECK failed on service <=")
    assert describe(replace(SERVER_DOWN, mail=False), every_check=False) is None
    assert describe(replace(SERVER_DOWN, up=True, was="UNKNOWN"), every_check=False) is None
    assert describe(replace(SERVER_DOWN, was="UNKNOWN"), every_check=False) is not None
    assert describe(QUORUM_LOST, every_check=False) is not None


def test_the_message_is_exactly_keepaliveds_shape() -> None:
    assert compose(SETTINGS, "[lvs1] words", "=> body <=", DATE) == (
        b"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\n"
        b"From: lvs@example.com\r\n"
        b"Subject: [lvs1] words\r\n"
        b"X-Mailer: Vipervisor\r\n"
        b"To: admin@example.com, duty@example.com\r\n"
        b"\r\n"
        b"=> body <=\r\n"
    )


def test_no_value_can_add_a_header_or_a_line() -> None:
    evil = "x\r\nBcc: thief@example.com\r\n\r\nbody\x00\x85"
    settings = replace(SETTINGS, sender=evil, recipients=(evil, evil))
    message = message_from_bytes(compose(settings, f"[{evil}] words", evil, DATE))
    assert message.keys() == ["Date", "From", "Subject", "X-Mailer", "To"]
    payload = message.get_payload()
    assert isinstance(payload, str)
    assert payload.count("\n") == 1


def test_a_name_that_is_not_ascii_is_encoded() -> None:
    message = message_from_bytes(compose(SETTINGS, "[Zürich] words", "=> body <=", DATE))
    assert str(message["Subject"]).isascii()
    assert str(make_header(decode_header(str(message["Subject"])))) == "[Zürich] words"


def test_many_recipients_make_lines_of_legal_length() -> None:
    people = tuple(f"person{number}@example.com" for number in range(300))
    text = compose(replace(SETTINGS, recipients=people), "[lvs1] words", "=> body <=", DATE)
    assert max(map(len, text.split(b"\r\n"))) < 998
    to = message_from_bytes(text)["To"]
    assert [person.strip() for person in to.split(",")] == list(people)


class Post:
    """A fake delivery: remembers what it took, and fails as told."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, float]] = []
        self.attempts: list[float] = []
        self.failures: list[DeliveryFailed] = []
        self.hangs = False
        self.settings: list[MailSettings] = []

    async def __call__(self, settings: MailSettings, message: bytes, recipients: Sequence[str]) -> None:
        self.attempts.append(trio.current_time() - self.began)
        if self.hangs:
            await trio.sleep_forever()
        await trio.sleep(0.1)
        if self.failures:
            raise self.failures.pop(0)
        assert tuple(recipients) == settings.recipients
        self.settings.append(settings)
        self.taken.append((str(message_from_bytes(message)["Subject"]), trio.current_time() - self.began))

    began = 0.0


class Told:
    """What the log heard."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __call__(self, line: bytes, _level: str) -> None:
        self.events.append(json.loads(line))

    def named(self, event: str) -> list[dict[str, Any]]:
        return [told for told in self.events if told["event"] == event]


def play(story: Callable[[Mailer, Post, Told], Awaitable[None]], settings: MailSettings = SETTINGS) -> None:
    """Run `story` with a mailer that runs."""

    async def main() -> None:
        post, told = Post(), Told()
        post.began = trio.current_time()
        log = Log(told, strict=True)
        mailer = Mailer(settings, "lvs1", deliver=post, wall_clock=lambda: DATE, log=log)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailer.run)
            await story(mailer, post, told)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_mails_are_delivered_in_order_one_after_another() -> None:
    async def story(mailer: Mailer, post: Post, told: Told) -> None:
        mailer.tell(CHECK_DOWN)
        mailer.tell(QUORUM_LOST)
        await trio.sleep(5)
        mailer.tell(REMOVED)
        await trio.sleep(5)
        assert [subject for subject, _ in post.taken] == [
            "[lvs1] " + SUBJECT + "DOWN",
            "[lvs1] Virtualserver [203.0.113.1]:tcp:80 - DOWN",
            "[lvs1] " + SUBJECT + "DOWN",
        ]
        assert [at for _, at in post.taken] == pytest.approx([0.1, 0.2, 5.1])
        assert (mailer.sent, mailer.failed, mailer.dropped) == (3, 0, 0)
        assert [event["recipients"] for event in told.named("notify.sent")] == [
            "admin@example.com, duty@example.com"
        ] * 3

    play(story)


@pytest.mark.parametrize("settings", [replace(SETTINGS, recipients=()), replace(SETTINGS, server=""), MailSettings()])
def test_without_server_or_recipients_nothing_is_sent(settings: MailSettings) -> None:
    async def story(mailer: Mailer, post: Post, _told: Told) -> None:
        mailer.tell(CHECK_DOWN)
        await trio.sleep(5)
        assert post.attempts == []
        assert (mailer.sent, mailer.failed, mailer.dropped) == (0, 0, 0)

    play(story, settings)


def test_a_passing_failure_is_retried_with_growing_pauses() -> None:
    async def story(mailer: Mailer, post: Post, told: Told) -> None:
        post.failures = [DeliveryFailed("connection refused")] * 3
        mailer.tell(CHECK_DOWN)
        await trio.sleep(120)
        assert post.attempts == pytest.approx([0, 1.1, 6.2, 21.3])
        assert (mailer.sent, mailer.failed) == (1, 0)
        assert [(event["next_retry_s"], event["final"]) for event in told.named("notify.failed")] == [
            (1.0, False),
            (5.0, False),
            (15.0, False),
        ]

    play(story)


def test_after_the_last_attempt_the_next_mail_gets_its_chance() -> None:
    async def story(mailer: Mailer, post: Post, told: Told) -> None:
        post.failures = [DeliveryFailed("connection refused")] * 5
        mailer.tell(CHECK_DOWN)
        mailer.tell(QUORUM_LOST)
        await trio.sleep(300)
        assert len(post.attempts) == 6
        assert (mailer.sent, mailer.failed) == (1, 1)
        assert [event["final"] for event in told.named("notify.failed")] == [False] * 4 + [True]

    play(story)


def test_a_final_refusal_is_not_retried() -> None:
    async def story(mailer: Mailer, post: Post, _told: Told) -> None:
        post.failures = [DeliveryFailed("550 no such user", permanent=True)]
        mailer.tell(CHECK_DOWN)
        await trio.sleep(120)
        assert len(post.attempts) == 1
        assert (mailer.sent, mailer.failed) == (0, 1)

    play(story)


def test_a_hanging_server_costs_bounded_time() -> None:
    async def story(mailer: Mailer, post: Post, _told: Told) -> None:
        post.hangs = True
        mailer.tell(CHECK_DOWN)
        await trio.sleep(3600)
        assert mailer.failed == 1
        assert len(post.attempts) == 5
        assert post.attempts[1] == pytest.approx(SETTINGS.connect_timeout + smtp.SESSION_MAX_S + 1)

    play(story)


def test_old_news_is_given_up_sooner() -> None:
    async def story(mailer: Mailer, post: Post, _told: Told) -> None:
        post.hangs = True
        for _ in range(4):
            mailer.tell(CHECK_DOWN)
        await trio.sleep(2000)
        assert mailer.failed == 4
        assert len(post.attempts) < 4 * 5

    play(story)


def test_tell_never_waits_and_a_full_queue_drops_and_says_so() -> None:
    async def story(mailer: Mailer, post: Post, told: Told) -> None:
        post.hangs = True
        begin = trio.current_time()
        mailer.tell(CHECK_DOWN)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(smtp.QUEUE_MAX + 100):
            mailer.tell(CHECK_DOWN)
        assert trio.current_time() == begin
        assert mailer.dropped == 100
        assert [event["count"] for event in told.named("notify.dropped")] == [1, 2, 4, 8, 16, 32, 64]

    play(story)


def test_mail_is_delivered_also_at_shutdown() -> None:
    async def story(mailer: Mailer, post: Post, _told: Told) -> None:
        for _ in range(10):
            mailer.tell(CHECK_DOWN)
        await mailer.drain(5)
        assert len(post.taken) == 10
        assert post.taken[-1][1] == pytest.approx(1.0)
        mailer.tell(CHECK_DOWN)
        assert (mailer.sent, mailer.dropped) == (10, 1)
        await mailer.drain(5)  # a second time costs nothing
        assert trio.current_time() - post.began == pytest.approx(1.0)

    play(story)


def test_a_pause_before_a_retry_does_not_hold_up_the_shutdown() -> None:
    async def story(mailer: Mailer, post: Post, _told: Told) -> None:
        post.failures = [DeliveryFailed("connection refused")] * 4
        mailer.tell(CHECK_DOWN)
        await trio.sleep(25)  # the next attempt would come in a minute
        await mailer.drain(5)
        assert mailer.sent == 1
        assert trio.current_time() - post.began == pytest.approx(25.1)

    play(story)


def test_a_hanging_server_does_not_hold_up_the_shutdown_beyond_its_time() -> None:
    async def story(mailer: Mailer, post: Post, told: Told) -> None:
        post.hangs = True
        for _ in range(3):
            mailer.tell(CHECK_DOWN)
        await mailer.drain(5)
        assert trio.current_time() - post.began == pytest.approx(5)
        assert mailer.dropped == 3
        assert told.named("notify.dropped")[-1]["reason"] == "stopped before delivery"

    play(story)


def test_after_a_reload_the_new_settings_hold_for_new_mail() -> None:
    async def story(mailer: Mailer, post: Post, _told: Told) -> None:
        mailer.tell(CHECK_DOWN)
        mailer.reconfigure(replace(SETTINGS, recipients=("new@example.com",)), "lvs2")
        mailer.tell(CHECK_DOWN)
        await trio.sleep(5)
        assert [subject[:6] for subject, _ in post.taken] == ["[lvs1]", "[lvs2]"]
        assert [settings.recipients for settings in post.settings] == [SETTINGS.recipients, ("new@example.com",)]

    play(story)


# -- a real SMTP server --------------------------------------------------------------------------------------------------


class Postbox:
    """An SMTP server's handler that keeps what comes, and refuses some people."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.greetings: list[str] = []
        self.answer = "250 OK"

    async def handle_RCPT(  # noqa: N802  (aiosmtpd's name)
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        self.greetings.append(str(session.host_name))
        if address.startswith("nobody@"):
            return "550 no such user"
        if address.startswith("later@"):
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  (see above)
        self.envelopes.append(envelope)
        return self.answer


@pytest.fixture
def postbox() -> Iterator[tuple[Postbox, MailSettings]]:
    box = Postbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, replace(SETTINGS, server="127.0.0.1", port=port, connect_timeout=5, helo_name="lvs1.example.com")
    controller.stop()


def test_a_real_server_gets_envelope_and_headers(postbox: tuple[Postbox, MailSettings]) -> None:
    box, settings = postbox

    async def main() -> None:
        mailer = Mailer(settings, "lvs1", wall_clock=lambda: DATE, log=Log(Told(), strict=True))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailer.run)
            mailer.tell(CHECK_DOWN)
            await mailer.drain(10)
            nursery.cancel_scope.cancel()
        assert mailer.sent == 1

    trio.run(main)
    (envelope,) = box.envelopes
    assert envelope.mail_from == "lvs@example.com"
    assert envelope.rcpt_tos == ["admin@example.com", "duty@example.com"]
    assert box.greetings[0] == "lvs1.example.com"
    assert isinstance(envelope.content, bytes)
    assert envelope.content == compose(
        settings, f"[lvs1] {SUBJECT}DOWN", "=> CHECK failed on service : HTTP/SSL request failed <=", DATE
    )


def failing(settings: MailSettings) -> DeliveryFailed:
    """Deliver and return the failure."""

    async def main() -> None:
        await deliver_smtp(settings, compose(settings, "[lvs1] x", "y", DATE), settings.recipients)

    with pytest.raises(DeliveryFailed) as caught:
        trio.run(main)
    return caught.value


def test_refused_recipients_are_named_and_the_others_get_their_mail(postbox: tuple[Postbox, MailSettings]) -> None:
    box, settings = postbox
    failure = failing(replace(settings, recipients=("admin@example.com", "nobody@example.com")))
    assert failure.permanent
    assert "nobody@example.com: 550 no such user" in str(failure)
    assert [envelope.rcpt_tos for envelope in box.envelopes] == [["admin@example.com"]]


def test_a_refusal_for_now_is_worth_another_attempt_and_one_for_ever_is_not(
    postbox: tuple[Postbox, MailSettings],
) -> None:
    box, settings = postbox
    assert not failing(replace(settings, recipients=("later@example.com",))).permanent
    assert failing(replace(settings, recipients=("nobody@example.com",))).permanent
    box.answer = "554 we do not like it"
    failure = failing(settings)
    assert failure.permanent
    assert str(failure) == f"127.0.0.1 port {settings.port}: 554 we do not like it"


def test_a_server_that_is_not_there_is_worth_another_attempt() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    failure = failing(replace(SETTINGS, server="127.0.0.1", port=port, connect_timeout=5))
    assert not failure.permanent
    assert "refused" in str(failure)


def test_a_server_that_accepts_and_says_nothing_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        failure = failing(replace(SETTINGS, server="127.0.0.1", port=silent.getsockname()[1], connect_timeout=1))
    assert not failure.permanent


def test_a_hanging_delivery_is_abandoned_in_time_and_threads_are_bounded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = replace(SETTINGS, server="127.0.0.1", port=silent.getsockname()[1], connect_timeout=3)
        before = threading.active_count()

        async def main() -> None:
            begin = trio.current_time()
            async with trio.open_nursery() as nursery:
                for _ in range(smtp.THREADS_MAX * 3):
                    nursery.start_soon(give_up, settings)
            assert trio.current_time() - begin < 2
            assert threading.active_count() - before <= smtp.THREADS_MAX + 1

        async def give_up(settings: MailSettings) -> None:
            with trio.move_on_after(0.2):
                await deliver_smtp(settings, b"", settings.recipients)

        trio.run(main)
