"""Stories of checks that no network carries: scripts, files, pings, and virtual servers whose address comes and goes."""

from __future__ import annotations

import itertools
import math
from ipaddress import ip_address
from pathlib import Path

from tests.fakes.behaviours import Behaviour, Connect, Echo
from tests.fakes.programs import Behaviour as Program
from tests.sim.world import World, play


def virtual_server(*servers: str, more: str = "") -> str:
    lines = "\n".join(servers)
    return f"virtual_server 203.0.113.100 80 {{\ndelay_loop 5\nlb_algo wrr\nlb_kind NAT\nprotocol TCP\n{more}\n{lines}\n}}\n"


def server(last: int, *lines: str) -> str:
    return f"real_server 192.168.100.{last} 80 {{\nweight 10\n" + "\n".join(lines) + "\n}"


def misc(path: str, *lines: str) -> str:
    return "MISC_CHECK {\n" + "\n".join((f"misc_path {path}", "warmup 0", *lines)) + "\n}"


def test_a_script_sets_the_weight_by_its_exit_status(tmp_path: Path) -> None:
    text = virtual_server(server(21, misc("/site/load", "misc_dynamic")), server(22))

    async def story(world: World) -> None:
        seen = []
        for status in (2, 12, 52, 255, 1, 0):
            world.programs.behaviours["/site/load"] = Program(status=status)
            await world.later(6)
            seen.append(world.weights().get(21))
        assert seen == [0, 10, 50, 253, None, 10]
        changes = [(line["weight_old"], line["weight_new"]) for line in world.events("real_server.weight_changed")]
        assert changes == [(10, 0), (0, 10), (10, 50), (50, 253)]

    play(story, text, tmp_path)


def test_the_weight_of_a_script_that_is_not_dynamic_any_more_is_that_of_the_file_at_once_and_after_a_restart(
    tmp_path: Path,
) -> None:
    dynamic, plain = (virtual_server(server(21, misc("/site/load", *words))) for words in (["misc_dynamic"], []))

    async def story(world: World) -> None:
        world.programs.behaviours["/site/load"] = Program(status=52)
        await world.later(6)
        assert world.weights() == {21: 50}
        world.programs.behaviours["/site/load"] = Program(lasts_s=math.inf)  # nothing new is said
        world.reload(plain)
        await world.later(0.5)
        assert world.weights() == {21: 10}
        world.crash()
        await world.start()
        await world.later(0.5)
        assert world.weights() == {21: 10}

    play(story, dynamic, tmp_path)


def test_a_script_runs_every_delay_loop_however_long_it_takes_and_once_for_all_servers(tmp_path: Path) -> None:
    text = virtual_server(
        server(21, misc("/site/slow", "misc_timeout 3")), server(22, misc("/site/slow", "misc_timeout 3"))
    )

    async def story(world: World) -> None:
        world.programs.behaviours["/site/slow"] = Program(lasts_s=math.inf, deaf=True)
        await world.later(21)
        times = [begun.at for begun in world.programs.begun]
        pauses = {round(later - earlier, 1) for earlier, later in itertools.pairwise(times)}
        assert pauses <= {5.0, 5.1}
        assert len(times) == 4
        assert world.weights() == {}
        assert {line["result"] for line in world.events("real_server.state_changed")} == {"PROCTOUT"}

    play(story, text, tmp_path)


def test_a_script_that_a_signal_ends_or_that_is_not_there_takes_its_server_out(tmp_path: Path) -> None:
    checks = [misc(f"/site/{name}", "misc_dynamic") for name in ("killed", "missing", "fine")]
    text = virtual_server(*(server(last, check) for last, check in zip((21, 22, 23), checks, strict=True)))

    async def story(world: World) -> None:
        world.programs.behaviours["/site/killed"] = Program(status=-9)
        world.programs.behaviours["/site/missing"] = Program(refuses="no such file")
        await world.later(6)
        assert world.weights() == {23: 10}
        details = {line["real_server"][-5:]: line["detail"] for line in world.events("real_server.state_changed")}
        assert details["22:80"].startswith("could not run: ")
        assert details["21:80"] == "ended by signal 9"

    play(story, text, tmp_path)


def test_a_file_changes_the_weight_within_a_second_or_two_and_takes_the_server_down(tmp_path: Path) -> None:
    path = tmp_path / "load"
    files = f"track_file load {{\nfile {path}\nweight 2\n}}\ntrack_file switch {{\nfile /run/switch\nweight 0\n}}\n"
    text = files + virtual_server(
        server(21, "FILE_CHECK {\ntrack_file load\n}"), server(22, "FILE_CHECK {\ntrack_file switch\n}")
    )
    path.write_text("3\n")

    async def story(world: World) -> None:
        world.files[str(path)] = "3"
        assert world.weights() == {21: 16, 22: 10}
        await world.later(3)
        assert world.weights() == {21: 16, 22: 10}
        world.files[str(path)] = "-4"
        world.files["/run/switch"] = "1"
        await world.later(2)
        assert world.weights() == {21: 2}
        world.files["/run/switch"] = ""
        await world.later(2)
        assert world.weights() == {21: 2, 22: 10}

    play(story, text, tmp_path)


def test_a_file_of_which_the_kernel_tells_is_looked_at_at_once(tmp_path: Path) -> None:
    files = "track_file switch {\nfile /run/switch\nweight 0\n}\n"
    text = files + virtual_server(server(21, "FILE_CHECK {\ntrack_file switch\n}"), server(22))

    async def story(world: World) -> None:
        await world.later(3)
        for turn in range(20):
            world.files.write("/run/switch", "1")
            await world.later(0.06)
            assert world.weights() == {22: 10}, f"turn {turn}"
            world.files.write("/run/switch", "0")
            await world.later(0.06)
            assert world.weights() == {21: 10, 22: 10}, f"turn {turn}"
            await world.later(0.37)

    play(story, text, tmp_path)


def test_a_file_of_a_new_configuration_is_heard_of_and_one_that_nobody_watches_disturbs_nobody(tmp_path: Path) -> None:
    one, other = ("track_file switch {\nfile /run/" + name + "\nweight 0\n}\n" for name in ("one", "other"))
    rest = virtual_server(server(21, "FILE_CHECK {\ntrack_file switch\n}"), server(22))

    async def story(world: World) -> None:
        await world.later(3)
        world.reload(other + rest)
        await world.later(3)
        world.files.write("/run/one", "1")
        await world.later(3)
        assert world.weights() == {21: 10, 22: 10}
        world.files.write("/run/other", "1")
        await world.later(0.06)
        assert world.weights() == {22: 10}

    play(story, one + rest, tmp_path)


def test_a_host_that_answers_pings_no_more_leaves_the_table(tmp_path: Path) -> None:
    ping = "PING_CHECK {\nwarmup 0\nretry 1\n}"
    text = virtual_server(server(21, ping), server(22, ping))

    async def story(world: World) -> None:
        hosts = [
            world.network.echo_server(f"192.168.100.{last}", Behaviour("host", answer=(Echo(),), udp=True))
            for last in (21, 22)
        ]
        await world.later(6)
        assert world.weights() == {21: 10, 22: 10}
        hosts[0].behaviour = Behaviour("gone", Connect.UNREACHABLE, udp=True)
        await world.later(8)
        assert world.weights() == {22: 10}

    play(story, text, tmp_path)


def test_with_ha_suspend_servers_are_checked_only_while_the_address_is_here(tmp_path: Path) -> None:
    text = virtual_server(server(21, "TCP_CHECK {\nwarmup 0\nretry 0\n}"), more="ha_suspend")
    address = ip_address("203.0.113.100")

    async def story(world: World) -> None:
        real = world.network.server("192.168.100.21", 80)
        await world.later(20)
        assert real.connections == 0
        assert world.weights() == {21: 10}
        assert address not in world.addresses.assigned
        assert world.snapshot().virtual_servers[0].suspended
        world.addresses.come(address)
        await world.later(20)
        assert real.connections >= 3
        assert not world.snapshot().virtual_servers[0].suspended
        del world.network.servers["192.168.100.21", 80]
        await world.later(6)
        assert world.weights() == {}
        world.addresses.go(address)
        world.network.server("192.168.100.21", 80)
        await world.later(20)
        assert world.weights() == {}
        assert [
            line["event"] for line in world.lines if "suspended" in line["event"] or "resumed" in line["event"]
        ] == [
            "virtual_server.resumed",
            "virtual_server.suspended",
        ]

    play(story, text, tmp_path)


def test_check_before_add_keeps_every_server_out_until_its_first_success(tmp_path: Path) -> None:
    check = "TCP_CHECK {\nwarmup 0\n}"
    text = "global_defs {\ncheck_before_add\n}\n" + virtual_server(server(21, check), server(22, check), server(23))

    async def story(world: World) -> None:
        world.network.server("192.168.100.21", 80)
        assert world.weights() == {23: 10}
        await world.later(3)
        assert world.weights() == {21: 10, 23: 10}

    play(story, text, tmp_path)


def test_with_rise_a_server_comes_back_only_after_so_many_successes(tmp_path: Path) -> None:
    text = virtual_server(server(21, "TCP_CHECK {\nwarmup 0\nretry 0\nrise 3\n}"))

    async def story(world: World) -> None:
        await world.later(3)
        assert world.weights() == {}
        world.network.server("192.168.100.21", 80)
        await world.later(11)
        assert world.weights() == {}
        await world.later(5)
        assert world.weights() == {21: 10}

    play(story, text, tmp_path)
