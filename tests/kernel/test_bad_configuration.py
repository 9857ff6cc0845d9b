"""A file with mistakes never reaches the kernel: neither at the start nor by a reload."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.daemon import Daemon
from tests.kernel.lab import ARTICLE, Lab, wait_until
from tests.kernel.wiretap import Wiretap

FOREIGN = ["-A -t 203.0.113.1:443 -s wlc", "-a -t 203.0.113.1:443 -r 192.168.100.20:443 -m -w 7"]
CONFIG_INVALID = 3

MISTAKES = """\
global_defs {
  smtp_connect_timeout soon
}
virtual_server 203.0.113.300 80 {
  protocol TCP
  real_server 192.168.100.21 80 { }
}
virtual_server 203.0.113.100 80 {
  delay_loop five
  lvs_sched round-robin
  lvs_method NATO
  protocol TPC
  real_server 192.168.100.21 99999 {
    weight heavy
    HTTP_GET {
      url { path / status_cod 200 }
      connect_timeout
    }
  }
}
"""
"""Line → what is wrong with it; the expression must stand in the report of that line."""
MISTAKEN_LINES = {
    2: "soon",
    4: "203.0.113.300",
    9: "five",
    10: "round-robin",
    11: "NATO",
    12: "TPC",
    13: "99999",
    14: "heavy",
}


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with Lab(directory) as lab:
        lab.start_all_web()
        for rule in FOREIGN:
            lab.output(lab.director, "ipvsadm", *rule.split())
        yield lab


@pytest.fixture
def config(directory: Path) -> Path:
    path = directory / "keepalived.conf"
    path.write_text(ARTICLE.read_text())
    return path


def test_check_names_every_mistake_with_its_place(config: Path) -> None:
    config.write_text(MISTAKES)
    argv = [sys.executable, "-m", "supervisor", "check", str(config)]
    checked = subprocess.run(argv, check=False, capture_output=True, text=True)
    report = checked.stdout + checked.stderr
    assert checked.returncode == CONFIG_INVALID
    for line, words in MISTAKEN_LINES.items():
        assert re.search(rf"{re.escape(str(config))}:{line}:\d+: .*{re.escape(words)}", report), (
            f"line {line}\n{report}"
        )


def test_run_refuses_a_file_with_mistakes_and_changes_nothing_in_the_kernel(lab: Lab, config: Path) -> None:
    config.write_text(MISTAKES)
    wiretap = Wiretap(lab.director)
    daemon = Daemon(lab, config, "refused")
    assert daemon.process.wait(timeout=15) == CONFIG_INVALID
    assert wiretap.changes() == []
    assert lab.rules() == FOREIGN
    wiretap.close()


def test_a_reload_with_mistakes_keeps_the_old_configuration_and_says_so(lab: Lab, config: Path) -> None:
    daemon = Daemon(lab, config, "reloaded")
    daemon.wait_until_whole()
    before = lab.rules()
    assert len(before) == len(FOREIGN) + 3
    wiretap = Wiretap(lab.director)

    config.write_text(MISTAKES)
    daemon.reload()
    wait_until("config.rejected in the log", lambda: daemon.events("config.rejected"), within=30)
    wait_until("the metric", lambda: "lvs_config_last_reload_successful 0.0" in daemon.metrics(), within=30)
    assert re.search(r'lvs_config_reloads_total\{result="rejected"\} 1\.0', daemon.metrics())
    assert lab.rules() == before
    assert wiretap.changes() == []

    config.write_text(ARTICLE.read_text().replace("weight 1", "weight 3", 1))
    daemon.reload()
    wait_until("the new weight", lambda: lab.table.weights().get("192.168.100.21:80") == 3, within=30)
    wait_until("the message on the wire", wiretap.changes, within=30)
    assert [change.command for change in wiretap.changes()] == ["SET_DEST"], "a reload makes the least difference"
    wait_until("the metric", lambda: "lvs_config_last_reload_successful 1.0" in daemon.metrics(), within=30)
    wiretap.close()

    assert daemon.stop() == 0
    assert lab.rules() == FOREIGN, "what the file does not name is never touched"
