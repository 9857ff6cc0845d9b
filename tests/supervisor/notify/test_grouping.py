"""Which news are mails of their own, and which are told together: on a virtual clock, through the mailer where time matters."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from email import message_from_bytes
from email.message import Message
from ipaddress import ip_address

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from supervisor.core.transitions import CheckChanged, Transition
from supervisor.log import Log
from supervisor.model import Endpoint, MailSettings
from supervisor.notify import _grouping as grouping
from supervisor.notify._grouping import Grouping, Text
from supervisor.notify._words import News, What
from supervisor.notify.smtp import DeliveryFailed, Mailer
from tests.supervisor.notify.samples import CHECK_DOWN, DATE, QUORUM_LOST, SETTINGS

WITHIN_ONE_SECOND = replace(SETTINGS, group_within=1.0)


def down(number: int) -> CheckChanged:
    return replace(CHECK_DOWN, real_server=Endpoint(ip_address(0x0A000000 + number), 80))


def up(number: int) -> CheckChanged:
    return replace(down(number), up=True, real_server_up=True)


class Post:
    """A fake delivery: remembers what it took, and when."""

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.times: list[float] = []
        self.began = trio.current_time()
        self.is_there = True

    async def __call__(self, _settings: MailSettings, message: bytes, _recipients: Sequence[str]) -> None:
        if not self.is_there:
            raise DeliveryFailed("connection refused")
        self.mails.append(message_from_bytes(message))
        self.times.append(round(trio.current_time() - self.began, 6))

    def subjects(self) -> list[str]:
        return [str(mail["Subject"]).removeprefix("[lvs1] ") for mail in self.mails]

    def lines(self, number: int) -> list[str]:
        return str(self.mails[number].get_payload()).splitlines()


def play(
    story: Callable[[Mailer, Post], Awaitable[None]], settings: MailSettings = WITHIN_ONE_SECOND, *, tidy: bool = True
) -> None:
    """Run `story` with a mailer that runs; at its end nothing may have been lost."""

    async def main() -> None:
        post = Post()
        mailer = Mailer(settings, "lvs1", deliver=post, wall_clock=lambda: DATE, log=Log(lambda *_: None))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailer.run)
            await story(mailer, post)
            nursery.cancel_scope.cancel()
        assert not tidy or (mailer.dropped, mailer.failed) == (0, 0)

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def tell(mailer: Mailer, transitions: Sequence[Transition], every_s: float = 0.0) -> None:
    for transition in transitions:
        mailer.tell(transition)
        await trio.sleep(every_s)


def test_a_rack_that_fails_is_one_mail() -> None:
    async def story(mailer: Mailer, post: Post) -> None:
        await tell(mailer, [*map(down, range(118)), QUORUM_LOST, replace(QUORUM_LOST, group="web")], 5 / 120)
        await trio.sleep(60)
        assert post.subjects() == ["120 changes: 118 real servers DOWN, 2 virtual servers DOWN"]
        assert len(post.lines(0)) == 120
        assert post.lines(0)[0] == (
            "Realserver [10.0.0.0]:tcp:80 of virtual server [203.0.113.1]:tcp:80 - DOWN"
            "  => CHECK failed on service : HTTP request failed <="
        )
        assert post.lines(0)[-1] == "Virtualserver [web]:0 - DOWN  => Lost quorum 1+0=1 <= 0 <="
        assert post.times == [pytest.approx(6.0, abs=0.1)]

    play(story)


def test_one_change_is_told_as_keepalived_tells_it_a_second_later() -> None:
    async def story(mailer: Mailer, post: Post) -> None:
        mailer.tell(down(1))
        await trio.sleep(60)
        assert post.subjects() == ["Realserver [10.0.0.1]:tcp:80 of virtual server [203.0.113.1]:tcp:80 - DOWN"]
        assert post.lines(0) == ["=> CHECK failed on service : HTTP request failed <="]
        assert post.times == [1.0]

    play(story)


def test_a_few_changes_are_mails_of_their_own_in_their_order() -> None:
    async def story(mailer: Mailer, post: Post) -> None:
        await tell(mailer, [down(1), QUORUM_LOST, up(1), down(1)], 0.1)
        await trio.sleep(60)
        server = "Realserver [10.0.0.1]:tcp:80 of virtual server [203.0.113.1]:tcp:80"
        assert post.subjects() == [
            f"{server} - DOWN",
            "Virtualserver [203.0.113.1]:tcp:80 - DOWN",
            f"{server} - UP",
            f"{server} - DOWN",
        ]
        assert set(post.times) == {1.0}

    play(story)


def test_without_a_window_every_mail_goes_by_itself_and_at_once() -> None:
    async def story(mailer: Mailer, post: Post) -> None:
        await tell(mailer, [down(number) for number in range(100)])
        await trio.testing.wait_all_tasks_blocked()
        assert len(post.mails) == 100
        assert set(post.times) == {0.0}

    play(story, SETTINGS)


def test_of_an_object_that_changes_often_the_last_state_counts() -> None:
    async def story(mailer: Mailer, post: Post) -> None:
        await tell(mailer, [down(1), down(2), up(1), down(3), down(1), up(2), down(4)])
        await trio.sleep(60)
        assert post.subjects() == ["7 changes: 3 real servers DOWN, 1 real server UP"]
        assert [(line.split("]")[0].split("[")[1], line.partition(" <=")[2]) for line in post.lines(0)] == [
            ("10.0.0.3", ""),
            ("10.0.0.1", "  (last of 3 changes)"),
            ("10.0.0.2", "  (last of 2 changes)"),
            ("10.0.0.4", ""),
        ]

    play(story)


def test_trouble_that_drips_is_one_mail_in_ten_seconds_and_nothing_is_lost() -> None:
    async def story(mailer: Mailer, post: Post) -> None:
        await tell(mailer, [down(number) for number in range(600)], 0.4)
        await trio.sleep(60)
        singles = [subject for subject in post.subjects() if "changes" not in subject]
        told = sum(int(subject.split(" ")[0]) for subject in post.subjects() if "changes" in subject)
        assert told + len(singles) == 600
        assert len(singles) < 20
        assert len(post.mails) < grouping.BURST_MAX + 600 * 0.4 / 10 * 2

    play(story)


def test_a_slow_server_of_mail_makes_fewer_and_larger_mails_and_the_last_word_is_true() -> None:
    async def story(mailer: Mailer, post: Post) -> None:
        post.is_there = False
        mailer.tell(down(0))
        await trio.sleep(2)
        for number in range(1, 3000):
            mailer.tell(down(number % 1500))
        for number in range(1500):
            mailer.tell(up(number))
        post.is_there = True
        await trio.sleep(30)
        assert post.subjects()[1:] == ["4499 changes: 1500 real servers UP"]
        assert post.lines(1)[0] == "(2999 older changes are left out)"
        assert len(post.lines(1)) == 1 + grouping.LINES_MAX
        assert "[10.0.5.219]" in post.lines(1)[-1]

    play(story)


def test_what_is_collected_is_sent_at_once_at_the_stop() -> None:
    async def story(mailer: Mailer, post: Post) -> None:
        await tell(mailer, [down(number) for number in range(20)])
        await mailer.drain(5)
        assert post.subjects() == ["20 changes: 20 real servers DOWN"]
        assert post.times == [0.0]

    play(story)


def test_a_reload_sends_what_is_collected_to_whom_it_was_meant_for() -> None:
    async def story(mailer: Mailer, post: Post) -> None:
        await tell(mailer, [down(number) for number in range(20)])
        mailer.reconfigure(replace(WITHIN_ONE_SECOND, recipients=("new@example.com",)), "lvs2")
        mailer.tell(up(1))
        await trio.sleep(30)
        assert [str(mail["To"]) for mail in post.mails] == ["admin@example.com, duty@example.com", "new@example.com"]
        assert [str(mail["Subject"])[:6] for mail in post.mails] == ["[lvs1]", "[lvs2]"]

    play(story)


def test_a_mail_never_grows_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "OBJECTS_MAX", 50)
    collected = Grouping(1.0)
    for number in range(1000):
        collected.add(News(What.REAL_SERVER, f"[10.0.0.1]:tcp:{number}", up=False, body="=> body <="), 0.0)
    (mail,) = collected.take(1.0)
    assert mail.subject == "1000 changes: 50 real servers DOWN"
    assert mail.lines[0] == "(950 older changes are left out)"
    assert len(mail.lines) == 51


Step = tuple[float, int, bool]


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 7), st.booleans()), max_size=60))
def test_whatever_happens_the_last_word_about_each_object_is_true_and_all_changes_are_counted(
    steps: list[Step],
) -> None:
    now, collected, mails = 100.0, Grouping(1.0), list[Text]()
    state: dict[str, bool] = {}
    for pause_s, number, is_up in steps:
        if collected.due() <= now + pause_s:
            mails += collected.take(max(now, collected.due()))
        now += pause_s
        name = f"[10.0.0.{number}]:tcp:80"
        collected.add(News(What.REAL_SERVER, name, is_up, "=> body <="), now)
        assert collected.due() <= now + grouping.HOLD_WINDOWS
        state[name] = is_up
    mails += collected.take(now + grouping.HOLD_WINDOWS)
    said: dict[str, bool] = {}
    for mail in mails:
        for line in mail.lines if "changes" in mail.subject else (mail.subject,):
            said[line.split(" ")[1]] = " - UP" in line
    assert said == state
    assert sum(int(mail.subject.split(" ")[0]) if "changes" in mail.subject else 1 for mail in mails) == len(steps)
    assert len(collected) == 0
