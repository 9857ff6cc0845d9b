"""Fourteen bugs that other load balancers' health checkers shipped (peers.md, section 7), each as a story that ends well here."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import trio

from supervisor import config
from supervisor.core.events import Overridden
from supervisor.core.override import AdminState, Override
from supervisor.core.table import AddService, ChangeDestination, DeleteService, Op
from supervisor.model import Endpoint
from tests.fakes.behaviours import blackhole, hang, healthy, refuse, slow
from tests.fakes.programs import Behaviour as Program
from tests.fakes.server import FakeServer
from tests.sim.world import World, play

TCP = "TCP_CHECK {\nconnect_timeout 1\nwarmup 0\nretry 1\ndelay_before_retry 1\n}"


def pool(*servers: str, more: str = "", delay_loop: int = 5) -> str:
    head = (
        f"virtual_server 203.0.113.100 80 {{\ndelay_loop {delay_loop}\nlb_algo wrr\nlb_kind NAT\nprotocol TCP\n{more}\n"
    )
    return head + "\n".join(servers) + "\n}\n"


def member(last: int, *blocks: str, more: str = "inhibit_on_failure") -> str:
    return f"real_server 192.168.100.{last} 80 {{\nweight 10\n{more}\n" + "\n".join(blocks or (TCP,)) + "\n}"


def server(world: World, last: int) -> FakeServer:
    return world.network.server(f"192.168.100.{last}", 80)


def alive(world: World, *lasts: int) -> None:
    for last in lasts:
        server(world, last).behaviour = healthy()


def endpoint(world: World, last: int) -> Endpoint:
    return next(
        rs.endpoint
        for rs in world.config().virtual_servers[0].real_servers
        if str(rs.endpoint.address).endswith(f".{last}")
    )


async def until_probed(world: World, last: int, times: int) -> None:
    """Let time pass until a server was probed so many times more."""
    goal = server(world, last).connections + times
    for _ in range(1000):
        if server(world, last).connections >= goal:
            break
        await trio.sleep(0.05)
    await trio.sleep(0.01)


def test_trap_1_failures_are_counted_in_a_row_and_not_in_a_lifetime(tmp_path: Path) -> None:
    """loxilb PR #1087: a cumulative failure counter takes out a server that fails now and then."""
    text = pool(member(21, TCP.replace("retry 1", "retry 3\nsentinel no")), member(22))

    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(10)
        for _ in range(20):
            server(world, 21).behaviour = refuse()
            await until_probed(world, 21, 3)
            server(world, 21).behaviour = healthy()
            await until_probed(world, 21, 1)
        server(world, 21).behaviour = refuse()
        await until_probed(world, 21, 4)
        await world.later(0.1)
        assert world.weights() == {21: 0, 22: 10}

    assert len(play(story, text, tmp_path).events("real_server.state_changed")) == 1


def test_trap_2_a_server_that_an_operator_took_out_is_no_capacity(tmp_path: Path) -> None:
    """PyBal T184715: a capacity test that counts disabled servers depools too many of the others."""
    text = pool(member(21), member(22), more="quorum 20\nsorry_server 192.168.100.20 80")

    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(10)
        name = world.service(), endpoint(world, 22)
        await world.supervisor._send.send(Overridden((name,), Override(AdminState.DISABLED)))
        await world.later(1)
        assert world.weights() == {20: 1, 21: 0, 22: 0}
        await world.supervisor._send.send(Overridden((name,), None))
        await world.later(1)
        assert world.weights() == {21: 10, 22: 10}

    play(story, text, tmp_path)


def test_trap_3_a_script_that_is_content_does_not_overrule_a_port_that_is_closed(tmp_path: Path) -> None:
    """haproxy #1176: the agent's "up" brought a server into service whose own check failed."""
    script = "MISC_CHECK {\nmisc_path /site/agent\nmisc_dynamic\nwarmup 0\n}"
    text = pool(member(21, TCP, script), member(22))

    async def story(world: World) -> None:
        alive(world, 21, 22)
        world.programs.behaviours["/site/agent"] = Program(status=52)
        await world.later(10)
        assert world.weights() == {21: 50, 22: 10}
        server(world, 21).behaviour = refuse()
        await world.later(10)
        for status in (0, 255, 12, 0):
            world.programs.behaviours["/site/agent"] = Program(status=status)
            await world.later(12)
            assert world.weights() == {21: 0, 22: 10}

    play(story, text, tmp_path)


def test_trap_4_a_weight_of_0_that_a_restart_finds_is_not_taken_for_the_last_word(tmp_path: Path) -> None:
    """kubernetes #92019: weight 0 was kept for ever after a restart, because "it is being drained already"."""

    async def story(world: World) -> None:
        alive(world, 22)
        server(world, 21).behaviour = refuse()
        await world.later(20)
        assert world.weights() == {21: 0, 22: 10}
        world.crash()
        alive(world, 21)
        await world.start()
        assert world.weights() == {21: 0, 22: 10}
        await world.later(8)
        assert world.weights() == {21: 10, 22: 10}

    play(story, pool(member(21), member(22)), tmp_path)


def test_trap_5_a_start_deletes_and_creates_no_service_that_is_there(tmp_path: Path) -> None:
    """PyBal deleted and created every service at its start, and with it every connection."""

    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(20)
        before = len(world.backend.history)
        world.crash()
        await world.start()
        await world.later(20)
        assert not [op for op in world.backend.ops[before:] if isinstance(op, AddService | DeleteService)]
        assert len(world.backend.history) == before

    play(story, pool(member(21), member(22)), tmp_path)


def test_trap_6_checks_are_spread_over_a_round_and_all_have_run_at_its_end(tmp_path: Path) -> None:
    """GLB fired all checks in the same instant, Envoy #4132 all at the start; Seesaw's stagger took minutes for a cold start."""
    spread = TCP.replace("warmup 0\n", "")
    text = pool(*(member(last, spread) for last in range(1, 101)), delay_loop=10)

    async def story(world: World) -> None:
        alive(world, *range(1, 101))
        seen = [0]
        for _ in range(120):
            await world.later(0.1)
            seen.append(sum(one.connections for one in world.network.servers.values()))
        steps = [after - before for before, after in itertools.pairwise(seen)]
        assert max(steps) <= 10, "a tenth of all in a hundredth of the round"
        assert all(one.connections for one in world.network.servers.values())

    play(story, text, tmp_path)


def test_trap_7_no_check_is_dropped_because_many_wait(tmp_path: Path) -> None:
    """ipvsman dropped checks when more than 256 were pending, and the last verdict aged unseen."""
    lasts = range(1, 151)
    text = pool(*(member(last) for last in lasts)) + pool(*(member(last) for last in lasts)).replace(
        "203.0.113.100 80", "203.0.113.101 80"
    ).replace("192.168.100.", "192.168.101.")

    async def story(world: World) -> None:
        for network in ("192.168.100", "192.168.101"):
            for last in lasts:
                dead = last % 5  # were nearly all of them silent, we would doubt ourselves first
                world.network.server(f"{network}.{last}", 80).behaviour = blackhole() if dead else healthy()
        await world.later(5 + 1 + 3)
        assert all(
            weight == (0 if last % 5 else 10) for index in (0, 1) for last, weight in world.weights(index).items()
        )
        for one in world.network.servers.values():
            one.behaviour = healthy()
        await world.later(5 + 1 + 2)
        assert {weight for index in (0, 1) for weight in world.weights(index).values()} == {10}

    play(story, text, tmp_path)


def test_trap_8_a_probe_whose_time_is_over_is_over(tmp_path: Path) -> None:
    """Seesaw caches the result of a check that outlives its time-out: cancelling has to be real."""
    http = "HTTP_GET {\nurl {\npath /\n}\nconnect_timeout 1\nwarmup 0\nretry 1\ndelay_before_retry 1\n}"
    text = pool(member(21, http), member(22), delay_loop=2)

    async def story(world: World) -> None:
        alive(world, 22)
        server(world, 21).behaviour = slow(1.5)  # a good answer, always half a second too late
        for _ in range(300):
            await world.later(0.1)
            assert server(world, 21).open <= 1
        assert world.weights() == {21: 0, 22: 10}
        server(world, 21).behaviour = hang()
        await world.later(30)
        assert server(world, 21).open <= 1
        assert world.weights() == {21: 0, 22: 10}

    world = play(story, text, tmp_path)
    assert [line["to"] for line in world.events("real_server.state_changed")] == ["DOWN"]


def test_trap_9_what_the_kernel_refuses_is_seen_told_and_tried_again(tmp_path: Path) -> None:
    """PyBal wrote to a pipe of ipvsadm and never looked at what became of it."""

    def stubborn(op: Op) -> str:
        return "EBUSY" if isinstance(op, ChangeDestination) else ""

    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(10)
        world.backend.refuse = stubborn
        server(world, 21).behaviour = refuse()
        await world.later(30)
        assert world.weights() == {21: 10, 22: 10}
        (told,) = world.events("kernel.write_failed")
        assert told["errno"] == "EBUSY"
        world.backend.refuse = lambda _op: ""
        await world.later(2)
        assert world.weights() == {21: 0, 22: 10}

    play(story, pool(member(21), member(22)), tmp_path)


def test_trap_10_a_late_answer_of_an_old_probe_does_not_undo_a_newer_verdict(tmp_path: Path) -> None:
    """An answer to a question that a reload has replaced comes after the answer to the new one."""
    slow_one = "HTTP_GET {\nurl {\npath /old\n}\nconnect_timeout 9\nwarmup 0\nretry 1\ndelay_before_retry 0\n}"
    before = pool(member(21, slow_one), member(22), delay_loop=2)

    async def story(world: World) -> None:
        alive(world, 22)
        server(world, 21).behaviour = hang()
        await world.later(8)  # a probe is under way that will fail
        alive(world, 21)
        world.reload(before.replace("/old", "/new").replace("connect_timeout 9", "connect_timeout 1"))
        await world.later(3)
        assert [one.data.split()[1] for one in server(world, 21).requests][-1] == b"/new"
        written = len(world.backend.history)
        await world.later(30)
        assert world.weights() == {21: 10, 22: 10}
        assert len(world.backend.history) == written

    assert play(story, before, tmp_path).events("real_server.state_changed") == []


def test_trap_11_nothing_in_the_file_is_evaluated_and_nothing_goes_through_a_shell(tmp_path: Path) -> None:
    """PyBal evaluated values of its configuration as Python, GLB gave its reload command to /bin/sh."""
    path = tmp_path / "odd.conf"
    path.write_text(pool(member(21)).replace("delay_loop 5", "delay_loop __import__('os').getpid()"))
    assert config.load(path).config is None
    evil = 'MISC_CHECK {\nmisc_path "/site/agent $(touch /pwned) ; reboot | sh `id`"\nwarmup 0\n}'

    async def story(world: World) -> None:
        alive(world, 21)
        await world.later(5)
        assert world.programs.begun[0].argv == ("/site/agent", "$(touch", "/pwned)", ";", "reboot", "|", "sh", "`id`")

    play(story, pool(member(21, evil)), tmp_path)


def test_trap_12_servers_that_hang_do_not_keep_others_from_being_checked(tmp_path: Path) -> None:
    """ldirectord asks one after another: a few time-outs, and nobody else is looked at in time."""
    patient = TCP.replace("connect_timeout 1", "connect_timeout 30")
    text = pool(*(member(last, patient) for last in range(1, 61)), member(99))

    async def story(world: World) -> None:
        for last in range(1, 61):
            server(world, last).behaviour = blackhole()
        alive(world, 99)
        await world.later(10)
        server(world, 99).behaviour = refuse()
        await world.later(5 + 1 + 1)
        assert world.weights()[99] == 0

    play(story, text, tmp_path)


def test_trap_13_every_check_sends_its_own_name_and_never_another_ones(tmp_path: Path) -> None:
    """haproxy #3195: the server name of one connection leaked into another."""

    def ssl(name: str) -> str:
        host = f"virtualhost {name}.example.org\n" if name else ""
        return f"SSL_GET {{\nenable_sni\nurl {{\npath /\n{host}}}\nconnect_timeout 1\nwarmup 0\n}}"

    names = {21: "one", 22: "two", 23: ""}
    text = pool(*(member(last, ssl(name)) for last, name in names.items()), delay_loop=2)

    async def story(world: World) -> None:
        for last in names:
            server(world, last).behaviour = healthy().over_tls()
        await world.later(20)
        for last, name in names.items():
            assert len(server(world, last).server_names) > 5
            assert set(server(world, last).server_names) == {f"{name}.example.org" if name else ""}

    play(story, text, tmp_path)


@pytest.mark.parametrize("gone", ["workers", "file", "track file"])
def test_trap_14_when_the_source_of_news_is_gone_the_last_news_hold(gone: str, tmp_path: Path) -> None:
    """An outage of whatever says who is well must never empty a pool."""
    track = "track_file load {\nfile /run/load\nweight 1\n}\n"
    text = track + pool(member(21, TCP, "FILE_CHECK {\ntrack_file load\n}"), member(22))

    async def story(world: World) -> None:
        world.files["/run/load"] = "0"
        alive(world, 21)
        server(world, 22).behaviour = refuse()
        await world.later(20)
        before = len(world.backend.history)
        match gone:
            case "workers":
                for _ in range(60):
                    world.children[0].kill()
                    await world.later(1)
            case "file":
                world.path.unlink()
                world.reload()
            case _:
                del world.files["/run/load"]
                world.reload()
        await world.later(60)
        world.path.write_text(text)  # for the story's own eyes
        assert world.weights() == {21: 10, 22: 0}
        assert len(world.backend.history) == before

    play(story, text, tmp_path)
