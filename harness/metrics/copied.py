"""Responses that say the prompt again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Copied(Metric):
    """1 where at least half of a response's words are one run of at least four words of the prompt, else 0.

    The prompt is its last message. Words are what white space separates.
    """

    unit: ClassVar[str] = "share"
    better: ClassVar[str] = "lower"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response."""
        return bench.each(lambda r: copies(r.text, r.prompt[-1]["content"]))


def copies(response: str, prompt: str, least: int = 4) -> bool:
    """Whether one run of at least `least` words of the prompt is half of the response or more."""
    from difflib import SequenceMatcher

    words, asked = response.split(), prompt.split()
    if len(words) < least or len(asked) < least:
        return False
    run = SequenceMatcher(None, words, asked, autojunk=False).find_longest_match().size
    return run >= max(least, len(words) / 2)
