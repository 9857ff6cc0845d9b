"""Blocks into values, as the keyword tables say. Everything it meets and does not understand is a problem.

`read_block` turns the statements of a block into `Entry`s with typed values; nothing here knows what the values are for.
A keyword that is not in the table is an error and takes its whole block with it, so that its neighbours are read as they stand.
Sources: keepalived.md, sections 1.3, 1.4 and 2.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from checkers.kit.options import Keyword, Kind
from supervisor.config import keywords
from supervisor.config.problems import Code, Place, Problems
from supervisor.config.readers import READERS, Fault, quoted, range_hint
from supervisor.config.tree import Node

_FIRST_OF_SEVERAL = re.compile(r"[0-9A-Fa-f.:]+(?=[-/])", re.ASCII)
"""The first address of a range or a network."""


class Entry(NamedTuple):
    """One keyword as it stands in a block.

    `value` is None when it was no value (a problem then says so), and a list of (value, node) where the keyword may be repeated.
    """

    value: Any
    node: Node
    order: int  # its number among the statements of the block
    before: Entry | None = None  # the same keyword further up in the block, which this one replaces


class Block:
    """The understood statements of one block, by the modern spelling of their keyword."""

    __slots__ = ("entries", "node", "unhandled")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.entries: dict[str, Entry] = {}
        self.unhandled: list[Node] = []

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a keyword, or `default` where it does not stand."""
        entry = self.entries.get(name)
        return default if entry is None or entry.value is None else entry.value

    def as_of(self, name: str, order: int) -> Any:
        """The value of a keyword at the statement `order` of the block: what stands further down does not count. None: none yet."""
        entry = self.entries.get(name)
        while entry is not None and (entry.order > order or entry.value is None):
            entry = entry.before
        return None if entry is None else entry.value

    def all(self, name: str) -> list[tuple[Any, Node]]:
        """Every (value, node) of a keyword that may be repeated."""
        entry = self.entries.get(name)
        return [] if entry is None else entry.value

    def place(self, name: str) -> Place:
        """Where a keyword stands, or the keyword of the block where it does not."""
        entry = self.entries.get(name)
        return self.node.place() if entry is None else entry.node.place()

    def value_place(self, name: str) -> Place:
        """Where the words after a keyword stand."""
        node = self.entries[name].node
        return node.place(1, -1) if len(node.words) > 1 else node.place()


def read_block(node: Node, table: keywords.Table, problems: Problems) -> Block:
    """The values in a block. Keywords that are known but not handled are left in `unhandled` for the caller to tell of."""
    block = Block(node)
    entries = block.entries
    order = 0
    for child in node.children or ():
        order += 1
        keyword = table.get(child.words[0])
        if keyword is None:
            report_unknown(child, table, problems)
            continue
        if not keyword.handled:
            block.unhandled.append(child)
            if keyword.kind is not Kind.BLOCK and not (keyword.kind is Kind.TEXTS and keyword.optional_value):
                _checked(child, keyword, table, problems)
            continue
        value = _checked(child, keyword, table, problems)
        name = keyword.alias_of or keyword.name
        if keyword.alias_of and keyword.deprecated:
            note = f'"{keyword.name}" is the old spelling of "{name}"'
            problems.add_once(Code.OLD_SPELLING, keyword.name, child.place(), note)
        _enter(entries, name, keyword, Entry(value, child, order), problems)
    for keyword in table.required:
        if keyword.name not in entries:
            message = f'"{node.keyword}" needs "{keyword.name}" in its block: {keyword.help}'
            problems.add(Code.MISSING_KEYWORD, node.place(), message)
    return block


def _checked(node: Node, keyword: Keyword, table: keywords.Table, problems: Problems) -> Any:
    """The value of a statement; None, with a problem, when it is none."""
    try:
        return _value(node, keyword, table, problems)
    except Fault as fault:
        if fault.code is Code.EXTRA_WORDS and not fault.suggestion and node.words[fault.index] in table:
            rest = " ".join(node.words[fault.index :])
            fault.suggestion = f"put {quoted(rest)} on a line of its own"
        if tolerated(node, fault, problems):
            return _checked(node, keyword, table, problems)
        problems.add(fault.code, node.place(fault.index, fault.last), fault.message, fault.suggestion)
        return fault.value


def tolerated(node: Node, fault: Fault, problems: Problems) -> bool:
    """Whether the operator lets be ignored what is wrong: words behind the value, the rest of a range. It is cut off then."""
    if not problems.lenient:
        return False
    if fault.code is Code.NOT_AN_ADDRESS and fault.index == 1 and (first := _FIRST_OF_SEVERAL.match(node.words[1])):
        message = f"{fault.message}; only {first[0]} is taken, as keepalived does"
        problems.add(Code.IGNORED, node.place(1), message, fault.suggestion)
        node.words = (node.words[0], first[0], *node.words[2:])
        return True
    behind = (
        fault.index if fault.code is Code.EXTRA_WORDS else 2
    )  # a tunnel is taken without any of its details, or with all
    if fault.code is not Code.EXTRA_WORDS and not (fault.code is Code.BAD_METHOD and fault.index >= behind):
        return False
    message = f"{fault.message}; ignored, as keepalived does"
    problems.add(Code.IGNORED, node.place(behind, -1), message, fault.suggestion)
    node.words = node.words[:behind]
    return True


def _enter(entries: dict[str, Entry], name: str, keyword: Keyword, entry: Entry, problems: Problems) -> None:
    """Add up what adds up; of the rest the last one counts, and that is worth a warning."""
    before = entries.get(name)
    kind = keyword.kind
    if kind is Kind.TEXTS or kind is Kind.STATUS_RANGES or kind is Kind.RAW_BLOCK:
        if before is not None and before.value is not None:
            before.value.extend(entry.value or [])
            entry = entry._replace(value=before.value)
        entries[name] = entry
    elif keyword.repeat:
        value = [] if entry.value is None else [(entry.value, entry.node)]
        if before is None:
            entries[name] = entry._replace(value=value)
        else:
            before.value.extend(value)
    else:
        if before is not None and entry.value is None:
            return  # a line that is none takes nothing away
        if before is not None:
            where = before.node.where(entry.node)
            message = f'"{name}" stands in this block twice; this one counts, not the one in {where}'
            problems.add(Code.REPEATED, entry.node.place(), message)
            entry = entry._replace(before=before)
        entries[name] = entry


def report_unknown(node: Node, table: keywords.Table, problems: Problems) -> None:
    """An unknown keyword, or one in the wrong block. Its block is skipped by whoever calls this."""
    word = node.keyword
    home = keywords.homes().get(word)
    near = problems.suggest(word, table)
    hint = f'did you mean "{near}"?' if near else ""
    message = f"unknown keyword {quoted(word)}"
    if home is not None:
        message, hint = f"{quoted(word)} does not belong here", f"it belongs in {home}"
    elif re.fullmatch(r"\$\w+", word) and len(node.words) > 1 and node.words[1].startswith("="):
        hint = f"no blank may stand before the = of a definition: {word}=…"
    elif word.startswith("include"):
        hint = "include must be the first word of its line"
    elif not word.isascii():
        odd = next(character for character in word if not character.isascii())
        hint = hint or f"it has the character U+{ord(odd):04X} in it"
    if node.children:
        message += "; its block is skipped"
    if problems.lenient:
        rest = "" if len(node.words) == 1 else f" with {quoted(' '.join(node.words[1:]))}"
        problems.add(Code.IGNORED, node.place(0, -1), f"{message}; ignored{rest}", hint)
        return
    problems.add(Code.UNKNOWN_KEYWORD, node.place(), message, hint)


def report_unhandled(block: Block, problems: Problems, *, once: bool = False) -> None:
    """Warn of each keyword that keepalived knows and this version does not act on; `once`: only where it stands first."""
    for node in block.unhandled:
        message = f'"{node.keyword}" is not handled by this version'
        if once:
            problems.add_once(Code.NOT_HANDLED, node.keyword, node.place(), message)
        else:
            problems.add(Code.NOT_HANDLED, node.place(), message)


def _value(node: Node, keyword: Keyword, table: keywords.Table, problems: Problems) -> Any:
    """The value of one statement. Raises Fault."""
    kind = keyword.kind
    if kind is Kind.BLOCK or kind is Kind.RAW_BLOCK:
        return _block_value(node, keyword, table, problems)
    words = node.words
    if node.children is not None:
        raise Fault(Code.UNEXPECTED_BLOCK, 0, f'"{keyword.name}" takes no block')
    least, most, read = READERS[kind]
    count = len(words) - 1
    if count < least:
        if keyword.optional_value:
            return keyword.default
        raise Fault(Code.MISSING_VALUE, 0, f'"{keyword.name}" needs a value: {keyword.help}{range_hint(keyword)}')
    if most is not None and count > most:
        extra = " ".join(words[most + 1 :])
        plural = "extra words" if count - most > 1 else "extra word"
        raise Fault(Code.EXTRA_WORDS, most + 1, f'{plural} {quoted(extra)} after "{keyword.name}"', last=-1)
    return read(words, keyword)


def _block_value(node: Node, keyword: Keyword, table: keywords.Table, problems: Problems) -> Any:
    """A node to be read by the caller, or the inner block, or the words of a raw block."""
    if node.children is None:
        raise Fault(Code.MISSING_BLOCK, 0, f'"{keyword.name}" needs a block: {{ … }}')
    if keyword.kind is Kind.RAW_BLOCK:
        if len(node.words) > 1:
            raise Fault(Code.EXTRA_WORDS, 1, f'extra words after "{keyword.name}"', last=-1)
        for child in node.children:
            if child.children is not None:
                problems.add(Code.UNEXPECTED_BLOCK, child.place(), f'"{keyword.name}" holds words, not blocks')
        return [(word, child, index) for child in node.children for index, word in enumerate(child.words)]
    if keyword.name in _HEADED:
        return node
    if len(node.words) > 1:
        extra = quoted(" ".join(node.words[1:]))
        raise Fault(Code.EXTRA_WORDS, 1, f'extra words {extra} before the block of "{keyword.name}"', last=-1)
    inner_table = table.inner.get(keyword.name)
    if inner_table is None:
        return node
    inner = read_block(node, inner_table, problems)
    report_unhandled(inner, problems)
    return inner


_HEADED = frozenset({"virtual_server", "virtual_server_group", "real_server", "track_file", "vrrp_track_file"})
"""Blocks with words between the keyword and the brace."""
