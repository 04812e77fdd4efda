"""Ctrl-C: what it says, once, and that the next run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_cli import TINY

PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"  # a shell's background job ignores it
    "from harness.cli import main; main()"
)


@pytest.mark.parametrize(("command", "executor"), [("run", "local"), ("tune", "inline")])
def test_a_key_press_is_answered_once(command: str, executor: str, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(f"{TINY}\n[tune]\nprompts = 8\n")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, command, "r.toml", "--set", f"launch.executor={executor}"],
        cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        end = time.monotonic() + 120
        while not list(tmp_path.glob("results/train-*/lease*")) and time.monotonic() < end:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert said.count("stopped; run the same command again and it goes on from here\n") == 1
    assert "Traceback" not in said
    assert not list(tmp_path.glob("results/*/failed.json")), "to be stopped is no failure"
