"""The language of the admin socket: one JSON object a line, both ways. Pure.

    server: {"vipervisor": "0.1.0", "protocol": 1}
    client: {"id": 1, "verb": "status", "args": {}}
    server: {"id": 1, "ok": true, "result": {…}}      or  {"id": 1, "ok": false, "error": "…", "code": 6}

`code` is the exit status that the command line gives for it (observability.md, section 4.2). A line that is a bare word is a verb
without arguments, because people type that into socat.

A verb that is followed goes on after a good answer, until either side hangs up:

    server: {"id": 1, "event": {…}}                   or  {"id": 1, "dropped": 17}, when the client was too slow for so many
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

PROTOCOL = 1
REQUEST_MAX_BYTES = 65536
"""Longest request line."""


class Status(enum.IntEnum):
    """Exit statuses of the command line."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    CONFIG_INVALID = 3
    CONFIG_WARNINGS = 4
    UNREACHABLE = 5
    NOT_FOUND = 6
    REFUSED = 7
    TIMEOUT = 75


MEANINGS = {
    Status.FINE: "fine",
    Status.FAILED: "error",
    Status.USAGE: "wrong usage",
    Status.CONFIG_INVALID: "invalid configuration",
    Status.CONFIG_WARNINGS: "only warnings (check --strict)",
    Status.UNREACHABLE: "no daemon answers",
    Status.NOT_FOUND: "no such real server",
    Status.REFUSED: "refused",
    Status.TIMEOUT: "time-out while waiting; `run`: another vipervisor writes this table already",
}
"""What the manual and `--help` say of each."""


class RequestError(Exception):
    """A request that cannot be carried out; the text is for the operator, `status` for the shell."""

    def __init__(self, text: str, status: Status = Status.USAGE) -> None:
        super().__init__(text)
        self.status = status


class Request(NamedTuple):
    """One request of an operator. No dataclass: their module takes a tenth of the time that a verb of the command line needs to start."""

    verb: str
    args: Mapping[str, Any] = MappingProxyType({})
    id: int = 1


def greeting(version: str) -> bytes:
    """Return the server's first line."""
    return _line({"vipervisor": version, "protocol": PROTOCOL})


def encode_request(request: Request) -> bytes:
    """Return the line of a request."""
    return _line({"id": request.id, "verb": request.verb, "args": dict(request.args)})


def decode_request(line: bytes) -> Request:
    """Read a request. Raises RequestError with a sentence."""
    if len(line) > REQUEST_MAX_BYTES:
        raise RequestError(f"a request is one line of at most {REQUEST_MAX_BYTES} bytes")
    text = line.strip()
    if text.isalpha() and text.isascii():
        return Request(text.decode())
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        raise RequestError('expected one JSON object a line, such as {"id": 1, "verb": "status"}') from None
    if not isinstance(raw, dict) or not isinstance(raw.get("verb"), str):
        raise RequestError('expected an object with a "verb"')
    args, number = raw.get("args", {}), raw.get("id", 1)
    if not isinstance(args, dict) or not isinstance(number, int):
        raise RequestError('"args" is an object and "id" a whole number')
    return Request(raw["verb"], args, number)


def encode_result(request_id: int, result: Any) -> bytes:
    """Return the line of a good answer; a result of bytes is JSON already, on one line."""
    if isinstance(result, bytes):
        return b'{"id":%d,"ok":true,"result":%b}\n' % (request_id, result)
    return _line({"id": request_id, "ok": True, "result": result})


def encode_error(request_id: int, error: RequestError) -> bytes:
    """Return the line of a bad answer."""
    return _line({"id": request_id, "ok": False, "error": str(error), "code": int(error.status)})


def encode_event(request_id: int, event: Any) -> bytes:
    """Return a line that follows an answer."""
    return _line({"id": request_id, "event": event})


def encode_dropped(request_id: int, count: int) -> bytes:
    """Return the line that says how many lines are missing here."""
    return _line({"id": request_id, "dropped": count})


def decode_more(line: bytes) -> Any:
    """Return what follows an answer: an event, or the number (an int) of those that were lost. Raises RequestError for what is neither."""
    try:
        raw = json.loads(line)
        return int(raw["dropped"]) if "dropped" in raw else raw["event"]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as malformed:
        raise RequestError(f"the daemon's line is not understood: {malformed!r}", Status.UNREACHABLE) from malformed


def decode_answer(line: bytes) -> Any:
    """Return the result of an answer line; raises RequestError for a bad answer or what is none."""
    try:
        raw = json.loads(line)
        if raw["ok"]:
            return raw["result"]
        error = RequestError(str(raw["error"]), Status(int(raw["code"])))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as malformed:
        raise RequestError(f"the daemon's answer is not understood: {malformed!r}", Status.UNREACHABLE) from malformed
    raise error


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
