"""The `[launch]` table of a recipe, with its tables for kinds of stages and for algorithms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.errors import nearest
from harness.knobs import knobs
from harness.launch import DRIVER, Launch, Resources, on_one_line
from harness.public import holds_secret
from harness.stages import KINDS

if TYPE_CHECKING:
    from harness.locate import Step
    from harness.recipe_reader import Reader

OWN_OPTIONS = (
    "array", "output", "error", "open-mode", "signal", "requeue", "no-requeue", "job-name", "comment",
    "dependency", "wrap",
)  # fmt: skip
"""Options of sbatch that harness decides."""
KNOBS_OF_OPTIONS = {
    "partition": "partition", "qos": "qos", "account": "account", "constraint": "constraint", "time": "timeout_min",
    "mem": "memory_gb", "gpus": "gpus", "gpus-per-node": "gpus", "nodes": "nodes", "ntasks": "gpus and nodes",
    "ntasks-per-node": "gpus", "cpus-per-task": "cpus",
}  # fmt: skip
"""Options of sbatch that have a knob of their own."""
TRACKERS = (
    "azure_ml", "clearml", "codecarbon", "comet_ml", "dagshub", "dvclive", "flyte", "kubeflow", "mlflow", "neptune",
    "swanlab", "tensorboard", "trackio", "wandb",
)  # fmt: skip
"""As transformers' `report_to` has them; to ask transformers itself takes seconds."""
WORDS = ("partition", "qos", "account", "constraint")
LISTS = {"sbatch": '["--exclusive"]', "setup": '["module load cuda"]'}
SECRETS = (
    "which every sbatch file would hold; it belongs into the environment of whoever submits, or into a file that setup "
    "sources"
)

OF_KIND = (*KINDS, DRIVER)


class LaunchReader:
    """Reads `[launch]`, `[launch.<kind of stage>]`, `[launch.driver]` and `[launch.algorithm.<name>]`."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.located, self.problems = reader, reader.located, reader.problems

    def read(self) -> Launch:
        """What it says; its problems are noted."""
        given = self.reader.table(self.reader.values.get("launch", {}), "launch")
        kinds = {kind: given.pop(kind) for kind in OF_KIND if kind in given}
        algorithms = self.reader.table(given.pop("algorithm", {}), "launch", "algorithm")
        self._tables(given)
        trackers = self._trackers(given.pop("trackers", []))
        if isinstance(given.get("bundle"), bool):
            given["bundle"] = int(not given["bundle"])
        found = Launch(
            **self._resources("launch", given, Launch, "launch"),
            trackers=trackers,
            stages={kind: self._of_kind(kind, values) for kind, values in kinds.items()},
            algorithms={name: self._of_algorithm(name, values) for name, values in algorithms.items()},
        )
        self._executor(found)
        return found

    def _trackers(self, value: object) -> tuple[str, ...]:
        where = self.located.where("launch", "trackers")
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            self.problems.add(
                where, f'launch.trackers is {value!r}; it must be a list of names, such as ["tensorboard"]'
            )
            return ()
        for name in (name for name in value if name not in TRACKERS):
            hint = nearest(name, TRACKERS)
            self.problems.add(where, f"there is no tracker '{name}'{hint} (known: {', '.join(TRACKERS)})")
        return tuple(value)

    def _tables(self, given: dict[str, Any]) -> None:
        """Refuse tables that are for nothing."""
        for name in [name for name, value in given.items() if isinstance(value, dict)]:
            known = (*OF_KIND, "algorithm.<name>")
            text = f"[launch.{name}] is for nothing{nearest(name, (*OF_KIND, 'algorithm'))} (known: {', '.join(known)})"
            self.problems.add(self.located.where("launch", name), text)
            del given[name]

    def _of_kind(self, kind: str, values: object) -> dict[str, Any]:
        found = self._resources(f"launch.{kind}", self.reader.table(values, "launch", kind), Resources, "launch", kind)
        if kind != "train" and (found.get("nodes", 1) > 1 or found.get("gpus", 0) > 1):
            wrong = "nodes" if found.get("nodes", 1) > 1 else "gpus"
            text = f"launch.{kind}.{wrong} is {found[wrong]}; only training works in several processes, so at most 1"
            self.problems.add(self.located.where("launch", kind, wrong), text)
        return found

    def _of_algorithm(self, name: str, values: object) -> dict[str, Any]:
        where, known = ("launch", "algorithm", name), registry.names("algorithms")
        if name not in known:
            text = f"there is no algorithm '{name}'{nearest(name, known)} (known: {', '.join(known)})"
            self.problems.add(self.located.where(*where), text)
        return self._resources(f"launch.algorithm.{name}", self.reader.table(values, *where), Resources, *where)

    def _resources(self, label: str, given: dict[str, Any], owner: type[Resources], *path: Step) -> dict[str, Any]:
        lists = {name: self._lines(name, given.pop(name), *path) for name in LISTS if name in given}
        if owner is Resources:  # a table for some stages says nothing about who runs all of them
            for name in [name for name in given if name in knobs(Launch) and name not in knobs(Resources)]:
                text = f"{label}.{name}: it is alike for all stages; write it in [launch]"
                self.problems.add(self.located.where(*path, name), text)
                del given[name]
        also = (*LISTS, *(("trackers", "algorithm", *OF_KIND) if owner is Launch else ()))
        found = self.reader.coerce(owner, label, given, *path, also=also)
        for name in (name for name in WORDS if not on_one_line(found.get(name, ""))):
            text = f"{label}.{name} is {found[name]!r}; it must be without newlines and other control characters"
            self.problems.add(self.located.where(*path, name), text)
        return {**found, **lists}

    def _lines(self, name: str, value: object, *path: Step) -> tuple[str, ...]:
        """Lines for the sbatch file; a newline would begin another one."""
        where = self.located.where(*path, name)
        if not isinstance(value, list) or not all(isinstance(line, str) and "\n" not in line for line in value):
            text = f"{'.'.join(map(str, path))}.{name} is {value!r}; it must be a list of lines, such as {LISTS[name]}"
            self.problems.add(where, text)
            return ()
        for number, line in enumerate(value, 1):
            if holds_secret(line):
                text = f"{'.'.join(map(str, path))}.{name} has a secret in its line {number}, {SECRETS}"
                self.problems.add(where, text)
        if name == "sbatch":
            for line in value:
                self._option(line, where)
        return tuple(value)

    def _option(self, line: str, where: str) -> None:
        option = line.removeprefix("--").partition("=")[0]
        if not on_one_line(line):
            self.problems.add(where, f"sbatch has {line!r}; an option must be without control characters")
        elif not line.startswith("--") or not option or " " in option:
            self.problems.add(where, f"sbatch has {line!r}; write options as --name or --name=value")
        elif option in OWN_OPTIONS:
            self.problems.add(where, f"sbatch has {line!r}; harness decides --{option} itself")
        elif option in KNOBS_OF_OPTIONS:
            self.problems.add(where, f"sbatch has {line!r}; it is set with {KNOBS_OF_OPTIONS[option]}")

    def _executor(self, launch: Launch) -> None:
        names, where = registry.names("executors"), self.located.where("launch", "executor")
        if launch.executor not in names:
            hint = nearest(launch.executor, names)
            self.problems.add(where, f"there is no executor '{launch.executor}'{hint} (known: {', '.join(names)})")
        if launch.executor != "slurm":
            return
        if not launch.timeout_min:
            text = "launch.executor = 'slurm' needs launch.timeout_min, the time limit of a job in minutes"
            self.problems.add(where, text)
        self._unlimited("launch", tables=launch.stages)
        self._unlimited("launch", "algorithm", tables=launch.algorithms)

    def _unlimited(self, *path: str, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Note tables that take the time limit away, without which Slurm would have a minute."""
        for name in (name for name, own in tables.items() if own.get("timeout_min") == 0):
            text = f"{'.'.join((*path, name))}.timeout_min is 0, which is no limit; slurm needs one, in minutes"
            self.problems.add(self.located.where(*path, name, "timeout_min"), text)
