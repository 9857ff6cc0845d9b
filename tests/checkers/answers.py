"""What web servers answer, and what keepalived 2.2.7 and we make of each: the table of keepalived.md, section 3.5, and more.

It is played on the fake network in virtual time (test_http_answers), and in the kernel lab to both programs at once
(tests/kernel/test_http_answers_beside_keepalived). Every verdict that is not keepalived's names its row in docs/differences.md.
"""

from __future__ import annotations

import enum
import hashlib
import math
from dataclasses import dataclass, field

from checkers.kit.options import Json
from tests.fakes.behaviours import End, Pause, Reset, Send, Step

LIMIT_S = 2.0
"""connect_timeout of every check of the table."""

BODY = b"hello\n"
DIGEST = hashlib.md5(BODY, usedforsecurity=False).hexdigest()


class Difference(enum.StrEnum):
    """A row of docs/differences.md."""

    NONE = ""
    ABSOLUTE_DEADLINE = "deadline-is-absolute"
    CHUNKED_DECODED = "chunked-decoded"
    HEADER_64K = "header-64k"
    HEADER_CASE_INSENSITIVE = "header-case-insensitive"
    HEAD_DECIDES = "head-decides"
    INTERIM_ANSWERS_SKIPPED = "interim-answers-skipped"
    KEEP_ALIVE_ANSWER_COUNTS = "keep-alive-answer-counts"
    ONLY_HTTP_1 = "only-http-1"
    REGEX_LOOKS_AT_THE_BODY = "regex-looks-at-the-body"  # keepalived's sees the head as well when both come together
    REGEX_AT_THE_END = "regex-at-the-end"
    REGEX_ERROR_IS_A_FAILURE = "regex-error-is-a-failure"
    STATUS_LINE_WITHOUT_REASON = "status-line-without-reason"


@dataclass(frozen=True)
class Answer:
    """One way to answer, the options of the url that is asked, and whether the real server is up after it."""

    name: str
    steps: tuple[Step, ...]
    keepalived: bool
    ours: bool
    difference: Difference = Difference.NONE
    url: dict[str, Json] = field(default_factory=dict)
    protocol: str = "1.0"

    def __str__(self) -> str:
        return self.name


def same(name: str, *steps: Step, up: bool, protocol: str = "1.0", **url: Json) -> Answer:
    """Both agree."""
    return Answer(name, steps, up, up, url=url, protocol=protocol)


def better(difference: Difference, name: str, *steps: Step, protocol: str = "1.0", **url: Json) -> Answer:
    """Down with keepalived, up with us."""
    return Answer(name, steps, keepalived=False, ours=True, difference=difference, url=url, protocol=protocol)


def stricter(difference: Difference, name: str, *steps: Step, protocol: str = "1.0", **url: Json) -> Answer:
    """Up with keepalived, down with us."""
    return Answer(name, steps, keepalived=True, ours=False, difference=difference, url=url, protocol=protocol)


def head(line: str = "HTTP/1.1 200 OK", *headers: str) -> bytes:
    return "\r\n".join([line, *headers, "", ""]).encode()


def whole(body: bytes = BODY, line: str = "HTTP/1.1 200 OK", name: str = "Content-Length") -> bytes:
    return head(line, f"{name}: {len(body)}") + body


def long_head(size: int) -> bytes:
    start = b"HTTP/1.1 200 OK\r\nX-Long: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


def drip(data: bytes, gap_s: float) -> tuple[Step, ...]:
    steps: list[Step] = []
    for octet in data:
        steps += [Pause(gap_s), Send(bytes([octet]))]
    return tuple(steps)


CHUNKS = head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"3\r\nhel\r\n3\r\nlo\n\r\n0\r\n\r\n"
FOR_EVER = Pause(math.inf)
D = Difference

ANSWERS: tuple[Answer, ...] = (
    same("200 and close", Send(whole()), End(), up=True),
    same("204 and close", Send(head("HTTP/1.1 204 No Content")), End(), up=True),
    same("200 without a length and close", Send(head() + BODY), End(), up=True),
    same("HTTP/1.0 200", Send(whole(line="HTTP/1.0 200 OK")), End(), up=True),
    same("200 with an empty reason", Send(whole(line="HTTP/1.1 200 ")), End(), up=True),
    same("200 in pieces", *drip(whole()[:20], 0.01), Send(whole()[20:]), End(), up=True),
    same("301", Send(whole(line="HTTP/1.1 301 Moved")), End(), up=False),
    same("302", Send(whole(line="HTTP/1.1 302 Found")), End(), up=False),
    same("301 where it is wanted", Send(whole(line="HTTP/1.1 301 Moved")), End(), up=True, status_code=[[301, 301]]),
    same("404", Send(whole(line="HTTP/1.1 404 Not Found")), End(), up=False),
    same("503", Send(whole(line="HTTP/1.1 503 Busy")), End(), up=False),
    better(D.STATUS_LINE_WITHOUT_REASON, "200 without a space after it", Send(whole(line="HTTP/1.1 200")), End()),
    same("a length longer than the body", Send(whole()[:-2]), End(), up=True),
    better(D.KEEP_ALIVE_ANSWER_COUNTS, "complete, left open, 1.0", Send(whole()), FOR_EVER),
    better(D.KEEP_ALIVE_ANSWER_COUNTS, "complete, left open, 1.1", Send(whole()), FOR_EVER, protocol="1.1"),
    better(D.KEEP_ALIVE_ANSWER_COUNTS, "complete, left open, digest", Send(whole()), FOR_EVER, digest=DIGEST),
    better(D.HEAD_DECIDES, "a head, and the body never comes", Send(whole()[: -len(BODY)]), FOR_EVER),
    better(D.HEAD_DECIDES, "a head and a reset", Send(whole()[:-2]), Pause(0.1), Reset()),
    stricter(D.ABSOLUTE_DEADLINE, "a byte every 0.7 s for longer than the limit", *drip(whole()[:6], 0.7), Send(whole()[6:]), End()),
    same("a head of 4,000 bytes", Send(long_head(4000)), End(), up=True),
    better(D.HEADER_64K, "a head of 5,000 bytes", Send(long_head(5000)), End()),
    same("lines that end in LF alone", Send(b"HTTP/1.1 200 OK\nServer: x\n\nhello\n"), End(), up=False),
    same("nothing", End(), up=False),
    same("nothing, and left open", FOR_EVER, up=False),
    same("a reset", Reset(), up=False),
    same("half a head", Send(head()[:-2]), End(), up=False),
    same("text without a head", Send(b"hello\n"), End(), up=False),
    same("text with a blank line, without a head", Send(b"hello\r\n\r\nhello\n"), End(), up=False),
    same("a status that is no number", Send(whole(line="HTTP/1.1 OK")), End(), up=False),
    same("a status of two digits", Send(whole(line="HTTP/1.1 20 OK")), End(), up=False),
    stricter(D.ONLY_HTTP_1, "another protocol with a status", Send(whole(line="ICY 200 OK")), End()),
    better(D.INTERIM_ANSWERS_SKIPPED, "100 Continue, then 200", Send(head("HTTP/1.1 100 Continue") + whole()), End()),
    same("chunks", Send(CHUNKS), End(), up=True),
    better(D.CHUNKED_DECODED, "chunks with the digest of the text", Send(CHUNKS), End(), digest=DIGEST),
    same("the right digest", Send(whole()), End(), up=True, digest=DIGEST),
    same("the wrong digest", Send(whole(b"other\n")), End(), up=False, digest=DIGEST),
    same("the right digest and more than the length", Send(whole() + b"more"), End(), up=True, digest=DIGEST),
    better(D.HEADER_CASE_INSENSITIVE, "the same with content-length", Send(whole(name="content-length") + b"more"), End(), digest=DIGEST),
    same("a regex that matches", Send(whole(b"count=123\n")), End(), up=True, regex="count=[0-9]+"),
    better(D.REGEX_AT_THE_END, "a regex that matches up to the end", Send(whole(b"count=123")), End(), regex="count=[0-9]+"),
    better(D.REGEX_AT_THE_END, "a regex for the end", Send(whole(b"count=123")), End(), regex="123$"),
    same("a regex that does not match", Send(whole()), End(), up=False, regex="world"),
    same("a regex that must not match and does not", Send(whole()), End(), up=True, regex="world", regex_no_match=True),
    same("a regex that must not match and does", Send(whole()), End(), up=False, regex="hel", regex_no_match=True),
    same("a regex without its case", Send(whole()), End(), up=True, regex="HELLO", regex_options=["caseless"]),
    stricter(D.REGEX_LOOKS_AT_THE_BODY, "a regex that the head matches", Send(whole()), End(), regex="Content-Length"),
    better(D.REGEX_LOOKS_AT_THE_BODY, "a regex for the start", Send(whole()), End(), regex="^hello"),
    same("a regex for the start of a line", Send(whole()), End(), up=True, regex="^hello", regex_options=["multiline"]),
    stricter(D.REGEX_LOOKS_AT_THE_BODY, "a regex before its offset", Send(whole()), End(), regex="h", regex_min_offset=1),
    better(D.REGEX_LOOKS_AT_THE_BODY, "a regex after its offset", Send(whole()), End(), regex="l", regex_min_offset=2, regex_max_offset=2),
    same("a regex beyond its offset", Send(whole()), End(), up=False, regex="lo", regex_max_offset=2),
    stricter(D.REGEX_ERROR_IS_A_FAILURE, "text that is no UTF-8", Send(whole(b"\xff\xfe\n")), End(),
             regex="x", regex_options=["utf"], regex_no_match=True),
)  # fmt: skip
