"""What stands between a probe and a scripted server: a stream, the same after a glance, and datagrams."""

from __future__ import annotations

import math

import trio

from checkers.kit.api import ConnectFailed, ConnectionLost, DeadlinePassed, Layer, ProbeError, Stream
from tests.fakes.behaviours import Connect, Echo, End, Mirror, Pause, Reset, Send, Step
from tests.fakes.loss import DATA_AGAIN_S, SLOW_AGAIN_S, Wire
from tests.fakes.server import Asked, FakeServer


class Glimpsed:
    """A connection on which a glance said and heard something, for the probe that goes on with it (kit.api.Stream)."""

    def __init__(self, stream: Stream, first: bytes, layer: Layer | None = None) -> None:
        self.stream = stream
        self._layer = layer
        self._first = first
        self._said = False
        self._heard: bytes | ProbeError = b""

    def opened(self) -> Stream:
        """Return what the probe goes on with."""
        return self if self._layer is None else self._layer.over(self)

    async def glimpse(self) -> bytes | None:
        """Say what is to be said, and return the first that comes; None: it is for the probe to see. Raises ProbeError."""
        if self._layer is not None:
            try:
                return await self._through(self._layer)
            except ProbeError as error:
                self._heard = error
                raise
        if not self._first:
            return b""
        try:
            await self.stream.send(self._first)
            self._said = True
            heard = await self.stream.receive()
        except ProbeError as error:
            self._heard = error
            raise
        self._heard = heard
        return heard

    async def _through(self, layer: Layer) -> bytes | None:
        await self.stream.send(layer.hello())
        heard: bytes | None = b""
        while heard == b"":
            data = await self.stream.receive()
            heard = layer.take(data) if data else None
            if heard == b"" and (said := layer.to_say()):
                await self.stream.send(said)
        return heard

    async def send(self, data: bytes) -> None:
        """See `kit.api.Stream.send`: what was said already is not said again."""
        said, self._said = self._said, False
        if not (said and data == self._first):
            await self.stream.send(data)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See `kit.api.Stream.receive`."""
        heard, self._heard = self._heard, b""
        if isinstance(heard, ProbeError):
            raise heard
        return heard or await self.stream.receive(max_bytes)

    def close(self) -> None:
        """See `kit.api.Stream.close`."""
        self.stream.close()

    def pause(self) -> None:
        """See `kit.api.Stream.pause`."""
        self.stream.pause()

    def resume(self) -> bool:
        """See `kit.api.Stream.resume`."""
        return self.stream.resume()


class FakeStream:
    """One connection to a scripted server (kit.api.Stream)."""

    def __init__(self, server: FakeServer, deadline: float, limit_s: float, wire: Wire, late_s: float = 0.0) -> None:
        """`late_s`: what its handshake was late by, because something was lost."""
        self._server = server
        self._deadline = deadline
        self._limit_s = limit_s
        self._wire = wire
        self._again_s = SLOW_AGAIN_S if late_s else DATA_AGAIN_S
        self._steps = self._travelled(server.behaviour.greeting)
        self._answers = [server.behaviour.answer, *server.behaviour.more]
        self._asked = b""
        self._closed = False
        self._behaviour = server.behaviour
        self._paused_at = 0.0
        self.paused = False
        self._served = trio.Event()
        server.open += 1
        server.enter(self, self._served.set)

    def pause(self) -> None:
        """See `kit.api.Stream.pause`."""
        self.paused = True
        self._paused_at = trio.current_time()

    def resume(self) -> bool:
        """See `kit.api.Stream.resume`: a server that behaves otherwise now is another process, and ended what there was."""
        now, server = trio.current_time(), self._server
        self.paused = False
        self._deadline = now + self._limit_s
        return not self._steps and now - self._paused_at <= server.idle_limit_s and server.behaviour is self._behaviour

    async def send(self, data: bytes) -> None:
        """See `kit.api.Stream.send`."""
        self._require_open()
        await trio.lowlevel.checkpoint()
        self._asked += data
        terminator = self._server.behaviour.terminator
        while self._answers and terminator in self._asked:
            request, _, self._asked = self._asked.partition(terminator)
            self._server.requests.append(Asked(trio.current_time(), request + terminator))
            late_s = self._wire.delivered_s(len(request), self._again_s) if self._wire.rate else 0.0
            answer = self._answers[0] if self._behaviour.lasting else self._answers.pop(0)
            self._steps += [Pause(self._server.latency_s + late_s), *self._travelled(answer)]
            self._again_s = DATA_AGAIN_S  # now both sides know how long a packet takes

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See `kit.api.Stream.receive`."""
        self._require_open()
        await trio.lowlevel.checkpoint()
        if not self._served.is_set():
            await self._wait_for_a_place()
        while self._steps:
            match step := self._steps.pop(0):
                case Pause():
                    await self.wait(step.duration_s)
                case Send():
                    if len(step.data) > max_bytes:
                        self._steps.insert(0, Send(step.data[max_bytes:]))
                    return step.data[:max_bytes]
                case End():
                    self._steps.insert(0, step)
                    return b""
                case Reset():
                    self._steps.insert(0, step)
                    raise ConnectionLost("connection reset")
                case Mirror() | Echo():
                    raise AssertionError("only datagrams are mirrored")
        await self.wait(math.inf)
        raise AssertionError("nothing lasts longer than for ever")

    def close(self) -> None:
        """See `kit.api.Stream.close`."""
        if self._closed:
            return
        self._closed = True
        self._server.open -= 1
        if self._wire.rate and not self._wire.reset_arrives():
            trio.lowlevel.spawn_system_task(self._be_missed)
        else:
            self._server.quit(self)

    async def _be_missed(self) -> None:
        """The server did not hear of the end, and has a place for this connection until it loses patience."""
        await trio.sleep(self._server.patience_s)
        self._server.quit(self)

    def _travelled(self, steps: tuple[Step, ...]) -> list[Step]:
        """Return what the server does as it is seen here."""
        return list(self._wire.travelled(steps, self._again_s) if self._wire.rate else steps)

    async def travel(self) -> None:
        """Wait for as long as something said, and the answer to it, are late. Raises DeadlinePassed."""
        if self._wire.rate:
            await self.wait(self._wire.delivered_s() + self._wire.delivered_s())

    async def _wait_for_a_place(self) -> None:
        with trio.move_on_at(self._deadline):
            await self._served.wait()
        if not self._served.is_set():
            raise DeadlinePassed(f"no complete answer within {self._limit_s:g} s", connected=True)

    async def wait(self, duration_s: float) -> None:
        """Do nothing for so long, or until the deadline. Raises DeadlinePassed."""
        if not await sleep_within(duration_s, self._deadline):
            raise DeadlinePassed(f"no complete answer within {self._limit_s:g} s", connected=True)

    def note_server_name(self, name: str) -> None:
        """Take note of the name that a TLS client sent, empty for none."""
        self._server.server_names.append(name)

    def note_farewell(self) -> None:
        """Take note of a TLS client that ended by the book."""
        self._server.farewells += 1

    def _require_open(self) -> None:
        if self._closed:
            raise ConnectionLost("used after close")


class FakeDatagrams:
    """The datagrams exchanged with a scripted server (kit.api.Datagrams)."""

    paused = False

    def __init__(self, server: FakeServer, deadline: float, limit_s: float, wire: Wire) -> None:
        self._server = server
        self._deadline = deadline
        self._limit_s = limit_s
        self._wire = wire
        self._steps: list[tuple[Step, bytes]] = []
        self._closed = False
        server.open += 1

    async def send(self, data: bytes) -> None:
        """See `kit.api.Datagrams.send`."""
        await trio.lowlevel.checkpoint()
        if self._is_lost():
            return
        self._server.requests.append(Asked(trio.current_time(), data))
        steps = (Pause(self._server.latency_s), *self._server.behaviour.answer)
        self._steps += [(step, data) for step in steps if isinstance(step, Pause) or not self._is_lost()]

    async def receive(self) -> bytes:
        """See `kit.api.Datagrams.receive`."""
        await trio.lowlevel.checkpoint()
        match self._server.behaviour.connect:
            case Connect.REFUSE | Connect.UNREACHABLE as how:
                await self._wait(self._server.latency_s)
                raise ConnectFailed("connection refused" if how is Connect.REFUSE else "no route to host")
            case Connect.BLACKHOLE:
                await self._wait(math.inf)
        while self._steps:
            step, asked = self._steps.pop(0)
            match step:
                case Pause():
                    await self._wait(step.duration_s)
                case Send():
                    return step.data
                case Mirror():
                    return asked[: step.size_bytes] + step.data
                case Echo():
                    return bytes([129 if asked[0] == 128 else 0]) + asked[1:]
                case End() | Reset():
                    raise AssertionError("datagrams have no end")
        await self._wait(math.inf)
        raise AssertionError("nothing lasts longer than for ever")

    def close(self) -> None:
        """See `kit.api.Datagrams.close`."""
        if not self._closed:
            self._closed = True
            self._server.open -= 1

    def _is_lost(self) -> bool:
        """Send a datagram: nobody sends it again."""
        return bool(self._wire.rate) and not self._wire.arrives()

    async def _wait(self, duration_s: float) -> None:
        if not await sleep_within(duration_s, self._deadline):
            raise DeadlinePassed(f"no complete answer within {self._limit_s:g} s", connected=True)


async def sleep_within(duration_s: float, deadline: float) -> bool:
    """Sleep, but not past the deadline; tell whether the whole sleep fitted."""
    if duration_s <= 0:
        await trio.lowlevel.checkpoint()
        return True
    until = trio.current_time() + duration_s
    await trio.sleep_until(min(until, deadline))
    return until <= deadline
