"""The director's own uplink is pulled and plugged in again, in every way that a kernel has for it: not one healthy server is taken out
(issue 4), and what cannot be reached although the uplink is well is taken out as ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.daemon import Daemon
from tests.kernel.lab import CLIENT, VIRTUAL, Lab, ip, ip_batch, wait_until
from tests.kernel.watch import Watch

DETECTION_S = 2 + 2 * 2 + 1
"""From a death to the verdict, at most, with the timings below."""

CONFIGURATION = (
    f"""
virtual_server {VIRTUAL} 80 {{
  delay_loop 2
  lb_algo rr
  lb_kind NAT
  protocol TCP
  sorry_server 192.168.100.20 80
"""
    + "".join(
        f"""  real_server 192.168.100.{number} 80 {{
    TCP_CHECK {{
      connect_timeout 2
      retry 1
      delay_before_retry 1
    }}
  }}
"""
        for number in (21, 22)
    )
    + "}\n"
)

BOTH = {"192.168.100.21": 1, "192.168.100.22": 1}
PORTS = ("port20", "port21", "port22")


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with Lab(directory) as made:
        made.start_all_web()
        yield made


@pytest.fixture(scope="module")
def daemon(lab: Lab, directory: Path) -> Iterator[Daemon]:
    path = directory / "uplink.conf"
    path.write_text(CONFIGURATION)
    daemon = Daemon(lab, path, "uplink")
    daemon.wait_until_whole(30)
    yield daemon
    assert daemon.stop() == 0


@pytest.fixture
def watch(lab: Lab, daemon: Daemon) -> Iterator[Watch]:
    watch = Watch(lab.director)
    wait_until("all is well", lambda: watch.now(VIRTUAL) == BOTH and not suspected(daemon), within=40)
    yield watch
    watch.close()


def suspected(daemon: Daemon) -> bool:
    """Tell whether the director suspects itself now."""
    return len(daemon.events("director.self_blame")) > len(daemon.events("director.self_blame_over"))


def went_down(daemon: Daemon) -> int:
    """Return how often a real server was told to be DOWN."""
    return sum(event["to"] == "DOWN" for event in daemon.events("real_server.state_changed"))


DEFAULT = f"route add default via {CLIENT}"

PULLED = {  # what makes it so, how it is pulled, how it is plugged in again, what status says, and how many may fail because of it
    "interface": ((), ("link set eth1 down",), ("link set eth1 up",), "eth1 is down", 0),
    "carrier": (
        (),
        tuple(f"link set {port} down" for port in PORTS),
        tuple(f"link set {port} up" for port in PORTS),
        "eth1 has no carrier",
        2,
    ),
    "address": (
        (),
        ("addr del 192.168.100.1/24 dev eth1",),
        ("addr add 192.168.100.1/24 dev eth1",),
        "no route (ENETUNREACH)",
        0,
    ),
    "route": (
        (),
        ("route del 192.168.100.0/24 dev eth1",),
        ("route add 192.168.100.0/24 dev eth1 src 192.168.100.1",),
        "no route (ENETUNREACH)",
        0,
    ),
    "interface-beside-a-default-route": ((DEFAULT,), ("link set eth1 down",), ("link set eth1 up",), "eth1 is down", 2),
}


@pytest.mark.parametrize("how", PULLED, ids=list(PULLED))
def test_while_the_uplink_is_pulled_not_one_healthy_server_is_taken_out(
    lab: Lab, daemon: Daemon, watch: Watch, how: str
) -> None:
    first, pull, plug, why, fail = PULLED[how]
    ip_batch(lab.director, first)
    time.sleep(1.0)
    before, told = watch.last_change_s(), went_down(daemon)
    ip_batch(lab.director, pull)
    wait_until("the director suspects itself", lambda: suspected(daemon), within=DETECTION_S + 5)
    assert why in daemon.command("status")
    time.sleep(30 if how == "interface" else 5)
    ip_batch(lab.director, plug)
    wait_until("it does so no more", lambda: not suspected(daemon), within=30)
    time.sleep(3)
    ip_batch(lab.director, tuple(line.replace("add", "del", 1) for line in first))
    assert watch.last_change_s() == before, [moment.weights for moment in watch.moments(VIRTUAL)]
    assert watch.now(VIRTUAL) == BOTH
    assert "● UP" in daemon.command("status")
    assert went_down(daemon) <= told + fail, (
        "who does not answer is told of as ever; a probe that cannot leave says nothing"
    )


def test_a_real_server_whose_own_cable_is_pulled_is_taken_out_as_fast_as_ever(
    lab: Lab, daemon: Daemon, watch: Watch
) -> None:
    doubts = len(daemon.events("director.self_blame"))
    ip("-n", lab.real_server(21), "link", "set", "eth0", "down")
    took_s = wait_until(
        "21 is taken out", lambda: watch.now(VIRTUAL) == {"192.168.100.22": 1}, within=DETECTION_S + 5, every=0.02
    )
    print(f"taken out after {took_s:.1f} s")
    assert took_s <= DETECTION_S + 1
    assert len(daemon.events("director.self_blame")) == doubts
    ip_batch(lab.real_server(21), ("link set eth0 up", "route add default via 192.168.100.1"))
    wait_until("21 is back", lambda: watch.now(VIRTUAL) == BOTH, within=30)


def test_when_all_real_servers_are_switched_off_the_sorry_server_serves(lab: Lab, daemon: Daemon, watch: Watch) -> None:
    """The director's own port to the switch keeps its carrier, by the sorry server."""
    doubts = len(daemon.events("director.self_blame"))
    for number in (21, 22):
        ip("-n", lab.real_server(number), "link", "set", "eth0", "down")
    wait_until("the sorry server serves", lambda: watch.now(VIRTUAL) == {"192.168.100.20": 1}, within=DETECTION_S + 5)
    assert len(daemon.events("director.self_blame")) == doubts
    for number in (21, 22):
        ip_batch(lab.real_server(number), ("link set eth0 up", "route add default via 192.168.100.1"))
    wait_until("both are back", lambda: watch.now(VIRTUAL) == BOTH, within=30)
