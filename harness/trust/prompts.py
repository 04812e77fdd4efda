"""Whether sets of prompts are disjoint: by hash, and by near duplicates.

Near duplicates are those of `harness.near`.

The threshold is high because prompts may be written from a template. In the lab's grammar every prompt has cousins
that differ in one word: of 1,280 evaluation prompts none has a near duplicate among 8,320 independent training prompts,
where 0.8 would accuse 8 % of the test prompts and 0.7 39 %. What is found: all copies that differ in case, punctuation
or spacing, and copies with a word put before or after them, 78 % of them in the lab, whose prompts have few words, and
99 % of those of 14 words or more. One word exchanged in the middle is found in prompts of about 80 words (97 %), not in
the lab's, and a paraphrase nowhere. Checked in tests/test_trust_prompts.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from harness import keys
from harness.errors import HarnessError
from harness.near import Texts

if TYPE_CHECKING:
    from harness.data import Message, Row

TOLERATED = 0.01
"""Near duplicates, as a share of the smaller set, up to which two sets count as apart; of equal prompts none."""

Prompts = Mapping[str, Sequence["list[Message]"]]
"""Prompts by the name of their set."""


@dataclass(frozen=True)
class Overlap:
    """What two sets of prompts share.

    Attributes:
        one: name of a set.
        other: name of the other.
        equal: distinct prompts that are in both.
        near: distinct prompts of the smaller set that have a near duplicate, but no equal, in the larger.
        of: distinct prompts of the smaller set.
        example: the beginning of a prompt that is shared, or empty.
    """

    one: str
    other: str
    equal: int
    near: int
    of: int
    example: str = ""

    @property
    def apart(self) -> bool:
        """Nothing equal, and hardly anything near."""
        return not self.equal and self.near <= TOLERATED * self.of


def words(prompt: list[Message]) -> str:
    """All turns of a prompt as one text."""
    return "\n".join(message["content"] for message in prompt)


def refuse_overlap(rows: Sequence[Row], split: str, training: Mapping[str, Sequence[Row]]) -> None:
    """Check that no evaluation prompt was trained on.

    Args:
        rows: of the evaluation.
        split: their split.
        training: rows by what trains on them, in words.

    Raises:
        HarnessError: with every training set that holds one of the prompts.
    """
    asked = {keys.key(row["prompt"]): row["prompt"] for row in rows}
    told = []
    for who, trained in training.items():
        common = [name for name in {keys.key(row["prompt"]): 0 for row in trained} if name in asked]
        if common:
            example = " ".join(words(asked[common[0]]).split())[:80]
            told.append(f"{len(common)} are in {who}, such as {example!r}")
    if told:
        raise HarnessError(
            f"evaluation.split '{split}' overlaps the training data: of its {len(asked)} prompts {'; '.join(told)}. "
            "Take another split, or take them out of one of the two"
        )


def overlaps(sets: Prompts) -> list[Overlap]:
    """Every pair of sets, in the order given."""
    distinct = {name: {keys.key(prompt): words(prompt) for prompt in prompts} for name, prompts in sets.items()}
    indexed = {name: Texts(texts) for name, texts in distinct.items()}
    return [_overlap(one, other, indexed[one], indexed[other]) for one, other in combinations(sets, 2)]


def _overlap(one: str, other: str, a: Texts, b: Texts) -> Overlap:
    small, large = sorted((a, b), key=lambda side: len(side.texts))
    equal = [name for name in small.texts if name in large.texts]
    near = [name for name in small.texts if name not in large.texts and any(small.near(name, large))]
    example = " ".join(small.texts[[*equal, *near][0]].split())[:80] if equal or near else ""
    return Overlap(one, other, len(equal), len(near), len(small.texts), example)
