"""The mailer: its queue and its retries, on a virtual clock."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from email import message_from_bytes
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from supervisor.log import Log
from supervisor.model import MailSettings
from supervisor.notify import smtp
from supervisor.notify.smtp import DeliveryFailed, Mailer
from tests.supervisor.notify.samples import CHECK_DOWN, DATE, QUORUM_LOST, REMOVED, SETTINGS, SUBJECT


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
