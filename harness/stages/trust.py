"""Stages on which trust in the judges rests."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from harness.metrics import Measurement
from harness.stages.base import Stage
from harness.stages.specs import open_dataset


@dataclass(frozen=True, eq=False)
class Ready(Stage):
    """A reward model that somebody else has trained: its files, checked and kept with the results.

    Attributes:
        source: its name on the Hugging Face hub, or `folder`.
        revision: the commit, of a model of the hub.
        sha256: of names and contents of all its files, of a folder.
        path: where the folder lay when the recipe was read. Not part of the key.
    """

    kind: ClassVar[str] = "ready"
    version: ClassVar[int] = 1
    source: str = field(kw_only=True)
    revision: str | None = None
    sha256: str | None = None
    path: str | None = None

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `reward/`."""
        from harness.inference.ready import keep

        return keep(out, self)


@dataclass(frozen=True, eq=False)
class Audit(Stage):
    """Scores of one reward model on texts of known worth, from which its trust card is made.

    Inputs: `reward` (Train or Ready) where there is no rule, and `sample` (Sample), the start's.

    Attributes:
        pairs: labelled pairs of the split `heldout`, the first so many.
        probed: how many of them are corrupted as well; also how many rankings and prompts' samples are scored.
        rule: a dimension of the dataset's rule reward in place of a model.
    """

    kind: ClassVar[str] = "audit"
    version: ClassVar[int] = 2
    dataset: dict[str, Any] = field(kw_only=True)
    pairs: int = field(kw_only=True)
    probed: int = field(kw_only=True)
    batch: int = field(kw_only=True)
    threads: int = field(kw_only=True)
    rule: str | None = None

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `scores.parquet`."""
        from harness.trust.audit import write_audit

        return write_audit(out, inputs, open_dataset(self.dataset), self)


@dataclass(frozen=True, eq=False)
class Separation(Stage):
    """Whether prompts are apart that have to be, and whether models share weights: the proof that gold was held out.

    Inputs: reward models (Train or Ready) as `gold`, `selection`, `proxy-0` and so on, and policies as `start-...`.

    Attributes:
        sets: splits whose prompts are one set, by its name; no two sets may share a prompt.
    """

    kind: ClassVar[str] = "separation"
    version: ClassVar[int] = 1
    dataset: dict[str, Any] = field(kw_only=True)
    sets: dict[str, list[str]] = field(kw_only=True)

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `prompts.parquet` and `weights.parquet`."""
        from harness.trust.separation import write_separation

        return write_separation(out, inputs, open_dataset(self.dataset), self)
