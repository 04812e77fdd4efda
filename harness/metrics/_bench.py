"""What all metrics of a Grade share, loaded and computed once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness import registry
from harness.errors import HarnessError
from harness.metrics import Measurement, Metric, Value

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.data import Dataset, Message, Row
    from harness.stages import Grade

ROLES = ("gold", "selection", "proxy")


@dataclass(frozen=True)
class Response:
    """One sampled response of the system under test."""

    prompt_id: str
    k: int
    prompt: list[Message]
    prompt_ids: list[int]
    text: str
    token_ids: list[int]
    end: str


class GradeBench:
    """Samples, models and scores, each loaded when a metric first asks, and then kept."""

    def __init__(self, inputs: dict[str, Path], dataset: Dataset, stage: Grade) -> None:
        self.inputs, self.dataset, self.stage = inputs, dataset, stage

    @cached_property
    def responses(self) -> list[Response]:
        """All samples, with their prompts."""
        import pyarrow.parquet as pq

        from harness.models.rendering import prompt_hash, render_prompt

        sample = self.stage.inputs["sample"].settings()
        rows = {row["prompt_id"]: row for row in self.dataset.rows("prompts", sample["split"])}
        ids = {}
        found = []
        for line in pq.read_table(self.inputs["sample"] / "samples.parquet").to_pylist():
            row = rows[line["prompt_id"]]
            if line["prompt_id"] not in ids:
                ids[line["prompt_id"]] = render_prompt(self.tokenizer, row["prompt"])
                if prompt_hash(ids[line["prompt_id"]]) != line["prompt_hash"]:
                    raise HarnessError(f"prompt {line['prompt_id']} renders otherwise here than where it was sampled")
            found.append(
                Response(
                    line["prompt_id"], line["k"], row["prompt"], ids[line["prompt_id"]],
                    line["response"], line["token_ids"], line["end"],
                )
            )  # fmt: skip
        return found

    @cached_property
    def _policy(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        from harness.models.policy import load_policy
        from harness.models.systems import policy_folder

        return load_policy(policy_folder(self.inputs["policy"], self.stage.step))

    @property
    def policy(self) -> PreTrainedModel:
        """The policy that was sampled."""
        return self._policy[0]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""
        return self._policy[1]

    @cached_property
    def start(self) -> PreTrainedModel:
        """The start of the cell, the frozen reference of all its contestants; the policy itself where it is that."""
        from harness.models.policy import load_policy

        if self.inputs["start"] == self.inputs["policy"] and self.stage.step is None:
            return self.policy
        return load_policy(self.inputs["start"] / "policy")[0]

    @property
    def procedure(self) -> dict[str, Any]:
        """How the policy was used."""
        found: dict[str, Any] = self.stage.inputs["sample"].settings()["procedure"]
        return found

    @cached_property
    def divergence(self) -> tuple[list[float], list[float]] | None:
        """KL to the start and entropy of each response, in nats per sequence.

        None where responses were not drawn from the policy as it answers the plain prompt: a system's distribution is
        then not the policy's, and is not known.
        """
        from harness.models.scoring import divergence

        if self.procedure != {"name": "plain"}:
            return None
        sequences = [(r.prompt_ids, r.token_ids) for r in self.responses]
        pad_id = cast(int, self.tokenizer.pad_token_id)
        return divergence(self.policy, self.start, sequences, pad_id, self.stage.batch)

    @cached_property
    def rewards(self) -> dict[str, list[float]]:
        """Scores of every response by role; the dataset's rule rewards are `oracle` and `oracle.<dimension>`."""
        from harness.models.scoring import score

        texts = [(r.prompt, r.text) for r in self.responses]
        roles = [role for role in ROLES if role in self.inputs]
        found = {role: score(self.inputs[role] / "reward", texts, self.stage.batch) for role in roles}
        if self.dataset.rewards:
            rules = [self.dataset.score(prompt, text) for prompt, text in texts]
            for role, name in (self.stage.rules or {}).items():
                found[role] = [rule[name] for rule in rules]
            for name in self.dataset.rewards:
                found["oracle" if name == "total" else f"oracle.{name}"] = [rule[name] for rule in rules]
        return found

    @cached_property
    def pairs(self) -> list[Row]:
        """Held-out labelled pairs; none where the dataset has none."""
        if "pairs" not in self.dataset.views:
            return []
        return self.dataset.rows("pairs", "heldout")[: self.stage.pairs]

    @cached_property
    def pair_logp(self) -> dict[str, list[float]]:
        """Log π of the chosen and rejected of each held-out pair: `policy/chosen`, `start/rejected` and so on."""
        from harness.models.rendering import render_prompt, render_response
        from harness.models.scoring import sequence_logp

        pad_id = cast(int, self.tokenizer.pad_token_id)
        found = {}
        for side in ("chosen", "rejected"):
            texts = [
                (render_prompt(self.tokenizer, row["prompt"]), render_response(self.tokenizer, row[side]))
                for row in self.pairs
            ]
            found[f"policy/{side}"] = sequence_logp(self.policy, texts, pad_id, self.stage.batch)
            same = self.start is self.policy
            found[f"start/{side}"] = (
                found[f"policy/{side}"] if same else sequence_logp(self.start, texts, pad_id, self.stage.batch)
            )
        return found

    def each(self, value: Callable[[Response], float]) -> list[Value]:
        """A value of each response."""
        return [Value(r.prompt_id, r.k, float(value(r))) for r in self.responses]


def grade(out: Path, inputs: dict[str, Path], dataset: Dataset, stage: Grade) -> list[Measurement]:
    """Compute a stage's metrics, write every value to `scores.parquet`, and return their means.

    A metric that has nothing to measure, for example a reward role without a model, gives no row and no measurement.

    Raises:
        HarnessError: this code has another version of a metric than the stage.
        FloatingPointError: a value is not finite.
    """
    from harness.models.quiet import quiet

    metrics = {name: _metric(name, version) for name, version in sorted(stage.metrics.items())}
    quiet(stage.threads)
    bench = GradeBench(inputs, dataset, stage)
    rows: list[dict[str, Any]] = []
    measured: list[Measurement] = []
    for name, metric in metrics.items():
        by_role: dict[str, list[Value]] = {}
        for value in metric.values(bench):
            by_role.setdefault(value.role, []).append(value)
        for role, values in by_role.items():
            label = f"{name}/{role}" if role else name
            measured.append(Measurement(label, _mean(label, values), len(values), metric.unit, metric.better))
            rows += [_score(name, role, metric.level, value) for value in values]
    _write(rows, out / "scores.parquet")
    return measured


def _metric(name: str, version: int) -> Metric:
    kind = registry.load("metrics", name)
    if kind.version != version:
        raise HarnessError(
            f"metric '{name}' is version {kind.version} in this code, but the stage asks for version {version}; "
            "run the recipe again to make stages of the present version"
        )
    return cast(Metric, kind())


def _mean(label: str, values: list[Value]) -> float:
    wrong = next((value for value in values if not math.isfinite(value.value)), None)
    if wrong is not None:
        raise FloatingPointError(f"{label} is {wrong.value} for prompt {wrong.prompt_id}, k = {wrong.k}")
    return math.fsum(value.value for value in values) / len(values)


def _score(name: str, role: str, level: str, value: Value) -> dict[str, Any]:
    where = {"prompt_id": value.prompt_id, "k": value.k, "value": value.value}
    return {"metric": name, "role": role, "level": level, **where}


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema(
        [("metric", text), ("role", text), ("level", text), ("prompt_id", pa.string()), ("k", pa.int64()),
         ("value", pa.float64())]
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
