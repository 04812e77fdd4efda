from __future__ import annotations

from itertools import chain, combinations, combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.letters import PRIME, letters


def groups_of(spelled):
    """Each letter's contestants."""
    found = {}
    for name, text in spelled.items():
        for letter in split(text):
            found.setdefault(letter, set()).add(name)
    return found


def split(text):
    """A letter and the primes behind it are one."""
    found = []
    for mark in text:
        found[-1:] = [found[-1] + mark] if mark == PRIME else [*found[-1:], mark]
    return found


def check(names, apart):
    """Two share a letter if and only if they are not apart; no letter could be left out."""
    spelled = letters(names, apart)
    assert list(spelled) == list(names)
    assert all(spelled.values())
    differ = {frozenset(pair) for pair in apart}
    for a, b in combinations(names, 2):
        assert bool(set(split(spelled[a])) & set(split(spelled[b]))) is (frozenset((a, b)) not in differ), (a, b)
    covers = {one: set(combinations_with_replacement(sorted(own), 2)) for one, own in groups_of(spelled).items()}
    for one, own in covers.items():
        assert own - set(chain.from_iterable(others for name, others in covers.items() if name != one)), one
    return spelled


def test_every_case_of_up_to_five_contestants():
    for names in ("a", "ab", "abc", "abcd", "abcde"):
        pairs = list(combinations(names, 2))
        for many in range(len(pairs) + 1):
            for apart in combinations(pairs, many):
                check(names, apart)


@st.composite
def cases(draw):
    names = [f"c{i}" for i in range(draw(st.integers(1, 14)))]
    pairs = list(combinations(names, 2))
    return names, draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []


@given(cases())
def test_any_case(case):
    check(*case)


@given(cases())
def test_the_order_of_the_pairs_and_of_the_two_in_a_pair_changes_nothing(case):
    names, apart = case
    assert letters(names, [(b, a) for a, b in reversed(apart)]) == letters(names, apart)


def test_by_hand():
    assert letters("xyz", []) == {"x": "a", "y": "a", "z": "a"}
    assert letters("xyz", [("x", "z")]) == {"x": "a", "y": "ab", "z": "b"}  # what is apart is not handed on
    assert letters("xyz", [("x", "y"), ("x", "z"), ("y", "z")]) == {"x": "a", "y": "b", "z": "c"}
    assert letters("", []) == {}


def test_a_table_of_piephos_kind():
    """Means in order, each apart from all but its neighbours: one letter for each pair of neighbours."""
    names = "12345"
    apart = [(a, b) for a, b in combinations(names, 2) if int(b) - int(a) > 1]
    assert letters(names, apart) == {"1": "a", "2": "ab", "3": "bc", "4": "cd", "5": "d"}


@pytest.mark.parametrize("many", [9, 30, 60])
def test_more_letters_than_the_alphabet_has(many):
    """Neighbours alone are alike, so that each two have a letter of their own."""
    names = [str(i) for i in range(many)]
    apart = [(a, b) for a, b in combinations(names, 2) if int(b) - int(a) > 1]
    spelled = check(names, apart)
    assert len(groups_of(spelled)) == many - 1
    if many == 60:
        assert spelled["52"] == "Z" + "a" + PRIME  # the 53rd letter


def test_what_insert_and_absorb_would_need_thousands_of_groups_for():
    """Nine threes in which all are apart, and alike beyond: 3 ** 9 sets in which none are apart."""
    names = [f"{three}{i}" for three in range(9) for i in range(3)]
    apart = [(a, b) for a, b in combinations(names, 2) if a[0] == b[0]]
    assert len(groups_of(check(names, apart))) < 30
