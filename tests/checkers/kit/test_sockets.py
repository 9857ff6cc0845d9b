from __future__ import annotations

import socket

import pytest

from checkers.kit.api import Target
from checkers.kit.sockets import open_socket

IP_RECVERR, IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h


@pytest.mark.parametrize(
    ("address", "level", "option"),
    [("127.0.0.1", socket.IPPROTO_IP, IP_RECVERR), ("::1", socket.IPPROTO_IPV6, IPV6_RECVERR)],
)
def test_a_socket_of_datagrams_hears_of_every_icmp_error(address: str, level: int, option: int) -> None:
    sock = open_socket(Target(address, 9), socket.SOCK_DGRAM)
    assert sock.getsockopt(level, option) == 1
    sock.close()
