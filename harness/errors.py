"""Errors that a person can fix: all problems at once, each with the nearest right name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field


class HarnessError(Exception):
    """An error that a person can fix: printed without a traceback."""

    exit_code = 2


class NetworkError(HarnessError):
    """A service that did not answer, or not in time; asking again later may help."""


@dataclass
class Problems:
    """Collects every problem of one input before anything is refused.

    Example:
        problems = Problems()
        problems.add("recipes/x.toml:14", "dpo has no knob 'betta'")
        problems.check()            # raises one HarnessError that names them all
    """

    found: list[str] = field(default_factory=list)

    def add(self, where: str, message: str) -> None:
        """Note a problem at `where`, for example `recipes/x.toml:14`."""
        line = f"{where}: {message}" if where else message
        if line not in self.found:
            self.found.append(line)

    def check(self) -> None:
        """Raise what was found.

        Raises:
            HarnessError: when there is at least one problem; its text has one line per problem.
        """
        if self.found:
            raise HarnessError("\n".join(self.found))


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'beta'?` for the name closest to `name`, or nothing where none is close."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
