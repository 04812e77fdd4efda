"""One forward pass over rows of unequal length, without spending it on padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

GROUP = 16
"""Rows of like length that go through the model together on a CPU, where padding costs as much as text."""

TILE = 4096
"""Logits of a token that are held at once on a CPU. TRL's 32,768 took 1.6 times as long there, and 6 times the memory:
its backward pass holds `COPIES` of a tile where there is no Triton."""


COPIES = 9
"""Of a tile's logits, in that backward pass."""


@dataclass(frozen=True)
class TokenScores:
    """What the policy says about each token; entry t is about token t+1, and 0 where `label_mask` is False.

    Attributes:
        log_probs: (rows, T−1) in nats.
        entropy: (rows, T−1) of the distribution that the token was drawn from, in nats; no gradient.
        mean_logits: (rows, T−1) mean of the logits over the vocabulary; no gradient.
        is_top1: (rows, T−1) whether the token is the likeliest.
        label_mask: (rows, T−1) True on response tokens, the end token counted.
    """

    log_probs: torch.Tensor
    entropy: torch.Tensor
    mean_logits: torch.Tensor
    is_top1: torch.Tensor
    label_mask: torch.Tensor


def add_head(model: Any) -> None:
    """Let a causal model give per-token scores without holding all logits (TRL's fused head)."""
    import torch
    from trl.trainer import add_fused_lm_head, utils

    if not torch.cuda.is_available():
        utils._CHUNKED_LOGPROB_CHUNK_SIZE = TILE  # read at each pass; TRL has no argument for it
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))


def token_scores(model: Any, batch: dict[str, Any]) -> TokenScores:
    """Scores of the tokens of a batch, by a model with `add_head`.

    Args:
        model: the policy.
        batch: `input_ids`, `attention_mask`, `labels` (rows, T), padded on the right.
    """
    import torch
    from torch.nn.functional import pad

    width = batch["input_ids"].shape[1] - 1
    names = ("log_probs", "entropy", "mean_logits", "is_top1", "label_mask")

    whole = held_whole(model, batch)

    def run(inputs: dict[str, Any]) -> list[torch.Tensor]:
        if whole:
            mask = inputs["labels"][:, 1:] != -100
            values = [*(value * mask for value in scored_whole(model, inputs)), mask]
        else:
            outputs = model(**inputs, fused_lm_head=True, use_cache=False)
            values = [getattr(outputs, name) for name in names]
        return [pad(value, (0, width - value.shape[1])) for value in values]

    log_probs, *others = in_groups(batch, run, torch.cat)
    return TokenScores(log_probs, *(value.detach() for value in others))


def held_whole(model: Any, batch: dict[str, Any]) -> bool:
    """Whether a batch's logits are held, once, until the backward pass: on a CPU, where the copies of tiles are more.

    Either way there is never more than one float32 copy of (tokens × vocabulary) numbers.
    """
    rows, ids = len(batch["input_ids"]), batch["input_ids"]
    vocabulary = int(getattr(model, "module", model).config.get_text_config().vocab_size)
    return ids.device.type == "cpu" and rows * vocabulary <= min(rows, GROUP) * COPIES * min(vocabulary, TILE)


def scored_whole(model: Any, inputs: dict[str, Any]) -> list[torch.Tensor]:
    """What a model's logits say of a group's tokens, all of them; the logits are held once.

    Returns:
        Log-probabilities, entropies, mean logits and whether it is the likeliest, (rows, T−1) each.
    """
    from harness.training.whole_head import whole_scores

    logits = model(inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False).logits
    found = whole_scores(logits.float(), inputs["input_ids"].roll(-1, 1))  # a slice of logits would be copied
    return [value[:, :-1] for value in found]


def in_groups(
    batch: dict[str, Any], run: Callable[[dict[str, Any]], list[torch.Tensor]], cat: Callable[[list[Any]], torch.Tensor]
) -> list[torch.Tensor]:
    """Run a batch in groups of like length, and put the rows of each output back in their order."""
    groups = list(_groups(batch))
    parts = zip(*(run(inputs) for _, inputs in groups), strict=True)
    place = cat([rows for rows, _ in groups]).argsort()
    return [cat(list(part))[place] for part in parts]


def _groups(batch: dict[str, Any]) -> Iterator[tuple[torch.Tensor, dict[str, Any]]]:
    """(row numbers, inputs trimmed to the longest of them); on a GPU one group, since launches cost more there."""
    lengths = batch["attention_mask"].sum(1)
    size = GROUP if lengths.device.type == "cpu" else len(lengths)
    for rows in lengths.argsort(stable=True).split(size):
        longest = int(lengths[rows[-1]])
        yield rows, {name: batch[name][rows, :longest] for name in ("input_ids", "attention_mask", "labels")}
