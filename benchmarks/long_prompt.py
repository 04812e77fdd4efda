"""What it costs that one prompt is long: batches that end where rows are much longer, against one padded batch.

python benchmarks/long_prompt.py            a random model of the shape of SmolLM2 with fewer layers, one thread
"""

from __future__ import annotations

import resource
import statistics

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harness.inference import batching
from harness.inference.sampling import noise, sample

PAIRS, LAYERS, NEW = 3, 4, 32
LENGTHS = [21, 23, 24, 27, 29, 29, 31, 31, 32, 34, 35, 37, 38, 43, 56, 80, 94, 104, 393, 637, 1487]
"""Tokens of instructions of CUT's test split, every third one of the short and all of the long."""


def cpu_seconds(model: LlamaForCausalLM, prompts: list[list[int]], padded: float) -> tuple[float, list[list[int]]]:
    """CPU seconds of drawing one response to each prompt, and their tokens."""
    batching.PADDED = padded
    before = resource.getrusage(resource.RUSAGE_SELF)
    uniforms = [noise("benchmark", str(i), 0, NEW) for i in range(len(prompts))]
    found = sample(model, prompts, uniforms, end_id=0, pad_id=0, temperature=1.0, batch=128)
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, [one.token_ids for one in found]


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
    config = LlamaConfig(vocab_size=49_152, num_hidden_layers=LAYERS, max_position_embeddings=2048, **shape)
    model = LlamaForCausalLM(config).eval()
    random = np.random.default_rng(0)
    prompts = [random.integers(1, 49_152, length).tolist() for length in LENGTHS]
    ours, one = [], []
    for _ in range(PAIRS):
        ours.append(cpu_seconds(model, prompts, 2.0))
        one.append(cpu_seconds(model, prompts, float("inf")))
    agree = statistics.mean(a == b for a, b in zip(ours[0][1], one[0][1], strict=True))
    print(f"batches of like lengths: {statistics.median(seconds for seconds, _ in ours):.1f} s of CPU")
    print(f"one padded batch:        {statistics.median(seconds for seconds, _ in one):.1f} s of CPU")
    ratios = [b[0] / a[0] for a, b in zip(ours, one, strict=True)]
    print(f"one padded batch / batches of like lengths, median of {PAIRS} pairs: {statistics.median(ratios):.1f}")
    print(f"responses with equal tokens: {agree:.0%}")


if __name__ == "__main__":
    main()
