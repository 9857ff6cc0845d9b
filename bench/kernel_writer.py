"""How many changes a second the kernel's table takes from `KernelBackend.apply`, beside the floor: the same messages encoded beforehand.

Run it in a kernel with IPVS whose table may be thrown away, as root, from the project's folder:

    tests/kernel/on-ipvs -- python -m bench.kernel_writer

Only the ratio means something: a system call costs tens of times more in a User-Mode Linux guest than elsewhere.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address

from supervisor.core.diff import diff
from supervisor.core.table import (
    AddDestination,
    AddService,
    ChangeDestination,
    DeleteService,
    Destination,
    Op,
    ServiceSettings,
    Table,
)
from supervisor.ipvs.kernel import KernelBackend
from supervisor.ipvs.netlink import BATCH_MAX
from supervisor.ipvs.wire import encode
from supervisor.model import AddressKey, Endpoint, Protocol

DESTINATIONS, ROUNDS = 1000, 7
KEY = AddressKey(Protocol.TCP, Endpoint(IPv4Address("10.255.255.1"), 80))


def destination(number: int, weight: int) -> Destination:
    """Return one of the destinations."""
    return Destination(Endpoint(IPv4Address("10.1.0.0") + number + 1, 80), weight)


def chunks(ops: list[Op]) -> list[list[Op]]:
    """Cut into batches as the writer does."""
    return [ops[start : start + BATCH_MAX] for start in range(0, len(ops), BATCH_MAX)]


def median_us(work: Callable[[], object], count: int) -> float:
    """Return the median time of `work` for each of `count` things, in microseconds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) / count * 1e6)
    return statistics.median(times)


def main() -> int:
    """Measure and print a table."""
    backend = KernelBackend()
    backend.apply([AddService(KEY, ServiceSettings("rr"))])
    adds: list[Op] = [AddDestination(KEY, destination(number, 1)) for number in range(DESTINATIONS)]
    began = time.perf_counter()
    for chunk in chunks(adds):
        assert not any(backend.apply(chunk))
    added_us = (time.perf_counter() - began) / DESTINATIONS * 1e6

    changes = chunks([ChangeDestination(KEY, destination(number, 2)) for number in range(DESTINATIONS)])
    encoded = [[encode(op) for op in chunk] for chunk in changes]
    socket = backend._netlink  # noqa: SLF001  # the floor is below the interface
    desired = backend.read().table
    rows = {
        "new destination, apply": added_us,
        "changed weight, apply": median_us(lambda: [backend.apply(chunk) for chunk in changes], DESTINATIONS),
        "changed weight, encoded beforehand": median_us(
            lambda: [socket.batch(chunk) for chunk in encoded], DESTINATIONS
        ),
        "changed weight, one at a time": median_us(
            lambda: [backend.apply([op]) for chunk in changes for op in chunk], DESTINATIONS
        ),
        "read, for each destination": median_us(backend.read, DESTINATIONS),
        "diff of unequal tables, for each destination": median_us(lambda: diff(desired, Table()), DESTINATIONS),
    }
    backend.apply([DeleteService(KEY)])
    backend.close()
    for name, cost_us in rows.items():
        print(f"{name:46} {cost_us:8.2f} us {1e6 / cost_us:10.0f} a second")
    return 0


if __name__ == "__main__":
    sys.exit(main())
