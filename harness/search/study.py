"""One Optuna study by ask-and-tell. What it proposes depends on its own finished trials alone, not on restarts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import keys
from harness.knobs import Choice, Range, Value, knobs
from harness.registry import load
from harness.search.trials import Problem

if TYPE_CHECKING:
    import optuna

    from harness.recipe import Tune

WORST = float("-inf")
"""The score of a trial that failed: it is finished, and worse than any other."""


def open_storage(path: Path) -> optuna.storages.BaseStorage:
    """The journal of all studies of a recipe, safe on shared file systems.

    Whoever opens it must hold the folder's lease: a last line that a killed writer has left unfinished is cut off.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if path.exists():
        whole = path.read_bytes().rfind(b"\n") + 1
        if whole != path.stat().st_size:
            os.truncate(path, whole)
    return JournalStorage(JournalFileBackend(str(path)))


class Search:
    """A study: what has been asked, what came of it, and what to try next."""

    def __init__(self, problem: Problem, tune: Tune, storage: optuna.storages.BaseStorage) -> None:
        import optuna

        self.problem, self.tune = problem, tune
        owner = load("algorithms", problem.contestant.algorithm)
        self.types = {name: knobs(owner)[name].type for name in problem.space}
        self.space = {name: _distribution(range_, self.types[name]) for name, range_ in problem.space.items()}
        self.study = optuna.create_study(
            storage=storage,
            study_name=problem.name,
            direction="maximize",
            load_if_exists=True,
            sampler=self._sampler(0),
        )
        self._forget_half_asked()

    def _forget_half_asked(self) -> None:
        """A trial whose values were being written when the process died; the same values are asked again."""
        from optuna.trial import TrialState

        for trial in self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if set(trial.params) != set(self.space):
                self.study.tell(trial.number, state=TrialState.FAIL)

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All trials with values, in the order in which they were asked; none is ever dropped."""
        from optuna.trial import TrialState

        kept = (TrialState.RUNNING, TrialState.COMPLETE)
        return self.study.get_trials(deepcopy=False, states=kept)

    def open(self) -> list[optuna.trial.FrozenTrial]:
        """Trials that have been asked and not told."""
        return [trial for trial in self.trials() if not trial.state.is_finished()]

    def values(self, trial: optuna.trial.FrozenTrial) -> dict[str, Value]:
        """A trial's knobs, of the declared types."""
        return {name: self.types[name](trial.params[name]) for name in self.space}

    def ask(self) -> None:
        """Ask for one more trial: first the recipe's own knobs, then some at random, then the sampler's."""
        from optuna.trial import TrialState

        place = len(self.trials())
        self.study.sampler = self._sampler(place)
        waiting = self.study.get_trials(deepcopy=False, states=[TrialState.WAITING])
        if place == 0 and not waiting:
            self.study.enqueue_trial(self.problem.first)
        self.study.ask(self.space)

    def _sampler(self, place: int) -> Any:
        """A sampler whose seed depends on the study and the trial's place alone, so that a restart changes nothing."""
        from optuna import samplers

        seed = keys.seed(self.problem.key, f"trial-{place}")
        if place <= self.tune.random or self.tune.sampler == "random":
            return samplers.RandomSampler(seed=seed)
        if self.tune.sampler == "gp":
            return samplers.GPSampler(seed=seed, n_startup_trials=0)
        return samplers.TPESampler(seed=seed, n_startup_trials=0)

    def phase(self, place: int) -> str:
        """The part of the search that a trial belongs to: `own`, `random` (the only independent ones) or `guided`."""
        if place == 0:
            return "own"
        return "random" if place <= self.tune.random or self.tune.sampler == "random" else "guided"

    def tell(self, number: int, score: float | None, excess: dict[str, float], notes: dict[str, Any]) -> None:
        """Finish a trial.

        Args:
            number: Optuna's.
            score: what is maximised; None for a trial that failed, which counts as the worst.
            excess: by how much it is above each limit; 0 or less where it keeps it.
            notes: kept with the trial.
        """
        trial = self._open(number)  # constraints have no way in by number
        known = next(found for found in self.open() if found.number == number).constraints
        for name, value in excess.items():
            if name not in known:
                trial.set_constraint(name, value)
        self.note(number, notes)
        self.study.tell(number, WORST if score is None else score)

    def note(self, number: int, notes: dict[str, Any]) -> None:
        """Keep something with a trial that is still open."""
        trial = self._open(number)
        for name, value in notes.items():
            trial.set_user_attr(name, value)

    def looks(self) -> list[float]:
        """What finished trials scored when they were looked at half-way."""
        notes = [trial.user_attrs for trial in self.trials() if trial.state.is_finished()]
        return [float(found["look"]) for found in notes if "look" in found]

    def _open(self, number: int) -> optuna.trial.Trial:
        import optuna

        found = next(trial for trial in self.open() if trial.number == number)
        return optuna.trial.Trial(self.study, found._trial_id)


def _distribution(range_: Range, kind: type) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(range_, Choice):
        return CategoricalDistribution(range_.values)
    if kind is int:
        return IntDistribution(round(range_.low), round(range_.high), log=range_.log)
    return FloatDistribution(range_.low, range_.high, log=range_.log)
