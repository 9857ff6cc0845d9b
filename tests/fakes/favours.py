"""A supervisor that grants favours from a script, for checks that need no network."""

from __future__ import annotations

import trio

from checkers.kit.api import Answer, Ending, Favour, LocalTrouble


class ScriptedFavours:
    """Answers each favour with the next of `answers` (kit.api.Favours)."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[Favour] = []

    async def socket(self, favour: Favour) -> int:
        raise AssertionError(f"nobody should ask for a socket here, {favour.name}")

    async def answer(self, favour: Favour) -> Answer:
        await trio.lowlevel.checkpoint()
        self.asked.append(favour)
        answer = self.answers.pop(0)
        if answer.ending is Ending.REFUSED:
            raise LocalTrouble(answer.text)
        return answer
