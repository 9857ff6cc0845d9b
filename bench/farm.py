"""Many real servers and several directors on one switch, in network namespaces: every fault is seen by all directors at the same moment.

    with Farm(folder, real_servers=50, directors=["keepalived", …]) as farm:
        farm.kill(3); farm.start_web(3)        # SIGKILL of nginx
        farm.silence(3); farm.give_voice(3)    # its cable: nothing comes from there any more
        farm.sicken(3); farm.cure(3)           # it answers 503
        farm.weights("keepalived")             # that director's IPVS table

Needs root in a kernel to throw away (`bench.guest`). Every director has an IPVS table of its own.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from bench.accounting import ROOT, lab_environment, program
from tests.kernel.lab import inside, ip_batch, nginx_configuration

SWITCH = "switch"
_FLAGS_GET, _FLAGS_SET, _UP = 0x8913, 0x8914, 0x1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP
_REQUEST = struct.Struct("16sH14x")
_DESTINATION = re.compile(rb"-> ([0-9A-F]{8}):[0-9A-F]{4}\s+\w+\s+(-?\d+)")
START_MAX_S = 30.0
_Result = TypeVar("_Result")


def address(number: int) -> str:
    """Return the address of a real server; they are numbered from 0."""
    return str(IPv4Address("10.9.1.1") + number)


class Farm:
    """The network and its web servers. As a context it is built, and taken down."""

    def __init__(self, folder: Path, real_servers: int, directors: Sequence[str]) -> None:
        self._folder = folder
        self.count = real_servers
        self._directors = {name: f"director{number}" for number, name in enumerate(directors)}
        self._web: dict[int, subprocess.Popen[bytes]] = {}
        self._programs: list[subprocess.Popen[bytes]] = []
        self._tables: dict[str, int] = {}
        self._nginx = program("nginx")

    def __enter__(self) -> Self:
        self._build()
        for number in range(self.count):
            self.start_web(number)
        limit = time.monotonic() + START_MAX_S
        while not all(map(self._listens, range(self.count))):
            if time.monotonic() > limit:
                raise TimeoutError(f"not all web servers listen after {START_MAX_S:g} s")
            time.sleep(0.2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (*self._programs, *self._web.values()):
            one.terminate()
        for one in (*self._programs, *self._web.values()):
            try:
                one.wait(10)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
        for descriptor in self._tables.values():
            os.close(descriptor)
        self._cables.close()
        ip_batch(None, [f"netns del {name}" for name in self._namespaces()])

    def _namespaces(self) -> list[str]:
        return [SWITCH, *self._directors.values(), *(f"rs{number}" for number in range(self.count))]

    def _build(self) -> None:
        Path("/run/netns").mkdir(exist_ok=True)
        ip_batch(None, [f"netns add {name}" for name in self._namespaces()])
        places = {name: f"10.9.0.{number}" for number, name in enumerate(self._directors.values(), 1)}
        places |= {f"rs{number}": address(number) for number in range(self.count)}
        cables = [f"link add {name} netns {SWITCH} type veth peer name eth0 netns {name}" for name in places]
        ip_batch(None, cables)
        plugged = [line for name in places for line in (f"link set {name} master lan", f"link set {name} up")]
        ip_batch(SWITCH, ["link add lan type bridge", "link set lan up", *plugged])
        for name, place in places.items():
            ip_batch(name, ["link set lo up", "link set eth0 up", f"addr add {place}/16 dev eth0"])
        self._cables = inside(SWITCH, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def at(self, director: str, work: Callable[[], _Result]) -> _Result:
        """Return what `work` returns at a director: a program that it starts runs there."""
        return inside(self._directors[director], work)

    def run(
        self, director: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a director's program; it is ended with the farm."""
        with log.open("wb") as output:
            process = self._spawn(
                self._directors[director], command, output.fileno(), {**lab_environment(), **(environment or {})}
            )
        self._programs.append(process)
        return process

    def _spawn(
        self, namespace: str, command: Sequence[str], output: int, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a program; it is born in the namespace of the thread that makes it."""

        def born() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env=environment,
                start_new_session=True,
            )

        return inside(namespace, born)

    def weights(self, director: str) -> dict[int, int]:
        """Return the weight of each real server by its number; no key: no destination. With several services the least."""
        found: dict[int, int] = {}
        if director not in self._tables:
            self._tables[director] = self.at(director, lambda: os.open("/proc/thread-self/net/ip_vs", os.O_RDONLY))
        first, offset, descriptor = int(IPv4Address(address(0))), 0, self._tables[director]
        while part := os.pread(descriptor, 1 << 16, offset):  # it comes in whole lines
            offset += len(part)
            for digits, weight in _DESTINATION.findall(part):
                number = int(digits, 16) - first
                found[number] = min(int(weight), found.get(number, int(weight)))
        return found

    # -- the real servers ----------------------------------------------------------------------------------------------------

    def start_web(self, number: int) -> None:
        """Start a web server; it answers 200 unless it is sick."""
        place = self._folder / f"rs{number}"
        place.mkdir(exist_ok=True)
        file = place / "nginx.conf"
        answer = f"if (-f {place}/sick) {{ return 503; }} return 200 'ok\\n';"
        file.write_text(nginx_configuration(place, f"server {{ listen 80 backlog=511; location / {{ {answer} }} }}"))
        command = [self._nginx, "-p", str(place), "-c", str(file), "-e", str(place / "errors")]
        self._web[number] = self._spawn(f"rs{number}", command, subprocess.DEVNULL, lab_environment())

    def _listens(self, number: int) -> bool:
        def connect() -> bool:
            try:
                socket.create_connection((address(number), 80), 1).close()
            except OSError:
                return False
            return True

        return inside(f"rs{number}", connect)

    def kill(self, number: int) -> None:
        """SIGKILL: its machine answers for it, with refusals."""
        process = self._web.pop(number)
        process.kill()
        process.wait()

    def silence(self, number: int) -> None:
        """Pull its cable out of the switch."""
        self._plug(number, up=False)

    def give_voice(self, number: int) -> None:
        """Put it back."""
        self._plug(number, up=True)

    def _plug(self, number: int, *, up: bool) -> None:
        name = f"rs{number}".encode()
        _, flags = _REQUEST.unpack(fcntl.ioctl(self._cables, _FLAGS_GET, _REQUEST.pack(name, 0)))
        fcntl.ioctl(self._cables, _FLAGS_SET, _REQUEST.pack(name, flags | _UP if up else flags & ~_UP))

    def sicken(self, number: int) -> None:
        """Have it answer 503 from now on."""
        (self._folder / f"rs{number}" / "sick").touch()

    def cure(self, number: int) -> None:
        """Have it answer 200 again."""
        (self._folder / f"rs{number}" / "sick").unlink()
