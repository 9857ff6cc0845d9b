"""What is said of things that no story brings about: addresses on real interfaces, warnings of a file, a squatter."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from supervisor import announce, config, kernelnews
from supervisor.ipvs.sole import Squatter
from supervisor.log import Log

VIP = IPv4Address("203.0.113.100")


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def log(lines: list[dict[str, Any]]) -> Log:
    return Log(lambda line, _level: lines.append(json.loads(line)), strict=True)


@pytest.mark.parametrize(
    ("state", "event", "level", "field"),
    [
        ("assigned", "address.assigned", "info", "interface"),
        ("present", "address.present", "info", "interface"),
        ("released", "address.released", "info", "interface"),
        ("conflict", "address.conflict", "error", "mac"),
        ("failed", "address.failed", "error", "reason"),
    ],
)
def test_what_became_of_an_address(
    log: Log, lines: list[dict[str, Any]], state: str, event: str, level: str, field: str
) -> None:
    announce.address(VIP, state, "eth0", log)
    (line,) = lines
    assert (line["event"], line["level"], line["address"], line[field]) == (event, level, str(VIP), "eth0")
    assert str(VIP) in line["message"]


def test_a_warning_of_the_file_names_its_place_and_what_was_probably_meant(
    log: Log, lines: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "a.conf"
    path.write_text(
        "virtual_server 203.0.113.1 80 {\n delay_loop 5 x\n lb_algo rr\n lb_kind NAT\n protocol TCP\n"
        " real_server 192.168.0.1 80 {\n TCP_CHECK {\n }\n }\n}\n"
    )
    announce.loaded(config.load(path, lenient=True), log)
    (warning, loaded) = lines
    assert (warning["event"], warning["level"]) == ("config.warning", "warning")
    assert (warning["path"], warning["line"]) == (str(path), 2)
    assert warning["text"].strip() == "delay_loop 5 x"
    assert (loaded["event"], loaded["warnings"], loaded["real_servers"]) == ("config.loaded", 1, 1)


def test_a_squatter_is_named(log: Log, lines: list[dict[str, Any]]) -> None:
    kernelnews.squatter(Squatter(4711, 1000), log)
    (line,) = lines
    assert (line["event"], line["rival_pid"], line["uid"]) == ("rival.squatter", 4711, 1000)
