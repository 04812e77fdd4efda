"""A record of a file to a row of a view: which columns, and what makes a row bad."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from harness import keys
from harness.data import Message, Row
from harness.data._bad import NO_COLUMN
from harness.data._forms import (
    BadRow,
    Unclear,
    almost_transcript,
    label,
    listed,
    number,
    prompt_of,
    response_of,
    short,
    text,
)
from harness.errors import nearest

PROMPT = ("prompt", "instruction", "question", "query")
RESPONSE = ("response", "completion", "output", "answer", "messages", "conversations")
SHARED: dict[str, tuple[str, ...]] = {"prompt": PROMPT, "input": ("input",), "system": ("system",)}
TALK = {**SHARED, "prompt": (*PROMPT, "conversations", "messages")}
FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "prompts": {**TALK, "prompt": (*PROMPT, "turns", "messages", "conversations")},
    "demonstrations": {**SHARED, "response": RESPONSE},
    "pairs": {
        **TALK, "chosen": ("chosen",), "rejected": ("rejected",),
        "first": ("response_a", "first"), "second": ("response_b", "second"), "preference": ("preference", "winner"),
    },
    "binary": {**SHARED, "response": RESPONSE, "label": ("label", "is_correct")},
    "rankings": {**TALK, "responses": ("responses", "completions")},
    "graded": {
        **TALK, "responses": ("responses", "completions"), "scores": ("scores",), "response": RESPONSE[:4],
        "score": ("score", "overall_score", "helpfulness"),
    },
    "judgments": {**SHARED, "response": RESPONSE, "judgment": ("judgment", "critique", "feedback")},
}  # fmt: skip
"""The fields of each view, and the columns that are looked for where the recipe names none, the first that is there."""

LISTS = ("responses", "scores", "score", "preference", "label")
"""Fields that may be lists, which stand in a CSV as JSON."""

VOTES = {
    "first": 1, "a": 1, "response_a": 1, "model_a": 1, "second": -1, "b": -1, "response_b": -1, "model_b": -1,
    "tie": 0, "equal": 0, "neither": 0, "both": 0,
}  # fmt: skip


class Reader:
    """Values of one record by field.

    Args:
        view: a key of `FIELDS`.
        columns: columns by field, as the recipe gives them.
    """

    def __init__(self, view: str, columns: Mapping[str, str]) -> None:
        self.view, self.columns, self.record = view, columns, dict[str, Any]()

    def row(self, record: dict[str, Any]) -> Row:
        """The row of a record, with `prompt_id` and `prompt`.

        Raises:
            BadRow: it cannot be used, and why.
        """
        self.record = record
        made: Row = getattr(self, f"_{self.view}")()
        return {"prompt_id": keys.key([dict(message) for message in made["prompt"]]), **made}

    def understood(self, record: dict[str, Any]) -> dict[str, str]:
        """The columns of a record that are read, by field."""
        self.record = record
        names = {field: self._name(field) for field in FIELDS[self.view]}
        return {field: name for field, name in names.items() if name in record}

    def _name(self, field: str) -> str:
        """The column of a field; empty where there is none."""
        if field in self.columns:
            return self.columns[field]
        return next((name for name in FIELDS[self.view][field] if name in self.record), "")

    def _has(self, field: str) -> bool:
        return self._name(field) in self.record

    def _get(self, field: str) -> tuple[Any, str]:
        name = self._name(field)
        if name not in self.record:
            known = " or ".join(FIELDS[self.view][field])
            looked = f"{NO_COLUMN} '{name}'" if name else f"no {field}: {NO_COLUMN} {known}"
            raise BadRow(f"has {looked} (columns: {', '.join(self.record)}){nearest(name or field, self.record)}")
        value = self.record[name]
        return (listed(value) if field in LISTS else value), name

    def _prompt(self, before: list[Message]) -> list[Message]:
        """The prompt's own column, or what stands before the response in a whole conversation."""
        if before and not self._has("prompt"):
            return prompt_of(before, "the conversation before the response")
        name = next((name for name, value in self.record.items() if almost_transcript(value)), "")
        if name and not self._has("prompt"):
            raise BadRow(
                f"has no prompt, and {name} is no transcript: an empty line has to stand before each 'Assistant:' and "
                "each later 'Human:'"
            )
        value, name = self._get("prompt")
        if self.view == "prompts" and isinstance(value, list) and value and isinstance(value[0], str):
            value = value[0]  # MT-Bench's turns are all the user's
        found = prompt_of(value, name)
        if before:
            if before[-1]["content"] != found[-1]["content"]:
                raise BadRow(f"the conversation of a response does not end with {name}")
            return prompt_of(before, "the conversation before the response")
        if self._has("input") and self._get("input")[0]:
            added = text(*self._get("input"))
            found = [*found[:-1], {**found[-1], "content": f"{found[-1]['content']}\n\n{added}"}]
        return [*self._system(), *found]

    def _system(self) -> list[Message]:
        """The system turn, where the recipe names its column: in some data `system` is who wrote the response."""
        value = self._get("system")[0] if self._has("system") else None
        if not value:
            return []
        if "system" not in self.columns:
            raise Unclear(
                f"has a column 'system' ({short(value)}), which may be a system turn or the system that wrote the "
                "response; say columns = {system = 'system'} for a turn, or {system = ''} to leave it out"
            )
        return [{"role": "system", "content": text(value, self._name("system"))}]

    def _one(self) -> Row:
        before, response = response_of(*self._get("response"))
        return {"prompt": self._prompt(before), "response": response}

    def _prompts(self) -> Row:
        return {"prompt": self._prompt([])}

    def _demonstrations(self) -> Row:
        return self._one()

    def _binary(self) -> Row:
        value, name = self._get("label")
        labels = [label(item, name) for item in (value if isinstance(value, list) and value else [value])]
        return {**self._one(), "votes": sum(1 if good else -1 for good in labels)}

    def _judgments(self) -> Row:
        value, name = self._get("judgment")
        blame = None if value is None or (isinstance(value, str) and not value.strip()) else text(value, name)
        return {**self._one(), "judgment": blame}

    def _pairs(self) -> Row:
        voted = self._has("preference") and not self._has("chosen")
        sides = ("first", "second") if voted else ("chosen", "rejected")
        (before, chosen), (other, rejected) = (response_of(*self._get(side)) for side in sides)
        if before != other:
            raise BadRow(f"{sides[0]} and {sides[1]} do not answer the same prompt")
        if chosen == rejected:
            raise BadRow(f"{sides[0]} and {sides[1]} are equal")
        votes = self._votes() if voted else 1
        return {"prompt": self._prompt(before), "chosen": chosen, "rejected": rejected, "votes": votes}

    def _votes(self) -> int:
        value, name = self._get("preference")
        given = value if isinstance(value, list) and value else [value]
        unknown = [one for one in given if str(one).strip().lower() not in VOTES]
        if unknown:
            raise BadRow(f"{name} is {unknown[0]!r} (known: {', '.join(VOTES)}, or a list of them)")
        return sum(VOTES[str(one).strip().lower()] for one in given)

    def _rankings(self) -> Row:
        responses, scores = self._several(), self._beside()
        if len(set(responses)) < max(2, len(responses)):
            raise BadRow("a ranking needs two responses or more, all different")
        if any(a <= b for a, b in pairwise(scores)):
            raise BadRow(
                "has scores that do not fall from each response to the next, so the first is not the best; name the "
                "file as graded, and say rankings = 'from graded'"
            )
        return {"prompt": self._prompt([]), "responses": responses}

    def _graded(self) -> Row:
        if not self._has("responses"):
            return {**self._one(), "grades": [(self._one()["response"], number(*self._get("score")))]}
        texts = self._several()
        if self._has("scores"):
            scores, named = self._get("scores")
        else:
            (value, name), key = self._get("responses"), self.columns.get("score", "score")
            scores, named = [item.get(key) if isinstance(item, dict) else None for item in value], f"{name}.{key}"
        if not isinstance(scores, list) or len(scores) != len(texts):
            raise BadRow(f"{named} must be a list of {len(texts)} scores, one for each response")
        grades = [(one, number(score, named)) for one, score in zip(texts, scores, strict=True)]
        return {"prompt": self._prompt([]), "grades": grades}

    def _beside(self) -> list[float]:
        """Scores that stand beside the responses of a ranking."""
        value, _ = self._get("responses")
        found = (
            listed(self.record["scores"])
            if "scores" in self.record
            else [item.get("score") for item in value if isinstance(item, dict)]
        )
        return [number(one, "score") for one in found if one is not None] if isinstance(found, list) else []

    def _several(self) -> list[str]:
        value, name = self._get("responses")
        if not isinstance(value, list) or not value:
            raise BadRow(f'{name} is {short(value)}; it must be a list of responses, in a CSV as JSON: ["a", "b"]')
        return [response_of(item, f"{name}[{place}]")[1] for place, item in enumerate(value)]
