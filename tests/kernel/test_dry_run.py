"""`run --dry-run` beside a live keepalived: it says where the two disagree, and neither table nor addresses nor people notice it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.kernel.daemon import Daemon
from tests.kernel.lab import ARTICLE, Lab, wait_until
from tests.kernel.postbox import Postbox

FIRST, SECOND = "192.168.100.21:80", "192.168.100.22:80"


class DryRun(Daemon):
    """Vipervisor that only watches."""

    options = ("--dry-run",)


def test_a_dry_run_beside_keepalived_agrees_and_tells_of_a_hand_that_does_not(directory: Path) -> None:
    with Lab(directory) as lab:
        config = directory / "keepalived.conf"
        config.write_text(
            ARTICLE.read_text().replace("delay_loop 5", "delay_loop 1").replace("nb_get_retry 3", "retry 0")
        )
        mails = Postbox(lab.clients)
        lab.start_all_web()
        pids = ["-p", str(directory / "keepalived.pid"), "-c", str(directory / "checkers.pid")]
        command = ["keepalived", "--dont-fork", "--log-console", "--check", "-f", str(config), *pids]
        keepalived = lab.start(lab.director, command, "keepalived.log")
        wait_until("keepalived has its table", lambda: lab.table.weights() == {FIRST: 1, SECOND: 1}, within=30)
        rules = lab.rules()
        daemon = DryRun(lab, config)
        daemon.wait_until_whole()
        assert lab.rules() == rules
        addresses = subprocess.run(
            ["ip", "-n", lab.director, "-o", "addr", "show", "eth0"], check=True, capture_output=True, text=True
        ).stdout
        assert "203.0.113.100" not in addresses
        assert not daemon.events("dry_run.disagrees")

        service = ["ip", "netns", "exec", lab.director, "ipvsadm", "-e", "-t", "203.0.113.100:80", "-r", SECOND, "-m"]
        subprocess.run([*service, "-w", "7"], check=True)
        wait_until("it is noticed", lambda: daemon.events("dry_run.disagrees"), within=30)
        (found,) = daemon.events("dry_run.disagrees")
        assert (found["real_server"], found["want"], found["have"]) == (SECOND, "weight 1 by NAT", "weight 7 by NAT")
        assert lab.table.weights() == {FIRST: 1, SECOND: 7}
        subprocess.run([*service, "-w", "1"], check=True)
        wait_until("it is over", lambda: daemon.events("dry_run.agrees"), within=30)

        before = len(mails.mails)
        lab.kill_web(22)
        wait_until("keepalived has noticed", lambda: lab.table.weights() == {FIRST: 1, SECOND: 0}, within=40)
        wait_until("so have we", lambda: daemon.events("real_server.state_changed"), within=40)
        wait_until("keepalived has told", lambda: len(mails.mails) > before, within=30)
        assert daemon.stop() == 0
        assert {mail.message["X-Mailer"] for mail in mails.mails} == {"Keepalived"}
        assert lab.table.weights() == {FIRST: 1, SECOND: 0}
        lab.stop(keepalived)
        mails.close()


def test_a_dry_run_needs_the_kernels_table() -> None:
    """As an ordinary user there is none: a clear word and an exit status, before anything is started."""
    command = [sys.executable, "-m", "supervisor", "run", "--dry-run", "-f", str(ARTICLE), "--admin-socket"]
    ended = subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", *command, f"/tmp/dry-run-{os.getpid()}.sock"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "--dry-run compares with the kernel's table" in ended.stderr
