"""Programs of the operator's that exist only in a story: the runner's own code on a virtual clock, over a machine that forks nothing.

    programs = FakePrograms()
    programs.behaviours["/etc/notify"] = Behaviour(lasts_s=3, status=1, output=b"no")
    programs.begun                     what was begun, when, with what environment

What it answers is what the real machine answers: `tests/contract/test_programs.py` holds both to the same.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from checkers.kit.link import Link, memory_link_pair
from supervisor.runner.executor import CouldNotStart, serve
from supervisor.runner.protocol import Run


@dataclass(frozen=True)
class Behaviour:
    """What a program does. `refuses` names why it cannot start; `deaf` means that only SIGKILL ends it."""

    lasts_s: float = 0.0
    status: int = 0  # or minus a signal
    output: bytes = b""
    refuses: str = ""
    deaf: bool = False


@dataclass(frozen=True)
class Begun:
    """One start of a program."""

    at: float
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    user: str


class FakeProgram:
    """A program that ends when its time has come, or when it is told to."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._ends_at = trio.current_time() + behaviour.lasts_s
        self._status = behaviour.status
        self._signalled = trio.Event()
        self._unread = behaviour.output

    async def ended(self) -> int:
        """Wait for the end; return the exit status, or minus the signal."""
        while trio.current_time() < self._ends_at:
            with trio.move_on_at(self._ends_at):
                await self._signalled.wait()
                self._signalled = trio.Event()
        return self._status

    def signal(self, number: int) -> None:
        """Send a signal."""
        if trio.current_time() < self._ends_at and (number == signal.SIGKILL or not self._behaviour.deaf):
            self._ends_at, self._status = trio.current_time(), -number
            self._signalled.set()

    async def read(self) -> bytes:
        """Return its output, then, at its end, b""."""
        data, self._unread = self._unread, b""
        if not data:
            await self.ended()
        return data

    def close(self) -> None:
        """Read no more."""


@dataclass
class FakePrograms:
    """Every program there is; those without a behaviour succeed at once."""

    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    begun: list[Begun] = field(default_factory=list)

    def launch(self, run: Run) -> FakeProgram:
        """Start one. Raises CouldNotStart."""
        behaviour = self.behaviours.get(run.argv[0], Behaviour())
        self.begun.append(Begun(trio.current_time(), run.argv, dict(run.environment), run.user))
        if behaviour.refuses:
            raise CouldNotStart(behaviour.refuses)
        return FakeProgram(behaviour)

    def lines(self) -> list[str]:
        """What was begun, one command line each, in order."""
        return [" ".join(each.argv) for each in self.begun]


class FakeRunnerChild:
    """A runner that is a task."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._scope = trio.CancelScope()
        self._over = trio.Event()
        self._how = "exit 0"

    async def run(self, link: Link, programs: FakePrograms) -> None:
        """Be the runner until the link ends or it is killed."""
        try:
            with self._scope:
                await serve(link, programs.launch, "a story")
        finally:
            link.close()
            self._over.set()

    async def wait(self) -> str:
        """Wait for its end."""
        await self._over.wait()
        return self._how

    def kill(self) -> None:
        """End it at once."""
        if not self._over.is_set():
            self._how = "signal SIGKILL"
            self._scope.cancel()


def start_runner(nursery: trio.Nursery, programs: FakePrograms, pid: int = 2000) -> tuple[FakeRunnerChild, Link]:
    """Start one; return it with the supervisor's end of its link."""
    ours, theirs = memory_link_pair()
    child = FakeRunnerChild(pid)
    nursery.start_soon(child.run, theirs, programs)
    return child, ours
