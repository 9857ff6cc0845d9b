"""What the delivery of a mail is, and how it fails: the words between the sink and whoever brings its mails away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from supervisor.model import MailSettings

Deliver: TypeAlias = Callable[[MailSettings, bytes, Sequence[str]], Awaitable[None]]
"""Delivers a message (settings, RFC 5322 text with CRLF, recipients) or raises DeliveryFailed."""


class DeliveryFailed(Exception):
    """The message was not delivered; `permanent` tells that trying again is useless."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent
