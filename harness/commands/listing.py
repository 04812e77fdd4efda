"""`harness list`."""

from __future__ import annotations

import inspect
import json
from typing import Any

from harness import registry
from harness.errors import HarnessError
from harness.knobs import knobs

KINDS = ("algorithms", "data", "models", "metrics", "hypotheses")


def show_list(kind: str, as_json: bool) -> None:
    """Print all plug-ins of a kind."""
    if kind not in KINDS:
        raise HarnessError(f"there is no kind '{kind}' to list (known: {', '.join(KINDS)})")
    found = _hypotheses() if kind == "hypotheses" else [describe(kind, name) for name in registry.names(kind)]
    print(json.dumps(found, indent=1) if as_json else "\n\n".join(_text(item) for item in found))


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
    for knob in item.get("knobs", []):
        ranges = "; ".join(f"{word} {knob[word]}" for word in ("valid", "search") if knob[word])
        lines.append(f"  {knob['name']} = {knob['default']}  {knob['doc']}" + (f" [{ranges}]" if ranges else ""))
    return "\n".join(lines)
