"""A policy as lm-eval asks it. Imports torch and lm-eval; import it where a stage runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lm_eval.models.huggingface import HFLM

from harness import keys
from harness.errors import HarnessError
from harness.inference.rendering import check_template, prompt_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.data import Message, Row


class PolicyLM(HFLM):  # type: ignore[misc]  # lm-eval ships no types
    """lm-eval's model with this project's rendering, and no answer from a cache.

    With a chat template, lm-eval tokenises the prompt and a choice together and lets a tokenizer add its begin token
    where the template has none; training does neither. Here the prompt is what `render_prompt` gives, and a choice is
    tokenised alone, as `render_response` does.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch: int, chat: bool,
        training: Mapping[str, Sequence[Row]],
    ) -> None:  # fmt: skip
        """Take a loaded policy.

        Args:
            model: in evaluation mode.
            tokenizer: its own.
            batch: requests at a time.
            chat: prompts go through the chat template.
            training: rows by what trains on them, in words, none of whose prompts may be asked.

        Raises:
            HarnessError: there is no template that can be trusted.
        """
        if chat:
            check_template(tokenizer, [{"role": "user", "content": "yes"}])
        self.chat = chat
        self.trained = {keys.key(row["prompt"]): who for who, rows in training.items() for row in rows}
        texts = ((row["prompt"], who) for who, rows in training.items() for row in rows)
        self.trained_text = {prompt[-1]["content"].strip(): who for prompt, who in texts if len(prompt) == 1}
        super().__init__(
            pretrained=model, tokenizer=tokenizer, batch_size=batch, device=str(model.device), backend="causal",
            add_bos_token=False if chat else None,
        )  # fmt: skip

    def apply_chat_template(self, chat_history: list[Message], add_generation_prompt: bool = True) -> str:
        """The prompt as training renders it.

        Raises:
            HarnessError: the document was trained on.
        """
        own = [message for message in chat_history if message["role"] != "assistant"][-1:]
        for asked in (chat_history, own):
            if keys.key(asked) in self.trained:
                self._refuse(own[-1]["content"], self.trained[keys.key(asked)])
        return str(super().apply_chat_template(chat_history, add_generation_prompt))

    def _refuse(self, text: str, who: str) -> None:
        raise HarnessError(
            f"a benchmark overlaps the training data: the document {' '.join(text.split())[:80]!r} is a prompt in "
            f"{who}. Take another task, or take its documents out of the training data"
        )

    def _check(self, requests: list[Any]) -> None:
        if not self.chat:
            for request in requests:
                text = str(request.args[0]).strip()
                if text in self.trained_text:
                    self._refuse(text, self.trained_text[text])

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Token ids of a prompt and of a choice."""
        if not self.chat:
            found: tuple[list[int], list[int]] = super()._encode_pair(context, continuation)
            return found
        return self.tok_encode(context), self.tok_encode(continuation)

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-probability of each choice, in nats, and whether greedy decoding gives it."""
        self._check(requests)
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm)
        return found

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """A response to each prompt."""
        self._check(requests)
        found: list[str] = super().generate_until(requests, disable_tqdm)
        return found

    def hash_of(self, context: str) -> str:
        """The name of a prompt as the policy reads it; see `prompt_hash`."""
        return prompt_hash(list(self.tok_encode(context)))
