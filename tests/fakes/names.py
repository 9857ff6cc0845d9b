"""Behaviours of name servers for the fake network."""

from __future__ import annotations

import math

from tests.fakes.behaviours import Behaviour, Connect, Mirror, Pause, Send, Step

NUMBER_BYTES = 2
"""The id of a query, which its answer repeats."""

_NOTHING = b"\0" * 8


def datagrams(name: str, *answer: Step, connect: Connect = Connect.ACCEPT) -> Behaviour:
    """Return a server that answers each datagram so; silence without any step."""
    return Behaviour(name, connect, answer=answer or (Pause(math.inf),), udp=True)


def answer_with(flags: int, rest: bytes = _NOTHING) -> Mirror:
    """Return an answer that has the query's id and these flags."""
    return Mirror(NUMBER_BYTES, flags.to_bytes(2) + rest)


def name_server(code: int = 0) -> Behaviour:
    """Answer every query with this response code; 0 is a healthy server's."""
    return datagrams(f"name server with code {code}", answer_with(0x8180 | code))


def strangers(number: int) -> tuple[Step, ...]:
    """Return so many datagrams that are no answer to the query."""
    return (Send(b"\0" * 3),) * number
