"""What a stage is: a value that holds its inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from harness import keys
from harness.metrics import Measurement


@dataclass(frozen=True, eq=False)
class Stage(ABC):
    """One piece of work. Plain fields are JSON values; a field that is None is not part of the spec.

    Attributes:
        inputs: the stages that it reads, by role.
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    reads_policies: ClassVar[bool] = False
    """It leaves the policies that it has read in memory, for the next stage of the process that reads them."""

    inputs: Mapping[str, Stage] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """The plain fields that are set."""
        own = ((f.name, getattr(self, f.name)) for f in fields(self) if f.name != "inputs")
        return {name: value for name, value in own if value is not None}

    def aside(self) -> dict[str, Any]:
        """What the worker has to know and no key holds, since it changes no result; written beside the spec."""
        return {}

    @cached_property
    def spec(self) -> dict[str, Any]:
        """What it is, as JSON: kind, version, settings, and the names of its inputs."""
        inputs = {role: stage.name for role, stage in sorted(self.inputs.items())}
        return {"kind": self.kind, "version": self.version, "inputs": inputs, **self.settings()}

    @cached_property
    def name(self) -> str:
        """`<kind>-<key>`, the name of its folder."""
        return f"{self.kind}-{keys.key(self.public_spec)}"

    @property
    def public_spec(self) -> dict[str, Any]:
        """The spec without where something lies on this machine, which its hash names."""
        return {name: value for name, value in self.spec.items() if name != "path"}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    @abstractmethod
    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Do the work: read `inputs` (finished folders by role), write into `out`, and resume what is there."""


def walk(targets: list[Stage]) -> Iterator[Stage]:
    """All stages that `targets` rest on, each once, inputs before what reads them."""
    seen: set[str] = set()
    stack: list[tuple[Stage, bool]] = [(stage, False) for stage in reversed(targets)]
    while stack:
        stage, ready = stack.pop()
        if ready:
            yield stage
        elif stage.name not in seen:
            seen.add(stage.name)
            stack.append((stage, True))
            stack.extend((needed, False) for needed in stage.inputs.values() if needed.name not in seen)
