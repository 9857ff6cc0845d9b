"""The tree into the model: what the whole file means. Pure: statements in, `Config` and problems out.

Reads global_defs here and leaves virtual servers to `servers`, real servers to `realservers`, checks to `checks`.
A `Config` comes out whatever the problems are; it is only worth using when none of them is an error.
Sources: keepalived.md, sections 2.1 and 2.2.
"""

from __future__ import annotations

import re

from supervisor.config import keywords, processwide
from supervisor.config.checks import INTERFACE_NAME_MAX, Checks
from supervisor.config.files import Source
from supervisor.config.groups import Groups
from supervisor.config.problems import Code, Problems
from supervisor.config.readers import Fault, port, quoted
from supervisor.config.realservers import RealServers
from supervisor.config.servers import VirtualServers
from supervisor.config.trackfiles import TrackFiles
from supervisor.config.tree import Node
from supervisor.config.values import Block, read_block, report_unhandled, tolerated
from supervisor.model import Config, MailSettings

_HOST = re.compile(r"[A-Za-z0-9_.:-]{1,255}", re.ASCII)
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
    checks = Checks(
        problems,
        track_files,
        log_all_failures=defaults.get("checker_log_all_failures", False),
        alpha=defaults.get("check_before_add", False),
    )
    real_servers = RealServers(problems, checks, mail=True if alert is None else alert)
    groups = Groups(problems, [node for _, node in top.all("virtual_server_group")])
    virtual_servers = VirtualServers(problems, real_servers, groups, mail=False if alert is None else alert)
    for _, node in top.all("virtual_server"):
        virtual_servers.read(node)
    return Config(
        virtual_servers=tuple(virtual_servers.found.values()),
        mail=_mail(defaults, problems),
        router_id=defaults.get("router_id", ""),
        track_files=track_files.all,
        default_interface=_interface(defaults, problems),
        assign_addresses=defaults.get("virtual_server_addresses", True),
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


def _interface(defaults: Block, problems: Problems) -> str:
    name: str = defaults.get("default_interface", "eth0")
    if not 0 < len(name.encode()) <= INTERFACE_NAME_MAX or "/" in name:
        message = f"{quoted(name)} is no name of an interface (1 to {INTERFACE_NAME_MAX} characters, no /)"
        problems.add(Code.BAD_TEXT, defaults.value_place("default_interface"), message)
    return name


def _mail(defaults: Block, problems: Problems) -> MailSettings:
    server, server_port = _mail_server(defaults, problems)
    timeout: int = defaults.get("smtp_connect_timeout", 30)
    if timeout == 0:
        place = defaults.value_place("smtp_connect_timeout")
        problems.add(Code.CORRECTED, place, "smtp_connect_timeout is at least 1 s; 1 is taken")
        timeout = 1
    recipients: list[str] = []
    for word, node, index in defaults.get("notification_email", []):
        if word and _is_one_word(word):
            recipients.append(word)
        else:
            problems.add(Code.BAD_TEXT, node.place(index), f"{quoted(word)} is no mail address")
    for name in ("notification_email_from", "smtp_helo_name", "router_id"):
        text = defaults.get(name, "x")
        if not text.isprintable() or (name != "router_id" and not _is_one_word(text)):
            problems.add(Code.BAD_TEXT, defaults.value_place(name), f"{quoted(text)} cannot stand in a mail")
    return MailSettings(
        recipients=tuple(recipients),
        sender=defaults.get("notification_email_from", ""),
        server=server,
        port=server_port,
        connect_timeout=timeout,
        helo_name=defaults.get("smtp_helo_name", ""),
        every_check=not defaults.get("no_checker_emails", False),
    )


def _is_one_word(text: str) -> bool:
    """Whether the text has no blank, line end or control character in it, nor the brackets that mail puts around addresses."""
    return text.isprintable() and not re.search(r"[\s<>]", text)


def _mail_server(defaults: Block, problems: Problems) -> tuple[str, int]:
    """Host and port of `smtp_server HOST [PORT]`; a name is looked up when a mail is sent, never here."""
    entry = defaults.entries.get("smtp_server")
    if entry is None or not entry.value:
        return "", 25
    try:
        return _host_and_port(entry.node.words)
    except Fault as fault:
        if tolerated(entry.node, fault, problems):
            return _mail_server(defaults, problems)
        problems.add(fault.code, entry.node.place(fault.index, fault.last), fault.message, fault.suggestion)
        return "", 25


def _host_and_port(words: tuple[str, ...]) -> tuple[str, int]:
    """Raises Fault."""
    if len(words) > 3:
        raise Fault(Code.EXTRA_WORDS, 3, f'extra words {quoted(" ".join(words[3:]))} after "smtp_server"', last=-1)
    if _HOST.fullmatch(words[1]) is None:
        raise Fault(Code.BAD_TEXT, 1, f"{quoted(words[1])} is no host name and no address")
    return words[1], port(words[2], 2, zero_allowed=False) if len(words) > 2 else 25
