"""The line of a monitoring plugin, as the command line's `alerts` and the exporter's /alerts print it. Pure, and light to import.

Source: https://www.monitoring-plugins.org/doc/guidelines.html, sections 2.3 and 2.6.
"""

from __future__ import annotations

from collections.abc import Mapping


def plugin_line(word: str, text: str, figures: Mapping[str, int]) -> str:
    """Return the line, without its end: a bar and what begins a line of its own are not for the text."""
    shown = " ".join(f"{name}={value}" for name, value in figures.items())
    text = text.replace("|", "/").replace("\n", " ")
    return f"VIPERVISOR {word} - {text} | {shown}"
