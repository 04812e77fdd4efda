"""Responses from a policy, with sampling noise that belongs to the prompt and not to the batch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import keys
from harness.inference.batching import in_batches

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
    token is the inverse of the cumulative distribution, in float64, at its position's uniform number, so order and
    batch change a sample only where a uniform number falls within the logits' rounding of a boundary.

    Args:
        model: a causal language model.
        prompts: token ids of each prompt, up to where the response begins.
        uniforms: (max_new,) for each prompt; their common length is the limit.
        end_id: ends a response.
        pad_id: pads on the left, masked.
        temperature: 0 takes the likeliest token.
        batch: prompts at a time; fewer where memory does not hold so many.
    """
    import torch

    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), prompts[i]))  # equal prompts are neighbours
    sizes = [len(ids) + len(own) for ids, own in zip(prompts, uniforms, strict=True)]

    def drawn(chosen: list[int]) -> list[Sampled]:
        part = _Batch(model, [prompts[i] for i in chosen], [uniforms[i] for i in chosen], pad_id)
        return part.run(end_id, temperature)

    with torch.inference_mode():
        found = in_batches(order, sizes, batch, drawn)
    return [found[i] for i in range(len(prompts))]


class _Batch:
    """The responses of one batch while they grow."""

    def __init__(
        self, model: PreTrainedModel, prompts: list[list[int]], uniforms: list[np.ndarray[Any, Any]], pad_id: int
    ) -> None:
        import numpy as np
        import torch
        from transformers import DynamicCache

        self.model = model
        self.prompts = prompts
        self.pad_id = pad_id
        self.uniforms = torch.tensor(np.stack(uniforms), device=model.device)  # (rows, max_new)
        self.limit = self.uniforms.shape[1]
        self.cache = DynamicCache(config=model.config)
        self.rows = list(range(len(prompts)))
        self.tokens: list[list[int]] = [[] for _ in prompts]
        self.logps: list[list[float]] = [[] for _ in prompts]
        self.ends = ["length"] * len(prompts)

    def run(self, end_id: int, temperature: float) -> list[Sampled]:
        """Grow until all have ended.

        Raises:
            FloatingPointError: the policy gives probabilities that are not finite.
        """
        import torch

        logits = self._read_prompts()
        for position in range(self.limit):
            token = _choose(logits, self.uniforms[:, position], temperature)
            logp = torch.log_softmax(logits, -1).gather(1, token[:, None])[:, 0]
            if not torch.isfinite(logp).all():
                raise FloatingPointError(f"the policy gives no finite probabilities at response token {position + 1}")
            alive = self._note(token.tolist(), logp.tolist(), end_id)
            if not alive or position + 1 == self.limit:
                break
            logits = self._read_token(self._keep(token, alive))
        return [Sampled(*row) for row in zip(self.tokens, self.logps, self.ends, strict=True)]

    def _read_prompts(self) -> torch.Tensor:
        """Logits of each first token, (rows, V). Samples of the same prompt share its forward pass."""
        import torch

        distinct = {tuple(ids): place for place, ids in enumerate(dict.fromkeys(map(tuple, self.prompts)))}
        longest = max(map(len, distinct))
        padded = [[self.pad_id] * (longest - len(ids)) + list(ids) for ids in distinct]
        masks = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in distinct]
        self.mask = torch.tensor(masks, device=self.model.device)
        ids = torch.tensor(padded, device=self.model.device)
        logits = self._forward(ids, (self.mask.cumsum(1) - 1).clamp(min=0))
        if len(distinct) < len(self.prompts):
            index = torch.tensor([distinct[tuple(ids)] for ids in self.prompts], device=logits.device)
            self.cache.batch_select_indices(index)
            self.mask, logits = self.mask[index], logits[index]
        self.lengths = self.mask.sum(1, keepdim=True)  # (rows, 1), where the next token stands
        return logits

    def _read_token(self, token: torch.Tensor) -> torch.Tensor:
        """Logits after one more token (rows, 1) of each row, (rows, V)."""
        import torch

        self.mask = torch.cat([self.mask, torch.ones_like(token)], 1)
        logits = self._forward(token, self.lengths)
        self.lengths = self.lengths + 1
        return logits

    def _forward(self, ids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(
            input_ids=ids, attention_mask=self.mask, position_ids=places, past_key_values=self.cache,
            use_cache=True, logits_to_keep=1,
        ).logits  # fmt: skip
        return logits[:, -1].float()

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
        """Drop what has ended once it is a quarter of the batch; returns the next input (rows, 1).

        A row that has ended and stays is fed on, and its tokens are no longer noted.
        """
        import torch

        few = len(alive) <= 0.75 * len(self.rows) or len(self.rows) < 8
        if few and len(alive) < len(self.rows):
            index = torch.tensor(alive, device=token.device)
            self.cache.batch_select_indices(index)
            self.mask, self.lengths, self.uniforms = self.mask[index], self.lengths[index], self.uniforms[index]
            token = token[index]
            self.rows = [self.rows[place] for place in alive]
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
