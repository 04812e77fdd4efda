"""What a dataset is: views of rows by split, and, where there is one, an exact rule reward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from harness import registry
from harness.errors import HarnessError, nearest

Message = dict[str, str]
"""`{"role": "system" | "user" | "assistant", "content": text}`."""

Row = dict[str, Any]
"""Plain JSON values; every row has `id`, unique within its view and split."""

VIEWS = ("text", "demonstrations", "pairs", "binary", "rankings", "judgments", "prompts")
"""Forms of data. All but `text` (whole conversations, `messages`) have `prompt_id` and `prompt` (messages) and

demonstrations `response`; pairs `chosen`, `rejected`, and where labels were given by dimension
`preferred` ({dimension: 1 chosen, -1 rejected, 0 no label}); binary `response`, `label` (bool);
rankings `responses`, best first; judgments `response`, `judgment` (words, or None where all is well), and where it is
known `error_spans` (first word, the word after the last).
"""

SPLITS = ("pretrain", "train", "proxy", "selection", "gold", "tune", "test", "ood", "heldout")
"""Disjoint by prompt: policies train on `train`; each reward model on the split of its role; `tune` is for
choosing knobs, `test` and `ood` for the report; `heldout` holds labelled pairs to measure accuracy on."""


class EmptySplit(HarnessError):
    """A split in which a view has no row."""


class Part(ABC):
    """Some prompts of a dataset with all their rows."""

    @abstractmethod
    def rows(self, view: str, split: str) -> list[Row]:
        """Their rows; none where there are none."""


class Dataset(ABC):
    """A source of rows. Subclasses are frozen dataclasses whose knobs a recipe may set."""

    version: ClassVar[int]
    """Raise it when the same knobs would give other rows."""
    views: ClassVar[frozenset[str]]
    rewards: ClassVar[tuple[str, ...]] = ()
    """Names of the dimensions that `score` gives; empty where the dataset has no rule reward."""
    judges: ClassVar[bool] = False
    """Whether `judge` answers for any new response."""
    annotates: ClassVar[bool] = False
    """Whether `prefers` answers for any two responses."""
    presets: ClassVar[Mapping[str, str]] = {}
    """Sources whose columns are known, and what they hold."""
    tasks: ClassVar[tuple[str, ...]] = ()
    """lm-eval tasks of its own, which `write_tasks` makes."""
    praise: ClassVar[str] = "The response is satisfactory."
    """What is said of a response with which nothing is wrong."""
    refusal: ClassVar[str] = "I am sorry, but I cannot help with that."
    """A response that declines to answer, in the dataset's words."""

    @classmethod
    def settle(cls, given: Mapping[str, Any], folder: Path, problem: Callable[[str, str], None]) -> dict[str, Any]:
        """What a recipe says of it as knobs, which are plain values that belong into a key.

        Args:
            given: the recipe's table.
            folder: that the recipe lies in.
            problem: notes a knob and what is wrong with it.
        """
        return dict(given)

    def offers(self) -> frozenset[str]:
        """The views that it has with these knobs."""
        return self.views

    @abstractmethod
    def rows(self, view: str, split: str) -> list[Row]:
        """All rows of a view in a split, in a fixed order.

        Raises:
            HarnessError: the dataset has no such view or split.
        """

    def first(self, view: str, split: str, prompts: int) -> list[Row]:
        """Rows of the first distinct prompts of a split, of all where there are fewer."""
        rows = self.rows(view, split)
        wanted = set(list(dict.fromkeys(row["prompt_id"] for row in rows))[:prompts])
        return [row for row in rows if row["prompt_id"] in wanted]

    def parts(self) -> Iterator[Part]:
        """All prompts, some of them at a time, in the order of `rows`; a prompt is in one part alone."""
        yield Whole(self)

    def changes(self, view: str, split: str) -> Mapping[str, int]:
        """What was done with rows before anybody saw them, by a word for it: `converted`, `bad`, `ties`, `repeated`."""
        return {}

    def score(self, prompt: list[Message], response: str) -> dict[str, float]:
        """The exact rule reward of any response, by dimension.

        Raises:
            LookupError: the dataset has none (`rewards` is empty).
        """
        raise LookupError(f"{type(self).__name__} has no rule reward")

    def judge(self, prompt: list[Message], response: str) -> str | None:
        """What is wrong with a response, in words; None where it is satisfactory.

        Raises:
            LookupError: the dataset has no judge.
        """
        raise LookupError(f"{type(self).__name__} has no judge")

    def prefers(self, prompt: list[Message], first: str, second: str, seed: int) -> bool:
        """Whether an annotator, whose chance is `seed`, prefers the first of two responses.

        Raises:
            LookupError: the dataset has no annotators to ask.
        """
        raise LookupError(f"{type(self).__name__} has no annotators")

    def refuses(self, prompt: list[Message], response: str) -> bool | None:
        """Whether a response declines to answer; None where the dataset cannot say, and a list of phrases decides."""
        return None

    def write_tasks(self, folder: Path) -> None:
        """Write the YAML files and documents of `tasks`, on prompts that no split for training has.

        Raises:
            LookupError: the dataset has none.
        """
        raise LookupError(f"{type(self).__name__} has no lm-eval tasks of its own")

    def judged(self, prompt: list[Message], judgment: str | None) -> list[Message]:
        """The prompt with a judgment in it: what the response to it is to deserve; praise where it is None."""
        last = f"{prompt[-1]['content']}\n\nWrite a response that deserves this judgment: {judgment or self.praise}"
        return [*prompt[:-1], {**prompt[-1], "content": last}]

    def again(self, prompt: list[Message], response: str, judgment: str) -> list[Message]:
        """The conversation in which a judged response is to be improved."""
        asked = f"{judgment}\n\nPlease write a better response."
        return [*prompt, {"role": "assistant", "content": response}, {"role": "user", "content": asked}]

    def verdict(self, prompt: list[Message], response: str) -> list[Message]:
        """The conversation in which a response is to be judged."""
        asked = "Please judge this response."
        return [*prompt, {"role": "assistant", "content": response}, {"role": "user", "content": asked}]

    def vocabulary(self) -> list[str] | None:
        """Every word that the dataset's texts use, where that is a closed list."""
        return None


class Whole(Part):
    """All prompts of a dataset."""

    def __init__(self, data: Dataset) -> None:
        self.data = data

    def rows(self, view: str, split: str) -> list[Row]:
        """All rows of a view in a split."""
        try:
            return self.data.rows(view, split)
        except EmptySplit:
            return []


def held_out(data: Dataset, view: str, most: int) -> list[Row]:
    """The first so many held-out rows of a view; none where there is no such view, or nothing of it is held out."""
    try:
        return data.rows(view, "heldout")[:most] if view in data.offers() else []
    except EmptySplit:
        return []


class NoData(Dataset):
    """What a stage is given that reads no data."""

    version = 1
    views = frozenset()

    def rows(self, view: str, split: str) -> list[Row]:
        """None.

        Raises:
            HarnessError: always.
        """
        raise HarnessError(f"this stage has no data, so no {view} in split '{split}'")


def named(source: str, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The plug-in that a recipe's `source` means, and what is set about it: a file and a hub's id are short for it.

    A file's view is `view`; a hub's dataset is `owner/name`, and no other path has one slash and begins with a name.
    What nobody knows is taken for a path, so that it is told where it was looked for.
    """
    kind = source.lower().removesuffix(".gz").rpartition(".")[2]
    path = source.startswith((".", "/", "~")) or source.count("/") > 1 or ("/" not in source and "." in source)
    if path or _unknown(source) or kind in ("jsonl", "ndjson", "json", "csv", "tsv", "parquet"):
        own = {name: value for name, value in given.items() if name != "view"}
        return "files", {**own, str(given.get("view", "pairs")): source}
    if source.count("/") == 1:
        return "hub", {**given, "name": source}
    return source, dict(given)


def _unknown(source: str) -> bool:
    """Whether a name is no plug-in's, nor nearly one's: it may be a folder's."""
    known = registry.names("data")
    return bool(source) and "/" not in source and source not in known and not nearest(source, known)
