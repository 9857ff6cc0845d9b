"""The deliberate differences to keepalived in what the daemon does with table, addresses and settings, from start to stop.

Each test has the name of a row of docs/differences.md. Most of them are stories that are told elsewhere in full.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

import trio

from checkers.kit.api import Health, Reason, Verdict
from checkers.kit.schedule import LATE_MAX, CheckState
from checkers.kit.sockets import connect_error
from supervisor import config
from supervisor.core.diff import plan
from supervisor.core.director import Director
from supervisor.core.jobs import JobBook
from supervisor.core.table import AddDestination, ChangeDestination
from tests.checkers.kit.test_schedule import Settings
from tests.fakes.behaviours import no_descriptor
from tests.sim import test_change_stories as changes
from tests.sim import test_fault_stories as faults
from tests.sim import test_kernel_settings_stories as settings
from tests.sim.world import World, play
from tests.supervisor.config.written import config_of, real_server, virtual_server
from tests.supervisor.core.builders import report

ROOT = Path(__file__).parents[2]
ARTICLE = ROOT / "deploy" / "examples" / "article.conf"


def test_difference_addresses_are_assigned(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.later(5)
        assert [str(address) for address in world.addresses.assigned] == ["203.0.113.100"]

    play(story, ARTICLE.read_text(), tmp_path)


def test_difference_table_of_a_crash_is_adopted(tmp_path: Path) -> None:
    faults.test_a_crashed_supervisor_leaves_the_table_and_the_next_one_adopts_it(tmp_path)


def test_difference_table_is_kept_as_it_should_be(tmp_path: Path) -> None:
    faults.test_a_table_flushed_by_hand_is_put_right_within_seconds(tmp_path)


def test_difference_reload_takes_all_or_nothing(tmp_path: Path) -> None:
    faults.test_an_invalid_file_is_refused_whole_and_the_old_configuration_goes_on(tmp_path)


def test_difference_removed_servers_drain(tmp_path: Path) -> None:
    changes.test_a_removed_server_keeps_its_clients_until_they_are_done(tmp_path)


def test_difference_file_without_virtual_servers_is_refused_at_a_reload(tmp_path: Path) -> None:
    faults.test_a_file_without_any_virtual_server_is_refused_while_some_are_running(tmp_path)


def test_difference_no_pool_is_empty_on_the_way() -> None:
    loaded = config.load(ARTICLE).config
    assert loaded is not None
    director = Director(loaded, 0.0)
    director.start(0.0)
    report(director, 21, up=False)
    before = director.desired()
    report(director, 22, up=False)
    steps = plan(director.desired(), before)
    assert [type(op) for op in steps.giving] == [AddDestination]
    assert [type(op) for op in steps.taking] == [ChangeDestination]


def test_difference_stop_is_not_cut_off(tmp_path: Path) -> None:
    servers = [real_server(head=f"10.1.{high}.{low} 80") for high in range(4) for low in range(1, 251)]
    text = "".join(virtual_server(*servers, head=f"10.0.0.{n} 80") for n in range(1, 6))

    async def story(world: World) -> None:
        await world.later(5)
        assert len(world.backend.table.services) == 5
        world.stop()
        with trio.fail_after(60):
            await world.ended.wait()
        assert not world.backend.table.services

    play(story, text, tmp_path)


def test_difference_identical_checks_run_once() -> None:
    server = real_server("TCP_CHECK {", "}")
    two = virtual_server(server) + virtual_server(server, head="10.0.0.2 80")
    book = JobBook()
    book.update(config_of(two))
    assert len(book.jobs) == 1


def test_difference_time_outs_of_our_own_do_not_count() -> None:
    state = CheckState(Settings(retry=0), Health.UP)
    for _ in range(LATE_MAX):
        step = state.record(Verdict(Reason.LATE), 10.0)
        assert (step.changed, step.due) == (False, 10.0)
    assert state.health is Health.UP
    state = CheckState(Settings(retry=0), Health.UP)
    state.excuse()
    state.record(Verdict(Reason.L4CON), 10.0)
    assert state.health is Health.UP


def test_difference_local_trouble_is_visible(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        server = world.network.server("192.168.100.21", 80)
        world.network.server("192.168.100.22", 80)
        await world.later(30)
        server.behaviour = no_descriptor()
        await world.later(10)
        (first, *_) = world.snapshot().virtual_servers[0].real_servers
        assert first.health == "UP"
        assert first.checks[0].reason == "LOCAL"
        counts = {count.reason: count.count for count in world.snapshot().process.checks}
        assert counts["LOCAL"] >= 1

    play(story, ARTICLE.read_text(), tmp_path)


def test_difference_no_route_of_our_own_does_not_count() -> None:
    assert connect_error(errno.ENETUNREACH, at_once=True).reason is Reason.LOCAL
    assert connect_error(errno.ENETDOWN).reason is Reason.LOCAL
    assert connect_error(errno.ENETUNREACH).reason is Reason.L4CON  # said by a router
    assert connect_error(errno.EHOSTUNREACH, at_once=True).reason is Reason.L4CON


def test_difference_lvs_flush_spares_our_own_services(tmp_path: Path) -> None:
    settings.test_lvs_flush_spares_our_own_services(tmp_path)


def test_difference_lvs_sync_daemon_stops_when_its_line_goes(tmp_path: Path) -> None:
    settings.test_lvs_sync_daemon_stops_when_its_line_leaves_the_file(tmp_path)


def test_difference_nothing_is_written_to_a_temporary_folder() -> None:
    for path in (*(ROOT / "supervisor").rglob("*.py"), *(ROOT / "checkers").rglob("*.py")):
        assert not re.search(r"[\"']/(var/)?tmp\b|mktemp\b", path.read_text()), path
