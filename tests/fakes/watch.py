"""The idle connections of sentinels to scripted servers (kit.watch)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import trio

from checkers.kit.api import Target
from checkers.kit.held import DROPPED_MAX_BYTES
from checkers.kit.timer import Timer
from checkers.kit.watch import TIMES_SILENT, Held, News
from tests.fakes.behaviours import Connect, Echo, End, Mirror, Pause, Reset, Send
from tests.fakes.loss import Wire
from tests.fakes.server import FakeServer


class FakeWatch:
    """Where the connections of sentinels come from (kit.watch.Watch)."""

    def __init__(
        self, servers: Mapping[tuple[str, int], FakeServer], timer: Timer, wire: Callable[[], Wire] = Wire
    ) -> None:
        self._servers = servers
        self._timer = timer
        self._wire = wire

    def hold(
        self, target: Target, limit_s: float, keepalive_s: float, told: Callable[[News], None], *, leave: bool = False
    ) -> Held | News:
        """See `kit.watch.Watch.hold`."""
        server = self._servers.get((target.address, target.port))
        if server is None:
            return News.REFUSED
        if server.behaviour.connect is Connect.NO_DESCRIPTOR:
            return News.SHORT
        server.holds += not leave
        return FakeHeld(server, self._timer, self._wire(), limit_s, keepalive_s, told, leaves=leave)


class FakeHeld:
    """One idle connection to a scripted server (kit.watch.Held). It needs no task: the worker's timer does everything."""

    def __init__(
        self,
        server: FakeServer,
        timer: Timer,
        wire: Wire,
        limit_s: float,
        keepalive_s: float,
        told: Callable[[News], None],
        *,
        leaves: bool,
    ) -> None:
        self.number = server.holds
        self._leaves = leaves
        self._server = server
        self._timer = timer
        self._wire = wire
        self._limit_s = limit_s
        self._keepalive_s = keepalive_s
        self._silence_s = keepalive_s + TIMES_SILENT - 1
        self._told = told
        self._closed = False
        self.connected = False
        if not leaves:
            server.held.add(self)
        late_s = server.late_s(wire)
        if late_s < limit_s:
            self._after(server.latency_s + late_s, self._arrive)
        else:
            self._after(limit_s, lambda: self._fail(News.FAILED))

    def close(self) -> None:
        """See `kit.watch.Held.close`."""
        if self._closed:
            return
        self._closed = True
        self._server.held.discard(self)
        if not self._wire.rate or self._wire.reset_arrives():
            self._server.quit(self)
        else:
            self._timer.call_at(trio.current_time() + self._server.patience_s, lambda: self._server.quit(self))

    def end(self, news: News) -> None:
        """It is over: the server said so, or the kernel gives it up."""
        if news is News.ENDED and self._wire.rate:
            self._after(self._wire.delivered_s(), lambda: self._over(news))
        else:
            self._over(news)

    def _over(self, news: News) -> None:
        if self._closed or not self.connected:
            return
        self._server.holds_ended += not self._leaves
        if news is News.ENDED:
            self._server.quit(self)
        self.close()
        self._told(news)

    def _ask_for_signs(self) -> None:
        """Let the kernel ask for signs of life, of which some may be lost."""
        if self._wire.rate:
            for_s, silent = self._wire.heard_s(self._keepalive_s, self._silence_s)
            self._after(for_s, (lambda: self.end(News.LOST)) if silent else self._ask_for_signs)

    def fall_silent(self) -> None:
        """The host is gone: the kernel finds out when no sign of life comes."""
        self._after(self._silence_s, self._find_out)

    def _find_out(self) -> None:
        if self._server.behaviour.connect in {Connect.BLACKHOLE, Connect.UNREACHABLE}:
            self.end(News.LOST)

    def _arrive(self) -> None:
        match self._server.behaviour.connect:
            case Connect.REFUSE:
                self._fail(News.REFUSED)
            case Connect.UNREACHABLE:
                self._fail(News.FAILED)
            case Connect.BLACKHOLE:
                self._after(self._limit_s, lambda: self._fail(News.FAILED))
            case Connect.ACCEPT | Connect.NO_DESCRIPTOR:
                self.connected = True
                self._ask_for_signs()
                self._told(News.CONNECTED)
                self._server.enter(self, self._greet)

    def _greet(self) -> None:
        """What the server does unasked: speak, which is dropped, or end."""
        after_s, said_bytes = self._server.latency_s, 0
        for step in self._server.behaviour.greeting:
            match step:
                case Pause():
                    after_s += step.duration_s
                case Send():
                    said_bytes += len(step.data)
                case End() | Reset():
                    self._after(after_s, lambda: self.end(News.ENDED))
                    return
                case Mirror() | Echo():
                    raise AssertionError("nothing was said")
            if said_bytes > DROPPED_MAX_BYTES:
                self._after(after_s, lambda: self.end(News.NOISE))
                return
        if self._leaves and self._server.notes_ends:
            after_s += self._wire.delivered_s() if self._wire.rate else 0.0
            self._after(after_s, lambda: self.end(News.ENDED))
        self._after(self._server.idle_limit_s, lambda: self.end(News.ENDED))

    def _fail(self, news: News) -> None:
        if not self._closed:
            self.close()
            self._told(news)

    def _after(self, seconds: float, deed: Callable[[], None]) -> None:
        if seconds < math.inf:
            self._timer.call_at(trio.current_time() + seconds, lambda: None if self._closed else deed())
