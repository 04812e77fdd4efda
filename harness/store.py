"""The results folder: one folder per stage, whole files only, and the record as the only "done"."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from harness import keys
from harness.errors import HarnessError
from harness.stages import ASIDE, Stage, from_spec, walk

SPEC, RECORD, FAILED, LOG = "spec.json", "record.json", "failed.json", "log.txt"
WITHDRAWN = "record.corrupt.json"
"""A record whose files were damaged or pruned; the stage is made again."""
POINTER = "base.json"
"""In an adapter's folder: it names the weights that it is an adapter of."""
SCORES = ("scores.parquet", "prompts.parquet", "weights.parquet")
"""Tables that reports read of what a comparison asks for: without them a stage is not done."""
SMALL = 1 << 26
"""Bytes up to which a table is hashed at each run."""
SCHEMA = 1
DRAFT_SECONDS = 3600.0
"""A draft this old is litter of a process that was killed; a younger one may be somebody's file in the making."""


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all: draft, fsync, rename, fsync of the folder."""
    draft = _draft_of(path)
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _draft_of(path: Path) -> Path:
    return path.with_name(f"draft-{uuid.uuid4().hex}")


class Store:
    """Stages by name under `root`; those under `root/published/<comparison>/` are read as well, never written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._published: dict[str, Path] | None = None
        self._read: dict[tuple[Path, int, int, int], dict[str, int]] = {}
        self._loaded: dict[str, Stage] = {}

    def folder(self, name: str) -> Path:
        """Where a stage is, or would be."""
        own = self.root / name
        if self._scores(own) is None and name in self.published:
            return self.published[name]
        return own

    def _scores(self, folder: Path) -> dict[str, int] | None:
        """Sizes of the `SCORES` that a folder's record speaks of; None where there is no record that can be read.

        A record is read once while its size and time of change stay the same.
        """
        try:
            stat = (folder / RECORD).stat()
        except OSError:
            return None
        key = folder, stat.st_mtime_ns, stat.st_size, stat.st_ino
        if key not in self._read:
            record = _record(folder)
            if record is None:
                return None
            self._read[key] = {file: seen["bytes"] for file, seen in record["files"].items() if file in SCORES}
        return self._read[key]

    @property
    def published(self) -> dict[str, Path]:
        """Finished stages that came with the project, by name."""
        if self._published is None:
            records = sorted((self.root / "published").glob(f"*/*/{RECORD}"))
            self._published = {record.parent.name: record.parent for record in records}
        return self._published

    def prepare(self, stage: Stage) -> Path:
        """Write what a stage and all that it rests on are, so that its folder can be run by itself."""
        self.prepare_all([stage])
        return self.root / stage.name

    def prepare_all(self, stages: Iterable[Stage]) -> None:
        """Prepare many stages, looking at what they share once."""
        own = list(stages)
        asked = {stage.name for stage in own}
        for needed in walk(own):
            folder = self.root / needed.name
            if needed.name in asked or needed.name not in self.published:
                text = (keys.canonical(needed.spec) + "\n").encode()
                if not _is_spec(folder / SPEC, text, needed):
                    folder.mkdir(parents=True, exist_ok=True)
                    draft = _draft_of(folder / SPEC)
                    draft.write_bytes(text)  # no fsync, which takes a minute for 10,000 stages
                    draft.replace(folder / SPEC)
                self._prepare_aside(folder, needed)

    @staticmethod
    def _prepare_aside(folder: Path, stage: Stage) -> None:
        told = stage.aside()
        if told and _json(folder / ASIDE) != told:
            draft = _draft_of(folder / ASIDE)
            draft.write_text(json.dumps(told))
            draft.replace(folder / ASIDE)

    def load(self, name: str) -> Stage:
        """The stage that a folder holds.

        Raises:
            HarnessError: there is no spec, or this code gives it another name.
        """
        if name not in self._loaded:
            file = self.folder(name) / SPEC
            try:
                spec = json.loads(file.read_text())
                inputs = {role: self.load(needed) for role, needed in spec["inputs"].items()}
                stage = from_spec(spec, inputs)
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise HarnessError(f"{file}: no stage can be read there ({error})") from error
            if stage.name != name:
                raise HarnessError(f"{file}: it describes {stage.name}; it was changed, or is of other code")
            self._loaded[name] = stage
        return self._loaded[name]

    def record(self, name: str) -> dict[str, Any] | None:
        """What a finished stage left, or None."""
        return _record(self.folder(name))

    def failure(self, name: str) -> dict[str, Any] | None:
        """Why a stage's last attempt failed, or None; a finished stage has not failed."""
        return None if self.done(name) else _json(self.root / name / FAILED)

    def done(self, name: str) -> bool:
        """Whether a stage has a record that can be read, and the scores that it speaks of, by size."""
        folder = self.folder(name)
        scores = self._scores(folder)
        if scores is None or folder.parent != self.root:  # what is published is restored, and not made again
            return scores is not None
        return all(_size(folder / file) == size for file, size in scores.items())

    def has_files(self, name: str) -> bool:
        """Whether a stage is done and all its files are there, by size: they may have been pruned, or not published."""
        record = self.record(name)
        folder = self.folder(name)
        files = record["files"].items() if record else []
        return record is not None and all(_size(folder / file) == seen["bytes"] for file, seen in files)

    def bases(self, stage: Stage) -> list[Stage]:
        """Stages whose files are opened with a finished stage's own: the start that its adapter changes."""
        record = self.record(stage.name)
        adapts = record is not None and any(Path(file).name == POINTER for file in record["files"])
        return [stage.inputs["start"]] if adapts and "start" in stage.inputs else []

    def verify(self, name: str) -> str:
        """What is wrong with a finished stage's files, or an empty string.

        A file is hashed once in a process while its size and time of change stay the same.
        """
        record, folder = self.record(name), self.folder(name)
        if record is None:
            return f"{name} has no record"
        for file, seen in record["files"].items():
            path = folder / file
            try:
                stat = path.stat()
            except OSError as error:
                return f"{name}/{file} cannot be read ({error.strerror})"
            if stat.st_size != seen["bytes"]:
                return f"{name}/{file} has {stat.st_size} bytes, not {seen['bytes']}"
            if _known_digest(path, stat.st_mtime_ns, stat.st_size, stat.st_ino) != seen["sha256"]:
                return f"{name}/{file} has changed since it was written (checksum)"
        return ""

    def withdraw(self, name: str) -> None:
        """Take a stage's record back, since its files are not what it says; the stage will run again.

        A published record stays: its stage runs again under `root`, and hides it.

        Raises:
            HarnessError: a published file has the right size and another content.
        """
        if (self.root / name / RECORD).exists():
            with suppress(FileNotFoundError):  # another process has seen it too
                (self.root / name / RECORD).replace(self.root / name / WITHDRAWN)
        elif name in self.published and self.has_files(name):
            raise HarnessError(f"{self.verify(name)} in {self.folder(name)}; restore it, for example with git")

    def withdraw_changed(self, names: Iterable[str]) -> None:
        """Withdraw those of its own stages whose scores have another checksum than their record says."""
        for name in names:
            folder = self.root / name
            files = (_record(folder) or {"files": {}})["files"]
            small = [file for file in files if file in SCORES and 0 <= _size(folder / file) <= SMALL]
            if any(digest(folder / file) != files[file]["sha256"] for file in small):
                with suppress(FileNotFoundError):  # another process has seen it too
                    (folder / RECORD).replace(folder / WITHDRAWN)

    def clear(self, name: str) -> None:
        """Remove what an earlier attempt left, but for its checkpoints, which say themselves if they are whole."""
        keep = {SPEC, ASIDE, LOG, FAILED, RECORD, WITHDRAWN, "checkpoints"}
        for path in (self.root / name).iterdir():
            if path.name in keep or path.name.startswith("lease-") or _in_the_making(path):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def finish(self, name: str, record: dict[str, Any]) -> None:
        """Write a record, last and whole."""
        folder = self.root / name
        write_whole(folder / RECORD, json.dumps({"schema": SCHEMA, "name": name, **record}, indent=1, allow_nan=False))
        (folder / FAILED).unlink(missing_ok=True)

    def fail(self, name: str, failure: dict[str, Any]) -> None:
        """Write down a failed attempt; attempts are counted, and what they cost adds up."""
        before = _json(self.root / name / FAILED) or {}
        attempt = int(before.get("attempt", 0)) + 1
        spent = float((before.get("cost") or {}).get("device_seconds") or 0)
        cost = failure.get("cost")
        if cost:
            failure = {**failure, "cost": {**cost, "device_seconds": cost["device_seconds"] + spent}}
        text = json.dumps({"schema": SCHEMA, "name": name, "attempt": attempt, **failure}, indent=1, allow_nan=False)
        write_whole(self.root / name / FAILED, text)

    def outputs(self, name: str) -> dict[str, dict[str, Any]]:
        """Size and SHA-256 of each file that a stage has made."""
        folder = self.root / name
        own = {SPEC, ASIDE, LOG, FAILED, RECORD, WITHDRAWN}
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        names = {str(path.relative_to(folder)): path for path in files}
        return {
            file: {"bytes": path.stat().st_size, "sha256": digest(path)}
            for file, path in names.items()
            if file not in own and not file.startswith(("checkpoints/", "lease-", "draft-"))
        }


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _known_digest(path: Path, mtime_ns: int, size: int, inode: int) -> str:
    return digest(path)


def _in_the_making(path: Path) -> bool:
    """Whether a file is a draft that another process may be about to rename."""
    try:
        young = time.time() - path.stat().st_mtime < DRAFT_SECONDS
    except FileNotFoundError:
        return True
    return path.name.startswith("draft-") and path.is_file() and young


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _is_spec(path: Path, text: bytes, stage: Stage) -> bool:
    """Whether a spec is there and whole: a loss of power cuts it short. A path in it may differ under the same name."""
    return _size(path) == len(text) and ("path" not in stage.spec or path.read_bytes() == text)


def _record(folder: Path) -> dict[str, Any] | None:
    """A folder's record, if there is one that can be read."""
    found = _json(folder / RECORD)
    return found if found and isinstance(found.get("files"), dict) else None


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
