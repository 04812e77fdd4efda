"""Stages: values that hold their inputs. Together they are the whole graph of a comparison.

A stage's name is its kind and the hash of its spec, and its spec holds the names of its inputs: equal
work has an equal name, whoever asks for it. Nothing here imports torch until a stage runs.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

from harness import keys, registry
from harness.algorithms import Algorithm
from harness.data import Dataset, NoData, Row
from harness.errors import HarnessError
from harness.job import Budget, Job
from harness.knobs import keyed
from harness.metrics import Measurement

ASIDE = "aside.json"
DATA = "data"
"""Roles that begin so are Collect stages whose rows are trained on."""


@dataclass(frozen=True, eq=False)
class Stage(ABC):
    """One piece of work. Plain fields are JSON values; a field that is None is not part of the spec.

    Attributes:
        inputs: the stages that it reads, by role.
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    reads_policies: ClassVar[bool] = False
    """It leaves the policies that it has read in memory, for the next stage of the process that reads them."""

    inputs: Mapping[str, Stage] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """The plain fields that are set."""
        own = ((f.name, getattr(self, f.name)) for f in fields(self) if f.name != "inputs")
        return {name: value for name, value in own if value is not None}

    def aside(self) -> dict[str, Any]:
        """What the worker has to know and no key holds, since it changes no result; written beside the spec."""
        return {}

    @cached_property
    def spec(self) -> dict[str, Any]:
        """What it is, as JSON: kind, version, settings, and the names of its inputs."""
        inputs = {role: stage.name for role, stage in sorted(self.inputs.items())}
        return {"kind": self.kind, "version": self.version, "inputs": inputs, **self.settings()}

    @cached_property
    def name(self) -> str:
        """`<kind>-<key>`, the name of its folder."""
        return f"{self.kind}-{keys.key(self.spec)}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    @abstractmethod
    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Do the work: read `inputs` (finished folders by role), write into `out`, and resume what is there."""


def walk(targets: list[Stage]) -> Iterator[Stage]:
    """All stages that `targets` rest on, each once, inputs before what reads them."""
    seen: set[str] = set()
    stack: list[tuple[Stage, bool]] = [(stage, False) for stage in reversed(targets)]
    while stack:
        stage, ready = stack.pop()
        if ready:
            yield stage
        elif stage.name not in seen:
            seen.add(stage.name)
            stack.append((stage, True))
            stack.extend((needed, False) for needed in stage.inputs.values() if needed.name not in seen)


def dataset_spec(source: str, given: dict[str, Any]) -> dict[str, Any]:
    """A dataset as JSON: source, version, and all its knobs with their defaults (see `keyed`)."""
    kind = registry.load("data", source)
    return {"source": source, "version": kind.version, "knobs": keyed(kind(**given))}


def open_dataset(spec: dict[str, Any]) -> Dataset:
    """The dataset of a spec.

    Raises:
        HarnessError: this code has another version of it than the spec.
    """
    kind = registry.load("data", spec["source"])
    _same_version("dataset", spec["source"], spec["version"], kind)
    return cast(Dataset, kind(**spec["knobs"]))


def algorithm_spec(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """An algorithm as JSON: name, version, and all its knobs with their defaults (see `keyed`)."""
    kind = registry.load("algorithms", name)
    return {"name": name, "version": kind.version, "knobs": keyed(kind(**given))}


def open_algorithm(spec: dict[str, Any]) -> Algorithm:
    """The algorithm of a spec.

    Raises:
        HarnessError: this code has another version of it than the spec.
    """
    kind = registry.load("algorithms", spec["name"])
    _same_version("algorithm", spec["name"], spec["version"], kind)
    return cast(Algorithm, kind(**spec["knobs"]))


def _same_version(what: str, name: str, version: int, kind: Any) -> None:
    if kind.version != version:
        raise HarnessError(
            f"{what} '{name}' is version {kind.version} in this code, but the stage asks for version {version}; "
            "run the recipe again to make stages of the present version"
        )


def training_rows(dataset: Dataset, view: str, split: str, prompts: int) -> list[Row]:
    """Rows of the first `prompts` distinct prompts of a split, in the dataset's order; of all where it is 0.

    Raises:
        HarnessError: the split has fewer prompts.
    """
    rows = dataset.rows(view, split)
    if not prompts:
        return rows
    if view == "text":
        return rows[:prompts]
    wanted = set(list(dict.fromkeys(row["prompt_id"] for row in rows))[:prompts])
    if len(wanted) < prompts:
        raise HarnessError(f"budget.prompts asks for {prompts} prompts; split '{split}' has {len(wanted)} with {view}")
    return [row for row in rows if row["prompt_id"] in wanted]


@dataclass(frozen=True, eq=False)
class Train(Stage):
    """Any algorithm, a reward model and pretraining too.

    Inputs: `start` (Train), `reference` (Reference), `reward` (Train), each where the algorithm needs it; `anchor`
    (Train), the policy that KL is measured to, where that is not the start; `data`, `data-1` and so on (Collect), rows
    in place of the dataset's own, or after them where they are `joined`; `begun` (Train), the same training as far as
    its `until`, which is then gone on with.

    Attributes:
        dataset: None for weights that are only loaded.
        seed: what is replicated, for example `replicate-0` or `gold`; all seeds derive from it and a purpose.
        emit: steps after which the policy is kept as well.
        rule: a dimension of the dataset's rule reward in place of a proxy reward model.
        joined: collected rows come after the dataset's own.
        until: the step that it stops at for now; None trains to the end.
    """

    kind: ClassVar[str] = "train"
    version: ClassVar[int] = 1
    algorithm: dict[str, Any] = field(kw_only=True)
    dataset: dict[str, Any] | None = field(default=None, kw_only=True)
    split: str = field(kw_only=True)
    budget: dict[str, Any] = field(kw_only=True)
    seed: str = field(kw_only=True)
    emit: list[int] | None = None
    rule: str | None = None
    joined: bool | None = None
    until: int | None = None

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Train, resuming from the newest complete checkpoint in `out`."""
        algorithm = open_algorithm(self.algorithm)
        dataset = open_dataset(self.dataset) if self.dataset else NoData()
        budget = Budget(**self.budget)
        if not self.dataset:
            return algorithm.train(Job(out, [], dataset, budget, self.seed))
        rows = _collected(inputs)
        if self.joined or not any(role.startswith(DATA) for role in inputs):
            rows = training_rows(dataset, algorithm.requires().data, self.split, budget.prompts) + rows
        if not rows:
            raise HarnessError("what was collected holds no row to train on")
        emit, until = tuple(self.emit or ()), self.until or 0
        job = Job(out, rows, dataset, budget, self.seed, inputs, emit, checkpoint_every, self.rule, until)
        return algorithm.train(job)


def _collected(inputs: Mapping[str, Path]) -> list[Row]:
    """Rows of all Collect stages among the inputs."""
    from harness.models.collecting import read_rows

    return [row for role, folder in sorted(inputs.items()) if role.startswith(DATA) for row in read_rows(folder)]


@dataclass(frozen=True, eq=False)
class Reference(Stage):
    """Log-probabilities of the training responses under a frozen start, shared by all that compare with it.

    It covers the pairs, the labelled responses and their mismatched partners of the budget's prompts,
    whichever algorithms a recipe has: adding one changes nothing for the others. Inputs: `start`, and `data` (Collect)
    where pairs were collected, which are then what it covers.
    """

    kind: ClassVar[str] = "reference"
    version: ClassVar[int] = 1
    dataset: dict[str, Any] = field(kw_only=True)
    split: str = field(kw_only=True)
    budget: dict[str, Any] = field(kw_only=True)

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `reference.parquet`."""
        from harness.training.reference import write_reference

        dataset = open_dataset(self.dataset)
        budget = Budget(**self.budget)
        collected = [row for row in _collected(inputs) if "chosen" in row]
        if collected:
            return write_reference(out, inputs["start"], {"pairs": collected}, budget)
        views: list[str] = [view for view in ("pairs", "binary") if view in dataset.offers()]
        rows: dict[str, list[Row]] = {view: training_rows(dataset, view, self.split, budget.prompts) for view in views}
        return write_reference(out, inputs["start"], rows, budget)


@dataclass(frozen=True, eq=False)
class Sample(Stage):
    """Responses of a system (a policy and a way of using it) to evaluation prompts.

    Inputs: `policy` (Train), and `reward` (Train) where the procedure chooses by the proxy.

    Attributes:
        procedure: how the policy is used: `{"name": "plain"}`, and its options.
        prompts: the first so many prompts of the split.
        samples: K, responses per prompt.
        seed: what is replicated; with prompt, k and position it fixes the sampling noise.
        step: the policy after this step; the final one where None.
        weights: `{"batch", "threads", "precision"}`, which decide float sums.
    """

    kind: ClassVar[str] = "sample"
    version: ClassVar[int] = 1
    reads_policies: ClassVar[bool] = True
    dataset: dict[str, Any] = field(kw_only=True)
    split: str = field(kw_only=True)
    prompts: int = field(kw_only=True)
    samples: int = field(kw_only=True)
    temperature: float = field(kw_only=True)
    max_response_tokens: int = field(kw_only=True)
    procedure: dict[str, Any] = field(kw_only=True)
    seed: str = field(kw_only=True)
    batch: int = field(kw_only=True)
    threads: int = field(kw_only=True)
    step: int | None = None
    rule: str | None = None
    """A dimension of the dataset's rule reward in place of a proxy reward model, where the procedure needs one."""

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `samples.parquet`."""
        from harness.models.systems import write_samples
        from harness.trust.prompts import refuse_overlap

        dataset = open_dataset(self.dataset)
        rows = training_rows(dataset, "prompts", self.split, self.prompts)
        refuse_overlap(rows, self.split, trained_on(self, self.dataset))
        return write_samples(out, inputs, rows, dataset, self)


def trained_on(stage: Stage, only: dict[str, Any] | None = None) -> dict[str, list[Row]]:
    """Rows that the policy of a stage, and the proxy that it may have learned from, were trained on.

    Text to pretrain on is left out: it is no example of a response to a prompt.

    Args:
        stage: what reads the policy.
        only: a dataset's spec, whose rows alone are wanted; None for those of all.
    """
    found = {}
    for needed in walk(list(stage.inputs.values())):
        if isinstance(needed, Train) and needed.dataset is not None and only in (None, needed.dataset):
            view = open_algorithm(needed.algorithm).requires().data
            if view != "text":
                who = f"split '{needed.split}', which {needed.algorithm['name']} trains on"
                dataset = open_dataset(needed.dataset)
                found[who] = training_rows(dataset, view, needed.split, needed.budget.get("prompts", 0))
    return found


@dataclass(frozen=True, eq=False)
class Collect(Stage):
    """K responses of a policy to training prompts, labelled into new data: a round of an iterated method.

    Inputs: `policy` (Train), and `reward` (Train) where that labels.

    Attributes:
        prompts: how many prompts of the split; 0 means all.
        skip: prompts that come first and are left out, for a round of its own prompts; it goes round at the end.
        labeller: `oracle` (the dataset's rule), `reward` (a reward model), `annotators` or `judge`.
        view: what is made: `pairs`, `rankings`, `judgments`, or `refinements`: second tries at the dataset's own judged
            responses, with the judgment in the prompt.
        samples: K, from 4 to 9 as in InstructGPT, or 2 for plain pairs.
        seed: what is replicated, and the round.
        rule: the dimension that the oracle labels by, or that stands in place of a reward model; None is `total`.
    """

    kind: ClassVar[str] = "collect"
    version: ClassVar[int] = 1
    reads_policies: ClassVar[bool] = True
    dataset: dict[str, Any] = field(kw_only=True)
    split: str = field(kw_only=True)
    prompts: int = field(kw_only=True)
    samples: int = field(kw_only=True)
    temperature: float = field(kw_only=True)
    max_response_tokens: int = field(kw_only=True)
    labeller: str = field(kw_only=True)
    view: str = field(kw_only=True)
    seed: str = field(kw_only=True)
    batch: int = field(kw_only=True)
    threads: int = field(kw_only=True)
    skip: int | None = None
    rule: str | None = None

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `rows.jsonl`."""
        from harness.models.collecting import write_rows

        dataset = open_dataset(self.dataset)
        view = "judgments" if self.view == "refinements" else "prompts"
        every = training_rows(dataset, view, self.split, 0)
        first = (self.skip or 0) % len(every)
        rows = (every[first:] + every[:first])[: self.prompts or None]
        return write_rows(out, inputs, rows, dataset, self)


@dataclass(frozen=True, eq=False)
class Grade(Stage):
    """Metrics of samples and of the policy that gave them. The only stage by which the gold reward model judges.

    Inputs: `sample` (Sample), `policy` and `start` (Train), `greedy` (Sample at temperature 0) where there is one, and
    `gold`, `selection`, `proxy` (Train of a reward).
    """

    kind: ClassVar[str] = "grade"
    version: ClassVar[int] = 1
    reads_policies: ClassVar[bool] = True
    dataset: dict[str, Any] = field(kw_only=True)
    metrics: dict[str, int] = field(kw_only=True)
    """Metric names and their versions."""
    pairs: int = field(kw_only=True)
    """Held-out labelled pairs on which the policy itself is measured."""
    batch: int = field(kw_only=True)
    threads: int = field(kw_only=True)
    step: int | None = None
    rules: dict[str, str] | None = None
    """Roles that the dataset's rule reward fills in place of a model, and its dimension: `{"proxy": "total"}`."""

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `scores.parquet`; its summaries are the measurements."""
        from harness.metrics._grade import grade

        return grade(out, inputs, open_dataset(self.dataset), self)


@dataclass(frozen=True, eq=False)
class Ready(Stage):
    """A reward model that somebody else has trained: its files, checked and kept with the results.

    Attributes:
        source: its name on the Hugging Face hub, or `folder`.
        revision: the commit, of a model of the hub.
        sha256: of names and contents of all its files, of a folder.
        path: where the folder lay when the recipe was read. Not part of the key.
    """

    kind: ClassVar[str] = "ready"
    version: ClassVar[int] = 1
    source: str = field(kw_only=True)
    revision: str | None = None
    sha256: str | None = None
    path: str | None = None

    @cached_property
    def name(self) -> str:
        """The same model has the same name, wherever it lies."""
        return f"{self.kind}-{keys.key({name: value for name, value in self.spec.items() if name != 'path'})}"

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `reward/`."""
        from harness.models.ready import keep

        return keep(out, self)


@dataclass(frozen=True, eq=False)
class Audit(Stage):
    """Scores of one reward model on texts of known worth, from which its trust card is made.

    Inputs: `reward` (Train or Ready) where there is no rule, and `sample` (Sample), the start's.

    Attributes:
        pairs: labelled pairs of the split `heldout`, the first so many.
        probed: how many of them are corrupted as well; also how many rankings and prompts' samples are scored.
        rule: a dimension of the dataset's rule reward in place of a model.
    """

    kind: ClassVar[str] = "audit"
    version: ClassVar[int] = 2
    dataset: dict[str, Any] = field(kw_only=True)
    pairs: int = field(kw_only=True)
    probed: int = field(kw_only=True)
    batch: int = field(kw_only=True)
    threads: int = field(kw_only=True)
    rule: str | None = None

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `scores.parquet`."""
        from harness.trust.audit import write_audit

        return write_audit(out, inputs, open_dataset(self.dataset), self)


@dataclass(frozen=True, eq=False)
class Separation(Stage):
    """Whether prompts are apart that have to be, and whether models share weights: the proof that gold was held out.

    Inputs: reward models (Train or Ready) as `gold`, `selection`, `proxy-0` and so on, and policies as `start-...`.

    Attributes:
        sets: splits whose prompts are one set, by its name; no two sets may share a prompt.
    """

    kind: ClassVar[str] = "separation"
    version: ClassVar[int] = 1
    dataset: dict[str, Any] = field(kw_only=True)
    sets: dict[str, list[str]] = field(kw_only=True)

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `prompts.parquet` and `weights.parquet`."""
        from harness.trust.separation import write_separation

        return write_separation(out, inputs, open_dataset(self.dataset), self)


@dataclass(frozen=True, eq=False)
class Judge(Stage):
    """A judge's choice between the responses of a system and of the start to the same prompts, in both orders.

    Inputs: `sample` and `start_sample` (Sample), whose first samples (k = 0) are compared.

    Attributes:
        judge: who judges: `{"source", "version", "knobs"}`.
        template: the words in which it is asked; None for a judge that reads none.
        prompts: the first so many prompts; all that were sampled where None.
        asking: parallel requests, retries and the like, see `judges.Asking`; they change no answer and no key.
    """

    kind: ClassVar[str] = "judge"
    version: ClassVar[int] = 1
    dataset: dict[str, Any] = field(kw_only=True)
    judge: dict[str, Any] = field(kw_only=True)
    threads: int = field(kw_only=True)
    template: str | None = None
    prompts: int | None = None
    asking: Mapping[str, Any] | None = None

    def settings(self) -> dict[str, Any]:
        """All but `asking`."""
        return {name: value for name, value in super().settings().items() if name != "asking"}

    def aside(self) -> dict[str, Any]:
        """How the judge is asked."""
        return dict(self.asking or {})

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `answers.parquet` and `scores.parquet`, resuming from the journal in `out`."""
        from harness.judges import Asking
        from harness.judges._work import judge

        told = out / ASIDE
        asking = Asking(**(json.loads(told.read_text()) if told.exists() else {}))
        sample, dataset = cast(Sample, self.inputs["sample"]), open_dataset(self.dataset)
        rows = training_rows(dataset, "prompts", sample.split, min(self.prompts or sample.prompts, sample.prompts))
        return judge(out, inputs, rows, dataset, self, asking)


@dataclass(frozen=True, eq=False)
class Bench(Stage):
    """lm-eval tasks asked of a policy, one value kept for each document.

    Inputs: `policy` (Train).

    Attributes:
        lm_eval: the version of lm-eval, which fixes the tasks that come with it.
        tasks: names of tasks, groups or tags.
        chat: prompts are put through the chat template, as in training.
        shots: examples before each document; the task's own number where None.
        limit: the first so many documents of each task; all where None.
        source: the dataset whose own tasks they are.
        sha256: of names and contents of the folder whose tasks they are.
        path: where that folder lay when the recipe was read. Not part of the key.
    """

    kind: ClassVar[str] = "bench"
    version: ClassVar[int] = 1
    reads_policies: ClassVar[bool] = True
    lm_eval: str = field(kw_only=True)
    tasks: list[str] = field(kw_only=True)
    chat: bool = field(kw_only=True)
    batch: int = field(kw_only=True)
    threads: int = field(kw_only=True)
    shots: int | None = None
    limit: int | None = None
    source: dict[str, Any] | None = None
    sha256: str | None = None
    path: str | None = None

    @cached_property
    def name(self) -> str:
        """The same tasks have the same name, wherever their folder lies."""
        return f"{self.kind}-{keys.key({name: value for name, value in self.spec.items() if name != 'path'})}"

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `scores.parquet`."""
        from harness.models.benchmarks import write_scores

        source = open_dataset(self.source) if self.source else None
        return write_scores(out, inputs["policy"], source, trained_on(self), self)


KINDS: dict[str, type[Stage]] = {
    stage.kind: stage for stage in (Train, Reference, Collect, Sample, Grade, Ready, Audit, Separation, Judge, Bench)
}


def from_spec(spec: dict[str, Any], inputs: Mapping[str, Stage]) -> Stage:
    """The stage of a spec, whose inputs are given as stages.

    Raises:
        HarnessError: this code knows no such kind, or another version of it.
    """
    kind = KINDS.get(spec.get("kind", ""))
    if kind is None:
        raise HarnessError(f"there is no stage kind '{spec.get('kind')}' (known: {', '.join(KINDS)})")
    _same_version("stage", spec["kind"], spec["version"], kind)
    settings = {name: value for name, value in spec.items() if name not in ("kind", "version", "inputs")}
    return kind(inputs, **settings)
