"""A program in a worker's place that sends whatever it likes: `python -m tests.process.hostile --link-fd N --epoch E`.

Each incarnation is another attack (`ATTACKS`, by epoch), lasts ATTACK_S at most, and takes an orderly greeting first where the attack is
not the greeting itself. It is not confined: what a worker cannot do to the machine, tests/checkers/test_attacks.py shows.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import dataclasses
import os
import random
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from checkers.kit import wire

ATTACK_S = 1.0
MESSAGE_MAX_BYTES = 131_072


class Link:
    """The worker's end, and what it knows: its epoch, its jobs, its next frame's number."""

    def __init__(self, sock: socket.socket, epoch: int) -> None:
        self.sock = sock
        self.epoch = epoch
        self.generation = 0
        self.seq = 0
        self.jobs: list[wire.Job] = []
        self.random = random.Random(epoch)

    def hello(self) -> None:
        self.send(wire.Hello(os.getpid(), "caged=perfectly"))
        parts = 1
        while parts:
            frame = wire.decode_from_supervisor(self.sock.recv(MESSAGE_MAX_BYTES))
            if isinstance(frame, wire.Assign):
                self.generation = frame.generation
                self.jobs += frame.jobs
                parts = frame.parts - frame.part - 1

    def send(self, frame: wire.Frame) -> None:
        self.sock.send(wire.encode(frame))

    def head(self) -> tuple[int, int, int]:
        self.seq += 1
        return self.epoch, self.generation, self.seq

    def report(self, job: int, health: wire.Health, weight: int | None = None, expires_at: float = 0.0) -> wire.Report:
        result = wire.ReportResult(1, wire.Reason.L4CON, 0.001, "a lie", "", "", expires_at)
        return wire.Report(*self.head(), job, health, self.seq, 1, result, weight)

    def beat(self) -> wire.Beat:
        zeros = wire.Histogram((0,) * (len(wire.DURATION_BUCKETS_S) + 1), 0.0)
        return wire.Beat(*self.head(), 0.0, 0, 0, (), (), zeros)


def while_it_lasts() -> Iterator[int]:
    """Count for ATTACK_S."""
    end, count = time.monotonic() + ATTACK_S, 0
    while time.monotonic() < end:
        yield count
        count += 1


def garbage(link: Link) -> None:
    link.hello()
    for _ in while_it_lasts():
        link.sock.send(link.random.randbytes(link.random.randrange(1, 300)))


def no_greeting_but_garbage(link: Link) -> None:
    link.sock.send(b"\x02\x01" + link.random.randbytes(40))


def fuzzed_frames(link: Link) -> None:
    """Well-formed frames with a byte changed: nearly half of them still decode."""
    link.hello()
    for _ in while_it_lasts():
        data = bytearray(wire.encode(link.report(link.jobs[0].id, wire.Health.UP)))
        data[link.random.randrange(len(data))] = link.random.randrange(256)
        link.sock.send(data)


def jobs_of_others(link: Link) -> None:
    link.hello()
    mine = {job.id for job in link.jobs}
    for job in range(200):
        if job not in mine:
            link.send(link.report(job, wire.Health.DOWN))


def state_of_others(link: Link) -> None:
    link.hello()
    entries = tuple(wire.StateEntry(job, wire.Health.DOWN, 9, 9, None) for job in range(200))
    link.send(wire.State(*link.head(), entries, last=True))


def lies_of_its_own(link: Link) -> None:
    """All that the protocol lets a worker say of its own jobs, slowly."""
    link.hello()
    for count in while_it_lasts():
        job = link.random.choice(link.jobs)
        health = wire.Health.DOWN if count % 2 else wire.Health.UP
        link.send(link.report(job.id, health, link.random.choice([None, 0, 254, -254]), link.random.random() * 1e12))
        time.sleep(0.02)


def flood_of_reports(link: Link) -> None:
    link.hello()
    for count in while_it_lasts():
        job = link.jobs[count % len(link.jobs)]
        link.send(link.report(job.id, wire.Health.DOWN if count // len(link.jobs) % 2 else wire.Health.UP))


def flood_of_beats(link: Link) -> None:
    link.hello()
    for _ in while_it_lasts():
        link.send(link.beat())


def flood_of_states(link: Link) -> None:
    link.hello()
    entries = tuple(wire.StateEntry(job.id, wire.Health.UP, 0, 0, None) for job in link.jobs) * 20
    for _ in while_it_lasts():
        link.send(wire.State(*link.head(), entries, last=False))


def oversized(link: Link) -> None:
    link.hello()
    link.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    link.sock.send(b"\x02\x02" * 100_000)


def descriptors(link: Link) -> None:
    """Frames that are in order, each with as many descriptors beside it as a message can carry."""
    link.hello()
    with Path(os.devnull).open("rb") as null:
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()] * 250))]
        for _ in while_it_lasts():
            link.sock.sendmsg([wire.encode(link.beat())], beside)
            time.sleep(0.02)


def never_reads(link: Link) -> None:
    """Asks for a socket for each job, again and again, and takes none."""
    link.hello()
    numbers = iter(range(1, 1 << 30))
    for _ in range(10):
        for job in link.jobs:
            with contextlib.suppress(BrokenPipeError):
                link.send(wire.Ask(*link.head(), next(numbers), job.id, wire.Favour.STREAM))
        time.sleep(ATTACK_S / 10)


def floods_with_favours(link: Link) -> None:
    link.hello()
    for count in while_it_lasts():
        favour = (wire.Favour.STREAM, wire.Favour.ECHO, wire.Favour.FILE, wire.Favour.SCRIPT)[count % 4]
        link.send(wire.Ask(*link.head(), count, link.jobs[count % len(link.jobs)].id, favour))


def favours_for_others(link: Link) -> None:
    link.hello()
    mine = {job.id for job in link.jobs}
    stranger = next(job for job in range(200) if job not in mine)
    link.send(wire.Ask(*link.head(), 1, stranger, wire.Favour.SCRIPT))


def invented_counts(link: Link) -> None:
    link.hello()
    for _ in while_it_lasts():
        names = tuple((f"X{link.random.random()}", wire.Reason.L7OK, 1 << 60) for _ in range(wire.COUNTS_MAX))
        link.send(dataclasses.replace(link.beat(), counts=names))
        time.sleep(0.01)


def another_epoch(link: Link) -> None:
    link.hello()
    link.epoch += 1
    link.send(link.beat())


def another_generation(link: Link) -> None:
    link.hello()
    link.generation += 1
    link.send(link.report(link.jobs[0].id, wire.Health.DOWN))


def a_gap(link: Link) -> None:
    link.hello()
    link.seq += 7
    link.send(link.beat())


def two_greetings(link: Link) -> None:
    link.hello()
    link.send(wire.Hello(1, "again"))


def the_supervisors_own_frames(link: Link) -> None:
    link.hello()
    link.send(wire.Assign(link.epoch, link.generation, 0, 1, ()))


def leaves_the_link_and_stays(link: Link) -> None:
    link.hello()
    link.sock.shutdown(socket.SHUT_RDWR)
    time.sleep(ATTACK_S)


def says_nothing(link: Link) -> None:
    link.hello()
    time.sleep(10)


ATTACKS: tuple[Callable[[Link], None], ...] = (
    garbage,
    no_greeting_but_garbage,
    fuzzed_frames,
    jobs_of_others,
    state_of_others,
    lies_of_its_own,
    flood_of_reports,
    flood_of_beats,
    flood_of_states,
    oversized,
    descriptors,
    never_reads,
    floods_with_favours,
    favours_for_others,
    invented_counts,
    another_epoch,
    another_generation,
    a_gap,
    two_greetings,
    the_supervisors_own_frames,
    leaves_the_link_and_stays,
    says_nothing,
)


def main() -> int:
    """Carry out one attack."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--link-fd", type=int, required=True)
    parser.add_argument("--epoch", type=int, required=True)
    arguments = parser.parse_args()
    with socket.socket(fileno=arguments.link_fd) as sock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        ATTACKS[(arguments.epoch - 1) % len(ATTACKS)](Link(sock, arguments.epoch))
    return 0


if __name__ == "__main__":
    sys.exit(main())
