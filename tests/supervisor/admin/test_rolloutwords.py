"""What `plan` and `reload` show on a terminal."""

from __future__ import annotations

from typing import Any

from supervisor.admin.rolloutwords import plan, reload

VS = "203.0.113.100:80/tcp"
NOTHING: dict[str, Any] = {
    "virtual_servers_added": [],
    "virtual_servers_removed": [],
    "virtual_servers_changed": [],
    "real_servers_added": [],
    "real_servers_removed": [],
    "real_servers_changed": [],
    "settings": [],
}
CHANGES = NOTHING | {
    "virtual_servers_changed": [VS],
    "real_servers_added": [[VS, "192.168.100.23:80"]],
    "real_servers_removed": [[VS, "192.168.100.22:80"], [VS, "192.168.100.24:80"]],
    "settings": ["mail"],
}


def operation(name: str, server: str, old: int | None, new: int | None, active: int = 0) -> dict[str, Any]:
    facts = {"real_server": server, "weight_old": old, "weight_new": new, "active": active, "inactive": 0}
    return {"operation": name, "virtual_server": VS, **facts}


OPERATIONS = [
    operation("AddDestination", "192.168.100.23:80", None, 1),
    operation("ChangeDestination", "192.168.100.21:80", 1, 5, 7),
    operation("ChangeDestination", "192.168.100.22:80", 1, 0, 12),
    operation("DeleteDestination", "192.168.100.24:80", 1, None, 3),
]


def test_plan_shows_what_comes_goes_and_changes_with_who_is_connected() -> None:
    answer = {"file": "/etc/new.conf", "digest": "0123456789ab", "changes": CHANGES, "operations": OPERATIONS}
    assert plan(answer) == (
        "A reload with /etc/new.conf (0123456789ab) would do this:\n"
        "  ~ mail\n"
        "  203.0.113.100:80/tcp\n"
        "    + 192.168.100.23:80  weight 1\n"
        "    ~ 192.168.100.21:80  weight 1 → 5, 7 connections\n"
        "    - 192.168.100.22:80  weight 1 → 0, 12 connections; it leaves when they are done\n"
        "    - 192.168.100.24:80  weight 1, 3 connections are cut off\n"
    )


def test_plan_without_a_change_says_so() -> None:
    answer = {"file": "/etc/new.conf", "digest": "0123456789ab", "changes": NOTHING, "operations": []}
    assert plan(answer) == "A reload with /etc/new.conf would change nothing.\n"


def test_a_change_that_the_kernel_does_not_see_is_named_all_the_same() -> None:
    answer = {"file": "f", "digest": "d", "changes": NOTHING | {"virtual_servers_changed": [VS]}, "operations": []}
    assert "  203.0.113.100:80/tcp: nothing that the kernel sees\n" in plan(answer)


def test_who_goes_and_was_out_already_and_who_comes_and_is_out_yet_are_named() -> None:
    changes = NOTHING | {
        "virtual_servers_changed": [VS],
        "real_servers_added": [[VS, "192.168.100.25:80"], [VS, "192.168.100.26:80"]],
        "real_servers_removed": [[VS, "192.168.100.24:80"]],
    }
    operations = [operation("AddDestination", "192.168.100.25:80", None, 1)]
    assert plan({"file": "f", "digest": "d", "changes": changes, "operations": operations}) == (
        "A reload with f (d) would do this:\n"
        "  203.0.113.100:80/tcp\n"
        "    + 192.168.100.25:80  weight 1\n"
        "    + 192.168.100.26:80  not in the kernel's table at first\n"
        "    - 192.168.100.24:80  out already; it leaves\n"
    )


def test_reload_says_what_runs_and_that_it_is_on_trial() -> None:
    answer = {
        "digest": "0123456789ab",
        "warnings": 2,
        "settled": True,
        "confirm_within_s": 120.0,
        "changes": NOTHING,
        "operations": [],
    }
    assert reload(answer) == (
        "Configuration 0123456789ab runs, 2 warnings (see `vipervisor check`); nothing changed.\n"
        "The kernel is as wanted.\n"
        "ON TRIAL: the configuration before comes back in 120 s unless you say `vipervisor confirm`.\n"
    )


def test_plan_says_what_is_set_otherwise_though_the_kernel_does_not_see_it() -> None:
    servers = [f"192.168.100.2{number}:80" for number in range(1, 6)]
    edits = [
        {"virtual_server": VS, "real_servers": [], "text": "quorum 3 → 2"},
        {"virtual_server": VS, "real_servers": servers, "text": "HTTP_GET: delay_loop 6 → 2"},
        {"virtual_server": VS, "real_servers": [servers[0], servers[4]], "text": "weight 1 → 5"},
        {"virtual_server": VS, "real_servers": [servers[0]], "text": "weight 1 → 7"},
    ]
    changes = NOTHING | {"virtual_servers_changed": [VS]}
    operations = [operation("ChangeDestination", servers[0], 1, 5)]
    answer = {
        "file": "f",
        "digest": "d",
        "changes": changes,
        "operations": operations,
        "edits": edits,
        "edits_untold": 1,
    }
    assert plan(answer).splitlines()[1:] == [
        "  203.0.113.100:80/tcp",
        "    ~ 192.168.100.21:80  weight 1 → 5",
        "    ~ quorum 3 → 2",
        "    ~ 192.168.100.21:80, 192.168.100.22:80, 192.168.100.23:80 and 2 more  HTTP_GET: delay_loop 6 → 2",
        "    ~ 192.168.100.25:80  weight 1 → 5",
        "  and what changes in 1 more real server",
    ]
