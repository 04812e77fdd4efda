"""Run stages on this machine in warm workers, which have paid for the imports once."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.executors import HUGE_PAGES, THREADS, Ended, Executor, Handle
from harness.executors._worker import DRIVER, TAKEN_OVER
from harness.launch import asked


class _Worker:
    """One worker process and what it works on."""

    def __init__(self, threads: int, cold: bool) -> None:
        own = {**dict.fromkeys(THREADS, str(threads)), HUGE_PAGES: os.environ.get(HUGE_PAGES, "1")}
        command = [sys.executable, "-m", "harness.executors._worker", *(["--cold"] if cold else [])]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `kill`; holds what no stage's log does
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **own, DRIVER: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
        )

    def send(self, folder: Path, checkpoint_every: int) -> None:
        assert self.process.stdin is not None
        task = json.dumps({"folder": str(folder), "checkpoint_every": checkpoint_every}) + "\n"
        with suppress(BrokenPipeError):  # it is gone, as the next look at it will find
            self.process.stdin.write(task.encode())
            self.process.stdin.flush()

    def answer(self) -> dict[str, str] | None:
        """The worker's answer if it has come; an empty one where the worker is gone."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 0)
        if not ready:
            return None
        line = self.process.stdout.readline()
        return dict(json.loads(line)) if line.endswith(b"\n") else {}

    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._errors):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def last_words(self) -> str:
        """How the process ended, and the last line that it wrote outside of a stage."""
        code = self.process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        said = next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")
        return f"the worker process ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}{said}"


class _Running:
    """A stage in a worker."""

    def __init__(self, executor: Local, worker: _Worker, folder: Path) -> None:
        self.executor, self.worker, self.folder = executor, worker, folder
        self.began, self.limit = time.monotonic(), executor.limit(folder)
        self.ended: Ended | None = None

    def done(self) -> bool:
        """Look once at the worker."""
        if self.ended is None:
            self.ended = self._look()
            if self.ended is not None:
                self.executor.give_back(self.worker, well=self.ended.status != "lost" and self.worker.alive())
        return self.ended is not None

    def outcome(self) -> Ended:
        """How it ended."""
        assert self.ended is not None, "asked before it was done"
        return self.ended

    def _look(self) -> Ended | None:
        seconds = time.monotonic() - self.began
        answer = self.worker.answer()
        if answer:
            return Ended(answer["status"], answer["cause"], answer["error"], seconds)
        if answer is not None or not self.worker.alive():
            if self.worker.process.wait() == TAKEN_OVER:
                return Ended("busy", "", "another process took over: this one was silent for too long", seconds)
            return Ended("lost", "killed", self.worker.last_words(), seconds)
        if self.limit and seconds > 60 * self.limit:
            words = f"it ran for more than launch.timeout_min = {self.limit:g} minutes"
            return Ended("lost", "timeout", words, seconds)
        return None


class Local(Executor):
    """As many slots as workers. A worker that dies takes one stage down, and is replaced."""

    def __init__(
        self,
        *,
        workers: int = 0,
        threads: int = 1,
        checkpoint_every: int = 50,
        timeout_min: float = 0,
        cold: bool = False,
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            workers: processes; 0 means as many as the cores allow.
            threads: CPU threads of each.
            checkpoint_every: steps between checkpoints.
            timeout_min: a stage that takes longer is killed; 0 means never.
            cold: do not import torch and its kin before the first stage asks.
            resources: as in `harness.launch`; the time limits of kinds of stages and of algorithms are kept here.
        """
        cores = len(os.sched_getaffinity(0))
        self.slots = workers or max(1, cores // threads)
        self.threads, self.checkpoint_every, self.timeout_min, self.cold = threads, checkpoint_every, timeout_min, cold
        self.resources = dict(resources or {})
        self._idle: list[_Worker] = []
        self._all: list[_Worker] = []

    def submit(self, folder: Path) -> Handle:
        """Give the folder to an idle worker, or to a new one."""
        while self._idle and not self._idle[-1].alive():
            self._drop(self._idle.pop())
        worker = self._idle.pop() if self._idle else self._start()
        worker.send(folder, self.checkpoint_every)
        return _Running(self, worker, folder)

    def limit(self, folder: Path) -> float:
        """Minutes that a stage may take; 0 means no limit."""
        if not self.resources:
            return self.timeout_min
        spec = json.loads((folder / "spec.json").read_text())
        return asked({"timeout_min": self.timeout_min, **self.resources}, spec).timeout_min

    def _start(self) -> _Worker:
        worker = _Worker(self.threads, self.cold)
        self._all.append(worker)
        return worker

    def _drop(self, worker: _Worker) -> None:
        worker.kill()
        self._all.remove(worker)

    def give_back(self, worker: _Worker, *, well: bool) -> None:
        """A worker has nothing to do any more; one that is not well is ended."""
        if well:
            self._idle.append(worker)
        else:
            self._drop(worker)

    def close(self) -> None:
        """Kill all workers; what they did not finish is resumed by the next run."""
        for worker in list(self._all):
            self._drop(worker)
        self._idle.clear()
