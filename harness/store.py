"""The results folder: one folder per stage, whole files only, and the record as the only "done"."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from harness import keys
from harness.errors import HarnessError
from harness.stages import Stage, from_spec, walk

SPEC, RECORD, FAILED, LOG = "spec.json", "record.json", "failed.json", "log.txt"
SCHEMA = 1


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all: draft, fsync, rename, fsync of the folder."""
    draft = path.with_name(f"draft-{uuid.uuid4().hex}")
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


class Store:
    """Stages by name under `root`; those under `root/published/<comparison>/` are read as well, never written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._published: dict[str, Path] | None = None
        self._checked: dict[Path, tuple[int, int, str]] = {}
        self._loaded: dict[str, Stage] = {}

    def folder(self, name: str) -> Path:
        """Where a stage is, or would be."""
        own = self.root / name
        if not (own / RECORD).exists() and name in self.published:
            return self.published[name]
        return own

    @property
    def published(self) -> dict[str, Path]:
        """Finished stages that came with the project, by name."""
        if self._published is None:
            records = sorted((self.root / "published").glob(f"*/*/{RECORD}"))
            self._published = {record.parent.name: record.parent for record in records}
        return self._published

    def prepare(self, stage: Stage) -> Path:
        """Write what a stage and all that it rests on are, so that its folder can be run by itself."""
        for needed in walk([stage]):
            folder = self.root / needed.name
            if not (folder / SPEC).exists() and needed.name not in self.published:
                folder.mkdir(parents=True, exist_ok=True)
                write_whole(folder / SPEC, keys.canonical(needed.spec) + "\n")
        return self.root / stage.name

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
            except (OSError, ValueError, KeyError) as error:
                raise HarnessError(f"{file}: no stage can be read there ({error})") from error
            stage = from_spec(spec, inputs)
            if stage.name != name:
                raise HarnessError(f"{file}: it describes {stage.name}; it was changed, or is of other code")
            self._loaded[name] = stage
        return self._loaded[name]

    def record(self, name: str) -> dict[str, Any] | None:
        """What a finished stage left, or None."""
        return _json(self.folder(name) / RECORD)

    def failure(self, name: str) -> dict[str, Any] | None:
        """Why a stage's last attempt failed, or None; a finished stage has not failed."""
        return None if self.done(name) else _json(self.root / name / FAILED)

    def done(self, name: str) -> bool:
        """Whether a stage has its record."""
        return (self.folder(name) / RECORD).exists()

    def has_files(self, name: str) -> bool:
        """Whether all files of a finished stage are there, by size: weights may have been pruned, or not published."""
        record = self.record(name)
        folder = self.folder(name)
        files = record["files"].items() if record else []
        return record is not None and all(_size(folder / file) == seen["bytes"] for file, seen in files)

    def verify(self, name: str) -> str:
        """What is wrong with a finished stage's files, or nothing; a file is hashed once while it is the same."""
        record, folder = self.record(name), self.folder(name)
        if record is None:
            return f"{name} has no record"
        for file, seen in record["files"].items():
            path = folder / file
            if _size(path) != seen["bytes"]:
                return f"{name}/{file} has {_size(path)} bytes, not {seen['bytes']}"
            if self._hash(path) != seen["sha256"]:
                return f"{name}/{file} has changed since it was written (checksum)"
        return ""

    def _hash(self, path: Path) -> str:
        stat = path.stat()
        known = self._checked.get(path)
        if known is None or known[:2] != (stat.st_mtime_ns, stat.st_size):
            known = (stat.st_mtime_ns, stat.st_size, digest(path))
            self._checked[path] = known
        return known[2]

    def withdraw(self, name: str) -> None:
        """Take a stage's record back, since its files are not what it says; the stage will run again.

        Raises:
            HarnessError: it is a published one, which is never written.
        """
        folder = self.folder(name)
        if folder.parent != self.root:
            raise HarnessError(f"{folder} is damaged ({self.verify(name)}); restore it, for example with git")
        (folder / RECORD).replace(folder / "record.corrupt.json")

    def clear(self, name: str) -> None:
        """Remove what an earlier attempt left, but for its checkpoints, which say themselves if they are whole."""
        keep = {SPEC, LOG, FAILED, RECORD, "record.corrupt.json", "checkpoints"}
        for path in (self.root / name).iterdir():
            if path.name in keep or path.name.startswith("lease-"):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def finish(self, name: str, record: dict[str, Any]) -> None:
        """Write a record, last and whole."""
        folder = self.root / name
        (folder / FAILED).unlink(missing_ok=True)
        write_whole(folder / RECORD, json.dumps({"schema": SCHEMA, "name": name, **record}, indent=1, allow_nan=False))

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
        own = {SPEC, LOG, FAILED, RECORD, "record.corrupt.json"}
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


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
