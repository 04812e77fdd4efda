"""Records and failures of a plan's stages, each read once, and what they say of a cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.memory import needed_bytes
from harness.stages import Train

if TYPE_CHECKING:
    from harness.plan import Cell, Plan
    from harness.stages import Stage
    from harness.store import Store

FINAL = -1
"""The `step` of a finished policy; an emitted one has its own step."""


def setting_of(cell: Cell) -> str:
    """What contestants must share to be compared: model, dataset and start."""
    return f"{cell.model} · {cell.dataset} · {cell.start}"


@dataclass(frozen=True)
class Fate:
    """Why a cell has scores or not: `status`, and the stage and failure behind it."""

    status: str
    stage: str = ""
    cause: str = ""
    error: str = ""
    hint: str = ""


@dataclass
class Shelf:
    """Records and failures of a plan's stages, each read once; tables that could not be read."""

    plan: Plan
    store: Store
    records: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    failures: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    memory: dict[str, float | None] = field(default_factory=dict)

    def record(self, stage: Stage) -> dict[str, Any] | None:
        """The record of a finished stage whose tables can be read."""
        if stage.name not in self.records:
            self.records[stage.name] = self.store.record(stage.name)
        return None if stage.name in self.unreadable else self.records[stage.name]

    def needed(self, stage: Stage) -> float | None:
        """Bytes of memory that a finished stage needed; None where that is not known."""
        if stage.name not in self.memory:
            cost = (self.record(stage) or {}).get("cost", {})
            self.memory[stage.name] = needed_bytes(stage, self.store, cost)
        return self.memory[stage.name]

    def failure(self, stage: Stage) -> dict[str, Any] | None:
        """Cause, error and hint of a stage that failed, or whose tables cannot be read."""
        if stage.name in self.unreadable:
            hint = "remove the folder and run the recipe again"
            return {"cause": "bad data", "error": self.unreadable[stage.name], "hint": hint}
        if stage.name not in self.failures:
            self.failures[stage.name] = self.store.failure(stage.name)
        return self.failures[stage.name]

    def unfinished(self, stage: Stage) -> Iterator[Stage]:
        """What a stage still waits for, inputs first; a finished stage asks nothing of its inputs."""
        if self.record(stage) is not None:
            return
        for needed in stage.inputs.values():
            yield from self.unfinished(needed)
        yield stage

    def fate(self, cell: Cell, step: int | None) -> Fate:
        """What became of a cell at a step (None: the finished policy)."""
        if cell.reason:
            return Fate("cut", cause="cut", error=cell.reason)
        return self.fate_of(cell.grades[step], (*cell.own, *judged(cell, step)))

    def fate_of(self, target: Stage, own: Iterable[Stage]) -> Fate:
        """What became of a stage; a failure of what is not among its own blocks it."""
        missing = list(dict.fromkeys(self.unfinished(target)))
        if not missing:
            return Fate("done")
        names = {stage.name for stage in own}
        for stage in missing:
            failure = self.failure(stage)
            if failure:
                status = "failed" if stage.name in names else "blocked"
                texts = (str(failure.get(name, "")) for name in ("cause", "error", "hint"))
                return Fate(status, stage.name, *texts)
        return Fate("waiting", missing[0].name, "waiting", f"{len(missing)} stage(s) have not run yet")


def cell_id(cell: Cell) -> dict[str, Any]:
    """What names a cell in every table."""
    return {"setting": setting_of(cell), "contestant": cell.contestant, "replicate": cell.replicate}


def judged(cell: Cell, step: int | None) -> list[Stage]:
    """The samples of a cell's policy at a step, and the grade that reads them."""
    grade = cell.grades[step]
    return [grade.inputs[role] for role in ("sample", "greedy") if role in grade.inputs] + [grade]


def asked(cell: Cell) -> list[Stage]:
    """What is asked of a cell's final policy beside its grade: judges, and lm-eval's tasks."""
    return [*cell.judges.values(), *cell.benches]


def trainings(cell: Cell) -> list[Train]:
    """The trainings of a cell's own policies, in order: several where it goes in rounds; no reward model's."""
    return [stage for stage in cell.own if isinstance(stage, Train) and stage.algorithm["name"] != "reward"]


def steps(cell: Cell) -> Iterable[int | None]:
    """The steps at which a cell is graded, the final one first."""
    return () if cell.reason else sorted(cell.grades, key=lambda step: FINAL if step is None else step)
