"""The tree into the model: what the whole file means. Pure: statements in, `Config` and problems out.

Reads global_defs here and leaves what they say of mail to `mail`, virtual servers to `servers`, real servers to `realservers`, and
checks to `checks`.
A `Config` comes out whatever the problems are; it is only worth using when none of them is an error.
Sources: keepalived.md, sections 2.1 and 2.2.
"""

from __future__ import annotations

from supervisor.config import kernelsettings, keywords, mail, minhealthy, processwide, secure
from supervisor.config.checks import INTERFACE_NAME_MAX, Checks, Intervals, Wherever
from supervisor.config.files import Source
from supervisor.config.groups import Groups
from supervisor.config.problems import Code, Problems
from supervisor.config.readers import quoted
from supervisor.config.realservers import RealServers
from supervisor.config.scripts import Scripts
from supervisor.config.servers import Everywhere, VirtualServers
from supervisor.config.trackfiles import TrackFiles
from supervisor.config.tree import Node
from supervisor.config.values import Block, read_block, report_unhandled
from supervisor.model import DRIFT_GRACE_DEFAULT_S, PROBE_RATE_DEFAULT, BlameSettings, Config

COMPAT = frozenset({"urls_one_by_one"})
"""What `compat` may ask for."""

_NOWHERE = Source("", [""])
_TRACK_FILES = ("track_file", "vrrp_track_file")


def build(statements: list[Node], problems: Problems) -> Config:
    """The configuration that the statements of a file ask for. `source`, `digest`, `files` and `warnings` are the caller's."""
    root = Node(("",), _NOWHERE, 1, 0)
    root.children = statements
    top = read_block(root, keywords.ROOT_TABLE, problems)
    report_unhandled(top, problems, once=True)
    defaults = _global_defs(top, problems)
    alert = defaults.get("smtp_alert_checker", defaults.get("smtp_alert"))
    track_files = TrackFiles(problems, [node for name in _TRACK_FILES for _, node in top.all(name)])
    scripts = Scripts(problems, defaults)
    wherever = Wherever(
        log_all_failures=defaults.get("checker_log_all_failures", False),
        alpha=defaults.get("check_before_add", False),
        urls_one_by_one="urls_one_by_one" in _compat(defaults, problems),
        sentinel=defaults.get("sentinel"),
        fast_retry=defaults.get("fast_retry"),
        intervals=Intervals(*(defaults.get(name) for name in Intervals._fields)),
    )
    checks = Checks(problems, track_files, scripts, secure.read(top, problems), wherever)
    real_servers = RealServers(problems, checks, scripts, mail=True if alert is None else alert)
    groups = Groups(problems, [node for _, node in top.all("virtual_server_group")])
    everywhere = Everywhere(
        mail=False if alert is None else alert,
        drain_timeout=defaults.get("drain_timeout", keywords.DRAIN_TIMEOUT_DEFAULT_S),
        drift_policy=defaults.get("drift_policy", "repair"),
        drift_grace=defaults.get("drift_grace", DRIFT_GRACE_DEFAULT_S),
        min_healthy=minhealthy.read(defaults, problems),
    )
    virtual_servers = VirtualServers(problems, real_servers, groups, scripts, everywhere)
    # The tree stays whole meanwhile: what is made of it, and lives on, would else lie scattered over the places that it leaves.
    for _, node in top.all("virtual_server"):
        virtual_servers.read(node)
    return Config(
        virtual_servers=tuple(virtual_servers.found.values()),
        mail=mail.read(defaults, problems),
        kernel=kernelsettings.read(defaults, virtual_servers.found.values(), problems),
        router_id=defaults.get("router_id", ""),
        track_files=track_files.all,
        default_interface=_interface(defaults, problems),
        assign_addresses=defaults.get("virtual_server_addresses", True),
        scripts=scripts.settings(defaults),
        blame=BlameSettings(defaults.get("self_blame", True), defaults.get("self_blame_hold", 600.0)),
        probe_rate_max=defaults.get("probe_rate_max", PROBE_RATE_DEFAULT),
    )


def _global_defs(top: Block, problems: Problems) -> Block:
    """All global_defs blocks as if they were one."""
    blocks = [node for _, node in top.all("global_defs")]
    whole = Node(("global_defs",), _NOWHERE, 1, 0)
    whole.children = [child for node in blocks for child in node.children or ()]
    block = read_block(whole, keywords.GLOBAL_DEFS_TABLE, problems)
    report_unhandled(block, problems, once=True)
    for node in block.unhandled:
        processwide.check(node, problems)
    return block


def _compat(defaults: Block, problems: Problems) -> frozenset[str]:
    """What is to be done as keepalived does it (keepalived.md, section 10)."""
    words = frozenset(defaults.get("compat", ()))
    for word in sorted(words - COMPAT):
        near = problems.suggest(word, COMPAT)
        message = f"compat knows no {quoted(word)}"
        hint = f'did you mean "{near}"?' if near else f"one of: {' '.join(sorted(COMPAT))}"
        problems.add(Code.NOT_A_CHOICE, defaults.value_place("compat"), message, hint)
    return words


def _interface(defaults: Block, problems: Problems) -> str:
    name: str = defaults.get("default_interface", "eth0")
    if not 0 < len(name.encode()) <= INTERFACE_NAME_MAX or "/" in name:
        message = f"{quoted(name)} is no name of an interface (1 to {INTERFACE_NAME_MAX} characters, no /)"
        problems.add(Code.BAD_TEXT, defaults.value_place("default_interface"), message)
    return name
