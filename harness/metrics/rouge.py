"""How much of the chosen response a response has, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics import Metric, Value

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


class Rouge(Metric):
    """ROUGE-L (F1 of the longest common subsequence of words) against the prompt's chosen response, by rouge-score.

    The best one where a prompt has several. Words are what rouge-score takes for words: runs of a to z and digits, in
    lower case. A chosen response of which it would not read most letters is passed over, for 0 would be of what it has
    not read. Absent for prompts without another one.

    Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries".
    """

    unit: ClassVar[str] = "F1, 0 to 1"
    better: ClassVar[str] = ""
    absent: ClassVar[str] = "no chosen responses to these prompts, or none in letters from a to z"

    def values(self, bench: GradeBench) -> list[Value]:
        """One value per response to a prompt that has a chosen one that can be read."""
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(["rougeL"])
        return bench.with_chosen(lambda r, chosen: scorer.score_multi(chosen, r.text)["rougeL"].fmeasure, _reads)


def _reads(text: str) -> bool:
    """Whether rouge-score reads at least half of the letters and digits of a text."""
    written = [character for character in text if character.isalnum()]
    return 2 * sum(character.isascii() for character in written) >= len(written)
