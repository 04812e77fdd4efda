"""What all metrics of a Grade share, loaded and computed once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness.data import held_out
from harness.errors import HarnessError
from harness.metrics import Value

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.data import Dataset, Message, Row
    from harness.stages import Grade

ROLES = ("gold", "selection", "proxy")
JUDGES = ("gold", "oracle")
"""What greedy and chosen responses are scored by: the roles that the report judges by."""


Scores = Sequence[float | None]
"""Of texts, in their order."""


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


@dataclass(frozen=True)
class Blamed:
    """A judged response whose errors are known, token by token, the end token last.

    Attributes:
        prompt_id: of its prompt.
        gains: log p(y_t | x, j) − log p(y_t | x): how much likelier the judgment makes each token, in nats.
        wrong: whether each token stands in an error.
    """

    prompt_id: str
    gains: list[float]
    wrong: list[bool]


class GradeBench:
    """Samples, models and scores, each loaded when a metric first asks, and then kept."""

    def __init__(self, inputs: dict[str, Path], dataset: Dataset, stage: Grade) -> None:
        self.inputs, self.dataset, self.stage = inputs, dataset, stage

    @cached_property
    def responses(self) -> list[Response]:
        """All samples, with their prompts."""
        return self._read("sample")

    @cached_property
    def greedy(self) -> list[Response]:
        """The greedy response to each prompt; none where the recipe or the system has none."""
        return self._read("greedy") if "greedy" in self.inputs else []

    @cached_property
    def by_prompt(self) -> dict[str, list[Response]]:
        """The samples of each prompt in the order of k; the order of the sample table does not matter."""
        found: dict[str, list[Response]] = {}
        for one in sorted(self.responses, key=lambda r: (r.prompt_id, r.k)):
            found.setdefault(one.prompt_id, []).append(one)
        return found

    @cached_property
    def chosen(self) -> dict[str, list[str]]:
        """The dataset's chosen responses to the prompts that were sampled; none where it has no pairs for them."""
        if "pairs" not in self.dataset.offers():
            return {}
        try:
            rows = self.dataset.rows("pairs", self._split)
        except HarnessError:  # it has pairs, and none in this split
            return {}
        found: dict[str, list[str]] = {}
        for row in rows:
            if row["prompt_id"] in self.by_prompt and row["chosen"] not in found.get(row["prompt_id"], []):
                found.setdefault(row["prompt_id"], []).append(row["chosen"])
        return found

    @property
    def _split(self) -> str:
        return str(self.stage.inputs["sample"].settings()["split"])

    @cached_property
    def _prompts(self) -> dict[str, list[Message]]:
        """The prompts of the split, in its order."""
        return {row["prompt_id"]: row["prompt"] for row in self.dataset.rows("prompts", self._split)}

    @cached_property
    def _rendered(self) -> dict[str, list[int]]:
        """Token ids of prompts that have been rendered."""
        return {}

    def _render(self, prompt_id: str, prompt: list[Message]) -> list[int]:
        from harness.inference.rendering import render_prompt

        if prompt_id not in self._rendered:
            self._rendered[prompt_id] = render_prompt(self.tokenizer, prompt)
        return self._rendered[prompt_id]

    def _read(self, role: str) -> list[Response]:
        """The responses of a Sample stage.

        Raises:
            HarnessError: a prompt renders otherwise here than where it was sampled.
        """
        import pyarrow.parquet as pq

        from harness.inference.rendering import prompt_hash

        found = []
        checked = set()
        for line in pq.read_table(self.inputs[role] / "samples.parquet").to_pylist():
            name = line["prompt_id"]
            prompt = self._prompts[name]
            ids = self._render(name, prompt)
            if name not in checked and prompt_hash(ids) != line["prompt_hash"]:
                raise HarnessError(f"prompt {name} renders otherwise here than where it was sampled")
            checked.add(name)
            found.append(Response(name, line["k"], prompt, ids, line["response"], line["token_ids"], line["end"]))
        return found

    @cached_property
    def _policy(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        from harness.inference.opened import open_policy
        from harness.inference.systems import policy_folder

        return open_policy(policy_folder(self.inputs["policy"], self.stage.step))

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
        from harness.inference.opened import open_policy

        if self.inputs["start"] == self.inputs["policy"] and self.stage.step is None:
            return self.policy
        return open_policy(self.inputs["start"] / "policy")[0]

    @property
    def procedure(self) -> dict[str, Any]:
        """How the policy was used."""
        found: dict[str, Any] = self.stage.inputs["sample"].settings()["procedure"]
        return found

    @property
    def temperature(self) -> float:
        """That samples were drawn at."""
        return float(self.stage.inputs["sample"].settings()["temperature"])

    @cached_property
    def divergence(self) -> tuple[list[float], list[float]] | None:
        """KL to the start and entropy of each response, in nats per sequence.

        None where responses were not drawn from the policy as it answers the plain prompt, at temperature 1: they are
        then no sample of the policy's distribution, and that of a system is not known.
        """
        from harness.inference.scoring import divergence

        if self.procedure != {"name": "plain"} or self.temperature != 1:
            return None
        sequences = [(r.prompt_ids, r.token_ids) for r in self.responses]
        pad_id = cast(int, self.tokenizer.pad_token_id)
        return divergence(self.policy, self.start, sequences, pad_id, self.stage.batch)

    @property
    def rewards(self) -> dict[str, Scores]:
        """Scores of every sample by role; the dataset's rule rewards are `oracle` and `oracle.<dimension>`.

        None where a text is longer than the reward model can read: it is not cut, has no value, and is counted.
        """
        return self._scores["sample"]

    @property
    def unreadable(self) -> dict[str, int]:
        """Samples that a role's reward model cannot read, where there are any."""
        counts = {role: sum(score is None for score in scores) for role, scores in self.rewards.items()}
        return {role: count for role, count in counts.items() if count}

    def rewards_of(self, what: str) -> dict[str, Scores]:
        """Scores of the `greedy` responses or of the `chosen` ones, by `gold` and `oracle` alone: what judges."""
        return self._scores[what]

    @cached_property
    def _scores(self) -> dict[str, dict[str, Scores]]:
        """By what is scored and role. Each distinct text is scored once by each model, whoever wrote it."""
        from harness.inference.scoring import RewardModel

        texts = {
            "sample": [(r.prompt, r.text) for r in self.responses],
            "greedy": [(r.prompt, r.text) for r in self.greedy],
            "chosen": [(self._prompts[prompt_id], text) for prompt_id, own in self.chosen.items() for text in own],
        }
        found: dict[str, dict[str, Scores]] = {what: {} for what in texts}
        for role in (role for role in ROLES if role in self.inputs):
            parts = [what for what in texts if what == "sample" or role in JUDGES]
            asked = [text for what in parts for text in texts[what]]
            scores = iter(RewardModel(self.inputs[role] / "reward").score_readable(asked, self.stage.batch))
            for what in parts:
                found[what] |= {role: list(islice(scores, len(texts[what])))} if texts[what] else {}
        for what, asked in texts.items():
            rules = [self.dataset.score(prompt, text) for prompt, text in asked] if self.dataset.rewards else []
            named = {"oracle" if name == "total" else f"oracle.{name}": name for name in self.dataset.rewards}
            for role, name in {**(self.stage.rules or {}), **named}.items() if rules else ():
                if what == "sample" or role in JUDGES:
                    found[what][role] = [rule[name] for rule in rules]
        return found

    @cached_property
    def pairs(self) -> list[Row]:
        """Held-out labelled pairs; none where the dataset has none."""
        return held_out(self.dataset, "pairs", self.stage.pairs)

    @cached_property
    def pair_logp(self) -> dict[str, list[float]]:
        """Log π of the chosen and rejected of each held-out pair: `policy/chosen`, `start/rejected` and so on."""
        from harness.inference.rendering import render_response
        from harness.inference.scoring import sequence_logp

        pad_id = cast(int, self.tokenizer.pad_token_id)
        found = {}
        for side in ("chosen", "rejected"):
            texts = [
                (self._render(row["prompt_id"], row["prompt"]), render_response(self.tokenizer, row[side]))
                for row in self.pairs
            ]
            found[f"policy/{side}"] = sequence_logp(self.policy, texts, pad_id, self.stage.batch)
            same = self.start is self.policy
            found[f"start/{side}"] = (
                found[f"policy/{side}"] if same else sequence_logp(self.start, texts, pad_id, self.stage.batch)
            )
        return found

    @cached_property
    def blamed(self) -> list[Blamed]:
        """Held-out judged responses with known errors, of a dataset whose words are the policy's tokens."""
        from harness.inference.rendering import render_response
        from harness.inference.scoring import token_logp

        rows = [
            (row, render_response(self.tokenizer, row["response"]))
            for row in held_out(self.dataset, "judgments", self.stage.pairs)
            if row["judgment"] and row.get("error_spans")
        ]
        rows = [(row, ids) for row, ids in rows if len(ids) == len(row["response"].split()) + 1]  # the end token
        prompts = (
            [row["prompt"] for row, _ in rows],
            [self.dataset.judged(row["prompt"], row["judgment"]) for row, _ in rows],
        )
        pad_id = cast(int, self.tokenizer.pad_token_id)
        plain, judged = (
            token_logp(self.policy, self._texts(some, rows), pad_id, self.stage.batch) if rows else []
            for some in prompts
        )
        return [
            Blamed(
                row["prompt_id"],
                [own - other for own, other in zip(with_judgment, without, strict=True)],
                [any(first <= place < last for first, last in row["error_spans"]) for place in range(len(ids))],
            )
            for (row, ids), with_judgment, without in zip(rows, judged, plain, strict=True)
        ]

    def _texts(
        self, prompts: list[list[Message]], rows: list[tuple[Row, list[int]]]
    ) -> list[tuple[list[int], list[int]]]:
        from harness.inference.rendering import render_prompt

        return [(render_prompt(self.tokenizer, prompt), ids) for prompt, (_, ids) in zip(prompts, rows, strict=True)]

    def each(self, value: Callable[[Response], float | None]) -> list[Value]:
        """A value of each response that has one."""
        return _there((r.prompt_id, r.k, value(r)) for r in self.responses)

    def each_prompt(self, value: Callable[[list[Response]], float | None]) -> list[Value]:
        """A value of each prompt's samples where they have one; none with fewer than two samples of a prompt."""
        several = all(len(found) > 1 for found in self.by_prompt.values())
        return _there((name, -1, value(found)) for name, found in self.by_prompt.items()) if several else []

    def across(self, value: Callable[[list[Response]], float | None]) -> list[Value]:
        """One value of the first samples of all prompts, if they have one; none with fewer than two prompts."""
        firsts = [found[0] for found in self.by_prompt.values()]
        return _there([("", -1, value(firsts))]) if len(firsts) > 1 else []

    def content(self, response: Response) -> list[int]:
        """Token ids of a response without special tokens."""
        return [token for token in response.token_ids if token not in self._special]

    @cached_property
    def _special(self) -> frozenset[int]:
        return frozenset(self.tokenizer.all_special_ids)

    def with_chosen(self, value: Callable[[Response, list[str]], float], reads: Callable[[str], bool]) -> list[Value]:
        """A value of each response to a prompt that has chosen ones, which it is held against.

        Args:
            value: of a response and the chosen ones.
            reads: whether a chosen response is one that the value can be held against; others are passed over.
        """
        chosen = {prompt_id: [text for text in texts if reads(text)] for prompt_id, texts in self.chosen.items()}
        known = [r for r in self.responses if chosen.get(r.prompt_id)]
        return [Value(r.prompt_id, r.k, float(value(r, chosen[r.prompt_id]))) for r in known]

    def against_chosen(self, value: Callable[[float, float], float], roles: tuple[str, ...] = JUDGES) -> list[Value]:
        """A value of each response's reward and a chosen one's, mean over the chosen ones, by role."""
        found = []
        for role in (role for role in roles if role in self.rewards_of("chosen")):
            scores = iter(self.rewards_of("chosen")[role])
            others = {prompt_id: list(islice(scores, len(texts))) for prompt_id, texts in self.chosen.items()}
            for r, own in zip(self.responses, self.rewards[role], strict=True):
                chosen = [other for other in others.get(r.prompt_id, []) if other is not None]
                if own is not None and chosen:
                    values = [value(own, other) for other in chosen]
                    found.append(Value(r.prompt_id, r.k, math.fsum(values) / len(values), role))
        return found

    def logp_change(self, side: str) -> list[Value]:
        """Of each held-out pair's `chosen` or `rejected`: log π − log start, and the two as `after` and `before`."""
        before, after = self.pair_logp[f"start/{side}"], self.pair_logp[f"policy/{side}"]
        change = [own - other for own, other in zip(after, before, strict=True)]
        by_role = {"": change, "before": before, "after": after}
        return [
            Value(row["prompt_id"], -1, value, role)
            for role, values in by_role.items()
            for row, value in zip(self.pairs, values, strict=True)
        ]


def _there(values: Iterable[tuple[str, int, float | None]]) -> list[Value]:
    """Of prompts and samples those that have a value."""
    return [Value(prompt_id, k, float(value)) for prompt_id, k, value in values if value is not None]
