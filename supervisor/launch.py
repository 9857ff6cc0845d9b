"""Starts the daemon: opens what needs privileges, gives the privileges up, and hands the real world to `wiring`.

Everything that can be refused (file, user, socket, table) is tried before anything is changed, so that a start that fails has
changed nothing. Afterwards this process holds the capabilities of `KEPT` and no others, even when root started it.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import grp
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import trio

from checkers.kit import cage, policies
from checkers.kit.frozen import frozen
from checkers.kit.link import Link, SeqpacketLink
from supervisor import __version__, announce, config, kernelnews, overview, rivals, trackfiles
from supervisor.admin import server as admin
from supervisor.admin.access import Access
from supervisor.admin.protocol import Status
from supervisor.children import spawn
from supervisor.children.checkers import StartChecker
from supervisor.children.exporter import StartExporter, StreamLink
from supervisor.children.favours import grant
from supervisor.children.runner import StartRunner
from supervisor.children.spawn import Account, Child
from supervisor.config import Outcome
from supervisor.core.jobs import specs
from supervisor.exporter.extent import Extent
from supervisor.filenews import KernelFiles
from supervisor.ipvs import sole
from supervisor.ipvs.backend import AnswerLost, Backend, BackendUnavailable
from supervisor.ipvs.dryrun import DryRunBackend, WatchedAddresses
from supervisor.ipvs.kernel import KernelBackend, preload
from supervisor.ipvs.memory import MemoryAddresses, MemoryBackend
from supervisor.ipvs.paths import KernelPaths, NoPaths
from supervisor.ipvs.vip import AddressPort, Report, VirtualAddresses
from supervisor.keepsakes import Keepsakes
from supervisor.log import KeySet, Log, LogWriter, open_log
from supervisor.model import Config
from supervisor.outside import Order, Outside
from supervisor.pipes import open_pipe
from supervisor.stalls import Stalls
from supervisor.statefolder import JOURNAL, Folder, present_life
from supervisor.systemd import Notifier
from supervisor.webfile import WebFile, WebFileError
from supervisor.wiring import Supervisor

KEPT = frozenset(
    {cage.CAP_NET_ADMIN, cage.CAP_NET_RAW, cage.CAP_NET_BIND_SERVICE, cage.CAP_SETUID, cage.CAP_SETGID, cage.CAP_KILL}
)
"""The table, links, addresses and marks; ARP, neighbour frames and pings; low source ports of checks; and starting and ending children
as another user."""

CHECKS_PER_WORKER = 2000
"""One more worker for this many checks, up to the number of processors."""

FILES_MIN = 65_536
"""Open files that a checker may have at least, as far as the system lets it: a reload can bring any number of checks."""

LOG_FLUSH_MAX_S = 2.0
"""At the end, the longest wait for the reader of the log."""

COLLECT = 2_000, 500, 1000
"""Thresholds of the garbage collector: often through little that is new, seldom through what survived that. A reading of 10,000
destinations makes 20,000 objects and lets as many go; with Python's own thresholds every fourth one led through everything there is: 70 ms
in which nothing is decided (`bench.scrape`). And what 5,000 verdicts leave behind stays for a while: looked through 50,000 at a time, it
took 30 to 100 ms; 2,000 at a time no stroke was longer than 25 ms (`bench.convergence`). Keepsakes sees to what has grown old."""


@frozen
class Options:
    """What the command line asked for."""

    file: Path
    backend: str
    exporter: str
    log_format: str
    admin_socket: Path
    admin_group: str
    admin_group_may_change: bool
    user: str
    workers: int
    config_id: str | None = None  # for @id conditions; None: the host's name
    lenient: bool = False  # extra words and unknown keywords are only warned of
    keep: bool = False  # leave table and addresses at the stop
    state_dir: Path | None = None  # where is kept what the next start should know; None: nowhere
    log_keys: str = KeySet.NATIVE.value  # whose names the keys of a JSON line are
    web_config: Path | None = None  # TLS and passwords of the exporter; None: neither
    extent: Extent = Extent()  # how much the exporter tells of each real server
    exporter_names: tuple[str, ...] = ()  # by which readers may ask for the exporter, besides its own
    dry_run: bool = False  # nothing outside is changed, nobody is told; disagreements with the kernel are logged


class Refusal(Exception):
    """The daemon cannot start; the text names the place and the remedy, `status` is what the process ends with."""

    def __init__(self, text: str, status: Status = Status.FAILED) -> None:
        super().__init__(text)
        self.status = status


class InvalidFile(Refusal):
    """The file has errors; the text is all of its problems, as `vipervisor check` shows them."""


def run(options: Options) -> int:
    """Run the daemon until it is told to stop; return the exit status."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until `_listen_for_signals` takes it, a reload would only end us
    with contextlib.ExitStack() as ending:
        try:
            supervisor, backend = _begin(options, ending)
        except InvalidFile as invalid:
            sys.stderr.write(f"{invalid}\n")
            return invalid.status
        except Refusal as refusal:
            sys.stderr.write(f"vipervisor: {refusal}\n")
            return refusal.status
        gc.set_threshold(*COLLECT)
        gc.enable()  # at rest since the command line was read (cli)
        trio.run(_main, supervisor)
        backend.close()
    return Status.FINE


def _begin(options: Options, ending: contextlib.ExitStack) -> tuple[Supervisor, Backend]:
    """Read the file, open the log and everything else, and return what is to run. `ending` is told what to undo. Raises Refusal.

    Over before the daemon runs: what was read is then the daemon's alone, and goes when a reload replaces it.
    """
    outcome = config.load(options.file, config_id=options.config_id, lenient=options.lenient)
    if outcome.config is not None and options.backend != "memory" and not options.dry_run:
        preload({server.scheduler for server in outcome.config.virtual_servers})
    # before the first thread (the log's): each thread has capabilities and filters of its own
    caged = f"uid={os.geteuid()} {cage.keep_only(KEPT)} {cage.wall_in(cage.Walls(policies.PRIVILEGED))}"
    log, writer = open_log(options.log_format, keys=KeySet(options.log_keys))
    ending.callback(writer.close, LOG_FLUSH_MAX_S)
    log.bridge_standard_library()
    if outcome.config is None:
        announce.rejected(outcome, log)
        raise InvalidFile(config.render(outcome), Status.CONFIG_INVALID)
    return _start(options, outcome, outcome.config, log, writer, caged, ending)


def _start(
    options: Options,
    outcome: Outcome,
    loaded: Config,
    log: Log,
    writer: LogWriter,
    caged: str,
    ending: contextlib.ExitStack,
) -> tuple[Supervisor, Backend]:
    mark = _mark(options, log)  # first of all: a second instance shall change nothing, not even a socket file
    if mark is not None:
        ending.callback(mark.close)
    try:
        account = spawn.account(options.user)
        group = _group(options.admin_group)
        control = admin.listen(options.admin_socket, group)
    except (spawn.UnknownUser, admin.SocketTaken) as error:
        raise Refusal(str(error)) from error
    ending.callback(options.admin_socket.unlink, missing_ok=True)
    keepsakes = Keepsakes()
    backend = _dry_backend(loaded, log) if options.dry_run else _backend(options.backend)
    log.emit(
        "daemon.starting",
        f"vipervisor {__version__} starts with {options.file}.",
        version=__version__,
        config_path=options.file,
        backend=backend.name,
        python=overview.PYTHON,
        kernel=overview.KERNEL,
        caged=caged,
    )
    spawn.complain_of_cage("supervisor", caged, log)
    announce.loaded(outcome, log)
    checks = len(set(specs(loaded)))
    outside = Outside(
        backend=backend,
        start_checker=_checker_starter(account, checks),
        favour=lambda run_script: functools.partial(grant, run_script=run_script),
        start_exporter=_exporter_starter(account, options),
        extent=options.extent,
        web=_web_file(options, log),
        start_runner=_runner_starter(account),
        open_pipe=open_pipe,
        addresses=_ADDRESSES[backend.name],
        paths=NoPaths if backend.name == "memory" else KernelPaths,
        files=KernelFiles(),
        deliver=None,
        quiet=options.dry_run,
        keep=options.keep,
        store=None if options.state_dir is None or options.dry_run else Folder(options.state_dir),
        journal=None if options.state_dir is None or options.dry_run else Folder(options.state_dir, JOURNAL),
        life=present_life(),
        load=functools.partial(_load_again, options, log, keepsakes),
        log=log,
        notifier=Notifier(),
        wall_clock=lambda: datetime.now(UTC),
        workers=options.workers or _worker_count(checks),
        memory_bytes=spawn.memory_bytes,
        waited_s=spawn.waited_s,
        admin=control,
        access=Access(os.geteuid(), group, group_may_change=options.admin_group_may_change),
        log_dropped=lambda: writer.dropped,
        caged=caged,
        worked_s=time.thread_time,
        stalls=Stalls(),
        to_stay=keepsakes.freeze,
        give_back=keepsakes.give_back,
        rivals=rivals.find if backend.name == "kernel" else lambda: (),
    )
    if not options.dry_run:
        trackfiles.begin(loaded.track_files, log, starting=True)
    supervisor = Supervisor(loaded, outside)
    keepsakes.freeze()
    return supervisor, backend


def _mark(options: Options, log: Log) -> socket.socket | None:
    """Mark the kernel's table as ours, where we are to write it. Raises Refusal when another instance does."""
    if options.dry_run or options.backend == "memory":
        return None
    try:
        mark = sole.take()
    except sole.TableTaken as error:
        raise Refusal(str(error), Status.TIMEOUT) from error
    if isinstance(mark, sole.Squatter):
        kernelnews.squatter(mark, log)
        return None
    return mark


def _group(name: str) -> int | None:
    """Return the gid of the admin group, None without one. Raises Refusal."""
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise Refusal(f"--admin-group {name}: there is no such group; create it, or leave the option out") from error


def _load_again(options: Options, log: Log, keepsakes: Keepsakes, file: Path | None) -> Outcome:
    """Read the configuration for a reload, or another file just to look at it."""
    outcome = config.load(file or options.file, config_id=options.config_id, lenient=options.lenient)
    if outcome.config is not None and not options.dry_run and file is None:
        trackfiles.begin(outcome.config.track_files, log, starting=False)
    if file is None:
        keepsakes.keep()
    return outcome


async def _main(supervisor: Supervisor) -> None:
    """Run the program beside the signals that steer it."""
    send, orders = trio.open_memory_channel[Order](4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_listen_for_signals, send)
        await supervisor.run(orders)
        nursery.cancel_scope.cancel()


async def _listen_for_signals(send: trio.MemorySendChannel[Order]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for number in signals:
            reload = number == signal.SIGHUP
            if reload and send.statistics().current_buffer_used:
                continue  # an order waits already; a reload that waits will read the newest file anyway
            with contextlib.suppress(trio.WouldBlock):  # full of orders to stop: one is enough
                send.send_nowait(Order.RELOAD if reload else Order.STOP)


def _backend(wanted: str) -> Backend:
    """Open the table. Raises Refusal."""
    if wanted == "memory":
        return MemoryBackend()
    try:
        return KernelBackend()
    except BackendUnavailable as error:
        raise Refusal(f"--backend {wanted}: {error}") from error


def _dry_backend(loaded: Config, log: Log) -> Backend:
    """Open the kernel's table to read it beside a copy. Raises Refusal."""
    try:
        kernel = KernelBackend()
        keys = [server.key for server in loaded.virtual_servers]
        return DryRunBackend(kernel, keys, lambda found, stands: announce.disagreement(found, log, stands=stands))
    except (BackendUnavailable, AnswerLost) as error:
        raise Refusal(f"--dry-run compares with the kernel's table: {error}") from error


_ADDRESSES: dict[str, Callable[[Report], AddressPort]] = {
    "kernel": VirtualAddresses,
    "dry-run": WatchedAddresses,
    "memory": MemoryAddresses,
}
"""What looks after addresses, by the name of the backend."""


def _worker_count(checks: int) -> int:
    return max(1, min(len(os.sched_getaffinity(0)), -(-checks // CHECKS_PER_WORKER)))


def _web_file(options: Options, log: Log) -> WebFile | None:
    """Read how the exporter is protected. Raises Refusal."""
    if options.web_config is None or options.exporter == "off":
        return None
    web = WebFile(options.web_config.absolute(), log)
    try:
        web.begin()
    except WebFileError as error:
        raise Refusal(str(error), Status.CONFIG_INVALID) from error
    return web


def _checker_starter(account: Account, checks: int) -> StartChecker:
    files = str(max(FILES_MIN, 2 * checks + 256))

    async def start(index: int, epoch: int) -> tuple[Child, Link]:
        del index, epoch
        child, ours = await spawn.start("checkers", [*account.arguments(), "--max-files", files], socket.SOCK_SEQPACKET)
        return child, SeqpacketLink(trio.socket.from_stdlib_socket(ours))

    return start


def _runner_starter(account: Account) -> StartRunner:
    async def start(epoch: int) -> tuple[Child, Link]:
        del epoch
        child, ours = await spawn.start("supervisor.runner", account.arguments(), socket.SOCK_SEQPACKET)
        return child, SeqpacketLink(trio.socket.from_stdlib_socket(ours))

    return start


def _exporter_starter(account: Account, options: Options) -> StartExporter | None:
    if options.exporter == "off":
        return None
    extent = options.extent
    arguments = ["--listen", options.exporter, "--series-max", str(extent.series_max), *account.arguments()]
    arguments += [word for name in options.exporter_names for word in ("--name", name)]
    arguments += ["--detail"] * extent.detail + ["--node-ipvs"] * extent.node_ipvs
    arguments += ["--protected"] * (options.web_config is not None)

    async def start(epoch: int) -> tuple[Child, StreamLink]:
        del epoch
        child, ours = await spawn.start("supervisor.exporter", arguments, socket.SOCK_STREAM)
        return child, StreamLink(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))

    return start
