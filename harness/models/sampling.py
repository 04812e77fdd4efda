"""Responses from a policy, with sampling noise that belongs to the prompt and not to the batch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import keys

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Sampled:
    """One response.

    Attributes:
        token_ids: its tokens, the end token counted where it came.
        logps: log π of each token at temperature 1, in nats, whatever the sampling temperature.
        end: `eos`, or `length` where the limit cut it.
    """

    token_ids: list[int]
    logps: list[float]
    end: str


def noise(root: str, prompt_id: str, k: int, length: int) -> np.ndarray[Any, Any]:
    """Uniform numbers in [0, 1) for one response, one per position.

    They are a function of the replicate, the prompt, k and the position alone, so all systems of a replicate
    share them, and neither sorting nor batching changes a sample.

    Returns:
        (length,) float64; a shorter one is a prefix of a longer one.
    """
    import numpy as np

    digest = hashlib.sha256(keys.canonical([root, "sampler", prompt_id, k]).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big"))).random(length)


def sample(
    model: PreTrainedModel,
    prompts: list[list[int]],
    uniforms: list[np.ndarray[Any, Any]],
    *,
    end_id: int,
    pad_id: int,
    temperature: float,
    batch: int,
) -> list[Sampled]:
    """One response to each prompt, in the order given.

    Prompts are sorted by length and batched, padded on the left; a response that has ended leaves the batch. A
    token is the inverse of the cumulative distribution, in float64, at its position's uniform number.

    Args:
        model: a causal language model.
        prompts: token ids of each prompt, up to where the response begins.
        uniforms: (max_new,) for each prompt; its length is the limit.
        end_id: ends a response.
        pad_id: pads on the left, masked.
        temperature: 0 takes the likeliest token.
        batch: prompts at a time.
    """
    import torch

    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found: dict[int, Sampled] = {}
    with torch.inference_mode():
        for first in range(0, len(order), batch):
            chosen = order[first : first + batch]
            part = _Batch(model, [prompts[i] for i in chosen], [uniforms[i] for i in chosen], pad_id)
            found.update(zip(chosen, part.run(end_id, temperature), strict=True))
    return [found[i] for i in range(len(prompts))]


class _Batch:
    """The responses of one batch while they grow."""

    def __init__(
        self, model: PreTrainedModel, prompts: list[list[int]], uniforms: list[np.ndarray[Any, Any]], pad_id: int
    ) -> None:
        import numpy as np
        import torch
        from transformers import DynamicCache

        longest = max(map(len, prompts))
        padded = [[pad_id] * (longest - len(ids)) + ids for ids in prompts]
        masks = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts]
        self.model = model
        self.ids = torch.tensor(padded, device=model.device)
        self.mask = torch.tensor(masks, device=model.device)
        self.limit = max(map(len, uniforms))
        self.uniforms = torch.tensor(np.stack(uniforms), device=model.device)
        self.cache = DynamicCache(config=model.config)
        self.rows = list(range(len(prompts)))
        self.tokens: list[list[int]] = [[] for _ in prompts]
        self.logps: list[list[float]] = [[] for _ in prompts]
        self.ends = ["length"] * len(prompts)

    def run(self, end_id: int, temperature: float) -> list[Sampled]:
        """Grow until all have ended."""
        import torch

        feed = self.ids
        for position in range(self.limit):
            places = (self.mask.cumsum(1) - 1).clamp(min=0)[:, -feed.shape[1] :]
            outputs = self.model(
                input_ids=feed, attention_mask=self.mask, position_ids=places, past_key_values=self.cache,
                use_cache=True, logits_to_keep=1,
            )  # fmt: skip
            logits = outputs.logits[:, -1].float()
            token = _choose(logits, self.uniforms[:, position], temperature)
            logp = torch.log_softmax(logits, -1).gather(1, token[:, None])[:, 0]
            alive = self._note(token.tolist(), logp.tolist(), end_id)
            if not alive:
                break
            feed = self._keep(token, alive)
        return [Sampled(*row) for row in zip(self.tokens, self.logps, self.ends, strict=True)]

    def _note(self, tokens: list[int], logps: list[float], end_id: int) -> list[int]:
        """Append a token to each response; returns the batch rows that go on."""
        alive = []
        for place, (row, token, logp) in enumerate(zip(self.rows, tokens, logps, strict=True)):
            if self.ends[row] == "eos":
                continue
            self.tokens[row].append(token)
            self.logps[row].append(logp)
            if token == end_id:
                self.ends[row] = "eos"
            else:
                alive.append(place)
        return alive

    def _keep(self, token: torch.Tensor, alive: list[int]) -> torch.Tensor:
        """Drop what has ended once it is a quarter of the batch, and give the next input (rows, 1)."""
        import torch

        # an ended row that stays is fed its end token again; its tokens are no longer noted
        if len(alive) <= 0.75 * len(self.rows) or len(self.rows) < 8:
            index = torch.tensor(alive, device=token.device)
            if len(alive) < len(self.rows):
                self.cache.batch_select_indices(index)
                self.mask, self.uniforms, token = self.mask[index], self.uniforms[index], token[index]
                self.rows = [self.rows[place] for place in alive]
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.rows), 1)], 1)
        return token[:, None]


def _choose(logits: torch.Tensor, uniform: torch.Tensor, temperature: float) -> torch.Tensor:
    """The token at which the cumulative distribution passes the uniform number, (rows,)."""
    import torch

    if temperature == 0:
        return logits.argmax(-1)
    cumulative = torch.softmax(logits.double() / temperature, -1).cumsum(-1)
    # scaled by the total, which rounding leaves a little off 1, so that the last token can always be reached
    token = torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True)[:, 0]
    return token.clamp(max=logits.shape[1] - 1)
