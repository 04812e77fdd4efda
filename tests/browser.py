"""A page in a real browser without a window: what it draws, prints and asks for."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


@dataclass
class Tab:
    """A page that stays open, spoken to by the DevTools protocol over two pipes.

    Attributes:
        errors: exceptions of the page's scripts, and what its console was told as an error.
        requests: what it asked of any network.
    """

    to: int
    back: int
    session: str = ""
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    _read: bytes = b""
    _last: int = 0

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; what happens before it comes is noted."""
        self._last += 1
        command = {"id": self._last, "method": method, "params": params}
        os.write(self.to, json.dumps(command | ({"sessionId": self.session} if self.session else {})).encode() + b"\0")
        while (answer := self._next()).get("id") != self._last:
            self._note(answer.get("method", ""), answer.get("params", {}))
        assert "error" not in answer, f"{method}: {answer['error']}"
        found: dict[str, Any] = answer["result"]
        return found

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            more = os.read(self.back, 2**20)
            assert more, "the browser has gone"
            self._read += more
        first, _, self._read = self._read.partition(b"\0")
        found: dict[str, Any] = json.loads(first)
        return found

    def _note(self, event: str, told: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(told["exceptionDetails"])[:500])
        elif event == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(told["entry"]["text"])
        elif event == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.errors.append(json.dumps(told["args"])[:500])
        elif event == "Network.requestWillBeSent" and re.match("https?:|wss?:", told["request"]["url"]):
            self.requests.append(told["request"]["url"])

    def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        found = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, page: Path, width: int, dark: bool = False) -> None:
        """Open a page on a screen so wide, and wait until its figures are drawn."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.ask("Page.navigate", url=page.as_uri())
        self.run(DRAWN)

    def click(self, element: str) -> None:
        """Press and release the mouse on the middle of an element that an expression finds."""
        middle = self.run(f"""(() => {{ const found = {element}; found.scrollIntoView({{ block: "center" }});
            const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()""")
        at = {"x": middle[0], "y": middle[1], "button": "left", "clickCount": 1}
        for event in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=event, **at)

    def picture(self, file: Path, most: int = 12_000) -> None:
        """The whole page as a PNG, or as much of it as is so high."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], most), "scale": 1}
        taken = self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(taken["data"]))

    def paper(self, file: Path) -> None:
        """The page as it prints."""
        printed = self.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        file.write_bytes(base64.b64decode(printed["data"]))


DRAWN = """new Promise((resolve) => {
  const drawn = () => [...document.querySelectorAll(".chart")].every((one) => one.dataset.drawn);
  const look = () => document.readyState === "complete" && drawn() ? resolve() : setTimeout(look, 50);
  look();
})"""


@contextmanager
def tab(folder: Path) -> Iterator[Tab]:
    """A browser with one tab, closed at the end."""
    (theirs, to), (back, answers) = os.pipe(), os.pipe()

    def wire() -> None:
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs, answers)]
        os.dup2(high[0], 3)  # where Chromium reads and writes
        os.dup2(high[1], 4)

    command = [str(BROWSER), *HEADLESS, f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # Chromium insists on descriptors 3 and 4; nothing here runs threads
    process = subprocess.Popen(command, preexec_fn=wire, pass_fds=(3, 4), **quiet)  # noqa: PLW1509
    os.close(theirs)
    os.close(answers)
    try:
        found = Tab(to, back)
        target = found.ask("Target.createTarget", url="about:blank")["targetId"]
        found.ask("Browser.setDownloadBehavior", behavior="deny")
        found.session = found.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            found.ask(f"{domain}.enable")
        yield found
    finally:
        process.terminate()
        process.wait(30)
        os.close(to)
        os.close(back)
