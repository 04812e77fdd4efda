"""The reward models of a recipe, by role: trained, ready-made, or a rule of the dataset."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import data, registry
from harness.data import SPLITS
from harness.data._shelf import MODEL_FILES
from harness.errors import nearest
from harness.job import Budget
from harness.public import called
from harness.recipe import ROLES, Evaluation, Part, RewardPart

if TYPE_CHECKING:
    from harness.recipe_reader import Reader

STEPS = {"proxy": 60, "selection": 60, "gold": 150}
"""Optimiser steps of a reward model where the recipe does not say; each trains on all prompts of its split."""
SPENDS = ("steps", "batch", "micro_batch", "prompts", "max_prompt_tokens", "max_response_tokens")
"""What a reward model may have other than the budget says; one that is a judge may read longer texts than policies."""
REPORTED = ("test", "ood")
"""Splits for the report."""
PURPOSES = {
    "train": "policies train on it",
    "tune": "it is for choosing knobs",
    "heldout": "its pairs measure accuracy",
    "pretrain": "the base was trained on it",
}
"""What other splits are for, beside those that reward models train on."""
RULELESS = {"files": "files have no rules", "hub": "data of the hub has no rules"}
ALLOW = "allow_shared_reward"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB = re.compile(r"[\w.-]+/[\w.-]+")


def without_rule(reader: Reader, rule: object) -> Iterator[str]:
    """Of each dataset of the recipe that does not give a rule reward: that, and what it gives."""
    for place, given in enumerate(reader.tables("dataset") or [{"source": "lab"}], 1):
        source = given.get("source")
        if not isinstance(source, str):  # which is told where datasets are read
            continue
        name, _ = data.named(source, given)
        owner: Any = registry.loaded("data").get(name)  # who is not there is told where datasets are read
        if owner is None or rule in owner.rewards:
            continue
        text = f"dataset {place} ('{called(source)}') has no rule reward '{rule}'{nearest(str(rule), owner.rewards)}"
        if owner.rewards:
            yield f"{text} (it gives {', '.join(owner.rewards)})"
        else:
            yield (
                f"{text}: {RULELESS.get(name, 'it gives none')}; a data plug-in with `rewards` and `score` can add one "
                "(docs/data.md)"
            )


class RewardReader:
    """Reads `[reward]` and `[reward.<role>]` for the recipe's reader, and collects every problem with its means."""

    def __init__(self, reader: Reader, budget: Budget) -> None:
        self.reader, self.located, self.problems, self.budget = reader, reader.located, reader.problems, budget

    def read(self, evaluation: Evaluation) -> tuple[dict[str, RewardPart], tuple[str, ...]]:
        """Reward models by role, and what they share where the recipe allows it."""
        tables = self.reader.table(self.reader.values.get("reward", {}), "reward")
        allowed = tables.pop(ALLOW, False)
        if not isinstance(allowed, bool):
            self._problem(f"reward.{ALLOW} is {allowed!r}; it must be true or false", ALLOW)
        for role in tables:
            if role not in ROLES:
                known = ", ".join(ROLES)
                self._problem(f"there is no reward role '{role}'{nearest(role, ROLES)} (known: {known})", role)
        found = {role: self._part(role, self.reader.table(tables.get(role, {}), "reward", role)) for role in ROLES}
        shared = self._shared(found)
        if allowed is not True:
            for other, text in shared:
                self._problem(f"{text}; each role needs a model and data of its own, or say reward.{ALLOW} = true",
                              *other)  # fmt: skip
        self._separate(found, evaluation)
        return found, tuple(text for _, text in shared)

    def _problem(self, text: str, *path: str) -> None:
        self.problems.add(self.located.where("reward", *path), text)

    def _part(self, role: str, given: dict[str, Any]) -> RewardPart:
        if "source" in given:
            return self._ready(role, given)
        split, rule, pretrain = (given.pop(name, usual) for name, usual in self._usual(role).items())
        if split not in SPLITS:
            hint = nearest(str(split), SPLITS)
            self._problem(f"there is no split '{split}'{hint} (known: {', '.join(SPLITS)})", role, "split")
        if not isinstance(pretrain, int) or isinstance(pretrain, bool) or pretrain < 0:
            self._problem(f"reward.{role}.pretrain is {pretrain!r}; it must be a whole number from 0", role, "pretrain")
            pretrain = 0
        if rule and role == "gold":
            self._problem("gold is a reward model; a rule reward is reported as the oracle by itself", role, "rule")
        elif rule:
            self._rule(role, rule)
        base = self._base(role, given.pop("base", None))
        own = self.reader.spend(f"reward.{role}", given, SPENDS, self.budget, "reward", role)
        owner, also = registry.load("algorithms", "reward"), (*self._usual(role), "base", "source", "revision", *SPENDS)
        values = self.reader.coerce(owner, "reward", given, "reward", role, also=also)
        self.reader.together(owner, "reward", [values], "reward", role)
        spend = {"prompts": 0, "steps": STEPS[role], **own}
        return RewardPart(str(split), int(pretrain), str(rule), values, spend, base)

    @staticmethod
    def _usual(role: str) -> dict[str, Any]:
        """Gold rests on another pretraining seed: another seed of fine-tuning alone shares its base's errors."""
        return {"split": role, "rule": "", "pretrain": int(role == "gold")}

    def _base(self, role: str, given: object) -> Part | None:
        """Another model to train on, as in [[model]]."""
        if given is None:
            return None
        values = self.reader.table(given, "reward", role, "base")
        source = values.pop("source", None)
        return self.reader._part("model", "models", source, values, "reward", role, "base")

    def _ready(self, role: str, given: dict[str, Any]) -> RewardPart:
        """A hub's model with its commit, or a folder with the hash of its content."""
        source, revision = given.pop("source"), given.pop("revision", None)
        for name in given:
            self._problem(f"reward.{role} is ready-made (it has a source); it takes no '{name}'", role, name)
        part = RewardPart(role, 0, "", {}, {})
        folder = Path(str(source)) if Path(str(source)).is_absolute() else self.reader.path.parent / str(source)
        if isinstance(source, str) and folder.is_dir():
            if revision is not None:
                self._problem(
                    f"reward.{role}.revision is for models of the hub; {source} is a folder", role, "revision"
                )
            missing = [pattern for pattern in MODEL_FILES if not any(folder.glob(pattern))]
            if missing:
                self._problem(
                    f"reward.{role}.source is the folder '{folder.name}', which has no {' and no '.join(missing)}; a "
                    "reward model's folder has both, and a tokenizer with a chat template", role, "source",
                )  # fmt: skip
                return part
            from harness.inference.ready import FOLDER, folder_digest

            found = {"source": FOLDER, "sha256": folder_digest(folder), "path": str(folder.resolve())}
            return replace(part, ready=found)
        if not isinstance(source, str) or not _HUB.fullmatch(source):
            self._problem(
                f"reward.{role}.source is {source!r}; it must be a folder that is there, or a model of the hub such as "
                "'owner/name'", role, "source",
            )  # fmt: skip
        elif not isinstance(revision, str) or not _COMMIT.fullmatch(revision):
            what = "is missing" if revision is None else f"is {revision!r}"
            self._problem(
                f"reward.{role}.revision {what}; it must be the 40 hexadecimal digits of a commit of {source}, since "
                "what a name or a branch stands for may change (a folder of that name is not there)", role, "revision",
            )  # fmt: skip
        return replace(part, ready={"source": str(source), "revision": str(revision)})

    def _rule(self, role: str, rule: object) -> None:
        """A rule reward is a dimension that every dataset of the recipe gives."""
        for text in without_rule(self.reader, rule):
            self._problem(text, role, "rule")

    @staticmethod
    def _shared(rewards: dict[str, RewardPart]) -> list[tuple[tuple[str, str], str]]:
        """Where and what two roles share: a ready-made model, a rule, or what they train on."""
        found = []
        for (one, a), (other, b) in itertools.combinations(rewards.items(), 2):
            if a.ready or b.ready:
                same = {**a.ready, "path": ""} == {**b.ready, "path": ""}
                name = b.ready.get("path", b.ready.get("source")) if same else ""
                place, text = "source", f"are one and the same model, {name}"
            elif a.rule or b.rule:
                same, place, text = a.rule == b.rule, "rule", f"are the same rule '{a.rule}'"
            else:
                same, place, text = a.split == b.split, "split", f"both train on split '{a.split}'"
            if same:
                found.append(((other, place), f"reward.{one} and reward.{other} {text}"))
        return found

    def _separate(self, rewards: dict[str, RewardPart], evaluation: Evaluation) -> None:
        """What policies learn from must not also judge, and neither may be what they are evaluated on."""
        models = {role: part.split for role, part in rewards.items() if not part.rule and not part.ready}
        for role, split in models.items():
            if split == "train":
                self._problem(
                    f"policies and reward.{role} both train on split 'train'; each role needs data of its own",
                    role, "split",
                )  # fmt: skip
        readers = [role for role, split in models.items() if split == evaluation.split]
        why = PURPOSES.get(evaluation.split) or " and ".join(f"reward.{role} trains on it" for role in readers)
        if evaluation.split in REPORTED:
            for role in readers:
                text = f"reward.{role} trains on split '{evaluation.split}', whose prompts are evaluated"
                self._problem(f"{text}; a split of its own is '{role}'", role, "split")
        elif why:
            free = [split for split in REPORTED if split not in models.values()] or REPORTED
            text = f"evaluation.split is '{evaluation.split}': {why}; use {' or '.join(free)}"
            self.problems.add(self.located.where("evaluation", "split"), text)
