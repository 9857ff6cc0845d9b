"""What a worker asks of its supervisor and what it may get, over real sockets and in memory."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from checkers.kit.api import Answer, Ending, Favour, LocalTrouble
from checkers.kit.favours import SOCKET_PATIENCE_S, Desk, JobFavours
from checkers.kit.frames import Grant
from checkers.kit.job import Job
from checkers.kit.link import seqpacket_link_pair
from supervisor.children.favours import grant

JOB = Job(7, "FILE_CHECK", "127.0.0.1", 80, 1.0, 0, 1.0, 5.0, 0.0, {"path": "/run/load", "factor": 1})


async def nobody(job: Job) -> Answer:
    raise AssertionError(f"no script of job {job.id} should run")


def test_an_answer_reaches_the_job_that_asked() -> None:
    async def main() -> Answer:
        desk = Desk(lambda: None)
        answers: list[Answer] = []

        async def ask() -> None:
            answers.append(await JobFavours(desk, lambda: 7, 5.0).answer(Favour.FILE))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            ((number, job, favour),) = desk.unsent
            assert (job(), favour) == (7, Favour.FILE)
            desk.granted(Grant(number + 1, Ending.DONE, text="for somebody else"), None)
            desk.granted(Grant(number, Ending.DONE, text="12"), None)
        return answers[0]

    assert trio.run(main) == Answer(Ending.DONE, text="12")


def test_a_supervisor_that_does_not_answer_is_our_own_trouble() -> None:
    async def main() -> float:
        desk = Desk(lambda: None)
        begin = trio.current_time()
        with pytest.raises(LocalTrouble, match="did not answer within 5 s"):
            await JobFavours(desk, lambda: 7, 5.0).answer(Favour.FILE)
        assert not desk.unsent
        return trio.current_time() - begin

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == pytest.approx(SOCKET_PATIENCE_S)


def test_a_descriptor_that_nobody_waits_for_is_closed() -> None:
    async def main() -> None:
        desk = Desk(lambda: None)
        reading, writing = os.pipe()
        desk.granted(Grant(99, Ending.DONE), reading)
        with pytest.raises(BrokenPipeError):
            os.write(writing, b"x")
        os.close(writing)

    trio.run(main)


def test_a_descriptor_travels_beside_its_message_and_only_to_the_end_that_takes_one() -> None:
    async def main() -> None:
        ours, theirs = seqpacket_link_pair()
        reading, writing = os.pipe()
        await ours.send(b"with", reading)
        await ours.send(b"without")
        assert await theirs.receive() == b"with"
        taken = theirs.take_descriptor()
        assert taken is not None
        os.write(writing, b"x")
        assert os.read(taken, 1) == b"x"
        os.close(taken)
        assert await theirs.receive() == b"without"
        assert theirs.take_descriptor() is None
        await theirs.send(b"back", writing)
        assert await ours.receive() == b"back"
        assert ours.take_descriptor() is None
        for descriptor in (reading, writing):
            os.close(descriptor)
        ours.close()
        theirs.close()

    trio.run(main)


def test_a_marked_socket_is_granted_or_refused_in_words() -> None:
    async def main() -> None:
        job = Job(1, "TCP_CHECK", "127.0.0.1", 80, 1.0, 0, 1.0, 5.0, 0.0, mark=5)
        granted = await grant(job, Favour.STREAM, nobody)
        if granted.socket is None:
            assert granted.answer.ending is Ending.REFUSED
            assert "cannot mark packets with 5: operation not permitted" in granted.answer.text
        else:
            assert granted.socket.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 5
            assert granted.socket.type == socket.SOCK_STREAM
            granted.socket.close()

    trio.run(main)


def test_a_source_address_that_is_not_ours_is_refused_in_words() -> None:
    async def main() -> str:
        job = Job(1, "UDP_CHECK", "127.0.0.1", 80, 1.0, 0, 1.0, 5.0, 0.0, bind_address="192.0.2.77", bind_port=53)
        granted = await grant(job, Favour.DATAGRAMS, nobody)
        assert granted.socket is None
        return granted.answer.text

    assert "cannot bind to 192.0.2.77:53" in trio.run(main)


def test_a_file_is_read_for_a_job_and_only_the_one_that_the_job_names(tmp_path: Path) -> None:
    path = tmp_path / "load"
    path.write_text("42\nmore\n")

    async def main() -> Answer:
        job = Job(1, "FILE_CHECK", "0.0.0.0", 0, 1.0, 0, 1.0, 5.0, 0.0, {"path": str(path), "factor": 1})
        return (await grant(job, Favour.FILE, nobody)).answer

    assert trio.run(main) == Answer(Ending.DONE, text="42")


def test_a_script_is_run_by_whoever_runs_scripts() -> None:
    async def run(job: Job) -> Answer:
        return Answer(Ending.DONE, job.id)

    async def main() -> Answer:
        return (await grant(JOB, Favour.SCRIPT, run)).answer

    assert trio.run(main) == Answer(Ending.DONE, 7)


def test_a_job_that_was_given_another_number_meanwhile_asks_under_that_one() -> None:
    async def main() -> None:
        desk = Desk(lambda: None)
        number = [7]
        favours = JobFavours(desk, lambda: number[0], 1.0)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(favours.answer, Favour.FILE)
            await trio.testing.wait_all_tasks_blocked()
            number[0] = 9
            ((_, job, _),) = desk.unsent
            assert job() == 9
            nursery.cancel_scope.cancel()

    trio.run(main)
