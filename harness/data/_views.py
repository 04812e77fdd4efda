"""A record of a file to a row of a view: which columns, and what makes a row bad."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
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
    unanswered,
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
    "rankings": {**TALK, "responses": ("responses", "completions"), "scores": ("scores",)},
    "graded": {
        **TALK, "responses": ("responses", "completions"), "scores": ("scores",), "response": RESPONSE[:4],
        "score": ("score", "overall_score", "helpfulness"),
    },
    "judgments": {**SHARED, "response": RESPONSE, "judgment": ("judgment", "critique", "feedback")},
}  # fmt: skip
"""The fields of each view, and the columns that are looked for where the recipe names none, the first that is there."""

LISTS = ("responses", "scores", "score", "preference", "label")
"""Fields that may be lists, which stand in a CSV as JSON."""

SPOKEN = ("prompt", "response", "responses", "chosen", "rejected", "first", "second")
"""Fields whose texts may be transcripts."""

ORDERS = {"rank": 1, "ranks": 1, "ratings": -1}
"""What may say in which order responses are, and whether it rises or falls from the best on."""

BEFORE = "the conversation before the response"

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
        return {field: name for field, name in names.items() if name and name in record}

    def names(self, record: dict[str, Any]) -> set[str]:
        """The names of a record that a recipe may give for a field: columns, and what graded responses have."""
        self.record = record
        inside = self._get("responses")[0] if self.view == "graded" and self._has("responses") else None
        items = inside if isinstance(inside, list) else []
        return set(record) | {key for item in items if isinstance(item, dict) for key in item}

    def _name(self, field: str) -> str:
        """The column of a field; empty where there is none."""
        if field in self.columns:
            return self.columns[field]
        return next((name for name in FIELDS[self.view][field] if name in self.record), "")

    def _has(self, field: str) -> bool:
        name = self._name(field)
        return bool(name) and name in self.record  # a CSV may have a column without a name

    def _get(self, field: str) -> tuple[Any, str]:
        name = self._name(field)
        if not self._has(field):
            known = " or ".join(FIELDS[self.view][field])
            looked = f"{NO_COLUMN} '{name}'" if name else f"no {field}: {NO_COLUMN} {known}"
            raise BadRow(f"has {looked} (columns: {', '.join(self.record)}){nearest(name or field, self.record)}")
        value = self.record[name]
        return (listed(value) if field in LISTS else value), name

    def _prompt(self, before: list[Message]) -> list[Message]:
        """All that a response answers: the system turn, the prompt's column, and the conversation before the response.

        Of the prompt's column and the conversation one has to end with the other; the longer one is the prompt.
        """
        before = prompt_of(before, BEFORE) if before else []
        if not before:
            self._check_transcripts()
        asked = before if before and not self._has("prompt") else self._asked()
        asked = self._with_input(asked, before)
        less, more = sorted((asked, before), key=len)
        if less != more[len(more) - len(less) :]:
            name = self._name("prompt")
            raise BadRow(
                f"{BEFORE} does not end with {name}, nor {name} with it; columns = {{prompt = ''}} leaves {name} out "
                "and takes the conversation"
            )
        return [*self._system(more), *more]

    def _asked(self) -> list[Message]:
        """The prompt's own column."""
        value, name = self._get("prompt")
        if self.view == "prompts" and isinstance(value, list) and value and isinstance(value[0], str):
            value = value[0]  # MT-Bench's turns are all the user's
        return prompt_of(value, name)

    def _check_transcripts(self) -> None:
        """Refuse a text that was meant as a transcript, as it seems; beside a prompt only texts that are read count."""
        asked = self._has("prompt")
        read = [self._name(field) for field in SPOKEN if field in FIELDS[self.view] and self._has(field)]
        names = read if asked else list(self.record)
        values = {name: listed(self.record.get(name)) for name in names}
        texts = {name: one if isinstance(one, list) else [one] for name, one in values.items()}
        if name := next((name for name, own in texts.items() if any(map(almost_transcript, own))), ""):
            raise BadRow(
                f"{'' if asked else 'has no prompt, and '}{name} is no transcript: an empty line has to stand before "
                "each 'Assistant:' and each later 'Human:'"
            )
        if asked and unanswered(self._get("prompt")[0]):
            raise BadRow(
                f"{self._name('prompt')} begins with 'Human:' and has no 'Assistant:', so it is neither a transcript "
                "nor plain text; end it with an empty line and 'Assistant:', or take 'Human:' away"
            )

    def _with_input(self, asked: list[Message], before: list[Message]) -> list[Message]:
        """The prompt with the input behind it, but where the conversation before the response has the input."""
        if not self._has("input") or not self._get("input")[0]:
            return asked
        added = text(*self._get("input"))
        joined = [*asked[:-1], {**asked[-1], "content": f"{asked[-1]['content']}\n\n{added}"}]
        if not before or joined[-1] == before[-1]:
            return joined
        if added not in before[-1]["content"]:
            name = self._name("input")
            raise BadRow(
                f"{BEFORE} lacks {name}, {short(added)}; put it into the user's last turn, or leave it out: columns = "
                "{input = ''}"
            )
        return asked

    def _system(self, asked: list[Message]) -> list[Message]:
        """The system turn, where the recipe names its column: in some data `system` is who wrote the response."""
        value = self._get("system")[0] if self._has("system") else None
        own = asked[0]["content"] if asked[0]["role"] == "system" else None
        if not value or value == own:
            return []
        if "system" not in self.columns:
            raise Unclear(
                f"has a column 'system' ({short(value)}), which may be a system turn or the system that wrote the "
                "response; say columns = {system = 'system'} for a turn, or {system = ''} to leave it out"
            )
        name = self._name("system")
        if own is not None:
            raise BadRow(
                f"has two system turns, {name} and one in the prompt ({short(own)}); columns = {{system = ''}} leaves "
                f"{name} out"
            )
        return [{"role": "system", "content": text(value, name)}]

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
        before, responses = self._several()
        if len(set(responses)) < max(2, len(responses)):
            raise BadRow("a ranking needs two responses or more, all different")
        if any(a <= b for a, b in pairwise(self._beside())):
            raise BadRow(
                "has scores that do not fall from each response to the next, so the first is not the best; name the "
                "file as graded, and say rankings = 'from graded'"
            )
        self._check_ranks(len(responses))
        return {"prompt": self._prompt(before), "responses": responses}

    def _ranks(self) -> Iterator[tuple[str, int, Any]]:
        """What may say in which order responses are: its name, which way it goes, and one of it for each response.

        Numbers beside the responses under a name that nobody knows may be scores.
        """
        for name, way in ORDERS.items():
            yield name, way, listed(self.record.get(name))
        items, column = self._get("responses")
        beside = items[0] if isinstance(items[0], dict) else {}
        for name in (name for name in beside if name not in FIELDS["graded"]["score"]):
            found = [item.get(name) for item in items if isinstance(item, dict)]
            yield f"'{name}' in {column}", ORDERS.get(name, -1), found

    def _check_ranks(self, count: int) -> None:
        """Refuse ranks in another order than the responses', where the recipe names no scores."""
        for name, way, found in self._ranks() if "scores" not in self.columns else ():
            ranks = found if isinstance(found, list) and len(found) == count else []
            numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in ranks)
            if numbers and any(way * (b - a) <= 0 for a, b in pairwise(ranks)):
                raise BadRow(
                    f"{name} ({short(ranks)}) does not {'rise' if way > 0 else 'fall'} from each response to the next, "
                    "so the first is not the best; bring the responses into their order, or name the file as graded, "
                    "where a higher score is better, and say rankings = 'from graded'; columns = {scores = ''} passes "
                    "over it"
                )

    def _graded(self) -> Row:
        if not self._has("responses"):
            one = self._one()
            return {**one, "grades": [(one["response"], number(*self._get("score")))]}
        before, texts = self._several()
        return {"prompt": self._prompt(before), "grades": list(zip(texts, self._scores(len(texts)), strict=True))}

    def _scores(self, count: int) -> list[Fraction]:
        """A score for each response, from their own column or beside each."""
        if not self._has("scores"):
            value, name = self._get("responses")
            return [self._score_in(item, f"{name}[{place}]") for place, item in enumerate(value)]
        scores, name = self._get("scores")
        if not isinstance(scores, list) or len(scores) != count:
            raise BadRow(f"{name} must be a list of {count} scores, one for each response")
        return [number(score, name) for score in scores]

    def _score_in(self, item: object, where: str) -> Fraction:
        names = (self.columns["score"],) if self.columns.get("score") else FIELDS["graded"]["score"]
        own = item if isinstance(item, dict) else {}
        name = next((name for name in names if name in own), "")
        if not name:
            keys_told = f" (keys: {', '.join(own)})" if own else ""
            raise BadRow(f"{where} has no {' or '.join(names)}{keys_told}, and there is no column scores")
        return number(own[name], f"{where}.{name}")

    def _beside(self) -> Iterator[Fraction]:
        """Scores that stand beside the responses of a ranking."""
        if self._has("scores"):
            found = self._get("scores")[0]
        else:
            names = FIELDS["graded"]["score"]
            items = [item for item in self._get("responses")[0] if isinstance(item, dict)]
            found = [next((item[name] for name in names if name in item), None) for item in items]
        return (number(one, "score") for one in (found if isinstance(found, list) else []) if one is not None)

    def _several(self) -> tuple[list[Message], list[str]]:
        """What stands before each of several responses, which has to be the same, and the responses."""
        value, name = self._get("responses")
        if not isinstance(value, list) or not value:
            raise BadRow(f'{name} is {short(value)}; it must be a list of responses, in a CSV as JSON: ["a", "b"]')
        found = [response_of(item, f"{name}[{place}]") for place, item in enumerate(value)]
        if any(before != found[0][0] for before, _ in found):
            raise BadRow(f"{name} do not answer the same prompt")
        return found[0][0], [response for _, response in found]
