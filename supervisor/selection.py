"""Which real servers an operator means, or a sentence that helps to mean the right ones. Reads only."""

from __future__ import annotations

import math
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any, TypeAlias

from supervisor.admin.patterns import WILD, real_server_fits, virtual_server_fits
from supervisor.admin.protocol import RequestError, Status
from supervisor.core import views
from supervisor.core.director import Director
from supervisor.core.realserver import RealServerState
from supervisor.core.virtualserver import VirtualServerState

NAME_MAX = 256
"""Characters of a name that are looked at; the longest of ours has less than seventy."""

LISTED_MAX = 20
"""Names that the question for --yes lists; the rest is a number."""

SUGGESTED_MAX = 3
LIKE_ENOUGH = 0.6
"""A suggestion shares so much of its beginning and end with what was asked for."""


HOSTS_MAX = 16
"""Addresses of one machine that a request may name."""

Chosen: TypeAlias = list[tuple[VirtualServerState, RealServerState]]


def real_servers(director: Director, args: dict[str, Any]) -> Chosen:
    """Return the real servers that "real_server" names, or those of "hosts" (addresses), in every virtual server or in "virtual_server".

    "real_server" is an address, address:port, or a pattern with * and ? for either; "virtual_server" is named as status does, or
    a pattern. Raises RequestError: NOT_FOUND with the nearest names when there is none such, REFUSED for a sorry server.
    """
    name, inside = text(args, "real_server"), text(args, "virtual_server") or None
    if args.get("hosts") is not None:
        return _on_hosts(director, args["hosts"], inside)
    if not name:
        raise RequestError("name a real server: address or address:port")
    if WILD.search(name) or WILD.search(inside or ""):
        return _fitting(director, name, inside)
    if inside is not None and not any(views.is_called(key, inside) for key in director.virtual_servers):
        known = (str(key) if "/" in inside else str(key).partition("/")[0] for key in director.virtual_servers)
        raise RequestError(
            f"no virtual server {inside!r} in the configuration{_nearest(inside, known)}", Status.NOT_FOUND
        )
    found = views.matching(director, name, inside)
    if not found:
        raise _missing(director, name, inside)
    return found


def virtual_server(director: Director, args: dict[str, Any]) -> VirtualServerState | None:
    """Return the virtual server that "name" means, None where it means none and may be a real server's. Raises RequestError."""
    name = text(args, "name")
    if not name:
        raise RequestError("name a real server (address or address:port) or a virtual server, as status names it")
    if text(args, "virtual_server"):
        return None
    found = next((state for key, state in director.virtual_servers.items() if views.is_called(key, name)), None)
    if found is None and "/" in name:
        known = map(str, director.virtual_servers)
        raise RequestError(f"no virtual server {name!r} in the configuration{_nearest(name, known)}", Status.NOT_FOUND)
    return found


def whole(args: dict[str, Any], key: str, most: int) -> int | None:
    """Return a whole number from 1 to `most` among arguments, None when it is not there. Raises RequestError."""
    value = args.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise RequestError(f'"{key}" is a whole number of 1 to {most}')
    return value


def only_one_or_sure(args: dict[str, Any], chosen: Chosen) -> None:
    """Refuse a pattern that means more than one, unless "yes" was said. Raises RequestError with the list."""
    patterns = (text(args, "real_server"), text(args, "virtual_server"))
    if len(chosen) < 2 or yes(args, "yes") or not any(map(WILD.search, patterns)):
        return
    names = [f"  {server.spec.endpoint} in {virtual_server.spec.key}" for virtual_server, server in chosen[:LISTED_MAX]]
    if len(chosen) > LISTED_MAX:
        names.append(f"  and {len(chosen) - LISTED_MAX} more")
    listed = "\n".join(names)
    raise RequestError(
        f"that means {len(chosen)} real servers:\n{listed}\nnothing was changed. Say --yes if all of them are meant",
        Status.REFUSED,
    )


def _fitting(director: Director, name: str, inside: str | None) -> Chosen:
    """Return what fits a pattern: the whole name, or the address alone. Raises RequestError."""
    exact = None if WILD.search(name) else views.named(name)
    found = [
        (virtual_server, server)
        for key, virtual_server in director.virtual_servers.items()
        if inside is None or virtual_server_fits(inside, str(key))
        for where, server in virtual_server.real_servers.items()
        if (
            real_server_fits(name, str(where))
            if exact is None
            else where.address == exact[0] and exact[1] in {None, where.port}
        )
    ]
    if not found:
        place = f" in a virtual server {inside!r}" if inside else ""
        raise RequestError(f"no real server fits {name!r}{place}; `vipervisor status` lists them all", Status.NOT_FOUND)
    return found


def _on_hosts(director: Director, hosts: Any, inside: str | None) -> Chosen:
    """Return the real servers with one of these addresses. Raises RequestError."""
    if (
        not isinstance(hosts, list)
        or not 0 < len(hosts) <= HOSTS_MAX
        or not all(isinstance(host, str) for host in hosts)
    ):
        raise RequestError(f'"hosts" is a list of 1 to {HOSTS_MAX} addresses')
    try:
        addresses = {ip_address(host) for host in hosts}
    except ValueError as error:
        raise RequestError(f'"hosts" is a list of addresses: {error}') from None
    found = [
        (virtual_server, server)
        for key, virtual_server in director.virtual_servers.items()
        if inside is None or virtual_server_fits(inside, str(key))
        for where, server in virtual_server.real_servers.items()
        if where.address in addresses
    ]
    if not found:
        names = " or ".join(map(str, sorted(map(str, addresses))))
        raise RequestError(
            f"no real server has the address {names}; `vipervisor status` lists them all", Status.NOT_FOUND
        )
    return found


def text(args: dict[str, Any], key: str) -> str:
    """Return a text among arguments, "" when it is not there. Raises RequestError for what is no text, too long, or not printable."""
    value = args.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > NAME_MAX or not value.isprintable():
        raise RequestError(f'"{key}" is a printable text of at most {NAME_MAX} characters')
    return value


def texts(args: dict[str, Any], key: str, most: int) -> tuple[str, ...]:
    """Return a list of texts among arguments, none when it is not there. Raises RequestError for what is none, or longer than `most`."""
    value = args.get(key, [])
    if not isinstance(value, list) or len(value) > most:
        raise RequestError(f'"{key}" is a list of at most {most} texts')
    return tuple(text({key: one}, key) for one in value)


def yes(args: dict[str, Any], key: str) -> bool:
    """Return a truth among arguments, False when it is not there. Raises RequestError for what is none."""
    value = args.get(key, False)
    if not isinstance(value, bool):
        raise RequestError(f'"{key}" is true or false')
    return value


def seconds(args: dict[str, Any], key: str, most_s: float) -> float:
    """Return a time among arguments in seconds, infinity when it is not there. Raises RequestError."""
    value = args.get(key)
    if value is None:
        return math.inf
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= most_s:
        raise RequestError(
            f'"{key}" is a number of seconds, above 0 and up to {most_s:.0f} ({most_s / 86400:.0f} days)'
        )
    return float(value)


def _missing(director: Director, name: str, inside: str | None) -> RequestError:
    """Say what is wrong with a name that no real server has."""
    place = f" in {inside}" if inside else " in the configuration"
    wanted = views.named(name)
    for virtual_server in director.virtual_servers.values():
        sorry = virtual_server.spec.sorry_server
        if wanted and sorry and sorry.endpoint.address == wanted[0] and wanted[1] in {None, sorry.endpoint.port}:
            return RequestError(
                f"{sorry.endpoint} is the sorry server of {virtual_server.spec.key}: it serves only when the quorum is lost, and can be"
                " taken out in the file alone",
                Status.REFUSED,
            )
    pool = next((str(key) for key in director.virtual_servers if views.is_called(key, name)), None)
    if pool is not None:
        return RequestError(
            f"{pool} is a virtual server: `vipervisor status {pool}` shows it, `vipervisor history {pool}` how it came to that,"
            f" and '*' --in {pool} means all its real servers",
            Status.NOT_FOUND,
        )
    if inside is not None and views.matching(director, name):
        elsewhere = [str(virtual_server.spec.key) for virtual_server, _ in views.matching(director, name)]
        return RequestError(f"no real server {name!r}{place}; it is in {_some(elsewhere)}", Status.NOT_FOUND)
    endpoints = [
        server.spec.endpoint
        for key, virtual_server in director.virtual_servers.items()
        if inside is None or views.is_called(key, inside)
        for server in virtual_server.real_servers.values()
    ]
    with_port = wanted is None or wanted[1] is not None
    known = (str(endpoint if with_port else endpoint.address) for endpoint in endpoints)
    return RequestError(f"no real server {name!r}{place}{_nearest(name, known)}", Status.NOT_FOUND)


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return a clause with the names that are most like one that does not exist.

    How much two names share at their beginning and end finds a slip of one finger, and costs far less than a real distance would: ten
    thousand names are looked at while the decision loop waits.
    """
    scored = sorted(((-_likeness(name, other), other) for other in set(known)), key=lambda pair: pair)[:SUGGESTED_MAX]
    near = [other for score, other in scored if -score >= LIKE_ENOUGH]
    return f"; did you mean {' or '.join(near)}?" if near else "; `vipervisor status` lists them all"


def _likeness(one: str, other: str) -> float:
    """Return 0 (nothing shared) to 1 (equal)."""
    head = _shared(one, other)
    return (head + _shared(one[head:][::-1], other[head:][::-1])) / max(len(one), len(other), 1)


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (mine, yours) in pairs if mine != yours), min(len(one), len(other)))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SUGGESTED_MAX} more" if len(names) > SUGGESTED_MAX else ""
    return ", ".join(names[:SUGGESTED_MAX]) + more
