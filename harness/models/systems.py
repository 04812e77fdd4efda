"""Systems: a policy and a way of using it, and the table of what it answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, nearest
from harness.metrics import Measurement
from harness.models.policy import load_policy
from harness.models.rendering import check_template, end_token, prompt_hash, render_prompt
from harness.models.sampling import Sampled, noise, sample

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.data import Row
    from harness.stages import Sample

FILE = "samples.parquet"
FINAL = -1
"""`step` of the final policy in the tables."""


def policy_folder(train: Path, step: int | None) -> Path:
    """Where a Train stage keeps its policy, or the one after a step."""
    return train / ("policy" if step is None else f"policy-step-{step}")


def write_samples(out: Path, inputs: dict[str, Path], rows: list[Row], stage: Sample) -> list[Measurement]:
    """Sample K responses to each prompt and write `samples.parquet`.

    `response` is the text without special tokens; `token_ids` holds all that was generated.

    Args:
        out: where to write.
        inputs: `policy`, the folder of a Train stage.
        rows: the prompts.
        stage: how to sample.

    Raises:
        HarnessError: the procedure is not known, or the chat template cannot be trusted.
        FloatingPointError: the policy gives probabilities that are not finite.
    """
    from harness.models.quiet import quiet

    procedure = _procedure(stage.procedure)
    quiet(stage.threads)
    model, tokenizer = load_policy(policy_folder(inputs["policy"], stage.step))
    check_template(tokenizer, rows[0]["prompt"])
    prompts = [render_prompt(tokenizer, row["prompt"]) for row in rows]
    places = [(i, k) for i in range(len(rows)) for k in range(stage.samples)]
    uniforms = [noise(stage.seed, rows[i]["prompt_id"], k, stage.max_response_tokens) for i, k in places]
    responses = procedure(model, tokenizer, [prompts[i] for i, _ in places], uniforms, stage)
    texts = tokenizer.batch_decode([response.token_ids for response in responses], skip_special_tokens=True)
    _write(out / FILE, rows, prompts, places, responses, texts, FINAL if stage.step is None else stage.step)
    return _summary(responses)


def plain(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    uniforms: list[np.ndarray[Any, Any]],
    stage: Sample,
) -> list[Sampled]:
    """The policy's own responses, one to each prompt (token ids)."""
    return sample(
        model,
        prompts,
        uniforms,
        end_id=end_token(tokenizer),
        pad_id=tokenizer.pad_token_id,
        temperature=stage.temperature,
        batch=stage.batch,
    )


PROCEDURES = {"plain": plain}
"""Ways of using a policy, by name."""


def _procedure(asked: dict[str, Any]) -> Callable[..., list[Sampled]]:
    name = asked.get("name", "")
    if name not in PROCEDURES:
        known = ", ".join(PROCEDURES)
        raise HarnessError(f"there is no inference procedure '{name}'{nearest(name, PROCEDURES)} (known: {known})")
    if extra := sorted(set(asked) - {"name"}):
        raise HarnessError(f"the inference procedure '{name}' takes no options; it was given {', '.join(extra)}")
    return PROCEDURES[name]


def _write(
    path: Path,
    rows: list[Row],
    prompts: list[list[int]],
    places: list[tuple[int, int]],
    responses: list[Sampled],
    texts: list[str],
    step: int,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    hashes = [prompt_hash(ids) for ids in prompts]
    columns = {
        "prompt_id": [rows[i]["prompt_id"] for i, _ in places],
        "k": [k for _, k in places],
        "step": [step] * len(places),
        "prompt_hash": [hashes[i] for i, _ in places],
        "response": texts,
        "token_ids": [response.token_ids for response in responses],
        "logps": [response.logps for response in responses],
        "end": [response.end for response in responses],
    }
    pq.write_table(pa.table(columns), path)


def _summary(responses: list[Sampled]) -> list[Measurement]:
    n = len(responses)
    tokens = sum(len(response.token_ids) for response in responses)
    cut = sum(response.end == "length" for response in responses)
    return [
        Measurement("responses", n, 1, "responses"),
        Measurement("generated_tokens", tokens, 1, "tokens"),
        Measurement("mean_length", tokens / n, n, "tokens"),
        Measurement("truncated", cut / n, n, "share", "lower"),
    ]
