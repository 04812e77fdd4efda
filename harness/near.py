"""Near duplicates: texts that differ in a word or two.

Two texts are near duplicates where their sets of shingles (`SHINGLE` words in a row, without case, punctuation and
white space) have a Jaccard similarity of at least `NEAR`. MinHash finds candidates (`PERMUTATIONS` of them, cut into
bands at `RECALL`, well below `NEAR`, so that few are missed), and each candidate's similarity is computed exactly, so
the hashes' own noise accuses nobody. Where a text is written without spaces, a character counts as a word.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

SHINGLE, NEAR, RECALL, PERMUTATIONS = 3, 0.9, 0.75, 64
VERSION = 2
"""In the names of what is kept on disk; raise it where other texts are near duplicates."""
REMEMBERED = 1_000
"""Texts whose shingles are held while they are compared."""
UNSPACED = (
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Chinese characters
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer
)
"""Characters of scripts that put no space between words, as the inside of a regular expression's brackets."""
FEW = 4
"""A text with more of these characters to each word that white space separates is written without spaces."""
_WORD = re.compile(r"\w+")
_CHARACTER = re.compile(f"[{UNSPACED}]")
_CHARACTER_OR_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")


def unspaced(text: str) -> bool:
    """Whether a text is written without spaces, so that white space does not tell its words: Chinese, Thai and so on.

    One whose words somebody has put apart has spaces, and so has one in which a few such characters are quoted.
    """
    return not text.isascii() and len(_CHARACTER.findall(text)) > FEW * len(text.split())


def shingles(text: str) -> frozenset[str]:
    """Runs of `SHINGLE` words, lower case; the whole text where it is shorter, or has no letter or digit.

    Of a text without spaces they are runs of characters; what it has of other scripts stays in words.
    """
    found = (_CHARACTER_OR_WORD if unspaced(text) else _WORD).findall(text.lower()) or [text.strip()]
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
        hashes: Iterable[Any] = MinHash.bulk(map(_encoded, texts.values()), num_perm=PERMUTATIONS)
        self.hashes = dict(zip(texts, hashes, strict=True))
        self.index = MinHashLSH(threshold=RECALL, num_perm=PERMUTATIONS)
        for name, value in self.hashes.items():
            self.index.insert(name, value, check_duplication=False)

    def near(self, name: str, other: Texts) -> Iterator[str]:
        """Names of the other's texts that are near duplicates of one of these."""
        own = self.shingles[name]
        return (found for found in other.index.query(self.hashes[name]) if jaccard(own, other.shingles[found]) >= NEAR)


def groups(texts: Callable[[], Iterable[str]]) -> dict[str, str]:
    """What keeps together: texts that are near duplicates, or are linked by a chain of them.

    Only those texts are held that share a band of their MinHashes with another.

    Args:
        texts: walks through all texts, each as often as it likes; it is asked twice.

    Returns:
        For each text that is not alone in its group, the group's first text by alphabet.
    """
    alike, known = _alike(texts), lru_cache(REMEMBERED)(shingles)
    leader: dict[str, str] = {}
    for first in sorted(alike):
        if first in leader:
            continue
        leader[first], reached = first, [first]
        for text in reached:
            others = dict.fromkeys(other for band in alike[text] for other in band if other not in leader)
            new = [other for other in others if jaccard(known(text), known(other)) >= NEAR]
            leader |= dict.fromkeys(new, first)
            reached += new
    shared = {first for text, first in leader.items() if text != first}
    return {text: first for text, first in leader.items() if first in shared}


def _alike(texts: Callable[[], Iterable[str]]) -> dict[str, list[list[str]]]:
    """Texts that share a band with another, each with all those that share one with it, by band."""
    import numpy as np

    places = dict[bytes, int]()
    bands = _bands(_distinct(texts(), places))
    counted = (np.unique(np.frombuffer(band, "q"), return_counts=True) for band in bands)
    shared: list[dict[int, list[str]]] = [{int(one): [] for one in values[counts > 1]} for values, counts in counted]
    found: dict[str, list[list[str]]] = {}
    for text in texts():
        place = places.pop(_digest(text), None)
        if place is None:  # it was there before
            continue
        if own := [alike[band[place]] for band, alike in zip(bands, shared, strict=True) if band[place] in alike]:
            found[text] = own
            for one in own:
                one.append(text)
    return found


def _distinct(texts: Iterable[str], places: dict[bytes, int]) -> Iterator[str]:
    """Each text once; `places` is told the place of each, by its hash."""
    for text in texts:
        digest = _digest(text)
        if digest not in places:
            places[digest] = len(places)
            yield text


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _bands(texts: Iterable[str]) -> list[array[int]]:
    """Hashes of the bands of each text's MinHash, by band: equal where the index would find one text by the other."""
    from datasketch import MinHash, MinHashLSH

    ranges = MinHashLSH(threshold=RECALL, num_perm=PERMUTATIONS).hashranges
    found = [array("q") for _ in ranges]
    for one in MinHash.generator(map(_encoded, texts), num_perm=PERMUTATIONS):
        for band, (first, last) in zip(found, ranges, strict=True):
            band.append(hash(one.hashvalues[first:last].tobytes()))
    return found


def _encoded(text: str) -> list[bytes]:
    return [one.encode() for one in sorted(shingles(text))]
