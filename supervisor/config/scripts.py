"""Scripts and named pipes: command lines into `Script`s, and a look at what they name, which may be another machine's.

The only module of this room that looks at programs, users and groups. Whatever it finds wrong there is a warning that says what will
happen, never an error: files of a site are checked on machines that have none of its scripts.
Sources: keepalived.md, sections 1.3, 2.1 and 4.7.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from supervisor import programs
from supervisor.config.lexer import command_words
from supervisor.config.problems import Code, Problems
from supervisor.config.readers import Fault, quoted
from supervisor.config.tree import Node
from supervisor.config.values import Block, tolerated
from supervisor.model import Fifo, Script, ScriptSettings

PATH_MAX = 4096
"""Longest path, with its NUL (linux/limits.h)."""


class _Who(NamedTuple):
    user: str
    group: str


class Scripts:
    """Reads the scripts of one configuration. `defaults` is its global_defs."""

    def __init__(self, problems: Problems, defaults: Block) -> None:
        self._problems = problems
        self._secure: bool = defaults.get("enable_script_security", False)
        self._known: dict[tuple[str, ...], Script] = {}
        self._uid, self._gid = (
            cache(_uid),
            cache(_gid),
        )  # a directory service may be slow, and is asked for each server else
        self._nobody = _Who("", "")
        entry = defaults.entries.get("script_user")
        if entry is not None and entry.value:
            self._nobody = self._who(entry.node, 1)

    def read(self, block: Block, name: str) -> Script | None:
        """The script of a keyword, None where there is none (or none that can be read: a problem says so)."""
        entry = block.entries.get(name)
        if entry is None or not entry.value:
            return None
        node = entry.node
        words = node.words[1:]
        if words in self._known:  # thousands of servers mostly name the same one
            return self._known[words]
        argv, quote = command_words(words[0])
        if quote:
            message = f"the quote {quote} in the command is not closed"
            self._problems.add(Code.UNTERMINATED_QUOTE, node.place(1), message)
            return None
        if not argv or not argv[0] or any("\0" in argument for argument in argv):
            self._problems.add(Code.BAD_TEXT, node.place(1), f"{quoted(words[0])} is no command")
            return None
        who = self._who(node, 2) if len(words) > 1 else self._nobody
        self._look(argv[0], who, node)
        script = self._known[words] = Script(argv, who.user, who.group, self._secure)
        return script

    def read_check(self, block: Block) -> Script | None:
        """The script of a MISC_CHECK, whose user may also stand in a line of its own."""
        script = self.read(block, "misc_path")
        entry = block.entries.get("user")
        if script is None or entry is None or not entry.value:
            return script
        who = self._who(entry.node, 1)
        return replace(script, user=who.user, group=who.group)

    def settings(self, defaults: Block) -> ScriptSettings:
        """What global_defs says of scripts and pipes."""
        fifos = [self._fifo(defaults, name) for name in ("notify_fifo", "lvs_notify_fifo")]
        found: dict[str, Fifo] = {}
        for fifo in fifos:
            if fifo is None:
                continue
            if fifo.path in found:
                message = "notify_fifo names the same pipe, so each line is written once"
                self._problems.add(Code.NO_EFFECT, defaults.value_place("lvs_notify_fifo"), message)
            found.setdefault(fifo.path, fifo)
        return ScriptSettings(
            startup=self.read(defaults, "startup_script"),
            startup_timeout=defaults.get("startup_script_timeout", 10),
            shutdown=self.read(defaults, "shutdown_script"),
            shutdown_timeout=defaults.get("shutdown_script_timeout", 10),
            timeout=defaults.get("notify_timeout", 60),
            fifos=tuple(found.values()),
            at_start=defaults.get("rs_init_notifies", False),
        )

    def _fifo(self, defaults: Block, name: str) -> Fifo | None:
        entry = defaults.entries.get(name)
        script = self.read(defaults, f"{name}_script")
        if entry is None or not entry.value:
            if script is not None:
                message = f'"{name}_script" has no effect without "{name}"'
                self._problems.add(Code.NO_EFFECT, defaults.place(f"{name}_script"), message)
            return None
        node = entry.node
        fault = Fault(Code.EXTRA_WORDS, 4, f"extra words {quoted(' '.join(node.words[4:]))} after the pipe", last=-1)
        if len(node.words) > 4 and not tolerated(node, fault, self._problems):
            self._problems.add(fault.code, node.place(4, -1), fault.message)
            return None
        path = node.words[1]
        if not path.startswith("/") or len(os.fsencode(path)) >= PATH_MAX or "\0" in path:
            self._problems.add(Code.BAD_TEXT, node.place(1), f"{quoted(path)} is no path that begins with /")
            return None
        if _kind(path) not in {stat.S_IFIFO, None}:
            message = f"{path} is there and is no named pipe, so nothing will be written to it"
            self._problems.add(Code.NOT_A_FIFO, node.place(1), message, "name another path, or remove it")
        who = self._who(node, 2) if len(node.words) > 2 else _Who("", "")
        return Fifo(path, who.user, who.group, script)

    # Who and what they are

    def _who(self, node: Node, index: int) -> _Who:
        """User and group from the word `index` on, with what is wrong about them."""
        words = node.words[index : index + 2]
        if index == 1 and len(node.words) > 3:
            fault = Fault(
                Code.EXTRA_WORDS, 3, f"extra words {quoted(' '.join(node.words[3:]))} after the group", last=-1
            )
            if not tolerated(node, fault, self._problems):
                self._problems.add(fault.code, node.place(3, -1), fault.message)
        user, group = words[0], words[1] if len(words) > 1 else ""
        what = "it" if index > 1 else "a script without a user of its own"
        if self._uid(user) is None:
            message = f"there is no user {quoted(user)} here; where there is none, {what} will fail, loudly"
            self._problems.add(Code.NO_SUCH_ACCOUNT, node.place(index), message)
        elif self._uid(user) == 0 and not node.keyword.endswith("_fifo"):
            message = f"{what} runs as root, without root's capabilities: root's files are open to it, network settings are not"
            self._problems.add(Code.AS_ROOT, node.place(index), message)
        if group and self._gid(group) is None:
            message = f"there is no group {quoted(group)} here; where there is none, {what} will fail, loudly"
            self._problems.add(Code.NO_SUCH_ACCOUNT, node.place(index + 1), message)
        return _Who(user, group)

    def _look(self, name: str, who: _Who, node: Node) -> None:
        """Warn of a program that cannot be run as it stands."""
        problems, place = self._problems, node.place(1)
        found = _find(name)
        if "/" not in name:
            if not found:
                message = f"{quoted(name)} is in no folder of PATH; each run will fail, loudly"
                problems.add(Code.SCRIPT_MISSING, place, message, "write the whole path")
                return
            message = f"{quoted(name)} has no path; it is looked for in PATH at each run, here it means {found}"
            problems.add(Code.SCRIPT_BY_NAME, place, message, f"write {found}")
        elif not name.startswith("/"):
            message = f"{quoted(name)} begins without /; it is looked for below the root folder, where scripts run"
            problems.add(Code.SCRIPT_BY_NAME, place, message, "write the whole path")
        trouble = _trouble(found)
        if trouble is None:
            problems.add(Code.UNSEEN, place, f"{found} may not be looked at by us, so nothing is known about it")
        elif trouble:
            missing = "found" in trouble
            code = Code.SCRIPT_MISSING if missing else Code.SCRIPT_NOT_EXECUTABLE
            problems.add(code, place, f"{found}: {trouble}; each run will fail, loudly")
        elif self._secure and self._as_root(who) and (weak := programs.changeable(found)):
            message = f"{weak}; as root and with enable_script_security it will not be run"
            problems.add(Code.SCRIPT_CHANGEABLE, place, message)

    def _as_root(self, who: _Who) -> bool:
        """Whether somebody is root, or of root's group."""
        if self._uid(who.user) is None:
            return False
        return 0 in {self._uid(who.user), self._gid(who.group) if who.group else pwd.getpwnam(who.user).pw_gid}


def _find(name: str) -> str:
    search_path = os.environ.get("PATH", programs.SEARCH_PATH)
    return programs.find(name if name.startswith("/") or "/" not in name else f"/{name}", search_path)


def _trouble(path: str) -> str | None:
    try:
        return programs.trouble(path)
    except PermissionError:
        return None


def _uid(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None


def _gid(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None


def _kind(path: str) -> int | None:
    """The kind of a file, None when there is none to be seen."""
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except OSError:
        return None
