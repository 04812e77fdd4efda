"""An encoder, such as BERT or MiniLM: it writes no text, but a reward model can rest on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.data import _shelf
from harness.errors import HarnessError
from harness.knobs import knob
from harness.models import ModelSource, Origin


@dataclass(frozen=True)
class Encoder(ModelSource):
    """An encoder in safetensors, for a reward model to rest on: source = 'encoder', or 'all-minilm-l6-v2'.

    The prompt's turns and the response stand one after the other, each closed by the separator. There are no
    pretraining seeds.
    """

    writes: ClassVar[bool] = False

    name: str = knob("", doc="the hub's id, a folder, or 'all-minilm-l6-v2'")
    revision: str = knob("", doc="of the hub: branch, tag or commit; give a commit where it must never change")

    def origin(self) -> Origin:
        """Loaded once, and written as safetensors."""
        return Origin("pretrained", {"name": self.name, "revision": self.revision, "kind": "encoder"}, {}, "")

    @classmethod
    def settle(cls, given: Mapping[str, Any], folder: Path, problem: Callable[[str, str], None]) -> dict[str, Any]:
        """A folder as the hash of its files."""
        try:
            return _shelf.settled(given, folder)
        except HarnessError as error:
            problem("name", str(error))
            return dict(given)
