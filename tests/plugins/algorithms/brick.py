"""An algorithm that trains nothing: it writes what its inputs wrote and its label, and keeps a diary of its runs.

Its troubles are those that a real stage may meet.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from harness.algorithms import Algorithm, Needs
from harness.errors import HarnessError
from harness.job import Job
from harness.knobs import knob
from harness.metrics import Measurement


@dataclass(frozen=True)
class Brick(Algorithm):
    needs: ClassVar[Needs] = Needs(data="prompts", start=False)
    label: str = knob("", doc="what it writes")
    seconds: float = knob(0.0, doc="how long it takes")
    trouble: str = knob("", doc="what goes wrong")
    once: bool = knob(False, doc="it goes wrong the first time alone")

    def train(self, job: Job) -> list[Measurement]:
        with (job.out.parent / "diary.txt").open("a") as diary:
            diary.write(f"{job.out.name}\n")
        if os.environ.get("RANK", "0") != "0":
            return self._beside()
        met = job.out.parent / f"met-{self.label}"
        if self.trouble and not (self.once and met.exists()):
            met.touch()
            TROUBLES[self.trouble](job)
        below = "".join((folder / "policy" / "weights").read_text() for _, folder in sorted(job.inputs.items()))
        text = hashlib.sha256(f"{self.label}{below}".encode()).hexdigest()
        (job.out / "policy").mkdir()  # fails where an earlier attempt was not cleared away
        with (job.out / "policy" / "weights").open("w") as file:
            for letter in text:
                file.write(letter)
                file.flush()
                time.sleep(self.seconds / len(text))
        if self.trouble == "adapter":
            (job.out / "policy" / "base.json").write_text("{}")
        value = float("nan") if self.trouble == "not a number" else float(int(text[:8], 16))
        return [Measurement("steps", value, 1, "steps")]

    def _beside(self) -> list[Measurement]:
        """Of several processes the first writes."""
        if self.trouble == "beside":
            raise RuntimeError("a process beside the first fails")
        return []


def _fail(error: BaseException) -> Callable[[Job], None]:
    def trouble(job: Job) -> None:
        raise error

    return trouble


def _private(job: Job) -> None:
    raise HarnessError(f"{job.out}/rows.jsonl:3: no prompt")


def _speak(job: Job) -> None:
    print("said by Python")
    os.write(2, b"said by C\n")
    subprocess.run([sys.executable, "-c", "print('said by a child')"], check=True)


def _blab(job: Job) -> None:
    print(os.environ["HF_TOKEN"])
    raise RuntimeError(f"refused: {os.environ['HF_TOKEN']}")


def _blab_and_die(job: Job) -> None:
    print(os.environ["HF_TOKEN"])
    os.kill(os.getpid(), signal.SIGKILL)


def _allocate(job: Job) -> None:
    block = bytearray(200_000_000)
    block[:: 1 << 12] = b"x" * len(block[:: 1 << 12])
    total = 0
    for number in range(2_000_000):
        total += number


def _hoard(job: Job) -> None:
    block = bytearray(1_500_000_000)
    block[:: 1 << 12] = b"x" * len(block[:: 1 << 12])
    time.sleep(40)


def _be_deaf(job: Job) -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    time.sleep(600)


def _save(job: Job) -> None:
    """Write a checkpoint when told to leave."""
    from harness.training.checkpoints import soon

    with soon.heard():
        while not soon.asked:
            time.sleep(0.01)
        soon.saved()
        time.sleep(60)


TROUBLES: dict[str, Callable[[Job], None]] = {
    "memory": _fail(MemoryError()),
    "torch memory": _fail(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes")),
    "divergence": _fail(FloatingPointError("the loss is nan at step 3")),
    "not a number": lambda job: None,
    "bad data": _private,
    "disk full": _fail(OSError(errno.ENOSPC, "No space left on device", "policy/weights")),
    "bug": _fail(KeyError("beta")),
    "exit": _fail(SystemExit(3)),
    "kill": lambda job: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda job: ctypes.string_at(0) and None,
    "hang": lambda job: time.sleep(60),
    "deaf": _be_deaf,
    "save": _save,
    "overtaken": lambda job: (job.out / "lease-000099.json").write_text('{"released": true}') and None,
    "speak": _speak,
    "blab": _blab,
    "blab and die": _blab_and_die,
    "allocate": _allocate,
    "hoard": _hoard,
    "adapter": lambda job: None,
    "beside": lambda job: None,
}
