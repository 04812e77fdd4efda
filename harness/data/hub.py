"""A dataset of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness import hub
from harness.data._presets import PRESETS
from harness.data._record import Record
from harness.data._settle import Settle
from harness.data._tables import Tables
from harness.data._views import FIELDS
from harness.data.files import placed, unread
from harness.knobs import knob


@dataclass(frozen=True)
class Hub(Tables):
    """A table of the hub, by its id. A view's value is the hub's split that it is read from.

    The key holds the revision as it is written: give a commit where the data must never change.
    """

    presets: ClassVar[Mapping[str, str]] = {
        name: f"{one.view} of split {one.split}; {one.licence}" for name, one in PRESETS.items()
    }

    name: str = knob("", doc="the id, for example 'trl-lib/ultrafeedback_binarized'")
    revision: str = knob("main", doc="branch, tag or commit")
    subset: str = knob("", doc="the hub's configuration, where there are several")

    def records(self, source: str) -> Iterator[tuple[str, Record]]:
        """Rows of a split of the hub's, downloaded once into the hub's own cache."""
        table = self._table(source)
        for number, values in enumerate(table, 1):
            yield self.name, Record(f"row {number}", dict(values))

    def _table(self, source: str) -> Any:
        """A split of the hub's. Where it cannot be had, the hub is not asked again for a while: it takes a minute."""
        import datasets

        asked = ("dataset", self.name, self.subset, source, self.revision)
        with hub.once(*asked), hub.asking(datasets.config):
            try:
                return datasets.load_dataset(self.name, self.subset or None, split=source, revision=self.revision)
            except Exception as error:  # the hub's library raises a dozen kinds, all of which mean this
                begin = f"dataset '{self.name}' (revision {self.revision}) cannot be had from the hub"
                raise hub.refusal(error, begin, hub.ADVICE) from error

    def called(self, source: str) -> str:
        """The id and the hub's split."""
        return f"{self.name} ({source})"

    def large(self, source: str) -> bool:
        """Never: the hub's tables lie in memory-mapped files."""
        return False

    @classmethod
    def settle(cls, given: Mapping[str, Any], folder: Path, problem: Settle) -> dict[str, Any]:
        """A preset's view and columns, where the recipe says nothing else."""
        preset = PRESETS.get(str(given.get("name")))
        found = dict(given)
        if preset:
            found.setdefault(preset.view, preset.split)
            found.setdefault("columns", dict(preset.columns) or "")
        elif not any(given.get(view) for view in FIELDS):
            problem("source", _unknown(str(given.get("name", "")), folder))
            found["pairs"] = "train"  # so that only what else is wrong is told; columns are a view's, so none are
            found.pop("columns", None)
        return super().settle(found, folder, problem)


def _unknown(name: str, folder: Path) -> str:
    """What is said of an id whose columns are not known; it may be meant as a path, for there is such a one."""
    path = placed(name, folder) if name else None
    told = unread(name, path) if path else ""
    views = ", ".join(FIELDS)
    return told or f"nothing is known of '{name}'; say what a split holds, as pairs = 'train' ({views})"
