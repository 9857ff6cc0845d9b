"""Sockets of probes: opened, bound, and their errors told apart: our machine's, or the network's. Must never resolve a name."""

from __future__ import annotations

import errno
import os
import socket

from checkers.kit.api import ConnectFailed, LocalTrouble, ProbeError, Target

# linux/in.h and linux/in6.h; not named by Python 3.11
_IP_RECVERR = 11
_IP_BIND_ADDRESS_NO_PORT = 24
_IPV6_RECVERR = 25

_LOCAL_ERRNOS = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EADDRNOTAVAIL,  # no such source address, or no source port left
        errno.EADDRINUSE,
        errno.EACCES,
        errno.EPERM,
        errno.EAGAIN,
        errno.EINVAL,
        errno.EAFNOSUPPORT,  # no IPv6 in this kernel
        errno.ENODEV,
        errno.ENETDOWN,  # our interface is down
    }
)
"""Errors of our own machine when opening, binding, connecting or sending; every other one is the network's or the server's."""

_NO_ROUTE = errno.ENETUNREACH
"""From the call itself: our table has no route, which says nothing of the server. Later, a router far away said it (icmp(7))."""

SHORTAGES = frozenset({"EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRNOTAVAIL", "EAGAIN"})
"""Faults of too much at once: fewer probes help."""

_FAULT_WORDS = frozenset(errno.errorcode.values()) | {"OTHER", "FAVOUR"}


def is_fault(name: str) -> bool:
    """Tell whether this is a name that `kit.api.LocalTrouble.fault` can have."""
    return name.removeprefix("bind:") in _FAULT_WORDS


REFUSED = "connection refused"
"""What ECONNREFUSED is called: the port refuses, so the host lives and nobody listens (`kit.urgency`)."""

_TEXTS = {
    errno.ECONNREFUSED: REFUSED,
    errno.ECONNRESET: "connection reset",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network unreachable",
    errno.ENETDOWN: "network interface down",
    errno.ETIMEDOUT: "timed out in the kernel",
    errno.EPIPE: "connection closed by the server",
}


_PRIVILEGED_PORT_MAX = 1023
"""Source ports up to here take a privilege (net.ipv4.ip_unprivileged_port_start, as it is unless somebody changed it)."""


def privileged(target: Target) -> bool:
    """Whether a worker may not open the socket for this target itself: it needs a mark or a low source port."""
    return bool(target.mark) or 0 < target.bind_port <= _PRIVILEGED_PORT_MAX


def open_socket(target: Target, kind: socket.SocketKind) -> socket.SocketType:
    """Return a socket of SOCK_STREAM or SOCK_DGRAM that never blocks, bound as the target wants. Raises LocalTrouble."""
    family = socket.AF_INET6 if target.is_ipv6 else socket.AF_INET
    try:
        sock = socket.SocketType(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise LocalTrouble(f"cannot open a socket: {errno_text(error.errno)}", errno_name(error.errno)) from error
    prepare_socket(sock, target)
    return sock


def prepare_socket(sock: socket.SocketType, target: Target) -> None:
    """Mark and bind a new socket as the target wants. Raises LocalTrouble, and closes the socket then."""
    if sock.type != socket.SOCK_STREAM:
        hear_errors(sock, ipv6=target.is_ipv6)
    try:
        if target.mark:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, target.mark)
    except OSError as error:
        sock.close()
        text = f"cannot mark packets with {target.mark}: {errno_text(error.errno)}"
        raise LocalTrouble(text, errno_name(error.errno)) from error
    if target.bind_interface or target.bind_address or target.bind_port:
        try:
            _bind(sock, target)
        except OSError as error:
            sock.close()
            place = f"{target.bind_address or '*'}:{target.bind_port}"
            if target.bind_interface:
                place += f" on {target.bind_interface}"
            # not the fault of the same name at connect, where it means that no port is left
            fault = f"bind:{errno_name(error.errno)}"
            raise LocalTrouble(f"cannot bind to {place}: {errno_text(error.errno)}", fault) from error


def hear_errors(sock: socket.SocketType, *, ipv6: bool) -> None:
    """Be told of every ICMP error: without this "host unreachable" is kept from us, and a dead host looks like a silent one (ip(7))."""
    if ipv6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def _bind(sock: socket.SocketType, target: Target) -> None:
    if target.bind_interface:  # the first bind to a device needs no privilege since Linux 5.7
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, target.bind_interface.encode())
    if not target.bind_address and not target.bind_port:
        return
    if target.bind_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    else:  # choose the source port at connect: else each address has only one range for all its targets
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    anywhere = "::" if target.is_ipv6 else "0.0.0.0"
    sock.bind(_sockaddr(target.bind_address or anywhere, target.bind_port, target.bind_interface))


def address_of(target: Target) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return the address to connect to. Raises LocalTrouble."""
    try:
        return _sockaddr(target.address, target.port, target.bind_interface)
    except OSError as error:
        text = f"no interface {target.bind_interface}: {errno_text(error.errno)}"
        raise LocalTrouble(text, errno_name(error.errno)) from error


def _sockaddr(address: str, port: int, interface: str) -> tuple[str, int] | tuple[str, int, int, int]:
    if interface and address.lower().startswith("fe80:"):
        return address, port, 0, socket.if_nametoindex(interface)
    return address, port


def is_local(number: int | None, *, at_once: bool = False) -> bool:
    """Tell whether an errno of connecting or sending is our own machine's trouble.

    `at_once`: the call itself returned it, so no packet went out and nobody else can have said it.
    """
    return number in _LOCAL_ERRNOS or (at_once and number == _NO_ROUTE)


def connect_error(number: int | None, *, at_once: bool = False) -> ProbeError:
    """Return what an errno of connecting means: LocalTrouble or ConnectFailed. `at_once`: see `is_local`."""
    if is_local(number, at_once=at_once):
        return LocalTrouble(f"cannot connect: {errno_text(number)}", errno_name(number))
    return ConnectFailed(errno_text(number))


def errno_name(number: int | None) -> str:
    """Return the name of an errno, such as EMFILE; OTHER for none that has one."""
    return errno.errorcode.get(number or 0, "OTHER")


def errno_text(number: int | None) -> str:
    """Return an errno in words."""
    if number is None:
        return "unknown error"
    return _TEXTS.get(number) or os.strerror(number).lower()
