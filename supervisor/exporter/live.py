"""Server-sent events: browsers that stay are told when something has changed, and ask for their page again.

What is sent says nothing but that: a number that changes when the state does, and the summary. So a client costs a few bytes, and the
page it then gets is the very one that a reader without script gets. Nobody looks while nobody listens; with the largest tables the looks
are further apart, so that all of this never takes more than a tenth of anybody's time.
Sources: https://html.spec.whatwg.org/multipage/server-sent-events.html; observability.md, section 6.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from supervisor.exporter.link import NoAnswer
from supervisor.exporter.picture import Picture

CLIENTS_MAX = 20
"""Streams at a time (observability.md, section 6); whoever comes later has a page that does not renew itself."""

QUEUE_MAX = 8
"""Events that wait for one client; a reader who is further behind is dropped, and comes again by himself."""

SEND_MAX_S = 10.0
"""A client may take this long to take an event."""

STREAM_MAX_S = 3600.0
"""Then a stream ends, and the browser opens another: no reader is kept for ever."""

LOOK_EVERY_S = 2.0
"""How often the state is looked at while somebody listens."""

LOOK_REST_SHARE = 10.0
"""After each look, a rest of at least so many times what it took."""

LOOK_REST_MAX_S = 30.0

RETRY_MS = 5000
"""What browsers wait before they come again."""

HEADERS = (("Content-Type", "text/event-stream; charset=utf-8"),)


@dataclass(frozen=True, slots=True, eq=False)
class _Client:
    queue: trio.MemorySendChannel[bytes]


class Live:
    """All streams. `run` must run beside them."""

    def __init__(self, look: Callable[[], Awaitable[Picture]]) -> None:
        """`look` returns the present picture; raises NoAnswer."""
        self._look = look
        self._clients: set[_Client] = set()
        self._somebody = trio.Event()
        self._last: bytes | None = None

    @property
    def full(self) -> bool:
        """Whether there is no room for another client."""
        return len(self._clients) >= CLIENTS_MAX

    async def run(self) -> None:
        """Look, and tell everybody, for as long as somebody listens; forever."""
        while True:
            if not self._clients:
                self._last = None
                self._somebody = trio.Event()
                await self._somebody.wait()
            began = trio.current_time()
            try:
                picture = await self._look()
            except NoAnswer:
                self._tell(b": the supervisor does not answer\n\n")
            else:
                self._last = event(picture)
                self._tell(self._last)
            took_s = trio.current_time() - began
            await trio.sleep(min(max(LOOK_EVERY_S, LOOK_REST_SHARE * took_s), LOOK_REST_MAX_S))

    def _tell(self, news: bytes) -> None:
        for client in list(self._clients):
            try:
                client.queue.send_nowait(news)
            except (trio.WouldBlock, trio.BrokenResourceError):
                self._clients.discard(client)
                client.queue.close()

    async def pour(self, stream: trio.abc.Stream, frame: Callable[[bytes], bytes]) -> None:
        """Serve one client until it is gone, too slow, or had its time."""
        if self.full:  # somebody was faster since the head was sent
            return
        queue, news = trio.open_memory_channel[bytes](QUEUE_MAX)
        client = _Client(queue)
        self._clients.add(client)
        queue.send_nowait(f"retry: {RETRY_MS}\n\n".encode() + (self._last or b""))
        self._somebody.set()
        try:
            with trio.move_on_after(STREAM_MAX_S):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_until_gone, stream, nursery.cancel_scope)
                    await _send_all(stream, news, frame)
                    nursery.cancel_scope.cancel()
        finally:
            self._clients.discard(client)
            queue.close()


def event(picture: Picture) -> bytes:
    """Return what is told of a picture."""
    said = {
        "schema": 1,
        "revision": f"{picture.assessment.fingerprint & (1 << 64) - 1:016x}",
        "at": round(picture.now_wall, 3),
        "state": picture.worst.word,
        "summary": picture.summary,
    }
    return f"event: state\ndata: {json.dumps(said)}\n\n".encode()


async def _send_all(
    stream: trio.abc.Stream, news: trio.MemoryReceiveChannel[bytes], frame: Callable[[bytes], bytes]
) -> None:
    """Send what comes until it ends, the reader goes, or takes too long over one event."""
    async for each in news:
        with trio.move_on_after(SEND_MAX_S) as patience:
            try:
                await stream.send_all(frame(each))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
        if patience.cancelled_caught:
            return


async def _until_gone(stream: trio.abc.Stream, scope: trio.CancelScope) -> None:
    """Notice that the reader left; whatever else it says is none of our business."""
    try:
        while await stream.receive_some(4096):
            pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()
