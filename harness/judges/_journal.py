"""Answers as they come, one line each: what was asked is never asked again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Self


class Journal:
    """A file of answers that outlives the process; a line that was cut short by its end is dropped.

    Args:
        path: made with its folder if needed.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_bytes() if path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        self.answers: dict[str, str] = {}
        for line in whole.splitlines():
            entry = json.loads(line)
            self.answers[entry["id"]] = entry["answer"]
        self._file = path.open("ab")
        self._file.truncate(len(whole))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def note(self, id: str, answer: str) -> None:
        """Append an answer; it is on the disk when this returns."""
        self._file.write(json.dumps({"id": id, "answer": answer}).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.answers[id] = answer
