"""A run with faults for the boards to show: a real Vipervisor, real web servers that die, hang and return, a real Prometheus.

Two worlds. Memory: the table in memory, web servers on loopback addresses; needs nothing, and has no traffic. Kernel: the lab of
tests/kernel with a real IPVS table and clients; needs root on a kernel of its own (`tests/kernel/on-ipvs`).
A beat is what the story's pauses are counted in.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, Self

from grafana.asking import Prometheus, Span, scraping
from supervisor.admin import client
from supervisor.admin.protocol import Request, RequestError
from tests.kernel.lab import ROOT, VIRTUAL, Lab, ip_batch, join, nginx_configuration

SORRY, MACHINES = 20, (21, 22, 23, 24, 25, 26)
PATIENCE_S = 300.0
SCRAPES_S = 2.5
"""A pause is at least so long, so that what is there has been scraped."""
LASTING_BEATS = 7
"""With beats of ten seconds, longer than the minute after which a lost quorum wakes somebody."""
LOG_TAIL = 2000
"""Characters of the daemon's log that a failure shows."""
PAGE_BYTES = 20_000

POOLS = (
    # port, what else the virtual server says, what its real servers say, machines
    (80, "quorum 150", "notify_down /bin/true", (21, 22, 23)),
    (8080, "", "", (24, 25)),
    (8081, "min_healthy 50%", "", (21, 22, 24, 25, 26)),
)

CLIENT = """
import random, sys, time, urllib.request
draw = random.Random(1)
while True:
    port = draw.choices((80, 8080, 8081), (6, 3, 2))[0]
    try:
        urllib.request.urlopen(f"http://{sys.argv[1]}:{port}/", timeout=2).read()
    except OSError:
        pass
    time.sleep(draw.expovariate(8 + 8 * (time.time() % 120 < 60)))
"""


class World(Protocol):
    """Where the story plays."""

    folder: Path
    backend: str
    port: int
    """Of every web server."""
    workers: str
    """How many checker workers."""
    scrape_s: int
    """Seconds between two scrapes."""

    def address(self, machine: int) -> str:
        """Return the address of a machine."""

    def web_server(self, machine: int) -> list[str]:
        """Return the command that serves the file index.html of the folder on a machine."""

    def meddle(self) -> None:
        """Change the kernel's table behind the daemon's back, where there is one."""

    def start_clients(self) -> list[subprocess.Popen[bytes]]:
        """Start whoever asks the virtual servers."""


class Memory:
    """Loopback addresses and a table in memory."""

    backend = "memory"
    workers = "2"
    scrape_s = 1

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port("0.0.0.0")

    def address(self, machine: int) -> str:
        """127.0.0.MACHINE."""
        return f"127.0.0.{machine}"

    def web_server(self, machine: int) -> list[str]:
        """Python's own: it is always there."""
        where = ["--bind", self.address(machine), "--directory", str(self.folder)]
        return [sys.executable, "-m", "http.server", *where, str(self.port)]

    def meddle(self) -> None:
        """Nobody can: the table is the daemon's own."""

    def start_clients(self) -> list[subprocess.Popen[bytes]]:
        """Nobody: a table in memory forwards nothing."""
        return []


class Kernel:
    """The lab's network; this process itself moves to the director."""

    backend = "kernel"
    port = 80
    workers = "1"
    scrape_s = 4

    def __init__(self, lab: Lab) -> None:
        self.folder = lab.directory
        self._lab = lab
        for machine in MACHINES[2:]:
            ip_batch(self._namespace(machine), [f"addr add {self.address(machine)}/24 dev eth0"])
        join(lab.director)

    def _namespace(self, machine: int) -> str:
        return self._lab.real_server(machine if machine < MACHINES[2] else MACHINES[machine % 2])

    def address(self, machine: int) -> str:
        """192.168.100.MACHINE."""
        return f"192.168.100.{machine}"

    def web_server(self, machine: int) -> list[str]:
        """Nginx: Python would be too much for a guest. Each machine is a network namespace, or an address in one."""
        place = self.folder / f"web{machine}"
        place.mkdir(exist_ok=True)
        server = f"server {{ listen {self.address(machine)}:{self.port}; root {self.folder}; }}"
        (place / "nginx.conf").write_text(nginx_configuration(place, server))
        program = ["nginx", "-p", str(place), "-c", str(place / "nginx.conf"), "-e", "stderr"]
        return ["ip", "netns", "exec", self._namespace(machine), *program]

    def meddle(self) -> None:
        """Give somebody a weight by hand, and add a service that the configuration does not name."""
        for words in (f"-e -t {VIRTUAL}:80 -r {self.address(21)}:80 -m -w 7", f"-A -t {VIRTUAL}:9000 -s rr"):
            subprocess.run(["ipvsadm", *words.split()], check=False)

    def start_clients(self) -> list[subprocess.Popen[bytes]]:
        """One that asks again and again."""
        argv = ["ip", "netns", "exec", self._lab.clients, sys.executable, "-c", CLIENT, VIRTUAL]
        return [subprocess.Popen(argv, stdin=subprocess.DEVNULL)]


class Story:
    """Its actors, and its steps in order. Use it as a context manager; `happened` is what was done when."""

    def __init__(self, world: World, beat_s: float) -> None:
        self._world = world
        self._beat_s = beat_s
        self._web: dict[int, subprocess.Popen[bytes]] = {}
        self._others: list[subprocess.Popen[bytes]] = []
        self._file = world.folder / "keepalived.conf"
        self._socket = world.folder / "admin.sock"
        self._ends = contextlib.ExitStack()
        self.happened: list[tuple[float, str]] = []

    def __enter__(self) -> Self:
        """Start one after the other: all at once is too much for a guest. What was started is ended when one of it fails."""
        with contextlib.ExitStack() as undone:
            undone.callback(self._end)
            (self._world.folder / "index.html").write_text("." * PAGE_BYTES)
            for machine in (SORRY, *MACHINES):
                self._open(machine)
            exporter = f"127.0.0.1:{free_port('127.0.0.1')}"
            self._start_daemon(exporter)
            self._wait("the first verdicts", lambda: self._status()["process"]["ready"])
            self.prometheus = Prometheus(
                self._world.folder, free_port("127.0.0.1"), scraping(exporter, self._world.scrape_s)
            )
            undone.callback(self.prometheus.close)
            self.prometheus.wait()
            self._ends = undone.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End everything that was started."""
        self._ends.close()

    def _end(self) -> None:
        for process in (*self._others, *self._web.values()):
            process.kill()
            process.wait()

    def _start_daemon(self, exporter: str) -> None:
        self._file.write_text(self.configuration())
        state = self._world.folder / "state"
        options = ["--backend", self._world.backend, "--workers", self._world.workers, "--state-dir", str(state)]
        places = ["--exporter", exporter, "--admin-socket", str(self._socket), "--log-format", "json"]
        command = [sys.executable, "-m", "supervisor", "run", "-f", str(self._file), *options, *places]
        with self.log.open("wb") as log:
            self._daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)
        self._others.append(self._daemon)

    @property
    def log(self) -> Path:
        """The daemon's log, in JSON lines."""
        return self._world.folder / "vipervisor.log"

    def configuration(self, rise: int = 1) -> str:
        """Return the file; with another `rise` it is another configuration."""
        text = "global_defs {\n  script_user nobody\n}\n" if os.geteuid() == 0 else ""
        for port, more, of_server, machines in POOLS:
            text += (
                f"virtual_server {VIRTUAL} {port} {{\n  delay_loop 1\n  lvs_sched wrr\n  lvs_method NAT\n  protocol TCP\n"
                f"  {more}\n  sorry_server {self._world.address(SORRY)} {self._world.port}\n"
            )
            for machine in machines:
                text += (
                    f"  real_server {self._world.address(machine)} {self._world.port} {{\n    weight 100\n"
                    f"    {of_server}\n    HTTP_GET {{\n"
                    f"      url {{\n        path /\n        status_code 200\n      }}\n      rise {rise}\n"
                    "      connect_timeout 1\n      retry 1\n      delay_before_retry 0.5\n    }\n  }\n"
                )
            text += "}\n"
        return text

    # -- the story -----------------------------------------------------------------------------------------------------------

    def run(self) -> Span:
        """Let it all happen; return the time that it took. Its now is when most was out."""
        self._others += self._world.start_clients()
        began = time.time()
        self._pause(3)
        self._do("web server 22 dies", lambda: self._kill(22))
        self._wait_for_down(22)
        self._pause(1)
        self._do("22 is back", lambda: self._open(22))
        self._wait_for_down()
        self._pause(1)
        self._do(
            "an operator drains 23", lambda: self._say("drain", 23, "--in", f"{VIRTUAL}:80/tcp", "--reason", "CHG-17")
        )
        self._do("and halves 21", lambda: self._say("weight", 21, "50", "--in", f"{VIRTUAL}:80/tcp"), quietly=True)
        self._pause(2)
        self._do("a reload is refused", self._reload_a_mistake)
        self._pause(2)
        self._do("22, 24, 25 die, 26 hangs", self._disaster)
        self._wait_for_down(22, 24, 25, 26)
        self._pause(LASTING_BEATS)
        self._wait_for_a_scrape()
        now = time.time()
        self._do("all are back", self._recovery)
        self._wait_for_down()
        self._pause(2)
        self._do("a reload", self._reload)
        self._pause(2)
        self._do("a checker is killed", lambda: self._kill_child("checker-0"))
        self._wait_for_a_scrape()
        self._wait("the checker", lambda: self._pid_of("checker-0"))
        self._pause(2)
        self._do("somebody uses ipvsadm", self._world.meddle, quietly=self._world.backend == "memory")
        self._pause(2)
        self._do("writes are paused", lambda: self._command("pause", "writes", "--reason", "CHG-18"))
        self._pause(2)
        self._do("and resumed", lambda: self._command("resume", "writes"), quietly=True)
        self._do("the exporter is killed", lambda: self._kill_child("exporter"))
        self._wait_for_a_scrape()
        self._pause(3)
        self._wait_for_a_scrape()
        return Span(began, time.time(), now)

    def _wait_for_down(self, *machines: int) -> None:
        wanted = {self._world.address(machine) for machine in machines}

        def down() -> set[str]:
            return {
                server["real_server"].partition(":")[0]
                for virtual_server in self._status()["virtual_servers"]
                for server in virtual_server["real_servers"]
                if server["health"] != "UP"
            }

        self._wait(f"down are {wanted or 'none'}", lambda: down() == wanted)

    def _wait_for_a_scrape(self) -> None:
        """Return after a scrape that began after now, and was good."""
        time.sleep(1)  # what was killed may answer for a moment
        asked = time.time()
        self._wait("a scrape", lambda: self.prometheus.scraped_since(asked))

    def _disaster(self) -> None:
        for machine in (22, 24, 25):
            self._kill(machine)
        self._web[26].send_signal(signal.SIGSTOP)

    def _recovery(self) -> None:
        self._web[26].send_signal(signal.SIGCONT)
        for machine in (22, 24, 25):
            self._open(machine)
        self._say("enable", 23)
        self._say("enable", 21)

    def _reload_a_mistake(self) -> None:
        self._file.write_text(self.configuration().replace("quorum 150", "qorum 150"))
        self._command("reload")

    def _reload(self) -> None:
        self._file.write_text(self.configuration(rise=2))
        self._command("reload", "--wait")

    # -- how -----------------------------------------------------------------------------------------------------------------

    def _pause(self, beats: float) -> None:
        time.sleep(max(SCRAPES_S, beats * self._beat_s))

    def _do(self, what: str, deed: Callable[[], object], *, quietly: bool = False) -> None:
        if not quietly:
            self.happened.append((time.time(), what))
        deed()

    def _open(self, machine: int) -> None:
        quiet = subprocess.DEVNULL
        command = self._world.web_server(machine)
        self._web[machine] = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)

    def _kill(self, machine: int) -> None:
        process = self._web.pop(machine)
        process.kill()
        process.wait()

    def _pid_of(self, child: str) -> int:
        """Return its process, 0 while there is none."""
        (pid,) = (view["pid"] for view in self._status()["process"]["workers"] if view["name"] == child)
        return int(pid)

    def _kill_child(self, name: str) -> None:
        pid = self._pid_of(name)
        if pid:
            os.kill(pid, signal.SIGKILL)

    def _say(self, verb: str, machine: int, *words: str) -> None:
        self._command(verb, f"{self._world.address(machine)}:{self._world.port}", *words, "--force")

    def _command(self, *words: str) -> None:
        argv = [sys.executable, "-m", "supervisor", *words, "--admin-socket", str(self._socket)]
        subprocess.run(argv, check=False, capture_output=True, cwd=ROOT)

    def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = client.ask(self._socket, Request("status"))
        return status

    def _wait(self, what: str, happened: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and self._daemon.poll() is None:
            try:
                if happened():
                    return
            except (OSError, RequestError, KeyError):
                pass
            time.sleep(0.1)
        log = self.log.read_text()[-LOG_TAIL:]
        raise TimeoutError(f"{what}: not within {PATIENCE_S:g} s; the end of the log:\n{log}")


def free_port(address: str) -> int:
    """Return a port that nobody has."""
    with socket.create_server((address, 0)) as probe:
        return int(probe.getsockname()[1])
