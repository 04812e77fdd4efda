"""Which code, packages and machine made a record, and what it cost."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import subprocess
import sys
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from harness import __version__, held
from harness.public import public

PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "tokenizers",
    "numpy",
    "pandas",
    "pyarrow",
)


@cache
def made_by() -> dict[str, Any]:
    """Commit, packages, Python, host and command. No path and no secret: arguments are reduced to their names."""
    commit, dirty = _commit()
    packages = {name: version for name in PACKAGES if (version := _version(name))}
    command = public(" ".join(Path(word).name if os.sep in word else word for word in sys.argv))
    return {
        "commit": commit,
        "dirty": dirty,
        "harness": __version__,
        "python": platform.python_version(),
        "packages": packages,
        "host": socket.gethostname(),
        "command": command,
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _commit() -> tuple[str, bool]:
    """Commit of the checkout that this package lies in, and whether its code has changed; ("", False) elsewhere."""
    home = Path(__file__).parents[1]
    if not (home / ".git").exists():
        return "", False

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(home), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", "harness"))
    except (OSError, subprocess.CalledProcessError):
        return "", False


class Meter:
    """What a stage costs, measured from `start` to `read`, and what its job took to come to it."""

    def start(self) -> None:
        """Begin, and set the process's peak memory back where the kernel lets us."""
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._loaded = _memory("VmRSS")
        self._began, self._cpu, self._idle = time.monotonic(), held.cpu_seconds(), held.devices.idle_seconds()
        held.work.begin()
        self._cuda = _cuda()
        if self._cuda:
            self._cuda.reset_peak_memory_stats()

    def read(self) -> tuple[float, dict[str, Any]]:
        """Seconds, and the record's `cost`."""
        seconds = time.monotonic() - self._began
        devices = int(os.environ.get("WORLD_SIZE", "1"))  # processes that share a stage; each has its device
        cost: dict[str, Any] = {
            "device_seconds": (self._idle + seconds) * devices,
            "idle_seconds": self._idle,
            "devices": devices,
            "device": self._cuda.get_device_name() if self._cuda else (platform.processor() or platform.machine()),
            "cpu_seconds": held.cpu_seconds() - self._cpu,
            "peak_memory_bytes": _memory("VmHWM"),
            "loaded_memory_bytes": self._loaded,
        }
        kept = held.work.kept
        if kept["seconds"]:  # of attempts that were cut off, and are written down as lost: what was not
            cost["kept_device_seconds"], cost["kept_cpu_seconds"] = kept["seconds"] * devices, kept["cpu_seconds"]
        if self._cuda:  # unproven: nobody has run it on a GPU yet
            cost["peak_device_memory_bytes"] = self._cuda.max_memory_allocated()
        held.devices.hand_on()
        return seconds, cost


def _cuda() -> Any:
    """torch.cuda where torch is loaded already and has a device, else None."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _memory(field: str) -> int:
    """A line of /proc/self/status, in bytes; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)
