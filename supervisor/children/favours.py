"""What a checker worker may ask of us, because it has no privilege itself: a marked socket, to run a script, to read a file.

A worker may be owned by whoever answers its probes, so it only names one of its own jobs and what kind of favour it wants. Everything
else (address, mark, port, program, user, file) is taken from the job as we assigned it. What is granted gives it nothing that the
configuration did not mean it to have. Never raises for what goes wrong: a refusal is an answer, with a sentence.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio

from checkers.kit.api import Answer, Ending, Favour, LocalTrouble
from checkers.kit.excerpt import clip
from checkers.kit.frozen import frozen
from checkers.kit.job import Job
from checkers.kit.sockets import open_socket, prepare_socket
from checkers.kit.trackfile import UnreadableFile, first_line

RunScript: TypeAlias = Callable[[Job], Awaitable[Answer]]
"""Runs the script of a job within its time limit; never raises for what the script does."""

_SOL_RAW = 255
_ICMP_FILTER = 1  # linux/icmp.h
_ICMP_ECHO_REPLY = 0
_ICMPV6_FILTER = 1  # linux/icmpv6.h
_ICMPV6_ECHO_REPLY = 129


@frozen
class Granted:
    """What came of a favour. Whoever sends `socket` away closes it here."""

    answer: Answer
    socket: socket.SocketType | None = None


def refused(why: str) -> Granted:
    """Return a refusal with a sentence for the operator."""
    return Granted(Answer(Ending.REFUSED, text=clip(why)))


DoFavour: TypeAlias = Callable[[Job, Favour], Awaitable[Granted]]
"""Does a favour for a job: `grant` with its runner of scripts, or in a story a fake."""


async def grant(job: Job, favour: Favour, run_script: RunScript) -> Granted:
    """Do `favour` for `job`; scripts are run by `run_script`."""
    try:
        match favour:
            case Favour.STREAM:
                return Granted(Answer(Ending.DONE), open_socket(job.target, socket.SOCK_STREAM))
            case Favour.DATAGRAMS:
                return Granted(Answer(Ending.DONE), open_socket(job.target, socket.SOCK_DGRAM))
            case Favour.ECHO:
                return Granted(Answer(Ending.DONE), _open_echo(job))
            case Favour.FILE:
                path = str(job.options.get("path", ""))
                # A thread, because a file system may hang; abandoned then, and the worker's patience ends by itself.
                return Granted(await trio.to_thread.run_sync(_read, path, abandon_on_cancel=True))
            case Favour.SCRIPT:
                return Granted(await run_script(job))
    except LocalTrouble as trouble:
        return refused(str(trouble))


def _read(path: str) -> Answer:
    try:
        return Answer(Ending.DONE, text=clip(first_line(path).strip()))
    except UnreadableFile as error:
        return Answer(Ending.REFUSED, text=clip(str(error)))


def _open_echo(job: Job) -> socket.socket:
    """Open an ICMP socket: the kind for ping where our group may have it, else a raw one that hears echo replies only.

    The worker connects it to the job's target, and then it hears of nobody else. Raises LocalTrouble.
    """
    target = job.target
    family = socket.AF_INET6 if target.is_ipv6 else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if target.is_ipv6 else socket.IPPROTO_ICMP
    sock: socket.socket | None = None
    error: OSError | None = None
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
            break
        except OSError as refusal:
            error = refusal
    if sock is None:
        what = error.strerror if error else "no such socket"
        raise LocalTrouble(f"cannot open an ICMP socket: {what} · CAP_NET_RAW or net.ipv4.ping_group_range is needed")
    if kind is socket.SOCK_RAW:
        _hear_replies_only(sock, protocol)
    prepare_socket(sock, target)
    return sock


def _hear_replies_only(sock: socket.socket, protocol: int) -> None:
    with contextlib.suppress(OSError):  # without it we hear more and pass it over
        if protocol == socket.IPPROTO_ICMP:
            sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << _ICMP_ECHO_REPLY) & 0xFFFF_FFFF))
        else:
            words = [0xFFFF_FFFF] * 8
            words[_ICMPV6_ECHO_REPLY >> 5] &= ~(1 << (_ICMPV6_ECHO_REPLY & 31)) & 0xFFFF_FFFF
            sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, struct.pack("=8I", *words))
