"""A page in a real browser without a window: what it draws, prints and asks for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# CI installs one and says so: there a missing browser is a failure
NEEDED = bool(os.environ.get("HARNESS_REQUIRE_CHROMIUM"))
needs_browser = pytest.mark.skipif(BROWSER is None and not NEEDED, reason="no Chromium here: apt-get install chromium")
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
# the sandbox needs privileges that containers withhold; the page is our own
HEADLESS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", *QUIET]
BROWSERS_OWN = re.compile(r"google\.com|googleapis\.com|gvt1\.com")  # what the browser asks of its makers, unasked


@dataclass(frozen=True)
class Visit:
    """What a browser made of a page."""

    dom: str
    console: str
    requests: list[str]


def visit(page: Path, folder: Path, *options: str) -> Visit:
    """Open a page, let ten seconds of its own time pass, and close the browser."""
    netlog = folder / "net.json"
    command = [str(BROWSER), *HEADLESS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={netlog}"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=10000", *options, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    assert not BROWSERS_OWN.search(page.read_text())
    asked = re.findall(r'"url":"((?:https?|wss?):[^"]*)"', netlog.read_text())
    return Visit(done.stdout, console, [url for url in asked if not BROWSERS_OWN.search(url)])


def with_body_end(page: Path, target: Path, end: str) -> Path:
    """A copy of the page with more at its end."""
    before, _, after = page.read_text().rpartition("</body>")
    target.write_text(f"{before}{end}</body>{after}")
    return target
