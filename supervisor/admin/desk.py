"""The counter at which requests are carried out: permission, time limit, and a record of who changed what.

    desk = Desk({"status": question(status), "drain": Verb(drain)}, access, record)
    reply = await desk.answer(b'{"id": 1, "verb": "drain", "args": {…}}', caller)

A verb is an async function of its arguments and the caller. It may wait as long as its own limit says; when it is over, it is cancelled,
so what must not stop half-way has to be one step without a wait. It ends in a JSON value (or bytes that are JSON already), in a `Following`
whose further lines have no limit of time, or raises RequestError. Nothing here knows a socket.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

import trio

from checkers.kit.frozen import frozen
from supervisor.admin import protocol
from supervisor.admin.access import Access, Caller
from supervisor.admin.protocol import Request, RequestError, Status
from supervisor.admin.requestwords import said

LIMIT_S = 10.0
"""How long a verb may take when it does not say otherwise; the client is a little more patient (`client.PATIENCE_S`)."""

BRIEF_MAX = 200
"""Characters of a request's arguments that are kept for the record."""

Act: TypeAlias = Callable[[dict[str, Any], Caller], Awaitable[Any]]
"""Carries out one verb: arguments and caller in, a JSON value, JSON bytes or a `Following` out; raises RequestError."""


class More(Protocol):
    """What goes on after an answer."""

    async def next(self) -> Any:
        """Wait for the next event and return it, a JSON value."""

    def take_dropped(self) -> int:
        """Return how many events were lost since this was asked last, because nobody took them."""


@frozen
class Following:
    """An answer that goes on: `first` is the answer, and while `more` is entered, events come."""

    first: Any
    more: AbstractContextManager[More]


@frozen
class Reply:
    """What to say to a request: a line, and what follows it for as long as the client stays."""

    line: bytes
    number: int = 0
    more: AbstractContextManager[More] | None = None


class Lane(enum.Enum):
    """What a verb takes turns with: of each lane but the first, one is carried out at a time."""

    OWN = enum.auto()  # nobody: it waits for something
    QUICK = enum.auto()  # it never waits, and computes for some milliseconds
    LONG = enum.auto()  # it goes through everything there is, in steps, and holds an answer of megabytes


@frozen
class Verb:
    """One verb. `changes`: it is not only a question, so fewer people may say it and it is put on record; `limit_s` in seconds."""

    act: Act
    changes: bool = True
    limit_s: float = LIMIT_S
    lane: Lane = Lane.OWN


@frozen
class Requested:
    """For the record: who wanted what, and what became of it ("done", "refused", "failed", "timed out" or "cut off").

    `said` is the request in words, `args` its arguments as JSON.
    """

    verb: str
    args: str
    said: str
    caller: Caller
    outcome: str
    reason: str
    duration_s: float


def question(answer: Callable[[dict[str, Any]], Any]) -> Verb:
    """Make a verb of a function that only looks and never waits."""

    async def act(args: dict[str, Any], _caller: Caller) -> Any:
        await trio.lowlevel.checkpoint()
        return answer(args)

    return Verb(act, changes=False, lane=Lane.QUICK)


class Desk:
    """Carries out requests. `record` is told of everything that would change something, and of everybody who was turned away."""

    def __init__(self, verbs: Mapping[str, Verb], access: Access, record: Callable[[Requested], None]) -> None:
        self._verbs = verbs
        self._access = access
        self._record = record
        self._turns: dict[Lane, trio.Semaphore] = {lane: trio.Semaphore(1) for lane in Lane if lane is not Lane.OWN}

    async def answer(self, line: bytes, caller: Caller) -> Reply:
        """Return what to say to a request line. Never raises RequestError."""
        number = 0
        try:
            request = protocol.decode_request(line)
            number = request.id
            result = await self.carry_out(request, caller)
            if isinstance(result, Following):
                return Reply(protocol.encode_result(number, result.first), number, result.more)
            return Reply(protocol.encode_result(number, result), number)
        except RequestError as error:
            return Reply(protocol.encode_error(number, error), number)

    async def carry_out(self, request: Request, caller: Caller) -> Any:
        """Do what is asked and return the answer's value (bytes are JSON already). Raises RequestError."""
        since = trio.current_time()
        verb = self._verbs.get(request.verb)
        refusal = self._access.refusal(caller, changes=verb is not None and verb.changes)
        verb_name = request.verb[:40].encode(errors="replace").decode()
        on_record = refusal is not None or (verb is not None and verb.changes)
        outcome, reason = "cut off", "the daemon stops"
        try:
            result = await self._act(verb, refusal, request, caller)
            outcome, reason = "done", ""
        except RequestError as error:
            outcome, reason = _OUTCOMES.get(error.status, "failed"), str(error)
            raise
        finally:
            if on_record:
                took = trio.current_time() - since
                words = said(verb_name, request.args)
                self._record(Requested(verb_name, brief(request.args), words, caller, outcome, reason, took))
        return result

    async def _act(self, verb: Verb | None, refusal: str | None, request: Request, caller: Caller) -> Any:
        if refusal is not None:
            raise RequestError(refusal, Status.REFUSED)
        if verb is None:
            raise RequestError(f"unknown verb {request.verb[:40]!r}; there are: {', '.join(sorted(self._verbs))}")
        with trio.move_on_after(verb.limit_s):
            turn = self._turns.get(verb.lane)
            if turn is None:
                return await verb.act(dict(request.args), caller)
            async with turn:
                return await verb.act(dict(request.args), caller)
        raise RequestError(f"{request.verb}: not done within {verb.limit_s:g} s", Status.TIMEOUT)


_OUTCOMES = {Status.REFUSED: "refused", Status.TIMEOUT: "timed out"}


def brief(args: Mapping[str, Any]) -> str:
    """Return arguments as a line of text, cut to BRIEF_MAX characters."""
    text = (
        json.dumps(dict(args), ensure_ascii=False).encode(errors="replace").decode()
    )  # half a character cannot be written down
    return text if len(text) <= BRIEF_MAX else f"{text[: BRIEF_MAX - 1]}…"
