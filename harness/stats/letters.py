"""Letters for all pairs: two that share one are not significantly different (a compact letter display).

Piepho (2004), JCGS 13(2), inserts every significant pair into groups and absorbs groups into others. What that gives is
right and needs time that grows exponentially: 11 s for 100 contestants. Here groups grow around pairs instead, as in
Gramm et al. (2007), CSDA 52(2): the letters say the same, about as few suffice, and it takes 20 ms. Groups that add
nothing are swept out, as Piepho has it. Checked in tests/stats/test_letters.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations_with_replacement
from string import ascii_letters

PRIME = "′"


def letters(names: Sequence[str], apart: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Each contestant's letters: two share one exactly where their pair is not among those that are apart.

    Not being apart goes from no pair to the next, so that a contestant may need several letters; and it is not
    equality: where runs are few, many share a letter.

    Args:
        names: in the order in which they are shown, which is that of the letters.
        apart: the pairs that differ significantly.

    Returns:
        At least one letter each: a to z, A to Z, then the same with primes.
    """
    near = {name: set(names) for name in names}
    for a, b in apart:
        near[a].discard(b)
        near[b].discard(a)
    place = {name: i for i, name in enumerate(names)}
    groups = sorted(_swept(_grown(names, near)), key=lambda group: sorted(map(place.__getitem__, group)))
    return {name: "".join(_letter(i) for i, group in enumerate(groups) if name in group) for name in names}


def _grown(names: Sequence[str], near: dict[str, set[str]]) -> list[frozenset[str]]:
    """Groups in which all are near each other, and which nobody else can join; every near pair is in one."""
    missing = {name: set(own) for name, own in near.items()}  # with whom it is in no group yet; at first with itself
    groups = []
    for name in names:
        while missing[name]:
            group, others = {name}, near[name] - {name}
            while others:  # who adds most pairs, and of these the first
                joins = max(filter(others.__contains__, names), key=lambda one: len(missing[one] & group))
                group.add(joins)
                others &= near[joins] - {joins}
            for one in group:
                missing[one] -= group
            groups.append(frozenset(group))
    return groups


def _swept(groups: list[frozenset[str]]) -> list[frozenset[str]]:
    """Without groups all of whose pairs other groups have too; the small ones go first."""
    pairs = {group: list(combinations_with_replacement(sorted(group), 2)) for group in groups}
    times = Counter(pair for own in pairs.values() for pair in own)
    for group in sorted(groups, key=len):
        if all(times[pair] > 1 for pair in pairs[group]):
            times.subtract(pairs.pop(group))
    return list(pairs)


def _letter(place: int) -> str:
    """The letter of a group; where 52 do not suffice, with primes."""
    return ascii_letters[place % len(ascii_letters)] + PRIME * (place // len(ascii_letters))
