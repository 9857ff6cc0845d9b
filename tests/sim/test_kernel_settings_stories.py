"""Time-outs, sync daemons and flushes from start to stop, through reloads and a crash."""

from __future__ import annotations

from pathlib import Path

import trio

from supervisor.core.kernelsettings import KernelState, SetTimeouts, StartSync
from supervisor.core.table import AddDestination, AddService, DeleteService, ServiceSettings
from supervisor.model import SyncRole, Timeouts
from tests.fakes.backend import FaultyBackend
from tests.fakes.tables import destination, tcp
from tests.sim.world import World, play

ARTICLE = (Path(__file__).parents[2] / "deploy" / "examples" / "article.conf").read_text()
UNTOUCHED = KernelState(Timeouts(900, 120, 300))
STRANGER = tcp("10.7.7.7")
STRANGERS = (AddService(STRANGER, ServiceSettings("rr")), AddDestination(STRANGER, destination("10.1.0.1")))


def file(*lines: str) -> str:
    return "\n".join(["global_defs {", *lines, "}", ARTICLE])


def alive(world: World) -> None:
    for last in (21, 22):
        world.network.server(f"192.168.100.{last}", 80)


async def stopped(world: World) -> None:
    world.stop()
    with trio.fail_after(120):
        await world.ended.wait()


def roles(world: World) -> dict[SyncRole, int]:
    return {daemon.role: daemon.sync_id for daemon in world.backend.settings().sync_daemons}


def test_settings_come_with_the_start_follow_a_reload_and_go_with_the_stop(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world)
        await world.later(30)
        assert world.backend.settings().timeouts == Timeouts(1000, 120, 77)
        assert roles(world) == {SyncRole.MASTER: 7, SyncRole.BACKUP: 7}
        world.reload(file("lvs_timeouts tcp 1001 tcpfin 5", "lvs_sync_daemon eth0 id 8"))
        await world.later(10)
        assert world.backend.settings().timeouts == Timeouts(1001, 5, 300)
        assert roles(world) == {SyncRole.MASTER: 8, SyncRole.BACKUP: 8}
        before = len(world.backend.changes)
        world.reload()
        await world.later(10)
        assert len(world.backend.changes) == before
        world.reload(file("lvs_timeouts tcp 1001"))
        await world.later(10)
        assert world.backend.settings() == KernelState(Timeouts(1001, 120, 300))
        await stopped(world)
        assert world.backend.settings() == UNTOUCHED

    world = play(story, file("lvs_timeouts tcp 1000 udp 77", "lvs_sync_daemon eth0 id 7"), tmp_path)
    assert [line["setting"] for line in world.events("kernel.setting_changed")] == [
        "time-outs tcp 1000 s, udp 77 s",
        "start of the master sync daemon on eth0, id 7",
        "start of the backup sync daemon on eth0, id 7",
        "stop of the master sync daemon",
        "stop of the backup sync daemon",
        "time-outs tcp 1001 s, tcpfin 5 s, udp 300 s",
        "start of the master sync daemon on eth0, id 8",
        "start of the backup sync daemon on eth0, id 8",
        "stop of the master sync daemon",
        "stop of the backup sync daemon",
        "time-outs tcpfin 120 s",
        "time-outs tcp 900 s",
    ]


def test_lvs_sync_daemon_stops_when_its_line_leaves_the_file(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world)
        await world.later(30)
        assert roles(world) == {SyncRole.MASTER: 0, SyncRole.BACKUP: 0}
        world.reload(ARTICLE)
        await world.later(10)
        assert roles(world) == {}

    play(story, file("lvs_sync_daemon eth0"), tmp_path)


def test_a_rejected_reload_changes_no_setting(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world)
        await world.later(30)
        world.reload(file("lvs_timeouts tcp 5 udp oops"))
        await world.later(10)
        assert world.backend.settings().timeouts == Timeouts(1000, 120, 300)

    play(story, file("lvs_timeouts tcp 1000"), tmp_path)


def test_a_crash_leaves_the_settings_and_the_next_start_finds_nothing_to_do(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world)
        await world.later(30)
        before = list(world.backend.changes)
        world.crash()
        await world.later(3)
        await world.start()
        await world.later(30)
        assert world.backend.changes == before
        await stopped(world)
        assert roles(world) == {}

    play(story, file("lvs_timeouts tcp 1000", "lvs_sync_daemon eth0 id 7 maxlen 1400"), tmp_path)


def test_settings_that_the_kernel_refuses_stop_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world)
        world.crash()
        await world.later(1)
        world.backend = FaultyBackend()
        world.backend.refuse_change = lambda change: "ENODEV" if isinstance(change, StartSync) else "EINVAL"
        await world.start()
        await world.later(30)
        assert world.weights() == {21: 1, 22: 1}
        await stopped(world)
        assert not world.backend.table.services

    world = play(story, file("lvs_timeouts tcp 1000", "lvs_sync_daemon nosuch"), tmp_path)
    refused = world.events("kernel.setting_refused")
    assert [line["errno"] for line in refused] == ["EINVAL", "ENODEV", "ENODEV"]
    assert refused[1]["message"] == (
        "The kernel refused this setting: start of the master sync daemon on nosuch, id 0: ENODEV."
        " The next reload tries it again."
    )


def test_lvs_flush_spares_our_own_services(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world)
        await world.later(30)
        world.crash()
        await world.later(1)
        world.backend.meddle(*STRANGERS)
        before = len(world.backend.history)
        await world.start()
        await world.later(30)
        assert [op for op, _ in world.backend.history[before:]] == [DeleteService(STRANGER)]
        assert world.weights() == {21: 1, 22: 1}

    world = play(story, file("lvs_flush"), tmp_path)
    assert world.events("kernel.drift_found") == []


def test_a_flush_at_the_start_is_none_at_a_reload(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world)
        await world.later(30)
        world.backend.meddle(*STRANGERS)
        world.reload(file("lvs_flush", "lvs_timeouts tcp 5"))
        await world.later(30)
        assert STRANGER in world.backend.table.services
        await stopped(world)
        assert set(world.backend.table.services) == {STRANGER}

    play(story, file("lvs_flush"), tmp_path)


def test_a_flush_at_the_stop_leaves_an_empty_table_and_vs_only_what_is_not_ours(tmp_path: Path) -> None:
    for line, left in (("lvs_flush_on_stop", set()), ("lvs_flush_on_stop VS", {STRANGER}), ("", {STRANGER})):

        async def story(world: World) -> None:
            alive(world)
            await world.later(30)
            world.backend.meddle(*STRANGERS)
            await world.later(5)
            assert STRANGER in world.backend.table.services
            await stopped(world)

        world = play(story, file(line), tmp_path)
        assert set(world.backend.table.services) == left
        (told,) = world.events("daemon.stopped")
        assert told["kernel_table"] == "removed"


def test_time_outs_are_not_put_right_when_somebody_changes_them(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world)
        await world.later(30)
        world.backend.adjust(SetTimeouts(Timeouts(tcp=1234)))
        await world.later(30)
        assert world.backend.settings().timeouts == Timeouts(1234, 120, 300)

    play(story, file("lvs_timeouts tcp 1000"), tmp_path)
