"""Scores of a reward model, and log-probabilities of a policy, over many sequences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness import keys
from harness.errors import HarnessError
from harness.inference.batching import in_batches
from harness.inference.opened import device as usual_device
from harness.inference.ready import check_head, check_tokenizer, is_ready, render_whole
from harness.inference.rendering import render_prompt, render_response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from transformers import PreTrainedModel

    from harness.data import Message

IGNORED = -100
"""The label of a token that no model is to predict, as transformers has it."""
UNLIMITED = 2**31
Text = tuple["list[Message]", str]
"""A prompt and a response."""
Name = tuple[str, str]
"""The hash of a prompt, and a response."""
Tokens = tuple[list[int], list[int]]
"""Token ids of a prompt and of a response."""


def pad(
    sequences: Sequence[tuple[list[int], list[int]]], pad_id: int, tensor: Callable[[list[list[int]]], Any]
) -> dict[str, Any]:
    """(prompt ids, response ids) padded on the right; labels are `IGNORED` but on the response.

    Returns:
        `input_ids`, `attention_mask`, `labels`, each (rows, T).
    """
    longest = max(len(prompt) + len(response) for prompt, response in sequences)
    ids, mask, labels = [], [], []
    for prompt, response in sequences:
        gap = longest - len(prompt) - len(response)
        ids.append(prompt + response + [pad_id] * gap)
        mask.append([1] * (longest - gap) + [0] * gap)
        labels.append([IGNORED] * len(prompt) + response + [IGNORED] * gap)
    return {"input_ids": tensor(ids), "attention_mask": tensor(mask), "labels": tensor(labels)}


def by_length(sequences: Sequence[tuple[list[int], list[int]]]) -> tuple[list[int], list[int]]:
    """Indices of sequences, from the shortest to the longest, and their tokens by index."""
    sizes = [len(prompt) + len(response) for prompt, response in sequences]
    return sorted(range(len(sequences)), key=sizes.__getitem__), sizes


class RewardModel:
    """A scalar reward model, loaded once: one that the harness has trained, or a ready-made one.

    A trained one reads prompt, response and end token as they were trained on. A ready-made one reads the whole
    conversation as its own chat template writes it.

    Args:
        folder: `<results>/<stage>/reward`.
        device: where it computes; the GPU where there is one, if it is not given.

    Raises:
        HarnessError: it is no scalar reward model, or cannot be asked as one.
    """

    def __init__(self, folder: Path, device: Any = None) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

        self.folder, self.own_template = folder, is_ready(folder)
        config = AutoConfig.from_pretrained(folder)
        check_head(folder, config)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        check_tokenizer(folder, self.tokenizer)
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True
        )
        if loaded["missing_keys"]:  # transformers would fill them with random numbers
            raise HarnessError(f"{folder} is no reward model: it lacks {', '.join(sorted(loaded['missing_keys']))}")
        model.config.get_text_config().pad_token_id = self.tokenizer.pad_token_id
        model.config.use_cache = False  # an encoder's forward pass has no such argument
        self.model = model.to(device or usual_device()).eval()

    @property
    def limit(self) -> int:
        """Tokens that it can read."""
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return min(int(positions or UNLIMITED), int(self.tokenizer.model_max_length))

    def score(self, texts: Sequence[Text], batch: int) -> list[float]:
        """Scores of (prompt, response), in the order given; each distinct pair is scored once.

        The score stands at the last token that is not padding, where the model is no encoder.

        Args:
            texts: prompts and responses.
            batch: sequences at a time.

        Raises:
            HarnessError: a text is longer than it can read.
        """
        sequences = self._rendered(texts)
        long = [n for one in sequences.values() if (n := sum(map(len, one))) > self.limit]
        if long:
            raise HarnessError(
                f"the reward model {self.folder} reads {self.limit} tokens; {len(long)} of {len(sequences)} prompts "
                f"with their responses are longer, the longest {max(long)}"
            )
        found = self._score(sequences, batch)
        return [found[_named(text)] for text in texts]

    def score_readable(self, texts: Sequence[Text], batch: int) -> list[float | None]:
        """Scores in the order given; None for a text that is longer than it can read: nothing is cut in silence."""
        sequences = {name: one for name, one in self._rendered(texts).items() if sum(map(len, one)) <= self.limit}
        found = self._score(sequences, batch)
        return [found.get(_named(text)) for text in texts]

    def lengths(self, texts: Sequence[Text]) -> list[int]:
        """Tokens of each response alone, without an end token."""
        return [len(self.tokenizer(response, add_special_tokens=False)["input_ids"]) for _, response in texts]

    def _rendered(self, texts: Sequence[Text]) -> dict[Name, Tokens]:
        """Token ids of each distinct (prompt, response); a prompt is rendered once."""
        if self.own_template:
            return {name: (render_whole(self.tokenizer, *text), []) for name, text in _distinct(texts)}
        prompts: dict[str, list[int]] = {}
        found = {}
        for name, (prompt, response) in _distinct(texts):
            if name[0] not in prompts:
                prompts[name[0]] = render_prompt(self.tokenizer, prompt)
            found[name] = (prompts[name[0]], render_response(self.tokenizer, response))
        return found

    def _score(self, sequences: dict[Name, Tokens], batch: int) -> dict[Name, float]:
        import torch

        names, distinct = list(sequences), list(sequences.values())

        def scored(chosen: list[int]) -> list[float]:
            inputs = pad([distinct[i] for i in chosen], cast(int, self.tokenizer.pad_token_id), torch.tensor)
            del inputs["labels"]
            inputs = {name: value.to(self.model.device) for name, value in inputs.items()}
            return cast("list[float]", self.model(**inputs).logits.squeeze(-1).tolist())

        with torch.inference_mode():
            found = in_batches(*by_length(distinct), batch, scored)
        return {names[i]: value for i, value in found.items()}


def _named(text: Text) -> Name:
    return keys.key(text[0]), text[1]


def _distinct(texts: Sequence[Text]) -> list[tuple[Name, Text]]:
    return list({_named(text): text for text in texts}.items())


def score(folder: Path, texts: Sequence[Text], batch: int) -> list[float]:
    """Scores of (prompt, response) by the reward model in a folder; see `RewardModel`."""
    return RewardModel(folder).score(texts, batch)


def sequence_logp(
    model: PreTrainedModel, sequences: list[tuple[list[int], list[int]]], pad_id: int, batch: int
) -> list[float]:
    """Log π(response | prompt) of (prompt ids, response ids), summed over tokens, in nats, in the order given."""
    import torch

    def summed(chosen: list[int]) -> list[float]:
        return _sums(*_token_logps(model, [sequences[i] for i in chosen], pad_id))

    with torch.inference_mode():
        found = in_batches(*by_length(sequences), batch, summed)
    return [found[i] for i in range(len(sequences))]


def token_logp(
    model: PreTrainedModel, sequences: list[tuple[list[int], list[int]]], pad_id: int, batch: int
) -> list[list[float]]:
    """Log π of each response token of (prompt ids, response ids), in nats, in the order given."""
    import torch

    def split(chosen: list[int]) -> list[list[float]]:
        logps, labels = _token_logps(model, [sequences[i] for i in chosen], pad_id)
        return [row.tolist() for row in torch.split(logps, (labels != IGNORED).sum(1).tolist())]

    with torch.inference_mode():
        found = in_batches(*by_length(sequences), batch, split)
    return [found[i] for i in range(len(sequences))]


def divergence(
    policy: PreTrainedModel,
    start: PreTrainedModel,
    sequences: list[tuple[list[int], list[int]]],
    pad_id: int,
    batch: int,
) -> tuple[list[float], list[float]]:
    """Over each sequence's response tokens: Σ_t KL(π(·|s_t) ‖ start(·|s_t)) and Σ_t H(π(·|s_t)), in nats.

    Over the policy's own samples the first is an unbiased estimate of the KL of sequences with less variance than
    log-ratios have (Rao-Blackwellised: Amini et al. 2025, arXiv 2504.10637), and never negative.
    """
    import torch

    def measured(chosen: list[int]) -> list[tuple[float, float]]:
        inputs, labels = _inputs(policy, [sequences[i] for i in chosen], pad_id)
        own = _response_logps(policy, inputs, labels)
        other = own if start is policy else _response_logps(start, inputs, labels)
        gaps = _sums((own.exp() * (own - other)).sum(-1), labels)
        entropies = _sums(-(own.exp() * own).sum(-1), labels)
        return [(max(gap, 0.0), max(spread, 0.0)) for gap, spread in zip(gaps, entropies, strict=True)]  # rounding

    with torch.inference_mode():
        found = in_batches(*by_length(sequences), batch, measured)
    return [found[i][0] for i in range(len(sequences))], [found[i][1] for i in range(len(sequences))]


def _token_logps(
    model: PreTrainedModel, sequences: list[tuple[list[int], list[int]]], pad_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log π of every response token of a batch (N,), row after row, and the labels that say where each row ends."""
    inputs, labels = _inputs(model, sequences, pad_id)
    wanted = labels[labels != IGNORED][:, None]
    return _response_logps(model, inputs, labels).gather(1, wanted.to(model.device))[:, 0], labels


def _inputs(
    model: PreTrainedModel, sequences: list[tuple[list[int], list[int]]], pad_id: int
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A model's inputs, and the token that each position is to predict (rows, T - 1)."""
    import torch

    inputs = {name: value.to(model.device) for name, value in pad(sequences, pad_id, torch.tensor).items()}
    return inputs, inputs.pop("labels")[:, 1:]


def _response_logps(model: PreTrainedModel, inputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    """Log π of the whole vocabulary at every response token of a batch, float32 (N, V).

    Logits are computed from the first position at which any response begins, and only the rows of response tokens
    become float32: with a large vocabulary they are what fills the memory.
    """
    import torch

    wanted = labels != IGNORED
    first = int(wanted.any(0).nonzero()[0])
    logits = model(**inputs, use_cache=False, logits_to_keep=labels.shape[1] + 1 - first).logits[:, :-1]
    return torch.log_softmax(logits[wanted[:, first:]].float(), -1)


def _sums(values: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """Values of all response tokens of a batch (N,), summed within each row in float64."""
    import torch

    rows = (labels != IGNORED).nonzero()[:, 0].cpu()
    sums = torch.zeros(len(labels), dtype=torch.float64).index_add_(0, rows, values.double().cpu())
    return [float(value) for value in sums.tolist()]
