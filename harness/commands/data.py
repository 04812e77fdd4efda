"""`harness data`."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.data import SPLITS, Dataset, EmptySplit, Row
from harness.data._bad import told
from harness.data._settle import FROM
from harness.data._splits import opening
from harness.data._tables import Tables
from harness.errors import HarnessError
from harness.plan import Plan, expanded
from harness.recipe import Part, read_recipe
from harness.report.sheet import count
from harness.stages import dataset_spec, open_dataset, training_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness.training.rows import Encoder

EXAMPLES = 3
OPEN, CLOSE = "⟦", "⟧"
"""What stands between them is trained on."""
NOT_SHARED, IN_NO_SPLIT = "on prompts that not all views have", "in no split"


def show_data(path: Path, assignments: list[str], as_json: bool) -> None:
    """Print what was understood of the data of a recipe."""
    plan = expanded(read_recipe(path, assignments))
    model = plan.recipe.models[0]
    found = [describe(plan, model, dataset) for dataset in plan.recipe.datasets]
    said = json.dumps(found, indent=1, ensure_ascii=False) if as_json else "\n\n".join(_text(one) for one in found)
    print(said.encode(errors="backslashreplace").decode())  # half a surrogate pair in a column's name is no text


def describe(plan: Plan, model: Part, part: Part) -> dict[str, Any]:
    """A dataset of a recipe as JSON, read with a model's tokenizer where there is one.

    Raises:
        HarnessError: rows cannot be used and the recipe refuses them.
    """
    data = open_dataset(dataset_spec(part.name, dict(part.knobs)))
    rows = _rows(data)  # what is wrong with them is told whether or not there is a tokenizer
    encoder, lacking = _encoder(model, data, part.label)
    return {
        "dataset": part.label,
        "model": model.label,
        "rows": {f"{view} {split}": len(found) for (view, split), found in rows.items()},
        "prompts": {split: len(_prompts(rows, split)) for split in SPLITS if _prompts(rows, split)},
        "overlap": _overlap(rows),
        "no_tokenizer": lacking,
        "tokens": _lengths(encoder, rows, plan.recipe.evaluation.split) if encoder else {},
        "control_tokens": _control(encoder, rows) if encoder else {},
        "contestants": _contestants(plan, part, data, encoder),
        "examples": {view: _examples(encoder, view, rows) for view in _views(rows)},
        **(_care(data, rows) if isinstance(data, Tables) else {}),
    }


def _encoder(model: Part, data: Dataset, label: str) -> tuple[Encoder | None, str]:
    """What policies of this model read texts with, or why there is none."""
    from harness.training.rows import Encoder

    try:
        return Encoder(_tokenizer(model, data, label)), ""
    except HarnessError as error:
        return None, str(error)


def _tokenizer(model: Part, data: Dataset, label: str) -> PreTrainedTokenizerBase:
    """The tokenizer that policies of this model will have.

    Raises:
        HarnessError: it cannot be had, or would have to be made of the words of a dataset, `label`, that has no list.
    """
    source = registry.load("models", model.name)(**model.knobs)
    origin = source.origin()
    if origin.split:  # the base is made here, of the dataset's words
        if data.vocabulary() is None:
            raise HarnessError(f"the lab's model reads the lab's words alone; name a [[model]] for {label}")
        from harness.training.scratch import new_tokenizer

        return new_tokenizer(data)
    from harness.inference.loading import tokenizer_of

    return tokenizer_of(**{knob: origin.knobs[knob] for knob in ("name", "revision", "template", "remote_code")})


def _rows(data: Dataset) -> dict[tuple[str, str], list[Row]]:
    """All rows by view and split, without those that have none."""
    found = {}
    for view in sorted(data.offers() - {"text"}):
        for split in (split for split in SPLITS if split != "pretrain"):
            with contextlib.suppress(EmptySplit):
                found[view, split] = data.rows(view, split)
    return found


def _views(rows: dict[tuple[str, str], list[Row]]) -> list[str]:
    return sorted({view for view, _ in rows if view != "prompts"})


def _prompts(rows: dict[tuple[str, str], list[Row]], split: str) -> set[str]:
    return {row["prompt_id"] for (_, own), found in rows.items() if own == split for row in found}


def _overlap(rows: dict[tuple[str, str], list[Row]]) -> dict[str, int]:
    """Prompts whose first turn, without case and spacing, is in two splits."""
    groups: dict[str, set[str]] = {}
    for (_, split), found in rows.items():
        groups.setdefault(split, set()).update(opening(row["prompt"]) for row in found)
    shared = {f"{a} and {b}": len(groups[a] & groups[b]) for a, b in combinations(groups, 2)}
    return {pair: count for pair, count in shared.items() if count}


def _texts(view: str, row: Row) -> list[tuple[str, str]]:
    """The responses of a row that are trained on, each with what it is."""
    from harness.training.rows import TEXTS

    found = []
    for name in (name for name in TEXTS.get(view, ()) if name != "partner"):
        several = row[name] if isinstance(row[name], list) else [row[name]]
        found += [(name if len(several) == 1 else f"rank {place}", text) for place, text in enumerate(several, 1)]
    return found


def _lengths(encoder: Encoder, rows: dict[tuple[str, str], list[Row]], evaluated: str) -> dict[str, dict[str, float]]:
    """Tokens of prompts and responses of the training split, and of prompts to answer: median, 90 %, the longest."""
    found = {}
    for view in _views(rows):
        own = rows.get((view, "train"), [])
        found[f"train {view}: prompt"] = [len(encoder.prompt(row)) for row in own]
        found[f"train {view}: response"] = [len(encoder.response(text)) for row in own for _, text in _texts(view, row)]
    found[f"{evaluated} prompts"] = [len(encoder.prompt(row)) for row in rows.get(("prompts", evaluated), [])]
    return {what: _spread(lengths) for what, lengths in found.items() if lengths}


def _spread(lengths: list[int]) -> dict[str, float]:
    cuts = quantiles(lengths, n=10, method="inclusive") if len(lengths) > 1 else [lengths[0]] * 9
    return {"median": cuts[4], "90 %": cuts[8], "longest": max(lengths)}


def _control(encoder: Encoder, rows: dict[tuple[str, str], list[Row]]) -> dict[str, dict[str, int]]:
    """Rows of each view by a special token that is written in them: the model reads it as the token itself."""
    tokens = encoder.tokenizer.all_special_tokens
    found: dict[str, Counter[str]] = {}
    for (view, _), own in rows.items():
        for row in own:
            said = [message["content"] for message in row["prompt"]] + [text for _, text in _texts(view, row)]
            whole = "\n".join([*said, row.get("judgment") or ""])
            found.setdefault(view, Counter()).update(token for token in tokens if token and token in whole)
    return {view: dict(counted) for view, counted in found.items() if counted}


def _contestants(plan: Plan, part: Part, data: Dataset, encoder: Encoder | None) -> dict[str, dict[str, Any]]:
    """What each contestant would train on, of the budget's prompts, after those that are too long are left out."""
    found: dict[str, dict[str, Any]] = {}
    for cell in plan.cells:
        if cell.dataset != part.label or cell.replicate or cell.contestant in found:
            continue
        algorithm = registry.load("algorithms", cell.algorithm)(**cell.knobs)
        view = algorithm.requires().data
        if cell.reason or not algorithm.trains or not view:
            found[cell.contestant] = {"reason": cell.reason or "nothing is trained"}
            continue
        try:
            rows = training_rows(data, view, "train", plan.recipe.budget.prompts)
            kept = _fitting(plan, encoder, view, rows) if encoder else rows
        except HarnessError as error:
            found[cell.contestant] = {"reason": str(error)}
            continue
        prompts = len({row["prompt_id"] for row in kept})
        found[cell.contestant] = {
            "view": view,
            "rows": len(kept),
            "prompts": prompts,
            **({"too_long": len(rows) - len(kept)} if encoder else {}),
        }
    return found


def _fitting(plan: Plan, encoder: Encoder, view: str, rows: list[Row]) -> list[Row]:
    from harness.training.rows import fitting, fitting_prompts

    if view == "prompts":
        return fitting_prompts(encoder, rows, plan.recipe.budget)[0]
    return fitting(encoder, rows, view, plan.recipe.budget)[0]


def _examples(encoder: Encoder | None, view: str, rows: dict[tuple[str, str], list[Row]]) -> list[list[str]]:
    """Rows of the first prompts of the training split as the model reads them, each after what is said of it."""
    prompts = {row["prompt_id"]: row for row in reversed(rows.get((view, "train"), []))}
    shown = [prompts[name] for name in sorted(prompts)][:EXAMPLES] if prompts else []
    return [[f"[{_said(what, row)}] {_shown(encoder, row, text)}" for what, text in _texts(view, row)] for row in shown]


def _shown(encoder: Encoder | None, row: Row, text: str) -> str:
    """A prompt and a response as the model reads them; without a tokenizer as the data have them."""
    if encoder is None:
        return "\n".join([*(f"{one['role']}: {one['content']}" for one in row["prompt"]), f"{OPEN}{text}{CLOSE}"])
    decode = encoder.tokenizer.decode
    return f"{decode(encoder.prompt(row))}{OPEN}{decode(encoder.response(text))}{CLOSE}"


def _said(what: str, row: Row) -> str:
    """What a response is, with its label or judgment."""
    more = [f"{name}: {row[name]}" for name in ("label", "judgment") if name in row]
    more += ["said by a template"] if row.get("template") else []
    return ", ".join([what, *more])


def _care(data: Tables, rows: dict[tuple[str, str], list[Row]]) -> dict[str, Any]:
    """Bad rows, what was left out, and what was made from what."""
    made = {view: source.removeprefix(FROM) for view, source in data.sources().items() if source.startswith(FROM)}
    bad = data.problems()
    counts = {view: sum(len(found) for (own, _), found in rows.items() if own == view) for view in made}
    return {
        "near": _near(data),
        "left_out": _left_out(data),
        "conversions": {f"{view} from {made[view]}": count for view, count in counts.items()},
        "bad_rows": [str(one) for one in bad],
        "bad_told": told(bad),
        "columns": {view: {"read": names, "left": left} for view, (names, left) in data.understood().items()},
    }


def _left_out(data: Tables) -> dict[str, int]:
    """Rows that are in no split's rows, by view and reason: of all splits, also those of which nothing is left."""
    found: Counter[str] = Counter()
    for view in sorted(data.offers()):
        for split in (split for split in SPLITS if split != "pretrain"):
            counted = data.counts(view, split)
            found.update({f"{view}: {what}": n for what, n in counted.items() if n and what != "bad"})
            if view in data.sources():
                found[f"{view}: {NOT_SHARED}"] += data.unshared(view, split)
    found.update({f"{view}: {IN_NO_SPLIT}": data.in_no_split(view) for view in data.own()})
    return {what: n for what, n in found.items() if n}


def _near(data: Tables) -> dict[str, int] | None:
    """Prompts that resemble another and share its split, and how many groups they are; None where none are sought."""
    if any(data.large(source) for source in data.own().values()):
        return None
    groups = data.groups()
    return {"prompts": len(groups), "groups": len(set(groups.values()))}


def _columns(found: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each view: `pairs: prompt = question, chosen, rejected; not read: id`."""
    lines = []
    for view, columns in found.items():
        names = [field if field == name else f"{field} = {name}" for field, name in columns["read"].items()]
        left = f"; not read: {', '.join(columns['left'])}" if columns["left"] else ""
        lines.append(f"  {view}: {', '.join(names)}{left}")
    return ["Columns:", *lines, ""] if lines else []


def _near_told(near: dict[str, int] | None) -> str:
    if near is None:
        return "not sought in a source this large"
    return f"{near['prompts']} in {count(near['groups'], 'group')}" if near["prompts"] else "none"


def _tokens(found: dict[str, Any]) -> list[str]:
    """Lengths in tokens, and control tokens that stand in texts."""
    if found["no_tokenizer"]:
        return []
    lines = ["", f"{'tokens':28s}{'median':>9s}{'90 %':>9s}{'longest':>9s}"]
    for what, spread in found["tokens"].items():
        lines.append(f"{what:28s}" + "".join(f"{spread[name]:9.0f}" for name in ("median", "90 %", "longest")))
    lines += [""] if found["control_tokens"] else []
    for view, counted in found["control_tokens"].items():
        for token, rows in counted.items():
            contain = f"{count(rows, 'row')} {'contains' if rows == 1 else 'contain'}"
            lines.append(f"{view}: {contain} '{token}', which is a control token")
    return lines


def _text(found: dict[str, Any]) -> str:
    lacking = found["no_tokenizer"]
    how = f"without a tokenizer, so lengths are not known: {lacking}" if lacking else f"as {found['model']} does"
    lines = [f"{found['dataset']}, read {how}", "", *_columns(found.get("columns", {}))]
    splits = [split for split in SPLITS if split in found["prompts"]]
    views = sorted({name.split()[0] for name in found["rows"]})
    lines.append(f"{'rows':16s}" + "".join(f"{split:>11s}" for split in splits))
    for view in views:
        lines.append(f"{view:16s}" + "".join(f"{found['rows'].get(f'{view} {split}', 0):11d}" for split in splits))
    lines += _tokens(found)
    shared = [f"  {pair}: {count}" for pair, count in found["overlap"].items()]
    lines += ["", "Prompts in two splits:", *(shared or ["  none"])]
    if "near" in found:
        lines += ["", "Near-duplicate prompts, each group in one split:", f"  {_near_told(found['near'])}"]
    for title, name in (
        ("Made from another view (rows):", "conversions"),
        ("Left out or brought together:", "left_out"),
    ):
        if found.get(name):
            lines += ["", title, *[f"  {what}: {count}" for what, count in found[name].items()]]
    if found.get("bad_rows"):
        lines += ["", f"Bad rows, {len(found['bad_rows'])}:", *[f"  {line}" for line in found["bad_told"]]]
    lines += ["", "What each would train on:"]
    for name, own in found["contestants"].items():
        long = f"; too long: {own['too_long']} rows" if "too_long" in own else ""
        text = own.get("reason") or "{rows} rows of {view}, {prompts} prompts".format(**own) + long
        lines.append(f"  {name}: {text}")
    bare = ", without a chat template" if lacking else ""
    lines += ["", f"Examples{bare}; what is trained on stands in {OPEN}{CLOSE}:"]
    for view, examples in found["examples"].items():
        lines += [f"--- {view}", *[text for example in examples for text in example]]
    return "\n".join(lines)
