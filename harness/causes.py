"""Why a stage failed, in one of a few words, and what helps."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from harness.errors import HarnessError, NetworkError

_NO_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_NO_ROOM_SAID = (*(os.strerror(number) for number in _NO_ROOM), "PytorchStreamWriter", "unexpected pos")
"""What safetensors, tokenizers and torch.save say instead, whose errors are no OSError; the last two of any write."""

HINTS = {
    "out of memory": "lower budget.micro_batch (the result is the same but for rounding), or give it more memory",
    "divergence": "the loss or a weight is no longer finite: lower learning_rate, or raise budget.warmup",
    "timeout": "raise launch.timeout_min; the next run goes on from the last checkpoint",
    "node": "its node, or the scheduler, took the job away; the next run goes on from the last checkpoint",
    "killed": "the process was killed from outside, often by the system for lack of memory; the next run goes on",
    "refused": "mend [launch] as sbatch's message says, or wait until Slurm takes jobs again; the next run submits it",
    "cancelled": "somebody has ended its job; the next run does it again",
    "network": "is the service up, and reachable from here? the next run asks for what is missing, and for that alone",
    "no room": "the disk is full, over its quota or read-only: make room where the results are, and run again",
    "bad data": "mend what the message names, and run again",
    "plug-in": "a mistake in the plug-in that the message names: mend it, and run again (traceback: failed.json)",
    "bug": "a bug in harness or in a library: please report it with the traceback in failed.json",
}
"""Each cause and its hint."""
FATE = ("killed", "node")
"""Causes that lie outside of the stage, so that another attempt may do."""


def classify(error: BaseException) -> str:
    """The cause behind an exception: a key of `HINTS`."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory"
    if isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY):
        return "out of memory"
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return "out of memory"
    if isinstance(error, FloatingPointError):
        return "divergence"
    if isinstance(error, NetworkError):
        return "network"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, HarnessError) or (isinstance(error, OSError) and error.errno == errno.EACCES):
        return "bad data"
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return "no room"
    if any(words in str(error) for words in _NO_ROOM_SAID):
        return "no room"
    return "bug"


def same(cause: str, error: str, *own: str) -> tuple[str, str]:
    """Equal for failures of one cause and one message, but for what each message calls its own stage.

    Args:
        cause: a key of `HINTS`.
        error: the message.
        own: names of its stage.
    """
    for name in filter(None, own):
        error = error.replace(name, "")
    return cause, error


def alike(failures: Mapping[str, tuple[str, str]], called: Mapping[str, str] | None = None) -> list[list[str]]:
    """Names of stages whose failures are the same, group by group, in the order in which they are given.

    Args:
        failures: cause and message by the stage's name.
        called: what else a message may call a stage, by its name.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for name, (cause, error) in failures.items():
        groups.setdefault(same(cause, error, name, (called or {}).get(name, "")), []).append(name)
    return list(groups.values())


def the_same(many: int, which: str = "") -> str:
    """That so many other stages have failed with the same cause and message, and which; empty for none."""
    if not many:
        return ""
    return f"the same for {many} more{f': {which}' if which else ''}"
