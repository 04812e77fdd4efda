"""One tokenisation, one length rule and one mismatch rule for every algorithm."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.inference.rendering import check_templates, render_prompt, render_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from harness.data import Row
    from harness.job import Budget

TEXTS = {
    "demonstrations": ("response",),
    "pairs": ("chosen", "rejected"),
    "binary": ("response", "partner"),
    "judgments": ("response",),
    "rankings": ("responses",),
}
"""The fields of a view that hold a response, or several."""


class Encoder:
    """Token ids of prompts and responses; each distinct text is rendered once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._prompts: dict[str, list[int]] = {}
        self._responses: dict[str, list[int]] = {}
        special = {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._control = special | dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))

    def prompt(self, row: Row) -> list[int]:
        """Token ids of a row's prompt, ready to be answered."""
        if row["prompt_id"] not in self._prompts:
            self._prompts[row["prompt_id"]] = render_prompt(self.tokenizer, row["prompt"])
        return self._prompts[row["prompt_id"]]

    def response(self, text: str) -> list[int]:
        """Token ids of a response with its end token."""
        if text not in self._responses:
            self._responses[text] = render_response(self.tokenizer, text)
        return self._responses[text]

    def control(self, ids: list[int], *texts: str) -> str:
        """A control token that a text among these ids spells out, such as `</s>`; empty where there is none.

        The tokenizer cannot tell it from its own: a response would end in its middle, a prompt would open a turn.
        """
        found = (self._control[number] for number in self._control.keys() & set(ids))
        return next((name for name in sorted(found) if any(name in text for text in texts)), "")

    def control_of(self, row: Row, view: str) -> str:
        """A control token that a row's prompt or one of its responses spells out; empty where there is none."""
        prompt = self.control(self.prompt(row), *(turn["content"] for turn in row["prompt"]))
        return prompt or next(filter(None, (self.control(self.response(t)[:-1], t) for t in _texts(row, view))), "")


def with_partners(rows: Sequence[Row]) -> list[Row]:
    """Labelled rows, each with `partner`: a response to another prompt, fixed by a hash of the rows' ids.

    KTO's reference point needs mismatched (prompt, response) pairs. TRL rotates the responses inside a batch, so
    its estimate depends on order and batch size; a partner that belongs to the row does not. The rows are put in
    the order of their ids' hashes, and each takes the response of the next row that has another prompt.
    """
    ring = sorted(rows, key=lambda row: hashlib.sha256(str(row["id"]).encode()).digest())
    partners: dict[str, str] = {}
    for place, row in enumerate(ring):
        others = (ring[(place + ahead) % len(ring)] for ahead in range(1, len(ring)))
        other = next((other for other in others if other["prompt_id"] != row["prompt_id"]), None)
        if other is None:
            raise HarnessError("labelled responses to a single prompt have no mismatched partner, which kto needs")
        partners[row["id"]] = other["response"]
    return [{**row, "partner": partners[row["id"]]} for row in rows]


class NoneFits(HarnessError):
    """Of some rows not one is short enough."""


def check_fit(encoder: Encoder, rows: Sequence[Row], view: str, budget: Budget) -> None:
    """Whether any row is short enough; the first one that is ends the search.

    Raises:
        NoneFits: none is.
    """
    if not any(_fits(encoder, row, view, budget) for row in rows):
        raise _none_fits(encoder, rows, view, budget)


def _none_fits(encoder: Encoder, rows: Sequence[Row], view: str, budget: Budget) -> NoneFits:
    spelt = list(filter(None, (encoder.control_of(row, view) for row in rows)))
    response = f" and max_response_tokens = {budget.max_response_tokens}" if view != "prompts" else ""
    limits = f"max_prompt_tokens = {budget.max_prompt_tokens}{response}"
    told = f"; {len(spelt)} of them spell out a control token, such as {spelt[0]!r}, in their text" if spelt else ""
    return NoneFits(f"none of {len(rows)} {'prompts' if view == 'prompts' else f'rows of {view}'} fits {limits}{told}")


def fitting(encoder: Encoder, rows: Sequence[Row], view: str, budget: Budget) -> tuple[list[Row], int]:
    """Rows of the prompts that fit the budget's lengths, and how many rows were left out.

    A prompt is left out whole, with all its rows, where the prompt or any of its responses is too long, or spells out
    a control token: nothing is ever cut, and no algorithm trains on a prompt that another one could not take.

    Raises:
        NoneFits: nothing is left.
        HarnessError: the chat template cannot be trusted.
    """
    check_templates(encoder.tokenizer, rows)
    unfit = {row["prompt_id"] for row in rows if not _fits(encoder, row, view, budget)}
    kept = [row for row in rows if row["prompt_id"] not in unfit]
    if not kept:
        raise _none_fits(encoder, rows, view, budget)
    return kept, len(rows) - len(kept)


def fitting_prompts(encoder: Encoder, rows: Sequence[Row], budget: Budget) -> tuple[list[Row], int]:
    """Prompts that fit the budget's length and spell out no control token, and how many were left out.

    Raises:
        NoneFits: nothing is left.
        HarnessError: the chat template cannot be trusted.
    """
    check_templates(encoder.tokenizer, rows)
    kept = [row for row in rows if _fits(encoder, row, "prompts", budget)]
    if not kept:
        raise _none_fits(encoder, rows, "prompts", budget)
    return kept, len(rows) - len(kept)


def _fits(encoder: Encoder, row: Row, view: str, budget: Budget) -> bool:
    if len(encoder.prompt(row)) > budget.max_prompt_tokens:
        return False
    short = all(len(encoder.response(text)) <= budget.max_response_tokens for text in _texts(row, view))
    return short and not encoder.control_of(row, view)


def _texts(row: Row, view: str) -> list[str]:
    """The responses that a row of a view holds."""
    own = [row[name] for name in TEXTS.get(view, ()) if name != "partner"]
    return [text for value in own for text in ([value] if isinstance(value, str) else value)]


def order(count: int, needed: int, seed: int) -> list[int]:
    """Which rows are used, in order: a fresh seeded permutation for each pass over the data.

    Args:
        count: rows that there are.
        needed: rows that the budget uses, over all steps.
        seed: the replicate's seed for `order`.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    passes = [random.permutation(count) for _ in range(-(-needed // count))]
    return [int(i) for i in np.concatenate(passes)[:needed]]


def grouped(indices: list[int], lengths: Sequence[int], batch: int, seed: int) -> list[int]:
    """The same rows in batches of like length, the batches in random order: less padding, for pretraining.

    Args:
        indices: rows in order, a whole number of batches.
        lengths: tokens of each row.
        batch: rows of a batch.
        seed: of the order of the batches.
    """
    import numpy as np

    ranked = sorted(indices, key=lambda i: lengths[i])
    batches = [ranked[first : first + batch] for first in range(0, len(ranked), batch)]
    return [i for place in np.random.default_rng(seed).permutation(len(batches)) for i in batches[place]]
