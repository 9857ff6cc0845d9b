"""The standard library's SMTP clients for `_delivery`, made safe from servers that never stop talking. Must never decide what to say."""

from __future__ import annotations

import errno
import smtplib
from io import BufferedReader

REPLIES_MAX_BYTES = 1_048_576
"""What a server may say in one delivery; each recipient costs it a line. smtplib itself would read a reply that never ends."""


class _Replies:
    """The file from which smtplib reads lines, as long as they are not too many."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._left_bytes = REPLIES_MAX_BYTES
        self.close = file.close

    def readline(self, limit: int) -> bytes:
        """Return the next line. Raises OSError, which smtplib expects."""
        line = self._file.readline(limit)
        self._left_bytes -= len(line)
        if self._left_bytes < 0:
            raise OSError(errno.EMSGSIZE, f"more than {REPLIES_MAX_BYTES} bytes of replies")
        return line


class _Bounded(smtplib.SMTP):
    """smtplib's client with bounded replies."""

    def getreply(self) -> tuple[int, bytes]:
        """See `smtplib.SMTP.getreply`."""
        if self.file is None and self.sock is not None:
            self.file = _Replies(self.sock.makefile("rb"))
        return super().getreply()


class Client(_Bounded):
    """For a session that begins in the open."""


class TlsClient(_Bounded, smtplib.SMTP_SSL):
    """For a session that is TLS from the first byte."""
