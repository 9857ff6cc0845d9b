"""Carries out what operators want of real servers: drain, disable, enable, weight.

Permission and change are one step without a wait in between, so two orders can never both be granted where only one may. Then the
kernel is waited for, a little, and the answer says what came of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from checkers.kit.frozen import frozen
from supervisor import selection
from supervisor.admin.access import Caller
from supervisor.admin.desk import Verb, question
from supervisor.admin.protocol import RequestError, Status
from supervisor.core import permission, views
from supervisor.core.director import Director
from supervisor.core.events import DestinationId, Overridden
from supervisor.core.override import AdminState, Override
from supervisor.core.realserver import RealServerState
from supervisor.core.snapshot import as_json
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import Endpoint, ServiceKey

WEIGHT_MAX = 65535
"""The largest weight that may be written in the file, too (keepalived.conf(5))."""

FOR_MAX_S = 10 * 366 * 86400.0
"""The longest wish with an end: ten years. Longer is a slip of the finger, or one without an end."""

KERNEL_MAX_S = 2.0
"""How long an order waits for the kernel to have what it changed; it is a few milliseconds, unless the kernel refuses something."""

OTHERS_MAX = 5
"""Other real servers that an answer names for each virtual server; the rest is a number."""


@frozen
class _Was:
    """One real server before the order."""

    weight: int | None
    override: Override | None


class Orders:
    """The verbs. `apply` gives the director one event and the kernel what follows from it; `settled` waits for the kernel, in seconds."""

    def __init__(
        self,
        director: Callable[[], Director],
        apply: Callable[[Overridden], None],
        settled: Callable[[float], Awaitable[bool]],
    ) -> None:
        self._director = director
        self._apply = apply
        self._settled = settled

    def verbs(self) -> dict[str, Verb]:
        """Return every verb by its name."""
        return {
            "drain": Verb(self._verb(lambda _args: {"admin": AdminState.DRAINING})),
            "disable": Verb(self._verb(lambda _args: {"admin": AdminState.DISABLED})),
            "weight": Verb(self._verb(lambda args: {"weight": _weight(args)})),
            "enable": Verb(self._verb(lambda _args: None)),
            "servers": question(self._servers),
        }

    def _verb(
        self, wish_of: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> Callable[[dict[str, Any], Caller], Awaitable[Any]]:
        """Make a verb of what its arguments want; None: nothing any more."""

        async def act(args: dict[str, Any], caller: Caller) -> Any:
            now = trio.current_time()
            wanted, until, reason = wish_of(args), _until(args, now), selection.text(args, "reason")
            wish = None if wanted is None else Override(**wanted, reason=reason, by=caller.name, since=now, until=until)
            return await self._order(args, wish)

        return act

    async def _order(self, args: dict[str, Any], wish: Override | None) -> Any:
        director = self._director()
        chosen = selection.real_servers(director, args)
        selection.only_one_or_sure(args, chosen)
        if not selection.yes(args, "force"):
            _refuse_if_unfit(director, chosen, wish)
        before = [
            (_id_of(virtual_server, server), _Was(virtual_server.weight_of(server), server.override))
            for virtual_server, server in chosen
        ]
        self._apply(Overridden(tuple(name for name, _ in before), wish))
        in_kernel = await self._settled(KERNEL_MAX_S)
        now = trio.current_time()
        servers = [
            row
            for (key, endpoint), was in before
            if (row := _outcome(self._director(), key, endpoint, was, now)) is not None
        ]
        return {"in_kernel": in_kernel, "servers": servers}

    def _servers(self, args: dict[str, Any]) -> Any:
        """Return how the named real servers stand now."""
        director, now = self._director(), trio.current_time()
        return [
            {"virtual_server": str(state.spec.key), **as_json(views.real_server_view(director, state, server, now))}
            for state, server in selection.real_servers(director, args)
        ]


def _refuse_if_unfit(
    director: Director, chosen: list[tuple[VirtualServerState, RealServerState]], wish: Override | None
) -> None:
    """Refuse what would take a pool below its quorum, or put a server back into service by giving it a weight. Raises RequestError."""
    if wish is not None and wish.admin is AdminState.ENABLED:
        for virtual_server, server in chosen:
            stands = server.override
            if stands is not None and stands.admin is not AdminState.ENABLED:
                raise RequestError(
                    f"{server.spec.endpoint} in {virtual_server.spec.key} is {stands.text}, said {stands.by or 'an operator'}, and a weight"
                    " would put it back into service; enable it first, or say --force",
                    Status.REFUSED,
                )
    targets = [_id_of(virtual_server, server) for virtual_server, server in chosen]
    short = permission.shortfalls(director.virtual_servers, targets, wish)
    if short:
        more = f" (and {len(short) - OTHERS_MAX} more)" if len(short) > OTHERS_MAX else ""
        raise RequestError(
            f"would leave {', and '.join(map(str, short[:OTHERS_MAX]))}{more}; nothing was changed. Say --force to do it all the same",
            Status.REFUSED,
        )


def _id_of(virtual_server: VirtualServerState, server: RealServerState) -> DestinationId:
    return virtual_server.spec.key, server.spec.endpoint


def _outcome(director: Director, key: ServiceKey, endpoint: Endpoint, was: _Was, now: float) -> dict[str, Any] | None:
    """Return how a real server stands after an order; None when a reload took it away meanwhile."""
    server = director.real_server(key, endpoint)
    if server is None:
        return None
    virtual_server = director.virtual_servers[key]
    others = [
        {"real_server": str(where), "weight": other.effective_weight}
        for where, other in virtual_server.real_servers.items()
        if where != endpoint and other.effective_weight
    ]
    replaced = was.override
    return {
        "virtual_server": str(key),
        **as_json(views.real_server_view(director, virtual_server, server, now)),
        "changed": server.override != replaced,
        "replaced": f"{replaced.text}, said {replaced.by or 'an operator'}" if replaced else "",
        "weight_old": was.weight,
        "weight_up": virtual_server.weight_up,
        "quorum": virtual_server.spec.quorum,
        "hysteresis": virtual_server.spec.hysteresis,
        "quorate": virtual_server.quorate,
        "sorry_server": str(virtual_server.sorry_in_service or ""),
        "others": others[:OTHERS_MAX],
        "others_more": max(len(others) - OTHERS_MAX, 0),
    }


# -- arguments -----------------------------------------------------------------------------------------------------------


def _weight(args: dict[str, Any]) -> int:
    value = args.get("weight")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= WEIGHT_MAX:
        raise RequestError(f'"weight" is a whole number of 0 to {WEIGHT_MAX}')
    return value


def _until(args: dict[str, Any], now: float) -> float:
    """Return when the wish ends (trio's seconds); infinite without "for_s"."""
    return now + selection.seconds(args, "for_s", FOR_MAX_S)
