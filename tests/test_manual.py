"""What reads the manual's commands, and what holds of every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.manual import DOCS, Typed, sessions

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


@pytest.mark.parametrize("page", sorted([*DOCS.rglob("*.md"), DOCS.parent / "README.md"]), ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []
