"""A warm worker: imports once, then runs one folder after the other.

Started as `python -m harness.executors._worker`. It reads one JSON object per line from standard input and writes one
per line to what was standard output when it started; stages' own output goes to their logs.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path


def _die_with_parent() -> None:
    """Have the kernel end this process when the driver ends, however that happens."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() == 1:
        sys.exit("the driver is gone")


def _warm() -> None:
    """Pay for the imports that every stage needs; one that is missing is the stage's to report."""
    import importlib

    for name in ("trl", "transformers", "peft", "pyarrow.parquet"):
        importlib.import_module(name)
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer  # noqa: F401  # lazily loaded until named
    from trl import SFTTrainer  # noqa: F401  # lazily loaded until named


def main() -> None:
    """Serve until standard input ends."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides; a key press reaches the whole group
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if "--cold" not in sys.argv:
        _warm()
    from harness.errors import HarnessError
    from harness.execute import execute

    for line in sys.stdin:
        task = json.loads(line)
        try:
            outcome = execute(Path(task["folder"]), task["checkpoint_every"])
            answer = {"status": outcome.status, "cause": outcome.cause, "error": outcome.error}
        except HarnessError as error:
            answer = {"status": "failed", "cause": "bad data", "error": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
