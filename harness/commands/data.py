"""`harness data`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.commands.enough import asked_of, reads_held_out, trials_of
from harness.commands.survey import READ, Rows, Survey, Trained, texts, too_few
from harness.data import Dataset, Row
from harness.data import Part as Prompts
from harness.data._bad import told
from harness.data._parts import Merged
from harness.data._settle import FROM
from harness.data._tables import Tables
from harness.errors import HarnessError
from harness.job import Budget
from harness.layout import Layout
from harness.plan import Plan, expanded
from harness.recipe import Part, read_recipe
from harness.report.sheet import count, listed
from harness.stages import Train, dataset_spec, open_algorithm, open_dataset, walk

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness.training.rows import Encoder

    Reader = tuple[PreTrainedTokenizerBase | None, str]
    """What a model reads texts with, or why there is nothing."""

OPEN, CLOSE = "⟦", "⟧"
"""What stands between them is trained on."""


def show_data(path: Path, assignments: list[str], as_json: bool) -> None:
    """Print what was understood of the data of a recipe, each dataset with each model.

    Raises:
        HarnessError: what is wrong with datasets that cannot be used, once all others are shown.
    """
    plan = expanded(read_recipe(path, assignments))
    datasets, found, wrong = plan.recipe.datasets, [], dict[str, None]()
    for dataset, model in product(datasets, plan.recipe.models):
        try:
            found.append(describe(plan, model, dataset))
        except HarnessError as error:  # the same with each model, and told once
            wrong[f"dataset '{dataset.label}': " * (len(datasets) > 1) + str(error)] = None
    said = json.dumps(found, indent=1, ensure_ascii=False) if as_json else "\n\n".join(_text(one) for one in found)
    if found:
        print(said.encode(errors="backslashreplace").decode())  # half a surrogate pair in a column's name is no text
    if wrong:
        raise HarnessError("\n".join(wrong))


def describe(plan: Plan, model: Part, part: Part) -> dict[str, Any]:
    """A dataset of a recipe as JSON, read with a model's tokenizer where there is one.

    Raises:
        HarnessError: rows cannot be used and the recipe refuses them.
    """
    data = open_dataset(dataset_spec(part.name, dict(part.knobs)))
    contestants, (rewards, untrained) = _contestants(plan, model, part), _rewards(plan, model, part)
    views = {view for view, _ in contestants.values() if view}
    survey = Survey(plan.recipe.evaluation.split, views, plan.recipe.budget, rewards)
    bases = {role: base for role in rewards if (base := plan.recipe.rewards[role].base)}
    readers = _walked(survey, data, {"": model, **bases}, part.label)
    tokenizer, lacking = readers[""]
    encoder = _encoder(tokenizer)
    rows = survey.rows()
    return {
        "dataset": part.label,
        "model": model.label,
        "rows": {f"{view} {split}": found for (view, split), found in rows.items()},
        "prompts": survey.prompts(),
        "too_few": _too_few(plan, part, data, survey),
        "overlap": survey.overlap(),
        "no_tokenizer": lacking,
        "tokens": survey.tokens(),
        "control_tokens": survey.control_tokens(),
        "contestants": {
            name: survey.trained[view].told(data, encoder is not None) if view else {"reason": reason}
            for name, (view, reason) in contestants.items()
        },
        "rewards": {
            role: {"split": own.split, **_read_by(own, data, readers.get(role, readers[""]), bases.get(role))}
            if (own := rewards.get(role))
            else {"reason": untrained[role]}
            for role in plan.recipe.rewards
        },
        "examples": {view: [_example(encoder, view, row) for row in survey.examples(view)] for view in survey.views()},
        **(_care(data, survey) if isinstance(data, Tables) else {}),
    }


def _walked(survey: Survey, data: Dataset, models: Mapping[str, Part], label: str) -> dict[str, Reader]:
    """Show the survey all rows; what each model reads texts with, by the key that it has."""
    readers: dict[str, Reader] = {}
    for part in data.parts():
        rows = _rows(data, part)  # what is wrong with them is told whether or not there is a tokenizer
        readers = readers or {key: _tokenizer_or_why(model, data, label) for key, model in models.items()}
        survey.add(rows, {key: _encoder(tokenizer) for key, (tokenizer, _) in readers.items()})
        if isinstance(data, Tables) and isinstance(part, Merged):
            survey.leave(data, part)
    return readers


def _read_by(own: Trained, data: Dataset, reader: Reader, base: Part | None) -> dict[str, Any]:
    """What a reward model trains on, and which base of its own reads it, if any."""
    tokenizer, lacking = reader
    found = own.told(data, tokenizer is not None)
    if base is None or "reason" in found:
        return found
    return {**found, "base": base.label, **({"no_tokenizer": lacking} if lacking else {})}


def _too_few(plan: Plan, part: Part, data: Dataset, survey: Survey) -> list[str]:
    """What the recipe asks of a dataset's splits and they do not have, in the words of `harness run`."""
    spec = dataset_spec(part.name, dict(part.knobs))
    stages = list(walk([*plan.targets, *trials_of(plan)]))
    asked = (asked_of(plan.recipe, stage) for stage in stages)
    own = {(one.view, one.split, one.prompts, one.knob): None for one in asked if one and one.spec == spec}
    if "pairs" in data.offers() and any(reads_held_out(stage) and stage.dataset == spec for stage in stages):
        own["pairs", "heldout", 1, "evaluation.pairs"] = None
    told = (
        too_few(data, survey.distinct(view, split), view, split, prompts, knob)
        for view, split, prompts, knob in own
        if split in READ
    )
    return [text for text in dict.fromkeys(told) if text]


def _encoder(tokenizer: PreTrainedTokenizerBase | None) -> Encoder | None:
    """One that remembers nothing yet."""
    from harness.training.rows import Encoder

    return Encoder(tokenizer) if tokenizer else None


def _tokenizer_or_why(model: Part, data: Dataset, label: str) -> Reader:
    try:
        return _tokenizer(model, data, label), ""
    except HarnessError as error:
        return None, str(error)


def _tokenizer(model: Part, data: Dataset, label: str) -> PreTrainedTokenizerBase:
    """The tokenizer that policies of this model, or reward models on it, will have.

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
    if not source.writes:
        return _encoders(**{knob: origin.knobs[knob] for knob in ("name", "revision")})
    from harness.inference.loading import tokenizer_of

    return tokenizer_of(**{knob: origin.knobs[knob] for knob in ("name", "revision", "template", "remote_code")})


def _encoders(name: str, revision: str) -> PreTrainedTokenizerBase:
    """An encoder's tokenizer as `bring_encoder` will write it.

    Raises:
        HarnessError: it cannot be had.
    """
    from harness.inference.loading import tokenizer_of
    from harness.inference.templates import ENCODER

    tokenizer = tokenizer_of(name, revision, ENCODER, remote_code=False)
    tokenizer.eos_token = tokenizer.eos_token or tokenizer.sep_token
    tokenizer.model_max_length = sys.maxsize  # texts are measured here, not given to it: no warning
    return tokenizer


def _rows(data: Dataset, part: Prompts) -> Rows:
    """Rows of a part's prompts by view and split, without those that have none."""
    found = {(view, split): part.rows(view, split) for view in sorted(data.offers() - {"text"}) for split in READ}
    return {name: rows for name, rows in found.items() if rows}


def _contestants(plan: Plan, model: Part, part: Part) -> dict[str, tuple[str, str]]:
    """The view that each contestant trains on, or why there is none."""
    found: dict[str, tuple[str, str]] = {}
    for cell in plan.cells:
        if (cell.model, cell.dataset) != (model.label, part.label) or cell.replicate or cell.contestant in found:
            continue
        algorithm = registry.load("algorithms", cell.algorithm)(**cell.knobs)
        view = algorithm.requires().data
        nothing = cell.reason or not algorithm.trains or not view
        found[cell.contestant] = ("", cell.reason or "nothing is trained") if nothing else (view, "")
    return found


def _rewards(plan: Plan, model: Part, part: Part) -> tuple[dict[str, Trained], dict[str, str]]:
    """What each reward model of the first replicate trains on, by role; and of the others, why it is not trained."""
    layout, found, reasons = Layout(plan.recipe, model, part), dict[str, Trained](), dict[str, str]()
    made = layout.rewards(0)
    for role, asked in plan.recipe.rewards.items():
        stage = made.get(role)
        if isinstance(stage, Train):
            view, knob = open_algorithm(stage.algorithm).requires().data, f"reward.{role}.prompts"
            found[role] = Trained(view, Budget(**stage.budget), stage.split, knob)
        elif asked.rule or asked.ready:
            what = f"the dataset's rule '{asked.rule}'" if asked.rule else "ready-made"
            reasons[role] = f"it is {what}, so nothing is trained"
        else:
            needs = layout.algorithm("reward", asked.knobs).requires().data
            lacks = f"a reward model needs {needs}; dataset '{part.label}' has {', '.join(sorted(layout.views))}"
            reasons[role] = layout.baseless or lacks
    return found, reasons


def _example(encoder: Encoder | None, view: str, row: Row) -> list[str]:
    """A row as the model reads it, each response after what is said of it."""
    return [f"[{_said(what, row)}] {_shown(encoder, row, text)}" for what, text in texts(view, row)]


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


def _care(data: Tables, survey: Survey) -> dict[str, Any]:
    """Bad rows, what was left out, and what was made from what."""
    made = {view: source.removeprefix(FROM) for view, source in data.sources().items() if source.startswith(FROM)}
    bad = data.problems()
    counts = {view: sum(found for (own, _), found in survey.rows().items() if own == view) for view in made}
    return {
        "near": _near(data),
        "left_out": survey.left_out(),
        "conversions": {f"{view} from {made[view]}": count for view, count in counts.items()},
        "bad_rows": [str(one) for one in bad],
        "bad_told": told(bad),
        "columns": {view: {"read": names, "left": left} for view, (names, left) in data.understood().items()},
    }


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
    how = f"as {found['model']} does"
    if lacking:
        how = f"for {found['model']}, without a tokenizer, so lengths are not known: {lacking}"
    lines = [f"{found['dataset']}, read {how}", "", *_columns(found.get("columns", {}))]
    views = sorted({name.split()[0] for name in found["rows"]})
    lines.append(f"{'rows':16s}" + "".join(f"{split:>11s}" for split in READ))
    for view in views:
        lines.append(f"{view:16s}" + "".join(f"{found['rows'].get(f'{view} {split}', 0):11d}" for split in READ))
    if found["too_few"]:
        lines += ["", "Too few prompts for this recipe:", *[f"  {text}" for text in found["too_few"]]]
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
    lines += ["", "What each would train on:", *_trained(found["contestants"])]
    lines += ["", "What each reward model would train on:", *_trained(found["rewards"])]
    bare = ", without a chat template" if lacking else ""
    lines += ["", f"Examples{bare}; what is trained on stands in {OPEN}{CLOSE}:"]
    for view, examples in found["examples"].items():
        lines += [f"--- {view}", *[text for example in examples for text in example]]
    return "\n".join(lines)


def _trained(found: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each training; those that have the same, or nothing for the same reason, share one."""
    lines: dict[str, list[str]] = {}
    for name, own in found.items():
        split = f" of split '{own['split']}'" if "split" in own else ""
        whose = " for its base" if "base" in own else ""
        long = f"; too long{whose}: {own['too_long']} rows" if "too_long" in own else ""
        if "no_tokenizer" in own:
            long = f", before rows that are too long for its base are left out: {own['no_tokenizer']}"
        text = own.get("reason") or "{rows} rows of {view}{of}, {prompts} prompts".format(**own, of=split) + long
        lines.setdefault(text, []).append(name)
    return [f"  {listed(names)}: {text}" for text, names in lines.items()]
