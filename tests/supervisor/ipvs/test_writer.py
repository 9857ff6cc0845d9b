"""The single writer on a virtual clock, against a table in memory that goes wrong on request."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from supervisor.core.events import Event, KernelRead, KernelWritten, WeightsAdopted
from supervisor.core.table import (
    AddDestination,
    AddService,
    ChangeDestination,
    DeleteDestination,
    DeleteService,
    Op,
    Reading,
    Table,
    TableError,
)
from supervisor.ipvs.inspection import united
from supervisor.ipvs.notices import Action, Adopted, Contested, Drift, Notice, Recovered, Refused, Settled, Trouble
from supervisor.ipvs.writer import LOST, UNAVAILABLE, Writer
from supervisor.model import DriftPolicy, RealServer, ServiceKey, VirtualServer
from tests.fakes.backend import FaultyBackend
from tests.fakes.tables import KEYS, destination, endpoint, service, table, tables, tcp, weights

KEY, OTHER, STRANGER = tcp("10.0.0.1"), tcp("10.0.0.2"), tcp("10.7.7.7")
TWO = table(service(KEY, destination("10.1.0.1"), destination("10.1.0.2")))
ONE_DOWN_FIRST = table(service(KEY, destination("10.1.0.1", 0), destination("10.1.0.2")))
ONE_DOWN = table(service(KEY, destination("10.1.0.1"), destination("10.1.0.2", 0)))


@dataclass
class Desk:
    """A writer at work, what it told, and the table it works on."""

    backend: FaultyBackend
    writer: Writer
    events: list[Event] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    @property
    def written(self) -> list[KernelWritten]:
        return [event for event in self.events if isinstance(event, KernelWritten)]

    @property
    def readings(self) -> list[KernelRead]:
        return [event for event in self.events if isinstance(event, KernelRead)]

    def count(self, operation: str, result: str = "ok") -> int:
        return sum(c.count for c in self.writer.view().operations if (c.operation, c.result) == (operation, result))


@asynccontextmanager
async def desk(backend: FaultyBackend, owned: Collection[ServiceKey] = (KEY,)) -> AsyncIterator[Desk]:
    """Start a writer; it is cancelled at the end."""
    events: list[Event] = []
    notices: list[Notice] = []

    async def report(event: Event) -> None:
        await trio.lowlevel.checkpoint()
        events.append(event)

    writer = Writer(backend, report, owned, notice=notices.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(writer.run)
        yield Desk(backend, writer, events, notices)
        nursery.cancel_scope.cancel()


def play(story: Callable[[MockClock], Awaitable[None]]) -> None:
    """Run a story on a virtual clock."""
    clock = MockClock(autojump_threshold=0)
    trio.run(story, clock, clock=clock)


def test_a_wanted_table_is_written_and_read_back() -> None:
    async def story(_clock: MockClock) -> None:
        async with desk(FaultyBackend()) as d:
            d.writer.want(TWO)
            assert await d.writer.settle(1.0)
            assert d.backend.table == TWO
            assert d.backend.ops == [
                AddService(KEY, TWO.services[KEY].settings),
                AddDestination(KEY, destination("10.1.0.1")),
                AddDestination(KEY, destination("10.1.0.2")),
            ]
            written, read = d.events[-2:]
            assert isinstance(written, KernelWritten)
            assert written.ops == tuple(d.backend.ops)
            assert dict(written.errors) == {}
            assert isinstance(read, KernelRead)
            assert read.agrees
            assert read.reading.table == TWO

    play(story)


def test_the_first_reading_is_handed_over_for_adoption_and_nothing_is_written_before_the_first_wish() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend(TWO)

        async def report(_event: Event) -> None:
            await trio.lowlevel.checkpoint()

        writer = Writer(backend, report, {KEY})
        async with trio.open_nursery() as nursery:
            reading: Reading = await nursery.start(writer.run)
            assert reading.table == TWO
            await trio.sleep(60)
            assert backend.batches == []
            assert backend.table == TWO
            nursery.cancel_scope.cancel()

    play(story)


@pytest.mark.parametrize("lost", [0, 1], ids=["", "and the second is lost"])
def test_what_the_first_reading_alone_lacks_is_there_for_adoption(lost: int) -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend(table(*TWO.services.values(), service(OTHER, destination("10.1.0.9"))))

        async def report(_event: Event) -> None:
            await trio.lowlevel.checkpoint()

        def lose_the_next(_reading: Reading) -> None:
            backend.lose_reads, backend.watch_reading = lost, lambda _reading: None

        backend.ghosts, backend.watch_reading = [(KEY, endpoint("10.1.0.2"))], lose_the_next
        writer = Writer(backend, report, {KEY})
        async with trio.open_nursery() as nursery:
            reading: Reading = await nursery.start(writer.run)
            there = reading.table.services[KEY].destinations.keys()
            assert there == {endpoint("10.1.0.1"), *([] if lost else [endpoint("10.1.0.2")])}
            assert backend.reads[:2] == [None, {KEY}], "nobody else's is read again"
            writer.want(TWO)
            await trio.sleep(10)
            assert backend.table.services[KEY] == TWO.services[KEY]
            nursery.cancel_scope.cancel()

    play(story)


def test_what_the_second_reading_alone_lacks_is_there_for_adoption() -> None:
    one, two = TWO.services[KEY], table(service(KEY, destination("10.1.0.1")))
    both = united(TWO, two, {KEY})
    assert both.services[KEY].destinations.keys() == one.destinations.keys()
    assert united(two, TWO, {KEY}) == TWO
    assert united(TWO, table(), {KEY}) == table(), "it went meanwhile"


def test_adopting_what_is_there_already_writes_nothing() -> None:
    async def story(_clock: MockClock) -> None:
        async with desk(FaultyBackend(TWO)) as d:
            d.writer.want(table(service(KEY, destination("10.1.0.1"), destination("10.1.0.2"))))
            assert await d.writer.settle(1.0)
            assert d.backend.batches == []

    play(story)


def test_the_same_object_again_costs_nothing() -> None:
    async def story(_clock: MockClock) -> None:
        async with desk(FaultyBackend()) as d:
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            reads = len(d.backend.reads)
            for _ in range(100):
                d.writer.want(TWO)
                await trio.sleep(0.001)
            assert len(d.backend.batches) == 1
            assert len(d.backend.reads) == reads

    play(story)


def test_strangers_are_never_touched_and_owned_services_that_nobody_wants_are_deleted() -> None:
    async def story(_clock: MockClock) -> None:
        there = table(service(STRANGER, destination("10.1.0.9")), service(OTHER, destination("10.1.0.9")))
        async with desk(FaultyBackend(there), owned={KEY, OTHER}) as d:
            d.writer.want(TWO)
            assert await d.writer.settle(1.0)
            assert set(d.backend.table.services) == {STRANGER, KEY}
            assert all(op.key != STRANGER for op in d.backend.ops)

    play(story)


def test_a_clean_stop_deletes_all_that_was_ever_wanted() -> None:
    async def story(_clock: MockClock) -> None:
        stranger = table(service(STRANGER, destination("10.1.0.9")))
        async with desk(FaultyBackend(stranger), owned=()) as d:
            d.writer.want(table(service(OTHER, destination("10.1.0.1"))))
            await d.writer.settle(1.0)
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            d.writer.want(Table())
            assert await d.writer.settle(1.0)
            assert d.backend.table == stranger

    play(story)


def test_a_cancelled_writer_leaves_the_table_as_it_is() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            d.writer.want(TWO)
            await d.writer.settle(1.0)
        assert backend.table == TWO

    play(story)


def test_the_newest_table_wins_in_the_middle_of_a_long_plan() -> None:
    async def story(clock: MockClock) -> None:
        many = table(service(KEY, *(destination(f"10.1.{n // 250}.{n % 250 + 1}") for n in range(1000))))
        backend = FaultyBackend(clock=clock)
        backend.apply_duration_s = 0.003
        async with desk(backend) as d:
            d.writer.want(many)
            while len(backend.batches) < 3:
                await trio.lowlevel.checkpoint()
            d.writer.want(TWO)
            assert await d.writer.settle(1.0)
            assert backend.table == TWO
            adds = [op for op in backend.ops if isinstance(op, AddDestination)]
            assert len(adds) < 400
            assert max(len(batch) for batch in backend.batches) <= 64

    play(story)


def test_a_wish_that_comes_while_an_event_is_reported_is_not_missed() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        wishes = [ONE_DOWN, TWO, ONE_DOWN]

        async def report(_event: Event) -> None:
            await trio.lowlevel.checkpoint()
            if wishes:
                writer.want(wishes.pop())

        writer = Writer(backend, report, {KEY})
        async with trio.open_nursery() as nursery:
            await nursery.start(writer.run)
            with trio.fail_after(0.5):  # sooner than any audit would put it right
                while backend.table != ONE_DOWN or wishes:  # noqa: ASYNC110  # the table is no task, it cannot tell us
                    await trio.sleep(0.001)
            nursery.cancel_scope.cancel()

    play(story)


# --- refusals -------------------------------------------------------------------------------------------------------


def refuse(*ops: Op, word: str = "EINVAL") -> Callable[[Op], str]:
    return lambda op: word if op in ops else ""


def test_a_refused_operation_is_repeated_with_growing_pauses_told_once_and_holds_up_nothing_else() -> None:
    async def story(_clock: MockClock) -> None:
        bad = AddDestination(KEY, destination("10.1.0.2"))
        backend = FaultyBackend()
        backend.refuse = refuse(bad)
        async with desk(backend) as d:
            d.writer.want(TWO)
            assert not await d.writer.settle(10.0)
            assert weights(backend.table) == {str(KEY): [("10.1.0.1:80", 1)]}
            attempts = [
                time for time, batch in zip(backend.apply_times_s, backend.batches, strict=True) if bad in batch
            ]
            pauses = [later - earlier for earlier, later in itertools.pairwise(attempts)]
            assert pauses[:4] == pytest.approx([0.01, 0.02, 0.04, 0.08])
            assert pauses[-1] == pytest.approx(1.0)
            assert d.notices == [Refused(bad, "EINVAL")]
            errors = [dict(event.errors) for event in d.written]
            assert errors[0] == {2: "EINVAL"}
            assert set(map(str, errors[1:])) == {"{0: 'EINVAL'}"}
            assert d.count("new_dest", "EINVAL") == len(attempts)
            assert d.writer.view().drift_missing == 0  # our own unfinished work is not drift
            assert d.writer.view().queue_oldest_s == pytest.approx(10.0)

            later = table(*TWO.services.values(), service(OTHER, destination("10.1.0.5")))
            d.writer.want(later)
            await trio.sleep(0.01)
            assert OTHER in backend.table.services

            backend.refuse = refuse()
            assert await d.writer.settle(1.1)
            assert backend.table == later

    play(story)


def test_the_pauses_are_short_again_after_all_was_well() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            stubborn = [
                (TWO, AddDestination(KEY, destination("10.1.0.2"))),
                (table(service(OTHER, destination("10.1.0.5"))), AddDestination(OTHER, destination("10.1.0.5"))),
            ]
            for wish, op in stubborn:
                backend.refuse = refuse(op)
                d.writer.want(wish)
                await trio.sleep(5)
                timed = zip(backend.apply_times_s, backend.batches, strict=True)
                pauses = [later - earlier for earlier, later in itertools.pairwise(t for t, ops in timed if op in ops)]
                assert pauses[-1] == pytest.approx(1.0)
                assert min(pauses) == pytest.approx(0.01)
                backend.refuse = refuse()
                assert await d.writer.settle(2.0)

    play(story)


def test_audits_go_on_while_an_operation_is_refused() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        backend.refuse = refuse(AddDestination(KEY, destination("10.1.0.2")))
        async with desk(backend) as d:
            d.writer.want(table(*TWO.services.values(), service(OTHER, destination("10.1.0.5"))))
            await trio.sleep(10)
            assert backend.reads.count(None) >= 5
            backend.meddle(DeleteService(OTHER))
            await trio.sleep(3.2)
            assert OTHER in backend.table.services

    play(story)


def test_what_somebody_else_made_or_took_first_converges() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            backend.meddle(AddService(OTHER, TWO.services[KEY].settings))  # EEXIST
            d.writer.want(table(*TWO.services.values(), service(OTHER, destination("10.1.0.5"))))
            assert await d.writer.settle(0.1)
            backend.meddle(DeleteDestination(KEY, endpoint("10.1.0.2")))  # ENOENT
            d.writer.want(ONE_DOWN)
            assert await d.writer.settle(0.1)
            backend.meddle(DeleteService(KEY))  # ESRCH
            d.writer.want(TWO)
            assert await d.writer.settle(0.1)
            assert weights(backend.table) == weights(TWO)
            assert {count.result for count in d.writer.view().operations} >= {"EEXIST", "ENOENT", "ESRCH"}
            assert [notice for notice in d.notices if isinstance(notice, Refused)] == []

    play(story)


def test_the_old_server_stays_as_long_as_its_successor_is_refused() -> None:
    async def story(_clock: MockClock) -> None:
        old = table(service(KEY, destination("10.1.0.1")))
        new = table(service(KEY, destination("10.1.0.3")))
        backend = FaultyBackend(old)
        backend.refuse = refuse(AddDestination(KEY, destination("10.1.0.3")))
        async with desk(backend) as d:
            d.writer.want(new)
            await trio.sleep(5)
            assert backend.table == old
            backend.refuse = refuse()
            assert await d.writer.settle(1.1)
            assert backend.table == new

    play(story)


# --- lost answers, lost tables --------------------------------------------------------------------------------------


def test_a_lost_answer_is_no_failure_the_table_is_read_instead() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        backend.lose_applies = 1
        async with desk(backend) as d:
            d.writer.want(TWO)
            assert await d.writer.settle(0.1)
            assert backend.table == TWO
            assert len(backend.ops) == 3  # it had been carried out: nothing was sent twice
            assert dict(d.written[0].errors) == {0: LOST, 1: LOST, 2: LOST}
            assert d.notices == []

    play(story)


def test_a_lost_reading_is_repeated() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            backend.lose_reads = 3
            d.writer.want(TWO)
            assert await d.writer.settle(0.2)
            assert d.count("dump", LOST) == 3

    play(story)


def test_a_writer_waits_for_a_table_that_cannot_be_read_yet() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        backend.lose_reads = 5
        began = trio.current_time()
        async with desk(backend) as d:
            assert trio.current_time() - began == pytest.approx(0.01 + 0.02 + 0.04 + 0.08 + 0.16)
            d.writer.want(TWO)
            assert await d.writer.settle(0.1)

    play(story)


def test_a_table_that_goes_away_is_trouble_told_once_and_is_rebuilt_when_it_is_back() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            backend.unavailable = "ip_vs is not loaded"
            backend.meddle(DeleteService(KEY))
            d.writer.want(ONE_DOWN)
            assert not await d.writer.settle(30.0)
            assert d.notices == [Trouble("ip_vs is not loaded")]
            assert UNAVAILABLE in {count.result for count in d.writer.view().operations}
            assert d.writer.view().sync_age_s == pytest.approx(30.0, abs=0.1)
            backend.unavailable = ""
            assert await d.writer.settle(1.2)
            assert backend.table == ONE_DOWN
            assert d.notices[1] == Recovered()

    play(story)


# --- drift ----------------------------------------------------------------------------------------------------------


def test_a_foreign_change_is_found_counted_told_and_mended_at_the_next_audit() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            backend.meddle(
                ChangeDestination(KEY, destination("10.1.0.1", 9)),
                DeleteDestination(KEY, endpoint("10.1.0.2")),
                AddDestination(KEY, destination("10.6.6.6")),
                AddService(STRANGER, TWO.services[KEY].settings),
            )
            await trio.sleep(1.06)
            assert weights(backend.table) == {**weights(TWO), str(STRANGER): []}
            (drift,) = d.notices
            assert isinstance(drift, Drift)
            assert (drift.missing, drift.extra, drift.weight, drift.settings) == (1, 1, 1, 0)
            assert d.writer.view().repairs == 3
            assert d.writer.view().repaired == {"missing": 1, "extra": 1, "weight": 1}
            assert d.writer.view().drift_extra == 0  # mended, and read back
            assert [read.agrees for read in d.readings][-3:] == [False, False, True]

    play(story)


def test_a_table_flushed_by_hand_is_back_after_two_audits() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            backend.meddle(DeleteService(KEY))
            await trio.sleep(2.06)
            assert backend.table == TWO
            (drift,) = d.notices
            assert isinstance(drift, Drift)
            assert drift.missing == 3

    play(story)


def test_one_dump_that_missed_a_destination_leads_to_no_write() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            batches = len(backend.batches)
            for _ in range(5):
                backend.ghosts = [(KEY, endpoint("10.1.0.2"))]
                await trio.sleep(3)
            assert len(backend.batches) == batches
            assert d.notices == []
            assert d.writer.view().repairs == 0

    play(story)


def test_a_suspicion_is_not_confirmed_by_reading_another_service() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        first = table(*TWO.services.values(), service(OTHER, destination("10.1.0.5")))
        async with desk(backend) as d:
            d.writer.want(first)
            await d.writer.settle(1.0)
            backend.ghosts = [(KEY, endpoint("10.1.0.2"))]
            while backend.ghosts:  # noqa: ASYNC110  # see above
                await trio.sleep(0.01)
            d.writer.want(table(*TWO.services.values(), service(OTHER, destination("10.1.0.5", 0))))
            assert await d.writer.settle(1.0)
            assert d.notices == []
            assert AddDestination(KEY, destination("10.1.0.2")) not in backend.ops[4:]

    play(story)


def test_a_suspicion_is_not_confirmed_by_a_slow_write_to_another_service() -> None:
    async def story(clock: MockClock) -> None:
        backend = FaultyBackend(clock=clock)
        async with desk(backend) as d:
            d.writer.want(table(*TWO.services.values(), service(OTHER, destination("10.1.0.5"))))
            await d.writer.settle(1.0)
            backend.ghosts = [(KEY, endpoint("10.1.0.2"))]
            while backend.ghosts:  # noqa: ASYNC110  # see above
                await trio.sleep(0.01)
            backend.apply_duration_s = 0.06  # longer than the delay after which a second look counts
            d.writer.want(table(*TWO.services.values(), service(OTHER, destination("10.1.0.5", 0))))
            assert await d.writer.settle(1.0)
            assert d.notices == []

    play(story)


# --- what somebody else changed, by policy --------------------------------------------------------------------------

REAL = (RealServer(endpoint("10.1.0.1")), RealServer(endpoint("10.1.0.2")))
BY_HAND = ChangeDestination(KEY, destination("10.1.0.1", 0))


def governed(policy: DriftPolicy = DriftPolicy.REPAIR, grace: int = 600) -> VirtualServer:
    return VirtualServer(KEY, real_servers=REAL, drift_policy=policy, drift_grace=grace)


def test_a_weight_set_to_zero_by_hand_stands_for_the_grace_even_if_nobody_answers() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            d.writer.reconfigure([governed(grace=100)])
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            backend.meddle(BY_HAND)
            await trio.sleep(3)
            (event,) = (event for event in d.events if isinstance(event, WeightsAdopted))
            assert [(a.endpoint, a.weight, a.instead_of) for a in event.adoptions] == [(endpoint("10.1.0.1"), 0, 1)]
            assert [type(notice) for notice in d.notices] == [Adopted]
            assert d.writer.view().drift_standing == 1
            assert await d.writer.settle(0)  # all that we want to write is written
            await trio.sleep(95)
            assert backend.table == ONE_DOWN_FIRST
            await trio.sleep(6)
            assert backend.table == TWO
            assert d.writer.view().drift_standing == 0
            assert isinstance(d.notices[-1], Drift)
            assert d.notices[-1].ended

    play(story)


def test_what_is_adopted_is_wanted_from_then_on_and_costs_no_write() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            d.writer.reconfigure([governed(grace=100)])
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            batches = len(backend.batches)
            backend.meddle(BY_HAND)
            await trio.sleep(3)
            d.writer.want(ONE_DOWN_FIRST)  # as the director answers
            await trio.sleep(200)
            assert len(backend.batches) == batches
            d.writer.want(TWO)  # the override is over
            assert await d.writer.settle(0.1)
            assert backend.table == TWO

    play(story)


def test_under_report_nothing_is_written_because_of_drift_and_our_own_changes_still_are() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            d.writer.reconfigure([governed(DriftPolicy.REPORT)])
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            batches = len(backend.batches)
            backend.meddle(
                ChangeDestination(KEY, destination("10.1.0.1", 7)), AddDestination(KEY, destination("10.1.0.9"))
            )
            await trio.sleep(600)
            assert len(backend.batches) == batches
            (drift,) = d.notices
            assert isinstance(drift, Drift)
            assert (drift.action, drift.key, drift.entries, drift.weight, drift.extra) == (
                Action.REPORTED,
                KEY,
                2,
                1,
                1,
            )
            view = d.writer.view()
            assert (view.drift_standing, view.drift_weight, view.drift_extra, view.repairs) == (2, 1, 1, 0)
            assert [v.words for v in view.standing] == [
                "weight 7 by NAT instead of weight 1 by NAT",
                "weight 1 by NAT instead of nothing",
            ]

            d.writer.want(table(service(KEY, destination("10.1.0.1"), destination("10.1.0.2", 0))))
            assert await d.writer.settle(1.0)
            assert weights(backend.table) == {str(KEY): [("10.1.0.1:80", 7), ("10.1.0.2:80", 0), ("10.1.0.9:80", 1)]}
            d.writer.want(table(service(KEY, destination("10.1.0.1", 0), destination("10.1.0.2", 0))))
            assert await d.writer.settle(1.0)
            assert weights(backend.table) == {str(KEY): [("10.1.0.1:80", 0), ("10.1.0.2:80", 0), ("10.1.0.9:80", 1)]}
            d.writer.want(Table())
            assert await d.writer.settle(1.0)
            assert backend.table == Table()

    play(story)


def test_under_report_a_flushed_table_stays_empty_until_somebody_fills_it() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            d.writer.reconfigure([governed(DriftPolicy.REPORT)])
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            backend.meddle(DeleteService(KEY))
            await trio.sleep(60)
            assert backend.table == Table()
            d.writer.want(ONE_DOWN)
            await trio.sleep(60)
            assert backend.table == Table()
            backend.meddle(AddService(KEY, TWO.services[KEY].settings))
            await trio.sleep(60)
            assert len(backend.table.services[KEY].destinations) == 0
            d.writer.reconfigure([governed()])  # a reload with another policy
            await trio.sleep(3)
            assert backend.table == ONE_DOWN

    play(story)


def test_a_module_that_was_reloaded_is_filled_under_report_too() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            d.writer.reconfigure([governed(DriftPolicy.REPORT)])
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            backend.unavailable = "module gone"
            backend.meddle(DeleteService(KEY))
            await trio.sleep(5)
            backend.unavailable = ""
            await trio.sleep(3)
            assert backend.table == TWO

    play(story)


def test_a_table_that_goes_between_a_write_and_its_read_back_is_filled_under_report_too() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()

        def go(_op: Op) -> str:
            backend.unavailable = "module gone"
            return ""

        async with desk(backend) as d:
            d.writer.reconfigure([governed(DriftPolicy.REPORT)])
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            backend.refuse = go
            d.writer.want(ONE_DOWN)
            await trio.sleep(1)
            assert not d.writer.view().reachable
            backend.meddle(DeleteService(KEY))
            backend.refuse, backend.unavailable = refuse(), ""
            await trio.sleep(3)
            assert backend.table == ONE_DOWN
            assert d.writer.view().reachable

    play(story)


def test_services_of_others_are_counted() -> None:
    async def story(_clock: MockClock) -> None:
        async with desk(FaultyBackend(table(service(STRANGER), service(OTHER)))) as d:
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            assert d.writer.view().foreign_services == 2

    play(story)


async def meddle_again_and_again(backend: FaultyBackend, *ops: Op) -> None:
    while True:
        with contextlib.suppress(TableError):
            backend.meddle(*ops)
        await trio.sleep(0.3)


def test_another_writer_is_not_fought_for_ever_and_a_dead_server_still_goes_out() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d, trio.open_nursery() as nursery:
            d.writer.reconfigure([governed()])
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            nursery.start_soon(meddle_again_and_again, backend, ChangeDestination(KEY, destination("10.1.0.1", 7)))
            await trio.sleep(30)
            assert [n.backoff_s for n in d.notices if isinstance(n, Contested)] == [60]
            batches = len(backend.batches)
            await trio.sleep(25)
            assert len(backend.batches) == batches
            assert [c.virtual_server for c in d.writer.view().contests] == [str(KEY)]

            d.writer.want(ONE_DOWN)
            assert await d.writer.settle(0.1)
            assert weights(backend.table) == {str(KEY): [("10.1.0.1:80", 7), ("10.1.0.2:80", 0)]}
            await trio.sleep(600)
            assert [n.backoff_s for n in d.notices if isinstance(n, Contested)] == [60, 120, 240, 480]
            nursery.cancel_scope.cancel()
        async with desk(backend) as d:
            assert d.notices == []

    play(story)


def test_a_fight_that_the_other_gives_up_is_settled_and_all_is_ours_again() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            d.writer.reconfigure([governed()])
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            with trio.move_on_after(20):
                await meddle_again_and_again(backend, ChangeDestination(KEY, destination("10.1.0.1", 7)))
            await trio.sleep(70)
            assert backend.table == TWO
            assert not any(isinstance(notice, Settled) for notice in d.notices)
            await trio.sleep(60)
            assert d.notices[-1] == Settled(KEY)
            assert d.writer.view().contests == ()

    play(story)


def test_a_table_flushed_again_and_again_is_back_within_two_seconds_each_time() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            d.writer.reconfigure([governed()])
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            for _ in range(100):
                backend.meddle(DeleteService(KEY))
                await trio.sleep(2.06)
                assert backend.table == TWO
            assert any(isinstance(notice, Contested) for notice in d.notices)

    play(story)


# --- how often it looks ---------------------------------------------------------------------------------------------


def test_a_table_that_is_cheap_to_read_is_read_whole_every_second() -> None:
    async def story(clock: MockClock) -> None:
        backend = FaultyBackend(clock=clock)
        backend.read_duration_s = 0.04
        async with desk(backend) as d:
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            seen = backend.reads.count(None)
            await trio.sleep(41.9)
            assert backend.reads.count(None) - seen == 40

    play(story)


def test_reading_an_expensive_table_takes_a_twentieth_of_the_time_at_most_and_glances_find_a_flush_in_between() -> None:
    async def story(clock: MockClock) -> None:
        backend = FaultyBackend(clock=clock)
        backend.read_duration_s = 0.5
        async with desk(backend) as d:
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            await trio.sleep(30)
            seen = backend.reads.count(None)
            await trio.sleep(105)
            assert backend.reads.count(None) - seen == 10
            assert backend.glances >= 40
            backend.meddle(DeleteService(KEY))
            await trio.sleep(2.7)
            assert backend.table == TWO

    play(story)


def test_a_glance_that_fails_has_all_read() -> None:
    async def story(clock: MockClock) -> None:
        backend = FaultyBackend(clock=clock)
        backend.read_duration_s = 1.0
        async with desk(backend) as d:
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            await trio.sleep(30)
            seen = backend.reads.count(None)
            backend.lose_reads = 1
            await trio.sleep(4)
            assert backend.reads.count(None) > seen

    play(story)


def test_a_writer_whose_read_back_was_lost_believes_the_next_reading_only_where_it_wrote() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        both = table(*TWO.services.values(), service(OTHER, destination("10.1.0.5")))
        async with desk(backend, owned=(KEY, OTHER)) as d:
            d.writer.want(both)
            await d.writer.settle(1.0)
            backend.ghosts = [(KEY, endpoint("10.1.0.2"))]
            backend.lose_applies = backend.lose_reads = 1
            d.writer.want(table(*TWO.services.values(), service(OTHER, destination("10.1.0.5", 0))))
            assert await d.writer.settle(1.0)
            await trio.sleep(3)
            assert AddDestination(KEY, destination("10.1.0.2")) not in backend.ops[5:]
            assert d.notices == []

    play(story)


# --- what observers see ---------------------------------------------------------------------------------------------


def test_the_view_counts_operations_and_takes_the_time_from_verdict_to_kernel() -> None:
    async def story(clock: MockClock) -> None:
        backend = FaultyBackend(clock=clock)
        backend.apply_duration_s = 0.004
        async with desk(backend) as d:
            assert d.writer.view().queue_length == 0
            d.writer.want(TWO, since=trio.current_time() - 0.03)
            assert d.writer.view().queue_length == 1
            await d.writer.settle(1.0)
            view = d.writer.view()
            assert {(c.operation, c.result): c.count for c in view.operations} == {
                ("dump", "ok"): 2,
                ("new_service", "ok"): 1,
                ("new_dest", "ok"): 2,
            }
            assert view.batch_durations.sum_s == pytest.approx(0.004)
            assert view.batch_durations.counts[2] == 1  # within 5 ms
            assert sum(view.dump_durations.counts) == next(o.count for o in view.operations if o.operation == "dump")
            assert view.verdict_to_kernel.sum_s == pytest.approx(0.034)
            assert view.verdict_to_kernel.counts[5] == 1  # within 50 ms
            assert (view.queue_length, view.queue_oldest_s) == (0, 0.0)
            await trio.sleep(0.5)
            assert d.writer.view().sync_age_s == pytest.approx(0.5)

    play(story)


def test_the_oldest_of_several_verdicts_counts_and_counts_once() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            now = trio.current_time()
            d.writer.want(TWO, since=now - 0.2)
            d.writer.want(ONE_DOWN, since=now - 0.1)
            await d.writer.settle(1.0)
            d.writer.want(TWO)
            await d.writer.settle(1.0)
            view = d.writer.view()
            assert sum(view.verdict_to_kernel.counts) == 1
            assert view.verdict_to_kernel.sum_s == pytest.approx(0.2)

    play(story)


def test_a_verdict_whose_answer_was_lost_counts_when_the_kernel_is_seen_to_have_it() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend) as d:
            backend.lose_applies = 1
            d.writer.want(TWO, since=trio.current_time() - 0.2)
            await d.writer.settle(1.0)
            await trio.sleep(60)
            d.writer.want(ONE_DOWN, since=trio.current_time() - 0.3)
            await d.writer.settle(1.0)
            histogram = d.writer.view().verdict_to_kernel
            assert sum(histogram.counts) == 2
            assert histogram.sum_s == pytest.approx(0.5)

    play(story)


def test_a_verdict_waits_for_its_refused_operation() -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        backend.refuse = refuse(AddDestination(KEY, destination("10.1.0.2")))
        async with desk(backend) as d:
            d.writer.want(TWO, since=trio.current_time())
            await trio.sleep(5)
            assert sum(d.writer.view().verdict_to_kernel.counts) == 0
            backend.refuse = refuse()
            await d.writer.settle(2.0)
            assert sum(d.writer.view().verdict_to_kernel.counts) == 1
            assert 5 <= d.writer.view().verdict_to_kernel.sum_s <= 6

    play(story)


def test_settling_on_nothing_is_immediate() -> None:
    async def story(_clock: MockClock) -> None:
        async with desk(FaultyBackend()) as d:
            before = trio.current_time()
            assert await d.writer.settle(5.0)
            assert trio.current_time() == before

    play(story)


# --- everything at once ---------------------------------------------------------------------------------------------

FAULTS = st.sampled_from(["", "lose applies", "lose reads", "refuse", "meddle", "ghost", "gone"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(tables(KEYS[:3], hosts=3), FAULTS, st.floats(0, 0.1)), min_size=1, max_size=6))
def test_after_any_faults_the_kernel_comes_to_equal_the_newest_wish(
    wishes: list[tuple[Table, str, float]],
) -> None:
    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend, owned=KEYS) as d:
            for wish, fault, pause in wishes:
                _break(backend, fault)
                d.writer.want(wish)
                await trio.sleep(pause)
            _mend(backend)
            await trio.sleep(5.0)
            assert backend.table == wishes[-1][0]
            assert await d.writer.settle(0)
            assert d.writer.view().queue_length == 0
            quiet = len(backend.batches)
            await trio.sleep(10.0)
            assert len(backend.batches) == quiet

    play(story)


def _break(backend: FaultyBackend, fault: str) -> None:
    match fault:
        case "lose applies":
            backend.lose_applies = 2
        case "lose reads":
            backend.lose_reads = 2
        case "refuse":
            backend.refuse = lambda op: "ENOMEM" if isinstance(op, AddDestination) else ""
        case "meddle":
            backend.meddle(*(DeleteService(key) for key in list(backend.table.services)[:1]))
        case "ghost":
            backend.ghosts = [(key, e) for key, s in backend.table.services.items() for e in s.destinations]
        case "gone":
            backend.unavailable = "gone"
        case _:
            _mend(backend)


def _mend(backend: FaultyBackend) -> None:
    backend.refuse = lambda _op: ""
    backend.unavailable = ""
    backend.lose_applies = backend.lose_reads = 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(tables(KEYS[:2], hosts=3), st.booleans()), min_size=2, max_size=6))
def test_no_pool_that_lives_in_two_wishes_is_empty_between_them(wishes: list[tuple[Table, bool]]) -> None:
    def live(of: Table, key: ServiceKey) -> bool:
        return key in of.services and any(item.weight for item in of.services[key].destinations.values())

    async def story(_clock: MockClock) -> None:
        backend = FaultyBackend()
        async with desk(backend, owned=KEYS) as d:
            for wish, patient in wishes:
                before, seen = backend.table, len(backend.history)
                serving = [key for key in before.services if live(before, key) and live(wish, key)]
                d.writer.want(wish)
                assert await d.writer.settle(1.0)
                for op, now in backend.history[seen:]:
                    assert all(live(now, key) for key in serving), op
                if patient:
                    await trio.sleep(3)

    play(story)
