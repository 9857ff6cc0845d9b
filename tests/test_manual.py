"""What reads the manual's commands, and what holds of every page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.manual import DOCS, PAGES, ROOT, Typed, forms, sessions, shown
from tests.manual_elsewhere import CI, ELSEWHERE, NOBODY
from tests.manual_here import is_typed_here

PAGE = """\
# A page

```console
$ echo one two
one …
$ true
```

Words.

```console client
$ printf 'a\\nb\\n' | \\
    cat
…
b
```
"""


def test_commands_are_read_in_their_order_with_their_places(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(PAGE)
    assert list(sessions(tmp_path / "page.md")) == [
        Typed("", "echo one two", "one …"),
        Typed("", "true", ""),
        Typed("client", "printf 'a\\nb\\n' | cat", "…\nb"),
    ]


def test_a_session_that_does_not_begin_with_a_command_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("```console\nwhat\n$ true\n```\n")
    with pytest.raises(ValueError, match=r"page\.md: a session begins with 'what"):
        list(sessions(tmp_path / "page.md"))


@pytest.mark.parametrize(
    ("answer", "text", "fits"),
    [
        ("", "anything\nat all", True),
        ("one", "one\n", True),
        ("one", "one\ntwo", False),
        ("one …", "one two", True),
        ("one …", "one two\nthree", False),
        ("…\nlast", "first\nsecond\nlast", True),
        ("…\nlast", "last", True),
        ("first\n…", "first\nsecond", True),
        ("first\n…", "first", True),
        ("first\n…", "second", False),
        ("a.c", "abc", False),
    ],
)
def test_an_ellipsis_stands_for_anything(answer: str, text: str, *, fits: bool) -> None:
    assert Typed("", "command", answer).is_answered_by(text) is fits


LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@each_page
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []


# -- every command is run by a test ------------------------------------------------------------------------------------------------

OTHER_PAGE = """\
Say `vipervisor why
RS`, or `why`; `vipervisor drain|x RS [--for 2h] [--wait]` is longer.

    vipervisor status     # a remark
    ip -s link; ip route

* A list,
    which is no command.

```text
vipervisor is not typed here
```
""".replace("drain|x", r"drain\|disable")

SESSIONS = {
    "tutorial.md": "tests/kernel/test_tutorial.py",
    "from-keepalived.md": "tests/kernel/test_migration.py",
    "operations.md": "tests/process/test_operations_page.py",
}
"""Pages with sessions, and who types them."""

METRIC = re.compile(r"\blvs_\w+")

LANGUAGES = {"console", "text", "yaml"}
"""What stands between fences. A shell command in one of another name would be typed by nobody."""


def test_what_a_page_shows_beside_its_sessions_is_read(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(OTHER_PAGE + PAGE)
    long = r"vipervisor drain\|disable RS [--for 2h] [--wait]"
    assert list(shown(tmp_path / "page.md")) == ["vipervisor why RS", long, "vipervisor status", "ip -s link; ip route"]
    assert forms(long) == [
        "vipervisor drain RS",
        "vipervisor disable RS",
        "vipervisor drain RS --for 2h",
        "vipervisor drain RS --wait",
    ]
    assert forms("lsmod | grep ip_vs") == ["lsmod | grep ip_vs"]


@each_page
def test_every_command_of_a_page_is_typed_by_a_test_or_it_is_said_who_does(page: Path) -> None:
    by_nobody = [one for one in shown(page) for form in forms(one) if not is_typed_here(form) and form not in ELSEWHERE]
    assert by_nobody == [], (
        "type it in tests/process/test_shown_commands.py, or say in tests/manual_elsewhere.py who does"
    )


@each_page
def test_a_page_names_no_metric_and_no_keyword_that_there_is_not(page: Path) -> None:
    metrics = set(METRIC.findall((ROOT / "tests/golden/metrics.txt").read_text()))
    keywords = set(METRIC.findall((DOCS / "configuration.md").read_text()))  # made from the parser's tables
    named = {name for code in re.findall(r"`([^`\n]+)`", page.read_text()) for name in METRIC.findall(code)}
    assert {name for name in named - metrics - keywords if not name.endswith("_")} == set()


@each_page
def test_every_session_of_a_page_is_typed(page: Path) -> None:
    languages = set(re.findall(r"^ *```(\S.*?)(?: .*)?$|^ *```$", page.read_text(), re.MULTILINE))
    assert languages - LANGUAGES <= {""}
    if list(sessions(page)):
        assert f'"{page.name}"' in (ROOT / SESSIONS[page.name]).read_text()


def test_fences_say_what_is_between_them() -> None:
    for page in PAGES:
        opening = re.findall(r"^ *```(.*)$", page.read_text(), re.MULTILINE)[::2]
        assert all(opening), page


def test_nothing_is_said_to_be_typed_elsewhere_that_no_page_shows() -> None:
    on_pages = {form for page in PAGES for one in shown(page) for form in forms(one)}
    assert set(ELSEWHERE) - on_pages == set()


@pytest.mark.parametrize("where", sorted({where for where in ELSEWHERE.values() if not where.startswith(NOBODY)}))
def test_who_is_said_to_type_a_command_is_there(where: str) -> None:
    name, _, test = where.partition("::")
    if name.startswith("Makefile: "):
        assert re.search(
            rf"^{name.partition(': ')[2]}:.*process.*kernel", (ROOT / "Makefile").read_text(), re.MULTILINE
        )
    elif where == CI:
        lines = set((ROOT / CI).read_text().splitlines())
        assert {command for command, who in ELSEWHERE.items() if who == CI} <= lines
    else:
        tree = ast.parse((ROOT / name).read_text())
        assert not test or test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
