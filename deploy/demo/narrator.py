"""Tells the demo's story on the terminal and keeps count of what did not happen as told."""

from __future__ import annotations

import os
import textwrap
import time

WIDTH = 100


class Narrator:
    """Headed steps, plain sentences, indented blocks. `promise` notes a sentence that turned out false."""

    def __init__(self, title: str) -> None:
        self._begun = time.monotonic()
        self._step = 0
        self._broken: list[str] = []
        self._bold = bool(os.environ.get("DEMO_BOLD"))
        self._print(self._strong(title))

    def step(self, heading: str) -> None:
        """Begin the next step."""
        self._step += 1
        elapsed = time.monotonic() - self._begun
        self._print("", self._strong(f"{self._step}. {heading}") + f"   [{elapsed:.0f} s]")

    def say(self, *sentences: str) -> None:
        """Print sentences as one paragraph."""
        self._print(textwrap.fill(" ".join(sentences), WIDTH, initial_indent="   ", subsequent_indent="   "))

    def show(self, block: str) -> None:
        """Print what a program printed, indented."""
        self._print(textwrap.indent(block.strip("\n"), "     | ", lambda _: True))

    def promise(self, kept: object, sentence: str) -> None:
        """Say a sentence that must be true; when it is not, say that, and remember it."""
        if kept:
            self.say(f"✔ {sentence}")
        else:
            self._broken.append(sentence)
            self.say(f"✘ NOT SO: {sentence}")

    def end(self) -> int:
        """Print the verdict and return the exit status: 1 when a promise was broken."""
        elapsed = time.monotonic() - self._begun
        if self._broken:
            self._print("", self._strong(f"The story did NOT happen as told ({elapsed:.0f} s):"))
            for sentence in self._broken:
                self.say(f"✘ {sentence}")
            return 1
        self._print("", self._strong(f"The story happened as told, in {elapsed:.0f} seconds."))
        return 0

    def _strong(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._bold else text

    @staticmethod
    def _print(*lines: str) -> None:
        try:
            print(*lines, sep="\n", flush=True)
        except BrokenPipeError:  # the reader (head, less) has seen enough: go on in silence, so that all is tidied up
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
