"""The table of answers against HTTP_GET and SSL_GET on virtual time. keepalived's half of it is proved in the kernel lab."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from trio.testing import MockClock

from checkers.kit.api import Target, Verdict, load
from checkers.kit.options import Json
from tests.checkers.answers import ANSWERS, LIMIT_S, Answer, Difference
from tests.checkers.test_conformance import verdict_of
from tests.fakes.behaviours import Behaviour
from tests.fakes.network import FakeNetwork

TARGET = Target("192.168.100.20", 80)


def verdict_on(answer: Answer, keyword: str) -> tuple[Verdict, float]:
    """Return the verdict and how long it took."""

    async def main() -> tuple[Verdict, float]:
        network = FakeNetwork()
        behaviour = Behaviour(answer.name, answer=answer.steps)
        network.server(TARGET.address, TARGET.port).behaviour = (
            behaviour.over_tls() if keyword == "SSL_GET" else behaviour
        )
        url: dict[str, Json] = {"path": "/", **answer.url}
        start = trio.current_time()
        options: dict[str, Json] = {"url": [url], "http_protocol": answer.protocol}
        return await verdict_of(load(keyword), options, TARGET, network.dialer(LIMIT_S)), trio.current_time() - start

    return trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("keyword", ["HTTP_GET", "SSL_GET"])
@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_every_answer_gets_the_verdict_of_the_table_in_time(answer: Answer, keyword: str) -> None:
    verdict, took_s = verdict_on(answer, keyword)
    assert verdict.conclusive
    assert verdict.ok is answer.ours, verdict
    assert took_s <= LIMIT_S + 1e-6


def test_a_verdict_that_is_not_keepalived_s_has_a_name_and_every_name_is_used() -> None:
    for answer in ANSWERS:
        assert (answer.keepalived is not answer.ours) is bool(answer.difference), answer
    assert {answer.difference for answer in ANSWERS} == set(Difference)


def test_the_answers_are_the_thirty_one_of_the_reference_and_more_each_with_its_own_name() -> None:
    assert len(ANSWERS) >= 31
    assert Counter(answer.name for answer in ANSWERS).most_common(1)[0][1] == 1
