"""One page of an explanation, and how it is shown."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

SEVERITIES = {"E": "error", "W": "warning", "N": "note"}
"""What the first letter of a code says."""

WIDTH = 96
"""Columns of the text."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page: what is meant, why it matters, what to do, and an example of each. Examples may be empty (files, not words)."""

    title: str
    what: str
    why: str
    remedy: str
    wrong: str = ""
    right: str = ""
    inside: str = ""


def text_of(code: str, page: Page) -> str:
    """Return the page of a code as text."""
    lines = [f"{code}  {SEVERITIES[code[0]]}: {page.title}", ""]
    lines += _paragraph(page.what)
    lines += ["", "Why:", *_paragraph(page.why)]
    lines += ["", "What to do:", *_paragraph(page.remedy)]
    place = f" (in {page.inside})" if page.inside else ""
    for title, example in (
        ("Like this it is a problem", page.wrong),
        ("Like this it is fine", page.right),
    ):
        if example:
            lines += ["", f"{title}{place}:", *(f"    {line}".rstrip() for line in example.split("\n"))]
    return "\n".join(lines) + "\n"


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
