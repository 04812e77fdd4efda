"""Who works on a stage now. Safe on NFS, between processes and hosts that know nothing of each other.

Leases of a folder are numbered generations, `lease-000001.json` and so on; the newest counts. A generation is
created by a hard link, which exactly one process can do, so a dead holder's lease can be taken over by one watcher
only. Nothing is ever stolen in place: a holder that was thought dead finds the newer generation at its next beat, or
before it writes its record, and gives up. A holder that ends marks its lease as released and leaves the file, since
the number must never be used again.
"""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import held

BEAT_SECONDS = 5.0
"""A holder says this often that it lives."""
STALE_SECONDS = 60.0
"""A holder that cannot be looked up is dead once a watcher has seen no beat for so long, by the watcher's clock."""

LOOK_SECONDS = 1.0

_UNREADABLE: dict[str, Any] = {"host": "a host that cannot be read", "machine": None, "pid": 0, "started": ""}


class Busy(Exception):
    """Somebody else who seems alive works on the stage."""


@cache
def _machine() -> list[str]:
    """Where process numbers mean the same: host, boot, and the space of process numbers (containers have their own)."""
    boot, space = "", ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    return [socket.gethostname(), boot, space]


def identity() -> dict[str, Any]:
    """Who this process is, so that others can tell whether it lives; see `free`."""
    pid = os.getpid()
    own = {"host": socket.gethostname(), "machine": _machine(), "pid": pid, "started": _started(pid)}
    if not slurm_job():
        return own
    devices, idle = int(os.environ.get("WORLD_SIZE", "1")), held.devices.idle_seconds()
    return {**own, "job": slurm_job(), "devices": devices, "idle": idle}  # should it die silently


def slurm_job() -> str:
    """The number of the Slurm job that this process belongs to, as squeue shows it, or an empty string."""
    array, place = (os.environ.get(f"SLURM_ARRAY_{part}") for part in ("JOB_ID", "TASK_ID"))
    return f"{array}_{place}" if array and place else os.environ.get("SLURM_JOB_ID", "")


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks, so that a number used again is not mistaken; empty if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # a zombie works no more


def newest(folder: Path) -> tuple[int, dict[str, Any]]:
    """The newest generation of a folder's leases and what it says; (0, {}) where there is none."""
    numbers = [int(file.stem.removeprefix("lease-")) for file in folder.glob("lease-[0-9]*.json")]
    if not numbers:
        return 0, {}
    try:
        return max(numbers), json.loads(_file(folder, max(numbers)).read_text())
    except (OSError, ValueError):  # a hiccup of the file system must not free a lease
        return max(numbers), _UNREADABLE


def free(content: dict[str, Any]) -> bool:
    """Whether a lease binds nobody for certain: there is none, it was released, or its holder was here and is gone."""
    if not content or content.get("released"):
        return True
    return content.get("machine") == _machine() and _started(content["pid"]) != content["started"]


def signs_of_life(content: dict[str, Any]) -> float:
    """Seconds from the begin of a holder's job, or the end of the stage before it, to its last sign of life."""
    return float(content.get("idle", 0.0)) + float(content.get("beat", 0)) * BEAT_SECONDS


def correct(folder: Path, job: str, seconds: float) -> None:
    """Say what an earlier start of a Slurm job has spent on a stage, by whoever knows it better than to a beat."""
    number, content = newest(folder)
    if number and content.get("job") == job and not content.get("released"):
        _draft(folder, {**content, "idle": seconds, "beat": 0}).replace(_file(folder, number))


def _owed(content: dict[str, Any], own: bool) -> dict[str, float]:
    """Device-seconds of holders that died and of which nobody has written down what they cost; `own` counts this one's.

    What a holder spent is known to a beat, since nothing else tells of one that vanished.
    """
    spent = signs_of_life(content) * int(content.get("devices", 1)) if own else 0.0
    owed = float(content.get("owed", 0.0)) + spent
    return {"owed": owed} if owed else {}


def _epitaph(content: dict[str, Any], *, counted: bool) -> dict[str, Any]:
    """The lease that releases a dead holder's: who saw that it is dead, and which Slurm job it was."""
    witness = {name: value for name, value in identity().items() if name in ("host", "machine", "pid", "started")}
    job = {"job": content["job"]} if content.get("job") else {}
    return {**witness, **job, **_owed(content, not counted), "released": True}


def bury(folder: Path, counted: bool) -> None:
    """Release the lease of a holder that was here and is gone, so that watchers on other hosts need not wait.

    Args:
        folder: of the stage.
        counted: whether the caller writes down what the holder cost; else the next holder does.
    """
    number, content = newest(folder)
    if number and not content.get("released") and free(content):
        _create(folder, number + 1, _epitaph(content, counted=counted))


def release(folder: Path, job: str) -> bool:
    """Release the lease of a Slurm job that is known to be over; one that died before it took any leaves a trace.

    Whoever does it writes down what the job cost.

    Returns:
        Whether it was this process that did it: of several that see the same death, one does.
    """
    number, content = newest(folder)
    its, over = content.get("job") == job, bool(content.get("released"))
    if (its and over) or not (its or free(content)):
        return False
    return _create(folder, number + 1, {**_epitaph(content, counted=its or over), "job": job})


def _file(folder: Path, generation: int) -> Path:
    return folder / f"lease-{generation:06d}.json"


def _draft(folder: Path, content: dict[str, Any]) -> Path:
    draft = folder / f"lease-draft-{uuid.uuid4().hex}"
    draft.write_text(json.dumps(content))
    return draft


def _create(folder: Path, generation: int, content: dict[str, Any]) -> bool:
    """Create one generation; False where somebody else did. A hard link is atomic on NFS too."""
    draft = _draft(folder, content)
    try:
        os.link(draft, _file(folder, generation))
    except FileExistsError:
        pass
    except OSError:
        if draft.stat().st_nlink != 2:  # NFS may report an error for a link that was made; the link count tells
            raise
    made = draft.stat().st_nlink == 2
    draft.unlink()
    return made


class Lease:
    """Hold a folder while in a `with` block.

    Args:
        folder: of the stage.
        beat_seconds: how often to say that this process lives.
        on_lost: called in the heartbeat's thread once somebody else has taken over. It has to stop the work, since two
            must not write into one folder; the default interrupts the main thread as Ctrl-C does.

    Raises:
        Busy: (on entry) somebody else holds it and is not known to be dead.
    """

    def __init__(
        self,
        folder: Path,
        beat_seconds: float = BEAT_SECONDS,
        on_lost: Callable[[], None] = _thread.interrupt_main,
    ) -> None:
        self.folder, self.beat_seconds, self.on_lost = folder, beat_seconds, on_lost
        self.generation = 0
        self._stop = threading.Event()
        self._content = identity()

    def __enter__(self) -> Lease:
        number, content = newest(self.folder)
        self._content |= _owed(content, not content.get("released"))
        if not free(content) or not _create(self.folder, number + 1, {**self._content, "beat": 0}):
            raise Busy(f"{self.folder.name} is being worked on by {content.get('host', 'another process')}")
        self.generation = number + 1
        if not self.held():
            # whoever looked long ago may be the first to make a generation that has come and gone
            _file(self.folder, self.generation).unlink(missing_ok=True)
            raise Busy(f"{self.folder.name} was taken by another process")
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

    def owed(self) -> float:
        """Device-seconds of earlier holders that vanished, for whoever writes down what the stage cost; told once."""
        return float(self._content.pop("owed", 0.0))

    def held(self) -> bool:
        """Whether no newer generation has been made: ask before writing a record."""
        return newest(self.folder)[0] == self.generation

    def _beat(self) -> None:
        beat = 0
        while not self._stop.wait(self.beat_seconds):
            beat += 1
            with contextlib.suppress(OSError):  # a beat may be missed; the next one tries again
                if not self.held():
                    self.on_lost()
                    return
                self._write({**self._content, "beat": beat})

    def _write(self, content: dict[str, Any]) -> None:
        _draft(self.folder, content).replace(_file(self.folder, self.generation))


@dataclass
class Watcher:
    """Judges leases whose holders cannot be looked up, by the watcher's own clock, since clocks of hosts differ."""

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
        return _create(folder, number + 1, _epitaph(content, counted=False))


def outlast(folder: Path, watcher: Watcher | None = None) -> None:
    """Wait while nobody can tell whether a folder's holder lives; returns at once where it does, or there is none.

    An earlier start of this process's own Slurm job is outlived in any case: a job that was requeued from a node that
    does not answer may still run there.

    Args:
        folder: that somebody holds.
        watcher: says when a holder that went silent counts as dead.
    """
    watcher, first = watcher or Watcher(STALE_SECONDS), newest(folder)
    while not watcher.release_if_dead(folder):
        number, content = newest(folder)
        seen = (number, content.get("beat")) != (first[0], first[1].get("beat"))
        ours = content.get("job", "") == slurm_job() != ""
        if not ours and (seen or content.get("machine") == _machine()):
            return
        time.sleep(LOOK_SECONDS)
