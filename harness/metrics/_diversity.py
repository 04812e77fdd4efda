"""How different texts are from each other: three measures that see different things."""

from __future__ import annotations

import itertools
import math

from harness.near import unspaced


def distinct(responses: list[list[int]], vocabulary: int, longest: int = 5) -> float:
    """Expectation-adjusted distinct n-grams, mean over n = 1 to `longest`.

    N / (M [1 − ((M − 1)/M)^C]): the N different n-grams among C, over how many there would be if each were drawn
    uniformly from M. Plain distinct-n falls as texts grow, and this does not for uniform draws. It differs from the
    paper, whose M is the vocabulary V for every n: there are V^n n-grams, and with V the expectation has its ceiling
    at V, however many n-grams differ. An n for which no response is long enough is left out of the mean.

    Args:
        responses: token ids of each, without special tokens; n-grams do not reach over two responses.
        vocabulary: V, how many tokens there are.
        longest: the largest n.

    Returns:
        About 1: as many different n-grams as chance would give; 0 where all responses are empty.

    Source: Liu et al. 2022, arXiv 2202.13587; the mean over n as in Kirk et al. 2024, arXiv 2310.06452.
    Checked by uniform draws in tests/test_diversity.py.
    """
    found = []
    for n in range(1, longest + 1):
        grams = [tuple(ids[i : i + n]) for ids in responses for i in range(len(ids) - n + 1)]
        if grams:
            expected = -(vocabulary**n) * math.expm1(len(grams) * math.log1p(-1 / vocabulary**n))
            found.append(len(set(grams)) / expected)
    return math.fsum(found) / len(found) if found else 0.0


def self_bleu(texts: list[str], group: int = 0) -> float | None:
    """Mean BLEU-4 of each text against the others, which are its references; by sacrebleu, 0 to 100.

    A text that stands there twice has 100, as BLEU has it; empty texts too, of which BLEU says 0. Texts written without
    spaces, such as Chinese ones, are left out, for BLEU's tokens are whole clauses of them.

    Args:
        texts: at least two.
        group: compare a text only with those of its group of so many neighbours; 0: with all. What is left over at
            the end joins the last group.

    Returns:
        None where not two texts have words.

    Source: Zhu et al. 2018, arXiv 1802.01886 (self-BLEU).
    """
    from sacrebleu.metrics.bleu import BLEU

    texts = [text for text in texts if not unspaced(text)]
    if len(texts) < 2:
        return None
    bleu = BLEU(effective_order=True)
    found = []
    count = max(1, len(texts) // group) if group else 1
    bounds = [len(texts) if i == count else i * group for i in range(count + 1)]
    for first, last in itertools.pairwise(bounds):
        for i in range(first, last):
            others = texts[first:i] + texts[i + 1 : last]
            found.append(100.0 if texts[i] in others else bleu.sentence_score(texts[i], others).score)
    return math.fsum(found) / len(found)


def compression(texts: list[str]) -> float:
    """Bytes of the texts, a line each, over their bytes compressed by zlib at its highest level.

    Source: Shaib et al. 2024, arXiv 2403.00553, who take gzip, which is zlib with a longer header.
    """
    import zlib

    raw = "\n".join(texts).encode()
    return len(raw) / len(zlib.compress(raw, 9))
