"""What Debian's keepalived programs at its start, and what we do, for the same file: one network namespace and one keepalived for each.

Run by hand (as root on a kernel with IPVS: `tests/kernel/on-ipvs -- .venv/bin/python -m tests.kernel.startups [--lenient] FILE...`), it
prints every disagreement, the problems that we find in the file and what keepalived logs.

keepalived is read between the line that says that it has started and its first check, which comes a second later at the earliest.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from supervisor import config
from supervisor.core.director import table_at_start
from supervisor.core.table import DeleteService, Table
from supervisor.ipvs.kernel import KernelBackend

CONFIG_ID = "director"
"""What both programs are told to be, for `@director` lines."""

AT_ONCE = 6
"""Instances side by side: a User-Mode Linux guest has one processor, and each of them waits now and then."""

STARTED_WITHIN_S = 10.0
ENDED_WITHIN_S = 10.0
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Answer:
    """What keepalived made of one file. `table` is None when it did not start."""

    table: Table | None
    log: str


@dataclass(frozen=True)
class Comparison:
    """One file, both answers. `ours` is None when we refuse the file."""

    path: Path
    theirs: Answer
    ours: Table | None
    outcome: config.Outcome

    @property
    def equal(self) -> bool:
        """Whether both tables are the same to the last threshold; a file that neither takes is no agreement worth having."""
        return self.theirs.table is not None and self.ours is not None and not self.differences()

    def differences(self) -> list[str]:
        """Every service and destination that is not the same, "-" for keepalived's and "+" for ours."""
        if self.theirs.table is None:
            return ["keepalived does not start"]
        if self.ours is None:
            return ["we refuse the file", *sorted(f"- {line}" for line in lines(self.theirs.table))]
        theirs, ours = set(lines(self.theirs.table)), set(lines(self.ours))
        return sorted(
            [f"- {line}" for line in theirs - ours] + [f"+ {line}" for line in ours - theirs], key=_after_sign
        )

    def report(self) -> str:
        """Everything that a person needs to judge a disagreement."""
        found = config.render(self.outcome)
        parts = [f"== {self.path.name}", *self.differences(), "-- we say", found, "-- keepalived says", self.theirs.log]
        return "\n".join(parts)


def _after_sign(line: str) -> tuple[str, str]:
    return line[2:], line[:1]


def lines(table: Table) -> Iterator[str]:
    """The table as text that has everything in it, thresholds too."""
    for service in table.services.values():
        yield f"{service.key} {service.settings}"
        for destination in service.destinations.values():
            yield f"{service.key} → {destination}"


def ask(paths: Sequence[Path]) -> dict[Path, Answer]:
    """Ask keepalived about every file, several at once. Needs root on a kernel with IPVS; touches no namespace but its own."""
    answers: dict[Path, Answer] = {}
    waiting = [path.absolute() for path in reversed(paths)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(_ask_in_a_namespace, waiting, answers) for _ in range(AT_ONCE)]:
            done.result()
    return {path: answers[path.absolute()] for path in paths}


def compared(path: Path, theirs: Answer, *, lenient: bool = False) -> Comparison:
    """What we make of a file beside keepalived's answer."""
    outcome = config.load(path, config_id=CONFIG_ID, lenient=lenient)
    ours = None if outcome.config is None else table_at_start(outcome.config)
    return Comparison(path, theirs, ours, outcome)


def _ask_in_a_namespace(waiting: list[Path], answers: dict[Path, Answer]) -> None:
    """Work on the waiting files in a network namespace that this thread alone is in."""
    if _libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare: " + os.strerror(ctypes.get_errno()))
    _set_up("lo")
    backend = KernelBackend()
    try:
        with tempfile.TemporaryDirectory() as directory:
            while waiting:
                path = waiting.pop()
                answers[path] = _ask(path, backend, Path(directory))
                left = list(backend.read().table.services)
                for start in range(0, len(left), 64):
                    backend.apply([DeleteService(key) for key in left[start : start + 64]])
    finally:
        backend.close()


def _set_up(interface: str) -> None:
    """Set an interface up (SIOCGIFFLAGS, SIOCSIFFLAGS of linux/sockios.h; IFF_UP is 1)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", interface.encode(), 0)
        flags = struct.unpack_from("16xh", fcntl.ioctl(any_socket, 0x8913, request))[0]
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", interface.encode(), flags | 1))


def _ask(path: Path, backend: KernelBackend, directory: Path) -> Answer:
    own = Path(
        tempfile.mkdtemp(dir=directory)
    )  # pid files of its own: the last instance may be just about to take away its
    pids = ["-p", str(own / "parent.pid"), "-c", str(own / "checker.pid"), "-b", str(own / "bfd.pid")]
    command = ["keepalived", "-n", "-l", "-C", "-i", CONFIG_ID, "-f", str(path), *pids]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        log = _Log(process.stdout.fileno())
        started = log.wait_for(("Startup complete", "no configuration to run"), STARTED_WITHIN_S)
        table = _settled(backend) if started else None
        _end(process, own / "checker.pid")
        text = log.text
    return Answer(table, "\n".join(line[26:] for line in text.splitlines()))


def _end(process: subprocess.Popen[bytes], checker: Path) -> None:
    """End keepalived, and its child, which does not notice a parent that is killed while it is busy."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(ENDED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        if checker.exists():
            os.kill(int(checker.read_text()), signal.SIGKILL)
            checker.unlink()


def _settled(backend: KernelBackend) -> Table:
    """The table as soon as two readings of it are the same."""
    before = backend.read().table
    while True:
        time.sleep(0.02)
        now = backend.read().table
        if now == before:
            return now
        before = now


class _Log:
    """What a process prints, as far as it was waited for."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.text = ""

    def wait_for(self, any_of: Sequence[str], within: float) -> bool:
        """Read until one of the sentences comes; False when the process ends, or the time does, before that."""
        end = time.monotonic() + within
        while not any(words in self.text for words in any_of):
            readable, _, _ = select.select([self._descriptor], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(self._descriptor, 65536) if readable else b""
            if not chunk:
                return False
            self.text += chunk.decode(errors="replace")
        return True


def main() -> None:
    """Compare the files of the command line, or all in its folders."""
    lenient = "--lenient" in sys.argv
    named = [Path(word) for word in sys.argv[1:] if not word.startswith("-")]
    paths = [path for name in named for path in (sorted(name.glob("*.conf")) if name.is_dir() else [name])]
    begun = time.monotonic()
    both = [compared(path, answer, lenient=lenient) for path, answer in ask(paths).items()]
    different = [found for found in both if not found.equal]
    for found in different:
        print(found.report(), end="\n\n")
    print(f"{len(paths)} files, {len(different)} different, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
