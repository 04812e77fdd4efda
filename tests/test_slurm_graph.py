"""How jobs become arrays: each waits for exactly what it reads, in as few arrays as that allows."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.executors._slurm_graph import Array, Place, arrays

PLACES = st.builds(Place, st.sampled_from(["3", "7", "12"]), st.integers(-1, 3), st.booleans())


def waited_for(array: Array, index: int) -> set[str]:
    """What Slurm has a job of an array wait for."""
    found: set[str] = set()
    for part in filter(None, array.waits_for.split(",")):
        word, *jobs = part.split(":")
        found |= {f"{job}_{index}" if word == "aftercorr" else job for job in jobs}
    return found


@settings(max_examples=300, deadline=None)
@given(st.lists(st.frozensets(PLACES, max_size=4), max_size=12), st.integers(4, 6))
def test_each_job_waits_for_exactly_what_it_reads_and_is_in_one_array(reads: list[frozenset[Place]], most: int) -> None:
    found = arrays(reads, most)
    assert sorted(number for array in found for number in array.members.values()) == list(range(len(reads)))
    for array in found:
        assert all(0 <= index < most for index in array.members)
        for index, number in array.members.items():
            assert waited_for(array, index) == {str(place) for place in reads[number]}


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        ([set(), set(), set()], [""]),
        ([{"3_0"}, {"3_1"}, {"3_2"}], ["aftercorr:3"]),
        ([{"3_0", "5"}, {"3_2", "5"}], ["aftercorr:3,afterok:5"]),
        ([{"3_0", "5_0"}, {"3_1", "5_1"}], ["aftercorr:3,aftercorr:5"]),
        ([{"3_1"}, {"3_1"}, {"3_1"}], ["afterok:3_1"]),
        ([{"3_0"}, {"3_0"}, {"3_1"}, {"3_1"}, {"3_2"}, {"3_2"}], ["aftercorr:3", "aftercorr:3"]),
        ([{"3_0", "4_1"}, {"3_1", "4_1"}], ["afterok:3_0:4_1", "afterok:3_1:4_1"]),
    ],
)
def test_the_fewest_arrays(reads: list[set[str]], expected: list[str]) -> None:
    found = arrays([frozenset(Place.of(job) for job in jobs) for jobs in reads], 1000)
    assert sorted(array.waits_for for array in found) == sorted(expected)


def test_a_job_of_several_stages_says_nothing_of_one_of_them() -> None:
    (array,) = arrays([frozenset({Place.of("3_0", sure=False), Place.of("4")})], 1000)
    assert array.waits_for == "afterok:4,afterany:3_0"


def test_an_array_has_no_more_jobs_than_slurm_takes() -> None:
    found = arrays([frozenset()] * 25, 10)
    assert [len(array.members) for array in found] == [10, 10, 5]
    assert re.fullmatch("", "".join(array.waits_for for array in found))
