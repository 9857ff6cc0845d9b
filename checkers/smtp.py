"""SMTP_CHECK: the real server is up when it greets and answers a HELO (keepalived.md, section 3.6).

One dialogue: the greeting must be a 220, HELO must be answered with 250, and QUIT with any line at all. What a server says before it
is asked is passed over. Deliberate differences to keepalived, all in the server's favour: replies of several lines, without a text,
or of 512 bytes and more are read, as RFC 5321, section 4.2, has them.
Each `host` block of an old file is a check of its own, made when the configuration is read.
Must never name a sender or a recipient, and never send anything but these two commands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from checkers.kit.api import COMMON_OPTIONS, Dialer, ProbeError, Reason, Stream, Target, Verdict
from checkers.kit.excerpt import excerpt
from checkers.kit.options import Json, Keyword, Kind
from checkers.kit.values import word

KEYWORD = "SMTP_CHECK"
SENTINEL = False  # a mail server gives a process to each, and writes a line into its log when one ends without mail

REPLY_MAX_BYTES = 8_192
"""Longest reply, all its lines together. Ours: a line has at most 512 bytes (RFC 5321, section 4.5.3.1.5), and a greeting few lines."""

HELO_NAME_DEFAULT = "smtpchecker.keepalived.org"

OPTIONS: tuple[Keyword, ...] = (
    Keyword("helo_name", Kind.TEXT, "our name towards the mail server", default=HELO_NAME_DEFAULT),
    Keyword("host", Kind.BLOCK, "a check of its own (the old way to write it)", repeat=True, block=COMMON_OPTIONS),
)

_REPLY_LINE = re.compile(rb"([0-9]{3})(?:([ -])[^\n]*)?\n", re.ASCII)
_BEGINNING = re.compile(rb"[0-9]{0,3}|[0-9]{3}(?:[ -][^\n]*|\r)", re.ASCII)
_ANYTHING = re.compile(rb"[^\n]*")


def prepare(options: Mapping[str, Json]) -> bytes:
    """Return what to say after the greeting. Raises ValueError with a sentence for the operator."""
    name = word("helo_name", options.get("helo_name") or HELO_NAME_DEFAULT)
    return f"HELO {name}\r\n".encode()


async def check(target: Target, prepared: bytes, dial: Dialer) -> Verdict:
    """Talk to the mail server once. A failed connect leaves as ProbeError."""
    server = _Server(await dial.connect(target))
    sent = b""
    try:
        reason, detail = await server.expect(220)
        if reason is Reason.L7OK:
            sent = prepared
            await server.say(prepared)
            reason, detail = await server.expect(250)
        if reason is Reason.L7OK:
            await server.say_goodbye()
    except ProbeError as error:
        reason, detail = error.reason, str(error)
    except _NotSmtpError as error:
        reason, detail = Reason.L7RSP, str(error)
    finally:
        server.stream.close()
    return Verdict(reason, detail, sent=excerpt(sent), received=excerpt(server.received))


class _NotSmtpError(Exception):
    """What came is no reply, or more than we read."""


class _Server:
    """The other end. `received` is the reply that is being read, or the last one."""

    __slots__ = ("_data", "received", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.received = b""
        self._data = b""  # not read yet

    async def expect(self, code: int) -> tuple[Reason, str]:
        """Read one reply. Returns the reason and the detail of the verdict. Raises ProbeError, _NotSmtpError."""
        came = await self._reply()
        if came != code:
            return Reason.L7STS, f"SMTP {came}, wanted {code}"
        return Reason.L7OK, f"SMTP {came}"

    async def say(self, command: bytes) -> None:
        """Send a command; what came before it cannot be its answer. Raises ProbeError."""
        self._data = b""
        await self.stream.send(command)

    async def say_goodbye(self) -> None:
        """Quit, and wait for whatever line is said to that. Raises ProbeError, _NotSmtpError."""
        await self.say(b"QUIT\r\n")
        received, self.received = self.received, b""
        await self._line(_ANYTHING)
        self.received = received

    async def _reply(self) -> int:
        """Read a whole reply and return its code."""
        self.received = b""
        while True:
            line = await self._line(_BEGINNING)
            self.received += line
            if len(self.received) > REPLY_MAX_BYTES:
                raise _NotSmtpError(f"reply longer than {REPLY_MAX_BYTES} bytes")
            match = _REPLY_LINE.fullmatch(line.replace(b"\r\n", b"\n"))
            if match is None or not self.received.startswith(match[1]):
                raise _NotSmtpError("not an SMTP reply")
            if match[2] != b"-":
                return int(match[1])

    async def _line(self, beginning: re.Pattern[bytes]) -> bytes:
        """Return the next line with its end; what came of it must fit `beginning`."""
        while b"\n" not in self._data[:REPLY_MAX_BYTES]:
            if len(self._data) > REPLY_MAX_BYTES or beginning.fullmatch(self._data) is None:
                self.received += self._data[:REPLY_MAX_BYTES]
                raise _NotSmtpError("not an SMTP reply")
            more = await self.stream.receive()
            if not more:
                self.received += self._data
                what = "reply cut off" if self.received else "connection closed without a reply"
                raise _NotSmtpError(f"{what} after {len(self.received)} bytes")
            self._data += more
        line, _, self._data = self._data.partition(b"\n")
        if b"\0" in line:
            self.received += line + b"\n"
            raise _NotSmtpError("not an SMTP reply")
        return line + b"\n"
