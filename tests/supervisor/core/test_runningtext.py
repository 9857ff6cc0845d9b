"""The configuration that runs, on its way to the exporter."""

import zlib

import pytest

from supervisor.core import questions, runningtext
from supervisor.core.questions import AskConfiguration
from supervisor.core.runningtext import TEXT_MAX_BYTES, RunningText
from supervisor.model import Config

RUNNING = RunningText("/etc/a.conf", "0123456789ab", ("/etc/a.conf", "/etc/b.conf"), zlib.compress("Zürich\n".encode()))


def test_it_comes_out_as_it_went_in() -> None:
    line = runningtext.encode(RUNNING)
    assert b"\n" not in line
    assert runningtext.decode(line) == RUNNING
    assert RUNNING.text() == "Zürich\n"
    assert runningtext.of(Config(source="a", digest="b", files=("a",), text=b"c")) == RunningText(
        "a", "b", ("a",), b"c"
    )


@pytest.mark.parametrize(
    "line",
    [b"", b"null", b"[]", b"{}", b'{"schema":2}', b'{"schema":1,"source":"","digest":"","files":[],"packed":"%"}'],
)
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"configuration|Expecting"):
        runningtext.decode(line)


def test_what_is_no_packed_text_is_an_error_and_a_bomb_stays_small() -> None:
    with pytest.raises(ValueError, match="configuration"):
        RunningText("", "", (), b"nonsense").text()
    assert RunningText("", "", (), b"").text() == ""
    bomb = RunningText("", "", (), zlib.compress(bytes(TEXT_MAX_BYTES + 1)))
    assert len(bomb.text()) == TEXT_MAX_BYTES


def test_the_question_for_it_is_one_word() -> None:
    assert questions.parse(questions.CONFIGURATION) == AskConfiguration()
    assert questions.parse(b"configuration now") is None
