"""The data flow as code: every task, every channel, and the decision loop. The only importer of more than one room.

To follow one verdict from socket to kernel: a worker's frame becomes an event in `children.checkers`, waits in `self._inbox`, is taken
by `_decide` into the director, whose table goes to the writer (`want`) and whose transitions go to people (`_tell`). The writer's
answer comes back the same way, as an event.

    orders (stop, reload) ─→ _obey        workers ─event→ inbox ─→ _decide ─→ director
                                                                     ├─ table ──→ writer (mailbox of one) ─→ backend
                                                                     └─ edges ──→ log, mail, scripts, pipes

Nothing here knows a policy, a protocol or a syntax. What lies outside (kernel, processes, network, clock) is in `outside.Outside`, so a
story on a virtual clock runs this very file. On a bug the program dies with its traceback and cleans nothing up: the kernel goes on
forwarding, and the next start adopts its table.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import trio

from supervisor import __version__, announce, kernelnews, overview
from supervisor.admin import server as admin
from supervisor.admin.desk import Desk, Verb
from supervisor.checknow import CheckNow
from supervisor.children.exporter import ExporterChild
from supervisor.children.patience import Vitals
from supervisor.children.pool import CheckerPool
from supervisor.children.translation import job_of
from supervisor.config import Outcome
from supervisor.core import runningtext
from supervisor.core import snapshot as wire_form
from supervisor.core.changes import Changes, Outlook, outlook, retain
from supervisor.core.director import Director
from supervisor.core.events import (
    CheckReported,
    Event,
    KernelRead,
    LevelsRepeated,
    Overridden,
    Tick,
    WorkerSpeaking,
)
from supervisor.core.idleness import Idleness
from supervisor.core.kernelsettings import Held
from supervisor.core.memory import Clocks, PoolMemory, Recall
from supervisor.core.questions import AskConfiguration, AskReady, AskSnapshot, Question, encode_ready
from supervisor.core.snapshot import WebView
from supervisor.core.table import Reading, Table
from supervisor.core.transitions import Drained, SuspensionChanged, Transition
from supervisor.errands import Errands
from supervisor.exposure import Exposure
from supervisor.heartbeat import Heartbeat
from supervisor.hindsight import Hindsight
from supervisor.insight import Insight
from supervisor.ipvs.notices import Contested, Notice
from supervisor.ipvs.writer import Writer
from supervisor.kernelorders import KernelOrders
from supervisor.model import CheckSpec, Config, FlushOnStop, KernelSettings, ServiceKey, VirtualServer
from supervisor.notify import smtp
from supervisor.orders import Orders
from supervisor.outside import Order, Outside
from supervisor.recording import Recording
from supervisor.reloading import Reloads
from supervisor.remembering import Present, Remembering
from supervisor.rollout import Rollout
from supervisor.selfreport import SelfReport
from supervisor.surroundings import START_MAX_S, Surroundings
from supervisor.trackfiles import Lookers
from supervisor.wording import counted

INBOX_MAX = 4096
"""Events that may wait for the decision loop; then the workers' links fill, and the workers wait."""

TURN_MAX = 256
"""Events taken in one turn of the decision loop before the table is computed: a rack that fails is one table, not five hundred.
Of a full state each level counts."""

AT_ONCE_S = 0.001
"""What workers say within this time they say at once: each of ten thousand checks would else keep a time of its own from every full
state, and these lie where there is room just then: in between what is read for a reload, most of which goes again."""

GIVE_BACK_S = 10.0
"""While the table is read as it was, memory is given back so often: what was not in use is asked for again within the second."""

REMEMBER_MAX = 200
"""Real servers whose memory is brought up to date at one stroke: about a millisecond."""

TURN_PASSES = 4
"""Passes of trio's loop that a turn with a table to compute waits for one more event: a worker's next frame needs two, once it is in the
socket."""

TABLE_FIRST_MAX_S = 1.0
"""At the start, the longest that the first probe and the history wait for the table: 10,000 real servers are written in a tenth of that."""

STOP_MAX_S = 60.0
"""At a clean stop, the longest wait until the kernel has given up everything that is ours."""

SETTINGS_MAX_S = 5.0
"""At a clean stop, the longest wait until the kernel's time-outs and sync daemons are as they were found."""

MAIL_MAX_S = 5.0
"""At a clean stop, the longest wait for mail that is under way."""


class Supervisor:
    """The program. Make one and `run` it."""

    def __init__(self, config: Config, outside: Outside) -> None:
        self._outside = outside
        self._config = config
        self._log = outside.log
        self._log.config_digest = config.digest
        self._recording = Recording(outside.journal, outside.log, outside.wall_clock, in_thread=outside.in_thread)
        self._recording.reconfigure(config)
        self._send, self._inbox = trio.open_memory_channel[Event](INBOX_MAX)
        self._stopping = False
        self._taken = 0  # events
        self._took_at = -math.inf  # the last of them
        self._gave_back_at = -math.inf  # memory
        self._early: list[Order] = []
        self._clients_served = trio.Event()  # the first table is written, or has had its time
        self._writer = Writer(
            outside.backend,
            self._send.send,
            [vs.key for vs in config.virtual_servers],
            notice=self._noticed,
            in_thread=outside.in_thread,
            worked_s=outside.worked_s,
        )
        self._writer.reconfigure(config.virtual_servers)
        self._check_now = CheckNow(lambda: self._director, lambda: self._pool)
        self._hindsight = Hindsight(self._recording, lambda: self._director, self._writer.view, self._check_now.last)
        self._remembering = Remembering(
            outside.store, outside.life, outside.log, outside.wall_clock, in_thread=outside.in_thread
        )
        self._adjust_kernel()
        if config.kernel.flush:
            self._writer.claim()
        self._errands = Errands(
            config, outside.start_runner, outside.open_pipe, self._log, outside.waited_s, checks_only=outside.quiet
        )
        favour = outside.favour(self._errands.check)
        self._pool = CheckerPool(
            outside.workers,
            outside.start_checker,
            self._jobs,
            lambda spec, number: job_of(
                spec, number, self._director.job_health(number), self._director.job_weight(number)
            ),
            self._send,
            self._log,
            favour,
            Vitals(outside.memory_bytes, outside.waited_s),
            lambda: self._config.probe_rate_max,
        )
        start = outside.start_exporter
        self._exporter = ExporterChild(start, self._answer, self._log, outside.web) if start else None
        self._exposure = Exposure(outside.extent, outside.log) if start else None
        self._mailer = smtp.Mailer(
            config.mail, config.router_id, deliver=outside.deliver, wall_clock=outside.wall_clock, log=self._log
        )
        self._idleness = Idleness()
        self._kernel_orders = KernelOrders(self._writer, self._log, self._remembering.note)
        self._surroundings = Surroundings(outside, self)
        self._lookers = Lookers(outside.files, self._jobs, self._pool.look)

    # -- life ------------------------------------------------------------------------------------------------------

    async def run(self, orders: trio.MemoryReceiveChannel[Order]) -> None:
        """Run until a STOP order, then undo what we did and return. When cancelled, undo nothing."""
        now = trio.current_time()
        self._facts = self._surroundings.facts = overview.Facts(now, now, caged=self._outside.caged)
        outside = self._outside
        self._reloads = Reloads(self, self._load, self._facts, self._log, outside.notifier)
        self.desk = Desk(self._verbs(), outside.access, lambda requested: announce.requested(requested, self._log))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._errands.run)
            nursery.start_soon(self._record)
            if not await self._begin(nursery, orders, now):
                self._log_stopped(
                    "left alone: it could not be read, or the startup script was not over, when the stop came"
                )
                nursery.cancel_scope.cancel()
                return
            self._idleness.reconfigure(self._config.virtual_servers, self._director.jobs.jobs)
            self._tell(self._director.start(trio.current_time()))
            self._writer.want(self._director.desired())
            outside.to_stay()
            nursery.start_soon(self._decide)
            nursery.start_soon(self._heartbeat().run)
            nursery.start_soon(self._mailer.run)
            nursery.start_soon(self._remembering.run, self._memories, lambda: self._director.has_news, self._present)
            async with trio.open_nursery() as watchers:
                watchers.start_soon(self._surroundings.run, self._send.send)
                watchers.start_soon(self._start_children)
                if self._outside.admin:
                    watchers.start_soon(admin.serve, self._outside.admin, self.desk, __version__)
                watchers.start_soon(self._announce_ready)
                watchers.start_soon(self._kernel_orders.run)
                watchers.start_soon(self._lookers.run)
                watchers.start_soon(self._reloads.run)
                await self._obey(orders)
                watchers.cancel_scope.cancel()
            await self._undo()
            nursery.cancel_scope.cancel()

    async def _begin(self, nursery: trio.Nursery, orders: trio.MemoryReceiveChannel[Order], now: float) -> bool:
        """Make the director from what the run before left and what the table was; False when a STOP order came first.

        Both may be thousands of objects, which nobody holds when this is over.
        """
        recall = self._remembering.recall(now)
        if recall is not None:
            self._writer.inherit(recall.held())
            self._kernel_orders.inherit(recall.pause(), now)
        found = await self._first_reading(nursery, orders)
        if found is None:
            return False
        if recall is not None:
            self._take_up(recall, found.table)
        self._director = Director(self._config, trio.current_time(), found.table, recall)
        self._recording.explain = self._director.because
        self._writer.inherit_adopted(self._director.adopted())
        return True

    async def _first_reading(self, nursery: trio.Nursery, orders: trio.MemoryReceiveChannel[Order]) -> Reading | None:
        """Start the writer, run the startup script and return what the table was; None when a STOP order came first."""
        found: Reading | None = None

        async def collect(scope: trio.CancelScope) -> None:
            async for order in orders:
                self._early.append(order)
                if order is Order.STOP:
                    scope.cancel()
                    return

        async with trio.open_nursery() as waiting:
            waiting.start_soon(collect, waiting.cancel_scope)
            found = await nursery.start(self._writer.run)
            await self._errands.begin()
            waiting.cancel_scope.cancel()
        return None if Order.STOP in self._early else found

    async def _start_children(self) -> None:
        """Run checkers and exporter, which start when the table is written: they want the same processors, and clients come first."""
        await self._writer.settle(TABLE_FIRST_MAX_S)
        self._clients_served.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pool.run)
            if self._exporter and self._exposure:
                self._exposure.heed(self._config)
                nursery.start_soon(self._exporter.keeper.run)

    async def _record(self) -> None:
        """Keep the history, once the table is written: that of the run before is a large file, and what is told meanwhile is noted."""
        with trio.move_on_after(TABLE_FIRST_MAX_S):
            await self._clients_served.wait()
        await self._recording.run()

    async def _announce_ready(self) -> None:
        await self._writer.settle(START_MAX_S)
        self._outside.to_stay()
        config = self._config
        servers = sum(len(vs.real_servers) for vs in config.virtual_servers)
        self._log.emit(
            "daemon.ready",
            f"Ready: {counted(len(config.virtual_servers), 'virtual server')} with {counted(servers, 'real server')} of {config.source}.",
            version=__version__,
            config_path=config.source,
            backend=self._outside.backend.name,
            virtual_servers=len(config.virtual_servers),
            real_servers=servers,
            startup_s=trio.current_time() - self._facts.started_at,
        )
        self._outside.notifier.ready()

    async def _undo(self) -> None:
        """A clean stop: the kernel gives up what is ours, then the addresses go, then the last mail and script. Or all stays, as asked."""
        self._stopping = True
        self._clients_served.set()
        self._errands.hurry()
        self._tell(self._director.stop())
        keep = self._outside.keep or self._kernel_orders.pause is not None
        removed = False if keep else await self._remove()
        partly = "left, at least in part: the kernel did not take every change"
        left = "left as it is, as asked" if keep else "removed" if removed else partly
        await self._remembering.finish(removed=removed)
        await self._mailer.drain(MAIL_MAX_S)
        await self._errands.end()
        self._log_stopped(left)
        await self._recording.finish()

    async def _remove(self) -> bool:
        """Take our services out of the kernel, then our addresses; tell whether the table could be cleared of them."""
        if self._config.kernel.flush_on_stop is FlushOnStop.TABLE:
            self._writer.claim()
        self._writer.want(Table())
        self._writer.adjust(KernelSettings())
        empty = await self._writer.settle(STOP_MAX_S)
        await self._writer.adjusted(SETTINGS_MAX_S)
        await self._surroundings.release()
        return empty

    def _log_stopped(self, left: str) -> None:
        self._log.sum_up(at_once=True)
        self._log.emit(
            "daemon.stopped",
            f"Stopped. Our part of the kernel's table was {left}.",
            kernel_table=left,
            reason="order",
            uptime_s=trio.current_time() - self._facts.started_at,
        )

    async def _obey(self, orders: trio.MemoryReceiveChannel[Order]) -> None:
        """Carry out orders until one is to stop, first those that came before the table could be read."""
        for order in self._early:
            if await self._stops(order):
                return
        async for order in orders:
            if await self._stops(order):
                return

    async def _stops(self, order: Order) -> bool:
        """Carry out one order and tell whether it ends the program."""
        if order is Order.RELOAD:
            self._reloads.ask()
            return False
        self._outside.notifier.stopping()
        self._log.emit("daemon.stopping", "Stopping: removing our services, addresses and children.")
        return True

    @property
    def config(self) -> Config:
        """The configuration that holds."""
        return self._config

    @property
    def director(self) -> Director:
        """Who decides. There is one as soon as the table was read."""
        return self._director

    @property
    def owned(self) -> Collection[ServiceKey]:
        """The services that are ours in the kernel's table."""
        return self._writer.owned

    def what_stands(self, wanted: Table, virtual_servers: Iterable[VirtualServer]) -> Table:
        """Return a wanted table with what somebody else changed in the kernel's and stands by policy."""
        return self._writer.foresee(wanted, virtual_servers)

    async def settle(self, timeout_s: float) -> bool:
        """Wait until the kernel is as wanted; tell whether it came to that."""
        return await self._writer.settle(timeout_s)

    async def greeted(self) -> None:
        """Wait until every checker has greeted once."""
        await self._pool.greeted()

    async def may_write(self) -> None:
        """Wait while an operator has all changes of the kernel paused."""
        await self._kernel_orders.may_write()

    def lacks(self, config: Config) -> str | None:
        """Load what only this configuration needs; return why that cannot be done, None: it is done."""
        try:
            smtp.prepare(config.mail)
        except Exception as error:  # noqa: BLE001  # half a package can raise anything, and what runs must go on
            return f"what sends mails cannot be loaded ({type(error).__name__}: {error})"
        return None

    def take_over(self, config: Config, changes: Changes) -> Outlook:
        """Replace the configuration; the kernel, the children and the sinks follow."""
        now = trio.current_time()
        self._config = config
        self._facts.config_at = now
        self._mailer.reconfigure(config.mail, config.router_id)
        self._recording.reconfigure(config)
        self._writer.reconfigure(config.virtual_servers)
        self._adjust_kernel()
        self._errands.reconfigure(config)
        self._tell(self._director.reconfigure(config, now))
        self._idleness.reconfigure(config.virtual_servers, self._director.jobs.jobs)
        self._writer.want(self._director.desired())
        self._pool.reassign()
        self._surroundings.reconfigured()
        self._lookers.reconfigured()
        if self._exposure:
            self._exposure.heed(config)
        self._outside.to_stay()
        return outlook(changes, self._director, self._writer.owned, self.what_stands)

    async def _load(self, file: Path | None = None) -> Outcome:
        """Read the configuration, or another file without any effect; outside the loop, so that probes do not wait for a large one."""
        running, read = self._config, self._outside.load

        def load() -> Outcome:
            outcome = read(file)
            return outcome if outcome.config is None else replace(outcome, config=retain(running, outcome.config))

        return await trio.to_thread.run_sync(load) if self._outside.in_thread else load()

    def _noticed(self, notice: Notice) -> None:
        """Say what the writer noticed; who might have done it is looked for when somebody keeps doing it."""
        kernelnews.notice(notice, self._log)
        if isinstance(notice, Contested):
            self._surroundings.contested()

    def _adjust_kernel(self) -> None:
        """Have the kernel's time-outs and sync daemons as the configuration says; a dry run leaves them."""
        if not self._outside.quiet:
            self._writer.adjust(self._config.kernel)

    # -- deciding --------------------------------------------------------------------------------------------------

    async def _decide(self) -> None:
        """The decision loop, with the only wait near the director."""
        while True:
            event: Event = Tick()
            with trio.move_on_at(self._director.next_deadline()):
                event = await self._inbox.receive()
            since, taken = self._take(event), _weight(event)
            while taken <= TURN_MAX:
                more = await self._more()
                if more is None:
                    break
                since = min(since, self._take(more))
                taken += _weight(more)
            if not self._stopping:
                self._writer.want(self._director.desired(), since)
            if self._director.has_news:
                self._remembering.note()

    async def _more(self) -> Event | None:
        """Return an event that is there, None when it is quiet. Takes no time that anybody could see.

        Before a table is computed an event is waited for that is on its way already; most turns have none to compute.
        """
        passes = TURN_PASSES if self._director.moved else 0
        while True:
            try:
                return self._inbox.receive_nowait()
            except trio.WouldBlock:
                if not passes:
                    return None
                passes -= 1
                await trio.lowlevel.checkpoint()

    def _take(self, event: Event) -> float:
        """Give one event to the director and tell what it led to; return the time of the verdict."""
        now = trio.current_time()
        self._taken += 1
        if isinstance(event, CheckReported | LevelsRepeated):
            now = self._took_at if now < self._took_at + AT_ONCE_S else now  # one object for all of them
        if isinstance(event, CheckReported):
            self._recording.heard(event, self._director)
        elif isinstance(event, KernelRead) and self._idleness.look(event.reading, now):
            self._pool.traffic_changed(self._idleness.idle)
        self._took_at = now
        table = self._director.reading.table
        self._tell(self._director.handle(event, now))
        if isinstance(event, WorkerSpeaking | KernelRead):
            self._give_back(now, much=isinstance(event, WorkerSpeaking) or self._director.reading.table is not table)
        return now

    def _give_back(self, now: float, *, much: bool) -> None:
        """Give memory back after what took `much`: telling a worker its jobs, 4 MB at 10,000, or a reading that made a table."""
        if much or now >= self._gave_back_at + GIVE_BACK_S:
            self._gave_back_at = now
            self._outside.give_back()

    def _tell(self, transitions: Collection[Transition]) -> None:
        for transition in transitions:
            announce.transition(transition, self._log)
            if not self._outside.quiet:
                self._mailer.tell(transition)
            self._errands.tell(transition)
            if isinstance(transition, SuspensionChanged):
                self._pool.reassign()
            if isinstance(transition, Drained) and transition.virtual_server not in self._director.virtual_servers:
                self._surroundings.left()  # the last one may have held the address of a virtual server that left

    def _heartbeat(self) -> Heartbeat:
        """Return what proves that we move: events are taken, and the writer turns."""
        return Heartbeat(
            lambda: self._taken,
            lambda: self._writer.turns,
            self._send,
            self._facts,
            self._outside,
            lambda: overview.summary(self._director, self._kernel_orders.view(trio.current_time())),
        )

    def _jobs(self) -> Mapping[CheckSpec, int]:
        """Return every job that is to be checked now."""
        director = self._director
        if not any(virtual_server.suspended for virtual_server in director.virtual_servers.values()):
            return director.jobs.jobs
        return {spec: number for spec, number in director.jobs.jobs.items() if director.is_awake(number)}

    # -- remembering -----------------------------------------------------------------------------------------------

    def _take_up(self, recall: Recall, found: Table) -> None:
        """Take over what the run before left: say so, and take away what left the configuration meanwhile."""
        self._remembering.tell(recall)
        abandoned = recall.abandoned(self._config, found)
        announce.abandoned(abandoned, self._log)
        self._writer.inherit(Held(), [key for key, ours in abandoned.items() if ours])

    async def _memories(self, clocks: Clocks) -> Mapping[ServiceKey, PoolMemory]:
        """Return what is to be remembered of every virtual server, without holding up the loop for a large file."""
        while self._director.remember(clocks, REMEMBER_MAX):
            await trio.lowlevel.checkpoint()
        return self._director.memories(clocks)

    def _present(self) -> Present:
        leaving = {**self._writer.leaving(), **self._director.leaving()}
        return Present(self._config.digest, self._writer.held, leaving, self._kernel_orders.pause)

    # -- observing -------------------------------------------------------------------------------------------------

    def snapshot(self) -> wire_form.Snapshot:
        """Return everything that observers may know now."""
        return overview.snapshot(self._sources(), self._inbox.statistics().current_buffer_used, trio.current_time())

    def _process_view(self) -> wire_form.ProcessView:
        """Return the program itself as observers see it."""
        return overview.process(self._sources(), self._inbox.statistics().current_buffer_used, trio.current_time())

    def _pieces(self) -> Iterator[bytes]:
        """Yield the same for the exporter, piece by piece."""
        return overview.pieces(self._sources(), self._inbox.statistics().current_buffer_used, trio.current_time())

    def _sources(self) -> overview.Sources:
        return overview.Sources(
            self._director,
            self._writer,
            self._pool,
            self._exporter,
            self._mailer,
            self._errands,
            self._log,
            self._outside.log_dropped,
            self._outside.backend.name,
            self._facts,
            self._remembering.view(trio.current_time()),
            self._outside.web.view(trio.current_time()) if self._outside.web else WebView(),
            self._kernel_orders.view(trio.current_time()),
        )

    def _answer(self, asked: Question) -> Iterable[bytes]:
        """Yield what the exporter asks for, piece by piece, as one line without its end."""
        match asked:
            case AskSnapshot():
                return self._pieces()
            case AskReady():
                return (encode_ready(ready=overview.ready(self._director, self._writer.view())),)
            case AskConfiguration():
                return (runningtext.encode(runningtext.of(self._config)),)
            case _:
                return (self._hindsight.tell(asked),)

    def _verbs(self) -> dict[str, Verb]:
        """Everything that can be said at the admin socket."""
        return {
            **Insight(lambda: self._director, self._process_view).verbs(),
            **self._hindsight.verbs(),
            **Rollout(self, self._reloads, self._load, self._outside.access).verbs(),
            **self._kernel_orders.verbs(),
            **SelfReport(lambda: self._director, self._writer.view, self._log).verbs(),
            **self._check_now.verbs(),
            **Orders(lambda: self._director, self._obey_at_once, self._writer.settle).verbs(),
        }

    def _obey_at_once(self, event: Overridden) -> None:
        """Give the director what an operator wants, without a wait between the permission and the change."""
        since = self._take(event)
        self._writer.want(self._director.desired(), since)
        with suppress(trio.WouldBlock):  # a full inbox has the loop awake anyway
            self._send.send_nowait(Tick())  # it waits for what was next before, and the end of the wish may be sooner


def _weight(event: Event) -> int:
    """Return for how many an event counts in a turn of the decision loop."""
    return len(event.levels) if isinstance(event, LevelsRepeated) else 1
