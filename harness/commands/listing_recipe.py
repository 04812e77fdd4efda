"""The tables of a recipe, as `harness list recipe` shows them: keys, defaults, valid values and meanings.

Knobs are told as they are declared, from where the reader has them too. Keys that are read in another way stand here;
`tests/test_listing.py` asks the reader whether any is missing.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness import registry
from harness.claims import FIELDS, SETTLED, WORDS, Hypothesis, hypothesis
from harness.data import SPLITS
from harness.job import Budget
from harness.judges import Asking
from harness.knobs import TYPES, OneOf, Valid, knobs
from harness.launch import Launch, Resources
from harness.locate import PRESETS
from harness.recipe import ROLES, STARTS, Benchmark, Evaluation, Tune
from harness.recipe_launch import OF_KIND, TRACKERS
from harness.recipe_reader import SPENDS
from harness.recipe_rewards import SPENDS as REWARD_SPENDS
from harness.recipe_rewards import STEPS
from harness.recipe_search import SHAPE

NEEDED = "needed"
"""Begins the meaning of a key without which a table is refused."""


@dataclass(frozen=True)
class Key:
    """A key of a table.

    Attributes:
        name: of the key.
        default: what it is where it is not there; None where it then is nothing, or depends on others.
        type: what its value is, in words.
        valid: values that are taken, in words; empty where all of its type are.
        doc: what it means.
    """

    name: str
    default: Any
    type: str
    valid: str
    doc: str


@dataclass(frozen=True)
class Table:
    """A table of a recipe.

    Attributes:
        name: as it is written in a recipe, such as `[budget]`.
        summary: what it is for.
        keys: all that it may hold.
    """

    name: str
    summary: str
    keys: tuple[Key, ...]

    @property
    def word(self) -> str:
        """What `harness list` calls it."""
        return re.split(r"\W+", self.name.strip("["))[0]


def tables() -> list[Table]:
    """All of them, in the order of docs/recipes.md."""
    return [
        _whole(), *_parts(), _start(),
        Table("[budget]", "what every contestant may spend, alike for all; part of every key", (*_of(Budget),)),
        _evaluation(), *_rewards(), _algorithm(), _tune(), *_judges(), _benchmark(), _hypothesis(), *_launch(),
    ]  # fmt: skip


def words() -> list[str]:
    """What `harness list` calls the tables."""
    return list(dict.fromkeys(table.word for table in tables()))


def _of(owner: type, but: Iterable[str] = ()) -> Iterator[Key]:
    """Declared knobs."""
    for one in knobs(owner).values():
        if one.name not in but:
            yield Key(one.name, one.default, TYPES[one.type], _range(one.valid), one.doc)


def _range(valid: Valid) -> str:
    return "" if valid is None else str(valid)


def _names(values: Sequence[str]) -> str:
    return str(OneOf(tuple(values)))


def _label(usual: str) -> Key:
    return Key("label", "", "text", "", f"what tables call it; without it {usual}")


def _spends(names: Sequence[str], own: dict[str, str] | None = None) -> Iterator[Key]:
    """Words of the budget that a table may have of its own."""
    for key in _of(Budget):
        if key.name in names:
            without = (own or {}).get(key.name, f"budget.{key.name}")
            yield replace(key, default=None, doc=f"{key.doc}; without it {without}")


def _whole() -> Table:
    presets = ", ".join(sorted(file.stem for file in PRESETS.glob("*.toml")))
    return Table("recipe", "keys before the first table", (
        Key("name", None, "text", "letters, digits, '_' and '-'", f"{NEEDED}: names the report's folder"),
        Key("question", "", "text", "", "what the comparison is to answer"),
        Key("replicates", 5, TYPES[int], "[1, inf)", "seeds; contestants of one share start, data order and noise"),
        Key("looks", [], "a list of whole numbers", "growing from 2 to replicates",
            "numbers of seeds after which who is decided gets no more; empty: all get all seeds"),
        Key("extends", "", "text", f"a file, or one of {presets}", "takes over another recipe or a preset"),
    ))  # fmt: skip


def _parts() -> Iterator[Table]:
    source = Key("source", "lab", "text", "a name of `harness list models`, a hub's owner/name, or a folder", "")
    yield Table("[[model]]", "what is trained; may repeat; further keys: `harness list models`", (
        replace(source, doc="where it comes from; needed where the table is there"), _label("its source"),
    ))  # fmt: skip
    source = replace(source, valid="a name of `harness list data`, a hub's owner/name, or a file")
    yield Table("[[dataset]]", "what there is to learn from; may repeat; further keys: `harness list data`", (
        replace(source, doc="where it comes from; needed where the table is there"), _label("its source"),
    ))  # fmt: skip


def _start() -> Table:
    keys = (
        Key("name", "sft", "text", _names(STARTS), "what is trained first; needed where the table is there"),
        _label("its name"),
        *_spends(SPENDS),
        *_of(registry.load("algorithms", "sft")),
    )
    return Table("[[start]]", "what training begins from; may repeat; base takes a label alone", keys)


def _evaluation() -> Table:
    usual = [name for name, kind in registry.loaded("metrics").items() if kind.usual]
    return Table("[evaluation]", "how policies are sampled and graded, alike for all", (
        *_of(Evaluation),
        Key("at", [], "a list of whole numbers", "each from 1 to budget.steps - 1",
            "optimiser steps at which policies are evaluated too; the last always is"),
        Key("metrics", usual, "a list of names", "names of `harness list metrics`, 'reward' among them",
            "what is measured of the responses"),
    ))  # fmt: skip


def _rewards() -> Iterator[Table]:
    yield Table("[reward]", "what judges responses", (
        Key("allow_shared_reward", False, TYPES[bool], "",
            "one reward model may fill two roles; the report then says so across its page"),
    ))  # fmt: skip
    usual = {role: str(steps) for role, steps in STEPS.items()}
    steps = ", ".join(f"{usual[role]} ({role})" for role in ROLES)
    yield Table(f"[reward.{'|'.join(ROLES)}]", "a reward model by its role, each with data of its own", (
        Key("split", None, "text", _names(SPLITS), "split of the dataset that it trains on; without it the role's own"),
        Key("rule", "", "text", "a reward of `harness list data`; not for gold",
            "dimension of the dataset's rule reward in place of a model"),
        Key("pretrain", None, TYPES[int], "[0, inf)",
            "pretraining seed of its base; without it 1 for gold, so that it rests on another base, and 0 for others"),
        Key("base", None, "a table", "as [[model]] has it", "another model than the recipe's to train on"),
        Key("source", None, "text", "a folder, or a hub's owner/name", "a ready-made model; takes a revision alone"),
        Key("revision", None, "text", "40 hexadecimal digits", "commit of a ready-made model of the hub"),
        *_spends(REWARD_SPENDS, {"prompts": "0", "steps": steps}),
        *_of(registry.load("algorithms", "reward")),
    ))  # fmt: skip


def _algorithm() -> Table:
    return Table("[[algorithm]]", "a contestant; may repeat; its knobs: `harness list algorithms`", (
        Key("name", None, "text", "a name of `harness list algorithms`", f"{NEEDED}: which"),
        _label("its name, and its axes' values"),
        Key("start", "", "text", _names(STARTS), "its own start; without it each of the recipe's"),
        Key("grid", {}, "a table of lists", "", "axes: grid.beta = [0.1, 0.3] makes a contestant of each value"),
    ))  # fmt: skip


def _tune() -> Table:
    return Table("[tune]", "how each contestant's own knobs are chosen first, with equal budgets", (
        *_of(Tune),
        Key("split", "tune", "text", "'tune'", "split on whose prompts knobs are chosen"),
        Key("limits", dict(Tune().limits), "a table of numbers", "metrics that have no roles",
            "the most that a trial's metric may be; a trial above is not chosen"),
        Key("search", {}, "a table for each algorithm", f"of knobs, each with {SHAPE}",
            "ranges in place of those of `harness list algorithms`"),
    ))  # fmt: skip


def _judges() -> Iterator[Table]:
    judges = registry.loaded("judges")
    yield Table("[[judge]]", "who compares responses with the start's, beside the reward models; may repeat", (
        Key("source", None, "text", _names(list(judges)), f"{NEEDED}: which"),
        _label("its model or source"),
        Key("prompts", 0, TYPES[int], "[0, inf)", "evaluation prompts that it is asked about; 0: all"),
        Key("template", "pairwise", "text", "a template's name, or a file", "the words of its questions"),
        *_of(Asking),
    ))  # fmt: skip
    for name, kind in judges.items():
        summary = (inspect.getdoc(kind) or "").split("\n")[0]
        yield Table(f'[[judge]] source = "{name}"', summary, (*_of(kind),))


def _benchmark() -> Table:
    return Table("[[benchmark]]", "lm-eval tasks that every policy is asked once it is trained; may repeat", (
        Key("tasks", None, "a list of names", "", f"{NEEDED} unless the dataset has tasks of its own: which"),
        Key("folder", "", "text", "a folder beside the recipe", "where the YAML files of your own tasks are"),
        *_of(Benchmark),
    ))  # fmt: skip


def _hypothesis() -> Table:
    """The claim's own docstring has the meanings."""
    docs, usual, needed = _attributes(Hypothesis), Hypothesis("", ""), list[str]()
    hypothesis({}, lambda key, _: needed.append(key))
    keys = []
    for name, kind in FIELDS.items():
        valid = _names(WORDS[name]) if name in WORDS else ""
        doc = f"{NEEDED} but for {', '.join(SETTLED)}: {docs[name]}" if name in needed else docs[name]
        keys.append(Key(name, None if name in needed else getattr(usual, name) or None, kind, valid, doc))
    summary = "a claim of your own, judged by the scores; may repeat (docs/hypotheses.md)"
    return Table("[[hypothesis]]", summary, tuple(keys))


def _attributes(owner: type) -> dict[str, str]:
    """The meanings in a docstring's list of attributes."""
    found: dict[str, str] = {}
    name = ""
    for line in (inspect.getdoc(owner) or "").partition("Attributes:\n")[2].split("\n"):
        if begun := re.match(r" {4}(\w+): (.*)", line):
            name, found[begun[1]] = begun[1], begun[2]
        elif name and line.startswith(" " * 8):
            found[name] += f" {line.strip()}"
    return found


def _launch() -> Iterator[Table]:
    lines = (
        Key("sbatch", [], "a list of lines", "", 'slurm: further options of sbatch, such as "--exclusive"'),
        Key("setup", [], "a list of lines", "", 'slurm: shell lines before a stage, such as "module load cuda"'),
    )
    trackers = Key("trackers", [], "a list of names", ", ".join(TRACKERS), "what follows training runs; off by default")
    executor = _names(registry.names("executors"))
    own = [replace(key, valid=executor) if key.name == "executor" else key for key in _of(Launch)]
    yield Table("[launch]", "who runs the stages; in no key, so nothing runs again where it changes",
                (*own, *lines, trackers))  # fmt: skip
    kinds = f"[launch.{'|'.join(OF_KIND)}], [launch.algorithm.<name>]"
    unset = [replace(key, default=None) for key in (*_of(Resources), *lines)]
    yield Table(kinds, "the same for a kind of stage, the driver, or an algorithm; without a key [launch] has it",
                tuple(unset))  # fmt: skip
