"""The words of a comparison: templates, and how answers are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError, nearest

if TYPE_CHECKING:
    from harness.data import Message

FOLDER = Path(__file__).parent / "templates"
FIELDS = ("prompt", "first", "second")
FIRST, SECOND, TIE = "first", "second", "tie"
_VERDICTS = {"A": FIRST, "B": SECOND, "C": TIE}
_MARKED = re.compile(r"\[\[\s*([ABC])\s*\]\]")
_BARE = re.compile(r"\W*([ABC])\W*")


def named_templates() -> list[str]:
    """Names of the templates that come with the harness."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def read_template(name: str, folder: Path) -> str:
    """The text of a template: one that comes with the harness, or a file named from `folder`.

    Raises:
        HarnessError: there is none of that name, or it lacks a field.
    """
    known = named_templates()
    if name in known:
        path = FOLDER / f"{name}.txt"
    else:
        path = folder / name
        if not path.is_file():
            hint = nearest(name, known)
            raise HarnessError(f"there is no template or file '{name}'{hint} (templates: {', '.join(known)})")
    text = path.read_text(encoding="utf-8")
    missing = [f"{{{field}}}" for field in FIELDS if f"{{{field}}}" not in text]
    if missing:
        raise HarnessError(f"template '{name}' lacks {', '.join(missing)}")
    return text


def render(template: str, prompt: list[Message], first: str, second: str) -> str:
    """The template with its fields filled in at once, so that a response that holds a field's name stays as it is."""
    values = {"prompt": _conversation(prompt), "first": first, "second": second}
    return re.sub(r"\{(prompt|first|second)\}", lambda found: values[found[1]], template)


def _conversation(prompt: list[Message]) -> str:
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def verdict(answer: str) -> str:
    """`first`, `second` or `tie`; empty where the answer holds no verdict.

    The last `[[A]]`, `[[B]]` or `[[C]]` counts, since a judge may weigh the others before; else one bare letter.
    """
    marked = _MARKED.findall(answer)
    bare = _BARE.fullmatch(answer.strip())
    letter = marked[-1] if marked else bare[1] if bare else ""
    return _VERDICTS.get(letter, "")
