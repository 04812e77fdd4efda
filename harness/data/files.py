"""A dataset of files: JSONL, JSON, CSV, TSV or parquet, one or several for each view."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import registry
from harness.data import _shelf
from harness.data._read import READERS, format_of, records
from harness.data._record import Record
from harness.data._settle import FROM, Settle
from harness.data._tables import Tables
from harness.data._views import FIELDS
from harness.errors import HarnessError
from harness.knobs import knob

HEAVY = 1 << 24
"""Bytes of all files, zipped or not, from which their rows are written to the cache by ranges of prompts."""
LARGE = 1 << 28
"""Bytes of a view's largest file from which near duplicates are not sought."""


@dataclass(frozen=True)
class Files(Tables):
    """Your own files. Their content decides a stage's key, not their names or where they lie.

    A recipe names them as paths, relative to itself, to the working folder or to $HARNESS_DATA; a knob's value is then
    `<SHA-256>.<format>`, several with a space between.
    """

    encoding: str = knob("utf-8", doc="of text files that are not UTF-8, for example 'cp1252'")

    def records(self, source: str) -> Iterator[tuple[str, Record]]:
        """Records of one file after the other."""
        for name in source.split():
            digest, _, kind = name.partition(".")
            path = _shelf.find(digest)
            for record in records(path, kind, self.encoding, path.name):
                yield path.name, record

    def called(self, source: str) -> str:
        """The names of the files."""
        return " and ".join(_shelf.find(name.partition(".")[0]).name for name in source.split())

    def large(self, source: str) -> bool:
        """Whether a file has 256 MB."""
        return any(size > LARGE for size in _sizes(source))

    def heavy(self) -> bool:
        """Whether all files together have 16 MB."""
        return sum(size for source in self.own().values() for size in _sizes(source)) > HEAVY

    @classmethod
    def settle(cls, given: Mapping[str, Any], folder: Path, problem: Settle) -> dict[str, Any]:
        """Paths as hashes of what the files hold."""
        found = super().settle(given, folder, problem)
        for view in FIELDS:
            value = found.get(view)
            if value and not str(value).startswith(FROM):
                paths = value if isinstance(value, list) else [value]
                found[view] = " ".join(_settled(str(path), folder, view, problem) for path in paths)
        encoding = found.get("encoding", "utf-8")
        try:
            "\n".encode(str(encoding))
        except (LookupError, ValueError):  # some that it knows are none of text, as hex
            what = f"encoding = {encoding!r} is none that Python knows for text, as 'utf-8' and 'cp1252' are"
            problem("encoding", what)
        return found


def _sizes(source: str) -> list[int]:
    return [_shelf.find(name.partition(".")[0]).stat().st_size for name in source.split()]


def placed(given: str, folder: Path) -> Path | None:
    """A file or folder of a recipe: beside it, in the working folder or in $HARNESS_DATA; None where there is none."""
    shared = os.environ.get("HARNESS_DATA")
    paths = [base / given for base in (folder, Path.cwd(), *([Path(shared)] if shared else []))]
    return next((path for path in paths if path.is_file()), next((path for path in paths if path.is_dir()), None))


def unread(given: str, path: Path) -> str:
    """What is said of a path that cannot be read; empty where its name says that it can."""
    if path.is_dir():
        file = f"{given.rstrip('/')}/a.jsonl"
        return f"'{given}' is a folder; name the files in it, as pairs = ['{file}'] with source = 'files'"
    if format_of(path):
        return ""
    known = f"known: {', '.join(READERS)}; all but parquet also .gz"
    return f"'{given}' has no format that is read ({known}); name it by what it holds, for example a.jsonl"


def _settled(given: str, folder: Path, view: str, problem: Settle) -> str:
    """A path as `<SHA-256>.<format>`."""
    path = placed(given, folder)
    if path is None:
        shared = os.environ.get("HARNESS_DATA")
        where = f"in $HARNESS_DATA ({shared})" if shared else "in $HARNESS_DATA, which is not set"
        known = (
            "" if {".", "/"} & {*given} else f", and no data of that name (known: {', '.join(registry.names('data'))})"
        )
        problem(view, f"there is no file '{given}' beside the recipe, in the working folder or {where}{known}")
        return ""
    if told := unread(given, path):
        problem(view, told)
        return ""
    try:
        return f"{_shelf.shelve(path)}.{format_of(path)}"
    except HarnessError as error:
        problem(view, str(error))
        return ""
