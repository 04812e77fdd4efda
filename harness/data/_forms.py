"""Prompts and responses in the forms that people write them in, brought to one: messages and a text."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from harness.data import Message

ROLES = {
    "user": "user", "human": "user", "prompter": "user", "assistant": "assistant", "gpt": "assistant",
    "bot": "assistant", "model": "assistant", "chatgpt": "assistant", "system": "system",
}  # fmt: skip
_STEERED = re.compile(r"\s*<extra_id_1>(User|Assistant)\n")
_GAP = r"(?:\r?\n){2}"
_TURN = re.compile(rf"(?:\A|{_GAP})(Human|Assistant): ?")
_ANSWERED = re.compile(rf"{_GAP}Assistant:")
_UNANSWERED = re.compile(rf"{_GAP}Assistant:\s*\Z")
_LIKE_MESSAGES = re.compile(r"\[?\s*\{\s*(['\"])(?:role|from|content|value)\1\s*:")
_INNER = ("text", "content", "value", "response", "completion", "output", "answer", "messages", "conversations")
"""What the text of a response is called where it stands beside its score, the first that is there."""


class BadRow(ValueError):
    """A row that cannot be used, and why."""


class Unclear(BadRow):
    """A row that could be read in two ways; the recipe has to say which, whatever it does with bad rows."""


def text(value: object, name: str) -> str:
    """A text that is not empty and can be written as UTF-8.

    Raises:
        BadRow: it is something else.
    """
    if value is None:
        raise BadRow(f"{name} is null")
    if not isinstance(value, str):
        raise BadRow(f"{name} is a {type(value).__name__}, {short(value)}; it must be text")
    if not value.strip():
        raise BadRow(f"{name} is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadRow(f"{name} has broken Unicode (half a surrogate pair at character {error.start})") from error
    return value


def conversation(value: object, name: str) -> list[Message]:
    """Messages from plain text, a list of messages, or a transcript.

    Plain text is one turn of the user. A list has `role` and `content`, or `from` and `value` (sharegpt), and may
    stand as JSON in a text. A text that begins with `Human:` and has an `Assistant:` is a transcript; an `Assistant:`
    with nothing after it is left out.

    Raises:
        BadRow: it is none of these, or has an empty turn.
    """
    value = messages_in(value, name)
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list):
        return [_message(item, f"{name}[{place}]") for place, item in enumerate(value)] or _empty(name)
    whole = text(value, name)
    if is_transcript(whole):
        return transcript(whole, name)
    said = _STEERED.split(whole)  # HelpSteer's turns; without them there is one part, the user's
    roles = ["user", *(ROLES[who.lower()] for who in said[1::2])]
    return [{"role": role, "content": text(part, name)} for role, part in zip(roles, said[::2], strict=True)]


def messages_in(value: object, name: str) -> object:
    """The messages that stand as JSON in a text; anything else as it is, for other texts may begin with a bracket.

    Raises:
        BadRow: it is messages as Python prints them, or as JSON that is cut.
    """
    whole = value.strip() if isinstance(value, str) else ""
    if not whole.startswith(("[", "{")):
        return value
    try:
        found = json.loads(whole)
    except RecursionError:
        return value
    except ValueError as error:
        like = _LIKE_MESSAGES.match(whole)
        if like and (like[1] == "'" or "Unterminated" in str(error)) and _names_turns(re.findall(r"\w+", whole)):
            raise BadRow(f"{name} looks like messages, but is no JSON ({error}); write it with json.dumps") from error
        return value
    items = found if isinstance(found, list) else [found]
    return items if items and all(isinstance(item, dict) and _names_turns(item) for item in items) else value


def _names_turns(words: Iterable[str]) -> bool:
    return any(pair <= set(words) for pair in ({"role", "content"}, {"from", "value"}))


def is_transcript(whole: str) -> bool:
    """Whether a text is `Human: ... Assistant: ...`."""
    return whole.lstrip().startswith("Human:") and bool(_ANSWERED.search(whole))


def almost_transcript(value: object) -> bool:
    """Whether turns that have a name each stand on lines of their own with no empty line between."""
    return unanswered(value) and "\nAssistant:" in str(value)


def unanswered(value: object) -> bool:
    """Whether a text begins as a transcript and has no turn of the assistant's, not even an empty one."""
    return isinstance(value, str) and value.lstrip().startswith("Human:") and not is_transcript(value)


def transcript(whole: str, name: str) -> list[Message]:
    """The turns of `Human: ... Assistant: ...`."""
    parts = _TURN.split(whole.strip())[1:]
    turns = [(parts[i], parts[i + 1].strip()) for i in range(0, len(parts), 2)]
    if turns and turns[-1] == ("Assistant", ""):
        turns.pop()
    return [{"role": ROLES[who.lower()], "content": text(said, f"{name}'s {who} turn")} for who, said in turns]


def prompt_of(value: object, name: str) -> list[Message]:
    """A prompt: messages that end with the user's turn.

    Raises:
        BadRow: it ends otherwise, or a system turn is not the first.
    """
    found = conversation(value, name)
    if found[-1]["role"] != "user":
        raise BadRow(f"{name} ends with a turn of the {found[-1]['role']}; a prompt ends with the user's")
    if any(message["role"] == "system" for message in found[1:]):
        raise BadRow(f"{name} has a system turn that is not the first")
    return found


def response_of(value: object, name: str) -> tuple[list[Message], str]:
    """A response, and the messages that stand before it where it comes as a whole conversation.

    Raises:
        BadRow: it is no text, or the conversation does not end with the assistant's turn.
    """
    value = messages_in(value, name)
    if isinstance(value, dict) and not {"role", "from"} & set(value):
        return _inner(value, name)
    if value is None:
        raise BadRow(f"{name} is null")
    if isinstance(value, str) and not is_transcript(value):
        return [], text(value, name)
    if isinstance(value, str) and _UNANSWERED.search(value):
        raise BadRow(f"{name} is empty: nothing stands after the last 'Assistant:'")
    turns = conversation(value, name)
    if turns[-1]["role"] != "assistant":
        raise BadRow(f"{name} ends with a turn of the {turns[-1]['role']}; a response is the assistant's")
    return turns[:-1], turns[-1]["content"]


def _inner(value: dict[str, Any], name: str) -> tuple[list[Message], str]:
    """The response in an object that holds more, such as its score."""
    key = next((key for key in _INNER if key in value), "")
    if not key:
        raise BadRow(f"{name} is an object without a response (keys: {', '.join(value)}; known: {', '.join(_INNER)})")
    if isinstance(value[key], list):
        return response_of(value[key], f"{name}.{key}")
    return [], text(value[key], name)


def number(value: object, name: str) -> Fraction:
    """A score as it is written, in decimals; the mean of several annotators'. Exact, so that equal means are equal.

    Raises:
        BadRow: it is no finite number.
    """
    if isinstance(value, list) and value:
        return sum((number(item, name) for item in value), Fraction(0)) / len(value)
    given = math.nan
    if isinstance(value, int | float | Decimal | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            given = float(value)
    if not math.isfinite(given):
        raise BadRow(f"{name} is {short(value)}; it must be a finite number")
    return Fraction(str(given))


def label(value: object, name: str) -> bool:
    """True where a response is good: true, 1, 'good'; false, 0, -1, 'bad'.

    Raises:
        BadRow: it is something else.
    """
    known = {
        "true": True, "1": True, "1.0": True, "good": True, "desirable": True, "yes": True, "chosen": True,
        "false": False, "0": False, "0.0": False, "-1": False, "bad": False, "undesirable": False, "no": False,
        "rejected": False,
    }  # fmt: skip
    found = known.get(str(value).strip().lower()) if not isinstance(value, list | dict) else None
    if found is None:
        raise BadRow(f"{name} is {short(value)}; a label is true or false, 1 or 0, good or bad")
    return found


def listed(value: Any) -> Any:
    """A list where one stands as JSON in a text, as in a cell of a CSV; anything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


def _message(item: object, name: str) -> Message:
    if not isinstance(item, dict):
        raise BadRow(f"{name} is {short(item)}; a message has role and content")
    who = item.get("role", item.get("from"))
    role = ROLES.get(str(who).lower())
    if role is None:
        raise BadRow(f"{name} has role {short(who)} (known: {', '.join(ROLES)})")
    return {"role": role, "content": text(item.get("content", item.get("value")), f"{name}.content")}


def _empty(name: str) -> Any:
    raise BadRow(f"{name} is empty")


def short(value: object) -> str:
    """A value as a message shows it."""
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."
