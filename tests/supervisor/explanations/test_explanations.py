"""Every kind of problem has its page, and its examples are true."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor import config
from supervisor.cli import main
from supervisor.config.problems import Code
from supervisor.explanations import PAGES, text_of
from supervisor.explanations.page import WIDTH

NO_WORDS = {
    Code.UNREADABLE, Code.BYTE_ORDER_MARK, Code.NUL, Code.NOT_UTF8, Code.TOO_MUCH_TEXT, Code.IGNORED, Code.UNUSABLE_FILE,
    Code.SCRIPT_CHANGEABLE, Code.NOT_A_FIFO, Code.UNSEEN,
}  # fmt: skip
"""They are about files, rights or switches, so no example of words can have them."""

AROUND = {
    "": "{}",
    "virtual_server": "virtual_server 10.0.0.1 80 {{\n{}\nreal_server 10.0.0.9 80 {{\n}}\n}}",
    "real_server": "virtual_server 10.0.0.1 80 {{\nreal_server 10.0.0.9 80 {{\n{}\n}}\n}}",
    "TCP_CHECK": "virtual_server 10.0.0.1 80 {{\nreal_server 10.0.0.9 80 {{\nTCP_CHECK {{\n{}\n}}\n}}\n}}",
    "HTTP_GET": "virtual_server 10.0.0.1 80 {{\nreal_server 10.0.0.9 80 {{\nHTTP_GET {{\n{}\n}}\n}}\n}}",
    "url": "virtual_server 10.0.0.1 80 {{\nreal_server 10.0.0.9 80 {{\nHTTP_GET {{\nurl {{\n{}\n}}\n}}\n}}\n}}",
}


def codes(tmp_path: Path, inside: str, example: str) -> set[str]:
    path = tmp_path / "example.conf"
    path.write_text(AROUND[inside].format(example) + "\n")
    return {problem.code for problem in config.load(path).problems}


@pytest.mark.parametrize("code", Code)
def test_every_code_has_its_page(code: Code) -> None:
    shown = text_of(code.value, PAGES[code.value])
    assert shown.startswith(f"{code.value}  {code.severity}: ")
    assert all(len(line) <= WIDTH + 20 for line in shown.split("\n"))
    assert set(PAGES) == {known.value for known in Code}
    assert "Why:" in shown
    assert "What to do:" in shown


@pytest.mark.parametrize("code", [code for code in Code if code not in NO_WORDS])
def test_the_wrong_example_has_the_problem_and_the_right_one_has_not(code: Code, tmp_path: Path) -> None:
    explanation = PAGES[code.value]
    assert code.value in codes(tmp_path, explanation.inside, explanation.wrong)
    if explanation.right:
        found = codes(tmp_path, explanation.inside, explanation.right)
        assert code.value not in found
        assert not {other for other in found if other.startswith("E")}


def test_explain_shows_a_page_whatever_the_case_and_lists_the_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "e010"]) == 0
    assert capsys.readouterr().out == text_of("E010", PAGES["E010"])
    assert main(["explain"]) == 0
    listed = capsys.readouterr().out
    assert all(code.value in listed for code in Code)
    assert main(["explain", "E999"]) == 6
    assert "no such code" in capsys.readouterr().err
