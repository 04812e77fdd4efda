"""A warm worker: imports once, then runs one folder after the other.

Started as `python -m harness.executors._worker`. It reads one JSON object per line from standard input and writes one
per line to what was standard output when it started; stages' own output goes to their logs.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import signal
import sys
from pathlib import Path

TAKEN_OVER = 75
"""Exit code of a worker that was silent for so long that another process has taken its stage."""


DRIVER = "HARNESS_DRIVER"
"""Environment variable with the driver's process number."""


def _die_with_driver() -> None:
    """Have the kernel end this process when the driver ends, however that happens."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
    if os.environ.get(DRIVER, str(os.getppid())) != str(os.getppid()):
        sys.exit("the driver ended before this worker had started")


def _warm() -> None:
    """Pay for the imports that most stages need; what is missing or broken is reported by the stage that needs it."""
    import importlib

    for name in ("trl", "transformers", "peft", "pyarrow.parquet"):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    with contextlib.suppress(Exception):
        from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer  # noqa: F401  # lazy until named
        from trl import SFTTrainer  # noqa: F401  # lazy until named


def _give_back() -> None:
    """Return what the last stage has freed to the system, so that the next one's peak is its own."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)


def main() -> None:
    """Serve until standard input ends."""
    _die_with_driver()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides; a key press reaches the whole group
    faulthandler.enable()  # a crash in C leaves its stack in the stage's log
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if "--cold" not in sys.argv:
        _warm()
    from harness.execute import settle

    for line in sys.stdin:
        task = json.loads(line)
        outcome = settle(Path(task["folder"]), task["checkpoint_every"], on_lost=lambda: os._exit(TAKEN_OVER))
        answer = {"status": outcome.status, "cause": outcome.cause, "error": outcome.error}
        print(json.dumps(answer), file=answers, flush=True)
        _give_back()


if __name__ == "__main__":
    main()
