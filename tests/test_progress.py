"""What a terminal shows while stages run: one line that is rewritten, and above it only what stays worth reading."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

from harness.commands import progress
from harness.commands.progress import Progress
from harness.dispatch import Event, Summary
from harness.stages import Train

STAGES = {
    letter: Train(
        {},
        algorithm={"name": letter, "version": 1, "knobs": {}},
        dataset={},
        split="train",
        budget={},
        seed="replicate-0",
    )
    for letter in "abcd"
}
LABELS = {stage.name: f"training of {letter * 9}" for letter, stage in STAGES.items()}


class Terminal(io.StringIO):
    """A stderr that is one."""

    def isatty(self) -> bool:
        return True


def screen(text: str) -> list[str]:
    """What a terminal shows of a text: \\r goes back to the line's beginning, and \\033[K empties it from there on."""
    shown = []
    for line in text.split("\n"):
        kept = ""
        for part in line.split("\r"):
            new, erases = part.removeprefix("\033[K"), part.startswith("\033[K")
            kept = new + ("" if erases else kept[len(new) :])
        shown.append(kept.rstrip())
    return shown


@pytest.fixture(params=["terminal", "file"])
def stderr(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A stderr 60 columns wide, which is a terminal or none."""
    found = Terminal() if request.param == "terminal" else io.StringIO()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=found))  # pytest has a sys.stderr of its own by phase
    monkeypatch.setenv("COLUMNS", "60")
    return found


def event(what: str, letter: str, done: int, *running: str, **more: Any) -> Event:
    return Event(what, STAGES[letter], done=done, total=4, running=tuple(STAGES[one].name for one in running), **more)


def told(stderr: io.StringIO) -> tuple[Progress, list[str]]:
    """Four stages: one finishes, one fails, and of two that are blocked by it the run has not yet ended."""
    one = Progress()
    one.begin(LABELS)
    one(event("started", "a", 0, "a", "b", "c"))
    one(event("finished", "a", 1, "b", "c"))
    one(event("failed", "b", 1, "c", cause="bad data", error="line 3 is no JSON"))
    for letter in "cd":
        one(event("blocked", letter, 1, cause=STAGES["b"].name))
    return one, screen(stderr.getvalue())


FAILED = f"failed: training of bbbbbbbbb (bad data): line 3 is no JSON [{STAGES['b'].name}]"


def test_one_line_is_rewritten_on_a_terminal_and_lines_follow_one_another_in_a_file(stderr: io.StringIO) -> None:
    one, shown = told(stderr)
    if not stderr.isatty():
        begun = "0/4 stages done; started: training of aaaaaaaaa"
        assert shown == [begun, "1/4 stages done; finished: training of aaaaaaaaa", FAILED, ""]
        assert "\r" not in stderr.getvalue()
        one.flush()
        blocked = "1/4 stages done; blocked: training of ccccccccc and training of ddddddddd"
        assert screen(stderr.getvalue())[3:] == [blocked, ""]
        return
    assert shown == [FAILED, ""], "the line that was there is gone, and what is blocked is counted at the end"
    one(event("started", "d", 1, "d"))
    one(event("started", "c", 1, "c", "d"))
    (last,) = screen(stderr.getvalue())[1:]
    assert last == "1/4 stages done; now: training of ccccccccc, training of ddddddddd"[:59], "cut where the line ends"
    one(event("finished", "c", 2, "d"))
    assert screen(stderr.getvalue())[1:] == ["2/4 stages done; now: training of ddddddddd"], "no more of it"


def test_how_it_ended_stands_on_a_line_of_its_own(stderr: io.StringIO) -> None:
    one, _ = told(stderr)
    one(event("started", "d", 1, "d"))
    ran, failed, *blocked = (stage.name for stage in STAGES.values())
    one.close(Summary([ran], 1, {failed: "bad data"}, dict.fromkeys(blocked, failed)))
    *_, ended, why, last = screen(stderr.getvalue())
    assert ended == "1 stage ran, 1 was there, 1 failed, 2 blocked; 0 s"
    assert why == "failed (bad data): training of bbbbbbbbb; mend what the message names, and run again"
    assert last == ""
