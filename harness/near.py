"""Near duplicates: texts that differ in a word or two.

Two texts are near duplicates where their sets of shingles (`SHINGLE` words in a row, without case, punctuation and
white space) have a Jaccard similarity of at least `NEAR`. MinHash finds candidates (`PERMUTATIONS` of them, cut into
bands at `RECALL`, well below `NEAR`, so that few are missed), and each candidate's similarity is computed exactly, so
the hashes' own noise accuses nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

SHINGLE, NEAR, RECALL, PERMUTATIONS = 3, 0.9, 0.75, 64
_WORD = re.compile(r"\w+")


def shingles(text: str) -> frozenset[str]:
    """Runs of `SHINGLE` words, lower case; the whole text where it is shorter, or has no letter or digit."""
    found = _WORD.findall(text.lower()) or [text.strip()]
    return frozenset(" ".join(found[i : i + SHINGLE]) for i in range(max(1, len(found) - SHINGLE + 1)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Shared elements as a share of all."""
    return len(one & other) / len(one | other)


class Texts:
    """Texts by name, their shingles, and an index of their MinHashes."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        from datasketch import MinHash, MinHashLSH

        self.texts = texts
        self.shingles = {name: shingles(text) for name, text in texts.items()}
        encoded = ([one.encode() for one in sorted(own)] for own in self.shingles.values())
        hashes: Iterable[Any] = MinHash.bulk(encoded, num_perm=PERMUTATIONS)
        self.hashes = dict(zip(texts, hashes, strict=True))
        self.index = MinHashLSH(threshold=RECALL, num_perm=PERMUTATIONS)
        for name, value in self.hashes.items():
            self.index.insert(name, value, check_duplication=False)

    def near(self, name: str, other: Texts) -> Iterator[str]:
        """Names of the other's texts that are near duplicates of one of these."""
        own = self.shingles[name]
        return (found for found in other.index.query(self.hashes[name]) if jaccard(own, other.shingles[found]) >= NEAR)


def groups(texts: Iterable[str]) -> dict[str, str]:
    """What keeps together: texts that are near duplicates, or are linked by a chain of them.

    Returns:
        For each text that is not alone in its group, the group's first text by alphabet.
    """
    own = Texts({text: text for text in sorted(set(texts))})
    leader: dict[str, str] = {}
    for first in own.texts:
        if first in leader:
            continue
        leader[first], reached = first, [first]
        for text in reached:
            new = [near for near in own.near(text, own) if near not in leader]
            leader |= dict.fromkeys(new, first)
            reached += new
    shared = {first for text, first in leader.items() if text != first}
    return {text: first for text, first in leader.items() if first in shared}
