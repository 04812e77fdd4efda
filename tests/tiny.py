"""A world of forty words, for tests that train: small, deterministic, and with every view."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, ClassVar

from harness import keys
from harness.data import Dataset, Row

WORDS = [f"{a}{b}" for a in ("ba", "do", "fi", "gu", "le") for b in ("k", "l", "m", "n", "p", "r", "s", "t")]


@dataclass(frozen=True)
class Tiny(Dataset):
    """Prompts of 2 to 5 words; a good response repeats the prompt's first word, a bad one does not."""

    prompts: int = 24
    longest: int = 6
    version: ClassVar[int] = 1
    views: ClassVar[frozenset[str]] = frozenset(("text", "demonstrations", "pairs", "binary", "prompts"))

    def vocabulary(self) -> list[str]:
        return list(WORDS)

    def rows(self, view: str, split: str) -> list[Row]:
        rows: list[Row] = []
        for i in range(self.prompts):
            prompt, good, bad = self._texts(split, i)
            base: dict[str, Any] = {"id": f"{split}-{i}", "prompt_id": keys.key(prompt), "prompt": prompt}
            if view == "text":
                rows.append({"id": f"{split}-{i}", "messages": [*prompt, {"role": "assistant", "content": good}]})
            elif view == "demonstrations":
                rows.append({**base, "response": good})
            elif view == "pairs":
                rows.append({**base, "chosen": good, "rejected": bad})
            elif view == "binary":
                rows.append({**base, "id": f"{split}-{i}-good", "response": good, "label": True})
                rows.append({**base, "id": f"{split}-{i}-bad", "response": bad, "label": False})
            else:
                rows.append(base)
        return rows

    def _texts(self, split: str, i: int) -> tuple[list[dict[str, str]], str, str]:
        draw = random.Random(f"{split}-{i}")
        asked = draw.choices(WORDS, k=draw.randint(2, 5))
        good = [asked[0], *draw.choices(WORDS, k=draw.randint(1, self.longest - 1))]
        bad = draw.choices(WORDS, k=draw.randint(1, self.longest))
        return [{"role": "user", "content": " ".join([*asked, WORDS[i % 40], WORDS[i // 40]])}, ], " ".join(good), " ".join(bad)
