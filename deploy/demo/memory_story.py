"""The demo without a kernel: the same story with a table in memory, real web servers on loopback addresses, and hastier timings.

Needs neither root nor a network. There are no clients in it: a table in memory forwards nothing.
Exit status 0: everything happened as told.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.demo.narrator import Narrator
from supervisor.admin import client
from supervisor.admin.protocol import Request, RequestError
from tests.kernel.lab import ROOT
from tests.kernel.postbox import Postbox

PATIENCE_S = 15
SERVERS = {20: "127.0.0.20", 21: "127.0.0.21", 22: "127.0.0.22"}
REAL_SERVER = """
  real_server {address} {port} {{
    weight 1
    inhibit_on_failure
    HTTP_GET {{
      url {{
        path /
        status_code 200
      }}
      connect_timeout 1
      retry 2
      delay_before_retry 0.2
    }}
  }}
"""
CONFIGURATION = """
global_defs {{
  notification_email {{
    admin@example.org
  }}
  notification_email_from admin@example.org
  smtp_server 127.0.0.1 {mail_port}
  router_id LVS_DEVEL
  virtual_server_addresses off
}}

virtual_server 203.0.113.100 80 {{
  delay_loop 0.5
  lvs_sched rr
  lvs_method NAT
  protocol TCP
  sorry_server {sorry} {port}
{real_servers}}}
"""
METRICS = (
    "lvs_real_server_up",
    "lvs_real_server_weight",
    "lvs_real_server_transitions_total",
    "lvs_virtual_server_sorry_active",
)


class Story:
    """The story's actors and its steps, in order."""

    def __init__(self, directory: Path, narrator: Narrator) -> None:
        self._directory = directory
        self._tell = narrator
        self._postbox = Postbox(None, "127.0.0.1", 0)
        self._port = _free_port()
        self._exporter = _free_port()
        self._web: dict[int, subprocess.Popen[bytes]] = {}
        self._socket = directory / "admin.sock"
        self._log = directory / "vipervisor.log"
        self._daemon: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Tell it all."""
        first, second, sorry = (f"{SERVERS[number]}:{self._port}" for number in (21, 22, 20))
        both_up = {first: 1, second: 1}
        for number in SERVERS:
            self._start_web(number)

        self._tell.step("Vipervisor starts, with a table in memory")
        self._tell.say(
            f"Two web servers, {first} and {second}, and a sorry server; each asked every 0.5 s, 2 retries 0.2 s apart."
        )
        self._start_daemon()
        self._wait("the first checks", lambda: self._health() == ["UP", "UP"])
        self._wait_and_show(both_up, "both web servers are in the table with weight 1:")

        self._tell.step(f"The web server on {second} is killed")
        self._kill_web(22)
        self._wait_and_show({first: 1, second: 0}, "its weight is 0, so no request would reach it:")
        self._tell.say(f"Why? Ask it (vipervisor why {second}):")
        self._tell.show(self._command("why", second))

        self._tell.step("The administrator has mail")
        self._wait("a mail", lambda: self._postbox.mails)
        self._tell.promise("DOWN" in self._postbox.mails[0].subject, "it says what happened to which server:")
        self._tell.show(f"{self._postbox.mails[0].subject}\n\n{self._postbox.mails[0].body}")

        self._tell.step(f"The web server on {first} is killed too")
        self._kill_web(21)
        self._wait_and_show({first: 0, second: 0, sorry: 1}, "the sorry server has stepped in with weight 1:")

        self._tell.step("Both web servers are started again")
        self._start_web(21)
        self._start_web(22)
        self._wait_and_show(both_up, "everything is as at the start:")

        self._tell.step("What it told meanwhile")
        self._wait("four mails", lambda: len(self._postbox.mails) == 4)
        self._tell.say("The mails:")
        self._tell.show("\n".join(self._postbox.subjects()))
        self._tell.say("The last lines of its log, for machines:")
        self._tell.show("\n".join(self._log.read_text().splitlines()[-3:]))
        self._tell.say("Some of its metrics, for Prometheus:")
        self._tell.show("\n".join(row for row in self._metrics().splitlines() if row.startswith(METRICS)))

        self._tell.step("Vipervisor is asked to stop")
        self._tell.promise(_end(self._daemon) == 0, "it ended cleanly; its last words:")
        self._tell.show(self._log.read_text().splitlines()[-1])

    def close(self) -> None:
        """End what was started."""
        for process in (self._daemon, *self._web.values()):
            _end(process)
        self._postbox.close()

    def log_tail(self) -> str:
        """Return the end of the log."""
        return self._log.read_text()[-4000:] if self._log.exists() else "vipervisor was not started"

    def _start_daemon(self) -> None:
        real_servers = "".join(REAL_SERVER.format(address=SERVERS[number], port=self._port) for number in (21, 22))
        values = {
            "mail_port": self._postbox.port,
            "sorry": SERVERS[20],
            "port": self._port,
            "real_servers": real_servers,
        }
        file = self._directory / "keepalived.conf"
        file.write_text(CONFIGURATION.format(**values))
        options = ["--backend", "memory", "--exporter", f"127.0.0.1:{self._exporter}", "--log-format", "json"]
        command = [
            sys.executable,
            "-m",
            "supervisor",
            "run",
            "-f",
            str(file),
            *options,
            "--admin-socket",
            str(self._socket),
        ]
        with self._log.open("wb") as log:
            self._daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)

    def _start_web(self, number: int) -> None:
        place = self._directory / f"web{number}"
        place.mkdir(exist_ok=True)
        (place / "index.html").write_text(f"{SERVERS[number]}\n")
        where = ["--bind", SERVERS[number], "--directory", str(place), str(self._port)]
        command = [sys.executable, "-m", "http.server", *where]
        quiet = subprocess.DEVNULL
        self._web[number] = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        self._wait(f"web server {number} listens", lambda: _listens(SERVERS[number], self._port))

    def _kill_web(self, number: int) -> None:
        process = self._web.pop(number)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def _status(self) -> list[dict[str, Any]]:
        """Return the virtual servers as Vipervisor sees them; none while it does not answer."""
        try:
            status: dict[str, Any] = client.ask(self._socket, Request("status"))
        except RequestError:
            return []
        return list(status["virtual_servers"])

    def _health(self) -> list[str]:
        return [server["health"] for virtual in self._status() for server in virtual["real_servers"]]

    def _weights(self) -> dict[str, int]:
        """Return the weight of each destination in the table, by "ADDRESS:PORT"."""
        servers = [server for virtual in self._status() for server in (*virtual["real_servers"], virtual["sorry"])]
        return {
            server["real_server"]: server["weight_kernel"] for server in servers if server["weight_kernel"] is not None
        }

    def _command(self, *words: str) -> str:
        argv = [sys.executable, "-m", "supervisor", *words, "--admin-socket", str(self._socket)]
        return subprocess.run(argv, check=True, capture_output=True, text=True, cwd=ROOT).stdout

    def _metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._exporter}/metrics", timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())

    def _wait(self, what: str, happened: Callable[[], object]) -> float:
        begun = time.monotonic()
        while not happened():
            if time.monotonic() - begun > PATIENCE_S or (self._daemon and self._daemon.poll() is not None):
                raise TimeoutError(what)
            time.sleep(0.02)
        return time.monotonic() - begun

    def _wait_and_show(self, weights: dict[str, int], sentence: str) -> None:
        took = self._wait(sentence, lambda: self._weights() == weights)
        self._tell.promise(True, f"after {took:.1f} s {sentence}")
        self._tell.show(self._command("status"))


def _end(process: subprocess.Popen[bytes] | None) -> int | None:
    if process is None:
        return None
    if process.poll() is None:
        process.terminate()
    return process.wait(PATIENCE_S)


def _free_port() -> int:
    with socket.create_server(("0.0.0.0", 0)) as probe:
        return int(probe.getsockname()[1])


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def main() -> int:
    """Tell the story and return the exit status."""
    narrator = Narrator("Vipervisor: a load balancer loses a web server, told with a table in memory")
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        story = Story(Path(directory), narrator)
        try:
            story.run()
        except Exception as error:  # noqa: BLE001  whatever it was, the story did not happen: say so and how
            narrator.promise(False, f"the story goes on ({error!r})")
            narrator.show(story.log_tail())
        finally:
            story.close()
        return narrator.end()


if __name__ == "__main__":
    sys.exit(main())
