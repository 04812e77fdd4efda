"""A brick that can be a contestant: it rests on the start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.algorithms import Needs
from harness.registry import load

Brick: Any = load("algorithms", "brick")


@dataclass(frozen=True)
class Steps(Brick):
    needs: ClassVar[Needs] = Needs(data="prompts")
