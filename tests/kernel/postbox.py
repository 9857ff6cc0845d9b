"""A mail server that keeps what it is given: one thread per connection, RFC 5321 as far as a sender needs it."""

from __future__ import annotations

import email
import email.message
import email.policy
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.kernel import lab


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail: the envelope's sender and recipients, and the message."""

    sender: str
    recipients: tuple[str, ...]
    message: email.message.Message

    @property
    def subject(self) -> str:
        """The subject line."""
        return str(self.message["Subject"])

    @property
    def body(self) -> str:
        """The text, without blank lines at its end."""
        return str(self.message.get_payload()).strip()


class Postbox:
    """Listens at an address and port of a network namespace (None: of this one); `mails` grows as they come."""

    def __init__(self, namespace: str | None, address: str = lab.MAIL, port: int = 25) -> None:
        self.mails: list[Mail] = []
        self._listener = lab.inside(namespace, _listen(address, port)) if namespace else _listen(address, port)()
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def subjects(self) -> list[str]:
        """Return the subjects in the order of arrival."""
        return [mail.subject for mail in self.mails.copy()]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(30)
        sender, recipients = "", list[str]()
        try:
            with connection, connection.makefile("rwb", buffering=0) as stream:
                stream.write(b"220 postbox.example.org\r\n")
                while line := stream.readline(1000):
                    words = line.decode("ascii", "replace").strip()
                    match words.partition(" ")[0].upper():
                        case "HELO" | "EHLO" | "NOOP" | "RSET":
                            reply = b"250 postbox.example.org"
                        case "MAIL":
                            sender, recipients, reply = _address(words), [], b"250 ok"
                        case "RCPT":
                            recipients.append(_address(words))
                            reply = b"250 ok"
                        case "DATA":
                            stream.write(b"354 go on\r\n")
                            text = b"".join(_dot_unstuffed(iter(lambda: stream.readline(1000), b".\r\n")))
                            message = email.message_from_bytes(text, policy=email.policy.compat32)
                            self.mails.append(Mail(sender, tuple(recipients), message))
                            reply = b"250 kept"
                        case "QUIT":
                            stream.write(b"221 bye\r\n")
                            return
                        case _:
                            reply = b"502 not here"
                    stream.write(reply + b"\r\n")
        except OSError:
            return  # the sender went away: what it had not finished is not a mail


def _listen(address: str, port: int) -> Callable[[], socket.socket]:
    return lambda: socket.create_server((address, port))


def _address(words: str) -> str:
    return words.partition("<")[2].partition(">")[0]


def _dot_unstuffed(lines: Iterable[bytes]) -> list[bytes]:
    return [line.removeprefix(b".") for line in lines]
