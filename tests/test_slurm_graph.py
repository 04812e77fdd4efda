"""How jobs become arrays: each waits for exactly what it reads, in as few arrays as that allows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.executors._slurm_graph import Array, Place, Waiting, arrays

PLACES = st.builds(Place, st.sampled_from(["3", "7", "12"]), st.integers(-1, 3), st.booleans(), st.booleans())
JOBS = st.builds(Waiting, st.frozensets(PLACES, max_size=4), st.sampled_from(["dpo", "ppo"]), st.integers(-1, 5))


def waiting(*jobs: str, role: str = "", seed: int = -1) -> Waiting:
    return Waiting(frozenset(Place.of(job, by_seed=seed >= 0) for job in jobs), role, seed)


def waited_for(array: Array, index: int) -> set[str]:
    """What Slurm has a job of an array wait for."""
    found: set[str] = set()
    for part in filter(None, array.waits_for.split(",")):
        word, *jobs = part.split(":")
        found |= {f"{job}_{index}" if word == "aftercorr" else job for job in jobs}
    return found


@settings(max_examples=300, deadline=None)
@given(st.lists(JOBS, max_size=12), st.integers(4, 6), st.booleans())
def test_each_job_waits_for_exactly_what_it_reads_and_is_in_one_array(
    jobs: list[Waiting], most: int, by_seed: bool
) -> None:
    found, reads = arrays(jobs, most, by_seed), [job.reads for job in jobs]
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
    found = arrays([waiting(*jobs) for jobs in reads], 1000, by_seed=False)
    assert sorted(array.waits_for for array in found) == sorted(expected)


def test_a_job_of_several_stages_says_nothing_of_one_of_them() -> None:
    (array,) = arrays([Waiting(frozenset({Place.of("3_0", sure=False), Place.of("4")}))], 1000, by_seed=False)
    assert array.waits_for == "afterok:4,afterany:3_0"


def test_an_array_has_no_more_jobs_than_slurm_takes() -> None:
    for by_seed in (False, True):
        found = arrays([Waiting(frozenset())] * 25, 10, by_seed)
        assert [(len(array.members), array.waits_for) for array in found] == [(10, ""), (10, ""), (5, "")]


def test_what_a_seed_has_of_its_own_has_its_index_in_every_array() -> None:
    jobs = [waiting("9", role=role, seed=seed) for role in ("dpo", "ppo") for seed in range(3)]
    assert [array.members for array in arrays(jobs, 1000, by_seed=True)] == [{0: 0, 1: 1, 2: 2}, {0: 3, 1: 4, 2: 5}]
    corresponding = [Place.of(f"{job}_{seed}", by_seed=True) for seed in range(3) for job in (3, 4)]
    shared = Place.of("5_1")
    grades = [Waiting(frozenset({*corresponding[2 * seed : 2 * seed + 2], shared}), "grade", seed) for seed in range(3)]
    (array,) = arrays(grades, 1000, by_seed=True)
    assert (array.waits_for, array.members) == ("aftercorr:3,aftercorr:4,afterok:5_1", {0: 0, 1: 1, 2: 2})
