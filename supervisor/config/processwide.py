"""Values of global_defs that fit no kind of the keyword tables and that this version does not act on: checked all the same.

A file that is accepted today must not turn out to be wrong on the day on which such a keyword is handled.
Source: keepalived.md, section 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from checkers.kit.options import Keyword, Kind
from supervisor.config.problems import Code, Problems
from supervisor.config.readers import Fault, address, integer, quoted
from supervisor.config.tree import Node
from supervisor.config.values import tolerated

TIMEOUT_MAX_S = 2678400
PROCESS_NAME_MAX = 15
"""TASK_COMM_LEN of linux/sched.h, without its NUL."""

_SYNC_DAEMON = {
    "id": Keyword("id", Kind.INTEGER, "", low=0, high=255),
    "maxlen": Keyword("maxlen", Kind.INTEGER, "", low=1, high=65507),
    "port": Keyword("port", Kind.INTEGER, "", low=1, high=65535),
    "ttl": Keyword("ttl", Kind.INTEGER, "", low=1, high=255),
}


def check(node: Node, problems: Problems) -> None:
    """Complain of the values of one statement, if they are of a kind that is known here."""
    read = _CHECKS.get(node.keyword)
    if read is None or len(node.words) < 2 or node.children is not None:
        return
    try:
        read(node.words)
    except Fault as fault:
        if not tolerated(node, fault, problems):
            problems.add(fault.code, node.place(fault.index, fault.last), fault.message, fault.suggestion)


def _timeouts(words: tuple[str, ...]) -> None:
    """`tcp N`, `tcpfin N` and `udp N`, in any order. Raises Fault."""
    for index in range(1, len(words), 2):
        name = words[index]
        if name not in {"tcp", "tcpfin", "udp"}:
            raise Fault(Code.NOT_A_CHOICE, index, f"unknown time-out {quoted(name)}", "one of: tcp N, tcpfin N, udp N")
        if index + 1 == len(words):
            raise Fault(Code.MISSING_VALUE, index, f'"{words[0]} {name}" needs seconds (0 to {TIMEOUT_MAX_S})')
        integer(words, Keyword(name, Kind.INTEGER, "", unit="s", low=0, high=TIMEOUT_MAX_S), index + 1)


def _sync_daemon(words: tuple[str, ...]) -> None:
    """`INTERFACE [INSTANCE] [id N] [maxlen N] [port N] [ttl N] [group ADDRESS]`; a bare number is an id. Raises Fault."""
    index = 2
    if len(words) > 2 and words[2] not in {*_SYNC_DAEMON, "group"} and not words[2].isdigit():
        index = 3  # the VRRP instance that it follows
    while index < len(words):
        name = words[index]
        if name.isdigit():
            integer(words, _SYNC_DAEMON["id"], index)
            index += 1
            continue
        if name not in _SYNC_DAEMON and name != "group":
            message = f"unknown option {quoted(name)} of {words[0]}"
            raise Fault(Code.NOT_A_CHOICE, index, message, "one of: id maxlen port ttl group")
        if index + 1 == len(words):
            raise Fault(Code.MISSING_VALUE, index, f'"{words[0]} … {name}" needs a value')
        if name != "group":
            integer(words, _SYNC_DAEMON[name], index + 1)
        elif not address(words[index + 1], index + 1).is_multicast:
            raise Fault(Code.UNUSABLE_ADDRESS, index + 1, f"{words[index + 1]} is no multicast address")
        index += 2


def _process_name(words: tuple[str, ...]) -> None:
    if len(words[1].encode()) > PROCESS_NAME_MAX:
        raise Fault(Code.BAD_TEXT, 1, f"the name of a process has at most {PROCESS_NAME_MAX} characters")


def _umask(words: tuple[str, ...]) -> None:
    """An octal number, or the bits by name (IRUSR|IWGRP). Raises Fault."""
    if (
        re.fullmatch(r"0?[0-7]{1,3}|0[xX][0-9A-Fa-f]{1,3}|I[RWX](USR|GRP|OTH)(\|I[RWX](USR|GRP|OTH))*", words[1])
        is None
    ):
        raise Fault(Code.NOT_A_NUMBER, 1, f"{quoted(words[1])} is no umask", "three octal digits, such as 022")


def _at_most_three(words: tuple[str, ...]) -> None:
    if len(words) > 4:
        raise Fault(Code.EXTRA_WORDS, 4, f'extra words {quoted(" ".join(words[4:]))} after "{words[0]}"', last=-1)


_CHECKS: Mapping[str, Callable[[tuple[str, ...]], None]] = {
    "lvs_timeouts": _timeouts,
    "lvs_sync_daemon": _sync_daemon,
    "umask": _umask,
    **dict.fromkeys(
        ("process_name", "checker_process_name", "lvs_process_name", "vrrp_process_name", "bfd_process_name"),
        _process_name,
    ),
    **dict.fromkeys(("notify_fifo", "lvs_notify_fifo"), _at_most_three),
}
