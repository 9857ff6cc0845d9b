"""Which addresses this host has, told again whenever that changes: what `ha_suspend` hangs on.

The kernel says on a routing socket that an address came or went; then all addresses are read anew (`vip.survey`), so nothing is lost
when it says more than we can hear. Reads only. Source: rtnetlink(7), RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable
from typing import NoReturn

import trio

from supervisor.model import IPAddress

_ADDRESS_GROUPS = 0x10 | 0x100  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR of linux/rtnetlink.h
_MESSAGES_BYTES = 65_536

READ_AGAIN_S = 5.0
"""Pause after a reading that failed."""

Seen = Callable[[frozenset[IPAddress] | None], Awaitable[None]]


async def watch(read: Callable[[], frozenset[IPAddress]], seen: Seen) -> NoReturn:
    """Call `seen` with all addresses of this host, now and whenever they have changed; until cancelled.

    `read` returns them and may block: it runs in a thread.
    """
    known: frozenset[IPAddress] | None = None
    while True:
        try:
            with trio.socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
            ) as news:
                await news.bind((0, _ADDRESS_GROUPS))
                while True:
                    found = await trio.to_thread.run_sync(read)
                    if found != known:
                        known = found
                        await seen(found)
                    await _something_changed(news)
        except Exception:  # noqa: BLE001  pyroute2 has many, and descriptors may run out; the last known addresses hold meanwhile
            await trio.sleep(READ_AGAIN_S)


async def _something_changed(news: trio.socket.SocketType) -> None:
    """Wait until the kernel says something; what exactly does not matter, nor that it was too much to hear."""
    try:
        await news.recv(_MESSAGES_BYTES)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
