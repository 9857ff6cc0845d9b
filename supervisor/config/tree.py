"""Pieces into a tree: statements, and the blocks that braces make of them. Knows nothing about keywords but which ones stand outermost.

A `Node` is one statement with its place and, if it opened a block, the statements in it. Braces that do not fit are told
of at once: a missing one where its block was opened, an extra one where it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from supervisor.config.expand import Lines
from supervisor.config.files import Origin
from supervisor.config.lexer import CLOSE, OPEN
from supervisor.config.problems import Code, Place, Problems

MAX_DEPTH = 32
"""Blocks inside blocks; the deepest that mean anything are five deep."""

MAX_STATEMENTS = 2_000_000
"""Statements and braces of one configuration: what bounds the memory (some 300 bytes each); the largest known have 200,000."""

Brace: TypeAlias = tuple[Origin, int, int]
"""Where a brace stands: origin, line, index of its token."""


class Node:
    """One statement. `words[0]` is its keyword; `children` is None unless it opened a block."""

    __slots__ = ("brace", "children", "first", "line", "origin", "words")

    def __init__(self, words: tuple[str, ...], origin: Origin, line: int, first: int) -> None:
        self.words = words
        self.origin = origin
        self.line = line
        self.first = first
        self.children: list[Node] | None = None
        self.brace: Brace | None = None

    @property
    def keyword(self) -> str:
        """The first word."""
        return self.words[0]

    def where(self, seen_from: Node) -> str:
        """Its line, and its file where that is another one than that of the statement whose message points at it."""
        here, there = self.place(), seen_from.place()
        return f"line {here.line}" if here.file == there.file else f"{here.file}, line {here.line}"

    def place(self, index: int = 0, last: int | None = None) -> Place:
        """Where the word `index` stands, or all from there to the word `last` (-1: to the end)."""
        end = index if last is None else last % len(self.words)
        return self.origin.place(self.line, self.first + index, self.first + end)


def parse(lines: Lines, problems: Problems, outermost: frozenset[str], inside: Mapping[str, str]) -> list[Node]:
    """The statements of a whole configuration. Raises GivenUp.

    `outermost` are keywords of blocks that stand in no other block, `inside` maps a block's keyword to the only block that it may stand
    in. Where one of them opens a block too deep inside, the brace that was forgotten before it is told of, and the blocks after it
    are read as if it were there.
    """
    tree = _Tree(problems, outermost, inside)
    siblings = tree.top
    previous: Node | None = None  # the statement that a brace would belong to
    count = 0
    for origin, number, line_pieces in lines:
        count += len(line_pieces)
        if count > MAX_STATEMENTS:
            message = f"more than {MAX_STATEMENTS} statements"
            problems.give_up(Code.TOO_MUCH_TEXT, origin.place(number, 0, 0), message)
        for words, first in line_pieces:
            if words is OPEN:
                siblings = tree.open(previous, siblings, (origin, number, first))
                previous = None
            elif words is CLOSE:
                siblings = tree.close((origin, number, first))
                previous = None
            else:
                previous = Node(words, origin, number, first)
                siblings.append(previous)
    tree.report_missing(tree.stack[:MAX_DEPTH], None)  # of deeper ones it is told that they are too deep
    return tree.top


class _Tree:
    """The blocks that are open while the text is read, outermost first."""

    def __init__(self, problems: Problems, outermost: frozenset[str], inside: Mapping[str, str]) -> None:
        self.top: list[Node] = []
        self.stack: list[Node] = []
        self._problems = problems
        self._outermost = outermost
        self._inside = inside

    def open(self, node: Node | None, siblings: list[Node], brace: Brace) -> list[Node]:
        """Open the block of `node`, the last of `siblings`. Returns where its statements go."""
        stack, problems = self.stack, self._problems
        origin, line, first = brace
        if node is None:
            node = Node(("{",), origin, line, first)  # in nobody's list: its block is skipped
            problems.add(Code.BLOCK_WITHOUT_KEYWORD, node.place(), "a block needs a keyword before its brace")
        elif stack:
            self._put_where_it_belongs(node, siblings)
            if len(stack) >= MAX_DEPTH:
                message = f"blocks are nested more than {MAX_DEPTH} deep"
                problems.add_once(Code.UNEXPECTED_BLOCK, "depth", origin.place(line, first, first), message)
                siblings.pop()
        node.children = []
        node.brace = brace
        stack.append(node)
        return node.children

    def close(self, brace: Brace) -> list[Node]:
        """Close the innermost block. Returns where the statements after it go."""
        if self.stack:
            self.stack.pop().brace = None  # it matters for as long as it is open
        else:
            origin, line, first = brace
            message = "this brace closes nothing; is one before it too many?"
            self._problems.add(Code.EXTRA_BRACE, origin.place(line, first, first), message)
        outer = self.stack[-1].children if self.stack else None
        return self.top if outer is None else outer

    def _put_where_it_belongs(self, node: Node, siblings: list[Node]) -> None:
        """Move a node whose block cannot stand here to where it can, closing what was left open."""
        stack, keyword = self.stack, node.words[0]
        if keyword in self._outermost:
            depth, owner = 0, self.top
        else:
            parent = self._inside.get(keyword)
            if parent is None or stack[-1].words[0] == parent:
                return
            if len(stack) > MAX_DEPTH:
                return  # told of already, and looking through all of them each time takes for ever
            depth = next((index for index in range(len(stack), 0, -1) if stack[index - 1].words[0] == parent), 0)
            if depth == 0 or any(open_node.words[0] not in self._inside for open_node in stack[depth:]):
                return  # or an unknown block that holds such a thing, and is skipped with it
            owner = stack[depth - 1].children or []
        siblings.pop()
        self.report_missing(stack[depth:], node)
        del stack[depth:]
        owner.append(node)

    def report_missing(self, nodes: list[Node], found: Node | None) -> None:
        """Tell of blocks that are still open where `found`, or the end of the file, closes them."""
        for node in nodes:
            where = (
                "before the end of the file" if found is None else f'before "{found.keyword}" in {found.where(node)}'
            )
            assert node.brace is not None  # it is open
            origin, line, first = node.brace
            message = f'the block of "{node.keyword}" that opens here is not closed {where}'
            self._problems.add(Code.MISSING_BRACE, origin.place(line, first, first), message, "add a }")
