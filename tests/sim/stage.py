"""Plays one life: the whole program in a watched world, with everything in its scenario happening to it, and the oracles looking on."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import random
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType

import trio
from trio.testing import MockClock

from checkers.kit import worker as checker_worker
from checkers.kit.link import Link, memory_link_pair
from supervisor import heartbeat
from supervisor.children import checkers as children_checkers
from supervisor.children import runner as children_runner
from supervisor.children.spawn import Child
from supervisor.config import Outcome
from supervisor.core.changes import Changes
from supervisor.core.events import CheckReported, Event, LevelsRepeated
from supervisor.ipvs import rounds
from supervisor.model import Config, Endpoint, ServiceKey
from supervisor.outside import Order
from supervisor.runner import executor
from supervisor.wiring import Supervisor
from tests.fakes.network import FakeNetwork
from tests.sim import guard_actions  # noqa: F401  its actions enter themselves
from tests.sim.actions import ACTIONS
from tests.sim.diary import Violation
from tests.sim.expectation import Wish
from tests.sim.ledger import Ledger, TappedLink
from tests.sim.oracles import Oracles
from tests.sim.scenario import CALM, PACES, Pace, Scenario
from tests.sim.site import FILE, MISC, Site
from tests.sim.weather import WatchedNetwork, Weather
from tests.sim.world import TaskChild, World

CPU_MAX_S = 60
"""A life that keeps a processor busy for longer than this does not move any more. The longest take a few seconds."""


ENDS_S = 0.05
"""An order may end so much early: its end is written down in milliseconds of another clock."""

WRITTEN_S = 3.0
"""After this the program has written down what it wants to remember, in seconds."""


@dataclass
class Result:
    """What came of one life."""

    scenario: Scenario
    hours: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    digest: str = ""
    probes: int = 0
    calms: int = 0
    ops: int = 0


class Stuck(Exception):
    """The virtual clock stands still."""


@dataclass
class Stage(World):
    """A world that knows what it does to the program, and writes down what comes of it."""

    scenario: Scenario = field(kw_only=True)

    def __post_init__(self) -> None:
        self.pace: Pace = PACES[self.scenario.pace]
        self.network = self.watched = WatchedNetwork()
        self.ledger = Ledger()
        self.weather = Weather(self.watched, self.programs.behaviours, self.files)
        self.taps: dict[int, TappedLink] = {}
        self.site: Site = self.scenario.site
        """What the running program was given."""
        self.written: Site = self.scenario.site
        """What the file says; None in `broken` means that it is not valid."""
        self.before: Site = self.scenario.site
        """What it said before that."""
        self.broken = False
        self.sites: dict[str, Site] = {}
        """What each configuration was made from, by its digest."""
        self.faults: Counter[str] = Counter()
        self.disturbed_until = 0.0
        self.refusals_to_start = 0
        self.seldom_until = 0.0
        """Probes may be rarer until then: descriptors were short (checkers.kit.shedding)."""
        self.alive = False
        self.stopping = False
        self.lives = 0
        self.wishes: dict[tuple[ServiceKey, Endpoint], tuple[Wish, float]] = {}
        """What operators want, each until when."""
        self.wished_at = 0.0
        self.meddled: dict[ServiceKey, list[float]] = {}
        self.oracles = Oracles(self)
        self.backend.watch = self.oracles.on_operation
        self.backend.watch_reading = self.oracles.on_reading
        self.backend.watch_refusal = self.oracles.on_refusal
        self.ledger.changed = self.oracles.on_level
        self.ledger.turned = self.oracles.on_turn
        self.weather.turned = self.oracles.workers.on_weather

    # -- the life --------------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Play the whole scenario. Ends early when an oracle has spoken."""
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for host in self.site.hosts:
                self.watched.host(host)
            await self.begin()
            await self.oracles.calm()
            for action in self.scenario.actions:
                if self.oracles.diary.violations:
                    break
                await trio.sleep(action.after)
                await self._act(action.what, random.Random(action.number))
            if not self.oracles.diary.violations:
                await self.oracles.end()
            nursery.cancel_scope.cancel()
        self.hours = (trio.current_time() - began) / 3600

    async def _act(self, what: str, rng: random.Random) -> None:
        if what == CALM:
            await self.oracles.calm(rng.choice([1.0, 1.0, 1.5, 4.0]))
            return
        await self.oracles.glance()
        if await ACTIONS[what](self, rng):
            self.faults[what] += 1

    def disturb(self, until: float | None = None) -> None:
        """Note that more than the weather was tampered with."""
        self.disturbed_until = max(self.disturbed_until, trio.current_time(), until or 0.0)

    def after(self, seconds: float, deed: Callable[[], None]) -> None:
        """Do something later, whatever happens meanwhile."""

        async def wait() -> None:
            await trio.sleep(seconds)
            deed()

        self._nursery.start_soon(wait)

    @property
    def remembers(self) -> bool:
        """Whether the program keeps what it knows for its next start."""
        return getattr(self, "store", None) is not None

    def wish(self, name: tuple[ServiceKey, Endpoint], wish: tuple[Wish, float] | None) -> None:
        """An operator wants something of a real server, or nothing any more."""
        if wish is None:
            self.wishes.pop(name, None)
        else:
            self.wishes[name] = wish
        self.wished_at = trio.current_time()
        self.oracles.on_wish()

    def wish_of(self, key: ServiceKey, endpoint: Endpoint) -> Wish | None:
        """What an operator wants of a real server now."""
        wish, until = self.wishes.get((key, endpoint), (None, 0.0))
        return wish if trio.current_time() + ENDS_S < until else None

    def write_file(self, site: Site, *, broken: str = "") -> None:
        """Write the configuration file."""
        if site != self.written:
            self.before = self.written
        self.written, self.broken = site, bool(broken)
        self.path.write_text(broken or site.text())
        for host in site.hosts:
            self.watched.host(host)

    # -- one life of the supervisor ---------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Start the supervisor with the file as it is written."""
        if self.broken:
            self.write_file(self.written)
        self.site = self.written
        self.lives += 1
        self.oracles.last_life()
        self.ledger.new_life()
        there = {(key, server.endpoint) for key, pool in self.site.services() for server in pool.servers}
        kept = self.wishes if self.remembers else {}
        self.wishes = {name: wish for name, wish in kept.items() if name in there}
        self.oracles.new_life()
        self.alive, self.stopping = True, False
        self.disturb()
        self.orders, orders = trio.open_memory_channel[Order](16)
        outcome = self._load(None)
        assert outcome.config is not None
        self.supervisor = Supervisor(outcome.config, self._outside())
        self._watch_reloads()
        audit_s = self.pace.audit if self.scenario.nets else float("inf")
        self.supervisor._writer._rounds._interval_s = audit_s
        for worker in self.supervisor._pool.workers:
            worker._inbox = GuardedInbox(worker._inbox, self, worker.index)  # type: ignore[assignment]
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self._nursery.start_soon(self._run_supervisor, orders)
        await trio.sleep(0.1)

    async def finish(self, *, keep: bool) -> None:
        """Stop it in an orderly way and wait for its end."""
        self.supervisor._outside = dataclasses.replace(self.supervisor._outside, keep=keep)
        self.stopping = not keep
        self.stop()
        with trio.move_on_after(200):
            await self.ended.wait()
        if not self.ended.is_set():
            self.oracles.diary.say("a_stop_is_obeyed", "the program was told to stop 200 s ago and still runs")
            self.scope.cancel()
        self.alive = False

    async def die(self) -> None:
        """As by SIGKILL. An order that was said this very moment may be lost or not; we wait until that is certain."""
        await trio.sleep(max(0.0, self.wished_at + WRITTEN_S - trio.current_time()))
        self.alive = False
        self.crash()

    async def _run_supervisor(self, orders: trio.MemoryReceiveChannel[Order]) -> None:
        ended = self.ended
        with self.scope:
            await self.supervisor.run(orders)
        ended.set()

    def _load(self, file: Path | None) -> Outcome:
        outcome = super()._load(file)
        if outcome.config is not None and file is None:
            self.sites[outcome.config.digest] = self.written
        elif not self.broken and file is None:
            self.oracles.diary.say("a_valid_file_is_taken", str(outcome.problems)[:500])
        return outcome

    def _watch_reloads(self) -> None:
        """Know what the program was given the moment that it takes it over."""
        supervisor = self.supervisor
        take_over = supervisor.take_over

        def watched(config: Config, changes: Changes) -> object:
            self.site = self.sites[config.digest]
            there = {(key, server.endpoint) for key, pool in self.site.services() for server in pool.servers}
            self.wishes = {name: wish for name, wish in self.wishes.items() if name in there}
            self.oracles.on_configuration()
            return take_over(config, changes)

        vars(supervisor)["take_over"] = watched

    def _line(self, line: bytes, level: str) -> None:
        super()._line(line, level)
        self.oracles.on_line(self.lines[-1])
        if len(self.lines) > 4000:
            del self.lines[:2000]

    async def _start_checker(self, index: int, epoch: int) -> tuple[Child, Link]:
        del epoch
        self.ledger.silence(index)
        await trio.sleep(0.3)  # Python starts
        if self.refusals_to_start:
            self.refusals_to_start -= 1
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self._pids += 1
        child = WatchedChild(self._pids)
        ours, theirs = memory_link_pair()
        self.children[index] = child
        tap = self.taps[index] = TappedLink(ours, index, self.ledger)
        tap.went_on = partial(self.oracles.workers.who_talks_nonsense_is_ended, index)
        rng = random.Random(self.rng.random())
        self._nursery.start_soon(partial(child.run, theirs, self.watched, rng, set()))
        return child, self.taps[index]

    def make_sources(self) -> None:
        """Give every script and file of the site its first word."""
        for _, _, key in self.site.checks():
            if key.kind in {MISC, FILE}:
                self.weather.source(key.kind, key.host)


class WatchedChild(TaskChild):
    """A worker whose probes are counted."""

    async def run(self, link: Link, network: FakeNetwork, rng: random.Random, poison: set[str]) -> None:
        del poison
        try:
            with self.scope:
                await checker_worker.main(
                    link, network.dialer, rng, punctuality=self.punctuality, make_watch=network.watch
                )
        finally:
            link.close()
            self._over.set()


class GuardedInbox:
    """The way from a worker's conversation to the director, where nobody else's word and no old word may pass."""

    def __init__(self, inbox: trio.MemorySendChannel[Event], stage: Stage, index: int) -> None:
        self._inbox = inbox
        self._stage = stage
        self._index = index

    async def send(self, event: Event) -> None:
        verdicts = event.levels if isinstance(event, LevelsRepeated) else (event,)
        for verdict in verdicts:
            if isinstance(verdict, CheckReported):
                self._stage.oracles.on_verdict(self._index, verdict)
        await self._inbox.send(event)


@contextlib.contextmanager
def paced(pace: Pace, *, nets: bool) -> Iterator[None]:
    """Let the program's own clockwork go at this pace; without the nets, nothing is said again unasked."""
    endless = float("inf")
    numbers: list[tuple[ModuleType, str, float]] = [
        (checker_worker, "BEAT_EVERY_S", pace.beat),
        (checker_worker, "STATE_EVERY_S", pace.state if nets else endless),
        (children_checkers, "SILENCE_MAX_S", pace.silence),
        (executor, "ALIVE_EVERY_S", pace.beat),
        (children_runner, "SILENCE_MAX_S", pace.silence),
        (heartbeat, "TICK_S", pace.tick),
        (rounds, "FULL_LAST_S", pace.audit if nets else endless),
        # without the nets the writer has nothing to turn for
        (heartbeat, "WRITER_STILL_TICKS", heartbeat.WRITER_STILL_TICKS if nets else endless),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in numbers]
    for module, name, value in numbers:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@contextlib.contextmanager
def cpu_limit(limit_s: float) -> Iterator[None]:
    """Raise Stuck when this takes too much of a processor's time: the virtual clock may stand still in a circle of tasks."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Stuck(f"no end after {limit_s:g} s of work")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def live(scenario: Scenario, limit_s: float = CPU_MAX_S) -> Result:
    """Play one life and return what came of it. The same scenario gives the same result."""
    result = Result(scenario)
    with tempfile.TemporaryDirectory(prefix="sim-") as folder, paced(PACES[scenario.pace], nets=scenario.nets):
        path = Path(folder) / "keepalived.conf"
        stage = Stage(path, random.Random(scenario.seed), workers=scenario.workers, scenario=scenario)
        stage.write_file(scenario.site)
        vars(trio._core._run)["_ALLOW_DETERMINISTIC_SCHEDULING"] = True
        trio._core._run._r.seed(scenario.seed)
        stage.hours = 0.0
        try:
            with cpu_limit(limit_s):
                trio.run(stage.live, clock=MockClock(autojump_threshold=0))
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  whatever ends the program is the finding
            text = "".join(traceback.format_exception(error))
            stage.oracles.diary.violations.append(Violation("the_program_lives", 0.0, text[-3000:]))
    result.hours = stage.hours
    result.faults = stage.faults
    result.violations = stage.oracles.diary.violations
    result.probes = stage.watched.probes
    result.calms = stage.oracles.calms
    result.ops = len(stage.backend.history)
    result.digest = hashlib.sha256("\n".join(stage.oracles.diary.lines).encode()).hexdigest()[:16]
    return result
