"""Datasets and algorithms as JSON in a spec, and back; the rows that a budget trains on."""

from __future__ import annotations

from typing import Any, cast

from harness import registry
from harness.algorithms import Algorithm
from harness.data import Dataset, Row
from harness.errors import HarnessError
from harness.knobs import keyed


def dataset_spec(source: str, given: dict[str, Any]) -> dict[str, Any]:
    """A dataset as JSON: source, version, and all its knobs with their defaults (see `keyed`)."""
    kind = registry.load("data", source)
    return {"source": source, "version": kind.version, "knobs": keyed(kind(**given))}


def open_dataset(spec: dict[str, Any]) -> Dataset:
    """The dataset of a spec.

    Raises:
        HarnessError: this code has another version of it than the spec.
    """
    kind = registry.load("data", spec["source"])
    same_version("dataset", spec["source"], spec["version"], kind)
    return cast(Dataset, kind(**spec["knobs"]))


def algorithm_spec(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """An algorithm as JSON: name, version, and all its knobs with their defaults (see `keyed`)."""
    kind = registry.load("algorithms", name)
    return {"name": name, "version": kind.version, "knobs": keyed(kind(**given))}


def open_algorithm(spec: dict[str, Any]) -> Algorithm:
    """The algorithm of a spec.

    Raises:
        HarnessError: this code has another version of it than the spec.
    """
    kind = registry.load("algorithms", spec["name"])
    same_version("algorithm", spec["name"], spec["version"], kind)
    return cast(Algorithm, kind(**spec["knobs"]))


def same_version(what: str, name: str, version: int, kind: Any) -> None:
    """Check that a plug-in or kind of stage has the version that a spec asks for.

    Raises:
        HarnessError: it has another one.
    """
    if kind.version != version:
        raise HarnessError(
            f"{what} '{name}' is version {kind.version} in this code, but the stage asks for version {version}; "
            "run the recipe again to make stages of the present version"
        )


class TooFew(HarnessError):
    """A split has fewer prompts than a recipe asks for."""


def asked_by(split: str) -> str:
    """The recipe's knob that says how many prompts of a split are answered."""
    return "tune.prompts" if split == "tune" else "evaluation.prompts"


def training_rows(dataset: Dataset, view: str, split: str, prompts: int, asked: str = "budget.prompts") -> list[Row]:
    """Rows of the first `prompts` distinct prompts of a split, in the dataset's order; of all where it is 0.

    Args:
        dataset: has the rows.
        view: of them.
        split: of them.
        prompts: their number.
        asked: the recipe's knob that says so, for the message.

    Raises:
        TooFew: the split has fewer prompts.
    """
    if not prompts:
        return dataset.rows(view, split)
    if view == "text":
        return dataset.rows(view, split)[:prompts]
    rows = dataset.first(view, split, prompts)
    check_enough(len({row["prompt_id"] for row in rows}), view, split, prompts, asked)
    return rows


def check_enough(found: int, view: str, split: str, prompts: int, asked: str = "budget.prompts") -> None:
    """Whether so many prompts were found as are asked for.

    Raises:
        TooFew: there are fewer.
    """
    if found < prompts:
        raise TooFew(f"{asked} asks for {prompts} prompts; split '{split}' has {found} with {view}")
