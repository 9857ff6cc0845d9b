"""What lies around the decisions (kernel, processes, network, clock), as values and functions: real in production, fakes in a story."""

from __future__ import annotations

import enum
import socket
from collections.abc import Callable
from dataclasses import field
from datetime import datetime
from pathlib import Path

import trio

from checkers.kit.frozen import frozen
from supervisor.admin.access import NOBODY_ELSE, Access
from supervisor.children.checkers import StartChecker
from supervisor.children.exporter import StartExporter
from supervisor.children.favours import DoFavour, RunScript
from supervisor.children.runner import StartRunner
from supervisor.config import Outcome
from supervisor.core.memory import Life
from supervisor.exporter.extent import Extent
from supervisor.filenews import FilePort
from supervisor.ipvs.backend import Backend
from supervisor.ipvs.paths import PathPort
from supervisor.ipvs.vip import AddressPort
from supervisor.ipvs.vip import Report as AddressReport
from supervisor.log import Log
from supervisor.notify.fifo import Open
from supervisor.notify.smtp import Deliver
from supervisor.rivals import Rival
from supervisor.stalls import StallWatch, Unwatched
from supervisor.statefolder import Store
from supervisor.systemd import Notifier
from supervisor.webfile import WebFile


class Order(enum.Enum):
    """What an operator (or a signal) wants of the running program."""

    STOP = "stop"
    RELOAD = "reload"


@frozen
class Outside:
    """Everything around the decisions: the real thing in production, a fake in a story."""

    backend: Backend
    start_checker: StartChecker
    favour: Callable[[RunScript], DoFavour]
    start_exporter: StartExporter | None
    start_runner: StartRunner
    open_pipe: Open
    addresses: Callable[[AddressReport], AddressPort]
    paths: Callable[[], PathPort]
    files: FilePort
    deliver: Deliver | None  # None: over SMTP
    load: Callable[[Path | None], Outcome]  # the file that runs, or another to look at
    log: Log
    notifier: Notifier
    wall_clock: Callable[[], datetime]
    workers: int = 1
    memory_bytes: Callable[[int], int] = lambda _pid: 0  # how much memory a child has in use; 0: nobody knows
    waited_s: Callable[[int], float | None] = lambda _pid: (
        None
    )  # how long a child has waited for a processor; None: nobody knows
    admin: socket.socket | None = None
    access: Access = NOBODY_ELSE  # who may ask and order over that socket
    worked_s: Callable[[], float] = (
        trio.current_time
    )  # how long this thread had the processor; a story has no better than its clock
    in_thread: bool = True  # whether what blocks may run in a thread (a virtual clock takes a thread for idleness)
    log_dropped: Callable[[], int] = lambda: 0
    stalls: StallWatch = field(default_factory=Unwatched)  # who sees where the loop stands when it stands still
    quiet: bool = False  # a dry run: the log alone is told
    rivals: Callable[[], tuple[Rival, ...]] = lambda: ()  # who else writes the table
    to_stay: Callable[[], None] = lambda: (
        None
    )  # told that what was made just now will stay for as long as the configuration
    give_back: Callable[[], None] = lambda: None  # told when much was needed for a moment, and is not any more
    keep: bool = False  # a clean stop leaves the table and the addresses as they are
    caged: str = ""  # what this process could give up, and which walls stand around it
    store: Store | None = None  # where is kept what the next start should know; None: nowhere
    journal: Store | None = None  # where the history is kept; None: in memory alone
    life: Life = Life()
    extent: Extent = Extent()  # how much the exporter tells of each real server
    web: WebFile | None = None  # how the exporter is protected; None: not at all
