"""Looks for other programs that write the IPVS table of this network namespace: two writers undo each other's work.

Reads /proc and nothing else; what may not be read is left out or told as unsure, so that it works for every user and never stops a
start. Sources: proc(5); keepalived(8), option -P; ldirectord(8); kube-proxy's --proxy-mode.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from checkers.kit.frozen import frozen

RIVALS_MAX = 16
"""As many are told of; a keepalived alone has three processes, of which only the first is."""


@frozen
class Rival:
    """A program that writes, or may write, the table too. `sure` is False when its network namespace is not to be seen."""

    program: str
    pid: int
    sure: bool

    @property
    def advice(self) -> str:
        """What to do about it."""
        return _ADVICE.get(self.program, "stop it, or take its services out of one of the two configurations")


_ADVICE = {
    "keepalived": "stop it, or run it with -P (VRRP only), or start vipervisor with --dry-run beside it",
    "vipervisor": "stop one of the two",
    "kube-proxy": "give it another proxy mode than ipvs, or keep its services and ours apart",
}


def find(processes: Path = Path("/proc"), ourselves: int | None = None) -> tuple[Rival, ...]:
    """Return the programs that may write our table, by process id; of a program and its children only the program. Blocks a little."""
    me = os.getpid() if ourselves is None else ourselves
    mine = _namespace(processes / str(me))
    found: dict[int, tuple[Rival, int]] = {}
    try:
        pids = sorted(int(folder.name) for folder in processes.iterdir() if folder.name.isdecimal())
    except OSError:
        return ()
    for pid in pids:
        folder = processes / str(pid)
        program = _program(folder)
        if not program or pid == me:
            continue
        theirs = _namespace(folder)
        if mine and theirs and mine != theirs:
            continue
        found[pid] = Rival(program, pid, sure=bool(mine and theirs)), _parent(folder)
    first = [rival for rival, parent in found.values() if parent not in found and parent != me]
    return tuple(first[:RIVALS_MAX])


def _program(folder: Path) -> str:
    """Return the name under which a process is known as a writer, "" when it is none."""
    try:
        arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return ""
    if not arguments:  # a kernel thread, or a process that is just ending
        return ""
    names = [Path(word).name for word in arguments[:4]]
    if names[0].startswith("keepalived"):
        return "" if _has(arguments, "P", ("--vrrp",)) else "keepalived"
    if "ldirectord" in names:
        return "ldirectord"
    if _is_vipervisor(arguments, names):
        harmless = "--dry-run" in arguments or any("memory" in word for word in arguments)
        return "" if harmless else "vipervisor"
    if names[0] == "kube-proxy":
        return "kube-proxy" if any("ipvs" in word for word in arguments) else ""
    return "kube-router" if names[0] == "kube-router" else ""


def _is_vipervisor(arguments: Sequence[str], names: Collection[str]) -> bool:
    as_module = any(pair == ("-m", "supervisor") for pair in itertools.pairwise(arguments))
    return (as_module or "vipervisor" in names) and "run" in arguments


def _has(arguments: Sequence[str], letter: str, long: Collection[str]) -> bool:
    """Tell whether an option is given, also as one letter among others (-nP)."""
    return any(
        word in long or (word.startswith("-") and not word.startswith("--") and letter in word)
        for word in arguments[1:]
    )


def _namespace(folder: Path) -> str:
    """Return the network namespace of a process, "" where that is not to be seen."""
    try:
        return str((folder / "ns" / "net").readlink())
    except OSError:
        return ""


def _parent(folder: Path) -> int:
    try:
        words = (folder / "stat").read_text().rpartition(")")[2].split()
        return int(words[1])
    except (OSError, ValueError, IndexError):
        return 0
