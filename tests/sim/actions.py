"""Everything that may happen to a simulated director, each by its name in a scenario. A new one is a function here and a rate in
`scenario.MIX`.

An action does its deed at once and returns whether there was anything to do; what lasts ends by itself after a while. Whoever tampers
with more than the weather says so (`stage.disturb`), because the bounds that the oracles know hold only where nothing else is wrong.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import trio

from checkers.kit import wire
from checkers.kit.api import Health, Reason
from checkers.kit.shedding import PAUSE_MAX_S, QUIET_BEATS
from supervisor.admin.protocol import RequestError, Status
from supervisor.core.table import (
    AddDestination,
    AddService,
    ChangeDestination,
    DeleteDestination,
    DeleteService,
    Load,
    Op,
    ServiceSettings,
)
from supervisor.model import AddressKey, Endpoint, FwmarkKey, Protocol, ServiceKey
from supervisor.outside import Order
from tests.sim.expectation import Wish
from tests.sim.site import DRAIN_MAX_S, FILE, MISC, edited, endpoint_of, without_one
from tests.sim.weather import BAD, GOOD, NEVER, ODD, STATUSES

if TYPE_CHECKING:
    from tests.sim.stage import Stage

Act: TypeAlias = Callable[["Stage", random.Random], Awaitable[bool]]

ACTIONS: dict[str, Act] = {}

FIGHT_S, FIGHT_MAX = 75.0, 3
"""So often within so many seconds somebody else writes to one service; five times in 60 s would be a fight."""


def action(name: str) -> Callable[[Act], Act]:
    """Name an action."""

    def enter(act: Act) -> Act:
        ACTIONS[name] = act
        return act

    return enter


# -- weather ------------------------------------------------------------------------------------------------------------


def _host(stage: Stage, rng: random.Random) -> int:
    return rng.choice(stage.site.hosts)


@action("weather")
async def _weather(stage: Stage, rng: random.Random) -> bool:
    stage.weather.behave(_host(stage, rng), rng.choice([*BAD, *BAD, *ODD, *GOOD]))
    return True


@action("recover")
async def _recover(stage: Stage, rng: random.Random) -> bool:
    stage.weather.behave(_host(stage, rng), rng.choice(GOOD))
    return True


@action("odd server")
async def _odd_server(stage: Stage, rng: random.Random) -> bool:
    stage.weather.behave(_host(stage, rng), rng.choice(ODD))
    return True


@action("flap")
async def _flap(stage: Stage, rng: random.Random) -> bool:
    host, pause_s = _host(stage, rng), stage.pace.unit * rng.choice([0.1, 0.4, 1.0])
    for _ in range(rng.randint(2, 6)):
        stage.weather.behave(host, rng.choice(BAD))
        await trio.sleep(rng.expovariate(1 / pause_s))
        stage.weather.behave(host, "healthy")
        await trio.sleep(rng.expovariate(1 / pause_s))
    return True


@action("graceful reload")
async def _graceful_reload(stage: Stage, rng: random.Random) -> bool:
    """A host closes the connections that say nothing, and goes on."""
    stage.watched.host(_host(stage, rng)).close_idle()
    return True


@action("places lost")
async def _places_lost(stage: Stage, rng: random.Random) -> bool:
    """A host that has a sentinel serves one connection at a time for a while."""
    host = _host(stage, rng)
    if not stage.watched.is_watched(host):
        return False
    stage.watched.crowd(host, as_ever=False)
    await trio.sleep(stage.pace.unit * rng.uniform(1.0, 4.0))
    stage.watched.crowd(host, as_ever=True)
    return True


@action("outage")
async def _outage(stage: Stage, rng: random.Random) -> bool:
    pool, name = rng.choice(stage.site.pools), rng.choice(BAD)
    for server in pool.servers:
        stage.weather.behave(server.host, name)
    return True


@action("partition")
async def _partition(stage: Stage, rng: random.Random) -> bool:
    """Half of all hosts are behind a cable that somebody pulled, and are back after a while or not."""
    rest = rng.randrange(2)
    hosts = [host for host in stage.site.hosts if host % 2 == rest]
    for host in hosts:
        stage.weather.behave(host, "blackhole")
    if rng.random() < 0.6:
        await trio.sleep(stage.pace.unit * rng.choice([0.2, 1, 4]))
        for host in hosts:
            stage.weather.behave(host, "healthy")
    return True


@action("all recover")
async def _all_recover(stage: Stage, rng: random.Random) -> bool:
    del rng
    for host in stage.site.hosts:
        stage.weather.behave(host, "healthy")
    return True


@action("local trouble")
async def _local_trouble(stage: Stage, rng: random.Random) -> bool:
    """We have no descriptors left, for some or for all: nobody is to blame but us."""
    hosts = stage.site.hosts if rng.random() < 0.5 else (_host(stage, rng),)
    before = {host: stage.watched.names.get(host, "healthy") for host in hosts}
    for host in hosts:
        stage.weather.behave(host, "no descriptor")
    await trio.sleep(stage.pace.unit * rng.choice([0.3, 2, 5]))
    for host in hosts:
        stage.weather.behave(host, before[host])
    # the last pause that is booked while pauses are long may be as long as any
    stage.seldom_until = trio.current_time() + (3 * QUIET_BEATS + 2) * stage.pace.beat + PAUSE_MAX_S
    return True


@action("script")
async def _script(stage: Stage, rng: random.Random) -> bool:
    hosts = [key.host for _, _, key in stage.site.checks() if key.kind == MISC]
    if not hosts:
        return False
    stage.weather.end_with(rng.choice(hosts), rng.choice([*STATUSES, NEVER]))
    return True


@action("file")
async def _file(stage: Stage, rng: random.Random) -> bool:
    hosts = [key.host for _, _, key in stage.site.checks() if key.kind == FILE]
    if not hosts:
        return False
    host = rng.choice(hosts)
    stage.weather.say(host, stage.site.file_of(host), rng.choice([0, 0, 1, 2, 5, -2]))
    return True


# -- workers ------------------------------------------------------------------------------------------------------------


def _worker(stage: Stage, rng: random.Random) -> int | None:
    there = sorted(stage.taps)
    return rng.choice(there) if there else None


@action("worker killed")
async def _worker_killed(stage: Stage, rng: random.Random) -> bool:
    index = _worker(stage, rng)
    if index is None:
        return False
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        stage.ledger.silence(index)
        stage.disturb()
        stage.children[index].kill()
        await trio.sleep(rng.choice([0.0, 0.01, 0.4, 1.0]))
    return True


@action("worker stopped")
async def _worker_stopped(stage: Stage, rng: random.Random) -> bool:
    """As by SIGSTOP. Somebody may wake it before it is missed."""
    index = _worker(stage, rng)
    if index is None or not stage.ledger.desk(index).speaks:
        return False
    tap = stage.taps[index]
    tap.frozen = True
    stage.ledger.silence(index)
    stage.disturb()
    return True


@action("frames delayed")
async def _frames_delayed(stage: Stage, rng: random.Random) -> bool:
    index = _worker(stage, rng)
    if index is None:
        return False
    stage.taps[index].delay_s = rng.choice([0.01, 0.1, 0.3])
    stage.disturb()
    return True


@action("worker does not start")
async def _worker_does_not_start(stage: Stage, rng: random.Random) -> bool:
    index = _worker(stage, rng)
    if index is None:
        return False
    stage.refusals_to_start = rng.randint(1, 4)
    stage.ledger.silence(index)
    stage.disturb()
    stage.children[index].kill()
    return True


_NONSENSE = (
    "bytes that are no frame",
    "an epoch that is to come",
    "a configuration that never was",
    "a number out of turn",
    "a job of others",
    "a state with a job of nobody",
    "a second hello",
    "an epoch that is over",
)


@action("worker talks nonsense")
async def _worker_talks_nonsense(stage: Stage, rng: random.Random) -> bool:
    """Frames that no worker of ours would ever send, each of which must end it and change nothing."""
    index = _worker(stage, rng)
    if index is None or not stage.ledger.desk(index).speaks:
        return False
    choice = rng.randrange(8)
    tap = stage.taps[index]

    def lie(
        frame: wire.Report | wire.State | wire.Beat | wire.Ask | wire.Probed | wire.SentinelTold,
    ) -> tuple[bytes, bool]:
        desk = stage.ledger.desk(index)
        generation = desk.generation  # of which a busy worker may not have heard yet
        epoch, seq = frame.epoch, frame.seq
        tap.nonsense = _NONSENSE[choice]
        job = rng.choice(sorted(desk.jobs)) if desk.jobs else 1
        stage.ledger.silence(index)
        stage.disturb()
        match choice:
            case 0:
                return bytes(rng.randrange(256) for _ in range(rng.randint(1, 60))), False
            case 1:
                return wire.encode(_down(epoch + 1, generation, seq, job)), False
            case 2:
                return wire.encode(_down(epoch, generation + 1, seq, job)), False
            case 3:
                return wire.encode(_down(epoch, generation, seq + 1, job)), False
            case 4:
                desks = stage.ledger.desks.items()
                others = [n for i, other in desks if i != index for n in other.jobs if n not in desk.jobs]
                stranger = rng.choice(others) if others else 4_000_000
                return wire.encode(_down(epoch, generation, seq, stranger)), False
            case 5:
                entries = tuple(wire.StateEntry(n, Health.DOWN, 1, 1) for n in (4_000_001, *sorted(desk.jobs)))
                return wire.encode(wire.State(epoch, generation, seq, entries, last=True)), False
            case 6:
                return wire.encode(wire.Hello(1, "again")), False
            case _:
                return wire.encode(_down(max(epoch - 1, 0), generation, seq, job)), False

    tap.lies.append(lie)
    return True


@action("worker speaks of the past")
async def _worker_speaks_of_the_past(stage: Stage, rng: random.Random) -> bool:
    """A verdict of an older configuration, which may come at any time after a reload and must never be used."""
    index = _worker(stage, rng)
    if index is None or stage.ledger.desk(index).generation < 2:
        return False

    def lie(
        frame: wire.Report | wire.State | wire.Beat | wire.Ask | wire.Probed | wire.SentinelTold,
    ) -> tuple[bytes, bool]:
        jobs = stage.ledger.desk(index).jobs
        numbers = sorted(jobs) or [1]
        job = rng.choice(numbers)
        level = stage.ledger.levels.get(jobs[job]) if jobs else None
        health = Health.UP if level and not level.up else Health.DOWN
        older = (
            rng.randint(1, stage.ledger.desk(index).generation - 1) if stage.ledger.desk(index).generation > 1 else 0
        )
        if rng.random() < 0.3:
            entries = tuple(wire.StateEntry(number, health, 1, 1) for number in numbers)
            return wire.encode(wire.State(frame.epoch, older, frame.seq, entries, last=True)), True
        return wire.encode(_said(frame.epoch, older, frame.seq, job, health)), True

    stage.taps[index].lies.append(lie)
    return True


def _down(epoch: int, generation: int, seq: int, job: int) -> wire.Report:
    return _said(epoch, generation, seq, job, Health.DOWN)


def _said(epoch: int, generation: int, seq: int, job: int, health: Health) -> wire.Report:
    return wire.Report(epoch, generation, seq, job, health, 1, 1, wire.ReportResult(1, Reason.L4CON, 0.1), None)


@action("runner killed")
async def _runner_killed(stage: Stage, rng: random.Random) -> bool:
    del rng
    if not stage.runners:
        return False
    stage.disturb(trio.current_time() + 40)
    stage.runners[-1].kill()
    return True


# -- the kernel ---------------------------------------------------------------------------------------------------------


async def _for_a_while(stage: Stage, rng: random.Random) -> None:
    lasts_s = rng.choice([0.05, 1.0, 10.0, stage.pace.unit])
    stage.oracles.kernel_sick = True
    stage.oracles.table.excuse(lasts_s)
    stage.disturb(trio.current_time() + lasts_s)
    await trio.sleep(lasts_s)


@action("kernel refuses")
async def _kernel_refuses(stage: Stage, rng: random.Random) -> bool:
    kinds = rng.choice(
        [(AddDestination,), (ChangeDestination,), (DeleteDestination,), (AddService, AddDestination), (DeleteService,)]
    )
    share, word = rng.choice([0.5, 1.0]), rng.choice(["ENOMEM", "EINVAL", "ENOENT", "EBUSY"])

    def refuse(op: Op) -> str:
        return word if isinstance(op, kinds) and rng.random() < share else ""

    stage.backend.refuse = refuse
    if rng.random() < 0.5:
        await _weather(stage, rng)
    await _for_a_while(stage, rng)
    stage.backend.refuse = lambda _op: ""
    stage.oracles.kernel_sick = False
    return True


@action("answers lost")
async def _answers_lost(stage: Stage, rng: random.Random) -> bool:
    if rng.random() < 0.5:
        stage.backend.lose_applies = rng.randint(1, 3)
    else:
        stage.backend.lose_batches = rng.randint(1, 3)
    stage.oracles.table.excuse(stage.pace.unit * 10)
    stage.disturb()
    return True


@action("readings lost")
async def _readings_lost(stage: Stage, rng: random.Random) -> bool:
    stage.backend.lose_reads = rng.randint(1, 3)
    stage.oracles.table.excuse(stage.pace.unit * 10)
    stage.disturb()
    return True


@action("kernel gone")
async def _kernel_gone(stage: Stage, rng: random.Random) -> bool:
    stage.backend.unavailable = "no module"
    await _for_a_while(stage, rng)
    stage.backend.unavailable = ""
    stage.oracles.kernel_sick = False
    stage.disturb()
    return True


@action("half a reading")
async def _half_a_reading(stage: Stage, rng: random.Random) -> bool:
    """The next dump misses destinations that are there (reliability.md, section 0, fact 3)."""
    there = [
        (key, endpoint) for key, service in stage.backend.table.services.items() for endpoint in service.destinations
    ]
    if not there or not stage.alive:
        return False
    stage.backend.ghosts = rng.sample(there, rng.randint(1, len(there)))
    return True


def _ours(stage: Stage) -> list[ServiceKey]:
    return [key for key in stage.backend.table.services if stage.site.pool_of(key)]


def _meddle(stage: Stage, *ops: Op) -> bool:
    """Somebody else writes; not so often that the program takes it for a fight, which it would leave alone (core.drift)."""
    now, keys = trio.current_time(), {op.key for op in ops}
    recent = [at for key in keys for at in stage.meddled.get(key, ()) if at > now - FIGHT_S]
    if len(recent) >= len(keys) * FIGHT_MAX:
        return False
    for key in keys:
        stage.meddled.setdefault(key, []).append(now)
    stage.oracles.table.on_meddling(ops)
    stage.backend.meddle(*ops)
    stage.disturb(trio.current_time() + 2 * stage.pace.audit + 1)
    return True


@action("table flushed")
async def _table_flushed(stage: Stage, rng: random.Random) -> bool:
    """`ipvsadm -C`, or one service of it."""
    keys = list(stage.backend.table.services)
    if not keys:
        return False
    chosen = keys if rng.random() < 0.6 else [rng.choice(keys)]
    return _meddle(stage, *(DeleteService(key) for key in chosen))


@action("foreign weight")
async def _foreign_weight(stage: Stage, rng: random.Random) -> bool:
    keys = [key for key in _ours(stage) if stage.backend.table.services[key].destinations]
    if not keys:
        return False
    key = rng.choice(keys)
    destination = rng.choice(list(stage.backend.table.services[key].destinations.values()))
    return _meddle(stage, ChangeDestination(key, replace(destination, weight=rng.choice([0, 1, 99]))))


@action("foreign deletion")
async def _foreign_deletion(stage: Stage, rng: random.Random) -> bool:
    keys = [key for key in _ours(stage) if stage.backend.table.services[key].destinations]
    if not keys:
        return False
    key = rng.choice(keys)
    service = stage.backend.table.services[key]
    if rng.random() < 0.5:
        return _meddle(stage, DeleteDestination(key, rng.choice(list(service.destinations))))
    some = next(iter(service.destinations.values()))
    stranger = replace(some, endpoint=endpoint_of(200), weight=3)
    if stranger.endpoint in service.destinations:
        return False
    return _meddle(stage, AddDestination(key, stranger))


@action("foreign service")
async def _foreign_service(stage: Stage, rng: random.Random) -> bool:
    number = rng.randint(1, 3)
    key: ServiceKey = (
        FwmarkKey(4, 9000 + number)
        if number == 3
        else AddressKey(Protocol.TCP, Endpoint(endpoint_of(77).address, 9000 + number))
    )
    if key in stage.backend.table.services:
        return False
    there = AddService(key, ServiceSettings("rr"))
    stage.backend.meddle(there)
    example = next((d for s in stage.backend.table.services.values() for d in s.destinations.values()), None)
    if example is not None:
        stage.backend.meddle(AddDestination(key, replace(example, endpoint=endpoint_of(201), weight=5)))
    stage.oracles.table.strangers[key] = stage.backend.table.services[key]
    return True


# -- the operator -------------------------------------------------------------------------------------------------------


def order(stage: Stage, word: Order) -> bool:
    """Say a word to the running program; tell whether it could be said."""
    if not stage.alive:
        return False
    try:
        stage.orders.send_nowait(word)
    except trio.WouldBlock:
        return False
    return True


@action("operator")
async def _operator(stage: Stage, rng: random.Random) -> bool:
    """Somebody drains, disables or enables a real server, or gives it another weight, for a while or for good."""
    if not stage.alive:
        return False
    pool = rng.choice(stage.site.pools)
    server, key = rng.choice(pool.servers), rng.choice(pool.keys)
    verb = rng.choice(["drain", "disable", "weight", "enable", "enable"])
    lasts_s = rng.choice([stage.pace.unit * 0.3, stage.pace.unit * 5, math.inf])
    args: dict[str, Any] = {
        "virtual_server": str(key),
        "real_server": str(server.endpoint),
        "force": rng.random() < 0.7,
    }
    if verb != "enable" and lasts_s < math.inf:
        args["for_s"] = lasts_s
    if verb == "weight":
        args["weight"] = rng.choice([0, 1, 9])
    name, until = (key, server.endpoint), trio.current_time() + lasts_s
    wish = (
        None
        if verb == "enable"
        else (Wish({"drain": "draining", "disable": "disabled"}.get(verb, "enabled"), args.get("weight")), until)
    )
    before = stage.wishes.get(name)
    stage.disturb(trio.current_time() + 3)
    stage.wish(name, wish)
    try:
        await stage.operate(verb, **args)
    except RequestError as error:
        if error.status is not Status.REFUSED or args["force"]:
            stage.oracles.diary.say("an_order_is_carried_out", f"{verb} {args}: {error}")
        stage.wish(name, before)
    else:
        if wish is not None and lasts_s < math.inf:
            stage.disturb(until)
            stage.after(lasts_s - (trio.current_time() - until + lasts_s), stage.oracles.on_wish)
    return True


@action("clients")
async def _clients(stage: Stage, rng: random.Random) -> bool:
    """Some servers have connections, which end after a while."""
    for host in stage.site.hosts:
        if rng.random() < 0.5:
            stage.backend.carried[endpoint_of(host)] = Load(active=rng.choice([0, 3]), inactive=rng.choice([0, 2]))
    stage.after(stage.pace.unit * rng.choice([1, 5, 100]), stage.backend.carried.clear)
    return True


@action("reload")
async def _reload(stage: Stage, rng: random.Random) -> bool:
    del rng
    stage.disturb()
    return order(stage, Order.RELOAD)


@action("edit and reload")
async def _edit_and_reload(stage: Stage, rng: random.Random) -> bool:
    site = stage.written
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        site = edited(site, rng, stage.scenario.taste)
    stage.write_file(site)
    stage.disturb()
    return order(stage, Order.RELOAD)


@action("undo and reload")
async def _undo_and_reload(stage: Stage, rng: random.Random) -> bool:
    """Somebody thinks better of it: the file is again what it was before the last edit."""
    del rng
    stage.write_file(stage.before)
    stage.disturb()
    return order(stage, Order.RELOAD)


@action("broken file")
async def _broken_file(stage: Stage, rng: random.Random) -> bool:
    text = stage.written.text()
    broken = rng.choice(
        [text.replace("delay_loop", "delay_lop", 1), text[: len(text) // 2] + "\n}}}}}}}}", text + "real_server {\n"]
    )
    stage.write_file(stage.written, broken=broken)
    return order(stage, Order.RELOAD)


@action("empty file")
async def _empty_file(stage: Stage, rng: random.Random) -> bool:
    del rng
    stage.write_file(stage.written, broken="\n")
    return order(stage, Order.RELOAD)


@action("burst of reloads")
async def _burst_of_reloads(stage: Stage, rng: random.Random) -> bool:
    stage.disturb()
    for _ in range(rng.randint(2, 8)):
        stage.write_file(edited(stage.written, rng, stage.scenario.taste))
        order(stage, Order.RELOAD)
        await trio.sleep(rng.choice([0.0, 0.001, 0.1]))
    return True


@action("there and back")
async def _there_and_back(stage: Stage, rng: random.Random) -> bool:
    """Somebody edits, thinks better of it, and better of that, faster than the workers listen."""
    stage.disturb()
    first = stage.written
    second = edited(first, rng, stage.scenario.taste)
    third = rng.choice([first, edited(second, rng, stage.scenario.taste)])
    for tap in stage.taps.values():
        tap.slow_s = 0.3
    for site in (second, third, second):
        stage.write_file(site)
        order(stage, Order.RELOAD)
        await trio.sleep(0.05)
    for tap in stage.taps.values():
        tap.slow_s = 0.0
    stage.disturb()
    return True


@action("taken out with clients")
async def _taken_out_with_clients(stage: Stage, rng: random.Random) -> bool:
    """A real server leaves the file with clients connected who do not go; as a rule it is in it again soon."""
    before = stage.written
    fewer = without_one(before, rng)
    if fewer == before:
        return False
    for host in stage.site.hosts:
        stage.backend.carried[endpoint_of(host)] = Load(active=2)
    stage.disturb()
    for site in (fewer, before) if rng.random() < 0.6 else (fewer,):
        stage.write_file(site)
        order(stage, Order.RELOAD)
        await trio.sleep(rng.choice([0.5, 5.0]))
    await trio.sleep(DRAIN_MAX_S + 10)
    await stage.oracles.glance()
    stage.backend.carried.clear()
    return True


@action("reload to be confirmed")
async def _reload_to_be_confirmed(stage: Stage, rng: random.Random) -> bool:
    """`vipervisor reload --confirm-within`: the configuration before comes back by itself, unless somebody says a word in time."""
    if not stage.alive or not hasattr(stage.supervisor, "_reloads"):
        return False
    before = stage.written
    stage.write_file(edited(before, rng, stage.scenario.taste))
    limit_s = stage.pace.unit * rng.choice([0.1, 1, 3])
    stage.disturb(trio.current_time() + limit_s)
    stage.supervisor._reloads.ask(limit_s)
    await trio.sleep(limit_s * rng.choice([0.1, 0.9]))
    if rng.random() < 0.5:
        stage.supervisor._reloads.confirm()
    else:
        await trio.sleep(limit_s)
        stage.write_file(before)
    stage.disturb()
    return True


@action("crash")
async def _crash(stage: Stage, rng: random.Random) -> bool:
    await stage.die()
    await trio.sleep(rng.choice([0.0, 0.5, 20.0]))
    await stage.begin()
    return True


@action("crash and edit")
async def _crash_and_edit(stage: Stage, rng: random.Random) -> bool:
    await stage.die()
    await trio.sleep(rng.choice([0.0, 2.0]))
    stage.write_file(edited(stage.written, rng, stage.scenario.taste))
    await stage.begin()
    return True


@action("stop and keep")
async def _stop_and_keep(stage: Stage, rng: random.Random) -> bool:
    before = stage.backend.table
    await stage.finish(keep=True)
    if not stage.oracles.kernel_sick and stage.backend.table != before and not stage.backend.history:
        stage.oracles.diary.say("a_stop_that_keeps_keeps", "the table changed")
    await trio.sleep(rng.choice([0.0, 3.0]))
    await stage.begin()
    return True


@action("clean stop")
async def _clean_stop(stage: Stage, rng: random.Random) -> bool:
    await stage.finish(keep=False)
    stage.oracles.stopped()
    await trio.sleep(rng.choice([0.0, 3.0]))
    await stage.begin()
    return True
