"""Submit all that is left of a graph at once, each job waiting for just those whose results it reads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, groupby
from pathlib import Path

from harness import keys
from harness.executors import _slurm_notes as notes
from harness.executors._slurm_graph import Place, Waiting, arrays
from harness.executors._slurm_queue import largest_array
from harness.executors.slurm import SLOTS, Slurm
from harness.launch import Resources, asked
from harness.stages import Stage
from harness.store import Store

Put = Callable[..., dict[Path, notes.Note]]
"""As `Slurm.put`."""
_SEED = re.compile(r"replicate-(\d+)")


@dataclass
class Left:
    """What was left to Slurm.

    Attributes:
        submitted: the job of each stage that is new in the queue.
        held: the job of each stage that was there before.
        out: stages that others work on, and what rests on them.
        arrays: how often sbatch was called.
    """

    submitted: dict[str, str] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    out: set[str] = field(default_factory=set)
    arrays: int = 0


def leave(
    executor: Slurm,
    store: Store,
    waves: Iterable[list[list[Stage]]],
    busy: set[str],
    left: Left,
    put: Put | None = None,
) -> None:
    """Submit bundles of stages, wave by wave.

    Args:
        executor: knows what a job asks for, and what is in the queue.
        store: where; its stages are prepared.
        waves: of bundles; a stage comes after what it reads.
        busy: stages that others work on.
        left: told as it goes, so that it is known where sbatch refuses.
        put: takes the place of sbatch.

    Raises:
        HarnessError: sbatch refuses.
    """
    bundles, most = list(waves), largest_array(SLOTS)

    def all_of(told: Left, by_seed: bool, by: Put) -> Left:
        _Leaving(executor, store, busy, told, by_seed, by, most).all(bundles)
        return told

    tried = {by_seed: all_of(Left(), by_seed, _pretend()) for by_seed in (False, True)}
    all_of(left, tried[True].arrays < tried[False].arrays, put or executor.put)


def _pretend() -> Put:
    """Something that gives out numbers of jobs and submits nothing."""
    numbers = count(1)

    def put(wishes: Resources, bundles: Mapping[int, Sequence[Path]], waits_for: str) -> dict[Path, notes.Note]:
        number = next(numbers)
        jobs = {index: f"{number}_{index}" if len(bundles) > 1 else str(number) for index in bundles}
        return {folder: notes.Note(jobs[index], "") for index, bundle in bundles.items() for folder in bundle}

    return put


def _seed_of(stage: Stage) -> int:
    """The number of the seed that a stage is for; -1 where it is for several, or for none."""
    own = _SEED.match(stage.spec.get("seed") or "")
    found = {int(own[1])} if own else {_seed_of(needed) for needed in stage.inputs.values()} - {-1}
    return found.pop() if len(found) == 1 else -1


def _role_of(stage: Stage) -> str:
    return keys.canonical({name: value for name, value in stage.spec.items() if name not in ("seed", "inputs")})


class _Leaving:
    def __init__(
        self, executor: Slurm, store: Store, busy: set[str], left: Left, by_seed: bool, put: Put, most: int
    ) -> None:
        self.executor, self.store, self.busy, self.left = executor, store, busy, left
        self.by_seed, self.put, self.most = by_seed, put, most
        self.shared = Counter(note.job for note in notes.every(store.root).values())
        self.places: dict[str, Place] = {}
        self.behind: dict[Place, frozenset[Place]] = {}
        """What a job waits for, however far."""

    def all(self, waves: Iterable[list[list[Stage]]]) -> None:
        """Submit every wave."""
        for bundles in waves:
            groups: dict[Resources, list[list[Stage]]] = {}
            for bundle in (part for whole in bundles for part in self._parts(whole)):
                groups.setdefault(asked(self.executor.resources, bundle[0].spec), []).append(bundle)
            for wishes, group in groups.items():
                self._submit(wishes, group)

    def _parts(self, bundle: Sequence[Stage]) -> list[list[Stage]]:
        """What of a bundle is to be submitted, cut where a stage is left out."""
        return [list(part) for mine, part in groupby(bundle, self._is_mine) if mine]

    def _is_mine(self, stage: Stage) -> bool:
        note = self.executor.held(self.store.root.resolve() / stage.name)
        if note:
            self.places[stage.name] = Place.of(note.job, sure=self.shared[note.job] == 1)
            self.left.held[stage.name] = note.job
        elif stage.name in self.busy or any(needed.name in self.left.out for needed in stage.inputs.values()):
            self.left.out.add(stage.name)
        return not note and stage.name not in self.left.out

    def _reads(self, bundle: Sequence[Stage]) -> frozenset[Place]:
        """Jobs that a bundle has to wait for, without those that these wait for themselves."""
        needed = {one.name for stage in bundle for one in stage.inputs.values()} - {stage.name for stage in bundle}
        places = {self.places[name] for name in needed if name in self.places}
        return frozenset(places.difference(*(self.behind.get(place, frozenset()) for place in places)))

    def _submit(self, wishes: Resources, bundles: list[list[Stage]]) -> None:
        root, reads = self.store.root.resolve(), [self._reads(bundle) for bundle in bundles]
        jobs = [
            Waiting(places, _role_of(bundle[0]), _seed_of(bundle[0]))
            for places, bundle in zip(reads, bundles, strict=True)
        ]
        for array in arrays(jobs, self.most, self.by_seed):
            folders = {index: [root / stage.name for stage in bundles[at]] for index, at in array.members.items()}
            held = self.put(wishes, folders, array.waits_for)
            self.left.arrays += 1
            for at in array.members.values():
                place = Place.of(
                    held[root / bundles[at][0].name].job, sure=len(bundles[at]) == 1, by_seed=jobs[at].seed >= 0
                )
                waits = reads[at]
                self.behind[place] = waits.union(*(self.behind.get(one, frozenset()) for one in waits))
                for stage in bundles[at]:
                    self.places[stage.name] = place
                    self.left.submitted[stage.name] = str(place)
