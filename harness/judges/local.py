"""A chat model on this machine as a judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.judges import Asking, Judge, Question
from harness.knobs import Between, OneOf, knob

if TYPE_CHECKING:
    from harness.data import Dataset


@dataclass(frozen=True)
class Local(Judge):
    """Any causal language model with a chat template, through transformers.

    A hub's model is in the key by its name and revision as written, a folder by the content of its files.
    """

    model: str = knob("", doc="hub name or folder")
    revision: str = knob("", doc="commit, tag or branch on the hub; empty: the default branch; of a folder its hash")
    temperature: float = knob(0.0, valid=Between(low=0), doc="sampling temperature; 0 takes the likeliest token")
    max_tokens: int = knob(256, valid=Between(low=1), doc="tokens of an answer")
    precision: str = knob("float32", valid=OneOf(("float32", "bfloat16")), doc="of the weights")

    @classmethod
    def settle(cls, given: Mapping[str, Any], folder: Path, problem: Callable[[str, str], None]) -> dict[str, Any]:
        """A folder as the hash of its files."""
        from harness.data import _shelf

        name = given.get("model")
        own = folder / name if isinstance(name, str) and name else None
        if own is None or not own.is_dir():
            return dict(given)
        try:
            return {**given, "model": "folder", "revision": _shelf.shelve_folder(own, ("config.json", "*.safetensors"))}
        except HarnessError as error:
            problem("model", str(error))
            return dict(given)

    def ask(
        self, questions: list[Question], dataset: Dataset, asking: Asking, note: Callable[[Question, str], None]
    ) -> None:
        """Answer batch by batch, so that what was answered stays when the process ends."""
        from harness.inference.loading import load_chat
        from harness.inference.opened import device
        from harness.inference.rendering import end_token, render_prompt
        from harness.inference.sampling import noise, sample

        model, tokenizer = load_chat(self.model, self.revision, "", False, self.precision)
        model = model.to(device()).eval()
        prompts = [render_prompt(tokenizer, [{"role": "user", "content": one.text}]) for one in questions]
        self._check_lengths([len(ids) for ids in prompts], getattr(model.config, "max_position_embeddings", None))
        order = sorted(range(len(questions)), key=lambda i: len(prompts[i]))
        for first in range(0, len(order), asking.batch):
            chosen = order[first : first + asking.batch]
            found = sample(
                model,
                [prompts[i] for i in chosen],
                [noise("judge", questions[i].id, 0, self.max_tokens) for i in chosen],
                end_id=end_token(tokenizer), pad_id=tokenizer.pad_token_id,
                temperature=self.temperature, batch=asking.batch,
            )  # fmt: skip
            for i, one in zip(chosen, found, strict=True):
                note(questions[i], str(tokenizer.decode(one.token_ids, skip_special_tokens=True)))

    def _check_lengths(self, lengths: list[int], limit: int | None) -> None:
        """Nothing is cut in silence."""
        long = [length for length in lengths if limit is not None and length + self.max_tokens > limit]
        if long:
            raise HarnessError(
                f"judge.model '{self.model}' reads {limit} tokens; {len(long)} of {len(lengths)} questions with "
                f"max_tokens = {self.max_tokens} are longer, the longest {max(long) + self.max_tokens}"
            )
