"""Who runs the stages, and what a job asks for: for all, by kind of stage, by algorithm. Nothing of it is in a key."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from harness.knobs import Between, knob


def on_one_line(text: str) -> bool:
    """Whether a text has no control character: a newline would end a line of an sbatch file, and begin a command."""
    return not any(unicodedata.category(letter) == "Cc" for letter in text)


@dataclass(frozen=True)
class Resources:
    """What a job asks for; equal ones go into one array.

    Attributes:
        sbatch: further options of sbatch, for example `--exclusive`.
        setup: shell lines that run before the stage, for example `module load cuda`.
    """

    timeout_min: float = knob(
        0.0, valid=Between(low=0), doc="minutes after which a stage is ended; 0 means never; slurm needs it"
    )
    partition: str = knob("", doc="slurm: partition; empty means the cluster's default")
    qos: str = knob("", doc="slurm: quality of service")
    account: str = knob("", doc="slurm: who pays")
    constraint: str = knob("", doc="slurm: features that a node must have")
    memory_gb: float = knob(0.0, valid=Between(low=0), doc="slurm: memory on each node; 0 means the cluster's default")
    gpus: int = knob(0, valid=Between(low=0), doc="slurm: GPUs on each node; training has one process for each")
    gpu_memory_gb: float = knob(
        0.0, valid=Between(low=0), doc="slurm: memory of each GPU, by which harness plan warns; 0 means not known"
    )
    nodes: int = knob(1, valid=Between(low=1), doc="slurm: nodes of a training run, with one process each at least")
    cpus: int = knob(0, valid=Between(low=0), doc="slurm: CPUs of each process; 0 means as many as its threads")
    sbatch: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()

    @property
    def processes_per_node(self) -> int:
        """One for each GPU, or one."""
        return max(1, self.gpus)

    @property
    def processes(self) -> int:
        """How many work on a stage together."""
        return self.nodes * self.processes_per_node


DRIVER = "driver"
"""Where the driver is a job itself, it asks for the values of all, but for those of `SMALL`."""
SMALL: Mapping[str, Any] = {"memory_gb": 2.0, "gpus": 0, "cpus": 1}


@dataclass(frozen=True)
class Launch(Resources):
    """Who runs the stages. Nothing of it is in a key, and nothing reruns when it changes.

    Attributes:
        trackers: what follows training runs, as transformers' `report_to` has it.
        stages: what differs by kind of stage, and for the driver.
        algorithms: what differs for the training runs of an algorithm.
    """

    executor: str = knob("local", doc="local: worker processes here; slurm: jobs of a cluster; inline: this process")
    workers: int = knob(
        0, valid=Between(low=0), doc="processes, or Slurm jobs, at once; 0: as many as the cores allow, or 1,000 jobs"
    )
    checkpoint_every: int = knob(50, valid=Between(low=1), doc="optimiser steps between checkpoints")
    retries: int = knob(1, valid=Between(low=0), doc="how often a stage that was killed is tried again")
    bundle: int = knob(
        1,
        valid=Between(low=0),
        doc="slurm: stages of a cell that follow one another and share a job, at most; 1: none do; true or 0: all",
    )
    trackers: tuple[str, ...] = ()
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    algorithms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def resources(self) -> dict[str, Any]:
        """All that `asked` chooses from."""
        own = {one.name: getattr(self, one.name) for one in fields(Resources)}
        return {**own, "stages": self.stages, "algorithms": self.algorithms}


def asked(resources: Mapping[str, Any], spec: Mapping[str, Any]) -> Resources:
    """What a job asks for: for a stage the algorithm's own values, then those of the kind of stage, then those of all.

    Only training works in several processes; any other stage has one, with one GPU at most.

    Args:
        resources: values for all, and by name under `stages` and `algorithms`.
        spec: of the stage; of the driver it says `DRIVER` as its kind and nothing else.
    """
    kind, values = spec["kind"], dict(resources)
    by_kind, by_algorithm = values.pop("stages", {}), values.pop("algorithms", {})
    small = SMALL if kind == DRIVER else {}
    algorithm = spec["algorithm"]["name"] if kind == "train" else ""
    found = Resources(**{**values, **small, **by_kind.get(kind, {}), **by_algorithm.get(algorithm, {})})
    return found if kind == "train" else replace(found, nodes=1, gpus=min(found.gpus, 1))
