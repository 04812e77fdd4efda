"""A prompt is read as the same tokens in training and in evaluation: by hash, from what the models are given."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny
from small import sample_stage, train_stage
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, LlamaModel

from harness.inference.rendering import prompt_hash, render_prompt
from harness.inference.systems import write_samples

FAMILIES = ("sft", "dpo", "kto", "cut", "reward", "rloo")


@pytest.fixture(scope="module")
def eager(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny world with a tokenizer that puts its begin token before whatever it is given, as Llama's does."""
    root = Path(shutil.copytree(shelf, tmp_path_factory.mktemp("eager") / "shelf"))
    policy = root / tiny.START / "policy"
    tokenizer = AutoTokenizer.from_pretrained(policy)
    adds = {"single": f"{tokenizer.bos_token} $A", "special_tokens": [(tokenizer.bos_token, tokenizer.bos_token_id)]}
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(**adds)
    tokenizer.save_pretrained(policy)
    assert AutoTokenizer.from_pretrained(policy)("bak")["input_ids"][0] == tokenizer.bos_token_id, "it does add one"
    return root


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Every sequence that a model was given, without padding."""
    found: list[list[int]] = []
    own = LlamaModel.forward

    def forward(self: Any, input_ids: Any = None, attention_mask: Any = None, **more: Any) -> Any:
        if input_ids is not None and attention_mask is not None and attention_mask.shape == input_ids.shape:
            rows = zip(input_ids.tolist(), attention_mask.tolist(), strict=True)
            found.extend([one for one, there in zip(*row, strict=True) if there] for row in rows)
        return own(self, input_ids=input_ids, attention_mask=attention_mask, **more)

    monkeypatch.setattr(LlamaModel, "forward", forward)
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_training_reads_the_prompts_that_evaluation_samples_from(
    eager: Path, read: list[list[int]], tmp_path: Path, name: str
) -> None:
    rows = tiny.Tiny().rows("prompts", "train")
    start = eager / tiny.START
    write_samples(tmp_path, {"policy": start}, rows, tiny.Tiny(), sample_stage(train_stage(), samples=1))
    sampled = {line["prompt_hash"] for line in pq.read_table(tmp_path / "samples.parquet").to_pylist()}
    tokenizer = AutoTokenizer.from_pretrained(start / "policy")
    lengths = {len(render_prompt(tokenizer, row["prompt"])) for row in rows}
    read.clear()
    tiny.train(name, tmp_path / "trained", eager, max_response_tokens=8, steps=1)
    begin = tokenizer.bos_token_id
    assert len(read) >= tiny.BUDGET["batch"]
    assert all(ids[0] == begin and begin not in ids[1:] for ids in read), "one begin token, at the beginning"
    known = [any(prompt_hash(ids[:length]) in sampled for length in lengths) for ids in read]
    judged = name == "cut"  # a response under its judgment is read as well
    assert sum(known) >= len(known) / 2 if judged else all(known)
