"""The operator's verbs about configurations: plan what a file would do, have it taken over, confirm it or let it go back.

    plan     {"file": PATH}                                      what a reload would do now, and nothing else
    reload   {"wait_s": 10, "confirm_within_s": 120}             both may be left out
    confirm  {}                                                  keep what runs

Answers are JSON values: "changes" by name and "operations" of the kernel, each with the connections that it touches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol, assert_never

import trio

from supervisor.admin.access import Access, Caller
from supervisor.admin.desk import Verb
from supervisor.admin.protocol import RequestError, Status
from supervisor.config import Outcome, render
from supervisor.core import detection
from supervisor.core.changes import Changes, Foresight, foresee
from supervisor.core.detection import DetectionChange
from supervisor.core.director import Director
from supervisor.core.edits import Edit
from supervisor.core.events import DestinationId
from supervisor.core.table import (
    AddDestination,
    AddService,
    ChangeDestination,
    ChangeService,
    DeleteDestination,
    DeleteService,
    Load,
    Loads,
    Op,
    Table,
)
from supervisor.model import ServiceKey, VirtualServer
from supervisor.reloading import Refused, Reloads, Taken

LIMIT_S = 600.0
"""How long a reload may take with all its waiting; a file of 200,000 lines takes two seconds."""

WAIT_MAX_S = 300.0
CONFIRM_MAX_S = 86_400.0


class HasDirector(Protocol):
    """The program, as far as these verbs go."""

    @property
    def director(self) -> Director:
        """Who decides."""

    @property
    def owned(self) -> Collection[ServiceKey]:
        """The services that are ours in the kernel's table."""

    def what_stands(self, wanted: Table, virtual_servers: Iterable[VirtualServer]) -> Table:
        """Return a wanted table with what somebody else changed and stands."""

    async def settle(self, timeout_s: float) -> bool:
        """Wait until the kernel is as wanted; tell whether it came to that."""


class Rollout:
    """Carries the verbs out. `load` reads a file by its path; it may take a second. `access`: who may have us read one."""

    def __init__(
        self,
        program: HasDirector,
        reloads: Reloads,
        load: Callable[[Path | None], Awaitable[Outcome]],
        access: Access,
    ) -> None:
        self._program = program
        self._access = access
        self._reloads = reloads
        self._load = load

    def verbs(self) -> dict[str, Verb]:
        """Return them by name."""
        return {
            "plan": Verb(self.plan, changes=False, limit_s=LIMIT_S),
            "reload": Verb(self.reload, limit_s=LIMIT_S),
            "confirm": Verb(self.confirm),
        }

    async def plan(self, args: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Say what a reload with a file would do. Raises RequestError with every problem of the file.

        The problems show lines of the file, and we may be able to read what the caller may not: so to name another file than the one
        that runs takes the right to change something.
        """
        file = args.get("file")
        refusal = None if file is None else self._access.refusal(caller, changes=True)
        if refusal is not None:
            raise RequestError(f"a plan for a file of your choice: {refusal}", Status.REFUSED)
        if file is not None and not (isinstance(file, str) and Path(file).is_absolute()):
            raise RequestError('"file" is the absolute path of a configuration, or left out for the one that runs')
        outcome = await self._load(None if file is None else Path(file))
        if outcome.config is None:
            raise RequestError(render(outcome), Status.CONFIG_INVALID)
        director = self._program.director
        program = self._program
        ahead = foresee(director, outcome.config, program.owned, trio.current_time(), program.what_stands)
        return {"file": outcome.config.source, "digest": outcome.config.digest, **foresight(ahead)}

    async def reload(self, args: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Have the file read again, and say what came of it. Raises RequestError with every problem of the file."""
        wait_s = _seconds(args, "wait_s", WAIT_MAX_S)
        ticket = self._reloads.ask(_seconds(args, "confirm_within_s", CONFIRM_MAX_S))
        await ticket.done.wait()
        match ticket.answer:
            case Refused(text):
                raise RequestError(text, Status.CONFIG_INVALID)
            case Taken() as taken:
                pass
            case None:
                raise AssertionError("a ticket that is done has an answer")
            case _:
                assert_never(ticket.answer)
        settled = None if wait_s is None else await self._program.settle(wait_s)
        if settled is False:
            raise RequestError(
                f"taken over, and the kernel is not as wanted after {wait_s:g} s; `vipervisor status` shows where",
                Status.TIMEOUT,
            )
        return {
            "digest": taken.digest,
            "warnings": taken.warnings,
            "confirm_within_s": taken.confirm_within_s,
            "settled": settled,
            **foresight(taken.did),
        }

    async def confirm(self, _args: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Keep the configuration that runs. Raises RequestError when nobody asked."""
        await trio.lowlevel.checkpoint()
        if not self._reloads.confirm():
            raise RequestError(
                "nothing waits to be confirmed: no reload --confirm-within, or its time is over", Status.REFUSED
            )
        return {"digest": self._program.director.config.digest}


def _seconds(args: Mapping[str, Any], name: str, most: float) -> float | None:
    """Return a number of seconds among the arguments, None when there is none. Raises RequestError."""
    value = args.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise RequestError(f'"{name}" is a number of seconds, above 0 and at most {most:g}')
    return float(value)


def foresight(ahead: Foresight) -> dict[str, Any]:
    """Return what a configuration does as a JSON value."""
    return {
        "changes": _changes(ahead.changes),
        "operations": [_operation(op, ahead.before, ahead.loads) for op in ahead.operations],
        "edits": [_edit(edit) for edit in ahead.changes.edits],
        "edits_untold": ahead.changes.edits_untold,
        "detection": [_detection(change) for change in ahead.changes.detection],
    }


def _changes(changes: Changes) -> dict[str, list[Any]]:
    kinds = [field.name for field in fields(changes) if field.compare]
    return {kind: [_name(name) for name in getattr(changes, kind)] for kind in kinds}


def _edit(edit: Edit) -> dict[str, Any]:
    """Return what is another in one that stays."""
    servers = [str(endpoint) for endpoint in edit.real_servers]
    return {"virtual_server": str(edit.virtual_server), "real_servers": servers, "text": edit.text}


def _detection(change: DetectionChange) -> dict[str, Any]:
    """Return what is noticed otherwise than before, and how."""
    return {
        "virtual_server": str(change.virtual_server),
        "real_servers": [str(endpoint) for endpoint in change.real_servers],
        "before": detection.as_json(change.before),
        "after": detection.as_json(change.after),
    }


def _name(name: ServiceKey | DestinationId | str) -> Any:
    return [str(name[0]), str(name[1])] if isinstance(name, tuple) else str(name)


def _operation(op: Op, before: Table, loads: Loads) -> dict[str, Any]:
    """Return one operation; weights are None where there is no destination, connections those of the destination that is there."""
    told: dict[str, Any] = {"operation": type(op).__name__, "virtual_server": str(op.key)}
    match op:
        case AddService() | ChangeService() | DeleteService():
            return told
        case AddDestination(_, destination) | ChangeDestination(_, destination):
            endpoint = destination.endpoint
            weight: int | None = destination.weight
        case DeleteDestination(_, endpoint):
            weight = None
        case _:
            assert_never(op)
    service = before.services.get(op.key)
    found = service.destinations.get(endpoint) if service else None
    load = loads.get(op.key, {}).get(endpoint, Load())
    return told | {
        "real_server": str(endpoint),
        "weight_old": found.weight if found else None,
        "weight_new": weight,
        "active": load.active,
        "inactive": load.inactive,
    }
