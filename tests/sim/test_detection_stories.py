"""What `plan` and `why` say of noticing, held against the whole program: in no world does it take longer than they say."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from supervisor.core.detection import Detection, Span, of_server, waits
from supervisor.core.table import Counters, Load
from supervisor.model import RealServer
from tests.fakes.behaviours import Behaviour, blackhole, hang, healthy, refuse, slow, status
from tests.sim.world import World, play

HOSTS = (21, 22, 23, 24)
LOOK_S = 0.02
"""How often a story looks at the table, and so how much too late it may see a change."""
FAULTS_EACH = 8
"""Faults of one world: so many that each kind comes close to its bound somewhere."""

FAULTS: dict[str, Callable[[], Behaviour]] = {"refused": refuse, "silent": blackhole, "wrong": lambda: status(500)}


def timing(rng: random.Random) -> str:
    """The timings of a check: ordinary, aggressive and odd ones."""
    lines = {
        "delay_loop": rng.choice([0.5, 1, 3, 5]),
        "connect_timeout": rng.choice([0.3, 1, 2.5]),
        "retry": rng.choice([0, 1, 2, 4]),
        "delay_before_retry": rng.choice([0, 0.5, 2]),
        "warmup": rng.choice([0, 1, 5]),
        "rise": rng.choice([1, 1, 2, 3]),
    }
    ours = {
        "fast_interval": rng.choice([0.1, 0.5, 4]),
        "down_interval": rng.choice([0.2, 1, 8]),
        "idle_interval": rng.choice([6, 10]),
    }
    wished = {name: value for name, value in ours.items() if rng.random() < 0.5}
    words = {name: rng.choice(["yes", "no"]) for name in ("sentinel", "fast_retry") if rng.random() < 0.4}
    return "".join(f"{name} {value}\n" for name, value in (lines | wished | words).items())


def a_check(rng: random.Random) -> str:
    if rng.random() < 0.4:
        return f"TCP_CHECK {{\n{timing(rng)}}}\n"
    urls = "url {\npath /\nstatus_code 200\n}\n" * rng.choice([1, 1, 2, 3])
    in_turn = rng.choice(["", "urls_one_by_one\n"])
    return f"HTTP_GET {{\n{urls}{in_turn}{timing(rng)}}}\n"


def a_file(rng: random.Random) -> str:
    servers = "".join(
        f"real_server 192.168.100.{host} 80 {{\n{''.join(a_check(rng) for _ in range(rng.choice([1, 1, 2, 5])))}}}\n"
        for host in HOSTS
    )
    return (
        f"global_defs {{\nself_blame off\nprobe_rate_max {rng.choice([0, 3, 20])}\n}}\n"
        f"virtual_server 203.0.113.100 80 {{\nlb_algo rr\nlb_kind NAT\nprotocol TCP\n{servers}}}\n"
    )


@dataclass
class Notes:
    """What came of the faults: how long each took, and how long it might have taken."""

    rows: list[tuple[str, float, float]] = field(default_factory=list)

    def add(self, what: str, took_s: float, span: Span) -> None:
        assert took_s <= span.worst_s + LOOK_S, f"{what} took {took_s:.3f} s, and {span} was promised"
        self.rows.append((what, took_s, span.worst_s))


def _there(world: World) -> set[int]:
    """Who is in the table, without a look at the file."""
    (service,) = world.backend.table.services.values()
    return {int(endpoint.address) & 255 for endpoint in service.destinations}


async def until(world: World, host: int, limit_s: float, *, out: bool) -> float:
    """Wait until a host is in the table, or out of it; return how long it took, infinity when it did not happen in time."""
    since = trio.current_time()
    while (host in _there(world)) is out:
        if trio.current_time() > since + limit_s:
            return math.inf
        await trio.sleep(LOOK_S)
    return trio.current_time() - since


async def a_fault(world: World, rng: random.Random, servers: dict[int, RealServer], notes: Notes) -> None:
    """Something happens to one server, and is over again."""
    host = rng.choice(HOSTS)
    config = world.supervisor.config
    found = of_server(servers[host], waits(config.virtual_servers, config.probe_rate_max))
    assert isinstance(found, Detection)
    what, make = rng.choice(list(FAULTS.items()))
    server = world.network.server(f"192.168.100.{host}", 80)
    idle = rng.random() < 0.5
    world.backend.carried[servers[host].endpoint] = Load() if idle else Load(counters=Counters(rng.getrandbits(30)))
    await trio.sleep(rng.uniform(0, 20) + (150 if idle else 8))  # who has traffic again is looked at within 8 s
    shape = found.unused if idle and found.unused else found.busy
    span: Span | None = getattr(shape, what)
    server.behaviour = make()
    took_s = await until(world, host, (span.worst_s if span else 20.0) + 10, out=True)
    if span is None:
        assert took_s == math.inf, f"{what} is said never to be noticed"
    else:
        notes.add(what, took_s, span)
    await trio.sleep(rng.uniform(0, 20))
    server.behaviour = healthy()
    if span is not None:
        notes.add("back", await until(world, host, shape.back.worst_s + 10, out=False), shape.back)


def a_world(seed: int, folder: Path, notes: Notes) -> None:
    rng = random.Random(seed)

    async def story(world: World) -> None:
        for host in HOSTS:
            world.network.server(f"192.168.100.{host}", 80).places = rng.choice([1, 2, math.inf, math.inf])
        servers = {int(one.endpoint.address) & 255: one for one in world.config().virtual_servers[0].real_servers}
        await trio.sleep(60)
        for _ in range(FAULTS_EACH):
            await a_fault(world, rng, servers, notes)

    play(story, a_file(rng), folder, seed=seed, workers=rng.choice([1, 2]))


def test_in_no_random_world_does_noticing_take_longer_than_the_bound_which_is_no_idle_one(tmp_path: Path) -> None:
    notes = Notes()
    for seed in range(12):
        a_world(seed, tmp_path, notes)
    for what in (*FAULTS, "back"):
        shares = [took_s / worst_s for name, took_s, worst_s in notes.rows if name == what]
        assert len(shares) >= 5
        assert max(shares) > 0.5, f"{what}: the bound is far from anything that happens"


@pytest.mark.parametrize("retry", [0, 1])
@pytest.mark.parametrize("behaviour", [hang(), slow(9.0)])
def test_a_server_that_accepts_and_says_nothing_is_noticed_like_a_silent_one(
    tmp_path: Path, behaviour: Behaviour, retry: int
) -> None:
    check = (
        "HTTP_GET {\nurl {\npath /\n}\ndelay_loop 1\nconnect_timeout 1\n"
        f"retry {retry}\ndelay_before_retry 1\nwarmup 0\n}}\n"
    )
    text = (
        "virtual_server 203.0.113.100 80 {\nlb_algo rr\nlb_kind NAT\nprotocol TCP\n"
        f"real_server 192.168.100.21 80 {{\n{check}}}\nreal_server 192.168.100.22 80 {{\n}}\n}}\n"
    )
    notes = Notes()

    async def story(world: World) -> None:
        server = world.network.server("192.168.100.21", 80)
        found = of_server(world.config().virtual_servers[0].real_servers[0], {})
        assert found is not None
        assert found.busy.silent is not None
        await trio.sleep(10)
        server.behaviour = behaviour
        notes.add("silent", await until(world, 21, 60, out=True), found.busy.silent)

    play(story, text, tmp_path)
    assert len(notes.rows) == 1
