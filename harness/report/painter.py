"""Static figures and the figures' runtime, drawn by a second process while this one goes on.

The converter keeps Python's lock for as long as it works, which is seconds, so that a thread would not do. The process
is begun once and ends with this one. Run as a file it is that process; it needs nothing of this package.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


class Painter:
    """The second process: asked by numbered files in a folder, it answers each with a file and a line."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="harness-figures-")
        command = [sys.executable, "-P", __file__, self._folder.name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._asked, self._answers = 0, list[str]()

    @property
    def lives(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, version: str, spec: dict[str, Any] | None = None) -> Picture:
        """The SVG of a specification, or without one the runtime, for a version of Vega-Lite such as `6.4`."""
        assert self._process.stdin is not None
        number, self._asked = self._asked, self._asked + 1
        question = json.dumps({"version": version, "spec": spec})
        (Path(self._folder.name) / f"{number}.json").write_text(question, encoding="utf-8")
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        return Picture(self, number)

    def answer(self, number: int) -> str:
        """What was asked for, once it is there.

        Raises:
            RuntimeError: the converter refused it, or its process ended.
        """
        assert self._process.stdout is not None
        while len(self._answers) <= number:
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"the process that draws figures ended with code {self._process.wait()}")
            self._answers.append(line.strip())
        text = (Path(self._folder.name) / f"{number}.txt").read_text(encoding="utf-8")
        if self._answers[number] != "done":
            raise RuntimeError(f"a figure cannot be drawn: {text}")
        return text


@dataclass(frozen=True)
class Picture:
    """What a painter was asked for."""

    painter: Painter
    number: int

    def text(self) -> str:
        """It, once it is there."""
        return self.painter.answer(self.number)


def svg(spec: dict[str, Any]) -> Picture:
    """The static form of a Vega-Lite specification, which fetches nothing."""
    return _painter().ask(_version(), spec)


def begin() -> None:
    """Begin with the runtime, which takes longest and depends on nothing."""
    _runtime(_painter())


def runtime() -> str:
    """Vega, Vega-Lite and vegaEmbed as one script that may stand in a page."""
    return _script(_runtime(_painter()))


_living: list[Painter] = []


def _painter() -> Painter:
    """The one that lives, else a new one."""
    if not _living or not _living[-1].lives:
        _living[:] = [Painter()]
    return _living[-1]


@cache
def _runtime(painter: Painter) -> Picture:
    return painter.ask(_version())


@cache
def _script(picture: Picture) -> str:
    return picture.text().replace("</script", "<\\/script")


def _version() -> str:
    """Altair's Vega-Lite version as the converter names it: `6.4` for `v6.4.1`."""
    import altair

    return ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def _paint(folder: Path) -> None:
    """Answer until nobody asks any more; a Ctrl-C is for the one who asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        number = line.strip()
        try:
            said, text = "done", _drawn(json.loads((folder / f"{number}.json").read_text(encoding="utf-8")))
        except Exception as error:  # the one who asked is told, and knows what it was
            said, text = "failed", str(error)
        if not folder.exists():  # the one who asked has gone
            return
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
        print(said, flush=True)


def _drawn(asked: dict[str, Any]) -> str:
    import vl_convert

    if asked["spec"] is None:
        return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", asked["version"]))
    return str(vl_convert.vegalite_to_svg(asked["spec"], vl_version=asked["version"], allowed_base_urls=[]))


if __name__ == "__main__":
    _paint(Path(sys.argv[1]))
