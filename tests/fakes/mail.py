"""Behaviours of mail servers for the fake network: what they greet with, and what they say to HELO and QUIT."""

from __future__ import annotations

import math

from tests.fakes.behaviours import Behaviour, End, Pause, Reset, Send, Step

GREETING = b"220 mail.example.org ESMTP\r\n"
HELO = b"250 mail.example.org\r\n"
QUIT = b"221 Bye\r\n"


def mail_server(
    name: str = "mail server",
    greeting: tuple[Step, ...] = (Send(GREETING),),
    helo: tuple[Step, ...] = (Send(HELO),),
    goodbye: tuple[Step, ...] = (Send(QUIT), End()),
) -> Behaviour:
    """Return a server that does this at connect, after HELO and after QUIT; a healthy one unless told otherwise."""
    return Behaviour(name, greeting=greeting, answer=helo, more=(goodbye,), terminator=b"\r\n")


def says(*data: bytes) -> tuple[Step, ...]:
    """Send these one after another."""
    return tuple(Send(some) for some in data)


def healthy_mail_servers() -> list[Behaviour]:
    """Return servers that deliver mail, each in its own way."""
    octets = [step for octet in GREETING for step in (Send(bytes([octet])), Pause(0.001))]
    return [
        mail_server(),
        mail_server("greeting of several lines", says(b"220-mail.example.org\r\n220-\r\n220 ESMTP\r\n")),
        mail_server("greeting without a text", says(b"220\r\n")),
        mail_server("mail in pieces", (*octets,)),
        mail_server("bare line feeds in mail", says(b"220 mail\n"), says(b"250 mail\n")),
        mail_server("HELO of several lines", helo=says(b"250-mail\r\n", b"250 SIZE 1000\r\n")),
        mail_server("strange answer to QUIT", goodbye=says(b"500 What?\r\n")),
        mail_server("garbage at QUIT", goodbye=says(b"\xff\r\n")),
        mail_server("reply of two lines with the same code", helo=says(b"250 one\r\n250 two\r\n")),
        mail_server("carriage return after the line feed", says(b"220 mail\n\r")),
        mail_server("long line", says(b"220 " + b"x" * 5000 + b"\r\n")),
    ]


def refusing_mail_servers() -> list[Behaviour]:
    """Return servers that speak SMTP and want no mail."""
    return [
        mail_server("554 at once", says(b"554 no\r\n")),
        mail_server("421 of several lines", says(b"421-busy\r\n421 come back later\r\n")),
        mail_server("HELO refused", helo=says(b"550 who?\r\n")),
    ]


def broken_mail_servers() -> list[Behaviour]:
    """Return servers that speak no SMTP."""
    return [
        mail_server("two codes in a greeting", says(b"220-mail\r\n250 mail\r\n")),
        mail_server("no code", says(b"hello\r\n")),
        mail_server("no blank after the code", says(b"220mail\r\n")),
        mail_server("nothing but line ends", says(b"\r\n")),
        mail_server("end in the greeting", (Send(b"220 mai"), End())),
        mail_server("end in a greeting of several lines", (Send(b"220-mail\r\n"), End())),
        mail_server("end at HELO", helo=(End(),)),
        mail_server("reset at HELO", helo=(Reset(),)),
        mail_server("end at QUIT", goodbye=(End(),)),
        mail_server("end in the answer to QUIT", goodbye=(Send(b"221 by"), End())),
        mail_server("reset at QUIT", goodbye=(Reset(),)),
        mail_server("NUL at QUIT", goodbye=says(b"221 \0\r\n")),
        mail_server("NUL in the greeting", says(b"220 \0\r\n")),
        mail_server("blank before the code", says(b" 220 mail\r\n")),
        mail_server("tab after the code", says(b"220\tmail\r\n")),
        mail_server("code of four digits", says(b"2200 mail\r\n")),
        mail_server("endless line", (*says(*[b"220 " + b"x" * 4096] * 64), Pause(math.inf))),
        mail_server("endless reply", (*says(*[b"220-again\r\n" * 400] * 64), Pause(math.inf))),
    ]


def silent_mail_servers() -> list[Behaviour]:
    """Return servers that stop talking."""
    return [
        mail_server("no greeting", (Pause(math.inf),)),
        mail_server("half a greeting", (Send(b"220 mail"), Pause(math.inf))),
        mail_server("half a reply", (Send(b"220-mail\r\n"), Pause(math.inf))),
        mail_server("silent at HELO", helo=(Pause(math.inf),)),
        mail_server("says everything before it is asked", says(GREETING + HELO + QUIT), (Pause(math.inf),)),
        mail_server("silent at QUIT", goodbye=(Pause(math.inf),)),
    ]
