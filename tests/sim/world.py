"""The whole program on a virtual clock: real wiring, core, writer, workers and frames; fake kernel, network, processes and mail.

    async def story(world: World) -> None:
        world.network.server("192.168.100.22", 80).behaviour = refuse()
        await world.later(20)
        assert world.weights() == {21: 1, 22: 0}

    play(story, CONFIGURATION, seed=1)

A worker is a task that runs the same `kit.worker.main` as the process; to kill it is to cancel it. Time passes only while everybody sleeps.
"""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock

from checkers.kit import worker as checker_worker
from checkers.kit.api import Answer, Ending, Favour, Favours, Stream, Target
from checkers.kit.job import Job
from checkers.kit.link import Link, memory_link_pair
from checkers.kit.punctuality import Punctuality
from supervisor import config
from supervisor.admin.access import Caller
from supervisor.admin.protocol import Request
from supervisor.children.favours import DoFavour, Granted, RunScript
from supervisor.children.spawn import Child
from supervisor.config import Outcome
from supervisor.core.memory import Life
from supervisor.core.snapshot import Snapshot
from supervisor.ipvs.vip import Report as AddressReport
from supervisor.log import Log, LogWriter
from supervisor.model import Config, MailSettings, ServiceKey
from supervisor.outside import Order, Outside
from supervisor.rivals import Rival
from supervisor.stalls import StallWatch, Unwatched
from supervisor.statefolder import JOURNAL
from supervisor.wiring import Supervisor
from tests.fakes.addresses import FakeAddresses
from tests.fakes.backend import FaultyBackend
from tests.fakes.files import FakeFiles
from tests.fakes.manager import FakeManager
from tests.fakes.network import FakeDialer, FakeNetwork
from tests.fakes.paths import FakePaths
from tests.fakes.pipes import FakePipes
from tests.fakes.programs import FakePrograms, FakeRunnerChild, start_runner
from tests.fakes.store import FakeStore


class TaskChild:
    """A worker that is a task of the story."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.scope = trio.CancelScope()
        self.frozen = False
        self.punctuality = Punctuality()  # a story that lets the machine stand still counts a nap here
        self._over = trio.Event()
        self._how = "exit 0"

    async def run(self, link: Link, network: FakeNetwork, rng: random.Random, poison: set[str]) -> None:
        """Be the worker. It dies of connecting to an address of `poison`."""

        def dialer(limit_s: float, favours: Favours) -> FakeDialer:
            return PoisonedDialer(network, limit_s, favours, poison, self.kill)

        try:
            with self.scope:
                await checker_worker.main(link, dialer, rng, punctuality=self.punctuality, make_watch=network.watch)
        finally:
            link.close()
            self._over.set()

    async def wait(self) -> str:
        await self._over.wait()
        return self._how

    def kill(self) -> None:
        if not self._over.is_set():
            self._how = "signal SIGKILL"
            self.scope.cancel()


class PoisonedDialer(FakeDialer):
    """A dialer of a worker that dies of some servers, as by a bug in a library."""

    def __init__(
        self, network: FakeNetwork, limit_s: float, favours: Favours, poison: set[str], die: Callable[[], None]
    ) -> None:
        super().__init__(network, limit_s, favours)
        self._poison = poison
        self._die = die

    async def _connect(self, target: Target) -> Stream:
        if target.address in self._poison:
            self._die()
        return await super()._connect(target)


class FrozenLink:
    """The supervisor's end of a link whose worker can be stopped (as by SIGSTOP): then nothing comes any more."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.frozen = False

    async def send(self, data: bytes, descriptor: int | None = None) -> None:
        await self._link.send(data, descriptor)

    async def receive(self) -> bytes:
        data = await self._link.receive()
        if self.frozen:
            await trio.sleep_forever()
        return data

    def take_descriptor(self) -> int | None:
        return self._link.take_descriptor()

    def close(self) -> None:
        self._link.close()


@dataclass
class World:
    """What a story can touch and see."""

    path: Path
    rng: random.Random
    network: FakeNetwork = field(default_factory=FakeNetwork)
    backend: FaultyBackend = field(default_factory=FaultyBackend)
    lines: list[dict[str, Any]] = field(default_factory=list)
    mails: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    programs: FakePrograms = field(default_factory=FakePrograms)
    pipes: FakePipes = field(default_factory=FakePipes)
    runners: list[FakeRunnerChild] = field(default_factory=list)
    children: dict[int, TaskChild] = field(default_factory=dict)
    links: dict[int, FrozenLink] = field(default_factory=dict)
    workers: int = 1
    rivals: tuple[Rival, ...] = ()  # who else writes the table
    stays: int = 0  # how often the program was done with making what will stay
    gave_back: list[float] = field(default_factory=list)  # when it gave memory back
    poison: set[str] = field(default_factory=set)  # addresses that a worker dies of
    no_starts: set[int] = field(default_factory=set)  # workers that cannot be started now
    files: FakeFiles = field(default_factory=FakeFiles)
    store: FakeStore = field(default_factory=lambda: FakeStore(lambda: _wall_clock().timestamp()))
    journal: FakeStore = field(
        default_factory=lambda: FakeStore(lambda: _wall_clock().timestamp(), Path("/var/lib/vipervisor") / JOURNAL)
    )
    life: Life = Life("boot 1", "net:[1] 1")
    keep: bool = False  # a stop leaves everything
    stalls: StallWatch = field(default_factory=Unwatched)  # of what is started next
    log_writer: LogWriter | None = None  # takes the log in place of `lines`
    manager: FakeManager = field(default_factory=FakeManager)
    _pids: int = 1000

    async def later(self, seconds: float) -> None:
        """Let time pass."""
        await trio.sleep(seconds)

    def now(self) -> float:
        """The time of the virtual clock, in seconds."""
        return trio.current_time()

    def service(self, index: int = 0) -> ServiceKey:
        return self.config().virtual_servers[index].key

    def config(self) -> Config:
        found = config.load(self.path).config
        assert found is not None
        return found

    def weights(self, index: int = 0) -> dict[int, int]:
        """The weights in the kernel's table, by the last byte of the address."""
        service = self.backend.table.services.get(self.service(index))
        return {int(e.address) & 255: d.weight for e, d in service.destinations.items()} if service else {}

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]

    def subjects(self) -> list[str]:
        """Subjects of the mails, in order."""
        return [text.split("Subject: ")[1].split("\r\n")[0] for text, _ in self.mails]

    def snapshot(self) -> Snapshot:
        return self.supervisor.snapshot()

    def reload(self, text: str | None = None) -> None:
        if text is not None:
            self.path.write_text(text)
        self.orders.send_nowait(Order.RELOAD)

    def stop(self) -> None:
        self.orders.send_nowait(Order.STOP)

    # -- how it is made --------------------------------------------------------------------------------------------

    async def run(self, story: Callable[[World], Awaitable[None]]) -> None:
        """Play the story beside the program, then end the program as a crash would: nothing is cleaned up."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self.start()
            await story(self)
            nursery.cancel_scope.cancel()

    async def start(self) -> None:
        """Start the supervisor, as at boot or after a crash."""
        self.orders, orders = trio.open_memory_channel[Order](4)
        self.supervisor = Supervisor(self.config(), self._outside())
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self._nursery.start_soon(self._run_supervisor, orders)
        await trio.sleep(0.1)

    async def operate(self, verb: str, *, by: str = "root", **args: Any) -> Any:
        """Say a verb at the admin socket as root and return the answer. Raises RequestError."""
        answer = await self.supervisor.desk.carry_out(Request(verb, args), Caller(uid=0, gid=0, pid=4711, user=by))
        return json.loads(answer) if isinstance(answer, bytes) else answer

    def _note_what_stays(self) -> None:
        """Be told that what was made will stay."""
        self.stays += 1

    def _note_what_goes(self) -> None:
        """Be told that memory is not needed any more."""
        self.gave_back.append(trio.current_time())

    def crash(self) -> None:
        """The supervisor dies as by SIGKILL; its children see the end of their links."""
        self.scope.cancel()

    async def _run_supervisor(self, orders: trio.MemoryReceiveChannel[Order]) -> None:
        scope, ended = self.scope, self.ended  # the next one may have begun before this one is over
        with scope:
            await self.supervisor.run(orders)
        ended.set()

    def _outside(self) -> Outside:
        self.log = self._make_log()
        return Outside(
            backend=self.backend,
            start_checker=self._start_checker,
            start_exporter=None,
            start_runner=self._start_runner,
            open_pipe=self.pipes.open,
            addresses=self._make_addresses,
            paths=self._make_paths,
            files=self.files,
            deliver=self._deliver,
            load=self._load,
            log=self.log,
            log_dropped=lambda: self.log_writer.dropped if self.log_writer else 0,
            notifier=self.manager,
            wall_clock=_wall_clock,
            workers=self.workers,
            in_thread=False,
            stalls=self.stalls,
            favour=self._favour,
            rivals=lambda: self.rivals,
            to_stay=self._note_what_stays,
            give_back=self._note_what_goes,
            store=self.store,
            journal=self.journal,
            life=self.life,
            keep=self.keep,
        )

    def _make_log(self) -> Log:
        return Log(
            self.log_writer or self._line,
            keep=self.log_writer and self.log_writer.keep,
            strict=True,
            host="story",
            pid=1,
            wall_clock=_wall_clock,
            clock=trio.current_time,
            lowest="debug",
        )

    def _load(self, file: Path | None) -> Outcome:
        return config.load(file or self.path)

    def _make_addresses(self, report: AddressReport) -> FakeAddresses:
        self.addresses = FakeAddresses(report)
        return self.addresses

    def _make_paths(self) -> FakePaths:
        self.paths = FakePaths()
        return self.paths

    async def _deliver(self, settings: MailSettings, text: bytes, recipients: Sequence[str]) -> None:
        del settings
        await trio.sleep(0.05)
        self.mails.append((text.decode(), tuple(recipients)))

    def _favour(self, run_script: RunScript) -> DoFavour:
        async def do(job: Job, favour: Favour) -> Granted:
            """Files read as the story wants; scripts run where all programs of a story do."""
            if favour is Favour.FILE:
                await trio.sleep(0.001)
                return Granted(Answer(Ending.DONE, text=self.files.get(str(job.options["path"]), "")))
            assert favour is Favour.SCRIPT
            return Granted(await run_script(job))

        return do

    def _line(self, line: bytes, level: str) -> None:
        del level
        self.lines.append(json.loads(line))

    async def _start_checker(self, index: int, epoch: int) -> tuple[Child, Link]:
        del epoch
        if index in self.no_starts:
            raise OSError("no more processes")
        await trio.sleep(0.3)  # Python starts
        self._pids += 1
        child = TaskChild(self._pids)
        ours, theirs = memory_link_pair()
        self.children[index] = child
        self.links[index] = FrozenLink(ours)
        self._nursery.start_soon(
            partial(child.run, theirs, self.network, random.Random(self.rng.random()), self.poison)
        )
        return child, self.links[index]

    async def _start_runner(self, epoch: int) -> tuple[Child, Link]:
        del epoch
        await trio.sleep(0.3)  # Python starts
        self._pids += 1
        child, link = start_runner(self._nursery, self.programs, self._pids)
        self.runners.append(child)
        return child, link


def _wall_clock() -> datetime:
    return datetime.fromtimestamp(1_800_000_000 + trio.current_time() % 1_000_000, UTC)


def play(
    story: Callable[[World], Awaitable[None]],
    text: str,
    folder: Path,
    *,
    seed: int = 1,
    workers: int = 1,
    log_writer: LogWriter | None = None,
) -> World:
    """Play one story with a configuration and return the world as it was at the end. The same seed plays the same story."""
    path = folder / "keepalived.conf"
    path.write_text(text)
    world = World(path, random.Random(seed), workers=workers, log_writer=log_writer)
    # Trio shuffles what is runnable, in an order that hangs on memory addresses unless it is asked to sort first.
    vars(trio._core._run)["_ALLOW_DETERMINISTIC_SCHEDULING"] = True
    trio._core._run._r.seed(seed)
    trio.run(world.run, story, clock=MockClock(autojump_threshold=0))
    return world
