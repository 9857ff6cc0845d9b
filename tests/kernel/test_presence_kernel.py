"""Addresses that come and go on a real interface are seen at once (what `ha_suspend` hangs on)."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
import trio

from supervisor.ipvs.vip import VirtualAddresses
from supervisor.model import IPAddress
from tests.kernel.lab import join

NAMESPACE = "presence"


@pytest.fixture
def namespace() -> Iterator[str]:
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "lo", "up"], check=True)
    yield NAMESPACE
    subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)


def change(verb: str, address: str) -> None:
    subprocess.run(["ip", "-n", NAMESPACE, "addr", verb, address, "dev", "lo"], check=True)


def test_an_address_is_seen_when_it_comes_and_when_it_goes(namespace: str) -> None:
    seen: list[frozenset[IPAddress]] = []
    wanted, other = ip_address("203.0.113.100"), ip_address("2001:db8::100")

    async def note(addresses: frozenset[IPAddress] | None) -> None:
        assert addresses is not None
        seen.append(addresses)

    async def until(count: int) -> None:
        with trio.fail_after(10):
            while len(seen) < count:  # noqa: ASYNC110  the watcher tells nobody but `note`
                await trio.sleep(0.02)

    async def main() -> None:
        join(namespace)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(VirtualAddresses(lambda *_: None).watch, note)
            await until(1)
            await trio.to_thread.run_sync(change, "add", "203.0.113.100/32")
            await until(2)
            await trio.to_thread.run_sync(change, "add", "2001:db8::100/128")
            await until(3)
            await trio.to_thread.run_sync(change, "del", "203.0.113.100/32")
            await until(4)
            nursery.cancel_scope.cancel()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    thread.join()
    assert [(wanted in now, other in now) for now in seen] == [
        (False, False),
        (True, False),
        (True, True),
        (False, True),
    ]
