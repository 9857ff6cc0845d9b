"""Every query of every board and alert, asked of a real Prometheus that scraped a real run with faults (the table in memory)."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from grafana.boards import BOARDS
from grafana.panels import JSON
from grafana.record import recorded
from grafana.story import Memory

BEAT_S = 1.0
INTERVAL_S = 8

ONLY_SOMEWHERE = {
    "lvs_real_server_certificate_expiry_timestamp_seconds": "of checks over TLS",
    "lvs_kernel_contested_seconds": "while another program keeps changing the table",
}
"""Series that this run has no reason to have; deploy/prometheus/tests.yml has alerts of them fire."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> JSON:
    if shutil.which("prometheus") is None:
        assert not os.environ.get("CI"), "prometheus is missing (Debian package prometheus); in CI that is an error"
        pytest.skip("prometheus is not installed (Debian package prometheus)")
    folder: Path = tmp_path_factory.mktemp("boards")
    return recorded(Memory(folder), BEAT_S, INTERVAL_S)


def test_every_panel_of_every_board_has_data(run: JSON) -> None:
    empty = [
        (board.uid, title, query["expr"])
        for board in BOARDS
        for title, queries in run["boards"][board.uid].items()
        for query in queries
        if not query["result"]
    ]
    assert empty == []
    assert sum(len(panels) for panels in run["boards"].values()) > 50


def test_every_rule_is_carried_out(run: JSON) -> None:
    assert [(rule["name"], rule.get("lastError")) for rule in run["rules"] if rule["health"] != "ok"] == []
    assert len(run["rules"]) > 30


def test_everything_that_a_rule_asks_for_is_there(run: JSON) -> None:
    asked = {name for rule in run["rules"] for name in re.findall(r"[\w:]*lvs_[\w:]+", rule["query"])}
    assert asked - set(run["names"]) == set(ONLY_SOMEWHERE)
    assert len(asked) > 30


def test_the_faults_of_the_run_show_in_the_numbers_of_the_boards(run: JSON) -> None:
    """At the moment when most is out: two virtual servers without quorum, one server held, one drained, a reload refused."""

    def number(uid: str, title: str) -> float:
        ((series,),) = (query["result"] for query in run["boards"][uid][title])
        return float(series["value"][1])

    assert number("vipervisor-overview", "Without quorum") == 2
    assert number("vipervisor-overview", "On the sorry server") == 2
    assert number("vipervisor-overview", "Held in service") >= 1
    assert number("vipervisor-overview", "Real servers down") >= 6
    assert number("vipervisor-overview", "Operators' orders") == 2
    assert number("vipervisor-itself", "Reload refused") == 1
    (down,) = run["boards"]["vipervisor-overview"]["Down now"]
    assert {series["metric"]["real_server"].partition(":")[0] for series in down["result"]} >= {
        "127.0.0.24",
        "127.0.0.25",
    }
    (taken_out,) = run["boards"]["vipervisor-overview"]["Taken out by an operator"]
    assert [series["metric"]["real_server"].partition(":")[0] for series in taken_out["result"]] == ["127.0.0.23"]


def test_the_alerts_of_these_faults_are_pending(run: JSON) -> None:
    told = {series["metric"]["alertname"] for series in run["alerts"]}
    assert told >= {
        "LVSVirtualServerDown",
        "LVSVirtualServerAtRisk",
        "LVSRealServerDown",
        "LVSPooledDown",
        "LVSConfigReloadFailed",
        "LVSDown",
    }
