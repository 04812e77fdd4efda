"""Responses that are surely worse than the one they are made from: what a sound reward model scores lower."""

from __future__ import annotations

import random
from itertools import cycle, islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.data import Dataset, Message

FOREIGN = (
    "gallia est omnis divisa in partes tres quarum unam incolunt belgae aliam aquitani tertiam qui ipsorum lingua "
    "celtae nostra galli appellantur hi omnes lingua institutis legibus inter se differunt"
)
"""Latin, which answers nothing that anybody asks."""

Text = tuple["list[Message]", str]
"""A prompt and a response."""

PROBES = {
    "shuffled": "the response's words in random order",
    "repeated": "the response three times in a row",
    "truncated": "the first half of its words",
    "empty": "no words at all",
    "swapped prompt": "the response under another prompt",
    "copied prompt": "the prompt's last turn as the response",
    "refusal": "a refusal",
    "other language": "as many words of Latin",
}
"""Probes and what they put in place of a chosen response."""
SAME = {"white space": "a space before the response and a new line behind it"}
"""Changes that make no response better or worse."""


def corrupted(dataset: Dataset, own: Text, other: list[Message], name: str) -> dict[str, Text]:
    """Each probe of a chosen response that differs from it.

    Args:
        dataset: for a refusal in its own words.
        own: a prompt and its chosen response.
        other: another prompt.
        name: of the row; it decides the random order.
    """
    prompt, response = own
    pieces = response.split()
    shuffled = random.Random(f"shuffled {name}").sample(pieces, len(pieces))
    found: dict[str, Text] = {
        "shuffled": (prompt, " ".join(shuffled)),
        "repeated": (prompt, " ".join([response] * 3)),
        "truncated": (prompt, " ".join(pieces[: len(pieces) // 2])),
        "empty": (prompt, ""),
        "swapped prompt": (other, response),
        "copied prompt": (prompt, prompt[-1]["content"]),
        "refusal": (prompt, dataset.refusal),
        "other language": (prompt, " ".join(islice(cycle(FOREIGN.split()), len(pieces)))),
    }
    return {probe: text for probe, text in found.items() if text != own}


def unchanged(own: Text) -> dict[str, Text]:
    """Each change of `SAME` of a prompt and its chosen response."""
    prompt, response = own
    return {"white space": (prompt, f" {response}\n")}
