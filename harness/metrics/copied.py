"""Responses that say the prompt again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value
from harness.metrics._words import words
from harness.near import unspaced

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Copied(Metric):
    """1 where at least half of a response's words are one run of at least four words of the prompt, else 0.

    The prompt is its last message. Words are what white space separates; in a response written without spaces, such as
    a Chinese one, they are characters, and eight of them stand for four words.
    """

    unit: ClassVar[str] = "share"
    better: ClassVar[str] = "lower"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response."""
        return bench.each(lambda r: copies(r.text, r.prompt[-1]["content"]))


LEAST, LEAST_CHARACTERS = 4, 8
"""The shortest run that is copied, in words and in characters."""


def copies(response: str, prompt: str) -> bool:
    """Whether one run of the prompt's words, long enough, is half of the response or more."""
    from difflib import SequenceMatcher

    said, asked = words(response), words(prompt, like=response)
    least = LEAST_CHARACTERS if unspaced(response) else LEAST
    if len(said) < least or len(asked) < least:
        return False
    run = SequenceMatcher(None, said, asked, autojunk=False).find_longest_match().size
    return run >= max(least, len(said) / 2)
