"""An operator drains a real server of a real IPVS table while somebody is connected to it: who is there stays, nobody new comes."""

from __future__ import annotations

import http.client
import subprocess
import sys
from pathlib import Path

from tests.kernel.daemon import Daemon
from tests.kernel.lab import ARTICLE, VIRTUAL, Lab, inside, wait_until

FIRST, SECOND = "192.168.100.21:80", "192.168.100.22:80"


def say(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """Say something to the daemon as its operator."""
    command = [sys.executable, "-m", "supervisor", *words, "--admin-socket", str(daemon.admin_socket)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def connect(lab: Lab) -> http.client.HTTPConnection:
    """Open a connection to the virtual server and leave it open."""

    def opened() -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(VIRTUAL, 80, timeout=5)
        connection.connect()
        return connection

    return inside(lab.clients, opened)


def served_by(connection: http.client.HTTPConnection) -> str:
    """Ask over an open connection and return which real server answers."""
    connection.request("GET", "/")
    return connection.getresponse().read().decode().strip() + ":80"


def test_a_drained_server_keeps_who_is_connected_and_wait_knows_when_they_are_gone(directory: Path) -> None:
    with Lab(directory) as lab:
        config = directory / "keepalived.conf"
        config.write_text(ARTICLE.read_text().replace("delay_loop 5", "delay_loop 1"))
        lab.start_all_web()
        daemon = Daemon(lab, config)
        daemon.wait_until_whole(within=40)
        wait_until("both serve", lambda: lab.table.weights() == {FIRST: 1, SECOND: 1}, within=30)
        wait_until("the virtual address is there", lambda: VIRTUAL in lab.addresses(), within=40)

        connection = connect(lab)
        name = served_by(connection)
        other = SECOND if name == FIRST else FIRST
        impatient = say(daemon, "drain", name, "--reason", "CHG-17", "--wait=6")
        assert impatient.returncode == 75, impatient
        assert "1 active connection left" in impatient.stderr
        assert lab.table.weights() == {name: 0, other: 1}
        assert served_by(connection) == name, "who is connected stays"
        newcomers = [connect(lab) for _ in range(6)]
        assert {served_by(newcomer) for newcomer in newcomers} == {other}
        for newcomer in newcomers:
            newcomer.close()

        refused = say(daemon, "drain", other)
        assert refused.returncode == 7
        assert "would leave 203.0.113.100:80/tcp with live weight 0 of the quorum 1" in refused.stderr

        connection.close()
        patient = say(daemon, "drain", name, "--reason", "CHG-17", "--wait=60")
        assert patient.returncode == 0, patient
        assert say(daemon, "enable", name).returncode == 0
        assert lab.table.weights() == {FIRST: 1, SECOND: 1}
        assert say(daemon, "weight", name, "5", "--for", "3s").returncode == 0
        assert lab.table.weights() == {name: 5, other: 1}
        wait_until("the weight is over", lambda: lab.table.weights() == {FIRST: 1, SECOND: 1}, within=30)
