"""What people are told by mail, and when, while the whole program runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio

from supervisor import notify
from tests.fakes.behaviours import healthy, refuse
from tests.sim.world import World, play

GLOBAL = """
global_defs {
    notification_email { admin@example.org }
    notification_email_from lvs@example.org
    smtp_server 203.0.113.200
    router_id LVS
    virtual_server_addresses off
    smtp_alert on
    smtp_group_within 1
}
"""
CHECK = "TCP_CHECK {\n connect_timeout 1\n retry 1\n delay_before_retry 1\n }"


def virtual_server(head: str, *lasts: int, more: str = "") -> str:
    servers = "\n".join(f"real_server 192.168.100.{last} 80 {{\n {CHECK}\n }}" for last in lasts)
    return (
        f"virtual_server {head} {{\n delay_loop 5\n lb_algo rr\n lb_kind NAT\n protocol TCP\n {more}\n {servers}\n}}\n"
    )


def alive(world: World, *lasts: int) -> None:
    for last in lasts:
        world.network.server(f"192.168.100.{last}", 80)


def dead(world: World, *lasts: int) -> None:
    for last in lasts:
        world.network.server(f"192.168.100.{last}", 80).behaviour = refuse()


async def take(world: World) -> list[str]:
    """The subjects of the mails since the last time, after half a minute."""
    await world.later(30)
    found = [subject.removeprefix("[LVS] ") for subject in world.subjects()]
    world.mails.clear()
    return found


def test_the_addresses_of_a_group_are_told_once_by_the_name_of_the_group(tmp_path: Path) -> None:
    members = "203.0.113.10-13 80\nfwmark 7\n"
    text = f"{GLOBAL}virtual_server_group web {{\n{members}}}\n" + virtual_server("group web", 21, 22, 23)

    async def story(world: World) -> None:
        alive(world, 21, 22, 23)
        assert await take(world) == ["Virtualserver [web]:0 - UP"]
        world.reload(text.replace(virtual_server("group web", 21, 22, 23), virtual_server("group web", 21, 22)))
        assert await take(world) == ["Realserver [192.168.100.23]:tcp:80 of virtual server [web]:0 - DOWN"]
        dead(world, 21)
        assert await take(world) == ["Realserver [192.168.100.21]:tcp:80 of virtual server [web]:0 - DOWN"]
        dead(world, 22)
        assert await take(world) == [
            "Realserver [192.168.100.22]:tcp:80 of virtual server [web]:0 - DOWN",
            "Virtualserver [web]:0 - DOWN",
        ]
        assert {len(service.destinations) for service in world.backend.table.services.values()} == {0}

    play(story, text, tmp_path)


def test_when_the_first_address_of_a_group_is_taken_out_the_next_one_tells(tmp_path: Path) -> None:
    text = f"{GLOBAL}virtual_server_group web {{\n203.0.113.10-11 80\n}}\n" + virtual_server("group web", 21)

    async def story(world: World) -> None:
        alive(world, 21)
        await take(world)
        world.reload(text.replace("203.0.113.10-11 80", "203.0.113.11 80"))
        await take(world)
        dead(world, 21)
        assert await take(world) == [
            "Realserver [192.168.100.21]:tcp:80 of virtual server [web]:0 - DOWN",
            "Virtualserver [web]:0 - DOWN",
        ]

    play(story, text, tmp_path)


def test_a_rack_that_fails_is_one_mail_of_the_whole_program(tmp_path: Path) -> None:
    lasts = range(20, 140)
    alike = GLOBAL.replace(
        "smtp_group_within", "sentinel no\n    smtp_group_within"
    )  # all come back in the same second
    text = alike + virtual_server("203.0.113.1 80", *lasts) + virtual_server("203.0.113.2 80", 140)

    async def story(world: World) -> None:
        alive(world, *lasts, 140)
        assert len(await take(world)) == 2  # each quorum
        dead(world, *lasts)
        assert await take(world) == ["121 changes: 120 real servers DOWN, 1 virtual server DOWN"]
        alive_again = [world.network.server(f"192.168.100.{last}", 80) for last in lasts]
        for server in alive_again:
            server.behaviour = world.network.server("192.168.100.140", 80).behaviour
        assert await take(world) == ["121 changes: 120 real servers UP, 1 virtual server UP"]

    play(story, text, tmp_path)


@pytest.mark.parametrize("count", [2, 20])
def test_mail_of_the_stop_is_delivered_before_the_program_ends(tmp_path: Path, count: int) -> None:
    lasts = range(21, 21 + count)
    text = GLOBAL + virtual_server("203.0.113.1 80", *lasts, more="omega")

    async def story(world: World) -> None:
        alive(world, *lasts)
        await take(world)
        begin = trio.current_time()
        world.stop()
        await world.ended.wait()
        assert trio.current_time() - begin < 1
        texts = "".join(text for text, _ in world.mails)
        assert texts.count("=> Shutting down <=") == count
        assert len(world.mails) == (2 if count == 2 else 1)

    play(story, text, tmp_path)


def test_a_check_that_succeeds_for_the_first_time_is_no_news(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21, 22)
        assert await take(world) == ["Virtualserver [203.0.113.1]:tcp:80 - UP"]

    play(story, GLOBAL + virtual_server("203.0.113.1 80", 21, 22), tmp_path)


def test_with_alpha_the_first_success_is_what_brings_a_server_up(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21)
        dead(world, 22)
        assert await take(world) == [
            "Realserver [192.168.100.21]:tcp:80 of virtual server [203.0.113.1]:tcp:80 - UP",
            "Virtualserver [203.0.113.1]:tcp:80 - UP",
        ]

    play(story, GLOBAL + virtual_server("203.0.113.1 80", 21, 22, more="alpha"), tmp_path)


def test_a_reload_that_wants_the_first_mails_of_a_program_whose_files_are_gone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = virtual_server("203.0.113.10 80", 21)
    with_mail = GLOBAL + server
    without = with_mail.replace(" smtp_server 203.0.113.200\n", "").replace("    smtp_server 203.0.113.200\n", "")

    async def story(world: World) -> None:
        alive(world, 21)
        await world.later(30)
        with monkeypatch.context() as upgraded:
            upgraded.delattr(notify, "_message", raising=False)
            upgraded.setitem(sys.modules, "supervisor.notify._message", None)
            world.reload(with_mail)
            await world.later(5)
        (refused,) = world.events("config.rejected")
        assert "what sends mails cannot be loaded (ModuleNotFoundError" in refused["message"]
        assert refused["suggestion"].startswith("restart the daemon")
        dead(world, 21)
        await world.later(30)
        assert {len(service.destinations) for service in world.backend.table.services.values()} == {0}
        assert not world.mails
        world.reload(with_mail)
        await world.later(5)
        world.network.server("192.168.100.21", 80).behaviour = healthy()
        assert "Realserver [192.168.100.21]:tcp:80 of virtual server [203.0.113.10]:tcp:80 - UP" in await take(world)

    play(story, without, tmp_path)
