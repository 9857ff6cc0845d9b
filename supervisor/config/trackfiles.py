"""`track_file` blocks: files whose number FILE_CHECKs watch, by name; and what the files say while the configuration is read.

A server's first weight hangs on them, because keepalived reads them before it adds anything to the table. Later readings are the
checker's (`checkers.file`). Source: keepalived.md, sections 2.5 and 3.6.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from checkers.kit.options import Json, Keyword, Kind
from checkers.kit.trackfile import FACTOR_MAX, Meaning, UnreadableFile, first_line, meaning
from supervisor.config import keywords
from supervisor.config.problems import Code, Problems
from supervisor.config.readers import Fault, integer, quoted
from supervisor.config.tree import Node
from supervisor.config.values import Block, read_block, report_unhandled
from supervisor.model import TrackFile

_T = TypeVar("_T")

_FACTOR = Keyword("weight", Kind.INTEGER, "what the value is multiplied with", low=-FACTOR_MAX, high=FACTOR_MAX)
_VALUE = Keyword("init_file", Kind.INTEGER, "value to begin with", low=-(2**31), high=2**31 - 1)


class First(NamedTuple):
    """What a FILE_CHECK adds to its options, and what its file said just now."""

    options: dict[str, Json]
    meaning: Meaning


class TrackFiles:
    """All track files of one configuration, by name. A block must stand above its first use."""

    def __init__(self, problems: Problems, nodes: list[Node]) -> None:
        self._problems = problems
        self._files: dict[str, TrackFile] = {}
        for node in nodes:
            self._read(node)

    @property
    def all(self) -> tuple[TrackFile, ...]:
        """Every track file, in the order of the configuration."""
        return tuple(self._files.values())

    def resolve(self, block: Block) -> First | None:
        """Return what the file of a FILE_CHECK says; None, with a problem, when it names none."""
        name: str = block.get("track_file", "")
        file = self._files.get(name)
        if file is None:
            if name:
                near = self._problems.suggest(name, self._files)
                hint = f'did you mean "{near}"?' if near else "add a track_file block of this name above"
                self._problems.add(
                    Code.TRACK_FILE, block.value_place("track_file"), f"no track_file {quoted(name)} stands above", hint
                )
            return None
        factor = file.factor
        entry = block.entries.get("weight")
        if entry is not None and entry.value:
            factor = self._factor(entry.node, entry.node.words, default=factor)
        return First({"path": file.path, "factor": factor}, self._first(file, factor, block.node))

    def _first(self, file: TrackFile, factor: int, node: Node) -> Meaning:
        if file.initial is not None and (file.overwrite or not Path(file.path).exists()):
            return meaning(str(file.initial), factor)
        try:
            return meaning(first_line(file.path), factor)
        except UnreadableFile as error:
            said = str(error) if file.path in str(error) else f"{file.path}: {error}"
            self._problems.add_once(Code.RISKY, file.path, node.place(), f"{said}; its value counts as 0")
            return meaning("", factor)

    def _read(self, node: Node) -> None:
        problems = self._problems
        if len(node.words) < 2:
            problems.add(Code.MISSING_VALUE, node.place(), f'"{node.keyword}" needs a name')
            return
        name = node.words[1]
        block = read_block(node, keywords.TRACK_FILE_TABLE, problems)
        report_unhandled(block, problems)
        path: str = block.get("file", "")
        if not path:
            return
        if name in self._files:
            problems.add(Code.TRACK_FILE, node.place(1), f"there is a track_file {quoted(name)} already")
            return
        factor, initial, overwrite = 1, None, False
        weight, init = block.entries.get("weight"), block.entries.get("init_file")
        if weight is not None and weight.value:
            factor = self._factor(weight.node, weight.node.words, default=1)
        if init is not None:
            initial, overwrite = self._initial(init.node)
        self._files[name] = TrackFile(name, path, factor, initial, overwrite=overwrite)

    def _factor(self, node: Node, words: tuple[str, ...], *, default: int) -> int:
        return self._safely(node, _factor_of, words, default)

    def _initial(self, node: Node) -> tuple[int, bool]:
        return self._safely(node, _initial_of, node.words, (0, False))

    def _safely(self, node: Node, read: Callable[[tuple[str, ...]], _T], words: tuple[str, ...], default: _T) -> _T:
        """Return what `read` makes of the words, or `default` and a problem."""
        try:
            return read(words)
        except Fault as fault:
            self._problems.add(fault.code, node.place(fault.index, fault.last), fault.message, fault.suggestion)
            return default


def _factor_of(words: tuple[str, ...]) -> int:
    """Read `weight N [reverse|noreverse]`. Raises Fault."""
    factor = integer(words, _FACTOR)
    if len(words) > 2 and words[2] not in {"reverse", "noreverse"}:
        raise Fault(Code.NOT_A_CHOICE, 2, f"expected reverse or noreverse, not {quoted(words[2])}")
    _require_no_more(words, 3)
    return -factor if words[2:] == ("reverse",) else factor


def _initial_of(words: tuple[str, ...]) -> tuple[int, bool]:
    """Read `init_file [VALUE] [overwrite]`. Raises Fault."""
    value, index = 0, 1
    if len(words) > 1 and words[1] != "overwrite":
        value, index = integer(words, _VALUE), 2
    if words[index : index + 1] not in {(), ("overwrite",)}:
        raise Fault(Code.NOT_A_CHOICE, index, f"expected overwrite, not {quoted(words[index])}")
    _require_no_more(words, index + 1)
    return value, len(words) > index


def _require_no_more(words: tuple[str, ...], count: int) -> None:
    if len(words) > count:
        extra = quoted(" ".join(words[count:]))
        raise Fault(Code.EXTRA_WORDS, count, f"extra words {extra} after {quoted(' '.join(words[:count]))}", last=-1)
