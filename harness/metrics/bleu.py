"""How many of the chosen response's n-grams a response has."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value
from harness.near import unspaced

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Bleu(Metric):
    """Sentence BLEU-4 of a response against the prompt's chosen responses, by sacrebleu with its 13a tokens.

    Overlap with one good response; a better response with other words scores low, so neither way is better. n-gram
    orders that a response is too short for are left out (`effective_order`). A chosen response written without spaces,
    such as a Chinese one, is passed over, for 13a takes whole clauses of it for words. Absent for prompts without
    another one.

    Source: Papineni et al. 2002; Post 2018, arXiv 1804.08771 (sacrebleu).
    """

    unit: ClassVar[str] = "BLEU, 0 to 100"
    better: ClassVar[str] = ""
    absent: ClassVar[str] = "no chosen responses to these prompts, or none with spaces between its words"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response to a prompt that has a chosen one with words."""
        from sacrebleu.metrics.bleu import BLEU

        bleu = BLEU(effective_order=True)
        return bench.with_chosen(
            lambda r, chosen: bleu.sentence_score(r.text, chosen).score, lambda text: not unspaced(text)
        )
