"""The deliberate differences to keepalived in HTTP_GET and SSL_GET; each test has the name of a row of docs/differences.md.

The answers stand in tests/checkers/answers.py. That keepalived judges them as the table says is seen beside it, in
tests/kernel/test_http_answers_beside_keepalived.py.
"""

from __future__ import annotations

from pathlib import Path

from supervisor.config import Severity
from tests.checkers.answers import ANSWERS, Difference
from tests.checkers.test_http_answers import verdict_on
from tests.supervisor.config import test_checks
from tests.supervisor.config.written import outcome_of, real_server, virtual_server


def hold(difference: Difference) -> None:
    """Each answer of this difference gets our verdict, which is not keepalived's."""
    answers = [answer for answer in ANSWERS if answer.difference is difference]
    assert answers
    for answer in answers:
        verdict, _ = verdict_on(answer, "HTTP_GET")
        assert verdict.ok is answer.ours is not answer.keepalived, answer


def test_difference_keep_alive_answer_counts() -> None:
    hold(Difference.KEEP_ALIVE_ANSWER_COUNTS)


def test_difference_head_decides() -> None:
    hold(Difference.HEAD_DECIDES)


def test_difference_header_64k() -> None:
    hold(Difference.HEADER_64K)


def test_difference_header_case_insensitive() -> None:
    hold(Difference.HEADER_CASE_INSENSITIVE)


def test_difference_chunked_decoded() -> None:
    hold(Difference.CHUNKED_DECODED)


def test_difference_interim_answers_skipped() -> None:
    hold(Difference.INTERIM_ANSWERS_SKIPPED)


def test_difference_status_line_without_reason() -> None:
    hold(Difference.STATUS_LINE_WITHOUT_REASON)


def test_difference_only_http_1() -> None:
    hold(Difference.ONLY_HTTP_1)


def test_difference_regex_looks_at_the_body() -> None:
    hold(Difference.REGEX_LOOKS_AT_THE_BODY)


def test_difference_regex_at_the_end() -> None:
    hold(Difference.REGEX_AT_THE_END)


def test_difference_regex_error_is_a_failure() -> None:
    hold(Difference.REGEX_ERROR_IS_A_FAILURE)


def test_difference_regex_is_checked_with_the_file() -> None:
    lines = ("HTTP_GET {", "url {", "path /", 'regex "a(b"', "}", "}")
    outcome = outcome_of(virtual_server(real_server(*lines)))
    assert outcome.config is None
    assert [problem.line for problem in outcome.problems if problem.severity is Severity.ERROR] == [9]
    assert "regex" in outcome.problems[0].message


def test_difference_urls_in_one_round() -> None:
    url = ("url {", "path /", "}")
    lines = ("HTTP_GET {", *url, "url {", "path /b", "}")
    for more, one_by_one in (((), False), (("urls_one_by_one",), True)):
        outcome = outcome_of(virtual_server(real_server(*lines, *more, "}")))
        assert outcome.config is not None
        (check,) = outcome.config.virtual_servers[0].real_servers[0].checks
        assert ("urls_one_by_one" in check.options_json) is one_by_one


def test_difference_sni_is_the_host() -> None:
    test_checks.test_the_server_name_in_tls_is_the_host_also_where_the_real_server_gives_it()


def test_difference_tls_verified_when_asked() -> None:
    lines = ("SSL_GET {", "url {", "path /", "}")
    for more, verified in (((), False), (("verify",), True)):
        outcome = outcome_of(virtual_server(real_server(*lines, *more, "}")))
        assert outcome.config is not None
        (check,) = outcome.config.virtual_servers[0].real_servers[0].checks
        assert ('"verify":true' in check.options_json) is verified


def test_difference_tls_file_that_is_missing_fails_its_checks(tmp_path: Path) -> None:
    text = f"SSL {{\ncertificate {tmp_path}/none.pem\nkey {tmp_path}/none.key\n}}\n"
    outcome = outcome_of(text + virtual_server(real_server("SSL_GET {", "url {", "path /", "}", "}")))
    assert outcome.config is not None
    assert all("SSL_GET will fail until it can" in problem.message for problem in outcome.problems)
    assert len(outcome.problems) == 2
