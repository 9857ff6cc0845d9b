"""A probe at a glance: without a turn of its task, as long as the server says what it said the last time.

Nearly every probe of a healthy fleet is that: a connection, the same words, the same answer. To wake a task for it, twice, costs more than
everything else that Python does (bench/cpu_per_check.py). So a checker type may say in advance what it says first and how it knows the
answer again (`kit.api.Glance`); the timer begins such a probe, the epoll ends it, and the task of the job sleeps on. Whatever is not so
(an error, a time-out, another answer, half an answer) is no verdict here: the task is woken, runs its checker from the beginning as ever,
and its dialer hands it this very connection with what came over it (`kit.dial`). So there is one place that decides what a failure is.

Must never judge a failure, and never raise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from checkers.kit.api import Glance, Target, Verdict
from checkers.kit.probing import recognised

if TYPE_CHECKING:
    import socket

    from checkers.kit.connection import Connection


class Look:
    """One probe at a glance, from its first word to its verdict, or to what only the task can judge."""

    __slots__ = ("_connection", "_done", "_glance")

    def __init__(self, connection: Connection, glance: Glance, done: Callable[[Verdict | None], None]) -> None:
        self._connection = connection
        self._glance = glance
        self._done = done

    def open(self, target: Target, now: float, spares: list[socket.SocketType] | None) -> None:
        """Connect, with one of `spares` if there is one; what is to be said first is said as soon as the connection stands.

        Raises ProbeError.
        """
        self._connection.begin(target, now, self.told, first=self._glance.first, spares=spares)

    def ask(self) -> bool:
        """Say on a kept connection what is to be said; False when it is of no use any more."""
        return self._connection.say_again(self._glance.first, self.told)

    def told(self) -> None:
        """The network has something to tell of the connection, or its time is over."""
        glance = self._glance
        data = self._connection.glimpse(silent=not glance.first)
        if data is None:
            self._done(None)
        elif data or not glance.first:
            self._done(recognised(glance, data))
        else:
            self._connection.then = self.told  # nothing yet
