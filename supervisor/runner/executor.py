"""The life of every program: from the order to run it, past its limit if need be, to the report of its end.

`serve` is the whole runner on any link and any machine that starts programs: in production a socket pair and `process.Machine`, in
a story a memory link and a fake, on a virtual clock. Nothing here forks, reads /proc or knows an account.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from typing import Protocol, TypeAlias, assert_never

import trio

from checkers.kit.link import Link, LinkError
from checkers.kit.punctuality import Punctuality
from supervisor.runner.protocol import (
    LIMITS_MAX,
    OUTPUT_MAX_CHARACTERS,
    RUNNING_MAX,
    Alive,
    Cancel,
    Ended,
    Hello,
    Outcome,
    ProtocolError,
    Run,
    decode_order,
    encode,
    excerpt,
)

KILLED_MAX_S = 1.0
"""A program that SIGKILL does not end within this hangs in the kernel; it is reported and left to the sweep."""

LAST_OUTPUT_S = 0.05
"""After the end of a program its output is read this much longer; what it left behind may hold the pipe open for ever."""


ALIVE_EVERY_S = 1.0
"""How often the supervisor is given a sign of life (reliability.md, section 6)."""


class CouldNotStart(Exception):
    """A program did not begin; the text says why. `number` is the errno, where there is one."""

    def __init__(self, reason: str, number: int = 0) -> None:
        super().__init__(reason)
        self.number = number


class Program(Protocol):
    """A running program."""

    async def ended(self) -> int:
        """Wait for the end; return the exit status, or minus the signal. May be asked again."""

    def signal(self, number: int) -> None:
        """Send a signal to it and everything in its group; never raises."""

    async def read(self) -> bytes:
        """Return more of its output, b"" when there will be none."""

    def close(self) -> None:
        """Read no more output."""


Launch: TypeAlias = Callable[[Run], Program]
"""Starts a program or raises CouldNotStart."""


class _Life:
    """One program from its order to its report."""

    def __init__(self, run: Run, punctuality: Punctuality) -> None:
        self.run = run
        self.cancelled = False
        self._punctuality = punctuality
        self.scope = trio.CancelScope()
        self._output = bytearray()

    async def live(self, launch: Launch) -> Ended:
        """Run it and return how it ended."""
        run, begun = self.run, trio.current_time()
        try:
            program = launch(run)
        except CouldNotStart as error:
            return Ended(run.id, Outcome.COULD_NOT_START, error.number & 0xFF, reason=_short(str(error)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._collect, program)
            outcome, status = await self._end_of(program)
            duration_s = trio.current_time() - begun
            nursery.cancel_scope.deadline = trio.current_time() + LAST_OUTPUT_S
        program.close()
        return Ended(run.id, outcome, status, output=excerpt(bytes(self._output)), duration_s=duration_s)

    async def _end_of(self, program: Program) -> tuple[Outcome, int]:
        """Wait for the end, and bring it about at the limit: the first that passed while we were there to see it, `LIMITS_MAX` at most."""
        limit_s = math.inf if self.run.timeout_s is None else self.run.timeout_s
        late = False
        for _ in range(LIMITS_MAX):
            begun = trio.current_time()
            mark = self._punctuality.mark(begun)
            self.scope = trio.CancelScope(deadline=begun + limit_s)
            if self.cancelled:
                self.scope.cancel()
            with self.scope:
                return _ended(await program.ended())
            late = not self.cancelled and self._punctuality.too_late(
                mark, trio.current_time(), begun + limit_s, limit_s
            )
            if not late:
                break
        program.signal(signal.SIGTERM)
        with trio.move_on_after(self.run.kill_after_s):
            await program.ended()
        program.signal(signal.SIGKILL)
        with trio.move_on_after(KILLED_MAX_S):
            await program.ended()
        if self.cancelled:
            return Outcome.CANCELLED, 0
        return (Outcome.LATE if late else Outcome.TIMED_OUT), 0

    async def _collect(self, program: Program) -> None:
        """Keep the beginning of the output and read the rest away, so that nobody has to wait for a full pipe."""
        while data := await program.read():
            room = OUTPUT_MAX_CHARACTERS - len(self._output)
            self._output += data[: max(0, room)]


async def serve(link: Link, launch: Launch, caged: str, punctuality: Punctuality | None = None) -> None:
    """Greet, and carry out orders until the link ends; what runs then is not ended here. Raises ProtocolError.

    `punctuality` is one that somebody keeps looking; without it this process is taken for one that never stands still.
    """
    punctuality = punctuality or Punctuality()
    lives: dict[int, _Life] = {}

    async def see_through(life: _Life) -> None:
        report = await life.live(launch)
        del lives[life.run.id]
        try:
            await link.send(encode(report))
        except LinkError:
            return  # nobody is there to hear it; `serve` sees the end too

    broken: ProtocolError | None = None
    async with trio.open_nursery() as nursery:
        try:
            await link.send(encode(Hello(caged)))
            nursery.start_soon(_beat, link)
            while data := await link.receive():
                order = decode_order(data)
                match order:
                    case Run():
                        lives[order.id] = life = _Life(_admitted(order, lives), punctuality)
                        nursery.start_soon(see_through, life)
                    case Cancel(number):
                        if number in lives:  # else its report is on the way
                            lives[number].cancelled = True
                            lives[number].scope.cancel()
                    case _:
                        assert_never(order)
        except LinkError:
            pass  # the same as the end
        except ProtocolError as error:  # carried out of the nursery as itself, not in a group
            broken = error
        nursery.cancel_scope.cancel()
    if broken is not None:
        raise broken


async def _beat(link: Link) -> None:
    """Give a sign of life again and again."""
    lag_s = 0.0
    while True:
        try:
            await link.send(encode(Alive(lag_s)))
        except LinkError:
            return  # nobody is there to hear it; `serve` sees the end too
        due = trio.current_time() + ALIVE_EVERY_S
        await trio.sleep_until(due)
        lag_s = trio.current_time() - due


def _ended(status: int) -> tuple[Outcome, int]:
    return (Outcome.EXITED, status & 255) if status >= 0 else (Outcome.SIGNALLED, -status)


def _admitted(run: Run, lives: dict[int, _Life]) -> Run:
    """Raises ProtocolError: the supervisor keeps count too."""
    if run.id in lives:
        raise ProtocolError(f"program {run.id} runs already")
    if len(lives) >= RUNNING_MAX:
        raise ProtocolError(f"more than {RUNNING_MAX} programs at once")
    return run


def _short(text: str) -> str:
    return excerpt(text.encode("utf-8", "replace"))
