"""Hand a whole graph of stages to Slurm: arrays by wave, each waiting for just what its stages read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where a stage is in the queue.

    Attributes:
        job: its number; of an array, that of the array.
        index: in the array; -1 for a job by itself.
        sure: whether the job's exit code says how this stage went; in a job of several stages it may be another's.
        by_seed: whether the index is the number of its seed.
    """

    job: str
    index: int = -1
    sure: bool = True
    by_seed: bool = False

    @classmethod
    def of(cls, job: str, sure: bool = True, by_seed: bool = False) -> Place:
        """Read `12` or `12_3`."""
        number, _, index = job.partition("_")
        return cls(number, int(index) if index else -1, sure, by_seed)

    def __str__(self) -> str:
        return self.job if self.index < 0 else f"{self.job}_{self.index}"


@dataclass(frozen=True)
class Array:
    """Jobs to be submitted together: by index, their places among those asked about."""

    waits_for: str
    members: Mapping[int, int]


@dataclass(frozen=True)
class Waiting:
    """A job that is to be submitted.

    Attributes:
        reads: what it waits for.
        role: of jobs with the same one, only the seeds differ.
        seed: its number; -1 where no seed is its own.
    """

    reads: frozenset[Place]
    role: str = ""
    seed: int = -1


def arrays(jobs: Sequence[Waiting], most: int, by_seed: bool) -> list[Array]:
    """Arrays in which each job waits for exactly what it reads.

    The jobs of an array share their dependencies, but for `aftercorr`, by which each waits for the job of its own
    index in another array. So jobs are together that read the same, or that read what has one index in other arrays.

    Args:
        jobs: what each waits for.
        most: indices of an array end before it.
        by_seed: a job's index is the number of its seed, so that all that a seed has of its own is found by
            `aftercorr`; otherwise the fewest arrays of these jobs, whatever follows them.
    """
    if by_seed:
        return _by_seed(jobs, most)
    reads = [job.reads for job in jobs]
    return min(_of_the_same(reads, most), _by_index(reads, most), key=len)


def _by_seed(jobs: Sequence[Waiting], most: int) -> list[Array]:
    groups: dict[tuple[frozenset[str], frozenset[Place], str, int], dict[int, int]] = {}
    met: Counter[tuple[frozenset[str], frozenset[Place], str, int]] = Counter()
    for number, job in enumerate(jobs):
        seed = job.seed if job.seed < most else -1
        own = frozenset(one for one in job.reads if one.sure and one.by_seed and one.index == seed >= 0)
        alike = (frozenset(one.job for one in own), job.reads - own, job.role if seed >= 0 else "", seed)
        turn, index = (met[alike], seed) if seed >= 0 else divmod(met[alike], most)
        groups.setdefault((*alike[:3], turn), {})[index] = number
        met[alike] += 1
    return [Array(_waits(corresponding, others), members) for (corresponding, others, *_), members in groups.items()]


def _of_the_same(reads: Sequence[frozenset[Place]], most: int) -> list[Array]:
    groups: dict[frozenset[Place], list[int]] = {}
    for number, places in enumerate(reads):
        groups.setdefault(places, []).append(number)
    return [
        Array(_waits(frozenset(), places), dict(enumerate(group[first : first + most])))
        for places, group in groups.items()
        for first in range(0, len(group), most)
    ]


def _by_index(reads: Sequence[frozenset[Place]], most: int) -> list[Array]:
    groups: dict[tuple[frozenset[str], frozenset[Place], int], dict[int, int]] = {}
    met: Counter[tuple[frozenset[str], frozenset[Place], int]] = Counter()
    for number, places in enumerate(reads):
        newest = max((one for one in places if one.sure and one.index >= 0), key=_age, default=None)
        own = frozenset(one for one in places if newest and one.sure and one.index == newest.index)
        jobs, others = frozenset(one.job for one in own), places - own
        alike = (jobs, others, newest.index if newest else -1)
        turn = met[alike] if newest else met[alike] // most
        index = newest.index if newest else met[alike] % most
        groups.setdefault((jobs, others, turn), {})[index] = number
        met[alike] += 1
    return [Array(_waits(jobs, others), members) for (jobs, others, _), members in groups.items()]


def _age(place: Place) -> int:
    return int(place.job)


def _waits(jobs: frozenset[str], others: frozenset[Place]) -> str:
    """What sbatch's `--dependency` is to say."""
    parts = [f"aftercorr:{job}" for job in sorted(jobs, key=int)]
    for word, sure in (("afterok", True), ("afterany", False)):
        found = sorted((one for one in others if one.sure == sure), key=lambda one: (int(one.job), one.index))
        parts += [":".join([word, *map(str, found)])] if found else []
    return ",".join(parts)
