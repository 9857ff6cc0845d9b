"""Values of global_defs that fit no kind of the keyword tables and that this version does not act on: checked all the same.

A file that is accepted today must not turn out to be wrong on the day on which such a keyword is handled.
Source: keepalived.md, section 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from supervisor.config.problems import Code, Problems
from supervisor.config.readers import Fault, quoted
from supervisor.config.tree import Node
from supervisor.config.values import tolerated

PROCESS_NAME_MAX = 15
"""TASK_COMM_LEN of linux/sched.h, without its NUL."""


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


_CHECKS: Mapping[str, Callable[[tuple[str, ...]], None]] = {
    "umask": _umask,
    **dict.fromkeys(
        ("process_name", "checker_process_name", "lvs_process_name", "vrrp_process_name", "bfd_process_name"),
        _process_name,
    ),
}
