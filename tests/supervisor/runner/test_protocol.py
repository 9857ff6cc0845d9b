"""What the supervisor and the runner say: each side takes what the other says, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.runner import protocol
from supervisor.runner.protocol import (
    Alive,
    Cancel,
    Ended,
    Hello,
    Outcome,
    ProtocolError,
    Run,
    decode_order,
    decode_report,
    encode,
    excerpt,
)

TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40)
NAMES = st.from_regex(r"\A[a-z_][a-z0-9_-]{0,30}\Z")
RUNS = st.builds(
    Run,
    id=st.integers(1, protocol.ID_MAX),
    argv=st.lists(TEXTS, max_size=5).map(lambda rest: ("/bin/x", *rest)),
    environment=st.dictionaries(NAMES.map(lambda name: name.replace("-", "_").upper()), TEXTS, max_size=5).map(
        lambda variables: tuple(variables.items())
    ),
    user=NAMES,
    group=st.just("") | NAMES,
    timeout_s=st.none() | st.floats(0.001, protocol.TIMEOUT_MAX_S),
    kill_after_s=st.floats(0, 60),
    secure=st.booleans(),
)
ENDINGS = st.builds(
    Ended,
    id=st.integers(1, protocol.ID_MAX),
    outcome=st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.RUNNER_LOST]),
    status=st.integers(0, 255),
    reason=TEXTS.map(protocol.printable),
    output=TEXTS.map(protocol.printable),
    duration_s=st.floats(0, 1e6),
)

RUN: dict[str, Any] = {
    "run": 1,
    "argv": ["/bin/true"],
    "environment": {"A": "b"},
    "user": "nobody",
    "group": "",
    "timeout_s": 5,
    "kill_after_s": 2,
    "secure": False,
}
ENDED = {"ended": 1, "outcome": "exited", "status": 0, "reason": "", "output": "", "duration_s": 0.5}


@given(RUNS | st.builds(Cancel, st.integers(1, protocol.ID_MAX)))
def test_the_runner_reads_what_the_supervisor_writes(order: Run | Cancel) -> None:
    assert decode_order(encode(order)) == order


@given(ENDINGS | st.builds(Hello, TEXTS.map(protocol.printable)) | st.builds(Alive, st.floats(0, 1e9)))
def test_the_supervisor_reads_what_the_runner_writes(report: Ended | Hello | Alive) -> None:
    assert decode_report(encode(report)) == report


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_noise_is_refused_by_both(data: bytes) -> None:
    for decode in (decode_order, decode_report):
        with pytest.raises(ProtocolError):
            decode(data)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"run": 0}, "field run"),
        ({"run": True}, "field run"),
        ({"run": 2**53}, "field run"),
        ({"argv": []}, "field argv"),
        ({"argv": [""]}, "field argv"),
        ({"argv": "/bin/true"}, "field argv"),
        ({"argv": ["/bin/true", 1]}, "field argv"),
        ({"argv": ["/bin/true", "a\0b"]}, "NUL"),
        ({"argv": ["/bin/true", "\ud800"]}, "no text that has bytes"),
        ({"argv": ["/bin/true"] * 257}, "1 to 256 arguments"),
        ({"argv": ["/bin/true", *["x" * 4000] * 3]}, "characters in all"),
        ({"environment": []}, "field environment"),
        ({"environment": {"A=B": "c"}}, "no name of a variable"),
        ({"environment": {"A": None}}, "field environment"),
        ({"environment": {f"A{i}": "x" * 100 for i in range(60)}}, "characters in all"),
        ({"user": "-rf"}, "no name of a user"),
        ({"user": "a b"}, "no name of a user"),
        ({"user": None}, "field user"),
        ({"timeout_s": 0}, "field timeout_s"),
        ({"timeout_s": 1e9}, "field timeout_s"),
        ({"timeout_s": True}, "field timeout_s"),
        ({"kill_after_s": -1}, "field kill_after_s"),
        ({"secure": 1}, "field secure"),
        ({"shell": True}, "unknown fields: 'shell'"),
    ],
)
def test_the_runner_refuses_an_order_that_is_wrong_anywhere(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        decode_order(json.dumps({**RUN, **change}).encode())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"ended": -1}, "field ended"),
        ({"outcome": "runner lost"}, "no such outcome"),
        ({"outcome": 1}, "no such outcome"),
        ({"status": 256}, "field status"),
        ({"status": 1.0}, "field status"),
        ({"reason": "\x1b[2J"}, "not printable"),
        ({"output": "one\ntwo"}, "not printable"),
        ({"output": "x" * 2049}, "at most 2048"),
        ({"duration_s": -0.1}, "field duration_s"),
        ({"duration_s": "1"}, "field duration_s"),
        ({"argv": ["/bin/sh"]}, "unknown fields"),
    ],
)
def test_the_supervisor_refuses_a_report_that_is_wrong_anywhere(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        decode_report(json.dumps({**ENDED, **change}).encode())


@pytest.mark.parametrize("name", list(RUN))
def test_an_order_has_every_field(name: str) -> None:
    with pytest.raises(ProtocolError, match=f"field {name} is missing"):
        decode_order(json.dumps({key: value for key, value in RUN.items() if key != name}).encode())


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b'{"ended":1,"ended":2}', "twice"),
        (b'{"duration_s":NaN}', "NaN is no number"),
        (b"[" * 20_000, "not JSON"),
        (b"x" * 140_000, "140000 bytes"),
        (b"[1]", "expected an object"),
    ],
)
def test_odd_json_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        decode_report(data)


def test_the_longest_order_fits_a_message() -> None:
    run = Run(
        1, ("/", "\U0001f600" * 4096, "\U0001f600" * 903), (("A", "\U0001f600" * 4096), ("B", "\U0001f600" * 902))
    )
    assert 120_000 < len(encode(run)) <= protocol.MESSAGE_MAX_BYTES


def test_what_cannot_be_said_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="expected a program"):
        encode(Run(1, ("",)))


def test_an_excerpt_is_one_printable_line() -> None:
    assert excerpt(b"  one\r\n\n\x1b[31mtwo\xff\n") == "one | ?[31mtwo\ufffd"
    assert len(excerpt(b"x" * 5000)) == 2048
