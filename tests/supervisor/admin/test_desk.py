"""Who may say what at the admin socket, for how long, and what is kept on record."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from supervisor.admin.access import Access, Caller
from supervisor.admin.desk import BRIEF_MAX, Desk, Requested, Verb, question
from supervisor.admin.protocol import Request, RequestError, Status

OWNER, GROUP = 900, 77
ALICE = Caller(OWNER, OWNER, 4711, "alice")
BOB = Caller(1001, 1001, 4712, "bob", frozenset({1001, GROUP}))


class Story:
    """A desk with a question, an order, one that takes for ever and one that fails, and its record."""

    def __init__(self, access: Access) -> None:
        self.record: list[Requested] = []
        self.done: list[str] = []
        verbs = {
            "status": question(lambda _args: "fine"),
            "drain": Verb(self._drain),
            "reload": Verb(self._for_ever, limit_s=90.0),
            "weight": Verb(self._fail),
        }
        self.desk = Desk(verbs, access, self.record.append)

    async def _drain(self, args: dict[str, Any], caller: Caller) -> str:
        self.done.append(f"{caller.name} {args}")
        return "drained"

    async def _for_ever(self, _args: dict[str, Any], _caller: Caller) -> None:
        await trio.sleep_forever()

    async def _fail(self, _args: dict[str, Any], _caller: Caller) -> None:
        raise RequestError("no real server '192.0.2.9'", Status.NOT_FOUND)

    def ask(self, verb: str, caller: Caller, **args: Any) -> Any:
        return trio.run(self.desk.carry_out, Request(verb, args), caller, clock=MockClock(autojump_threshold=0))

    def outcomes(self) -> list[tuple[str, str, str]]:
        return [(told.caller.name, told.verb, told.outcome) for told in self.record]


@pytest.mark.parametrize(
    ("access", "caller", "may"),
    [
        (Access(OWNER), ALICE, "ask and change"),
        (Access(OWNER), Caller(0, 0, 1, "root"), "ask and change"),
        (Access(OWNER), BOB, ""),
        (Access(OWNER, GROUP), BOB, "ask"),
        (Access(OWNER, GROUP), Caller(1001, GROUP, 1), "ask"),
        (Access(OWNER, GROUP, group_may_change=True), BOB, "ask and change"),
        (Access(OWNER, 78, group_may_change=True), BOB, ""),
        (Access(OWNER, group_may_change=True), BOB, ""),
    ],
)
def test_who_may_ask_and_who_may_change_something(access: Access, caller: Caller, may: str) -> None:
    allowed = [
        word for word, changes in (("ask", False), ("change", True)) if not access.refusal(caller, changes=changes)
    ]
    assert " and ".join(allowed) == may


def test_whoever_may_not_is_refused_told_why_and_put_on_record_and_nothing_is_done() -> None:
    story = Story(Access(OWNER, GROUP))
    assert story.ask("status", BOB) == "fine"
    with pytest.raises(RequestError, match=r"bob may ask and not change anything.*--admin-group-may-change") as caught:
        story.ask("drain", BOB)
    assert caught.value.status is Status.REFUSED
    with pytest.raises(RequestError, match=r"uid 1002 may not ask.*--admin-group"):
        story.ask("status", Caller(1002, 1002, 3))
    assert story.done == []
    assert story.outcomes() == [("bob", "drain", "refused"), ("uid 1002", "status", "refused")]


def test_a_change_is_on_record_with_who_what_and_how_it_ended_and_a_question_is_not() -> None:
    story = Story(Access(OWNER))
    story.ask("status", ALICE)
    story.ask("drain", ALICE, real_server="192.0.2.1", reason="é" * 500)
    (told,) = story.record
    assert (told.verb, told.caller, told.outcome, told.reason) == ("drain", ALICE, "done", "")
    assert told.args.startswith('{"real_server": "192.0.2.1", "reason": "éé')
    assert len(told.args) == BRIEF_MAX
    with pytest.raises(RequestError, match=r"192\.0\.2\.9"):
        story.ask("weight", ALICE)
    assert (story.record[1].outcome, story.record[1].reason) == ("failed", "no real server '192.0.2.9'")


def test_a_verb_has_a_time_limit_of_its_own() -> None:
    story = Story(Access(OWNER))
    with pytest.raises(RequestError, match="reload: not done within 90 s") as caught:
        story.ask("reload", ALICE)
    assert caught.value.status is Status.TIMEOUT
    assert [(told.outcome, round(told.duration_s)) for told in story.record] == [("timed out", 90)]


def test_an_order_that_the_stop_of_the_daemon_cuts_off_is_on_record_as_that() -> None:
    story = Story(Access(OWNER))

    async def stopped() -> None:
        with trio.move_on_after(1):
            await story.desk.carry_out(Request("reload"), ALICE)

    trio.run(stopped, clock=MockClock(autojump_threshold=0))
    assert story.outcomes() == [("alice", "reload", "cut off")]


def test_between_two_questions_everybody_else_gets_a_turn() -> None:
    history: list[str] = []
    desk = Desk({"status": question(lambda _args: history.append("question"))}, Access(OWNER), lambda _told: None)

    async def others() -> None:
        for _ in range(100):
            history.append("turn")
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(desk.carry_out, Request("status"), ALICE)
            nursery.start_soon(others)

    trio.run(main)
    assert history.count("question") == 16
    assert "question question" not in " ".join(history)
