"""The daemon with its table in memory, except that it writes down when each destination is written; for `noticing` and `graceful_reload`.

    daemon = TimedDaemon(folder, configuration)        # started
    daemon.writes() -> [Written(at, endpoint, weight)]

With `patient` no sentinel is given up however short it lived: a benchmark that reloads a server every second would have none otherwise.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import trio

from checkers import __main__ as checkers_program
from checkers.kit import idling
from checkers.kit.link import Link, SeqpacketLink
from supervisor import cli, launch
from supervisor.admin.client import ask
from supervisor.admin.protocol import Request, RequestError
from supervisor.children import spawn
from supervisor.children.checkers import StartChecker
from supervisor.children.spawn import Account, Child
from supervisor.core.table import AddDestination, ChangeDestination, DeleteDestination, Op
from supervisor.ipvs.memory import MemoryBackend

WRITES = "BENCH_WRITES"
PATIENT = "BENCH_PATIENT"
WORKER = "--as-worker"


class Written(NamedTuple):
    """One destination that was written; `at` on CLOCK_MONOTONIC, `weight` -1: deleted."""

    at: float
    endpoint: str
    weight: int


class TimedDaemon:
    """A daemon of its own process."""

    def __init__(self, folder: Path, configuration: str, *more: str, patient: bool = False) -> None:
        """`more`: options of its command line."""
        self._writes = folder / "writes"
        self._writes.touch()
        self._socket = folder / "run" / "admin.sock"
        file = folder / "keepalived.conf"
        file.write_text(configuration)
        command = [sys.executable, "-m", "bench.timed_daemon", "run", "-f", str(file), "--backend", "memory"]
        options = ["--exporter", "off", "--admin-socket", str(self._socket), *more]
        environment = {**os.environ, WRITES: str(self._writes), PATIENT: "1" if patient else ""}
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen([*command, *options], stdout=self.log, env=environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def writes(self) -> list[Written]:
        """Return every write so far."""
        lines = [line.split() for line in self._writes.read_text().splitlines()]
        return [Written(float(at), endpoint, int(weight)) for at, endpoint, weight in lines]

    def sentinels(self) -> tuple[int, int]:
        """Return how many sentinels are held, and how many have ended so far."""
        workers = self._workers()
        return sum(one["sentinels"] for one in workers), sum(one["sentinels_ended"] for one in workers)

    def sentinels_given_up(self) -> int:
        """Return how many servers have none because they cannot afford it."""
        return sum(one["sentinels_given_up"] for one in self._workers())

    def _workers(self) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = ask(self._socket, Request("status", {}))["process"]["workers"]
        except RequestError:
            return []
        return found


def until(what: Callable[[], bool], patience_s: float = 60.0, every_s: float = 0.02) -> None:
    """Wait until something is true. Raises TimeoutError."""
    limit = time.monotonic() + patience_s
    while not what():
        if time.monotonic() > limit:
            raise TimeoutError(f"not within {patience_s:g} s")
        time.sleep(every_s)


def write_down(apply: Callable[[MemoryBackend, Sequence[Op]], list[str]], path: str) -> None:
    """Have every write of a table in memory written down, in a file."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)

    def timed(backend: MemoryBackend, ops: Sequence[Op]) -> list[str]:
        done = apply(backend, ops)
        now = time.monotonic()
        for op in ops:
            match op:
                case AddDestination() | ChangeDestination():
                    os.write(fd, f"{now:.6f} {op.destination.endpoint} {op.destination.weight}\n".encode())
                case DeleteDestination():
                    os.write(fd, f"{now:.6f} {op.endpoint} -1\n".encode())
                case _:
                    pass
        return done

    MemoryBackend.apply = timed  # type: ignore[method-assign, assignment]


def _patient_starter(account: Account, checks: int) -> StartChecker:
    files = str(2 * checks + 512)

    async def start(index: int, epoch: int) -> tuple[Child, Link]:
        del index, epoch
        arguments = [WORKER, *account.arguments(), "--max-files", files]
        child, ours = await spawn.start("bench.timed_daemon", arguments, socket.SOCK_SEQPACKET)
        return child, SeqpacketLink(trio.socket.from_stdlib_socket(ours))

    return start


def main() -> int:
    """Be the daemon, or its patient worker."""
    if WORKER in sys.argv:
        sys.argv.remove(WORKER)
        idling.EARLY_MAX = 1 << 30
        return checkers_program.main()
    write_down(MemoryBackend.apply, os.environ[WRITES])
    if os.environ.get(PATIENT):
        launch._checker_starter = _patient_starter  # noqa: SLF001  there is no other seam, and a benchmark needs none
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
