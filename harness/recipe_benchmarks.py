"""The lm-eval tasks of a recipe: those that come with lm-eval, with a dataset, or from a folder of the recipe's own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.errors import nearest
from harness.recipe import Benchmark

if TYPE_CHECKING:
    from harness.recipe_reader import Reader

_NAME = re.compile(r"""^\s*(?:"?(?:task|group|tag)"?:\s*|-\s+)["']?([\w.:+-]+)["']?,?\s*$""", re.MULTILINE)
"""A name in a task's YAML file: of itself, of its group or tag, or of a member."""


class BenchmarkReader:
    """Reads `[[benchmark]]` for the recipe's reader, and collects every problem with its means."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.located, self.problems = reader, reader.located, reader.problems

    def read(self) -> tuple[Benchmark, ...]:
        """All benchmarks; a table that names tasks of lm-eval and of a dataset gives two."""
        tables = enumerate(self.reader.tables("benchmark"))
        found = [one for place, given in tables for one in self._read(place, given)]
        seen: set[str] = set()
        for task in (task for one in found for task in one.tasks):
            if task in seen:
                self._problem(f"task '{task}' is asked for twice; a policy has one result of each", 0)
            seen.add(task)
        return tuple(found)

    def _problem(self, text: str, place: int, *path: str) -> None:
        self.problems.add(self.located.where("benchmark", place, *path), text)

    def _read(self, place: int, given: dict[str, Any]) -> list[Benchmark]:
        tasks, folder = given.pop("tasks", None), given.pop("folder", None)
        values = self.reader.coerce(Benchmark, "benchmark", given, "benchmark", place, also=("tasks", "folder"))
        usual = replace(Benchmark(), **values)
        own = self._own()
        if tasks is not None and not (isinstance(tasks, list) and tasks and all(isinstance(one, str) for one in tasks)):
            self._problem(f"benchmark.tasks is {tasks!r}; it must be a list of names", place, "tasks")
            return []
        if folder is not None:
            return self._from_folder(place, usual, tasks, folder)
        if tasks is None and not own:
            self._problem("benchmark.tasks is missing, and no dataset of the recipe has tasks of its own", place)
            return []
        named = [name for name in tasks or own if name in own]
        others = [name for name in tasks or () if name not in own]
        self._known(place, others, own, _shipped() if others else set())
        parts = [replace(usual, tasks=tuple(named), own=True), replace(usual, tasks=tuple(others))]
        return [part for part in parts if part.tasks]

    def _own(self) -> list[str]:
        """Tasks of the recipe's datasets."""
        sources = [given.get("source") for given in self.reader.tables("dataset") or [{"source": "lab"}]]
        known = [source for source in sources if source in registry.names("data")]
        return list(dict.fromkeys(task for source in known for task in registry.load("data", str(source)).tasks))

    def _from_folder(self, place: int, usual: Benchmark, tasks: list[str] | None, given: object) -> list[Benchmark]:
        folder = self.reader.path.parent / str(given)
        if not isinstance(given, str) or not folder.is_dir():
            self._problem(f"benchmark.folder is {given!r}; it must be a folder that is there", place, "folder")
            return []
        files = sorted(folder.rglob("*.yaml"))
        found = [name for file in files for name in task_names(file.read_text(encoding="utf-8"))]
        if not found:
            self._problem(
                f"benchmark.folder '{given}' holds no task: an lm-eval task is a .yaml file with task = its name",
                place, "folder",
            )  # fmt: skip
            return []
        if tasks is None:
            self._problem(
                f"benchmark.tasks is missing; it says which of '{given}' to ask (known: {', '.join(found)})", place
            )
            return []
        self._known(place, tasks, [], set(found))
        from harness.inference.ready import folder_digest

        where = {"path": str(folder.resolve()), "sha256": folder_digest(folder)}
        return [replace(usual, tasks=tuple(tasks), folder=where)]

    def _known(self, place: int, asked: Iterable[str], own: list[str], known: set[str]) -> None:
        every = sorted({*own, *known})
        for name in asked:
            if name not in known:
                hint = nearest(name, every)
                listing = ", ".join(every) if len(every) <= 20 else "`lm_eval ls tasks` lists them"
                self._problem(f"there is no task '{name}'{hint} (known: {listing})", place, "tasks")


def task_names(text: str) -> list[str]:
    """Names of tasks, groups and tags in a YAML file."""
    return list(dict.fromkeys(_NAME.findall(text)))


@cache
def _shipped() -> set[str]:
    """Names in the files that come with lm-eval, read as text: to ask lm-eval itself takes ten seconds and torch."""
    found = find_spec("lm_eval")
    folders = list(found.submodule_search_locations or ()) if found else []
    files = (file for folder in folders for file in (Path(folder) / "tasks").rglob("*.yaml"))
    return {name for file in files for name in task_names(file.read_text(encoding="utf-8", errors="replace"))}
