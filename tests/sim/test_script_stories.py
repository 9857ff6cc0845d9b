"""Scripts and named pipes on a virtual clock: what runs, in which order, and that the last word is true."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.fakes.behaviours import healthy, refuse
from tests.fakes.programs import Behaviour
from tests.sim.world import World, play

GLOBAL = """global_defs {{
  router_id LVS
  script_user nobody
  notify_fifo /run/all.fifo
  {more}
}}
"""
SERVER = """  real_server 192.168.100.{last} 80 {{
    notify_up "/notify up {last}"
    notify_down "/notify down {last}"
    TCP_CHECK {{
      connect_timeout 1
      retry 0
    }}
  }}
"""
VIRTUAL = """virtual_server {head} {{
  delay_loop 1
  warmup 0
  lb_algo rr
  lb_kind NAT
  protocol TCP
  quorum_up "/notify gained"
  quorum_down "/notify lost"
  {more}
{servers}}}
"""
PLAIN = "192.0.2.1 80"
VS = "[192.0.2.1]:tcp:80"


def file(*lasts: int, more: str = "", settings: str = "", head: str = PLAIN) -> str:
    servers = "".join(SERVER.format(last=last) for last in lasts)
    return GLOBAL.format(more=settings) + VIRTUAL.format(more=more, servers=servers, head=head)


def line(last: int, state: str, virtual_server: str = VS) -> str:
    return f"RS [192.168.100.{last}]:tcp:80 {virtual_server} {state}\n"


def serve(world: World, *lasts: int) -> None:
    for last in lasts:
        world.network.server(f"192.168.100.{last}", 80).behaviour = healthy()


def fail(world: World, *lasts: int) -> None:
    for last in lasts:
        world.network.server(f"192.168.100.{last}", 80).behaviour = refuse()


def said(world: World) -> list[str]:
    """What was run, without the program's name."""
    return [each.removeprefix("/notify ") for each in world.programs.lines()]


def test_the_life_of_a_virtual_server_as_scripts_and_lines(tmp_path: Path) -> None:
    """Start, one dead, all dead with the sorry server, recovery, stop with omega: as keepalived 2.2.7 does it."""

    async def story(world: World) -> None:
        serve(world, 21, 22)
        await world.later(5)
        fail(world, 21)
        await world.later(5)
        fail(world, 22)
        await world.later(5)
        serve(world, 21)
        await world.later(5)
        world.stop()
        await world.ended.wait()

    world = play(story, file(21, 22, more="omega\n sorry_server 192.168.100.20 80"), tmp_path)
    assert said(world) == ["gained", "down 21", "down 22", "lost", "up 21", "gained", "down 21", "lost"]
    assert world.pipes.lines["/run/all.fifo"] == [
        f"VS {VS} UP\n",
        line(21, "DOWN"),
        line(22, "DOWN"),
        f"VS {VS} DOWN\n",
        line(21, "UP"),
        f"VS {VS} UP\n",
        line(21, "DOWN"),
        f"VS {VS} DOWN\n",
    ]
    assert world.pipes.open_paths == [], "the pipe was closed and removed"
    assert len(world.events("notify.script_done")) == 8


def test_without_omega_the_stop_runs_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        serve(world, 21)
        await world.later(5)
        world.stop()
        await world.ended.wait()

    assert said(play(story, file(21), tmp_path)) == ["gained"]


def test_rs_init_notifies_tells_the_servers_first(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        serve(world, 21, 22)
        await world.later(5)

    world = play(story, file(21, 22, settings="rs_init_notifies"), tmp_path)
    assert said(world) == ["up 21", "up 22", "gained"]
    assert world.pipes.lines["/run/all.fifo"] == [line(21, "UP"), line(22, "UP"), f"VS {VS} UP\n"]
    assert world.events("real_server.state_changed") == []


def test_starting_without_a_quorum_is_told_only_where_there_is_a_sorry_server(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        fail(world, 21)
        await world.later(5)

    assert said(play(story, file(21, more="alpha"), tmp_path)) == []
    assert said(play(story, file(21, more="alpha\n sorry_server 192.168.100.20 80"), tmp_path)) == ["lost"]


def test_a_reload_that_takes_the_last_server_out_tells_it_and_the_lost_quorum(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        serve(world, 21, 22)
        await world.later(5)
        world.reload(file(21, more="quorum 2"))
        await world.later(5)

    world = play(story, file(21, 22, more="quorum 2"), tmp_path)
    assert world.pipes.lines["/run/all.fifo"] == [f"VS {VS} UP\n", line(22, "DOWN")], (
        "the quorum is cut to what is there"
    )
    assert said(world) == ["gained", "down 22"]


def test_a_reload_that_takes_a_virtual_server_out_tells_its_end(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        serve(world, 21)
        await world.later(5)
        world.reload(file(21, head="192.0.2.2 80"))
        await world.later(5)

    world = play(story, file(21), tmp_path)
    assert said(world) == ["gained", "down 21", "lost", "gained"]
    assert world.pipes.lines["/run/all.fifo"][1:] == [line(21, "DOWN"), f"VS {VS} DOWN\n", "VS [192.0.2.2]:tcp:80 UP\n"]


def test_a_group_speaks_once_and_by_its_name(tmp_path: Path) -> None:
    group = "virtual_server_group web {\n 192.0.2.1-3 80\n fwmark 9\n}\n"

    async def story(world: World) -> None:
        serve(world, 21)
        await world.later(5)
        fail(world, 21)
        await world.later(5)

    world = play(story, group + file(21, head="group web"), tmp_path)
    assert said(world) == ["gained", "down 21", "lost"]
    assert world.pipes.lines["/run/all.fifo"] == ["VS [web]:0 UP\n", line(21, "DOWN", "[web]:0"), "VS [web]:0 DOWN\n"]


def test_a_firewall_mark_and_ipv6_have_their_own_names(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        serve(world, 21)
        await world.later(5)
        fail(world, 21)
        await world.later(5)

    world = play(story, file(21, head="fwmark 7").replace("  protocol TCP\n", ""), tmp_path)
    assert world.pipes.lines["/run/all.fifo"] == [
        "VS FWM 7 UP\n",
        "RS [192.168.100.21]:none:80 FWM 7 DOWN\n",
        "VS FWM 7 DOWN\n",
    ]


def test_the_scripts_of_one_server_run_one_after_another_and_the_last_word_is_true(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.programs.behaviours["/notify"] = Behaviour(lasts_s=30)
        serve(world, 21, 22)
        await world.later(31)
        for _ in range(20):
            fail(world, 21)
            await world.later(2)
            serve(world, 21)
            await world.later(2)
        await world.later(600)
        assert world.snapshot().process.scripts_skipped == len(world.events("notify.script_skipped"))

    world = play(story, file(21, 22), tmp_path)
    assert said(world)[-1] == "up 21"
    begun = [each.at for each in world.programs.begun if "21" in each.argv]
    assert all(later - earlier > 29.9 for earlier, later in itertools.pairwise(begun))
    assert len(world.events("notify.script_skipped")) == 40 - len(begun)


def test_scripts_of_different_objects_run_at_the_same_time_and_begin_in_order(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.programs.behaviours["/notify"] = Behaviour(lasts_s=30)
        serve(world, 21, 22)
        await world.later(40)
        fail(world, 21, 22)
        await world.later(10)

    world = play(story, file(21, 22), tmp_path)
    assert said(world)[0] == "gained"
    assert said(world)[-1] == "lost"
    assert set(said(world)[1:3]) == {"down 21", "down 22"}


def test_a_script_that_fails_or_takes_too_long_is_told_of_with_what_it_said(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.programs.behaviours["/notify"] = Behaviour(status=2, output=b"no such\nthing")
        serve(world, 21)
        await world.later(5)
        world.programs.behaviours["/notify"] = Behaviour(lasts_s=1000, deaf=True)
        fail(world, 21)
        await world.later(20)
        assert world.snapshot().process.scripts_failed == 3

    world = play(story, file(21, settings="notify_timeout 5"), tmp_path)
    first, *timed_out = world.events("notify.script_failed")
    assert (first["exit_status"], first["output"], first["notice"]) == (2, "no such | thing", "quorum_gained")
    assert [line["outcome"] for line in timed_out] == [
        "timed out"
    ] * 2  # both began at once, so either may be told first
    (second,) = (line for line in timed_out if line["real_server"] == "192.168.100.21:80")
    assert 6.9 < second["duration_s"] < 7.5


def test_a_script_finds_the_facts_in_its_environment(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        serve(world, 21, 22)
        await world.later(5)
        fail(world, 21)
        await world.later(5)

    world = play(story, file(21, 22), tmp_path)
    gained, down = (each.environment for each in world.programs.begun)
    assert gained == {
        "VIPERVISOR_EVENT": "quorum_gained",
        "VIPERVISOR_STATE": "UP",
        "VIPERVISOR_VIRTUAL_SERVER": "192.0.2.1:80/tcp",
        "VIPERVISOR_WEIGHT_UP": "2",
        "VIPERVISOR_SERVERS_UP": "2",
        "VIPERVISOR_QUORUM": "1",
        "VIPERVISOR_HYSTERESIS": "0",
        "VIPERVISOR_AT_START": "1",
    }
    assert down == {
        "VIPERVISOR_EVENT": "real_server_down",
        "VIPERVISOR_STATE": "DOWN",
        "VIPERVISOR_PREVIOUS": "UP",
        "VIPERVISOR_VIRTUAL_SERVER": "192.0.2.1:80/tcp",
        "VIPERVISOR_REAL_SERVER": "192.168.100.21:80",
        "VIPERVISOR_CHECK": "TCP_CHECK",
        "VIPERVISOR_REASON": "L4CON",
        "VIPERVISOR_DETAIL": down["VIPERVISOR_DETAIL"],
        "VIPERVISOR_WEIGHT": "",
        "VIPERVISOR_WEIGHT_UP": "1",
        "VIPERVISOR_SERVERS_UP": "1",
        "VIPERVISOR_QUORUM": "1",
    }
    assert "refused" in down["VIPERVISOR_DETAIL"]
    assert {each.user for each in world.programs.begun} == {"nobody"}


def test_a_runner_that_dies_is_replaced_and_the_script_is_run_again(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.programs.behaviours["/notify"] = Behaviour(lasts_s=10)
        serve(world, 21)
        await world.later(3)
        world.runners[-1].kill()
        await world.later(20)
        assert [view.name for view in world.snapshot().process.workers][-1] == "runner"

    world = play(story, file(21), tmp_path)
    assert said(world) == ["gained", "gained"]
    assert [each["outcome"] for each in world.events("notify.script_failed")] == ["runner lost"]
    assert len(world.events("notify.script_done")) == 1


def test_without_scripts_there_is_no_runner(tmp_path: Path) -> None:
    text = VIRTUAL.format(head=PLAIN, more="", servers=SERVER.format(last=21))
    silent = "\n".join(each for each in text.splitlines() if "notify" not in each)

    async def story(world: World) -> None:
        serve(world, 21)
        await world.later(5)
        assert world.runners == []
        world.reload(text)
        await world.later(5)
        fail(world, 21)
        await world.later(5)
        assert len(world.runners) == 1

    assert said(play(story, silent, tmp_path)) == ["down 21", "lost"]


def test_the_startup_script_is_over_before_the_first_service_and_the_shutdown_script_is_the_last(
    tmp_path: Path,
) -> None:
    async def story(world: World) -> None:
        assert world.backend.table.services == {}, "the start waits for the script"
        serve(world, 21)
        await world.later(9)
        assert world.weights() == {21: 1}
        world.stop()
        await world.ended.wait()
        assert world.backend.table.services == {}

    settings = 'startup_script "/first a"\n startup_script_timeout 5\n shutdown_script /last'
    path_behaviour = Behaviour(lasts_s=100)

    async def slow(world: World) -> None:
        world.programs.behaviours["/first"] = path_behaviour
        await story(world)

    world = play(slow, file(21, more="omega", settings=settings), tmp_path)
    assert world.programs.lines() == ["/first a", "/notify gained", "/notify down 21", "/notify lost", "/last"]
    (failed,) = world.events("notify.script_failed")
    assert (failed["notice"], failed["outcome"]) == ("startup", "timed out")
    assert world.lines[-1]["event"] == "daemon.stopped"


def test_a_stop_does_not_wait_for_a_script_for_ever(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        serve(world, 21)
        await world.later(5)
        world.programs.behaviours["/notify"] = Behaviour(lasts_s=1000, deaf=True)
        world.stop()
        begun = world.now()
        await world.ended.wait()
        assert world.now() - begun < 15

    world = play(story, file(21, more="omega"), tmp_path)
    assert [each["outcome"] for each in world.events("notify.script_failed")] == ["timed out", "timed out"]


def test_a_pipe_that_nobody_reads_loses_lines_and_says_so(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.pipes.room = 1
        serve(world, 21)
        await world.later(5)
        fail(world, 21)
        await world.later(5)
        process = world.snapshot().process
        assert (process.fifo_written, process.fifo_dropped) == (1, 2)

    world = play(story, file(21), tmp_path)
    assert world.pipes.lines["/run/all.fifo"] == [f"VS {VS} UP\n"]
    assert [each["count"] for each in world.events("notify.dropped")] == [1, 2]


def test_a_pipe_that_cannot_be_had_is_told_of_and_hinders_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        serve(world, 21)
        await world.later(5)
        world.pipes.refused.add("/run/other.fifo")
        world.reload(file(21).replace("/run/all.fifo", "/run/other.fifo"))
        await world.later(5)
        fail(world, 21)
        await world.later(5)
        assert world.pipes.open_paths == []
        world.pipes.refused.clear()
        world.reload()
        await world.later(5)
        assert world.pipes.open_paths == ["/run/other.fifo"]

    world = play(story, file(21), tmp_path)
    assert [each["error"] for each in world.events("notify.fifo_failed")] == ["Permission denied"]
    assert said(world) == ["gained", "down 21", "lost"]


def test_the_script_of_a_pipe_runs_beside_it_is_started_again_and_ends_with_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.programs.behaviours["/reader"] = Behaviour(lasts_s=30)
        serve(world, 21)
        await world.later(20)
        assert world.programs.lines().count("/reader a /run/all.fifo") == 1
        await world.later(20)
        assert world.programs.lines().count("/reader a /run/all.fifo") == 2
        world.stop()
        await world.ended.wait()

    world = play(story, file(21, settings='notify_fifo_script "/reader a"'), tmp_path)
    assert world.programs.lines().count("/reader a /run/all.fifo") == 2
