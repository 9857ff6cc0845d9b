"""A dialer that writes down what passes (`kit.transcript`), around any other one: no checker and no real dialer knows of it.

Of a TLS connection what is said within is written down, not the records that carry it: `kit.tls` says when that begins (`veil`,
`unveil`). Must never change what passes, nor when.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from checkers.kit.api import Answer, Datagrams, Dialer, Ending, ProbeError, Stream, Target
from checkers.kit.transcript import StepKind, Transcript

_Opened = TypeVar("_Opened")


class TappedDialer:
    """The tapped dialer of one probe (kit.api.Dialer)."""

    __slots__ = ("_dial", "_transcript")

    def __init__(self, dial: Dialer, transcript: Transcript) -> None:
        self._dial = dial
        self._transcript = transcript

    @property
    def fault(self) -> str:
        """See `kit.api.Dialer`."""
        return self._dial.fault

    async def connect(self, target: Target, first: bytes = b"") -> Stream:
        """See `kit.api.Dialer.connect`: in two steps, so that each has its time."""
        stream = TappedStream(
            await self._opened("TCP connection to", target, self._dial.connect(target)), self._transcript
        )
        if first:
            await stream.send(first)
        return stream

    async def kept(self) -> Stream | None:
        """See `kit.api.Dialer.kept`: a transcript shows the connection being made."""
        return None

    def keep(self, stream: Stream, probes: int) -> bool:  # noqa: ARG002  the shape of a dialer
        """See `kit.api.Dialer.keep`: there is no next probe."""
        return False

    async def connect_udp(self, target: Target) -> Datagrams:
        """See `kit.api.Dialer.connect_udp`."""
        datagrams = await self._opened("UDP socket for", target, self._dial.connect_udp(target))
        return TappedDatagrams(datagrams, self._transcript)

    async def connect_echo(self, target: Target) -> Datagrams:
        """See `kit.api.Dialer.connect_echo`."""
        datagrams = await self._opened("ICMP socket for", target, self._dial.connect_echo(target))
        return TappedDatagrams(datagrams, self._transcript)

    async def run_script(self) -> Answer:
        """See `kit.api.Dialer.run_script`."""
        return await self._favour("run the script", self._dial.run_script())

    async def read_file(self) -> Answer:
        """See `kit.api.Dialer.read_file`."""
        return await self._favour("read the first line of the file", self._dial.read_file())

    def rest(self) -> None:
        """See `kit.api.Dialer.rest`."""
        self._dial.rest()

    def close(self) -> None:
        """See `kit.api.Dialer.close`."""
        self._dial.close()

    async def _opened(self, what: str, target: Target, opening: Awaitable[_Opened]) -> _Opened:
        self._note(StepKind.CONNECTING, f"{what} {_where(target)}")
        try:
            opened = await opening
        except ProbeError as error:
            self._note(StepKind.FAILED, str(error))
            raise
        self._note(StepKind.CONNECTED, "open")
        return opened

    async def _favour(self, what: str, favour: Awaitable[Answer]) -> Answer:
        self._note(StepKind.ASKED, f"the supervisor, to {what}")
        try:
            answer = await favour
        except ProbeError as error:
            self._note(StepKind.FAILED, str(error))
            raise
        status = f", exit status {answer.status}" if answer.ending is Ending.DONE and "script" in what else ""
        text = f": {answer.text}" if answer.text else ""
        self._note(StepKind.ANSWERED, f"{answer.ending.name.lower().replace('_', ' ')}{status}{text}")
        return answer

    def _note(self, kind: StepKind, text: str) -> None:
        self._transcript.note(kind, trio.current_time(), text)


def _where(target: Target) -> str:
    """Say where a probe goes, and how."""
    words = str(target) if target.port else target.address
    if target.bind_address or target.bind_port:
        words += f" from {target.bind_address or 'any address'}"
        words += f" port {target.bind_port}" if target.bind_port else ""
    if target.bind_interface:
        words += f" by {target.bind_interface}"
    return f"{words} with mark {target.mark}" if target.mark else words


class _Tapped:
    """What streams and datagrams have in common: to write down how they end."""

    __slots__ = ("_closed", "_transcript")

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._closed = False

    def _note(self, kind: StepKind, text: str) -> None:
        self._transcript.note(kind, trio.current_time(), text)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._note(StepKind.CLOSED, "by us")


class TappedStream(_Tapped):
    """A tapped stream (kit.api.Stream); `inner` is what it is around."""

    __slots__ = ("_veiled", "inner")

    def __init__(self, inner: Stream, transcript: Transcript) -> None:
        super().__init__(transcript)
        self.inner = inner
        self._veiled = False

    def pause(self) -> None:
        """See `kit.api.Stream.pause`: never called, since nothing tapped is kept."""

    def resume(self) -> bool:
        """See `kit.api.Stream.resume`."""
        return False

    async def send(self, data: bytes) -> None:
        """See `kit.api.Stream.send`."""
        if not self._veiled:
            self._transcript.data(StepKind.SENT, trio.current_time(), bytes(data))
        try:
            await self.inner.send(data)
        except ProbeError as error:
            self._fail(error)
            raise

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See `kit.api.Stream.receive`."""
        try:
            data = await self.inner.receive(max_bytes)
        except ProbeError as error:
            self._fail(error)
            raise
        if self._veiled:
            return data
        if data:
            self._transcript.data(StepKind.RECEIVED, trio.current_time(), data)
        else:
            self._note(StepKind.ENDED, "the server ended the connection")
        return data

    def close(self) -> None:
        """See `kit.api.Stream.close`."""
        if not self._veiled:
            self._close()
        self.inner.close()

    async def veil(self, words: str, shake_hands: Callable[[], Awaitable[None]]) -> None:
        """From now on TLS records pass here, which say nothing to anybody: have `shake_hands` done over them."""
        self._note(StepKind.CONNECTING, words)
        self._veiled = True
        try:
            await shake_hands()
        except ProbeError as error:
            self._note(StepKind.FAILED, str(error))
            raise

    def unveil(self, within: Stream, words: str) -> TappedStream:
        """The handshake is done: return a tapped stream of what is said within TLS."""
        self._note(StepKind.SECURED, words)
        return TappedStream(within, self._transcript)

    def _fail(self, error: ProbeError) -> None:
        if not self._veiled:
            self._note(StepKind.FAILED, str(error))


class TappedDatagrams(_Tapped):
    """Tapped datagrams (kit.api.Datagrams)."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Datagrams, transcript: Transcript) -> None:
        super().__init__(transcript)
        self._inner = inner

    async def send(self, data: bytes) -> None:
        """See `kit.api.Datagrams.send`."""
        self._transcript.data(StepKind.SENT, trio.current_time(), data, apart=True)
        try:
            await self._inner.send(data)
        except ProbeError as error:
            self._note(StepKind.FAILED, str(error))
            raise

    async def receive(self) -> bytes:
        """See `kit.api.Datagrams.receive`."""
        try:
            data = await self._inner.receive()
        except ProbeError as error:
            self._note(StepKind.FAILED, str(error))
            raise
        self._transcript.data(StepKind.RECEIVED, trio.current_time(), data, apart=True)
        return data

    def close(self) -> None:
        """See `kit.api.Datagrams.close`."""
        self._close()
        self._inner.close()
