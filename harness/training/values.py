"""Value models: what reward a policy may still expect, before each token of a response."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.training.forward import held_whole, in_groups, scored_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch

    from harness.job import Job

HELD = 2**24
"""Logits of a batch that are held whole on a GPU, where that is faster than to compute them twice in tiles."""


@dataclass(frozen=True)
class ValuedScores:
    """What policy and value model say; entry t is about token t + 1, and 0 where `label_mask` is False.

    Attributes:
        log_probs: (rows, T−1) in nats.
        entropy: (rows, T−1) of the distribution that the token was drawn from, with gradient.
        values: (rows, T−1) expected before the token, with gradient.
        label_mask: (rows, T−1) True on response tokens.
    """

    log_probs: torch.Tensor
    entropy: torch.Tensor
    values: torch.Tensor
    label_mask: torch.Tensor


class ValueModel:
    """A scalar head on the policy, or a network of its own.

    `head` reads the policy's last hidden state and begins at 0; its gradient reaches the policy too. `reward` begins as
    a copy of the proxy reward model, as in InstructGPT, and shares nothing with the policy. `module` is what is
    trained, and kept in checkpoints beside the policy.

    Raises:
        HarnessError: there is no reward model to copy, or its tokens or template are not the policy's.
    """

    def __init__(self, kind: str, job: Job) -> None:
        import torch
        from accelerate import PartialState
        from transformers import AutoModelForSequenceClassification, set_seed

        self.kind = kind
        set_seed(job.seed("value"))
        if kind == "head":
            shape = _config(job).get_text_config()  # OPT's last layer may be projected before the vocabulary reads it
            width = getattr(shape, "word_embed_proj_dim", None) or shape.hidden_size
            self.module: Any = torch.nn.Linear(width, 1)
            torch.nn.init.zeros_(self.module.weight)
            torch.nn.init.zeros_(self.module.bias)
        elif "reward" not in job.inputs:
            raise HarnessError(
                "ppo.value = 'reward' copies the proxy reward model; here the proxy is a rule: use 'head'"
            )
        else:
            folder = job.inputs["reward"] / "reward"
            _check_tokens(job.inputs["start"] / "policy", folder)
            self.module = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
        self.module.to(PartialState(cpu=not torch.cuda.is_available()).device)  # that of this process

    def scores(self, model: Any, batch: dict[str, Any]) -> ValuedScores:
        """One forward pass of policy and value model over a batch padded on the right."""
        import torch
        from torch.nn.functional import pad

        width = batch["input_ids"].shape[1] - 1
        mask = batch["labels"][:, 1:] != -100
        whole = held_whole(model, batch) or _few(model, batch)

        def run(inputs: dict[str, Any]) -> list[torch.Tensor]:
            columns = self._run(model, inputs, whole=whole)
            return [pad(column, (0, width - column.shape[1])) for column in columns]

        log_probs, entropy, values = in_groups(batch, run, torch.cat)
        return ValuedScores(log_probs * mask, entropy * mask, values * mask, mask)

    def _run(self, model: Any, inputs: dict[str, Any], *, whole: bool) -> list[torch.Tensor]:
        named = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        with _given_to_head(model) as given:
            log_probs, entropy = _token_scores(model, inputs, whole=whole)
        if self.kind == "head":
            values = self.module(given[0].to(self.module.weight.dtype))
        else:
            values = self.module.score(self.module.base_model(**named, use_cache=False).last_hidden_state)
        return [log_probs, entropy, values[:, :-1, 0].float()]


def _few(model: Any, batch: dict[str, Any]) -> bool:
    ids, vocabulary = batch["input_ids"], getattr(model, "module", model).config.get_text_config().vocab_size
    return bool(ids.device.type != "cpu" and ids.numel() * vocabulary <= HELD)


def _token_scores(model: Any, inputs: dict[str, Any], *, whole: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies of a group's tokens, with gradient; by the fused head where not whole."""
    if whole:
        log_probs, entropy, *_ = scored_whole(model, inputs)
        return log_probs, entropy
    outputs = model(**inputs, fused_lm_head=True, use_cache=False)
    return outputs.log_probs, outputs.entropy


@contextmanager
def _given_to_head(model: Any) -> Iterator[list[torch.Tensor]]:
    """A list that gets a forward pass's last hidden states, (rows, T, width), which the fused head does not tell."""
    given: list[torch.Tensor] = []
    body = getattr(model, "module", model).get_decoder()  # several processes wrap the model
    hook = body.register_forward_hook(lambda _module, _inputs, outputs: given.append(outputs.last_hidden_state))
    try:
        yield given
    finally:
        hook.remove()


def _check_tokens(policy: Path, reward: Path) -> None:
    """A copy of a reward model is given the policy's own tokens, which have to be what it was trained on.

    Raises:
        HarnessError: a token of the policy's is another one there, or none, or the chat templates differ.
    """
    from transformers import AutoTokenizer

    ours, theirs = (AutoTokenizer.from_pretrained(folder) for folder in (policy, reward))
    known = theirs.get_vocab()
    other = sorted((number, token) for token, number in ours.get_vocab().items() if known.get(token) != number)
    if other:
        number, token = other[0]
        there = theirs.convert_ids_to_tokens(number) if number < len(theirs) else None
        raise HarnessError(
            f"ppo.value = 'reward' needs a reward model with the policy's tokens; {len(other)} differ (token {number} "
            f"is {token!r} of the policy, {there!r} of the reward model): use 'head'"
        )
    if theirs.chat_template != ours.chat_template:
        raise HarnessError(
            "ppo.value = 'reward' needs a reward model with the policy's chat template, in which it is shown prompts; "
            "it has another one: use 'head'"
        )


def _config(job: Job) -> Any:
    from transformers import AutoConfig

    from harness.inference.policy import base_folder

    return AutoConfig.from_pretrained(base_folder(job.inputs["start"] / "policy"))
