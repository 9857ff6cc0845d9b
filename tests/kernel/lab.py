"""The article's network, built inside the kernel this runs in: five network namespaces, real web servers, a director.

    clients                        director                                    rs20  rs21  rs22
    203.0.113.2   (clients)  ───── eth0 203.0.113.1    eth1 192.168.100.1 ───── 192.168.100.20, .21, .22   (web servers)
    203.0.113.200 (mail)           203.0.113.100 (the virtual server)

The real servers answer through the director (NAT), so it is their default gateway. Everything here needs root and belongs into a
throw-away kernel or a private mount and network namespace (`tests/kernel/on-ipvs` gives one): it writes `/run/netns`.
It never touches the namespace it was started in, and `close()` ends exactly the processes it started.
Two labs with different prefixes have the same addresses and do not see each other.
"""

from __future__ import annotations

import ctypes
import functools
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar

ROOT = Path(__file__).resolve().parents[2]
ARTICLE = ROOT / "deploy" / "examples" / "article.conf"

DIRECTOR, CLIENT, MAIL, VIRTUAL = "203.0.113.1", "203.0.113.2", "203.0.113.200", "203.0.113.100"

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_Result = TypeVar("_Result")


def join(namespace: str) -> None:
    """Move the calling thread (not the process) into a named network namespace. Raises OSError."""
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(descriptor)


def inside(namespace: str, work: Callable[[], _Result]) -> _Result:
    """Return what `work` returns in a network namespace. Sockets and /proc/net files opened there stay there."""
    outcome: list[_Result] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            join(namespace)
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001  raised again by the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def cost_of_starting(program: str) -> float:
    """Return how many seconds a Python with one of our programs takes to start here, with nothing else to do."""
    seconds = 0.0
    for _ in range(2):  # the first time also fills the kernel's caches
        begun = time.monotonic()
        subprocess.run([sys.executable, "-c", f"import {program}"], check=True, cwd=ROOT)
        seconds = time.monotonic() - begun
    return seconds


def wait_until(what: str, happened: Callable[[], object], within: float, every: float = 0.02) -> float:
    """Return the seconds until `happened()` was true. Raises TimeoutError, naming `what`, after `within` seconds."""
    begun = time.monotonic()
    while not happened():
        if time.monotonic() - begun > within:
            raise TimeoutError(f"{what}: not within {within:g} s")
        time.sleep(every)
    return time.monotonic() - begun


class KernelTable:
    """The IPVS table of one namespace, read from /proc/net/ip_vs: cheap enough for a thousand readings a second."""

    def __init__(self, namespace: str) -> None:
        self._descriptor = inside(namespace, lambda: os.open("/proc/thread-self/net/ip_vs", os.O_RDONLY | os.O_CLOEXEC))

    def weights(self) -> dict[str, int]:
        """Return the weight of each destination by "ADDRESS:PORT"; no key: no destination."""
        text = os.pread(self._descriptor, 1 << 16, 0).decode()
        found = re.findall(r"-> ([0-9A-F]{8}):([0-9A-F]{4})\s+\w+\s+(-?\d+)", text)
        return {f"{IPv4Address(int(address, 16))}:{int(port, 16)}": int(weight) for address, port, weight in found}

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


class Lab:
    """One network with its web servers. Use it as a context manager.

    `directory` (absolute, exists) takes configuration and log files; `prefix` goes before the names of the namespaces.
    """

    def __init__(self, directory: Path, prefix: str = "") -> None:
        self.directory = directory
        self.director, self.clients = f"{prefix}director", f"{prefix}clients"
        self._real = {number: f"{prefix}rs{number}" for number in (20, 21, 22)}
        self._prefix = prefix
        self._web: dict[int, subprocess.Popen[bytes]] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._logs: list[IO[bytes]] = []
        self._nginx = shutil.which("nginx")

    @property
    def web_server_kind(self) -> str:
        """What answers on the real servers."""
        return "nginx" if self._nginx else "Python's http.server"

    def __enter__(self) -> Self:
        try:
            self._build()
            self.table = KernelTable(self.director)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what was started here, newest first, and take the namespaces away."""
        for process in reversed(self._processes):
            self.stop(process)
        for log in self._logs:
            log.close()
        self._processes, self._logs = [], []
        for name in self._namespaces():
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)

    # -- the network ---------------------------------------------------------------------------------------------------------

    def _namespaces(self) -> list[str]:
        return [self.director, self.clients, *self._real.values()]

    def _build(self) -> None:
        Path("/run/netns").mkdir(exist_ok=True)
        for name in self._namespaces():
            ip("netns", "add", name)
        links = [f"link add eth0 netns {self.director} type veth peer name eth0 netns {self.clients}"]
        links += [
            f"link add port{n} netns {self.director} type veth peer name eth0 netns {ns}"
            for n, ns in self._real.items()
        ]
        ip_batch(None, links)
        ip_batch(
            self.clients,
            ["link set lo up", "link set eth0 up", f"addr add {CLIENT}/24 dev eth0", f"addr add {MAIL}/24 dev eth0"],
        )
        inner = ["link add eth1 type bridge", "link set eth1 up", "addr add 192.168.100.1/24 dev eth1"]
        for number in self._real:
            inner += [f"link set port{number} master eth1", f"link set port{number} up"]
        ip_batch(self.director, ["link set lo up", "link set eth0 up", f"addr add {DIRECTOR}/24 dev eth0", *inner])
        inside(self.director, lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1"))
        for number, name in self._real.items():
            own = f"192.168.100.{number}/24"
            route = "route add default via 192.168.100.1"
            ip_batch(name, ["link set lo up", "link set eth0 up", f"addr add {own} dev eth0", route])

    # -- processes -----------------------------------------------------------------------------------------------------------

    def start(
        self, namespace: str, command: Sequence[str], log: str, mode: str = "wb", folder: Path = ROOT
    ) -> subprocess.Popen[bytes]:
        """Start a program in a namespace, its output to the file `log` of the lab's directory. Its pid is the program's own.

        It has a session of its own: else the kernel could take its end for that of a shell while another program here stands still
        (SIGSTOP), and send SIGHUP to all of them (POSIX: a process group that is orphaned and has stopped members).
        """
        output = (self.directory / log).open(mode)
        self._logs.append(output)
        argv = ["ip", "netns", "exec", namespace, *command]
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def stop(self, process: subprocess.Popen[bytes], within: float = 10) -> int:
        """Ask a program to end (SIGTERM), kill it when it does not within the seconds given; return its status."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(within)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.wait()

    def output(self, namespace: str, *command: str) -> str:
        """Return what a command prints in a namespace."""
        argv = ["ip", "netns", "exec", namespace, *command]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def real_server(self, number: int) -> str:
        """Return the namespace of 192.168.100.NUMBER."""
        return self._real[number]

    # -- the web servers -----------------------------------------------------------------------------------------------------

    def start_web(self, number: int) -> None:
        """Start the web server of 192.168.100.NUMBER; it answers every request with that address."""
        address = f"192.168.100.{number}"
        place = self.directory / f"web{self._prefix}{number}"
        place.mkdir(exist_ok=True)
        if self._nginx:
            server = f"server {{ listen 80 backlog=511; location / {{ {self.answer(number)} }} }}"
            (place / "nginx.conf").write_text(nginx_configuration(place, server))
            command = [self._nginx, "-p", str(place), "-c", str(place / "nginx.conf"), "-e", "stderr"]
        else:
            (place / "index.html").write_text(f"{address}\n")
            command = [sys.executable, "-m", "http.server", "--bind", address, "--directory", str(place), "80"]
        self._web[number] = self.start(self._real[number], command, f"web{self._prefix}{number}.log")

    def answer(self, number: int) -> str:
        """Return what nginx does with each request to 192.168.100.NUMBER: the inside of its location."""
        return f"return 200 '192.168.100.{number}\\n';"

    def hurry_web(self) -> None:
        """Put the web servers before others that want the processor."""
        for process in self._web.values():
            os.setpriority(os.PRIO_PROCESS, process.pid, -15)

    def kill_web(self, number: int) -> None:
        """Kill the web server of 192.168.100.NUMBER with SIGKILL; its machine goes on answering "connection refused"."""
        process = self._web.pop(number)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def start_all_web(self) -> None:
        """Start the three web servers and return when each answers on its own machine."""
        for number in self._real:
            self.start_web(number)
        for number in self._real:
            wait_until(f"web server {number} answers", functools.partial(self._answers, number), within=30)

    def _answers(self, number: int) -> bool:
        try:
            return bool(self.get(self._real[number], f"192.168.100.{number}", 80))
        except OSError:
            return False

    # -- looking -------------------------------------------------------------------------------------------------------------

    def get(self, namespace: str, host: str, port: int, path: str = "/") -> str:
        """Return the body that GET gives, asked for in a namespace. Raises OSError; also for an answer other than 200."""

        def fetch() -> str:
            connection = http.client.HTTPConnection(host, port, timeout=3)
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                body = answer.read().decode()
            finally:
                connection.close()
            if answer.status != http.client.OK:
                raise OSError(f"{host}:{port}{path}: status {answer.status}: {body}")
            return body

        return inside(namespace, fetch)

    def listing(self) -> str:
        """Return the table as `ipvsadm -Ln` prints it."""
        return self.output(self.director, "ipvsadm", "-Ln")

    def rules(self) -> list[str]:
        """Return the table as `ipvsadm -Sn` prints it, line by line."""
        return self.output(self.director, "ipvsadm", "-Sn").splitlines()

    def addresses(self) -> str:
        """Return what `ip addr show eth0` prints on the director."""
        return self.output(self.director, "ip", "addr", "show", "eth0")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def ip_batch(namespace: str | None, lines: Sequence[str]) -> None:
    """Carry out many `ip` commands by one program: starting a program is what costs time in a User-Mode Linux guest."""
    where = ["-n", namespace] if namespace else []
    subprocess.run(["ip", *where, "-batch", "-"], input="\n".join(lines), text=True, check=True)


def nginx_configuration(place: Path, servers: str) -> str:
    """Return a configuration for one process that writes nowhere but to `place`; `servers` are its server blocks."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"  {kind}_temp_path {place}/{kind};" for kind in kinds)
    return f"""daemon off;
master_process off;
pid {place}/pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
  access_log off;
{temporary}
  {servers}
}}
"""
