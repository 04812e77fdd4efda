"""`harness list`."""

from __future__ import annotations

import inspect
import json
from typing import Any

from harness import registry
from harness.commands.listing_recipe import tables, words
from harness.errors import HarnessError, nearest
from harness.knobs import TYPES, knobs

KINDS = ("algorithms", "data", "models", "metrics", "judges", "hypotheses")
WHOLE = "recipe"
"""All tables of a recipe."""


def show_list(kind: str, as_json: bool) -> None:
    """Print all plug-ins of a kind, or the tables of a recipe that are called so.

    Raises:
        HarnessError: there is no such kind or table.
    """
    if kind in KINDS:
        found = _hypotheses() if kind == "hypotheses" else [describe(kind, name) for name in registry.loaded(kind)]
    elif kind in words():
        found = _tables(kind)
    else:
        known = (*KINDS, *words())
        raise HarnessError(f"there is no kind '{kind}' to list{nearest(kind, known)} (known: {', '.join(known)})")
    print(json.dumps(found, indent=1) if as_json else "\n\n".join(_text(item) for item in found))


def _tables(word: str) -> list[dict[str, Any]]:
    """Tables of a recipe as JSON."""
    chosen = [table for table in tables() if word in (WHOLE, table.word)]
    return [
        {"name": table.name, "summary": table.summary, "knobs": [{**vars(key), "search": ""} for key in table.keys]}
        for table in chosen
    ]


def _hypotheses() -> list[dict[str, Any]]:
    """The claims of the source articles."""
    from harness.report.claims import built_in

    return [{"name": one.id, "summary": one.claim, **vars(one)} for one in built_in()]


def describe(kind: str, name: str) -> dict[str, Any]:
    """A plug-in as JSON."""
    owner = registry.load(kind, name)
    found: dict[str, Any] = {"name": name, "summary": (inspect.getdoc(owner) or "").split("\n")[0]}
    if kind == "algorithms":
        needs = owner.needs
        found["product"] = owner.product
        found["needs"] = [
            needs.data,
            *[word for word in ("start", "reference", "reward", "judge", "annotators") if getattr(needs, word)],
        ]
        paper = owner.paper
        found["paper"] = f"{paper.authors}, {paper.title}, arXiv {paper.arxiv}, {paper.equation}" if paper else ""
    if kind == "metrics":
        found |= {"unit": owner.unit, "better": owner.better, "level": owner.level}
    if kind == "data":
        found |= {"views": sorted(owner.views), "rewards": list(owner.rewards), "presets": dict(owner.presets)}
    if kind != "metrics":
        found["knobs"] = [
            {
                "name": knob.name,
                "default": knob.default,
                "type": TYPES[knob.type],
                "valid": str(knob.valid or ""),
                "search": str(knob.search or ""),
                "doc": knob.doc,
            }
            for knob in knobs(owner).values()
        ]
    return found


def _text(item: dict[str, Any]) -> str:
    lines = [f"{item['name']}: {item['summary']}"]
    for word in ("needs", "views", "rewards"):
        if item.get(word):
            lines.append(f"  {word}: {', '.join(item[word])}")
    for word in ("source", "paper", "unit", "better", "level", "metric", "runs", "note", "not_run"):
        if item.get(word):
            lines.append(f"  {word}: {item[word]}")
    lines += [f'  source = "{name}": {what}' for name, what in item.get("presets", {}).items()]
    return "\n".join([*lines, *(_line(knob) for knob in item.get("knobs", []))])


def _line(knob: dict[str, Any]) -> str:
    """A knob with its default as a recipe would write it, what it means, and what it may be."""
    given = "" if knob["default"] is None else f" = {_toml(knob['default'])}"
    valid = f"{knob['type']}: {knob['valid']}" if knob["valid"] else knob["type"]
    ranges = "; ".join(filter(None, [valid, knob["search"] and f"search {knob['search']}"]))
    return f"  {knob['name']}{given}  {knob['doc']} [{ranges}]"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {_toml(own)}' for name, own in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)
