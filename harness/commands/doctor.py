"""`harness doctor`: what this machine can run."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
from typing import Any

from harness.provenance import made_by


def examine(as_json: bool) -> None:
    """Print what is here."""
    found = findings()
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        text = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else value
        print(f"{name:12} {text}")


def findings() -> dict[str, Any]:
    """What this machine has, and what follows from it."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "python": platform.python_version(),
        "packages": made_by()["packages"],
        "cores": len(os.sched_getaffinity(0)),
        "memory": f"{pages / 2**30:.1f} GiB",
        "disk": f"{shutil.disk_usage('.').free / 2**30:.0f} GiB free here",
        "device": _device(),
        "git": "yes" if shutil.which("git") else "no: records will not say which commit made them",
        "slurm": _slurm(),
    }


def _slurm() -> str:
    if not shutil.which("sbatch"):
        return "no sbatch here: launch.executor = 'slurm' needs it"
    said = subprocess.run(["sbatch", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return f"{said or 'sbatch is here, but does not answer'}; launch.executor = 'slurm' uses it"


def _device() -> str:
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed: recipes can be planned and reports built, nothing can be trained"
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()} (CUDA is unproven: the suite has only run on CPUs)"
    return "CPU; float32 and bfloat16"
