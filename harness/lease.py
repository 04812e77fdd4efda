"""Who works on a stage now. Safe on NFS, between processes and hosts that know nothing of each other.

Leases of a folder are numbered generations, `lease-000001.json` and so on; the newest counts. A generation is
created by a hard link, which exactly one process can do, so a dead holder's lease can be taken over by one watcher
only. Nothing is ever stolen in place: a holder that was thought dead finds the newer generation before it writes its
record, and gives up.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

BEAT_SECONDS = 5.0
"""A holder says this often that it lives."""
STALE_SECONDS = 60.0
"""A holder on another host is dead once a watcher has seen no beat for so long, by the watcher's own clock."""


class Busy(Exception):
    """Somebody else who seems alive works on the stage."""


def _identity() -> dict[str, Any]:
    return {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "started": _started(os.getpid())}


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks, so that a number used again is not mistaken; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def newest(folder: Path) -> tuple[int, dict[str, Any]]:
    """The newest generation of a folder's leases and what it says; (0, {}) where there is none."""
    numbers = sorted(int(file.stem.removeprefix("lease-")) for file in folder.glob("lease-[0-9]*.json"))
    if not numbers:
        return 0, {}
    try:
        return numbers[-1], json.loads(_file(folder, numbers[-1]).read_text())
    except (OSError, ValueError):
        return numbers[-1], {}


def free(content: dict[str, Any]) -> bool:
    """Whether a lease binds nobody for certain: released, or its holder was on this host and is gone."""
    if not content or content.get("released"):
        return True
    here = _identity()
    if content["host"] != here["host"]:
        return False
    return bool(content["boot"] != here["boot"] or _started(content["pid"]) != content["started"])


def _file(folder: Path, generation: int) -> Path:
    return folder / f"lease-{generation:06d}.json"


def _create(folder: Path, generation: int, content: dict[str, Any]) -> bool:
    """Create one generation; False where somebody else did. A hard link is atomic on NFS too."""
    draft = folder / f"draft-{uuid.uuid4().hex}"
    draft.write_text(json.dumps(content))
    try:
        os.link(draft, _file(folder, generation))
    except FileExistsError:
        pass
    except OSError:
        # NFS may report an error for a link that was made; the link count tells
        if draft.stat().st_nlink != 2:
            raise
    made = draft.stat().st_nlink == 2
    draft.unlink()
    return made


class Lease:
    """Hold a folder while in a `with` block.

    Raises:
        Busy: (on entry) somebody else holds it and is not known to be dead.
    """

    def __init__(self, folder: Path, beat_seconds: float = BEAT_SECONDS) -> None:
        self.folder, self.beat_seconds = folder, beat_seconds
        self.generation = 0
        self._stop = threading.Event()
        self._content = _identity()

    def __enter__(self) -> Lease:
        number, content = newest(self.folder)
        if not free(content) or not _create(self.folder, number + 1, {**self._content, "beat": 0}):
            raise Busy(f"{self.folder.name} is being worked on by {content.get('host')} ({content.get('pid')})")
        self.generation = number + 1
        for old in range(1, number):  # the one before stays as a trace
            _file(self.folder, old).unlink(missing_ok=True)
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if self.held():
            self._write({**self._content, "released": True})

    def held(self) -> bool:
        """Whether no newer generation has been made: ask before writing a record."""
        return newest(self.folder)[0] == self.generation

    def _beat(self) -> None:
        beat = 0
        while not self._stop.wait(self.beat_seconds):
            beat += 1
            if not self.held():
                return
            self._write({**self._content, "beat": beat})

    def _write(self, content: dict[str, Any]) -> None:
        draft = self.folder / f"draft-{uuid.uuid4().hex}"
        draft.write_text(json.dumps(content))
        draft.replace(_file(self.folder, self.generation))


@dataclass
class Watcher:
    """Judges leases held on other hosts by the watcher's own clock, since clocks of hosts differ."""

    stale_seconds: float = STALE_SECONDS
    _seen: dict[Path, tuple[int, int, float]] = field(default_factory=dict)

    def release_if_dead(self, folder: Path) -> bool:
        """Whether the folder can be worked on; a lease without a beat for too long is superseded by a released one."""
        number, content = newest(folder)
        if free(content):
            return True
        now, beat = time.monotonic(), int(content.get("beat", 0))
        last = self._seen.get(folder)
        if last is None or last[:2] != (number, beat):
            self._seen[folder] = (number, beat, now)
            return False
        if now - last[2] < self.stale_seconds:
            return False
        return _create(folder, number + 1, {**_identity(), "released": True})
