"""A recipe: TOML to frozen values, or every problem in the file at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from harness.claims import Hypothesis
from harness.data import SPLITS
from harness.job import Budget
from harness.knobs import Between, OneOf, Range, Value, above, knob
from harness.launch import Launch
from harness.locate import override, read_toml

STARTS = ("base", "sft", "sft_chosen")
ROLES = ("proxy", "selection", "gold")
TUNED = "tuned"
"""Told after the label of a contestant whose knobs were searched."""
Place: TypeAlias = tuple[str, str, str, int]
"""Labels of model, dataset and start, and the replicate."""


@dataclass(frozen=True)
class Part:
    """A model, dataset or start of a recipe: a plug-in and what is set about it.

    Attributes:
        name: the plug-in's name.
        label: what tables call it.
        knobs: values that the recipe sets.
        spend: values of the budget that it sets for itself.
        where: its place in the recipe.
    """

    name: str
    label: str
    knobs: Mapping[str, Value] = field(default_factory=dict)
    spend: Mapping[str, Value] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True)
class RewardPart:
    """A reward model by role: one that is trained, one that is ready, or a rule.

    Attributes:
        split: the split of the dataset that it trains on.
        pretrain: which pretraining seed its base has.
        rule: a dimension of the dataset's rule reward instead of a model, or empty.
        knobs: of the algorithm `reward`.
        spend: its own values of the budget.
        base: another model than the recipe's to train on; None for the recipe's.
        ready: a ready-made model instead, as the settings of a Ready stage; empty where it is trained.
    """

    split: str
    pretrain: int
    rule: str
    knobs: Mapping[str, Value]
    spend: Mapping[str, Value]
    base: Part | None = None
    ready: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contestant:
    """One algorithm with one set of knobs.

    Attributes:
        label: unique in the recipe: the name, and what tells it from others of that name.
        algorithm: its name.
        knobs: values that the recipe sets.
        start: its own start, or empty for each of the recipe's.
    """

    label: str
    algorithm: str
    knobs: Mapping[str, Value]
    start: str
    where: str
    tuned: tuple[tuple[Place, Mapping[str, Value]], ...] | None = None
    """Knobs that tuning chose, by place; None where the recipe's own knobs are compared."""

    def knobs_at(self, place: Place) -> Mapping[str, Value]:
        """The knobs in a setting and replicate."""
        return next((knobs for where, knobs in self.tuned or () if where == place), self.knobs)


@dataclass(frozen=True)
class Evaluation:
    """How systems are sampled and graded, alike for all."""

    split: str = knob("test", valid=OneOf(SPLITS), doc="split of the evaluation prompts")
    prompts: int = knob(200, valid=Between(low=2), doc="evaluation prompts, the first of the split")
    samples: int = knob(4, valid=Between(low=1), doc="K, responses per prompt")
    temperature: float = knob(1.0, valid=Between(low=0), doc="sampling temperature")
    greedy: bool = knob(True, doc="also one response at temperature 0 to each prompt, of finished policies")
    best_of: int = knob(
        64, valid=Between(low=0), doc="responses of the start per prompt for the best-of-n curve, n up to it; 0: none"
    )
    best_of_prompts: int = knob(64, valid=Between(low=2), doc="evaluation prompts of the best-of-n curve")
    pairs: int = knob(256, valid=Between(low=1), doc="held-out labelled pairs that each policy is measured on")
    audit_pairs: int = knob(512, valid=Between(low=2), doc="labelled pairs that each reward model is audited on")
    margin: float = knob(
        0.1, valid=above(0), doc="delta: differences smaller than this, in sd of the start's gold, do not matter"
    )
    paired: bool = knob(
        True, doc="compare contestants of a replicate with each other, as the design has them share their start"
    )
    batch: int = knob(128, valid=Between(low=1), doc="responses that are sampled at a time")
    score_batch: int = knob(16, valid=Between(low=1), doc="responses that are scored at a time")
    threads: int = knob(1, valid=Between(low=1), doc="CPU threads of a stage; float sums depend on it")
    at: tuple[int, ...] = ()
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """lm-eval tasks that every policy is asked once trained, and the start and the base too.

    Attributes:
        tasks: names of tasks, groups or tags.
        folder: of the recipe's own tasks, as `{"path", "sha256"}`; empty where they come with lm-eval or a dataset.
        own: they are made by the dataset.
    """

    chat: bool = knob(True, doc="put prompts through the chat template, as in training")
    shots: int = knob(-1, valid=Between(low=-1), doc="examples before each document; -1 means what the task says")
    limit: int = knob(0, valid=Between(low=0), doc="documents of each task, the first so many; 0 means all")
    batch: int = knob(64, valid=Between(low=1), doc="requests at a time")
    margin: float = knob(
        0.02, valid=above(0), doc="differences to the start smaller than this do not matter, in the metric's unit"
    )
    tasks: tuple[str, ...] = ()
    folder: Mapping[str, str] = field(default_factory=dict)
    own: bool = False


@dataclass(frozen=True)
class Tune:
    """How knobs are chosen before the comparison: alike for all, by the selection reward on the `tune` prompts.

    Attributes:
        limits: what a trial may not exceed, by metric; a trial above one is not chosen.
        search: ranges that the recipe sets, by algorithm and knob.
    """

    trials: int = knob(12, valid=Between(low=1), doc="finished trials of each contestant in a study; failures count")
    random: int = knob(8, valid=Between(low=0), doc="random trials, after the one of the recipe's own knobs")
    studies: int = knob(1, valid=Between(low=1), doc="independent studies; 1, or one for each replicate")
    sampler: str = knob("tpe", valid=OneOf(("tpe", "gp", "random")), doc="what proposes trials after the random ones")
    metric: str = knob("reward/selection", doc="what is maximised, a metric of the trial's responses")
    prompts: int = knob(100, valid=Between(low=2), doc="tune prompts")
    samples: int = knob(2, valid=Between(low=1), doc="K, responses per tune prompt")
    device_seconds: float = knob(0.0, valid=Between(low=0), doc="a study asks no more once it spent them; 0: no cap")
    prune_at: int = knob(
        0, valid=Between(low=0), doc="step at which a trial below the median of its study's trials stops; 0: none stops"
    )
    limits: Mapping[str, float] = field(default_factory=lambda: {"kl": 50.0, "degenerate": 0.25})
    search: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)


@dataclass(frozen=True)
class JudgePart:
    """A judge of a recipe.

    Attributes:
        source: the plug-in's name.
        label: what tables call it.
        knobs: who judges and how; they are in the key.
        asking: how it is asked; not in the key.
        template: the words of its questions; empty where it reads none.
        prompts: the first so many evaluation prompts; 0 means all.
    """

    source: str
    label: str
    knobs: Mapping[str, Value]
    asking: Mapping[str, Value]
    template: str
    prompts: int


@dataclass(frozen=True)
class Recipe:
    """A question, and all that decides the answer.

    `text` is what the person wrote; `shared_rewards` says which roles one reward model fills, where that is allowed.
    """

    name: str
    question: str
    replicates: int
    models: tuple[Part, ...]
    datasets: tuple[Part, ...]
    starts: tuple[Part, ...]
    budget: Budget
    evaluation: Evaluation
    rewards: Mapping[str, RewardPart]
    contestants: tuple[Contestant, ...]
    launch: Launch
    path: Path
    text: str
    shared_rewards: tuple[str, ...] = ()
    tune: Tune | None = None
    judges: tuple[JudgePart, ...] = ()
    benchmarks: tuple[Benchmark, ...] = ()
    looks: tuple[int, ...] = ()
    """Numbers of seeds after which decided contestants get no more; empty: all contestants have all seeds."""
    hypotheses: tuple[Hypothesis, ...] = ()
    """Claims of its own, judged with the articles'; in no stage's key."""


def read_recipe(path: Path, assignments: list[str] | None = None, text: str | None = None) -> Recipe:
    """Read a recipe.

    Args:
        path: the TOML file.
        assignments: `--set` values, for example `["budget.steps=20"]`.
        text: what is read in its place, as if the file said it.

    Raises:
        HarnessError: with every problem of the recipe, each with its place and what would be right.
    """
    located = override(read_toml(path, text), assignments or [])
    from harness.recipe_reader import Reader  # it reads into the values above

    return Reader(located, path).read()
