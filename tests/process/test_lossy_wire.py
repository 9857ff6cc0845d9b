"""The contract of packets that get lost: real sockets on a wire that loses one in five fare as tests.fakes.loss says."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.programs import ROOT, path_of, surroundings
from tests.fakes.loss import Wire
from tests.process.lossy_wire import CONNECTIONS

LOSS = 0.2
DRAWS = 20_000
NEAR = 0.12
"""Nearly five times what chance makes of four hundred."""


def measured() -> dict[str, Any]:
    ip = path_of("ip", "iproute2")
    command = ["unshare", "--net", sys.executable, "-m", "tests.process.lossy_wire", ip, str(LOSS)]
    environment = {**surroundings(ip), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def drawn(draw: Callable[[Wire], float]) -> list[float]:
    wire = Wire(LOSS, random.Random(1))
    return [draw(wire) for _ in range(DRAWS)]


def share(took_s: Sequence[float], within_s: float, of: int) -> float:
    return sum(each <= within_s for each in took_s) / of


def life(wire: Wire) -> float:
    """How long a sentinel lives."""
    lived_s, over = wire.heard_s(1.0, 3.0)
    return lived_s if over else lived_s + life(wire)


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="needs root and /dev/net/tun: makes a network"
)
def test_real_connections_answers_and_sentinels_suffer_as_much_from_lost_packets_as_those_of_the_fake() -> None:
    found = measured()
    model = drawn(Wire.connected_s)
    for within_s in (0.5, 1.5):  # how often a SYN is sent again later is a matter of the kernel's age
        real = share(found["connected"], within_s, CONNECTIONS)
        assert real == pytest.approx(share(model, within_s, DRAWS), abs=NEAR)
    asked = sum(each <= 0.5 for each in found["connected"])
    model = drawn(lambda wire: wire.delivered_s() + wire.delivered_s())
    for within_s in (0.1, 0.5, 1.1):
        assert share(found["answered"], within_s, asked) == pytest.approx(share(model, within_s, DRAWS), abs=NEAR)
    model = drawn(life)
    assert min(found["lived"]) > 2.9, "no sentinel ends for one lost sign of life"
    for within_s in (3.5, 6.5, 9.5):
        real = share(found["lived"], within_s, found["stood"])
        assert real == pytest.approx(share(model, within_s, DRAWS), abs=NEAR)
