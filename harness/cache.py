"""What is kept on a machine between runs."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """`$HARNESS_CACHE`, or `~/.cache/harness`."""
    return Path(os.environ.get("HARNESS_CACHE") or Path.home() / ".cache" / "harness")
