"""Rows on disk by ranges of their prompts, so that of a large source no more than a range is held at a time.

A range is a file, named by the first two digits of its prompts' hashes. Rows of a prompt are in one range whatever they
are read from, and the ranges one after the other are in the order in which rows are given.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from harness.data import Row, _shelf
from harness.data._bad import Bad
from harness.errors import HarnessError

RANGES = tuple(f"{number:02x}" for number in range(256))
BUFFER = 1 << 24
"""Characters that are gathered before they are written, a line to each range."""
ABANDONED_SECONDS = 24 * 3600
"""After which what a killed process left half-written is removed."""


@dataclass(frozen=True)
class Given:
    """What a view's own source holds.

    Attributes:
        rows: of a range, in the order of the source.
        usable: their number in all ranges.
        bad: every bad row.
    """

    rows: Callable[[str], Iterable[Row]]
    usable: int
    bad: list[Bad]


def held(found: Iterable[Row | Bad]) -> Given:
    """Rows of a small source, in memory and all in one range."""
    rows, bad = list[Row](), list[Bad]()
    for one in found:
        if isinstance(one, Bad):
            bad.append(one)
        else:
            rows.append(one)
    return Given(lambda _: rows, len(rows), bad)


def prepared(name: str, found: Iterable[Row | Bad]) -> Given:
    """Rows of a large source in the cache, written there where they are not yet.

    Args:
        name: of the source and of all that decides what is read of it.
        found: reads it.

    Raises:
        HarnessError: the cache cannot be written.
    """
    folder = _shelf.folder() / f"rows-{name}"
    if not folder.is_dir():
        try:
            _make(folder, found)
        except OSError as error:
            raise HarnessError(
                f"rows cannot be prepared in the cache ({error.strerror or error}); large files are written there once "
                "more, so $HARNESS_CACHE needs room for them, and `harness data` does it where it can be written"
            ) from error
    try:
        about = json.loads((folder / "about.json").read_text())
    except (OSError, ValueError) as error:
        raise _damaged(folder) from error
    texts, usable = dict[str, str](), about["usable"]
    bad = [Bad(file, place, texts.setdefault(problem, problem)) for file, place, problem in about["bad"]]
    return Given(lambda name: _rows(folder / name, usable.get(name, 0)), sum(usable.values()), bad)


def _make(folder: Path, found: Iterable[Row | Bad]) -> None:
    """Write a folder that is there as a whole or not at all; of two processes that do so at once one is in time."""
    for left in folder.parent.glob("draft-rows-*"):
        with contextlib.suppress(OSError):  # another process may remove it too
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    draft = folder.with_name(f"draft-rows-{uuid.uuid4().hex}")
    draft.mkdir(parents=True)
    try:
        _write(draft, found)
        if not folder.is_dir():
            draft.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(folder: Path, found: Iterable[Row | Bad]) -> None:
    gathered, size, usable, bad = dict[str, list[str]](), 0, Counter[str](), list[Bad]()
    for one in found:
        if isinstance(one, Bad):
            bad.append(one)
            continue
        name = one["prompt_id"][:2]
        text = json.dumps(one, ensure_ascii=False, default=str)  # a score is a fraction, which is exact as text too
        usable[name] += 1
        gathered.setdefault(name, []).append(text)
        size += len(text)
        if size > BUFFER:
            _append(folder, gathered)
            gathered, size = {}, 0
    _append(folder, gathered)
    (folder / "about.json").write_text(json.dumps({"usable": usable, "bad": bad}))


def _append(folder: Path, gathered: dict[str, list[str]]) -> None:
    for name, texts in gathered.items():
        with (folder / name).open("a", encoding="utf-8", newline="\n") as out:
            out.write(f"[{','.join(texts)}]\n")


def _rows(file: Path, count: int) -> Iterator[Row]:
    """Rows of a range, which has `count` of them.

    Raises:
        HarnessError: there are not.
    """
    try:
        with file.open("rb") if count else io.BytesIO() as lines:
            for line in lines:
                for row in json.loads(line):
                    count -= 1
                    yield _restored(row)
    except (OSError, ValueError):
        count = -1
    if count:
        raise _damaged(file.parent)


def _damaged(folder: Path) -> HarnessError:
    return HarnessError(
        f"{folder.name} in $HARNESS_CACHE/files cannot be read or is damaged; remove it, and it is made again"
    )


def _restored(row: dict[str, Any]) -> Row:
    if "grades" in row:
        row["grades"] = [(text, Fraction(score)) for text, score in row["grades"]]
    return row
