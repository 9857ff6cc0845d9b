"""docs/from-keepalived.md, typed under traffic: take over from a live keepalived and go back, no request lost."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

from tests.kernel.daemon import EXPORTER_PORT, Daemon
from tests.kernel.lab import ARTICLE, VIRTUAL, Lab, wait_until
from tests.kernel.traffic import Clients
from tests.manual import DOCS, Desk, Typed, sessions, shown

FIRST, SECOND = "192.168.100.21:80", "192.168.100.22:80"
PATIENCE_S = 10.0


class TypedDaemon(Daemon):
    """Vipervisor, started by what was typed."""

    def __init__(self, lab: Lab, config: Path, name: str, desk: Desk, command: str) -> None:
        self._typed = ["env", f"PATH={desk.path}", "sh", "-c", f"exec {command}"]
        super().__init__(lab, config, name)

    def _start(self, mode: str) -> subprocess.Popen[bytes]:
        return self._lab.start(self._lab.director, self._typed, self.log_path.name, mode)


class Operator:
    """Somebody who follows the page on a director where keepalived runs, with its files where this test has them."""

    def __init__(self, lab: Lab, config: Path) -> None:
        self._lab, self._config = lab, config
        self._desk = Desk(lab.directory / "desk", lab.directory / "vipervisor.sock")
        self.daemon: TypedDaemon | None = None
        self.keepalived: subprocess.Popen[bytes] | None = None

    def desk(self, name: str) -> Desk:
        """Return where the windows of `name` are. The table stays at a stop, as the page wants it for the way back."""
        folder = self._lab.directory
        options = f"--dont-release-ipvs --exporter 127.0.0.1:{EXPORTER_PORT} --log-format json --state-dir {folder}/{name}.state"
        return Desk(folder / f"{name}-desk", folder / f"{name}.sock", options)

    def types(self, typed: Typed) -> None:
        """Type one command; raise AssertionError when another answer comes than the page's."""
        match typed.place, typed.command:
            case "dry run", _:
                daemon = self._begins(typed, "dry-run")
                assert not daemon.events("dry_run.disagrees")
                assert VIRTUAL in self._lab.addresses(), "it is keepalived's"
                assert daemon.stop() == 0
            case "daemon", _:
                self.daemon = self._begins(typed, "vipervisor")
            case "", "systemctl disable keepalived":
                """The guest has no systemd that would start it again."""
            case "", "systemctl enable --now keepalived":
                self.starts_keepalived()
            case "", _:
                named = Typed("", self._named(typed.command), typed.answer)
                self._desk.asks(named, PATIENCE_S, ["ip", "netns", "exec", self._lab.director])
                if self.keepalived is not None and "-KILL" in typed.command and "keepalived.pid" in typed.command:
                    self.keepalived.wait(PATIENCE_S)
                if self.daemon is not None and "-TERM" in typed.command:
                    assert self.daemon.process.wait(PATIENCE_S) == 0
            case _:
                raise AssertionError(f"nobody sits at {typed.place}")

    def starts_keepalived(self) -> None:
        """Do what its unit does."""
        folder = self._lab.directory
        pids = ["-p", str(folder / "keepalived.pid"), "-c", str(folder / "checkers.pid")]
        command = ["keepalived", "--dont-fork", "--log-console", "--check", "-f", str(self._config), *pids]
        self.keepalived = self._lab.start(self._lab.director, command, "keepalived.log")

    def _begins(self, typed: Typed, name: str) -> TypedDaemon:
        daemon = TypedDaemon(self._lab, self._config, name, self.desk(name), self._named(typed.command))
        daemon.wait_until_whole(within=60)
        return daemon

    def _named(self, command: str) -> str:
        command = command.replace("/run/", f"{self._lab.directory}/").replace(
            "/etc/keepalived", str(self._config.parent)
        )
        return re.sub(r"\bPID$", str(self.daemon.process.pid), command) if self.daemon is not None else command


def by_hand(lab: Lab, weight: int) -> None:
    """Type what the runbook has for the time without any daemon, for the second real server."""
    (command,) = (command for command in shown(DOCS / "runbooks" / "LVSDown.md") if command.startswith("ipvsadm -e"))
    command = (
        command.replace("VIP:PORT", f"{VIRTUAL}:80").replace("SERVER:PORT", SECOND).replace("-w 0", f"-w {weight}")
    )
    assert lab.output(lab.director, *command.split()) == ""
    assert lab.table.weights() == {FIRST: 1, SECOND: weight}


def test_taking_over_from_keepalived_and_going_back_loses_no_request(directory: Path) -> None:
    config = directory / "keepalived.conf"
    config.write_text(ARTICLE.read_text().replace("delay_loop 5", "delay_loop 1").replace("nb_get_retry 3", "retry 1"))
    with Lab(directory) as lab:
        lab.start_all_web()
        subprocess.run(["ip", "-n", lab.director, "addr", "add", f"{VIRTUAL}/32", "dev", "eth0"], check=True)
        operator = Operator(lab, config)
        operator.starts_keepalived()
        wait_until("keepalived has its table", lambda: lab.table.weights() == {FIRST: 1, SECOND: 1}, within=30)
        rules = lab.rules()
        clients = Clients(lab.clients)
        begun = time.monotonic()
        for typed in sessions(DOCS / "from-keepalived.md"):
            if typed.place == "daemon":
                by_hand(lab, 0)
                by_hand(lab, 1)
            operator.types(typed)
            assert lab.rules() == rules, typed
            assert f"{VIRTUAL}/32" in lab.addresses(), typed
        log = directory / "keepalived.log"
        wait_until("keepalived has found the table", lambda: "Activating" in log.read_text(), within=30)
        time.sleep(2)
        clients.stop()
        assert len(clients.since(begun)) > 200
        assert not clients.failed_since(begun)
        lab.kill_web(22)
        wait_until("keepalived keeps the table again", lambda: lab.table.weights() == {FIRST: 1, SECOND: 0}, within=40)
