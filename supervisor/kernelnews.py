"""Says in the log what the writer noticed about the kernel's table, and who else writes it.

One event of the log's catalogue each, with one English sentence. Nothing is decided here, and nothing here ever waits.
"""

from __future__ import annotations

import math
from typing import assert_never

from supervisor.core.drift import Adoption
from supervisor.core.table import (
    AddDestination,
    AddService,
    ChangeDestination,
    ChangeService,
    DeleteDestination,
    DeleteService,
    Op,
)
from supervisor.ipvs.notices import (
    Action,
    Adjusted,
    Adopted,
    Contested,
    Drift,
    NotAdjusted,
    Notice,
    Recovered,
    Refused,
    Settled,
    Trouble,
)
from supervisor.ipvs.sole import Squatter
from supervisor.log import Log
from supervisor.model import Endpoint
from supervisor.rivals import Rival
from supervisor.wording import lasting


def notice(noticed: Notice, log: Log) -> None:
    """Say what the writer noticed about the kernel's table."""
    match noticed:
        case Refused(op, word):
            whose = _real_server(op)
            of = f"{whose} of " if whose else ""
            log.emit(
                "kernel.write_failed",
                f"The kernel refused {type(op).__name__} for {of}{op.key}: {word}.",
                operation=type(op).__name__,
                errno=word,
                virtual_server=op.key,
                real_server=whose,
                reason=str(op),
            )
        case Drift():
            _drift(noticed, log)
        case Adopted(adoption):
            _adopted(adoption, log)
        case Contested(key, backoff_s):
            log.emit(
                "drift.contested",
                f"Another program keeps changing {key} in the kernel's table: it is left alone for {lasting(backoff_s)}, except that our"
                " own verdicts are written and an empty pool is filled. Find that program and stop it.",
                virtual_server=key,
                backoff_s=backoff_s,
            )
        case Settled(key):
            log.emit("drift.settled", f"Nobody else keeps changing {key} any more.", virtual_server=key)
        case Trouble(text):
            log.emit("kernel.write_failed", f"The kernel's table is out of reach: {text}", reason=text)
        case Recovered():
            log.emit("kernel.recovered", "The kernel's table can be reached again.")
        case Adjusted(change):
            log.emit("kernel.setting_changed", f"Set in the kernel: {change}.", setting=str(change))
        case NotAdjusted(change, word):
            text = f"The kernel refused this setting: {change}: {word}. The next reload tries it again."
            log.emit("kernel.setting_refused", text, setting=str(change), errno=word)
        case _:
            assert_never(noticed)


def _real_server(op: Op) -> Endpoint | None:
    """Return the destination that an operation is about, None for the service itself."""
    match op:
        case AddDestination() | ChangeDestination():
            return op.destination.endpoint
        case DeleteDestination():
            return op.endpoint
        case AddService() | ChangeService() | DeleteService():
            return None
        case _:
            assert_never(op)


def _drift(drift: Drift, log: Log) -> None:
    where = f" in {drift.key}" if drift.key else ""
    match drift.action:
        case Action.REPAIRED if drift.ended:
            text = f"{drift.entries} entries{where} were changed by somebody else and have stood long enough; putting them right."
        case Action.REPAIRED:
            text = f"The kernel's table was changed by somebody else{where}; putting {drift.entries} entries right."
        case Action.REPORTED:
            text = f"The kernel's table was changed by somebody else{where}; {drift.entries} entries stand (drift_policy report)."
        case _:
            assert_never(drift.action)
    log.emit(
        "kernel.drift_found",
        text,
        action=drift.action.value,
        virtual_server=drift.key,
        entries=drift.entries,
        missing=drift.missing,
        extra=drift.extra,
        weight=drift.weight,
        settings=drift.settings,
    )


def _adopted(adoption: Adoption, log: Log) -> None:
    endless = math.isinf(adoption.until)
    stands = (
        "stands until it is cleared"
        if endless
        else f"stands for {lasting(adoption.until - adoption.since)}, then ours is back"
    )
    if adoption.taken_back and not endless:
        stands = "ends the weight of 0 before it, and ours is back"
    log.emit(
        "drift.adopted",
        f"Somebody else gave {adoption.endpoint} of {adoption.key} weight {adoption.weight} instead of {adoption.instead_of} in the"
        f" kernel's table: that {stands}.",
        virtual_server=adoption.key,
        real_server=adoption.endpoint,
        weight_old=adoption.instead_of,
        weight_new=adoption.weight,
        grace_s=None if endless else adoption.until - adoption.since,
    )


def rival(found: Rival, log: Log) -> None:
    """Say that another program writes the table, or may."""
    where = (
        "in this network namespace"
        if found.sure
        else "maybe in this network namespace, which is not to be seen from here"
    )
    log.emit(
        "rival.found",
        f"{found.program} (process {found.pid}) runs {where}. Two programs that write one IPVS table undo each other's work:"
        f" {found.advice}.",
        program=found.program,
        rival_pid=found.pid,
        sure=found.sure,
        advice=found.advice,
    )


def squatter(found: Squatter, log: Log) -> None:
    """Say that somebody keeps us from marking the table as ours."""
    log.emit(
        "rival.squatter",
        f"Process {found.pid} of user {found.uid} holds the name by which a second vipervisor is noticed, and cannot be one."
        " Starting without it: nothing would stop a second one now. Find out what that process is.",
        rival_pid=found.pid,
        uid=found.uid,
    )
