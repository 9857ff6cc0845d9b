"""Time-outs, sync daemons and the claim on strangers' services: the writer's work beside the table, on a virtual clock."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock

from supervisor.core.events import Event
from supervisor.core.kernelsettings import Change, SetTimeouts, StartSync, StopSync
from supervisor.core.table import AddService, DeleteService, ServiceSettings, Table
from supervisor.ipvs.notices import Adjusted, Drift, NotAdjusted, Notice
from supervisor.ipvs.settings import OUT_OF_REACH, UNKNOWN
from supervisor.ipvs.writer import Writer
from supervisor.model import KernelSettings, ServiceKey, SyncDaemon, SyncRole, Timeouts
from tests.fakes.backend import FaultyBackend
from tests.fakes.tables import destination, service, table, tcp

KEY, STRANGER = tcp("10.0.0.1"), tcp("10.7.7.7")
ONE = table(service(KEY, destination("10.1.0.1")))
BESIDE_STRANGER = table(service(KEY, destination("10.1.0.1")), service(STRANGER, destination("10.1.0.1")))
MASTER, BACKUP = SyncDaemon(SyncRole.MASTER, "eth0", 7, 1400), SyncDaemon(SyncRole.BACKUP, "eth0", 7, 1400)
WANTED = KernelSettings(timeouts=Timeouts(tcp=1000), sync_daemons=(MASTER, BACKUP))
ALL: list[Change] = [SetTimeouts(Timeouts(tcp=1000)), StartSync(MASTER), StartSync(BACKUP)]


@dataclass
class Desk:
    backend: FaultyBackend
    writer: Writer
    notices: list[Notice] = field(default_factory=list)

    def told(self) -> list[Notice]:
        return [notice for notice in self.notices if isinstance(notice, Adjusted | NotAdjusted)]


@asynccontextmanager
async def desk(
    backend: FaultyBackend,
    settings: KernelSettings = WANTED,
    owned: Collection[ServiceKey] = (KEY,),
    *,
    claim: bool = False,
) -> AsyncIterator[Desk]:
    """Start a writer that has been asked for settings; it is cancelled at the end."""

    async def report(event: Event) -> None:
        del event
        await trio.lowlevel.checkpoint()

    notices: list[Notice] = []
    writer = Writer(backend, report, owned, notice=notices.append)
    writer.adjust(settings)
    if claim:
        writer.claim()
    async with trio.open_nursery() as nursery:
        await nursery.start(writer.run)
        yield Desk(backend, writer, notices)
        nursery.cancel_scope.cancel()


def play(story: Callable[[], Awaitable[None]]) -> None:
    trio.run(story, clock=MockClock(autojump_threshold=0))


def test_settings_are_carried_out_before_the_table_and_told() -> None:
    async def story() -> None:
        backend = FaultyBackend()
        order: list[object] = []

        def note(change: object) -> str:
            order.append(change)
            return ""

        backend.refuse = backend.refuse_change = note
        async with desk(backend) as d:
            d.writer.want(ONE)
            assert await d.writer.settle(5)
            assert await d.writer.adjusted(5)
            assert order[:3] == ALL
            assert isinstance(order[3], AddService)
            assert d.told() == [Adjusted(change) for change in ALL]

    play(story)


def test_settings_that_are_there_already_are_not_touched() -> None:
    async def story() -> None:
        backend = FaultyBackend()
        async with desk(backend) as first:
            await first.writer.adjusted(5)
        async with desk(backend) as second:
            assert await second.writer.adjusted(5)
            assert second.told() == []

    play(story)


def test_a_changed_wish_sends_the_difference_and_an_empty_one_gives_all_back() -> None:
    async def story() -> None:
        async with desk(FaultyBackend()) as d:
            await d.writer.adjusted(5)
            before = d.backend.settings()
            d.writer.adjust(KernelSettings(timeouts=Timeouts(udp=77), sync_daemons=(BACKUP,)))
            assert await d.writer.adjusted(5)
            assert d.backend.changes[3:] == [StopSync(SyncRole.MASTER), SetTimeouts(Timeouts(900, 0, 77))]
            d.writer.adjust(KernelSettings())
            assert await d.writer.adjusted(5)
            assert d.backend.settings() == FaultyBackend().settings() != before

    play(story)


def test_a_cancelled_writer_leaves_the_settings_as_they_are() -> None:
    async def story() -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            await d.writer.adjusted(5)
        assert backend.changes == ALL

    play(story)


def test_a_refusal_is_told_once_keeps_nothing_waiting_and_is_tried_again_with_the_next_wish() -> None:
    async def story() -> None:
        backend = FaultyBackend()
        backend.refuse_change = lambda change: "ENODEV" if isinstance(change, StartSync) else ""
        async with desk(backend) as d:
            d.writer.want(ONE)
            assert await d.writer.settle(1)
            assert await d.writer.adjusted(1)
            await trio.sleep(30)
            assert d.told() == [
                Adjusted(ALL[0]),
                NotAdjusted(StartSync(MASTER), "ENODEV"),
                NotAdjusted(StartSync(BACKUP), "ENODEV"),
            ]
            backend.refuse_change = lambda _change: ""
            d.writer.adjust(WANTED)
            assert await d.writer.adjusted(1)
            assert backend.changes == ALL

    play(story)


def test_a_change_whose_answer_was_lost_is_looked_up() -> None:
    async def story() -> None:
        backend = FaultyBackend()
        backend.lose_changes = 2
        async with desk(backend) as d:
            assert await d.writer.adjusted(5)
            assert d.told() == [Adjusted(change) for change in ALL]

    play(story)


@pytest.mark.parametrize("blind", [False, True])
def test_a_change_that_cannot_be_seen_after_a_lost_answer_is_told_as_unknown(*, blind: bool) -> None:
    async def story() -> None:
        backend = FaultyBackend()

        def refuse(change: Change) -> str:
            if isinstance(change, SetTimeouts):
                backend.lose_changes = 1
                backend.lose_settings = int(blind)
                return "EINVAL"  # nobody will hear it
            return ""

        backend.refuse_change = refuse
        async with desk(backend) as d:
            assert await d.writer.adjusted(5)
            assert d.told()[0] == NotAdjusted(ALL[0], UNKNOWN)
            assert backend.changes == ALL[1:]

    play(story)


def test_settings_that_cannot_be_read_wait_for_the_next_audit_and_the_table_does_not() -> None:
    async def story() -> None:
        backend = FaultyBackend()
        backend.lose_settings = 2
        async with desk(backend) as d:
            d.writer.want(ONE)
            assert await d.writer.settle(1)
            assert not await d.writer.adjusted(1)
            assert backend.changes == []
            assert await d.writer.adjusted(10)
            assert backend.changes == ALL

    play(story)


def test_a_table_that_goes_away_in_the_middle_is_no_crash() -> None:
    async def story() -> None:
        backend = FaultyBackend()

        def go(change: Change) -> str:
            if isinstance(change, StartSync):
                backend.unavailable = "the module is gone"
            return ""

        backend.refuse_change = go
        async with desk(backend) as d:
            assert await d.writer.adjusted(5)
            assert d.told()[2:] == [NotAdjusted(StartSync(BACKUP), OUT_OF_REACH)]

    play(story)


def test_a_wish_that_comes_while_another_is_carried_out_is_not_lost() -> None:
    async def story() -> None:
        backend = FaultyBackend()
        async with desk(backend, KernelSettings()) as d:
            newer = KernelSettings(timeouts=Timeouts(udp=77))

            def change_mind(change: Change) -> str:
                if isinstance(change, SetTimeouts) and change.timeouts.tcp == 1000:
                    d.writer.adjust(newer)
                return ""

            backend.refuse_change = change_mind
            d.writer.adjust(WANTED)
            assert await d.writer.adjusted(10)
            assert backend.settings().timeouts == Timeouts(900, 120, 77)

    play(story)


def test_what_may_sleep_in_the_kernel_does_so_in_a_thread() -> None:
    threads: list[tuple[type[Change], bool]] = []

    class Noting(FaultyBackend):
        def adjust(self, change: Change) -> str:
            threads.append((type(change), threading.current_thread() is threading.main_thread()))
            return super().adjust(change)

    async def report(event: Event) -> None:
        del event

    async def story() -> None:
        writer = Writer(Noting(), report, in_thread=True)
        writer.adjust(WANTED)
        async with trio.open_nursery() as nursery:
            await nursery.start(writer.run)
            assert await writer.adjusted(10)
            nursery.cancel_scope.cancel()

    trio.run(story)
    assert threads == [(SetTimeouts, True), (StartSync, False), (StartSync, False)]


# --- services of strangers ------------------------------------------------------------------------------------------


def test_a_claim_takes_strangers_away_with_the_first_wanted_table_and_is_no_drift() -> None:
    async def story() -> None:
        backend = FaultyBackend(BESIDE_STRANGER)
        async with desk(backend, claim=True) as d:
            await trio.sleep(10)
            assert backend.ops == [], "before it knows what is wanted, nothing goes"
            d.writer.want(ONE)
            assert await d.writer.settle(5)
            assert backend.ops == [DeleteService(STRANGER)]
            assert not [notice for notice in d.notices if isinstance(notice, Drift)]

    play(story)


def test_without_a_claim_strangers_stay() -> None:
    async def story() -> None:
        backend = FaultyBackend(BESIDE_STRANGER)
        async with desk(backend) as d:
            d.writer.want(ONE)
            assert await d.writer.settle(5)
            assert backend.ops == []

    play(story)


def test_a_stranger_that_comes_back_after_the_claim_is_left_alone() -> None:
    async def story() -> None:
        backend = FaultyBackend(BESIDE_STRANGER)
        async with desk(backend, claim=True) as d:
            d.writer.want(ONE)
            assert await d.writer.settle(5)
            backend.meddle(AddService(STRANGER, ServiceSettings("rr")))
            await trio.sleep(20)
            assert set(backend.table.services) == {KEY, STRANGER}

    play(story)


def test_a_stranger_that_the_configuration_names_later_is_ours_for_good() -> None:
    async def story() -> None:
        backend = FaultyBackend(BESIDE_STRANGER)
        async with desk(backend, claim=True) as d:
            d.writer.want(BESIDE_STRANGER)
            assert await d.writer.settle(5)
            assert backend.ops == []
            d.writer.want(ONE)
            assert await d.writer.settle(5)
            assert backend.ops == [DeleteService(STRANGER)]

    play(story)


def test_a_claim_at_the_stop_sees_strangers_that_came_a_moment_ago() -> None:
    async def story() -> None:
        backend = FaultyBackend(ONE)
        async with desk(backend) as d:
            d.writer.want(ONE)
            assert await d.writer.settle(5)
            await trio.sleep(0.5)
            backend.meddle(AddService(STRANGER, ServiceSettings("rr")))
            d.writer.claim()
            d.writer.want(Table())
            assert await d.writer.settle(5)
            assert backend.table == Table()
            assert not [notice for notice in d.notices if isinstance(notice, Drift)]

    play(story)


def test_a_claim_waits_until_the_table_can_be_read() -> None:
    async def story() -> None:
        backend = FaultyBackend(BESIDE_STRANGER)
        backend.lose_reads = 3
        async with desk(backend, claim=True) as d:
            d.writer.want(ONE)
            assert await d.writer.settle(10)
            assert backend.table == ONE

    play(story)
