"""Lines into words: comments, quotes, braces and where each of them stands. Knows characters, not keywords' meanings.

One line goes in and its *pieces* come out: statements (the words between two braces) and the braces themselves.
Words are plain strings, without their columns. Columns are wanted only for a message, and then `scan` reads the line a second
time; so reading 200,000 lines makes no object per word. A line without quotes or backslashes takes one compiled regular
expression; every other one goes through `scan`, and a property test holds the two to the same result.

Two ways to read words, as keepalived does (keepalived.md, sections 1.2 to 1.4):

* *plain*, for nearly every keyword: words end at white space or at a double quote, `"…"` keeps blanks and has no escapes;
* *shell-like*, for scripts and regular expressions: both quotes work, may be glued together, and backslash escapes count.

In both, `!` and `#` start a comment and braces open and close blocks anywhere outside double quotes.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

OPEN = ("{",)
CLOSE = ("}",)
"""The words of a brace; recognised by identity, so that a quoted brace stays a word."""

Piece: TypeAlias = tuple[tuple[str, ...], int]
"""A statement's words, or OPEN or CLOSE; and the index of its first token in the line."""

BLANKS = " \t\f\v\r"
"""White space, as C's isspace() has it within a line: no-break and other Unicode spaces belong to their word."""


_COMMAND_BLANKS = BLANKS + "\n"


class Token(NamedTuple):
    """One word or brace: its text without quotes, and the columns it takes, quotes included, counted from 0."""

    text: str
    start: int
    end: int
    brace: bool


class Fault(NamedTuple):
    """A quote that is never closed: where it opens, and which one it is."""

    start: int
    quote: str


_PLAIN_TOKEN = re.compile(r"[{}]|[^ \t\f\v\r{}]+")
_MARKED = re.compile(r"[\"'\\!#]")
"""In nearly no line: quotes, backslashes and comments."""

_NEEDS_SCAN = re.compile(r"[\"'\\]")
_COMMENT = re.compile(r"[!#]")

_SHELL_LIKE = re.compile(
    r"misc_path|regex|script|quorum_up|quorum_down|startup_script|shutdown_script|\w*fifo_script|notify(_(?!fifo$)\w+)?",
    re.ASCII,
)

_WORD = re.compile(r"(?:[^ \t\f\v\r{}\"!#\\]|\\[!#]|\\)+")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|c(.)|(.))", re.DOTALL)
_ESCAPED = {"a": "\a", "b": "\b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def is_shell_like(keyword: str) -> bool:
    """Whether the words after this keyword are read as a shell would: a command line or a pattern."""
    return _SHELL_LIKE.fullmatch(keyword) is not None


def pieces(line: str) -> tuple[tuple[Piece, ...], Fault | None]:
    """The statements and braces of one line (without its newline), and the quote that is not closed, if any."""
    if _MARKED.search(line) is None:
        plain = line
    elif _NEEDS_SCAN.search(line) is None:
        plain = _COMMENT.split(line, 1)[0]
    else:
        tokens, fault = scan(line)
        return _split([(token.text, token.brace) for token in tokens]), fault
    words = _PLAIN_TOKEN.findall(plain)
    braces = words.count("{") + words.count("}")
    if not braces:
        return (((tuple(words), 0),) if words else ()), None
    if braces == 1 and len(words) > 1 and words[-1] == "{":  # a block opens, as in most lines that are like no other
        last = len(words) - 1
        return ((tuple(words[:last]), 0), (OPEN, last)), None
    return _split([(word, word in {"{", "}"}) for word in words]), None


def _split(tokens: list[tuple[str, bool]]) -> tuple[Piece, ...]:
    """Words gathered into statements, with the braces between them."""
    found: list[Piece] = []
    statement: list[str] = []
    for index, (text, brace) in enumerate(tokens):
        if not brace:
            statement.append(text)
            continue
        if statement:
            found.append((tuple(statement), index - len(statement)))
            statement = []
        found.append((OPEN if text == "{" else CLOSE, index))
    if statement:
        found.append((tuple(statement), len(tokens) - len(statement)))
    return tuple(found)


def scan(line: str) -> tuple[list[Token], Fault | None]:
    """Every word and brace of one line with its columns. An open quote takes the rest of the line, and is told of."""
    tokens: list[Token] = []
    fault: Fault | None = None
    position, length = 0, len(line)
    at_start = True  # the next word is the first of its statement
    shell_like = False
    while position < length:
        character = line[position]
        if character in BLANKS:
            position += 1
        elif character in "!#":
            break
        elif character in "{}":
            tokens.append(Token(character, position, position + 1, brace=True))
            position += 1
            at_start, shell_like = True, False
        else:
            read = _shell_word if shell_like else _plain_word
            text, end, fault = read(line, position)
            tokens.append(Token(text, position, end, brace=False))
            if at_start:
                at_start, shell_like = False, is_shell_like(text)
            position = end
            if fault is not None:
                break
    return tokens, fault


def _plain_word(line: str, start: int) -> tuple[str, int, Fault | None]:
    if line[start] == '"':
        end = line.find('"', start + 1)
        if end < 0:
            return line[start + 1 :], len(line), Fault(start, '"')
        return line[start + 1 : end], end + 1, None
    match = _WORD.match(line, start)
    assert match is not None  # the caller has seen a character that can start a word
    return match[0].replace("\\!", "!").replace("\\#", "#"), match.end(), None


def _shell_word(line: str, start: int) -> tuple[str, int, Fault | None]:
    text: list[str] = []
    position, length = start, len(line)
    quote, opened = "", start
    while position < length:
        character = line[position]
        if character == "\\" and position + 1 < length:
            match = _ESCAPE.match(line, position)
            assert match is not None  # a backslash and any character
            text.append(_unescape(match))
            position = match.end()
            continue
        if quote != '"' and character in "{}!#":
            break
        if character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote, opened = character, position
        elif not quote and character in BLANKS:
            break
        else:
            text.append(character)
        position += 1
    return "".join(text), position, Fault(opened, quote) if quote else None


def command_words(line: str) -> tuple[tuple[str, ...], str]:
    """The arguments of a command line, cut by the shell-like rules once more; and the quote that is not closed, if any.

    Braces and comment characters mean nothing here: the line that the command stands in is over.
    """
    words: list[str] = []
    position, length = 0, len(line)
    while position < length:
        if line[position] in _COMMAND_BLANKS:
            position += 1
            continue
        text: list[str] = []
        quote = ""
        while position < length:
            character = line[position]
            match = _ESCAPE.match(line, position) if character == "\\" else None
            if match is not None:
                text.append(_unescape(match))
                position = match.end()
                continue
            if character == quote:
                quote = ""
            elif not quote and character in "\"'":
                quote = character
            elif not quote and character in _COMMAND_BLANKS:
                break
            else:
                text.append(character)
            position += 1
        words.append("".join(text))
        if quote:
            return tuple(words), quote
    return tuple(words), ""


def _unescape(match: re.Match[str]) -> str:
    hexadecimal, octal, control, other = match.groups()
    if hexadecimal is not None:
        return chr(int(hexadecimal, 16))
    if octal is not None:
        return chr(int(octal, 8) & 0xFF)
    if control is not None:
        return chr(ord(control.upper()) & 0x1F)
    return _ESCAPED.get(other, other)


def code_of(line: str) -> str:
    """The line up to its comment, escapes and quotes untouched: what definitions and includes are read from."""
    if _MARKED.search(line) is None:
        return line.rstrip(BLANKS)
    if _NEEDS_SCAN.search(line) is None:
        return _COMMENT.split(line, 1)[0].rstrip(BLANKS)
    tokens, _ = scan(line)
    return line[: tokens[-1].end] if tokens else ""
