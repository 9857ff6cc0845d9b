"""Every change of a namespace's IPVS table, in order: what a netlink monitor device heard on its way to the kernel.

Sampling a table can miss a state that stood for microseconds; a monitor device (nlmon) is given each message, so the states
replayed from it are all there were. Where a kernel has no such device the table is read a thousand times a second instead.
Decoded here independently of `supervisor.ipvs.wire`, from linux/netlink.h, linux/genetlink.h and linux/ip_vs.h.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from tests.kernel import lab

_NETLINK_GENERIC = 16
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_CTRL_GETFAMILY, _CTRL_FAMILY_ID, _CTRL_FAMILY_NAME = 3, 1, 2
_COMMANDS = {
    1: "NEW_SERVICE",
    2: "SET_SERVICE",
    3: "DEL_SERVICE",
    5: "NEW_DEST",
    6: "SET_DEST",
    7: "DEL_DEST",
    17: "FLUSH",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One command that changes the table; `weights` is what the one service's destinations have after it (None: no service)."""

    at_s: float
    command: str
    destination: str
    weights: dict[str, int] | None


class Wiretap:
    """Listens from its construction to `close()`. Made for one virtual server: the article has no more."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._family = lab.inside(namespace, _ipvs_family)
        self.exact = _add_monitor(namespace)
        self._heard: list[tuple[float, bytes]] = []
        self._sampled: list[tuple[float, dict[str, int]]] = []
        self._closed = threading.Event()
        if self.exact:
            self._socket = lab.inside(namespace, _monitor_socket)
            work = self._listen
        else:
            self._table = lab.KernelTable(namespace)
            work = self._sample
        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        self._thread.join()
        if self.exact:
            subprocess.run(["ip", "-n", self._namespace, "link", "del", "nlmon0"], check=True)
        else:
            self._table.close()

    def changes(self) -> list[Change]:
        """Return every change so far, oldest first."""
        if not self.exact:
            return [Change(at_s, "sample", "", weights or None) for at_s, weights in self._sampled.copy()]
        weights: dict[str, int] | None = None
        found = []
        for at_s, command, destination, weight in self._commands():
            match command:
                case "NEW_SERVICE":
                    weights = {} if weights is None else dict(weights)
                case "DEL_SERVICE" | "FLUSH":
                    weights = None
                case "NEW_DEST" if weights is not None:
                    weights = {destination: weight} | weights  # the kernel refuses what is there already
                case "SET_DEST" if weights is not None and destination in weights:
                    weights = weights | {destination: weight}
                case "DEL_DEST" if weights is not None:
                    weights = {key: value for key, value in weights.items() if key != destination}
                case _:
                    pass
            found.append(Change(at_s, command, destination, weights))
        return found

    def since(self, moment_s: float) -> list[Change]:
        """Return the changes at or after a moment (`time.monotonic`)."""
        return [change for change in self.changes() if change.at_s >= moment_s]

    def _listen(self) -> None:
        self._socket.settimeout(0.2)
        while not self._closed.is_set():
            try:
                data, (_, family, *_) = self._socket.recvfrom(1 << 18)
            except TimeoutError:
                continue
            if family == _NETLINK_GENERIC:
                self._heard.append((time.monotonic(), data))
        self._socket.close()

    def _sample(self) -> None:
        while not self._closed.wait(0.001):
            weights = self._table.weights()
            if not self._sampled or self._sampled[-1][1] != weights:
                self._sampled.append((time.monotonic(), weights))

    def _commands(self) -> Iterator[tuple[float, str, str, int]]:
        for at_s, data in self._heard.copy():
            offset = 0
            while offset + 20 <= len(data):
                length, family, flags = struct.unpack_from("=IHH", data, offset)
                if length < 16:
                    break
                command = data[offset + 16]
                if (
                    family == self._family
                    and command in _COMMANDS
                    and flags & _NLM_F_REQUEST
                    and not flags & _NLM_F_DUMP
                ):
                    top = _attributes(data[offset + 20 : offset + length])
                    yield at_s, _COMMANDS[command], *_destination(top.get(2, b""))
                offset += (length + 3) & ~3


def _destination(nested: bytes) -> tuple[str, int]:
    """Return "ADDRESS:PORT" and weight of IPVS_CMD_ATTR_DEST; ("", 0) when there is none."""
    values = _attributes(nested)
    if 1 not in values or 2 not in values:
        return "", 0
    (weight,) = struct.unpack("=i", values.get(4, bytes(4)))
    return f"{IPv4Address(values[1][:4])}:{int.from_bytes(values[2], 'big')}", weight


def _attributes(data: bytes) -> dict[int, bytes]:
    found, offset = dict[int, bytes](), 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _ipvs_family() -> int:
    """Return the number that this kernel gave to the generic netlink family IPVS."""
    name = b"IPVS\0"
    attribute = struct.pack("=HH", 4 + len(name), _CTRL_FAMILY_NAME) + name + bytes(3)
    body = struct.pack("=BBH", _CTRL_GETFAMILY, 1, 0) + attribute
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC) as link:
        link.bind((0, 0))
        link.send(struct.pack("=IHHII", 16 + len(body), 0x10, 1, 1, 0) + body)
        answer = link.recv(1 << 16)
    return int.from_bytes(_attributes(answer[20:])[_CTRL_FAMILY_ID][:2], "little")


def _add_monitor(namespace: str) -> bool:
    add = ["ip", "-n", namespace, "link", "add", "nlmon0", "type", "nlmon"]
    if subprocess.run(add, check=False, stderr=subprocess.DEVNULL).returncode:
        return False
    subprocess.run(["ip", "-n", namespace, "link", "set", "nlmon0", "up"], check=True)
    return True


def _monitor_socket() -> socket.socket:
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    listener.bind(("nlmon0", 3))  # ETH_P_ALL
    return listener
