"""Value models: what reward a policy may still expect, before each token of a response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.training.forward import in_groups

if TYPE_CHECKING:
    import torch

    from harness.job import Job


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
        HarnessError: there is no reward model to copy, or its tokens are not the policy's.
    """

    def __init__(self, kind: str, job: Job) -> None:
        import torch
        from accelerate import PartialState
        from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

        self.kind = kind
        set_seed(job.seed("value"))
        if kind == "head":
            width = _config(job).get_text_config().hidden_size
            self.module: Any = torch.nn.Linear(width, 1)
            torch.nn.init.zeros_(self.module.weight)
            torch.nn.init.zeros_(self.module.bias)
        elif "reward" not in job.inputs:
            raise HarnessError(
                "ppo.value = 'reward' copies the proxy reward model; here the proxy is a rule: use 'head'"
            )
        else:
            folder = job.inputs["reward"] / "reward"
            if AutoConfig.from_pretrained(folder).vocab_size != _config(job).get_text_config().vocab_size:
                raise HarnessError("ppo.value = 'reward' needs a reward model with the policy's tokens: use 'head'")
            self.module = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
        self.module.to(PartialState(cpu=not torch.cuda.is_available()).device)  # that of this process

    def scores(self, model: Any, batch: dict[str, Any]) -> ValuedScores:
        """One forward pass of policy and value model over a batch padded on the right."""
        import torch
        from torch.nn.functional import pad

        width = batch["input_ids"].shape[1] - 1
        mask = batch["labels"][:, 1:] != -100

        def run(inputs: dict[str, Any]) -> list[torch.Tensor]:
            columns = self._run(model, inputs)
            return [pad(column, (0, width - column.shape[1])) for column in columns]

        log_probs, entropy, values = in_groups(batch, run, torch.cat)
        return ValuedScores(log_probs * mask, entropy * mask, values * mask, mask)

    def _run(self, model: Any, inputs: dict[str, Any]) -> list[torch.Tensor]:
        import torch

        named = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        own = self.kind == "head"
        outputs = model(**named, output_hidden_states=own, use_cache=False)
        logps = torch.log_softmax(outputs.logits[:, :-1].float(), -1)
        chosen = logps.gather(-1, inputs["input_ids"][:, 1:, None])[..., 0]
        entropy = -(logps.exp() * logps).sum(-1)
        if own:
            hidden = outputs.hidden_states[-1].to(self.module.weight.dtype)
        else:
            hidden = self.module.base_model(**named, use_cache=False).last_hidden_state
        head = self.module if own else self.module.score
        return [chosen, entropy, head(hidden)[:, :-1, 0].float()]


def _config(job: Job) -> Any:
    from transformers import AutoConfig

    from harness.inference.policy import base_folder

    return AutoConfig.from_pretrained(base_folder(job.inputs["start"] / "policy"))
