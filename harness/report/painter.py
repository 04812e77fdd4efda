"""A second process that draws figures, weighs audits and writes long tables, while this one goes on.

All take seconds, and the converter of figures keeps Python's lock for as long as it works, so that a thread would not
do. The process is begun once and ends with this one.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

from harness import cache
from harness.store import write_whole

T = TypeVar("T")


class Painter:
    """The second process: asked by numbered files in a folder, it answers each with a file and a line."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="harness-report-")
        command = [sys.executable, "-P", "-m", "harness.report.painter", self._folder.name]
        here = os.pathsep.join(path for path in sys.path if path)  # it finds what this process finds
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": here}
        )
        self._asked, self._lines, self._answers = 0, list[str](), dict[int, Any]()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, call: Callable[..., T], *arguments: Any) -> Asked[T]:
        """Have a function of a module called there; it and its arguments go by pickle."""
        assert self._process.stdin is not None
        number, self._asked = self._asked, self._asked + 1
        with (Path(self._folder.name) / f"{number}.in").open("wb") as file:
            pickle.dump((call, arguments), file, protocol=pickle.HIGHEST_PROTOCOL)
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        return Asked(self, number)

    def answer(self, number: int) -> Any:
        """What was asked for, once it is there.

        Raises:
            OSError: as the function raised it.
            RuntimeError: the function failed in another way, or the process ended.
        """
        assert self._process.stdout is not None
        while len(self._lines) <= number:
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"the process that draws figures ended with code {self._process.wait()}")
            self._lines.append(line.strip())
        if number not in self._answers:
            path = Path(self._folder.name) / f"{number}.out"
            self._answers[number] = pickle.loads(path.read_bytes())
            path.unlink()
        if self._lines[number] != "done":
            raise self._answers[number]
        return self._answers[number]


@dataclass(frozen=True)
class Asked(Generic[T]):
    """What a painter was asked for."""

    painter: Painter
    number: int

    def get(self) -> T:
        """It, once it is there; errors as of `Painter.answer`."""
        found: T = self.painter.answer(self.number)
        return found


def ask(call: Callable[..., T], *arguments: Any) -> Asked[T]:
    """Have a function of a module called in the second process."""
    return _painter().ask(call, *arguments)


def begin() -> None:
    """Begin with the runtime, which takes longest and depends on nothing, and get ready."""
    _runtime(_painter())
    ask(_ready)


def pid() -> int:
    """The second process."""
    return _painter().pid


def runtime() -> str:
    """Vega, Vega-Lite and vegaEmbed as one script that may stand in a page."""
    return _runtime(_painter()).get()


def svg(spec: str | dict[str, Any]) -> str:
    """The static form of a Vega-Lite specification, which fetches nothing; for the second process.

    Args:
        spec: as JSON, which the converter takes faster, or as what that stands for.
    """
    import vl_convert

    return str(vl_convert.vegalite_to_svg(spec, vl_version=_version(), allowed_base_urls=[]))


_living: list[Painter] = []


def _painter() -> Painter:
    """The one that lives, else a new one."""
    if not _living or not _living[-1].lives:
        _living[:] = [Painter()]
    return _living[-1]


@lru_cache(maxsize=1)
def _runtime(painter: Painter) -> Asked[str]:
    return painter.ask(_script)


def _script() -> str:
    """The runtime, bundled once on a machine for each version: that takes longer than all figures."""
    import vl_convert

    kept = cache.home() / f"vega-lite-{_version()}-vl-convert-{version('vl-convert-python')}.js"
    with suppress(OSError):
        return kept.read_text(encoding="utf-8")
    text = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", _version()))
    text = text.replace("</script", "<\\/script")
    with suppress(OSError):  # nowhere to keep it: it is bundled again next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, text)
    return text


def _ready() -> None:
    """Import what figures and tables take, and draw one, since the first takes a second longer than the next."""
    svg({"data": {"values": [{"x": 1}]}, "mark": "point", "encoding": {"x": {"field": "x"}}})
    for name in ("altair", "pandas", "pyarrow.parquet", "harness.report.compare", "harness.stats.runs"):
        import_module(name)


def _version() -> str:
    """Altair's Vega-Lite version as the converter names it: `6.4` for `v6.4.1`."""
    import altair

    return ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def _work(folder: Path) -> None:
    """Answer until nobody asks any more; a Ctrl-C is for the one who asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    for line in sys.stdin:
        said, found = _called(folder / f"{line.strip()}.in")
        if not folder.exists():  # the one who asked has gone
            return
        (folder / f"{line.strip()}.out").write_bytes(found)
        print(said, file=answers, flush=True)


def _called(path: Path) -> tuple[str, bytes]:
    """Whether a question could be answered, and the answer or what went wrong; the question is gone afterwards."""
    try:
        call, arguments = pickle.loads(path.read_bytes())
        path.unlink()
        return "done", pickle.dumps(call(*arguments), protocol=pickle.HIGHEST_PROTOCOL)
    except OSError as error:  # a full disk, say, which the command tells in its own words
        return "failed", pickle.dumps(error)
    except Exception:
        told = f"a part of the report could not be made:\n{traceback.format_exc()}"
        return "failed", pickle.dumps(RuntimeError(told))


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
