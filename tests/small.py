"""A world of twenty words, small random models over it, and the stages that read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from transformers import LlamaForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from harness import keys, registry
from harness.data import Dataset, Message, Row
from harness.inference.policy import save_policy
from harness.job import Budget
from harness.stages import Grade, Sample, Train
from harness.training.scratch import new_model, new_tokenizer

WORDS = [f"w{i}" for i in range(20)]


def _ask(i: int) -> list[Message]:
    """Prompts of one to eight words, so that batches need padding."""
    return [{"role": "user", "content": " ".join(WORDS[(i + 3 * n) % 20] for n in range(1 + i % 8))}]


@dataclass(frozen=True)
class SmallData(Dataset):
    version: ClassVar[int] = 1
    views: ClassVar[frozenset[str]] = frozenset({"prompts", "pairs", "judgments"})
    rewards: ClassVar[tuple[str, ...]] = ("total", "brief")

    def rows(self, view: str, split: str) -> list[Row]:
        asked = [(f"{view}-{i}", _ask(i)) for i in range(12)]
        rows = [{"id": name, "prompt_id": keys.key(prompt), "prompt": prompt} for name, prompt in asked]
        if view == "prompts":
            return rows
        if view == "judgments":
            given = {"response": " ".join(WORDS[2:7]), "judgment": WORDS[9], "error_spans": [[1, 3]]}
            return [row | given for row in rows]
        answers = [{"chosen": " ".join(WORDS[i : i + 3]), "rejected": WORDS[i]} for i in range(12)]
        return [row | answer for row, answer in zip(rows, answers, strict=True)]

    def judged(self, prompt: list[Message], judgment: str | None) -> list[Message]:
        return [*prompt[:-1], {**prompt[-1], "content": f"{prompt[-1]['content']} {judgment}"}]

    def score(self, prompt: list[Message], response: str) -> dict[str, float]:
        words = response.split()
        return {"total": float(words.count("w1") - words.count("w2")), "brief": -float(len(words))}

    def vocabulary(self) -> list[str]:
        return WORDS


@dataclass(frozen=True)
class BareData(SmallData):
    """The same without labelled pairs and without a rule reward."""

    views: ClassVar[frozenset[str]] = frozenset({"prompts"})
    rewards: ClassVar[tuple[str, ...]] = ()


def small_policy(seed: int = 0, sharp: float = 6.0) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A random policy in float32; `sharp` times the usual embeddings make its distributions far from flat."""
    tokenizer = new_tokenizer(SmallData())
    model = new_model(tokenizer, hidden=16, layers=2, heads=2, seed=seed, precision="float32").eval()
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(sharp)
    return model, tokenizer


def save_small_policy(stage: Path, seed: int = 0, name: str = "policy") -> Path:
    save_policy(*small_policy(seed), stage / name)
    return stage


def save_small_reward(stage: Path, seed: int = 0, labels: int = 1) -> Path:
    policy, tokenizer = small_policy(seed)
    config = policy.config
    config.num_labels = labels
    model = LlamaForSequenceClassification(config)
    model.base_model.load_state_dict(policy.base_model.state_dict())
    with torch.no_grad():
        model.score.weight.normal_(generator=torch.Generator().manual_seed(seed))
    model.save_pretrained(stage / "reward")
    tokenizer.save_pretrained(stage / "reward")
    return stage


def train_stage(seed: str = "replicate-0") -> Train:
    return Train(
        algorithm={"name": "sft", "version": 1, "knobs": {}}, dataset={"source": "small"}, split="train",
        budget=Budget().__dict__, seed=seed,
    )  # fmt: skip


def sample_stage(policy: Train, **changed: object) -> Sample:
    settings = {
        **{"dataset": {"source": "small"}, "split": "test", "prompts": 12, "samples": 3, "temperature": 1.0},
        **{"max_response_tokens": 6, "procedure": {"name": "plain"}, "seed": "replicate-0", "batch": 8, "threads": 1},
    }
    return Sample({"policy": policy}, **(settings | changed))


def grade_stage(sample: Sample, start: Train, **changed: object) -> Grade:
    versions = {name: registry.load("metrics", name).version for name in registry.names("metrics")}
    settings = {"dataset": {"source": "small"}, "metrics": versions, "pairs": 10, "batch": 8, "threads": 1}
    inputs = {"sample": sample, "policy": sample.inputs["policy"], "start": start}
    return Grade(inputs, **(settings | changed))
