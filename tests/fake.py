"""Stages that cost nothing: an algorithm plug-in that adds numbers, waits, fails or dies, as its knobs say."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.stages import Stage, Train, algorithm_spec, dataset_spec

DATASET = '''
from dataclasses import dataclass
from typing import ClassVar
from harness.data import Dataset
@dataclass(frozen=True)
class Fakes(Dataset):
    """One row."""
    version: ClassVar[int] = 1
    views: ClassVar[frozenset[str]] = frozenset({"prompts"})
    def rows(self, view, split): return [{"id": "0", "prompt_id": "0", "prompt": []}]
'''

ALGORITHM = '''
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from harness.algorithms import Algorithm, Needs
from harness.errors import HarnessError
from harness.knobs import knob
from harness.metrics import Measurement
HOME = Path(__file__).parents[1]
def note(text):
    fd = os.open(HOME / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{text}\\n".encode())
    os.close(fd)
@dataclass(frozen=True)
class Step(Algorithm):
    """Adds its number to those of its inputs."""
    needs: ClassVar[Needs] = Needs(data="prompts", start=False)
    number: int = knob(1, doc="what it adds")
    seconds: float = knob(0.0, doc="how long it takes")
    fate: str = knob("", doc="how it ends")
    def train(self, job):
        note(f"start {self.number}")
        marker = HOME / f"once-{self.number}"
        fate = self.fate
        if fate.startswith("once "):
            fate = "" if marker.exists() else fate[5:]
            marker.touch()
        (job.out / "half").write_text("half")
        time.sleep(self.seconds)
        if fate == "kill": os.kill(os.getpid(), signal.SIGKILL)
        if fate == "memory": raise MemoryError("no room")
        if fate == "torch memory": raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 byte")
        if fate == "nan": raise FloatingPointError("the loss is nan at step 3")
        if fate == "data": raise HarnessError("row 3 has no response")
        if fate == "bug": raise ValueError(f"secret at {job.out}")
        total = self.number + sum(int((path / "policy" / "value").read_text()) for path in job.inputs.values())
        (job.out / "half").unlink()
        (job.out / "policy").mkdir()
        (job.out / "policy" / "value").write_text(str(total))
        note(f"end {self.number}")
        return [Measurement("total", total, 1)]
'''


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the plug-ins known to this process and those that it starts; returns the folder of their log."""
    for kind, name, text in (("data", "fakes", DATASET), ("algorithms", "step", ALGORITHM)):
        (folder / kind).mkdir(parents=True)
        (folder / kind / f"{name}.py").write_text(text)
    monkeypatch.setenv("HARNESS_PLUGINS", str(folder))
    return folder


def step(number: int, *inputs: Stage, **knobs: object) -> Train:
    """A stage that adds `number` to the values of its inputs."""
    return Train(
        {f"input-{place}": stage for place, stage in enumerate(inputs)},
        algorithm=algorithm_spec("step", {"number": number, **knobs}),
        dataset=dataset_spec("fakes", {}),
        split="train",
        budget={},
        seed="replicate-0",
    )


def log(folder: Path) -> list[str]:
    """What has been started and ended, in order."""
    path = folder / "log"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def value(results: Path, stage: Stage) -> int:
    """What a stage has made."""
    return int((results / stage.name / "policy" / "value").read_text())


WEB = 16


def web(seconds: float = 0.0) -> list[Stage]:
    """`WEB` stages: one base, four on it, six pairs of those, five on top."""
    base = step(1, seconds=seconds)
    middle = [step(10 + i, base, seconds=seconds) for i in range(4)]
    pairs = [step(100 + 10 * i + j, middle[i], middle[j], seconds=seconds) for i in range(4) for j in range(i)]
    return [step(1000 + i, pairs[i], pairs[i + 1], seconds=seconds) for i in range(5)]
