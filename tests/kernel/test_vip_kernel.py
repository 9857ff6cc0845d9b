"""Addresses of virtual servers on a real interface, with a real neighbour at the other end of the cable.

    vip-a: eth0 203.0.113.1/24, 2001:db8::1/64  ─────  vip-b: eth0 203.0.113.2/24, 2001:db8::2/64

The code under test runs in a process of its own inside vip-a, because a namespace belongs to a thread and trio has many.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

VIP, VIP6, ELSEWHERE = "203.0.113.100", "2001:db8::100", "192.0.2.100"
MAC_A, MAC_B, MAC_OLD = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:99"

DRIVER = """
import json, os, sys, trio
from ipaddress import ip_address
from supervisor.ipvs.vip import VirtualAddresses

def report(address, state, detail):
    print(json.dumps([str(address), state, detail]), flush=True)

async def main():
    addresses = VirtualAddresses(report)
    for line in sys.stdin:
        step = json.loads(line)
        if step is None:
            await addresses.release()
        else:
            await addresses.assign({ip_address(text) for text in step[0]}, step[1])
        print("null", flush=True)

if len(sys.argv) > 1:
    import pyroute2  # while its files can still be read
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
trio.run(main)
"""


class Driver:
    """One `VirtualAddresses` in a process inside vip-a."""

    def __init__(self, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", "vip-a", sys.executable, "-c", DRIVER, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.communicate()

    def assign(self, *addresses: str, default: str = "eth0") -> dict[str, tuple[str, str]]:
        """Ask for these addresses; return state and detail of each that was reported."""
        return self._step([list(addresses), default])

    def release(self) -> dict[str, tuple[str, str]]:
        """Give all back."""
        return self._step(None)

    def _step(self, step: object) -> dict[str, tuple[str, str]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(step) + "\n")
        self.process.stdin.flush()
        said: dict[str, tuple[str, str]] = {}
        for line in self.process.stdout:
            what = json.loads(line)
            if what is None:
                return said
            address, state, detail = what
            assert address not in said
            said[address] = (state, detail)
        raise AssertionError("the process under test ended")


def ip(namespace: str, *words: str) -> str:
    return subprocess.run(["ip", "-n", namespace, *words], check=True, capture_output=True, text=True).stdout


def has(address: str, namespace: str = "vip-a") -> bool:
    return f" {address}/" in ip(namespace, "address", "show")


def until(what: str, wanted: str, *words: str) -> None:
    """Wait for `wanted` in what `ip` says in vip-b."""
    deadline = time.monotonic() + 3
    while wanted not in (found := ip("vip-b", *words)):
        assert time.monotonic() < deadline, f"{what}: expected {wanted}, got {found}"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    Path("/run/netns").mkdir(exist_ok=True)
    for name in ("vip-a", "vip-b"):
        subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        ip("vip-a", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", "vip-b")
        for name, mac, host in (("vip-a", MAC_A, 1), ("vip-b", MAC_B, 2)):
            ip(name, "link", "set", "eth0", "address", mac)
            ip(name, "link", "set", "eth0", "up")
            ip(name, "link", "set", "lo", "up")
            ip(name, "address", "add", f"203.0.113.{host}/24", "dev", "eth0")
            ip(name, "address", "add", f"2001:db8::{host}/64", "dev", "eth0", "nodad")
        yield
    finally:
        for name in ("vip-a", "vip-b"):
            subprocess.run(["ip", "netns", "del", name], check=False)


def test_an_address_is_assigned_alone_announced_and_released_at_the_end() -> None:
    ip("vip-b", "neighbour", "replace", VIP, "lladdr", MAC_OLD, "dev", "eth0", "nud", "stale")
    ip("vip-b", "neighbour", "replace", VIP6, "lladdr", MAC_OLD, "dev", "eth0", "nud", "stale")
    with Driver() as driver:
        began = time.monotonic()
        assert driver.assign(VIP, VIP6, default="lo") == {VIP: ("assigned", "eth0"), VIP6: ("assigned", "eth0")}
        assert time.monotonic() - began < 5  # most of it is the import of pyroute2 in this slow kernel
        shown = ip("vip-a", "address", "show", "dev", "eth0")
        assert f"inet {VIP}/32 scope global eth0" in shown
        assert f"inet6 {VIP6}/128 scope global nodad" in shown  # and not tentative
        until("the neighbour heard of it", MAC_A, "neighbour", "show", VIP)
        until("the neighbour heard of it", MAC_A, "neighbour", "show", VIP6)
        assert driver.release() == {VIP: ("released", "eth0"), VIP6: ("released", "eth0")}
        assert not has(VIP)
        assert not has(VIP6)
        assert driver.release() == {}


@pytest.mark.parametrize("address", [VIP, VIP6])
def test_an_address_that_another_machine_has_is_not_assigned_and_its_mac_is_named(address: str) -> None:
    ip("vip-b", "address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
    with Driver() as driver:
        assert driver.assign(address) == {address: ("conflict", f"{MAC_B} on eth0")}
        assert not has(address)
        assert driver.release() == {}


def test_asking_does_not_spoil_the_neighbours_cache() -> None:
    ip("vip-b", "address", "add", VIP, "dev", "eth0")
    ip("vip-b", "neighbour", "replace", "203.0.113.1", "lladdr", MAC_OLD, "dev", "eth0", "nud", "stale")
    with Driver() as driver:
        driver.assign(VIP)
    assert MAC_A not in ip("vip-b", "neighbour", "show", VIP)
    assert MAC_OLD in ip("vip-b", "neighbour", "show", "203.0.113.1")


def test_an_address_that_is_here_already_is_left_alone_at_start_and_at_the_end() -> None:
    ip("vip-a", "address", "add", f"{VIP}/24", "dev", "lo")
    with Driver() as driver:
        assert driver.assign(VIP) == {VIP: ("present", "lo")}
        assert driver.release() == {}
        assert has(VIP)


def test_what_a_crashed_run_left_is_ours_again_and_released_at_the_end() -> None:
    with Driver() as driver:
        driver.assign(VIP, VIP6)
        driver.process.send_signal(signal.SIGKILL)
    assert has(VIP)
    with Driver() as driver:
        assert driver.assign(VIP, VIP6) == {VIP: ("present", "eth0"), VIP6: ("present", "eth0")}
        assert driver.release() == {VIP: ("released", "eth0"), VIP6: ("released", "eth0")}
        assert not has(VIP)
        assert not has(VIP6)


def test_a_reload_assigns_what_is_new_and_releases_what_left() -> None:
    with Driver() as driver:
        assert driver.assign(VIP) == {VIP: ("assigned", "eth0")}
        said = driver.assign(VIP6, ELSEWHERE)
        assert said == {VIP: ("released", "eth0"), VIP6: ("assigned", "eth0"), ELSEWHERE: ("assigned", "eth0")}
        assert (has(VIP), has(VIP6), has(ELSEWHERE)) == (False, True, True)
        assert driver.assign(VIP6, ELSEWHERE) == {VIP6: ("assigned", "eth0"), ELSEWHERE: ("assigned", "eth0")}


def test_an_address_that_a_link_lost_comes_back() -> None:
    with Driver() as driver:
        driver.assign(VIP6)
        ip("vip-a", "address", "del", f"{VIP6}/128", "dev", "eth0")
        assert driver.assign(VIP6) == {VIP6: ("assigned", "eth0")}
        assert has(VIP6)


def test_no_interface_a_link_that_is_down_and_a_missing_capability_are_told_with_the_remedy() -> None:
    with Driver() as driver:
        state, detail = driver.assign(ELSEWHERE, default="bond7")[ELSEWHERE]
        assert state == "failed"
        assert "no interface bond7 · name one with default_interface" in detail
        ip("vip-a", "link", "set", "eth0", "down")
        state, detail = driver.assign(VIP)[VIP]
        assert (state, detail) == ("failed", "interface eth0 is down · `ip link set eth0 up`, then reload")
        ip("vip-a", "link", "set", "eth0", "up")
        assert driver.assign(VIP) == {VIP: ("assigned", "eth0")}
        driver.release()
    with Driver("unprivileged") as driver:
        state, detail = driver.assign(VIP)[VIP]
        assert state == "failed"
        assert "CAP_NET_ADMIN and CAP_NET_RAW" in detail
        assert not has(VIP)


def test_an_address_on_loopback_needs_no_neighbours() -> None:
    with Driver() as driver:
        assert driver.assign(ELSEWHERE, default="lo") == {ELSEWHERE: ("assigned", "lo")}
        assert driver.release() == {ELSEWHERE: ("released", "lo")}
