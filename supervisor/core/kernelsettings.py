"""What the kernel is told beside the table: time-outs and sync daemons. Which changes lead from what is to what is wanted.

A setting that we touch is ours until we give it back: a time-out gets the value that it was found with, a sync daemon that we
started or took over is stopped. What nobody asked us for is never touched. Pure: values in, changes out.
Sources: keepalived.md, sections 2.1, 3.1 and 3.8; ipvs.md, section 4 (rows "timeouts" and "sync daemon").
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from typing import TypeAlias, assert_never

from checkers.kit.frozen import frozen
from supervisor.model import KernelSettings, SyncDaemon, SyncRole, Timeouts


@frozen
class KernelState:
    """The settings as the kernel has them: every time-out in seconds, and the sync daemons that run."""

    timeouts: Timeouts
    sync_daemons: tuple[SyncDaemon, ...] = ()


@frozen
class SetTimeouts:
    """Set those time-outs that are not 0."""

    timeouts: Timeouts

    def __str__(self) -> str:
        names = {"tcp": "tcp", "tcp_fin": "tcpfin", "udp": "udp"}
        texts = [f"{names[name]} {value} s" for name, value in _by_name(self.timeouts).items() if value]
        return f"time-outs {', '.join(texts)}"


@frozen
class StartSync:
    """Start a sync daemon; there can be one of each role."""

    daemon: SyncDaemon

    def __str__(self) -> str:
        daemon = self.daemon
        return f"start of the {daemon.role} sync daemon on {daemon.interface}, id {daemon.sync_id}"


@frozen
class StopSync:
    """Stop the sync daemon of a role."""

    role: SyncRole

    def __str__(self) -> str:
        return f"stop of the {self.role} sync daemon"


Change: TypeAlias = SetTimeouts | StartSync | StopSync


@frozen
class Held:
    """What is ours to give back: the values that we found where we set time-outs (0: not ours), and our sync daemons."""

    timeouts: Timeouts = Timeouts()
    sync_daemons: tuple[SyncDaemon, ...] = ()


def changes(wanted: KernelSettings, held: Held, found: KernelState) -> list[Change]:
    """Return what leads from `found` to `wanted`, in the order in which to do it: stop, set, start.

    What is not wanted any more goes back to how it was before us.
    """
    stops: list[Change] = []
    starts: list[Change] = []
    for role in SyncRole:
        want, ours, there = (_of_role(role, state.sync_daemons) for state in (wanted, held, found))
        if want is not None and (there is None or not _same(want, there, known=ours == want)):
            starts.append(StartSync(want))
            if there is not None:
                stops.append(StopSync(role))
        elif want is None and ours is not None and there is not None and _same(ours, there, known=True):
            stops.append(StopSync(role))
    timeouts = _by_name(found.timeouts)
    goal = {name: value or _by_name(held.timeouts)[name] for name, value in _by_name(wanted.timeouts).items()}
    different = Timeouts(**{name: value for name, value in goal.items() if value not in {0, timeouts[name]}})
    return [*stops, *([SetTimeouts(different)] if different != Timeouts() else []), *starts]


def held_after(wanted: KernelSettings, held: Held, found: KernelState, failed: Collection[Change]) -> Held:
    """Return what is ours once the changes from `found` to `wanted` were tried and those of `failed` did not happen."""
    daemons: list[SyncDaemon] = []
    for role in SyncRole:
        want, ours = _of_role(role, wanted.sync_daemons), _of_role(role, held.sync_daemons)
        if StopSync(role) in failed:
            want = None
        elif want is None or StartSync(want) in failed:
            ours = want = None
        daemons.extend(daemon for daemon in (want or ours,) if daemon is not None)
    if any(isinstance(change, SetTimeouts) for change in failed):
        return Held(held.timeouts, tuple(daemons))
    before = {name: value or _by_name(found.timeouts)[name] for name, value in _by_name(held.timeouts).items()}
    ours_now = {name: before[name] for name, value in _by_name(wanted.timeouts).items() if value}
    return Held(Timeouts(**ours_now), tuple(daemons))


def happened(change: Change, state: KernelState) -> bool:
    """Tell whether the kernel's settings are as if `change` had been carried out: for a change whose answer was lost."""
    match change:
        case SetTimeouts(timeouts):
            there = _by_name(state.timeouts)
            return all(value in {0, there[name]} for name, value in _by_name(timeouts).items())
        case StartSync(daemon):
            running = _of_role(daemon.role, state.sync_daemons)
            return running is not None and _same(daemon, running, known=True)
        case StopSync(role):
            return _of_role(role, state.sync_daemons) is None
        case _:
            assert_never(change)


def _by_name(timeouts: Timeouts) -> dict[str, int]:
    return {field.name: getattr(timeouts, field.name) for field in fields(timeouts)}


def _of_role(role: SyncRole, daemons: Collection[SyncDaemon]) -> SyncDaemon | None:
    return next((daemon for daemon in daemons if daemon.role is role), None)


def _same(wanted: SyncDaemon, there: SyncDaemon, *, known: bool) -> bool:
    """Tell whether the daemon that runs is the wanted one.

    The kernel fits the length to the interface (and gives a backup at least 1024 bytes), so that of one that we started (`known`)
    says nothing.
    """
    if known or wanted.max_length == 0:
        there = replace(there, max_length=wanted.max_length)
    return there == wanted
