"""Named pipes that are told every change in a line, as keepalived writes them.

    RS [192.168.100.21]:tcp:80 [203.0.113.100]:tcp:80 DOWN
    VS [203.0.113.100]:tcp:80 UP

The names are those of mails (`_names`). A pipe is open for reading too, so lines wait in it for a reader that is late or starts
again, as many as the kernel holds (64 KiB); what does not fit is dropped and counted. Writing never waits.
The script of a pipe is started with the pipe's path as its last argument, without a limit, and started again when it ends.
Source: keepalived.md, section 3.9; the lines were read from keepalived 2.2.7 (tests/kernel/test_scripts_beside_keepalived.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, assert_never

import trio

from supervisor.core.restart import RestartPolicy
from supervisor.core.transitions import (
    CheckChanged,
    LogOnly,
    QuorumChanged,
    RealServerChanged,
    RealServerRemoved,
    Transition,
    VirtualServerRemoved,
)
from supervisor.log import Log
from supervisor.model import Fifo, Script
from supervisor.notify._names import server_name, service_name
from supervisor.notify._running import Running, say_ended

LAST_WORDS_S = 1.0
"""At the end, the longest wait for the script of a pipe to see that the pipe is closed, before it is told to end."""


class Pipe(Protocol):
    """An open named pipe."""

    def write(self, line: bytes) -> bool:
        """Write one line and tell whether it went in; never blocks, never raises."""

    def close(self) -> None:
        """Close it, and remove it if we made it; never raises."""


Open: TypeAlias = Callable[[Fifo], Pipe]
"""Opens a pipe, making it where it is missing. Raises OSError."""

BeginBeside: TypeAlias = Callable[[Script, Mapping[str, str], Sequence[str]], Running]
"""Begins a script without a limit, with more arguments at the end."""


@dataclass
class _Kept:
    """One pipe: its opened end (None: it could not be had), and the task of its script."""

    pipe: Pipe | None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    over: trio.Event = field(default_factory=trio.Event)


class Fifos:
    """The sink. One task runs `run`; everybody else calls `tell`."""

    def __init__(self, open_pipe: Open, begin: BeginBeside, log: Log) -> None:
        self.written = 0
        self.dropped = 0
        self._open = open_pipe
        self._begin = begin
        self._log = log
        self._kept: dict[Fifo, _Kept] = {}
        self._new: list[Fifo] = []
        self._stirred = trio.Event()

    def configure(self, fifos: Sequence[Fifo]) -> None:
        """Write to these from now on. What did not change stays open, with its script."""
        for fifo in [fifo for fifo in self._kept if fifo not in fifos]:
            self._drop(self._kept.pop(fifo)).cancel()
        for fifo in fifos:
            known = self._kept.get(fifo)
            if known is None:
                self._kept[fifo] = _Kept(self._opened(fifo))
                self._new.append(fifo)
            elif known.pipe is None:
                known.pipe = self._opened(fifo)
        self._stirred.set()

    def tell(self, transition: Transition) -> None:
        """Write the line of `transition`, if it has one. Never blocks."""
        line = line_of(transition) if self._kept else ""
        if not line:
            return
        for fifo, kept in self._kept.items():
            if kept.pipe is not None and kept.pipe.write(f"{line}\n".encode()):
                self.written += 1
            else:
                self._count_dropped(fifo, "it is full" if kept.pipe else "it could not be opened")

    async def run(self) -> None:
        """Keep the scripts of the pipes running, for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                self._stirred = trio.Event()
                new, self._new = self._new, []
                for fifo in new:
                    kept = self._kept.get(fifo)
                    if kept is not None and fifo.script is not None:
                        nursery.start_soon(self._keep_running, fifo, fifo.script, kept)
                    elif kept is not None:
                        kept.over.set()
                await self._stirred.wait()

    async def close(self) -> None:
        """The end: close and remove the pipes, and end their scripts."""
        gone, self._kept = self._kept, {}
        scopes = [(self._drop(kept), kept.over) for kept in gone.values()]
        with trio.move_on_after(LAST_WORDS_S):
            for _, over in scopes:
                await over.wait()
        for scope, _ in scopes:
            scope.cancel()

    async def _keep_running(self, fifo: Fifo, script: Script, kept: _Kept) -> None:
        """Run the script of one pipe, again and again."""
        policy = RestartPolicy()
        with kept.scope:
            while True:
                begun = trio.current_time()
                running = self._begin(script, {"VIPERVISOR_EVENT": "fifo", "VIPERVISOR_FIFO": fifo.path}, (fifo.path,))
                ended = await running.ended()
                say_ended(script, ended, self._log, sink="fifo", user=script.user, notice="fifo")
                if self._kept.get(fifo) is not kept:
                    break
                await trio.sleep(max(1.0, policy.exited(trio.current_time() - begun)))
        kept.over.set()

    def _drop(self, kept: _Kept) -> trio.CancelScope:
        if kept.pipe is not None:
            kept.pipe.close()
        return kept.scope

    def _opened(self, fifo: Fifo) -> Pipe | None:
        try:
            return self._open(fifo)
        except OSError as error:
            reason = error.strerror or str(error)
            text = (
                f"Named pipe {fifo.path} cannot be used: {reason}. Its lines are lost until a reload finds it better."
            )
            self._log.emit("notify.fifo_failed", text, sink="fifo", path=fifo.path, error=reason)
            return None

    def _count_dropped(self, fifo: Fifo, reason: str) -> None:
        """Count a lost line; the log hears of the first, the second, the fourth …"""
        self.dropped += 1
        if self.dropped & (self.dropped - 1) == 0:
            text = f"{self.dropped} lines for named pipes were lost in all; {fifo.path}: {reason}."
            self._log.emit("notify.dropped", text, sink="fifo", reason=f"{fifo.path}: {reason}", count=self.dropped)


# -- lines -----------------------------------------------------------------------------------------------------------------


def line_of(transition: Transition) -> str:
    """Return the line about a transition without its end, "" where there is none."""
    if isinstance(transition, LogOnly | CheckChanged):
        return ""
    match transition:
        case RealServerChanged():
            line = _real_server_line(transition, up=transition.up)
        case RealServerRemoved():
            line = _real_server_line(transition, up=False) if transition.in_service else ""
        case QuorumChanged():
            line = _virtual_server_line(transition, up=transition.up)
        case VirtualServerRemoved():
            line = _virtual_server_line(transition, up=False)
        case _:
            assert_never(transition)
    return "" if transition.follower else line


def _virtual_server_line(told: QuorumChanged | VirtualServerRemoved, *, up: bool) -> str:
    return f"VS {service_name(told.virtual_server, told.group, told.group_use)} {'UP' if up else 'DOWN'}"


def _real_server_line(told: RealServerChanged | RealServerRemoved, *, up: bool) -> str:
    key = told.virtual_server
    virtual_server = service_name(key, told.group, told.group_use)
    return f"RS {server_name(told.real_server, key)} {virtual_server} {'UP' if up else 'DOWN'}"
