"""Small values for tests of the core: one virtual server, its real servers, and what a worker would say of them."""

from __future__ import annotations

from ipaddress import ip_address

from supervisor.core.director import Director
from supervisor.core.events import CheckReported, Health, Result
from supervisor.core.transitions import Transition
from supervisor.model import (
    AddressKey,
    CheckSpec,
    Config,
    Endpoint,
    Protocol,
    RealServer,
    Schedule,
    SorryServer,
    VirtualServer,
)

KEY = AddressKey(Protocol.TCP, Endpoint(ip_address("203.0.113.100"), 80))
SCHEDULE = Schedule(delay_loop=5.0, retry=3, delay_before_retry=3.0, connect_timeout=5.0, warmup=5.0)


def endpoint(last: int, port: int = 80) -> Endpoint:
    return Endpoint(ip_address(f"192.168.100.{last}"), port)


def check(target: Endpoint, kind: str = "HTTP_GET", *, alpha: bool = False, path: str = "/") -> CheckSpec:
    return CheckSpec(kind, target, SCHEDULE, alpha=alpha, options_json=f'{{"path":"{path}"}}')


def real_server(
    last: int,
    *,
    weight: int = 1,
    inhibit: bool = False,
    alpha: bool = False,
    checks: tuple[CheckSpec, ...] | None = None,
) -> RealServer:
    where = endpoint(last)
    return RealServer(
        where,
        weight,
        inhibit_on_failure=inhibit,
        checks=(check(where, alpha=alpha),) if checks is None else checks,
    )


def virtual_server(
    *servers: RealServer,
    sorry: int | None = 20,
    quorum: int = 1,
    hysteresis: int = 0,
    sorry_inhibit: bool = False,
    drain_timeout: float = 0.0,
) -> VirtualServer:
    """A virtual server; unlike a file's, what leaves it is gone at once unless a test asks for more."""
    return VirtualServer(
        KEY,
        scheduler="rr",
        quorum=quorum,
        hysteresis=hysteresis,
        sorry_server=None if sorry is None else SorryServer(endpoint(sorry), inhibit=sorry_inhibit),
        real_servers=servers,
        drain_timeout=drain_timeout,
    )


def config(*servers: VirtualServer) -> Config:
    return Config(virtual_servers=servers, source="test.conf", digest="0123456789ab")


def started(configured: Config) -> Director:
    director = Director(configured, now=0.0)
    director.start(now=0.0)
    return director


def weights(director: Director) -> dict[int, int]:
    """The desired weights by the last byte of the address."""
    service = director.desired().services[KEY]
    return {int(where.address) & 255: found.weight for where, found in service.destinations.items()}


def report(
    director: Director, last: int, *, up: bool, now: float = 1.0, number: int = 0, result: bool = True
) -> list[Transition]:
    """Say that check `number` of a real server is up or down."""
    for server in director.virtual_servers[KEY].real_servers.values():
        if server.spec.endpoint == endpoint(last):
            return director.handle(said(server.checks[number].job, up=up, result=result), now)
    raise AssertionError(f"no real server {last}")


def said(job: int, *, up: bool, result: bool = True) -> CheckReported:
    told = (
        Result(7, "L7OK", "HTTP 200", "GET /", "HTTP/1.1 200 OK", 0.002)
        if up
        else Result(8, "L4CON", "connection refused", "", "", 0.001)
    )
    health = Health.UP if up else Health.DOWN
    return CheckReported(job, health, edges=1, failures=0 if up else 4, result=told if result else None)
