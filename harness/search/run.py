"""The search of a recipe: ask every study, run all that was asked at once, tell, and go on. Safe to stop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.causes import alike, the_same
from harness.dispatch import run as run_stages
from harness.errors import HarnessError
from harness.lease import Busy, Lease, outlast
from harness.plan import Cell, make_plan
from harness.recipe import Recipe
from harness.search.asked import labels_of, trial_label
from harness.search.chosen import TRIALS, all_studies, as_text, choose, folder_of, setting_name
from harness.search.rungs import below_median, halves
from harness.search.study import Search, open_storage
from harness.search.trials import problems, trial_cells, tune_of
from harness.stages import walk
from harness.store import write_whole

if TYPE_CHECKING:
    from harness.dispatch import Event
    from harness.executors import Executor
    from harness.recipe import Tune
    from harness.stages import Grade, Stage
    from harness.store import Store

JOURNAL = "journal.log"
NOT_ITS_OWN = ("bad data", "no room", "network", "cancelled", "refused")
"""Failures that say nothing about a trial's knobs, such as a full disk: the trial stays open, for the next run."""
Laid = tuple[Search, int, Cell]
"""A trial that is to run: its study, Optuna's number of it, and its stages."""


def tune(
    recipe: Recipe,
    store: Store,
    executor: Callable[[], Executor],
    on_event: Callable[[Event], None] = lambda event: None,
    on_round: Callable[[str, dict[str, str]], None] = lambda text, labels: None,
) -> list[dict[str, Any]]:
    """Finish every study of a recipe.

    Args:
        recipe: what is tuned, and with which budget.
        store: where the stages of trials and the journal are.
        executor: opens one; each round of trials closes its own.
        on_event: told of everything that happens to a stage.
        on_round: told before each round what it is, and what to call its stages.

    Returns:
        The studies as `trials.json` holds them.

    Raises:
        HarnessError: another run tunes this recipe, or what the trials of a study rest on has failed; all other studies
            are finished then.
    """
    folder = folder_of(store, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        outlast(folder)
        with Lease(folder):
            return _Tuning(recipe, store, executor, on_event, on_round, folder).to_the_end()
    except Busy as error:
        raise HarnessError(f"{folder}: {error}; wait for it, or end it") from error


class _Tuning:
    def __init__(
        self,
        recipe: Recipe,
        store: Store,
        executor: Callable[[], Executor],
        on_event: Callable[[Event], None],
        on_round: Callable[[str, dict[str, str]], None],
        folder: Path,
    ) -> None:
        self.recipe, self.store, self.executor, self.folder = recipe, store, executor, folder
        self.on_event, self.on_round = on_event, on_round
        self.tune: Tune = tune_of(recipe)
        storage = open_storage(folder / JOURNAL)
        self.searches = [Search(problem, self.tune, storage) for problem in problems(recipe, make_plan(recipe))]
        self.starts: dict[str, Cell] = {}
        self.stuck: dict[str, dict[str, tuple[str, str]]] = {}
        """Studies that cannot go on, and cause and message of what has failed, by the stage's name."""

    def to_the_end(self) -> list[dict[str, Any]]:
        """Rounds of trials until no study asks for more."""
        while True:
            for search in self.searches:
                if search.problem.name not in self.stuck:
                    self._ask(search)
            asked = [search for search in self.searches if search.open() and search.problem.name not in self.stuck]
            found = self._write()
            if not asked and self.stuck:
                raise HarnessError(self._why_stuck())
            if not asked:
                return found
            self._round(asked)

    def _ask(self, search: Search) -> None:
        """Top up: all trials that wait for no other's outcome at once, guided ones one by one."""
        trials, limit = search.trials(), self.tune.trials
        if self._stopped(search):
            return
        free = limit if self.tune.sampler == "random" else min(limit, 1 + self.tune.random)
        wanted = free if len(trials) < free else min(limit, len(trials) + (not search.open()))
        if self.tune.device_seconds:  # a cap can only be kept where each trial's cost is known before the next
            wanted = min(wanted, len(trials) + (not search.open()))
        for _ in range(wanted - len(trials)):
            search.ask()

    def _stopped(self, search: Search) -> bool:
        return bool(self.tune.device_seconds) and _spent(search) >= self.tune.device_seconds

    def _round(self, searches: list[Search]) -> None:
        """Run all open trials of all studies, and tell what came of them."""
        laid = []
        for search in searches:
            asked = search.open()
            start, _, *cells = trial_cells(self.recipe, search.problem, [search.values(trial) for trial in asked])
            self.starts[search.problem.name] = start
            laid += [(search, trial.number, cell) for trial, cell in zip(asked, cells, strict=True)]
        looks: dict[str, Grade] = {}
        if self.tune.prune_at:
            laid, looks = self._split(laid)
        self._announce(laid)
        if looks:
            laid = self._after_the_look(laid, looks)
        self._run([cell.grades[None] for _, _, cell in laid])
        for search, number, cell in laid:
            self._tell(search, number, cell)

    def _run(self, targets: list[Stage]) -> None:
        targets = [*targets, *(start.grades[None] for start in self.starts.values())]
        run_stages(targets, self.store, self.executor(), retries=self.recipe.launch.retries, on_event=self.on_event)

    def _split(self, laid: list[Laid]) -> tuple[list[Laid], dict[str, Grade]]:
        """Trials in two parts where that can be, and the grades of first parts by the name of the last one."""
        parts, looks = [], {}
        for search, number, cell in laid:
            found = halves(cell, self.tune.prune_at)
            parts.append((search, number, found.rest if found else cell))
            if found:
                looks[found.rest.grades[None].name] = found.look
        return parts, looks

    def _after_the_look(self, laid: list[Laid], looks: dict[str, Grade]) -> list[Laid]:
        """Run trials to the look, and stop those below their study's median there; what is left, to run to its end.

        The trial of the own knobs never stops, since the others are compared with it.
        """
        self._run(list(looks.values()))
        scores = {name: self._score(look) for name, look in looks.items()}
        known = self._known(laid, scores)
        going: list[Laid] = []
        for search, number, cell in laid:
            score = scores.get(name := cell.grades[None].name)
            if name not in looks:
                going.append((search, number, cell))
            elif score is None:
                self._tell(search, number, cell)
            elif number != search.trials()[0].number and below_median(score, known[search.problem.name]):
                spent = sum(_cost(self.store, stage) for stage in cell.own[:-1])
                stages = {"policy": cell.own[0].name, "grade": looks[name].name}
                notes = {"pruned": True, "look": score, "device_seconds": spent, "stages": stages}
                search.tell(number, score, {}, notes)
            else:
                search.note(number, {"look": score})
                going.append((search, number, cell))
        return going

    def _known(self, laid: list[Laid], scores: Mapping[str, float | None]) -> dict[str, list[float]]:
        """By study, what its trials score at the look: those of earlier rounds, and all of this one, each once.

        To be asked before any of this round is told, for a told trial is one of the earlier ones.
        """
        found = {search.problem.name: search.looks() for search, _, _ in laid}
        for search, _, cell in laid:
            score = scores.get(cell.grades[None].name)
            found[search.problem.name] += [] if score is None else [score]
        return found

    def _score(self, grade: Grade) -> float | None:
        record = self.store.record(grade.name)
        measured = {item["metric"]: float(item["value"]) for item in (record or {}).get("measurements", [])}
        return measured.get(self.tune.metric)

    def _announce(self, laid: list[Laid]) -> None:
        left = sum(max(self.tune.trials - len(search.trials()), 0) for search in self.searches)
        labels: dict[str, str] = {}
        for search, number, cell in laid:
            labels |= labels_of(trial_label(self.recipe, search.problem, f"trial {number}"), cell)
        self.on_round(f"tuning: {len(laid)} trials, at most {left} after them", labels)

    def _tell(self, search: Search, number: int, cell: Cell) -> None:
        own = (*cell.own, cell.samples[None], cell.grades[None])
        failures = [failure for stage in own if (failure := self.store.failure(stage.name))]
        record = self.store.record(cell.grades[None].name)
        notes: dict[str, Any] = {
            "device_seconds": sum(_cost(self.store, stage) for stage in dict.fromkeys(own)),
            "stages": {"policy": cell.policy.name, "grade": cell.grades[None].name},
        }
        if record is None and failures and failures[0]["cause"] not in NOT_ITS_OWN:
            search.tell(number, None, {}, {**notes, "cause": failures[0]["cause"], "error": failures[0]["error"]})
        elif record is None:
            self.stuck[search.problem.name] = self._failures(cell)
        else:
            measured = {item["metric"]: float(item["value"]) for item in record["measurements"]}
            excess = {name: measured[name] - most for name, most in self.tune.limits.items() if name in measured}
            if self.tune.metric not in measured:
                known = ", ".join(measured)
                raise HarnessError(
                    f"tune.metric '{self.tune.metric}' was not measured in {cell.contestant}; there is {known}"
                )
            kept = {name: measured[name] for name in (self.tune.metric, *excess)}
            search.tell(number, measured[self.tune.metric], excess, {**notes, "measured": kept})

    def _failures(self, cell: Cell) -> dict[str, tuple[str, str]]:
        """Cause and message of all that a cell rests on and that has failed, by the stage's name."""
        found = {stage.name: self.store.failure(stage.name) for stage in walk([cell.grades[None]])}
        return {name: (failure["cause"], failure["error"]) for name, failure in found.items() if failure}

    def _why_stuck(self) -> str:
        """Which studies cannot go on, and what has failed, each cause and message once."""
        failures = {name: why for found in self.stuck.values() for name, why in found.items()}
        whose = "its trials rest" if len(self.stuck) == 1 else "their trials rest"
        lines = [f"{', '.join(self.stuck)}: what {whose} on has failed, or was ended; nothing was lost"]
        for first, *others in alike(failures):
            cause, error = failures[first]
            lines += filter(None, [f"{first}: {cause}: {error}", the_same(len(others))])
        return "\n".join(lines)

    def _write(self) -> list[dict[str, Any]]:
        """Keep all studies in one whole file, which needs no Optuna to be read; recipes of one name share it."""
        found = [self._study(search) for search in self.searches]
        own = {study["key"] for study in found}
        others: list[dict[str, Any]] = []
        with contextlib.suppress(HarnessError):  # what cannot be read is written anew
            others = [study for study in all_studies(self.folder / TRIALS) if study["key"] not in own]
        write_whole(self.folder / TRIALS, as_text(self.recipe, [*found, *others]))
        return found

    def _study(self, search: Search) -> dict[str, Any]:
        problem = search.problem
        trials = [self._trial(search, place, trial) for place, trial in enumerate(search.trials())]
        done = len(trials) >= self.tune.trials or (self._stopped(search) and not search.open())
        finished = done and all(trial["status"] != "open" for trial in trials)
        start = self._start(search)
        return {
            **{"contestant": problem.contestant.label, "algorithm": problem.contestant.algorithm},
            **{"setting": setting_name(problem.setting), "place": list(problem.setting), "number": problem.number},
            **{"key": problem.key, "metric": self.tune.metric, "limits": dict(self.tune.limits)},
            **{"space": {name: _plain_range(range_) for name, range_ in problem.space.items()}},
            **{"planned": self.tune.trials, "device_seconds_cap": self.tune.device_seconds, "start": start},
            **{"trials": trials, "finished": finished, "chosen": choose(trials) if finished else None},
        }

    def _start(self, search: Search) -> float | None:
        cell = self.starts.get(search.problem.name) or trial_cells(self.recipe, search.problem, [])[0]
        self.starts[search.problem.name] = cell
        record = self.store.record(cell.grades[None].name)
        measured = {item["metric"]: float(item["value"]) for item in (record or {}).get("measurements", [])}
        return measured.get(self.tune.metric)

    def _trial(self, search: Search, place: int, trial: Any) -> dict[str, Any]:
        notes, told = trial.user_attrs, trial.state.is_finished()
        failed, pruned = told and "cause" in notes, told and "pruned" in notes
        whole = told and not failed and not pruned
        return {
            **{"trial": place, "number": trial.number, "phase": search.phase(place), "knobs": search.values(trial)},
            "status": "failed" if failed else "pruned" if pruned else "done" if told else "open",
            **{"cause": notes.get("cause", ""), "measured": notes.get("measured", {})},
            **{"score": trial.value if whole else None, "look": notes.get("look")},
            **{"feasible": whole and all(value <= 0 for value in trial.constraints.values())},
            **{"device_seconds": notes.get("device_seconds", 0.0), "stages": notes.get("stages", {})},
        }


def _spent(search: Search) -> float:
    return sum(float(trial.user_attrs.get("device_seconds", 0.0)) for trial in search.trials())


def _cost(store: Store, stage: Stage) -> float:
    """Device-seconds of a stage, failed attempts included."""
    found = store.record(stage.name) or store.failure(stage.name) or {}
    spent = (found.get("cost") or {}).get("device_seconds") or 0.0
    return float(spent) + float(found.get("failed_device_seconds") or 0.0)


def _plain_range(range_: Any) -> dict[str, Any]:
    if hasattr(range_, "values"):
        return {"choice": list(range_.values)}
    return {"low": range_.low, "high": range_.high, "log": range_.log}
