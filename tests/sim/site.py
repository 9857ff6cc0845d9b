"""A configuration as data: what a simulated operator has in mind, its text for the program, and random edits of it.

The oracles judge by this and never by what the program made of the text, so a mistake in reading it would be seen too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import NamedTuple

from supervisor.model import AddressKey, Endpoint, FwmarkKey, Protocol, ServiceKey

TCP, HTTP, MISC, FILE = "TCP_CHECK", "HTTP_GET", "MISC_CHECK", "FILE_CHECK"
SORRY_HOST = 250


def endpoint_of(host: int) -> Endpoint:
    """Where host number HOST serves."""
    return Endpoint(IPv4Address(f"10.0.{host // 256}.{host % 256}"), 80)


def script_of(host: int) -> str:
    return f"/site/check-{host}"


class CheckKey(NamedTuple):
    """Everything that makes a check what it is; equal keys are one job."""

    kind: str
    host: int  # whom it asks; of a script or a file, its number
    delay_loop: float = 0.0
    timeout: float = 0.0
    retry: int = 0
    pause: float = 0.0
    warmup: float = 0.0
    rise: int = 1
    alpha: bool = False
    dynamic: bool = False
    factor: int = 0
    fast: float = 0.0
    down: float = 0.0
    idle: float = 0.0

    @property
    def longest(self) -> float:
        """The longest pause of a check that is up, or down, and stays so."""
        out = self.down or max(self.delay_loop, self.pause if self.kind == HTTP else 0.0)
        return max(self.delay_loop, self.idle, out)

    @property
    def shortest(self) -> float:
        """The shortest of these."""
        return min(self.delay_loop, self.down or self.delay_loop)


DRAIN_MAX_S = 300.0
"""Longest drain_timeout of any site."""


@dataclass(frozen=True)
class CheckPlan:
    """One check. Times in seconds; FILE_CHECK has none. `fast`, `down` and `idle` are our own intervals; 0: not set."""

    kind: str
    timeout: float = 1.0
    retry: int = 1
    pause: float = 1.0
    warmup: float = 1.0
    rise: int = 1
    alpha: bool = False
    dynamic: bool = False
    factor: int = 0
    fast: float = 0.0
    down: float = 0.0
    idle: float = 0.0

    def text(self, host: int) -> str:
        timing = f"retry {self.retry}\ndelay_before_retry {self.pause:g}\nwarmup {self.warmup:g}\nrise {self.rise}\n"
        timing += "alpha\n" if self.alpha else ""
        ours = {"fast": self.fast, "down": self.down, "idle": self.idle}
        timing += "".join(f"{name}_interval {pause:g}\n" for name, pause in ours.items() if pause)
        match self.kind:
            case "TCP_CHECK":
                return f"TCP_CHECK {{\nconnect_timeout {self.timeout:g}\n{timing}}}\n"
            case "HTTP_GET":
                return (
                    f"HTTP_GET {{\nurl {{\npath /\nstatus_code 200\n}}\nconnect_timeout {self.timeout:g}\n{timing}}}\n"
                )
            case "MISC_CHECK":
                dynamic = "misc_dynamic\n" if self.dynamic else ""
                return (
                    f"MISC_CHECK {{\nmisc_path {script_of(host)}\nmisc_timeout {self.timeout:g}\n{dynamic}{timing}}}\n"
                )
            case _:
                return f"FILE_CHECK {{\ntrack_file file{host}\nweight {self.factor}\n}}\n"


@dataclass(frozen=True)
class ServerPlan:
    """One real server; its address is that of its host."""

    host: int
    weight: int = 1
    inhibit: bool = False
    checks: tuple[CheckPlan, ...] = ()

    @property
    def endpoint(self) -> Endpoint:
        return endpoint_of(self.host)

    def text(self) -> str:
        inhibit = "inhibit_on_failure\n" if self.inhibit else ""
        checks = "".join(check.text(self.host) for check in self.checks)
        where = self.endpoint
        return f"real_server {where.address} {where.port} {{\nweight {self.weight}\n{inhibit}{checks}}}\n"


@dataclass(frozen=True)
class PoolPlan:
    """One virtual server, or the two addresses of a group, or a firewall mark. `sorry` is "", "plain" or "inhibit"."""

    number: int
    form: str = "address"
    delay_loop: float = 5.0
    scheduler: str = "wrr"
    quorum: int = 1
    hysteresis: int = 0
    sorry: str = ""
    alpha: bool = False
    omega: bool = False
    drain: float = DRAIN_MAX_S
    servers: tuple[ServerPlan, ...] = ()
    min_healthy: str = ""

    @property
    def keys(self) -> tuple[ServiceKey, ...]:
        addresses = [IPv4Address(f"203.0.113.{self.number}"), IPv4Address(f"198.51.100.{self.number}")]
        match self.form:
            case "mark":
                return (FwmarkKey(4, self.number),)
            case "group":
                return tuple(AddressKey(Protocol.TCP, Endpoint(address, 80)) for address in addresses)
            case _:
                return (AddressKey(Protocol.TCP, Endpoint(addresses[0], 80)),)

    @property
    def sorry_endpoint(self) -> Endpoint:
        return Endpoint(IPv4Address(f"10.9.{self.number}.{SORRY_HOST}"), 80)

    def check_key(self, host: int, plan: CheckPlan) -> CheckKey:
        if plan.kind == FILE:
            return CheckKey(FILE, host, factor=plan.factor)
        times = (self.delay_loop, plan.timeout, plan.retry, plan.pause, plan.warmup, plan.rise)
        key = CheckKey(plan.kind, host, *times, alpha=plan.alpha or self.alpha, dynamic=plan.dynamic)
        return key._replace(fast=plan.fast, down=plan.down, idle=plan.idle)

    def text(self) -> str:
        head, name = "", f"203.0.113.{self.number} 80"
        if self.form == "mark":
            name = f"fwmark {self.number}"
        elif self.form == "group":
            lines = "".join(f"{key.endpoint.address} 80\n" for key in self.keys if isinstance(key, AddressKey))
            head, name = f"virtual_server_group group{self.number} {{\n{lines}}}\n", f"group group{self.number}"
        protocol = "" if self.form == "mark" else "protocol TCP\n"
        text = f"{head}virtual_server {name} {{\ndelay_loop {self.delay_loop:g}\nlb_algo {self.scheduler}\nlb_kind NAT\n{protocol}"
        text += f"quorum {self.quorum}\nhysteresis {self.hysteresis}\ndrain_timeout {self.drain:g}\n"
        text += f"min_healthy {self.min_healthy}\n" if self.min_healthy else ""
        text += "alpha\n" if self.alpha else ""
        text += "omega\n" if self.omega else ""
        if self.sorry:
            text += f"sorry_server {self.sorry_endpoint.address} 80\n"
        text += "sorry_server_inhibit\n" if self.sorry == "inhibit" else ""
        return text + "".join(server.text() for server in self.servers) + "}\n"


@dataclass(frozen=True)
class Site:
    """The whole file."""

    pools: tuple[PoolPlan, ...]
    folder: str = "/nowhere"  # of track files
    blames_itself: bool = False  # self_blame: removals are held when nearly nobody answers

    def text(self) -> str:
        files = sorted({s.host for p in self.pools for s in p.servers for c in s.checks if c.kind == FILE})
        head = "global_defs {\nrouter_id sim\ndrift_grace 0\nsentinel\n"
        head += f"self_blame {'yes' if self.blames_itself else 'no'}\n}}\n"
        head += "".join(f"track_file file{n} {{\nfile {self.file_of(n)}\nweight 1\n}}\n" for n in files)
        return head + "".join(pool.text() for pool in self.pools)

    def file_of(self, host: int) -> str:
        return f"{self.folder}/file{host}"

    def pool_of(self, key: ServiceKey) -> PoolPlan | None:
        return next((pool for pool in self.pools if key in pool.keys), None)

    def services(self) -> Iterator[tuple[ServiceKey, PoolPlan]]:
        for pool in self.pools:
            for key in pool.keys:
                yield key, pool

    def checks(self) -> Iterator[tuple[PoolPlan, ServerPlan, CheckKey]]:
        for pool in self.pools:
            for server in pool.servers:
                for plan in server.checks:
                    yield pool, server, pool.check_key(server.host, plan)

    @property
    def hosts(self) -> tuple[int, ...]:
        return tuple(sorted({server.host for pool in self.pools for server in pool.servers}))


@dataclass(frozen=True)
class Taste:
    """What the configurations of one seed may have in them; `unit` scales every time (seconds of the shortest delay_loop)."""

    unit: float = 5.0
    http: float = 0.3
    misc: float = 0.0
    file: float = 0.0
    alpha: float = 0.2
    inhibit: float = 0.4
    sorry: float = 0.5
    odd_forms: float = 0.2
    retries: int = 3
    rise: float = 0.2
    smart: float = 0.0  # how many checks have intervals of our own


def draw_check(rng: random.Random, taste: Taste, kind: str) -> CheckPlan:
    """One check of a kind."""
    if kind == FILE:
        return CheckPlan(FILE, factor=rng.choice([0, 1, 2, -3]))
    ours = draw_intervals(rng, taste)
    return CheckPlan(
        kind,
        timeout=float(rng.choice([1, 2, 3])),
        retry=rng.randint(0, taste.retries),
        pause=float(rng.choice([1, 2, round(taste.unit / 2) or 1])),
        warmup=float(rng.choice([0, 1, taste.unit])),
        rise=rng.choice([2, 3]) if rng.random() < taste.rise else 1,
        alpha=rng.random() < taste.alpha / 2,
        dynamic=kind == MISC and rng.random() < 0.7,
        fast=ours.get("fast", 0.0),
        down=ours.get("down", 0.0),
        idle=ours.get("idle", 0.0),
    )


def draw_intervals(rng: random.Random, taste: Taste) -> dict[str, float]:
    """Intervals of our own for some checks, without a step of `rng`: lives that have none are what they were before there were any."""
    twin = random.Random(0)
    twin.setstate(rng.getstate())
    own = random.Random(twin.getrandbits(64))
    wishes = {
        "fast": own.choice([0.2, 1.0, taste.unit / 4]),
        "down": own.choice([1.0, taste.unit / 2, 3 * taste.unit]),
        "idle": own.choice([3.0, 5.0]) * taste.unit,
    }
    return {name: pause for name, pause in wishes.items() if own.random() < taste.smart}


def kind_of(host: int, taste: Taste) -> str:
    """The kind of check of a host: always the same, so that what it does is good or bad for all who ask."""
    dice = random.Random(host * 7919 + 17).random()
    if dice < taste.misc:
        return MISC
    if dice < taste.misc + taste.file:
        return FILE
    return HTTP if dice < taste.misc + taste.file + taste.http else TCP


def draw_server(rng: random.Random, taste: Taste, host: int) -> ServerPlan:
    """One real server."""
    checks = [draw_check(rng, taste, kind_of(host, taste))]
    if rng.random() < 0.03:
        checks = []
    elif rng.random() < 0.1 and checks[0].kind in {TCP, HTTP}:
        checks.append(draw_check(rng, taste, TCP if checks[0].kind == HTTP else HTTP))
    weight = rng.choice([1, 1, 1, 2, 3, 5, 10])
    return ServerPlan(host, weight, rng.random() < taste.inhibit, tuple(checks))


def draw_pool(rng: random.Random, taste: Taste, number: int, hosts: list[int]) -> PoolPlan:
    """One virtual server over these hosts."""
    servers = tuple(draw_server(rng, taste, host) for host in hosts)
    total = sum(server.weight for server in servers)
    quorum = rng.choice([1, 1, 1, max(1, total // 2), max(1, total - 1)])
    odd = rng.random() < taste.odd_forms
    return PoolPlan(
        number,
        rng.choice(["mark", "group"]) if odd else "address",
        float(rng.choice([taste.unit, taste.unit, 2 * taste.unit])),
        rng.choice(["wrr", "wlc", "rr"]),
        quorum,
        rng.randrange(quorum) if quorum > 1 and rng.random() < 0.6 else 0,
        rng.choice(["plain", "inhibit"]) if rng.random() < taste.sorry else "",
        rng.random() < taste.alpha,
        rng.random() < 0.2,
        rng.choice([0.0, 20.0, 300.0]),
        servers,
    )


def draw_min_healthy(rng: random.Random) -> str:
    """How much of a pool is to stay in service."""
    return rng.choice(["50%", "34%", "100%", "1", "2", "2", "3", "weight 3", ""])


def draw_site(rng: random.Random, taste: Taste, pools: int, servers: int, folder: str) -> Site:
    """A whole configuration of POOLS virtual servers with SERVERS real servers in all; some hosts serve in two pools."""
    hosts = list(range(1, servers + 1))
    rng.shuffle(hosts)
    cut = sorted(rng.sample(range(1, servers), min(pools, servers) - 1)) if servers > 1 else []
    made: list[PoolPlan] = []
    for number, (start, end) in enumerate(zip([0, *cut], [*cut, servers], strict=True), start=1):
        mine = hosts[start:end]
        if made and rng.random() < 0.4:
            mine = [*mine, hosts[0]]
        made.append(draw_pool(rng, taste, number, mine))
    return Site(tuple(made), folder, blames_itself=rng.random() < 0.3)


def _sound(pool: PoolPlan) -> PoolPlan:
    """The same with a quorum that can be reached: else the program corrects it, as keepalived does."""
    quorum = min(pool.quorum, sum(server.weight for server in pool.servers))
    return replace(pool, quorum=quorum, hysteresis=min(pool.hysteresis, quorum - 1))


def without_one(site: Site, rng: random.Random) -> Site:
    """The same site without one of its real servers, where a pool has several."""
    pools = list(site.pools)
    several = [index for index, pool in enumerate(pools) if len(pool.servers) > 1]
    if not several:
        return site
    index = rng.choice(several)
    servers = list(pools[index].servers)
    del servers[rng.randrange(len(servers))]
    pools[index] = _sound(replace(pools[index], servers=tuple(servers)))
    return replace(site, pools=tuple(pools))


def edited(site: Site, rng: random.Random, taste: Taste) -> Site:
    """The same site after an operator's edit: something small, or something large."""
    pools = list(site.pools)
    index = rng.randrange(len(pools))
    pool = pools[index]
    servers = list(pool.servers)
    where = rng.randrange(len(servers))
    match rng.randrange(12):
        case 0 | 1:
            servers[where] = replace(servers[where], weight=rng.choice([1, 2, 4, 7]))
        case 2:
            host = rng.choice([n for n in range(1, 40) if n not in {s.host for s in servers}])
            servers.insert(where, draw_server(rng, taste, host))
        case 3 if len(servers) > 1:
            del servers[where]
        case 4:
            servers[where] = replace(servers[where], inhibit=not servers[where].inhibit)
        case 5:
            servers[where] = draw_server(rng, taste, servers[where].host)
        case 6:
            pool = replace(pool, sorry=rng.choice([s for s in ("", "plain", "inhibit") if s != pool.sorry]))
        case 7:
            total = sum(server.weight for server in servers)
            quorum = rng.choice([1, max(1, total // 2)])
            pool = replace(pool, quorum=quorum, hysteresis=rng.randrange(quorum))
        case 8:
            pool = replace(pool, delay_loop=float(rng.choice([taste.unit, 2 * taste.unit])))
        case 9:
            pool = replace(pool, scheduler=rng.choice(["wrr", "wlc", "rr", "sed"]), alpha=not pool.alpha)
        case 10 if len(pools) > 1 and rng.random() < 0.5:
            del pools[index]
            return replace(site, pools=tuple(pools))
        case 10:
            number = max(p.number for p in pools) + 1
            hosts = rng.sample(range(1, 40), rng.randint(1, 3))
            return replace(site, pools=(*pools, draw_pool(rng, taste, number % 200, hosts)))
        case _:
            rng.shuffle(servers)
    pools[index] = _sound(replace(pool, servers=tuple(servers)))
    return replace(site, pools=tuple(pools))
