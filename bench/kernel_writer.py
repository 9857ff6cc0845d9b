"""How many changes a second the kernel's table takes from us, beside `ipvsadm -R`, `ipvsadm` for each, and the netlink floor.

    python -m bench.kernel_writer [--quick] [--out FILE]

Boots a kernel with IPVS by itself (tests/kernel/on-ipvs). Every round has each way change the weights of the same destinations in turn;
the floor sends datagrams that were made beforehand and waits for their answers, which is what a program in C could not do without.
Then: reading tables of 10,000 destinations, and how long one changed verdict takes to the kernel while others change.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType
from typing import Any

import trio

from bench import guest
from bench.audit_cost import made
from supervisor.core.events import Event
from supervisor.core.table import AddDestination, AddService, ChangeDestination, Destination, Op, ServiceSettings, Table
from supervisor.ipvs.kernel import KernelBackend
from supervisor.ipvs.netlink import BATCH_MAX
from supervisor.ipvs.wire import encode
from supervisor.ipvs.writer import Writer
from supervisor.model import AddressKey, Endpoint, Protocol

DESTINATIONS = 1000
ALONE = 10
"""So many programs are started for as many changes; more would only take longer."""
VERDICTS, CROWD = 100, 100
READ_SHAPES = ((1, 10_000), (100, 100), (1000, 10))
SERVICE = "10.255.255.1:80"
KEY = AddressKey(Protocol.TCP, Endpoint(IPv4Address("10.255.255.1"), 80))
APPLY, FLOOR = "ours: apply", "netlink floor: the same datagrams, made beforehand"
RESTORE, EACH = "`ipvsadm -R`", "`ipvsadm -e` for each change"
RESTORE_TARGET, FLOOR_TARGET = 0.025, 2.0
"""40 times the changes a second: a fortieth of the time for each."""

TEXT = (
    f"Weights of {DESTINATIONS:,} destinations of one service, changed by turns: the same changes by `KernelBackend.apply`, which"
    f" encodes them and sends {BATCH_MAX} at a time, by `ipvsadm -R`, which reads them from its standard input, and by an `ipvsadm`"
    f" for each ({ALONE} of them). The floor sends our datagrams again, made beforehand, and receives the answers: it is what the"
    f" kernel takes. `writer_change_by_ipvsadm_restore` is the time for a change by that of ipvsadm, so {RESTORE_TARGET} is"
    f" {1 / RESTORE_TARGET:.0f} times the changes a second."
)
DISTORTION = "That favours who makes few system calls for many changes: elsewhere ipvsadm loses less to us, and we lose more to the floor."


def destination(number: int, weight: int) -> Destination:
    """Return one of the destinations."""
    return Destination(Endpoint(IPv4Address("10.1.0.0") + number + 1, 80), weight)


def chunks(ops: list[Op]) -> list[list[Op]]:
    """Cut into batches as the writer does."""
    return [ops[start : start + BATCH_MAX] for start in range(0, len(ops), BATCH_MAX)]


def edit(number: int, weight: int) -> list[str]:
    """Return the words of ipvsadm that give a destination its weight."""
    endpoint = destination(number, weight).endpoint
    return ["-e", "-t", SERVICE, "-r", str(endpoint), "-m", "-w", str(weight)]


def cost_us(work: Callable[[], object], count: int) -> float:
    """Return the time of `work` for each of `count` things, in microseconds."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) / count * 1e6


class Ways:
    """The ways to the table, each a function of the weight that all destinations shall have, and for how many."""

    def __init__(self, backend: KernelBackend) -> None:
        self._backend = backend
        self._netlink = backend._netlink  # noqa: SLF001  the floor is below the interface

    def all(self) -> dict[str, tuple[int, Callable[[int], Callable[[], object]]]]:
        """Return, by name: how many changes, and what prepares them and returns what makes them."""
        return {
            APPLY: (DESTINATIONS, self.apply),
            FLOOR: (DESTINATIONS, self.floor),
            "ours, one at a time": (DESTINATIONS, self.one_at_a_time),
            RESTORE: (DESTINATIONS, self.restore),
            EACH: (ALONE, self.each),
        }

    def _ops(self, weight: int) -> list[list[Op]]:
        return chunks([ChangeDestination(KEY, destination(number, weight)) for number in range(DESTINATIONS)])

    def apply(self, weight: int) -> Callable[[], object]:
        """What the writer calls, encoding and all."""
        ops = self._ops(weight)
        return lambda: self._checked(ops)

    def one_at_a_time(self, weight: int) -> Callable[[], object]:
        """The same without batches: what a change costs that comes alone."""
        ops = [[op] for chunk in self._ops(weight) for op in chunk]
        return lambda: self._checked(ops)

    def _checked(self, batches: list[list[Op]]) -> None:
        for batch in batches:
            assert not any(self._backend.apply(batch))

    def floor(self, weight: int) -> Callable[[], object]:
        """Send what `apply` would, and receive the answers."""
        sent: list[bytes] = []
        real_send = self._netlink._send  # noqa: SLF001

        def send_and_keep(data: bytes) -> None:
            sent.append(bytes(data))
            real_send(data)

        self._netlink._send = send_and_keep  # type: ignore[method-assign]  # noqa: SLF001
        try:
            for chunk in self._ops(weight):
                self._netlink.batch([encode(op) for op in chunk])
        finally:
            self._netlink._send = real_send  # type: ignore[method-assign]  # noqa: SLF001
        pipe = self._netlink._socket  # noqa: SLF001

        def work() -> None:
            for datagram in sent:
                pipe.send(datagram)
                pipe.recv(65536)

        return work

    def restore(self, weight: int) -> Callable[[], object]:
        """One ipvsadm that reads all changes from its standard input."""
        text = "".join(" ".join(edit(number, weight)) + "\n" for number in range(DESTINATIONS))
        return lambda: subprocess.run(["ipvsadm", "-R"], input=text, text=True, check=True)

    def each(self, weight: int) -> Callable[[], object]:
        """A program for each change, as scripts do it."""
        commands = [["ipvsadm", *edit(number, weight)] for number in range(ALONE)]
        return lambda: [subprocess.run(command, check=True) for command in commands]


def changes(backend: KernelBackend, rounds: int) -> dict[str, list[float]]:
    """Return what a changed weight costs each way, in microseconds, a figure a round."""
    fill: list[Op] = [
        AddService(KEY, ServiceSettings("rr")),
        *(AddDestination(KEY, destination(number, 1)) for number in range(DESTINATIONS)),
    ]
    for chunk in chunks(fill):
        assert not any(backend.apply(chunk))
    ways = list(Ways(backend).all().items())
    costs: dict[str, list[float]] = {name: [] for name, _ in ways}
    weight = 1
    for number in range(rounds):
        for name, (count, prepare) in ways if number % 2 == 0 else reversed(ways):
            weight = weight % 100 + 1
            work = prepare(weight)
            costs[name].append(cost_us(work, count))
            weights = [there.weight for there in backend.read().table.services[KEY].destinations.values()]
            assert weights.count(weight) >= count, f"{name} changed {weights.count(weight)} of {count}"
    subprocess.run(["ipvsadm", "-C"], check=True)
    return costs


def filled(services: int, destinations: int) -> Table:
    """Fill the kernel with a table of that shape by ipvsadm, and return it."""
    table = made(services, destinations)
    lines = []
    for key, service in table.services.items():
        assert isinstance(key, AddressKey)
        lines.append(f"-A -t {key.endpoint} -s rr")
        lines += [f"-a -t {key.endpoint} -r {endpoint} -m -w 1" for endpoint in service.destinations]
    subprocess.run(["ipvsadm", "-R"], input="\n".join(lines) + "\n", text=True, check=True)
    return table


def reads(backend: KernelBackend, rounds: int, shapes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return what reading whole tables of 10,000 destinations with all counters takes, ours and ipvsadm's, in milliseconds."""
    found = []
    for services, destinations in shapes:
        filled(services, destinations)
        listing = functools.partial(
            subprocess.run, ["ipvsadm", "-Ln", "--stats", "--exact"], check=True, stdout=subprocess.DEVNULL
        )
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(cost_us(backend.read, 1) / 1000)
            theirs.append(cost_us(listing, 1) / 1000)
        found.append({"services": services, "destinations": destinations, "ours_ms": ours, "ipvsadm_ms": theirs})
        subprocess.run(["ipvsadm", "-C"], check=True)
    return found


async def latencies(backend: KernelBackend, crowd: int, verdicts: int) -> list[float]:
    """Return how long it took from a wanted weight until the kernel was read back with it, in milliseconds, while `crowd` others change.

    The table has 1,000 destinations; what the daemon does before, from the verdict to the wanted table, is in bench.convergence.
    """

    async def nobody(event: Event) -> None:
        del event

    took: list[float] = []
    table = made(1, DESTINATIONS)
    [(key, service)] = table.services.items()
    writer = Writer(backend, nobody, owned=[key])
    async with trio.open_nursery() as nursery:
        await nursery.start(writer.run)
        writer.want(table)
        assert await writer.settle(10)
        there = dict(service.destinations)
        endpoints = list(there)
        for number in range(verdicts):
            changed = [endpoints[(number * (crowd + 1) + step) % DESTINATIONS] for step in range(crowd + 1)]
            for endpoint in changed:
                there[endpoint] = replace(there[endpoint], weight=1 - there[endpoint].weight)
            wanted = Table(MappingProxyType({key: replace(service, destinations=MappingProxyType(dict(there)))}))
            began = time.perf_counter()
            writer.want(wanted)
            assert await writer.settle(10)
            took.append((time.perf_counter() - began) * 1000)
        nursery.cancel_scope.cancel()
    await trio.run_process(["ipvsadm", "-C"])
    return took


def inside(file: Path, *, quick: bool) -> None:
    """Measure, in the guest."""
    subprocess.run(["ipvsadm", "-C"], check=True)
    backend = KernelBackend()
    results = {
        "changes_us": changes(backend, 3 if quick else 15),
        "reads": reads(backend, 2 if quick else 7, READ_SHAPES[1:2] if quick else READ_SHAPES),
        "latencies_ms": {
            str(crowd): trio.run(latencies, backend, crowd, VERDICTS // (4 if quick else 1)) for crowd in (0, CROWD)
        },
    }
    backend.close()
    guest.hand_over(file, results, guest.versions("ipvsadm"))


def ratios(costs_us: dict[str, list[float]]) -> list[guest.Ratio]:
    """Return the judged figures: medians of what the two cost in the same round."""

    def against(other: str) -> float:
        return statistics.median(ours / theirs for ours, theirs in zip(costs_us[APPLY], costs_us[other], strict=True))

    return [
        guest.Ratio("writer_change_by_ipvsadm_restore", round(against(RESTORE), 4), RESTORE_TARGET),
        guest.Ratio("writer_change_by_netlink_floor", round(against(FLOOR), 2), FLOOR_TARGET),
    ]


def section(results: dict[str, Any]) -> guest.Section:
    """Make the section of what the guest found."""
    costs: dict[str, list[float]] = results["changes_us"]
    return guest.Section(
        title="Writing the kernel's table",
        order=40,
        text=[TEXT],
        distortion=DISTORTION,
        tables=[
            guest.Table(
                "A changed weight",
                ["way", "µs a change", "changes/s"],
                [[name, guest.span(cost), round(1e6 / statistics.median(cost))] for name, cost in costs.items()],
            ),
            guest.Table(
                "Reading 10,000 destinations with all counters",
                ["services", "destinations of each", "ours, ms", "`ipvsadm -Ln --stats`, ms"],
                [
                    [
                        row["services"],
                        row["destinations"],
                        guest.span(row["ours_ms"], 1),
                        guest.span(row["ipvsadm_ms"], 1),
                    ]
                    for row in results["reads"]
                ],
            ),
            guest.Table(
                f"From a wanted weight until the kernel was read back with it ({DESTINATIONS:,} destinations)",
                ["others that change with it", "verdicts", "median, ms", "99th percentile, ms", "worst, ms"],
                [
                    [
                        int(crowd),
                        len(took),
                        f"{statistics.median(took):.2f}",
                        f"{guest.percentile(took, 0.99):.2f}",
                        f"{max(took):.2f}",
                    ]
                    for crowd, took in results["latencies_ms"].items()
                ],
            ),
        ],
        ratios=ratios(costs),
    )


def main(words: Sequence[str] | None = None) -> int:
    """Boot a guest and tell what it found; in it, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    parser.add_argument("--guest", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.guest:
        inside(options.guest, quick=options.quick)
        return 0
    found = guest.played("bench.kernel_writer", ["--quick"] if options.quick else [], limit_s=300)
    guest.tell(section(found.results), found, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
