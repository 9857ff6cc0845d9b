"""Sockets of probes that are over, for those that begin next.

To make a socket, have the epoll watch it and destroy it again is a fifth of what a probe costs the kernel. A TCP socket can be
disconnected instead, by connecting it to an address of the family AF_UNSPEC, and be connected to somebody else thereafter (connect(2)).
The server sees the reset that it would see of a close, and the next one comes from another port. Only for sockets that nobody has bound
or marked. The epoll tells once of the end that a disconnection is; whoever hands out what it tells has nobody for it.
"""

from __future__ import annotations

import ctypes
import socket

from checkers.kit.api import Target

SPARES_MAX = 64
"""So many of a family are kept. Ours: half of what is in reserve (`kit.sentinels.RESERVE_FILES`), and a tick begins as many."""

_libc = ctypes.CDLL(None, use_errno=True)
_NOBODY = bytes(16)  # struct sockaddr of the family AF_UNSPEC, which is 0: Python has no word for it


class Spares:
    """TCP sockets that never block, that the epoll of their network watches, and that are connected to nobody."""

    def __init__(self) -> None:
        self._by_family: dict[bool, list[socket.SocketType]] = {False: [], True: []}

    def of(self, target: Target) -> list[socket.SocketType] | None:
        """Return those that can be connected to `target`, for `take` and `keep`; None when its sockets are not like others."""
        if target.mark or target.bind_address or target.bind_port or target.bind_interface:
            return None
        return self._by_family[target.is_ipv6]

    def close(self) -> None:
        """Close all."""
        for spares in self._by_family.values():
            for sock in spares:
                sock.close()
            spares.clear()


def keep(spares: list[socket.SocketType], sock: socket.SocketType) -> bool:
    """Disconnect a socket and have it kept; False when it is to be closed."""
    if len(spares) >= SPARES_MAX or _libc.connect(sock.fileno(), _NOBODY, len(_NOBODY)):
        return False
    spares.append(sock)
    return True
