"""What a Slurm job runs: folders of stages. The only object that is pickled, and it holds paths alone."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.execute import Outcome

TAKEN_OVER = 75
"""Exit code of a job that was silent for so long that another process has taken its stage."""
LOOK_SECONDS = 0.2


class Job:
    """Run stages one after the other, and leave how each ended where the driver looks for it.

    Args:
        stages: folder and answer of each; a stage comes after what it reads.
        checkpoint_every: optimiser steps between checkpoints.
        leave_seconds: so long a training that is told to leave may take to its next checkpoint.
    """

    def __init__(self, stages: Sequence[tuple[str, str]], checkpoint_every: int, leave_seconds: float) -> None:
        self.stages, self.checkpoint_every, self.leave_seconds = tuple(stages), checkpoint_every, leave_seconds

    def __call__(self) -> None:
        """Run them. Safe to start again: a finished stage is not repeated, another goes on from its checkpoint."""
        from harness import held

        went_well = threading.Event()
        atexit.register(_end_at_once, went_well)  # the first to be registered is the last to be called
        _heed_signals(self.leave_seconds)
        held.devices.hold(float(os.environ.get(held.BEGAN) or time.time()))
        self.settle_accounts()
        missing: set[str] = set()
        for folder, answer in ((Path(folder), Path(answer)) for folder, answer in self.stages):
            print(f"stage: {folder}", flush=True)
            if missing & inputs_of(folder):
                missing.add(folder.name)
                say(answer, "unbegun", "", "what it reads was not made", 0.0)
            elif not self._run(folder, answer):
                missing.add(folder.name)
        if missing:
            sys.exit(1)  # jobs that wait for this one are told so
        went_well.set()

    def settle_accounts(self) -> None:
        """Write down what the last start of this job cost, if it starts again: Slurm knows it to the second.

        A lease knows it to a beat. Of several stages Slurm knows the sum alone.
        """
        from harness.executors._slurm_ends import accounted
        from harness.lease import correct, slurm_job

        again = os.environ.get("SLURM_RESTART_COUNT", "0") != "0" and os.environ.get("SLURM_PROCID", "0") == "0"
        seconds = accounted(slurm_job(), before=True) if again and len(self.stages) == 1 else None
        if seconds is not None:
            correct(Path(self.stages[0][0]), slurm_job(), seconds)

    def _run(self, folder: Path, answer: Path) -> bool:
        """Whether the stage is done."""
        import submitit

        from harness.store import write_whole

        place = submitit.JobEnvironment()
        if place.num_tasks == 1:
            return self._settle(folder, answer, lambda: None).status == "done"
        submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        restart = os.environ.get("SLURM_RESTART_COUNT", "0")
        # it stays: the driver takes the answer away at once, and a process that comes late has to learn of the end
        meeting = answer.parent.with_name("submitted") / f"{answer.name}.{place.job_id}.{restart}.meeting"
        if place.global_rank:
            return self._follow(folder, answer, meeting)
        outcome = self._settle(folder, answer, lambda: _invite(meeting))
        begun = meeting.exists()
        write_whole(meeting, "")
        if begun and outcome.status != "done":
            os._exit(1)  # srun then ends the others, which may wait for this one for ever
        return outcome.status == "done"

    def _settle(self, folder: Path, answer: Path, on_begin: Callable[[], None]) -> Outcome:
        from harness.execute import settle
        from harness.lease import STALE_SECONDS, Watcher

        began, watcher = time.monotonic(), Watcher()
        while True:
            outcome = settle(folder, self.checkpoint_every, lambda: os._exit(TAKEN_OVER), on_begin)
            # the attempt before this one may have died on another node, which only its silence tells
            if outcome.status != "busy" or time.monotonic() - began > 2 * STALE_SECONDS:
                break
            if not watcher.release_if_dead(folder):
                time.sleep(1)
        # another process of the job may have met the cause of a failure before this one
        if outcome.status == "done" or not answer.exists():
            say(answer, outcome.status, outcome.cause, outcome.error, time.monotonic() - began)
        return outcome

    def _follow(self, folder: Path, answer: Path, meeting: Path) -> bool:
        """Work beside the first process, once it has begun; it may find that there is nothing to do."""
        from harness.execute import follow

        while not meeting.exists():
            time.sleep(LOOK_SECONDS)
        place = meeting.read_text()
        if not place:
            return True  # it has ended already
        os.environ.update(json.loads(place))
        began = time.monotonic()
        outcome = follow(folder, self.checkpoint_every)
        if outcome.status != "done":
            if not answer.exists():
                say(answer, outcome.status, outcome.cause, outcome.error, time.monotonic() - began)
            os._exit(1)
        return True

    def checkpoint(self) -> Any:
        """What submitit calls before the time limit: the same again, from the newest checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _end_at_once(went_well: threading.Event) -> None:
    """Spare the taking apart of Python, which holds the devices for seconds; submitit has left its answer by now."""
    if went_well.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def say(answer: Path, status: str, cause: str, error: str, seconds: float) -> None:
    """Leave how a stage ended."""
    from harness.store import write_whole

    write_whole(answer, json.dumps({"status": status, "cause": cause, "error": error, "seconds": seconds}))


def inputs_of(folder: Path) -> set[str]:
    """Names of the stages that a stage reads; a spec that cannot be read is told when it is run."""
    try:
        return set(json.loads((folder / "spec.json").read_text())["inputs"].values())
    except (OSError, ValueError, KeyError):
        return set()


def _invite(meeting: Path) -> None:
    """Say where the processes of a stage meet; a node's name in Slurm need not be one that the network knows."""
    from harness.store import write_whole

    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": socket.gethostname(), "MASTER_PORT": str(port)}
    os.environ.update(place)
    write_whole(meeting, json.dumps(place))


def _heed_signals(leave_seconds: float) -> None:
    """On the signal before the time limit or preemption, requeue and end; on the one at the end, only save.

    A training first writes a checkpoint, for `leave_seconds` at most; anything else leaves at once. The process ends
    outright, since submitit's handler raises SystemExit, which would be written down as the stage's failure. Whoever
    preempts requeues or cancels by itself. A job that was requeued often enough goes on until Slurm ends it.
    """
    from submitit.core.utils import UncompletedJobError

    from harness.training.checkpoints import soon

    requeue = signal.getsignal(signal.SIGUSR2)
    if not callable(requeue):
        return

    first = threading.Lock()

    def leave(number: int, frame: FrameType | None) -> None:
        if not first.acquire(blocking=False):  # a checkpoint may come just when the time for it is over
            return
        try:
            requeue(number, frame)  # of several processes it leaves this to the first, and returns in the others
        except SystemExit:
            os._exit(1)
        except UncompletedJobError as error:
            print(error, flush=True)
        except Exception:  # on preemption Slurm may have requeued it itself; a lost job is the driver's to submit again
            traceback.print_exc()
            os._exit(1)

    def handle(number: int, frame: FrameType | None) -> None:
        if soon.ask(lambda: leave(number, frame)):
            last = threading.Timer(leave_seconds, leave, (number, frame))
            last.daemon = True
            last.start()
        else:
            leave(number, frame)

    signal.signal(signal.SIGUSR2, handle)
    signal.signal(signal.SIGTERM, lambda *_: soon.ask(lambda: None) and None)
