"""A dataset with one prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.data import Dataset, Row


@dataclass(frozen=True)
class Nothing(Dataset):
    version: ClassVar[int] = 1
    views: ClassVar[frozenset[str]] = frozenset(("prompts",))

    def rows(self, view: str, split: str) -> list[Row]:
        return [{"id": "0", "prompt_id": "0", "prompt": [{"role": "user", "content": "Hello"}]}]
