"""The `[[judge]]` tables of a recipe."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness import registry
from harness.errors import HarnessError
from harness.judges import Asking
from harness.judges._words import read_template
from harness.knobs import knobs
from harness.public import called
from harness.recipe import JudgePart
from harness.recipe_rewards import without_rule

if TYPE_CHECKING:
    from harness.recipe_reader import Reader

ELSEWHERE = ("source", "label", "prompts", "template")
"""Keys of a judge that are no knobs."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def read_judges(reader: Reader) -> tuple[JudgePart, ...]:
    """All judges; whatever is wrong with them is noted with the reader's problems."""
    found: list[JudgePart] = []
    for place, given in enumerate(reader.tables("judge")):
        source, label, model = given.pop("source", None), given.pop("label", None), given.get("model")
        owner: Any = reader.plugin("judges", source, reader.located.where("judge", place, "source"))
        if owner is None:
            continue
        prompts = _prompts(reader, place, given.pop("prompts", 0))
        template = _template(reader, place, given, owner)
        own = {name: given.pop(name) for name in knobs(Asking) if name in given}
        asking = reader.coerce(Asking, f"judge {source}", _checked_key(reader, place, own), "judge", place)
        settled = _settled(reader, place, given, owner)
        values = reader.coerce(owner, f"judge {source}", settled, "judge", place, also=(*ELSEWHERE, *knobs(Asking)))
        _check(reader, place, str(source), owner, values)
        title = reader.label(label, called(str(model or source)), "judge", place)
        part = JudgePart(str(source), title, values, asking, template, prompts)
        _distinct(reader, place, part, found)
        found.append(part)
    return tuple(found)


def _settled(reader: Reader, place: int, given: dict[str, Any], owner: Any) -> dict[str, Any]:
    """What a table says as plain knobs."""

    def problem(name: str, message: str) -> None:
        reader.problems.add(reader.located.where("judge", place, name), f"judge.{name}: {message}")

    settled: dict[str, Any] = owner.settle(given, reader.path.parent, problem)
    return settled


def _distinct(reader: Reader, place: int, part: JudgePart, others: list[JudgePart]) -> None:
    """Refuse a label, or a judge, that is there before."""
    where = reader.located.where("judge", place)
    if any(other.label == part.label for other in others):
        reader.problems.add(where, f"[[judge]] '{part.label}' needs a label of its own: label = \"...\"")
    same = next((other.label for other in others if _identity(other) == _identity(part)), part.label)
    if same != part.label:
        text = f"[[judge]] '{part.label}' is the same judge as '{same}': it would give the same answers twice"
        reader.problems.add(where, text)


def _identity(part: JudgePart) -> tuple[object, ...]:
    """What its answers depend on; the defaults are what a knob is where it is not given."""
    usual = {name: one.default for name, one in knobs(registry.load("judges", part.source)).items()}
    return part.source, {**usual, **part.knobs}, part.template, part.prompts


def _prompts(reader: Reader, place: int, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    where = reader.located.where("judge", place, "prompts")
    reader.problems.add(where, f"judge.prompts is {value!r}; it must be a whole number from 0 (0: all)")
    return 0


def _template(reader: Reader, place: int, given: dict[str, Any], owner: Any) -> str:
    name, where = given.pop("template", "pairwise"), reader.located.where("judge", place, "template")
    if not owner.reads_template:
        if name != "pairwise":
            reader.problems.add(where, f"this judge reads no template, so it takes none ({name!r})")
        return ""
    if not isinstance(name, str):
        reader.problems.add(where, f"judge.template is {name!r}; it must be a template's name or a file")
        return ""
    try:
        return read_template(name, reader.path.parent)
    except (HarnessError, OSError, UnicodeDecodeError) as error:
        reader.problems.add(where, str(error))
        return ""


def _checked_key(reader: Reader, place: int, own: dict[str, Any]) -> dict[str, Any]:
    """Refuse a key in place of a variable's name, without showing it."""
    name = own.get("api_key_env", "")
    if name and not (isinstance(name, str) and _VARIABLE.fullmatch(name)):
        where = reader.located.where("judge", place, "api_key_env")
        reader.problems.add(where, "judge.api_key_env must name an environment variable; it must not be the key itself")
        return {key: value for key, value in own.items() if key != "api_key_env"}
    return own


def _check(reader: Reader, place: int, source: str, owner: Any, values: dict[str, Any]) -> None:
    for name in ("model", "url"):
        if name in knobs(owner) and not values.get(name):
            where = reader.located.where("judge", place, name)
            reader.problems.add(where, f"judge {source} needs {name} ({knobs(owner)[name].doc})")
    if values.get("url"):
        parts, where = urlsplit(values["url"]), reader.located.where("judge", place, "url")
        if parts.username or parts.password or parts.query or parts.fragment:
            reader.problems.add(where, "judge.url holds a user, a password or a query; a key goes into api_key_env")
        elif parts.scheme not in ("http", "https") or not parts.hostname:
            reader.problems.add(where, f"judge.url is {values['url']!r}; it must begin with http:// or https://")
    if source == "rule":
        for text in without_rule(reader, values.get("dimension", knobs(owner)["dimension"].default)):
            reader.problems.add(reader.located.where("judge", place, "dimension"), text)
