"""A long quiet time of the whole program on a network that loses packets: what was lost, what failed for it, and who was taken out.

    live(EXAMPLE.read_text(), hours=24, seed=1)

Nothing is ever wrong with a server but that packets to and from it are lost (tests.fakes.loss); at the end some fall silent, one at a time,
and have to be noticed all the same. Played for an hour it takes two seconds; bench.lossy_day plays whole days.
"""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import trio

from supervisor import config
from supervisor.core.table import Op, Table
from supervisor.model import Endpoint
from tests.fakes.behaviours import Behaviour, blackhole, healthy
from tests.fakes.loss import Wire
from tests.sim.world import World, play

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "fast.conf"
LOSS = 0.01

SETTLED_S = 15.0
"""After this every server is in service."""

GAP_S = 30.0, 40.0
"""Between two deaths: all checks are well again, and sometimes a sentinel stands again."""

LOOK_EVERY_S = 10.0
"""How often it is looked whether sentinels stand."""

MISSED_S = 30.0
"""Who is not out by then is not noticed."""

FLAPS = frozenset(
    {
        "real_server.state_changed",
        "real_server.weight_changed",
        "real_server.held",
        "check.changed",
        "virtual_server.quorum_lost",
        "virtual_server.suspended",
        "director.self_blame",
    }
)
"""Events that tell of a change for the worse, or the better after it, of a server that nothing was wrong with."""


@dataclass(frozen=True, slots=True)
class Lived:
    """What there was in so many hours. `flaps` are events that tell of a change, `writes` changes of the kernel's table.

    `watched` is the part of the time in which the sentinels stood; `noticed_s` has, of each host that fell silent afterwards, how long it
    stayed in service.
    """

    seed: int
    hours: float
    servers: int
    packets: int
    lost: int
    probes: int
    failed: int
    flaps: int
    writes: int
    sentinels_ended: int
    watched: float
    noticed_s: tuple[float, ...]


def live(
    text: str, hours: float, seed: int, *, rate: float = LOSS, deaths: int = 0, behaviour: Behaviour | None = None
) -> Lived:
    """Play a configuration for so many hours, in which each server does this (None: it is healthy); then so many servers fall silent."""
    found: list[Lived] = []

    async def story(world: World) -> None:
        endpoints = [real.endpoint for service in world.config().virtual_servers for real in service.real_servers]
        for endpoint in endpoints:
            world.network.server(str(endpoint.address), endpoint.port).behaviour = behaviour or healthy()
        await world.later(SETTLED_S)
        assert len(world.weights()) == len(endpoints), "all of them are in service"
        world.network.wire = wire = Wire(rate, random.Random(seed))
        told, written, probes, failed = len(world.lines), len(world.backend.ops), *probed(world)
        watched = await quiet(world, 3600 * hours)
        now_probes, now_failed = probed(world)
        found.append(
            Lived(
                seed=seed,
                hours=hours,
                servers=len(endpoints),
                packets=wire.sent,
                lost=wire.lost,
                probes=now_probes - probes,
                failed=now_failed - failed,
                flaps=sum(line["event"] in FLAPS for line in world.lines[told:]),
                writes=len(world.backend.ops) - written,
                sentinels_ended=sum(server.holds_ended for server in world.network.servers.values()),
                watched=watched,
                noticed_s=tuple([await death(world, endpoints[number % len(endpoints)]) for number in range(deaths)]),
            )
        )

    with tempfile.TemporaryDirectory() as folder:
        play(story, text, Path(folder), seed=seed)
    return found[0]


async def quiet(world: World, duration_s: float) -> float:
    """Let so much time pass; return the part of it in which a sentinel stood, of all servers together."""
    looks, servers = round(duration_s / LOOK_EVERY_S), world.network.servers.values()
    stood = 0
    for _ in range(looks):
        await world.later(LOOK_EVERY_S)
        stood += sum(any(held.connected for held in server.held) for server in servers)
    return stood / (looks * len(servers))


def probed(world: World) -> tuple[int, int]:
    """Return how many probes there were, and how many of them failed."""
    checks = world.snapshot().process.checks
    good = sum(check.count for check in checks if check.reason.endswith("OK"))
    return sum(check.count for check in checks), sum(check.count for check in checks) - good


async def death(world: World, endpoint: Endpoint) -> float:
    """Let one server fall silent for a while at a moment of chance; return how long it stayed in service, at most MISSED_S."""
    server, key = world.network.server(str(endpoint.address), endpoint.port), world.service()
    await world.later(world.rng.uniform(*GAP_S))
    gone = trio.Event()

    def look(_op: Op, _before: Table, after: Table) -> None:
        if endpoint not in after.services[key].destinations:
            gone.set()

    world.backend.watch = look
    was, server.behaviour = server.behaviour, blackhole()
    since = world.now()
    with trio.move_on_after(MISSED_S):
        await gone.wait()
    server.behaviour = was
    return world.now() - since


def without(text: str, keyword: str, instead: str) -> str:
    """Return a configuration in which each line with this keyword is another one. It must be there."""
    lines = text.splitlines()
    changed = [instead if line.split()[:1] == [keyword] else line for line in lines]
    assert changed != lines, keyword
    return "\n".join(changed)


def example() -> str:
    """Return the example, which has to be a good one."""
    outcome = config.load(EXAMPLE)
    assert outcome.config is not None, outcome.problems
    assert not outcome.problems
    return EXAMPLE.read_text()
