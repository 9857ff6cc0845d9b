"""The vocabulary in which keywords of keepalived.conf are declared, one table for each block.

A checker module declares the keywords of its own block with it; `supervisor.config.keywords` declares all others.
From these tables come the parser's checks and suggestions, the manual and the completion, so a keyword is written down once.
This module holds declarations only: no parsing, no I/O.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

from checkers.kit.frozen import frozen

UNREADABLE = "unreadable: "
"""Begins the value of CERTIFICATES in place of a text, when the file could not be read; the reason follows."""

CLIENT = "client_certificate"
"""The value that the supervisor adds to a check that has CERTIFICATES of its own: `certificate`, `key`, `password` as text, or `trouble`,
a sentence why there is none. It is no keyword: it comes from the file's SSL block."""

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


class Kind(enum.Enum):
    """What the words after a keyword are.

    The value in the mapping that `prepare` is given (and in a job's `options`), under the keyword's own name: FLAG bool ·
    INTEGER, PORT int · TIMER float seconds · TEXT, REGEX, CHOICE, ADDRESS, ENDPOINT, CERTIFICATES, PRIVATE_KEY, CONCEALED str ·
    HEX, OCTETS str in lower case · TEXTS list of str · STATUS_RANGES list of [low, high] · BLOCK a mapping of the same shape, and a
    list of such mappings when the keyword is `repeat`. A keyword that is absent from the file is absent from the mapping.
    """

    FLAG = "flag"  # no word (true), or one of true on yes false off no
    INTEGER = "integer"  # decimal, whole word
    TIMER = "timer"  # decimal seconds with up to six decimals
    TEXT = "text"  # one word, or a double-quoted string
    TEXTS = "texts"  # one or more words on a line; lines add up
    ADDRESS = "address"  # numeric IPv4 or IPv6 address, IPv6 without brackets
    PORT = "port"  # 1 to 65535
    ENDPOINT = "endpoint"  # address and optional port
    CHOICE = "choice"  # one of `choices`
    OCTETS = "octets"  # hexadecimal digits in pairs, blanks between them; x stands for any digit
    STATUS_RANGES = "status ranges"  # 200, 200-299 … within 100 to 599; lines add up
    HEX = "hex"  # hexadecimal digits, an exact number of them (`high`)
    CERTIFICATES = (
        "certificates"  # absolute path of a file; the value is the text of its PEM certificates, or UNREADABLE and why
    )
    PRIVATE_KEY = "private key"  # the same of its PEM keys; never shown
    CONCEALED = "concealed"  # one word; never shown
    COMMAND = "command"  # shell-like word: command line, then optional user and group
    REGEX = "regex"  # shell-like word
    FORWARDING = "forwarding method"  # NAT | DR | TUN with its tunnel words
    BLOCK = "block"  # opens a block with its own table (`block`)
    RAW_BLOCK = "raw block"  # opens a block whose lines are data


@frozen
class Keyword:
    """One keyword of one block.

    `low` and `high` bound INTEGER (the value), TIMER (seconds) and HEX (number of digits), both ends included.
    `default` is what holds when the keyword is absent, None where it is inherited or where absence means "not set".
    `handled` is False for a keyword that keepalived knows and this version reads but does not act on: the
    configuration check says so in a warning. `repeat` tells that the keyword may stand several times and adds up.
    `alias_of` names the modern spelling; `deprecated` is a hint printed as a note.
    """

    name: str
    kind: Kind
    help: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    default: Json = None
    choices: tuple[str, ...] = ()
    case_sensitive: bool = True
    required: bool = False
    repeat: bool = False
    handled: bool = True
    optional_value: bool = False  # the keyword may stand alone and then takes `default`
    alias_of: str = ""
    deprecated: str = ""
    block: tuple[Keyword, ...] = ()
    own: bool = False  # ours: keepalived ignores it with a warning
