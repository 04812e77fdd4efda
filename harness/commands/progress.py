"""What `harness run` and `harness tune` tell while they go on, and how they end."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.causes import HINTS, alike, same, the_same
from harness.commands.labels import plain_label
from harness.report.sheet import count, named

if TYPE_CHECKING:
    from harness.dispatch import Event, Summary

NAMED = 3
"""So many stages are named that cannot be made, or have failed as one before; the rest is counted."""


class Progress:
    """Tells what runs now, what is left, and roughly for how long: one line that is rewritten on a terminal.

    What failed is told in full once; of stages with the same cause and message, only that it is the same.
    """

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.told: dict[tuple[str, str, str], str] = {}
        """What was told in full: the event, the cause and the message; and of which stage."""
        self.failures: dict[str, tuple[str, str]] = {}
        """Cause and message by the stage's name, since this part of the work began."""
        self.blocked: list[str] = []
        """Stages that one line is to tell of, once no more follow."""
        self.state = ""
        self.begin({})

    def begin(self, labels: Mapping[str, str]) -> None:
        """Begin a part of the work: what to call its stages."""
        self.flush()
        self.labels, self.failures, self.first_done, self.began = dict(labels), {}, -1, time.monotonic()
        self.begun = False

    def say(self, text: str, labels: Mapping[str, str]) -> None:
        """The same, and say what it is."""
        self.begin(labels)
        self._line(text)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if self.first_done < 0:
            self.first_done = event.done
        label = self.labels.setdefault(event.stage.name, plain_label(event.stage))
        if event.what != "blocked":
            self.flush()
        self.state = f"{event.done}/{event.total} stages done{self._left(event)}"
        if event.what in ("failed", "again"):
            self._line(f"{event.what}: {label}{self._why(event, label)} [{event.stage.name}]")
        if event.what == "failed":
            self.failures[event.stage.name] = (event.cause, event.error)
        if self.terminal and event.what in ("started", "finished"):
            running = ", ".join(self.labels.get(name, name) for name in event.running)
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r{f'{self.state}; now: {running}'[:width]:<{width}}")
            sys.stderr.flush()
        elif not self.terminal and event.what == "blocked":
            self.blocked.append(label)
        elif not self.terminal and (event.what in ("finished", "elsewhere") or self._is_first(event)):
            self._line(f"{self.state}; {event.what}: {label}")

    def flush(self) -> None:
        """Tell what was held back so that it stands in one line."""
        if self.blocked:
            self._line(f"{self.state}; blocked: {named(self.blocked, NAMED)}")
            self.blocked = []

    def _why(self, event: Event, label: str) -> str:
        """The cause and the message, or which stage had the same before."""
        what = (event.what, *same(event.cause, event.error, event.stage.name, label))
        if what not in self.told:
            self.told[what] = label
            return f" ({event.cause}): {event.error}"
        first = self.told[what]
        return f" ({event.cause}): the same as {'before' if first == label else first}"

    def _is_first(self, event: Event) -> bool:
        """Whether the work has just begun: its first stages are the longest, and nothing is told until one ends."""
        first, self.begun = not self.begun, True
        return first and event.what == "started"

    def _left(self, event: Event) -> str:
        made = event.done - self.first_done
        if made < max(3, event.total // 10):  # the first stages are the longest and would mislead
            return ""
        seconds = (time.monotonic() - self.began) / made * (event.total - event.done)
        return f", about {seconds / 60:.0f} min left" if seconds > 90 else f", about {seconds:.0f} s left"

    def _line(self, text: str) -> None:
        sys.stderr.write(("\r\033[K" if self.terminal else "") + text + "\n")

    def close(self, summary: Summary) -> None:
        """Say how it ended, and what failed: a line for each cause and message."""
        self.flush()
        seconds = time.monotonic() - self.began
        there = "was" if summary.reused == 1 else "were"
        parts = [f"{count(len(summary.ran), 'stage')} ran", f"{summary.reused} {there} there"]
        parts += [
            f"{len(group)} {word}"
            for word, group in (("failed", summary.failed), ("blocked", summary.blocked))
            if group
        ]
        self._line(f"{', '.join(parts)}; {seconds:.0f} s")
        for first, *others in alike(self.failures, self.labels):
            cause, _ = self.failures[first]
            rest = the_same(len(others), named([self.labels[name] for name in others], NAMED))
            told = [f"failed ({cause}): {self.labels[first]}", rest, HINTS[cause]]
            self._line("; ".join(filter(None, told)))
