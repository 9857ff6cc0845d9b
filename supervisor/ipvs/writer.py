"""THE single writer: makes the kernel's table equal to the newest desired one, and keeps it equal.

Whoever wants a change says `want(table)`; that is a mailbox of one, the newest wins and nobody waits. One task, `run`, owns the
backend. It compares what is wanted with what it believes the kernel has, sends the difference in batches, reads back what it touched,
and reads the whole table every second or so (`rounds`), which also brings the connection counters.

Every trouble has one answer: read, compare, send again, with a growing pause. The errno of a refusal is news about the kernel, never
a reason to stop or to guess: EEXIST becomes a change and ENOENT an addition all by themselves once the table was read again. A
difference that nobody here wrote acts only when two readings agree on it, and then as its virtual server's policy says (`inspection`).

It must never clean up: a cancelled run leaves the table as it is. It never logs; it reports events to the director and notices to
whoever writes the log, and a refusal is told once, not once a second. A clean stop is `want(Table())`, then `settle`.
Time-outs and sync daemons (`adjust`) have their own file, `settings`; they go to the kernel by this same task, before the table.

Sources: ipvs.md, sections 0 and 7; reliability.md, section 2 (faults 37 to 47) and section 6 (writer).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import trio

from checkers.kit.frozen import frozen
from supervisor.core.diff import Plan, cautious, diff, plan
from supervisor.core.events import DestinationId, Event, KernelRead, KernelWritten, WeightsAdopted
from supervisor.core.kernelsettings import Held
from supervisor.core.snapshot import WriterView
from supervisor.core.table import Op, Reading, Table
from supervisor.ipvs.backend import AnswerLost, Backend, BackendUnavailable
from supervisor.ipvs.inspection import Inspection, merged, united, with_services
from supervisor.ipvs.notices import Notice, Recovered, Refused, Trouble
from supervisor.ipvs.rounds import Rounds
from supervisor.ipvs.settings import Settings
from supervisor.ipvs.tally import Tally
from supervisor.model import Endpoint, KernelSettings, ServiceKey, VirtualServer

LOST = "LOST"
"""Stands in the place of an errno when the kernel's answer was lost: the outcome is unknown until the next reading."""
UNAVAILABLE = "UNAVAILABLE"
"""Stands in the place of an errno when the table itself is gone (module unloaded, capability lost)."""


@frozen
class Parameters:
    """The writer's numbers. Times are seconds."""

    audit_interval_s: float = 1.0  # half of what a repair may take (reliability.md, fault 42)
    confirm_delay_s: float = 0.05  # two readings this far apart make a difference drift (reliability.md, fault 44)
    backoff_first_s: float = 0.01  # after a refusal or a lost answer, doubling up to … (reliability.md, section 6)
    backoff_last_s: float = 1.0
    batch_max: int = 64  # operations in one exchange; the loop stands still meanwhile (ipvs.md, section 3)


def _ignore(notice: Notice) -> None:
    """Tell nobody."""


class Writer:
    """The one task that changes the table of `backend`.

    `report` takes the events for the director and may make us wait; `notice` takes what the log should say and must not.
    `owned` are the services that the configuration names: ours to delete when they are not wanted. It grows with every
    wanted table; until the first one nothing is written at all. `in_thread`: what may sleep in the kernel runs in a thread.
    """

    def __init__(
        self,
        backend: Backend,
        report: Callable[[Event], Awaitable[None]],
        owned: Collection[ServiceKey] = (),
        parameters: Parameters = Parameters(),
        *,
        notice: Callable[[Notice], None] = _ignore,
        in_thread: bool = False,
        worked_s: Callable[[], float] = trio.current_time,
    ) -> None:
        self._backend = backend
        self._report = report
        self._notice = notice
        self._parameters = parameters
        self._owned = set(owned)
        self._claiming = False
        self._claimed: set[ServiceKey] = set()  # strangers that go once and are nobody's business afterwards
        self._settings = Settings(backend, notice, in_thread=in_thread)

        self._wanted: Table | None = None
        self._wanted_at = math.inf  # since when an unsettled table waits
        self._since = math.inf  # the oldest verdict that the kernel does not know yet
        self._frozen = False  # the operator paused all writes
        self._audits = 0
        self._audited = trio.Event()  # set and replaced by each reading of the whole
        self._settled: Table | None = None  # the wanted table that the kernel was last seen to equal
        self._wake = trio.Event()
        self._news = trio.Event()  # set and replaced whenever `_settled` changes

        self._inspection = Inspection(parameters.confirm_delay_s, notice)
        self._rounds = Rounds(parameters.audit_interval_s)
        self._worked_s = worked_s
        self.turns = 0
        """How often the task began anew; it does so about every second, so a number that stays the same is a task that hangs."""
        self._reading = Reading(Table())
        self._unsure: set[ServiceKey] = set()  # written to, and could not be read back yet
        self._refusals: dict[Refused, int] = {}
        self._backoff_s = 0.0
        self._in_trouble = False

        self._plan_left = 0
        self._tally = Tally()
        self._agreed_at: float | None = None

    # --- what others call -------------------------------------------------------------------------------------------

    def want(self, table: Table, since: float | None = None) -> None:
        """Make `table` the newest desired one. Returns at once; costs nothing when it is the same object as before.

        `since` is trio's time of the oldest verdict behind the table that no earlier table carried.
        """
        if table is self._wanted:
            return
        self._wanted = table
        self._owned.update(table.services)
        self._claimed.difference_update(table.services)
        self._wanted_at = min(self._wanted_at, trio.current_time())
        if since is not None:
            self._since = min(self._since, since)
        self._wake.set()

    def reconfigure(self, virtual_servers: Iterable[VirtualServer]) -> None:
        """Treat what somebody else changes as these virtual servers say from now on."""
        self._inspection.reconfigure(virtual_servers)
        self._wake.set()

    def foresee(self, wanted: Table, virtual_servers: Iterable[VirtualServer]) -> Table:
        """Return what the kernel would have with these virtual servers if `wanted` were wanted: what stands by policy stays."""
        return self._inspection.foresee(wanted, virtual_servers)

    def claim(self) -> None:
        """Remove, with the next wanted table, every service that is there now and not wanted, whoever put it there. Once."""
        self._claiming = True
        self._wake.set()

    def inherit_adopted(self, adopted: Mapping[DestinationId, float]) -> None:
        """Take over the weights of 0 that a predecessor adopted, and until when they stand."""
        self._inspection.inherit(adopted)

    def inherit(self, held: Held, services: Collection[ServiceKey] = ()) -> None:
        """Take over what a predecessor left in the kernel: its settings to give back, its services to take away."""
        if held != Held():
            self._settings.hold(held)
        self._owned.update(services)

    @property
    def held(self) -> Held:
        """What of the kernel's settings is ours to give back."""
        return self._settings.held

    def leaving(self) -> Mapping[ServiceKey, frozenset[Endpoint]]:
        """Return our services that are not wanted any more and were still there at the last reading, with their destinations."""
        wanted = self._wanted.services if self._wanted else {}
        there = self._reading.table.services
        gone = [key for key in there.keys() - wanted.keys() if key in self._owned and key not in self._claimed]
        return MappingProxyType({key: frozenset(there[key].destinations) for key in gone})

    def adjust(self, settings: KernelSettings) -> None:
        """Make `settings` the newest wish for time-outs and sync daemons; `KernelSettings()` gives back what is ours."""
        self._settings.want(settings)
        self._rounds.hurry()
        self._wake.set()

    async def adjusted(self, timeout_s: float) -> bool:
        """Wait until the newest settings were carried out or refused; tell whether it came to that within `timeout_s`."""
        with trio.move_on_after(timeout_s):
            await self._settings.done()
        return not self._settings.pending

    @property
    def owned(self) -> Collection[ServiceKey]:
        """The services that are ours to change and to delete."""
        return self._owned

    async def settle(self, timeout_s: float) -> bool:
        """Wait until the kernel was seen to equal the newest wanted table; tell whether it came to that within `timeout_s`."""
        with trio.move_on_after(timeout_s):
            while self._settled is not self._wanted:
                await self._news.wait()
        return self._settled is self._wanted

    def freeze(self) -> None:
        """Write nothing from now on. Reading goes on, and so does wanting."""
        self._frozen = True

    def thaw(self) -> None:
        """Write again, first of all what was wanted meanwhile."""
        self._frozen = False
        self._rounds.hurry()
        self._wake.set()

    async def read_now(self, timeout_s: float) -> bool:
        """Read the whole table as soon as what is wanted was written; tell whether it came to that within `timeout_s`."""
        begun = self._audits
        with trio.move_on_after(timeout_s):
            if not self._frozen:
                await self.settle(timeout_s)
            self._rounds.hurry()
            self._wake.set()
            while self._audits == begun:
                await self._audited.wait()
        return self._audits != begun

    @property
    def table(self) -> Table:
        """The kernel's table as last read."""
        return self._reading.table

    def differences(self) -> list[Op]:
        """Return what would make the kernel, as last read, what is wanted; what stands by policy is among it."""
        return [] if self._wanted is None else diff(self._wanted, self._reading.table, self._owned)

    def insist(self) -> None:
        """Put right everything that is not as wanted now, also what was to stand by policy or because of another writer."""
        self._inspection.insist(self._reading.table)
        self._settled = None
        self._wake.set()

    def view(self) -> WriterView:
        """Return what the writer did and how it stands."""
        now = trio.current_time()
        waiting = self._settled is not self._wanted
        found = self._inspection.found
        standing, shown = self._inspection.standing()
        return WriterView(
            operations=self._tally.operations(),
            batch_durations=self._tally.batches.view(),
            dump_durations=self._tally.dumps.view(),
            verdict_to_kernel=self._tally.verdicts.view(),
            queue_length=max(self._plan_left, int(waiting)),
            queue_oldest_s=max(now - self._wanted_at, 0.0) if waiting else 0.0,
            drift_missing=found["missing"],
            drift_extra=found["extra"],
            drift_weight=found["weight"],
            drift_settings=found["settings"],
            drift_standing=standing,
            repairs=self._inspection.repaired.total(),
            repaired=dict(self._inspection.repaired),
            adopted=self._inspection.adopted,
            sync_age_s=None if self._agreed_at is None else now - self._agreed_at,
            reachable=not self._in_trouble,
            foreign_services=sum(key not in self._owned for key in self._reading.table.services),
            standing=shown,
            contests=self._inspection.contests(now),
        )

    # --- the task ---------------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[Reading] = trio.TASK_STATUS_IGNORED) -> None:
        """Read the table, say so with that reading (to adopt it), then work until cancelled."""
        started = False
        inspection, rounds = self._inspection, self._rounds
        while True:
            self.turns += 1
            self._wake = trio.Event()  # before looking at what is wanted: a wish that comes meanwhile is not missed
            now = trio.current_time()
            if now >= inspection.next_deadline():
                inspection.lapse(now)
            if inspection.believed is None or self._claiming or now >= rounds.full_at:
                done = await self._audit()
                if done and not started:
                    started = True
                    self._read_ours_again()
                    task_status.started(self._reading)
                if done and self._settings.pending and not self._frozen:
                    await self._settings.carry_out()
            elif now >= inspection.next_look():
                done = await self._look_again()
            elif self._behind():
                done = await self._write()
            elif now >= rounds.glance_at:
                done = self._glance()
            else:
                with trio.move_on_at(
                    min(rounds.full_at, rounds.glance_at, inspection.next_look(), inspection.next_deadline())
                ):
                    await self._wake.wait()
                continue
            if not done:
                await self._pause()

    def _behind(self) -> bool:
        """Tell whether the kernel as believed is not what it shall be, so that there is something to write without an audit."""
        believed, wanted = self._inspection.believed, self._wanted
        if self._frozen:
            return False
        return believed is not None and wanted is not None and believed is not self._inspection.target(wanted)

    async def _pause(self) -> None:
        """Wait before the next attempt, longer each time; a new wish ends the wait."""
        first, last = self._parameters.backoff_first_s, self._parameters.backoff_last_s
        self._backoff_s = min(max(2 * self._backoff_s, first), last)
        with trio.move_on_after(self._backoff_s):
            await self._wake.wait()

    # --- writing ----------------------------------------------------------------------------------------------------

    async def _write(self) -> bool:
        """Send what is between belief and wish, and read back what was touched. Tells whether all went well."""
        wanted, inspection = self._wanted, self._inspection
        believed = inspection.believed
        assert wanted is not None
        assert believed is not None
        target = inspection.target(wanted)
        since, self._since = self._since, math.inf
        steps = plan(target, believed, inspection.mine(self._owned))
        written = await self._send_plan(steps, wanted, target, believed)
        if not written:  # equal in all that matters; an audit shall say so
            inspection.believed = target
            self._rounds.hurry()
            return True
        refused = _refused(written)
        touched = {op.key for event in written for op in event.ops}
        whole = not refused and sum(len(event.ops) for event in written) == len(steps.giving) + len(steps.taking)
        if not whole:
            self._since = min(self._since, since)
        elif since < math.inf:
            self._tally.verdicts.observe(trio.current_time() - since)
        self._remember(refused)
        reading = self._read(touched)
        if inspection.believed is None:
            pass  # the table turned out to be gone
        elif whole:
            inspection.believed = target
        elif reading is None:
            self._unsure |= touched
        else:
            inspection.believed = with_services(believed, reading.table, touched)
        for event in written:
            await self._report(event)
        if reading is not None:
            await self._judge(reading, wanted, touched)
        return not refused and reading is not None

    async def _send_plan(self, steps: Plan, wanted: Table, target: Table, actual: Table) -> list[KernelWritten]:
        """Send a plan, giving first; stop between two batches when a newer table is wanted: every prefix of a plan is safe."""
        written: list[KernelWritten] = []
        for part in (steps.giving, steps.taking):
            ops: Sequence[Op] = part
            if refused := _refused(written):
                ops = cautious(steps, [op for op, _ in refused], target, actual)
            size = self._parameters.batch_max
            for start in range(0, len(ops), size):
                self._plan_left = len(ops) - start
                written.append(self._send(tuple(ops[start : start + size])))
                await trio.lowlevel.checkpoint()
                if self._wanted is not wanted:
                    break
            if self._wanted is not wanted:
                break
        self._plan_left = 0
        return written

    def _send(self, ops: tuple[Op, ...]) -> KernelWritten:
        """Carry out one batch and count it."""
        began = trio.current_time()
        try:
            words = self._backend.apply(ops)
        except AnswerLost:
            words = [LOST] * len(ops)
        except BackendUnavailable as error:
            self._trouble(str(error))
            words = [UNAVAILABLE] * len(ops)
        duration_s = trio.current_time() - began
        self._tally.batch(ops, words, duration_s)
        errors = MappingProxyType({index: word for index, word in enumerate(words) if word})
        return KernelWritten(ops, errors, duration_s)

    def _remember(self, refused: Sequence[tuple[Op, str]]) -> None:
        """Tell a refusal when it comes twice in a row, once: the first may only mean that our belief was old."""
        before, self._refusals = self._refusals, {}
        for op, word in refused:
            if word in {LOST, UNAVAILABLE}:
                continue
            refusal = Refused(op, word)
            self._refusals[refusal] = before.get(refusal, 0) + 1
            if self._refusals[refusal] == 2:
                self._notice(refusal)

    # --- reading ----------------------------------------------------------------------------------------------------

    async def _audit(self) -> bool:
        """Read the whole table and compare. Tells whether it could be read."""
        wanted, inspection = self._wanted, self._inspection
        began = self._worked_s()
        reading = self._read(None)
        cost_s = self._worked_s() - began
        if reading is None:
            return False
        if inspection.believed is None or wanted is None or self._claiming:
            inspection.believed = reading.table  # at start, and after trouble: there is nothing better to believe
        elif self._unsure:
            inspection.believed = with_services(inspection.believed, reading.table, self._unsure)
        self._unsure.clear()
        if self._claiming:
            self._claiming = False
            self._claimed = set(reading.table.services) - self._owned
            self._owned |= self._claimed
        await trio.lowlevel.checkpoint()  # reading and comparing a large table each take their time
        cost_s += await self._judge(reading, wanted, None)
        self._rounds.read_whole(trio.current_time(), cost_s)
        self._audits += 1
        self._audited.set()
        self._audited = trio.Event()
        return True

    def _read_ours_again(self) -> None:
        """Let the first reading not be the only one: a server that it lacks would count as taken out while nobody looked.

        A dump may lack what was there all along, and never shows what was not (core.suspicion).
        """
        first = self._reading.table
        ours = self._owned & first.services.keys()
        if ours and self._read(ours) is not None:
            table = united(first, self._reading.table, ours)
            self._inspection.believed = table
            self._reading = replace(self._reading, table=table)

    async def _look_again(self) -> bool:
        """Read the services in which a first reading showed something foreign. Tells whether they could be read."""
        wanted, suspects = self._wanted, self._inspection.suspects
        reading = self._read(suspects)
        if reading is not None:
            await self._judge(reading, wanted, suspects)
        return reading is not None

    def _glance(self) -> bool:
        """Read the services without their destinations, and have all read where these look otherwise. Tells whether they could be read."""
        try:
            there = self._backend.services()
        except (AnswerLost, BackendUnavailable) as error:
            self._unreadable(error)
            return False
        now = trio.current_time()
        self._rounds.glanced(now)
        if self._inspection.looks_otherwise(there, self._owned):
            self._rounds.hurry()
        return True

    def _read(self, keys: Collection[ServiceKey] | None) -> Reading | None:
        """Read the services `keys`, or all; the result is always the whole table as last read.

        None: it cannot be read just now, so that an audit is due.
        """
        began = trio.current_time()
        try:
            reading = self._backend.read(keys)
        except (AnswerLost, BackendUnavailable) as error:
            self._unreadable(error)
            return None
        self._tally.dump()
        self._tally.dumps.observe(trio.current_time() - began)
        if self._in_trouble:
            self._in_trouble = False
            self._notice(Recovered())
        self._reading = reading if keys is None else merged(self._reading, reading, keys)
        return self._reading

    def _trouble(self, text: str) -> None:
        if not self._in_trouble:
            self._in_trouble = True
            self._notice(Trouble(text))

    def _unreadable(self, error: Exception) -> None:
        """Count a reading that failed and have the whole read next. A table that is gone is built anew, whatever stood in it."""
        self._rounds.hurry()
        gone = isinstance(error, BackendUnavailable)
        self._tally.dump(UNAVAILABLE if gone else LOST)
        if gone:
            self._inspection.forget()
            self._trouble(str(error))

    async def _judge(self, reading: Reading, wanted: Table | None, fresh: Collection[ServiceKey] | None) -> float:
        """Compare a reading with the wish, look for drift, report. Only the services `fresh` (None: all) were read just now.

        Returns how long comparing took, in seconds.
        """
        agrees, cost_s, began = False, 0.0, self._worked_s()
        now = trio.current_time()
        if wanted is not None:
            findings = self._inspection.examine(wanted, reading.table, self._owned, fresh, now)
            cost_s = self._worked_s() - began
            agrees = findings.agrees
            if agrees:
                self._agree(wanted)
            if findings.adopted:
                await self._report(WeightsAdopted(findings.adopted))
        await self._report(KernelRead(reading, agrees))
        if agrees and self._settled is not wanted:
            self._settled = wanted
            self._news.set()
            self._news = trio.Event()
        return cost_s

    def _agree(self, wanted: Table) -> None:
        """Note that the kernel equals `wanted`, which need not be the newest any more."""
        self._owned -= self._claimed
        self._claimed = set()
        self._backoff_s = 0.0
        self._agreed_at = trio.current_time()
        if wanted is not self._wanted:
            self._wanted_at = self._agreed_at
            return
        self._wanted_at = math.inf
        if self._since < math.inf:  # the answer was lost, and yet the kernel has it
            self._tally.verdicts.observe(self._agreed_at - self._since)
            self._since = math.inf


def _refused(written: Sequence[KernelWritten]) -> list[tuple[Op, str]]:
    """Return the operations that failed, each with its errno's name."""
    return [(event.ops[index], word) for event in written for index, word in event.errors.items()]
