"""docs/from-keepalived.md, followed to the letter under traffic: take over from a live keepalived and go back, no request lost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from tests.kernel.daemon import Daemon
from tests.kernel.lab import ARTICLE, Lab, wait_until
from tests.kernel.traffic import Clients

FIRST, SECOND = "192.168.100.21:80", "192.168.100.22:80"


class KeepingDaemon(Daemon):
    """Vipervisor that leaves the table and the addresses at its stop."""

    options = ("--backend", "kernel", "--dont-release-ipvs")


def keepalived(lab: Lab, config: Path) -> subprocess.Popen[bytes]:
    pids = ["-p", str(lab.directory / "keepalived.pid"), "-c", str(lab.directory / "checkers.pid")]
    command = ["keepalived", "--dont-fork", "--log-console", "--check", "-f", str(config), *pids]
    return lab.start(lab.director, command, "keepalived.log")


def test_taking_over_from_keepalived_and_going_back_loses_no_request(directory: Path) -> None:
    config = directory / "keepalived.conf"
    config.write_text(ARTICLE.read_text().replace("delay_loop 5", "delay_loop 1").replace("nb_get_retry 3", "retry 1"))
    with Lab(directory) as lab:
        lab.start_all_web()
        subprocess.run(["ip", "-n", lab.director, "addr", "add", "203.0.113.100/32", "dev", "eth0"], check=True)
        parent = keepalived(lab, config)
        wait_until("keepalived has its table", lambda: lab.table.weights() == {FIRST: 1, SECOND: 1}, within=10)
        rules = lab.rules()
        clients = Clients(lab.clients)
        begun = time.monotonic()

        # take over: stop the parent so that it starts no successor, kill the checker and the parent, start
        checker = int((directory / "checkers.pid").read_text())
        os.kill(parent.pid, signal.SIGSTOP)
        os.kill(checker, signal.SIGKILL)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        assert lab.rules() == rules
        daemon = KeepingDaemon(lab, config)
        daemon.wait_until_whole()
        assert lab.rules() == rules

        # go back: stop, everything stays; keepalived takes what it finds
        assert daemon.stop() == 0
        assert lab.rules() == rules
        assert "203.0.113.100/32" in lab.addresses()
        successor = keepalived(lab, config)
        wait_until(
            "it has found the table", lambda: "Activating" in (directory / "keepalived.log").read_text(), within=10
        )
        time.sleep(2)
        clients.stop()
        assert len(clients.since(begun)) > 200
        assert not clients.failed_since(begun)
        lab.kill_web(22)
        wait_until("keepalived keeps the table again", lambda: lab.table.weights() == {FIRST: 1, SECOND: 0}, within=20)
        lab.stop(successor)
