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
from harness.recipe import JudgePart

if TYPE_CHECKING:
    from harness.recipe_reader import Reader

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def read_judges(reader: Reader) -> tuple[JudgePart, ...]:
    """All judges; whatever is wrong with them is noted with the reader's problems."""
    found: list[JudgePart] = []
    for place, given in enumerate(reader.tables("judge")):
        source, label = given.pop("source", None), given.pop("label", None)
        owner = reader.plugin("judges", source, reader.located.where("judge", place, "source"))
        if owner is None:
            continue
        prompts = _prompts(reader, place, given.pop("prompts", 0))
        template = _template(reader, place, given, owner)
        own = {name: given.pop(name) for name in knobs(Asking) if name in given}
        asking = reader.coerce(Asking, f"judge {source}", _checked_key(reader, place, own), "judge", place)
        values = reader.coerce(owner, f"judge {source}", given, "judge", place)
        _check(reader, place, str(source), owner, values)
        where = reader.located.where("judge", place)
        name = str(label or values.get("model") or source)
        if any(one.label == name for one in found):
            reader.problems.add(where, f"[[judge]] '{name}' needs a label of its own: label = \"...\"")
        found.append(JudgePart(str(source), name, values, asking, template, prompts))
    return tuple(found)


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
        _check_rule(reader, place, str(values.get("dimension", "total")))


def _check_rule(reader: Reader, place: int, dimension: str) -> None:
    for given in reader.tables("dataset") or [{"source": "lab"}]:
        name = given.get("source")
        if name not in registry.names("data"):
            continue
        known = registry.load("data", str(name)).rewards
        if dimension not in known:
            what = f"it gives {', '.join(known)}" if known else "it gives none"
            where = reader.located.where("judge", place, "dimension" if known else "source")
            reader.problems.add(where, f"dataset '{name}' has no rule reward '{dimension}' ({what})")
